package failover

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/failover/wire"
)

// server is an endpoint with its disk, in a pair.
type server struct {
	*pair
	name  string
	cfg   Config
	e     *Endpoint
	t     *lease.Table
	disk  map[netip.Prefix]*lease.Binding
	saved []byte
	skew  lease.Time // its clock against the true time
	off   bool

	inbox  []mail
	conn   ConnID // 0: none
	events []trace.Event
}

// mail is a frame, or the end of a connection, on its way to a server.
type mail struct {
	conn  ConnID
	frame []byte // nil: closed
}

// pair is two servers and a cable.
type pair struct {
	testing.TB
	now   lease.Clock // the truth
	a, b  *server     // primary, secondary
	cut   bool
	conns ConnID
	log   []string // of messages: "a> STATE ..."
}

// start is the time at which pairs begin.
const start = lease.Time(757382400) // 2024-01-01

func newPair(t testing.TB, change func(a, b *Config)) *pair {
	p := &pair{TB: t, now: lease.Clock{Mono: time.Hour, Wall: start}}
	links := []Link{{
		Name: "lan", Covers: func(l netip.Prefix) bool { return netip.MustParsePrefix("2001:db8::/32").Overlaps(l) },
		Pools: []PrefixPool{{netip.MustParsePrefix("2001:db8:8000::/48"), 56}},
	}}
	a := Config{Name: "pair1", Role: lease.Primary, Links: links, MCLT_s: 3600, RememberMax: 1000, Remember_s: 1000}
	b := a
	b.Role = lease.Secondary
	if change != nil {
		change(&a, &b)
	}
	p.a = &server{pair: p, name: "a", cfg: a, disk: map[netip.Prefix]*lease.Binding{}}
	p.b = &server{pair: p, name: "b", cfg: b, disk: map[netip.Prefix]*lease.Binding{}}
	return p
}

func (s *server) partner() *server {
	if s == s.a {
		return s.b
	}
	return s.a
}

func (s *server) clock() lease.Clock {
	c := s.now
	c.Wall += s.skew
	return c
}

// boot starts a server from its disk.
func (s *server) boot() {
	s.off = false
	s.t = lease.NewTable()
	s.e = New(s.cfg, s.t)
	for _, b := range s.disk {
		s.t.Put(b)
		s.e.Changed(nil, b)
	}
	s.t.Watch(s.e.Changed)
	if s.saved != nil {
		if err := s.e.Load(s.saved); err != nil {
			s.Fatal(err)
		}
	}
	s.do(func(c lease.Clock, out *Output) { s.e.Start(c, out) })
}

// crash ends a server without a word; its connection breaks.
func (s *server) crash() {
	s.off = true
	s.hangUp()
	s.inbox = nil
}

func (s *server) hangUp() {
	if s.conn == 0 {
		return
	}
	if o := s.partner(); o.conn == s.conn && !s.cut {
		o.inbox = append(o.inbox, mail{s.conn, nil})
	}
	s.conn = 0
}

// do calls the endpoint and carries out what it wants.
func (s *server) do(f func(lease.Clock, *Output)) {
	var out Output
	f(s.clock(), &out)
	for _, c := range out.Changes {
		if c.Binding == nil {
			delete(s.disk, c.Prefix)
		} else {
			s.disk[c.Prefix] = c.Binding
		}
	}
	if out.Record != nil {
		s.saved = out.Record
	}
	s.events = append(s.events, out.Trace...)
	for _, m := range append(out.Now, out.After...) {
		if m.Message != nil {
			s.log = append(s.log, s.name+"> "+brief(m.Message))
			frame, err := wire.AppendFrame(nil, m.Message)
			if err != nil {
				s.Fatal(err)
			}
			wire.Stamp(frame, wire.At(s.clock().Wall, s.clock().Wall))
			if m.Conn == s.conn && s.partner().conn == s.conn && !s.cut {
				s.partner().inbox = append(s.partner().inbox, mail{s.conn, frame[2:]})
			}
		}
		if m.Close && m.Conn == s.conn {
			s.hangUp()
		}
	}
	if out.Dial {
		if o := s.partner(); s.cut || o.off {
			s.do(s.e.DialFailed)
		} else {
			s.conns++
			s.conn = s.conns
			o.hangUp()
			o.conn = s.conns
			s.do(func(c lease.Clock, out *Output) { s.e.Connected(c, s.conn, out) })
		}
	}
}

