package config

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/tandem6/tandem6/appliance/dhcp6"
)

// place names a value in messages about another one.
func (n *node) place() string {
	line, _ := n.doc.position(n.offset())
	return fmt.Sprintf("%s (line %d)", n.path(), line)
}

// claim is a prefix that something in the file takes.
type claim struct {
	at     *node
	prefix netip.Prefix
	kind   claimKind
}

type claimKind uint8

const (
	claimNetwork     claimKind = iota // of an interface's address, or advertised
	claimSubnet                       // leased from
	claimPool                         // delegated from
	claimReservation                  // delegated to one client
	claimKinds       = iota
)

func (k claimKind) String() string {
	return [...]string{"the network", "subnet", "prefix pool", "reserved prefix"}[k]
}

// collide says which kinds may not share addresses. A network may be a subnet,
// and another interface's network as well.
var collide = [claimKinds][claimKinds]bool{
	claimNetwork:     {claimPool: true},
	claimSubnet:      {claimSubnet: true, claimPool: true},
	claimPool:        {claimNetwork: true, claimSubnet: true, claimPool: true},
	claimReservation: {claimReservation: true},
}

// collisions calls found for each claim that shares addresses with another one
// of a kind that it may not, once for each kind. What comes later in the file is
// at fault. Prefixes either nest or share nothing, so one walk in the order of
// their addresses finds all.
func collisions(claims []claim, found func(c, with claim)) {
	slices.SortStableFunc(claims, func(a, b claim) int {
		return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()), cmp.Compare(a.at.offset(), b.at.offset()))
	})
	var widest [claimKinds]*claim // of each kind, the last one that contains what follows, if any does
	for i := range claims {
		c := &claims[i]
		for kind, w := range widest {
			if w == nil || !w.prefix.Contains(c.prefix.Addr()) || !collide[c.kind][kind] {
				continue
			}
			if w.at.offset() > c.at.offset() {
				found(*w, *c)
			} else {
				found(*c, *w)
			}
		}
		if w := widest[c.kind]; w == nil || !w.prefix.Contains(c.prefix.Addr()) {
			widest[c.kind] = c
		}
	}
}

// check compares everything in the file with everything else.
func (f *file) check() {
	f.checkNetwork()
	f.checkClaims()
	f.checkLinkAddresses()
	interfaces := map[string]*link{}
	for _, l := range f.links {
		l.checkReach()
		l.checkSourceValidation()
		l.checkPools()
		l.checkReservations()
		if before := interfaces[l.Interface]; before != nil && l.Interface != "" {
			l.at.problemIn("interface", l.Interface+" belongs to "+before.at.place(), "an interface of its own for each link")
		} else {
			interfaces[l.Interface] = l
		}
		f.checkRouterAddress(l)
	}
	f.checkReservationCount()
	if len(f.links) == 0 {
		f.root.warn(`"links"`, "no links: nobody is served")
	}
}

func (f *file) checkReservationCount() {
	n := 0
	for _, l := range f.links {
		n += len(l.reservations)
	}
	if n > ReservationsMax {
		f.root.problem(fmt.Sprintf("at most %d", ReservationsMax), "%d reservations in all", n)
	}
}

// checkReach refuses a link that no packet can come from.
func (l *link) checkReach() {
	switch {
	case l.at.child("interface").flawed() || l.at.child("relays").flawed():
	case l.Interface == "" && len(l.RelayFrom) == 0:
		l.at.problem(`an "interface", or the sources of its relays in "relays": {"from": [...]}`, "neither interface nor relays: nobody can reach it")
	case l.Interface != "" && len(l.RelayLinkAddresses) > 0 && len(l.RelayFrom) == 0:
		l.at.problemIn("relays", "link-addresses, but no sources of relays", `the sources from which relays are trusted in "from"`)
	}
}

// checkSourceValidation refuses what would have no effect.
func (l *link) checkSourceValidation() {
	if at := l.at.child("source-validation"); at != nil && l.Interface == "" && !l.at.child("interface").flawed() {
		at.problem(`an "interface" of the link`, "source validation on a link that is only reached through relays")
	}
}

// checkClaims finds prefixes that are taken twice: by subnets, prefix pools and
// the networks of interfaces, whatever their links (D-264).
func (f *file) checkClaims() {
	var claims []claim
	add := func(at *node, p netip.Prefix, kind claimKind) {
		if p.IsValid() {
			claims = append(claims, claim{at, p.Masked(), kind})
		}
	}
	for _, i := range f.interfaces {
		for _, a := range i.addresses {
			add(a.at, a.v, claimNetwork)
		}
	}
	for _, l := range f.links {
		for i, s := range l.Subnets {
			add(l.subnets[i].find("prefix"), s.Prefix, claimSubnet)
		}
		for i, p := range l.PrefixPools {
			add(l.prefixPools[i].find("prefix"), p.Prefix, claimPool)
		}
		if l.ra != nil {
			for _, p := range l.ra.prefixes {
				add(p.at.find("prefix"), p.v.Prefix, claimNetwork)
			}
		}
	}
	collisions(claims, func(c, with claim) {
		c.at.problem("prefixes that do not overlap", "%v overlaps %v %v in %s", c.prefix, with.kind, with.prefix, with.at.place())
	})
}

