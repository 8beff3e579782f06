package dhcp6

import (
	"net/netip"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
)

// onlyOne leaves one address and one prefix to give on the first link.
func onlyOne(l *Link) {
	l.Subnets[0].Pools = poolOf("2001:db8:0:1::1000", "2001:db8:0:1::1000")
	l.PrefixPools = []PrefixPool{{Prefix: prefix("2001:db8:8000::/55"), Length: 56}}
	l.Reservations = []Reservation{{Client: "\x00\x03\xff", Prefixes: []netip.Prefix{prefix("2001:db8:8000:100::/56")}}}
}

// D-124, D-126, D-128: a Release frees what it lists, is answered with Success,
// and says nothing of the IA.
func TestRelease(t *testing.T) {
	d := newDesk(t, branch(lanWith(onlyOne)))
	c, other := d.client(1), d.client(2)
	held := c.obtain(na(1), pd(1))
	eq(t, "before", other.send(Request, na(1)).na(1).status, statusNoAddrsAvail)
	a := c.send(Release, held.request()...)
	if a.status != statusSuccess || len(a.ias) != 0 {
		t.Errorf("status %d, %+v", a.status, a.ias)
	}
	eq(t, "held", len(d.active(c.duid)), 0)
	eq(t, "stored", len(a.changed), 2)
	if a := other.obtain(na(1), pd(1)); a.na(1).only() != held.na(1).only() || a.pd(1).only() != held.pd(1).only() {
		t.Errorf("the next client got %+v", a.ias)
	}
	d.recount()
}

// D-124: only what is listed is freed; an IA without leases releases nothing.
func TestReleaseOfPart(t *testing.T) {
	d := newDesk(t, branch(lanWith(func(l *Link) {
		l.Subnets = append(l.Subnets, Subnet{Prefix: prefix("2001:db8:0:4::/64"), Pools: poolOf("2001:db8:0:4::1000", "2001:db8:0:4::1fff")})
	})))
	c := d.client(1)
	two := c.obtain(na(1)).na(1).prefixes()
	if a := c.send(Release, na(1)); a.status != statusSuccess || len(a.ias) != 0 || len(d.active(c.duid)) != 2 {
		t.Errorf("empty: %+v, holds %v", a.ias, d.active(c.duid))
	}
	c.send(Release, na(1, two[0]))
	if got := d.active(c.duid); len(got) != 1 || got[0] != two[1] {
		t.Errorf("holds %v, had %v", got, two)
	}
}

// D-125, D-127: leases that are not in the binding stay what they are; an IA
// that is not known comes back with NoBinding and nothing else. (The oracle
// allows nothing else.)
func TestReleaseOfUnknown(t *testing.T) {
	d := newDesk(t, branch())
	other := d.client(2).obtain(na(1), pd(1))
	c := d.client(1)
	c.obtain(na(1))
	for _, typ := range []MessageType{Release, Decline} {
		a := c.send(typ, na(1, other.na(1).only()), na(2, other.na(1).only()), na(3))
		if a.status != statusSuccess || len(a.ias) != 2 || a.na(2).status != statusNoBinding || a.na(3).status != statusNoBinding || a.na(3).t1 != 0 || a.na(3).t2 != 0 {
			t.Errorf("type %d: %+v", typ, a.ias)
		}
		eq(t, "leases of the other", len(d.active(d.client(2).duid)), 2)
		eq(t, "leases of the client", len(d.active(c.duid)), 1)
	}
	if a := c.send(Release, pd(7)); a.pd(7).status != statusNoBinding {
		t.Errorf("%+v", a.ias)
	}
}

// A Release that is sent again, because its answer was lost.
func TestReleaseAgain(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	held := c.obtain(na(1)).request()
	c.send(Release, held...)
	a := c.send(Release, held...)
	eq(t, "status", a.status, statusSuccess)
	eq(t, "status of the IA", a.na(1).status, statusNoBinding)
	eq(t, "changes", len(a.changed), 0)
}

