package dhcp6

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
)

// D-099: a Confirm without an address gets no answer.
func TestConfirmWithoutAddress(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	for _, options := range [][][]byte{nil, {na(1)}, {pd(1)}, {pd(1, prefix("2001:db8:8000::/56"))}, {na(1), na(2)}, {na(1, prefix("::"))}} {
		c.silent(trace.NothingToConfirm, c.message(Confirm, options...))
	}
}

// D-100: nor does one on an unknown link, or on a link without known prefixes.
func TestConfirmOnUnknownLink(t *testing.T) {
	d := newDesk(t, branch(lanWith(func(l *Link) { l.Subnets = nil })))
	c := d.client(1)
	c.silent(trace.NothingToConfirm, c.message(Confirm, na(1, prefix("2001:db8:0:1::5"))))
	c.silent(trace.NothingToConfirm, c.message(Confirm, na(1, prefix("2001:db8:bad::5"))))
	far := c.via("[2001:db8:ff::1]:547", relayed(0, "2001:db8:bad::1", "fe80::7"))
	far.silent(trace.UnknownLink, far.message(Confirm, na(1, prefix("2001:db8:0:3::1005"))))
}

// D-101 to D-104: a Confirm is a question about topology: do all addresses fit
// the link? Bindings, times and options do not matter. (The oracle allows
// nothing but identifiers and status in the answer.)
func TestConfirm(t *testing.T) {
	good, other, bad := prefix("2001:db8:0:1::5"), prefix("2001:db8:0:1::1"), prefix("2001:db8:0:2::5")
	timed := opt(3, u32(1, 99, 7), opt(5, good.Addr().AsSlice(), u32(lease.Infinity, 1)))
	for _, tt := range []struct {
		name string
		ias  [][]byte
		want int
	}{
		{"one", [][]byte{na(1, good)}, statusSuccess},
		{"several", [][]byte{na(1, good, other), na(2, prefix("2001:db8:0:1::99"))}, statusSuccess},
		{"one wrong", [][]byte{na(1, good), na(2, bad)}, statusNotOnLink},
		{"one wrong in one IA", [][]byte{na(1, good, bad)}, statusNotOnLink},
		{"a prefix does not count", [][]byte{na(1, good), pd(1, prefix("2001:db8:bad::/56"))}, statusSuccess},
		{"strange times", [][]byte{timed}, statusSuccess},
	} {
		c := newDesk(t, branch()).client(1).asking(23, 24)
		eq(t, tt.name, c.send(Confirm, tt.ias...).status, tt.want)
	}
}

// A prefix that is retired, or at its end, is not of the link any more.
func TestConfirmOfFormerPrefix(t *testing.T) {
	for what, end := range map[string]func(*Subnet){
		"retired": func(s *Subnet) { s.Retired = true },
		"ended":   func(s *Subnet) { s.ValidUntil = testStart.Wall },
	} {
		c := newDesk(t, branch(lanWith(func(l *Link) { end(&l.Subnets[0]) }))).client(1)
		eq(t, what, c.send(Confirm, na(1, prefix("2001:db8:0:1::5"))).status, statusNotOnLink)
	}
}

// D-105, D-115: Renew and Rebind extend what the client holds.
func TestExtension(t *testing.T) {
	for _, typ := range []MessageType{Renew, Rebind} {
		for _, ifIndex := range []int{lanIndex, wifiIndex} {
			d := newDesk(t, branch())
			c := d.client(1).on(ifIndex)
			held := c.obtain(na(1), pd(1))
			for range 5 {
				d.pass(held.na(1).t1)
				a := c.send(typ, held.request()...)
				if !slices.EqualFunc(a.ias, held.ias, sameIA) {
					t.Fatalf("type %d: %+v, had %+v", typ, a.ias, held.ias)
				}
				for _, i := range a.ias {
					eq(t, "end", d.table.Get(i.only()).Expires, d.now.Wall.Add(i.leases[0].valid))
				}
			}
			eq(t, "leases", len(d.active(c.duid)), 2)
		}
	}
}

