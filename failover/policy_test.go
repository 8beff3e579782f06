package failover

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// F-162, F-163, F-168 to F-171, F-334 to F-336, F-355 to F-357, Q-60, Q-61: whose a lease without
// record is, in each state in which new ones are given. The partner's addresses
// are never given away, its prefixes in PARTNER-DOWN only, after an MCLT, and
// only when nothing else is left.
func TestClaims(t *testing.T) {
	const mclt = 3600 * second
	for _, c := range []struct {
		state   State
		waited  time.Duration
		foreign Claim // on a prefix of the partner's
	}{
		{Normal, 0, NotOurs},
		{CommunicationsInterrupted, 100 * time.Hour, NotOurs},
		{ResolutionInterrupted, 100 * time.Hour, NotOurs},
		{ConflictDone, 100 * time.Hour, NotOurs},
		{PartnerDown, 0, NotOurs},
		{PartnerDown, mclt - 200*second, NotOurs},
		{PartnerDown, mclt, LastResort},
	} {
		for _, role := range roles {
			t.Run(fmt.Sprintf("%v %v %v", role, c.state, c.waited), func(t *testing.T) {
				s := newScene(t, role, nil)
				free, backup := delegable(1), delegable(2)
				s.disk.leases[backup] = &lease.Binding{Prefix: backup, IA: lease.IA{Link: "lan", Type: lease.IAPD}, Status: lease.FreeBackup, StartOfState: start - 1000}
				s.reach(c.state)
				s.keepAlive(c.waited)
				claim := func(p netip.Prefix, reserved bool) Claim {
					return s.e.MayAssign(s.clock(), p, s.t.Get(p), ia(p, "ann"), reserved)
				}
				own, other, ownPrefix, otherPrefix := "2001:db8::1", "2001:db8::2", free, backup
				if role == lease.Secondary {
					own, other, ownPrefix, otherPrefix = other, own, backup, free
				}
				for _, x := range []struct {
					p        netip.Prefix
					reserved bool
					want     Claim
				}{
					{prefix(own), false, Ours}, {prefix(other), false, NotOurs},
					{prefix(own), true, Ours}, {prefix(other), true, Ours},
					{ownPrefix, false, Ours}, {otherPrefix, false, c.foreign},
				} {
					if got := claim(x.p, x.reserved); got != x.want {
						t.Errorf("claim on %v (reserved %v) is %d, want %d", x.p, x.reserved, got, x.want)
					}
				}
			})
		}
	}
}

// whose a free address is follows from the address, whatever its record says.
func TestClaimOnFreeAddress(t *testing.T) {
	for _, role := range roles {
		s := newScene(t, role, nil)
		s.reach(CommunicationsInterrupted)
		for _, status := range []lease.Status{lease.Free, lease.FreeBackup} {
			for address, owner := range map[string]lease.Role{"2001:db8::1": lease.Primary, "2001:db8::2": lease.Secondary} {
				p := prefix(address)
				b := &lease.Binding{Prefix: p, IA: ia(p, "ann"), Status: status}
				if ours := s.e.MayAssign(s.clock(), p, b, ia(p, "bob"), false) == Ours; ours != (owner == role) {
					t.Errorf("%v: %v, %v, is ours: %v", role, address, status, ours)
				}
			}
		}
	}
}

// F-188: what ended while nobody was told may go back to its client, but not any
// more from the moment at which the partner can serve again.
func TestGoesBackNoMore(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(CommunicationsInterrupted)
	s.give("2001:db8::1", "eve", 3600)
	s.give("2001:db8::3", "ann", 3600)
	s.end("2001:db8::3", lease.Released)
	b := s.t.Get(prefix("2001:db8::3"))
	if s.e.MayAssign(s.clock(), b.Prefix, b, b.IA, false) != Ours {
		t.Error("not its client's even before the partner is there")
	}
	m := s.connectReply(s.dialed())
	m.MaxUnackedBndUpd = wire.Some[uint32](1) // the update about eve comes first
	s.say(m)
	s.state(Normal, 0)
	if s.want(Normal); s.e.MayAssign(s.clock(), b.Prefix, b, b.IA, false) != NotOurs {
		t.Error("still its client's in NORMAL")
	}
}

