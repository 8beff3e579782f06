package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Tally counts what was met, by name: states, transitions, faults, messages. It
// shows that the simulator reaches everything.
type Tally map[string]uint64

func (t Tally) add(what string, n int) {
	if n > 0 {
		t[what] += uint64(n)
	}
}

func (t Tally) count(what string) { t[what]++ }

// Add adds another tally.
func (t Tally) Add(more Tally) {
	for what, n := range more {
		t[what] += n
	}
}

// Sum adds the counts whose names begin so.
func (t Tally) Sum(prefix string) (sum uint64) {
	for what, n := range t {
		if strings.HasPrefix(what, prefix) {
			sum += n
		}
	}
	return sum
}

// String lists the counts, one a line, those of one kind together: the kind is
// what stands before the first colon.
func (t Tally) String() string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(t)) {
		fmt.Fprintf(&b, "%12d  %s\n", t[what], what)
	}
	return b.String()
}