// D-129 to D-131: a declined address leaves the binding, is given to nobody, and
// the answer is like that to a Release.
func TestDecline(t *testing.T) {
	d := newDesk(t, branch(lanWith(func(l *Link) { l.Subnets[0].Pools = poolOf("2001:db8:0:1::1000", "2001:db8:0:1::1001") })))
	c := d.client(1)
	declined := c.obtain(na(1)).na(1).only()
	a := c.send(Decline, na(1, declined), na(9))
	if a.status != statusSuccess || len(a.ias) != 1 || a.na(9).status != statusNoBinding {
		t.Errorf("status %d, %+v", a.status, a.ias)
	}
	eq(t, "told", a.count(trace.AddressDeclined), 1)
	if b := d.table.Get(declined); b.Status != lease.Abandoned || b.Expires != d.now.Wall.Add(DefaultDeclinedFor) || len(a.changed) != 1 {
		t.Errorf("record %+v, stored %v", b, a.changed)
	}
	// The client gets the other one, even if it asks for the first again.
	other := c.send(Renew, na(1, declined)).na(1)
	if len(other.withdrawn()) != 1 || other.only() == declined || !other.only().IsValid() {
		t.Errorf("Renew: %+v", other)
	}
	for n := range 5 {
		if a := d.client(10+n).send(Request, na(1, declined)); a.na(1).status != statusNoAddrsAvail {
			t.Errorf("client %d: %+v", n, a.ias)
		}
	}
	d.recount()
}

// D-132: delegated prefixes are not declined.
func TestDeclineOfPrefix(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1)
	held := c.obtain(pd(1))
	a := c.send(Decline, append(held.request(), pd(2))...)
	if a.status != statusSuccess || len(a.ias) != 0 || len(d.active(c.duid)) != 1 {
		t.Errorf("status %d, %+v, holds %v", a.status, a.ias, d.active(c.duid))
	}
}

// D-133: a Release that returns a Prefix Exclude which was never delegated gets
// NoBinding for that IA_PD, and releases nothing of it.
func TestReleaseWithExclude(t *testing.T) {
	d := newDesk(t, branch(lanWith(func(l *Link) { l.PrefixPools[0].Exclude = Exclude{Length: 64, SubnetID: 0} })))
	c := d.client(1).asking(67)
	held := c.obtain(pd(1), pd(2))
	release := func(id uint32, exclude []byte) *answer {
		return c.send(Release, opt(25, u32(id, 0, 0), iaPrefix(held.pd(lease.IAID(id)).only(), opt(67, exclude))))
	}
	for _, made := range [][]byte{{64, 1}, {63, 0}, {64}, {}, {64, 0, 0}} {
		a := release(1, made)
		if a.status != statusSuccess || a.pd(1).status != statusNoBinding || len(d.active(c.duid)) != 2 {
			t.Errorf("%x: %+v, holds %v", made, a.ias, d.active(c.duid))
		}
	}
	other := c.send(Release, opt(25, u32(1, 0, 0), iaPrefix(prefix("2001:db8:8000::/56"), opt(13, u16(0), []byte("ok")))))
	if len(other.ias) != 0 || len(d.active(c.duid)) != 2 {
		t.Errorf("another option in the IA Prefix: %+v, holds %v", other.ias, d.active(c.duid))
	}
	if a := release(1, held.pd(1).leases[0].exclude); len(a.ias) != 0 || len(d.active(c.duid)) != 1 {
		t.Errorf("its own: %+v, holds %v", a.ias, d.active(c.duid))
	}
	if a := c.send(Release, pd(2, held.pd(2).only())); len(a.ias) != 0 || len(d.active(c.duid)) != 0 {
		t.Errorf("none: %+v, holds %v", a.ias, d.active(c.duid))
	}
	// A prefix that is nobody's, with an option that fits nothing.
	if a := c.send(Release, opt(25, u32(1, 0, 0), iaPrefix(prefix("2001:db8:bad::/56"), opt(67, []byte{64, 0})))); a.pd(1).status != statusNoBinding {
		t.Errorf("foreign: %+v", a.ias)
	}
}

