package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tandem6/tandem6/failover/lease"
)

// ProtocolVersion is the version with which a server sends (RFC 8156 section
// 5.5.11).
type ProtocolVersion struct{ Major, Minor uint16 }

// Version is that of RFC 8156.
var Version = ProtocolVersion{1, 0}

func (v ProtocolVersion) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// The types of VSS information (RFC 6607 section 3.5).
const (
	VSSName   = 0   // Data is the name of a VPN in ASCII
	VSSID     = 1   // Data is a VPN identifier of vssIDLen octets (RFC 2685)
	VSSGlobal = 255 // the global default VPN; no Data
)

const vssIDLen = 7

// VSS names the VPN to which addresses belong (RFC 6607 section 3.4). Absent, it
// is the global default one.
type VSS struct {
	Type uint8
	Data string // octets
}

func (v VSS) String() string {
	switch v.Type {
	case VSSName:
		return fmt.Sprintf("name %q", v.Data)
	case VSSID:
		return "id " + hexadecimal(v.Data)
	case VSSGlobal:
		return "global"
	}
	return fmt.Sprintf("type %d %s", v.Type, hexadecimal(v.Data))
}

// RelayData is how a client was reached last (RFC 5007 section 4.1.2.4).
type RelayData struct {
	Peer    netip.Addr // the relay from which the message came
	Message string     // octets: its last complete RELAY-FORW, without the client's own message
}

func (r RelayData) String() string {
	return fmt.Sprintf("peer %v, message %s", r.Peer, hexadecimal(r.Message))
}

// ReconfigureKeyLen is the length of a reconfigure key in octets (RFC 3315
// section 21.5.1). RFC 8156 section 5.5.13 does not say it again; other lengths
// are well-formed.
const ReconfigureKeyLen = 16

// ReconfigureData is the key with which a client authenticates RECONFIGURE (RFC
// 8156 section 5.5.13).
type ReconfigureData struct {
	Made Time
	Key  string // octets
}

// String leaves the key out: it is a secret.
func (r ReconfigureData) String() string {
	return fmt.Sprintf("made %v, key of %s", r.Made, octets(len(r.Key)))
}

// The flags of FQDN (RFC 4704 section 4.1).
const (
	FQDNServerUpdates   = 1 << 0 // S: the server updates AAAA
	FQDNServerOverrides = 1 << 1 // O: against the client's wish
	FQDNNoUpdates       = 1 << 2 // N
)

// FQDN is a client's name (RFC 4704 section 4).
type FQDN struct {
	Flags uint8
	Name  Name
}

func (f FQDN) String() string {
	name := "no name"
	if f.Name != "" {
		name = f.Name.String()
	}
	return fmt.Sprintf("%s, flags %s", name, flagNames(uint(f.Flags), "S", "O", "N"))
}

// A kind is how the content of an option is encoded, and what people call it.
type kind[T any] struct {
	parse  func(data []byte) (T, *Error)
	append func(e *encoder, v T)
	text   func(v T) string
	number func(v T) uint32 // nil: it is more than a number
}

// number is a kind of option whose content is one integer.
func number[T ~uint8 | ~uint16 | ~uint32](text func(v T) string) kind[T] {
	size := binary.Size(T(0))
	return kind[T]{
		func(data []byte) (v T, _ *Error) {
			if len(data) != size {
				return 0, badLen(data, size)
			}
			for _, b := range data {
				v = T(uint32(v)<<8 | uint32(b))
			}
			return v, nil
		},
		func(e *encoder, v T) {
			for shift := 8 * (size - 1); shift >= 0; shift -= 8 {
				e.u8(uint8(uint32(v) >> shift))
			}
		},
		text,
		func(v T) uint32 { return uint32(v) },
	}
}

// text is the String of a value, or a number in decimal.
func text[T any](v T) string { return fmt.Sprint(v) }

// seconds is a duration of DHCPv6 in words.
func seconds(s uint32) string {
	if s == lease.Infinity {
		return "infinite"
	}
	return fmt.Sprintf("%d s", s)
}

var (
	timeKind    = number(text[Time])
	secondsKind = number(seconds)
	countKind   = number(text[uint32])
)

func badLen(data []byte, need int) *Error {
	return bad("has %s, it needs %d", octets(len(data)), need)
}

func tooShort(data []byte, need int) *Error {
	return bad("has %s, it needs at least %d", octets(len(data)), need)
}

