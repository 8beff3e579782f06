package dhcp6

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem6/tandem6/failover/lease"
)

// pair is a primary and a secondary with the same clients. Connected, each knows
// at once what the other does; then the cable is cut.
type pair struct {
	*rapid.T
	desks     [2]*desk
	halves    [2]*half
	connected bool
	held      map[netip.Prefix]map[lease.IA]lease.Time // until when a client may use it, by what any server told it
}

func newPair(t *rapid.T) *pair {
	w := &pair{T: t, connected: true, held: map[netip.Prefix]map[lease.IA]lease.Time{}}
	for n, role := range []lease.Role{lease.Primary, lease.Secondary} {
		w.desks[n], w.halves[n] = deskIn(t, role, normal, eight, func(l *Link) {
			l.Subnets[0].Pools = poolOf("2001:db8:0:1::1000", "2001:db8:0:1::1007")
			l.Lifetimes = Lifetimes{Preferred: 300, Valid: 300}
			l.Reservations = []Reservation{
				{Client: d1.duid, HasIAID: true, IAID: 1, Addresses: addrs("2001:db8:0:1::1002"), Prefixes: []netip.Prefix{nth(3)}},
			}
		})
		w.halves[n].mclt = 100
		w.desks[n].give(nth(1), nth(4), nth(6))
	}
	return w
}

// serve sends one message of a client to one server and takes the answer to heart.
func (w *pair) serve(n int, c *client, typ MessageType, ia []byte, key lease.IA, named []netip.Prefix) {
	d, h := w.desks[n], w.halves[n]
	acked := map[netip.Prefix]lease.Time{}
	for b := range d.table.From(netip.Prefix{}) {
		if b.IA == key {
			acked[b.Prefix] = b.AckedPartnerLifetime
		}
	}
	moved := *c
	moved.desk = d
	a := moved.send(typ, ia)
	if (typ == Release || typ == Decline) && a.typ != 0 {
		for _, p := range named {
			delete(w.held[p], key)
		}
	}
	for _, l := range a.ia(key.Type, key.ID).leases {
		switch {
		case l.valid == 0:
			delete(w.held[l.prefix], key)
		case a.typ == Reply:
			until := d.now.Wall.Add(l.valid)
			if limit := max(acked[l.prefix], d.now.Wall).Add(h.mclt); h.state != partnerDown && until > limit {
				w.Fatalf("F-153: %v until %d, the limit is %d", l.prefix, until, limit)
			}
			w.promise(l.prefix, key, until)
		}
	}
	if w.connected {
		w.sync()
	}
	w.check()
}

// promise is a lease in an answer. The latest answer counts; of two that do not
// know of each other a client may have taken either.
func (w *pair) promise(p netip.Prefix, key lease.IA, until lease.Time) {
	if w.held[p] == nil {
		w.held[p] = map[lease.IA]lease.Time{}
	}
	if !w.connected {
		until = max(until, w.held[p][key])
	}
	w.held[p][key] = until
}

// check looks for a lease in two hands.
func (w *pair) check() {
	now := w.desks[0].now.Wall
	for p, holders := range w.held {
		n := 0
		for _, until := range holders {
			if until > now {
				n++
			}
		}
		if n > 1 {
			w.Fatalf("%v is valid at %d of %v at %d", p, n, holders, now)
		}
	}
}

// sync tells each server what the other did, and that the other agrees.
func (w *pair) sync() {
	for n, d := range w.desks {
		var news []*lease.Binding
		for b := range d.table.From(netip.Prefix{}) {
			if b.Change != 0 {
				news = append(news, b)
			}
		}
		w.halves[n].agree(d)
		other := w.desks[1-n]
		for _, b := range news {
			c := *d.table.Get(b.Prefix)
			c.PartnerLifetime, c.AckedPartnerLifetime = 0, 0
			if o := other.table.Get(b.Prefix); o != nil && o.IA == c.IA && o.Status == lease.Active && c.Status == lease.Active {
				c.PartnerLifetime, c.AckedPartnerLifetime = o.PartnerLifetime, o.AckedPartnerLifetime
			}
			other.table.Put(&c)
		}
	}
}

