package dhcp6

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
)

// D-053: any transaction-id comes back, 0 too.
func TestTransactionID(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	for _, xid := range []uint32{0, 1, 0x800000, 0xffffff} {
		c.xid = xid - 1
		eq(t, "transaction-id", c.send(Solicit, na(1)).xid, xid)
	}
}

// D-054, D-055, D-057, D-065: each answer names the one server and its client;
// what ails an IA is said in the IA. (The oracle holds it for every answer of
// every test; here are all kinds of answers at least once.)
func TestIdentifiersOfAnswers(t *testing.T) {
	d := newDesk(t, branch())
	for _, c := range []*client{d.client(1), d.client(2).on(wifiIndex), d.client(3).via("[2001:db8:ff::1]:547", relayed(0, "2001:db8:0:3::1", "fe80::7"))} {
		held := c.obtain(na(1), pd(1)).request()
		answers := []*answer{c.send(Solicit, held...), c.send(Request, held...), c.send(Confirm, held...), c.send(Renew, held...), c.send(Rebind, held...),
			c.send(Request, na(2, prefix("2001:db8:bad::1"))), c.send(Decline, held...), c.send(Release, held...), c.send(Release, na(77)), c.send(InformationRequest)}
		for _, a := range answers {
			if a.typ == 0 || string(a.sid) != string(serverDUID) || string(a.cid) != string(c.duid) {
				t.Errorf("answer of type %d with server %x, client %x", a.typ, a.sid, a.cid)
			}
		}
	}
}

// D-064: status texts are UTF-8 without NUL, and there are some. (The oracle
// rejects others.)
func TestStatusTexts(t *testing.T) {
	c := newDesk(t, branch()).client(1).on(wifiIndex)
	for what, text := range map[string]string{
		"NotOnLink of an IA":  c.send(Request, na(1, prefix("2001:db8:bad::1"))).na(1).text,
		"NotOnLink":           c.send(Confirm, na(1, prefix("2001:db8:bad::1"))).text,
		"Success":             c.send(Confirm, na(1, prefix("2001:db8:0:2::1"))).text,
		"NoBinding":           c.send(Renew, na(9)).na(9).text,
		"NoBinding, released": c.send(Release, na(9)).na(9).text,
	} {
		if text == "" {
			t.Errorf("%s: no text", what)
		}
	}
}

// D-066, D-152: every IA of a Solicit is answered as an IA of its own.
func TestEveryIAIsAdvertised(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	ias := [][]byte{na(1), pd(7), na(2), pd(0), na(0xffffffff)}
	a := c.send(Solicit, ias...)
	seen := map[netip.Prefix]bool{}
	for _, i := range a.ias {
		if p := i.only(); !p.IsValid() || seen[p] {
			t.Errorf("IA %d %d: %v", i.typ, i.id, i.leases)
		} else {
			seen[p] = true
		}
	}
	eq(t, "IAs", len(a.ias), len(ias))
}

// without is a link that gives neither addresses nor prefixes.
func without(l *Link) { l.Subnets[0].Pools, l.PrefixPools = nil, nil }

// D-067, D-068: nothing to give is said in the IA, with no lease beside it.
func TestNothingToAdvertise(t *testing.T) {
	c := newDesk(t, branch(lanWith(without))).client(1)
	a := c.send(Solicit, na(1, prefix("2001:db8:0:1::5")), pd(1, prefix("::/56")))
	eq(t, "IA_NA", a.na(1).status, statusNoAddrsAvail)
	eq(t, "IA_PD", a.pd(1).status, statusNoPrefixAvail)
	eq(t, "leases", len(a.na(1).leases)+len(a.pd(1).leases), 0)
	eq(t, "told", a.count(trace.PoolExhausted), 2)
}

// D-154: one IA without a lease does not spoil the others.
func TestFailureOfOneIA(t *testing.T) {
	c := newDesk(t, branch(lanWith(func(l *Link) { l.PrefixPools = nil }))).client(1)
	for _, typ := range []MessageType{Solicit, Request, Renew, Rebind} {
		a := c.send(typ, pd(1), na(1))
		if a.pd(1).status != statusNoPrefixAvail || !a.na(1).only().IsValid() || a.status != -1 {
			t.Errorf("type %d: %+v", typ, a.ias)
		}
	}
}

