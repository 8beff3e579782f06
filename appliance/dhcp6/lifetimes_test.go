package dhcp6

import (
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
)

// D-142, D-143: T1 and T2 are half and four fifths of the shortest preferred
// lifetime that is extended, unless configured, and never T1 above T2. (The
// oracle compares T1 with T2 and preferred with valid everywhere.)
func TestTimes(t *testing.T) {
	const inf = lease.Infinity
	for _, tt := range []struct {
		name             string
		preferred, valid uint32
		t1, t2           uint32 // configured
		wantT1, wantT2   uint32
	}{
		{"default", 2700, 5400, 0, 0, 1350, 2160},
		{"odd", 9, 9, 0, 0, 4, 7},
		{"a second", 1, 1, 0, 0, 0, 0},
		{"long", 1 << 31, 1 << 31, 0, 0, 1 << 30, 1717986918},
		{"infinite", inf, inf, 0, 0, inf, inf},
		{"valid for ever", 600, inf, 0, 0, 300, 480},
		{"T1", 600, 1200, 100, 0, 100, 480},
		{"T2", 600, 1200, 0, 200, 200, 200},
		{"both", 600, 1200, 100, 200, 100, 200},
		{"T1 above T2", 600, 1200, 300, 200, 200, 200},
		{"beyond preferred", 600, 1200, 9000, 9000, 600, 600},
		{"never preferred", 0, 1200, 0, 0, 1200, 1200},
	} {
		c := newDesk(t, branch(lanWith(func(l *Link) { l.Lifetimes = Lifetimes{tt.preferred, tt.valid, tt.t1, tt.t2} }))).client(1)
		for _, i := range c.obtain(na(1), pd(1)).ias {
			if i.t1 != tt.wantT1 || i.t2 != tt.wantT2 || i.leases[0].preferred != tt.preferred || i.leases[0].valid != tt.valid {
				t.Errorf("%s: %+v", tt.name, i)
			}
		}
	}
}

// D-142: a lease that runs down does not count for T1 and T2.
func TestTimesOfMixedLeases(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1)
	held := c.obtain(na(1), pd(1))
	d.reconfigure(branch(lanWith(func(l *Link) { l.Subnets[0].Pools = nil })))
	d.pass(2000)
	a := c.send(Renew, held.request()...)
	if i := a.na(1); i.leases[0].preferred != 700 || i.t1 != 1350 || i.t2 != 2160 {
		t.Errorf("%+v", i)
	}
}

// D-144 to D-146, D-256: leases never outlive the prefix that they are made
// from, count down with it, and are short while it has an end at all. An
// excluded prefix has no lifetimes of its own: it sits in the IA Prefix.
func TestLifetimesOfParent(t *testing.T) {
	start := testStart.Wall
	for _, tt := range []struct {
		name                       string
		preferredUntil, validUntil lease.Time
		configured                 Lifetimes
		pass, preferred, valid     uint32
	}{
		{"no end", 0, 0, Lifetimes{Preferred: 86400, Valid: 90000}, 10, 86400, 90000},
		{"D-145: ends first", start + 300, start + 300, Lifetimes{Preferred: 2700, Valid: 5400}, 0, 300, 300},
		{"D-144: ten seconds later", start + 300, start + 300, Lifetimes{Preferred: 2700, Valid: 5400}, 10, 290, 290},
		{"preferred ends first", start + 100, start + 300, Lifetimes{Preferred: 2700, Valid: 5400}, 10, 90, 290},
		{"deprecated", start + 100, start + 300, Lifetimes{Preferred: 2700, Valid: 5400}, 200, 0, 100},
		{"only valid ends", 0, start + 300, Lifetimes{Preferred: 2700, Valid: 5400}, 0, 300, 300},
		{"only preferred ends", start + 100, 0, Lifetimes{Preferred: 2700, Valid: 5400}, 0, 100, 5400},
		{"D-146: far end", start + 86400, start + 86400, Lifetimes{Preferred: 80000, Valid: 90000}, 10, 2700, 5400},
		{"D-146: for ever until the end", start + 86400, start + 86400, Lifetimes{Preferred: lease.Infinity, Valid: lease.Infinity}, 10, 2700, 5400},
		{"shorter than the caps", start + 86400, start + 86400, Lifetimes{Preferred: 600, Valid: 1200}, 10, 600, 1200},
	} {
		d := newDesk(t, branch(lanWith(func(l *Link) {
			l.Lifetimes = tt.configured
			l.Subnets[0].PreferredUntil, l.Subnets[0].ValidUntil = tt.preferredUntil, tt.validUntil
			l.PrefixPools[0].PreferredUntil, l.PrefixPools[0].ValidUntil = tt.preferredUntil, tt.validUntil
			l.PrefixPools[0].Exclude = Exclude{Length: 64, SubnetID: 1}
		})))
		c := d.client(1).asking(67)
		d.pass(tt.pass)
		for _, typ := range []MessageType{Solicit, Request, Renew, Rebind} {
			a := c.send(typ, na(1), pd(1))
			for _, i := range a.ias {
				if len(i.leases) != 1 || i.leases[0].preferred != tt.preferred || i.leases[0].valid != tt.valid {
					t.Errorf("%s, type %d: %+v", tt.name, typ, i)
				}
			}
			eq(t, "excluded prefix", string(a.pd(1).leases[0].exclude), "\x40\x01")
		}
	}
}

// D-145: at its end a prefix gives nothing, not even what is reserved or wished for.
func TestEndedPrefixGivesNothing(t *testing.T) {
	c := newDesk(t, branch(lanWith(func(l *Link) {
		l.Subnets[0].ValidUntil, l.PrefixPools[0].ValidUntil = testStart.Wall, testStart.Wall
		l.Reservations = []Reservation{{Client: d1.duid, Addresses: addrs("2001:db8:0:1::77"), Prefixes: prefixes("2001:db8:8000:100::/56")}}
	}))).client(1)
	for _, typ := range []MessageType{Solicit, Renew, Rebind} {
		for _, a := range []*answer{c.send(typ, na(1), pd(1)), c.send(typ, na(2), pd(2, prefix("::/56")))} {
			for _, i := range a.ias {
				if len(i.leases) != 0 || i.status <= 0 {
					t.Errorf("type %d: %+v", typ, i)
				}
			}
		}
	}
	hint := c.send(Solicit, na(1, prefix("2001:db8:0:1::5")), pd(1, prefix("2001:db8:8000:500::/56")))
	eq(t, "leases by hint", len(hint.na(1).leases)+len(hint.pd(1).leases), 0)
	eq(t, "bindings", c.table.Len(), 0)
}
