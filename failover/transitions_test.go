package failover

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/failover/wire"
)

var roles = []lease.Role{lease.Primary, lease.Secondary}

// lose ends the connection in each of the ways in which one can end.
var lose = map[string]func(s *scene){
	"closed":     func(s *scene) { s.cut() },
	"silence":    func(s *scene) { s.pass(KeepaliveDefault_s * second) },
	"disconnect": func(s *scene) { s.say(&wire.Disconnect{Header: s.header()}) },
	"rubbish":    func(s *scene) { s.sayBytes([]byte{byte(wire.TypeState), 0, 0}) },
	"replaced": func(s *scene) {
		if s.cfg.Role == lease.Secondary {
			s.accept(s.connectMessage())
		} else {
			s.cut()
		}
	},
}

// T-15, T-20, T-25, T-32, T-35, T-36, T-54, T-59: what a loss of communications
// does. F-308, F-323, F-328, F-329, F-348, F-361.
func TestCommunicationsLost(t *testing.T) {
	after := map[State]State{
		Normal:                    CommunicationsInterrupted,
		CommunicationsInterrupted: CommunicationsInterrupted,
		PartnerDown:               PartnerDown,
		PotentialConflict:         ResolutionInterrupted,
		Recover:                   Recover,
		RecoverWait:               RecoverWait,
		RecoverDone:               RecoverDone,
		ConflictDone:              ConflictDone,
	}
	for _, role := range roles {
		for own, want := range after {
			for how, lost := range lose {
				t.Run(fmt.Sprintf("%v %v %s", role, own, how), func(t *testing.T) {
					s := newScene(t, role, nil)
					s.withPartner(own, 0)
					lost(s)
					s.want(want)
					if s.e.Status().OK {
						t.Error("communications are OK")
					}
					alarms := s.count(trace.FailoverInterrupted) + s.count(trace.FailoverUnresolved)
					if wantAlarm := own != want; wantAlarm != (alarms == 1) { // T-41, T-55
						t.Errorf("%d alarms", alarms)
					}
				})
			}
		}
	}
}

// F-332, F-353: the operator hears of it when NORMAL or POTENTIAL-CONFLICT ends
// by a loss of communications, and only then.
func TestAlarms(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(CommunicationsInterrupted) // it was so before the restart
	if n := s.count(trace.FailoverInterrupted); n != 0 {
		t.Errorf("%d alarms after a restart", n)
	}
	s.meet(Normal)
	s.cut()
	if n := s.count(trace.FailoverInterrupted); n != 1 {
		t.Errorf("%d alarms after NORMAL", n)
	}
	s.meet(PotentialConflict)
	s.cut()
	if n := s.count(trace.FailoverUnresolved); n != 1 {
		t.Errorf("%d alarms after POTENTIAL-CONFLICT", n)
	}
	for _, e := range s.events {
		if (e.ID == trace.FailoverInterrupted || e.ID == trace.FailoverUnresolved) && e.ID.Level() < trace.Warning {
			t.Errorf("%v is not worth a warning", e)
		}
	}
}

// F-285, F-287, Q-07: how a server starts that has a record (T-01, T-03). The
// state that the connection ended is not what it goes back to, and the state
// that follows began when the server stopped. That is on disk before anybody
// hears of it.
func TestStartWithRecord(t *testing.T) {
	for was, want := range map[State]State{
		Normal: CommunicationsInterrupted, CommunicationsInterrupted: CommunicationsInterrupted, PartnerDown: PartnerDown,
		PotentialConflict: ResolutionInterrupted, ResolutionInterrupted: ResolutionInterrupted, ConflictDone: ConflictDone,
		Recover: Recover, RecoverWait: RecoverWait, RecoverDone: RecoverDone,
	} {
		s := newScene(t, lease.Primary, nil)
		r := lived(was)
		s.wakeUp(r)
		since := r.Since
		if want != was {
			since = r.Stamp
		}
		if s.want(Startup); s.e.record.State != want || s.e.record.Since != since {
			t.Errorf("%v becomes %v since %v, want %v since %v", was, s.e.record.State, s.e.record.Since, want, since)
		}
		if s.e.failed != r.Stamp {
			t.Errorf("%v: TIME-OF-FAILURE %v, want %v", was, s.e.failed, r.Stamp)
		}
		s.pass(StartupDefault_s * second)
		if s.want(want); s.e.record.Since != since {
			t.Errorf("%v goes on since %v, want %v", was, s.e.record.Since, since)
		}
	}
}

