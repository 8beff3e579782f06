package wire

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
)

// vector parses one of the vectors.
func vector[M Message](t testing.TB, name string) M {
	t.Helper()
	for _, v := range vectors {
		if v.name == name {
			m, err := Parse(unhex(t, v.frame)[sizeLen:])
			if err != nil {
				t.Fatal(err)
			}
			return m.(M)
		}
	}
	t.Fatalf("there is no vector %q", name)
	panic("unreachable")
}

// wants checks a status: its code and a part of its text; "" is no status.
func wants(t *testing.T, name string, got Opt[Status], code StatusCode, text string) {
	t.Helper()
	s, ok := got.Get()
	if ok != (text != "") || ok && (s.Code != code || !strings.Contains(s.Text, text)) {
		t.Errorf("%s: %v, want %v %q", name, got, code, text)
	}
}

// What CONNECT, CONNECTREPLY and STATE must hold (RFC 8156 sections 6.1 and 6.3) is
// missed when it is not there.
func TestCheckConnectAndState(t *testing.T) {
	for name, change := range map[string]func(*Connect){
		"":                            func(*Connect) {},
		"OPTION_F_PROTOCOL_VERSION":   func(m *Connect) { m.Version = Opt[ProtocolVersion]{} },
		"OPTION_F_MCLT":               func(m *Connect) { m.MCLT = Opt[uint32]{} },
		"OPTION_F_KEEPALIVE_TIME":     func(m *Connect) { m.KeepaliveTime = Opt[uint32]{} },
		"OPTION_F_MAX_UNACKED_BNDUPD": func(m *Connect) { m.MaxUnackedBndUpd = Opt[uint32]{} },
		"OPTION_F_CONNECT_FLAGS":      func(m *Connect) { m.Flags = Opt[ConnectFlags]{} },
	} {
		m := vector[*Connect](t, "CONNECT")
		change(m)
		wants(t, "CONNECT", m.Check(), UnspecFail, name)
		r := vector[*ConnectReply](t, "CONNECTREPLY: accepts")
		r.Version, r.MCLT, r.KeepaliveTime, r.MaxUnackedBndUpd, r.Flags = m.Version, m.MCLT, m.KeepaliveTime, m.MaxUnackedBndUpd, m.Flags
		wants(t, "CONNECTREPLY", r.Check(), UnspecFail, name)
		r.Status = Some(Status{Text: "welcome"})
		wants(t, "CONNECTREPLY with Success", r.Check(), UnspecFail, name)
	}
	m := vector[*Connect](t, "CONNECT")
	m.RelationshipName = Opt[string]{}
	wants(t, "CONNECT without a name", m.Check(), 0, "")

	r := vector[*ConnectReply](t, "CONNECTREPLY: rejects")
	wants(t, "a rejection", r.Check(), 0, "")
	for code, rejects := range map[Opt[Status]]bool{
		{}: false, Some(Status{Success, "x"}): false, Some(Status{UnspecFail, ""}): true, Some(Status{Code: 999}): true,
	} {
		if r.Status = code; r.Rejects() != rejects {
			t.Errorf("%v rejects: %v", code, r.Rejects())
		}
	}

	for name, change := range map[string]func(*State){
		"":                             func(m *State) { m.PartnerDownTime = Opt[Time]{} },
		"OPTION_F_SERVER_STATE":        func(m *State) { m.ServerState = Opt[ServerState]{} },
		"OPTION_F_SERVER_FLAGS":        func(m *State) { m.Flags = Opt[ServerFlags]{} },
		"OPTION_F_START_TIME_OF_STATE": func(m *State) { m.StartTime = Opt[Time]{} },
	} {
		m := vector[*State](t, "STATE: PARTNER-DOWN")
		change(m)
		wants(t, "STATE", m.Check(), UnspecFail, name)
	}
	for s := range 256 {
		m := vector[*State](t, "STATE: PARTNER-DOWN")
		m.ServerState = Some(ServerState(s))
		want := "never sent"
		if s >= 2 && s <= 10 {
			want = ""
		}
		wants(t, fmt.Sprint("STATE ", s), m.Check(), UnspecFail, want)
	}
}