// D-069, D-156: configured options that the client asks for are in the
// Advertise and in every Reply with leases.
func TestRequestedOptions(t *testing.T) {
	c := newDesk(t, branch()).client(1).asking(23, 24, 56, 999)
	for _, a := range []*answer{c.send(Solicit, na(1)), c.send(Request, na(1)), c.send(Renew, na(1)), c.send(Rebind, na(1)), c.send(InformationRequest)} {
		if !a.has(23) || !a.has(24) || a.has(56) || a.has(999) {
			t.Errorf("type %d: %v", a.typ, a.options)
		}
	}
}

// D-070: a container option comes with all that is in it.
func TestContainerOption(t *testing.T) {
	content := slices.Concat(opt(89, []byte{0, 8, 48}), opt(90, make([]byte, 16)), opt(91, []byte{1}))
	container, err := Custom(94, content)
	if err != nil {
		t.Fatal(err)
	}
	c := newDesk(t, branch(lanWith(func(l *Link) { l.Options = []Option{container} }))).client(1).asking(94)
	for _, a := range []*answer{c.send(Solicit, na(1)), c.send(Request, na(1))} {
		if got := a.all(94); len(got) != 1 || string(got[0]) != string(content) {
			t.Errorf("%x, want %x", got, content)
		}
	}
}

// D-071: a hint that is not assigned leaves no trace in the Advertise.
func TestHints(t *testing.T) {
	d := newDesk(t, branch())
	other := d.client(2)
	taken := other.obtain(na(1, prefix("2001:db8:0:1::77")), pd(1, prefix("2001:db8:8000:100::/56")))
	for _, tt := range []struct {
		name       string
		hint, want netip.Prefix // want zero: anything else
	}{
		{"free address", prefix("2001:db8:0:1::78"), prefix("2001:db8:0:1::78")},
		{"taken address", taken.na(1).only(), netip.Prefix{}},
		{"address of another link", prefix("2001:db8:0:2::1005"), netip.Prefix{}},
		{"address from elsewhere", prefix("2001:db8:bad::1"), netip.Prefix{}},
		{"router's address", lease.Address(routerAddr), netip.Prefix{}},
		{"subnet-router anycast", prefix("2001:db8:0:1::"), netip.Prefix{}},
		{"IPv4-mapped", lease.Address(netip.AddrFrom16(addr("::ffff:192.0.2.1").As16())), netip.Prefix{}},
		{"link-local", prefix("fe80::1234"), netip.Prefix{}},
		{"multicast", prefix("ff02::1"), netip.Prefix{}},
		{"unspecified", prefix("::"), netip.Prefix{}},
		{"free prefix", prefix("2001:db8:8000:200::/56"), prefix("2001:db8:8000:200::/56")},
		{"taken prefix", taken.pd(1).only(), netip.Prefix{}},
		{"prefix of another link", prefix("2001:db8:9000::/60"), netip.Prefix{}},
		{"prefix from elsewhere", prefix("2001:db8:bad::/56"), netip.Prefix{}},
		{"part of a taken prefix", prefix("2001:db8:8000:110::/60"), netip.Prefix{}},
	} {
		c := d.client(1)
		typ := lease.IAPD
		if tt.hint.Bits() == 128 {
			typ = lease.IANA
		}
		a := c.send(Solicit, ia(typ, 1, tt.hint))
		if got := a.ia(typ, 1).only(); !got.IsValid() || tt.want.IsValid() && got != tt.want || !tt.want.IsValid() && got.Overlaps(tt.hint) {
			t.Errorf("%s: hint %v, advertised %v", tt.name, tt.hint, a.ias)
		}
		c.send(Release, pd(1), na(1))
	}
}

// D-072 to D-074: Preference is what the operator says, in Advertise only; 0 is
// the default and is not sent.
func TestPreference(t *testing.T) {
	for _, preference := range []uint8{0, 1, 255} {
		c := newDesk(t, branch(lanWith(func(l *Link) { l.Preference = preference }))).client(1).asking(7)
		a := c.send(Solicit, na(1))
		switch got := a.all(7); {
		case preference == 0 && len(got) != 0, preference != 0 && (len(got) != 1 || string(got[0]) != string([]byte{preference})):
			t.Errorf("preference %d: %x", preference, got)
		}
		eq(t, "in a Reply", c.send(Request, na(1)).has(7), false)
	}
}