// F-281, F-285, Q-06: a server without a record starts as RECOVER, whatever its
// role (T-02). It does not know when it failed.
func TestStartWithoutRecord(t *testing.T) {
	for _, role := range roles {
		s := newScene(t, role, nil)
		s.boot()
		s.want(Startup)
		if r := s.e.record; r.State != Recover || r.Previous != 0 || r.Since != start || r.Partner != 0 || r.LastMessage != 0 || r.Communicated || s.e.failed != 0 {
			t.Errorf("%v: record %+v, failed %v", role, r, s.e.failed)
		}
		s.pass(StartupDefault_s*second - 1)
		s.want(Startup)
		s.pass(1) // T-09
		s.want(Recover)
		s.pass(time.Hour * 100) // nobody tells it that there is no partner
		s.want(Recover)
	}
}

// F-282, F-286, F-288, F-289, F-293: STARTUP ends when its time is over (T-09),
// in PARTNER-DOWN if the operator wants that of a server commissioned before its
// partner (T-10). 30 seconds give a slow partner time to accept.
func TestStartupEnds(t *testing.T) {
	for name, c := range map[string]struct {
		startup_s uint32
		down      bool
		want      State
	}{
		"default":                {0, false, CommunicationsInterrupted},
		"short":                  {1, false, CommunicationsInterrupted},
		"long":                   {600, false, CommunicationsInterrupted},
		"to PARTNER-DOWN":        {0, true, PartnerDown},
		"to PARTNER-DOWN, short": {2, true, PartnerDown},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, lease.Secondary, func(c2 *Config) { c2.Startup_s, c2.StartupPartnerDown = c.startup_s, c.down })
			s.reach(Startup)
			if s.e.Serves() != Unresponsive {
				t.Error("STARTUP answers clients")
			}
			length := time.Duration(s.e.cfg.Startup_s) * second
			if length < 10*second && c.startup_s == 0 {
				t.Errorf("the default of %v is too short for a busy partner", length)
			}
			s.pass(length - 1)
			s.want(Startup)
			s.pass(1)
			s.want(c.want)
		})
	}
	t.Run("contact", func(t *testing.T) { // T-10 is for a server that meets nobody
		s := newScene(t, lease.Secondary, func(c *Config) { c.StartupPartnerDown = true })
		s.reach(Startup)
		s.pass(25 * second)
		s.connect()
		s.pass(4 * second)
		s.state(Normal, 0)
		s.want(Normal)
	})
}

// T-04: the primary tries to connect from the beginning, the secondary never
// does. F-057, F-067.
func TestWhoConnects(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.boot()
	if !s.asked {
		t.Error("the primary does not connect")
	}
	s = newScene(t, lease.Secondary, nil)
	s.boot()
	s.pass(time.Hour)
	if s.asked {
		t.Error("the secondary connects")
	}
}

// F-302, F-305, F-306, F-313, Q-11: what a server in RECOVER asks for (T-17,
// T-18), by what both remember. Only if its partner remembers it and it does not
// remember its partner has it lost its storage.
func TestRecoverAsks(t *testing.T) {
	for _, c := range []struct {
		own, partner bool
		all          bool
		virgin       bool
	}{
		{false, false, false, true},
		{false, true, true, false},
		{true, false, false, false},
		{true, true, false, false},
	} {
		for _, role := range roles {
			t.Run(fmt.Sprintf("%v own %v partner %v", role, c.own, c.partner), func(t *testing.T) {
				s := newScene(t, role, nil)
				if c.own {
					s.wakeUp(lived(Recover))
				} else {
					s.boot()
				}
				s.connect()
				if flag := has(one[*wire.State](s), wire.FlagCommunicated); flag != c.own { // F-047
					t.Errorf("COMMUNICATED is %v", flag)
				}
				var flags wire.ServerFlags
				if c.partner {
					flags = wire.FlagCommunicated
				}
				s.say(&wire.State{Header: s.header(), ServerState: wire.Some(CommunicationsInterrupted), Flags: wire.Some(flags), StartTime: wire.Some(wire.At(start, start))})
				s.want(Recover)
				if heard := s.heard; len(all[*wire.UpdReqAll](s)) == 1 != c.all {
					t.Errorf("it sent %v", types(heard))
				}
				if s.count(trace.FailoverStorageLost) == 1 != c.all {
					t.Error("the operator hears nothing of the loss, or of one that was none")
				}
				if s.e.record.Virgin != c.virgin {
					t.Errorf("never ran before: %v", s.e.record.Virgin)
				}
			})
		}
	}
}

