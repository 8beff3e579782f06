package failover

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/failover/wire"
)

// shared is a configuration with one pool of 2^bits prefixes, of which the
// secondary should have a share.
func shared(bits, percent int) func(*Config) {
	return func(c *Config) {
		c.Links[0].Pools = []PrefixPool{{netip.PrefixFrom(prefix("2001:db8:8000::/48").Addr(), 56-bits), 56}}
		c.BackupShare = percent
	}
}

func both(change func(*Config)) func(a, b *Config) {
	return func(a, b *Config) { change(a); change(b) }
}

// delegable is one of the prefixes of such a pool.
func delegable(i int) netip.Prefix { return prefix(fmt.Sprintf("2001:db8:8000:%x::/56", i<<8)) }

// answerAll has the partner accept what the server sends until there is no more,
// and returns the prefixes that it gave (FREE-BACKUP) and asked for (FREE).
func (s *scene) answerAll() (given, taken []netip.Prefix) {
	s.Helper()
	for {
		s.pass(0)
		updates := all[*wire.BndUpd](s)
		if len(updates) == 0 {
			return given, taken
		}
		for _, m := range updates {
			if m.Prefix != nil && value(m.Prefix.BindingStatus) == lease.FreeBackup {
				given = append(given, m.Prefix.Prefix)
			} else if m.Prefix != nil {
				taken = append(taken, m.Prefix.Prefix)
			}
			s.say(m.Reply())
		}
	}
}

// F-056, F-172, F-181, F-183, Q-67: at first all prefixes are the primary's; in NORMAL the secondary
// gets its share, of each pool, at least one, but not the last one.
func TestShare(t *testing.T) {
	for _, c := range []struct{ bits, percent, want int }{
		{0, 10, 0}, {1, 10, 1}, {2, 10, 1}, {3, 50, 4}, {4, 10, 1}, {8, 10, 25}, {8, 50, 128}, {10, 1, 10},
		{16, 50, backupMax * 3 / 4}, // within the threshold of a quarter
	} {
		t.Run(fmt.Sprintf("2^%d, %d %%", c.bits, c.percent), func(t *testing.T) {
			s := newScene(t, lease.Primary, func(cfg *Config) {
				shared(c.bits, c.percent)(cfg)
				if c.bits > 8 {
					cfg.Links[0].Pools[0] = PrefixPool{prefix("2001:db8:8000::/40"), 40 + c.bits}
				}
			})
			s.reach(Normal)
			given, taken := s.answerAll()
			slices.SortFunc(given, netip.Prefix.Compare)
			if n := len(slices.Compact(given)); n != c.want || len(given) != n || len(taken) != 0 {
				t.Errorf("%d prefixes given, %d of them different; want %d", len(given), n, c.want)
			}
			if n := s.t.Count(lease.FreeBackup); n != c.want {
				t.Errorf("%d are recorded", n)
			}
			for _, p := range given {
				if pool := s.cfg.Links[0].Pools[0]; p.Bits() != pool.Length || !pool.Prefix.Contains(p.Addr()) || p.Masked() != p {
					t.Errorf("%v is no part of %v of length %d", p, pool.Prefix, pool.Length)
				}
			}
		})
	}
}

// F-172, F-174: before it is given any, a secondary has no prefix to delegate.
func TestSecondaryStartsWithout(t *testing.T) {
	s := newScene(t, lease.Secondary, shared(2, 50))
	s.reach(CommunicationsInterrupted)
	for i := range 4 {
		if _, err := s.grant(delegable(i), "ann", 60); err == nil {
			t.Errorf("it delegates %v", delegable(i))
		}
	}
	s.meet(Normal)
	s.say(s.bare(delegable(3).String(), lease.FreeBackup))
	s.cut()
	if _, err := s.grant(delegable(3), "ann", 60); err != nil {
		t.Errorf("it does not delegate what it was given: %v", err)
	}
	if _, err := s.grant(delegable(2), "bob", 60); err == nil {
		t.Error("it delegates what it was not given")
	}
}

