package failover

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/failover/wire"
)

// F-026, F-031, F-034, F-041, F-049, F-070 to F-077, F-086, F-087, F-088, F-093, F-144:
// a connection from its first message to NORMAL, word for word, seen from both sides.
func TestHandshake(t *testing.T) {
	t.Run("primary", func(t *testing.T) {
		s := newScene(t, lease.Primary, func(c *Config) { c.MCLT_s, c.Keepalive_s, c.MaxUnacked = 600, 20, 7 })
		s.wakeUp(lived(CommunicationsInterrupted))
		m := s.dialed()
		want := wire.Connect{
			Header:  wire.Header{TransactionID: m.TransactionID, SentTime: m.SentTime},
			Version: wire.Some(wire.ProtocolVersion{Major: 1}), MCLT: wire.Some[uint32](600), KeepaliveTime: wire.Some[uint32](20),
			MaxUnackedBndUpd: wire.Some[uint32](7), RelationshipName: wire.Some("pair1"), Flags: wire.Some(wire.FixedPDLength),
		}
		if m.TransactionID == 0 || !same(m, &want) {
			t.Errorf("CONNECT is %+v", m)
		}
		s.say(s.connectReply(m))
		if heard := types(s.heard); !slices.Equal(heard, []string{"STATE"}) {
			t.Fatalf("after the CONNECTREPLY it sends %v, want STATE", heard)
		}
		s.notYet()
		s.state(Normal, 0)
		s.want(Normal)
	})
	t.Run("secondary", func(t *testing.T) {
		s := newScene(t, lease.Secondary, func(c *Config) { c.MCLT_s, c.Keepalive_s, c.MaxUnacked = 99, 20, 7 })
		s.wakeUp(lived(CommunicationsInterrupted))
		c := s.connectMessage()
		s.accept(c)
		if heard := types(s.heard); !slices.Equal(heard, []string{"CONNECTREPLY", "STATE"}) {
			t.Fatalf("after the CONNECT it sends %v, want CONNECTREPLY and STATE", heard)
		}
		m := s.heard[0].(*wire.ConnectReply)
		want := wire.ConnectReply{
			Header:  wire.Header{TransactionID: c.TransactionID, SentTime: m.SentTime},
			Version: wire.Some(wire.ProtocolVersion{Major: 1}), MCLT: c.MCLT, KeepaliveTime: wire.Some[uint32](20),
			MaxUnackedBndUpd: wire.Some[uint32](7), Flags: wire.Some(wire.FixedPDLength),
		}
		if !same(m, &want) {
			t.Errorf("CONNECTREPLY is %+v", m)
		}
		s.notYet()
		s.state(Normal, 0)
		s.want(Normal)
	})
}

// notYet checks that nothing but the partner's STATE makes communications OK (F-071).
func (s *scene) notYet() {
	s.Helper()
	s.say(&wire.Contact{Header: s.header()})
	if s.e.Status().OK || s.e.state != Startup {
		s.Errorf("in %v, communications %v, before the partner's STATE", s.e.state, s.e.Status().OK)
	}
}

// same compares messages by their octets.
func same(a, b wire.Message) bool {
	x, err := wire.Append(nil, a)
	if err != nil {
		panic(err)
	}
	y, err := wire.Append(nil, b)
	if err != nil {
		panic(err)
	}
	return slices.Equal(x, y)
}

// fault is something wrong with a CONNECT, or nearly so.
type fault struct {
	name   string
	skew   lease.Time // of the partner's clock
	change func(*wire.Connect)
	want   wire.StatusCode // of the CONNECTREPLY; 0: it accepts
}

