// Package engine composes the DHCPv6 server, the lease table and one failover
// endpoint for each relationship into one state machine: Step takes the
// time and an event and says what to store, what to send at once, and what to
// send when that is stored. It is pure: the daemon and the simulator drive the
// same engine.
package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/failover"
	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/netcfg"
	"github.com/tandem6/tandem6/storage"
)

const (
	// ExpiryGrace is how much longer than promised a lease is kept from others:
	// for the wait for the disk, the way to the client, the fractions of
	// seconds, and small corrections of the clock; and so that a partner whose
	// clock is behind agrees that the lease has ended.
	ExpiryGrace = 15 // seconds

	// endsPerStep bounds the leases that end in one Step; the rest ends in the next.
	endsPerStep = 512

	// floorInterval is how often the time floor is stored, if anything is; the
	// bindings carry times of their own.
	floorInterval = 3600 // seconds
)

// Event is what can happen to the engine.
type Event interface{ event() }

// The events.
type (
	// Received is a packet from a client or relay.
	Received struct{ Packet dhcp6.Packet }
	// Interfaces are all network interfaces as they are now.
	Interfaces struct{ List []dhcp6.Interface }
	// Wake says that the time of Ready.WakeAt has come.
	Wake struct{}
	// Clear is the operator's order to end a lease; its Done carries the Ticket.
	Clear struct {
		Ticket uint64
		Prefix netip.Prefix
	}
	// Keep has a named value stored that is not the engine's; its Done carries
	// the Ticket.
	Keep struct {
		Ticket uint64
		Value  storage.Value
	}
	// SetAddressKey changes the secret behind the choice of addresses (D-243):
	// clients keep what they have, new ones get addresses by the new key. Its
	// Done carries the Ticket.
	SetAddressKey struct {
		Ticket uint64
		Key    dhcp6.AddressKey
	}
	// Reconfigure puts a new, validated configuration in force.
	Reconfigure struct {
		Config Config
		Text   string // what changed, in words
	}
)

func (*Received) event()     {}
func (Interfaces) event()    {}
func (Wake) event()          {}
func (Clear) event()         {}
func (Keep) event()          {}
func (SetAddressKey) event() {}
func (Reconfigure) event()   {}

// Ready is everything that the world has to do. Steps append to it; a Pipeline
// keeps the order between disk and network.
type Ready struct {
	Commit      storage.Batch // to be made durable
	Now         Outputs       // promise nothing
	AfterCommit Outputs       // rest on Commit and on every batch before it
	Trace       []trace.Event
	WakeAt      time.Duration // on Clock.Mono; Never: not needed

	// Offset turns Clock.Mono into the engine's time: Offset plus the whole
	// seconds of Mono is what messages to a partner are stamped with.
	Offset lease.Time
}

// Never is a WakeAt that does not come.
const Never = time.Duration(1<<63 - 1)

// Outputs are effects on the world outside.
type Outputs struct {
	Packets []dhcp6.Output
	Partner []PartnerOutput // in order
	Routes  []RouteChange   // in order
	Done    []Done
}

// RouteChange installs or removes the route to a delegated prefix.
type RouteChange struct {
	Delegation netcfg.Delegation
	Add        bool
}

// Done answers an operator's order.
type Done struct {
	Ticket uint64
	Err    error
}

// ErrNoLease is what Clear says about a lease that is not there.
var ErrNoLease = errors.New("no such lease")

// Engine is the state machine. One goroutine owns it.
type Engine struct {
	rnd      *rand.Rand
	cfg      Config
	table    *lease.Table
	server   *dhcp6.Server
	policy   dhcp6.Policy
	partners partners

	id         lease.DUID
	key        dhcp6.AddressKey
	clock      clock
	floorSaved lease.Time
	interfaces map[string]string // of each link: name of its interface, or ""

	ready  *Ready // of the Step under way
	result dhcp6.Result
}

// New makes an engine that has not started. rnd decides what has to be
// unpredictable: in the daemon it is seeded from the kernel's random source.
func New(cfg Config, rnd *rand.Rand) *Engine {
	e := &Engine{rnd: rnd, cfg: cfg, table: lease.NewTable()}
	e.policy = policy{e: e}
	e.partners.byConn = map[ConnID]*failover.Endpoint{}
	e.partners.saved = map[string][]byte{}
	return e
}