// D-144: a renewed lease counts from now; a renewal that the stored record
// already covers needs no write, and a record is never behind a promise. (The
// oracle compares the table with every Reply.)
func TestRenewalsAreStoredRarely(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1)
	held := c.obtain(na(1))
	stored := d.table.Get(held.na(1).only())
	writes := 0
	for range 12 {
		d.pass(held.na(1).t1)
		for _, b := range c.send(Renew, held.request()...).changed {
			stored = b
			writes++
		}
		if b := d.table.Get(stored.Prefix); stored.HeldUntil < b.Expires {
			t.Fatalf("promised until %d, stored until %d", b.Expires, stored.HeldUntil)
		}
	}
	eq(t, "writes", writes, 2) // one in five
}

// D-106, D-116, D-147, D-148: a lease of a prefix that is no longer ours is
// withdrawn in the Reply to a Request, Renew or Rebind, beside a new one, for as
// long as the client comes with it. The checklist's example is 80 minutes.
func TestStalePrefix(t *testing.T) {
	newPrefix := Subnet{Prefix: prefix("2001:db8:0:4::/64"), Pools: poolOf("2001:db8:0:4::1000", "2001:db8:0:4::1fff")}
	newPool := PrefixPool{Prefix: prefix("2001:db8:a000::/40"), Length: 56}
	for what, change := range map[string]func(*Link){
		"retired": func(l *Link) {
			l.Subnets = []Subnet{l.Subnets[0], newPrefix}
			l.PrefixPools = []PrefixPool{l.PrefixPools[0], newPool}
			l.Subnets[0].Retired, l.PrefixPools[0].ValidUntil = true, testStart.Wall
		},
		"ended": func(l *Link) {
			l.Subnets = []Subnet{l.Subnets[0], newPrefix}
			l.PrefixPools = []PrefixPool{l.PrefixPools[0], newPool}
			l.Subnets[0].ValidUntil, l.PrefixPools[0].ValidUntil = testStart.Wall+1, testStart.Wall+1
		},
		"gone from the configuration": func(l *Link) {
			l.Subnets, l.PrefixPools = []Subnet{newPrefix}, []PrefixPool{newPool}
		},
	} {
		for _, typ := range []MessageType{Request, Renew, Rebind} {
			d := newDesk(t, branch())
			c := d.client(1)
			held := c.obtain(na(1), pd(1))
			d.reconfigure(branch(lanWith(change)))
			for _, wait := range []uint32{1, 60, 80 * 60} { // an answer may be lost, and the client come again
				d.pass(wait)
				a := c.send(typ, held.request()...)
				for _, i := range a.ias {
					old := held.ia(i.typ, i.id).only()
					if !slices.Equal(i.withdrawn(), []netip.Prefix{old}) {
						t.Errorf("%s, type %d, after %d s: withdrawn %v, had %v", what, typ, wait, i.withdrawn(), old)
					}
					if p := i.only(); !p.IsValid() || p.Overlaps(old) {
						t.Errorf("%s, type %d, after %d s: replaced by %v", what, typ, wait, i.leases)
					}
				}
				if b := d.table.Get(held.na(1).only()); b.Status == lease.Active {
					t.Errorf("%s: still held: %+v", what, b)
				}
			}
			d.recount()
		}
		// An Advertise shows only what is to come.
		d := newDesk(t, branch())
		c := d.client(1)
		held := c.obtain(na(1), pd(1))
		d.reconfigure(branch(lanWith(change)))
		d.pass(1)
		for _, i := range c.send(Solicit, held.request()...).ias {
			if p := i.only(); !p.IsValid() || p == held.ia(i.typ, i.id).only() {
				t.Errorf("%s: advertised %v", what, i.leases)
			}
		}
	}
}

// D-147 where unknown clients get NoBinding: the second answer withdraws too.
func TestStalePrefixWithoutCreation(t *testing.T) {
	for _, typ := range []MessageType{Renew, Rebind} {
		d := newDesk(t, branch())
		c := d.client(1).on(wifiIndex)
		held := c.obtain(na(1), pd(1))
		d.reconfigure(branch(func(c *Config) {
			c.Links[1].Subnets[0].Retired, c.Links[1].PrefixPools[0].ValidUntil = true, testStart.Wall
		}))
		for range 3 {
			d.pass(10)
			for _, i := range c.send(typ, held.request()...).ias {
				if len(i.withdrawn()) != 1 || len(i.prefixes()) != 0 {
					t.Errorf("type %d: %+v", typ, i)
				}
			}
		}
	}
}