// connectFaults are in the order in which they are looked for.
var connectFaults = []fault{
	{"6 s ahead", 6, func(*wire.Connect) {}, wire.ExcessiveTimeSkew},
	{"6 s behind", -6, func(*wire.Connect) {}, wire.ExcessiveTimeSkew},
	{"version 2.0", 0, func(m *wire.Connect) { m.Version = wire.Some(wire.ProtocolVersion{Major: 2}) }, wire.NotSupported},
	{"no version", 0, func(m *wire.Connect) { m.Version = wire.Opt[wire.ProtocolVersion]{} }, wire.UnspecFail},
	{"no MCLT", 0, func(m *wire.Connect) { m.MCLT = wire.Opt[uint32]{} }, wire.UnspecFail},
	{"no keepalive time", 0, func(m *wire.Connect) { m.KeepaliveTime = wire.Opt[uint32]{} }, wire.UnspecFail},
	{"no max-unacked", 0, func(m *wire.Connect) { m.MaxUnackedBndUpd = wire.Opt[uint32]{} }, wire.UnspecFail},
	{"no flags", 0, func(m *wire.Connect) { m.Flags = wire.Opt[wire.ConnectFlags]{} }, wire.UnspecFail},
	{"MCLT too short", 0, func(m *wire.Connect) { m.MCLT = wire.Some[uint32](MCLTMin_s - 1) }, wire.ConfigurationConflict},
	{"MCLT too long", 0, func(m *wire.Connect) { m.MCLT = wire.Some[uint32](MCLTMax_s + 1) }, wire.ConfigurationConflict},
	{"keepalive time 0", 0, func(m *wire.Connect) { m.KeepaliveTime = wire.Some[uint32](0) }, wire.ConfigurationConflict},
	{"max-unacked 0", 0, func(m *wire.Connect) { m.MaxUnackedBndUpd = wire.Some[uint32](0) }, wire.ConfigurationConflict},
	{"lengths vary", 0, func(m *wire.Connect) { m.Flags = wire.Some[wire.ConnectFlags](0) }, wire.NotSupported},

	{"5 s ahead", 5, func(*wire.Connect) {}, 0},
	{"5 s behind", -5, func(*wire.Connect) {}, 0},
	{"version 1.9", 0, func(m *wire.Connect) { m.Version = wire.Some(wire.ProtocolVersion{Major: 1, Minor: 9}) }, 0},
	{"no name", 0, func(m *wire.Connect) { m.RelationshipName = wire.Opt[string]{} }, 0},
	{"shortest MCLT", 0, func(m *wire.Connect) { m.MCLT = wire.Some[uint32](MCLTMin_s) }, 0},
	{"longest MCLT", 0, func(m *wire.Connect) { m.MCLT = wire.Some[uint32](MCLTMax_s) }, 0},
	{"one update at a time", 0, func(m *wire.Connect) { m.MaxUnackedBndUpd = wire.Some[uint32](1) }, 0},
	{"a flag of the future", 0, func(m *wire.Connect) { m.Flags = wire.Some(wire.FixedPDLength | 0x8000) }, 0},
}

// F-078, F-079, F-083, F-084, F-085, F-090, Q-24, Q-25, Q-27, Q-29 to: which CONNECT
// a secondary rejects, and why.
func TestConnectFaults(t *testing.T) {
	for _, f := range connectFaults {
		t.Run(f.name, func(t *testing.T) {
			s := newScene(t, lease.Secondary, nil)
			s.reach(CommunicationsInterrupted)
			m := s.connectMessage()
			f.change(m)
			s.ahead = f.skew
			s.accept(m)
			if f.want != 0 {
				s.wantReject(m, f.want)
			} else if r := s.heard[0].(*wire.ConnectReply); r.Status.Present() || s.conn == 0 {
				t.Errorf("rejected with %v", r.Status)
			}
		})
	}
}

// Of several faults the first one is named.
func TestConnectFaultsInOrder(t *testing.T) {
	for i, first := range connectFaults {
		s := newScene(t, lease.Secondary, nil)
		s.reach(CommunicationsInterrupted)
		m := s.connectMessage()
		for _, f := range slices.Backward(connectFaults[i:]) {
			if f.want != 0 || i == 0 {
				f.change(m)
			}
		}
		s.ahead = first.skew
		if s.accept(m); first.want != 0 {
			s.wantReject(m, first.want)
		}
	}
}

