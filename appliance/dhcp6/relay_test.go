package dhcp6

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/tandem6/tandem6/failover/trace"
)

const farRelay = "[2001:db8:ff::1]:547"

// D-214 to D-216, D-218: the answer goes back through all layers, each with its
// hop-count, addresses, Interface-ID and Relay Source Port, also empty or strange
// ones. (The oracle compares layer by layer.)
func TestWayBack(t *testing.T) {
	d := newDesk(t, branch())
	for _, layers := range [][]layer{
		{relayed(0, "2001:db8:0:1::2", "fe80::7")},
		{relayed(0, "2001:db8:0:1::2", "fe80::7", opt(18, []byte("port7")))},
		{relayed(0, "2001:db8:0:1::2", "fe80::7", opt(135, u16(0)), opt(18))},
		{relayed(1, "2001:db8:0:3::1", "fe80::8", opt(18, []byte{0, 255}), opt(135, u16(5000))), relayed(0, "2001:db8:0:1::2", "fe80::7", opt(18, []byte("port7")))},
		{relayed(2, "::", "2001:db8:1::1"), relayed(1, "2001:db8:0:1::2", "fe80::8", opt(135, u16(547))), relayed(0, "::", "fe80::7", opt(18, []byte("port7")))},
		{relayed(0, "2001:db8:0:1::2", "fe80::7", opt(135), opt(135, u16(5)), opt(135, u16(6)))},
		{relayed(255, "2001:db8:0:1::2", "::", opt(18, []byte("a")), opt(18, []byte("b")))},
	} {
		c := d.client(1).via(farRelay, layers...)
		for _, a := range []*answer{c.send(Solicit, na(1)), c.send(Request, na(1)), c.send(InformationRequest), c.send(Confirm, na(1, prefix("2001:db8:0:1::5")))} {
			eq(t, "layers", len(a.layers), len(layers))
		}
	}
	// An option 135 of another length is none.
	a := d.client(1).via("[2001:db8:ff::1]:5000", relayed(0, "2001:db8:0:1::2", "fe80::7", opt(135, []byte{1}))).send(Solicit, na(1))
	eq(t, "destination port", a.Destination.Port(), 547)
}