// D-147 where unknown clients get NoBinding, of one that is known: the old lease
// is replaced, and what else it lists is withdrawn.
func TestKnownClientWithoutCreation(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1).on(wifiIndex)
	held := c.obtain(na(1), pd(1))
	stranger := prefix("2001:db8:0:2::1777")
	if i := c.send(Renew, na(1, held.na(1).only(), stranger)).na(1); i.only() != held.na(1).only() || !slices.Equal(i.withdrawn(), []netip.Prefix{stranger}) {
		t.Errorf("D-112: %+v", i)
	}
	d.reconfigure(branch(func(c *Config) {
		c.Links[1].Subnets[0].Retired = true
		c.Links[1].Subnets = append(c.Links[1].Subnets, Subnet{Prefix: prefix("2001:db8:0:4::/64"), Pools: poolOf("2001:db8:0:4::1000", "2001:db8:0:4::1fff")})
	}))
	i := c.send(Renew, held.request()...).na(1)
	if !slices.Equal(i.withdrawn(), held.na(1).prefixes()) || !prefix("2001:db8:0:4::/64").Contains(i.only().Addr()) {
		t.Errorf("%+v, had %v", i, held.na(1).prefixes())
	}
}

// D-147 of clients that the server knows nothing of: what lies in a retired
// subnet or an ended pool is stale, whoever held it. What fits the link is a
// wish, even if the client held it once.
func TestStaleWithoutRecord(t *testing.T) {
	oldAddress, oldPrefix := prefix("2001:db8:0:1::77"), prefix("2001:db8:8000:100::/56")
	ended := branch(lanWith(func(l *Link) { l.Subnets[0].Retired, l.PrefixPools[0].ValidUntil = true, testStart.Wall }))
	for _, typ := range []MessageType{Request, Renew, Rebind} {
		a := newDesk(t, ended).client(1).send(typ, na(1, oldAddress), pd(1, oldPrefix))
		if !slices.Equal(a.na(1).withdrawn(), []netip.Prefix{oldAddress}) || !slices.Equal(a.pd(1).withdrawn(), []netip.Prefix{oldPrefix}) {
			t.Errorf("type %d: %+v", typ, a.ias)
		}
	}
	d := newDesk(t, branch())
	c := d.client(1)
	c.send(Release, c.obtain(na(1, oldAddress), pd(1, oldPrefix)).request()...)
	d.reconfigure(branch(lanWith(func(l *Link) {
		l.Subnets[0].Pools = poolOf("2001:db8:0:1::1000", "2001:db8:0:1::1fff")
		l.PrefixPools[0].Length = 60
	})))
	a := c.send(Request, na(1, oldAddress), pd(1, oldPrefix))
	if len(a.na(1).withdrawn()) != 0 || len(a.pd(1).withdrawn()) != 0 || !a.na(1).only().IsValid() || a.pd(1).only().Bits() != 60 {
		t.Errorf("wishes: %+v", a.ias)
	}
}

// What is withdrawn is nobody else's for a minute, so that its former client has
// let go of it: not of another client, and not of another IA of the same.
func TestWithdrawnIsKept(t *testing.T) {
	theirs, reserved := prefix("2001:db8:0:1::1000"), addr("2001:db8:0:1::2000")
	d := newDesk(t, branch(lanWith(func(l *Link) { l.Subnets[0].Pools = poolOf("2001:db8:0:1::1000", "2001:db8:0:1::1000") })))
	c, other := d.client(1), d.client(2)
	eq(t, "at first", c.obtain(na(1)).na(1).only(), theirs)
	d.reconfigure(branch(lanWith(func(l *Link) {
		l.Subnets[0].Pools = poolOf("2001:db8:0:1::1000", "2001:db8:0:1::1000")
		l.Reservations = []Reservation{{Client: c.duid, HasIAID: true, IAID: 1, Addresses: []netip.Addr{reserved}}}
	})))
	a := c.send(Renew, na(1, theirs), na(2))
	if i := a.na(1); i.only().Addr() != reserved || !slices.Equal(i.withdrawn(), []netip.Prefix{theirs}) || a.na(2).status != statusNoAddrsAvail {
		t.Errorf("%+v", a.ias)
	}
	eq(t, "another client at once", other.send(Request, na(1)).na(1).status, statusNoAddrsAvail)
	d.pass(61)
	eq(t, "a minute later", other.send(Request, na(1)).na(1).only(), theirs)
}

