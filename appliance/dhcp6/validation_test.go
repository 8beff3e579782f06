package dhcp6

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
)

// D-020, D-025, D-034, D-035, D-040: messages that are not for servers, or of
// types that this server does not know, are dropped.
func TestTypesNotForServers(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	for typ := range 256 {
		typ := MessageType(typ)
		message := c.bare(typ, opt(1, []byte(c.duid)), opt(2, []byte(serverDUID)))
		switch typ {
		case Advertise, Reply, Reconfigure, RelayReply:
			c.silent(trace.NotForServers, message)
		case Solicit, Request, Confirm, Renew, Rebind, Release, Decline, InformationRequest, RelayForward:
		default:
			c.silent(trace.UnknownType, message)
		}
	}
	eq(t, "an answer afterwards", c.send(Solicit, na(1)).typ, Advertise)
}

// D-023, D-024, D-026 to D-033, D-037: the rules of RFC 9915 section 16 about
// identifiers, with a client that holds leases: a dropped message changes none.
func TestIdentifiers(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1)
	held := c.obtain(na(1), pd(1)).request()
	cid, sid, foreign := opt(1, []byte(c.duid)), opt(2, []byte(serverDUID)), opt(2, []byte(otherDUID))
	const none = trace.NoReason
	for _, tt := range []struct {
		typ                               MessageType
		noClient, noServer, mine, foreign trace.Reason
	}{
		{Solicit, trace.NoClientID, none, trace.UnwantedServerID, trace.UnwantedServerID},
		{Request, trace.NoClientID, trace.NoServerID, none, trace.ForeignServerID},
		{Confirm, trace.NoClientID, none, trace.UnwantedServerID, trace.UnwantedServerID},
		{Renew, trace.NoClientID, trace.NoServerID, none, trace.ForeignServerID},
		{Rebind, trace.NoClientID, none, trace.UnwantedServerID, trace.UnwantedServerID},
		{Decline, trace.NoClientID, trace.NoServerID, none, trace.ForeignServerID},
		{Release, trace.NoClientID, trace.NoServerID, none, trace.ForeignServerID},
		{InformationRequest, none, none, none, trace.ForeignServerID},
	} {
		ias := slices.Concat(held...)
		if tt.typ == InformationRequest {
			ias = nil
		}
		for _, m := range []struct {
			name string
			data []byte
			want trace.Reason
		}{
			{"no client", c.bare(tt.typ, ias), tt.noClient},
			{"no client, right server", c.bare(tt.typ, sid, ias), tt.noClient},
			{"no server", c.bare(tt.typ, cid, ias), tt.noServer},
			{"foreign server", c.bare(tt.typ, cid, foreign, ias), tt.foreign},
			{"right server", c.bare(tt.typ, cid, sid, ias), tt.mine},
		} {
			if m.want != none {
				c.silent(m.want, m.data)
			} else if tt.typ != Release && tt.typ != Decline { // they have tests of their own
				if a := c.handle(c.packet(m.data)); a.typ == 0 {
					t.Errorf("type %d, %s: dropped for %q", tt.typ, m.name, a.reason.Name())
				}
			}
		}
		eq(t, name("type %d: leases held", tt.typ), len(d.active(c.duid)), 2)
	}
	eq(t, "D-032: declined", d.table.Count(lease.Abandoned), 0)
}

// V6 of the checklist: a message with two Client or Server Identifiers.
func TestRepeatedIdentifiers(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	cid, sid := opt(1, []byte(c.duid)), opt(2, []byte(serverDUID))
	c.silent(trace.RepeatedID, c.bare(Solicit, cid, cid, na(1)))
	c.silent(trace.RepeatedID, c.bare(Request, cid, sid, na(1), sid))
}

// D-036: an Information-request with any IA is dropped, be it cut or obsolete.
func TestInformationRequestWithIA(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	for _, ia := range [][]byte{na(1), pd(1), opt(4, u32(1)), opt(3, u32(1, 2)), opt(25)} {
		c.silent(trace.IAInInformation, c.message(InformationRequest, ia))
	}
}

