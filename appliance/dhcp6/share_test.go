package dhcp6

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
)

// many makes client n, of as many as it takes.
func (d *desk) many(n int) *client {
	c := d.client(n)
	c.duid = lease.DUID(u32(0x0003_0001, uint32(n)))
	return c
}

// Which server gives out which addresses in which state: F-162, F-163, F-168 to
// F-170, F-336, F-355, Q-60. The primary has the odd ones, the secondary the even
// ones, for ever.
func TestHalvesOfAddresses(t *testing.T) {
	for _, tt := range []struct {
		role    lease.Role
		state   state
		later   time.Duration // after PARTNER-DOWN began
		clients int
	}{
		{lease.Primary, normal, 0, 10000}, {lease.Secondary, normal, 0, 500}, {lease.Primary, interrupted, 0, 500}, {lease.Secondary, interrupted, 0, 10000},
		{lease.Primary, partnerDown, 0, 500}, {lease.Primary, partnerDown, 2 * time.Hour, 500}, {lease.Secondary, partnerDown, 0, 500}, {lease.Secondary, partnerDown, 2 * time.Hour, 500},
		{lease.Primary, resolution, 0, 500}, {lease.Secondary, resolution, 0, 500}, {lease.Primary, conflictDone, 0, 500},
	} {
		odd := byte(0)
		if tt.role == lease.Primary {
			odd = 1
		}
		what := name("%v in %v after %v", tt.role, tt.state, tt.later)
		d, _ := deskIn(t, tt.role, tt.state)
		d.now.Mono += tt.later
		for n := range tt.clients {
			c := d.many(n)
			// Hints of either half: one may be followed, the other not.
			hint := lease.Address(toU128(addr("2001:db8:0:1::1:0")).add(u128{0, uint64(n)}).addr())
			p := c.send(Request, na(1, hint)).na(1).only()
			if !p.IsValid() || p.Addr().As16()[15]&1 != odd {
				t.Fatalf("%s: client %d got %v", what, n, p)
			}
			eq(t, what+": hint followed", p == hint, byte(n)&1 == odd)
			if n%100 == 0 { // F-337: what is there is renewed, whosever it is
				eq(t, what+": Rebind", tt.state == normal && tt.role == lease.Secondary || c.send(Rebind, na(1, p)).na(1).only() == p, true)
			}
		}
		d.recount()

		// A small pool: every one of the own half, none of the other.
		d, _ = deskIn(t, tt.role, tt.state, func(l *Link) { l.Subnets[0].Pools = poolOf("2001:db8:0:1::1000", "2001:db8:0:1::101e") })
		d.now.Mono += tt.later
		size := 16 - int(odd)
		for n := range 40 {
			i := d.many(n).send(Request, na(1)).na(1)
			if p := i.only(); p.IsValid() != (n < size) || p.IsValid() && p.Addr().As16()[15]&1 != odd || !p.IsValid() && i.status != statusNoAddrsAvail {
				t.Errorf("%s: client %d of %d got %+v", what, n, size, i)
			}
		}
		d.recount()
	}
}

// F-166: the lease is renewed by whoever answers, though a new one of its half
// would be the other's to give.
func TestRenewalOfTheOtherHalf(t *testing.T) {
	d, h := deskIn(t, lease.Primary, normal)
	c := d.client(1)
	held := c.obtain(na(1), pd(1))
	d.give(prefix("2001:db8:8000:100::/56"))
	h.role = lease.Secondary
	for _, s := range []state{normal, interrupted, partnerDown, resolution} {
		h.state = s
		d.pass(10)
		for _, i := range c.send(Renew, held.request()...).ias {
			if i.only() != held.ia(i.typ, 1).only() {
				t.Errorf("%v: %+v", s, i)
			}
		}
	}
}

// eight is a pool of eight prefixes.
func eight(l *Link) { l.PrefixPools = []PrefixPool{{Prefix: prefix("2001:db8:8000::/53"), Length: 56}} }

