package engine

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/failover"
	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
	"github.com/tandem6/tandem6/storage"
)

// couple is two engines and a cable that keeps the order. Commits take no time.
type couple struct {
	testing.TB
	now   lease.Clock
	boxes [2]*halfBox
	conns ConnID
}

type halfBox struct {
	*couple
	index  int
	e      *Engine
	ready  Ready
	values map[string][]byte
	conn   ConnID
	inbox  [][]byte // frames without size; nil: the end

	frames, octets, longestQueue, longestReady int
	slowest                                    time.Duration
	answers                                    []dhcp6.Output
}

var coupleAddrs = [2]netip.Addr{netip.MustParseAddr("fd00::a"), netip.MustParseAddr("fd00::b")}

func relationship(role lease.Role) failover.Config {
	peer := coupleAddrs[1]
	if role == lease.Secondary {
		peer = coupleAddrs[0]
	}
	return failover.Config{Name: "pair1", Role: role, Partners: []netip.Addr{peer}, Links: []failover.Link{{Name: "lan"}}, MCLT_s: 600}
}

func newCouple(t testing.TB, cfg func() *dhcp6.Config) *couple {
	c := &couple{TB: t, now: lease.Clock{Mono: time.Hour, Wall: 800_000_000}}
	for i := range c.boxes {
		role := lease.Primary
		if i == 1 {
			role = lease.Secondary
		}
		b := &halfBox{couple: c, index: i, values: map[string][]byte{}}
		b.e = New(Config{DHCP: cfg(), Relationships: []failover.Config{relationship(role)}}, rand.New(rand.NewPCG(uint64(i), 7)))
		c.boxes[i] = b
	}
	return c
}

func (b *halfBox) start() {
	b.ready = Ready{}
	b.e.Start(b.now, &b.ready)
	b.carry()
	b.step(Interfaces{[]dhcp6.Interface{{Index: 2, Name: "eth0"}}})
}

func (b *halfBox) step(ev Event) {
	began := time.Now()
	b.e.Step(b.now, ev, &b.ready)
	b.slowest = max(b.slowest, time.Since(began))
	b.carry()
}

// carry does what the Ready says. Between the two there is nothing but the cable.
func (b *halfBox) carry() {
	for _, v := range b.ready.Commit.Values {
		b.values[v.Name] = v.Data
	}
	b.longestReady = max(b.longestReady, len(b.ready.Commit.Changes))
	b.answers = append(append(b.answers, b.ready.Now.Packets...), b.ready.AfterCommit.Packets...)
	outputs := append(append([]PartnerOutput(nil), b.ready.Now.Partner...), b.ready.AfterCommit.Partner...)
	offset := b.ready.Offset
	b.ready.Commit.Reset()
	b.ready.Now.reset()
	b.ready.AfterCommit.reset()
	b.ready.Trace = b.ready.Trace[:0]
	other := b.boxes[1-b.index]
	for _, o := range outputs {
		switch {
		case o.Dial != "":
			if other.e.server == nil { // not started yet
				b.step(DialFailed{o.Dial})
				continue
			}
			b.conns++
			b.conn, other.conn = b.conns, b.conns
			other.step(PartnerConnected{Conn: b.conns, Peer: coupleAddrs[b.index]})
			b.step(PartnerConnected{Conn: b.conns, Relationship: o.Dial, Peer: coupleAddrs[1-b.index]})
		case o.Conn == b.conn && b.conn == other.conn:
			if o.Frame != nil {
				wire.Stamp(o.Frame, wire.At(offset+lease.Time(b.now.Mono/time.Second), b.now.Wall))
				b.frames++
				b.octets += len(o.Frame)
				other.inbox = append(other.inbox, o.Frame[2:])
				other.longestQueue = max(other.longestQueue, len(other.inbox))
			}
			if o.Close {
				b.conn = 0
				other.inbox = append(other.inbox, nil)
			}
		}
	}
}

