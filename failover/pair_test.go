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

// pair is two servers and the cable between them: real bytes over connections
// that behave like TCP's. What is sent while the cable is cut arrives when it is
// mended, if both ends still hold on to the connection.
type pair struct {
	testing.TB
	truth lease.Clock
	a, b  *end // primary, secondary
	cut   bool
	fuse  int    // messages until the cable is cut; 0: it is not going to be
	conns ConnID // given out last
	story story
}

// end is a server at one end of the cable.
type end struct {
	*server
	pair  *pair
	open  map[ConnID]bool
	inbox []mail
}

// mail is a message on its way to a server, or the end of its connection.
type mail struct {
	conn  ConnID
	frame []byte // nil: closed
}

func newPair(t testing.TB, change func(a, b *Config)) *pair {
	p := &pair{TB: t, truth: lease.Clock{Mono: time.Hour, Wall: start}}
	a, b := config(lease.Primary), config(lease.Secondary)
	if change != nil {
		change(&a, &b)
	}
	p.a, p.b = p.newEnd("a", a), p.newEnd("b", b)
	return p
}

func (p *pair) newEnd(name string, cfg Config) *end {
	x := &end{server: newServer(p, name, cfg, &p.truth), pair: p, open: map[ConnID]bool{}}
	x.put, x.dial, x.die = x.send, x.connect, x.crash
	x.told = func(e trace.Event) { p.story.event(x, e) }
	return x
}

func (p *pair) ends() []*end { return []*end{p.a, p.b} }

func (x *end) partner() *end {
	if x == x.pair.a {
		return x.pair.b
	}
	return x.pair.a
}

// crash ends a server without a word.
func (x *end) crash() {
	x.off = true
	for id := range x.open {
		x.hangUp(id)
	}
	x.inbox = nil
}

// send puts a message onto the cable.
func (x *end) send(m Send) {
	if m.Message != nil {
		x.pair.story.message(x, m.Message, x.open[m.Conn])
		frame, err := wire.AppendFrame(nil, m.Message)
		if err != nil {
			x.Fatalf("%s sends what cannot be sent: %v", x.name, err)
		}
		wire.Stamp(frame, wire.At(x.clock().Wall, x.clock().Wall))
		if x.open[m.Conn] {
			x.partner().inbox = append(x.partner().inbox, mail{m.Conn, frame[2:]})
		}
	}
	if m.Close {
		x.hangUp(m.Conn)
	}
}

func (x *end) hangUp(id ConnID) {
	if x.open[id] {
		delete(x.open, id)
		x.partner().inbox = append(x.partner().inbox, mail{id, nil})
	}
}

// connect answers the server's wish for a connection.
func (x *end) connect() {
	o := x.partner()
	if x.pair.cut || o.off {
		x.do(x.e.DialFailed)
		return
	}
	x.pair.conns++
	id := x.pair.conns
	x.open[id], o.open[id] = true, true
	x.do(func(c lease.Clock, out *Output) { x.e.Connected(c, id, out) })
}

// receive takes one piece of mail.
func (x *end) receive() bool {
	if len(x.inbox) == 0 || x.pair.cut {
		return false
	}
	m := x.inbox[0]
	x.inbox = x.inbox[1:]
	switch {
	case x.off || !x.open[m.conn]:
		if m.frame != nil && x.partner().open[m.conn] { // the reset of TCP
			delete(x.partner().open, m.conn)
			x.partner().inbox = append(x.partner().inbox, mail{m.conn, nil})
		}
	case m.frame == nil:
		delete(x.open, m.conn)
		x.do(func(c lease.Clock, out *Output) { x.e.Closed(c, m.conn, out) })
	default:
		x.read(m)
		if x.pair.fuse--; x.pair.fuse == 0 {
			x.pair.cut = true
		}
	}
	return true
}

func (x *end) read(m mail) {
	msg, err := wire.Parse(m.frame)
	if err != nil {
		x.Fatalf("%s gets what cannot be read: %v", x.name, err)
	}
	sent, _ := wire.SentTime(msg)
	skew := sent.Resolve(x.clock().Wall) - x.clock().Wall
	x.do(func(c lease.Clock, out *Output) {
		if connect, ok := msg.(*wire.Connect); ok {
			x.e.Accept(c, m.conn, connect, skew, out)
		} else {
			x.e.Receive(c, m.conn, msg, skew, out)
		}
	})
}

// settle lets everything happen that happens at this moment.
func (p *pair) settle() {
	p.Helper()
	for n := 0; ; n++ {
		if n == 200_000 {
			p.Fatalf("this has no end:\n%s", p.story.tail())
		}
		busy := false
		for _, x := range p.ends() {
			if !x.off && x.nextAt() <= p.truth.Mono {
				x.wake()
				busy = true
			}
			busy = x.receive() || busy
		}
		if !busy {
			return
		}
	}
}

// pass lets time go by.
func (p *pair) pass(d time.Duration) {
	p.Helper()
	p.settle()
	for end := p.truth.Mono + d; ; {
		next := end
		for _, x := range p.ends() {
			if !x.off {
				next = min(next, x.nextAt())
			}
		}
		advance(&p.truth, max(next, p.truth.Mono))
		p.settle()
		if next >= end {
			return
		}
	}
}

// advance moves both clocks on.
func advance(c *lease.Clock, to time.Duration) {
	c.Wall += lease.Time(to/second - c.Mono/second)
	c.Mono = to
}

func (p *pair) states() string { return fmt.Sprintf("%v %v", p.a.e.state, p.b.e.state) }

// want checks the states of both.
func (p *pair) want(a, b State) {
	p.Helper()
	if p.a.e.state != a || p.b.e.state != b {
		p.Fatalf("states %s, want %v %v; at last\n%s", p.states(), a, b, p.story.tail())
	}
}

// together boots both and brings them to NORMAL.
func (p *pair) together() {
	p.Helper()
	p.a.boot()
	p.b.boot()
	p.pass(10 * second)
	p.want(Normal, Normal)
}

// agree checks that both servers know the same of every lease: whose it is, and
// that there is nothing left to tell. How long they hold it may differ: a server
// keeps its own promises, even if the client heard a shorter one later.
func (p *pair) agree() {
	p.Helper()
	a, b := p.knowledge(p.a), p.knowledge(p.b)
	if a != b {
		p.Fatalf("a knows\n%sb knows\n%sat last\n%s", a, b, p.story.tail())
	}
	p.a.whole()
	p.b.whole()
}

// knowledge is what a server knows of its leases, as far as its partner must
// know the same. No record, and one that remembers a former client, are alike
// unless they say to whom an available prefix belongs.
func (p *pair) knowledge(x *end) string {
	var text strings.Builder
	for b := range x.t.From(prefix("::/0")) {
		switch {
		case b.Change != 0:
			fmt.Fprintf(&text, "%v %v, the partner has to be told\n", b.Prefix, b.Status)
		case !b.Status.Available():
			fmt.Fprintf(&text, "%v %v %v\n", b.Prefix, b.Status, b.Client)
		case b.Status != lease.Freed(b.Prefix):
			fmt.Fprintf(&text, "%v %v\n", b.Prefix, b.Status)
		}
	}
	return text.String()
}

// F-281: two new servers end in NORMAL, without waiting for an MCLT (T-23).
func TestFirstContact(t *testing.T) {
	p := newPair(t, nil)
	p.together()
	p.agree()
}
