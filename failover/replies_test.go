package failover

import (
	"slices"
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/failover/wire"
)

// F-018, F-037, F-038, F-222 to F-225, F-255, F-256, F-258, F-260 to F-265, Q-45: what a BNDREPLY that accepts
// holds, octet for octet: what was there, unchanged, and nothing else. The
// clocks may differ.
func TestReplyMessage(t *testing.T) {
	for _, skew := range []lease.Time{0, 5, -5} {
		s := newScene(t, lease.Secondary, nil)
		s.skew = skew
		s.reach(Normal)
		now := s.now.Wall
		for _, m := range []*wire.BndUpd{
			s.update("2001:db8::1", "ann", lease.Active),
			s.update("2001:db8::3", "bob", lease.Released),
			s.update("2001:db8:8000:100::/56", "eve", lease.Expired),
			s.bare("2001:db8:8000:200::/56", lease.FreeBackup),
			s.bare("2001:db8:8000:300::/56", lease.Free),
		} {
			s.heard = nil
			s.say(m)
			got := one[*wire.BndReply](s)
			from := only(m)
			l := wire.LeaseOption{
				Prefix: from.Prefix, BindingStatus: from.BindingStatus, StateExpiration: from.StateExpiration, PartnerLifetimeSent: from.PartnerLifetime,
			}
			want := &wire.BndReply{Header: got.Header}
			want.TransactionID = m.TransactionID
			if m.Prefix != nil {
				want.Prefix = &l
			} else {
				ia := m.ClientData.IAs[0]
				want.ClientData = &wire.ClientData{ClientID: m.ClientData.ClientID, IAs: []wire.IA{{Type: ia.Type, IAID: ia.IAID, Leases: []wire.LeaseOption{l}}}}
			}
			if !same(got, want) {
				t.Errorf("skew %d: answer\n%+v\nwant\n%+v", skew, got, want)
			}
		}
		if lifetime := s.t.Get(prefix("2001:db8::1")).ExpirationTime; lifetime != now+1800+86400 {
			t.Errorf("skew %d: confirmed %v, want %v as it was sent", skew, lifetime, now+1800+86400)
		}
	}
}

// F-259: the VPN of an update is repeated. Only the default one is served here.
func TestReplyRepeatsVPN(t *testing.T) {
	s := newScene(t, lease.Secondary, nil)
	s.reach(Normal)
	global := wire.Some(wire.VSS{Type: wire.VSSGlobal})
	client, bare := s.update("2001:db8::1", "ann", lease.Active), s.bare("2001:db8:8000:100::/56", lease.FreeBackup)
	client.ClientData.VSS, bare.Prefix.VSS = global, global
	s.heard = nil
	s.say(client)
	if r := one[*wire.BndReply](s); r.ClientData.VSS != global || only(r).Status.Present() {
		t.Errorf("answer %+v", r.ClientData)
	}
	s.say(bare)
	if r := one[*wire.BndReply](s); r.Prefix.VSS != global || only(r).Status.Present() {
		t.Errorf("answer %+v", r.Prefix)
	}
}

