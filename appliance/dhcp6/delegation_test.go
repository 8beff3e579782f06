package dhcp6

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
)

// D-246, D-252: a prefix comes out of the pool of the client's link, with the
// length that is configured there; /64 is one that can be.
func TestPrefixesComeFromTheLinksPool(t *testing.T) {
	d := newDesk(t, branch(func(c *Config) {
		c.Links[2].PrefixPools = []PrefixPool{{Prefix: prefix("2001:db8:a000::/48"), Length: 64}}
	}))
	for _, tt := range []struct {
		c      *client
		pool   string
		length int
	}{
		{d.client(1), "2001:db8:8000::/40", 56},
		{d.client(1).on(wifiIndex), "2001:db8:9000::/40", 60},
		{d.client(1).via(farRelay, relayed(0, "2001:db8:0:3::1", "fe80::7")), "2001:db8:a000::/48", 64},
	} {
		p := tt.c.obtain(pd(1)).pd(1).only()
		if p.Bits() != tt.length || !prefix(tt.pool).Contains(p.Addr()) {
			t.Errorf("%v, want a /%d of %s", p, tt.length, tt.pool)
		}
	}
}

// lengths is a link with pools of /48, /56 and /60, in this order.
func lengths(l *Link) {
	l.PrefixPools = []PrefixPool{
		{Prefix: prefix("2001:db8:8100::/40"), Length: 56},
		{Prefix: prefix("2001:db8:8200::/40"), Length: 60},
		{Prefix: prefix("2001:db8:8300::/40"), Length: 48},
	}
}

// D-247 to D-251: the table of hints in chapter 4.5 of the checklist (RFC 8168).
func TestPrefixHints(t *testing.T) {
	free60, free56, taken56 := prefix("2001:db8:8200:50::/60"), prefix("2001:db8:8100:500::/56"), prefix("2001:db8:8100:700::/56")
	for _, tt := range []struct {
		name string
		hint []netip.Prefix
		want int          // length
		is   netip.Prefix // exactly, if valid
	}{
		{"nothing", nil, 56, netip.Prefix{}},
		{"D-251: ::/0", prefixes("::/0"), 56, netip.Prefix{}},
		{"D-247: exactly 60", prefixes("::/60"), 60, netip.Prefix{}},
		{"D-247: exactly 48", prefixes("::/48"), 48, netip.Prefix{}},
		{"D-248: between, the next shorter", prefixes("::/52"), 48, netip.Prefix{}},
		{"D-248: longest", prefixes("::/64"), 60, netip.Prefix{}},
		{"D-253: longer than hosts can use", prefixes("::/80"), 60, netip.Prefix{}},
		{"shorter than there is: the nearest", prefixes("::/32"), 48, netip.Prefix{}},
		{"D-249: free prefix", []netip.Prefix{free60}, 60, free60},
		{"D-249: free prefix before a length", append(prefixes("::/48"), free60), 60, free60},
		{"D-249: free prefix and a length", append([]netip.Prefix{free60}, prefixes("::/48")...), 60, free60},
		{"D-249: second of two is free", []netip.Prefix{taken56, free56}, 56, free56},
		{"D-249: taken, by its length", []netip.Prefix{taken56}, 56, netip.Prefix{}},
		{"D-249: taken, and a length", append([]netip.Prefix{taken56}, prefixes("::/60")...), 60, netip.Prefix{}},
		{"D-249: a length, and taken", append(prefixes("::/60"), taken56), 60, netip.Prefix{}},
		{"taken, and ::/0", append([]netip.Prefix{taken56}, prefixes("::/0")...), 56, netip.Prefix{}},
		{"length of no pool", prefixes("2001:db8:8100:500::/58"), 56, netip.Prefix{}},
		{"from elsewhere, by its length", prefixes("2001:db8:bad::/60"), 60, netip.Prefix{}},
		{"around the pools", prefixes("2001:d00::/24"), 48, netip.Prefix{}},
	} {
		d := newDesk(t, branch(lanWith(lengths)))
		d.client(2).obtain(pd(1, taken56))
		c := d.client(1)
		for _, typ := range []MessageType{Solicit, Request} {
			got := c.send(typ, pd(1, tt.hint...)).pd(1).only()
			if got.Bits() != tt.want || tt.is.IsValid() && got != tt.is || got == taken56 {
				t.Errorf("%s, type %d: %v", tt.name, typ, got)
			}
		}
	}
}

