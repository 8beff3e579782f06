package dhcp6

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
)

func iid(p netip.Prefix) uint64 {
	b := p.Addr().As16()
	return binary.BigEndian.Uint64(b[8:])
}

// D-235: clients with consecutive DUIDs, or one client with consecutive IAIDs,
// get addresses without any order: every bit is set in about half of them, about
// half of them are greater than the one before, neighbours differ in about half
// of the bits, none looks like a MAC address. The bounds are seven standard
// deviations of a fair coin and more.
func TestAddressesAreUnpredictable(t *testing.T) {
	const n = 2048
	fair := func(t *testing.T, what string, got, of int) {
		t.Helper()
		// of/2 ± 7·sqrt(of)/2
		if d := 2*got - of; d*d > 49*of {
			t.Errorf("%s: %d of %d", what, got, of)
		}
	}
	for what, random := range map[string]bool{"hashed": false, "random": true} {
		d := newDesk(t, branch(lanWith(func(l *Link) { l.RandomAddresses = random }), func(c *Config) { c.Limits.LeasesPerClient = n }))
		for _, clients := range []bool{true, false} {
			var ids []uint64
			for i := range n {
				c, id := d.client(i), 1
				if !clients {
					c, id = d.client(n), i
				}
				ids = append(ids, iid(c.send(Request, na(uint32(id))).na(lease.IAID(id)).only()))
			}
			greater, differ := 0, 0
			for i := 1; i < n; i++ {
				if ids[i] > ids[i-1] {
					greater++
				}
				differ += bits.OnesCount64(ids[i] ^ ids[i-1])
			}
			fair(t, what+": greater than the one before", greater, n-1)
			fair(t, what+": bits that differ from the one before", differ, 64*(n-1))
			for bit := range 64 {
				set := 0
				for _, id := range ids {
					set += int(id >> bit & 1)
				}
				fair(t, name("%s: bit %d set", what, bit), set, n)
			}
			for _, id := range ids {
				if id>>24&0xffff == 0xfffe {
					t.Errorf("%s: %x looks like an EUI-64", what, id)
				}
			}
			slices.Sort(ids)
			eq(t, what+": different addresses", len(slices.Compact(ids)), n)
		}
	}
}

// D-235 of delegated prefixes, D-242: the choice hangs on a secret key of 256
// bits; another key gives other addresses and prefixes to the same client.
func TestChoiceHangsOnKey(t *testing.T) {
	seen := map[netip.Prefix]bool{}
	for i := range 64 {
		d := newDesk(t, branch())
		var key AddressKey
		key[i/8%len(key)] = 1 << (i % 8)
		d.s.SetAddressKey(key)
		a := d.client(1).send(Solicit, na(1), pd(1))
		if seen[a.na(1).only()] {
			t.Errorf("%v twice", a.na(1).only())
		}
		seen[a.na(1).only()], seen[a.pd(1).only()] = true, true
	}
	if len(seen) < 64+60 { // two of 64 prefixes out of 65536 may be the same
		t.Errorf("%d different leases", len(seen))
	}
	if len(AddressKey{})*8 < 128 {
		t.Error("the key is too short")
	}
}

// D-239, RFC 7943: without any record the same client gets the same address,
// for each subnet another.
func TestAddressesAreStable(t *testing.T) {
	two := branch(lanWith(func(l *Link) {
		l.Subnets = append(l.Subnets, Subnet{Prefix: prefix("2001:db8:0:4::/64"), Pools: poolOf("2001:db8:0:4::", "2001:db8:0:4:ffff:ffff:ffff:ffff")})
	}))
	first, again := newDesk(t, two).client(1).obtain(na(1), pd(1)), newDesk(t, two).client(1).obtain(na(1), pd(1))
	if !slices.EqualFunc(first.ias, again.ias, sameIA) {
		t.Errorf("%+v, then %+v", first.ias, again.ias)
	}
	ps := first.na(1).prefixes()
	if len(ps) != 2 || iid(ps[0]) == iid(ps[1]) {
		t.Errorf("D-240: one address for each subnet: %v", ps)
	}
}

