package sim

import (
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
)

func TestEpoch(t *testing.T) {
	if got := epoch.String(); got != "2026-01-01T00:00:00Z" {
		t.Error(got)
	}
	if got := unixEpoch.Unix(); got != 0 {
		t.Error(got)
	}
}

// The monotonic clock drifts, the wall clock is off; when finds the moment at
// which the former reads a time.
func TestClocks(t *testing.T) {
	for _, drift := range []int{-driftMax_ppm, -3, 0, 7, driftMax_ppm} {
		c := clocks{started: 90 * time.Second, drift_ppm: drift, offset: -1500 * time.Millisecond}
		if c.mono(c.started) != 0 {
			t.Errorf("drift %d: it starts at %v", drift, c.mono(c.started))
		}
		day := c.mono(c.started + 1_000_000*time.Second)
		if want := time.Duration(1_000_000+drift) * time.Second; day != want {
			t.Errorf("drift %d: after a million seconds it reads %v, want %v", drift, day, want)
		}
		for _, m := range []time.Duration{0, 1, time.Second, time.Hour + 1, 100 * 24 * time.Hour} {
			at := c.when(m)
			if c.mono(at) < m || m > 0 && c.mono(at-1) >= m {
				t.Errorf("drift %d: it is to read %v at %v, it reads %v", drift, m, at, c.mono(at))
			}
		}
	}
}

// Whole seconds, rounded down on both sides of the epoch.
func TestWallClock(t *testing.T) {
	for _, c := range []struct {
		offset, now time.Duration
		want        lease.Time
	}{
		{0, 0, 0},
		{0, 1999 * time.Millisecond, 1},
		{-500 * time.Millisecond, 0, -1},
		{-time.Second, time.Second, 0},
		{-time.Hour, 1, -3600},
		{1200 * time.Millisecond, 800 * time.Millisecond, 2},
	} {
		k := clocks{offset: c.offset}
		if got := k.wall(c.now) - epoch; got != c.want {
			t.Errorf("offset %v at %v: %d, want %d", c.offset, c.now, got, c.want)
		}
	}
}

// A board without a battery starts in 1970 or with the time at which it stopped,
// says that nobody has set its clock, and is right when NTP answers.
func TestBootWithoutBattery(t *testing.T) {
	o := quiet()
	o.NoBattery = 1
	w := newWorld(o, nil)
	n := w.nodes[0]
	sawEpoch, sawStale := false, false
	for range 20 {
		n.powerOn()
		reading := n.read(w.now)
		switch {
		case !reading.Untrusted:
			t.Fatal("it believes a clock that nobody has set")
		case reading.Wall-unixEpoch < 60:
			sawEpoch = true
		case reading.Wall > trueDate(n.noted):
			t.Fatalf("the clock starts ahead of when it stopped: %v", reading.Wall)
		default:
			sawStale = true
		}
		w.until(w.now + ntpMax + time.Second)
		if d := n.read(w.now).Wall - trueDate(w.now); d < -2 || d > 2 {
			t.Fatalf("NTP leaves the clock %d s off", d)
		}
		n.powerOff()
		w.until(w.now + time.Hour)
	}
	if !sawEpoch || !sawStale {
		t.Errorf("1970: %v, stale: %v", sawEpoch, sawStale)
	}
}
