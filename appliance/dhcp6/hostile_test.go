package dhcp6

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
)

// datagramMax is the largest UDP payload in octets.
const datagramMax = 65527

// checkBounds: whatever came in, the server keeps no more than its limits.
func checkBounds(d *desk) {
	d.Helper()
	s, listed := d.s, 0
	for i := range s.msg.ias {
		listed += len(s.msg.ias[i].leases)
	}
	if len(s.msg.ias) > IAsPerMessageMax || len(s.msg.relays) > relayLayersMax || len(s.x.ias) > IAsPerMessageMax || listed > leasesPerMessageMax ||
		s.x.mentioned > leasesPerAnswerMax || max(s.x.searched[Ours], s.x.searched[LastResort]) > searchesMax || len(s.offers.ring) > offersMax || len(s.offers.byIA) > offersMax {
		d.Errorf("beyond a limit: %d IAs, %d layers, %d leases listed, %d mentioned, %d searched, %d offers",
			len(s.msg.ias), len(s.msg.relays), listed, s.x.mentioned, s.x.searched, len(s.offers.ring))
	}
}

// A message with 1,000 identity associations is dropped; one with as many as are
// allowed is answered as a whole.
func TestManyIAs(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1)
	ias := func(n int) (options [][]byte) {
		for i := range n {
			options = append(options, ia([]lease.IAType{lease.IANA, lease.IAPD}[i%2], lease.IAID(i)))
		}
		return options
	}
	for _, typ := range []MessageType{Solicit, Request, Confirm, Renew, Rebind, Release, Decline} {
		c.silent(trace.TooManyIAs, c.message(typ, ias(1000)...))
		c.silent(trace.TooManyIAs, c.message(typ, ias(IAsPerMessageMax+1)...))
	}
	for _, typ := range []MessageType{Solicit, Request, Renew, Rebind, Release} {
		a := c.send(typ, ias(IAsPerMessageMax)...)
		if typ != Release {
			eq(t, name("IAs in the answer to type %d", typ), len(a.ias), IAsPerMessageMax)
		}
		checkBounds(d)
	}
	d.recount()
}

// manyLeases is a client's message that is as long as a datagram can be: 64 IAs
// with 35 leases each.
func manyLeases(room int) (options [][]byte) {
	n := 0
	for i := range IAsPerMessageMax {
		var list []netip.Prefix
		for range room / IAsPerMessageMax / 30 {
			n++
			if i%2 == 0 {
				list = append(list, lease.Address(toU128(addr("2001:db8:0:1::1000")).add(u128{0, uint64(n)}).addr()))
			} else {
				list = append(list, netip.PrefixFrom(toU128(addr("2001:db8:8000::")).add(u128{uint64(n) << 8, 0}).addr(), 56))
			}
		}
		options = append(options, ia([]lease.IAType{lease.IANA, lease.IAPD}[i%2], lease.IAID(i), list...))
	}
	return options
}

// The answer to the largest message is a datagram, also on its way back through
// relays, with every length in it right. (The oracle reads it strictly.)
func TestLargestMessages(t *testing.T) {
	const layers = 9
	stuffed := func(octets int) (relays []layer) {
		for i := range layers {
			relays = append(relays, relayed(uint8(i), "2001:db8:0:1::2", "fe80::7", opt(18, make([]byte, octets)), opt(43, u16(37, 38)), opt(37, make([]byte, octets)), opt(38, make([]byte, octets))))
		}
		return relays
	}
	for _, typ := range []MessageType{Solicit, Request, Renew, Rebind, Release, Decline, Confirm} {
		d := newDesk(t, branch(func(c *Config) { c.Limits.LeasesPerClient, c.Limits.PrefixesPerClient = 10000, 10000 }))
		c := d.client(1)
		if a := c.send(typ, manyLeases(datagramMax-1000)...); a.typ == 0 || len(a.Data) > datagramMax {
			t.Errorf("type %d: %d octets, reason %v", typ, len(a.Data), a.reason)
		}
		checkBounds(d)
		far := c.via(farRelay, stuffed(500)...)
		if a := far.send(typ, manyLeases(40000)...); a.typ == 0 || len(a.Data) > datagramMax {
			t.Errorf("type %d, relayed: %d octets, reason %v", typ, len(a.Data), a.reason)
		}
		far = c.via(farRelay, stuffed(1000)...)
		far.silent(trace.RelaysTooDeep, far.message(typ, manyLeases(30000)...))
		d.recount()
	}
}

// A link with many subnets and clients that may hold much: also then the answer
// is a datagram, and what was left out of it is not bound.
func TestLargestAnswer(t *testing.T) {
	d := newDesk(t, branch(func(c *Config) { c.Limits.LeasesPerClient = 10000 }, lanWith(func(l *Link) {
		l.Subnets = nil
		for n := range 64 {
			p := netip.PrefixFrom(toU128(addr("2001:db8:1::")).add(u128{uint64(n), 0}).addr(), 64)
			l.Subnets = append(l.Subnets, Subnet{Prefix: p, Pools: []Range{{p.Addr(), toU128(p.Addr()).add(u128{0, 1<<64 - 1}).addr()}}})
		}
	})))
	c := d.client(1)
	var ias [][]byte
	for i := range IAsPerMessageMax {
		ias = append(ias, na(uint32(i)))
	}
	for _, typ := range []MessageType{Solicit, Request, Renew, Renew, Rebind} {
		a := c.send(typ, ias...)
		if len(a.Data) > datagramMax || len(a.ias) != IAsPerMessageMax {
			t.Errorf("type %d: %d octets, %d IAs", typ, len(a.Data), len(a.ias))
		}
		checkBounds(d)
		if typ != Solicit {
			eq(t, "leases that are kept from others and not given", len(d.s.offers.byPrefix), 0)
		}
	}
	eq(t, "leases", len(d.active(c.duid)), leasesPerAnswerMax)
	d.recount()
}