// F-220, F-221: what makes a whole BNDUPD impossible to process is answered with
// MissingBindingInformation, each missing option in turn.
func TestCheckUpdate(t *testing.T) {
	for _, c := range []struct {
		missing string
		change  func(m *BndUpd)
	}{
		{"", func(*BndUpd) {}},
		{"OPTION_CLIENTID", func(m *BndUpd) { m.ClientData.ClientID = "" }},
		{"OPTION_LQ_BASE_TIME", func(m *BndUpd) { m.ClientData.BaseTime = Opt[Time]{} }},
		{"OPTION_IA_NA, OPTION_IA_TA or OPTION_IA_PD", func(m *BndUpd) { m.ClientData.IAs = nil }},
		{"OPTION_IA_TA 2 needs an OPTION_IAADDR", func(m *BndUpd) { m.ClientData.IAs[1].Leases = nil }},
		{"OPTION_IA_PD 3 needs an OPTION_IAPREFIX", func(m *BndUpd) { m.ClientData.IAs[2].Leases = nil }},
		{"either OPTION_CLIENT_DATA or OPTION_IAPREFIX", func(m *BndUpd) { m.ClientData = nil }},
		{"either OPTION_CLIENT_DATA or OPTION_IAPREFIX", func(m *BndUpd) { m.Prefix = &LeaseOption{} }},
	} {
		m := vector[*BndUpd](t, "BNDUPD: everything")
		c.change(m)
		wants(t, "BNDUPD", m.Check(), MissingBindingInformation, c.missing)
		if want := !strings.HasPrefix(c.missing, "either"); m.Mirrors() != want {
			t.Errorf("%q: Mirrors is %v", c.missing, m.Mirrors())
		}
	}
	m := vector[*BndUpd](t, "BNDUPD: prefix")
	wants(t, "prefix", m.Check(), 0, "")
	m.Prefix.BindingStatus = Some(lease.Active)
	wants(t, "prefix", m.Check(), MissingBindingInformation, "a lease that is ACTIVE needs its client")
	m = vector[*BndUpd](t, "BNDUPD: prefix")
	m.Prefix.BaseTime = Opt[Time]{}
	wants(t, "prefix", m.Check(), MissingBindingInformation, "OPTION_LQ_BASE_TIME")
}

// F-221, Q-49, Q-76: what makes one lease of an update impossible to process.
func TestCheckLease(t *testing.T) {
	for _, c := range []struct {
		missing string
		change  func(l *LeaseOption)
	}{
		{"", func(*LeaseOption) {}},
		{"", func(l *LeaseOption) { l.Expiration, l.CLTTime = Opt[Time]{}, Opt[uint32]{} }},
		{"OPTION_F_BINDING_STATUS", func(l *LeaseOption) { l.BindingStatus = Opt[lease.Status]{} }},
		{"binding-status 0 does not exist", func(l *LeaseOption) { l.BindingStatus = Some[lease.Status](0) }},
		{"binding-status 9 does not exist", func(l *LeaseOption) { l.BindingStatus = Some[lease.Status](9) }},
		{"OPTION_F_START_TIME_OF_STATE", func(l *LeaseOption) { l.StartTimeOfState = Opt[Time]{} }},
		{"OPTION_F_STATE_EXPIRATION_TIME", func(l *LeaseOption) { l.StateExpiration = Opt[Time]{} }},
		{"OPTION_F_PARTNER_LIFETIME", func(l *LeaseOption) { l.PartnerLifetime = Opt[Time]{} }},
	} {
		m := vector[*BndUpd](t, "BNDUPD: address")
		ia := &m.ClientData.IAs[0]
		l := &ia.Leases[0]
		c.change(l)
		wants(t, "lease", l.Check(ia), MissingBindingInformation, c.missing)
	}
	m := vector[*BndUpd](t, "BNDUPD: prefix")
	wants(t, "prefix", m.Prefix.Check(nil), 0, "")
	m.Prefix.StartTimeOfState = Opt[Time]{}
	wants(t, "prefix", m.Prefix.Check(nil), MissingBindingInformation, "OPTION_F_START_TIME_OF_STATE")
	m = vector[*BndUpd](t, "BNDUPD: prefix")
	m.Prefix.BindingStatus = Opt[lease.Status]{}
	wants(t, "prefix", m.Prefix.Check(nil), MissingBindingInformation, "OPTION_F_BINDING_STATUS")

	// what stands in the IA counts for the leases that lack it.
	ia := &IA{Type: lease.IAPD, BindingStatus: Some(lease.Released), StartTimeOfState: Some(sent), Leases: []LeaseOption{
		{}, {BindingStatus: Some(lease.Expired), StartTimeOfState: Some(sent - 1)},
	}}
	for i, want := range []struct {
		status lease.Status
		start  Time
	}{{lease.Released, sent}, {lease.Expired, sent - 1}} {
		l := &ia.Leases[i]
		wants(t, "lease", l.Check(ia), 0, "")
		if ia.StatusOf(l) != Some(want.status) || ia.StartOf(l) != Some(want.start) {
			t.Errorf("lease %d is %v since %v", i, ia.StatusOf(l), ia.StartOf(l))
		}
	}
}