// F-247 to F-254, F-151, Q-41, Q-44: where what an accepted update says is stored.
func TestUpdateStored(t *testing.T) {
	s := newScene(t, lease.Secondary, nil)
	s.skew = 3 // no time is adjusted
	s.reach(Normal)
	p := prefix("2001:db8::1")
	began := s.now.Wall
	first := s.update("2001:db8::1", "ann", lease.Active)
	only(first).CLTTime = wire.Some[uint32](100)
	only(first).StartTimeOfState = some(began - 1000)
	only(first).PartnerRawCLT, only(first).Expiration = some(began-200), some(began+700)
	s.say(first)
	want := lease.Binding{
		Prefix: p, IA: ia(p, "ann"), Status: lease.Active, Preferred: 3600, Valid: 3600, T1: 1800, T2: 2880,
		Expires: began + 3600, HeldUntil: began + 3600, StartOfState: began - 1000,
		LastTransaction: began - 200, PartnerRawCLT: began - 100, ExpirationTime: began + 1800 + 86400,
		PartnerLifetime: began + 3600, // at least what the client holds, to be told at need
	}
	if got := s.t.Get(p); *got != want {
		t.Fatalf("stored\n%+v\nwant\n%+v", *got, want)
	}

	s.keepAlive(60 * second)
	second := s.update("2001:db8::1", "ann", lease.Active)
	only(second).StartTimeOfState = some(began - 1000)
	only(second).PartnerRawCLT, only(second).Expiration = some(began-300), some(began+9000) // one older, one newer
	s.say(second)
	want.Expires, want.HeldUntil = began+60+3600, began+60+3600
	want.PartnerRawCLT, want.ExpirationTime, want.PartnerLifetime = began+60, began+60+1800+86400, began+9000
	if got := s.t.Get(p); *got != want {
		t.Fatalf("stored\n%+v\nwant\n%+v", *got, want)
	}

	bare := s.bare("2001:db8:8000:200::/56", lease.FreeBackup)
	bare.Prefix.StartTimeOfState = some(began + 50)
	s.say(bare)
	p = prefix("2001:db8:8000:200::/56")
	want = lease.Binding{Prefix: p, IA: lease.IA{Link: "lan", Type: lease.IAPD}, Status: lease.FreeBackup, StartOfState: began + 50}
	if got := s.t.Get(p); got == nil || *got != want {
		t.Fatalf("stored\n%+v\nwant\n%+v", got, want)
	}
	s.whole()
}

// F-257, F-264, F-267: of an update with several leases each has its own fate, and
// the rest of the answer says nothing about it.
func TestReplyLeaseByLease(t *testing.T) {
	s := newScene(t, lease.Secondary, nil)
	s.reach(Normal)
	m := s.update("2001:db8::1", "ann", lease.Active)
	foreign, good := *only(m), *only(m)
	foreign.Prefix, good.Prefix = prefix("2001:db9::1"), prefix("2001:db8::3")
	m.ClientData.IAs[0].Leases = append(m.ClientData.IAs[0].Leases, foreign)
	m.ClientData.IAs = append(m.ClientData.IAs, wire.IA{Type: lease.IANA, IAID: 2, Leases: []wire.LeaseOption{good}})
	s.heard = nil
	s.say(m)
	r := one[*wire.BndReply](s)
	var codes []wire.StatusCode
	for _, ia := range r.ClientData.IAs {
		if ia.Status.Present() {
			t.Errorf("IA %d has a status", ia.IAID)
		}
		for _, l := range ia.Leases {
			codes = append(codes, value(l.Status).Code)
			if l.Status.Present() && value(l.Status).Code == wire.Success {
				t.Errorf("%v has a status for nothing", l.Prefix)
			}
		}
	}
	if want := []wire.StatusCode{wire.Success, wire.ConfigurationConflict, wire.Success}; !slices.Equal(codes, want) || r.ClientData.Status.Present() {
		t.Errorf("codes %v, want %v", codes, want)
	}
	if s.t.Len() != 2 {
		t.Errorf("%d leases stored", s.t.Len())
	}
}

// F-243 to F-246, Q-56, P-11: after a refusal as outdated the partner is told what
// is known here, once, and after the answer; not if it is going to be told anyway.
func TestOutdatedIsAnswered(t *testing.T) {
	s := newScene(t, lease.Secondary, nil)
	s.reach(CommunicationsInterrupted)
	s.give("2001:db8::2", "ann", 3600)
	s.meet(Normal)
	s.say(one[*wire.BndUpd](s).Reply())
	s.keepAlive(20 * second)
	s.give("2001:db8::2", "ann", 3600)
	s.pass(0)
	s.say(one[*wire.BndUpd](s).Reply())
	if n := s.e.Status().Unconfirmed; n != 0 {
		t.Fatalf("%d changes to tell", n)
	}

	stale := s.update("2001:db8::2", "ann", lease.Expired)
	only(stale).CLTTime = wire.Some[uint32](1000)
	s.say(stale)
	s.pass(0)
	if heard := types(s.heard); !slices.Equal(heard, []string{"BNDREPLY", "BNDUPD"}) { // in this order
		t.Fatalf("it sends %v", heard)
	}
	if r := s.heard[0].(*wire.BndReply); value(only(r).Status).Code != wire.OutdatedBindingInformation {
		t.Fatalf("refused with %v", only(r).Status)
	}
	own := s.heard[1].(*wire.BndUpd)
	if value(only(own).BindingStatus) != lease.Active {
		t.Errorf("it insists on %v", only(own).BindingStatus)
	}

	s.heard = nil
	stale.TransactionID++
	s.say(stale) // again, while that is on its way
	s.pass(0)
	if heard := types(s.heard); !slices.Equal(heard, []string{"BNDREPLY"}) {
		t.Errorf("it sends %v", heard)
	}
	s.say(own.Reply())
	if n := s.e.Status().Unconfirmed; n != 0 {
		t.Errorf("%d changes to tell", n)
	}
}

