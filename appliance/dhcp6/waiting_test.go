package dhcp6

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
)

// Why a lease ends the policy is told, and what becomes of it the policy says:
// RELEASED, EXPIRED, ABANDONED, RESET (RFC 8156 section 7.2). A record that
// waits for the partner keeps its client and has no end.
func TestEndsByCause(t *testing.T) {
	limit := func(c *Config) { c.Limits.DeclinesPerClient = 1 }
	for _, tt := range []struct {
		name   string
		end    func(*desk, *client, netip.Prefix)
		cause  Cause
		status lease.Status
	}{
		{"Release", func(_ *desk, c *client, p netip.Prefix) { c.send(Release, na(1, p)) }, GivenBack, lease.Released},
		{"Decline", func(_ *desk, c *client, p netip.Prefix) { c.send(Decline, na(1, p)) }, Declined, lease.Abandoned},
		{"one Decline too many", func(_ *desk, c *client, p netip.Prefix) {
			c.send(Decline, c.obtain(na(2)).request()...)
			c.send(Decline, na(1, p))
		}, GivenBack, lease.Released},
		{"withdrawn", func(d *desk, c *client, p netip.Prefix) {
			d.reconfigure(branch(limit, lanWith(func(l *Link) { l.Subnets[0].Retired = true })))
			eq(t, "withdrawn", c.send(Renew, na(1, p)).na(1).withdrawn()[0], p)
		}, Withdrawn, lease.Released},
		{"ran out", func(d *desk, c *client, p netip.Prefix) {
			d.pass(3600)
			d.table.Put(d.s.End(d.now, d.table, d.policy, d.table.Get(p), RanOut))
		}, RanOut, lease.Expired},
		{"cleared", func(d *desk, c *client, p netip.Prefix) {
			d.table.Put(d.s.End(d.now, d.table, d.policy, d.table.Get(p), Cleared))
		}, Cleared, lease.Reset},
	} {
		d, h := newDesk(t, branch(limit)), newHalf(lease.Primary, interrupted)
		d.policy = h
		c := d.client(1)
		p := c.obtain(na(1)).na(1).only()
		began, change, over := d.now.Wall, h.last, d.table.Get(p).End()
		d.pass(50)
		tt.end(d, c, p)
		b := d.table.Get(p)
		eq(t, tt.name+": cause", h.causes[len(h.causes)-1], tt.cause)
		want := lease.Binding{Prefix: p, IA: lease.IA{Link: "lan", Client: c.duid, Type: lease.IANA, ID: 1}, Status: tt.status,
			StartOfState: d.now.Wall, LastTransaction: d.now.Wall, PartnerLifetime: b.PartnerLifetime, Change: b.Change}
		switch tt.cause {
		case Declined:
			want.Expires = d.now.Wall + DefaultDeclinedFor
		case RanOut:
			want.LastTransaction, want.StartOfState = began, over
		case Cleared:
			want.LastTransaction = began
		}
		if *b != want || b.PartnerLifetime == 0 || b.Change <= change {
			t.Errorf("%s\n got %+v\nwant %+v", tt.name, *b, want)
		}
		d.recount()
	}
}