// D-107, D-144: what cannot be extended runs down, with the seconds it has left,
// and T1 and T2 say that there is no need to ask again.
func TestRunningDown(t *testing.T) {
	mine := prefix("2001:db8:0:1::77")
	reserved := func(duid lease.DUID) func(*Link) {
		return func(l *Link) {
			l.Subnets[0].Pools, l.PrefixPools = nil, nil
			l.Reservations = []Reservation{{Client: duid, Addresses: []netip.Addr{mine.Addr()}}}
		}
	}
	for what, change := range map[string]func(*Link){
		"reservation withdrawn":     func(l *Link) { l.Subnets[0].Pools = nil },
		"reserved for another":      reserved("\x00\x03\xff"),
		"outside of the pools":      func(l *Link) { l.Subnets[0].Pools = poolOf("2001:db8:0:1::9999", "2001:db8:0:1::9999") },
		"in the pool of none there": func(l *Link) { l.Subnets[0].Pools = []Range{} },
	} {
		d := newDesk(t, branch())
		c := d.client(1)
		d.reconfigure(branch(lanWith(reserved(c.duid))))
		if got := c.obtain(na(1)).na(1).only(); got != mine {
			t.Fatalf("reserved: %v", got)
		}
		d.reconfigure(branch(lanWith(change)))
		// Somebody else takes the only address of the small pool.
		d.client(2).obtain(na(1))
		left := Lifetimes{Preferred: DefaultPreferred, Valid: DefaultValid}
		for _, wait := range []uint32{10, 1000, 2000, 2000} {
			d.pass(wait)
			left.Valid -= wait
			left.Preferred -= min(wait, left.Preferred)
			for _, typ := range []MessageType{Renew, Rebind, Request} {
				i := c.send(typ, na(1, mine)).na(1)
				if len(i.leases) != 1 || i.leases[0].preferred != left.Preferred || i.leases[0].valid != left.Valid || i.t1 != left.Valid || i.t2 != left.Valid {
					t.Errorf("%s, type %d: %+v, want %+v", what, typ, i, left)
				}
			}
		}
		if got := d.table.Get(mine).Expires; got != testStart.Wall.Add(DefaultValid) {
			t.Errorf("%s: the lease ends at %d", what, got)
		}
	}
}

// D-108: after the loss of all bindings a Renew brings the same leases back.
func TestRenewOfUnknown(t *testing.T) {
	old := newDesk(t, branch()).client(1).obtain(na(1, prefix("2001:db8:0:1::77")), pd(1, prefix("2001:db8:8000:100::/56")))
	d := newDesk(t, branch())
	c := d.client(1)
	a := c.send(Renew, old.request()...)
	if !slices.EqualFunc(a.ias, old.ias, sameIA) {
		t.Errorf("%+v, had %+v", a.ias, old.ias)
	}
	eq(t, "bound", len(d.active(c.duid)), 2)
}

// D-109, D-119: where it is not configured to, the server creates nothing.
func TestNoCreation(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1).on(wifiIndex)
	for _, typ := range []MessageType{Renew, Rebind} {
		ias := [][]byte{na(1), na(2, prefix("2001:db8:0:2::1005")), pd(1), pd(2, prefix("2001:db8:9000::/60"))}
		if typ == Renew { // to a Rebind such an address is withdrawn, D-117
			ias = append(ias, na(3, prefix("2001:db8:bad::1")))
		}
		a := c.send(typ, ias...)
		for _, i := range a.ias {
			eq(t, name("type %d, IA %d %d", typ, i.typ, i.id), i.status, statusNoBinding)
		}
		eq(t, "bindings", d.table.Len(), 0)
	}
}

