package appliance

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/appliance/engine"
	"github.com/tandem6/tandem6/appliance/udp6"
	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/storage"
)

// gate is a store whose commits wait until the test lets them through, with the
// outcome that it wants.
type gate struct {
	begun   chan int // changes of the batch that wants to be committed
	outcome chan error
	stored  []storage.Change
}

func (g *gate) Load(func(*lease.Binding) error, func(storage.Value) error) error { return nil }
func (g *gate) Close() error                                                     { return nil }
func (g *gate) Commit(b *storage.Batch) error {
	changes := slices.Clone(b.Changes)
	g.begun <- len(changes)
	err := <-g.outcome
	if err == nil {
		g.stored = append(g.stored, changes...)
	}
	return err
}

// desk is the event loop with its real socket on the loopback interface.
type desk struct {
	*testing.T
	*gate
	loop   *loop
	conn   *udp6.Conn
	client *net.UDPConn
	stop   context.CancelFunc
	ended  chan error
}

func newDesk(t *testing.T) *desk {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := udp6.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	d := &desk{T: t, conn: conn, stop: stop, ended: make(chan error, 1)}
	d.gate = &gate{begun: make(chan int, 1), outcome: make(chan error, 1)}
	d.client, err = net.DialUDP("udp6", nil, &net.UDPAddr{IP: net.IPv6loopback, Port: int(conn.Port())})
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(engine.Config{DHCP: &dhcp6.Config{
		AcceptUnicast: true, Limits: dhcp6.DefaultLimits,
		Links: []dhcp6.Link{{
			Name: "lan", Interface: "lo", RapidCommit: true, Lifetimes: dhcp6.Lifetimes{Preferred: 60, Valid: 60},
			Subnets: []dhcp6.Subnet{{Prefix: netip.MustParsePrefix("2001:db8::/64"), Pools: []dhcp6.Range{{First: netip.MustParseAddr("2001:db8::1000"), Last: netip.MustParseAddr("2001:db8::2000")}}}},
		}},
	}}, rand.New(rand.NewPCG(1, 2)))
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	d.loop = newLoop(e, conn, newWriter(d.gate), newJournal(log, trace.Error), newRouteQueue(), clockFrom(time.Now()))
	started := make(chan struct{})
	go conn.Run(ctx)
	go d.loop.writer.run(ctx)
	go func() { d.ended <- d.loop.run(ctx, started) }()
	t.Cleanup(func() {
		stop()
		d.client.Close()
		conn.Close()
	})
	// The first batch holds the server's DUID: nothing has started before.
	<-d.begun
	select {
	case <-started:
		t.Fatal("started before the DUID was on disk")
	default:
	}
	d.outcome <- nil
	<-started
	if err := d.loop.do(ctx, engine.Interfaces{List: []dhcp6.Interface{{Index: lo.Index, Name: "lo"}}}); err != nil {
		t.Fatal(err)
	}
	return d
}

// solicit asks for an address with Rapid Commit.
func (d *desk) solicit(client byte) {
	d.Helper()
	_, err := d.client.Write([]byte{1, 0, 0, client, 0, 1, 0, 4, 0, 9, 0, client, 0, 14, 0, 0, 0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0})
	if err != nil {
		d.Fatal(err)
	}
}

// sent waits until so many answers have left.
func (d *desk) sent(n uint64) {
	d.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if got := d.conn.Counters().Sent; got == n {
			return
		} else if got > n || time.Now().After(end) {
			d.Fatalf("%d answers sent, want %d", got, n)
		}
	}
}

// D-084: no Reply leaves before its lease is on disk; meanwhile others gather
// and go into the next batch together.
func TestReplyAfterCommit(t *testing.T) {
	d := newDesk(t)
	d.solicit(1)
	if n := <-d.begun; n != 1 {
		t.Fatalf("first batch of %d changes", n)
	}
	const more = 20
	for c := range byte(more) {
		d.solicit(2 + c)
	}
	for end := time.Now().Add(10 * time.Second); d.conn.Counters().Received < 1+more; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d packets received", d.conn.Counters().Received)
		}
	}
	if n := d.conn.Counters().Sent; n != 0 {
		t.Fatalf("%d answers left before anything was on disk", n)
	}
	d.outcome <- nil
	d.sent(1)
	batches := 0
	for n := 0; n < more; batches++ {
		n += <-d.begun
		d.outcome <- nil
	}
	if batches > more/4 {
		t.Errorf("%d batches for %d clients who came together", batches, more)
	}
	d.sent(1 + more)
	if len(d.stored) != 1+more {
		t.Errorf("%d bindings stored", len(d.stored))
	}
}

// When the disk fails, the daemon ends and nothing that rests on it is sent.
func TestFailedCommitSendsNothing(t *testing.T) {
	d := newDesk(t)
	d.solicit(1)
	<-d.begun
	full := errors.New("no space left on device")
	d.outcome <- full
	if err := <-d.ended; !errors.Is(err, full) {
		t.Errorf("the loop ended with %v", err)
	}
	if n := d.conn.Counters().Sent; n != 0 {
		t.Errorf("%d answers were sent", n)
	}
}

// Stopping waits for the batch under way and keeps what was promised.
func TestStopFinishesWork(t *testing.T) {
	d := newDesk(t)
	d.solicit(1)
	<-d.begun
	d.stop()
	select {
	case err := <-d.ended:
		t.Fatalf("ended with %v while a batch was on its way", err)
	case <-time.After(20 * time.Millisecond): // what must not happen cannot be waited for
	}
	d.outcome <- nil
	if err := <-d.ended; err != nil {
		t.Fatal(err)
	}
	d.sent(1)
}

// An operator's look is answered while the disk works, but shows nothing that
// is not on it.
func TestLookShowsDurableState(t *testing.T) {
	d := newDesk(t)
	d.solicit(1)
	<-d.begun
	looks := make(chan view, 1)
	go func() {
		v, _ := d.loop.look(t.Context())
		looks <- v
	}()
	select {
	case v := <-looks:
		if v.Leases.Len() != 0 {
			t.Fatalf("%d leases shown before they were on disk", v.Leases.Len())
		}
	case <-time.After(20 * time.Millisecond):
		d.outcome <- nil
		if v := <-looks; v.Leases.Len() != 1 {
			t.Fatalf("%d leases shown", v.Leases.Len())
		}
	}
}