// receive takes what has come over the cable.
func (b *halfBox) receive() bool {
	if len(b.inbox) == 0 {
		return false
	}
	frame := b.inbox[0]
	b.inbox = b.inbox[1:]
	if frame == nil {
		conn := b.conn
		b.conn = 0
		b.step(PartnerClosed{conn})
	} else {
		b.step(PartnerFrame{Conn: b.conn, At: b.now, Data: frame})
	}
	return true
}

// settle lets everything happen that happens at this moment.
func (c *couple) settle(also func()) {
	for busy := true; busy; {
		busy = false
		for _, b := range c.boxes {
			if b.receive() {
				busy = true
			}
			if b.ready.WakeAt <= c.now.Mono {
				b.step(Wake{})
				busy = true
			}
		}
		if also != nil {
			also()
		}
	}
}

func (c *couple) pass(seconds int, until func() bool) {
	for range seconds {
		c.settle(nil)
		if until() {
			return
		}
		c.now.Mono += time.Second
		c.now.Wall++
	}
	c.Fatalf("after %d s: %+v", seconds, c.states())
}

func (c *couple) states() (s [2]failover.State) {
	for i, b := range c.boxes {
		s[i] = b.e.View(c.now).Relationships[0].State
	}
	return s
}

func (c *couple) together() {
	c.Helper()
	for _, b := range c.boxes {
		b.start()
	}
	c.pass(60, func() bool { return c.states() == [2]failover.State{failover.Normal, failover.Normal} })
}

// largeConfig has room for a million leases.
func largeConfig() *dhcp6.Config {
	cfg := config()
	cfg.Limits.Leases = 2_000_000
	cfg.Links[0].Subnets[0].Pools[0] = dhcp6.Range{First: netip.MustParseAddr("2001:db8:0:1::1:0:0"), Last: netip.MustParseAddr("2001:db8:0:1:0:2:ffff:ffff")}
	cfg.Links[0].Lifetimes = dhcp6.Lifetimes{Preferred: 40000, Valid: 80000}
	return cfg
}

// longHeld is a lease of client n that both servers would have.
func longHeld(n int, now lease.Time) *lease.Binding {
	a := netip.MustParseAddr("2001:db8:0:1::1:0:0").As16()
	binary.BigEndian.PutUint64(a[8:], binary.BigEndian.Uint64(a[8:])+uint64(n)*2654435761%(1<<32)*2+1) // odd
	return &lease.Binding{
		Prefix: lease.Address(netip.AddrFrom16(a)),
		IA:     lease.IA{Link: "lan", Client: lease.DUID(fmt.Sprintf("\x00\x02%08d", n)), Type: lease.IANA, ID: 1},
		Status: lease.Active, Preferred: 40000, Valid: 80000, T1: 20000, T2: 32000,
		Expires: now + 80000, HeldUntil: now + 80000, StartOfState: now - 9, LastTransaction: now - 9,
		PartnerLifetime: now + 100000, AckedPartnerLifetime: now + 100000,
	}
}

