package failover

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/tidwall/btree"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/failover/wire"
)

// ConnID names one connection with a partner. The shell gives them out and
// never uses one twice, so that nothing of an old connection is mistaken for
// news of the present one.
type ConnID uint64

// Output is what the world has to do. Methods append to it.
type Output struct {
	Now     []Send   // promise nothing
	After   []Send   // rest on everything stored so far, Changes and Record included
	Changes []Change // of leases, in order; the table has them already
	Record  []byte   // the endpoint's own record, if it has changed; replaces the last
	Dial    bool     // open a connection to the partner: Connected or DialFailed answers
	Trace   []trace.Event
}

// Send is a message for a connection, or its end.
type Send struct {
	Conn    ConnID
	Message wire.Message // nil: none
	Close   bool         // after it
}

// Change is a lease as it is from now on; nil: forgotten.
type Change struct {
	Prefix  netip.Prefix
	Binding *lease.Binding
}

// Endpoint is this server's side of one relationship. One goroutine owns it.
type Endpoint struct {
	cfg   Config
	links map[string]*Link
	pools []*pool
	table *lease.Table
	flaws Flaw

	state   State
	record  record
	session *session // nil: no connection

	lastChange uint64                          // the number given out last
	changes    btree.Map[uint64, netip.Prefix] // what the partner has not confirmed, in the order of the changes
	maybeSent  uint64                          // changes up to this number may have been sent
	failed     lease.Time                      // TIME-OF-FAILURE of RFC 8156 section 8.3.2; zero: not known
	operated   lease.Time                      // when this server last promised something to a client
	activate   netip.Prefix                    // where the walk over the leases of a new relationship goes on
	activating bool
	joining    map[string]bool // links whose leases the partner has not told yet

	started     time.Duration // on Clock.Mono, as all that follow
	untilState  time.Duration // when the timer of the state ends; never: it has none
	untilWall   lease.Time    // FlawWallClockTimer
	availableAt time.Duration // in PARTNER-DOWN: from when on the partner's prefixes may be used
	grantsFrom  time.Duration // storage was lost: no new lease before
	dialAt      time.Duration
	dialing     bool
	dialWait    time.Duration
	scanAt      time.Duration
	poolReqAt   time.Duration // earliest next POOLREQ
	poolReqDue  bool
	entered     uint64 // NORMAL, or contact in PARTNER-DOWN, after this change
	sweepAt     time.Duration
	sweepFrom   netip.Prefix
	stopped     bool // by the operator: no more connections
	more        bool // there is more to do than one step may
	touched     bool // a lease has changed since the last call
	stampDue    bool // a lease no longer shows when this server last served

	now lease.Clock // of the call in hand
	out *Output     // likewise
}

// never is a time that does not come.
const never = time.Duration(1<<63 - 1)

const second = time.Second

// New makes an endpoint that has not started. The configuration is valid. The
// endpoint has to be told of every change of the table by Changed, those of its
// own making included.
func New(cfg Config, t *lease.Table) *Endpoint {
	e := &Endpoint{table: t, untilState: never, dialAt: never, scanAt: never, sweepAt: never, poolReqAt: 0}
	e.configure(cfg)
	return e
}

func (e *Endpoint) configure(cfg Config) {
	e.cfg = cfg.withDefaults()
	e.links = map[string]*Link{}
	for i := range e.cfg.Links {
		e.links[e.cfg.Links[i].Name] = &e.cfg.Links[i]
	}
	e.pools = newPools(e.cfg.Links)
}

// Load takes over the record that an Output held last.
func (e *Endpoint) Load(data []byte) error {
	r, err := parseRecord(data)
	if err != nil {
		return err
	}
	e.record = r
	return nil
}

// Changed tells the endpoint of a change of the lease table, with what was
// there and what is, nil for nothing.
func (e *Endpoint) Changed(old, now *lease.Binding) {
	if old != nil && old.Change != 0 {
		e.changes.Delete(old.Change)
	}
	if now != nil && e.Covers(now) {
		if now.Change != 0 {
			e.changes.Set(now.Change, now.Prefix)
			e.lastChange = max(e.lastChange, now.Change)
		}
		e.operated = max(e.operated, now.LastTransaction)
	}
	e.countPools(old, now)
	e.touched = true
	if old != nil && old.LastTransaction > e.record.Stamp && e.Covers(old) && (now == nil || now.LastTransaction < old.LastTransaction) {
		e.stampDue = true
	}
}

// Covers reports whether a lease belongs to the relationship.
func (e *Endpoint) Covers(b *lease.Binding) bool { return e.links[b.Link] != nil }

// Name is the relationship's name.
func (e *Endpoint) Name() string { return e.cfg.Name }

// Role is this server's role in it.
func (e *Endpoint) Role() lease.Role { return e.cfg.Role }