// D-236: reserved interface identifiers are not assigned, nor what looks like an
// EUI-64: of each pool exactly the others are.
func TestReservedInterfaceIdentifiers(t *testing.T) {
	for _, tt := range []struct {
		subnet, first, last string
		usable              int
	}{
		{"2001:db8:0:1::/64", "2001:db8:0:1::", "2001:db8:0:1::f", 14},                                                        // ::, and ::1 is the router's
		{"2001:db8:0:1::/64", "2001:db8:0:1:fdff:ffff:ffff:ff70", "2001:db8:0:1:fdff:ffff:ffff:ffff", 16},                     // subnet anycast
		{"2001:db8:0:1::/64", "2001:db8:0:1:fdff:ffff:ffff:fffe", "2001:db8:0:1:fe00::1", 2},                                  // around its end
		{"2001:db8:0:1::/64", "2001:db8:0:1:200:5eff:fe00:5200", "2001:db8:0:1:200:5eff:fe00:5220", 0},                        // IANA, Proxy Mobile IPv6
		{"2001:db8:0:1::/64", "2001:db8:0:1:200:5eff:feff:fff0", "2001:db8:0:1:200:5eff:ff00:f", 16},                          // end of IANA's block
		{"2001:db8:0:1::/64", "2001:db8:0:1:200:ff:fe00:1", "2001:db8:0:1:200:ff:fe00:10", 0},                                 // EUI-64
		{"2001:db8:0:1::/112", "2001:db8:0:1::", "2001:db8:0:1::f", 14},                                                       // subnet-router anycast
		{"2001:db8:0:1:0:0:1:0/112", "2001:db8:0:1::1:0", "2001:db8:0:1::1:f", 15},                                            // the same
		{"2001:db8:0:1:0:0:1:0/127", "2001:db8:0:1::1:0", "2001:db8:0:1::1:1", 2},                                             // none there (RFC 6164)
		{"2001:db8:0:10::/60", "2001:db8:0:11::", "2001:db8:0:11::f", 15},                                                     // anycast within a shorter prefix
		{"2001:db8:0:1:0:ff:fe00:0/112", "2001:db8:0:1:0:ff:fe00:0", "2001:db8:0:1:0:ff:fe00:f", 15},                          // no identifiers of 64 bits
		{"2001:db8:0:1:fdff:ffff:ffff:ff00/120", "2001:db8:0:1:fdff:ffff:ffff:ff00", "2001:db8:0:1:fdff:ffff:ffff:ffff", 255}, // the same
	} {
		d := newDesk(t, branch(lanWith(func(l *Link) {
			l.Subnets = []Subnet{{Prefix: prefix(tt.subnet), Pools: poolOf(tt.first, tt.last)}}
		})))
		given := 0
		for n := range 400 {
			if d.client(n).send(Request, na(1)).na(1).only().IsValid() {
				given++
			}
		}
		eq(t, name("%s-%s", tt.first, tt.last), given, tt.usable)
		d.recount()
	}
}

// D-238: the router's own addresses, those reserved for others, declined and
// held ones are never assigned: of a small pool exactly the rest is.
func TestAddressesInUse(t *testing.T) {
	d := newDesk(t, branch(lanWith(func(l *Link) {
		l.Subnets[0].Pools = poolOf("2001:db8:0:1::1", "2001:db8:0:1::8")
		l.Reservations = []Reservation{
			{Client: "\x00\x03\xff", Addresses: addrs("2001:db8:0:1::2")},
			{InterfaceID: []byte("port7"), Addresses: addrs("2001:db8:0:1::3")},
		}
	})))
	decliner := d.client(99)
	decliner.send(Decline, decliner.obtain(na(1, prefix("2001:db8:0:1::4"))).request()...)
	var got []netip.Prefix
	for n := range 20 {
		if p := d.client(n).send(Request, na(1)).na(1).only(); p.IsValid() {
			got = append(got, p)
		}
	}
	slices.SortFunc(got, comparePrefix)
	if want := prefixes("2001:db8:0:1::5", "2001:db8:0:1::6", "2001:db8:0:1::7", "2001:db8:0:1::8"); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	d.recount()
}

