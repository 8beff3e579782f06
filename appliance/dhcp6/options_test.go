package dhcp6

import (
	"testing"
)

// plainOption is an option that is sent when asked for.
func plainOption(code uint16, data string) Option { return Option{Code: code, Data: []byte(data)} }

// D-157, C8 of the checklist: what nobody asked for is not sent, unless the
// operator forces it, and then once.
func TestForcedOptions(t *testing.T) {
	forced := plainOption(103, "urn:x")
	forced.Force = true
	c := newDesk(t, branch(lanWith(func(l *Link) { l.Options = append(l.Options, forced) }))).client(1)
	for _, typ := range []MessageType{Solicit, Request, Renew, Rebind} {
		a, b := c.send(typ, na(1)), c.asking(103, 23).send(typ, na(1))
		if len(a.all(103)) != 1 || a.has(23) || len(b.all(103)) != 1 || !b.has(23) {
			t.Errorf("type %d: %v and %v", typ, a.options, b.options)
		}
	}
	a := c.send(InformationRequest)
	eq(t, "in the answer to an Information-request", len(a.all(103)), 1)
}

// D-160: DNS servers and search list are in Advertises and in Replies that carry
// configuration, and in nothing else that the server sends.
func TestDNSOptionsStandWhereTheyMay(t *testing.T) {
	c := newDesk(t, branch()).client(1).asking(23, 24)
	for typ, want := range map[MessageType]bool{Solicit: true, Request: true, Renew: true, Rebind: true, InformationRequest: true, Confirm: false, Release: false, Decline: false} {
		options := [][]byte{na(1, prefix("2001:db8:0:1::5"))}
		if typ == InformationRequest {
			options = nil
		}
		a := c.send(typ, options...)
		if a.typ != Advertise && a.typ != Reply || a.has(23) != want || a.has(24) != want {
			t.Errorf("type %d: answer of type %d with %v", typ, a.typ, a.options)
		}
	}
}

// D-158: codes that an Option Request option never holds have no effect.
func TestForbiddenCodesInORO(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	for _, typ := range []MessageType{Solicit, Request, Renew} {
		plain := c.send(typ, na(1), oro(23))
		c.xid--
		odd := c.send(typ, na(1), oro(1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 18, 19, 20, 25, 26, 23, 135))
		if string(plain.Data) != string(odd.Data) {
			t.Errorf("type %d: %x, without them %x", typ, odd.Data, plain.Data)
		}
	}
}

// D-159: Renew and Rebind bring the whole set again; what is missing in them
// the client forgets.
func TestFullOptionSetOnRenewal(t *testing.T) {
	codes := []uint16{23, 24, 59, 103}
	c := newDesk(t, branch(lanWith(func(l *Link) {
		l.Options = append(l.Options, plainOption(59, "http://a/b"), plainOption(103, "urn:x"))
	}))).client(1).asking(codes...)
	first := c.obtain(na(1))
	for _, typ := range []MessageType{Renew, Rebind} {
		a := c.send(typ, first.request()...)
		for _, code := range codes {
			if got, want := a.all(code), first.all(code); len(want) != 1 || len(got) != 1 || string(got[0]) != string(want[0]) {
				t.Errorf("type %d, option %d: %x, had %x", typ, code, got, want)
			}
		}
	}
}

// D-163: of the boot architectures only those that the client has, in the
// server's order.
func TestArchTypes(t *testing.T) {
	configured := Option{Code: 61, Data: u16(16, 7, 9)}
	for _, tt := range []struct {
		name   string
		client []byte
		want   []byte
	}{
		{"one", opt(61, u16(7)), u16(7)},
		{"some", opt(61, u16(9, 0, 16)), u16(16, 9)},
		{"none in common", opt(61, u16(0)), nil},
		{"none", nil, nil},
		{"odd", opt(61, []byte{0, 7, 0}), nil},
	} {
		c := newDesk(t, branch(lanWith(func(l *Link) { l.Options = []Option{configured} }))).client(1).asking(61)
		for _, typ := range []MessageType{Solicit, InformationRequest} {
			options := [][]byte{na(1), tt.client}
			if typ == InformationRequest {
				options = options[1:]
			}
			got := c.send(typ, options...).all(61)
			if tt.want == nil && len(got) != 0 || tt.want != nil && (len(got) != 1 || string(got[0]) != string(tt.want)) {
				t.Errorf("%s: %x, want %x", tt.name, got, tt.want)
			}
		}
	}
}

