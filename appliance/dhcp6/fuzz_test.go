package dhcp6

import (
	"net/netip"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
)

// handleMax is far more than any packet may cost. It is generous because test
// machines are slow; what it is to catch is work that grows with the square of a
// packet.
const handleMax = time.Second

// cpuTime is what this thread has worked so far; a wall clock would count the
// others on a busy machine.
func cpuTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// fuzzDesk has leases of every status, offers, reservations and small pools.
func fuzzDesk(t tester) *desk {
	d := newDesk(t, branch(lanWith(func(l *Link) {
		l.Subnets[0].Pools = poolOf("2001:db8:0:1::1000", "2001:db8:0:1::100f")
		l.Subnets = append(l.Subnets, Subnet{Prefix: prefix("2001:db8:0:4::/64"), Retired: true})
		l.PrefixPools = []PrefixPool{
			{Prefix: prefix("2001:db8:8000::/52"), Length: 56, Exclude: Exclude{Length: 64, SubnetID: 1}},
			{Prefix: prefix("2001:db8:8100::/58"), Length: 60, ValidUntil: testStart.Wall + 1000},
		}
		l.Options = append(l.Options, Option{Code: 61, Data: u16(7, 16)}, Option{Code: 82, Data: u32(7200), Force: true}, Option{Code: 103, Data: []byte("urn:x"), Force: true})
		l.Reservations = []Reservation{
			{Client: d1.duid, HasIAID: true, IAID: 2, Addresses: addrs("2001:db8:0:1::2000"), Prefixes: prefixes("2001:db8:8000:100::/56")},
			{InterfaceID: []byte("port7"), Addresses: addrs("2001:db8:0:1::1003"), Options: []Option{{Code: 23, Data: make([]byte, 16)}}},
			{LinkLayer: []byte{2, 0, 0, 0, 0, 9}, Deny: true},
		}
	})))
	d.client(1).obtain(na(1), pd(1))
	d.client(2).obtain(na(1), na(2), pd(1, prefix("::/60")))
	d.client(2).on(wifiIndex).obtain(na(1))
	c := d.client(3)
	held := c.obtain(na(1), na(2), pd(1))
	c.send(Decline, na(1, held.na(1).only()))
	c.send(Release, na(2, held.na(2).only()), pd(1, held.pd(1).only()))
	d.client(4).send(Solicit, na(1), pd(1))
	b := &lease.Binding{Prefix: prefix("2001:db8:0:4::5"), IA: lease.IA{Link: "lan", Client: d1.duid, Type: lease.IANA, ID: 1},
		Status: lease.Active, Preferred: 100, Valid: 200, Expires: testStart.Wall + 200, HeldUntil: testStart.Wall + 200}
	d.table.Put(b)
	return d
}

// survive gives a packet to the desk and has the server show that it is well.
func survive(t *testing.T, d *desk, p *Packet) {
	before := slices.Collect(d.table.From(netip.Prefix{}))
	runtime.LockOSThread()
	start := cpuTime(t)
	a := d.handle(p)
	if took := cpuTime(t) - start; took > handleMax {
		t.Errorf("%v for %d octets", took, len(p.Data))
	}
	runtime.UnlockOSThread()
	checkBounds(d)
	d.recount()
	if after := slices.Collect(d.table.From(netip.Prefix{})); a.typ != Reply && !slices.Equal(before, after) {
		t.Errorf("the table changed without a Reply")
	}
	if a := d.client(77).on(wifiIndex).send(Solicit, na(1)); !a.na(1).only().IsValid() {
		t.Errorf("another client afterwards: %+v, reason %v", a.ias, a.reason)
	}
}