// F-162, F-163: ten thousand addresses, without exception.
func TestParity(t *testing.T) {
	for _, role := range roles {
		s := newScene(t, role, nil)
		s.reach(CommunicationsInterrupted)
		for i := range 10_000 {
			p := prefix(fmt.Sprintf("2001:db8::%x:%x", i*7919&0xffff, i))
			odd := p.Addr().As16()[15]&1 == 1
			if ours := s.e.MayAssign(s.clock(), p, nil, ia(p, "ann"), false) == Ours; ours != (odd == (role == lease.Primary)) {
				t.Fatalf("%v: %v is ours: %v", role, p, ours)
			}
		}
	}
}

// F-174, F-318: where nothing new is given, that goes for everything.
func TestNothingNew(t *testing.T) {
	for _, role := range roles {
		for _, st := range []State{Startup, Recover, RecoverWait, RecoverDone, PotentialConflict} {
			s := newScene(t, role, nil)
			s.reach(st)
			for _, p := range []netip.Prefix{prefix("2001:db8::1"), prefix("2001:db8::2"), delegable(1)} {
				if got := s.e.MayAssign(s.clock(), p, nil, ia(p, "ann"), true); got != NotOurs {
					t.Errorf("%v in %v: claim %d on %v", role, st, got, p)
				}
			}
		}
	}
}

// F-167, F-187, F-189, F-190, Q-62, Q-81: when a lease that ended in PARTNER-DOWN may go to
// another client: an MCLT after the last of all that anybody may have promised, and a little more
// for the clocks.
// One case for each term.
func TestReuseInPartnerDown(t *testing.T) {
	const mclt = 3600 + lease.Time(clockMargin/second)
	entry := start - 100 // lived(PARTNER-DOWN)
	for name, c := range map[string]struct {
		change func(*lease.Binding)
		want   lease.Time
	}{
		"entry":                  {func(b *lease.Binding) {}, entry + mclt},
		"start of the status":    {func(b *lease.Binding) { b.StartOfState = start + 500 }, start + 500 + mclt},
		"client's expiry":        {func(b *lease.Binding) { b.Expires = start + 1000 }, start + 1000 + mclt},
		"partner-lifetime":       {func(b *lease.Binding) { b.PartnerLifetime = start + 2000 }, start + 2000 + mclt},
		"acked-partner-lifetime": {func(b *lease.Binding) { b.AckedPartnerLifetime = start + 3000 }, start + 3000 + mclt},
		"expiration-time":        {func(b *lease.Binding) { b.ExpirationTime = start + 4000 }, start + 4000 + mclt},
		"all of them": {func(b *lease.Binding) {
			b.Expires, b.PartnerLifetime, b.AckedPartnerLifetime, b.ExpirationTime = start+1, start+5000, start+3, start+4
		}, start + 5000 + mclt},
	} {
		for _, status := range []lease.Status{lease.Expired, lease.Released, lease.Reset} {
			for _, p := range []netip.Prefix{prefix("2001:db8::1"), delegable(1)} {
				t.Run(fmt.Sprintf("%s %v %v", name, status, p), func(t *testing.T) {
					s := newScene(t, lease.Primary, nil)
					s.reach(PartnerDown)
					b := &lease.Binding{Prefix: p, IA: ia(p, "ann"), Status: status, StartOfState: entry - 50, Change: 1}
					c.change(b)
					for _, x := range []struct {
						at   lease.Time
						want Claim
					}{{c.want - 1, NotOurs}, {c.want, Ours}} {
						now := s.clock()
						now.Mono += time.Duration(x.at-now.Wall) * second
						now.Wall = x.at
						if got := s.e.MayAssign(now, p, b, ia(p, "bob"), false); got != x.want {
							t.Errorf("claim %d at %s, want %d", got, since(x.at), x.want)
						}
						if now.Untrusted = true; s.e.MayAssign(now, p, b, ia(p, "bob"), false) == Ours {
							t.Error("a clock that may be behind says that the time has come")
						}
					}
				})
			}
		}
	}
}

