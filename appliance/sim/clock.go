package sim

import (
	"slices"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
)

// epoch is the true date at which every simulation begins.
const epoch = lease.Time(26*365+7) * 86400 // 2026-01-01, 26 years and 7 leap days after 2000

// unixEpoch is what a board without a clock chip reads when it starts.
const unixEpoch = lease.Time(-946684800) // 1970-01-01

// clocks are the two clocks of one box as functions of true time.
//
// The monotonic clock starts at zero with the box and runs up to driftMax_ppm
// fast or slow. The wall clock is set right by NTP but for a part of skewMax; it
// may be behind by any amount until then, as that of a board without a clock chip
// is. It is ahead of true time only where a seed says so: leases rest on the
// assumption that it is not, as they do in the RFC (section 7.1).
type clocks struct {
	started   time.Duration // true time at which the box was switched on
	drift_ppm int
	offset    time.Duration // of the wall clock from true time
	unset     bool          // nobody has set the wall clock since the box was switched on; it says so
}

const (
	driftMax_ppm = 100
	// skewMax is how far from true time NTP keeps a clock. Two such clocks differ
	// by at most twice as much; with whole seconds and the way through the network
	// that is within the 5 s of RFC 8156 section 7.1.
	skewMax = 1200 * time.Millisecond
	million = 1_000_000
)

// read is a reading of both clocks.
func (c *clocks) read(now time.Duration) lease.Clock {
	return lease.Clock{Mono: c.mono(now), Wall: c.wall(now), Untrusted: c.unset}
}

func (c *clocks) mono(now time.Duration) time.Duration {
	d := now - c.started
	return d + d/million*time.Duration(c.drift_ppm)
}

func (c *clocks) wall(now time.Duration) lease.Time {
	t := now + c.offset
	whole := t / time.Second
	if t < whole*time.Second { // round down, also before the epoch
		whole--
	}
	return epoch + lease.Time(whole)
}

// when is the true time at which the monotonic clock reads at least m.
func (c *clocks) when(m time.Duration) time.Duration {
	d := m
	for range 4 { // each round is a ten thousandth of the one before
		d += m - c.mono(c.started+d)
	}
	for c.mono(c.started+d) < m {
		d++
	}
	return c.started + d
}

// trueDate is the date of a moment.
func trueDate(t time.Duration) lease.Time { return epoch + lease.Time(t/time.Second) }

// seconds is a number of seconds as a duration.
func seconds[N ~uint32 | ~int | ~int64](n N) time.Duration { return time.Duration(n) * time.Second }

// skew is how far NTP leaves a clock from true time.
func (w *World) skew() time.Duration {
	return time.Duration((2*w.Float64() - 1) * float64(skewMax))
}

// bootClocks starts the clocks of a box. Without a battery it is 1970, or the
// time that the box noted when it stopped, until NTP answers.
func (n *node) bootClocks() {
	n.boots++
	n.clocks = clocks{started: n.now, drift_ppm: n.IntN(2*driftMax_ppm+1) - driftMax_ppm, offset: n.skew()}
	if n.battery || n.calm || slices.ContainsFunc(n.partnered, func(p *pair) bool { return p.guarded }) {
		return
	}
	n.tally.count("clocks: boot without the time")
	n.misled, n.unset = true, true
	n.offset = seconds(unixEpoch-epoch) - n.now
	if n.chance(0.5) {
		n.offset = max(n.offset, n.noted-n.now-n.between(time.Second, time.Hour))
	}
	boot := n.boots
	n.after(n.between(time.Second, ntpMax), func() {
		if n.boots == boot && n.powered {
			n.setClock(n.skew())
		}
	})
}

const ntpMax = 30 * time.Minute // until NTP answers

// setClock sets the wall clock, so far off true time.
func (n *node) setClock(offset time.Duration) {
	n.offset, n.unset = offset, false
	n.note(n.now, n.name, "clock", nil)
	n.says("clock set to %v", n.wall(n.now))
}

// stepClock sets the wall clock wrong for a while.
func (n *node) stepClock(by time.Duration) {
	if !n.powered {
		return
	}
	if by > 0 && !n.mayBeAhead() {
		return
	}
	n.setClock(n.offset + by)
	n.misled = true
	n.astray += by.Abs()
	boot := n.boots
	n.after(n.lasting(), func() {
		if n.boots == boot && n.powered {
			n.setClock(n.skew())
		}
	})
}

// mayBeAhead reports whether a clock may be set ahead of true time for once. It
// takes a partner whose word is needed before a lease goes to somebody else: a
// server that decides alone would end leases too early.
func (n *node) mayBeAhead() bool {
	for _, p := range n.partnered {
		if p.wasDown() || !p.met {
			return false
		}
	}
	return len(n.partnered) > 0
}

// aheadOfTime reports whether the engine believes that it is later than it is.
func (n *node) aheadOfTime() bool {
	return n.engineWall() > trueDate(n.now+2*skewMax)
}
