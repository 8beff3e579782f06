package dhcp6

import (
	"net/netip"
	"slices"

	"github.com/tandem6/tandem6/failover/lease"
)

// Territory is all that can be leased on one link.
type Territory struct {
	Subnets  []netip.Prefix        // of which addresses are leased
	Pools    []PrefixPool          // of which prefixes are delegated
	Reserved map[netip.Prefix]bool // kept for certain clients, in a subnet or pool or not
}

// Territory returns what can be leased on the link of that name; the empty one
// if there is none.
func (c *Config) Territory(link string) Territory {
	t := Territory{Reserved: map[netip.Prefix]bool{}}
	l := c.Find(link)
	if l == nil {
		return t
	}
	for i := range l.Subnets {
		t.Subnets = append(t.Subnets, l.Subnets[i].Prefix)
	}
	t.Pools = slices.Clone(l.PrefixPools)
	for i := range l.Reservations {
		r := &l.Reservations[i]
		for _, a := range r.Addresses {
			t.Reserved[lease.Address(a)] = true
		}
		for _, p := range r.Prefixes {
			t.Reserved[p] = true
		}
	}
	return t
}

// Contains reports whether p can be a lease on the link: an address of a
// subnet, a prefix out of a pool, or something reserved. Ranges, delegated
// lengths and ends do not matter: what an earlier configuration gave out runs
// down there.
func (t *Territory) Contains(p netip.Prefix) bool {
	within := func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Contains(p.Addr()) }
	switch {
	case t.Reserved[p]:
		return true
	case p.Bits() == 128:
		return slices.ContainsFunc(t.Subnets, within)
	case p.Bits() > DelegatedLengthMax:
		return false
	}
	return slices.ContainsFunc(t.Pools, func(o PrefixPool) bool { return within(o.Prefix) })
}