// LoadBinding takes over a binding from stable storage. An Active lease is
// believed to last as long as its record promises.
func (e *Engine) LoadBinding(b *lease.Binding) error {
	if err := b.Check(); err != nil {
		return err
	}
	e.clock.raiseFloor(b.LastTransaction)
	e.clock.raiseFloor(b.StartOfState)
	v := *b
	if v.Status == lease.Active {
		v.Expires = v.HeldUntil
	}
	e.table.Put(&v)
	return nil
}

// LoadValue takes over a named value from stable storage. Names it does not
// know belong to others.
func (e *Engine) LoadValue(v storage.Value) error {
	switch v.Name {
	case storage.ServerDUID:
		if len(v.Data) < lease.DUIDLenMin || len(v.Data) > lease.DUIDLenMax {
			return fmt.Errorf("the stored server DUID has %d octets, allowed are %d to %d", len(v.Data), lease.DUIDLenMin, lease.DUIDLenMax)
		}
		e.id = lease.DUID(v.Data)
	case storage.AddressKey:
		if len(v.Data) != len(e.key) {
			return fmt.Errorf("the stored address key has %d octets, not %d", len(v.Data), len(e.key))
		}
		e.key = dhcp6.AddressKey(v.Data)
	case storage.TimeFloor:
		if len(v.Data) != 8 {
			return fmt.Errorf("the stored time has %d octets, not 8", len(v.Data))
		}
		e.clock.raiseFloor(lease.Time(binary.BigEndian.Uint64(v.Data)))
	}
	if v.Name == storage.ClockSetBack {
		var err error
		if e.clock.setBack, err = parseSetBack(v.Data); err != nil {
			return err
		}
	}
	if name, ok := strings.CutPrefix(v.Name, recordPrefix); ok {
		if err := failover.CheckRecord(v.Data); err != nil {
			return fmt.Errorf("relationship %q: %w", name, err)
		}
		e.clock.raiseFloor(failover.Since(v.Data))
		e.partners.saved[name] = slices.Clone(v.Data)
	}
	return nil
}

// Start begins work after everything is loaded. What the server needs and the
// store lacks is made now and stored: its DUID, the address key.
func (e *Engine) Start(now lease.Clock, r *Ready) {
	e.ready = r
	if e.id == "" {
		e.id = newDUID(e.rnd)
		r.Commit.Set(storage.ServerDUID, []byte(e.id))
	}
	if e.key == (dhcp6.AddressKey{}) {
		for i := 0; i < len(e.key); i += 8 {
			binary.BigEndian.PutUint64(e.key[i:], e.rnd.Uint64())
		}
		r.Commit.Set(storage.AddressKey, slices.Clone(e.key[:]))
	}
	e.server = dhcp6.New(e.cfg.DHCP, e.id, e.key, e.rnd)
	e.configured()
	outside := 0
	for b := range e.table.From(netip.Prefix{}) {
		e.server.Changed(nil, b)
		if d, ok := e.delegation(b); ok {
			r.AfterCommit.Routes = append(r.AfterCommit.Routes, RouteChange{d, true})
		}
		if b.Status == lease.Active && !e.server.InPool(b) {
			outside++
		}
	}
	e.table.Watch(e.changed)
	e.trace(trace.Event{ID: trace.ServerStarted, N: int64(e.table.Len())})
	e.traceOutside(outside)
	now = e.readClock(now)
	e.resume(now)
	e.relationships(now, e.cfg.Relationships, e.cfg.Flaws)
	e.finish(now)
}

// newDUID makes a DUID-UUID (RFC 9915 section 11.5, RFC 6355) from random
// bits: it needs neither clock nor network card, so no change of hardware and
// no wrong date ever puts it in doubt (D-059 to D-063).
func newDUID(rnd *rand.Rand) lease.DUID {
	d := []byte{0, 4}
	d = binary.BigEndian.AppendUint64(d, rnd.Uint64())
	d = binary.BigEndian.AppendUint64(d, rnd.Uint64())
	d[2+6] = d[2+6]&0x0f | 0x40 // version 4
	d[2+8] = d[2+8]&0x3f | 0x80 // variant of RFC 9562
	return lease.DUID(d)
}

