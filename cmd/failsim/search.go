package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/tandem6/tandem6/appliance/sim"
)

// progressEvery is how often a long search says how far it is.
const progressEvery = 30 * time.Second

// figures are the sum of many simulations.
type figures struct {
	seeds, broken, steps uint64
	simulated            time.Duration
	tally                sim.Tally
}

// search runs the seeds, some at a time, each on its own.
func (j *job) search(stdout io.Writer) int {
	start := time.Now()
	seeds := make(chan uint64)
	results := make(chan *sim.Result)
	stop := make(chan struct{})
	go func() {
		defer close(seeds)
		for n := range j.count {
			select {
			case seeds <- j.first + n:
			case <-stop:
				return
			}
		}
	}()
	var workers sync.WaitGroup
	for range j.parallel {
		workers.Go(func() {
			for seed := range seeds {
				results <- j.simulate(seed)
			}
		})
	}
	go func() {
		workers.Wait()
		close(results)
	}()
	sum := j.collect(stdout, start, results, stop)
	sum.print(stdout, time.Since(start), j.tally)
	if sum.broken > 0 {
		return exitFound
	}
	return exitClean
}

func (j *job) simulate(seed uint64) *sim.Result {
	o, _ := j.options(seed) // check has tried
	if j.twice {
		return sim.Twice(o)
	}
	return sim.RunOptions(o, nil)
}

// collect adds the results up, tells of those that broke a promise, and closes
// stop when there are enough of them or time is over.
func (j *job) collect(stdout io.Writer, start time.Time, results <-chan *sim.Result, stop chan<- struct{}) *figures {
	sum := &figures{tally: sim.Tally{}}
	var over <-chan time.Time
	if j.time > 0 {
		over = time.After(j.time)
	}
	progress := time.NewTicker(progressEvery)
	defer progress.Stop()
	end := func() {
		if stop != nil {
			close(stop)
			stop = nil
		}
	}
	for {
		select {
		case r, ok := <-results:
			if !ok {
				return sum
			}
			sum.add(r)
			if r.Violation != nil {
				fmt.Fprintf(stdout, "%v\nBROKEN seed %d: %v\nreplay: %s\n", &r.Options, r.Options.Seed, r.Violation, j.replay(r.Options.Seed))
				if int(sum.broken) >= j.failures {
					end()
				}
			}
		case <-over:
			end()
		case <-progress.C:
			fmt.Fprintf(stdout, "%d seeds, %.0f simulated hours, %d broken, %v\n", sum.seeds, sum.simulated.Hours(), sum.broken, time.Since(start).Round(time.Second))
		}
	}
}

func (s *figures) add(r *sim.Result) {
	s.seeds++
	s.steps += r.Steps
	s.simulated += r.Time
	s.tally.Add(r.Tally)
	if r.Violation != nil {
		s.broken++
	}
}

// headlines are the counts that a summary shows.
var headlines = []struct{ name, prefix string }{
	{"messages between partners", "wire: "},
	{"messages of clients", "clients: message "},
	{"leases promised", "served: lease promised"},
	{"leases extended in time", "served: lease extended in time"},
	{"crashes of a process", "nodes: crash"},
	{"losses of power", "nodes: power loss"},
	{"disks replaced", "nodes: disk replaced"},
	{"commits", "disk: commit"},
	{"partner-down by the operator", "operator: partner-down"},
	{"takeovers (entries into PARTNER-DOWN)", "takeover: "},
	{"changes of state", "transition: "},
}

func (s *figures) print(out io.Writer, took time.Duration, all bool) {
	fmt.Fprintf(out, "%d seeds, %d broken, %.1f simulated hours, %d events, in %v\n", s.seeds, s.broken, s.simulated.Hours(), s.steps, took.Round(time.Millisecond))
	for _, h := range headlines {
		fmt.Fprintf(out, "%12d  %s\n", s.tally.Sum(h.prefix), h.name)
	}
	if all {
		fmt.Fprint(out, s.tally)
	}
}
