// Bench measures how many 4-message exchanges per second tandem6d completes on a virtual cable, next to ISC Kea in the same run, and
// prints the results as tables in Markdown.
//
// First a load generator of its own keeps 256 exchanges under way, so that the server is the limit; the figures are those of the
// median of three probes. Then Kea's perfdhcp finds the highest steady rate: one counts as mastered when fewer than 1 % of the
// messages are lost and at least 97 % of the asked exchanges complete. Last, perfdhcp compares delays at a low rate. Every probe
// starts with an empty lease database. Server and load generator share the machine, so the rates are lower bounds; the processor
// time per exchange is the figure to compare across machines.
//
// It needs root, Debian's packages kea-dhcp6-server and kea-admin, and about eight minutes of a quiet machine; at most twelve of a busy one.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tandem6/tandem6/appliance/lab"
	"golang.org/x/sys/unix"
)

// A leaseType is what the clients ask for.
type leaseType struct {
	name     string
	perfdhcp string // value of its option -e
	ias      []byte // codes of the IA options
}

var leaseTypes = []leaseType{
	{"addresses", "address-only", []byte{optionIANA}},
	{"prefixes", "prefix-only", []byte{optionIAPD}},
	{"both", "address-and-prefix", []byte{optionIANA, optionIAPD}},
}

const (
	firstRate   = 2000   // exchanges per second; every server here masters it
	rateLimit   = 200000 // no server and no load generator comes near
	steps       = 3      // of bisection after the first rate that fails
	latencyRate = 2000   // exchanges per second at which delays are compared
	busyCores   = 0.2    // with more processors busy elsewhere, a failure says nothing
	attempts    = 3      // at a rate
	quietWindow = 200 * time.Millisecond
	quietWait   = 10 * time.Second // at most before a probe
	quietBudget = 2 * time.Minute  // at most in all
	serverNames = "tandem6d,kea-dhcp6"
)

func main() {
	log.SetFlags(log.Ltime)
	servers := flag.String("servers", serverNames, "the `servers` to measure, with commas between them; the last is what the others are compared with")
	leases := flag.String("leases", "", "only `what` the clients ask for: addresses, prefixes or both")
	seconds := flag.Int("seconds", 3, "how long each probe lasts")
	probes := flag.Int("probes", 3, "how many probes with the bench's own load generator the median is taken of")
	bin := flag.String("bin", "", "`folder` with tandem6d and tandem6; empty: build them")
	parent := flag.String("dir", "", "`folder` for the lease databases; empty: the system's for temporary files")
	short := flag.Bool("short", false, "only the bench's own load generator: a minute")
	flag.Parse()
	if *leases != "" {
		leaseTypes = slices.DeleteFunc(leaseTypes, func(l leaseType) bool { return l.name != *leases })
		if len(leaseTypes) == 0 {
			log.Fatalf("error: -leases: %q is unknown", *leases)
		}
	}
	dir, err := os.MkdirTemp(*parent, "tandem6-bench-")
	if err != nil {
		log.Fatal(err)
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM)
	go func() { // the hosts and their programs end with this program
		<-interrupted
		os.RemoveAll(dir)
		os.Exit(1)
	}()
	b := &bench{dir: dir, seconds: *seconds, probes: *probes, binaries: lab.Binaries(*bin), servers: strings.Split(*servers, ",")}
	err = b.run(os.Stdout, *short)
	os.RemoveAll(dir)
	if err != nil {
		log.Fatalf("error: %v", err)
	}
}

type bench struct {
	dir      string
	seconds  int
	probes   int
	binaries lab.Binaries
	servers  []string
	waited   time.Duration // for the machine to become quiet
}

// A key names a cell of the tables.
type key struct {
	server string
	leases leaseName
}

type leaseName string

// A probe is one run of a load against one server that starts with an empty lease database.
type probe[R any] struct {
	load       R
	serverTime time.Duration // processor time of the server
	otherCores float64       // processors that were busy with anything but server and load generator
	idleCores  float64       // processors that had nothing to do
	generator  time.Duration // processor time of the load generator
}

// perExchange is the server's processor time for each completed exchange, in microseconds.
func (p probe[R]) perExchange(completed int) int64 {
	return p.serverTime.Microseconds() / int64(max(1, completed))
}

func (b *bench) run(w io.Writer, short bool) error {
	if err := b.prepare(); err != nil {
		return err
	}
	fmt.Fprintf(w, "%d processors, Linux %s, lease databases on %s, probes of %d s.\n\n", runtime.NumCPU(), kernel(), fileSystem(b.dir), b.seconds)
	if err := b.throughput(w); err != nil || short {
		return err
	}
	if err := b.highestRates(w); err != nil {
		return err
	}
	return b.delays(w)
}

