package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/failover/lease"
)

// Limits of what a file may list: far above what a box serves, so that memory
// and the time for a reconfiguration stay in sight.
const (
	LinksMax        = 1024 // a VLAN each, on several ports
	SubnetsMax      = 64   // of one link
	PoolsMax        = 1024 // of one subnet
	PrefixPoolsMax  = 64   // of one link
	RelaysMax       = 256  // sources, and link-addresses, of one link
	ReservationsMax = 10_000
	PerClientMax    = 64 // addresses, and prefixes, of one reservation: what one IA can hold
)

// Lengths of prefixes.
const (
	// SubnetLengthMin keeps a slip of the finger from taking the whole Internet
	// for one link; a provider's whole allocation is a /32.
	SubnetLengthMin = 32
	SubnetLengthMax = 127 // a link with two hosts (RFC 6164)
	// PrefixPoolLengthMin is shorter than any allocation.
	PrefixPoolLengthMin = 16
	subnetLengthUsual   = 64
)

// lifetimeMax keeps a typing error from becoming a lease for a century; who wants
// leases that never end writes so.
const lifetimeMax = lease.Infinity

// link is a link as the file has it.
type link struct {
	at *node
	dhcp6.Link
	subnets      []*node
	pools        [][]placed[dhcp6.Range] // by subnet
	prefixPools  []*node
	linkAddress  []placed[netip.Addr]
	lifetimes    lifetimes
	options      options
	optionsAt    *node
	reservations []reservation
	ra           *advertisement
	// unvalidated lets packets from the interface be forwarded whatever their source.
	unvalidated bool
}

// link reads one link.
func (f *file) link(n *node) {
	l := &link{at: n, Link: dhcp6.Link{Name: n.key, RapidCommit: true, CreateOnRenew: true}}
	if !isLinkName(n.key) {
		n.problem(fmt.Sprintf("names of links: 1 to %d letters, digits, dots, dashes and underscores, the first a letter or digit", lease.LinkNameLenMax), "the name %s", quote(n.key))
	}
	n.object(fields{
		"interface":             func(n *node) { l.Interface = n.interfaceName() },
		"subnets":               func(n *node) { n.elements(SubnetsMax, l.subnet) },
		"prefix-pools":          func(n *node) { n.elements(PrefixPoolsMax, l.prefixPool) },
		"rapid-commit":          func(n *node) { l.RapidCommit = n.boolean() },
		"create-on-renew":       func(n *node) { l.CreateOnRenew = n.boolean() },
		"preference":            func(n *node) { l.Preference = uint8(n.integer(0, 255, "")) },
		"address-policy":        func(n *node) { l.RandomAddresses = n.oneOf("stable", "random") == 1 },
		"relays":                l.relays,
		"lifetimes":             func(n *node) { l.lifetimes = n.lifetimes() },
		"options":               func(n *node) { l.options, l.optionsAt = n.options(), n },
		"reservations":          func(n *node) { n.elements(ReservationsMax, l.reservation) },
		"router-advertisements": func(n *node) { l.ra = n.advertisement() },
		"source-validation":     func(n *node) { l.unvalidated = !n.boolean() },
	})
	f.links = append(f.links, l)
}

func isLinkName(s string) bool {
	if s == "" || len(s) > lease.LinkNameLenMax || strings.ContainsRune("-_.", rune(s[0])) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return notInKey(r) && r != '.' })
}

func (l *link) subnet(n *node) {
	var s dhcp6.Subnet
	var pools []placed[dhcp6.Range]
	whole := true
	n.object(fields{
		"prefix": func(n *node) { s.Prefix = n.unicastPrefix(SubnetLengthMin, SubnetLengthMax, "") },
		"pools": func(n *node) {
			whole = false
			pools = list(n, PoolsMax, (*node).pool)
		},
		"retired":         func(n *node) { s.Retired = n.boolean() },
		"preferred-until": func(n *node) { s.PreferredUntil = n.moment() },
		"valid-until":     func(n *node) { s.ValidUntil = n.moment() },
	})
	n.needs("prefix")
	n.endsInOrder(s.PreferredUntil, s.ValidUntil)
	if whole && s.Prefix.IsValid() {
		pools = []placed[dhcp6.Range]{{n, rangeOf(s.Prefix)}}
	}
	s.Pools = values(pools)
	l.Subnets = append(l.Subnets, s)
	l.subnets = append(l.subnets, n)
	l.pools = append(l.pools, pools)
}