// what else makes a server reject every CONNECT.
func TestConnectInVain(t *testing.T) {
	for name, c := range map[string]struct {
		role  lease.Role
		reach func(*scene)
		want  wire.StatusCode
	}{
		"it is a primary too": {lease.Primary, func(s *scene) { s.reach(CommunicationsInterrupted) }, wire.ConfigurationConflict},
		"it is stopping":      {lease.Secondary, func(s *scene) { s.reach(CommunicationsInterrupted); s.order(Shutdown) }, wire.ServerShuttingDown},
		"it is taking in the leases that were there before": {lease.Secondary, func(s *scene) {
			for n := range 2 * activatedPerStep {
				b := old(n)
				s.disk.leases[b.Prefix] = b
			}
			s.boot()
		}, wire.UnspecFail},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, c.role, nil)
			c.reach(s)
			m := s.connectMessage()
			s.accept(m)
			s.wantReject(m, c.want)
		})
	}
}

// old is a lease from before the relationship.
func old(n int) *lease.Binding {
	p := prefix(fmt.Sprintf("2001:db8::%x:%x", n>>16, n&0xffff))
	return &lease.Binding{
		Prefix: p, IA: ia(p, fmt.Sprint("client", n)), Status: lease.Active, Preferred: 3000, Valid: 3000, T1: 1500, T2: 2400,
		Expires: start + 2000, HeldUntil: start + 5000, StartOfState: start - 1000, LastTransaction: start - 1000,
	}
}

// wantReject checks the one message with which a CONNECT is rejected.
func (s *scene) wantReject(m *wire.Connect, want wire.StatusCode) {
	s.Helper()
	r := one[*wire.ConnectReply](s)
	status := value(r.Status)
	if status.Code != want || status.Text == "" || r.TransactionID != m.TransactionID || !r.KeepaliveTime.Present() {
		s.Errorf("rejected with %v, want %v and a text", status, want)
	}
	if s.conn != 0 || s.e.session != nil {
		s.Error("the connection goes on")
	}
	if s.count(trace.FailoverRefusedConnect) != 1 { // F-149
		s.Error("nobody is told")
	}
}

// F-089, F-091, F-092, F-090, Q-24, Q-25, Q-31: which CONNECTREPLY a primary can live
// with, and with which words it leaves when it cannot.
func TestConnectReplyFaults(t *testing.T) {
	for name, c := range map[string]struct {
		skew   lease.Time
		change func(*wire.ConnectReply)
		want   wire.StatusCode
	}{
		"nothing is wrong":     {0, func(m *wire.ConnectReply) {}, 0},
		"5 s ahead":            {5, func(m *wire.ConnectReply) {}, 0},
		"5 s behind":           {-5, func(m *wire.ConnectReply) {}, 0},
		"version 1.1":          {0, func(m *wire.ConnectReply) { m.Version = wire.Some(wire.ProtocolVersion{Major: 1, Minor: 1}) }, 0},
		"Success":              {0, func(m *wire.ConnectReply) { m.Status = wire.Some(wire.Status{Text: "welcome"}) }, 0},
		"one update at a time": {0, func(m *wire.ConnectReply) { m.MaxUnackedBndUpd = wire.Some[uint32](1) }, 0},
		"6 s ahead":            {6, func(m *wire.ConnectReply) {}, wire.ExcessiveTimeSkew},
		"6 s behind":           {-6, func(m *wire.ConnectReply) {}, wire.ExcessiveTimeSkew},
		"version 2.0":          {0, func(m *wire.ConnectReply) { m.Version = wire.Some(wire.ProtocolVersion{Major: 2}) }, wire.NotSupported},
		"another MCLT":         {0, func(m *wire.ConnectReply) { m.MCLT = wire.Some[uint32](3601) }, wire.ConfigurationConflict},
		"lengths vary":         {0, func(m *wire.ConnectReply) { m.Flags = wire.Some[wire.ConnectFlags](0) }, wire.NotSupported},
		"keepalive time 0":     {0, func(m *wire.ConnectReply) { m.KeepaliveTime = wire.Some[uint32](0) }, wire.ConfigurationConflict},
		"max-unacked 0":        {0, func(m *wire.ConnectReply) { m.MaxUnackedBndUpd = wire.Some[uint32](0) }, wire.ConfigurationConflict},
		"no version":           {0, func(m *wire.ConnectReply) { m.Version = wire.Opt[wire.ProtocolVersion]{} }, wire.UnspecFail},
		"no MCLT":              {0, func(m *wire.ConnectReply) { m.MCLT = wire.Opt[uint32]{} }, wire.UnspecFail},
		"no keepalive time":    {0, func(m *wire.ConnectReply) { m.KeepaliveTime = wire.Opt[uint32]{} }, wire.UnspecFail},
		"no max-unacked":       {0, func(m *wire.ConnectReply) { m.MaxUnackedBndUpd = wire.Opt[uint32]{} }, wire.UnspecFail},
		"no flags":             {0, func(m *wire.ConnectReply) { m.Flags = wire.Opt[wire.ConnectFlags]{} }, wire.UnspecFail},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, lease.Primary, nil)
			s.reach(CommunicationsInterrupted)
			m := s.connectReply(s.dialed())
			c.change(m)
			s.ahead = c.skew
			s.say(m)
			if c.want == 0 {
				one[*wire.State](s)
				return
			}
			s.wantDisconnect(c.want)
			s.want(CommunicationsInterrupted)
		})
	}
	t.Run("to another CONNECT", func(t *testing.T) {
		s := newScene(t, lease.Primary, nil)
		s.reach(CommunicationsInterrupted)
		m := s.connectReply(s.dialed())
		m.TransactionID++
		s.say(m)
		if len(s.heard) != 0 || s.conn == 0 || s.count(trace.FailoverProtocol) != 1 {
			t.Errorf("it sends %v", types(s.heard))
		}
	})
}