// checkLinkAddresses refuses a relay's address that stands for two links.
func (f *file) checkLinkAddresses() {
	type owned struct {
		prefix netip.Prefix
		at     *node
		by     *link
	}
	var subnets []owned
	for _, l := range f.links {
		for i, s := range l.Subnets {
			if s.Prefix.IsValid() {
				subnets = append(subnets, owned{s.Prefix, l.subnets[i], l})
			}
		}
	}
	slices.SortFunc(subnets, func(a, b owned) int { return a.prefix.Addr().Compare(b.prefix.Addr()) })
	seen := map[netip.Addr]*node{}
	for _, l := range f.links {
		for _, a := range l.linkAddress {
			if before := seen[a.v]; before != nil {
				a.at.problem("each address once, on one link", "%v stands in %s already", a.v, before.place())
				continue
			}
			seen[a.v] = a.at
			after, _ := slices.BinarySearchFunc(subnets, a.v, func(s owned, a netip.Addr) int {
				return cmp.Or(s.prefix.Addr().Compare(a), -1)
			})
			if after == 0 {
				continue
			}
			if s := subnets[after-1]; s.prefix.Contains(a.v) && s.by != l {
				a.at.problem("an address that is in no other link's subnet", "%v is in %v, %s", a.v, s.prefix, s.at.place())
			}
		}
	}
}

// checkPools compares the pools of each subnet with it and with each other.
func (l *link) checkPools() {
	for i, pools := range l.pools {
		s := &l.Subnets[i]
		if !s.Prefix.IsValid() {
			continue
		}
		if s.Prefix.Bits() != subnetLengthUsual {
			l.subnets[i].find("prefix").warn("a /64", "%v: hosts make their own addresses only in a /64 (RFC 4862 section 5.5.3)", s.Prefix)
		}
		var inside []placed[dhcp6.Range]
		for _, p := range pools {
			switch {
			case !p.v.First.IsValid(): // a problem already
			case !s.Prefix.Contains(p.v.First) || !s.Prefix.Contains(p.v.Last):
				p.at.problem("addresses in "+s.Prefix.String(), "%v-%v is not in the subnet", p.v.First, p.v.Last)
			default:
				inside = append(inside, p)
			}
		}
		overlaps(inside)
		if few, small := sizeBelow(inside, scannable); small && !s.Retired && len(inside) > 0 && s.Prefix.Bits() <= 120 {
			inside[0].at.warn(fmt.Sprintf("pools of %d addresses or more, best the whole subnet", scannable), "%d addresses in all: whoever scans them finds every host (RFC 7824 section 4.3)", few)
		}
	}
}

// scannable is the size of a pool that is found out in no time.
const scannable = 256

// overlaps adds a problem for each pool that shares addresses with another one.
func overlaps(pools []placed[dhcp6.Range]) {
	pools = slices.Clone(pools)
	slices.SortStableFunc(pools, func(a, b placed[dhcp6.Range]) int { return a.v.First.Compare(b.v.First) })
	for i := 1; i < len(pools); i++ {
		before, p := pools[i-1], pools[i] // before reaches furthest of those up to it
		if p.v.First.Compare(before.v.Last) > 0 {
			continue
		}
		later, earlier := p, before
		if before.at.offset() > p.at.offset() {
			later, earlier = before, p
		}
		later.at.problem("pools that do not overlap", "%v-%v overlaps %v-%v, %s", later.v.First, later.v.Last, earlier.v.First, earlier.v.Last, earlier.at.place())
		if before.v.Last.Compare(p.v.Last) > 0 {
			pools[i] = before
		}
	}
}

// sizeBelow counts the addresses of pools as long as they are fewer than limit.
func sizeBelow(pools []placed[dhcp6.Range], limit uint64) (n uint64, below bool) {
	for _, p := range pools {
		first, last := p.v.First.As16(), p.v.Last.As16()
		lo, borrow := bits.Sub64(binary.BigEndian.Uint64(last[8:]), binary.BigEndian.Uint64(first[8:]), 0)
		hi, _ := bits.Sub64(binary.BigEndian.Uint64(last[:8]), binary.BigEndian.Uint64(first[:8]), borrow)
		if hi != 0 || lo >= limit-n-1 {
			return 0, false
		}
		n += lo + 1
	}
	return n, true
}

// checkRouterAddress warns of a subnet that this box has no address in: it has no
// route to the hosts there.
func (f *file) checkRouterAddress(l *link) {
	i := slices.IndexFunc(f.interfaces, func(i iface) bool { return i.Name == l.Interface })
	if i < 0 || len(f.interfaces[i].addresses) == 0 {
		return
	}
	for k, s := range l.Subnets {
		inside := func(a placed[netip.Prefix]) bool { return s.Prefix.Contains(a.v.Addr()) }
		if s.Prefix.IsValid() && !s.Retired && !slices.ContainsFunc(f.interfaces[i].addresses, inside) {
			l.subnets[k].find("prefix").warn(fmt.Sprintf("an address such as %v/%d in interfaces.%s", s.Prefix.Addr().Next(), s.Prefix.Bits(), l.Interface),
				"%s has no address in %v: this box has no route to its hosts", l.Interface, s.Prefix)
		}
	}
}
