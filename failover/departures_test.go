package failover

import (
	"fmt"
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// These tests are about what RFC 8156 does not say: see DESIGN.md.

// PARTNER-DOWN ends when the partner has confirmed what was promised without
// regard to it. What was promised in contact need only be on its way: the
// MCLT holds for it.
func TestPartnerDownEndsWhenPartnerKnows(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(PartnerDown)
	s.give("2001:db8::1", "ann", 86400)
	s.meet(Recover)
	first := one[*wire.BndUpd](s)
	s.give("2001:db8::3", "bob", 86400)
	s.pass(0)
	s.state(RecoverDone, 0)
	s.want(PartnerDown)
	if s.say(first.Reply()); s.e.state != Normal {
		t.Errorf("in %v when the partner knows", s.e.state)
	}

	s = newScene(t, lease.Primary, nil)
	s.reach(PartnerDown)
	s.give("2001:db8::1", "ann", 86400)
	s.meet(RecoverDone)
	s.want(PartnerDown)
	s.state(RecoverDone, wire.FlagStartup) // it restarts: what it was does not count
	s.say(one[*wire.BndUpd](s).Reply())
	s.want(PartnerDown)
}

// After the partner was in PARTNER-DOWN, RESOLUTION-INTERRUPTED gives no prefixes: the
// partner may have given them to its clients as a last resort.
func TestDispute(t *testing.T) {
	for _, partner := range []State{PartnerDown, CommunicationsInterrupted} {
		s := newScene(t, lease.Primary, nil)
		s.reach(ResolutionInterrupted)
		s.meet(partner)
		s.cut()
		s.want(ResolutionInterrupted)
		_, err := s.grant(delegable(1), "ann", 60)
		if disputed := partner == PartnerDown; (err != nil) != disputed {
			t.Errorf("partner was in %v: %v", partner, err)
		}
		s.boot()
		s.pass(time.Minute)
		if _, err := s.grant(delegable(2), "bob", 60); (err != nil) != (partner == PartnerDown) {
			t.Errorf("after a restart: %v", err)
		}
		if _, err := s.grant(prefix("2001:db8::1"), "ann", 60); err != nil {
			t.Errorf("addresses never change sides: %v", err)
		}
	}
}

// A partner cannot add leases without limit, but goes on telling of those that are
// known.
func TestTableIsFull(t *testing.T) {
	s := newScene(t, lease.Secondary, func(c *Config) { c.LeasesMax = 10 })
	s.reach(Normal)
	for n := range 15 {
		m := s.update(fmt.Sprintf("2001:db8::%x", 1+2*n), fmt.Sprint("client", n), lease.Active)
		s.heard = nil
		s.say(m)
		if code := value(only(one[*wire.BndReply](s)).Status).Code; (code == wire.Success) != (n < 10) {
			t.Errorf("lease %d: %v", n, code)
		}
	}
	s.keepAlive(10 * second)
	s.heard = nil
	s.say(s.update("2001:db8::1", "client0", lease.Active))
	if r := only(one[*wire.BndReply](s)); r.Status.Present() {
		t.Errorf("a lease that is known: %v", r.Status)
	}
}

// An update whose answer would be no message is refused as a whole; one with the
// most leases that are taken is answered, even if all are refused.
func TestLargeUpdates(t *testing.T) {
	large := func(s *scene, leases int, foreign bool) *wire.BndUpd {
		m := s.update("2001:db8::1", "ann", lease.Active)
		l := *only(m)
		m.ClientData.IAs[0].Leases = nil
		for n := range leases - 1 { // and the association
			l.Prefix = prefix(fmt.Sprintf("2001:db8::%x", 1+n))
			if foreign {
				l.Prefix = prefix(fmt.Sprintf("2001:db9::%x", 1+n))
			}
			m.ClientData.IAs[0].Leases = append(m.ClientData.IAs[0].Leases, l)
		}
		return m
	}
	for _, foreign := range []bool{false, true} {
		s := newScene(t, lease.Secondary, nil)
		s.reach(Normal)
		s.heard = nil
		s.say(large(s, leasesTaken, foreign))
		r := one[*wire.BndReply](s)
		if r.ClientData.Status.Present() || len(r.ClientData.IAs[0].Leases) != leasesTaken-1 {
			t.Errorf("foreign %v: %v", foreign, r.ClientData.Status)
		}
		refused, worded := 0, 0
		for _, l := range r.ClientData.IAs[0].Leases {
			if l.Status.Present() {
				refused++
			}
			if value(l.Status).Text != "" {
				worded++
			}
		}
		if want := map[bool]int{true: refusalsWorded}[foreign]; worded != want {
			t.Errorf("foreign %v: %d refused in words, want %d", foreign, worded, want)
		}
		if want := map[bool]int{true: leasesTaken - 1}[foreign]; refused != want {
			t.Errorf("foreign %v: %d refused, want %d", foreign, refused, want)
		}
		s.say(large(s, leasesTaken+1, foreign))
		if r := one[*wire.BndReply](s); value(r.ClientData.Status).Code != wire.UnspecFail || len(r.ClientData.IAs) != 0 {
			t.Errorf("an update of too many leases: %+v", r.ClientData)
		}
	}
}

// A server whose role was changed is a newcomer that its partner knows: it owns
// other leases now.
func TestRoleChanged(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(Normal)
	s.cfg.Role = lease.Secondary
	s.boot()
	if s.e.record.State != Recover || !s.e.record.Communicated || s.e.waitMCLT() != 3600*second {
		t.Errorf("it starts with %+v", s.e.record)
	}
	s.meet(CommunicationsInterrupted)
	s.want(Recover)
	s.say(&wire.UpdDone{Header: answering(one[*wire.UpdReq](s))})
	s.want(RecoverWait)
}

// a primary whose CONNECT announced a longer MCLT does not know whether the
// secondary uses it already. It grants by the shorter one and waits by the longer
// one until the CONNECTREPLY.
func TestMCLTAnnounced(t *testing.T) {
	s := newScene(t, lease.Primary, func(c *Config) { c.MCLT_s = 7200 })
	s.wakeUp(lived(CommunicationsInterrupted)) // with 3600
	s.pass(StartupDefault_s * second)
	check := func(when string, mclt uint32, wait time.Duration) {
		t.Helper()
		p := prefix("2001:db8::1")
		if got := s.e.Valid(s.clock(), nil, ia(p, "ann"), 100_000); got != mclt {
			t.Errorf("%s it grants %d s, want %d", when, got, mclt)
		}
		if got := s.e.waitMCLT(); got != wait*second {
			t.Errorf("%s it waits %v, want %d s", when, got, wait)
		}
	}
	check("before", 3600, 3600)
	m := s.dialed()
	check("after CONNECT", 3600, 7200)
	s.boot()
	s.pass(StartupDefault_s * second)
	check("after a crash", 3600, 7200)
	m = s.dialed()
	s.say(s.connectReply(m))
	check("after CONNECTREPLY", 7200, 7200)
}

// A server in STARTUP whose partner shows that it is there waits for it, for a
// while: it may be serving alone.
func TestStartupWaitsForPartner(t *testing.T) {
	s := newScene(t, lease.Secondary, nil)
	s.reach(Startup)
	began := s.now.Mono
	for s.e.state == Startup && s.now.Mono < began+time.Hour {
		silly := s.connectMessage()
		silly.MCLT = wire.Some[uint32](1)
		s.accept(silly)
		s.pass(20 * second)
	}
	lasted := s.now.Mono - began
	if s.want(CommunicationsInterrupted); lasted < 2*StartupDefault_s*second || lasted > startupMax*StartupDefault_s*second+time.Minute {
		t.Errorf("STARTUP lasted %v", lasted)
	}

	s = newScene(t, lease.Primary, nil)
	s.reach(Startup)
	m := s.dialed()
	s.say(&wire.ConnectReply{Header: answering(m), Status: wire.Some(wire.Status{Code: wire.UnspecFail, Text: "not ready"})})
	s.pass(ReconnectMax_s*second - 1)
	if s.asked {
		t.Error("it does not slow down")
	}
	s.pass(1)
	if !s.asked {
		t.Error("it waits too long, with nothing else to do")
	}
}

// Both servers may be serving everybody only while they are out of each other's
// reach.
func TestApart(t *testing.T) {
	for st := Startup; st <= ConflictDone; st++ {
		s := newScene(t, lease.Primary, nil)
		s.reach(st)
		if want := st == CommunicationsInterrupted || st == ResolutionInterrupted; s.e.Apart() != want {
			t.Errorf("%v: apart %v", st, !want)
		}
	}
	s := newScene(t, lease.Primary, nil)
	if s.withPartner(CommunicationsInterrupted, 0); s.e.Apart() {
		t.Error("apart from a partner that is connected")
	}
}

// the last promise bounds what this server can have done before it failed. It
// is remembered when no lease shows it any more.
func TestLastPromise(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	p := prefix("2001:db8::1")
	s.disk.leases[p] = &lease.Binding{
		Prefix: p, IA: ia(p, "ann"), Status: lease.Active, Expires: start + 3000, HeldUntil: start + 3000,
		StartOfState: start - 600, LastTransaction: start - 600, PartnerLifetime: start + 3000,
	}
	r := lived(Recover)
	r.Stamp = start - 3000 // when it entered NORMAL, long before
	s.wakeUp(r)
	if s.e.failed != start-600 {
		t.Fatalf("TIME-OF-FAILURE %v", s.e.failed)
	}
	s.meet(Normal)
	s.say(s.update("2001:db8::1", "ann", lease.Released))
	if b := s.t.Get(p); b.LastTransaction != 0 {
		t.Fatalf("the lease still shows it: %+v", b)
	}
	s.cut()
	s.boot()
	if s.e.failed != start-600 {
		t.Errorf("after another restart TIME-OF-FAILURE %v", s.e.failed)
	}
}

// What has happened does not lie ahead of both clocks, and no lease lasts for
// decades.
func TestFutureIsRefused(t *testing.T) {
	const contact, far = 2 * skewMax_s, 2 * LifetimeMax_s
	for name, c := range map[string]struct {
		change func(*wire.LeaseOption, lease.Time)
		limit  lease.Time // seconds ahead
	}{
		"start":           {func(l *wire.LeaseOption, t lease.Time) { l.StartTimeOfState = some(t) }, contact},
		"own contact":     {func(l *wire.LeaseOption, t lease.Time) { l.PartnerRawCLT = some(t) }, contact},
		"expiration":      {func(l *wire.LeaseOption, t lease.Time) { l.StateExpiration = some(t) }, far},
		"announced":       {func(l *wire.LeaseOption, t lease.Time) { l.PartnerLifetime = some(t) }, far},
		"expiration-time": {func(l *wire.LeaseOption, t lease.Time) { l.Expiration = some(t) }, far},
	} {
		for _, beyond := range []lease.Time{0, 1} {
			s := newScene(t, lease.Secondary, nil)
			s.reach(Normal)
			m := s.update("2001:db8::1", "ann", lease.Active)
			c.change(only(m), s.now.Wall+c.limit+beyond)
			s.heard = nil
			s.say(m)
			if refused := only(one[*wire.BndReply](s)).Status.Present(); refused != (beyond > 0) {
				t.Errorf("%s %d s ahead: refused %v", name, c.limit+beyond, refused)
			}
		}
	}
}

// a server that lost its storage gives nothing new before an MCLT after its
// start, in whatever state it is, also if it restarts meanwhile. Then all is
// forgotten.
func TestNothingNewAfterLoss(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	r := lived(CommunicationsInterrupted) // through POTENTIAL-CONFLICT and NORMAL
	r.Loss = lossPromises
	s.wakeUp(r)
	s.pass(StartupDefault_s * second)
	s.want(CommunicationsInterrupted)
	claim := func() Claim {
		return s.e.MayAssign(s.clock(), prefix("2001:db8::1"), nil, ia(prefix("2001:db8::1"), "ann"), false)
	}
	s.pass(3600*second - StartupDefault_s*second - 1)
	if claim() != NotOurs || s.e.record.Loss != lossPromises {
		t.Error("it gives new leases before the MCLT has passed")
	}
	s.pass(10 * second)
	s.do(s.e.Wake)
	if claim() != Ours || s.e.record.Loss != lossNone {
		t.Errorf("claim %d, loss %d after the MCLT has passed", claim(), s.e.record.Loss)
	}
}
