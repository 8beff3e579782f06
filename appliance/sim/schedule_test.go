package sim

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Plans run in the order of their time, and of their making within one moment,
// also those that are made on the way.
func TestScheduler(t *testing.T) {
	var s scheduler
	rnd := rand.New(rand.NewPCG(1, 2))
	type ran struct {
		at    time.Duration
		order int
	}
	var got []ran
	n := 0
	var plan func(at time.Duration)
	plan = func(at time.Duration) {
		order := n
		n++
		s.at(at, func() {
			if s.now != max(at, s.now) {
				t.Fatalf("a plan for %v runs at %v", at, s.now)
			}
			got = append(got, ran{s.now, order})
			if n < 3000 {
				plan(s.now + time.Duration(rnd.IntN(50)))
				plan(s.now - time.Duration(rnd.IntN(50))) // the past is now
			}
		})
	}
	for range 100 {
		plan(time.Duration(rnd.IntN(1000)))
	}
	for s.step(time.Hour) {
	}
	if len(got) != n {
		t.Fatalf("%d of %d plans ran", len(got), n)
	}
	if !slices.IsSortedFunc(got, func(a, b ran) int { return int(a.at - b.at) }) {
		t.Error("plans ran out of order")
	}
	for i := 1; i < len(got); i++ {
		if got[i-1].at == got[i].at && got[i-1].order > got[i].order {
			t.Fatalf("of one moment, plan %d ran before plan %d", got[i-1].order, got[i].order)
		}
	}
}

func TestSchedulerStopsAtTheEnd(t *testing.T) {
	var s scheduler
	ran := 0
	s.at(5, func() { ran++ })
	s.at(7, func() { ran++ })
	for s.step(6) {
	}
	if ran != 1 || s.now != 5 {
		t.Errorf("%d plans ran, it is %d; want 1 and 5", ran, s.now)
	}
}

func TestTimer(t *testing.T) {
	var s scheduler
	var x timer
	var got []string
	x.start(&s, 10, func() { got = append(got, "first") })
	x.start(&s, 20, func() { got = append(got, "second") }) // in place of the first
	s.at(15, func() {
		if !x.on || x.at != 20 {
			t.Errorf("at 15 the timer is on: %v, for %v", x.on, x.at)
		}
	})
	for s.step(30) {
	}
	x.start(&s, 40, func() { got = append(got, "third") })
	x.stop()
	for s.step(50) {
	}
	if !slices.Equal(got, []string{"second"}) {
		t.Errorf("ran %q", got)
	}
}