// nth is the n-th prefix of eight.
func nth(n int) netip.Prefix { return prefix(fmt.Sprintf("2001:db8:8000:%x::/56", n<<8)) }

// Which prefixes a server delegates: F-172, F-174 to F-178, F-180, F-334, F-335,
// F-355 to F-357, Q-61. Own ones first, in PARTNER-DOWN after MCLT the partner's.
func TestSharesOfPrefixes(t *testing.T) {
	const mclt = 3600 * time.Second
	theirs := []int{1, 4, 6} // FREE-BACKUP
	for _, tt := range []struct {
		role       lease.Role
		state      state
		backup     []int
		later      time.Duration
		own, after int // how many of its own it gives, how many of the partner's then
	}{
		{lease.Primary, normal, theirs, 0, 5, 0}, {lease.Primary, normal, nil, 0, 8, 0},
		{lease.Secondary, normal, theirs, 0, 3, 0}, {lease.Secondary, normal, nil, 0, 0, 0},
		{lease.Primary, interrupted, theirs, 9 * mclt, 5, 0}, {lease.Secondary, interrupted, theirs, 9 * mclt, 3, 0}, {lease.Secondary, interrupted, nil, 9 * mclt, 0, 0},
		{lease.Primary, resolution, theirs, 9 * mclt, 5, 0}, {lease.Secondary, resolution, theirs, 9 * mclt, 3, 0},
		{lease.Primary, conflictDone, theirs, 9 * mclt, 5, 0},
		{lease.Primary, partnerDown, theirs, mclt - 1, 5, 0}, {lease.Secondary, partnerDown, theirs, mclt - 1, 3, 0},
		{lease.Primary, partnerDown, theirs, mclt, 5, 3}, {lease.Secondary, partnerDown, theirs, mclt, 3, 5},
		{lease.Primary, partnerDown, []int{0, 1, 2, 3, 4, 5, 6, 7}, mclt, 0, 8}, {lease.Secondary, partnerDown, nil, mclt, 0, 8},
	} {
		for _, hinted := range []bool{false, true} {
			what := name("%v in %v after %v with %v, hints %v", tt.role, tt.state, tt.later, tt.backup, hinted)
			d, _ := deskIn(t, tt.role, tt.state, eight)
			for _, n := range tt.backup {
				d.give(nth(n))
			}
			d.now.Mono += tt.later
			for n := range 12 {
				var hints []netip.Prefix
				if hinted { // for what is the partner's: it has to wait its turn
					for i := range 8 {
						if slices.Contains(tt.backup, i) == (tt.role == lease.Primary) {
							hints = append(hints, nth(i))
						}
					}
				}
				c := d.many(n)
				offer := c.send(Solicit, pd(1, hints...)).pd(1)
				i := c.send(Request, pd(1, hints...)).pd(1)
				p := i.only()
				if offer.only() != p && !(tt.role == lease.Secondary && tt.state == normal) { // which is silent
					t.Errorf("%s: client %d was offered %v and got %v", what, n, offer.only(), p)
				}
				var backup bool
				for _, g := range tt.backup {
					backup = backup || p == nth(g)
				}
				own := backup == (tt.role == lease.Secondary)
				switch {
				case n >= tt.own+tt.after:
					if p.IsValid() || i.status != statusNoPrefixAvail {
						t.Errorf("%s: client %d got %+v", what, n, i)
					}
				case !p.IsValid() || own != (n < tt.own):
					t.Errorf("%s: client %d got %v", what, n, p)
				}
			}
			d.recount()
		}
	}
}

