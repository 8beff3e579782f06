package dhcp6

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
)

// told lists the events of an answer.
func told(a *answer) string {
	var names []string
	for _, e := range a.events {
		names = append(names, e.ID.Name())
	}
	return strings.Join(names, " ")
}

// What the table holds of a lease, from its beginning to its end, and what the
// operator is told of it.
func TestLifeOfABinding(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1)
	start := d.now.Wall
	a := c.obtain(pd(1))
	p := a.pd(1).only()
	want := lease.Binding{
		Prefix: p, IA: lease.IA{Link: "lan", Client: c.duid, Type: lease.IAPD, ID: 1}, Status: lease.Active,
		Preferred: DefaultPreferred, Valid: DefaultValid, T1: a.pd(1).t1, T2: a.pd(1).t2,
		Expires: start + DefaultValid, HeldUntil: start + 2*DefaultValid,
		StartOfState: start, LastTransaction: start, Via: c.source.Addr(),
	}
	check := func(what string, a *answer, events string) {
		t.Helper()
		if got := *d.table.Get(p); got != want {
			t.Errorf("%s\n got %+v\nwant %+v", what, got, want)
		}
		eq(t, what+": events", told(a), events)
		for _, e := range a.events {
			if e.Link != "lan" || e.Client != c.duid || e.Lease != p || e.Msg == 0 {
				t.Errorf("%s: event %+v", what, e)
			}
		}
	}
	check("Request", a, "lease_assigned")

	d.pass(1000)
	want.Expires, want.LastTransaction = want.Expires+1000, want.LastTransaction+1000
	check("Renew within the record", c.send(Renew, a.request()...), "lease_renewed")

	d.pass(DefaultValid)
	want.Expires, want.LastTransaction = want.Expires+DefaultValid, want.LastTransaction+DefaultValid
	want.HeldUntil = want.Expires + DefaultValid
	check("Renew beyond the record", c.send(Renew, a.request()...), "lease_renewed")

	// A client that moved to another port of the switch has another next hop.
	moved := c.via("[fe80::9]:547", relayed(0, "::", "fe80::7"))
	want.Via = addr("fe80::7")
	a = moved.send(Renew, a.request()...)
	want.HeldUntil = want.Expires + DefaultValid
	check("Renew with another next hop", a, "lease_renewed")
	eq(t, "stored, for its route", len(a.changed), 1)

	d.pass(10)
	now := d.now.Wall
	want = lease.Binding{Prefix: p, IA: want.IA, Status: lease.Free, StartOfState: now, LastTransaction: now, Expires: now + DefaultRememberFor}
	check("Release", c.send(Release, pd(1, p)), "lease_released")

	d.pass(10)
	a = c.obtain(pd(1))
	if b := d.table.Get(p); b.StartOfState != d.now.Wall || b.Status != lease.Active {
		t.Errorf("assigned again: %+v", b)
	}
	d.reconfigure(branch(lanWith(func(l *Link) { l.PrefixPools = nil })))
	d.pass(10)
	now = d.now.Wall
	want.StartOfState, want.LastTransaction, want.Expires = now, now, now+DefaultRememberFor
	check("withdrawn", c.send(Renew, pd(1, p)), "lease_withdrawn")
}

// A client is remembered for so many leases and no more.
func TestMemoryOfAClient(t *testing.T) {
	d := newDesk(t, branch(func(c *Config) { c.Limits.LeasesPerClient = 200 }))
	c := d.client(1)
	for n := range 150 {
		c.obtain(na(uint32(n)))
	}
	for n := range 150 {
		c.send(Release, c.send(Renew, na(uint32(n))).request()...)
	}
	remembered, forgotten := 0, 0
	for b := range d.table.From(netip.Prefix{}) {
		switch {
		case b.Client == c.duid && b.Expires == d.now.Wall+DefaultRememberFor:
			remembered++
		case b.Client == "" && b.Expires == d.now.Wall:
			forgotten++
		}
	}
	eq(t, "remembered", remembered, rememberedPerClientMax)
	eq(t, "about to be forgotten", forgotten, 150-rememberedPerClientMax)
}