var versionKind = kind[ProtocolVersion]{
	func(data []byte) (v ProtocolVersion, _ *Error) {
		if len(data) != 4 {
			return v, badLen(data, 4)
		}
		return ProtocolVersion{binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:])}, nil
	},
	func(e *encoder, v ProtocolVersion) { e.u16(v.Major); e.u16(v.Minor) },
	text[ProtocolVersion], nil,
}

// textKind is UTF-8 without a NUL at its end (RFC 8156 section 5.5.14).
var textKind = kind[string]{
	func(data []byte) (string, *Error) { return string(data), checkText(string(data)) },
	func(e *encoder, v string) { e.text(v) },
	strconv.Quote, nil,
}

func checkText(text string) *Error {
	switch {
	case !utf8.ValidString(text):
		return bad("holds text that is not UTF-8: %q", text)
	case strings.HasSuffix(text, "\x00"):
		return bad("holds text with a NUL at its end: %q", text)
	}
	return nil
}

func (e *encoder) text(text string) {
	if err := checkText(text); err != nil {
		e.fail("an option %s", err.Problem)
	}
	e.b = append(e.b, text...)
}

var statusKind = kind[Status]{
	func(data []byte) (s Status, _ *Error) {
		if len(data) < 2 {
			return s, tooShort(data, 2)
		}
		s = Status{StatusCode(binary.BigEndian.Uint16(data)), string(data[2:])}
		return s, checkText(s.Text)
	},
	func(e *encoder, s Status) { e.u16(uint16(s.Code)); e.text(s.Text) },
	text[Status], nil,
}

var vssKind = kind[VSS]{
	func(data []byte) (v VSS, _ *Error) {
		if len(data) < 1 {
			return v, tooShort(data, 1)
		}
		v = VSS{data[0], string(data[1:])}
		return v, v.check()
	},
	func(e *encoder, v VSS) {
		if err := v.check(); err != nil {
			e.fail("%v %s", OptionVSS, err.Problem)
		}
		e.u8(v.Type)
		e.b = append(e.b, v.Data...)
	},
	text[VSS], nil,
}

func (v VSS) check() *Error {
	switch {
	case v.Type == VSSID && len(v.Data) != vssIDLen:
		return bad("holds a VPN identifier of %s, it needs %d", octets(len(v.Data)), vssIDLen)
	case v.Type == VSSGlobal && v.Data != "":
		return bad("names the global default VPN and goes on for %s", octets(len(v.Data)))
	}
	return nil
}

var relayKind = kind[RelayData]{
	func(data []byte) (r RelayData, _ *Error) {
		if len(data) < 16 {
			return r, tooShort(data, 16)
		}
		return RelayData{netip.AddrFrom16([16]byte(data)), string(data[16:])}, nil
	},
	func(e *encoder, r RelayData) { e.addr(r.Peer); e.b = append(e.b, r.Message...) },
	text[RelayData], nil,
}

func (e *encoder) addr(a netip.Addr) {
	if !a.Is6() || a.Zone() != "" {
		e.fail("%v is not an IPv6 address", a)
	}
	octets := a.As16()
	e.b = append(e.b, octets[:]...)
}

var reconfigureKind = kind[ReconfigureData]{
	func(data []byte) (r ReconfigureData, _ *Error) {
		if len(data) < 4 {
			return r, tooShort(data, 4)
		}
		return ReconfigureData{Time(binary.BigEndian.Uint32(data)), string(data[4:])}, nil
	},
	func(e *encoder, r ReconfigureData) { e.u32(uint32(r.Made)); e.b = append(e.b, r.Key...) },
	text[ReconfigureData], nil,
}

var fqdnKind = kind[FQDN]{
	func(data []byte) (f FQDN, _ *Error) {
		if len(data) < 1 {
			return f, tooShort(data, 1)
		}
		f = FQDN{data[0], Name(data[1:])}
		return f, f.Name.check()
	},
	func(e *encoder, f FQDN) { e.u8(f.Flags); e.name(f.Name) },
	text[FQDN], nil,
}

// nameKind is a name that is really there.
var nameKind = kind[Name]{
	func(data []byte) (Name, *Error) {
		if len(data) == 0 {
			return "", tooShort(data, 1)
		}
		return Name(data), Name(data).check()
	},
	func(e *encoder, n Name) {
		if n == "" {
			e.fail("an option without the name that it is for")
		}
		e.name(n)
	},
	text[Name], nil,
}

func (e *encoder) name(n Name) {
	if err := n.check(); err != nil {
		e.fail("an option %s", err.Problem)
	}
	e.b = append(e.b, n...)
}
