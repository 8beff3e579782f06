package dhcp6

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/tandem6/tandem6/failover/lease"
)

// chooseAddress finds an address in a subnet for a client that has none there:
// the reserved one, one that it wishes for, one that it had or was offered, or
// one that only the holder of the key can foresee.
func (x *exchange) chooseAddress(subnet int, in *requestedIA, mine *Reservation) (netip.Prefix, bool) {
	s := &x.link.Subnets[subnet]
	ia := x.ia(in.typ, in.id)
	if mine != nil {
		for _, a := range mine.Addresses {
			if p := lease.Address(a); s.Prefix.Contains(a) && x.free(p, ia, mine) {
				return p, true
			}
		}
	}
	for _, l := range in.leases {
		if s.Prefix.Contains(l.prefix.Addr()) && x.inPools(l.prefix) && x.free(l.prefix, ia, mine) {
			return l.prefix, true
		}
	}
	return x.chooseAmong(x.link.addressPools[subnet], ia, mine)
}

// ours has choose find a lease of our own or, when there is none left for sure
// and the policy permits it, one of the partner's (RFC 8156 section 8.4.1, Q-61).
func (x *exchange) ours(choose func() (netip.Prefix, bool)) (netip.Prefix, bool) {
	x.partners, x.cut = false, false
	p, ok := choose()
	if !ok && x.partners && !x.cut {
		x.want = LastResort
		p, ok = choose()
		x.want = Ours
	}
	return p, ok
}

// inPools reports whether a lease lies in a pool of this link.
func (x *exchange) inPools(l netip.Prefix) bool {
	p, _ := x.s.pools.find(l)
	return p != nil && p.link == x.link
}

// fillPrefixes grants the reserved prefixes, or one of the length that fits the
// client's wish best (RFC 8168 section 3). The wish is not remembered (D-250).
func (x *exchange) fillPrefixes(in *requestedIA, out *answeredIA, mine *Reservation) {
	ia := x.ia(in.typ, in.id)
	if mine != nil {
		for _, p := range guaFirst(mine.Prefixes) {
			if x.free(p, ia, mine) && x.room(in.typ) {
				x.take(out, p)
			}
		}
	}
	if out.holds(nil) || !x.room(in.typ) {
		return
	}
	if p, ok := x.ours(func() (netip.Prefix, bool) { return x.choosePrefix(in, ia, mine) }); ok {
		x.take(out, p)
	}
}

// choosePrefix finds a prefix that is not reserved: the one that the client
// wishes for (D-249), or one of a fitting length.
func (x *exchange) choosePrefix(in *requestedIA, ia lease.IA, mine *Reservation) (netip.Prefix, bool) {
	wish := 0
	for _, l := range in.leases {
		if specified(l.prefix) && x.inPools(l.prefix) && x.free(l.prefix, ia, mine) {
			return l.prefix, true
		}
		if wish == 0 || !specified(l.prefix) && l.prefix.Bits() != 0 {
			wish = l.prefix.Bits()
		}
	}
	if wish == 0 {
		return x.chooseAmong(x.link.prefixPools, ia, mine)
	}
	for _, p := range x.byWish(wish) {
		if c, ok := x.chooseFrom(p, ia, mine); ok {
			return c, true
		}
	}
	return netip.Prefix{}, false
}

// guaFirst puts global prefixes before unique local ones (RFC 9818 LPD-9, D-263).
func guaFirst(ps []netip.Prefix) []netip.Prefix {
	return slices.SortedStableFunc(slices.Values(ps), func(a, b netip.Prefix) int {
		switch ula := a.Addr().IsPrivate(); {
		case ula == b.Addr().IsPrivate():
			return 0
		case ula:
			return 1
		}
		return -1
	})
}

// byWish orders the prefix pools by a wished length: exactly it, else the next
// shorter, that is larger, prefixes, else the nearest longer ones (D-247,
// D-248; a hint is only a preference).
func (x *exchange) byWish(length int) []*pool {
	if len(x.link.prefixPools) < 2 {
		return x.link.prefixPools
	}
	rank := func(p *pool) int {
		if p.length <= length {
			return length - p.length
		}
		return 128 + p.length
	}
	return slices.SortedStableFunc(slices.Values(x.link.prefixPools), func(a, b *pool) int { return cmp.Compare(rank(a), rank(b)) })
}