// F-179, F-180, Q-65: from the moment at which the primary offers a prefix it is not
// its own any more, whatever the secondary answers, and even if it never does.
func TestGivenAway(t *testing.T) {
	for name, answer := range map[string]func(*scene, *wire.BndUpd){
		"no answer yet": func(*scene, *wire.BndUpd) {},
		"accepted":      func(s *scene, m *wire.BndUpd) { s.say(m.Reply()) },
		"refused":       func(s *scene, m *wire.BndUpd) { s.say(refusing(m, wire.OutdatedBindingInformation)) },
		"lost":          func(s *scene, m *wire.BndUpd) { s.cut() },
		"crashed":       func(s *scene, m *wire.BndUpd) { s.boot(); s.pass(time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, lease.Primary, shared(2, 25))
			s.reach(Normal)
			m := one[*wire.BndUpd](s)
			if !same(m, &wire.BndUpd{Header: m.Header, Prefix: &wire.LeaseOption{
				Prefix: delegable(3), BaseTime: some(s.now.Wall), BindingStatus: wire.Some(lease.FreeBackup), StartTimeOfState: some(s.now.Wall),
			}}) {
				t.Errorf("given by %+v", m.Prefix)
			}
			answer(s, m)
			if _, err := s.grant(delegable(3), "ann", 60); err == nil {
				t.Error("the primary delegates it")
			}
			if _, err := s.grant(delegable(0), "ann", 60); err != nil {
				t.Errorf("the primary cannot delegate its own: %v", err)
			}
		})
	}
}

// F-019, F-020, F-021, F-034, F-181: a POOLREQ is answered at once, whatever comes of it.
func TestPoolReq(t *testing.T) {
	s := newScene(t, lease.Primary, shared(6, 50))
	s.reach(Normal)
	s.heard = nil // nobody answers the updates
	for range 3 {
		req := &wire.PoolReq{Header: s.header()}
		s.say(req)
		if r := one[*wire.PoolResp](s); r.TransactionID != req.TransactionID {
			t.Errorf("POOLRESP %v to POOLREQ %v", r.TransactionID, req.TransactionID)
		}
	}
	for st := Normal; st <= ConflictDone; st++ { // but only NORMAL moves prefixes
		if st == ResolutionInterrupted || st == Normal {
			continue
		}
		s := newScene(t, lease.Primary, shared(6, 50))
		s.withPartner(st, 0)
		s.say(&wire.PoolReq{Header: s.header()})
		one[*wire.PoolResp](s)
		s.pass(0)
		if n := s.t.Count(lease.FreeBackup); n != 0 {
			t.Errorf("%v gives %d prefixes", st, n)
		}
	}
}

// F-164: addresses are no matter of the pools.
func TestPoolReqAndAddresses(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(Normal)
	s.give("2001:db8::1", "ann", 60)
	s.pass(0)
	s.say(one[*wire.BndUpd](s).Reply())
	s.say(&wire.PoolReq{Header: s.header()})
	s.pass(0)
	if heard := types(s.heard); !slices.Equal(heard, []string{"POOLRESP"}) {
		t.Errorf("it sends %v", heard)
	}
}

// F-019, F-325, Q-67: when a secondary asks: in NORMAL, once what its partner lacked
// is answered; again when it has less than half of its share, at most once a
// minute.
func TestWhenSecondaryAsks(t *testing.T) {
	s := newScene(t, lease.Secondary, shared(6, 50))
	s.reach(CommunicationsInterrupted)
	s.give("2001:db8::2", "ann", 3600)
	s.meet(Normal)
	m := one[*wire.BndUpd](s)
	s.say(m.Reply())
	one[*wire.PoolReq](s)

	for i := range 32 {
		s.say(s.bare(delegable(63-i).String(), lease.FreeBackup))
	}
	s.keepAlive(5 * time.Minute)
	if n := len(all[*wire.PoolReq](s)); n > 1 {
		t.Errorf("%d POOLREQs with a full share", n)
	}
	asked := 0
	for i := range 32 {
		s.give(delegable(63-i).String(), fmt.Sprint("client", i), 86400)
		s.pass(second)
		updates := all[*wire.BndUpd](s)
		for _, m := range updates {
			s.say(m.Reply())
		}
		asked += len(all[*wire.PoolReq](s))
	}
	s.keepAlive(2 * time.Minute)
	if asked += len(all[*wire.PoolReq](s)); asked == 0 || asked > 3 {
		t.Errorf("%d POOLREQs while the share ran out in half a minute", asked)
	}
}