// F-246: two servers, each of which finds the other outdated, do not talk about it
// for ever.
func TestStubbornPartner(t *testing.T) {
	s := newScene(t, lease.Secondary, nil)
	s.reach(CommunicationsInterrupted)
	s.give("2001:db8::2", "ann", 86400)
	s.meet(Normal)
	updates := 0
	for range 60 { // an hour
		for _, m := range all[*wire.BndUpd](s) {
			updates++
			s.say(refusing(m, wire.OutdatedBindingInformation))
			s.pass(0)
			stale := s.update("2001:db8::2", "ann", lease.Expired)
			only(stale).CLTTime = wire.Some[uint32](100_000)
			s.say(stale)
		}
		s.keepAlive(60 * second)
	}
	if updates < 5 || updates > 20 {
		t.Errorf("%d updates in an hour", updates)
	}
}

// answers are what a partner can make of one update with two leases, each with
// what becomes of the two.
var answers = []struct {
	name   string
	change func(*wire.BndReply)
	acked  [2]bool
}{
	{"yes", func(r *wire.BndReply) {}, [2]bool{true, true}},
	{"no to the update", func(r *wire.BndReply) { r.ClientData.Status = no }, [2]bool{}},                            // F-266
	{"no to the message", func(r *wire.BndReply) { r.Status, r.ClientData = no, nil }, [2]bool{}},
	{"no to the association", func(r *wire.BndReply) { r.ClientData.IAs[0].Status = no }, [2]bool{}},                // F-268
	{"no to one lease", func(r *wire.BndReply) { r.ClientData.IAs[0].Leases[0].Status = no }, [2]bool{false, true}}, // F-267
	{"no word about one", func(r *wire.BndReply) { r.ClientData.IAs[0].Leases = r.ClientData.IAs[0].Leases[1:] }, [2]bool{false, true}},
	{"Success everywhere", func(r *wire.BndReply) { // F-269
		r.Status, r.ClientData.Status, r.ClientData.IAs[0].Status, r.ClientData.IAs[0].Leases[0].Status = yes, yes, yes, yes
	}, [2]bool{true, true}},
	{"Success around a no", func(r *wire.BndReply) {
		r.ClientData.Status, r.ClientData.IAs[0].Leases[0].Status = yes, no
	}, [2]bool{false, true}},
	{"a no around Success", func(r *wire.BndReply) {
		r.ClientData.Status, r.ClientData.IAs[0].Leases[0].Status = no, yes
	}, [2]bool{}},
	{"nothing at all", func(r *wire.BndReply) { r.ClientData = nil }, [2]bool{}},
	{"another association", func(r *wire.BndReply) { r.ClientData.IAs[0].IAID = 99 }, [2]bool{}},
}

var (
	yes = wire.Some(wire.Status{Text: "why not"})
	no  = wire.Some(wire.Status{Code: wire.OutdatedBindingInformation, Text: "no"})
)