// D-067, D-091: every address of a pool is given to one client, then there is
// none; what one gives back, the next gets. By Request and by Rapid Commit.
func TestSmallPool(t *testing.T) {
	const size = 254 // of a /120, less its anycast address and the last
	for _, typ := range []MessageType{Request, Solicit} {
		d := newDesk(t, branch(lanWith(func(l *Link) {
			l.Subnets[0].Pools = poolOf("2001:db8:0:1::4:1", "2001:db8:0:1::4:fe")
		})))
		ask := func(n int, options ...[]byte) oracleIA {
			return d.client(n).send(typ, append(options, opt(14), na(1))...).na(1)
		}
		given := map[netip.Prefix]int{}
		for n := range size {
			p := ask(n).only()
			if _, twice := given[p]; twice || !p.IsValid() {
				t.Fatalf("client %d of %d got %v", n, size, p)
			}
			given[p] = n
		}
		for n := range 20 {
			if i := ask(1000 + n); i.status != statusNoAddrsAvail {
				t.Fatalf("client %d got %+v", 1000+n, i)
			}
		}
		if use := d.s.Pools()[0]; use.Used != size || use.Size.Int64() != size {
			t.Errorf("pool %+v", use)
		}
		freed := prefix("2001:db8:0:1::4:77")
		d.client(given[freed]).send(Release, na(1, freed))
		eq(t, "the next client", ask(2000).only(), freed)
		d.recount()
	}
}

// A pool with more leases than are looked at for one message is given to the last.
func TestLargerPool(t *testing.T) {
	const size = 2 * searchesMax
	d := newDesk(t, branch(lanWith(func(l *Link) { l.Subnets[0].Pools = poolOf("2001:db8:0:1::1:0", "2001:db8:0:1::1:1fff") })))
	for n := range size {
		if !d.client(n).send(Request, na(1)).na(1).only().IsValid() {
			t.Fatalf("client %d of %d got nothing", n, size)
		}
	}
	eq(t, "one too many", d.client(size).send(Request, na(1)).na(1).status, statusNoAddrsAvail)
	d.recount()
}

// The same of prefixes: D-068, D-092, D-246.
func TestSmallPrefixPool(t *testing.T) {
	pool := prefix("2001:db8:8000::/48")
	d := newDesk(t, branch(lanWith(func(l *Link) { l.PrefixPools = []PrefixPool{{Prefix: pool, Length: 56}} })))
	given := map[netip.Prefix]bool{}
	for n := range 256 {
		p := d.client(n).send(Request, pd(1)).pd(1).only()
		if given[p] || p.Bits() != 56 || !pool.Contains(p.Addr()) {
			t.Fatalf("client %d got %v", n, p)
		}
		given[p] = true
	}
	eq(t, "one too many", d.client(256).send(Request, pd(1)).pd(1).status, statusNoPrefixAvail)
	d.recount()
}

// Several pools in a subnet are used one after the other.
func TestSeveralPools(t *testing.T) {
	d := newDesk(t, branch(lanWith(func(l *Link) {
		l.Subnets[0].Pools = append(poolOf("2001:db8:0:1::1000", "2001:db8:0:1::1003"), poolOf("2001:db8:0:1::2000", "2001:db8:0:1::2003")...)
	})))
	for n := range 8 {
		want := uint64(0x1000)
		if n >= 4 {
			want = 0x2000
		}
		if p := d.client(n).obtain(na(1)).na(1).only(); !p.IsValid() || iid(p)&^3 != want {
			t.Errorf("client %d got %v", n, p)
		}
	}
	eq(t, "one too many", d.client(8).send(Solicit, na(1)).na(1).status, statusNoAddrsAvail)
}

// D-239: clients that come back get their old leases, after a Release, under the
// old IAID or a new one, though others came in between: those got what nobody
// may come back for.
func TestReturningClients(t *testing.T) {
	for _, id := range []uint32{1, 2} {
		d := newDesk(t, branch(lanWith(func(l *Link) {
			l.Subnets[0].Pools = poolOf("2001:db8:0:1::1000", "2001:db8:0:1::100f")
			l.PrefixPools[0].Prefix = prefix("2001:db8:8000::/52")
		})))
		var old []*answer
		for n := range 6 {
			old = append(old, d.client(n).obtain(na(1), pd(1)))
		}
		for n, o := range old {
			d.client(n).send(Release, o.request()...)
		}
		d.pass(1000)
		for n := range 6 {
			d.client(100+n).obtain(na(1), pd(1))
		}
		for n, o := range old {
			a := d.client(n).obtain(na(id), pd(id))
			eq(t, name("client %d, IAID %d: address", n, id), a.na(lease.IAID(id)).only(), o.na(1).only())
			eq(t, name("client %d, IAID %d: prefix", n, id), a.pd(lease.IAID(id)).only(), o.pd(1).only())
		}
	}
}

