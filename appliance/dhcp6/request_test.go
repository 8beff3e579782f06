package dhcp6

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
)

// D-088, D-098: an address or prefix of another client is never granted, nor
// one that another was offered.
func TestLeasesOfOthers(t *testing.T) {
	d := newDesk(t, branch())
	held := d.client(1).obtain(na(1), pd(1))
	offered := d.client(2).send(Solicit, na(1), pd(1))
	c := d.client(3)
	for _, other := range []*answer{held, offered} {
		for _, typ := range []MessageType{Request, Solicit} {
			for _, i := range c.send(typ, other.request()...).ias {
				if got := i.only(); !got.IsValid() || len(i.leases) != 1 || got.Overlaps(other.ia(i.typ, 1).only()) {
					t.Errorf("type %d: %v, which is another's: %v", typ, i.leases, other.ia(i.typ, 1).leases)
				}
			}
		}
	}
	d.recount()
}

// D-089, D-090, D-097: an address that is not of the link gets NotOnLink for its
// IA alone; there is no such thing for prefixes.
func TestNotOnLink(t *testing.T) {
	good := prefix("2001:db8:0:1::77")
	for _, bad := range []netip.Prefix{prefix("2001:db8:bad::1"), prefix("2001:db8:0:2::1005"), prefix("fe80::1")} {
		c := newDesk(t, branch()).client(1)
		a := c.send(Request, na(1, good, bad), na(2), pd(1, prefix("2001:db8:bad::/56")))
		if i := a.na(1); i.status != statusNotOnLink || len(i.leases) != 0 {
			t.Errorf("%v: %+v", bad, i)
		}
		if !a.na(2).only().IsValid() || len(a.pd(1).leases) != 1 || a.pd(1).only().Bits() != 56 || !prefix("2001:db8:8000::/40").Contains(a.pd(1).only().Addr()) {
			t.Errorf("D-090, D-097: beside %v: %+v", bad, a.ias)
		}
		eq(t, "leases bound", len(c.active(c.duid)), 2)
	}
	c := newDesk(t, branch(lanWith(func(l *Link) { l.PrefixPools = nil }))).client(1)
	eq(t, "D-097: without a pool", c.send(Request, pd(1, prefix("2001:db8:bad::/56"))).pd(1).status, statusNoPrefixAvail)
}

// D-091, D-092: nothing to assign is said in the IA.
func TestNothingToAssign(t *testing.T) {
	c := newDesk(t, branch(lanWith(without))).client(1)
	a := c.send(Request, na(1), pd(1))
	eq(t, "IA_NA", a.na(1).status, statusNoAddrsAvail)
	eq(t, "IA_PD", a.pd(1).status, statusNoPrefixAvail)
	eq(t, "bindings", c.table.Len(), 0)
}

// D-093, D-094: a copy of a Request gets the same leases in a new answer, with
// the options that are configured by then.
func TestRetransmittedRequest(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1).asking(23)
	message := c.message(Request, na(1), pd(1))
	first := c.handle(c.packet(message))
	d.pass(10)
	again := c.handle(c.packet(message))
	if !slices.EqualFunc(first.ias, again.ias, sameIA) {
		t.Errorf("%+v, first %+v", again.ias, first.ias)
	}
	if b := d.table.Get(again.na(1).only()); b.Expires != d.now.Wall.Add(again.na(1).leases[0].valid) {
		t.Errorf("the lease ends at %d, now %d", b.Expires, d.now.Wall)
	}
	eq(t, "leases", len(d.active(c.duid)), 2)

	d.reconfigure(branch(lanWith(func(l *Link) { l.Options[0].Data = addr("2001:db8:0:1::53").AsSlice() })))
	if got := c.handle(c.packet(message)).all(23); len(got) != 1 || string(got[0]) != string(addr("2001:db8:0:1::53").AsSlice()) {
		t.Errorf("D-094: DNS servers %x", got)
	}
}

// D-095, D-111, D-122: T1 and T2 are the same in all IAs, and come from the
// shortest preferred lifetime of all. (The oracle compares them everywhere.)
func TestCommonTimes(t *testing.T) {
	d := newDesk(t, branch(lanWith(func(l *Link) {
		l.PrefixPools[0].PreferredUntil, l.PrefixPools[0].ValidUntil = testStart.Wall+1000, testStart.Wall+3000
	})))
	c := d.client(1)
	for _, typ := range []MessageType{Solicit, Request, Renew, Rebind} {
		a := c.send(typ, na(1), pd(1), na(2))
		for _, i := range a.ias {
			eq(t, name("type %d: T1", typ), i.t1, 500)
			eq(t, name("type %d: T2", typ), i.t2, 800)
		}
		eq(t, "preferred lifetime of the address", a.na(1).leases[0].preferred, DefaultPreferred)
		eq(t, "preferred lifetime of the prefix", a.pd(1).leases[0].preferred, 1000)
	}
}

// D-151: IA_NA and IA_PD of one number are two.
func TestSeparateIAIDs(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1)
	held := c.obtain(na(1), pd(1))
	c.send(Release, pd(1, held.pd(1).only()))
	eq(t, "held", len(d.active(c.duid)), 1)
	eq(t, "the address", c.send(Renew, na(1)).na(1).only(), held.na(1).only())
}

// D-155: every IA of a Request, Renew or Rebind comes back, whatever becomes of it.
func TestEveryIAComesBack(t *testing.T) {
	c := newDesk(t, branch(lanWith(func(l *Link) { l.PrefixPools = nil }))).client(1)
	c.obtain(na(1))
	for _, typ := range []MessageType{Request, Renew, Rebind} {
		a := c.send(typ, na(1), na(2), pd(3), na(4, prefix("2001:db8:bad::1")), na(5, prefix("2001:db8:0:1::5")))
		eq(t, name("IAs in the answer to type %d", typ), len(a.ias), 5)
	}
	// Without creation for unknown clients too.
	c = newDesk(t, branch()).client(1).on(wifiIndex)
	for _, typ := range []MessageType{Renew, Rebind} {
		a := c.send(typ, na(1), pd(3), na(4, prefix("2001:db8:bad::1")))
		eq(t, name("IAs in the answer to type %d", typ), len(a.ias), 3)
	}
}

// D-153: infinity is what the operator configured, or does not occur.
func TestInfinity(t *testing.T) {
	d := newDesk(t, branch())
	for _, i := range d.client(1).obtain(na(1), pd(1)).ias {
		if l := i.leases[0]; l.valid == lease.Infinity || l.preferred == lease.Infinity || i.t1 == lease.Infinity || i.t2 == lease.Infinity {
			t.Errorf("%+v", i)
		}
	}
	d = newDesk(t, branch(lanWith(func(l *Link) { l.Lifetimes = Lifetimes{Preferred: lease.Infinity, Valid: lease.Infinity} })))
	c := d.client(1)
	a := c.obtain(na(1))
	if i := a.na(1); i.t1 != lease.Infinity || i.t2 != lease.Infinity || i.leases[0].valid != lease.Infinity {
		t.Errorf("configured: %+v", i)
	}
	eq(t, "end", d.table.Get(a.na(1).only()).Expires, lease.Forever)
	eq(t, "renewal is stored", len(c.send(Renew, na(1)).changed), 0)
}
