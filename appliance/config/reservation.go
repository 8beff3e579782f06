package config

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/failover/lease"
)

// relayTextMax is the longest Interface-ID or Remote-ID of a reservation in
// octets: those that equipment sends are far shorter.
const relayTextMax = 255

// reservation is a reservation as the file has it.
type reservation struct {
	at *node
	dhcp6.Reservation
	addresses []placed[netip.Addr]
	prefixes  []placed[netip.Prefix]
	options   options
}

func (l *link) reservation(n *node) {
	r := reservation{at: n}
	n.object(fields{
		"duid":              func(n *node) { r.Client = n.duid() },
		"iaid":              func(n *node) { r.IAID, r.HasIAID = lease.IAID(n.integer(0, 1<<32-1, "")), true },
		"client-link-layer": func(n *node) { r.LinkLayer = n.linkLayer() },
		"interface-id":      func(n *node) { r.InterfaceID = n.relayText() },
		"remote-id":         func(n *node) { r.RemoteID = n.remoteID() },
		"addresses": func(n *node) {
			r.addresses = list(n, PerClientMax, (*node).address)
		},
		"prefixes": func(n *node) {
			r.prefixes = list(n, PerClientMax, (*node).prefix)
		},
		"hostname": func(n *node) { r.Hostname = n.hostname() },
		"options": func(n *node) {
			r.options = n.options()
			for key, value := range r.options.byKey {
				if child := n.find(key); len(value) == 0 && !child.flawed() {
					child.problem("a value: an option cannot be taken away from one client", "nothing")
				}
			}
		},
		"deny": func(n *node) { r.Deny = n.boolean() },
	})
	r.Addresses, r.Prefixes = values(r.addresses), values(r.prefixes)
	n.needs("duid", "client-link-layer", "interface-id", "remote-id")
	gives := len(r.Addresses)+len(r.Prefixes) > 0 || r.Hostname != "" || len(r.options.byKey) > 0
	switch {
	case n.flawed():
	case r.Deny && gives:
		n.problemIn("deny", "true, though the reservation gives something", `"deny", or what the client gets, not both`)
	case !r.Deny && !gives:
		n.warn("addresses, prefixes, a hostname, options or deny", "a reservation of nothing")
	}
	l.reservations = append(l.reservations, r)
}

// criteria says which clients a reservation is for, the same for equal ones.
func (r *reservation) criteria() string {
	iaid := ""
	if r.HasIAID {
		iaid = fmt.Sprint(r.IAID)
	}
	return fmt.Sprintf("%q %s %q %q %q", string(r.Client), iaid, r.LinkLayer, r.InterfaceID, r.RemoteID)
}

func (n *node) duid() lease.DUID {
	s, ok := n.text()
	if !ok {
		return ""
	}
	d, err := lease.ParseDUID(s)
	if err != nil {
		n.problem(fmt.Sprintf("%d to %d octets in hexadecimal, such as 00:03:00:01:02:00:00:00:00:02", lease.DUIDLenMin, lease.DUIDLenMax), "%s", quote(s))
	}
	return d
}

// linkLayer reads a link-layer address, as a relay's option 79 has it behind the
// hardware type (RFC 6939).
func (n *node) linkLayer() []byte {
	s, ok := n.text()
	if !ok {
		return nil
	}
	mac, err := net.ParseMAC(s)
	if err != nil {
		n.problem("a link-layer address such as 02:00:00:00:00:02", "%s", quote(s))
	}
	return mac
}

// relayText reads what a relay sends: text, or octets after "hex:". It is only
// ever compared (D-223, D-224).
func (n *node) relayText() []byte {
	s, ok := n.text()
	if !ok {
		return nil
	}
	b := []byte(s)
	if digits, isHex := strings.CutPrefix(s, "hex:"); isHex {
		b, ok = parseHex(digits)
	}
	if !ok || len(b) == 0 || len(b) > relayTextMax {
		n.problem(fmt.Sprintf("1 to %d octets, as text or in hexadecimal behind hex:", relayTextMax), "%s", quote(s))
		return nil
	}
	return b
}

// remoteID reads a Remote-ID: the relay vendor's enterprise number, a colon, and
// the identifier as relayText has it (RFC 4649 section 3).
func (n *node) remoteID() []byte {
	s, ok := n.text()
	if !ok {
		return nil
	}
	number, id, colon := strings.Cut(s, ":")
	enterprise, err := strconv.ParseUint(number, 10, 32)
	b := []byte(id)
	if digits, isHex := strings.CutPrefix(id, "hex:"); isHex {
		b, ok = parseHex(digits)
	}
	if !colon || err != nil || !ok || len(b) == 0 || len(b) > relayTextMax {
		n.problem(fmt.Sprintf("an enterprise number, a colon, and 1 to %d octets, as text or in hexadecimal behind hex:, such as 9:port7 or 9:hex:0a0b", relayTextMax), "%s", quote(s))
		return nil
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(enterprise)), b...)
}