// A server that is alone gives a lease away in no other status than FREE,
// whoever had it, whoever asks, by whatever way.
func TestAloneGivesOnlyFree(t *testing.T) {
	for status := lease.Active; status <= lease.Reset; status++ {
		d := newDesk(t, branch(lanWith(func(l *Link) {
			l.Subnets[0].Pools = poolOf("2001:db8:0:1::1000", "2001:db8:0:1::1000")
			l.PrefixPools = []PrefixPool{{Prefix: nth(0), Length: 56}}
		})))
		owner, other := d.client(1), d.client(2)
		leases := prefixes("2001:db8:0:1::1000", "2001:db8:8000::/56")
		for _, p := range leases {
			b := &lease.Binding{Prefix: p, Status: status, Expires: d.now.Wall + 1000, HeldUntil: d.now.Wall + 1000}
			b.IA = lease.IA{Link: "lan", Client: owner.duid, Type: lease.IANA, ID: 1}
			if p.Bits() != 128 {
				b.Type = lease.IAPD
			}
			d.table.Put(b)
		}
		for _, c := range []*client{owner, other} {
			for _, typ := range []MessageType{Solicit, Request} {
				for _, hinted := range []bool{false, true} {
					a := c.send(typ, na(1), pd(1))
					if hinted {
						a = c.send(typ, na(1, leases[0]), pd(1, leases[1]))
					}
					gives := status == lease.Free || status == lease.Active && c == owner
					for _, i := range a.ias {
						if len(i.leases) == 1 != gives {
							t.Errorf("%v, client %v, type %d, hints %v: %+v", status, c.duid, typ, hinted, i)
						}
					}
				}
			}
			if status == lease.Free {
				break // the owner has it
			}
		}
		d.recount()
	}
}

// While the partner is away, what a client gives back waits. One that keeps
// asking and releasing, each time under another IAID, neither empties the pool
// nor fills the table; others get their leases, and so does the client once the
// partner agrees.
func TestWaitingLeasesOfOneClient(t *testing.T) {
	d, h := deskIn(t, lease.Primary, interrupted, func(l *Link) {
		l.Subnets[0].Pools = poolOf("2001:db8:0:1::1000", "2001:db8:0:1::10ff") // 128 of them ours
		l.PrefixPools = []PrefixPool{{Prefix: prefix("2001:db8:8000::/51"), Length: 56}}
	})
	limits := d.cfg.Limits
	c := d.client(1)
	told := 0
	for id := range uint32(200) {
		a := c.send(Request, na(id), pd(id))
		if len(a.na(lease.IAID(id)).leases)+len(a.pd(lease.IAID(id)).leases) == 0 {
			told += a.count(trace.LimitReached)
		}
		c.send(Release, a.request()...)
	}
	if n := d.table.Len(); n != 2*limits.LeasesPerClient || told == 0 {
		t.Errorf("%d records of one client, told %d times", n, told)
	}
	waiting := 0
	for b := range d.table.OfClient(c.duid) {
		if b.Status != lease.Released {
			t.Errorf("%+v", b)
		}
		if b.Type == lease.IAPD {
			waiting++
		}
	}
	eq(t, "prefixes", waiting, 2*limits.PrefixesPerClient)
	for n := range 40 {
		if !d.client(100 + n).obtain(na(1)).na(1).only().IsValid() {
			t.Errorf("client %d is kept out", n)
		}
	}
	h.agree(d)
	a := c.send(Request, na(900), pd(900))
	eq(t, "after the partner's word", len(a.na(900).leases)+len(a.pd(900).leases), 2)
	d.recount()
}

// A lease that is withdrawn makes room for its replacement, though it waits for
// the partner and the client is at its limit.
func TestReplacementAtTheLimitOfRelationship(t *testing.T) {
	limit := func(c *Config) { c.Limits.LeasesPerClient, c.Limits.PrefixesPerClient = 2, 1 }
	d := newDesk(t, branch(limit))
	d.policy = newHalf(lease.Primary, interrupted)
	c := d.client(1)
	held := c.obtain(na(1), pd(1))
	d.reconfigure(branch(limit, lanWith(func(l *Link) {
		l.Subnets = []Subnet{{Prefix: prefix("2001:db8:0:4::/64"), Pools: poolOf("2001:db8:0:4::1000", "2001:db8:0:4::1fff")}}
		l.PrefixPools = []PrefixPool{{Prefix: prefix("2001:db8:a000::/40"), Length: 56}}
	})))
	for _, i := range c.send(Renew, held.request()...).ias {
		if len(i.withdrawn()) != 1 || len(i.prefixes()) != 1 {
			t.Errorf("%+v", i)
		}
	}
	eq(t, "leases that wait", d.table.Count(lease.Released), 2)
	eq(t, "leases", d.table.Count(lease.Active), 2)

	// Once more, though as many wait already as may.
	d.reconfigure(branch(limit))
	held = c.send(Renew, na(1), pd(1))
	for _, i := range held.ias {
		if len(i.prefixes()) != 1 {
			t.Errorf("%+v", i)
		}
	}
	eq(t, "a lease more", c.send(Request, na(2)).na(2).status, statusNoAddrsAvail)
}

