package failover

import (
	"maps"
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// F-133, F-158, F-226, F-276, F-277: while the disk is stuck nothing leaves that rests on
// it. When it is not, everything leaves, in order; after a crash, nothing has.
func TestDurableBeforeVisible(t *testing.T) {
	news := map[string]func(s *scene){
		"update":      func(s *scene) { s.say(s.update("2001:db8::1", "ann", lease.Active)) },
		"take-back":   func(s *scene) { s.say(s.bare("2001:db8:8000:100::/56", lease.Free)) },
		"refusal":     func(s *scene) { s.say(s.update("2001:db9::1", "ann", lease.Active)) },
		"new state":   func(s *scene) { s.state(PotentialConflict, 0) },
		"resync":      func(s *scene) { s.order(Resync) },
		"lease":       func(s *scene) { s.give("2001:db8::2", "bob", 60); s.do(s.e.Wake) },
		"request":     func(s *scene) { s.say(&wire.UpdReqAll{Header: s.header()}) },
		"leave":       func(s *scene) { s.order(Shutdown) },
		"new session": func(s *scene) { s.accept(s.connectMessage()) },
	}
	for name, happens := range news {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, lease.Secondary, nil)
			s.reach(Normal)
			s.say(s.bare("2001:db8:8000:100::/56", lease.FreeBackup))
			s.heard = nil
			before := s.disk.copy()
			s.stuck = true
			happens(s)
			if heard := types(s.heard); len(heard) != 0 {
				t.Fatalf("%v left before it was on disk", heard)
			}
			crashed := s.disk.copy()
			s.stuck = false
			s.sync()
			s.whole()
			if len(s.heard) == 0 {
				t.Error("nothing left when it was on disk")
			}
			if name != "lease" && !maps.Equal(before.leases, crashed.leases) {
				t.Error("the disk has changed while it was stuck")
			}
		})
	}
}

// P-04: a CONTACT promises nothing. A disk that is stuck does not make the partner
// believe that this server is dead.
func TestContactOvertakes(t *testing.T) {
	s := newScene(t, lease.Secondary, nil)
	s.reach(Normal)
	s.stuck = true
	s.say(s.update("2001:db8::1", "ann", lease.Active))
	s.pass(15 * second)
	one[*wire.Contact](s)
}

// F-133, F-158, F-277: wherever in its life a server crashes, before or after the disk
// has what it has just decided, it comes back, and in the end both servers know
// the same. The life: first contact, leases from both, a cut cable, PARTNER-DOWN,
// and recovery.
func TestCrashAnywhere(t *testing.T) {
	for _, name := range []string{"a", "b"} {
		for _, how := range []fate{dieBefore, dieAfter} {
			n := 1
			for crashAt(t, name, n, how) && !t.Failed() {
				n++
			}
			if n < 20 {
				t.Errorf("%s has only %d chances to crash", name, n-1)
			}
		}
	}
}

// crashAt has a server crash at its n-th output, and reports whether there was one.
func crashAt(t *testing.T, name string, n int, how fate) bool {
	p := newPair(t, both(shared(2, 50)))
	victim := p.a
	if name == "b" {
		victim = p.b
	}
	count := 0
	victim.fate = func() fate {
		if count++; count == n {
			return how
		}
		return live
	}
	for _, act := range life {
		act(p)
		p.pass(time.Minute)
		p.repair()
		p.pass(time.Minute)
	}
	victim.fate = nil
	p.repair()
	p.pass(3 * time.Hour)
	if p.a.e.state != Normal || p.b.e.state != Normal {
		t.Errorf("crash of %s at its output %d (%d): %s\n%s", name, n, how, p.states(), p.story.tail())
	}
	p.agree()
	return count >= n
}

// repair starts whoever has crashed.
func (p *pair) repair() {
	for _, e := range p.ends() {
		if e.off {
			e.boot()
		}
	}
}

// life is what happens to a pair. Whoever cannot serve does not.
var life = []func(*pair){
	func(p *pair) { p.b.boot(); p.a.boot() },
	func(p *pair) {
		p.serve("2001:db8::1", "ann")
		p.serve("2001:db8::2", "bob")
		p.serve(delegable(0).String(), "ann")
		p.serve(delegable(3).String(), "bob")
	},
	func(p *pair) { p.cut = true },
	func(p *pair) {
		p.serve("2001:db8::1", "ann")
		p.serve("2001:db8::3", "eve")
		p.serve("2001:db8::4", "eve")
	},
	func(p *pair) { p.cut = false },
	func(p *pair) { p.finishAll("2001:db8::3") },
	func(p *pair) {
		p.b.crash()
		p.settle()
		p.a.do(func(now lease.Clock, out *Output) { p.a.e.Operate(now, SetPartnerDown, out) })
		p.serve("2001:db8::1", "ann")
	},
}

// serve has both servers asked for a lease.
func (p *pair) serve(address, client string) {
	for _, x := range p.ends() {
		if !x.off {
			x.grant(prefix(address), client, 7200)
		}
	}
}

// finishAll has a client release its lease at a server that knows it.
func (p *pair) finishAll(address string) {
	for _, x := range p.ends() {
		if b := x.t.Get(prefix(address)); !x.off && b != nil && b.Status == lease.Active && x.e.Serves() == Responsive {
			x.finish(b, lease.Released)
			return
		}
	}
}