// D-038, D-039, D-056, D-136: an Information-request that names this server or
// no client is answered, without a Client Identifier that it had not.
func TestInformationRequestIdentifiers(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	sid := opt(2, []byte(serverDUID))
	for _, message := range [][]byte{c.message(InformationRequest, sid, oro(23)), c.bare(InformationRequest, sid, oro(23)), c.bare(InformationRequest, oro(23))} {
		a := c.handle(c.packet(message))
		if a.typ != Reply || !a.has(23) {
			t.Errorf("%x: answer of type %d with %v", message, a.typ, a.options)
		}
	}
}

// D-021, D-022: what the server does not know does not spoil a message.
func TestUnknownOptions(t *testing.T) {
	c := newDesk(t, branch()).client(1).asking(23)
	want := c.send(Solicit, na(1)).Data
	for _, unknown := range [][]byte{
		opt(65000, []byte("?")), opt(65000), opt(17, u32(99999), opt(1, []byte("?"))), opt(17, []byte{1}),
		opt(16, u32(99999)), opt(12, make([]byte, 16)), opt(39, []byte{0xf9}), opt(20), opt(11, make([]byte, 11)), opt(18, []byte("eth0")), opt(13, u16(1)),
	} {
		c.xid--
		if got := c.send(Solicit, unknown, na(1)).Data; string(got) != string(want) {
			t.Errorf("with %x: %x", unknown, got)
		}
	}
}

// D-041: a message that ends within an option is dropped, wherever it is cut.
func TestTruncatedAnywhere(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1)
	held := c.obtain(na(1), pd(1))
	for _, sender := range []*client{c, c.via("[2001:db8:ff::1]:547", relayed(1, "::", "fe80::8", opt(18, []byte("port8"))), relayed(0, "2001:db8:0:1::2", "fe80::7"))} {
		whole := sender.packet(sender.message(Solicit, append(held.request(), opt(25, u32(9, 0, 0), iaPrefix(prefix("::/60"), opt(67, []byte{64, 0}))))...))
		answered := 0
		for n := range len(whole.Data) {
			cut := *whole
			cut.Data = whole.Data[:n:n]
			if a := d.handle(&cut); a.typ != 0 {
				answered++ // cut between two options: still a message
			}
		}
		if want := 3; answered != want && sender.relays == nil || answered != 0 && sender.relays != nil {
			t.Errorf("%d of %d cut messages were answered", answered, len(whole.Data))
		}
		if a := d.handle(whole); a.typ != Advertise {
			t.Errorf("the whole message is not answered: %v", a.reason)
		}
	}
	// The options inside of an IA are cut, those outside are whole.
	for _, inner := range [][]byte{{0}, {0, 5, 0}, {0, 5, 0, 24, 1}, opt(26, make([]byte, 25), []byte{0, 67, 0, 9})} {
		c.silent(trace.Truncated, c.message(Solicit, opt(25, u32(1, 0, 0), inner)))
	}
}

// D-042: an option whose fixed part is too short is ignored, the rest counts.
func TestShortOptions(t *testing.T) {
	for _, tt := range []struct {
		name  string
		short []byte
		ias   int
	}{
		{"IA_NA", opt(3, u32(1, 0)), 1},
		{"IA_PD", opt(25, u32(2)), 1},
		{"IA Address", opt(3, u32(1, 0, 0), opt(5, make([]byte, 23))), 2},
		{"IA Prefix", opt(25, u32(2, 0, 0), opt(26, make([]byte, 24))), 2},
		{"prefix length 129", opt(25, u32(2, 0, 0), opt(26, u32(0, 0), []byte{129}, make([]byte, 16))), 2},
		{"IA Address in IA_PD", opt(25, u32(2, 0, 0), opt(5, make([]byte, 24))), 2},
		{"Elapsed Time", opt(8, []byte{0}), 1},
		{"ORO", opt(6, []byte{0}), 1},
	} {
		a := newDesk(t, branch()).client(1).send(Solicit, tt.short, pd(1))
		if len(a.ias) != tt.ias || !a.pd(1).only().IsValid() {
			t.Errorf("%s: %+v", tt.name, a.ias)
		}
	}
}