// D-219, D-220: the innermost link-address that says something decides; zero
// and link-local ones do not.
func TestLinkOfRelayedClient(t *testing.T) {
	const lan, wifi, far = "2001:db8:0:1::/64", "2001:db8:0:2::/64", "2001:db8:0:3::/64"
	everywhere := branch(func(c *Config) {
		for i := range c.Links {
			c.Links[i].RelayFrom = prefixes("2001:db8:ff::/48", "fe80::/10")
		}
		c.Links[0].Subnets = append(c.Links[0].Subnets, Subnet{Prefix: prefix("2001:db8:0:9::/64")}, Subnet{Prefix: prefix("2001:db8::/64")})
	})
	for _, tt := range []struct {
		name, source string
		links        []string // outermost first
		want         string
	}{
		{"one", farRelay, []string{"2001:db8:0:3::1"}, far},
		{"innermost of two", farRelay, []string{"2001:db8:0:3::1", "2001:db8:0:1::2"}, lan},
		{"innermost of two, the other way", farRelay, []string{"2001:db8:0:1::2", "2001:db8:0:3::1"}, far},
		{"another prefix of the link", farRelay, []string{"2001:db8:0:9::1"}, lan},
		{"yet another", farRelay, []string{"2001:db8::1"}, lan},
		{"zero below", farRelay, []string{"2001:db8:0:3::1", "::"}, far},
		{"zero above", farRelay, []string{"::", "2001:db8:0:3::1"}, far},
		{"zeros around", farRelay, []string{"::", "2001:db8:0:2::9", "::"}, wifi},
		{"link-local below", farRelay, []string{"2001:db8:0:3::1", "fe80::9"}, far},
		{"relay's own address", farRelay, []string{"2001:db8:fe::3"}, far},
		{"only zeros: the interface", "[fe80::9]:547", []string{"::", "::"}, lan},
		{"only link-local: the interface", "[fe80::9]:547", []string{"fe80::1"}, lan},
		{"unknown", farRelay, []string{"2001:db8:bad::1"}, ""},
		{"unknown below known", farRelay, []string{"2001:db8:0:3::1", "2001:db8:bad::1"}, ""},
		{"beside the relay's own address", farRelay, []string{"2001:db8:fe::4"}, ""},
	} {
		var layers []layer
		for n, link := range tt.links {
			layers = append(layers, relayed(uint8(len(tt.links)-1-n), link, "fe80::7"))
		}
		c := newDesk(t, everywhere).client(1).via(tt.source, layers...)
		if tt.want == "" {
			c.silent(trace.UnknownLink, c.message(Solicit, na(1)))
			continue
		}
		if got := c.send(Solicit, na(1)).na(1).only(); !got.IsValid() || !prefix(tt.want).Contains(got.Addr()) {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// relayReservation is a desk where 2001:db8:0:1::77 is reserved by what a relay says.
func relayReservation(t *testing.T, r Reservation) *desk {
	r.Addresses = addrs("2001:db8:0:1::77")
	return newDesk(t, branch(lanWith(func(l *Link) { l.Reservations = []Reservation{r} })))
}

// D-221, D-222, D-241: a reservation by link-layer address is matched with option
// 79 of the innermost relay only: not of an outer one, not of the client itself,
// and not with octets of its DUID.
func TestReservationByLinkLayer(t *testing.T) {
	mac := []byte{2, 0, 0, 0, 0, 1} // which is also in the DUID of client 1
	option79 := opt(79, u16(1), mac)
	d := relayReservation(t, Reservation{LinkLayer: mac})
	const link = "2001:db8:0:1::2"
	for _, tt := range []struct {
		name   string
		layers []layer
		own    []byte // options of the client
		want   bool
	}{
		{"DUID only", nil, nil, false},
		{"in the client's message", nil, option79, false},
		{"in a relayed client's message", []layer{relayed(0, link, "fe80::7")}, option79, false},
		{"of the relay", []layer{relayed(0, link, "fe80::7", option79)}, nil, true},
		{"of the outer relay", []layer{relayed(1, link, "fe80::8", option79), relayed(0, "::", "fe80::7")}, nil, false},
		{"of the inner relay", []layer{relayed(1, link, "fe80::8"), relayed(0, "::", "fe80::7", option79)}, nil, true},
		{"other hardware type", []layer{relayed(0, link, "fe80::7", opt(79, u16(6), mac))}, nil, true},
		{"another address", []layer{relayed(0, link, "fe80::7", opt(79, u16(1), []byte{2, 0, 0, 0, 0, 2}))}, nil, false},
		{"longer", []layer{relayed(0, link, "fe80::7", opt(79, u16(1), mac, []byte{0}))}, nil, false},
		{"cut", []layer{relayed(0, link, "fe80::7", opt(79, u16(1)))}, nil, false},
	} {
		c := d.client(1)
		if tt.layers != nil {
			c = c.via(farRelay, tt.layers...)
		}
		got := c.send(Solicit, tt.own, na(1)).na(1).only()
		eq(t, tt.name, got == prefix("2001:db8:0:1::77"), tt.want)
		d.pass(61) // the offer is over
	}
}

// D-223, D-224: Remote-ID and Interface-ID match as a whole or not at all.
func TestReservationByRelayIdentifiers(t *testing.T) {
	remote := append(u32(9), "line7"...)
	for _, tt := range []struct {
		name    string
		r       Reservation
		options [][]byte
		want    bool
	}{
		{"Interface-ID", Reservation{InterfaceID: []byte("port7")}, [][]byte{opt(18, []byte("port7"))}, true},
		{"other Interface-ID", Reservation{InterfaceID: []byte("port7")}, [][]byte{opt(18, []byte("port8"))}, false},
		{"longer Interface-ID", Reservation{InterfaceID: []byte("port7")}, [][]byte{opt(18, []byte("port71"))}, false},
		{"shorter Interface-ID", Reservation{InterfaceID: []byte("port7")}, [][]byte{opt(18, []byte("port"))}, false},
		{"case of Interface-ID", Reservation{InterfaceID: []byte("port7")}, [][]byte{opt(18, []byte("PORT7"))}, false},
		{"no Interface-ID", Reservation{InterfaceID: []byte("port7")}, nil, false},
		{"Remote-ID", Reservation{RemoteID: remote}, [][]byte{opt(37, remote)}, true},
		{"Remote-ID of another enterprise", Reservation{RemoteID: remote}, [][]byte{opt(37, u32(10), []byte("line7"))}, false},
		{"other Remote-ID", Reservation{RemoteID: remote}, [][]byte{opt(37, u32(9), []byte("line8"))}, false},
		{"both", Reservation{InterfaceID: []byte("port7"), RemoteID: remote}, [][]byte{opt(18, []byte("port7")), opt(37, remote)}, true},
		{"one of both", Reservation{InterfaceID: []byte("port7"), RemoteID: remote}, [][]byte{opt(18, []byte("port7"))}, false},
		{"with the DUID", Reservation{Client: d1.duid, InterfaceID: []byte("port7")}, [][]byte{opt(18, []byte("port7"))}, true},
		{"with another DUID", Reservation{Client: "\x00\x03\xff", InterfaceID: []byte("port7")}, [][]byte{opt(18, []byte("port7"))}, false},
		{"with the IAID", Reservation{InterfaceID: []byte("port7"), IAID: 1, HasIAID: true}, [][]byte{opt(18, []byte("port7"))}, true},
		{"with another IAID", Reservation{InterfaceID: []byte("port7"), IAID: 2, HasIAID: true}, [][]byte{opt(18, []byte("port7"))}, false},
	} {
		c := relayReservation(t, tt.r).client(1).via(farRelay, relayed(0, "2001:db8:0:1::2", "fe80::7", tt.options...))
		got := c.obtain(na(1)).na(1).only()
		if !got.IsValid() || (got == prefix("2001:db8:0:1::77")) != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// D-225, D-226: what a relay's Echo Request option names comes back, once, as it
// came, known to the server or not, if it was there at all; in its own layer.
func TestEchoRequest(t *testing.T) {
	strange := []byte{1, 2, 3}
	for _, tt := range []struct {
		name    string
		options [][]byte
		want    []uint16
	}{
		{"one", [][]byte{opt(37, u32(9), []byte("x")), opt(43, u16(37))}, []uint16{37}},
		{"unknown", [][]byte{opt(43, u16(65000)), opt(65000, strange)}, []uint16{65000}},
		{"missing", [][]byte{opt(43, u16(37, 38))}, nil},
		{"twice in the list", [][]byte{opt(43, u16(37, 38, 37)), opt(37, strange), opt(38)}, []uint16{37, 38}},
		{"what goes back anyway", [][]byte{opt(43, u16(18, 135, 9, 37)), opt(18, strange), opt(135, u16(0)), opt(37, strange)}, []uint16{18, 135, 37}},
		{"of odd length", [][]byte{opt(43, []byte{0, 37, 0}), opt(37, strange)}, nil},
		{"not listed", [][]byte{opt(37, strange), opt(79, u16(1), strange)}, nil},
	} {
		c := newDesk(t, branch()).client(1).via(farRelay, relayed(1, "2001:db8:0:1::2", "fe80::8", opt(37, []byte("outer"))), relayed(0, "::", "fe80::7", tt.options...))
		a := c.send(Solicit, na(1))
		var got []uint16
		for _, o := range a.layers[1].options {
			got = append(got, o.code)
			if want, _ := find(tlvs(tt.options), o.code); string(o.data) != string(want) {
				t.Errorf("%s: option %d is %x, came %x", tt.name, o.code, o.data, want)
			}
		}
		if !slices.Equal(got, tt.want) || len(a.layers[0].options) != 0 {
			t.Errorf("%s: %v and %v, want %v", tt.name, got, a.layers[0].options, tt.want)
		}
	}
}

func tlvs(options [][]byte) []tlv {
	split, err := split(slices.Concat(options...))
	if err != nil {
		panic(err)
	}
	return split
}

// D-227 to D-229: a relay supplies options for the client: those on the list,
// which can be configured, where the server has none; of several layers the
// innermost counts.
func TestRelaySuppliedOptions(t *testing.T) {
	rsoo := func(options ...[]byte) []byte { return opt(66, options...) }
	const link = "2001:db8:0:1::2"
	for _, tt := range []struct {
		name   string
		list   []uint16
		layers []layer
		code   uint16
		want   string // "": not sent
	}{
		{"on the list", RSOODefault, []layer{relayed(0, link, "fe80::7", rsoo(opt(65, []byte("a"))))}, 65, "a"},
		{"not on the list", RSOODefault, []layer{relayed(0, link, "fe80::7", rsoo(opt(103, []byte("a"))))}, 103, ""},
		{"D-228: on a configured list", []uint16{65, 103}, []layer{relayed(0, link, "fe80::7", rsoo(opt(65, []byte("a")), opt(103, []byte("b"))))}, 103, "b"},
		{"the server has its own", []uint16{24}, []layer{relayed(0, link, "fe80::7", rsoo(opt(24, []byte("\x01a\x00"))))}, 24, "\x04home\x04arpa\x00"},
		{"D-229: two instances", RSOODefault, []layer{relayed(0, link, "fe80::7", rsoo(opt(65, []byte("a")), opt(65, []byte("b"))))}, 65, "a"},
		{"D-229: two layers", RSOODefault, []layer{relayed(1, link, "fe80::8", rsoo(opt(65, []byte("outer")))), relayed(0, "::", "fe80::7", rsoo(opt(65, []byte("inner"))))}, 65, "inner"},
		{"D-229: only the outer layer", RSOODefault, []layer{relayed(1, link, "fe80::8", rsoo(opt(65, []byte("outer")))), relayed(0, "::", "fe80::7")}, 65, "outer"},
		{"cut", RSOODefault, []layer{relayed(0, link, "fe80::7", opt(66, []byte{0, 65, 0, 9, 1}))}, 65, ""},
		{"refresh time of a Solicit", []uint16{32}, []layer{relayed(0, link, "fe80::7", rsoo(opt(32, u32(600))))}, 32, ""},
	} {
		d := newDesk(t, branch(func(c *Config) { c.RelaySupplied = tt.list }))
		c := d.client(1).via(farRelay, tt.layers...)
		got := c.asking(tt.code).send(Solicit, na(1)).all(tt.code)
		if len(got) > 1 || (len(got) == 1) != (tt.want != "") || len(got) == 1 && string(got[0]) != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		eq(t, tt.name+": not asked for", c.send(Solicit, na(1)).has(tt.code), false)
		direct := d.client(1).asking(tt.code).send(Solicit, opt(66, opt(65, []byte("mine"))), na(1))
		eq(t, tt.name+": from the client itself", direct.has(65), false)
	}
}

// D-230: nine layers are legal, as the first relay counts from 0 and one that
// receives 8 drops; ten are too many, and so is any loop.
func TestLayers(t *testing.T) {
	for _, n := range []int{1, 2, 8, 9, 10, 11, 100, 1000} {
		var layers []layer
		for i := range n {
			layers = append(layers, relayed(uint8(n-1-i), "2001:db8:0:1::2", "fe80::7"))
		}
		c := newDesk(t, branch()).client(1).via(farRelay, layers...)
		if n > 9 {
			c.silent(trace.RelaysTooDeep, c.message(Solicit, na(1)))
			continue
		}
		eq(t, name("%d layers", n), len(c.send(Solicit, na(1)).layers), n)
	}
}

// D-231: a Relay-forward without a message, or with two, is dropped.
func TestRelayMessageMissing(t *testing.T) {
	d := newDesk(t, branch())
	header := append([]byte{12, 0}, make([]byte, 32)...)
	solicit := d.client(1).message(Solicit, na(1))
	for name, p := range map[string]struct {
		data []byte
		want trace.Reason
	}{
		"nothing":              {header, trace.NoRelayMessage},
		"only other options":   {slices.Concat(header, opt(18, []byte("port7"))), trace.NoRelayMessage},
		"empty":                {slices.Concat(header, opt(9)), trace.NoRelayMessage},
		"two":                  {slices.Concat(header, opt(9, solicit), opt(9, solicit)), trace.NoRelayMessage},
		"short header":         {header[:33], trace.Truncated},
		"cut option":           {slices.Concat(header, []byte{0, 9, 0}), trace.Truncated},
		"message of an octet":  {slices.Concat(header, opt(9, []byte{1})), trace.Truncated},
		"relayed Relay-reply":  {slices.Concat(header, opt(9, []byte{13, 0, 0, 0})), trace.NotForServers},
		"relayed Advertise":    {slices.Concat(header, opt(9, []byte{2, 0, 0, 0})), trace.NotForServers},
		"relayed unknown type": {slices.Concat(header, opt(9, []byte{200, 0, 0, 0})), trace.UnknownType},
	} {
		a := d.handle(&Packet{Data: p.data, Source: netip.MustParseAddrPort(farRelay), Destination: allServers, IfIndex: lanIndex})
		eq(t, name, a.reason, p.want)
	}
}

// D-233: relays are the configured ones. A link-local source counts only on the
// link's own interface, so that a host on one LAN cannot speak for another.
func TestRelaysAreConfigured(t *testing.T) {
	for _, tt := range []struct {
		name, source, link string
		ifIndex            int
		want               trace.Reason
	}{
		{"configured", "[2001:db8:ff::1]:547", "2001:db8:0:1::2", lanIndex, trace.NoReason},
		{"configured, over another interface", "[2001:db8:ff::1]:547", "2001:db8:0:1::2", wanIndex, trace.NoReason},
		{"foreign", "[2001:db8:fe::1]:547", "2001:db8:0:1::2", lanIndex, trace.RelayNotAllowed},
		{"link without relays", "[2001:db8:ff::1]:547", "2001:db8:0:2::9", wifiIndex, trace.RelayNotAllowed},
		{"on the link", "[fe80::9]:547", "::", lanIndex, trace.NoReason},
		{"on the link, with its link-address", "[fe80::9]:547", "2001:db8:0:1::2", lanIndex, trace.NoReason},
		{"on a link without relays", "[fe80::9]:547", "::", wifiIndex, trace.RelayNotAllowed},
		{"from another link", "[fe80::9]:547", "2001:db8:0:1::2", wifiIndex, trace.RelayNotAllowed},
		{"from the WAN", "[fe80::9]:547", "2001:db8:0:1::2", wanIndex, trace.RelayNotAllowed},
		{"from the WAN, without link-address", "[fe80::9]:547", "::", wanIndex, trace.UnknownLink},
	} {
		c := newDesk(t, branch()).client(1).via(tt.source, relayed(0, tt.link, "fe80::7")).on(tt.ifIndex)
		eq(t, tt.name, c.send(Solicit, na(1)).reason, tt.want)
	}
}

// A delegated prefix is routed to the client if it is on the link itself, heard
// directly or through a switch that leaves the link-address zero; behind a
// router the router keeps the routes.
func TestNextHop(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    func(*client) *client
		want string
	}{
		{"direct", func(c *client) *client { return c }, "fe80::200:0:0:1"},
		{"switch", func(c *client) *client {
			return c.via("[fe80::9]:547", relayed(1, "::", "fe80::8"), relayed(0, "::", "fe80::7"))
		}, "fe80::7"},
		{"router", func(c *client) *client { return c.via(farRelay, relayed(0, "2001:db8:0:1::2", "fe80::7")) }, ""},
		{"switch behind a router", func(c *client) *client {
			return c.via(farRelay, relayed(1, "2001:db8:0:1::2", "fe80::8"), relayed(0, "::", "fe80::7"))
		}, ""},
		{"switch, client's address not link-local", func(c *client) *client { return c.via("[fe80::9]:547", relayed(0, "::", "2001:db8:0:1::9")) }, ""},
	} {
		d := newDesk(t, branch())
		b := d.table.Get(tt.c(d.client(1)).obtain(pd(1)).pd(1).only())
		got := ""
		if b.Via.IsValid() {
			got = b.Via.String()
		}
		eq(t, tt.name, got, tt.want)
	}
}

// The examples of the checklist's chapter 12.6: Confirm through a switch and a
// relay with a source port.
func TestWireExampleOfRelays(t *testing.T) {
	d := newDesk(t, branch())
	a := d.handle(&Packet{
		Data: unhex(t, `0c0120010db800000001000000000000fffefe8000000000000000000000000000aa0087000200000009
			00730c0000000000000000000000000000000000fe80000000000000020000fffe00000200120005706f727437
			00090044040c0c0c0001000a00030001020000000002000800020000000300280000000100000000000000000005001820010db80000000100000000000000050000000000000000`),
		Source: netip.MustParseAddrPort("[2001:db8:ff::1]:50000"), Destination: allServers, IfIndex: lanIndex,
	})
	// The text of the status is ours, so the lengths around it differ from the example's.
	text := a.text
	n := len(text)
	want := slices.Concat(
		unhex(t, "0d0120010db800000001000000000000fffefe8000000000000000000000000000aa0087000200000009"), u16(uint16(0x59+n)),
		unhex(t, "0d0000000000000000000000000000000000fe80000000000000020000fffe00000200120005706f7274370009"), u16(uint16(0x2a+n)),
		unhex(t, "070c0c0c0001000a000300010200000000020002000e000100012c3d4e5f020000000001000d"), u16(uint16(2+n)), u16(0), []byte(text))
	if string(a.Data) != string(want) {
		t.Errorf("got  %x\nwant %x", a.Data, want)
	}
	eq(t, "D-217: destination", a.Destination.String(), "[2001:db8:ff::1]:50000")
}