// wantDisconnect checks that the server has closed the connection, and why.
// F-027, F-028, F-029: it says so, in words too, and waits for nothing.
func (s *scene) wantDisconnect(want wire.StatusCode) {
	s.Helper()
	status := value(one[*wire.Disconnect](s).Status)
	if status.Code != want || status.Text == "" {
		s.Errorf("it leaves with %v, want %v and a text", status, want)
	}
	if s.conn != 0 || s.e.session != nil {
		s.Error("the connection goes on")
	}
}

// F-027, F-028, F-029: when each DISCONNECT is sent, and with what code.
func TestDisconnects(t *testing.T) {
	late := func(s *scene, d time.Duration) { // a partner that is there but does not answer
		s.keepAlive(d - 1)
		s.heard = nil
		s.pass(1)
	}
	for name, c := range map[string]struct {
		in   State
		does func(*scene)
		want wire.StatusCode
	}{
		"planned shutdown": {Normal, func(s *scene) { s.order(Shutdown) }, wire.ServerShuttingDown},
		"new configuration": {Normal, func(s *scene) {
			cfg := s.cfg
			cfg.Keepalive_s = 30
			s.do(func(c lease.Clock, out *Output) { s.e.Reconfigure(c, cfg, out) })
		}, wire.UnspecFail},
		"UPDDONE overdue": {Recover, func(s *scene) { late(s, UpdDoneDefault_s*second) }, wire.UnspecFail},
		"BNDREPLY overdue": {Normal, func(s *scene) { // T-37, Q-22
			s.give("2001:db8::1", "ann", 3600)
			s.pass(0)
			late(s, AckTimeoutDefault_s*second)
		}, wire.UnspecFail},
		"skew": {Normal, func(s *scene) {
			s.ahead = 6
			for range skewedMax {
				s.heard = nil
				s.say(&wire.Contact{Header: s.header()})
			}
		}, wire.ExcessiveTimeSkew},
		"malformed": {Normal, func(s *scene) { s.sayBytes([]byte{byte(wire.TypeBndUpd), 0, 0, 1, 0}) }, wire.UnspecFail},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, lease.Primary, nil)
			s.withPartner(c.in, 0)
			c.does(s)
			s.wantDisconnect(c.want)
			s.want(map[State]State{Normal: CommunicationsInterrupted, Recover: Recover}[c.in])
		})
	}
}