// D-042 of what stands in an IA: a lease that is cut, or is another option or of
// the other type, names nothing.
func TestMisplacedLeases(t *testing.T) {
	address, wish := addr("2001:db8:bad::1").AsSlice(), prefix("2001:db8:8000:500::/56")
	wished := slices.Concat(u32(0, 0), []byte{56}, wish.Addr().AsSlice())
	for what, inner := range map[string][]byte{
		"cut IA Address":              opt(5, address, make([]byte, 7)),
		"unknown, like an IA Address": opt(999, address, u32(0, 0)),
		"IA Prefix in IA_NA":          opt(26, wished),
	} {
		if i := newDesk(t, branch()).client(1).send(Request, opt(3, u32(1, 0, 0), inner)).na(1); !i.only().IsValid() {
			t.Errorf("%s: %+v", what, i)
		}
	}
	for what, inner := range map[string][]byte{
		"cut IA Prefix":              opt(26, wished[:24]),
		"unknown, like an IA Prefix": opt(999, wished),
		"IA Address in IA_PD":        opt(5, wished),
	} {
		if i := newDesk(t, branch()).client(1).send(Request, opt(25, u32(1, 0, 0), inner)).pd(1); !i.only().IsValid() || i.only() == wish {
			t.Errorf("%s: %+v", what, i)
		}
	}
}

// D-043, D-044: DUIDs are compared as octets, whatever their type.
func TestDUIDsAreOpaque(t *testing.T) {
	d := newDesk(t, branch())
	seen := map[netip.Prefix]bool{}
	duids := []lease.DUID{"\x00\x03\x00\x01\x02\x00\x00\x00\x00\x01", "\x00\x04\x00\x01\x02\x00\x00\x00\x00\x01", "\x12\x34\x00\x01\x02\x00\x00\x00\x00\x01", "\x12\x34\x00\x01\x02\x00\x00\x00\x00\x01\x00", "\x12\x34\x00"}
	for _, duid := range duids {
		c := d.client(1)
		c.duid = duid
		first := c.obtain(na(1)).na(1).only()
		if seen[first] || !first.IsValid() {
			t.Errorf("%v got %v", duid, first)
		}
		seen[first] = true
		eq(t, "the same client again", c.obtain(na(1)).na(1).only(), first)
	}
	eq(t, "leases", len(d.active("")), len(duids))
}

// D-045: DUIDs have 3 to 130 octets.
func TestDUIDLength(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 130, 131, 1000} {
		c := newDesk(t, branch()).client(1)
		c.duid = lease.DUID(make([]byte, n))
		a := c.send(Solicit, na(1))
		if n < 3 || n > 130 {
			eq(t, name("%d octets: reason", n), a.reason, trace.BadDUID)
		} else {
			eq(t, name("%d octets: answer", n), a.typ, Advertise)
		}
	}
}

// D-046, D-047: a client's T1, T2 and lifetimes mean nothing.
func TestTimesFromClientsAreIgnored(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	want := c.obtain(na(1), pd(1))
	a, p := want.na(1).only(), want.pd(1).only()
	for _, times := range []uint32{1, lease.Infinity} {
		for _, typ := range []MessageType{Request, Renew, Rebind} {
			got := c.send(typ,
				opt(3, u32(1, times, times), opt(5, a.Addr().AsSlice(), u32(times, times))),
				opt(25, u32(1, times, times), opt(26, u32(times, times), []byte{byte(p.Bits())}, p.Addr().AsSlice())))
			if !slices.EqualFunc(got.ias, want.ias, sameIA) {
				t.Errorf("type %d: %+v, want %+v", typ, got.ias, want.ias)
			}
		}
	}
}

