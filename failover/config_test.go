package failover

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// F-001, F-043, F-060, Q-29, Q-67: what a configuration may say; the message names what is wrong.
func TestConfig(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string // in the error; empty: it is right
	}{
		{func(c *Config) {}, ""},
		{func(c *Config) { *c = Config{Name: "x", Role: lease.Secondary} }, ""}, // all else has a default
		{func(c *Config) { c.Name = "Büro" }, ""},
		{func(c *Config) { c.Name = "" }, "its name needs 1 to 255 octets of UTF-8"},
		{func(c *Config) { c.Name = strings.Repeat("x", 256) }, "its name needs"},
		{func(c *Config) { c.Name = "x\x00" }, "its name needs"},
		{func(c *Config) { c.Name = "\xff" }, "its name needs"},
		{func(c *Config) { c.Role = 0 }, "role 0 is neither primary nor secondary"},
		{func(c *Config) { c.MCLT_s = 29 }, "MCLT 29 s, allowed are 30 to 86400"},
		{func(c *Config) { c.MCLT_s = 86401 }, "MCLT 86401 s"},
		{func(c *Config) { c.Keepalive_s = 3601 }, "a time is too long"},
		{func(c *Config) { c.Startup_s = 601 }, "a time is too long"},
		{func(c *Config) { c.Reconnect_s = 3601 }, "a time is too long"},
		{func(c *Config) { c.AckTimeout_s = 3601 }, "a time is too long"},
		{func(c *Config) { c.UpdDone_s = 3601 }, "a time is too long"},
		{func(c *Config) { c.MaxUnacked = 10001 }, "max-unacked-bndupd 10001, allowed are 1 to 10000"},
		{func(c *Config) { c.BackupShare = -1 }, "share of prefixes is -1 %"},
		{func(c *Config) { c.BackupShare = 51 }, "share of prefixes is 51 %"},
		{func(c *Config) { c.Links = make([]Link, LinksMax+1) }, "4097 links, allowed are 4096"},
	} {
		cfg := config(lease.Primary)
		c.change(&cfg)
		switch err := cfg.Check(); {
		case c.want == "" && err != nil:
			t.Errorf("%+v: %v", cfg, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), fmt.Sprintf("%q", cfg.Name))):
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}