// prepare checks what is needed and builds the programs.
func (b *bench) prepare() error {
	return run(b.dir, func(s *session) {
		lab.Need(s, "perfdhcp")
		for _, name := range b.servers {
			switch name {
			case "kea-dhcp6":
				lab.Need(s, name)
			case "tandem6d":
				if b.binaries == "" {
					b.binaries = lab.Binaries(s.TempDir())
					if err := lab.Build(string(b.binaries)); err != nil {
						s.Fatalf("%v", err)
					}
				}
			default:
				s.Fatalf("-servers: %q is unknown; there are %s", name, serverNames)
			}
		}
	})
}

// measure runs a load, which also says how much processor time the load generator itself used.
func measure[R any](b *bench, server string, load func(*session, *lab.Network) (R, time.Duration)) (p probe[R], err error) {
	err = run(b.dir, func(s *session) {
		n := lab.NewNetwork(s)
		settings := lab.Settings{PreferredSeconds: 3600, ValidSeconds: 7200, Quiet: true}
		under := n.Kea
		if server == "tandem6d" {
			under = func(t lab.T, settings lab.Settings) *lab.Server { return n.Tandem6d(t, b.binaries, settings) }
		}
		running := under(s, settings)
		running.Start(s)
		pid := running.Process().PID()
		b.waitForQuiet()
		start := time.Now()
		server0, err1 := lab.CPUTime(pid)
		machine0, err2 := lab.MachineCPUTime()
		result, generatorTime := load(s, n)
		server1, err3 := lab.CPUTime(pid)
		machine1, err4 := lab.MachineCPUTime()
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			s.Fatalf("%v", err)
		}
		p.load, p.serverTime = result, server1-server0
		took := time.Since(start)
		p.generator = generatorTime
		p.otherCores = max(0, (machine1-machine0-p.serverTime-generatorTime).Seconds()/took.Seconds())
		p.idleCores = max(0, float64(runtime.NumCPU())-(machine1-machine0).Seconds()/took.Seconds())
	})
	return p, err
}

// waitForQuiet waits for a moment in which nothing else keeps the machine busy, but not forever: the tables say how busy it was.
func (b *bench) waitForQuiet() {
	start := time.Now()
	for time.Since(start) < min(quietWait, quietBudget-b.waited) {
		before, err1 := lab.MachineCPUTime()
		time.Sleep(quietWindow)
		after, err2 := lab.MachineCPUTime()
		if err1 != nil || err2 != nil || (after-before).Seconds() < busyCores*quietWindow.Seconds() {
			break
		}
	}
	b.waited += time.Since(start)
}

// throughput measures with the bench's own load generator. The servers take turns, so that other work on the machine meets them
// alike.
func (b *bench) throughput(w io.Writer) error {
	results := make(map[key][]probe[streamResult])
	for range b.probes {
		for _, leases := range leaseTypes {
			for _, server := range b.servers {
				p, err := measure(b, server, func(s *session, n *lab.Network) (streamResult, time.Duration) {
					before := ownTime()
					r := runStream(s, n, leases, b.seconds)
					return r, ownTime() - before
				})
				if err != nil {
					return fmt.Errorf("%s, %s: %w", server, leases.name, err)
				}
				log.Printf("%s, %s, %d under way: %d/s, %d lost, %d refused, %d µs each, %d the generator's; %.1f processors busy elsewhere, %.1f idle",
					server, leases.name, streamInFlight, p.load.completed/b.seconds, p.load.lost, p.load.refused, p.perExchange(p.load.completed),
					p.generator.Microseconds()/int64(max(1, p.load.completed)), p.otherCores, p.idleCores)
				k := key{server, leaseName(leases.name)}
				results[k] = append(results[k], p)
			}
		}
	}
	median := func(server string, leases leaseType) probe[streamResult] {
		list := results[key{server, leaseName(leases.name)}]
		slices.SortFunc(list, func(a, b probe[streamResult]) int { return a.load.completed - b.load.completed })
		return list[len(list)/2]
	}
	peer := b.servers[len(b.servers)-1]
	fmt.Fprintf(w, "With %d exchanges under way (median of %d probes):\n\n", streamInFlight, b.probes)
	fmt.Fprintf(w, "| leases | server | exchanges/s | against %s | lost | Solicit median ms | p99 ms | Request median ms | p99 ms | server's processor µs per exchange | processors busy elsewhere |\n", peer)
	fmt.Fprintln(w, "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, leases := range leaseTypes {
		for _, server := range b.servers {
			p := median(server, leases)
			fmt.Fprintf(w, "| %s | %s | %d | %.2f | %d | %.2f | %.2f | %.2f | %.2f | %d | %.1f |\n", leases.name, server, p.load.completed/b.seconds,
				float64(p.load.completed)/float64(max(1, median(peer, leases).load.completed)), p.load.lost,
				milliseconds(p.load.solicits, 50), milliseconds(p.load.solicits, 99), milliseconds(p.load.requests, 50), milliseconds(p.load.requests, 99),
				p.perExchange(p.load.completed), p.otherCores)
		}
	}
	return nil
}

