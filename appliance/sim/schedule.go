package sim

import "time"

// A scheduler runs what is planned in the order of its time; what falls on the
// same moment runs in the order in which it was planned. Its clock is virtual:
// it jumps from one plan to the next.
type scheduler struct {
	now     time.Duration // since the beginning of the simulation: true time
	planned uint64        // plans ever made
	done    uint64        // plans ever run
	heap    []plan
}

type plan struct {
	at    time.Duration
	order uint64
	run   func()
}

func (p *plan) before(q *plan) bool {
	return p.at < q.at || p.at == q.at && p.order < q.order
}

// at plans run for a moment; one that has passed is now.
func (s *scheduler) at(at time.Duration, run func()) {
	s.planned++
	s.heap = append(s.heap, plan{max(at, s.now), s.planned, run})
	h := s.heap
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if !h[i].before(&h[parent]) {
			break
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

// after plans run for a while from now.
func (s *scheduler) after(d time.Duration, run func()) { s.at(s.now+d, run) }

// step runs the next plan. It reports false when there is none up to the end.
func (s *scheduler) step(end time.Duration) bool {
	if len(s.heap) == 0 || s.heap[0].at > end {
		return false
	}
	next := s.heap[0]
	s.pop()
	s.now = next.at
	s.done++
	next.run()
	return true
}

func (s *scheduler) pop() {
	h := s.heap
	last := len(h) - 1
	h[0] = h[last]
	h[last] = plan{} // let go of what it refers to
	h = h[:last]
	s.heap = h
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return
		}
		if right := child + 1; right < last && h[right].before(&h[child]) {
			child = right
		}
		if !h[child].before(&h[i]) {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// A timer is a plan that can be changed. The zero timer is idle.
type timer struct {
	set uint64 // counts; a plan of an earlier setting does nothing
	at  time.Duration
	on  bool
}

// start plans run in place of what the timer had.
func (t *timer) start(s *scheduler, at time.Duration, run func()) {
	t.set++
	t.at, t.on = max(at, s.now), true
	set := t.set
	s.at(at, func() {
		if t.on && t.set == set {
			t.on = false
			run()
		}
	})
}

func (t *timer) stop() { t.on = false }