// Step handles one event. What comes of it is appended to r.
func (e *Engine) Step(now lease.Clock, event Event, r *Ready) {
	e.ready = r
	now = e.readClock(now)
	switch ev := event.(type) {
	case *Received:
		e.receive(now, &ev.Packet)
	case Interfaces:
		e.server.SetInterfaces(ev.List)
	case Clear:
		e.clear(now, ev)
	case Keep:
		e.ready.Commit.Values = append(e.ready.Commit.Values, ev.Value)
		e.ready.AfterCommit.Done = append(e.ready.AfterCommit.Done, Done{Ticket: ev.Ticket})
	case SetAddressKey:
		e.key = ev.Key
		e.server.SetAddressKey(ev.Key)
		e.ready.Commit.Set(storage.AddressKey, slices.Clone(ev.Key[:]))
		e.ready.AfterCommit.Done = append(e.ready.AfterCommit.Done, Done{Ticket: ev.Ticket})
	case Reconfigure:
		e.reconfigure(now, ev)
	case PartnerConnected:
		e.connected(now, ev)
	case DialFailed:
		if f := e.relationship(ev.Relationship); f != nil {
			f.DialFailed(now, &e.partners.out)
			e.carryOut(f)
		}
	case PartnerFrame:
		e.received(now, ev)
	case PartnerClosed:
		e.closed(now, ev.Conn)
	case Operate:
		e.operate(now, ev)
	case Wake:
	default:
		panic(fmt.Sprintf("engine: unhandled event %T", event))
	}
	e.endLeases(now)
	e.finish(now)
}

func (e *Engine) receive(now lease.Clock, p *dhcp6.Packet) {
	e.server.Handle(now, p, e.table, e.policy, &e.result)
	for _, b := range e.result.Changed {
		e.ready.Commit.Put(b)
	}
	e.ready.Trace = append(e.ready.Trace, e.result.Trace...)
	if e.result.Answer.Data == nil {
		return
	}
	out := &e.ready.Now
	if e.result.Promise {
		out = &e.ready.AfterCommit
	}
	out.Packets = append(out.Packets, e.result.Answer)
}

// clear ends a lease at the operator's word (D-135, D-267).
func (e *Engine) clear(now lease.Clock, c Clear) {
	b := e.table.Get(c.Prefix)
	done := Done{Ticket: c.Ticket}
	switch {
	case b == nil || b.Status.Available():
		done.Err = fmt.Errorf("%w: %v", ErrNoLease, c.Prefix)
	default:
		e.end(now, b, dhcp6.Cleared)
		e.trace(trace.Event{ID: trace.LeaseCleared, Lease: c.Prefix, Link: b.Link, Client: b.Client})
	}
	e.ready.AfterCommit.Done = append(e.ready.AfterCommit.Done, done)
}

func (e *Engine) reconfigure(now lease.Clock, ev Reconfigure) {
	before := e.interfaces
	e.cfg = ev.Config
	e.server.Reconfigure(e.cfg.DHCP, e.table)
	e.configured()
	outside := 0
	for b := range e.table.From(netip.Prefix{}) {
		if b.Status != lease.Active {
			continue
		}
		if !e.server.InPool(b) {
			outside++
		}
		if before[b.Link] != e.interfaces[b.Link] {
			e.reroute(delegation(b, before), delegation(b, e.interfaces))
		}
	}
	e.trace(trace.Event{ID: trace.Reconfigured, Text: ev.Text})
	e.traceOutside(outside)
	e.relationships(now, e.cfg.Relationships, e.cfg.Flaws)
}

func (e *Engine) traceOutside(n int) {
	if n > 0 {
		e.trace(trace.Event{ID: trace.LeasesOutOfPool, N: int64(n)})
	}
}

func (e *Engine) configured() {
	e.interfaces = make(map[string]string, len(e.cfg.DHCP.Links))
	for i := range e.cfg.DHCP.Links {
		e.interfaces[e.cfg.DHCP.Links[i].Name] = e.cfg.DHCP.Links[i].Interface
	}
}

