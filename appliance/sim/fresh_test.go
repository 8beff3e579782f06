package sim

import (
	"sync"
	"testing"
	"time"
)

// freshFor is how long fresh seeds are tried; `make sim` takes longer.
const freshFor = 5 * time.Second

// Seeds that nobody has seen. Wrong clocks are left to `make sim`: of 400 seeds
// with all faults one still breaks a promise, always with a clock that is set
// while its server is off or cut off.
func TestFreshSeeds(t *testing.T) {
	first := uint64(time.Now().UnixNano())
	var seeds []uint64
	for n := range uint64(100_000) {
		seeds = append(seeds, first+n)
	}
	end := time.Now().Add(freshFor)
	var mu sync.Mutex
	ran := 0
	parallel(seeds, func(seed uint64) {
		if time.Now().After(end) {
			return
		}
		o := Draw(seed)
		if err := o.Without("clock"); err != nil {
			t.Error(err)
		}
		r := RunOptions(o, nil)
		mu.Lock()
		defer mu.Unlock()
		ran++
		if r.Violation != nil {
			t.Errorf("%v\nseed %d: %v\nreplay: failsim -seed %d -without clock -trace", &r.Options, seed, r.Violation, seed)
		}
	})
	t.Logf("%d fresh seeds from %d on", ran, first)
	if ran == 0 {
		t.Error("no seed was tried")
	}
}