// What a client holds of one type does not keep it from its old lease of the other.
func TestReturningClientWithPrefix(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	old := c.obtain(na(1, prefix("2001:db8:0:1::77")), pd(1))
	c.send(Release, na(1, old.na(1).only()))
	eq(t, "address under a new IAID", c.obtain(na(2)).na(2).only(), old.na(1).only())
}

// A second interface of a client does not take what the first gave back.
func TestSecondIADoesNotInherit(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	a := c.obtain(na(1), na(2))
	c.send(Release, na(2, a.na(2).only()))
	if got := c.obtain(na(3)).na(3).only(); got == a.na(2).only() || !got.IsValid() {
		t.Errorf("IAID 3 got %v", got)
	}
	eq(t, "IAID 2", c.obtain(na(2)).na(2).only(), a.na(2).only())
}

// Random addresses have nothing to do with earlier ones.
func TestRandomAddresses(t *testing.T) {
	c := newDesk(t, branch(lanWith(func(l *Link) { l.RandomAddresses = true }))).client(1)
	seen := map[netip.Prefix]bool{}
	for range 50 {
		held := c.obtain(na(1))
		if p := held.na(1).only(); seen[p] || !p.IsValid() {
			t.Errorf("%v again", p)
		} else {
			seen[p] = true
		}
		c.send(Release, held.request()...)
	}
}

// D-240: one address for each prefix of the link, as prefixes come and go.
func TestOneAddressPerPrefix(t *testing.T) {
	second := Subnet{Prefix: prefix("2001:db8:0:4::/64"), Pools: poolOf("2001:db8:0:4::1000", "2001:db8:0:4::1fff")}
	d := newDesk(t, branch())
	c := d.client(1)
	held := c.obtain(na(1))
	d.reconfigure(branch(lanWith(func(l *Link) { l.Subnets = append(l.Subnets, second) })))
	a := c.send(Renew, held.request()...)
	if ps := a.na(1).prefixes(); len(ps) != 2 || ps[0] != held.na(1).only() || !second.Prefix.Contains(ps[1].Addr()) {
		t.Errorf("%v, had %v", ps, held.na(1).prefixes())
	}
	again := c.send(Renew, a.request()...)
	if !slices.EqualFunc(a.ias, again.ias, sameIA) {
		t.Errorf("%+v, then %+v", a.ias, again.ias)
	}
}

// Reservations by DUID and by IAID: the first keeps an address for any IA of the
// client, the second for one.
func TestReservations(t *testing.T) {
	whole, first, pdPrefix := addr("2001:db8:0:1::a"), addr("2001:db8:0:1::b"), prefix("2001:db8:8000:5500::/56")
	cfg := branch(lanWith(func(l *Link) {
		l.Reservations = []Reservation{
			{Client: d1.duid, Addresses: []netip.Addr{whole}, Prefixes: []netip.Prefix{pdPrefix}, Hostname: "nas"},
			{Client: d1.duid, HasIAID: true, IAID: 7, Addresses: []netip.Addr{first}, Hostname: "camera"},
		}
		l.Subnets[0].Pools = poolOf("2001:db8:0:1::1000", "2001:db8:0:1::1fff") // the reserved ones need no pool
	}))
	d := newDesk(t, cfg)
	c := d.client(1)
	a := c.obtain(na(7), na(1), na(2), pd(1), pd(2))
	eq(t, "IAID 7", a.na(7).only().Addr(), first)
	eq(t, "any other", a.na(1).only().Addr(), whole)
	eq(t, "its prefix", a.pd(1).only(), pdPrefix)
	if !a.na(2).only().IsValid() || !a.pd(2).only().IsValid() || a.pd(2).only() == pdPrefix {
		t.Errorf("others out of the pools: %+v", a.ias)
	}
	d.pass(1000)
	if again := c.send(Renew, a.request()...); !slices.EqualFunc(again.ias, a.ias, sameIA) {
		t.Errorf("renewed: %+v, had %+v", again.ias, a.ias)
	}
	eq(t, "host name", d.table.Get(lease.Address(whole)).Hostname, "nas")
	eq(t, "host name", d.table.Get(lease.Address(first)).Hostname, "camera")

	other := d.client(2).send(Request, na(1, lease.Address(whole)), pd(1, pdPrefix))
	if other.na(1).only().Addr() == whole || other.pd(1).only() == pdPrefix {
		t.Errorf("another client got %+v", other.ias)
	}
}