// fuzzSeeds are messages of all kinds, so that changes of a few octets reach deep.
func fuzzSeeds(add func(data []byte)) {
	c := (&desk{}).client(1).asking(23, 24, 67, 82, 103)
	first, second := prefixes("2001:db8:0:1::1000", "2001:db8:0:4::5"), prefixes("2001:db8:8000:100::/56", "::/60", "2001:db8:bad::/56")
	for typ := Solicit; typ <= RelayReply; typ++ {
		add(c.message(typ, opt(8, u16(100)), opt(14), opt(61, u16(7)), na(1, first...), pd(2, second...), opt(39, []byte{1, 3, 'a', 'b', 'c'})))
		add(c.message(typ))
	}
	add(c.message(Release, opt(25, u32(1, 0, 0), iaPrefix(second[0], opt(67, []byte{64, 1})))))
	add(c.message(InformationRequest, opt(2, []byte(serverDUID)), oro(32)))
	add(c.bare(InformationRequest))
	add(c.message(Solicit, na(1), na(1), pd(1), opt(3), opt(4, u32(1))))
	for _, layers := range [][]layer{
		{relayed(0, "2001:db8:0:1::2", "fe80::7", opt(18, []byte("port7")), opt(135, u16(0)), opt(43, u16(37)), opt(37, u32(9)), opt(66, opt(65, []byte("a"))))},
		{relayed(1, "2001:db8:0:3::1", "fe80::8"), relayed(0, "::", "fe80::7", opt(79, u16(1), []byte{2, 0, 0, 0, 0, 9}))},
	} {
		relayed := c.via(farRelay, layers...)
		for _, typ := range []MessageType{Solicit, Request, Confirm, InformationRequest} {
			add(relayed.packet(relayed.message(typ, na(1, first...), pd(1))).Data)
		}
	}
}

// FuzzHandle gives any octets to a server that has clients: no panic, no answer
// that the oracle rejects, a table that stays whole, bounded work. D-041.
func FuzzHandle(f *testing.F) {
	fuzzSeeds(func(data []byte) {
		for way := range byte(3) {
			f.Add(data, way)
		}
	})
	f.Fuzz(func(t *testing.T, data []byte, way byte) {
		if len(data) > datagramMax {
			return
		}
		d := fuzzDesk(t)
		c := d.client(1)
		switch way % 3 {
		case 1:
			c = c.via(farRelay)
		case 2:
			c = c.on(wifiIndex)
		}
		p := c.packet(data)
		survive(t, d, p)
		d.pass(uint32(way))
		survive(t, d, p) // what a message does, its copy meets
	})
}

// FuzzRelay wraps good messages into relay layers with any options and
// addresses, up to one more than is legal: the answer finds its way back, through
// as many layers, or there is none. D-041, D-218.
func FuzzRelay(f *testing.F) {
	const link = "\x20\x01\x0d\xb8\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02"
	for n := range byte(5) {
		f.Add(n, n, []byte(link), []byte("\xfe\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07"),
			slices.Concat(opt(18, []byte("port7")), opt(135, u16(0)), opt(43, u16(37, 66)), opt(37, u32(9)), opt(66, opt(65, []byte("a")), opt(65))), opt(18))
		f.Add(n, byte(9), make([]byte, 16), make([]byte, 16), []byte{}, slices.Concat(opt(79, u16(1), []byte{2, 0, 0, 0, 0, 9}), opt(43, u16(79, 79, 9, 18, 135))))
	}
	f.Fuzz(func(t *testing.T, typ, layers byte, link, peer, outer, inner []byte) {
		if len(link) < 16 || len(peer) < 16 || len(outer)*10+len(inner) > datagramMax-1000 {
			return
		}
		d := fuzzDesk(t)
		sources := []string{farRelay, "[fe80::9]:547", "[2001:db8:ff::1]:50000"}
		c := d.client(1).asking(23, 65, 67).via(sources[int(typ)%len(sources)])
		types := []MessageType{Solicit, Request, Renew, Rebind, Release, Confirm, InformationRequest}
		data := c.message(types[int(typ)%len(types)], na(1, prefix("2001:db8:0:1::1000")), pd(1))
		if typ%7 == 6 {
			data = c.message(InformationRequest)
		}
		for n := range layers%11 + 1 {
			options := outer
			if n == 0 {
				options = inner
			}
			data = slices.Concat([]byte{byte(RelayForward), n}, link[:16], peer[:16], options, opt(9, data))
			if len(data) > datagramMax {
				return
			}
		}
		survive(t, d, c.packet(data))
	})
}