// D-110: nothing to create from.
func TestRenewWithoutResources(t *testing.T) {
	c := newDesk(t, branch(lanWith(without))).client(1)
	for _, typ := range []MessageType{Renew, Rebind} {
		a := c.send(typ, na(1), pd(1), na(2, prefix("2001:db8:0:1::5")))
		eq(t, "IA_NA", a.na(1).status, statusNoAddrsAvail)
		eq(t, "IA_NA with an address", a.na(2).status, statusNoAddrsAvail)
		eq(t, "IA_PD", a.pd(1).status, statusNoPrefixAvail)
	}
}

// D-112: what the client lists and does not hold, it has to stop using.
func TestRenewOfForeignLease(t *testing.T) {
	d := newDesk(t, branch())
	other := d.client(2).obtain(na(1), pd(1))
	c := d.client(1)
	held := c.obtain(na(1), pd(1))
	for _, typ := range []MessageType{Renew, Rebind} {
		a := c.send(typ, na(1, held.na(1).only(), other.na(1).only(), prefix("2001:db8:bad::1")), pd(1, held.pd(1).only(), other.pd(1).only()))
		if i := a.na(1); i.only() != held.na(1).only() || !slices.Equal(i.withdrawn(), []netip.Prefix{other.na(1).only(), prefix("2001:db8:bad::1")}) {
			t.Errorf("type %d: %+v", typ, i)
		}
		if i := a.pd(1); i.only() != held.pd(1).only() || !slices.Equal(i.withdrawn(), []netip.Prefix{other.pd(1).only()}) {
			t.Errorf("type %d: %+v", typ, i)
		}
	}
	eq(t, "leases of the other", len(d.active(d.client(2).duid)), 2)
}

// D-112 does not touch what the client holds in another IA than it said, or gets
// in another IA of the same message.
func TestRenewWithTheWrongIA(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1)
	held := c.obtain(na(1), pd(1))
	for _, typ := range []MessageType{Renew, Rebind} {
		a := c.send(typ, na(2, held.na(1).only()), pd(2, held.pd(1).only()))
		for _, i := range a.ias {
			if len(i.leases) != 1 || i.leases[0].valid == 0 || i.only() == held.ia(i.typ, 1).only() {
				t.Errorf("type %d: %+v", typ, i)
			}
		}
	}
	eq(t, "held", len(d.active(c.duid)), 4)
	wish := prefix("2001:db8:0:1::77")
	a := newDesk(t, branch()).client(1).send(Renew, na(2, prefix("2001:db8:0:1::78"), wish), na(1, wish))
	if a.na(1).only() != wish || len(a.na(2).leases) != 1 {
		t.Errorf("%+v", a.ias)
	}
}

// D-113: what a client could not get earlier, it gets with a Renew.
func TestRenewAddsAnIA(t *testing.T) {
	d := newDesk(t, branch(lanWith(func(l *Link) { l.PrefixPools = nil })))
	c := d.client(1)
	held := c.obtain(na(1), pd(1))
	eq(t, "at first", held.pd(1).status, statusNoPrefixAvail)
	d.reconfigure(branch())
	for _, typ := range []MessageType{Renew, Rebind} {
		a := c.send(typ, na(1, held.na(1).only()), pd(1))
		if a.na(1).only() != held.na(1).only() || !a.pd(1).only().IsValid() {
			t.Errorf("type %d: %+v", typ, a.ias)
		}
	}
}

// D-114: a binding belongs to its link; the client on another link has another.
func TestRenewOnAnotherLink(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1)
	held := c.obtain(na(1), pd(1))
	before := *d.table.Get(held.na(1).only())
	d.pass(100)
	for _, typ := range []MessageType{Renew, Release, Decline} {
		c.on(wifiIndex).send(typ, held.request()...)
	}
	if now := *d.table.Get(before.Prefix); now != before {
		t.Errorf("was %+v, is %+v", before, now)
	}
	moved := c.on(wifiIndex).obtain(na(1), pd(1))
	if moved.na(1).only() == held.na(1).only() || len(d.active(c.duid)) != 4 {
		t.Errorf("%+v, holds %v", moved.ias, d.active(c.duid))
	}
	d.recount()
}

