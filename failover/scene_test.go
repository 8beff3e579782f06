package failover

import (
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// scene is one server whose partner is the test, which says what it likes.
type scene struct {
	*server
	now   lease.Clock // the truth
	ahead lease.Time  // by how much the partner's clock is ahead of it
	conn  ConnID      // 0: none
	conns ConnID
	asked bool               // for a connection
	id    wire.TransactionID // the partner gave out last
	heard []wire.Message     // from the server, not looked at yet
}

// newScene makes a server that is still off. It has no prefixes to share, unless
// the test gives it some.
func newScene(t testing.TB, role lease.Role, change func(*Config)) *scene {
	s := &scene{now: lease.Clock{Mono: time.Hour, Wall: start}, id: 0x800000}
	cfg := config(role)
	cfg.Links[0].Pools = nil
	if change != nil {
		change(&cfg)
	}
	s.server = newServer(t, "server", cfg, &s.now)
	s.put = s.hear
	s.dial = func() { s.asked = true }
	return s
}

// hear takes what the server sends, from the bytes that it would send.
func (s *scene) hear(m Send) {
	if m.Conn != s.conn {
		return
	}
	if m.Message != nil {
		frame, err := wire.AppendFrame(nil, m.Message)
		if err != nil {
			s.Fatalf("the server sends what cannot be sent: %v", err)
		}
		wire.Stamp(frame, wire.At(s.clock().Wall, s.clock().Wall))
		msg, err := wire.Parse(frame[2:])
		if err != nil {
			s.Fatalf("the server sends what cannot be read: %v", err)
		}
		s.heard = append(s.heard, msg)
	}
	if m.Close {
		s.conn = 0
	}
}

// all returns the messages of one kind that the server sent since the last look,
// and forgets the rest.
func all[M wire.Message](s *scene) (list []M) {
	for _, m := range s.heard {
		if m, ok := m.(M); ok {
			list = append(list, m)
		}
	}
	s.heard = nil
	return list
}

// one is the only such message; there must be one.
func one[M wire.Message](s *scene) M {
	s.Helper()
	heard := s.heard
	list := all[M](s)
	if len(list) != 1 {
		var none M
		s.Fatalf("in %v the server sent %s, want one %T", s.e.state, types(heard), none)
	}
	return list[0]
}

func types(list []wire.Message) []string {
	names := []string{}
	for _, m := range list {
		names = append(names, m.Type().String())
	}
	return names
}

// header is that of a message which the partner begins.
func (s *scene) header() wire.Header {
	s.id++
	return wire.Header{TransactionID: s.id}
}

// answering is that of an answer to m.
func answering(m wire.Message) wire.Header { return wire.Header{TransactionID: m.ID()} }

// say has the partner send a message. It goes over the wire like any other.
func (s *scene) say(m wire.Message) {
	s.Helper()
	frame, err := wire.AppendFrame(nil, m)
	if err != nil {
		s.Fatal(err)
	}
	wire.Stamp(frame, wire.At(s.now.Wall+s.ahead, s.now.Wall))
	s.sayBytes(frame[2:])
}

func (s *scene) sayBytes(message []byte) {
	s.Helper()
	m, err := wire.Parse(message)
	if err != nil {
		s.do(func(c lease.Clock, out *Output) { s.e.Malformed(c, s.conn, err, out) })
		return
	}
	sent, _ := wire.SentTime(m)
	skew := sent.Resolve(s.clock().Wall) - s.clock().Wall
	s.do(func(c lease.Clock, out *Output) { s.e.Receive(c, s.conn, m, skew, out) })
}

// connectMessage is a CONNECT that nobody rejects, reply what accepts one.
func (s *scene) connectMessage() *wire.Connect {
	return &wire.Connect{
		Header: s.header(), Version: wire.Some(wire.Version), MCLT: wire.Some[uint32](3600), KeepaliveTime: wire.Some[uint32](60),
		MaxUnackedBndUpd: wire.Some[uint32](100), RelationshipName: wire.Some("pair1"), Flags: wire.Some(wire.FixedPDLength),
	}
}

func (s *scene) connectReply(m *wire.Connect) *wire.ConnectReply {
	return &wire.ConnectReply{
		Header: answering(m), Version: wire.Some(wire.Version), MCLT: m.MCLT, KeepaliveTime: wire.Some[uint32](60),
		MaxUnackedBndUpd: wire.Some[uint32](100), Flags: wire.Some(wire.FixedPDLength),
	}
}

// dialed makes the connection that a primary asks for, and returns its CONNECT.
func (s *scene) dialed() *wire.Connect {
	s.Helper()
	for n := 0; !s.asked; n++ {
		if n == 100 {
			s.Fatal("the server does not ask for a connection")
		}
		s.pass(second)
	}
	s.asked = false
	s.open()
	s.do(func(c lease.Clock, out *Output) { s.e.Connected(c, s.conn, out) })
	return one[*wire.Connect](s)
}

// open begins a connection.
func (s *scene) open() {
	s.conns++
	s.conn, s.heard = s.conns, nil
}

// accept has the partner connect to a secondary.
func (s *scene) accept(m *wire.Connect) {
	s.open()
	s.do(func(c lease.Clock, out *Output) { s.e.Accept(c, s.conn, m, s.ahead-s.skew, out) })
}

// connect brings a connection to where STATE is due.
func (s *scene) connect() {
	s.Helper()
	if s.cfg.Role == lease.Primary {
		s.say(s.connectReply(s.dialed()))
	} else {
		s.accept(s.connectMessage())
	}
	if s.conn == 0 {
		s.Fatalf("no connection in %v: %v", s.e.state, types(s.heard))
	}
}

// state has the partner send STATE. Since the beginning of the test it is in it.
func (s *scene) state(st State, flags wire.ServerFlags) {
	s.Helper()
	m := &wire.State{Header: s.header(), ServerState: wire.Some(st), Flags: wire.Some(flags | wire.FlagCommunicated), StartTime: wire.Some(wire.At(start, start))}
	if st == PartnerDown {
		m.PartnerDownTime = m.StartTime
	}
	s.say(m)
}

// bare is the partner's BNDUPD about a prefix without client, of which it has
// news at this moment.
func (s *scene) bare(p string, status lease.Status) *wire.BndUpd {
	now := wire.At(s.now.Wall, s.now.Wall)
	return &wire.BndUpd{Header: s.header(), Prefix: &wire.LeaseOption{
		Prefix: prefix(p), BaseTime: wire.Some(now), BindingStatus: wire.Some(status), StartTimeOfState: wire.Some(now),
	}}
}

// update is the partner's BNDUPD about a lease of a client, with which it dealt
// at this moment.
func (s *scene) update(p, client string, status lease.Status) *wire.BndUpd {
	now := s.now.Wall
	at := func(t lease.Time) wire.Opt[wire.Time] { return wire.Some(wire.At(t, now)) }
	who := ia(prefix(p), client)
	l := wire.LeaseOption{Prefix: prefix(p), BindingStatus: wire.Some(status), StartTimeOfState: at(now), CLTTime: wire.Some[uint32](0)}
	if status == lease.Active {
		l.Preferred, l.Valid = 3600, 3600
		l.StateExpiration, l.PartnerLifetime, l.Expiration = at(now+3600), at(now+1800+86400), at(0)
	}
	return &wire.BndUpd{Header: s.header(), ClientData: &wire.ClientData{
		ClientID: who.Client, BaseTime: at(now),
		IAs: []wire.IA{{Type: who.Type, IAID: who.ID, T1: 1800, T2: 2880, Leases: []wire.LeaseOption{l}}},
	}}
}

// only is the lease of a message that has one.
func only(m wire.Message) *wire.LeaseOption {
	var c *wire.ClientData
	var l *wire.LeaseOption
	switch m := m.(type) {
	case *wire.BndUpd:
		c, l = m.ClientData, m.Prefix
	case *wire.BndReply:
		c, l = m.ClientData, m.Prefix
	}
	if c != nil {
		l = &c.IAs[0].Leases[0]
	}
	return l
}

// refusing is an answer that refuses the only lease of an update.
func refusing(m *wire.BndUpd, code wire.StatusCode) *wire.BndReply {
	r := m.Reply()
	only(r).Status = wire.Some(wire.Status{Code: code, Text: "no"})
	return r
}

// keepAlive lets time go by with a partner that shows that it is there.
func (s *scene) keepAlive(d time.Duration) {
	s.Helper()
	for end := s.now.Mono + d; s.now.Mono < end; {
		if s.conn != 0 {
			s.say(&wire.Contact{Header: s.header()})
		}
		s.pass(min(20*second, end-s.now.Mono))
	}
}

// value is what an option holds, or zero.
func value[T any](o wire.Opt[T]) T {
	v, _ := o.Get()
	return v
}

// meet makes a connection on which the partner is in a state.
func (s *scene) meet(st State) {
	s.Helper()
	s.connect()
	s.state(st, 0)
}

// cut ends the connection.
func (s *scene) cut() {
	id := s.conn
	s.conn = 0
	s.do(func(c lease.Clock, out *Output) { s.e.Closed(c, id, out) })
}

// order gives the operator's command.
func (s *scene) order(c Command) (err error) {
	s.do(func(now lease.Clock, out *Output) { err = s.e.Operate(now, c, out) })
	return err
}

// pass lets time go by.
func (s *scene) pass(d time.Duration) {
	s.Helper()
	for end := s.now.Mono + d; ; {
		s.wakeAll()
		next := min(end, max(s.nextAt(), s.now.Mono))
		advance(&s.now, next)
		if next == end {
			s.wakeAll()
			return
		}
	}
}

// wakeAll wakes the server until it has nothing to do.
func (s *scene) wakeAll() {
	s.Helper()
	for n := 0; s.nextAt() <= s.now.Mono; n++ {
		if n == 100_000 {
			s.Fatal("the server is busy for ever")
		}
		s.wake()
	}
}

// want checks the state.
func (s *scene) want(st State) {
	s.Helper()
	if s.e.state != st {
		s.Fatalf("the server is in %v, want %v; it came by %v", s.e.state, st, s.turns)
	}
}

// lived is the record of a server that was in a state ten seconds ago.
func lived(st State) record {
	return record{State: st, Previous: Normal, Since: start - 100, Stamp: start - 10, Communicated: true, MCLT_s: 3600}
}

// wakeUp boots the server with a record, and leaves it in STARTUP.
func (s *scene) wakeUp(r record) {
	r.Role = s.cfg.Role
	for _, l := range s.cfg.Links { // all have joined long ago
		r.Links = append(r.Links, l.Name)
	}
	s.disk.record = appendRecord(nil, &r)
	s.boot()
}

// reach brings the server into a state, by ways that the protocol has: alone, or
// in contact if the state needs it.
func (s *scene) reach(st State) {
	s.Helper()
	switch st {
	case Startup:
		s.wakeUp(lived(CommunicationsInterrupted))
	case Normal:
		s.reach(CommunicationsInterrupted)
		s.meet(Normal)
	case PotentialConflict:
		s.reach(CommunicationsInterrupted)
		s.meet(ResolutionInterrupted)
	default:
		s.wakeUp(lived(st))
		s.pass(StartupDefault_s * second)
	}
	s.want(st)
}

// withPartner brings the server into a state in which it is in contact with a
// partner whose state makes it stay; other is such a state too, if avoid is.
func (s *scene) withPartner(st, avoid State) {
	s.Helper()
	partners := map[State][2]State{
		Normal:                    {Normal, RecoverDone},
		CommunicationsInterrupted: {Recover, RecoverWait},
		PartnerDown:               {Recover, RecoverWait},
		PotentialConflict:         {ResolutionInterrupted, CommunicationsInterrupted},
		Recover:                   {Normal, CommunicationsInterrupted},
		RecoverWait:               {Normal, CommunicationsInterrupted},
		RecoverDone:               {PartnerDown, CommunicationsInterrupted},
		ConflictDone:              {PotentialConflict, ResolutionInterrupted},
	}[st]
	with := partners[0]
	if with == avoid {
		with = partners[1]
	}
	s.reach(st)
	if s.conn == 0 {
		s.meet(with)
	} else {
		s.state(with, 0)
	}
	s.want(st)
	s.heard, s.turns = nil, nil
}