// F-176: own prefixes of any pool of the link, of any length, before those of the
// partner that would fit better.
func TestOwnPoolsFirst(t *testing.T) {
	d, _ := deskIn(t, lease.Secondary, partnerDown, func(l *Link) {
		eight(l)
		l.PrefixPools = append(l.PrefixPools, PrefixPool{Prefix: prefix("2001:db8:8100::/58"), Length: 60})
	})
	d.now.Mono += 2 * time.Hour
	own := prefixes("2001:db8:8100:10::/60", "2001:db8:8100:30::/60")
	d.give(own...)
	for n := range 13 {
		p := d.many(n).obtain(pd(1, prefix("::/56"))).pd(1).only()
		switch {
		case n < 2 && !slices.Contains(own, p), n >= 2 && n < 10 && p.Bits() != 56, n >= 10 && n < 12 && p.Bits() != 60, n == 12 && p.IsValid():
			t.Errorf("client %d got %v", n, p)
		}
	}
}

// What one IA gets as a last resort has nothing to do with the next.
func TestLastResortIsForOne(t *testing.T) {
	d, _ := deskIn(t, lease.Secondary, partnerDown, eight)
	d.now.Mono += 2 * time.Hour
	d.give(nth(2))
	a := d.client(1).send(Request, pd(1), pd(2), na(1), pd(3))
	for _, i := range a.ias {
		if !i.only().IsValid() {
			t.Errorf("%+v", i)
		}
	}
	eq(t, "the own one first", a.pd(1).only(), nth(2))
	eq(t, "an own address", a.na(1).only().Addr().As16()[15]&1, 0)
}

// A secondary finds its few prefixes in a pool far too large to be searched, by
// a place that hangs on the client; in the end it finds the partner's.
func TestFewAmongMillions(t *testing.T) {
	large := func(l *Link) { l.PrefixPools = []PrefixPool{{Prefix: prefix("2001:db8:8000::/40"), Length: 64}} } // 2^24
	own := prefixes("2001:db8:8000:1::/64", "2001:db8:8055:aaaa::/64", "2001:db8:80ff:ffff::/64")
	first := map[netip.Prefix]int{}
	for n := range 60 {
		d, h := deskIn(t, lease.Secondary, interrupted, large)
		if d.s.links[0].pools[1].marks != nil {
			t.Fatal("the pool is small enough to be searched")
		}
		d.give(own...)
		// Around the pool, and in it by another configuration: not ours to give.
		d.give(prefixes("2001:db8:7fff:ffff::/64", "2001:db8:8100::/64", "2001:db8:8000:100::/56", "2001:db8:80ff::/48")...)
		var got []netip.Prefix
		for i := range 3 {
			got = append(got, d.many(1000*n+i).obtain(pd(1)).pd(1).only())
		}
		first[got[0]]++
		slices.SortFunc(got, comparePrefix)
		if !slices.Equal(got, own) {
			t.Fatalf("%v, want %v", got, own)
		}
		eq(t, "one too many", d.many(1000*n+3).send(Solicit, pd(1)).pd(1).status, statusNoPrefixAvail)
		h.state = partnerDown
		eq(t, "before MCLT", d.many(1000*n+3).send(Solicit, pd(1)).pd(1).status, statusNoPrefixAvail)
		d.now.Mono += 2 * time.Hour
		p := d.many(1000*n + 3).obtain(pd(1)).pd(1).only()
		if p.Bits() != 64 || slices.Contains(own, p) || !prefix("2001:db8:8000::/40").Contains(p.Addr()) {
			t.Errorf("after MCLT: %v", p)
		}
		d.recount()
	}
	// Those of other pools are not walked, nor any of its own twice.
	d, h := deskIn(t, lease.Secondary, interrupted, large)
	for n := range uint64(2 * searchesMax) {
		d.give(netip.PrefixFrom(toU128(addr("2001:db8:8100::")).add(u128{n << 8, 0}).addr(), 56))
	}
	d.give(own...)
	for n := range 3 {
		eq(t, name("client %d is offered one of our own", n), slices.Contains(own, d.many(n).send(Solicit, pd(1)).pd(1).only()), true)
	}
	h.asked = nil
	eq(t, "all are offered", d.many(3).send(Solicit, pd(1)).pd(1).status, statusNoPrefixAvail)
	seen := map[netip.Prefix]int{}
	for _, q := range h.asked {
		if q.status == lease.FreeBackup {
			seen[q.prefix]++
		}
	}
	for _, p := range own {
		eq(t, name("%v looked at", p), seen[p], 1)
	}

	// The middle one has the widest gap before it, some 1/3 of the pool; the last
	// has 2/3; the first only the one place before it.
	if first[own[1]] < 5 || first[own[2]] < 15 {
		t.Errorf("the first client of each desk got %v", first)
	}
}