// F-182, F-183, F-184, Q-67: the primary looks after the balance by itself, but does
// not move prefixes to and fro for every client.
func TestBalance(t *testing.T) {
	s := newScene(t, lease.Primary, shared(8, 10)) // 256, of which 25
	s.reach(Normal)
	s.answerAll()
	s.give(delegable(0).String(), "client", 86400)
	if given, taken := s.answerAll(); len(given)+len(taken) != 0 {
		t.Errorf("one lease moves %d prefixes", len(given)+len(taken))
	}

	backup := slices.Collect(s.t.Backup(netip.Prefix{}))
	for i := range 14 { // the secondary delegates
		s.say(s.update(backup[i].Prefix.String(), fmt.Sprint("theirs", i), lease.Active))
	}
	given, taken := s.answerAll()
	if have := s.t.Count(lease.FreeBackup); len(given) == 0 || len(taken) != 0 || have < 20 || have > 25 {
		t.Errorf("%d given, %d taken, the secondary has %d", len(given), len(taken), have)
	}
	if n := s.count(trace.FailoverPrefixesGiven); n == 0 {
		t.Error("nobody is told")
	}

	moves := 0
	for i := range 200 { // the primary delegates nearly all that is left
		if _, err := s.grant(delegable(1+i), fmt.Sprint("client", i), 86400); err != nil {
			continue
		}
		given, taken := s.answerAll()
		moves += len(given) + len(taken)
	}
	available := 256 - s.e.pools[0].used
	if have := s.t.Count(lease.FreeBackup); have > available/10+max(1, available/20)+1 {
		t.Errorf("the secondary has %d of %d", have, available)
	}
	if moves > 60 {
		t.Errorf("%d prefixes were moved", moves)
	}
	s.whole()
}

// F-185, F-186: the primary may take prefixes back; they are the secondary's until
// it agrees, and it does not if it has delegated them.
func TestTakeBack(t *testing.T) {
	s := newScene(t, lease.Primary, shared(3, 50))
	s.reach(Normal)
	s.answerAll() // 4 and 4
	for i := range 4 {
		s.give(delegable(i).String(), fmt.Sprint("client", i), 86400)
	}
	s.pass(0)
	var take []*wire.BndUpd
	for _, m := range all[*wire.BndUpd](s) {
		if m.Prefix == nil {
			s.say(m.Reply())
			continue
		}
		if value(m.Prefix.BindingStatus) != lease.Free {
			t.Fatalf("it sends %v", value(m.Prefix.BindingStatus))
		}
		take = append(take, m)
	}
	if len(take) != 2 {
		t.Fatalf("%d are taken back, want 2: two for each", len(take))
	}
	for _, m := range take {
		if _, err := s.grant(m.Prefix.Prefix, "eve", 60); err == nil {
			t.Errorf("%v is delegated before the secondary agrees", m.Prefix.Prefix)
		}
	}
	s.say(take[0].Reply())
	s.say(refusing(take[1], wire.OutdatedBindingInformation))
	if _, err := s.grant(take[0].Prefix.Prefix, "eve", 60); err != nil {
		t.Errorf("what was given back cannot be delegated: %v", err)
	}
	if _, err := s.grant(take[1].Prefix.Prefix, "joe", 60); err == nil {
		t.Error("what was refused is delegated")
	}
	if n := s.count(trace.FailoverPrefixesTaken); n == 0 {
		t.Error("nobody is told")
	}
	s.whole()

	// The other side of it.
	s = newScene(t, lease.Secondary, shared(3, 50))
	s.reach(Normal)
	s.say(s.bare(delegable(7).String(), lease.FreeBackup))
	s.say(s.bare(delegable(6).String(), lease.FreeBackup))
	s.give(delegable(7).String(), "ann", 86400)
	s.keepAlive(20 * second)
	s.heard = nil
	s.say(s.bare(delegable(7).String(), lease.Free))
	if r := one[*wire.BndReply](s); value(r.Prefix.Status).Code != wire.OutdatedBindingInformation {
		t.Errorf("the take-back of a delegated prefix is answered with %v", r.Prefix.Status)
	}
	s.say(s.bare(delegable(6).String(), lease.Free))
	if r := one[*wire.BndReply](s); r.Prefix.Status.Present() {
		t.Errorf("the take-back of an idle prefix is refused: %v", r.Prefix.Status)
	}
	s.cut()
	if _, err := s.grant(delegable(6), "bob", 60); err == nil {
		t.Error("the secondary delegates what it gave back")
	}
}

