package engine

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
)

// slewMax is by how much the wall clock may be corrected at once without any
// lease taking notice, in seconds: within ExpiryGrace, and the skew that RFC
// 8156 section 7.5.1 tolerates.
const slewMax lease.Time = 5

// clock turns readings of the system's two clocks into the engine's time. The
// engine's wall time never runs backward, and starts no earlier than what is
// on disk: a board without a clock chip boots in 1970.
type clock struct {
	started bool
	floor   lease.Time // the latest time that is on disk
	offset  lease.Time // wall time minus monotonic time, in seconds
	boot    lease.Time // wall time of the start
	trusted bool       // the system's wall clock agrees
}

func (c *clock) raiseFloor(t lease.Time) {
	if t != lease.Forever && t > c.floor {
		c.floor = t
	}
}

// read returns the engine's time, and by how many seconds the wall clock has
// jumped ahead since the last reading.
func (c *clock) read(now lease.Clock) (wall, jump lease.Time) {
	mono := lease.Time(now.Mono / time.Second)
	if !c.started {
		c.started = true
		c.trusted = now.Wall >= c.floor
		// One second on, so that what is on disk is older than all that follows.
		c.offset = max(now.Wall, c.floor+1) - mono
		c.boot = c.offset + mono
		return c.boot, 0
	}
	wall = c.offset + mono
	switch diff := now.Wall - wall; {
	case diff > slewMax:
		jump = diff
		fallthrough
	case diff >= 0:
		c.trusted = true
		c.offset += diff
		wall += diff
	case diff >= -slewMax: // a little behind: wait for it
		c.trusted = true
	default:
		c.trusted = false
	}
	return wall, jump
}

// readClock puts the engine's time into now. When the wall clock was behind and
// has been set right, the leases that were given by the wrong time are shifted
// by as much: their clients count seconds, not dates (D-342).
func (e *Engine) readClock(now lease.Clock) lease.Clock {
	before, started, reading := e.clock.trusted, e.clock.started, now.Wall
	wall, jump := e.clock.read(now)
	now.Wall = wall
	if jump > 0 {
		e.finishShift()
		e.shift = shift{by: jump, from: e.clock.boot, to: wall - jump, left: true}
		e.clock.boot += jump
	}
	switch {
	case !e.clock.trusted && (before || !started):
		e.trace(trace.Event{ID: trace.ClockUntrusted, Text: fmt.Sprintf("it reads %v, but it is at least %v", reading, wall)})
	case e.clock.trusted && !before && started:
		e.trace(trace.Event{ID: trace.ClockTrusted, Text: wall.String()})
	}
	return now
}

// shiftsPerStep bounds the leases that are shifted in one Step.
const shiftsPerStep = 512

// shift is the walk over the table after the wall clock jumped ahead.
type shift struct {
	by       lease.Time
	from, to lease.Time   // leases last dealt with in this time are shifted
	next     netip.Prefix // where to go on
	left     bool         // there is something to do
}

func (s *shift) running() bool { return s.left }

// shiftLeases does a bounded part of the work.
func (e *Engine) shiftLeases() {
	s := &e.shift
	var move []*lease.Binding
	n := 0
	s.left = false
	for b := range e.table.From(s.next) {
		if n++; n > shiftsPerStep {
			s.next, s.left = b.Prefix, true
			break
		}
		if s.from <= b.LastTransaction && b.LastTransaction <= s.to && b.Expires != 0 && b.Expires != lease.Forever {
			move = append(move, b)
		}
	}
	for _, b := range move {
		m := *b
		m.Expires += s.by
		m.LastTransaction += s.by
		if m.StartOfState >= s.from {
			m.StartOfState += s.by
		}
		if m.HeldUntil != 0 && m.HeldUntil != lease.Forever {
			m.HeldUntil += s.by
		}
		e.put(&m)
	}
}

func (e *Engine) finishShift() {
	for e.shift.running() {
		e.shiftLeases()
	}
}