// pool reads a range of addresses: two addresses with a dash between them, or a
// prefix.
func (n *node) pool() (r dhcp6.Range) {
	s, ok := n.text()
	if !ok {
		return r
	}
	first, last, dash := strings.Cut(s, "-")
	if !dash {
		if p := n.prefix(); p.IsValid() {
			r = rangeOf(p)
		}
		return r
	}
	a, errA := netip.ParseAddr(strings.TrimSpace(first))
	b, errB := netip.ParseAddr(strings.TrimSpace(last))
	switch {
	case errA != nil || errB != nil || !a.Is6() || !b.Is6() || a.Zone() != "" || b.Zone() != "":
		n.problem("two addresses such as 2001:db8::1000-2001:db8::1fff, or a prefix", "%s", quote(s))
	case b.Less(a):
		n.problem("the lower address first", "%v-%v", a, b)
	default:
		r = dhcp6.Range{First: a, Last: b}
	}
	return r
}

// rangeOf is the range of all addresses of a prefix.
func rangeOf(p netip.Prefix) dhcp6.Range {
	b := p.Addr().As16()
	for i := p.Bits(); i < 128; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return dhcp6.Range{First: p.Addr(), Last: netip.AddrFrom16(b)}
}

func (l *link) prefixPool(n *node) {
	p := dhcp6.PrefixPool{Length: dhcp6.DelegatedLengthMax} // D-252
	n.object(fields{
		"prefix": func(n *node) {
			p.Prefix = n.unicastPrefix(PrefixPoolLengthMin, dhcp6.DelegatedLengthMax-1, ", shorter than what is delegated from it")
		},
		"delegated-length": func(n *node) { p.Length = int(n.integer(1, 128, "")) },
		"excluded-prefix":  func(n *node) { p.Exclude = n.excluded() },
		"preferred-until":  func(n *node) { p.PreferredUntil = n.moment() },
		"valid-until":      func(n *node) { p.ValidUntil = n.moment() },
	})
	n.needs("prefix")
	n.endsInOrder(p.PreferredUntil, p.ValidUntil)
	if !n.flawed() {
		n.checkLengths(p)
	}
	l.PrefixPools = append(l.PrefixPools, p)
	l.prefixPools = append(l.prefixPools, n)
}

// excluded reads the part of each delegated prefix that this box keeps. Its
// subnet-id is a number in hexadecimal.
func (n *node) excluded() (e dhcp6.Exclude) {
	n.object(fields{
		"length": func(n *node) { e.Length = int(n.integer(2, 128, "")) },
		"subnet-id": func(n *node) {
			for _, b := range n.hex(8) {
				e.SubnetID = e.SubnetID<<8 | uint64(b)
			}
		},
	})
	n.needs("length")
	return e
}

// checkLengths compares the lengths of a pool, of what is delegated from it (D-253)
// and of what is excluded from that (RFC 6603 section 4.2).
func (n *node) checkLengths(p dhcp6.PrefixPool) {
	if p.Length <= p.Prefix.Bits() || p.Length > dhcp6.DelegatedLengthMax {
		n.problemIn("delegated-length", fmt.Sprint(p.Length),
			fmt.Sprintf("%d to %d: longer than the pool's prefix, and no longer than hosts can use (RFC 9663 section 7)", p.Prefix.Bits()+1, dhcp6.DelegatedLengthMax))
		return
	}
	if p.Exclude.Length == 0 {
		return
	}
	// A reserved prefix may be shorter than the pool's delegated length, down to
	// the pool itself, and the bits between have to fit a SubnetID.
	most := min(128, p.Prefix.Bits()+64)
	if bits := p.Exclude.Length - p.Length; bits < 1 || p.Exclude.Length > most {
		n.problemIn("excluded-prefix.length", fmt.Sprint(p.Exclude.Length), fmt.Sprintf("%d to %d: longer than the delegated prefix", p.Length+1, most))
	} else if bits < 64 && p.Exclude.SubnetID>>bits != 0 {
		n.problemIn("excluded-prefix.subnet-id", fmt.Sprintf("%x", p.Exclude.SubnetID), fmt.Sprintf("0 to %x: a /%d has so many parts of length %d", uint64(1)<<bits-1, p.Length, p.Exclude.Length))
	}
}

