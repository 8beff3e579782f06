package dhcp6

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem6/tandem6/failover/lease"
)

// crowd is many clients that do what comes to their mind, on two desks at once
// that have to answer alike, and what they have been promised by the answers.
type crowd struct {
	*rapid.T
	desks   [2]*desk
	held    map[netip.Prefix]promise // until its end
	offered map[netip.Prefix]promise
	xid     uint32
}

// promise is a lease in a client's hands.
type promise struct {
	ia    lease.IA
	until lease.Time
	mono  time.Duration
}

// crowdConfigs are small, so that clients come into each other's way.
func crowdConfigs() (cfgs []*Config) {
	small := func(c *Config) {
		c.Links[0].Subnets[0].Pools = poolOf("2001:db8:0:1::1000", "2001:db8:0:1::1007")
		c.Links[0].PrefixPools = []PrefixPool{
			{Prefix: prefix("2001:db8:8000::/54"), Length: 56, Exclude: Exclude{Length: 64, SubnetID: 1}},
			{Prefix: prefix("2001:db8:8100::/58"), Length: 60},
		}
		c.Links[0].Lifetimes = Lifetimes{Preferred: 50, Valid: 100}
		c.Links[1].Subnets[0].Pools = poolOf("2001:db8:0:2::1000", "2001:db8:0:2::1003")
		c.Links[1].RelayFrom = prefixes("2001:db8:ff::/48")
		c.Links[1].Lifetimes = Lifetimes{Preferred: 30, Valid: 60}
		c.RememberFor, c.DeclinedFor = 50, 80
		c.Limits = Limits{LeasesPerClient: 5, PrefixesPerClient: 2, DeclinesPerClient: 2, MessagesPerSecondPerClient: 1000, Leases: 30}
	}
	for _, change := range []func(*Config){
		func(*Config) {},
		func(c *Config) { c.Links[0].RandomAddresses, c.Links[1].RapidCommit = true, true },
		func(c *Config) { c.Links[0].CreateOnRenew, c.Links[0].RapidCommit = false, false },
		func(c *Config) {
			c.Links[0].Subnets[0].Retired = true
			c.Links[0].Subnets = append(c.Links[0].Subnets, Subnet{Prefix: prefix("2001:db8:0:4::/64"), Pools: poolOf("2001:db8:0:4::1000", "2001:db8:0:4::1003")})
			c.Links[0].PrefixPools[0].PreferredUntil, c.Links[0].PrefixPools[0].ValidUntil = testStart.Wall+200, testStart.Wall+400
		},
		func(c *Config) {
			c.Links[0].Subnets[0].Pools = poolOf("2001:db8:0:1::1004", "2001:db8:0:1::1009")
			c.Links[0].PrefixPools[0].Length = 58
			c.Links[0].Reservations = []Reservation{
				{Client: d1.duid, Addresses: addrs("2001:db8:0:1::1005", "2001:db8:0:1::2000"), Prefixes: prefixes("2001:db8:8000:100::/56", "2001:db8:8100:10::/60")},
				{Client: d1.duid, HasIAID: true, IAID: 2, Addresses: addrs("2001:db8:0:1::1006")},
				{InterfaceID: []byte("port7"), Addresses: addrs("2001:db8:0:1::1007"), Prefixes: prefixes("2001:db8:8000:40::/58")},
			}
		},
		func(c *Config) { c.Links[0].Subnets, c.Links[1].PrefixPools = nil, nil },
		func(c *Config) { c.Limits.LeasesPerClient, c.Limits.Leases = 1, 6 },
	} {
		cfgs = append(cfgs, branch(small, change))
	}
	return cfgs
}

// leases that clients may name.
var (
	crowdAddresses = prefixes("2001:db8:0:1::1000", "2001:db8:0:1::1004", "2001:db8:0:1::1005", "2001:db8:0:1::1007", "2001:db8:0:2::1001", "2001:db8:0:4::1002", "2001:db8:bad::1", "::")
	crowdPrefixes  = prefixes("2001:db8:8000::/56", "2001:db8:8000:100::/56", "2001:db8:8000:140::/58", "2001:db8:8100:10::/60", "2001:db8:9000::/60", "2001:db8:bad::/56", "2001:db8:8000::/54", "::/0", "::/56", "::/60", "::/48")
)

