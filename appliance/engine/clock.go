package engine

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/tandem6/tandem6/failover"
	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/storage"
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

	// What happened since low was noted by a clock that was set back, or was known
	// to be behind, in this life; since high by one that was set forward. Zero:
	// there was no such step, or it was undone.
	low, high lease.Time
	setBack   setBack // of an earlier life, perhaps

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
		if !c.trusted {
			c.low = c.boot
		}
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

// lookAgain is after how long the clock has to be read again although nothing
// happens: what is on disk must not stay behind a clock that was set.
func (c *clock) lookAgain() time.Duration {
	if c.trusted {
		return time.Minute
	}
	return time.Second
}

// readClock puts the engine's time into now. When the clock is set, leases are
// shifted so that none ends earlier for it: clients count seconds, not dates
// (D-342), and nobody knows which of two dates is the right one.
func (e *Engine) readClock(now lease.Clock) lease.Clock {
	before, started, reading := e.clock.trusted, e.clock.started, now.Wall
	wall, step := e.clock.read(now)
	now.Wall = wall
	switch {
	case step > 0 && before:
		e.setForward(now, step, anyTime)
	case step > 0: // the clock was known to be behind: what is older has the right date
		e.setForward(now, step, e.clock.boot)
	case step < 0:
		e.setBack(now, step)
	}
	if step != 0 {
		e.clock.trusted = true
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
// a board without a clock chip may have lain in a drawer for a year.
const adoptMax = 400 * 86400

// adopt takes over the time of a partner, by so many seconds ahead, if the own
// clock is known to be behind and nobody else has told it better. Boards without
// clock chip are behind, never ahead: of two the later one is nearer to the truth.
// Should the partner be wrong, no lease ends for it.
func (e *Engine) adopt(now *lease.Clock, ahead lease.Time) bool {
	if e.clock.trusted || ahead <= slewMax || ahead > adoptMax {
		return false
	}
	e.clock.offset += ahead
	e.clock.last += ahead
	now.Wall += ahead
	e.setForward(*now, ahead, anyTime)
	e.trace(trace.Event{ID: trace.ClockAdopted, N: int64(ahead), Text: now.Wall.String()})
	return true
}

// anyTime is before all times.
const anyTime lease.Time = -1 << 63

// setForward keeps what is left of the leases that were dealt with since a time,
// all at once: a message that came between two parts of the work would be shifted
// too. It takes two seconds for a million leases, when a clock is set.
//
// What the partner has confirmed stands on its disk too, by its clock: that is
// not shifted. What this server has confirmed is: it waits for longer.
func (e *Engine) setForward(now lease.Clock, by, since lease.Time) {
	low := e.clock.low
	e.changeAll(func(b *lease.Binding) {
		if max(b.LastTransaction, b.PartnerRawCLT, b.StartOfState) < since {
			return
		}
		for _, t := range []*lease.Time{&b.Expires, &b.HeldUntil, &b.PartnerLifetime, &b.ExpirationTime} {
			if *t != 0 && *t != lease.Forever {
				*t += by
			}
		}
		// When something happened is compared with what the partner says. It was
		// wrong only if the clock was.
		for _, t := range []*lease.Time{&b.LastTransaction, &b.StartOfState, &b.PartnerRawCLT} {
			if low != 0 && *t >= low {
				*t += by
			}
		}
	})
	e.clock.boot += by
	e.clock.low, e.clock.high = 0, now.Wall
	e.keepSetBack(setBack{})
	e.floorSaved = 0
	for _, f := range e.partners.list {
		f.SetForward(now, by, since, &e.partners.out)
		e.carryOut(f)
	}
}

// setBack leaves the leases as they are: they last longer. What would lie ahead now
// was noted while the clock was ahead, though, and what the partner has confirmed
// is no longer off.
func (e *Engine) setBack(now lease.Clock, by lease.Time) {
	high := e.clock.high
	e.changeAll(func(b *lease.Binding) {
		for _, t := range []*lease.Time{&b.LastTransaction, &b.StartOfState, &b.PartnerRawCLT} {
			if *t > now.Wall || high != 0 && *t >= high {
				*t = min(*t+by, now.Wall)
			}
		}
		if b.AckedPartnerLifetime != 0 {
			b.AckedPartnerLifetime += by
		}
	})
	e.clock.boot += by
	e.clock.low, e.clock.high = now.Wall, 0
	e.keepSetBack(setBack{since: now.Wall, by: by, highest: now.Wall - by})
	e.floorSaved = 0
	for _, f := range e.partners.list {
		f.SetBack(now, by, &e.partners.out)
		e.carryOut(f)
	}
}

// setBack is that the clock was set back. Nobody knows whether it had been ahead
// before or is behind now. If it reads later after a restart than ever before, it
// was behind, and what was noted meanwhile has dates that are too early. The zero
// value: it was not.
type setBack struct {
	since   lease.Time // by the clock that was set back
	by      lease.Time // negative
	highest lease.Time // date before
}

const setBackLen = 3 * 8

func (s setBack) append(dst []byte) []byte {
	for _, t := range []lease.Time{s.since, s.by, s.highest} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(t))
	}
	return dst
}

func parseSetBack(data []byte) (s setBack, _ error) {
	if len(data) != setBackLen {
		return s, fmt.Errorf("the stored step of the clock has %d octets, not %d", len(data), setBackLen)
	}
	for i, t := range []*lease.Time{&s.since, &s.by, &s.highest} {
		*t = lease.Time(binary.BigEndian.Uint64(data[8*i:]))
	}
	return s, nil
}

// keepSetBack stores that the clock was set back, or that it does not matter any more.
func (e *Engine) keepSetBack(s setBack) {
	if s == e.clock.setBack {
		return
	}
	e.clock.setBack = s
	if s == (setBack{}) {
		e.ready.Commit.Set(storage.ClockSetBack, nil)
		return
	}
	e.ready.Commit.Set(storage.ClockSetBack, s.append(nil))
}

// resume goes on, at the start, with a step back of an earlier life.
func (e *Engine) resume(now lease.Clock) {
	s := e.clock.setBack
	if s == (setBack{}) {
		return
	}
	e.clock.low = s.since
	if !now.Untrusted && now.Wall >= s.highest {
		for name, data := range e.partners.saved {
			e.partners.saved[name] = failover.Later(data, -s.by, s.since)
		}
		boot := e.clock.boot
		e.setForward(now, -s.by, s.since)
		e.clock.boot, e.clock.high = boot, 0
	}
}

// changeAll has f change what it wants to in each lease.
func (e *Engine) changeAll(f func(*lease.Binding)) {
	var changed []*lease.Binding
	for b := range e.table.From(netip.Prefix{}) {
		c := *b
		if f(&c); c != *b {
			changed = append(changed, &c)
		}
	}
	for _, c := range changed {
		e.put(c)
	}
}