// F-167: while the partner may be there, what ended goes to nobody else, for
// however long; nor does what was declined, ever.
func TestNoReuseWithoutPartner(t *testing.T) {
	for _, role := range roles {
		for _, st := range []State{CommunicationsInterrupted, ResolutionInterrupted, ConflictDone} {
			for _, status := range []lease.Status{lease.Expired, lease.Released, lease.Reset} {
				s := newScene(t, role, nil)
				for _, p := range []string{"2001:db8::1", "2001:db8::2", "2001:db8:8000:100::/56"} {
					s.disk.leases[prefix(p)] = &lease.Binding{Prefix: prefix(p), IA: ia(prefix(p), "ann"), Status: status, StartOfState: start - 1000, Change: 1}
				}
				s.reach(st)
				s.pass(10000 * time.Hour)
				for p, b := range s.disk.leases {
					if s.e.MayAssign(s.clock(), p, b, ia(p, "bob"), false) != NotOurs {
						t.Errorf("%v in %v gives %v away, which is %v", role, st, p, status)
					}
				}
			}
		}
	}
	s := newScene(t, lease.Primary, nil)
	s.reach(PartnerDown)
	b := &lease.Binding{Prefix: prefix("2001:db8::1"), IA: ia(prefix("2001:db8::1"), "ann"), Status: lease.Abandoned, StartOfState: start - 1000, Change: 1}
	s.pass(10000 * time.Hour)
	if s.e.MayAssign(s.clock(), b.Prefix, b, ia(b.Prefix, "bob"), false) != NotOurs {
		t.Error("a declined address is given away")
	}
}

// P-02, P-08: in PARTNER-DOWN, what may be reused becomes available by itself, so
// that a long absence of the partner does not fill the table.
func TestSweep(t *testing.T) {
	s := newScene(t, lease.Primary, func(c *Config) { c.RememberMax = 1 << 20; c.Remember_s = 1 << 20 })
	const many = 3 * sweptPerStep
	for n := range many {
		p := prefix(fmt.Sprintf("2001:db8::%x", 1+n))
		s.disk.leases[p] = &lease.Binding{Prefix: p, IA: ia(p, fmt.Sprint("client", n)), Status: lease.Expired, StartOfState: start - 1000, LastTransaction: start - 5000, Change: uint64(n + 1)}
	}
	s.reach(PartnerDown)
	s.pass(3600*second - 200*second)
	if n := s.t.Count(lease.Expired); n != many {
		t.Fatalf("%d are still EXPIRED before an MCLT has passed, want %d", n, many)
	}
	s.pass(200*second + sweepEvery)
	if free, backup := s.t.Count(lease.Free), s.t.Count(lease.FreeBackup); free != many/2 || backup != many/2 {
		t.Errorf("%d FREE, %d FREE-BACKUP, %d EXPIRED", free, backup, s.t.Count(lease.Expired))
	}
	if n := s.e.Status().Unconfirmed; n != 0 {
		t.Errorf("%d changes to tell", n)
	}
	s.whole()
}

// F-154, F-155, F-156: the worked example of RFC 8156 section 4.4.1, as offered and as
// given: an hour first, then three days, announced ahead of time.
func TestWorkedExample(t *testing.T) {
	const days3 = 259200
	s := newScene(t, lease.Primary, nil)
	s.reach(Normal)
	began := s.now.Wall
	for _, c := range []struct{ at, valid, announced lease.Time }{
		{0, 3600, 261000}, {1800, 259200, 390600}, {131400, 259200, 520200}, {261000, 259200, 649800},
	} {
		s.keepAlive(time.Duration(began+c.at-s.now.Wall) * second)
		p := prefix("2001:db8::1")
		if offer := s.e.Valid(s.clock(), s.t.Get(p), ia(p, "ann"), days3); lease.Time(offer) != c.valid {
			t.Errorf("at %d it offers %d s, want %d", c.at, offer, c.valid)
		}
		b := s.give("2001:db8::1", "ann", days3)
		if lease.Time(b.Valid) != c.valid || b.PartnerLifetime-began != c.announced || b.PartnerLifetime < s.now.Wall+days3 {
			t.Errorf("at %d it gives %d s and announces %d, want %d and %d", c.at, b.Valid, b.PartnerLifetime-began, c.valid, c.announced)
		}
		s.heard = nil
		s.pass(0)
		s.say(one[*wire.BndUpd](s).Reply())
	}
}