// F-157, F-266 to F-272: what each answer of a partner does. A refusal is only
// remembered: nothing about the lease changes.
func TestReplyReceived(t *testing.T) {
	for _, c := range answers {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, lease.Primary, nil)
			s.reach(CommunicationsInterrupted)
			before := [2]*lease.Binding{s.give("2001:db8::1", "ann", 600), s.give("2001:db8::3", "ann", 600)}
			s.meet(Normal)
			r := one[*wire.BndUpd](s).Reply()
			c.change(r)
			s.say(r)
			for i, b := range before {
				want := *b
				if c.acked[i] {
					want.AckedPartnerLifetime, want.Change = b.PartnerLifetime, 0
				}
				if got := s.t.Get(b.Prefix); *got != want {
					t.Errorf("lease %d is\n%+v\nwant\n%+v", i, *got, want)
				}
			}
			rejected := 0
			for _, acked := range c.acked {
				if !acked {
					rejected++
				}
			}
			if n := s.count(trace.FailoverUpdateRejected); n != rejected {
				t.Errorf("%d rejections told, want %d", n, rejected)
			}
			s.whole()
			s.heard = nil
			s.keepAlive(2 * scanEvery)
			if resent := len(all[*wire.BndUpd](s)) > 0; resent != (rejected > 0) { // F-272
				t.Errorf("sent again: %v", resent)
			}
		})
	}
}

// F-271, Q-41: the lifetime that counts is the one the partner repeats, but never
// more than it was told.
func TestAckedLifetime(t *testing.T) {
	for echoed, want := range map[lease.Time]lease.Time{0: 300 + 600, -100: 300 + 500, 1000: 300 + 600} {
		s := newScene(t, lease.Primary, nil)
		s.reach(CommunicationsInterrupted)
		b := s.give("2001:db8::1", "ann", 600)
		given := s.now.Wall
		s.meet(Normal)
		r := one[*wire.BndUpd](s).Reply()
		only(r).PartnerLifetimeSent = some(b.PartnerLifetime + echoed)
		s.say(r)
		if got := s.t.Get(b.Prefix).AckedPartnerLifetime; got != given+want {
			t.Errorf("echo %+d: acked %v, want %v", echoed, got-given, want)
		}
	}
}

// F-165, F-173, F-187, F-188, F-274, F-275, Q-34, Q-35: what becomes of an ended lease when the partner
// agrees, by whose it is; until then nobody gets it.
func TestEndIsConfirmed(t *testing.T) {
	for p, want := range map[string]lease.Status{
		"2001:db8::1":            lease.Free,
		"2001:db8::2":            lease.FreeBackup,
		"2001:db8:8000:100::/56": lease.Free,
	} {
		for _, role := range roles {
			for _, how := range []lease.Status{lease.Released, lease.Expired, lease.Reset} {
				s := newScene(t, role, nil)
				s.reach(Normal)
				s.say(s.update(p, "ann", lease.Active)) // the partner's client
				s.keepAlive(20 * second)
				s.heard = nil
				s.end(p, how)
				for _, who := range []string{"ann", "bob"} { // before it is sent
					_, err := s.grant(prefix(p), who, 60)
					back := who == "ann" && how != lease.Reset
					if (err == nil) != back { // L-14
						t.Errorf("%v: %v %v goes to %s: %v", role, p, how, who, err)
					}
					if err == nil {
						s.keepAlive(20 * second)
						s.end(p, how)
					}
				}
				s.heard = nil
				s.pass(0)
				list := all[*wire.BndUpd](s)
				m := list[len(list)-1]
				for _, who := range []string{"ann", "bob"} { // while it is on its way
					if _, err := s.grant(prefix(p), who, 60); err == nil {
						t.Errorf("%v: %v %v goes to %s before the partner agrees", role, p, how, who)
					}
				}
				s.say(m.Reply())
				b := s.t.Get(prefix(p))
				if b.Status != want || b.Change != 0 || b.PartnerLifetime != 0 || b.AckedPartnerLifetime != 0 || b.ExpirationTime != 0 {
					t.Errorf("%v: %v %v becomes %+v, want %v", role, p, how, b, want)
				}
				_, err := s.grant(prefix(p), "bob", 60)
				if ours := want == role.Available(); (err == nil) != ours {
					t.Errorf("%v: %v %v can be given away: %v", role, p, how, err)
				}
			}
		}
	}
}