// Options as long as options can be.
func TestHugeOptions(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1)
	held := c.obtain(na(1), pd(1)).request()
	ones := slices.Repeat([]byte{0xff}, 65000)
	for what, options := range map[string][][]byte{
		"unknown":           {opt(65000, ones)},
		"ORO":               {opt(6, ones)},
		"user class":        {opt(15, ones)},
		"vendor options":    {opt(17, ones)},
		"architectures":     {opt(61, ones)},
		"many empty ones":   {make([]byte, 64000)}, // 16,000 options of code 0
		"Prefix Exclude":    {opt(25, u32(9, 0, 0), iaPrefix(prefix("::/60"), opt(67, ones)))},
		"status in the IA":  {opt(3, u32(9, 0, 0), opt(13, ones))},
		"4000 Rapid Commit": {slices.Concat(slices.Repeat([][]byte{opt(20)}, 4000)...)},
	} {
		for _, typ := range []MessageType{Solicit, Renew, Release} {
			if a := c.send(typ, append(options, na(7))...); a.typ == 0 {
				t.Errorf("%s, type %d: dropped for %v", what, typ, a.reason)
			}
			checkBounds(d)
		}
	}
	c.silent(trace.BadDUID, c.bare(Solicit, opt(1, ones)))
	c.silent(trace.BadDUID, c.message(Solicit, opt(2, ones)))
	a := c.send(Renew, held...)
	eq(t, "the lease afterwards", a.na(1).only().IsValid() && a.pd(1).only().IsValid(), true)
}

// A relay's options as long as they can be; a list of what to echo that names
// everything, from a relay and from a host that is none.
func TestHugeRelayOptions(t *testing.T) {
	var all, empty []byte
	for code := range 12000 {
		all = append(all, u16(uint16(code))...)
		empty = append(empty, opt(uint16(200+code))...)
	}
	for _, tt := range []struct {
		name, source string
		options      [][]byte
		want         trace.Reason
	}{
		{"echo everything", farRelay, [][]byte{empty[:20000], opt(43, all)}, trace.NoReason},
		{"echo everything, no relay", "[2001:db8:bad::1]:547", [][]byte{empty[:20000], opt(43, all)}, trace.RelayNotAllowed},
		{"echo one thing many times", farRelay, [][]byte{opt(37, make([]byte, 2000)), opt(43, slices.Repeat(u16(37), 10000))}, trace.NoReason},
		{"long Interface-ID", farRelay, [][]byte{opt(18, make([]byte, 60000))}, trace.RelaysTooDeep},
		{"long echo", farRelay, [][]byte{opt(37, make([]byte, 60000)), opt(43, u16(37))}, trace.RelaysTooDeep},
		{"long option, not echoed", farRelay, [][]byte{opt(37, make([]byte, 60000))}, trace.NoReason},
		{"RSOO", farRelay, [][]byte{opt(66, opt(65, make([]byte, 60000)))}, trace.NoReason},
		{"RSOO of many", farRelay, [][]byte{opt(66, empty)}, trace.NoReason},
	} {
		d := newDesk(t, branch())
		c := d.client(1).asking(65).via(tt.source, relayed(0, "2001:db8:0:1::2", "fe80::7", tt.options...))
		a := c.send(Solicit, na(1))
		eq(t, tt.name, a.reason, tt.want)
		if len(a.layers) > 0 && len(a.layers[0].options) > echoesMax+2 {
			t.Errorf("%s: %d options back", tt.name, len(a.layers[0].options))
		}
		checkBounds(d)
	}
}

// A pool that is full of offers and reservations costs one search for a message,
// however many IAs it has.
func TestSearchIsBounded(t *testing.T) {
	d := newDesk(t, branch(lanWith(func(l *Link) {
		l.Subnets[0].Pools = poolOf("2001:db8:0:1::1:0", "2001:db8:0:1::1:ffff")
		for n := range 65536 {
			a := toU128(addr("2001:db8:0:1::1:0")).add(u128{0, uint64(n)}).addr()
			l.Reservations = append(l.Reservations, Reservation{Client: lease.DUID(u32(4, uint32(n))), Addresses: []netip.Addr{a}})
		}
	})))
	var ias [][]byte
	for i := range 32 {
		ias = append(ias, na(uint32(i)))
	}
	a := d.client(1).send(Solicit, ias...)
	eq(t, "IAs without an address", len(slices.DeleteFunc(a.ias, func(i oracleIA) bool { return i.status != statusNoAddrsAvail })), 32)
	eq(t, "leases looked at", d.s.x.searched[Ours], searchesMax)
}

// A flood of Solicits from invented clients: memory is bounded (TestOffersAreBounded),
// and who is known is served in the midst of it, D-344.
func TestFlood(t *testing.T) {
	d := newDesk(t, branch(func(c *Config) { c.Limits = DefaultLimits }))
	c := d.client(1)
	held := c.obtain(na(1), pd(1))
	for n := range 20000 {
		flood := d.client(0)
		flood.duid = lease.DUID(u32(0x0004abcd, uint32(n)*2654435761, uint32(n)))
		d.s.Handle(d.now, flood.packet(flood.message(Solicit, na(1), pd(1))), d.table, d.policy, &d.r)
		if n%1000 == 0 {
			d.pass(held.na(1).t1 / 20)
			if a := c.send(Renew, held.request()...); !slices.EqualFunc(a.ias, held.ias, sameIA) {
				t.Fatalf("after %d: %+v, reason %v", n, a.ias, a.reason)
			}
		}
	}
	eq(t, "bindings", d.table.Len(), 2)
	checkBounds(d)
}
