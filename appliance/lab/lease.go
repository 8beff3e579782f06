package lab

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
)

// A Lease is one address or delegated prefix, as a message on the wire or a server's own list shows it.
type Lease struct {
	DUID             string // of the client, hexadecimal digits
	IAID             uint32
	Delegated        bool         // of an IA_PD, not an IA_NA
	Prefix           netip.Prefix // /128 for an address
	Preferred, Valid time.Duration
}

func (l Lease) String() string {
	what := l.Prefix.Addr().String()
	if l.Delegated {
		what = l.Prefix.String()
	}
	return fmt.Sprintf("%s (client %s, IAID %d, preferred %v, valid %v)", what, l.DUID, l.IAID, l.Preferred, l.Valid)
}

// Same reports whether two leases are the same thing leased to the same client, whatever their lifetimes.
func (l Lease) Same(other Lease) bool {
	return l.DUID == other.DUID && l.IAID == other.IAID && l.Delegated == other.Delegated && l.Prefix == other.Prefix
}

// ClientDUID returns the client identifier of a message in hexadecimal digits; it is empty when there is none.
func ClientDUID(m *dhcpv6.Message) string {
	if id := m.Options.ClientID(); id != nil {
		return hex.EncodeToString(id.ToBytes())
	}
	return ""
}

// Leases lists the leases in a message: what a client asks for, or what a server answers. A valid lifetime of 0 in an answer means
// that the client has to give up the lease.
func Leases(m *dhcpv6.Message) []Lease {
	var list []Lease
	add := func(l Lease) {
		l.DUID = ClientDUID(m)
		list = append(list, l)
	}
	for _, ia := range m.Options.IANA() {
		for _, a := range ia.Options.Addresses() {
			addr, _ := netip.AddrFromSlice(a.IPv6Addr)
			add(Lease{IAID: iaid(ia.IaId), Prefix: netip.PrefixFrom(addr, 128), Preferred: a.PreferredLifetime, Valid: a.ValidLifetime})
		}
	}
	for _, ia := range m.Options.IAPD() {
		for _, p := range ia.Options.Prefixes() {
			if p.Prefix == nil {
				continue // ::/0, a hint
			}
			addr, _ := netip.AddrFromSlice(p.Prefix.IP)
			bits, _ := p.Prefix.Mask.Size()
			add(Lease{IAID: iaid(ia.IaId), Delegated: true, Prefix: netip.PrefixFrom(addr, bits), Preferred: p.PreferredLifetime, Valid: p.ValidLifetime})
		}
	}
	return list
}

func iaid(id [4]byte) uint32 {
	return uint32(id[0])<<24 | uint32(id[1])<<16 | uint32(id[2])<<8 | uint32(id[3])
}

// Status returns the status code of a message outside its IAs; a missing one means success (RFC 9915 section 21.13).
func Status(m *dhcpv6.Message) uint16 {
	if s := m.Options.Status(); s != nil {
		return uint16(s.StatusCode)
	}
	return 0
}