// Who declined an address is forgotten when the quarantine is over, and is given
// another.
func TestQuarantineOver(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1)
	p := c.obtain(na(1)).na(1).only()
	c.send(Decline, na(1, p))
	e := d.s.End(d.now, d.table, d.policy, d.table.Get(p), RanOut)
	if e.Status != lease.Free || e.Client != "" {
		t.Errorf("%+v", e)
	}
	d.policy = newHalf(lease.Primary, normal)
	e = d.s.End(d.now, d.table, d.policy, d.table.Get(p), Cleared)
	if e.Status != lease.Reset || e.Client != c.duid || e.Expires != 0 {
		t.Errorf("%+v", e)
	}
}

// Leases that a client takes back do not wait any more, from one identity
// association of a message to the next.
func TestTakesBackSeveral(t *testing.T) {
	d := newDesk(t, branch(func(c *Config) { c.Limits.LeasesPerClient, c.Limits.PrefixesPerClient = 2, 2 }))
	d.policy = newHalf(lease.Primary, interrupted)
	c := d.client(1)
	first := map[lease.IAID]netip.Prefix{}
	for id := range uint32(3) {
		a := c.send(Request, na(id))
		first[lease.IAID(id)] = a.na(lease.IAID(id)).only()
		c.send(Release, a.request()...)
	}
	for _, i := range c.send(Request, na(0), na(1)).ias {
		eq(t, name("IAID %d", i.id), i.only(), first[i.id])
	}
	eq(t, "more than it may have", c.send(Request, na(2)).na(2).status, statusNoAddrsAvail)
}

// The table has its limit also while nothing that ends becomes available. New
// clients are turned away then; who has a lease renews it, and who comes back
// gets its own again.
func TestTableLimitOfRelationship(t *testing.T) {
	d, h := deskIn(t, lease.Primary, interrupted)
	d.cfg.Limits.Leases = 50
	faithful := d.many(1000)
	held := faithful.send(Request, na(1), pd(1))
	mine := held.request()
	for n := range 200 {
		c := d.many(n)
		a := c.send(Request, na(1))
		eq(t, name("client %d", n), len(a.na(1).leases), map[bool]int{true: 1}[n < 48])
		c.send(Release, a.request()...)
	}
	eq(t, "records", d.table.Len(), 50)
	eq(t, "waiting", d.table.Count(lease.Released), 48)
	for range 3 {
		d.pass(1000)
		if a := faithful.send(Renew, mine...); !slices.EqualFunc(a.ias, held.ias, sameIA) {
			t.Errorf("renewed %+v", a.ias)
		}
	}
	for n := range 48 {
		c := d.many(n)
		if a := c.send(Request, na(1)); len(a.na(1).leases) != 1 {
			t.Errorf("client %d does not get its lease back: %+v", n, a.ias)
		}
	}
	eq(t, "records", d.table.Len(), 50)
	for n := range 48 {
		c := d.many(n)
		c.send(Release, c.send(Renew, na(1)).request()...)
	}
	eq(t, "a new client", len(d.many(500).send(Request, na(1)).na(1).leases), 0)
	h.agree(d)
	eq(t, "a new client, after the partner's word", len(d.many(500).send(Request, na(1)).na(1).leases), 1)
	d.recount()
}