func sameIA(a, b oracleIA) bool {
	return a.typ == b.typ && a.id == b.id && a.t1 == b.t1 && a.t2 == b.t2 && a.status == b.status &&
		slices.EqualFunc(a.leases, b.leases, func(a, b oracleLease) bool {
			return a.prefix == b.prefix && a.preferred == b.preferred && a.valid == b.valid && string(a.exclude) == string(b.exclude)
		})
}

// D-048: IA_TA is obsolete; the rest of its message counts.
func TestTemporaryAddressesAreIgnored(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	for _, a := range []*answer{c.send(Solicit, opt(4, u32(1)), na(1)), c.send(Request, opt(4, u32(1)), na(1)), c.send(Renew, opt(4, u32(1)), na(1))} {
		if len(a.ias) != 1 || !a.na(1).only().IsValid() || a.has(4) {
			t.Errorf("%+v", a.ias)
		}
	}
}

// D-049: the data of repeated options is not joined, the first one counts. Two
// instances of one IA are one (V17: a client of Windows does that).
func TestRepeatedOptions(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	for _, tt := range []struct {
		oros     [][]byte
		dns, dom bool
	}{
		{[][]byte{oro(23), oro(24)}, true, false},
		{[][]byte{oro(), oro(23)}, false, false},
		{[][]byte{opt(6, []byte{0}), opt(6, []byte{23})}, false, false}, // joined they would ask for 23
		{[][]byte{opt(6, []byte{0, 23, 0}), oro(24)}, false, true},
	} {
		a := c.send(Solicit, append(tt.oros, na(1))...)
		if a.has(23) != tt.dns || a.has(24) != tt.dom {
			t.Errorf("%x: %v", tt.oros, a.options)
		}
	}
	a := c.send(Request, na(1), na(1, prefix("2001:db8:0:1::77")), na(1, prefix("2001:db8:0:1::77")))
	eq(t, "merged IA", a.na(1).only(), prefix("2001:db8:0:1::77"))
}

// D-050, D-157: a message of identifier and IA is enough, and gets no options.
func TestShortestMessages(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	for _, a := range []*answer{c.send(Solicit, na(1)), c.send(Request, na(1)), c.send(Renew, na(1)), c.send(Rebind, na(1))} {
		if !a.na(1).only().IsValid() || len(a.options) != 3 {
			t.Errorf("type %d: %v", a.typ, a.options)
		}
	}
	eq(t, "Information-request", len(c.send(InformationRequest).options), 2)
}

// D-051: the order of options has no influence.
func TestOptionOrder(t *testing.T) {
	options := [][]byte{opt(1, []byte("\x00\x03\x00\x01\x02\x00\x00\x00\x00\x01")), oro(24, 23), opt(14), na(1), pd(1), opt(65000)}
	var want *answer
	permutations(len(options), func(order []int) {
		c := newDesk(t, branch()).client(1)
		var shuffled [][]byte
		for _, i := range order {
			shuffled = append(shuffled, options[i])
		}
		a := c.handle(c.packet(c.bare(Solicit, shuffled...)))
		if want == nil {
			want = a
		}
		if a.typ != Reply || !sameIA(a.na(1), want.na(1)) || !sameIA(a.pd(1), want.pd(1)) || len(a.options) != len(want.options) {
			t.Fatalf("in the order %v: %+v, want %+v", order, a, want)
		}
	})
}

// permutations walks all orders of n things.
func permutations(n int, f func(order []int)) {
	var walk func(order []int)
	walk = func(order []int) {
		if len(order) == n {
			f(order)
			return
		}
		for i := range n {
			if !slices.Contains(order, i) {
				walk(append(slices.Clone(order), i))
			}
		}
	}
	walk(nil)
}

// D-052: an Option Request option of odd length counts as none, repeated codes
// count once.
func TestOddOptionRequest(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	a := c.send(Solicit, opt(6, []byte{0, 23, 0}), na(1))
	if a.typ != Advertise || a.has(23) {
		t.Errorf("odd: %v", a.options)
	}
	a = c.send(Solicit, oro(23, 24, 23, 23), na(1))
	if len(a.all(23)) != 1 || len(a.all(24)) != 1 {
		t.Errorf("repeated: %v", a.options)
	}
}