// recovering has the server ask its partner for updates, and returns the request.
func (s *scene) recovering() *wire.UpdReq {
	s.Helper()
	s.wakeUp(lived(Recover))
	s.meet(Normal)
	return one[*wire.UpdReq](s)
}

// F-307, F-308, F-309: RECOVER ends with the UPDDONE for its request (T-19). A
// connection that is lost makes it ask again (T-20); a partner that stays silent
// is cut off (T-21), but not one that sends updates.
func TestRecoverProgress(t *testing.T) {
	for _, role := range roles {
		s := newScene(t, role, nil)
		req := s.recovering()
		s.say(&wire.UpdDone{Header: s.header()}) // not for this request
		s.want(Recover)
		s.say(&wire.UpdDone{Header: answering(req)})
		s.want(RecoverWait)

		s = newScene(t, role, nil)
		s.recovering()
		s.cut()
		s.want(Recover)
		s.meet(CommunicationsInterrupted)
		s.say(&wire.UpdDone{Header: answering(one[*wire.UpdReq](s))})
		s.want(RecoverWait)

		s = newScene(t, role, nil)
		s.recovering()
		for range 5 { // a slow partner
			s.keepAlive(UpdDoneDefault_s*second - 1)
			s.say(s.bare("2001:db8:8000:100::/56", lease.FreeBackup))
		}
		s.want(Recover)
		s.keepAlive(UpdDoneDefault_s*second - 1)
		if s.conn == 0 {
			t.Fatal("cut off too early")
		}
		s.heard = nil
		s.pass(1)
		if d := one[*wire.Disconnect](s); value(d.Status).Code != wire.UnspecFail || s.conn != 0 {
			t.Errorf("a silent partner is told %v", d.Status)
		}
		s.want(Recover)
	}
}

// F-311, F-312, F-314, F-315, Q-08: how long RECOVER-WAIT lasts (T-22 to T-25).
// It ends one MCLT after the server failed, or after it started if nobody knows
// when that was, whether the partner is there or not.
func TestRecoverWait(t *testing.T) {
	for name, c := range map[string]struct {
		record  record
		passed  time.Duration // since its last operation, when it starts
		partner wire.ServerFlags
		want    time.Duration // from the start on
	}{
		"failed long ago":       {lived(Recover), 2 * time.Hour, wire.FlagCommunicated, 0},
		"failed a while ago":    {lived(Recover), 1000 * second, wire.FlagCommunicated, 2590 * second},
		"failed just now":       {lived(Recover), 0, wire.FlagCommunicated, 3590 * second},
		"lost its storage":      {record{}, 0, wire.FlagCommunicated, 3600 * second},
		"never ran before":      {record{}, 0, 0, 0},
		"crashed in the wait":   {lived(RecoverWait), 1000 * second, wire.FlagCommunicated, 2590 * second},
		"after a longer MCLT":   {longerMCLT(), 1000 * second, wire.FlagCommunicated, 6190 * second},
		"lost it, crashed then": {lostBefore(), 1000 * second, wire.FlagCommunicated, 3600 * second},
	} {
		for _, role := range roles {
			for _, alone := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %v, alone %v", name, role, alone), func(t *testing.T) {
					s := newScene(t, role, nil)
					s.now.Wall += lease.Time(c.passed / second)
					if c.record.State == 0 {
						s.boot()
					} else {
						s.wakeUp(c.record)
					}
					began := s.now.Mono
					s.connect()
					s.say(&wire.State{Header: s.header(), ServerState: wire.Some(CommunicationsInterrupted), Flags: wire.Some(c.partner), StartTime: wire.Some(wire.At(start, start))})
					if s.e.state == Recover {
						req := s.heard[len(s.heard)-1]
						s.say(&wire.UpdDone{Header: answering(req)})
					}
					if c.want == 0 {
						s.want(RecoverDone)
						return
					}
					s.want(RecoverWait)
					if s.e.Serves() != Unresponsive { // F-310
						t.Error("RECOVER-WAIT answers clients")
					}
					if alone {
						s.cut()
					}
					s.keepAlive(began + c.want - s.now.Mono - 1)
					s.want(RecoverWait)
					s.pass(1)
					s.want(RecoverDone) // T-31: until the partner has left COMMUNICATIONS-INTERRUPTED
					if !alone {
						s.state(Normal, 0)
						s.want(Normal)
					}
				})
			}
		}
	}
}