// D-175, C10 of the checklist: SOL_MAX_RT and INF_MAX_RT only to clients that
// list them, even if forced; INF_MAX_RT in Replies only.
func TestMaxRT(t *testing.T) {
	sol, inf := Option{Code: 82, Data: u32(7200), Force: true}, Option{Code: 83, Data: u32(7200), Force: true}
	c := newDesk(t, branch(lanWith(func(l *Link) { l.Options = []Option{sol, inf} }))).client(1)
	for _, typ := range []MessageType{Solicit, Request, Renew, Rebind} {
		a, b := c.send(typ, na(1)), c.asking(82, 83).send(typ, na(1))
		if a.has(82) || a.has(83) || !b.has(82) || b.has(83) != (b.typ == Reply) {
			t.Errorf("type %d: %v and %v", typ, a.options, b.options)
		}
	}
	a := c.asking(83).send(InformationRequest)
	eq(t, "INF_MAX_RT", len(a.all(83)), 1)
	// A link that never has leases quietens its clients.
	c = newDesk(t, branch(lanWith(func(l *Link) { without(l); l.Options = []Option{sol} }))).client(1).asking(82)
	a = c.send(Solicit, na(1))
	eq(t, "SOL_MAX_RT beside NoAddrsAvail", a.has(82) && a.na(1).status == statusNoAddrsAvail, true)
}

// D-176: each vendor has an option of its own; several of one code are sent in
// the configured order.
func TestSeveralOfOneCode(t *testing.T) {
	vendors, err := VendorInformation([]Vendor{{9, []VendorOption{{1, []byte("a")}}}, {311, []VendorOption{{2, []byte("b")}}}})
	if err != nil {
		t.Fatal(err)
	}
	c := newDesk(t, branch(lanWith(func(l *Link) { l.Options = vendors }))).client(1).asking(17)
	got := c.send(Solicit, na(1)).all(17)
	if len(got) != 2 || string(got[0]) != string(vendors[0].Data) || string(got[1]) != string(vendors[1].Data) {
		t.Errorf("%x", got)
	}
}

// D-177: Interface-ID and Relay Source Port never reach the client. (The oracle
// rejects them in every client's message.)
func TestRelayOptionsStayOutside(t *testing.T) {
	c := newDesk(t, branch()).client(1).asking(18, 135, 37, 79).via("[2001:db8:ff::1]:547",
		relayed(0, "2001:db8:0:1::2", "fe80::7", opt(18, []byte("port7")), opt(135, u16(0)), opt(37, u32(9), []byte("x")), opt(79, u16(1), []byte("abcdef")), opt(43, u16(37, 79))))
	for _, typ := range []MessageType{Solicit, Request} {
		a := c.send(typ, na(1))
		if a.typ == 0 || len(a.layers[0].options) != 4 {
			t.Errorf("type %d: layer %v", typ, a.layers)
		}
	}
}

// D-178: without a value there is no option.
func TestEmptyLists(t *testing.T) {
	var options []Option
	for _, build := range []func() ([]Option, error){
		func() ([]Option, error) { return DNSServers(nil) },
		func() ([]Option, error) { return DomainSearch(nil) },
		func() ([]Option, error) { return NTPServers(nil) },
	} {
		more, err := build()
		if err != nil {
			t.Fatal(err)
		}
		options = append(options, more...)
	}
	c := newDesk(t, branch(lanWith(func(l *Link) { l.Options = options }))).client(1).asking(23, 24, 56)
	if a := c.send(Solicit, na(1)); len(a.options) != 3 {
		t.Errorf("%v", a.options)
	}
}

// D-179: ADDR_REG_ENABLE promises a service that this server does not have: it
// is not sent, and cannot be configured.
func TestNoAddressRegistration(t *testing.T) {
	if _, err := Custom(148, nil); err == nil {
		t.Error("option 148 can be configured")
	}
	c := newDesk(t, branch()).client(1).asking(148)
	for _, a := range []*answer{c.send(Solicit, na(1)), c.send(Request, na(1)), c.send(InformationRequest)} {
		eq(t, "option 148", a.has(148), false)
	}
}