// D-117, D-121: a Rebind is told what is wrong on the link, as far as the
// configuration says what is right; another server's leases are none of ours.
func TestRebindOfUnknown(t *testing.T) {
	bad, badPrefix := prefix("2001:db8:bad::1"), prefix("2001:db8:bad::/56")
	d := newDesk(t, branch())
	c := d.client(1).on(wifiIndex)
	a := c.send(Rebind, na(1, bad), pd(1, badPrefix), na(2, prefix("2001:db8:0:2::1005"), bad))
	if !slices.Equal(a.na(1).withdrawn(), []netip.Prefix{bad}) || !slices.Equal(a.pd(1).withdrawn(), []netip.Prefix{badPrefix}) || !slices.Equal(a.na(2).withdrawn(), []netip.Prefix{bad}) {
		t.Errorf("D-117: %+v", a.ias)
	}
	for _, rapidCommit := range []bool{false, true} {
		d = newDesk(t, branch(func(c *Config) {
			c.Links[1].RapidCommit = rapidCommit
			c.Links[1].Subnets = nil
		}))
		a = d.client(1).on(wifiIndex).send(Rebind, na(1, bad), pd(1, badPrefix))
		if len(a.na(1).leases) != 0 || len(a.pd(1).withdrawn()) != 1 {
			t.Errorf("D-121, without subnets, sole server %v: %+v", rapidCommit, a.ias)
		}
		d = newDesk(t, branch(func(c *Config) {
			c.Links[1].RapidCommit = rapidCommit
			c.Links[1].PrefixPools = nil
		}))
		a = d.client(1).on(wifiIndex).send(Rebind, na(1, bad), pd(1, badPrefix))
		if len(a.na(1).withdrawn()) != 1 || len(a.pd(1).leases) != 0 {
			t.Errorf("D-121, without prefix pools, sole server %v: %+v", rapidCommit, a.ias)
		}
	}
}

// D-118: a Rebind of an unknown client creates a binding only where this is the
// sole server, which is where Rapid Commit is enabled.
func TestRebindCreates(t *testing.T) {
	for _, rapidCommit := range []bool{false, true} {
		d := newDesk(t, branch(lanWith(func(l *Link) { l.RapidCommit = rapidCommit })))
		c := d.client(1)
		a := c.send(Rebind, na(1, prefix("2001:db8:0:1::77")), pd(1, prefix("2001:db8:8000:100::/56")))
		eq(t, "bound", len(d.active(c.duid)) == 2, rapidCommit)
		eq(t, "address", a.na(1).only() == prefix("2001:db8:0:1::77"), rapidCommit)
		eq(t, "prefix", a.pd(1).only() == prefix("2001:db8:8000:100::/56"), rapidCommit)
	}
}

// D-120: a Rebind that there is nothing to say about gets no answer.
func TestRebindWithNothingToSay(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	c.silent(trace.NothingToSay, c.message(Rebind))
	far := c.via("[2001:db8:ff::1]:547", relayed(0, "2001:db8:bad::1", "fe80::7"))
	far.silent(trace.UnknownLink, far.message(Rebind, na(1, prefix("2001:db8:0:3::1005"))))
}

// D-123: a router that has booted asks by Rebind whether its prefix still holds.
func TestRebindAsLinkCheck(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1)
	held := c.obtain(pd(1))
	if a := c.send(Rebind, held.request()...); !sameIA(a.pd(1), held.pd(1)) {
		t.Errorf("%+v, had %+v", a.ias, held.ias)
	}
	// Behind another link the prefix is wrong.
	if a := c.on(wifiIndex).send(Rebind, held.request()...); !slices.Equal(a.pd(1).withdrawn(), []netip.Prefix{held.pd(1).only()}) {
		t.Errorf("on another link: %+v", a.ias)
	}
}