// highestRates has perfdhcp find the highest rates that the servers master.
func (b *bench) highestRates(w io.Writer) error {
	best := make(map[key]probe[report])
	for _, leases := range leaseTypes {
		for _, server := range b.servers {
			p, err := b.search(server, leases)
			if err != nil {
				return err
			}
			best[key{server, leaseName(leases.name)}] = p
		}
	}
	peer := b.servers[len(b.servers)-1]
	fmt.Fprintf(w, "\nHighest rate of perfdhcp with less than 1 %% loss:\n\n")
	fmt.Fprintf(w, "| leases | server | exchanges/s | against %s | lost %% | Solicit avg ms | Request avg ms | server's processor µs per exchange | perfdhcp's | processors busy elsewhere |\n", peer)
	fmt.Fprintln(w, "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, leases := range leaseTypes {
		for _, server := range b.servers {
			p := best[key{server, leaseName(leases.name)}]
			fmt.Fprintf(w, "| %s | %s | %d | %.2f | %.2f | %.2f | %.2f | %d | %d | %.1f |\n", leases.name, server, p.load.rate,
				float64(p.load.rate)/float64(best[key{peer, leaseName(leases.name)}].load.rate), p.load.lostPercent, p.load.solicitMS, p.load.requestMS,
				p.perExchange(p.load.completed), p.load.generatorTime.Microseconds()/int64(max(1, p.load.completed)), p.otherCores)
		}
	}
	return nil
}

// search finds the highest rate that a server masters.
func (b *bench) search(server string, leases leaseType) (best probe[report], err error) {
	masters := func(rate int) (bool, error) {
		failures := 0
		for range attempts {
			p, err := b.perfdhcp(server, load{leases: leases, rate: rate, seconds: b.seconds})
			if err != nil {
				return false, err
			}
			log.Printf("%s, %s, %d/s: completed %d/s, %.2f %% lost, %d µs each; %.1f processors busy elsewhere", server, leases.name, rate,
				p.load.completed/b.seconds, p.load.lostPercent, p.perExchange(p.load.completed), p.otherCores)
			if p.load.passes() {
				best = p
				return true, nil
			}
			// Loss comes by chance too, so that one failure is not enough, even on a quiet machine.
			if p.otherCores < busyCores {
				failures++
			}
			if failures == 2 {
				break
			}
		}
		return false, nil
	}
	low, high := 0, firstRate
	for high < rateLimit {
		ok, err := masters(high)
		if err != nil {
			return best, err
		}
		if !ok {
			break
		}
		low, high = high, high*3/2
	}
	for range steps {
		middle := (low + high) / 2
		ok, err := masters(middle)
		if err != nil {
			return best, err
		}
		if ok {
			low = middle
		} else {
			high = middle
		}
	}
	if low == 0 {
		return best, fmt.Errorf("%s masters no rate down to %d %s per second; is the machine busy?", server, high, leases.name)
	}
	return best, nil
}

// delays compares the delays at a low rate.
func (b *bench) delays(w io.Writer) error {
	fmt.Fprintf(w, "\nDelays at %d exchanges per second of perfdhcp:\n\n", latencyRate)
	fmt.Fprintln(w, "| leases | server | Solicit median ms | p99 ms | Request median ms | p99 ms | server's processor µs per exchange | processors busy elsewhere |")
	fmt.Fprintln(w, "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, leases := range leaseTypes {
		for _, server := range b.servers {
			p, err := b.perfdhcp(server, load{leases: leases, rate: latencyRate, seconds: b.seconds, delays: true})
			if err != nil {
				return err
			}
			fmt.Fprintf(w, "| %s | %s | %.2f | %.2f | %.2f | %.2f | %d | %.1f |\n", leases.name, server,
				milliseconds(p.load.solicits, 50), milliseconds(p.load.solicits, 99), milliseconds(p.load.requests, 50), milliseconds(p.load.requests, 99),
				p.perExchange(p.load.completed), p.otherCores)
		}
	}
	return nil
}

// perfdhcp runs a load of perfdhcp against a server.
func (b *bench) perfdhcp(server string, l load) (probe[report], error) {
	return measure(b, server, func(s *session, n *lab.Network) (report, time.Duration) {
		r, err := l.run(n)
		if err != nil {
			s.Fatalf("%v", err)
		}
		return r, r.generatorTime
	})
}

// milliseconds picks a percentile from sorted durations.
func milliseconds(sorted []time.Duration, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*percent/100].Seconds() * 1000
}

// ownTime is the processor time that this program has used.
func ownTime() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		panic(fmt.Sprintf("bench: getrusage of itself: %v", err)) // cannot fail with these arguments
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func kernel() string {
	text, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(text))
}

// fileSystem names the file system of a folder: on tmpfs, writing to disk costs nothing and a comparison means less.
func fileSystem(dir string) string {
	var info unix.Statfs_t
	if err := unix.Statfs(dir, &info); err != nil {
		return "an unknown file system"
	}
	switch int64(info.Type) {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs (memory)"
	}
	return fmt.Sprintf("file system %#x", info.Type)
}