// F-094, F-095, F-096: each relationship has a name of its own, and no link belongs to two.
// Several relationships are possible.
func TestConfigs(t *testing.T) {
	named := func(name, link string) Config {
		c := config(lease.Secondary)
		c.Name, c.Links[0].Name = name, link
		return c
	}
	for _, c := range []struct {
		list []Config
		want string
	}{
		{nil, ""},
		{[]Config{named("one", "lan"), named("two", "guests"), named("three", "iot")}, ""},
		{[]Config{named("one", "lan"), named("one", "guests")}, `"one" is configured twice`},
		{[]Config{named("one", "lan"), named("two", "lan")}, `"two": link "lan" belongs to relationship "one" already`},
		{[]Config{named("one", "lan"), named("", "guests")}, "its name needs"},
	} {
		switch err := CheckAll(c.list); {
		case c.want == "" && err != nil:
			t.Error(err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}

// F-080, F-087, Q-29: the secondary uses the MCLT of the last CONNECT that it accepted, after a
// restart too. Waits are measured by a longer one for as long as leases given by
// it can last.
func TestMCLTIsLearned(t *testing.T) {
	s := newScene(t, lease.Secondary, func(c *Config) { c.MCLT_s = 500 })
	s.boot()
	if got := s.e.Status().MCLT_s; got != 500 {
		t.Fatalf("without any CONNECT it is %d", got)
	}
	learn := func(mclt uint32) {
		t.Helper()
		m := s.connectMessage()
		m.MCLT = wire.Some(mclt)
		s.accept(m)
		if r := s.heard[0].(*wire.ConnectReply); r.MCLT != m.MCLT {
			t.Errorf("CONNECTREPLY has MCLT %v, want %d", r.MCLT, mclt)
		}
		if got := s.e.Status().MCLT_s; got != mclt {
			t.Errorf("MCLT %d, want %d", got, mclt)
		}
	}
	waits := func(want time.Duration) {
		t.Helper()
		if got := s.e.waitMCLT(); got != want*second {
			t.Errorf("waits last %v, want %v", got, want*second)
		}
	}
	learn(7200)
	waits(7200)
	learn(600)
	waits(7200)
	learn(3600)
	waits(7200)
	s.boot()
	if got := s.e.Status().MCLT_s; got != 3600 {
		t.Errorf("after a restart MCLT %d", got)
	}
	waits(7200)
	s.pass(7201 * second)
	s.do(s.e.Wake)
	waits(3600)

	silly := s.connectMessage()
	silly.MCLT = wire.Some[uint32](5)
	s.accept(silly)
	if got := s.e.Status().MCLT_s; got != 3600 {
		t.Errorf("a rejected CONNECT changes the MCLT to %d", got)
	}
}

// A new configuration is in force at once; the partner learns what concerns it by
// a new connection, and is left in peace otherwise.
func TestReconfigure(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		again  bool
	}{
		"nothing":           {func(c *Config) {}, false},
		"auto-partner-down": {func(c *Config) { c.AutoPartnerDown_s = 60 }, false},
		"MCLT":              {func(c *Config) { c.MCLT_s = 600 }, true},
		"keepalive":         {func(c *Config) { c.Keepalive_s = 30 }, true},
		"max-unacked":       {func(c *Config) { c.MaxUnacked = 7 }, true},
		"pools":             {func(c *Config) { c.Links = []Link{lan()} }, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, lease.Primary, nil)
			s.reach(Normal)
			s.heard = nil
			cfg := s.cfg
			c.change(&cfg)
			s.do(func(now lease.Clock, out *Output) { s.e.Reconfigure(now, cfg, out) })
			s.pass(0)
			if !c.again {
				if len(s.heard) != 0 || s.conn == 0 {
					t.Errorf("it sends %v", types(s.heard))
				}
				return
			}
			s.wantDisconnect(wire.UnspecFail)
			m := s.dialed()
			if value(m.MCLT) != cfg.withDefaults().MCLT_s || value(m.KeepaliveTime) != cfg.withDefaults().Keepalive_s || value(m.MaxUnackedBndUpd) != cfg.withDefaults().MaxUnacked {
				t.Errorf("CONNECT %+v", m)
			}
		})
	}
}

// the leases that a server had before it got a partner are news to it, all
// of them, with nothing acknowledged; a crash on the way loses none.
func TestActivation(t *testing.T) {
	const many = 3*activatedPerStep + 7
	for _, crashes := range []int{0, 1, 2, 3} {
		s := newScene(t, lease.Primary, nil)
		for n := range many {
			b := old(n)
			b.AckedPartnerLifetime = start + 99999 // by another partner
			s.disk.leases[b.Prefix] = b
		}
		s.boot()
		for range crashes {
			s.do(s.e.Wake)
			s.boot()
		}
		s.pass(0)
		if n := s.e.Status().Unconfirmed; n != many {
			t.Errorf("%d changes to tell after %d crashes, want %d", n, crashes, many)
		}
		for b := range s.t.From(prefix("::/0")) {
			if b.Change == 0 || b.AckedPartnerLifetime != 0 || b.HeldUntil < b.Expires || b.PartnerLifetime < b.Expires {
				t.Fatalf("activated as %+v", b)
			}
		}
		s.whole()
	}
}

// a prefix that was the secondary's in another time is told by the primary,
// and is not the secondary's before.
func TestActivationOfPrefixes(t *testing.T) {
	for _, role := range roles {
		s := newScene(t, role, nil)
		p := delegable(1)
		s.disk.leases[p] = &lease.Binding{Prefix: p, IA: lease.IA{Link: "lan", Type: lease.IAPD}, Status: lease.FreeBackup, StartOfState: start - 5000}
		s.boot()
		s.pass(0)
		switch b := s.t.Get(p); role {
		case lease.Primary:
			if b == nil || b.Status != lease.FreeBackup || b.Change == 0 {
				t.Errorf("the primary has %+v", b)
			}
		case lease.Secondary:
			if b != nil {
				t.Errorf("the secondary has %+v", b)
			}
		}
		s.whole()
	}
}

