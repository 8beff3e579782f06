package engine

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover"
	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// porch is a secondary of three relationships, two of them with one primary.
type porch struct {
	*testing.T
	e     *Engine
	now   lease.Clock
	conns ConnID
}

var (
	alice = netip.MustParseAddr("fd00::1")
	bob   = netip.MustParseAddr("fd00::2")
)

func newPorch(t *testing.T) *porch {
	p := &porch{T: t, now: lease.Clock{Mono: time.Hour, Wall: 800_000_000}}
	var list []failover.Config
	for i, peer := range []netip.Addr{alice, alice, bob} {
		list = append(list, failover.Config{Name: fmt.Sprintf("r%d", i), Role: lease.Secondary, Partners: []netip.Addr{peer}, Links: []failover.Link{{Name: fmt.Sprintf("link%d", i)}}})
	}
	list = append(list, failover.Config{Name: "own", Role: lease.Primary, Partners: []netip.Addr{netip.MustParseAddr("fd00::3")}, Links: []failover.Link{{Name: "link3"}}})
	p.e = New(Config{DHCP: config(), Relationships: list}, rand.New(rand.NewPCG(1, 2)))
	var r Ready
	p.e.Start(p.now, &r)
	return p
}

func (p *porch) step(ev Event) []PartnerOutput {
	var r Ready
	p.e.Step(p.now, ev, &r)
	var out []PartnerOutput
	for _, o := range append(r.Now.Partner, r.AfterCommit.Partner...) {
		if o.Dial == "" {
			out = append(out, o)
		}
	}
	return out
}

func (p *porch) visit(peer netip.Addr) (ConnID, []PartnerOutput) {
	p.conns++
	return p.conns, p.step(PartnerConnected{Conn: p.conns, Peer: peer})
}

func (p *porch) say(conn ConnID, m wire.Message) []PartnerOutput {
	frame, err := wire.AppendFrame(nil, m)
	if err != nil {
		p.Fatal(err)
	}
	wire.Stamp(frame, wire.At(p.now.Wall, p.now.Wall))
	return p.step(PartnerFrame{Conn: conn, At: p.now, Data: frame[2:]})
}

func connectFor(name string) *wire.Connect {
	c := &wire.Connect{
		Header: wire.Header{TransactionID: 7}, Version: wire.Some(wire.Version), MCLT: wire.Some[uint32](600),
		KeepaliveTime: wire.Some[uint32](60), MaxUnackedBndUpd: wire.Some[uint32](100), Flags: wire.Some(wire.FixedPDLength),
	}
	if name != "" {
		c.RelationshipName = wire.Some(name)
	}
	return c
}

// verdict is the answer to a CONNECT in a word.
func verdict(t *testing.T, out []PartnerOutput) string {
	t.Helper()
	if len(out) == 0 {
		return "silence"
	}
	if out[0].Frame == nil {
		return "closed"
	}
	m, err := wire.Parse(out[0].Frame[2:])
	if err != nil {
		t.Fatal(err)
	}
	switch m := m.(type) {
	case *wire.ConnectReply:
		if s, ok := m.Status.Get(); ok {
			if !out[0].Close || s.Text == "" {
				t.Errorf("a rejection ends the connection and says why: %+v", out[0])
			}
			return s.Code.String()
		}
		return "accepted"
	case *wire.Reply:
		s, _ := m.Status.Get()
		return s.Code.String()
	}
	return m.Type().String()
}

// F-065, F-066, F-068, F-069, F-076, F-084, F-097: the endpoint is found by the
// partner's address, the name and the role, and by nothing else.
func TestConnectFindsItsEndpoint(t *testing.T) {
	tests := []struct {
		peer netip.Addr
		name string
		want string
	}{
		{alice, "r0", "accepted"},
		{alice, "r1", "accepted"},
		{bob, "r2", "accepted"},
		{bob, "", "accepted"},                     // the only one of this pair
		{alice, "", "ConfigurationConflict"},      // which of the two?
		{alice, "r2", "ConfigurationConflict"},    // Bob's
		{bob, "R2", "ConfigurationConflict"},      // octet by octet
		{alice, "own", "ConfigurationConflict"},   // there this server is the primary
		{alice, "other", "ConfigurationConflict"}, // unknown
	}
	for _, tt := range tests {
		p := newPorch(t)
		conn, out := p.visit(tt.peer)
		if len(out) != 0 {
			t.Fatalf("a secondary waits for CONNECT, it said %+v", out)
		}
		if got := verdict(t, p.say(conn, connectFor(tt.name))); got != tt.want {
			t.Errorf("%v asks for %q: %s, want %s", tt.peer, tt.name, got, tt.want)
		}
		if tt.want != "accepted" {
			continue
		}
		for _, r := range p.e.View(p.now).Relationships {
			want := tt.name
			if want == "" {
				want = "r2"
			}
			if f := p.e.relationship(r.Name); f.Connection() == conn != (r.Name == want) {
				t.Errorf("%v asks for %q: relationship %s has connection %d", tt.peer, tt.name, r.Name, f.Connection())
			}
		}
	}
}