// message draws a message of client n on one of its ways to the server.
func (w *crowd) message() *Packet {
	n := rapid.IntRange(0, 7).Draw(w.T, "client")
	c := w.desks[0].client(n)
	c.xid = w.xid
	w.xid++
	switch rapid.IntRange(0, 5).Draw(w.T, "way") {
	case 0:
		c = c.on(wifiIndex)
	case 1:
		c = c.via(farRelay, relayed(0, "2001:db8:0:1::2", "fe80::7", opt(18, []byte("port7"))))
	case 2:
		c = c.via(farRelay, relayed(1, "2001:db8:0:2::9", "fe80::7", opt(135, u16(0))), relayed(0, "::", "fe80::8"))
	}
	if rapid.Bool().Draw(w.T, "asks") {
		c = c.asking(23, 67, 82)
	}
	var options [][]byte
	if rapid.Bool().Draw(w.T, "rapid commit") {
		options = append(options, opt(14))
	}
	for range rapid.IntRange(0, 4).Draw(w.T, "IAs") {
		typ, known := lease.IANA, crowdAddresses
		if rapid.Bool().Draw(w.T, "PD") {
			typ, known = lease.IAPD, crowdPrefixes
		}
		id := lease.IAID(rapid.IntRange(1, 3).Draw(w.T, "IAID"))
		var named []netip.Prefix
		for range rapid.IntRange(0, 2).Draw(w.T, "hints") {
			named = append(named, rapid.SampledFrom(known).Draw(w.T, "hint"))
		}
		if rapid.Bool().Draw(w.T, "names what it holds") {
			for p, h := range w.held {
				if h.ia.Client == c.duid && h.ia.Type == typ && h.ia.ID == id {
					named = append(named, p)
				}
			}
			slices.SortFunc(named, comparePrefix)
		}
		options = append(options, ia(typ, id, named...))
	}
	typ := rapid.SampledFrom([]MessageType{Solicit, Solicit, Request, Request, Request, Renew, Renew, Rebind, Release, Decline, Confirm, InformationRequest}).Draw(w.T, "type")
	return c.packet(c.message(typ, options...))
}

// step gives one packet to both desks, and takes the answer to heart.
func (w *crowd) step(p *Packet) {
	first, second := w.desks[0].handle(p), w.desks[1].handle(p)
	if !bytes.Equal(first.Data, second.Data) || first.promise != second.promise || len(first.changed) != len(second.changed) {
		w.Fatalf("two answers to one packet:\n%x\n%x", first.Data, second.Data)
	}
	q, err := readAsked(p.Data)
	if first.typ == 0 || err != nil {
		return
	}
	d := w.desks[0]
	link := d.s.x.link.Name
	if q.typ == Release || q.typ == Decline {
		for _, c := range d.changes {
			if c.old.Status == lease.Active {
				delete(w.held, c.old.Prefix)
			}
		}
	}
	for _, i := range first.ias {
		key := lease.IA{Link: link, Client: lease.DUID(q.cid), Type: i.typ, ID: i.id}
		for _, l := range i.leases {
			w.mention(key, first.typ, l)
		}
	}
}

// mention is one lease in an answer.
func (w *crowd) mention(key lease.IA, typ MessageType, l oracleLease) {
	now := w.desks[0].now
	mine := promise{key, now.Wall.Add(l.valid), now.Mono + offerHold}
	if l.valid == 0 {
		if w.held[l.prefix].ia == key {
			delete(w.held, l.prefix)
		}
		return
	}
	for p, h := range w.held {
		if h.ia != key && h.until > now.Wall && p.Overlaps(l.prefix) {
			w.Fatalf("%v goes to %+v, while %v is held until %d by %+v (now %d)", l.prefix, key, p, h.until, h.ia, now.Wall)
		}
	}
	if o, ok := w.offered[l.prefix]; ok && o.ia != key && o.mono > now.Mono {
		w.Fatalf("%v goes to %+v, while it is offered to %+v", l.prefix, key, o.ia)
	}
	if typ == Reply {
		delete(w.offered, l.prefix)
		w.held[l.prefix] = mine
	} else if b := w.desks[0].table.Get(l.prefix); b == nil || b.Status != lease.Active {
		w.offered[l.prefix] = mine
	}
}

// pass lets time go by and ends what has run out, as the engine does.
func (w *crowd) pass(seconds uint32) {
	const grace = 10 // the engine's
	for _, d := range w.desks {
		d.pass(seconds)
		for b := d.table.FirstEnd(); b != nil && b.Expires <= d.now.Wall-grace; b = d.table.FirstEnd() {
			if b.Status == lease.Active {
				d.table.Put(d.s.End(d.now, d.table, d.policy, b, RanOut))
			} else {
				d.table.Delete(b.Prefix)
			}
		}
	}
}