// A reservation that comes while its client holds something else replaces it
// with the next Renew; one for another client lets the lease run down.
func TestReservationComesLater(t *testing.T) {
	d := newDesk(t, branch())
	c, other := d.client(1), d.client(2)
	held, theirs := c.obtain(na(1), pd(1)), other.obtain(na(1), pd(1))
	d.reconfigure(branch(lanWith(func(l *Link) {
		l.Reservations = []Reservation{{Client: c.duid, Addresses: []netip.Addr{theirs.na(1).only().Addr()}, Prefixes: []netip.Prefix{theirs.pd(1).only()}}}
	})))
	d.pass(10)
	// The reserved leases are still another's: the client keeps what it has.
	if a := c.send(Renew, held.request()...); !slices.EqualFunc(a.ias, held.ias, sameIA) {
		t.Errorf("%+v, had %+v", a.ias, held.ias)
	}
	a := other.send(Renew, theirs.request()...)
	for _, i := range a.ias {
		if len(i.leases) != 2 || i.leases[0].prefix != theirs.ia(i.typ, 1).only() || i.leases[0].valid != DefaultValid-10 || i.leases[1].valid != DefaultValid {
			t.Errorf("the other: %+v", i)
		}
	}
	other.send(Release, na(1, theirs.na(1).only()), pd(1, theirs.pd(1).only()))
	a = c.send(Renew, held.request()...)
	for _, i := range a.ias {
		if i.only() != theirs.ia(i.typ, 1).only() || len(i.withdrawn()) != 1 {
			t.Errorf("replaced: %+v", i)
		}
	}
	d.recount()
}

// D-244, D-254, D-344: one client takes so many leases and no more, on each
// link; RFC 8987 names eight prefixes.
func TestLeaseLimits(t *testing.T) {
	eq(t, "default of prefixes", DefaultLimits.PrefixesPerClient, 8)
	for _, limits := range []struct{ leases, prefixes int }{{32, 8}, {5, 2}, {3, 10}} {
		d := newDesk(t, branch(func(c *Config) { c.Limits.LeasesPerClient, c.Limits.PrefixesPerClient = limits.leases, limits.prefixes }))
		c := d.client(1)
		for n := range 100 {
			typ := []MessageType{Request, Renew, Rebind}[n%3]
			a := c.send(typ, pd(uint32(n)), pd(uint32(n+1000)), pd(uint32(n+2000)))
			if len(a.pd(lease.IAID(n+1000)).leases) == 0 {
				eq(t, "told", a.count(trace.LimitReached) > 0, true)
			}
		}
		eq(t, "prefixes", len(d.active(c.duid)), min(limits.leases, limits.prefixes))
		for n := range 100 {
			c.send(Request, na(uint32(n)), na(uint32(n+1000)))
		}
		eq(t, "leases", len(d.active(c.duid)), limits.leases)
		eq(t, "NoAddrsAvail", c.send(Request, na(5000)).na(5000).status, statusNoAddrsAvail)
		eq(t, "NoPrefixAvail", c.send(Request, pd(5000)).pd(5000).status, statusNoPrefixAvail)
		eq(t, "another client", d.client(2).send(Request, na(1)).na(1).only().IsValid(), true)
		b := d.table.Get(d.active(c.duid)[0])
		eq(t, "what it holds it can renew", c.send(Renew, ia(b.Type, b.ID, b.Prefix)).ia(b.Type, b.ID).only(), b.Prefix)
		eq(t, "on another link", c.on(wifiIndex).send(Request, na(1)).na(1).only().IsValid(), true)
	}
}