// Start begins work after everything is loaded (RFC 8156 section 8.3.2).
func (e *Endpoint) Start(now lease.Clock, out *Output) {
	e.begin(now, out)
	e.started = now.Mono
	e.maybeSent = e.lastChange
	if before := e.record; before.State == 0 || before.Role != e.cfg.Role { // T-02, Q-06
		e.record = record{State: Recover, Since: now.Wall, MCLT_s: e.cfg.MCLT_s, Role: e.cfg.Role}
		if before.Role != 0 { // the roles were changed: as a newcomer that the partner knows
			e.record.Communicated, e.record.Previous = before.Communicated, before.State
			e.record.FormerMCLT_s, e.record.FormerUntil = max(before.MCLT_s, before.FormerMCLT_s), now.Wall.Add(before.MCLT_s)
			e.failed = max(before.Stamp, e.operated)
		}
	} else { // T-01, T-03
		stopped := e.lastOperation()
		// The leases that show it may be overwritten by the partner's news.
		e.record.Stamp = max(e.record.Stamp, stopped)
		if e.record.Loss == lossNone {
			e.failed = stopped
		}
		switch e.record.State {
		case Normal:
			e.record.Previous, e.record.State, e.record.Since = e.record.State, CommunicationsInterrupted, stopped
		case PotentialConflict:
			e.record.Previous, e.record.State, e.record.Since = e.record.State, ResolutionInterrupted, stopped
		}
		if e.flawed(FlawStartTimeOverwritten) {
			e.record.Since = now.Wall
		}
	}
	e.join()
	e.state = Startup
	if e.record.Loss != lossNone {
		e.grantsFrom = now.Mono + e.waitMCLT()
	}
	e.store()
	e.untilState = now.Mono + time.Duration(e.cfg.Startup_s)*second
	e.dialAt = now.Mono
	e.scanAt = now.Mono + scanEvery
	e.tell(trace.Event{ID: trace.FailoverState, Text: "STARTUP, was " + e.record.State.String()})
	e.end()
}

// Wake says that the time of WakeAt has come.
func (e *Endpoint) Wake(now lease.Clock, out *Output) {
	e.begin(now, out)
	e.end()
}

// Reconfigure puts a new configuration of the same relationship in force. What
// the partner has to know of it, it learns by a new connection.
func (e *Endpoint) Reconfigure(now lease.Clock, cfg Config, out *Output) {
	e.begin(now, out)
	before := e.cfg
	e.configure(cfg)
	e.changes.Clear()
	for b := range e.table.From(netip.Prefix{}) {
		e.Changed(nil, b)
	}
	e.join()
	if e.state == CommunicationsInterrupted && before.AutoPartnerDown_s != e.cfg.AutoPartnerDown_s {
		e.untilState = never
		if e.session == nil || e.session.phase != open {
			e.armAutoPartnerDown()
		}
	}
	if e.session != nil && !sameTerms(&before, &e.cfg) {
		e.disconnect(wire.UnspecFail, "the configuration has changed, connect again")
		e.dialAt = now.Mono
	}
	e.store()
	e.end()
}

// sameTerms reports whether two configurations are the same in all that the
// partner hears of, or has refused.
func sameTerms(a, b *Config) bool {
	return a.MCLT_s == b.MCLT_s && a.Keepalive_s == b.Keepalive_s && a.MaxUnacked == b.MaxUnacked &&
		slices.EqualFunc(a.Links, b.Links, func(x, y Link) bool {
			return x.Name == y.Name && x.Text == y.Text && slices.Equal(x.Pools, y.Pools) && maps.Equal(x.Reserved, y.Reserved)
		})
}

// SetForward corrects what was noted since a time by a clock that is set forward
// by so many seconds. The partner has heard of the other time, so the connection
// begins anew.
func (e *Endpoint) SetForward(now lease.Clock, by, since lease.Time, out *Output) {
	e.begin(now, out)
	for _, t := range e.noted() {
		if *t >= since && *t != 0 && *t != lease.Forever {
			*t += by
		}
	}
	e.clockSet()
}

// SetBack is the same for a clock that is set back by so many seconds, which are
// negative. Waits get longer.
func (e *Endpoint) SetBack(now lease.Clock, by lease.Time, out *Output) {
	e.begin(now, out)
	for _, t := range e.noted() {
		if *t > now.Wall && t != &e.record.FormerUntil { // noted while the clock was ahead
			*t = min(*t+by, now.Wall)
		}
	}
	e.clockSet()
}

// noted are the times that this server has noted by its own clock.
func (e *Endpoint) noted() []*lease.Time {
	return []*lease.Time{&e.record.Since, &e.record.Stamp, &e.record.FormerUntil, &e.operated, &e.failed}
}