// pass lets time go by; what has run out ends, some seconds later.
func (w *pair) pass(seconds uint32) {
	const grace = 15
	for n, d := range w.desks {
		d.pass(seconds)
		var over []*lease.Binding
		for b := range d.table.From(netip.Prefix{}) {
			if b.Status == lease.Active && b.Expires+grace <= d.now.Wall {
				over = append(over, b)
			}
		}
		for _, b := range over {
			if w.halves[n].state != startup && (!w.connected || n == 0) { // one of two that know the same
				d.table.Put(d.s.End(d.now, d.table, d.policy, b, RanOut))
			}
		}
	}
	if w.connected {
		w.sync()
	}
}

// F-153, F-162, F-163, F-168, F-174, F-178, F-187, F-334 to F-336: whatever
// clients do with two servers that know of each other and then no longer do,
// which both serve and of which one is taken out in the end, no lease is ever in
// two hands, and no lease lasts longer than the partner may think.
func TestTwoHalves(t *testing.T) {
	addresses := prefixes("2001:db8:0:1::1000", "2001:db8:0:1::1001", "2001:db8:0:1::1002", "2001:db8:0:1::1005")
	delegated := []netip.Prefix{nth(0), nth(1), nth(3), nth(4)}
	rapid.Check(t, func(t *rapid.T) {
		w := newPair(t)
		cut := rapid.IntRange(0, 40).Draw(t, "cut after")
		down := cut + rapid.IntRange(1, 60).Draw(t, "down after")
		survivor := rapid.IntRange(0, 1).Draw(t, "survivor")
		for step := range rapid.IntRange(1, 120).Draw(t, "steps") {
			switch step {
			case cut:
				w.connected = false
				for _, h := range w.halves {
					h.state = interrupted
				}
			case down:
				w.halves[survivor].state, w.halves[survivor].down = partnerDown, w.desks[survivor].now.Mono
				w.halves[1-survivor].state = startup
			}
			if rapid.IntRange(0, 4).Draw(t, "what") == 0 {
				w.pass(uint32(rapid.IntRange(1, 150).Draw(t, "seconds")))
				continue
			}
			c := w.desks[0].client(rapid.IntRange(0, 5).Draw(t, "client"))
			key := lease.IA{Link: "lan", Client: c.duid, Type: lease.IANA, ID: lease.IAID(rapid.IntRange(1, 2).Draw(t, "IAID"))}
			known := addresses
			if rapid.Bool().Draw(t, "PD") {
				key.Type, known = lease.IAPD, delegated
			}
			var named []netip.Prefix
			if rapid.Bool().Draw(t, "hint") {
				named = append(named, rapid.SampledFrom(known).Draw(t, "named"))
			} else {
				for p, holders := range w.held {
					if _, ok := holders[key]; ok {
						named = append(named, p)
					}
				}
				slices.SortFunc(named, comparePrefix)
			}
			typ := rapid.SampledFrom([]MessageType{Solicit, Request, Request, Request, Renew, Renew, Rebind, Release, Decline}).Draw(t, "type")
			servers := []int{rapid.IntRange(0, 1).Draw(t, "server")}
			if typ == Solicit || typ == Rebind {
				servers = []int{0, 1}
			}
			for _, n := range servers {
				w.serve(n, c, typ, ia(key.Type, key.ID, named...), key, named)
			}
		}
		for _, d := range w.desks {
			d.recount()
		}
	})
}

// The same with a hand on the tiller: one address, one prefix, two clients, a
// cut, a survivor, and time.
func TestPartnersPrefixAfterMCLT(t *testing.T) {
	primary, _ := deskIn(t, lease.Primary, interrupted, eight)
	secondary, h := deskIn(t, lease.Secondary, interrupted, eight)
	for n := range 8 { // the primary gives all away, and nobody hears of it
		if p := primary.client(n).obtain(pd(1)).pd(1); p.leases[0].valid != 3600 {
			t.Errorf("%+v", p)
		}
	}
	last := primary.now.Wall + 3600
	h.state, h.down = partnerDown, secondary.now.Mono
	c := secondary.client(100)
	for range 3600 / 30 {
		if a := c.send(Request, pd(1)); a.pd(1).status != statusNoPrefixAvail || secondary.now.Wall >= last {
			t.Fatalf("%v s before the end of what the primary gave: %+v", last-secondary.now.Wall, a.ias)
		}
		secondary.pass(30)
	}
	eq(t, "time", secondary.now.Mono-h.down, 3600*time.Second)
	eq(t, "prefix", c.send(Request, pd(1)).pd(1).only().IsValid(), true)
}