// F-001, F-002: with the shortest MCLT a new lease still has the 30 s that the RFC
// demands; what is left of an old one may be less.
func TestShortestLease(t *testing.T) {
	s := newScene(t, lease.Primary, func(c *Config) { c.MCLT_s = MCLTMin_s })
	r := lived(CommunicationsInterrupted)
	r.MCLT_s = MCLTMin_s
	s.wakeUp(r)
	s.pass(StartupDefault_s * second)
	b := s.give("2001:db8::1", "ann", 86400)
	if b.Valid != 30 {
		t.Errorf("a new lease of %d s", b.Valid)
	}
	s.pass(20 * second)
	m := s.connectReply(s.dialed())
	s.say(m)
	s.state(Normal, 0)
	update := one[*wire.BndUpd](s)
	if left := value(only(update).StateExpiration).Sub(at(s.now.Wall)); left != 10 || value(only(update).BindingStatus) != lease.Active {
		t.Errorf("told with %d s left", left)
	}
	if s.say(update.Reply()); s.t.Get(b.Prefix).Change != 0 {
		t.Error("not confirmed")
	}
}

// F-153, F-159, F-160, F-161, F-296, F-337, Q-12, Q-18: how long a lease may last, by state, if
// the partner has confirmed nothing, or something.
func TestLifetimes(t *testing.T) {
	const desired = 100_000
	for _, c := range []struct {
		state        State
		contact      bool
		first, acked uint32 // acked: the partner knows of 5000 s
	}{
		{Normal, true, 3600, 8600},
		{CommunicationsInterrupted, false, 3600, 8600},
		{CommunicationsInterrupted, true, 3600, 8600},
		{ResolutionInterrupted, false, 3600, 8600},
		{ConflictDone, false, 3600, 8600},
		{RecoverDone, false, 3600, 8600},
		{PartnerDown, false, desired, desired},
		{PartnerDown, true, 3600, 8600},
	} {
		for _, role := range roles {
			s := newScene(t, role, nil)
			if c.contact {
				s.withPartner(c.state, 0)
			} else {
				s.reach(c.state)
			}
			p := prefix("2001:db8::1")
			known := &lease.Binding{Prefix: p, IA: ia(p, "ann"), Status: lease.Active, AckedPartnerLifetime: s.now.Wall + 5000}
			valid := func(b *lease.Binding, client string) uint32 { return s.e.Valid(s.clock(), b, ia(p, client), desired) }
			if a, b := valid(nil, "ann"), valid(known, "ann"); a != c.first || b != c.acked {
				t.Errorf("%v %v: %d s at first, %d s later, want %d and %d", role, c.state, a, b, c.first, c.acked)
			}
			if got := valid(known, "bob"); got != c.first { // what the partner knows of ann is nothing to bob
				t.Errorf("%v %v: another client gets %d s", role, c.state, got)
			}
			gone := *known
			gone.AckedPartnerLifetime = s.now.Wall - 1
			if got := valid(&gone, "ann"); got != c.first {
				t.Errorf("%v %v: %d s when the confirmed time is over", role, c.state, got)
			}
			if got := s.e.Valid(s.clock(), known, ia(p, "ann"), 100); got != 100 {
				t.Errorf("%v %v: %d s, desired are 100", role, c.state, got)
			}
			if now := s.clock(); c.first != desired {
				now.Untrusted = true
				if got := s.e.Valid(now, known, ia(p, "ann"), desired); got != 3600 {
					t.Errorf("%v %v: %d s by a clock that may be behind", role, c.state, got)
				}
			}
		}
	}
}