// longerMCLT is the record of a server whose MCLT was made shorter.
func longerMCLT() record {
	r := lived(Recover)
	r.FormerMCLT_s, r.FormerUntil = 7200, start+7200
	return r
}

// lostBefore is the record of a server that was asking for everything, or had
// just got it, when it crashed.
func lostBefore() record {
	r := lived(Recover)
	r.Loss = lossPromises
	return r
}

// F-294, F-331, F-339, Q-21: auto-partner-down runs in COMMUNICATIONS-INTERRUPTED
// while the partner is away (T-40, T-43), in full again after each loss and each
// restart. By default there is none.
func TestAutoPartnerDown(t *testing.T) {
	const length = 600 * second
	automatic := func(c *Config) { c.AutoPartnerDown_s = 600 }
	for _, role := range roles {
		s := newScene(t, role, nil)
		s.reach(Normal)
		s.cut()
		s.pass(1000 * time.Hour)
		s.want(CommunicationsInterrupted)

		s = newScene(t, role, automatic)
		s.reach(Normal)
		s.keepAlive(2 * length)
		s.want(Normal)
		s.cut()
		s.pass(length - 1)
		s.want(CommunicationsInterrupted)
		s.pass(1)
		s.want(PartnerDown)

		s = newScene(t, role, automatic)
		s.reach(Normal)
		s.cut()
		s.pass(length - 1)
		s.meet(Recover) // it is there: no reason to think it down
		s.keepAlive(2 * length)
		s.want(CommunicationsInterrupted)
		s.cut()
		s.pass(length - 1)
		s.want(CommunicationsInterrupted)
		s.pass(1)
		s.want(PartnerDown)

		s = newScene(t, role, automatic)
		s.reach(CommunicationsInterrupted) // restarted
		s.pass(length - 1)
		s.want(CommunicationsInterrupted)
		s.pass(1)
		s.want(PartnerDown)

		s = newScene(t, role, automatic)
		s.reach(Startup)
		s.connect()
		s.state(Recover, 0) // straight from STARTUP, in contact
		s.want(CommunicationsInterrupted)
		s.keepAlive(2 * length)
		s.want(CommunicationsInterrupted)
	}
}

// F-317, F-349, F-350, F-351: UPDDONE ends POTENTIAL-CONFLICT (T-51, T-53), the primary's
// in CONFLICT-DONE, the secondary's in NORMAL.
func TestConflictResolved(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(PotentialConflict)
	s.say(&wire.UpdDone{Header: answering(one[*wire.UpdReq](s))})
	s.want(ConflictDone)
	if s.e.Serves() != Responsive { // F-360
		t.Error("CONFLICT-DONE does not answer clients")
	}
	s.state(Normal, 0)
	s.want(Normal)

	s = newScene(t, lease.Secondary, nil)
	s.reach(PotentialConflict)
	if n := len(all[*wire.UpdReq](s)); n != 0 { // F-347
		t.Errorf("the secondary asks before the primary is done")
	}
	s.state(ConflictDone, 0)
	s.say(&wire.UpdDone{Header: answering(one[*wire.UpdReq](s))}) // F-352
	s.want(Normal)
}

// F-346, F-347: a server that comes to POTENTIAL-CONFLICT while an older request
// of its own is under way begins anew: what the partner sent for that one is not
// all that it knew when it stopped serving.
func TestConflictBeginsAnew(t *testing.T) {
	for _, role := range roles {
		s := newScene(t, role, nil)
		old := s.recovering()
		s.state(PotentialConflict, 0) // T-16
		s.want(PotentialConflict)
		fresh := all[*wire.UpdReq](s)
		if asks := role == lease.Primary; len(fresh) == 1 != asks {
			t.Errorf("%v: %d new requests", role, len(fresh))
		}
		s.say(&wire.UpdDone{Header: answering(old)})
		s.want(PotentialConflict)
	}
}