// chooseAmong finds a free lease in one of several pools that are as good as
// each other: one that the client had, else one from the first that has any.
func (x *exchange) chooseAmong(pools []*pool, ia lease.IA, mine *Reservation) (netip.Prefix, bool) {
	if len(pools) > 1 {
		for _, p := range pools {
			if c, ok := x.hadBefore(p, ia, mine); ok {
				return c, true
			}
		}
	}
	for _, p := range pools {
		if c, ok := x.chooseFrom(p, ia, mine); ok {
			return c, true
		}
	}
	return netip.Prefix{}, false
}

// chooseFrom finds a free lease in a pool.
func (x *exchange) chooseFrom(p *pool, ia lease.IA, mine *Reservation) (netip.Prefix, bool) {
	prefix, over := p.source(x.now.Wall)
	if over {
		return netip.Prefix{}, false
	}
	// What it had may wait for the partner, and the pool be full but for that.
	if c, ok := x.hadBefore(p, ia, mine); ok {
		return c, true
	}
	if p.full() {
		return netip.Prefix{}, false
	}
	// Somebody else's remembered lease is second choice: its owner may return.
	var second netip.Prefix
	var start u128
	freeIsOurs := true // as far as has been seen
	for n := range uint32(hashTries) {
		i := mod(x.pick(prefix, ia, n), p.last)
		if n == 0 {
			start = i
		}
		c := p.at(i)
		if !x.free(c, ia, mine) {
			if x.refused && x.t.Get(c) == nil {
				freeIsOurs = false
			}
			continue
		}
		if b := x.t.Get(c); b == nil || b.Client == "" {
			return c, true
		}
		if !second.IsValid() {
			second = c
		}
	}
	if second.IsValid() {
		return second, true
	}
	if p.marks == nil && freeIsOurs {
		x.cut = true // too large to be searched, so something may be left
	}
	return x.search(p, start, ia, mine)
}

// search looks at what is left of a pool one by one, from a place on that hangs
// on the client, so that not all go for the same. The partner's prefixes it
// only finds: one speaks for all of its kind.
func (x *exchange) search(p *pool, start u128, ia lease.IA, mine *Reservation) (netip.Prefix, bool) {
	for i := range p.freeFrom(start.lo) {
		c := p.at(i)
		switch {
		case !x.looks():
			return netip.Prefix{}, false
		case x.free(c, ia, mine):
			return c, true
		}
		if x.refused && p.prefix != nil {
			break
		}
	}
	for c := range p.backupFrom(x.t, start) {
		_, ok := p.index(c)
		switch {
		case !x.looks():
			return netip.Prefix{}, false
		case !ok: // left over from another configuration
			continue
		case x.free(c, ia, mine):
			return c, true
		}
		if x.refused {
			break
		}
	}
	return netip.Prefix{}, false
}

// looks counts one lease more that a search looks at. If that is too many, the
// search ends.
func (x *exchange) looks() bool {
	if x.searched[x.want] == searchesMax {
		x.cut = true
		return false
	}
	x.searched[x.want]++
	return true
}

// pick is the n-th number of the client: always the same, unless the link wants
// addresses that cannot be linked to each other.
func (x *exchange) pick(prefix netip.Prefix, ia lease.IA, n uint32) [32]byte {
	if x.link.RandomAddresses {
		var r [32]byte
		for i := 0; i < len(r); i += 8 {
			binary.BigEndian.PutUint64(r[i:], x.s.rnd.Uint64())
		}
		return r
	}
	return hashID(prefix, ia.Client, ia.ID, n, x.s.key[:])
}

// hadBefore finds a lease of the pool that was offered to this identity
// association, that it held, or that the client held under another IAID while
// it holds none now (routers invent new IAIDs when they start; D-239). Where
// addresses are to be random, only what was offered counts, or a full pool would
// hold nothing else for the client.
func (x *exchange) hadBefore(p *pool, ia lease.IA, mine *Reservation) (netip.Prefix, bool) {
	var found netip.Prefix
	x.s.offers.of(x.now.Mono, ia, func(c netip.Prefix) bool {
		if _, ok := p.index(c); ok && x.free(c, ia, mine) {
			found = c
		}
		return !found.IsValid()
	})
	if found.IsValid() || x.link.RandomAddresses && !p.full() {
		return found, found.IsValid()
	}
	holdsOne := false
	for _, b := range x.bindings {
		if b.Type != ia.Type {
			continue
		}
		if b.Status == lease.Active {
			holdsOne = true
			continue
		}
		if _, ok := p.index(b.Prefix); !ok || !x.free(b.Prefix, ia, mine) {
			continue
		}
		if b.IA == ia {
			return b.Prefix, true
		}
		found = b.Prefix
	}
	return found, found.IsValid() && !holdsOne
}
