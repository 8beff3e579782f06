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
	net     lease.Time // sum of the steps of a trusted clock since the start

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
// set. As long as the clock reads less than what is on disk, or its reader knows
// it to be behind, the engine's time goes on by itself. Once it agrees, the
// engine follows it wherever it is set.
func (c *clock) read(now lease.Clock) (wall, step lease.Time) {
	if !c.started {
		c.started = true
		c.trusted = now.Wall >= c.floor && !now.Untrusted
		// One second on, so that what is on disk is older than all that follows.
		c.offset = max(now.Wall, c.floor+1) - lease.Time(now.Mono/time.Second)
		c.boot = c.at(now.Mono)
		c.last = c.boot
		return c.boot, 0
	}
	// Before 2000 is no date at all.
	if now.Untrusted || now.Wall <= 0 || !c.trusted && now.Wall < c.floor {
		c.trusted = false
		c.last = max(c.last, c.at(now.Mono))
		return c.last, 0
	}
	diff := now.Wall - c.at(now.Mono)
	c.offset += diff
	if diff >= -slewMax && diff <= slewMax {
		c.trusted = true
		c.last = max(c.last, now.Wall) // a little behind: wait for it
		return c.last, 0
	}
	c.last = now.Wall
	return c.last, diff
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
		s := shift{by: step, since: e.clock.boot, waited: step}
		if before {
			s = e.clock.anyDate(step)
		}
		e.shiftLeases(s)
		e.clock.boot += step
		e.clock.trusted = true
		e.floorSaved = 0
		e.shiftPartners(now, step, s.since)
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
	s := shift{by: ahead, since: e.clock.boot, waited: ahead}
	e.shiftLeases(s)
	e.clock.offset += ahead
	e.clock.last += ahead
	e.clock.boot += ahead
	e.floorSaved = 0
	now.Wall += ahead
	e.shiftPartners(*now, ahead, s.since)
	e.trace(trace.Event{ID: trace.ClockAdopted, N: int64(ahead), Text: now.Wall.String()})
	return true
}

// anyTime is before all times.
const anyTime lease.Time = -1 << 63

// shift is by how many seconds times are moved when the clock is set. What
// partners have promised each other stands on both disks. It moves to the safe
// side only, and back: what this server waits for gets later, what it relies on
// gets earlier.
type shift struct {
	since  lease.Time // leases dealt with since
	by     lease.Time // what clients count
	waited lease.Time // what the partner may count on
	relied lease.Time // what this server counts on
}

// anyDate is the shift when nobody knows which of two dates is right. The ledger
// of all such steps since the start sees to it that a clock which is put wrong
// and right again leaves nothing behind, and that a restart in between finds
// times that err to the safe side.
func (c *clock) anyDate(step lease.Time) shift {
	before := c.net
	c.net += step
	return shift{since: anyTime, by: step, waited: max(c.net, 0) - max(before, 0), relied: min(c.net, 0) - min(before, 0)}
}

// shiftLeases shifts what was dealt with since a time, all at once: a message
// that came between two parts of the work would be shifted by its own date. It
// takes two seconds for a million leases, when a clock is set.
func (e *Engine) shiftLeases(s shift) {
	var move []*lease.Binding
	for b := range e.table.From(netip.Prefix{}) {
		if max(b.LastTransaction, b.PartnerRawCLT, b.StartOfState) >= s.since {
			move = append(move, b)
		}
	}
	for _, b := range move {
		if m := s.shifted(b); m != *b {
			e.put(&m)
		}
	}
}

// shifted is a lease by the corrected clock.
func (s shift) shifted(b *lease.Binding) lease.Binding {
	m := *b
	for _, t := range []*lease.Time{&m.LastTransaction, &m.StartOfState, &m.PartnerRawCLT} {
		if *t >= s.since {
			move(t, s.by)
		}
	}
	move(&m.Expires, s.by)
	move(&m.HeldUntil, s.by)
	move(&m.PartnerLifetime, s.waited)
	move(&m.ExpirationTime, s.waited)
	move(&m.AckedPartnerLifetime, s.relied)
	return m
}

func move(t *lease.Time, by lease.Time) {
	if *t != 0 && *t != lease.Forever {
		*t += by
	}
}
