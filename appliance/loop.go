package appliance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/appliance/engine"
	"github.com/tandem6/tandem6/appliance/udp6"
	"github.com/tandem6/tandem6/failover/lease"
)

const (
	// packetsPerRound bounds the packets between two looks at everything else.
	packetsPerRound = 64
	// pendingMax is the number of unwritten changes at which the loop stops
	// taking packets until the disk has caught up; the socket's ring then drops
	// the oldest. With 128 a processor that others keep busy, so that each commit
	// waits for it several times, held the server at 8,000 exchanges a second.
	pendingMax = 1024
	// commitSpacing is the least time between two commits while there is a lot
	// to store. A client does not feel it, but the flash does: a hundred leases
	// in one commit cost a quarter of the pages of ten times ten. The first
	// commit after a rest is not delayed, nor is one of commitEnough changes,
	// for which more would not save much.
	commitSpacing = 5 * time.Millisecond
	commitEnough  = 64
	// ordersMax is how many orders of others may wait for the loop.
	ordersMax = 64
)

// loop is the one goroutine that owns the engine. Everybody else sends it
// orders and reads immutable views.
type loop struct {
	engine   *engine.Engine
	pipeline engine.Pipeline
	conn     *udp6.Conn
	sender   *sender // while run runs
	writer   *writer
	journal  *journal
	routes   *routeQueue
	orders   chan order
	clock    func() lease.Clock

	out      engine.Outputs
	sends    []udp6.Outgoing // to hand to the sender
	spare    []udp6.Outgoing // nil: with the sender
	received engine.Received
	tickets  map[uint64]func(error) // who waits for a Done
	ticket   uint64
	stopping bool

	commits    uint64
	written    uint64        // octets, with what tidying up wrote before the last commit
	commitTook time.Duration // the last one
	committing time.Time     // when the last one was begun
	spacing    *time.Timer   // runs while the next one is put off
}

// order is what another goroutine wants done: an event, or a look.
type order struct {
	event func(ticket uint64) engine.Event // nil: only a look
	done  chan<- error                     // gets the outcome when it is durable, has room for it; nil: nobody asks
	view  chan<- view                      // for a look, has room for it
}

// view is what others may know of the loop.
type view struct {
	*engine.View
	commits    uint64
	written    uint64
	commitTook time.Duration
}

func newLoop(e *engine.Engine, conn *udp6.Conn, w *writer, j *journal, routes *routeQueue, clock func() lease.Clock) *loop {
	return &loop{
		engine: e, conn: conn, writer: w, journal: j, routes: routes, clock: clock,
		orders: make(chan order, ordersMax), tickets: map[uint64]func(error){}, spacing: time.NewTimer(0),
	}
}

// run starts the engine and serves until ctx ends. Then what was promised to
// the disk is still written, and what waited for it sent. started is closed
// when the first batch is on disk: from then on the server may be announced.
func (l *loop) run(ctx context.Context, started chan<- struct{}) error {
	defer close(l.writer.batches)
	l.sender = startSender(l.conn, l.journal)
	defer l.sender.close()
	l.engine.Start(l.clock(), l.pipeline.Open())
	l.advance()
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer l.spacing.Stop()
	ready := l.conn.Ready()
	for {
		if started != nil && !l.pipeline.Busy() {
			close(started)
			started = nil
		}
		packets := ready
		if l.pipeline.Pending() >= pendingMax {
			packets = nil
		}
		var idle <-chan []udp6.Outgoing
		if len(l.sends) > 0 {
			idle = l.sender.idle
		}
		l.arm(timer)
		select {
		case <-packets:
			l.takePackets()
		case c := <-l.writer.done:
			if err := l.committed(c); err != nil {
				return err
			}
		case o := <-l.orders:
			l.obey(o)
		case l.spare = <-idle:
		case <-l.spacing.C:
		case <-timer.C:
			l.engine.Step(l.clock(), engine.Wake{}, l.pipeline.Open())
		case <-ctx.Done():
			return l.drain()
		}
		l.advance()
	}
}

// arm sets the timer for the engine's next wish to wake.
func (l *loop) arm(timer *time.Timer) {
	at := l.pipeline.Open().WakeAt
	if at == engine.Never {
		timer.Stop()
		return
	}
	timer.Reset(max(at-l.clock().Mono, 0))
}

func (l *loop) takePackets() {
	now := l.clock()
	for range packetsPerRound {
		d := l.conn.Next()
		if d == nil {
			return
		}
		l.received.Packet = dhcp6.Packet{Data: d.Payload, Source: d.Source, Destination: d.Destination, IfIndex: d.IfIndex}
		l.engine.Step(now, &l.received, l.pipeline.Open())
	}
}

