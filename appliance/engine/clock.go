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
	last    lease.Time // that was read

	waited  time.Duration // on Clock.Mono: when the engine's time last waited for the wall clock
	slack   time.Duration // less than a second of it
	boot    lease.Time    // wall time of the start
	trusted bool          // the system's wall clock agrees
}

func (c *clock) raiseFloor(t lease.Time) {
	if t != lease.Forever && t > c.floor {
		c.floor = t
	}
}

// at is the engine's time at a reading of the monotonic clock.
func (c *clock) at(mono time.Duration) lease.Time { return c.offset + lease.Time(mono/time.Second) }

// read returns the engine's time, and by how many seconds the wall clock was
// set. A clock that reads less than what is on disk is behind: the engine's
// time goes on from there until the clock has caught up. Once it agrees, the
// engine follows it wherever it is set.
func (c *clock) read(now lease.Clock) (wall, step lease.Time) {
	if !c.started {
		c.started = true
		c.trusted = now.Wall >= c.floor
		// One second on, so that what is on disk is older than all that follows.
		c.offset = max(now.Wall, c.floor+1) - lease.Time(now.Mono/time.Second)
		c.boot = c.at(now.Mono)
		c.last = c.boot
		return c.boot, 0
	}
	diff := now.Wall - c.at(now.Mono)
	if c.trusted {
		c.waited = 0
	}
	switch {
	case diff >= -slewMax && diff <= slewMax:
		c.trusted = true
		c.offset += diff
		c.last = max(c.last, now.Wall) // a little behind: wait for it
		return c.last, 0
	case diff < 0 && (!c.trusted || now.Wall <= 0): // before 2000: no date at all
		c.trusted = false
		c.wait(now.Mono, -diff)
		c.last = max(c.last, c.at(now.Mono))
		return c.last, 0
	}
	c.offset += diff
	c.last = now.Wall
	return c.last, diff
}

// catchUpMax is by how much the wall clock may be behind what is on disk for the
// engine to let it catch up, in seconds. More is no date that time would mend.
const catchUpMax = 86400

// wait lets the engine's time run at half its pace while the wall clock, behind
// by so many seconds, catches up: a clock that was once ahead by mistake has left
// its dates on the disk. Meanwhile leases last longer than they were given.
func (c *clock) wait(mono time.Duration, behind lease.Time) {
	if c.waited != 0 && behind <= catchUpMax {
		c.slack += (mono - c.waited) / 2
		whole := c.slack / time.Second
		c.offset -= lease.Time(whole)
		c.slack -= whole * time.Second
	}
	c.waited = mono
}

// readClock puts the engine's time into now. When the clock is set, leases are
// shifted with it: their clients count seconds, not dates (D-342). If it was
// known to be behind, that goes for what was given by it; what is older has
// the right date. If it seemed right, nobody knows which of the two dates is,
// and everything is shifted: the time that is left to a lease stays the same.
func (e *Engine) readClock(now lease.Clock) lease.Clock {
	before, started, reading := e.clock.trusted, e.clock.started, now.Wall
	wall, step := e.clock.read(now)
	now.Wall = wall
	if step != 0 {
		since := anyTime
		if !before {
			since = e.clock.boot
		}
		e.shiftLeases(step, since)
		e.clock.boot += step
		e.clock.trusted = true
		e.floorSaved = 0
		e.shiftPartners(now, step, since)
	}
	switch {
	case !e.clock.trusted && (before || !started):
		e.trace(trace.Event{ID: trace.ClockUntrusted, Text: fmt.Sprintf("it reads %v, but it is at least %v", reading, wall)})
	case e.clock.trusted && !before && started:
		e.trace(trace.Event{ID: trace.ClockTrusted, Text: wall.String()})
	case step != 0:
		e.trace(trace.Event{ID: trace.ClockSet, N: int64(step)})
	}
	now.Untrusted = !e.clock.trusted
	return now
}

// adoptMax is how far a partner's time may be ahead to be taken over, in seconds:
// twenty years. A board without a clock chip may have lain in a drawer.
const adoptMax = 20 * 366 * 86400

// adopt takes over the time of a partner, by so many seconds ahead, if the own
// clock is known to be behind and nobody else has told it better. Boards without
// clock chip are behind, never ahead: of two the later one is nearer to the truth.
func (e *Engine) adopt(now *lease.Clock, ahead lease.Time) bool {
	if e.clock.trusted || ahead <= slewMax || ahead > adoptMax {
		return false
	}
	since := e.clock.boot
	e.shiftLeases(ahead, since)
	e.clock.offset += ahead
	e.clock.last += ahead
	e.clock.boot += ahead
	e.floorSaved = 0
	now.Wall += ahead
	e.shiftPartners(*now, ahead, since)
	e.trace(trace.Event{ID: trace.ClockAdopted, N: int64(ahead), Text: now.Wall.String()})
	return true
}

// anyTime is before all times.
const anyTime lease.Time = -1 << 63

// shiftLeases shifts what was dealt with since a time, all at once: a message
// that came between two parts of the work would be shifted by its own date. It
// takes two seconds for a million leases, when a clock is set.
func (e *Engine) shiftLeases(by, since lease.Time) {
	var move []*lease.Binding
	for b := range e.table.From(netip.Prefix{}) {
		if max(b.LastTransaction, b.PartnerRawCLT, b.StartOfState) >= since {
			move = append(move, b)
		}
	}
	for _, b := range move {
		if m := shifted(b, by, since); m != *b {
			e.put(&m)
		}
	}
}

// shifted is a lease by the corrected clock.
func shifted(b *lease.Binding, by, since lease.Time) lease.Binding {
	m := *b
	for _, t := range []*lease.Time{&m.LastTransaction, &m.StartOfState, &m.PartnerRawCLT} {
		if *t != 0 && *t >= since {
			*t += by
		}
	}
	for _, t := range []*lease.Time{&m.Expires, &m.HeldUntil, &m.PartnerLifetime, &m.ExpirationTime} {
		if *t != 0 && *t != lease.Forever {
			*t += by
		}
	}
	// What the partner has confirmed stands on its disk too, by its clock. This
	// server relies on it, so here it gets earlier only.
	if m.AckedPartnerLifetime != 0 {
		m.AckedPartnerLifetime += min(by, 0)
	}
	return m
}