// F-274, Q-35: the server that agrees frees its copy too, in the same step.
func TestEndIsAccepted(t *testing.T) {
	for p, want := range map[string]lease.Status{"2001:db8::1": lease.Free, "2001:db8::2": lease.FreeBackup, "2001:db8:8000:100::/56": lease.Free} {
		for _, role := range roles {
			s := newScene(t, role, nil)
			s.reach(Normal)
			s.say(s.update(p, "ann", lease.Active))
			s.keepAlive(20 * second)
			m := s.update(p, "ann", lease.Released)
			s.heard = nil
			s.say(m)
			if r := one[*wire.BndReply](s); value(only(r).BindingStatus) != lease.Released || only(r).Status.Present() { // F-261
				t.Errorf("answer %+v", only(r))
			}
			if b := s.t.Get(prefix(p)); b.Status != want || b.StartOfState != s.now.Wall {
				t.Errorf("%v: %v becomes %v, want %v", role, p, b.Status, want)
			}
		}
	}
}

// an answer to an older update confirms nothing newer; the newer one is sent
// and confirmed by itself.
func TestLateAnswer(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(Normal)
	s.give("2001:db8::1", "ann", 86400)
	s.pass(0)
	older := one[*wire.BndUpd](s)
	s.keepAlive(10 * second)
	s.heard = nil
	newer := s.give("2001:db8::1", "ann", 86400)
	s.pass(0)
	again := one[*wire.BndUpd](s)
	s.say(older.Reply())
	b := s.t.Get(newer.Prefix)
	if b.Change != newer.Change || b.AckedPartnerLifetime == 0 {
		t.Fatalf("after the answer to the older update: %+v", b)
	}
	s.say(again.Reply())
	if b := s.t.Get(newer.Prefix); b.Change != 0 || b.AckedPartnerLifetime != newer.PartnerLifetime {
		t.Errorf("after both: %+v", b)
	}
}

// when an update that was refused is tried again. Some reasons do not go
// away by waiting; they are tried on the next connection.
func TestRefusedUpdateIsRetried(t *testing.T) {
	for code, want := range map[wire.StatusCode][]time.Duration{
		wire.AddressInUse:               {60, 180, 420, 900, 1500, 2100},
		wire.OutdatedBindingInformation: {60, 180, 420, 900, 1500, 2100},
		wire.UnspecFail:                 {60, 180, 420, 900, 1500, 2100},
		wire.ConfigurationConflict:      nil,
		wire.MissingBindingInformation:  nil,
		wire.DNSUpdateNotSupported:      nil,
	} {
		t.Run(code.String(), func(t *testing.T) {
			s := newScene(t, lease.Primary, nil)
			s.reach(CommunicationsInterrupted)
			s.give("2001:db8::1", "ann", 86400)
			s.meet(Normal)
			began := s.now.Mono
			s.say(refusing(one[*wire.BndUpd](s), code))
			var at []time.Duration
			for s.now.Mono < began+2200*second {
				s.keepAlive(second)
				for _, m := range all[*wire.BndUpd](s) {
					at = append(at, (s.now.Mono-began).Round(10*second)/second)
					s.say(refusing(m, code))
				}
			}
			for i := range at { // the scan comes by every minute
				if i >= len(want) || at[i] < want[i] || at[i] > want[i]+60 {
					t.Fatalf("tried again after %v s, want about %v", at, want)
				}
			}
			if len(at) != len(want) && len(at) < len(want)-1 {
				t.Errorf("tried again after %v s, want about %v", at, want)
			}
			s.cut()
			s.meet(Normal)
			s.say(one[*wire.BndUpd](s).Reply())
			if n := s.e.Status().Unconfirmed; n != 0 {
				t.Errorf("%d changes to tell", n)
			}
		})
	}
}

// A retry that is on its way is not sent a second time.
func TestRetryIsSentOnce(t *testing.T) {
	s := newScene(t, lease.Primary, func(c *Config) { c.AckTimeout_s = 3600 })
	s.reach(CommunicationsInterrupted)
	s.give("2001:db8::1", "ann", 86400)
	s.meet(Normal)
	s.say(refusing(one[*wire.BndUpd](s), wire.AddressInUse))
	s.keepAlive(600 * second)
	one[*wire.BndUpd](s) // which nobody answers
}