// receive takes one piece of mail.
func (s *server) receive() bool {
	if len(s.inbox) == 0 || s.off {
		return false
	}
	m := s.inbox[0]
	s.inbox = s.inbox[1:]
	if m.frame == nil {
		if s.conn == m.conn {
			s.conn = 0
		}
		s.do(func(c lease.Clock, out *Output) { s.e.Closed(c, m.conn, out) })
		return true
	}
	msg, err := wire.Parse(m.frame)
	if err != nil {
		s.Fatal(err)
	}
	sent, _ := wire.SentTime(msg)
	skew := sent.Resolve(s.clock().Wall) - s.clock().Wall
	s.do(func(c lease.Clock, out *Output) {
		if connect, ok := msg.(*wire.Connect); ok {
			s.e.Accept(c, m.conn, connect, skew, out)
		} else {
			s.e.Receive(c, m.conn, msg, skew, out)
		}
	})
	return true
}

// settle lets everything happen that happens at this moment.
func (p *pair) settle() {
	for n := 0; ; n++ {
		if n == 100_000 {
			p.Fatalf("no end:\n%s", strings.Join(p.log[max(0, len(p.log)-20):], "\n"))
		}
		busy := false
		for _, s := range []*server{p.a, p.b} {
			if s.e == nil || s.off {
				continue
			}
			if s.e.WakeAt() <= p.now.Mono {
				s.do(s.e.Wake)
				busy = true
			}
			busy = s.receive() || busy
		}
		if !busy {
			return
		}
	}
}

// pass lets time go by.
func (p *pair) pass(d time.Duration) {
	p.settle()
	end := p.now.Mono + d
	for {
		next := end
		for _, s := range []*server{p.a, p.b} {
			if s.e != nil && !s.off {
				next = min(next, s.e.WakeAt())
			}
		}
		next = max(next, p.now.Mono)
		p.now.Wall += lease.Time(next/second - p.now.Mono/second)
		p.now.Mono = next
		p.settle()
		if next == end {
			return
		}
	}
}

// give gives client n a lease for desired seconds, as the DHCPv6 server would.
func (s *server) give(p netip.Prefix, n int, desired uint32) *lease.Binding {
	ia := lease.IA{Link: "lan", Client: lease.DUID(fmt.Sprintf("\x00\x02%04d", n)), Type: lease.IANA, ID: 1}
	if p.Bits() < 128 {
		ia.Type = lease.IAPD
	}
	old := s.t.Get(p)
	now := s.clock()
	valid := s.e.Valid(now, old, ia, desired)
	b := &lease.Binding{
		Prefix: p, IA: ia, Status: lease.Active, Preferred: valid, Valid: valid, T1: valid / 2, T2: valid / 5 * 4,
		Expires: now.Wall.Add(valid), StartOfState: now.Wall, LastTransaction: now.Wall,
	}
	if old != nil && old.Status == lease.Active {
		b.StartOfState = old.StartOfState
	}
	s.e.Bind(now, old, b, desired)
	s.t.Put(b)
	s.disk[p] = b
	return b
}

func brief(m wire.Message) string {
	switch m := m.(type) {
	case *wire.State:
		st, _ := m.ServerState.Get()
		fl, _ := m.Flags.Get()
		return fmt.Sprintf("STATE %v %v", st, fl)
	case *wire.ConnectReply:
		if m.Rejects() {
			st, _ := m.Status.Get()
			return fmt.Sprintf("CONNECTREPLY %v", st.Code)
		}
	case *wire.Disconnect:
		st, _ := m.Status.Get()
		return fmt.Sprintf("DISCONNECT %v", st.Code)
	}
	return m.Type().String()
}

func (p *pair) states() string { return fmt.Sprintf("%v %v", p.a.e.state, p.b.e.state) }

// together boots both and brings them to NORMAL.
func (p *pair) together() {
	p.Helper()
	p.a.boot()
	p.b.boot()
	p.pass(10 * second)
	if p.states() != "NORMAL NORMAL" {
		p.Fatalf("states %s after\n%s", p.states(), strings.Join(p.log, "\n"))
	}
}

func TestFirstContact(t *testing.T) { newPair(t, nil).together() }
