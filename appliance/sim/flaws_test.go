package sim

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/tandem6/tandem6/failover"
)

// seedsPerFlaw is within how many seeds a known mistake has to be found.
const seedsPerFlaw = 2000

// Every known mistake is caught: some seed breaks a promise with it, and none
// without it. The table says which seed and which promise.
func TestFlaws(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	found := make([]*Result, len(failover.Flaws))
	var list []uint64
	for i := range failover.Flaws {
		list = append(list, uint64(i))
	}
	var mu sync.Mutex
	parallel(list, func(i uint64) {
		r := catch(failover.Flaws[i].Flaw)
		mu.Lock()
		defer mu.Unlock()
		found[i] = r
	})
	var table strings.Builder
	for i, f := range failover.Flaws {
		r := found[i]
		if r == nil {
			t.Errorf("%s: not caught within %d seeds", f.Name, seedsPerFlaw)
			continue
		}
		fmt.Fprintf(&table, "%-52s %5d  %s\n", f.Name, r.Options.Seed+1, r.Violation.Check)
	}
	t.Logf("known mistakes, seeds until each was caught, the promise that broke:\n%s", &table)
}

// catch finds the first seed that breaks a promise because of a flaw.
func catch(f failover.Flaw) *Result {
	for seed := range uint64(seedsPerFlaw) {
		o := Draw(seed)
		if o.Primaries == 0 {
			continue
		}
		o.Flaws = f
		if r := RunOptions(o, nil); r.Violation != nil && Run(seed, nil).Violation == nil {
			return r
		}
	}
	return nil
}