// hostname reads a host name, with or without domain.
func (n *node) hostname() string {
	s, ok := n.text()
	if !ok {
		return ""
	}
	wrong := len(s) > lease.HostnameLenMax-2 // on the wire two octets more (RFC 1035 section 3.1)
	for label := range strings.SplitSeq(s, ".") {
		wrong = wrong || label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool { return notInKey(r) || r == '_' })
	}
	if wrong {
		n.problem("letters, digits and dashes, such as nas or nas.example.org (RFC 1123 section 2.1)", "%s", quote(s))
		return ""
	}
	return s
}

// checkReservations compares what is reserved with the link it is reserved on,
// and with the other reservations.
func (l *link) checkReservations() {
	criteria := map[string]*node{}
	addresses := map[netip.Addr]*node{}
	var prefixes []claim
	for i := range l.reservations {
		r := &l.reservations[i]
		if r.at.flawed() {
			continue
		}
		key := r.criteria()
		if before := criteria[key]; before != nil {
			r.at.problem("one reservation for a client", "for the same client as %s", before.place())
		} else {
			criteria[key] = r.at
		}
		for _, a := range r.addresses {
			if before := addresses[a.v]; before != nil {
				a.at.problem("each address once", "%v is reserved in %s already", a.v, before.place())
				continue
			}
			addresses[a.v] = a.at
			l.checkReservedAddress(a)
		}
		for _, p := range r.prefixes {
			if l.checkReservedPrefix(p) {
				prefixes = append(prefixes, claim{p.at, p.v, claimReservation})
			}
		}
	}
	collisions(prefixes, func(c, before claim) {
		c.at.problem("prefixes that do not overlap", "%v overlaps %v, reserved in %s", c.prefix, before.prefix, before.at.place())
	})
}

func (l *link) checkReservedAddress(a placed[netip.Addr]) {
	for _, s := range l.Subnets {
		if !s.Prefix.IsValid() { // a problem already
			return
		}
		if s.Prefix.Contains(a.v) {
			if why := reservedFor(a.v, s.Prefix); why != "" {
				a.at.problem("any other address of the subnet", "%v is %s", a.v, why)
			}
			return
		}
	}
	a.at.problem(fmt.Sprintf("addresses in the link's subnets: %s", listed(l.Subnets, func(s dhcp6.Subnet) netip.Prefix { return s.Prefix })), "%v is in none of them", a.v)
}

func (l *link) checkReservedPrefix(p placed[netip.Prefix]) bool {
	for _, pool := range l.PrefixPools {
		if !pool.Prefix.IsValid() { // a problem already
			return false
		}
		if !pool.Prefix.Overlaps(p.v) {
			continue
		}
		if p.v.Bits() <= pool.Prefix.Bits() || p.v.Bits() > dhcp6.DelegatedLengthMax {
			p.at.problem(fmt.Sprintf("a length from %d to %d, within the pool (RFC 9663 section 7)", pool.Prefix.Bits()+1, dhcp6.DelegatedLengthMax), "%v in pool %v", p.v, pool.Prefix)
			return false
		}
		return true
	}
	p.at.problem(fmt.Sprintf("prefixes in the link's prefix-pools: %s", listed(l.PrefixPools, func(p dhcp6.PrefixPool) netip.Prefix { return p.Prefix })), "%v is in none of them", p.v)
	return false
}

// reservedFor says for what an address is reserved that no host may have (RFC
// 4291 section 2.6.1, RFC 5453, D-236), or nothing.
func reservedFor(a netip.Addr, subnet netip.Prefix) string {
	if a == subnet.Addr() && subnet.Bits() < 127 { // RFC 6164: no anycast there
		return "the subnet-router anycast address"
	}
	b := a.As16()
	switch iid := binary.BigEndian.Uint64(b[8:]); {
	case subnet.Bits() != subnetLengthUsual:
		return ""
	case iid >= 0xfdff_ffff_ffff_ff80 && iid <= 0xfdff_ffff_ffff_ffff:
		return "a subnet anycast address (RFC 2526)"
	case iid >= 0x0200_5eff_fe00_0000 && iid <= 0x0200_5eff_feff_ffff:
		return "of IANA's reserved interface identifiers (RFC 5453)"
	}
	return ""
}

// listed names a few prefixes for a message.
func listed[T any](all []T, prefix func(T) netip.Prefix) string {
	const shown = 4
	var names []string
	for i, v := range all {
		if i == shown {
			names = append(names, fmt.Sprintf("and %d more", len(all)-shown))
			break
		}
		names = append(names, prefix(v).String())
	}
	if names == nil {
		return "there are none"
	}
	return strings.Join(names, ", ")
}