// check compares the two tables, and their counters with a recount.
func (w *crowd) check() {
	var tables [2][]lease.Binding
	for n, d := range w.desks {
		d.recount()
		checkBounds(d)
		for b := range d.table.From(netip.Prefix{}) {
			tables[n] = append(tables[n], *b)
		}
		if active := d.table.Count(lease.Active) + d.table.Count(lease.Abandoned); active > 30 {
			w.Errorf("%d leases, the limit is 30", active)
		}
	}
	if !slices.Equal(tables[0], tables[1]) {
		w.Fatalf("two tables:\n%+v\n%+v", tables[0], tables[1])
	}
}

// Whatever clients send in whatever order: no lease is ever promised or offered
// to two of them, nothing is promised that is not in the table and stored, an
// Advertise changes nothing, the counters are right, equal histories give equal
// answers, the memory of offers is bounded. (D-075, D-077, D-088, D-098 at large;
// the oracle holds the rules of single answers.)
func TestCrowd(t *testing.T) {
	cfgs := crowdConfigs()
	rapid.Check(t, func(t *rapid.T) {
		pick := rapid.IntRange(0, len(cfgs)-1)
		cfg := cfgs[pick.Draw(t, "configuration")]
		w := &crowd{T: t, desks: [2]*desk{newDesk(t, cfg), newDesk(t, cfg)}, held: map[netip.Prefix]promise{}, offered: map[netip.Prefix]promise{}}
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			switch rapid.IntRange(0, 19).Draw(t, "what") {
			case 0:
				cfg := cfgs[pick.Draw(t, "configuration")]
				for _, d := range w.desks {
					d.reconfigure(cfg)
				}
				clear(w.offered)
			case 1, 2:
				w.pass(uint32(rapid.IntRange(1, 130).Draw(t, "seconds")))
			default:
				w.step(w.message())
			}
			w.check()
		}
	})
}

// The memory of offers against a list that is searched from end to end.
func TestOffersAgainstOracle(t *testing.T) {
	type entry struct {
		prefix netip.Prefix
		ia     lease.IA
		until  time.Duration
	}
	rapid.Check(t, func(t *rapid.T) {
		o, now := newOffers(), time.Duration(0)
		var oracle []entry // latest first
		forget := func(p netip.Prefix) {
			oracle = slices.DeleteFunc(oracle, func(e entry) bool { return e.prefix == p })
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			p := crowdAddresses[rapid.IntRange(0, 7).Draw(t, "lease")]
			ia := lease.IA{Link: "lan", ID: lease.IAID(rapid.IntRange(0, 2).Draw(t, "IAID"))}
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				now += time.Duration(rapid.IntRange(1, 70).Draw(t, "seconds")) * time.Second
			case 1:
				o.remove(p)
				forget(p)
			default:
				o.put(now, p, ia)
				forget(p)
				oracle = slices.Insert(oracle, 0, entry{p, ia, now + offerHold})
			}
			var got, want []netip.Prefix
			o.of(now, ia, func(p netip.Prefix) bool { got = append(got, p); return true })
			for _, e := range oracle {
				if holder, ok := o.holder(now, e.prefix); ok != (e.until > now) || ok && holder != e.ia {
					t.Fatalf("%v is offered to %v (%v), want %v", e.prefix, holder, ok, e)
				}
				if e.ia == ia && e.until > now {
					want = append(want, e.prefix)
				}
			}
			if !slices.Equal(got, want) || len(o.byPrefix) != len(oracle) {
				t.Fatalf("%v is offered %v, want %v; %d offers, want %d", ia, got, want, len(o.byPrefix), len(oracle))
			}
		}
	})
}

// Any octets at all: no answer that the oracle does not accept, no panic.
func TestAnyOctets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDesk(t, branch())
		c := d.client(1)
		held := slices.Concat(c.obtain(na(1), pd(1)).request()...)
		message := c.message(rapid.SampledFrom([]MessageType{Solicit, Request, Confirm, Renew, Rebind, Release, Decline}).Draw(t, "type"), held)
		for range rapid.IntRange(0, 10).Draw(t, "changes") {
			at := rapid.IntRange(0, len(message)-1).Draw(t, "at")
			message[at] = rapid.Byte().Draw(t, "octet")
		}
		d.handle(c.packet(message))
		d.recount()
	})
}