// POTENTIAL-CONFLICT does not last for ever with a partner that does
// nothing (T-62), but it lasts as long as there is progress.
func TestConflictStalls(t *testing.T) {
	progress := map[string]func(s *scene, n int){
		"BNDUPD":    func(s *scene, _ int) { s.say(s.bare("2001:db8:8000:100::/56", lease.FreeBackup)) },
		"UPDREQ":    func(s *scene, _ int) { s.say(&wire.UpdReq{Header: s.header()}) },
		"UPDREQALL": func(s *scene, _ int) { s.say(&wire.UpdReqAll{Header: s.header()}) },
		"STATE":     func(s *scene, _ int) { s.state(s.e.record.Partner, 0) },
	}
	for _, role := range roles {
		for what, happens := range progress {
			t.Run(fmt.Sprintf("%v %s", role, what), func(t *testing.T) {
				s := newScene(t, role, nil)
				s.reach(PotentialConflict)
				for n := range 5 {
					s.keepAlive(UpdDoneDefault_s*second - 1)
					happens(s, n)
				}
				s.keepAlive(UpdDoneDefault_s*second - 1)
				s.want(PotentialConflict)
				s.heard = nil
				s.pass(1)
				if d := one[*wire.Disconnect](s); value(d.Status).Code != wire.UnspecFail {
					t.Errorf("it says %v", d.Status)
				}
				s.want(ResolutionInterrupted)
			})
		}
	}
}

// answers to the updates that the partner asked for are progress too.
func TestConflictSlowAnswers(t *testing.T) {
	s := newScene(t, lease.Secondary, nil)
	s.reach(CommunicationsInterrupted)
	for n := range 5 {
		s.give(fmt.Sprintf("2001:db8::%d", 2+2*n), fmt.Sprint("client", n), 3600)
	}
	m := s.connectMessage()
	m.MaxUnackedBndUpd = wire.Some[uint32](1)
	s.accept(m)
	s.state(PotentialConflict, 0)
	s.say(&wire.UpdReq{Header: s.header()})
	for range 5 {
		m := one[*wire.BndUpd](s)
		s.keepAlive(60 * second)
		s.say(m.Reply())
	}
	s.want(PotentialConflict)
	one[*wire.UpdDone](s)
}

// Q-18, F-295, F-296, F-299, F-300, F-301: PARTNER-DOWN through the return of the partner.
func TestPartnerReturns(t *testing.T) {
	for _, role := range roles {
		s := newScene(t, role, nil)
		s.reach(PartnerDown)
		s.connect()
		s.state(Recover, wire.FlagStartup) // T-11
		s.want(PartnerDown)
		for _, partner := range []State{Recover, RecoverWait} { // T-13
			s.state(partner, 0)
			if s.want(PartnerDown); s.e.Serves() != Responsive {
				t.Error("PARTNER-DOWN does not answer clients")
			}
		}
		s.state(RecoverDone, 0) // T-14
		s.want(Normal)
	}
}