// D-075: what was advertised is what the Reply grants, also of random addresses
// and when a crowd asks in between.
func TestAdvertiseHolds(t *testing.T) {
	for _, random := range []bool{false, true} {
		d := newDesk(t, branch(lanWith(func(l *Link) {
			l.RandomAddresses = random
			l.Subnets[0].Pools = poolOf("2001:db8:0:1::1000", "2001:db8:0:1::101f")
			l.PrefixPools[0].Prefix = prefix("2001:db8:8000::/51")
		})))
		offers := map[*client]*answer{}
		var order []*client
		for n := range 32 {
			c := d.client(n)
			offers[c] = c.send(Solicit, na(1), pd(1))
			order = append(order, c)
		}
		eq(t, "D-077: bindings after 32 Solicits", d.table.Len(), 0)
		for _, c := range order {
			offer, reply := offers[c], c.send(Request, na(1), pd(1))
			if !slices.EqualFunc(offer.ias, reply.ias, sameIA) || !offer.na(1).only().IsValid() || !offer.pd(1).only().IsValid() {
				t.Fatalf("random %v: advertised %+v, granted %+v", random, offer.ias, reply.ias)
			}
		}
		d.recount()
	}
}

// D-076: a client that a reservation denies gets no answer to anything.
func TestDenied(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1)
	held := c.obtain(na(1)).request()
	d.reconfigure(branch(lanWith(func(l *Link) { l.Reservations = []Reservation{{Client: c.duid, Deny: true}} })))
	for _, typ := range []MessageType{Solicit, Request, Confirm, Renew, Rebind, Release, Decline} {
		c.silent(trace.Denied, c.message(typ, held...))
	}
	c.silent(trace.Denied, c.message(InformationRequest))
	eq(t, "another client", d.client(2).send(Solicit, na(1)).typ, Advertise)
	eq(t, "on another link", c.on(wifiIndex).send(Solicit, na(1)).typ, Advertise)
}

// D-079, D-232: a Solicit that comes through several relays is answered through
// each, with the same leases, and so is the Request.
func TestSeveralRelays(t *testing.T) {
	for _, random := range []bool{false, true} {
		c := newDesk(t, branch(lanWith(func(l *Link) { l.RandomAddresses = random }))).client(1)
		one := c.via("[2001:db8:ff::1]:547", relayed(0, "2001:db8:0:1::2", "fe80::7", opt(18, []byte("a"))))
		two := c.via("[2001:db8:ff::2]:547", relayed(0, "2001:db8:0:1::3", "fe80::7", opt(18, []byte("b"))))
		for _, typ := range []MessageType{Solicit, Request, Renew} {
			a, b := one.send(typ, na(1), pd(1)), two.send(typ, na(1), pd(1))
			if !slices.EqualFunc(a.ias, b.ias, sameIA) || a.Destination == b.Destination {
				t.Errorf("random %v, type %d: %+v to %v, %+v to %v", random, typ, a.ias, a.Destination, b.ias, b.Destination)
			}
			if id, _ := find(b.layers[0].options, 18); string(id) != "b" {
				t.Errorf("Interface-ID %q", id)
			}
		}
	}
}

// D-080: each copy of a Solicit is answered.
func TestRetransmittedSolicit(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	message := c.message(Solicit, na(1), pd(1))
	first := c.handle(c.packet(message))
	for range 3 {
		c.pass(1)
		again := c.handle(c.packet(message))
		if again.typ != Advertise || !slices.EqualFunc(again.ias, first.ias, sameIA) {
			t.Errorf("%+v, first %+v", again.ias, first.ias)
		}
	}
}

