// Command failsim runs the failover simulator over many seeds: the production
// engines against simulated networks, disks, clocks, clients and operators.
//
//	failsim -seeds 100000             a long run
//	failsim -for 2m                   fresh seeds for two minutes
//	failsim -seed 4711 -trace         one history, to read
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/tandem6/tandem6/appliance/sim"
)

// Exit codes.
const (
	exitClean = 0
	exitFound = 1 // a promise was broken
	exitUsage = 2
)

// gcPercent lets the heap grow to ten times of what is in use, some megabytes a
// worker: collecting it all the time takes a third of the processor.
const gcPercent = 1000

func main() {
	debug.SetGCPercent(gcPercent)
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// job is what the command line asks for.
type job struct {
	first, count uint64
	fresh        bool // the first seed was drawn by the clock
	time         time.Duration
	parallel     int
	failures     int
	trace, twice bool
	tally        bool
	flaw         string
	without      string
}

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("failsim", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var j job
	flags.Uint64Var(&j.first, "seed", 0, "the first seed, `N`; without it and with -for: a fresh one")
	flags.Uint64Var(&j.count, "seeds", 0, "run `M` seeds: N to N+M-1 (1, or as many as -for has time for)")
	flags.DurationVar(&j.time, "for", 0, "stop after `TIME`, such as 2m")
	flags.IntVar(&j.parallel, "parallel", runtime.GOMAXPROCS(0), "seeds at a time")
	flags.IntVar(&j.failures, "failures", 1, "stop after `N` seeds that broke a promise")
	flags.BoolVar(&j.trace, "trace", false, "print the history of the one seed")
	flags.BoolVar(&j.twice, "twice", false, "run each seed twice, and compare the histories")
	flags.BoolVar(&j.tally, "tally", false, "print how often everything was met")
	flags.StringVar(&j.flaw, "flaw", "", "make a known mistake on purpose: `NAME`, or list")
	flags.StringVar(&j.without, "without", "", "leave out faults whose names contain one of these `WORDS`, separated by commas")
	flags.Usage = func() {
		fmt.Fprint(stderr, "Failsim runs the failover simulator. It ends with 0 only if no seed broke a promise.\n\nUsage: failsim [options]\n\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return exitClean
	} else if err != nil {
		return exitUsage
	}
	seeded := false
	flags.Visit(func(f *flag.Flag) { seeded = seeded || f.Name == "seed" })
	if j.flaw == "list" {
		for _, name := range sim.Flaws() {
			fmt.Fprintln(stdout, name)
		}
		return exitClean
	}
	if err := j.check(flags.NArg(), seeded); err != nil {
		fmt.Fprintf(stderr, "error: %v\nhint: failsim -help lists what there is\n", err)
		return exitUsage
	}
	if j.trace {
		return j.tell(stdout)
	}
	return j.search(stdout)
}

// check completes the job, or says what is wrong with it.
func (j *job) check(left int, seeded bool) error {
	switch {
	case left > 0:
		return errors.New("there are no arguments but options")
	case j.parallel < 1 || j.failures < 1:
		return errors.New("-parallel and -failures are at least 1")
	case j.trace && (j.count > 1 || j.time > 0):
		return errors.New("-trace is for one seed")
	}
	if _, err := j.options(0); err != nil {
		return err
	}
	if j.time > 0 && !seeded {
		j.first = uint64(time.Now().Unix()) << 20
	}
	switch {
	case j.count == 0 && j.time > 0:
		j.count = 1 << 20
	case j.count == 0:
		j.count = 1
	}
	return nil
}

// options are those of a seed.
func (j *job) options(seed uint64) (sim.Options, error) {
	o := sim.Draw(seed)
	if j.flaw != "" {
		if err := o.Break(j.flaw); err != nil {
			return o, err
		}
	}
	if j.without != "" {
		if err := o.Without(strings.Split(j.without, ",")...); err != nil {
			return o, err
		}
	}
	return o, nil
}

// tell prints the history of one seed.
func (j *job) tell(stdout io.Writer) int {
	out := bufio.NewWriter(stdout)
	o, _ := j.options(j.first)
	r := sim.RunOptions(o, out)
	fmt.Fprintf(out, "history %016x, %v simulated\n", r.Hash, r.Time.Round(time.Second))
	if j.tally {
		fmt.Fprint(out, r.Tally)
	}
	code := exitClean
	if r.Violation != nil {
		fmt.Fprintf(out, "BROKEN %v\n", r.Violation)
		code = exitFound
	}
	if err := out.Flush(); err != nil {
		return exitFound
	}
	return code
}

// replay is the command that shows a seed again.
func (j *job) replay(seed uint64) string {
	s := fmt.Sprintf("failsim -seed %d -trace", seed)
	if j.flaw != "" {
		s += fmt.Sprintf(" -flaw %q", j.flaw)
	}
	if j.without != "" {
		s += fmt.Sprintf(" -without %q", j.without)
	}
	return s
}