// D-344: the table has a limit, however many clients come; who holds a lease
// keeps it, and remembered leases do not keep others out.
func TestTableLimit(t *testing.T) {
	d := newDesk(t, branch(func(c *Config) { c.Limits.Leases = 50 }))
	for n := range 100 {
		held := d.client(n).obtain(na(1))
		if (held.na(1).only().IsValid()) != (n < 50) {
			t.Errorf("client %d: %+v", n, held.ias)
		}
	}
	eq(t, "held", d.table.Count(lease.Active), 50)
	c := d.client(7)
	held := c.send(Renew, na(1))
	eq(t, "renewed", held.na(1).only().IsValid(), true)
	for n := range 1000 {
		d.client(7).send(Release, held.request()...)
		if held = d.client(7).send(Request, na(1)); !held.na(1).only().IsValid() {
			t.Fatalf("nothing after %d releases: %+v", n, held.ias)
		}
	}
	for n := range 50 {
		c := d.client(n)
		c.send(Release, c.send(Renew, na(1)).request()...)
	}
	for n := range 50 {
		if !d.client(200 + n).obtain(na(1)).na(1).only().IsValid() {
			t.Fatalf("client %d is kept out by memory", 200+n)
		}
	}
	if n := d.table.Len(); n > 2*50 {
		t.Errorf("%d records", n)
	}
	d.recount()
}

// D-245: one client is answered so often in a second, by its DUID or, without
// one, by its address; others are not in its way, the next second is a new one.
func TestRateLimit(t *testing.T) {
	d := newDesk(t, branch(func(c *Config) { c.Limits.MessagesPerSecondPerClient = 20 }))
	flood := func(p *Packet) (answered int) {
		for range 100 {
			if a := d.handle(p); a.typ != 0 {
				answered++
			} else if a.reason != trace.TooManyMessages {
				t.Fatalf("dropped for %v", a.reason)
			}
		}
		return answered
	}
	c := d.client(1)
	eq(t, "Solicits", flood(c.packet(c.message(Solicit, na(1)))), 20)
	eq(t, "another message", c.send(InformationRequest).reason, trace.TooManyMessages)
	eq(t, "another client", d.client(2).send(Solicit, na(1)).typ, Advertise)
	anonymous := d.client(3)
	eq(t, "anonymous", flood(anonymous.packet(anonymous.bare(InformationRequest))), 20)
	one, two := c.via(farRelay, relayed(0, "2001:db8:0:1::2", "fe80::7")), c.via(farRelay, relayed(0, "2001:db8:0:1::2", "fe80::8"))
	eq(t, "anonymous behind a relay", flood(one.packet(one.bare(InformationRequest))), 20)
	eq(t, "another behind the same relay", flood(two.packet(two.bare(InformationRequest))), 20)
	neighbour := one.asking()
	neighbour.duid = "\x00\x03\xff"
	eq(t, "another with a DUID, from the same address", neighbour.send(Solicit, na(1)).typ, Advertise)
	d.pass(1)
	eq(t, "a second later", flood(c.packet(c.message(Solicit, na(1)))), 20)
}

// A client that boots is never in the way of the default limit, nor are all
// clients of a link after a power cut.
func TestRateLimitOfNormalBoot(t *testing.T) {
	d := newDesk(t, branch(func(c *Config) { c.Limits = DefaultLimits }))
	for n := range 2000 {
		c := d.client(n)
		for _, a := range []*answer{c.send(Solicit, na(1), pd(1)), c.send(Solicit, na(1), pd(1)), c.send(Solicit, na(1), pd(1)), c.send(Request, na(1), pd(1)),
			c.send(Rebind, na(1), pd(1)), c.send(InformationRequest), c.send(Renew, na(1), pd(1))} {
			if a.typ == 0 {
				t.Fatalf("client %d: dropped for %v", n, a.reason)
			}
		}
	}
}

// The memory of offers is bounded: a crowd of invented clients pushes out the
// oldest offers, and nothing else.
func TestOffersAreBounded(t *testing.T) {
	d := newDesk(t, branch())
	victim := d.client(1).obtain(na(1), pd(1))
	for n := range offersMax + 5000 {
		c := d.client(n)
		c.duid = lease.DUID(u32(0x0004, uint32(n)))
		d.s.Handle(d.now, c.packet(c.message(Solicit, na(1))), d.table, d.policy, &d.r)
		if d.r.Answer.Data == nil {
			t.Fatal("no answer")
		}
	}
	o := d.s.offers
	eq(t, "offers", len(o.ring), offersMax)
	if len(o.byPrefix) > offersMax || len(o.byIA) > offersMax || len(o.byPrefix) < offersMax-1 {
		t.Errorf("%d by prefix, %d by IA", len(o.byPrefix), len(o.byIA))
	}
	for p, slot := range o.byPrefix {
		if o.ring[slot].prefix != p {
			t.Fatalf("%v is in slot %d, which holds %v", p, slot, o.ring[slot].prefix)
		}
	}
	a := d.client(1).send(Renew, victim.request()...)
	if !slices.EqualFunc(a.ias, victim.ias, sameIA) {
		t.Errorf("a known client afterwards: %+v", a.ias)
	}
}

