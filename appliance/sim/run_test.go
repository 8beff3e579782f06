package sim

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// kept are the seeds that once broke a promise, with the name of the bug. They
// have to stay clean.
func kept(t *testing.T) (seeds []uint64, bugs map[uint64]string) {
	t.Helper()
	f, err := os.Open("testdata/seeds.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	bugs = map[uint64]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		columns := strings.Split(line, "\t")
		if len(columns) != 3 {
			t.Fatalf("testdata/seeds.tsv: %q has %d columns, not 3", line, len(columns))
		}
		seed, err := strconv.ParseUint(columns[0], 10, 64)
		if err != nil {
			t.Fatalf("testdata/seeds.tsv: %q: %v", line, err)
		}
		seeds = append(seeds, seed)
		bugs[seed] += columns[2]
	}
	return seeds, bugs
}

func TestKeptSeeds(t *testing.T) {
	seeds, bugs := kept(t)
	if len(seeds) == 0 {
		t.Fatal("no seeds are kept")
	}
	parallel(seeds, func(seed uint64) {
		if r := Run(seed, nil); r.Violation != nil {
			t.Errorf("seed %d (once: %s): %v", seed, bugs[seed], r.Violation)
		}
	})
}

// parallel calls f for each seed, some at a time.
func parallel(seeds []uint64, f func(seed uint64)) {
	work := make(chan uint64)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed := range work {
				f(seed)
			}
		})
	}
	for _, seed := range seeds {
		work <- seed
	}
	close(work)
	workers.Wait()
}

// Whoever reads along changes nothing; what he reads names the options first.
func TestTrace(t *testing.T) {
	for seed := range uint64(5) {
		var text bytes.Buffer
		traced, silent := Run(seed, &text), Run(seed, nil)
		if traced.Hash != silent.Hash {
			t.Errorf("seed %d: the history is another when somebody reads it", seed)
		}
		if want := fmt.Sprintf("seed %d:", seed); !strings.Contains(strings.SplitN(text.String(), "\n", 2)[0], want) {
			t.Errorf("seed %d: the first line is not its options", seed)
		}
	}
}

// The seeds reach everything: each state, each transition of the table that does
// not need force, each fault, each message.
func TestCoverage(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	var seeds []uint64
	for seed := range uint64(1500) {
		seeds = append(seeds, seed)
	}
	sum := Tally{}
	var mu sync.Mutex
	parallel(seeds, func(seed uint64) {
		r := Run(seed, nil)
		mu.Lock()
		defer mu.Unlock()
		sum.Add(r.Tally)
	})
	var want []string
	for from, tos := range arcs {
		for to := range tos {
			switch {
			case to == partnerDown && (from == recovering || from == recoverWait || from == recoverDone || from == conflictDone || from == normal):
				continue // with force only: nobody who obeys the rules does it
			case to == recovering && from != startup && from != normal:
				continue // resync in other states than NORMAL
			case from == startup && (to == conflictDone || to == resolution):
				continue // a crash in a state that lasts for milliseconds
			case to == conflict && (from == recovering || from == recoverWait || from == recoverDone || from == conflictDone),
				from == resolution && to == partnerDown:
				continue // a second mishap within milliseconds; the endpoint's own tests go there
			}
			want = append(want, "transition: "+short(from)+" -> "+short(to))
		}
	}
	for f := range faultKinds {
		want = append(want, "fault: "+faultKinds[f].name)
	}
	for _, m := range []string{"CONNECT", "CONNECTREPLY", "STATE", "CONTACT", "BNDUPD", "BNDREPLY", "POOLREQ", "POOLRESP", "UPDREQ", "UPDREQALL", "UPDDONE", "DISCONNECT"} {
		want = append(want, "wire: "+m)
	}
	for _, a := range actNames {
		want = append(want, "clients: "+a)
	}
	for _, what := range want {
		if sum[what] == 0 {
			t.Errorf("never met: %s", what)
		}
	}
	if t.Failed() {
		t.Log("\n" + sum.String())
	}
}
