package ra

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// ICMPv6 types and option types (RFC 4861 section 4).
const (
	typeSolicitation  = 133
	typeAdvertisement = 134

	optionSourceLinkLayer = 1
	optionPrefix          = 3
	optionMTU             = 5
)

const (
	advertisementSizeMin = 16  // octets, RFC 4861 section 6.1.2
	hopLimitLocal        = 255 // a router would have lowered it: the sender is on the link
)

// ndp.ParseMessage is not used for what comes in: it checks neither code nor hop
// limit, and one option that it does not like, or one of 256 octets, costs the
// whole message.

// Why a message of RFC 4861 is ignored. Section 6.1 wants such messages
// discarded silently: they are counted, not answered.
var (
	ErrType     = errors.New("neither a Router Solicitation nor a Router Advertisement")
	ErrHopLimit = errors.New("hop limit is not 255: not sent on this link")
	ErrCode     = errors.New("ICMP code is not 0")
	ErrShort    = errors.New("message is too short")
	ErrOption   = errors.New("an option is malformed")
	ErrSource   = errors.New("source address is not allowed")
)

// Solicitation is a valid Router Solicitation.
type Solicitation struct {
	Source    netip.Addr // :: from a host without an address yet
	LinkLayer bool       // it has the host's link-layer address
}

// ParseSolicitation checks an ICMPv6 message whose checksum is right (the kernel
// sees to that) by RFC 4861 section 6.1.1. The error is one of those above.
func ParseSolicitation(b []byte, source netip.Addr, hopLimit int) (Solicitation, error) {
	if err := check(b, typeSolicitation, solicitationSizeMin, hopLimit); err != nil {
		return Solicitation{}, err
	}
	s := Solicitation{Source: source}
	err := eachOption(b[solicitationSizeMin:], func(kind byte, _ []byte) {
		s.LinkLayer = s.LinkLayer || kind == optionSourceLinkLayer
	})
	if err != nil {
		return Solicitation{}, err
	}
	if source.IsUnspecified() && s.LinkLayer || source.IsMulticast() {
		return Solicitation{}, ErrSource
	}
	return s, nil
}

// Observation is what a valid Router Advertisement of another router says, as far
// as RFC 4861 section 6.2.7 compares it. This box leaves Reachable Time and
// Retrans Timer unspecified, which agrees with everything.
type Observation struct {
	Router         netip.Addr
	HopLimit       uint8 // 0: unspecified
	Managed        bool
	OtherConfig    bool
	RouterLifetime time.Duration
	MTU            uint32           // 0: none
	Prefixes       []ObservedPrefix // the first PrefixesMax
}

// ObservedPrefix is a Prefix Information option of another router.
type ObservedPrefix struct {
	Prefix           netip.Prefix
	Preferred, Valid time.Duration
}

// ParseAdvertisement checks an ICMPv6 message whose checksum is right by RFC 4861
// section 6.1.2. The error is one of those above.
func ParseAdvertisement(b []byte, source netip.Addr, hopLimit int) (Observation, error) {
	if err := check(b, typeAdvertisement, advertisementSizeMin, hopLimit); err != nil {
		return Observation{}, err
	}
	if !source.IsLinkLocalUnicast() {
		return Observation{}, ErrSource
	}
	const flagM, flagO = 0x80, 0x40
	o := Observation{
		Router:         source,
		HopLimit:       b[4],
		Managed:        b[5]&flagM != 0,
		OtherConfig:    b[5]&flagO != 0,
		RouterLifetime: time.Duration(binary.BigEndian.Uint16(b[6:])) * time.Second,
	}
	err := eachOption(b[advertisementSizeMin:], o.option)
	if err != nil {
		return Observation{}, err
	}
	return o, nil
}

// option takes what is known; unknown options, and known ones of another size,
// are ignored as RFC 4861 section 6.1.2 demands.
func (o *Observation) option(kind byte, b []byte) {
	switch {
	case kind == optionMTU && len(b) == shortOptionSize:
		o.MTU = binary.BigEndian.Uint32(b[4:])
	case kind == optionPrefix && len(b) == prefixOptionSize && b[2] <= 128 && len(o.Prefixes) < PrefixesMax:
		p := netip.PrefixFrom(netip.AddrFrom16([16]byte(b[16:])), int(b[2])).Masked()
		if slices.ContainsFunc(o.Prefixes, func(q ObservedPrefix) bool { return q.Prefix == p }) {
			return
		}
		o.Prefixes = append(o.Prefixes, ObservedPrefix{
			Prefix:    p,
			Valid:     time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Second,
			Preferred: time.Duration(binary.BigEndian.Uint32(b[8:])) * time.Second,
		})
	}
}

// check is what RFC 4861 sections 6.1.1 and 6.1.2 have in common.
func check(b []byte, kind byte, sizeMin, hopLimit int) error {
	switch {
	case len(b) < 4:
		return ErrShort
	case b[0] != kind:
		return fmt.Errorf("%w: type %d", ErrType, b[0])
	case hopLimit != hopLimitLocal:
		return ErrHopLimit
	case b[1] != 0:
		return ErrCode
	case len(b) < sizeMin:
		return ErrShort
	}
	return nil
}

// eachOption calls f with each option, type and length included. It returns an
// error for a length of zero or beyond the end.
func eachOption(b []byte, f func(kind byte, option []byte)) error {
	for len(b) > 0 {
		if len(b) < 2 {
			return ErrOption
		}
		size := int(b[1]) * 8
		if size == 0 || size > len(b) {
			return ErrOption
		}
		f(b[0], b[:size])
		b = b[size:]
	}
	return nil
}