// endsInOrder checks the ends of a prefix.
func (n *node) endsInOrder(preferred, valid lease.Time) {
	if preferred != 0 && valid != 0 && preferred > valid {
		n.problemIn("preferred-until", preferred.String(), "at most valid-until, "+valid.String())
	}
}

func (l *link) relays(n *node) {
	n.object(fields{
		"from": func(n *node) {
			l.RelayFrom = values(list(n, RelaysMax, (*node).addressOrPrefix))
		},
		"link-addresses": func(n *node) {
			n.elements(RelaysMax, func(n *node) {
				a := n.address()
				if !a.IsValid() {
					return
				}
				if !isUnicast(a) {
					n.problem("a global or unique local unicast address", "%v", a)
				}
				l.RelayLinkAddresses = append(l.RelayLinkAddresses, a)
				l.linkAddress = append(l.linkAddress, placed[netip.Addr]{n, a})
			})
		},
	})
}

// addressOrPrefix reads where relays send from.
func (n *node) addressOrPrefix() netip.Prefix {
	s, ok := n.text()
	if !ok {
		return netip.Prefix{}
	}
	p, err := lease.ParsePrefix(s)
	if err != nil || p.Addr().IsMulticast() {
		n.problem("an IPv6 address, or a prefix without bits behind its length", "%s", quote(s))
		return netip.Prefix{}
	}
	return p
}

// lifetimes are the keys of a "lifetimes" object; what is zero was left out.
type lifetimes struct {
	at *node
	dhcp6.Lifetimes
}

func (n *node) lifetimes() lifetimes {
	l := lifetimes{at: n}
	n.object(fields{
		"preferred": func(n *node) { l.Preferred = n.seconds(dhcp6.LifetimeMin, lifetimeMax) },
		"valid":     func(n *node) { l.Valid = n.seconds(dhcp6.LifetimeMin, lifetimeMax) },
		"t1":        func(n *node) { l.T1 = n.seconds(1, lifetimeMax) },
		"t2":        func(n *node) { l.T2 = n.seconds(1, lifetimeMax) },
	})
	return l
}

// over is l with what it leaves out taken from base.
func (l lifetimes) over(base dhcp6.Lifetimes) dhcp6.Lifetimes {
	return dhcp6.Lifetimes{
		Preferred: cmp.Or(l.Preferred, base.Preferred),
		Valid:     cmp.Or(l.Valid, base.Valid),
		T1:        cmp.Or(l.T1, base.T1),
		T2:        cmp.Or(l.T2, base.T2),
	}
}

// check compares lifetimes with each other (D-143). All are what counts in the
// end, inherited ones included.
func (l lifetimes) check(all dhcp6.Lifetimes) {
	if l.at == nil || l.at.flawed() {
		return
	}
	t2 := cmp.Or(all.T2, all.Preferred)
	if all.T2 == 0 && all.Preferred != lease.Infinity {
		t2 = uint32(uint64(all.Preferred) * 8 / 10) // RFC 9915 section 21.4
	}
	switch {
	case all.Preferred > all.Valid:
		l.at.problemIn("preferred", words(all.Preferred), "at most the valid lifetime, "+words(all.Valid))
	case all.T2 > all.Preferred:
		l.at.problemIn("t2", words(all.T2), "at most the preferred lifetime, "+words(all.Preferred))
	case all.T1 > t2:
		l.at.problemIn("t1", words(all.T1), "at most T2, "+words(t2))
	case all.Valid < lifetimeLow:
		l.at.warn("lifetimes of a minute or more", "leases of %s make each client renew all the time", words(all.Valid))
	}
}

// lifetimeLow is a valid lifetime in seconds below which renewals outweigh
// everything else.
const lifetimeLow = 60

// words is a time in seconds for a message.
func words(seconds uint32) string {
	if seconds == lease.Infinity {
		return infinite
	}
	return fmt.Sprintf("%d seconds", seconds)
}