func (e *Endpoint) clockSet() {
	if e.session != nil {
		e.hangUp("the clock was set")
	}
	e.store()
	e.end()
}

func (e *Endpoint) begin(now lease.Clock, out *Output) { e.now, e.out = now, out }

// end does what has become due, and lets go of the call's arguments.
func (e *Endpoint) end() {
	e.touched, e.more = false, false
	e.tick()
	e.pump()
	if e.stampDue {
		e.stampDue = false
		e.record.Stamp = max(e.record.Stamp, e.operated)
		e.store()
	}
	e.out = nil
}

// WakeAt is when Wake has to be called at the latest.
func (e *Endpoint) WakeAt() time.Duration {
	at := min(e.untilState, e.sweepAt)
	if e.cfg.Role == lease.Primary && e.session == nil && !e.dialing && !e.stopped {
		at = min(at, e.dialAt)
	}
	if e.activating || e.stampDue {
		return 0
	}
	if s := e.session; s != nil {
		if e.more || e.touched {
			return 0
		}
		at = min(at, s.wakeAt(e))
		if s.phase == open {
			at = min(at, e.scanAt)
			if e.poolReqReady() {
				at = min(at, e.poolReqAt)
			}
		}
	}
	return at
}

// tick handles the timers.
func (e *Endpoint) tick() {
	now := e.now.Mono
	if e.activating {
		e.activateSome()
	}
	if e.session != nil {
		e.watchSession()
	}
	if now >= e.untilState || e.flawed(FlawWallClockTimer) && e.state == RecoverWait && e.now.Wall >= e.untilWall {
		e.untilState = never
		e.stateTimer()
	}
	if e.cfg.Role == lease.Primary && e.session == nil && !e.dialing && !e.stopped && !e.activating && now >= e.dialAt {
		e.dialing = true
		e.out.Dial = true
	}
	if now >= e.scanAt {
		e.scanAt = now + scanEvery
		e.scan()
	}
	if now >= e.sweepAt {
		e.sweep()
	}
	if serving(e.state) && e.record.Loss == lossPromises && now >= e.grantsFrom {
		e.forgive()
		e.store()
	}
	e.balance()
}

// join compares the links of the configuration with those whose leases the
// partner knows, when the endpoint starts or is configured anew.
func (e *Endpoint) join() {
	r := &e.record
	r.Links = slices.DeleteFunc(r.Links, func(name string) bool { return e.links[name] == nil })
	e.joining = map[string]bool{}
	for name := range e.links {
		if !slices.Contains(r.Links, name) {
			e.joining[name] = true
		}
	}
	e.activate, e.activating = netip.Prefix{}, len(e.joining) > 0
}

// activatedPerStep bounds the leases that one Step takes into a relationship.
const activatedPerStep = 512

// activateSome marks the leases of links that join: the partner knows none of
// them. After a crash in between it begins again.
func (e *Endpoint) activateSome() {
	var found []*lease.Binding
	n := 0
	e.activating = false
	for b := range e.table.From(e.activate) {
		if n++; n > activatedPerStep {
			e.activate, e.activating = b.Prefix, true
			break
		}
		if e.joining[b.Link] && (!b.Status.Available() || b.Status == lease.FreeBackup && b.Type == lease.IAPD) {
			found = append(found, b)
		}
	}
	for _, b := range found {
		if b.Status == lease.FreeBackup && e.cfg.Role == lease.Secondary {
			e.forget(b.Prefix) // of another partner, or another time
			continue
		}
		a := *b
		a.AckedPartnerLifetime = 0
		if a.Status == lease.Active {
			a.HeldUntil = a.Expires
			a.PartnerLifetime = max(a.PartnerLifetime, a.Expires)
		}
		a.Change = e.number()
		e.put(&a)
	}
	if !e.activating {
		e.met()
	}
}

// joined notes that the partner has told what it knows of the links that join.
// Until then nothing new is given there.
func (e *Endpoint) joined() {
	if len(e.joining) == 0 || e.activating {
		return
	}
	e.record.Links = slices.Sorted(maps.Keys(e.links))
	e.joining = nil
	e.store()
}

// number numbers a change that the partner has to be told of.
func (e *Endpoint) number() uint64 {
	e.lastChange++
	return e.lastChange
}

func (e *Endpoint) put(b *lease.Binding) {
	e.table.Put(b)
	e.out.Changes = append(e.out.Changes, Change{b.Prefix, b})
}

func (e *Endpoint) forget(p netip.Prefix) {
	e.table.Delete(p)
	e.out.Changes = append(e.out.Changes, Change{Prefix: p})
}

func (e *Endpoint) tell(ev trace.Event) {
	ev.Relationship = e.cfg.Name
	e.out.Trace = append(e.out.Trace, ev)
}
