package udp6

import (
	"testing"
	"time"
)

// A quiet reader never rests, a busy one does, the shorter the more arrives, and it stops when it is quiet again.
func TestRester(t *testing.T) {
	var r rester
	now := time.Unix(1000, 0)
	var last time.Duration
	arrive := func(every time.Duration, n int) (rests int) {
		for range n {
			now = now.Add(every)
			if last = r.read(1, now); last > 0 {
				rests++
			}
		}
		return rests
	}
	if n := arrive(time.Millisecond, 1000); n != 0 {
		t.Errorf("1,000 a second: %d rests", n)
	}
	if n := arrive(50*time.Microsecond, 2000); n < 1500 {
		t.Errorf("20,000 a second: %d rests of 2,000", n)
	}
	if want := restBatch * 50 * time.Microsecond; last != want {
		t.Errorf("20,000 a second: a rest of %v, want %v", last, want)
	}
	arrive(200*time.Microsecond, 1000)
	if last != restMax {
		t.Errorf("5,000 a second: a rest of %v, want %v", last, restMax)
	}
	arrive(10*time.Microsecond, 10_000)
	if want := restBatch * 10 * time.Microsecond; last != want {
		t.Errorf("100,000 a second: a rest of %v, want %v", last, want)
	}
	arrive(time.Millisecond, 20)
	if n := arrive(time.Millisecond, 100); n != 0 {
		t.Errorf("quiet again: %d rests", n)
	}
	arrive(50*time.Microsecond, 1000)
	now = now.Add(time.Hour)
	if n := arrive(time.Millisecond, 100); n != 0 {
		t.Errorf("after an hour: %d rests", n)
	}
}