// F-166, F-337, P-01: who has a lease can extend it at either server, whoever gave it.
func TestExtendAnywhere(t *testing.T) {
	p := newPair(t, nil)
	p.together()
	for _, c := range []struct {
		giver, other *end
		address      string
	}{{p.a, p.b, "2001:db8::1"}, {p.b, p.a, "2001:db8::2"}} {
		c.giver.give(c.address, "ann", 3600)
		p.settle()
		c.other.give(c.address, "ann", 3600)
		p.settle()
	}
	p.cut = true
	p.pass(2 * time.Minute)
	for _, x := range p.ends() {
		x.give("2001:db8::1", "ann", 3600)
		x.give("2001:db8::2", "ann", 3600)
	}
}

// F-153: in any history outside PARTNER-DOWN, what a client holds is never more
// than MCLT beyond the later of now and what the partner has on its disk.
func TestLeadTime(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		p := newPair(t, nil)
		p.together()
		addresses := []string{"2001:db8::1", "2001:db8::2", "2001:db8::3"}
		for range rapid.IntRange(1, 30).Draw(r, "steps") {
			x := rapid.SampledFrom(p.ends()).Draw(r, "server")
			switch rapid.IntRange(0, 9).Draw(r, "what") {
			case 0:
				p.cut = !p.cut
			case 1:
				if x.off {
					x.boot()
				} else {
					x.crash()
				}
			case 2:
				p.fuse = rapid.IntRange(1, 5).Draw(r, "fuse")
			case 3, 4, 5:
				p.pass(time.Duration(rapid.IntRange(1, 4000).Draw(r, "seconds")) * second)
			default:
				if x.off {
					continue
				}
				address := prefix(rapid.SampledFrom(addresses).Draw(r, "address"))
				client := rapid.SampledFrom([]string{"ann", "bob"}).Draw(r, "client")
				b, err := x.grant(address, client, uint32(rapid.IntRange(30, 200_000).Draw(r, "desired")))
				if err != nil {
					continue
				}
				var known lease.Time
				if o := x.partner().disk.leases[address]; o != nil && o.IA == b.IA {
					known = max(o.ExpirationTime, o.Expires)
				}
				if limit := max(known, x.clock().Wall) + 3600; b.Expires > limit {
					r.Fatalf("%s promises %v until %s, the partner knows %s", x.name, address, since(b.Expires), since(known))
				}
				if rapid.Bool().Draw(r, "at once") {
					p.settle()
				}
			}
		}
	})
}

// F-003: a lease is given without a word to the partner, or from it.
func TestLazyUpdate(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(Normal)
	s.heard = nil
	s.stuck = true // nothing gets to the partner
	for n := range 100 {
		s.give(fmt.Sprintf("2001:db8::%x", 1+2*n), fmt.Sprint("client", n), 3600)
	}
	if len(s.heard) != 0 {
		t.Errorf("it sends %v", types(s.heard))
	}
}

// F-004, Q-74: what does not fit the partner's configuration is refused, and the
// operators of both hear of it.
func TestConfigurationsDiffer(t *testing.T) {
	p := newPair(t, func(a, b *Config) {
		b.Links[0].Covers = func(l netip.Prefix) bool { return prefix("2001:db8:8000::/33").Contains(l.Addr()) }
	})
	p.together()
	p.a.give("2001:db8::1", "ann", 3600)
	p.settle()
	if p.a.t.Get(prefix("2001:db8::1")).Change == 0 || p.b.t.Get(prefix("2001:db8::1")) != nil {
		t.Error("the update was accepted")
	}
	for _, x := range p.ends() {
		found := false
		for _, e := range x.events {
			found = found || e.Lease == prefix("2001:db8::1") && e.String() != ""
		}
		if !found {
			t.Errorf("%s says nothing", x.name)
		}
	}
}