// F-038, F-223, F-224, F-255, F-258 to F-263, F-265: the answer that accepts an
// update, by the vectors, and for one that has everything, with an echo that is
// exact in every bit.
func TestReply(t *testing.T) {
	for _, name := range []string{"prefix", "address"} {
		got := vector[*BndUpd](t, "BNDUPD: "+name).Reply()
		got.SentTime = sent
		if want := vector[*BndReply](t, "BNDREPLY: "+name); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	m := vector[*BndUpd](t, "BNDUPD: everything")
	m.ClientData.IAs[2].BindingStatus = Some(lease.Released)
	m.ClientData.IAs[2].Leases[1].BindingStatus = Opt[lease.Status]{}
	m.ClientData.IAs[0].Leases[0].PartnerLifetime = Some[Time](0xfffffffe)
	got, err := Append(nil, m.Reply())
	if err != nil {
		t.Fatal(err)
	}
	want := msg(TypeBndReply, opt(OptionClientData,
		opt(OptionClientID, []byte(vectorDUID2)),
		opt(OptionVSS, []byte("\x00blue")),
		opt(OptionIANA, []byte{0, 0, 0, 1}, make([]byte, 8),
			opt(OptionIAAddr, unhex(t, "20010db8000000000000000000001001"), make([]byte, 8), opt(OptionBindingStatus, []byte{2}), opt(OptionPartnerLifetimeSent, unhex(t, "fffffffe")))),
		opt(OptionIATA, []byte{0, 0, 0, 2},
			opt(OptionIAAddr, unhex(t, "20010db8000000000000000000001002"), make([]byte, 8), opt(OptionBindingStatus, []byte{7}))),
		opt(OptionIAPD, []byte{0, 0, 0, 3}, make([]byte, 8),
			opt(OptionIAPrefix, make([]byte, 8), unhex(t, "38 20010db8000001000000000000000000"), opt(OptionBindingStatus, []byte{1})),
			opt(OptionIAPrefix, make([]byte, 8), unhex(t, "40 20010db8000002000000000000000000"), opt(OptionBindingStatus, []byte{3})))))
	copy(want[1:], unhex(t, "000006 00000000")) // the id; not sent yet
	if string(got) != string(want) {
		t.Errorf("wrote %x\n want %x", got, want)
	}

	defer func() {
		if recover() == nil {
			t.Error("an update without content was mirrored")
		}
	}()
	new(BndUpd).Reply()
}

// F-266 to F-269: which leases an answer refuses.
func TestRefusal(t *testing.T) {
	const text = "because"
	for _, c := range []struct {
		name   string
		change func(m *BndReply)
		want   string // the codes of the four leases
	}{
		{"nothing", func(*BndReply) {}, "- - - -"},
		{"Success everywhere", func(m *BndReply) {
			ok := Some(Status{Success, text})
			m.Status, m.ClientData.Status, m.ClientData.IAs[0].Status, m.ClientData.IAs[2].Leases[1].Status = ok, ok, ok, ok
		}, "- - - -"},
		{"the message", func(m *BndReply) { m.Status = Some(Status{MissingBindingInformation, text}) }, "18 18 18 18"},
		{"the client", func(m *BndReply) { m.ClientData.Status = Some(Status{ConfigurationConflict, text}) }, "17 17 17 17"},
		{"an IA", func(m *BndReply) { m.ClientData.IAs[2].Status = Some(Status{AddressInUse, text}) }, "- - 16 16"},
		{"a lease", func(m *BndReply) {
			m.ClientData.IAs[2].Leases[1].Status = Some(Status{OutdatedBindingInformation, text})
		}, "- - - 19"},
		{"a lease in spite of a Success around it", func(m *BndReply) {
			m.ClientData.Status = Some(Status{Success, text})
			m.ClientData.IAs[0].Leases[0].Status = Some(Status{AddressInUse, text})
		}, "16 - - -"},
		{"two levels", func(m *BndReply) {
			m.ClientData.Status = Some(Status{UnspecFail, text})
			m.ClientData.IAs[0].Leases[0].Status = Some(Status{AddressInUse, text})
		}, "1 1 1 1"},
	} {
		m := vector[*BndUpd](t, "BNDUPD: everything").Reply()
		c.change(m)
		var got []string
		for i := range m.ClientData.IAs {
			ia := &m.ClientData.IAs[i]
			for j := range ia.Leases {
				if s, ok := m.Refusal(ia, &ia.Leases[j]).Get(); ok {
					got = append(got, fmt.Sprint(uint16(s.Code)))
				} else {
					got = append(got, "-")
				}
			}
		}
		if got := strings.Join(got, " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	m := vector[*BndReply](t, "BNDREPLY: prefix")
	wants(t, "prefix", m.Refusal(nil, m.Prefix), 0, "")
	m.Prefix.Status = Some(Status{OutdatedBindingInformation, text})
	wants(t, "prefix", m.Refusal(nil, m.Prefix), OutdatedBindingInformation, text)
}
