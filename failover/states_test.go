package failover

import (
	"fmt"
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// F-039, F-045, F-048, F-051, F-052, F-127 to F-132, F-283, F-284: what STATE holds, in every state: the state,
// or in STARTUP the one before; since when; in PARTNER-DOWN alone since when the
// partner is down, which is the same.
func TestStateMessage(t *testing.T) {
	for _, role := range roles {
		for st := Startup; st <= ConflictDone; st++ {
			t.Run(fmt.Sprintf("%v %v", role, st), func(t *testing.T) {
				s := newScene(t, role, nil)
				s.reach(st)
				if s.conn == 0 {
					s.connect()
				}
				states := all[*wire.State](s)
				m := states[len(states)-1]
				wantState, wantFlags := st, wire.FlagCommunicated
				if st == Startup {
					wantState, wantFlags = CommunicationsInterrupted, wire.FlagCommunicated|wire.FlagStartup
				}
				since := wire.Some(wire.At(s.e.record.Since, start))
				if m.ServerState != wire.Some(wantState) || m.Flags != wire.Some(wantFlags) || m.StartTime != since {
					t.Errorf("STATE %v %v since %v, want %v %v since %v", m.ServerState, m.Flags, m.StartTime, wantState, wantFlags, since)
				}
				if st == PartnerDown && m.PartnerDownTime != since || st != PartnerDown && m.PartnerDownTime.Present() {
					t.Errorf("STATE %v with partner-down-time %v", st, m.PartnerDownTime)
				}
			})
		}
	}
}

// F-130: the start time of a state is when it was entered.
func TestStartTimeOfState(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(Normal)
	s.pass(7 * second)
	entered := s.clock().Wall
	s.cut()
	s.pass(100 * second)
	s.connect()
	if m := one[*wire.State](s); m.StartTime != wire.Some(wire.At(entered, start)) {
		t.Errorf("since %v, want %v", m.StartTime, entered)
	}
}

// F-046, Q-10: ACK_STARTUP says whether the partner's latest flags had STARTUP.
func TestAckStartup(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(CommunicationsInterrupted)
	s.connect()
	if has(one[*wire.State](s), wire.FlagAckStartup) {
		t.Error("set before any STATE")
	}
	s.state(Normal, wire.FlagStartup)
	s.order(Resync)
	if !has(one[*wire.State](s), wire.FlagAckStartup) {
		t.Error("not set after a STATE with STARTUP")
	}
	s.state(Normal, 0)
	s.heard = nil
	s.state(PotentialConflict, 0)
	if has(one[*wire.State](s), wire.FlagAckStartup) {
		t.Error("set after a STATE without STARTUP")
	}
}

// F-047, Q-11: COMMUNICATED says whether there was an earlier connection with
// this partner on which a STATE came. It does not change while a connection lasts.
func TestCommunicated(t *testing.T) {
	p := newPair(t, nil)
	var flags []string
	watch := func(x *end) {
		send := x.put
		x.put = func(m Send) {
			if st, ok := m.Message.(*wire.State); ok {
				flags = append(flags, fmt.Sprintf("%s%d %v", x.name, m.Conn, has(st, wire.FlagCommunicated)))
			}
			send(m)
		}
	}
	watch(p.a)
	watch(p.b)
	p.together()
	check := func(conn int, want bool) {
		t.Helper()
		if len(flags) < 2 {
			t.Fatalf("too few STATEs: %v", flags)
		}
		for _, f := range flags {
			if f != fmt.Sprintf("a%d %v", conn, want) && f != fmt.Sprintf("b%d %v", conn, want) {
				t.Errorf("STATE %s, want connection %d, %v", f, conn, want)
			}
		}
		flags = nil
	}
	check(1, false)
	p.a.crash()
	p.b.crash()
	p.pass(time.Minute)
	p.a.boot()
	p.b.boot()
	p.pass(time.Minute)
	p.want(Normal, Normal)
	check(2, true)
}

// F-135, F-136, F-137, F-280, Q-09: what a STATE says is remembered, also across a crash;
// the partner-down-time only while the partner is in PARTNER-DOWN.
func TestPartnerRemembered(t *testing.T) {
	s := newScene(t, lease.Secondary, nil)
	s.reach(RecoverDone)
	s.connect()
	down := start - 500
	say := func(st State, flags wire.ServerFlags, since lease.Time) {
		m := &wire.State{Header: s.header(), ServerState: wire.Some(st), Flags: wire.Some(flags), StartTime: wire.Some(wire.At(since, start))}
		if st == PartnerDown {
			m.PartnerDownTime = wire.Some(wire.At(down, start))
		}
		s.say(m)
	}
	check := func(what string, r record, st State, flags wire.ServerFlags, since, down lease.Time) {
		t.Helper()
		if r.Partner != st || r.PartnerFlags != flags || r.PartnerSince != since || r.PartnerDownTime != down || r.LastMessage != s.clock().Wall {
			t.Errorf("%s: %+v", what, r)
		}
	}
	stored := func() record {
		t.Helper()
		r, err := parseRecord(s.disk.record)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	say(PartnerDown, wire.FlagCommunicated, start-400)
	check("PARTNER-DOWN", s.e.record, PartnerDown, wire.FlagCommunicated, start-400, down)
	check("PARTNER-DOWN on disk", stored(), PartnerDown, wire.FlagCommunicated, start-400, down)
	say(CommunicationsInterrupted, wire.FlagCommunicated|wire.FlagAckStartup, start-300)
	check("another state", s.e.record, CommunicationsInterrupted, wire.FlagCommunicated|wire.FlagAckStartup, start-300, 0)
	check("another state on disk", stored(), CommunicationsInterrupted, wire.FlagCommunicated|wire.FlagAckStartup, start-300, 0)

	s.boot()
	check("after a restart", s.e.record, CommunicationsInterrupted, wire.FlagCommunicated|wire.FlagAckStartup, start-300, 0)
	if st := s.e.Status(); st.Partner != CommunicationsInterrupted || st.PartnerSince != start-300 {
		t.Errorf("status %+v", st)
	}
}

// F-303, F-310, F-316, F-326, F-333, F-345, F-354, F-360: which clients are answered in which state.
func TestServes(t *testing.T) {
	for st, want := range map[State][2]Service{ // primary, secondary
		Startup:                   {Unresponsive, Unresponsive},
		Normal:                    {Responsive, RenewResponsive},
		CommunicationsInterrupted: {Responsive, Responsive},
		PartnerDown:               {Responsive, Responsive},
		PotentialConflict:         {Unresponsive, Unresponsive},
		Recover:                   {Unresponsive, Unresponsive},
		RecoverWait:               {Unresponsive, Unresponsive},
		RecoverDone:               {RenewOnly, RenewOnly},
		ResolutionInterrupted:     {Responsive, Responsive},
		ConflictDone:              {Responsive, Responsive}, // a secondary is never in it
	} {
		for i, role := range roles {
			s := newScene(t, role, nil)
			s.reach(st)
			if got := s.e.Serves(); got != want[i] {
				t.Errorf("%v %v: service %d, want %d", role, st, got, want[i])
			}
			_, err := s.grant(prefix(fmt.Sprintf("2001:db8::%d", i+1)), "ann", 60)
			if gives := want[i] == Responsive || want[i] == RenewResponsive; (err == nil) != gives {
				t.Errorf("%v %v: a new lease: %v", role, st, err)
			}
		}
	}
}

// F-338, T-42: COMMUNICATIONS-INTERRUPTED goes on trying to connect.
func TestInterruptedKeepsTrying(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(Normal)
	s.cut()
	for range 10 {
		s.pass(time.Minute)
		if !s.asked {
			t.Fatal("it does not try")
		}
		s.asked = false
		s.do(s.e.DialFailed)
	}
}