// D-180, D-255: Prefix Exclude sits in the IA Prefix, only for clients that list
// 67, in the encoding of RFC 6603. The vectors are those of the checklist's
// chapter 4.6; the first is the RFC's own.
func TestPrefixExclude(t *testing.T) {
	for _, tt := range []struct {
		delegated string
		pool      string
		exclude   Exclude
		want      []byte
	}{
		{"2001:db8:dead:bee0::/59", "2001:db8:dead::/48", Exclude{64, 0x0f}, []byte{0x40, 0x78}},
		{"2001:db8:1::/48", "2001:db8::/32", Exclude{64, 0xffff}, []byte{0x40, 0xff, 0xff}},
		{"2001:db8:1:100::/56", "2001:db8:1::/48", Exclude{64, 0}, []byte{0x40, 0x00}},
		{"2001:db8:1:100::/56", "2001:db8:1::/48", Exclude{57, 1}, []byte{0x39, 0x80}},
		{"2001:db8:1:100::/56", "2001:db8:1::/48", Exclude{120, 0x0102030405060708}, []byte{0x78, 1, 2, 3, 4, 5, 6, 7, 8}},
		{"2001:db8:1:100::/56", "2001:db8:1::/48", Exclude{65, 0x1ff}, []byte{0x41, 0xff, 0x80}},
	} {
		delegated := prefix(tt.delegated)
		c := newDesk(t, branch(func(c *Config) {
			c.Links = c.Links[:1]
			c.Links[0].Subnets = nil
			c.Links[0].PrefixPools = []PrefixPool{{Prefix: prefix(tt.pool), Length: delegated.Bits(), Exclude: tt.exclude}}
		})).client(1)
		for _, typ := range []MessageType{Solicit, Request, Renew, Rebind} {
			with, without := c.asking(67).send(typ, pd(1, delegated)).pd(1), c.asking(23).send(typ, pd(1, delegated)).pd(1)
			if with.only() != delegated || string(with.leases[0].exclude) != string(tt.want) {
				t.Errorf("%s, type %d: %v, %x, want %x", tt.delegated, typ, with.leases, with.leases[0].exclude, tt.want)
			}
			if without.only() != delegated || without.leases[0].exclude != nil {
				t.Errorf("%s, type %d, not asked for: %v", tt.delegated, typ, without.leases)
			}
		}
		// What the client sends back with its Renew is read and ignored.
		back := opt(25, u32(1, 0, 0), iaPrefix(delegated, opt(67, tt.want)))
		eq(t, "Renew with the option", c.send(Renew, back).pd(1).only(), delegated)
	}
	// A reserved prefix as long as what would be excluded has no room for it.
	c := newDesk(t, branch(lanWith(func(l *Link) {
		l.PrefixPools[0].Exclude = Exclude{Length: 60}
		l.Reservations = []Reservation{{Client: d1.duid, Prefixes: prefixes("2001:db8:8000:100::/60")}}
	}))).client(1).asking(67)
	if i := c.send(Solicit, pd(1)).pd(1); i.only().Bits() != 60 || i.leases[0].exclude != nil {
		t.Errorf("%+v", i)
	}
}

// A reservation's options replace the link's of the same code, all of them.
func TestReservedOptions(t *testing.T) {
	ntp := func(a string) Option { return Option{Code: 56, Data: opt(1, addr(a).AsSlice())} }
	d := newDesk(t, branch(lanWith(func(l *Link) {
		l.Options = append(l.Options, ntp("2001:db8::1"), ntp("2001:db8::2"))
		l.Reservations = []Reservation{{Client: d1.duid, Options: []Option{ntp("2001:db8::3")}}}
	})))
	mine, theirs := d.client(1).asking(56, 23).send(Solicit, na(1)), d.client(2).asking(56, 23).send(Solicit, na(1))
	if got := mine.all(56); len(got) != 1 || string(got[0][4:]) != string(addr("2001:db8::3").AsSlice()) || !mine.has(23) {
		t.Errorf("reserved: %v", mine.options)
	}
	eq(t, "others", len(theirs.all(56)), 2)
}

// D-094: an option that the operator takes away is gone with the next answer.
func TestOptionTakenAway(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1).asking(23, 24)
	held := c.obtain(na(1)).request()
	d.reconfigure(branch(lanWith(func(l *Link) { l.Options = l.Options[:1] })))
	a := c.send(Renew, held...)
	if !a.has(23) || a.has(24) {
		t.Errorf("%v", a.options)
	}
}