// F-059 to F-062: when a primary tries to connect. At first at once, then less and
// less often, down to once a minute; once a minute after a rejection; but it never
// gives up. After a connection that lasted it begins at once.
func TestReconnect(t *testing.T) {
	fails := func(s *scene) { s.do(s.e.DialFailed) }
	rejects := func(s *scene) {
		m := s.dialed()
		s.say(&wire.ConnectReply{Header: answering(m), Status: wire.Some(wire.Status{Code: wire.ConfigurationConflict, Text: "no"})})
		if s.conn != 0 {
			t.Error("it stays connected after a rejection")
		}
	}
	disconnects := func(s *scene) {
		s.dialed()
		s.say(&wire.Disconnect{Header: s.header()})
	}
	breaks := func(s *scene) { s.dialed(); s.cut() }
	for name, c := range map[string]struct {
		period_s uint32
		result   func(*scene)
		want     []time.Duration
	}{
		"nobody there":          {5, fails, []time.Duration{5, 10, 10, 10}},
		"every second":          {1, fails, []time.Duration{1, 2, 4, 8, 10, 10}},
		"patient":               {600, fails, []time.Duration{600, 600, 600}},
		"rejected":              {5, rejects, []time.Duration{60, 60, 60}},
		"sent away":             {5, disconnects, []time.Duration{60, 60, 60}},
		"broken in the opening": {5, breaks, []time.Duration{5, 10, 10, 10}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, lease.Primary, func(cfg *Config) { cfg.Reconnect_s = c.period_s })
			s.reach(CommunicationsInterrupted)
			for n, want := range c.want {
				c.result(s)
				s.asked = false
				s.pass(want*second - 1)
				if s.asked {
					t.Fatalf("attempt %d comes too early", n)
				}
				s.pass(1)
				if !s.asked {
					t.Fatalf("attempt %d does not come after %v", n, want*second)
				}
			}
			for range 100 { // F-062
				c.result(s)
				s.asked = false
				s.pass(time.Hour)
				if !s.asked {
					t.Fatal("it has given up")
				}
			}
		})
	}
}

// F-061: how soon a primary is back after communications were OK: at once if the
// connection had lasted; a little later if it broke soon, or if the partner sent
// it away.
func TestReconnectAfterLoss(t *testing.T) {
	for name, c := range map[string]struct {
		lasted time.Duration
		ends   func(*scene)
		want   time.Duration
	}{
		"broke":              {steadyAfter, (*scene).cut, 0},
		"broke soon":         {steadyAfter - 1, (*scene).cut, 5 * second},
		"partner goes":       {time.Minute, func(s *scene) { s.say(&wire.Disconnect{Header: s.header()}) }, 5 * second},
		"partner goes early": {second, func(s *scene) { s.say(&wire.Disconnect{Header: s.header()}) }, 5 * second},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, lease.Primary, nil)
			s.reach(Normal)
			s.keepAlive(c.lasted)
			c.ends(s)
			if c.want > 0 {
				s.pass(c.want - 1)
				if s.asked {
					t.Error("too early")
				}
				s.pass(1)
			}
			s.pass(0)
			if !s.asked {
				t.Error("too late")
			}
		})
	}
}

// a connection that is not set up in 30 seconds is given up.
func TestHandshakeDeadline(t *testing.T) {
	for name, begin := range map[string]func(*scene){
		"no CONNECTREPLY": func(s *scene) { s.dialed() },
		"no STATE":        func(s *scene) { s.connect() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, lease.Primary, nil)
			s.reach(CommunicationsInterrupted)
			begin(s)
			s.keepAlive(handshakeMax - 1)
			if s.conn == 0 {
				t.Fatal("given up too early")
			}
			s.pass(1)
			if s.conn != 0 || s.e.session != nil {
				t.Error("not given up")
			}
		})
	}
	s := newScene(t, lease.Secondary, nil)
	s.reach(CommunicationsInterrupted)
	s.connect()
	s.keepAlive(handshakeMax)
	if s.conn != 0 || s.e.session != nil {
		t.Error("a secondary waits for ever for STATE")
	}
}

// F-058: each connection is set up from the beginning.
func TestEachConnectionBeginsAnew(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(Normal)
	for range 3 {
		s.cut()
		s.say(s.connectReply(s.dialed()))
		one[*wire.State](s)
		if s.e.Status().OK {
			t.Error("communications are OK without the partner's STATE")
		}
		s.state(Normal, 0)
		s.want(Normal)
	}
}