// F-176: as long as a search has not seen everything, own prefixes may be left
// and the partner's are not touched.
func TestPartnersPrefixesNeedCertainty(t *testing.T) {
	const size, held = 8192, 4000
	d, _ := deskIn(t, lease.Primary, partnerDown, func(l *Link) {
		l.PrefixPools = []PrefixPool{{Prefix: prefix("2001:db8:8000::/40"), Length: 53}}
	})
	d.now.Mono += 2 * time.Hour
	pool := d.s.links[0].pools[1]
	partners := []netip.Prefix{pool.at(u128{0, 4077}), pool.at(u128{0, 7777})}
	d.give(partners...)
	for n := range uint64(held) {
		b := &lease.Binding{Prefix: pool.at(u128{0, n}), Status: lease.Active, Expires: d.now.Wall + 1000, HeldUntil: d.now.Wall + 1000}
		b.IA = lease.IA{Link: "lan", Client: d.client(1).duid, Type: lease.IAPD, ID: lease.IAID(n)}
		d.table.Put(b)
	}
	for n := range size - held + 100 {
		if p := d.many(n).send(Solicit, pd(1)).pd(1).only(); slices.Contains(partners, p) || !p.IsValid() && n < searchesMax {
			t.Fatalf("client %d was offered %v, while most that others were offered may soon be free", n, p)
		}
	}
	for n := range 200 {
		d.many(n).send(Request, pd(1))
	}
	// Now a search sees all that is left.
	n := size
	for ; ; n++ {
		if p := d.many(n).send(Request, pd(1)).pd(1).only(); slices.Contains(partners, p) {
			break
		} else if !p.IsValid() {
			t.Fatalf("client %d got nothing", n)
		}
	}
	for i := range uint64(size) {
		p := pool.at(u128{0, i})
		_, offered := d.s.offers.holder(d.now.Mono, p)
		if !offered && d.table.Get(p) == nil {
			t.Errorf("%v was left when client %d got a prefix of the partner", p, n)
		}
	}
	d.pass(100) // the offers are over
	if p := d.many(n+1).send(Request, pd(1)).pd(1).only(); !p.IsValid() || slices.Contains(partners, p) {
		t.Errorf("own ones are left again, got %v", p)
	}

	// A pool too large to be searched never is known to be empty.
	d, _ = deskIn(t, lease.Primary, partnerDown, func(l *Link) {
		l.PrefixPools = []PrefixPool{{Prefix: prefix("2001:db8:8000::/40"), Length: 64}}
	})
	d.now.Mono += 2 * time.Hour
	c := d.client(1)
	ia := lease.IA{Link: "lan", Client: c.duid, Type: lease.IAPD, ID: 1}
	pool = d.s.links[0].pools[1]
	for n := range uint32(hashTries) { // every place where the hash leads
		d.give(pool.at(mod(hashID(pool.prefix.Prefix, ia.Client, ia.ID, n, d.s.key[:]), pool.last)))
	}
	eq(t, "no luck in a large pool", c.send(Solicit, pd(1)).pd(1).status, statusNoPrefixAvail)
	eq(t, "another client", d.client(2).send(Solicit, pd(1)).pd(1).only().IsValid(), true)
}