// The connection may break while prefixes are taken back, or a server crash.
// Whatever the secondary has heard by then, in the end both know the same.
func TestTakeBackInterrupted(t *testing.T) {
	for name, and := range map[string]func(*pair){
		"cut":               func(p *pair) { p.pass(2 * time.Minute) },
		"primary crashes":   func(p *pair) { p.a.crash(); p.a.boot() },
		"secondary crashes": func(p *pair) { p.b.crash(); p.b.boot() },
	} {
		for n := range 10 {
			p := newPair(t, both(shared(4, 50)))
			p.together()
			p.fuse = n + 1
			for i := range 6 {
				if _, err := p.a.grant(delegable(i), fmt.Sprint("client", i), 86400); err != nil {
					t.Fatal(err)
				}
			}
			p.settle()
			and(p)
			p.cut, p.fuse = false, 0
			p.pass(5 * time.Minute)
			if p.want(Normal, Normal); p.a.t.Count(lease.FreeBackup) > 6 {
				t.Errorf("%s after %d messages: the secondary has %d of 10", name, n+1, p.a.t.Count(lease.FreeBackup))
			}
			p.agree()
		}
	}
}

// F-173: a delegated prefix returns to the primary, whoever delegated it.
func TestPrefixReturnsToPrimary(t *testing.T) {
	p := newPair(t, both(shared(3, 50)))
	p.together()
	p.b.give(delegable(7).String(), "ann", 600)
	p.pass(time.Minute)
	p.b.end(delegable(7).String(), lease.Released)
	p.pass(time.Minute)
	p.agree()
	for _, x := range p.ends() {
		if b := x.t.Get(delegable(7)); b.Status != lease.Free {
			t.Errorf("%s has it as %v", x.name, b.Status)
		}
	}
}

// Prefixes that the operator keeps for certain clients do not change sides, nor
// do those inside or around which something is leased.
func TestNotForSharing(t *testing.T) {
	s := newScene(t, lease.Primary, func(c *Config) {
		shared(2, 50)(c)
		c.Links[0].Reserved = map[netip.Prefix]bool{delegable(3): true, delegable(2): true}
	})
	s.reach(CommunicationsInterrupted)
	inside := &lease.Binding{
		Prefix: prefix("2001:db8:8000:110::/60"), IA: ia(delegable(1), "ann"), Status: lease.Active, Valid: 60,
		Expires: start + 86400, HeldUntil: start + 86400, StartOfState: start,
	}
	s.write(inside)
	s.meet(Normal)
	given, _ := s.answerAll()
	if !slices.Equal(given, []netip.Prefix{delegable(0)}) {
		t.Errorf("given are %v, want only %v", given, delegable(0))
	}
}

// F-191: both servers know whose each prefix is, so that the survivor can use the
// partner's.
func TestBothKnowThePools(t *testing.T) {
	p := newPair(t, both(shared(4, 50)))
	p.together()
	for i := range 16 {
		a, b := p.a.t.Get(delegable(i)), p.b.t.Get(delegable(i))
		if (a != nil && a.Status == lease.FreeBackup) != (b != nil && b.Status == lease.FreeBackup) {
			t.Errorf("%v: %+v and %+v", delegable(i), a, b)
		}
	}
	if n := p.b.t.Count(lease.FreeBackup); n != 8 {
		t.Errorf("the secondary has %d", n)
	}
}