// D-081: the last free lease is kept for the client that it was offered to, for
// a minute; then another can have it.
func TestOfferIsHeld(t *testing.T) {
	d := newDesk(t, branch(lanWith(func(l *Link) {
		l.Subnets[0].Pools = poolOf("2001:db8:0:1::1000", "2001:db8:0:1::1000")
		l.PrefixPools[0] = PrefixPool{Prefix: prefix("2001:db8:8000::/55"), Length: 56}
		l.Reservations = []Reservation{{Client: "\x00\x03\xff", Prefixes: []netip.Prefix{prefix("2001:db8:8000:100::/56")}}}
	})))
	one, two := d.client(1), d.client(2)
	offer := one.send(Solicit, na(1), pd(1))
	d.pass(59)
	for _, a := range []*answer{two.send(Solicit, na(1), pd(1)), two.send(Request, offer.request()...), one.send(Solicit, na(2), pd(2))} {
		for _, i := range a.ias {
			if len(i.leases) != 0 {
				t.Errorf("offered twice: %+v", i)
			}
		}
	}
	d.pass(2)
	if a := two.obtain(na(1), pd(1)); a.na(1).only() != offer.na(1).only() || a.pd(1).only() != offer.pd(1).only() {
		t.Errorf("after a minute: %+v", a.ias)
	}
	eq(t, "and then", one.send(Request, offer.request()...).na(1).status, statusNoAddrsAvail)

	// A new configuration begins without offers.
	two.send(Release, offer.request()...)
	offer = one.send(Solicit, na(1))
	d.reconfigure(d.cfg)
	eq(t, "after a reload", two.send(Request, na(7)).na(7).only(), offer.na(1).only())
}

// D-082, D-083, D-085, D-086: Rapid Commit takes a client and a link that agree.
func TestRapidCommit(t *testing.T) {
	rapidCommit := opt(14)
	for _, tt := range []struct {
		name    string
		ifIndex int
		options [][]byte
		want    MessageType
	}{
		{"both", lanIndex, [][]byte{rapidCommit, na(1), pd(1)}, Reply},
		{"only the link", lanIndex, [][]byte{na(1), pd(1)}, Advertise},
		{"only the client", wifiIndex, [][]byte{rapidCommit, na(1), pd(1)}, Advertise},
		{"listed in ORO is not sent", lanIndex, [][]byte{oro(14), na(1), pd(1)}, Advertise},
	} {
		d := newDesk(t, branch())
		c := d.client(1).on(tt.ifIndex)
		a := c.send(Solicit, tt.options...)
		eq(t, tt.name+": type", a.typ, tt.want)
		eq(t, tt.name+": Rapid Commit", a.has(14), tt.want == Reply)
		eq(t, tt.name+": leases bound", len(d.active(c.duid)) == 2, tt.want == Reply)
		eq(t, tt.name+": D-085: in the Reply to a Request", c.send(Request, append(a.request(), rapidCommit)...).has(14), false)
	}
}

// D-084, D-088: a Reply is a promise that waits for the disk, with everything in
// it that it grants; an Advertise is none.
func TestPromises(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	eq(t, "Advertise", c.send(Solicit, na(1), pd(1)).promise, false)
	for _, a := range []*answer{c.send(Solicit, opt(14), na(1), pd(1)), c.send(Request, na(2))} {
		stored := map[netip.Prefix]bool{}
		for _, b := range a.changed {
			stored[b.Prefix] = b.Status == lease.Active && b.Client == c.duid
		}
		for _, i := range a.ias {
			if !a.promise || !stored[i.only()] {
				t.Errorf("promise %v, %v stored %v", a.promise, i.only(), stored)
			}
		}
	}
	eq(t, "Release", c.send(Release, na(1)).promise, true)
	eq(t, "Information-request", c.send(InformationRequest).promise, false)
}

// D-087: Rapid Commit with nothing to give keeps the client looking.
func TestRapidCommitWithNothing(t *testing.T) {
	c := newDesk(t, branch(lanWith(without))).client(1)
	a := c.send(Solicit, opt(14), na(1), pd(1))
	if a.typ != Advertise || a.na(1).status != statusNoAddrsAvail || a.pd(1).status != statusNoPrefixAvail {
		t.Errorf("type %d: %+v", a.typ, a.ias)
	}
	// A part of the wishes is a reason to commit.
	c = newDesk(t, branch(lanWith(func(l *Link) { l.PrefixPools = nil }))).client(1)
	a = c.send(Solicit, opt(14), na(1), pd(1))
	if a.typ != Reply || !a.na(1).only().IsValid() || a.pd(1).status != statusNoPrefixAvail {
		t.Errorf("a part: type %d: %+v", a.typ, a.ias)
	}
}

// C3 of the checklist: addresses in a Solicit are hints, also with Rapid Commit.
func TestRapidCommitWithForeignHint(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	a := c.send(Solicit, opt(14), na(1, prefix("2001:db8:bad::1")))
	if got := a.na(1); a.typ != Reply || len(got.leases) != 1 || !got.only().IsValid() {
		t.Errorf("%+v", a.ias)
	}
}