// A lease that is withdrawn makes room for its replacement, also at the limit.
func TestReplacementAtTheLimit(t *testing.T) {
	limit := func(c *Config) { c.Limits.LeasesPerClient, c.Limits.PrefixesPerClient = 2, 1 }
	d := newDesk(t, branch(limit))
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
}

// What the operator sees: counters, pools, and for each dropped message the
// reason, the link and who sent it.
func TestCounters(t *testing.T) {
	d := newDesk(t, branch(lanWith(func(l *Link) { l.Reservations = []Reservation{{Client: "\x00\x03\xff", Deny: true}} })))
	c := d.client(1)
	c.obtain(na(1), pd(1))
	far := c.via(farRelay, relayed(0, "2001:db8:0:3::1", "fe80::7"))
	far.send(Solicit, na(1))
	denied := d.client(2)
	denied.duid = "\x00\x03\xff"
	for _, tt := range []struct {
		name string
		a    *answer
		want trace.Event
	}{
		{"denied", denied.send(Renew, na(1)), trace.Event{ID: trace.PolicyRefused, Reason: trace.Denied, Msg: uint8(Renew), Link: "lan", Client: denied.duid, Peer: denied.source.Addr()}},
		{"no client", c.handle(c.packet(c.bare(Solicit))), trace.Event{ID: trace.PacketDropped, Reason: trace.NoClientID, Msg: uint8(Solicit), Link: "lan", Peer: c.source.Addr()}},
		{"other interface", c.on(wanIndex).send(Solicit), trace.Event{ID: trace.PacketDropped, Reason: trace.UnknownLink, Msg: uint8(Solicit), Client: c.duid, Peer: c.source.Addr()}},
		{"not a message", c.handle(c.packet([]byte{1})), trace.Event{ID: trace.PacketDropped, Reason: trace.Truncated, Link: "lan", Peer: c.source.Addr()}},
	} {
		if len(tt.a.events) != 1 || tt.a.events[0] != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, tt.a.events, tt.want)
		}
	}
	s := d.s.Stats()
	for what, n := range map[string][2]uint64{
		"Solicits": {s.Received[Solicit], 4}, "Requests": {s.Received[Request], 1}, "Renews": {s.Received[Renew], 1}, "unreadable": {s.Received[0], 1},
		"Advertises": {s.Answered[Advertise], 2}, "Replies": {s.Answered[Reply], 1}, "relayed": {s.Relayed, 1},
		"denied": {s.Dropped[trace.Denied], 1}, "without identifier": {s.Dropped[trace.NoClientID], 1}, "of no link": {s.Dropped[trace.UnknownLink], 1}, "cut": {s.Dropped[trace.Truncated], 1},
	} {
		eq(t, what, n[0], n[1])
	}
	var pools []string
	for _, p := range d.s.Pools() {
		pools = append(pools, name("%s %s %d %v %d", p.Link, p.Pool, p.Length, p.Size, p.Used))
	}
	want := []string{
		"lan 2001:db8:0:1::-2001:db8:0:1:ffff:ffff:ffff:ffff 128 18446744073709551616 1", "lan 2001:db8:8000::/40 56 65536 1",
		"wifi 2001:db8:0:2::1000-2001:db8:0:2::1fff 128 4096 0", "wifi 2001:db8:9000::/40 60 1048576 0",
		"far 2001:db8:0:3::1000-2001:db8:0:3::ffff:ffff 128 4294963200 0",
	}
	if !slices.Equal(pools, want) {
		t.Errorf("pools\n%s\nwant\n%s", strings.Join(pools, "\n"), strings.Join(want, "\n"))
	}
}