// A new auto-partner-down period counts from now, while the partner is away.
func TestReconfigureAutoPartnerDown(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(CommunicationsInterrupted)
	change := func(period_s uint32) {
		s.cfg.AutoPartnerDown_s = period_s
		s.do(func(now lease.Clock, out *Output) { s.e.Reconfigure(now, s.cfg, out) })
	}
	change(600)
	s.pass(500 * second)
	change(300)
	s.pass(300*second - 1)
	s.want(CommunicationsInterrupted)
	change(0)
	s.pass(time.Hour)
	s.want(CommunicationsInterrupted)

	s.meet(Recover)
	change(300)
	s.keepAlive(time.Hour)
	s.want(CommunicationsInterrupted)
	s.cut()
	s.pass(300 * second)
	s.want(PartnerDown)
}

// the same goes for a link that joins a relationship later. Until both have
// told each other what they know of it, nothing new is given there.
func TestLinkJoins(t *testing.T) {
	p := newPair(t, nil)
	p.together()
	guests := Link{Name: "guests", Covers: func(l netip.Prefix) bool { return prefix("2001:dba::/32").Contains(l.Addr()) }}
	b := old(1)
	b.Prefix, b.IA.Link = prefix("2001:dba::1"), "guests"
	p.a.write(b)
	if p.pass(time.Minute); p.b.t.Get(b.Prefix) != nil {
		t.Fatal("the lease of a foreign link is told")
	}
	for _, x := range p.ends() {
		x.cfg.Links = append(x.cfg.Links, guests)
		x.do(func(now lease.Clock, out *Output) { x.e.Reconfigure(now, x.cfg, out) })
	}
	who := b.IA
	if p.a.e.MayAssign(p.a.clock(), prefix("2001:dba::3"), nil, who, false) != NotOurs {
		t.Error("a new lease before the partner has told what it knows")
	}
	p.pass(time.Minute)
	p.want(Normal, Normal)
	p.agree()
	if p.b.t.Get(b.Prefix) == nil {
		t.Error("the partner never hears of the lease")
	}
	if p.a.e.MayAssign(p.a.clock(), prefix("2001:dba::3"), nil, who, false) != Ours {
		t.Error("no new lease after the partner has told what it knows")
	}
}

// The clock is set while an endpoint runs: what it noted by the wrong clock moves
// with it if it was behind, and no wait becomes shorter.
func TestClockIsSet(t *testing.T) {
	for _, by := range []lease.Time{3600, -3600, 20 * 365 * 86400} {
		s := newScene(t, lease.Primary, nil)
		s.wakeUp(lived(Recover))
		began := s.now.Mono
		s.meet(Normal)
		s.now.Wall += by
		const wait = 3590 * second // ten have passed since it failed
		s.do(func(now lease.Clock, out *Output) {
			if by > 0 {
				s.e.SetForward(now, by, -1<<62, out)
			} else {
				s.e.SetBack(now, by, out)
			}
		})
		if s.conn != 0 {
			t.Error("the partner has heard of the wrong time, and the connection goes on")
		}
		s.connect()
		s.say(&wire.State{Header: s.header(), ServerState: wire.Some(CommunicationsInterrupted), Flags: wire.Some(wire.FlagCommunicated), StartTime: wire.Some(wire.At(s.now.Wall, s.now.Wall))})
		s.say(&wire.UpdDone{Header: answering(one[*wire.UpdReq](s))})
		s.want(RecoverWait)
		s.keepAlive(began + wait - s.now.Mono - 1)
		s.want(RecoverWait)
		s.pass(1)
		s.want(RecoverDone)
	}

	s := newScene(t, lease.Primary, nil)
	s.reach(PartnerDown) // since start-100, by a clock that was right then
	s.now.Wall += 86400
	s.do(func(now lease.Clock, out *Output) { s.e.SetForward(now, 86400, start, out) })
	if got := s.e.record.Since; got != start-100 {
		t.Errorf("what was noted before the clock was wrong moves to %v", got)
	}
}

// A step of the wall clock alone, which nobody has told of, neither ends a wait
// nor makes it longer.
func TestWaitsIgnoreWallClock(t *testing.T) {
	for _, by := range []lease.Time{1_000_000, -1_000_000} {
		s := newScene(t, lease.Primary, nil)
		s.reach(RecoverWait)
		s.now.Wall += by
		s.pass(3590*second - StartupDefault_s*second - 1)
		s.want(RecoverWait)
		s.pass(1)
		s.want(RecoverDone)
	}
}
