package failover

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/failover/wire"
)

// F-145: the defaults of RFC 8156 section 6.5.
func TestKeepaliveDefaults(t *testing.T) {
	c := Config{}.withDefaults()
	if c.Keepalive_s != 60 || contactsPerKeepalive != 4 || sendEvery(c.Keepalive_s) != 15*second {
		t.Errorf("FO_KEEPALIVE_TIME %d, FO_CONTACT_PER_KEEPALIVE_TIME %d, FO_SEND_TIME %v", c.Keepalive_s, contactsPerKeepalive, sendEvery(c.Keepalive_s))
	}
}

// contacts lets time go by and returns when CONTACTs were sent. The partner is
// there all the time.
func (s *scene) contacts(d time.Duration) (at []time.Duration) {
	s.Helper()
	began := s.now.Mono
	s.heard = nil
	for s.now.Mono < began+d {
		s.pass(second / 2)
		for range all[*wire.Contact](s) {
			at = append(at, s.now.Mono-began)
		}
		s.say(&wire.PoolResp{Header: s.header()})
	}
	return at
}

// F-030, F-139, F-140, F-141, Q-04: FO_SEND_TIME is a quarter of the keepalive
// time that the partner announced, whatever this server's own is.
func TestContact(t *testing.T) {
	for _, role := range roles {
		for announced, want := range map[uint32]time.Duration{60: 15 * second, 20: 5 * second, 10: 2 * second, 3: second, 1: second, 3600: 900 * second} {
			t.Run(fmt.Sprintf("%v %d", role, announced), func(t *testing.T) {
				s := newScene(t, role, func(c *Config) { c.Keepalive_s = 40 })
				s.reach(CommunicationsInterrupted)
				if role == lease.Primary {
					m := s.connectReply(s.dialed())
					m.KeepaliveTime = wire.Some(announced)
					s.say(m)
				} else {
					m := s.connectMessage()
					m.KeepaliveTime = wire.Some(announced)
					s.accept(m)
				}
				s.state(Recover, 0)
				at := s.contacts(3 * want)
				if len(at) != 3 || at[0] != want || at[1] != 2*want || at[2] != 3*want {
					t.Errorf("CONTACTs at %v, want one every %v", at, want)
				}
			})
		}
	}
}

// F-141: before the partner's keepalive time is known, this server's own counts.
func TestContactBeforeReply(t *testing.T) {
	s := newScene(t, lease.Primary, func(c *Config) { c.Keepalive_s = 40 })
	s.reach(CommunicationsInterrupted)
	s.dialed()
	s.pass(10*second - 1)
	if len(s.heard) != 0 {
		t.Errorf("it sends %v", types(s.heard))
	}
	s.pass(1)
	one[*wire.Contact](s)
}

// F-140: whatever is sent puts the next CONTACT off.
func TestContactPutOff(t *testing.T) {
	s := newScene(t, lease.Secondary, nil)
	s.reach(Normal)
	s.pass(15*second - 1)
	s.say(s.bare("2001:db8:8000::/56", lease.FreeBackup)) // is answered
	s.heard = nil
	s.pass(15*second - 1)
	if len(s.heard) != 0 {
		t.Errorf("it sends %v", types(s.heard))
	}
	s.pass(1)
	one[*wire.Contact](s)
}

// F-142, F-143, Q-04: the connection is dead after this server's own keepalive
// time without a message, of whatever kind. Each connection has its own timers.
func TestKeepalive(t *testing.T) {
	for _, role := range roles {
		for _, own := range []uint32{60, 5, 3600} {
			t.Run(fmt.Sprintf("%v %d", role, own), func(t *testing.T) {
				s := newScene(t, role, func(c *Config) { c.Keepalive_s = own })
				s.reach(Normal)
				for range 2 {
					limit := time.Duration(own) * second
					for _, m := range []wire.Message{&wire.Contact{Header: s.header()}, s.bare("2001:db8:8000::/56", lease.FreeBackup), &wire.PoolResp{Header: s.header()}} {
						s.pass(limit - 1)
						s.say(m)
					}
					s.pass(limit - 1)
					s.want(Normal)
					s.pass(1)
					s.want(CommunicationsInterrupted)
					if s.conn != 0 || len(all[*wire.Disconnect](s)) != 0 {
						t.Error("a dead connection is not closed, or taken leave of")
					}
					s.meet(Normal)
				}
			})
		}
	}
}