// Lease stability: a router that comes back within a partition, before or after
// its lease ran out, has what it had, whatever others did meanwhile.
func TestComesBackWithinPartition(t *testing.T) {
	for _, random := range []bool{false, true} {
		d, _ := deskIn(t, lease.Primary, interrupted, eight, func(l *Link) { l.RandomAddresses = random })
		c := d.client(1)
		old := c.obtain(na(1), pd(1))
		for n := range 30 {
			d.many(n).send(Request, na(1), pd(1)) // takes all prefixes there are
		}
		for _, p := range slices.Concat(old.na(1).prefixes(), old.pd(1).prefixes()) {
			d.table.Put(d.s.End(d.now, d.table, d.policy, d.table.Get(p), RanOut))
		}
		for n := range 30 {
			eq(t, "nothing for others", len(d.many(100+n).send(Request, pd(1)).pd(1).leases), 0)
		}
		a := c.send(Solicit, na(1), pd(1))
		eq(t, "prefix", a.pd(1).only(), old.pd(1).only())
		eq(t, "address", a.na(1).only() == old.na(1).only(), !random)
		a = c.send(Solicit, old.request()...)
		eq(t, "prefix by hint", a.pd(1).only(), old.pd(1).only())
		eq(t, "address by hint", a.na(1).only(), old.na(1).only())
	}
}

// What can be leased on a link, as a partner has to know it.
func TestTerritory(t *testing.T) {
	cfg := branch(lanWith(func(l *Link) {
		l.Subnets[0].Pools = poolOf("2001:db8:0:1::1000", "2001:db8:0:1::1fff")
		l.Subnets = append(l.Subnets, Subnet{Prefix: prefix("2001:db8:0:4::/64"), Retired: true})
		l.Reservations = []Reservation{
			{Client: d1.duid, Addresses: addrs("2001:db8:0:1::77", "2001:db8:0:5::1"), Prefixes: prefixes("2001:db8:5500::/56", "2001:db8:8000:100::/56")},
			{InterfaceID: []byte("port7"), Addresses: addrs("2001:db8:0:1::78")},
		}
	}))
	lan, wifi, none := cfg.Territory("lan"), cfg.Territory("wifi"), cfg.Territory("gone")
	for _, tt := range []struct {
		lease string
		want  bool
	}{
		{"2001:db8:0:1::1000", true}, {"2001:db8:0:1::2000", true}, {"2001:db8:0:1::77", true}, {"2001:db8:0:4::1", true}, // in use once, if not now
		{"2001:db8:0:5::1", true}, {"2001:db8:0:5::2", false}, {"2001:db8:0:2::1000", false}, {"2001:db8:8000::1", false},
		{"2001:db8:8000::/56", true}, {"2001:db8:80ff:ff00::/56", true}, {"2001:db8:8000::/60", true}, {"2001:db8:8000::/40", true},
		{"2001:db8:8000::/39", false}, {"2001:db8:8100::/56", false}, {"2001:db8:8000::/65", false}, {"2001:db8:8000::/127", false},
		{"2001:db8:5500::/56", true}, {"2001:db8:5500::/57", false}, {"2001:db8:0:1::/64", false}, {"::/0", false},
	} {
		eq(t, tt.lease, lan.Contains(prefix(tt.lease)), tt.want)
		eq(t, "nowhere: "+tt.lease, none.Contains(prefix(tt.lease)), false)
	}
	eq(t, "wifi", wifi.Contains(prefix("2001:db8:0:2::1000")), true)
	if len(lan.Pools) != 1 || lan.Pools[0].Prefix != prefix("2001:db8:8000::/40") || lan.Pools[0].Length != 56 || len(lan.Subnets) != 2 || len(lan.Reserved) != 5 {
		t.Errorf("%+v", lan)
	}
	if len(wifi.Reserved) != 0 || len(none.Pools)+len(none.Subnets)+len(none.Reserved) != 0 {
		t.Errorf("%+v, %+v", wifi, none)
	}

	// Whatever the server gives out lies within.
	d := newDesk(t, cfg)
	for n := range 30 {
		for _, i := range d.client(n).obtain(na(1), pd(1)).ias {
			for _, p := range i.prefixes() {
				eq(t, p.String(), lan.Contains(p), true)
			}
		}
	}
}