// The exhausted pool of a pair costs no search: the first prefix of the partner
// speaks for all.
func TestExhaustedShareIsCheap(t *testing.T) {
	for _, role := range []lease.Role{lease.Primary, lease.Secondary} {
		d, h := deskIn(t, role, interrupted, func(l *Link) {
			l.PrefixPools = []PrefixPool{{Prefix: prefix("2001:db8:8000::/40"), Length: 54}} // 16384
		})
		pool := d.s.links[0].pools[1]
		if role == lease.Primary {
			for n := range uint64(1 << 14) {
				d.give(pool.at(u128{0, n}))
			}
		}
		h.asked = nil
		eq(t, "nothing", d.client(1).send(Solicit, pd(1)).pd(1).status, statusNoPrefixAvail)
		if n := len(h.asked); n > hashTries+1 {
			t.Errorf("%v: %d prefixes looked at", role, n)
		}
		d.recount()
	}
}

// RFC 7031 section 3.1.3: the pool of one address, of one prefix. Its owner gives
// it away, the other never does; a client that comes back has it again as long as
// the partner was told nothing (P-02, F-188), another only after the partner
// agreed (F-187).
func TestPoolOfOne(t *testing.T) {
	one := func(address string) func(*Link) {
		return func(l *Link) {
			l.Subnets[0].Pools = poolOf(address, address)
			l.PrefixPools = []PrefixPool{{Prefix: nth(0), Length: 56}}
		}
	}
	for _, tt := range []struct {
		role    lease.Role
		address string
		gives   bool
	}{
		{lease.Primary, "2001:db8:0:1::1001", true}, {lease.Primary, "2001:db8:0:1::1000", false},
		{lease.Secondary, "2001:db8:0:1::1000", true}, {lease.Secondary, "2001:db8:0:1::1001", false},
	} {
		d, h := deskIn(t, tt.role, interrupted, one(tt.address))
		if tt.role == lease.Secondary && tt.gives {
			d.give(nth(0))
		} else if tt.role == lease.Primary && !tt.gives {
			d.give(nth(0))
		}
		c, other := d.client(1), d.client(2)
		want := map[lease.IAType]netip.Prefix{lease.IANA: prefix(tt.address), lease.IAPD: nth(0)}
		gets := func(what string, c *client, id uint32, gives bool) {
			t.Helper()
			for _, typ := range []MessageType{Solicit, Request} {
				for _, i := range c.send(typ, na(id), pd(id)).ias {
					if gives && i.only() != want[i.typ] || !gives && (len(i.leases) != 0 || i.status <= 0) {
						t.Errorf("%v, %s: %+v", tt.role, what, i)
					}
				}
			}
			if gives {
				c.send(Release, na(id, want[lease.IANA]), pd(id, want[lease.IAPD]))
			}
		}
		gets("new", c, 1, tt.gives)
		if !tt.gives {
			continue
		}
		gets("came back", c, 1, true)
		gets("another client", other, 1, false)
		gets("another IA of the client", c, 2, false)
		for _, p := range want {
			h.sent[p] = true
		}
		gets("the partner was told", c, 1, false)
		h.agree(d)
		eq(t, "F-165: whose the address is now", d.table.Get(want[lease.IANA]).Status, lease.Freed(want[lease.IANA]))
		eq(t, "F-173: whose the prefix is now", d.table.Get(want[lease.IAPD]).Status, lease.Free)
		if tt.role == lease.Secondary {
			d.give(nth(0))
		}
		gets("the partner agreed", other, 1, true)
		h.agree(d)
		if tt.role == lease.Secondary {
			d.give(nth(0))
		}

		// By running out, not by a Release.
		held := c.send(Request, na(1), pd(1))
		eq(t, "leases", len(held.na(1).prefixes())+len(held.pd(1).prefixes()), 2)
		d.pass(3600)
		for _, p := range want {
			d.table.Put(d.s.End(d.now, d.table, d.policy, d.table.Get(p), RanOut))
			eq(t, "status", d.table.Get(p).Status, lease.Expired)
		}
		gets("expired, another client", other, 1, false)
		gets("expired, came back", c, 1, true)
		d.recount()
	}
}