// Two Solicits never race for one lease: of many clients that ask for the same
// address and prefix, one is offered it.
func TestOffersDoNotRace(t *testing.T) {
	d := newDesk(t, branch())
	offered := map[netip.Prefix]int{}
	for n := range 200 {
		for _, i := range d.client(n).send(Solicit, na(1, prefix("2001:db8:0:1::77")), pd(1, prefix("2001:db8:8000:100::/56"))).ias {
			offered[i.only()]++
		}
	}
	for p, n := range offered {
		if n != 1 {
			t.Errorf("%v was offered to %d clients", p, n)
		}
	}
	eq(t, "offers", len(offered), 400)
}

// Numbers of 128 bits against a second way to compute them.
func TestModulo(t *testing.T) {
	full := [32]byte{}
	for i := range full {
		full[i] = 0xff
	}
	counting := [32]byte{}
	for i := range counting {
		counting[i] = byte(i*37 + 11)
	}
	for _, hash := range [][32]byte{{}, full, counting} {
		for _, last := range []u128{{0, 0}, {0, 1}, {0, 2}, {0, 253}, {0, 1<<63 - 1}, {0, 1<<64 - 2}, {0, 1<<64 - 1}, {1, 0}, {1, 1<<64 - 1}, {0xffff, 5}, {1<<63 - 1, 1<<64 - 1}, {1<<64 - 1, 1<<64 - 2}} {
			if got, want := mod(hash, last), slowMod(hash, last); got != want {
				t.Errorf("%x mod %x+1 = %x, want %x", hash, last, got, want)
			}
		}
	}
}

// slowMod divides bit by bit.
func slowMod(hash [32]byte, last u128) (rem u128) {
	for _, b := range hash {
		for bit := 7; bit >= 0; bit-- {
			over := rem.hi>>63 != 0
			rem = u128{rem.hi<<1 | rem.lo>>63, rem.lo<<1 | uint64(b>>bit&1)}
			if over || last.less(rem) {
				rem = rem.sub(last).sub(u128{0, 1})
			}
		}
	}
	return rem
}

// A client that comes back finds its old lease also in the second pool, though
// the first has room again by then; with a wish for a length the wish decides.
func TestReturningClientWithTwoPools(t *testing.T) {
	for _, policy := range []Policy{Alone{}, newHalf(lease.Primary, interrupted)} {
		d := newDesk(t, branch(lanWith(func(l *Link) {
			l.Subnets[0].Pools = append(poolOf("2001:db8:0:1::1000", "2001:db8:0:1::1003"), poolOf("2001:db8:0:1::2000", "2001:db8:0:1::20ff")...)
			l.PrefixPools = []PrefixPool{{Prefix: prefix("2001:db8:8000::/54"), Length: 56}, {Prefix: prefix("2001:db8:8100::/52"), Length: 60}}
		})))
		d.policy = policy
		first := map[int]*answer{}
		for n := range 4 {
			first[n] = d.client(n).obtain(na(1), pd(1))
		}
		c := d.client(50)
		old := c.obtain(na(1), pd(1))
		eq(t, "in the second pool", iid(old.na(1).only())&^0xff, 0x2000)
		eq(t, "in the second pool", old.pd(1).only().Bits(), 60)
		c.send(Release, old.request()...)
		d.client(0).send(Release, first[0].request()...)
		if h, ok := policy.(*half); ok {
			eq(t, "it waits", d.table.Get(old.pd(1).only()).Status, lease.Released)
			h.sent = map[netip.Prefix]bool{first[0].pd(1).only(): true}
		}
		again := c.obtain(na(1), pd(1))
		eq(t, "address", again.na(1).only(), old.na(1).only())
		eq(t, "prefix", again.pd(1).only(), old.pd(1).only())
		if policy == (Alone{}) {
			c.send(Release, again.request()...)
			eq(t, "by wish", c.send(Solicit, pd(1, prefix("::/56"))).pd(1).only(), first[0].pd(1).only())
		}
		d.recount()
	}
}