// a secondary takes a new CONNECT for the end of the old connection, after
// it has checked it. What still comes from the old one counts for nothing.
func TestNewConnection(t *testing.T) {
	s := newScene(t, lease.Secondary, nil)
	s.reach(Normal)
	old := s.conn

	silly := s.connectMessage()
	silly.MCLT = wire.Some[uint32](1)
	s.open()
	s.do(func(c lease.Clock, out *Output) { s.e.Accept(c, s.conn, silly, 0, out) })
	if s.want(Normal); s.e.session == nil || s.e.session.id != old {
		t.Fatal("a CONNECT that is rejected ends the connection")
	}

	s.turns = nil
	s.accept(s.connectMessage())
	s.want(CommunicationsInterrupted)
	if s.turns[0].id != "T-35" {
		t.Errorf("it went %v", s.turns)
	}
	fresh := s.conn
	s.conn = old
	s.state(PartnerDown, 0)
	s.say(&wire.Disconnect{Header: s.header()})
	s.sayBytes([]byte{1})
	s.cut()
	s.conn = fresh
	s.want(CommunicationsInterrupted)
	s.state(CommunicationsInterrupted, 0)
	s.want(Normal)
}

// A primary takes no connection that it did not ask for, or does not want any more.
func TestUnwantedConnection(t *testing.T) {
	for name, reach := range map[string]func(*scene){
		"connected already": func(s *scene) { s.reach(Normal) },
		"stopping":          func(s *scene) { s.reach(CommunicationsInterrupted); s.order(Shutdown) },
	} {
		s := newScene(t, lease.Primary, nil)
		reach(s)
		before := s.e.session
		s.open()
		s.do(func(c lease.Clock, out *Output) { s.e.Connected(c, s.conn, out) })
		if s.conn != 0 || s.e.session != before || len(s.heard) != 0 {
			t.Errorf("%s: it uses the connection", name)
		}
	}
}

// A server that is stopping does not connect again.
func TestStopped(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(Normal)
	s.order(Shutdown)
	s.asked = false
	s.pass(time.Hour)
	if s.asked {
		t.Error("it connects again")
	}
}