// Strangers, and partners in a relationship in which this server is the primary,
// are sent away before they say a word (F-057, F-066).
func TestStrangersAreDropped(t *testing.T) {
	p := newPorch(t)
	for _, peer := range []netip.Addr{netip.MustParseAddr("fd00::bad"), netip.MustParseAddr("fd00::3")} {
		if _, out := p.visit(peer); verdict(t, out) != "closed" {
			t.Errorf("%v was let in: %+v", peer, out)
		}
	}
}

// Who has nothing to say does not stay, and there are never many of them.
func TestLobby(t *testing.T) {
	p := newPorch(t)
	for i := range 2 * lobbyMax {
		_, out := p.visit(alice)
		if full := verdict(t, out) == "closed"; full != (i >= lobbyMax) {
			t.Errorf("visitor %d: %+v", i, out)
		}
	}
	p.now.Mono += lobbyWait
	if out := p.step(Wake{}); len(out) != lobbyMax {
		t.Errorf("%d visitors are sent away, want %d", len(out), lobbyMax)
	}
	conn, _ := p.visit(alice)
	if got := verdict(t, p.say(conn, connectFor("r0"))); got != "accepted" {
		t.Errorf("afterwards: %s", got)
	}
	for _, first := range []wire.Message{&wire.Contact{}, &wire.State{ServerState: wire.Some(failover.Normal), Flags: wire.Some(wire.ServerFlags(0)), StartTime: wire.Some(wire.Time(9))}} {
		conn, _ := p.visit(alice)
		if got := verdict(t, p.say(conn, first)); got != "closed" {
			t.Errorf("a %v before CONNECT: %s", first.Type(), got)
		}
	}
	conn, _ = p.visit(alice)
	if out := p.step(PartnerFrame{Conn: conn, At: p.now, Data: []byte{31}}); verdict(t, out) != "closed" {
		t.Errorf("rubbish: %+v", out)
	}
	conn, _ = p.visit(alice)
	p.step(PartnerClosed{conn})
	if n := len(p.e.partners.lobby); n != 0 {
		t.Errorf("%d are left in the lobby", n)
	}
}

// F-115: where TLS is not configured, STARTTLS is refused; whether to go
// on in clear is the primary's choice.
func TestStartTLSRefused(t *testing.T) {
	p := newPorch(t)
	conn, _ := p.visit(alice)
	out := p.say(conn, &wire.StartTLS{PlainHeader: wire.PlainHeader{TransactionID: 9}})
	if got := verdict(t, out); got != "TLSConnectionRefused" {
		t.Errorf("STARTTLS: %s", got)
	}
}

// F-097, F-139, F-142: the endpoints of one server live their own lives.
func TestEndpointsAreIndependent(t *testing.T) {
	p := newPorch(t)
	conn, _ := p.visit(alice)
	p.say(conn, connectFor("r0"))
	p.now.Mono += time.Minute
	p.now.Wall += 60
	p.step(Wake{}) // STARTUP ends for those without a partner, and the keepalive of r0
	if got := p.e.relationship("r0").Connection(); got != 0 {
		t.Errorf("r0 keeps connection %d after a minute of silence", got)
	}
	p.visit(bob)
	conn, _ = p.visit(bob)
	p.say(conn, connectFor("r2"))
	if p.e.relationship("r2").Connection() != conn || p.e.relationship("r1").Connection() != 0 {
		t.Error("a connection of r2 touched r1")
	}
	if err := p.operate("r1", failover.SetPartnerDownForce); err != nil {
		t.Fatal(err)
	}
	want := map[string]failover.State{"r0": failover.Recover, "r1": failover.PartnerDown, "r2": failover.Recover}
	for _, r := range p.e.View(p.now).Relationships {
		if w, ok := want[r.Name]; ok && r.State != w {
			t.Errorf("%s is in %v, want %v", r.Name, r.State, w)
		}
	}
	if err := p.operate("r9", failover.Resync); err == nil {
		t.Error("an unknown relationship took a command")
	}
}

func (p *porch) operate(name string, c failover.Command) error {
	var r Ready
	p.e.Step(p.now, Operate{Ticket: 1, Relationship: name, Command: c}, &r)
	return r.AfterCommit.Done[0].Err
}