// F-148, F-149, Q-31: three messages in a row with a sent-time that is more than
// five seconds off end the connection: one may have been held up. STARTTLS and
// REPLY have no sent-time and do not count.
func TestSkew(t *testing.T) {
	contact := func(s *scene, ahead lease.Time) {
		s.ahead = ahead
		s.say(&wire.Contact{Header: s.header()})
	}
	for name, c := range map[string]struct {
		ahead []lease.Time
		ends  bool
	}{
		"5 s are nothing":     {[]lease.Time{5, 5, 5, 5, -5, -5, -5, -5}, false},
		"three are ahead":     {[]lease.Time{6, 6, 6}, true},
		"three are behind":    {[]lease.Time{-6, -100, -6}, true},
		"in both directions":  {[]lease.Time{6, -6, 6}, true},
		"two are forgiven":    {[]lease.Time{6, 6, 0, 6, 6, 5, 6, 6}, false},
		"then comes a third":  {[]lease.Time{6, 6, 0, 6, 6, 6}, true},
		"another century":     {[]lease.Time{1 << 30, 1 << 30, 1 << 30}, true},
		"before the epoch":    {[]lease.Time{-start - 100, -start - 100, -start - 100}, true},
		"beyond the horizon":  {[]lease.Time{1<<31 - 6, 1<<31 - 6, 1<<31 - 6}, true},
		"half a century back": {[]lease.Time{-1 << 31, -1 << 31, -1 << 31}, true},
	} {
		for _, role := range roles {
			t.Run(fmt.Sprintf("%s, %v", name, role), func(t *testing.T) {
				s := newScene(t, role, nil)
				s.reach(Normal)
				for _, ahead := range c.ahead[:len(c.ahead)-1] {
					contact(s, ahead)
					s.want(Normal)
				}
				s.heard = nil
				if contact(s, c.ahead[len(c.ahead)-1]); !c.ends {
					s.want(Normal)
					return
				}
				s.wantDisconnect(wire.ExcessiveTimeSkew)
				if e := s.events[len(s.events)-1]; !s.lostBecause("the clocks differ") {
					t.Errorf("the operator is told %v", e)
				}
			})
		}
	}
}

// lostBecause reports whether the operator was told why the connection is lost.
func (s *scene) lostBecause(why string) bool {
	for _, e := range s.events {
		if e.ID == trace.FailoverLost && strings.Contains(e.Text, why) {
			return true
		}
	}
	return false
}

// Whatever ends a connection, the operator is told the reason.
func TestReasonsForLoss(t *testing.T) {
	for want, ends := range map[string]func(*scene){
		"the connection broke":                    (*scene).cut,
		"nothing has come for the keepalive time": func(s *scene) { s.pass(time.Minute) },
		`the partner disconnected: ServerShuttingDown "bye"`: func(s *scene) {
			s.say(&wire.Disconnect{Header: s.header(), Status: wire.Some(wire.Status{Code: wire.ServerShuttingDown, Text: "bye"})})
		},
		"a CONNECT has no place here":                       func(s *scene) { s.say(s.connectMessage()) },
		"the partner has opened a new connection":           func(s *scene) { s.accept(s.connectMessage()) },
		"a BNDUPD was not answered in time":                 func(s *scene) { s.give("2001:db8::2", "ann", 60); s.keepAlive(AckTimeoutDefault_s * second) },
		"this server is going down by its operator's order": func(s *scene) { s.order(Shutdown) },
	} {
		s := newScene(t, lease.Secondary, nil)
		s.reach(CommunicationsInterrupted)
		s.meet(Normal)
		ends(s)
		if !s.lostBecause(want) {
			t.Errorf("not told of %q: %v", want, s.events)
		}
	}
}