// what a partner must not send, and what is only ignored.
func TestProtocolViolations(t *testing.T) {
	const ignored, cutOff = true, false
	state := func(st State) func(*scene) wire.Message {
		return func(s *scene) wire.Message {
			return &wire.State{Header: s.header(), ServerState: wire.Some(st), Flags: wire.Some[wire.ServerFlags](0), StartTime: wire.Some(wire.At(start, start))}
		}
	}
	for _, c := range []struct {
		name    string
		role    lease.Role
		in      State // Startup: the connection is made, STATE not sent
		message func(*scene) wire.Message
		want    bool
	}{
		{"BNDUPD before STATE", lease.Primary, Startup, func(s *scene) wire.Message { return s.bare("2001:db8:8000::/56", lease.Free) }, cutOff},
		{"UPDREQ before STATE", lease.Secondary, Startup, func(s *scene) wire.Message { return &wire.UpdReq{Header: s.header()} }, cutOff},
		{"POOLREQ before STATE", lease.Primary, Startup, func(s *scene) wire.Message { return &wire.PoolReq{Header: s.header()} }, cutOff},
		{"CONTACT before STATE", lease.Primary, Startup, func(s *scene) wire.Message { return &wire.Contact{Header: s.header()} }, ignored},
		{"a second CONNECT", lease.Secondary, Normal, func(s *scene) wire.Message { return s.connectMessage() }, cutOff},
		{"a second CONNECT at once", lease.Secondary, Startup, func(s *scene) wire.Message { return s.connectMessage() }, cutOff},
		{"CONNECT to a primary", lease.Primary, Normal, func(s *scene) wire.Message { return s.connectMessage() }, cutOff},
		{"a second CONNECTREPLY", lease.Primary, Normal, func(s *scene) wire.Message { return s.connectReply(s.connectMessage()) }, ignored},
		{"CONNECTREPLY to a secondary", lease.Secondary, Normal, func(s *scene) wire.Message { return s.connectReply(s.connectMessage()) }, ignored},
		{"STARTTLS too late", lease.Secondary, Normal, func(s *scene) wire.Message { return &wire.StartTLS{PlainHeader: wire.PlainHeader{TransactionID: 1}} }, cutOff},
		{"REPLY", lease.Primary, Normal, func(s *scene) wire.Message { return &wire.Reply{PlainHeader: wire.PlainHeader{TransactionID: 1}} }, cutOff},
		{"POOLREQ to a secondary", lease.Secondary, Normal, func(s *scene) wire.Message { return &wire.PoolReq{Header: s.header()} }, ignored}, // F-019
		{"POOLRESP to a primary", lease.Primary, Normal, func(s *scene) wire.Message { return &wire.PoolResp{Header: s.header()} }, ignored},
		{"POOLRESP to no POOLREQ", lease.Secondary, Normal, func(s *scene) wire.Message { return &wire.PoolResp{Header: s.header()} }, ignored},
		{"BNDREPLY to no BNDUPD", lease.Primary, Normal, func(s *scene) wire.Message { return s.bare("2001:db8:8000::/56", lease.Free).Reply() }, ignored},
		{"UPDDONE to no UPDREQ", lease.Primary, Normal, func(s *scene) wire.Message { return &wire.UpdDone{Header: s.header()} }, ignored},
		{"state 0", lease.Primary, Normal, state(0), cutOff},
		{"state 1", lease.Primary, Normal, state(Startup), cutOff}, // F-051
		{"state 11", lease.Primary, Normal, state(11), cutOff},
		{"STATE of nothing", lease.Primary, Normal, func(s *scene) wire.Message { return &wire.State{Header: s.header()} }, cutOff},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, c.role, nil)
			if c.in == Startup {
				s.reach(CommunicationsInterrupted)
				s.connect()
			} else {
				s.reach(c.in)
			}
			s.heard = nil
			s.say(c.message(s))
			if c.want == ignored {
				if len(s.heard) != 0 || s.conn == 0 {
					t.Errorf("it answers %v", types(s.heard))
				}
				return
			}
			s.wantDisconnect(wire.UnspecFail)
		})
	}
}

// octets that are no message, or not one of this protocol.
func TestUnreadable(t *testing.T) {
	now := wire.At(start, start)
	frame := func(m wire.Message, change func([]byte) []byte) []byte {
		b, err := wire.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		return change(b)
	}
	bare := &wire.BndUpd{Header: wire.Header{TransactionID: 77, SentTime: now}, Prefix: &wire.LeaseOption{
		Prefix: prefix("2001:db8:8000::/56"), BaseTime: wire.Some(now), BindingStatus: wire.Some(lease.FreeBackup), StartTimeOfState: wire.Some(now),
	}}
	s := newScene(t, lease.Secondary, nil)
	s.reach(Normal)
	s.keepAlive(time.Minute - 10*second)
	s.heard = nil
	s.sayBytes([]byte{200, 0, 0, 1, 0, 0, 0, 0}) // a type that does not exist
	if len(s.heard) != 0 || s.conn == 0 {
		t.Fatalf("an unknown message is answered with %v", types(s.heard))
	}
	if at := s.e.session.deadAt - s.now.Mono; at != time.Minute {
		t.Errorf("it does not count as a sign of life: dead in %v", at)
	}
	s.sayBytes(frame(bare, func(b []byte) []byte { b[8+4+8] = 129; return b })) // a prefix of length 129
	if r := one[*wire.BndReply](s); r.TransactionID != 77 || value(r.Status).Code != wire.MissingBindingInformation || r.Prefix != nil {
		t.Errorf("a BNDUPD with an impossible option is answered with %+v", r)
	}
	s.sayBytes(frame(&wire.State{Header: wire.Header{SentTime: now}, Flags: wire.Some(wire.FlagStartup)}, func(b []byte) []byte { return append(b, 0, 131, 0, 1, 0) })) // flags twice
	s.wantDisconnect(wire.UnspecFail)

	s.meet(Normal)
	s.heard = nil
	s.sayBytes(frame(bare, func(b []byte) []byte { return b[:len(b)-1] })) // the last option is cut
	s.wantDisconnect(wire.UnspecFail)
}