// F-340, F-358, Q-20, Q-17, Q-73: what the operator can order in which state.
func TestOperator(t *testing.T) {
	const no = State(0) // refused
	type orders struct{ down, force, resync State }
	alone := map[State]orders{
		Startup:                   {no, no, no},
		CommunicationsInterrupted: {PartnerDown, PartnerDown, Recover}, // T-44
		PartnerDown:               {no, no, Recover},
		ResolutionInterrupted:     {PartnerDown, PartnerDown, no}, // T-56
		ConflictDone:              {no, PartnerDown, no},
		Recover:                   {no, PartnerDown, no},
		RecoverWait:               {no, PartnerDown, Recover},
		RecoverDone:               {no, PartnerDown, Recover},
	}
	connected := map[State]orders{
		Normal:                    {no, PotentialConflict, Recover}, // T-34, and what the partner makes of it
		CommunicationsInterrupted: {no, no, Recover},
		PartnerDown:               {no, no, Recover},
		PotentialConflict:         {no, no, no},
		ConflictDone:              {no, no, no},
		Recover:                   {no, no, no},
		RecoverWait:               {no, no, Recover},
		RecoverDone:               {no, no, Recover},
	}
	check := func(t *testing.T, reach func(*scene), c Command, own, want State) {
		for _, role := range roles {
			s := newScene(t, role, nil)
			reach(s)
			err := s.order(c)
			if want == no {
				want := own
				if s.want(want); !errors.Is(err, ErrRefused) {
					t.Errorf("%v: command %d is not refused: %v", role, c, err)
				}
				continue
			}
			if s.want(want); err != nil {
				t.Errorf("%v: %v", role, err)
			}
		}
	}
	for where, table := range map[string]map[State]orders{"alone": alone, "connected": connected} {
		for own, o := range table {
			reach := func(s *scene) { s.reach(own) }
			if where == "connected" {
				reach = func(s *scene) { s.withPartner(own, 0) }
			}
			t.Run(fmt.Sprintf("%v %s", own, where), func(t *testing.T) {
				check(t, reach, SetPartnerDown, own, o.down)
				check(t, reach, SetPartnerDownForce, own, o.force)
				check(t, reach, Resync, own, o.resync)
			})
		}
	}
}

// F-327, Q-20: PARTNER-DOWN follows at once from NORMAL (T-34), but only if the
// operator insists: a partner that is there will not accept it.
func TestPartnerDownFromNormal(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(Normal)
	if err := s.order(SetPartnerDown); !errors.Is(err, ErrRefused) {
		t.Errorf("not refused: %v", err)
	}
	s.heard, s.turns = nil, nil
	if err := s.order(SetPartnerDownForce); err != nil {
		t.Fatal(err)
	}
	s.wantWay(Normal, way{PartnerDown, PotentialConflict})
}

// Every refusal tells the operator what stands in the way.
func TestRefusalsExplain(t *testing.T) {
	seen := map[string]bool{}
	for own := Startup; own <= ConflictDone; own++ {
		for _, c := range []Command{SetPartnerDown, SetPartnerDownForce, Resync} {
			s := newScene(t, lease.Primary, nil)
			s.reach(own)
			if err := s.order(c); err != nil {
				seen[err.Error()] = true
			}
		}
	}
	want := []string{
		"refused: in CONFLICT-DONE this server asks its partner anyway, or is not ready to",
		"refused: in POTENTIAL-CONFLICT this server asks its partner anyway, or is not ready to",
		"refused: in RECOVER this server asks its partner anyway, or is not ready to",
		"refused: in RESOLUTION-INTERRUPTED this server asks its partner anyway, or is not ready to",
		"refused: in STARTUP this server asks its partner anyway, or is not ready to",
		"refused: not in STARTUP, wait until it has ended",
		"refused: the partner is connected and in step; cut it off first, or force it",
		"refused: the partner is connected, in RESOLUTION-INTERRUPTED",
		"refused: this server is in CONFLICT-DONE and may not know all that its partner promised; force it if the partner is gone for good",
		"refused: this server is in PARTNER-DOWN already",
		"refused: this server is in RECOVER and may not know all that its partner promised; force it if the partner is gone for good",
		"refused: this server is in RECOVER-DONE and may not know all that its partner promised; force it if the partner is gone for good",
		"refused: this server is in RECOVER-WAIT and may not know all that its partner promised; force it if the partner is gone for good",
	}
	var got []string
	for text := range seen {
		got = append(got, text)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("refusals:\n%q\nwant\n%q", got, want)
	}
}

// RECOVER-WAIT ends, even if the partner goes on serving meanwhile and its clients
// come and go: what they let go of since this server came back, it cannot have
// promised without the partner's knowing.
func TestRecoverWaitEnds(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.boot()
	s.meet(CommunicationsInterrupted)
	for n := range 20 { // clients of the partner
		s.say(s.update(fmt.Sprintf("2001:db8::%x", 2+2*n), fmt.Sprint("client", n), lease.Active))
	}
	s.say(&wire.UpdDone{Header: answering(one[*wire.UpdReqAll](s))})
	s.want(RecoverWait)
	for n := range 20 {
		s.keepAlive(5 * time.Minute)
		s.say(s.update(fmt.Sprintf("2001:db8::%x", 2+2*n), fmt.Sprint("client", n), lease.Released))
	}
	s.want(RecoverDone)
}