// D-247: the wish for a length counts whatever the client had or has.
func TestHintIsIndependentOfOlderBindings(t *testing.T) {
	d := newDesk(t, branch(lanWith(lengths)))
	c := d.client(1)
	first := c.obtain(pd(1, prefix("::/56")))
	eq(t, "second IA_PD", c.obtain(pd(2, prefix("::/60"))).pd(2).only().Bits(), 60)
	c.send(Release, first.request()...)
	eq(t, "the same IA after a Release", c.obtain(pd(1, prefix("::/48"))).pd(1).only().Bits(), 48)
	eq(t, "and back", c.obtain(pd(3, prefix("::/56"))).pd(3).only().Bits(), 56)
}

// D-247: of two pools the second may be the one.
func TestHintWithTwoPools(t *testing.T) {
	for _, hint := range []string{"::/56", "::/60"} {
		c := newDesk(t, branch(lanWith(func(l *Link) { lengths(l); l.PrefixPools = l.PrefixPools[:2] }))).client(1)
		eq(t, hint, c.obtain(pd(1, prefix(hint))).pd(1).only().Bits(), prefix(hint).Bits())
	}
}

// D-248: with no prefix of the wished length left, the next shorter, then a longer one.
func TestHintWithEmptyPools(t *testing.T) {
	d := newDesk(t, branch(lanWith(func(l *Link) {
		l.PrefixPools = []PrefixPool{
			{Prefix: prefix("2001:db8:8100::/63"), Length: 64},
			{Prefix: prefix("2001:db8:8200::/55"), Length: 56},
			{Prefix: prefix("2001:db8:8300::/59"), Length: 60},
		}
	})))
	var got []int
	for n := range 7 {
		p := d.client(n).obtain(pd(1, prefix("::/60"))).pd(1).only()
		got = append(got, p.Bits())
	}
	if want := []int{60, 60, 56, 56, 64, 64, -1}; !slices.Equal(got, want) {
		t.Errorf("lengths %v, want %v", got, want)
	}
	d.recount()
}

// D-250: the hint is not remembered: a Renew without one keeps the prefix, and
// so does one with another; a new IA gets what the link gives by default.
func TestHintIsNotRemembered(t *testing.T) {
	d := newDesk(t, branch(lanWith(lengths)))
	c := d.client(1)
	held := c.obtain(pd(1, prefix("::/60"))).pd(1).only()
	for _, hint := range [][]netip.Prefix{nil, {held}, prefixes("::/56"), {held, prefix("::/48")}} {
		for _, typ := range []MessageType{Renew, Rebind, Request} {
			if i := c.send(typ, pd(1, hint...)).pd(1); len(i.leases) != 1 || i.only() != held {
				t.Errorf("type %d with %v: %+v", typ, hint, i)
			}
		}
	}
	eq(t, "another IA", c.obtain(pd(2)).pd(2).only().Bits(), 56)
}

// D-253: no prefix is longer than /64, and an address out of a pool of addresses
// is none, even if a client asks for it as one. (The oracle holds it for every
// answer.)
func TestAddressIsNoPrefix(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	for _, typ := range []MessageType{Solicit, Request, Renew, Rebind, Release, Decline} {
		got := c.send(typ, pd(1, prefix("2001:db8:0:1::7777/128")), pd(2, prefix("2001:db8:8000::/80")))
		if typ != Release && typ != Decline {
			eq(t, name("type %d", typ), got.pd(1).only().Bits(), 56)
		}
	}
}