// A secondary that has lost its storage gets the whole database: with little in
// flight, and without keeping clients waiting (F-023, F-305).
//
// TANDEM6_RESYNC says how many leases; a million takes a minute.
func TestResyncOfAll(t *testing.T) {
	n := 20_000
	if s := os.Getenv("TANDEM6_RESYNC"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	c := newCouple(t, largeConfig)
	c.together()
	for i, b := range c.boxes { // a restart from disk, and from nothing
		old := b.values
		*b = halfBox{couple: c, index: i, values: map[string][]byte{}}
		b.e = New(Config{DHCP: largeConfig(), Relationships: []failover.Config{relationship(lease.Primary + lease.Role(i))}}, rand.New(rand.NewPCG(uint64(i), 8)))
		if i == 1 {
			continue
		}
		b.values = old
		for name, data := range old {
			if err := b.e.LoadValue(storage.Value{Name: name, Data: data}); err != nil {
				t.Fatal(err)
			}
		}
		for j := range n {
			if err := b.e.LoadBinding(longHeld(j, c.now.Wall)); err != nil {
				t.Fatal(err)
			}
		}
	}
	a, s := c.boxes[0], c.boxes[1]
	a.start()
	s.start()
	a.slowest, s.slowest = 0, 0
	served, asked := 0, 0
	var worst time.Duration
	began := time.Now()
	for s.e.table.Len() < n || c.states()[1] == failover.Recover {
		if time.Since(began) > 10*time.Minute {
			t.Fatalf("%d of %d leases after ten minutes, states %v", s.e.table.Len(), n, c.states())
		}
		c.settle(func() {
			// Clients renew meanwhile, and are answered by the next step.
			if asked++; asked%50 == 0 && a.e.View(c.now).Relationships[0].State == failover.CommunicationsInterrupted {
				a.answers = a.answers[:0]
				at := time.Now()
				a.step(renewal(a.e, asked/50%n, c.now.Wall))
				worst = max(worst, time.Since(at))
				served += len(a.answers)
			}
		})
		c.now.Mono += time.Second
		c.now.Wall++
	}
	took := time.Since(began)
	window := failover.MaxUnackedDefault
	if s.longestQueue > 2*window || a.longestReady > 600 || s.longestReady > 600 {
		t.Errorf("%d frames were under way at once, a step changed %d and %d leases: not bounded", s.longestQueue, a.longestReady, s.longestReady)
	}
	if served < asked/100 {
		t.Errorf("%d renewals answered of %d steps", served, asked)
	}
	for j := range n {
		want := a.e.table.Get(longHeld(j, 0).Prefix)
		got := s.e.table.Get(want.Prefix)
		if got == nil || got.IA != want.IA || got.Status != want.Status || got.Expires < want.Expires-80000 {
			t.Fatalf("lease %d arrived as %+v, sent was %+v", j, got, want)
		}
	}
	t.Logf("%d leases in %v (%.0f/s on both servers' single cpu): %.2f messages and %.0f octets a lease, at most %d frames under way; slowest step %v and %v, slowest renewal meanwhile %v (%d served)",
		n, took.Round(time.Millisecond), float64(n)/took.Seconds(), float64(a.frames+s.frames)/float64(n), float64(a.octets+s.octets)/float64(n),
		s.longestQueue, a.slowest, s.slowest, worst, served)
}

// renewal is a Renew of client n of longHeld.
func renewal(e *Engine, n int, now lease.Time) *Received {
	b := longHeld(n, now)
	p := []byte{byte(dhcp6.Renew), 0, byte(n >> 8), byte(n), 0, 1, 0, byte(len(b.Client))}
	p = append(p, b.Client...)
	p = append(append(p, 0, 2, 0, byte(len(e.id))), e.id...)
	p = append(p, 0, 3, 0, 40, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 24)
	a := b.Prefix.Addr().As16()
	p = append(append(p, a[:]...), make([]byte, 8)...)
	return &Received{dhcp6.Packet{Data: p, Source: netip.AddrPortFrom(netip.MustParseAddr("fe80::1"), 546), Destination: netip.MustParseAddr("ff02::1:2"), IfIndex: 2}}
}

// BenchmarkRenewInPair is a step of a primary in NORMAL under nothing but
// renewals, with the partner's answers taken in.
func BenchmarkRenewInPair(b *testing.B) {
	const clients = 10_000
	c := newCouple(b, func() *dhcp6.Config {
		cfg := largeConfig()
		cfg.Limits.MessagesPerSecondPerClient = 1000
		return cfg
	})
	a, s := c.boxes[0], c.boxes[1]
	for j := range clients {
		for _, box := range c.boxes {
			if err := box.e.LoadBinding(longHeld(j, c.now.Wall)); err != nil {
				b.Fatal(err)
			}
		}
	}
	c.together()
	var steps int
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%clients == 0 {
			c.now.Mono += time.Second
			c.now.Wall++
		}
		a.answers = a.answers[:0]
		a.step(renewal(a.e, i%clients, c.now.Wall))
		if len(a.answers) != 1 {
			b.Fatalf("renewal %d was answered by %d packets", i, len(a.answers))
		}
		for s.receive() || a.receive() {
			steps++
		}
		steps++
	}
	b.ReportMetric(float64(steps)/float64(b.N), "steps/renewal")
	b.ReportMetric(float64(steps)/b.Elapsed().Seconds(), "steps/s")
}