// D-134, D-344: one client cannot decline the pool away: beyond the limit its
// addresses are only given back.
func TestDeclineLimit(t *testing.T) {
	d := newDesk(t, branch(func(c *Config) { c.Limits.DeclinesPerClient = 3 }))
	c := d.client(1)
	for n := range 100 {
		held := c.obtain(na(uint32(n))).request()
		a := c.send(Decline, held...)
		eq(t, name("Decline %d: limit reached", n), a.count(trace.LimitReached) == 1, n >= 3)
		eq(t, "held", len(d.active(c.duid)), 0)
	}
	eq(t, "set aside", d.table.Count(lease.Abandoned), 3)
	d.client(2).send(Decline, d.client(2).obtain(na(1)).request()...)
	eq(t, "set aside, with another client's", d.table.Count(lease.Abandoned), 4)
	d.recount()
}

// D-136, D-137, D-141: an Information-request is answered with what it asks
// for, and touches no lease, also from a client that holds some.
func TestInformationRequest(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1).asking(23, 24, 999)
	c.obtain(na(1), pd(1))
	for _, message := range [][]byte{c.message(InformationRequest), c.bare(InformationRequest, oro(23, 24, 999))} {
		a := c.handle(c.packet(message))
		if !a.has(23) || !a.has(24) || a.has(999) || len(a.ias) != 0 || len(a.changed) != 0 || a.promise {
			t.Errorf("%v, %d changes", a.options, len(a.changed))
		}
	}
	eq(t, "leases", len(d.active("")), 2)
}

// D-136: without a Client Identifier there are no options of a reservation,
// unless the relay says who it is.
func TestAnonymousInformationRequest(t *testing.T) {
	mine := addr("2001:db8::53")
	d := newDesk(t, branch(lanWith(func(l *Link) {
		l.Reservations = []Reservation{
			{Client: d1.duid, Options: []Option{{Code: 23, Data: mine.AsSlice()}}},
			{InterfaceID: []byte("port7"), Options: []Option{{Code: 23, Data: mine.AsSlice()}}},
		}
	})))
	c := d.client(1)
	relay := c.via("[2001:db8:ff::1]:547", relayed(0, "2001:db8:0:1::2", "fe80::7", opt(18, []byte("port7"))))
	for _, tt := range []struct {
		name string
		p    *Packet
		want netip.Addr
	}{
		{"by DUID", c.packet(c.message(InformationRequest, oro(23))), mine},
		{"anonymous", c.packet(c.bare(InformationRequest, oro(23))), addr("2001:db8:0:1::1")},
		{"by the relay", relay.packet(c.bare(InformationRequest, oro(23))), mine},
	} {
		if got := d.handle(tt.p).all(23); len(got) != 1 || string(got[0]) != string(tt.want.AsSlice()) {
			t.Errorf("%s: %x", tt.name, got)
		}
	}
}

// D-138 to D-140: the refresh time is sent to an Information-request that asks
// for it and to nothing else; below 600 seconds it cannot be configured.
func TestRefreshTime(t *testing.T) {
	refresh, err := InformationRefreshTime(600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := InformationRefreshTime(599); err == nil {
		t.Error("599 s can be configured")
	}
	refresh.Force = true
	c := newDesk(t, branch(lanWith(func(l *Link) { l.Options = []Option{refresh} }))).client(1).asking(32)
	if got := c.send(InformationRequest).all(32); len(got) != 1 || string(got[0]) != string(u32(600)) {
		t.Errorf("%x", got)
	}
	for _, typ := range []MessageType{Solicit, Request, Renew, Rebind} {
		eq(t, name("in the answer to type %d", typ), c.send(typ, na(1)).has(32), false)
	}
}

// d1 names client 1 for configurations.
var d1 = (&desk{}).client(1)