// what is reserved for a client by its DUID any server may give it, be it
// of the other half; the pools do not matter to it, the state does.
func TestReservationsInRelationship(t *testing.T) {
	addresses := map[lease.Role]string{lease.Primary: "2001:db8:0:1::1000", lease.Secondary: "2001:db8:0:1::1001"} // the partner's
	for role, partners := range addresses {
		reserve := func(l *Link) {
			eight(l)
			l.Reservations = []Reservation{
				{Client: d1.duid, Addresses: addrs(partners), Prefixes: []netip.Prefix{nth(3)}},
				{Client: d1.duid, HasIAID: true, IAID: 2, Addresses: addrs("2001:db8:0:1::2000", "2001:db8:0:1::2001")},
			}
		}
		for s := startup; s <= conflictDone; s++ {
			d, h := deskIn(t, role, s, reserve)
			if role == lease.Primary {
				d.give(nth(3))
			}
			a := d.client(1).send(Request, na(1), na(2), pd(1))
			serves := h.Serves("lan") == Responsive || h.Serves("lan") == RenewResponsive
			eq(t, name("%v in %v", role, s), a.typ != 0, serves)
			if serves && (a.na(1).only() != prefix(partners) || a.na(2).only() != prefix("2001:db8:0:1::2000") || a.pd(1).only() != nth(3)) {
				t.Errorf("%v in %v: %+v", role, s, a.ias)
			}
		}
	}
	// A place at a switch is no client: two may come there, to one server each.
	d := relayReservation(t, Reservation{InterfaceID: []byte("port7"), Addresses: addrs("2001:db8:0:1::1000"), Prefixes: prefixes("2001:db8:8000:100::/56")})
	h := newHalf(lease.Primary, interrupted)
	d.policy = h
	c := d.client(1).via(farRelay, relayed(0, "2001:db8:0:1::2", "fe80::7", opt(18, []byte("port7"))))
	a := c.send(Request, na(1), pd(1))
	eq(t, "the other half's", a.na(1).only() != prefix("2001:db8:0:1::1000"), true)
	eq(t, "the own prefix", a.pd(1).only(), prefix("2001:db8:8000:100::/56"))
	for _, q := range h.asked {
		if q.reserved {
			t.Errorf("%v is said to be kept for one client", q.prefix)
		}
	}
	// Nor is all that such a client gets kept for it.
	d, h = deskIn(t, lease.Primary, normal, eight, func(l *Link) {
		l.Reservations = []Reservation{{Client: d1.duid, Addresses: addrs("2001:db8:0:1::1000"), Prefixes: []netip.Prefix{nth(3)}}}
	})
	d.client(1).send(Request, na(1), na(2), pd(1), pd(2))
	for _, q := range h.asked {
		eq(t, name("%v is kept for the client", q.prefix), q.reserved, q.prefix == nth(3) || q.prefix == prefix("2001:db8:0:1::1000"))
	}
}

// What a policy is asked about is never held, never in quarantine, never kept
// for somebody else.
func TestWhatAPolicyIsAsked(t *testing.T) {
	d, h := deskIn(t, lease.Primary, normal, func(l *Link) {
		eight(l)
		l.Subnets[0].Pools = poolOf("2001:db8:0:1::1000", "2001:db8:0:1::1009")
		l.Reservations = []Reservation{{Client: "\x00\x03\xff", Addresses: addrs("2001:db8:0:1::1001"), Prefixes: []netip.Prefix{nth(5)}}}
	})
	declined := d.client(1).obtain(na(1)).na(1).only()
	d.client(1).send(Decline, na(1, declined))
	for n := range 12 {
		d.client(n).send(Request, na(1, prefix("2001:db8:0:1::1001"), declined), pd(1, nth(5)))
	}
	for _, q := range h.asked {
		if q.status == lease.Active || q.status == lease.Abandoned || q.prefix == prefix("2001:db8:0:1::1001") || q.prefix == nth(5) {
			t.Errorf("asked about %+v", q)
		}
	}
	eq(t, "addresses", d.table.Count(lease.Active)-7, 3) // 1003, 1005, 1007, 1009 less the declined
}