// A length that the operator changed: the old prefix runs down beside a new one,
// and what is delegated never overlaps.
func TestChangedLength(t *testing.T) {
	d := newDesk(t, branch(lanWith(func(l *Link) { l.PrefixPools[0] = PrefixPool{Prefix: prefix("2001:db8:8000::/52"), Length: 56} })))
	c := d.client(1)
	held := c.obtain(pd(1)).pd(1).only()
	d.reconfigure(branch(lanWith(func(l *Link) { l.PrefixPools[0] = PrefixPool{Prefix: prefix("2001:db8:8000::/52"), Length: 60} })))
	d.pass(100)
	i := c.send(Renew, pd(1, held)).pd(1)
	if len(i.leases) != 2 || i.leases[0].prefix != held || i.leases[0].valid != DefaultValid-100 || i.leases[1].prefix.Bits() != 60 {
		t.Errorf("%+v", i)
	}
	again := c.send(Renew, pd(1, i.prefixes()...)).pd(1)
	if !slices.Equal(i.prefixes(), again.prefixes()) {
		t.Errorf("%+v, then %+v", i, again)
	}
	for n := range 400 {
		d.client(10+n).send(Request, pd(1))
	}
	d.recount()
	eq(t, "prefixes of 60 bits beside one of 56", d.table.Count(lease.Active), 256-16+1)
}

// D-263: of what is reserved for one client, global prefixes come before unique
// local ones.
func TestGlobalBeforeUniqueLocal(t *testing.T) {
	ula, gua, ula2 := prefix("fd00:1:0:100::/56"), prefix("2001:db8:8000:100::/56"), prefix("fd00:2:0:100::/56")
	c := newDesk(t, branch(lanWith(func(l *Link) {
		l.PrefixPools = []PrefixPool{{Prefix: prefix("fd00:1::/48"), Length: 56}, {Prefix: prefix("fd00:2::/48"), Length: 56}, {Prefix: prefix("2001:db8:8000::/40"), Length: 56}}
		l.Reservations = []Reservation{{Client: d1.duid, Prefixes: []netip.Prefix{ula, gua, ula2}}}
	}))).client(1)
	for _, typ := range []MessageType{Solicit, Request, Renew} {
		if got := c.send(typ, pd(1)).pd(1).prefixes(); len(got) != 3 || got[0] != gua {
			t.Errorf("type %d: %v", typ, got)
		}
	}
}

// A reserved prefix, and all that overlaps it, is kept for its client.
func TestReservedPrefixesAreKept(t *testing.T) {
	d := newDesk(t, branch(lanWith(func(l *Link) {
		l.PrefixPools = []PrefixPool{{Prefix: prefix("2001:db8:8000::/52"), Length: 56}}
		l.Reservations = []Reservation{
			{Client: "\x00\x03\xff", Prefixes: prefixes("2001:db8:8000:800::/54", "2001:db8:8000:e00::/60", "2001:db8:8000:100::/60")}, // six of the pool's /56
		}
	})))
	var given []netip.Prefix
	for n := range 20 {
		if p := d.client(n).obtain(pd(1)).pd(1).only(); p.IsValid() {
			given = append(given, p)
		}
	}
	eq(t, "given", len(given), 16-6)
	owner := d.client(1000)
	owner.duid = "\x00\x03\xff"
	got := owner.obtain(pd(1)).pd(1).prefixes()
	if !slices.Equal(got, prefixes("2001:db8:8000:800::/54", "2001:db8:8000:e00::/60", "2001:db8:8000:100::/60")) {
		t.Errorf("the owner got %v", got)
	}
	d.recount()
}

// The last free part of a pool may be known to the table alone: who holds a
// prefix around it, or a part of it, keeps others out.
func TestNestedDelegations(t *testing.T) {
	d := newDesk(t, branch(lanWith(func(l *Link) { l.PrefixPools = []PrefixPool{{Prefix: prefix("2001:db8:8000::/55"), Length: 56}} })))
	d.table.Put(&lease.Binding{Prefix: prefix("2001:db8:8000:110::/60"), IA: lease.IA{Link: "lan", Client: "\x00\x03\xff", Type: lease.IAPD, ID: 1},
		Status: lease.Active, Expires: lease.Forever, HeldUntil: lease.Forever})
	eq(t, "beside", d.client(1).obtain(pd(1)).pd(1).only(), prefix("2001:db8:8000::/56"))
	eq(t, "around", d.client(2).send(Request, pd(1, prefix("2001:db8:8000:100::/56"))).pd(1).status, statusNoPrefixAvail)
	d.recount()
}