// committed releases what waited for the batch that is now on disk.
func (l *loop) committed(c committed) error {
	if c.err != nil {
		return fmt.Errorf("stop serving, the leases cannot be stored: %w", c.err)
	}
	l.commits++
	l.written, l.commitTook = c.written, c.took
	l.pipeline.Committed(l.clock().Mono, &l.out)
	return nil
}

// advance hands on whatever may leave, and the next batch to an idle writer.
func (l *loop) advance() {
	open := l.pipeline.Open()
	l.journal.record(open.Trace)
	clear(open.Trace)
	open.Trace = open.Trace[:0]
	if !l.putOff() {
		if batch := l.pipeline.Advance(l.clock().Mono, &l.out); batch != nil {
			l.committing = time.Now()
			l.writer.batches <- batch // has room: the writer is idle
		}
	}
	l.pipeline.TakeNow(&l.out)
	l.send()
}

// putOff reports whether the next commit waits for more to store, and sets the
// timer for its end.
func (l *loop) putOff() bool {
	if n := l.pipeline.Pending(); l.pipeline.Busy() || n == 0 || n >= commitEnough || l.stopping {
		return false
	}
	wait := commitSpacing - time.Since(l.committing)
	if wait <= 0 {
		return false
	}
	l.spacing.Reset(wait)
	return true
}

// send carries out the outputs.
func (l *loop) send() {
	l.routes.add(l.out.Routes)
	for _, p := range l.out.Packets {
		l.sends = append(l.sends, udp6.Outgoing{Payload: p.Data, Destination: p.Destination, IfIndex: p.IfIndex})
	}
	if len(l.sends) > 0 {
		l.sendOff()
	}
	for _, d := range l.out.Done {
		l.tickets[d.Ticket](d.Err)
		delete(l.tickets, d.Ticket)
	}
	l.out.Reset()
}

// sendOff sends a few packets and has the sender send more. While that is busy
// they gather.
func (l *loop) sendOff() {
	if l.spare == nil {
		select {
		case l.spare = <-l.sender.idle:
		default:
			if len(l.sends) < unsentMax && !l.stopping {
				return
			}
			l.spare = <-l.sender.idle
		}
	}
	if len(l.sends) < handOverMin {
		l.sender.send(l.sends)
		l.sends = l.sends[:0]
		return
	}
	l.sender.batches <- l.sends
	l.sends, l.spare = l.spare, nil
}

func (l *loop) obey(o order) {
	switch {
	case o.view != nil:
		// Shown only when all of it is on disk, like everything else.
		v := view{l.engine.View(l.clock()), l.commits, l.written, l.commitTook}
		open := l.pipeline.Open()
		open.AfterCommit.Done = append(open.AfterCommit.Done, engine.Done{Ticket: l.newTicket(func(error) { o.view <- v })})
	case o.done != nil:
		ticket := l.newTicket(func(err error) { o.done <- err })
		l.engine.Step(l.clock(), o.event(ticket), l.pipeline.Open())
	default:
		l.engine.Step(l.clock(), o.event(0), l.pipeline.Open())
	}
}

func (l *loop) newTicket(f func(error)) uint64 {
	l.ticket++
	l.tickets[l.ticket] = f
	return l.ticket
}

// drain waits until everything promised is on disk and sent.
func (l *loop) drain() error {
	l.stopping = true
	for l.advance(); l.pipeline.Busy(); l.advance() {
		if err := l.committed(<-l.writer.done); err != nil {
			return err
		}
	}
	return nil
}

// errStopped says that the loop has ended before the others.
var errStopped = errors.New("the event loop has ended")

// gaveUp is why somebody who waited for the loop no longer does.
func gaveUp(ctx context.Context) error {
	return fmt.Errorf("waiting for the event loop: %w", context.Cause(ctx))
}

// do has the engine handle an event and does not wait for it.
func (l *loop) do(ctx context.Context, e engine.Event) error {
	return l.order(ctx, order{event: func(uint64) engine.Event { return e }})
}

// durably has the engine handle an event with a ticket, and returns its outcome
// when that is on disk.
func (l *loop) durably(ctx context.Context, event func(ticket uint64) engine.Event) error {
	done := make(chan error, 1)
	if err := l.order(ctx, order{event: event, done: done}); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return gaveUp(ctx)
	}
}

func (l *loop) order(ctx context.Context, o order) error {
	select {
	case l.orders <- o:
		return nil
	case <-ctx.Done():
		return gaveUp(ctx)
	}
}

// look returns the present state.
func (l *loop) look(ctx context.Context) (view, error) {
	answer := make(chan view, 1)
	if err := l.order(ctx, order{view: answer}); err != nil {
		return view{}, err
	}
	select {
	case v := <-answer:
		return v, nil
	case <-ctx.Done():
		return view{}, gaveUp(ctx)
	}
}