// A lease is known to the configuration in a pool of its link, or reserved there.
func TestInPool(t *testing.T) {
	s := newDesk(t, branch(lanWith(func(l *Link) {
		l.Subnets[0].Pools = poolOf("2001:db8:0:1::1000", "2001:db8:0:1::1fff")
		l.Reservations = []Reservation{{Client: d1.duid, Addresses: addrs("2001:db8:0:1::77")}}
	}))).s
	for _, tt := range []struct {
		link, lease string
		want        bool
	}{
		{"lan", "2001:db8:0:1::1000", true}, {"lan", "2001:db8:0:1::1fff", true}, {"lan", "2001:db8:0:1::2000", false}, {"lan", "2001:db8:0:1::fff", false},
		{"lan", "2001:db8:0:1::77", true}, {"wifi", "2001:db8:0:1::77", false}, {"wifi", "2001:db8:0:1::1000", false}, {"gone", "2001:db8:0:1::1000", false},
		{"lan", "2001:db8:8000:100::/56", true}, {"lan", "2001:db8:8000:100::/60", false}, {"wifi", "2001:db8:9000::/60", true}, {"far", "2001:db8:9000::/60", false},
	} {
		eq(t, tt.link+" "+tt.lease, s.InPool(&lease.Binding{Prefix: prefix(tt.lease), IA: lease.IA{Link: tt.link}}), tt.want)
	}
}

// partner is a Policy with a will of its own.
type partner struct {
	service Service
	assign  func(*lease.Binding) bool
	valid   uint32
	ended   lease.Status
}

func (p partner) Serves(string) Service { return p.service }
func (p partner) MayAssign(_ lease.Clock, _ netip.Prefix, b *lease.Binding, _ lease.IA, _ bool) Claim {
	if p.assign(b) {
		return Ours
	}
	return NotOurs
}
func (p partner) Valid(_ lease.Clock, _ netip.Prefix, _ *lease.Binding, _ lease.IA, desired uint32) uint32 {
	return min(p.valid, desired)
}
func (p partner) Bind(_ lease.Clock, _, b *lease.Binding, _ uint32) { b.HeldUntil = b.Expires }
func (p partner) End(_ lease.Clock, _, e *lease.Binding, _ Cause)   { e.Status = p.ended }

// The seam for failover: the policy decides what is answered, what may be given,
// for how long, and what becomes of it.
func TestPolicy(t *testing.T) {
	always, never := func(*lease.Binding) bool { return true }, func(*lease.Binding) bool { return false }
	d := newDesk(t, branch(lanWith(onlyOne)))
	c, other := d.client(1), d.client(2)

	d.policy = partner{service: Responsive, assign: never, valid: lease.Infinity, ended: lease.Free}
	a := c.send(Solicit, na(1), pd(1))
	if a.na(1).status != statusNoAddrsAvail || a.pd(1).status != statusNoPrefixAvail {
		t.Errorf("nothing may be assigned: %+v", a.ias)
	}

	d.policy = partner{service: Responsive, assign: always, valid: 60, ended: lease.Released}
	a = c.obtain(na(1), pd(1))
	for _, i := range a.ias {
		if l := i.leases[0]; l.valid != 60 || l.preferred != 60 || i.t1 != 30 || i.t2 != 48 {
			t.Errorf("short lifetimes: %+v", i)
		}
	}
	eq(t, "what is held is not free, whatever the policy says", other.send(Request, na(1, a.na(1).only())).na(1).status, statusNoAddrsAvail)
	c.send(Release, a.request()...)
	b := d.table.Get(a.na(1).only())
	eq(t, "status after a Release", b.Status, lease.Released)
	eq(t, "its end", b.Expires, 0)
	eq(t, "its client", b.Client, c.duid)
	d.policy = Alone{}
	eq(t, "a lease that its partner has to confirm", other.send(Request, na(1)).na(1).status, statusNoAddrsAvail)

	for _, tt := range []struct {
		service  Service
		answered []MessageType
	}{
		{Responsive, []MessageType{Solicit, Request, Renew, Rebind, Release, Decline, Confirm}},
		{RenewResponsive, []MessageType{Request, Renew, Release, Decline}},
		{Unresponsive, nil},
	} {
		d.policy = partner{service: tt.service, assign: always, valid: 60, ended: lease.Free}
		for _, typ := range []MessageType{Solicit, Request, Renew, Rebind, Release, Decline, Confirm} {
			a := c.send(typ, na(1, prefix("2001:db8:0:1::1000")))
			if slices.Contains(tt.answered, typ) != (a.typ != 0) || a.typ == 0 && a.reason != trace.NotResponsive {
				t.Errorf("service %d, type %d: answer of type %d, reason %v", tt.service, typ, a.typ, a.reason)
			}
		}
	}
}