// endLeases ends what has run out: leases, quarantines, and the memory of
// former clients.
func (e *Engine) endLeases(now lease.Clock) {
	for range endsPerStep {
		b := e.table.FirstEnd()
		if b == nil || b.End() > now.Wall-ExpiryGrace {
			return
		}
		if b.Status.Available() {
			e.forget(b)
			continue
		}
		e.end(now, b, dhcp6.RanOut)
		switch b.Status {
		case lease.Active:
			e.trace(trace.Event{ID: trace.LeaseExpired, Lease: b.Prefix, Link: b.Link, Client: b.Client})
		case lease.Abandoned:
			e.trace(trace.Event{ID: trace.DeclineEnded, Lease: b.Prefix, Link: b.Link})
		}
	}
}

// end ends a lease, or the quarantine of an address. What is available and
// remembers nobody needs no record.
func (e *Engine) end(now lease.Clock, b *lease.Binding, cause dhcp6.Cause) {
	ended := e.server.End(now, e.table, e.policy, b, cause)
	if ended.Status.Available() && ended.Client == "" {
		e.delete(b.Prefix)
	} else {
		e.put(ended)
	}
}

// forget ends the memory of an available lease's last client. Of a FREE-BACKUP
// prefix the record stays: that it is the secondary's stands nowhere else.
func (e *Engine) forget(b *lease.Binding) {
	if b.Status != lease.FreeBackup || b.Type != lease.IAPD {
		e.delete(b.Prefix)
		return
	}
	f := *b
	f.Client, f.Expires = "", 0
	e.put(&f)
}

func (e *Engine) put(b *lease.Binding) {
	e.table.Put(b)
	e.ready.Commit.Put(b)
}

func (e *Engine) delete(p netip.Prefix) {
	e.table.Delete(p)
	e.ready.Commit.Delete(p)
}

// changed sees every change of the lease table: pools are counted, routes follow.
func (e *Engine) changed(old, now *lease.Binding) {
	e.server.Changed(old, now)
	e.partnersChanged(old, now)
	e.reroute(delegation(old, e.interfaces), delegation(now, e.interfaces))
}

func (e *Engine) reroute(old, now netcfg.Delegation) {
	if old == now {
		return
	}
	routes := &e.ready.AfterCommit.Routes
	if old.Prefix.IsValid() {
		*routes = append(*routes, RouteChange{old, false})
	}
	if now.Prefix.IsValid() {
		*routes = append(*routes, RouteChange{now, true})
	}
}

func (e *Engine) delegation(b *lease.Binding) (netcfg.Delegation, bool) {
	d := delegation(b, e.interfaces)
	return d, d.Prefix.IsValid()
}

// delegation is the route that b demands (D-257): exactly while the lease is
// active, whatever the client's link does (D-258). The zero Delegation: none.
func delegation(b *lease.Binding, interfaces map[string]string) netcfg.Delegation {
	if b == nil || b.Type != lease.IAPD || b.Status != lease.Active || !b.Via.IsValid() || interfaces[b.Link] == "" {
		return netcfg.Delegation{}
	}
	return netcfg.Delegation{Prefix: b.Prefix, Via: b.Via, Interface: interfaces[b.Link]}
}

// finish ends a Step: the time floor and the next time to wake.
func (e *Engine) finish(now lease.Clock) {
	if !e.ready.Commit.Empty() && e.clock.trusted && now.Wall >= e.floorSaved+floorInterval {
		e.floorSaved = now.Wall
		e.ready.Commit.Set(storage.TimeFloor, binary.BigEndian.AppendUint64(nil, uint64(now.Wall)))
	}
	e.ready.WakeAt = e.wakePartners(now)
	if b := e.table.FirstEnd(); b != nil && b.End() != lease.Forever {
		wait := max(b.End()+ExpiryGrace-now.Wall, 0)
		e.ready.WakeAt = min(e.ready.WakeAt, now.Mono+min(time.Duration(wait), wakeMax_s)*time.Second)
	}
	e.ready.WakeAt = min(e.ready.WakeAt, now.Mono+e.clock.lookAgain())
	e.ready.Offset = e.clock.offset
	e.ready = nil
}

// wakeMax_s bounds a wait, in seconds, so that it fits time.Duration.
const wakeMax_s = 86400

func (e *Engine) trace(ev trace.Event) { e.ready.Trace = append(e.ready.Trace, ev) }
