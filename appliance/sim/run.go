package sim

import (
	"io"
	"time"
)

// A Result is what came of one simulation.
type Result struct {
	Options   Options
	Violation *Violation    // nil: none
	Hash      uint64        // of the history
	Time      time.Duration // simulated
	Steps     uint64        // of the scheduler
	Tally     Tally
}

// Run simulates one seed. Somebody may read along; nil: nobody does.
func Run(seed uint64, out io.Writer) *Result { return RunOptions(Draw(seed), out) }

// RunOptions simulates with given options.
func RunOptions(o Options, out io.Writer) *Result {
	w := newWorld(o, out)
	w.begin()
	w.until(o.Safety)
	w.settle()
	w.mix(uint64(w.now))
	return &Result{Options: o, Violation: w.violation, Hash: w.hash, Time: w.now, Steps: w.done, Tally: w.tally}
}

// until runs up to a moment, or to the first violation.
func (w *World) until(end time.Duration) {
	for w.violation == nil && w.step(end) {
		w.busyWatch()
	}
	if w.violation == nil {
		w.now = max(w.now, end)
	}
}

// Twice simulates the same twice, and reports a violation also when the two
// histories differ.
func Twice(o Options) *Result {
	a, b := RunOptions(o, nil), RunOptions(o, nil)
	if a.Violation == nil && (a.Hash != b.Hash || a.Time != b.Time || a.Steps != b.Steps) {
		a.Violation = &Violation{"replay", a.Time, "the same seed gave another history"}
	}
	return a
}

// busyWatch finds who never rests: too much happens within one moment.
func (w *World) busyWatch() {
	if w.now != w.moment {
		w.moment, w.within = w.now, 0
	}
	if w.within++; w.within > momentMax {
		w.violate("live", "more than %d events at one moment: somebody wakes up again and again for nothing", momentMax)
	}
}

const momentMax = 10000
