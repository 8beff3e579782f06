// Package lease holds what both the DHCPv6 server and the failover protocol
// mean by a lease: who holds it (DUID, IA type, IAID), what it is (an IPv6
// address or a delegated prefix), its status and times, and the ordered Table
// of all of them. It is pure: values in, values out.
package lease

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Limits of a DUID in octets, its two-octet type included (RFC 9915 section
// 11.1: type plus 1 to 128 octets).
const (
	DUIDLenMin = 3
	DUIDLenMax = 130
)

// DUID is a DHCP Unique Identifier: opaque, compared for equality only (RFC
// 9915 section 11, D-043). It is a string so that it can be a map key and
// cannot change; print it with String.
type DUID string

// String is the DUID in hexadecimal, octets separated by colons.
func (d DUID) String() string {
	var b strings.Builder
	b.Grow(3 * len(d))
	for i := range len(d) {
		if i > 0 {
			b.WriteByte(':')
		}
		const digits = "0123456789abcdef"
		b.WriteByte(digits[d[i]>>4])
		b.WriteByte(digits[d[i]&15])
	}
	return b.String()
}

// ParseDUID reads hexadecimal octets, with or without colons or dashes between them.
func ParseDUID(s string) (DUID, error) {
	b, err := hex.DecodeString(strings.NewReplacer(":", "", "-", "").Replace(s))
	if err != nil {
		return "", fmt.Errorf("DUID %q is not hexadecimal octets such as 00:03:00:01:02:00:00:00:00:02", s)
	}
	if len(b) < DUIDLenMin || len(b) > DUIDLenMax {
		return "", fmt.Errorf("DUID %q has %d octets, allowed are %d to %d", s, len(b), DUIDLenMin, DUIDLenMax)
	}
	return DUID(b), nil
}

// IAID identifies one identity association of a client. IA_NA and IA_PD have
// separate number spaces (RFC 9915 section 12, D-151).
type IAID uint32

// IAType says what an identity association holds; the value is its option code.
type IAType uint8

// The identity associations that this server serves. IA_TA is obsolete (RFC
// 9915 section 21.5).
const (
	IANA IAType = 3  // non-temporary addresses
	IAPD IAType = 25 // delegated prefixes
)

func (t IAType) String() string {
	switch t {
	case IANA:
		return "IA_NA"
	case IAPD:
		return "IA_PD"
	}
	return fmt.Sprintf("IA type %d", uint8(t))
}

// IA names one identity association of one client on one link: the key of a
// binding (RFC 9915 section 12; the link because devices with equal DUIDs exist).
type IA struct {
	Link   string
	Client DUID
	Type   IAType
	ID     IAID
}

// Status is the binding-status of RFC 8156 section 5.5.1, with its wire values.
type Status uint8

// The eight binding statuses.
const (
	Active      Status = 1 // held by a client
	Expired     Status = 2 // ran out; another client must not have it yet
	Released    Status = 3 // given up by its client; another must not have it yet
	PendingFree Status = 4 // passing to Free or FreeBackup
	Free        Status = 5 // available to the primary, or to a server that is alone
	FreeBackup  Status = 6 // available to the secondary
	Abandoned   Status = 7 // declined, or found in use by somebody unknown
	Reset       Status = 8 // made available by the operator
)

var statusNames = [...]string{
	Active: "ACTIVE", Expired: "EXPIRED", Released: "RELEASED", PendingFree: "PENDING-FREE",
	Free: "FREE", FreeBackup: "FREE-BACKUP", Abandoned: "ABANDONED", Reset: "RESET",
}

// Valid reports whether s is one of the eight.
func (s Status) Valid() bool { return s >= Active && s <= Reset }

// Available reports whether the lease can be given to any client, by this
// server or by its partner.
func (s Status) Available() bool { return s == Free || s == FreeBackup }

func (s Status) String() string {
	if !s.Valid() {
		return fmt.Sprintf("binding-status %d", uint8(s))
	}
	return statusNames[s]
}

// ParseStatus reads the RFC's name of a status.
func ParseStatus(name string) (Status, error) {
	for s, n := range statusNames {
		if n != "" && strings.EqualFold(n, name) {
			return Status(s), nil
		}
	}
	return 0, fmt.Errorf("binding-status %q is not one of RFC 8156 section 5.5.1", name)
}

// HostnameLenMax is the longest host name kept with a binding (RFC 1035).
const HostnameLenMax = 255

// LinkNameLenMax is the longest name of a configured link.
const LinkNameLenMax = 64

// Binding is what a server knows of one lease. Values are immutable once they
// are in a Table: a change is a new value.
type Binding struct {
	Prefix netip.Prefix // what is leased: an address as /128, or a delegated prefix
	IA                  // who holds it, or who held it last
	Status Status

	// As last told to the client, in seconds (RFC 9915 section 21).
	Preferred, Valid uint32
	T1, T2           uint32

	// Expires is when Status ends by itself: for Active the end of the valid
	// lifetime, for Abandoned the end of the quarantine, for Free the moment
	// when its last client is forgotten (state-expiration-time, RFC 8156
	// section 5.5.18). Zero: it does not end by itself.
	Expires Time

	// HeldUntil is at least Expires: the time for which the record on disk
	// keeps an Active lease. Renewals up to it need no write; after a crash
	// the server believes it instead of Expires, which errs to the safe side.
	HeldUntil Time

	StartOfState    Time // since when Status holds (RFC 8156 section 5.5.17)
	LastTransaction Time // when this server last dealt with the client about it (client-last-transaction-time)

	// What a failover relationship keeps of the lease, by the names of RFC 8156
	// section 7.3. All are zero for a lease outside any relationship, and for
	// one that is available.
	PartnerLifetime      Time // the greatest expiry ever announced to the partner, sent or about to be
	AckedPartnerLifetime Time // what the partner has confirmed of it
	ExpirationTime       Time // the greatest expiry that this server confirmed to its partner
	PartnerRawCLT        Time // when the partner last dealt with the client, as it said itself

	// Change numbers the latest change that the partner has to be told of; 0:
	// it has confirmed everything. Numbers are never used twice, so that an
	// answer to an older update confirms nothing newer.
	Change uint64

	// Via is the client's link-local address on the link, next hop of the
	// route to a delegated prefix (D-257). Invalid: no route is ours to keep.
	Via netip.Addr

	Hostname string // from a reservation; empty: none
}

// Errors of Binding.Check.
var errBinding = errors.New("not a binding")

// Check reports what makes b impossible. Whatever is stored and whatever is
// read back satisfies it.
func (b *Binding) Check() error {
	switch {
	case !b.Prefix.IsValid() || !b.Prefix.Addr().Is6() || b.Prefix.Addr().Is4In6() || b.Prefix.Addr().Zone() != "":
		return fmt.Errorf("%w: %v is no IPv6 address or prefix", errBinding, b.Prefix)
	case b.Prefix.Masked() != b.Prefix:
		return fmt.Errorf("%w: %v has bits behind its length", errBinding, b.Prefix)
	case b.Type != IANA && b.Type != IAPD:
		return fmt.Errorf("%w: %v has %v", errBinding, b.Prefix, b.Type)
	case (b.Type == IANA) != (b.Prefix.Bits() == 128):
		return fmt.Errorf("%w: %v does not fit %v", errBinding, b.Prefix, b.Type)
	case !b.Status.Valid():
		return fmt.Errorf("%w: %v has %v", errBinding, b.Prefix, b.Status)
	case len(b.Client) != 0 && (len(b.Client) < DUIDLenMin || len(b.Client) > DUIDLenMax):
		return fmt.Errorf("%w: %v has a DUID of %d octets", errBinding, b.Prefix, len(b.Client))
	case b.Status == Active && len(b.Client) == 0:
		return fmt.Errorf("%w: %v is ACTIVE without a client", errBinding, b.Prefix)
	case b.Status == Active && (b.Expires == 0 || b.HeldUntil < b.Expires):
		return fmt.Errorf("%w: %v is ACTIVE until %v, held until %v", errBinding, b.Prefix, b.Expires, b.HeldUntil)
	case b.Preferred > b.Valid:
		return fmt.Errorf("%w: %v has preferred lifetime %d s above valid lifetime %d s", errBinding, b.Prefix, b.Preferred, b.Valid)
	case len(b.Hostname) > HostnameLenMax || len(b.Link) > LinkNameLenMax:
		return fmt.Errorf("%w: %v has a name that is too long", errBinding, b.Prefix)
	case b.Via.IsValid() && (!b.Via.Is6() || b.Via.Zone() != ""):
		return fmt.Errorf("%w: %v has next hop %v", errBinding, b.Prefix, b.Via)
	}
	return nil
}

// Address returns an address as the lease that holds it.
func Address(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, 128) }

// ParsePrefix reads an address or a prefix as an operator writes it.
func ParsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Is6() && !a.Is4In6() && a.Zone() == "" {
		return Address(a), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is6() || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is neither an IPv6 address nor a prefix such as 2001:db8::/56", s)
	}
	if p.Masked() != p {
		return netip.Prefix{}, fmt.Errorf("%q has bits set behind its length, did you mean %v?", s, p.Masked())
	}
	return p, nil
}
