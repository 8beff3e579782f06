// Bench measures how many 4-message exchanges per second tandem6d completes on a virtual cable, next to ISC Kea in the same run, and
// prints the result as a table in Markdown.
//
// The load generator is Kea's perfdhcp. A rate counts as mastered when fewer than 1 % of the messages are lost and at least 97 % of
// the asked exchanges complete. Every probe starts with an empty lease database. Server and load generator share the machine, so
// the highest rates are lower bounds; the processor time per exchange is the figure to compare across machines.
//
// It needs root, Debian's packages kea-dhcp6-server and kea-admin, and about eight minutes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/tandem6/tandem6/appliance/lab"
	"golang.org/x/sys/unix"
)

// A leaseType is what the clients ask for.
type leaseType struct{ name, perfdhcp string }

var leaseTypes = []leaseType{
	{"addresses", "address-only"},
	{"prefixes", "prefix-only"},
	{"both", "address-and-prefix"},
}

const (
	firstRate   = 2000   // exchanges per second; every server here masters it
	rateLimit   = 200000 // no server and no load generator comes near
	steps       = 3      // of bisection after the first rate that fails
	latencyRate = 2000   // exchanges per second at which delays are compared
	busyCores   = 0.2    // with more processors busy elsewhere, a failure says nothing
	attempts    = 4      // at a rate
	serverNames = "tandem6d,kea-dhcp6"
)

func main() {
	log.SetFlags(log.Ltime)
	servers := flag.String("servers", serverNames, "the `servers` to measure, with commas between them")
	seconds := flag.Int("seconds", 3, "how long each probe lasts")
	bin := flag.String("bin", "", "`folder` with tandem6d and tandem6; empty: build them")
	parent := flag.String("dir", "", "`folder` for the lease databases; empty: the system's for temporary files")
	flag.Parse()
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
	b := &bench{dir: dir, seconds: *seconds, binaries: lab.Binaries(*bin)}
	ok := b.prepare(strings.Split(*servers, ",")) && b.measure() && b.report(os.Stdout)
	os.RemoveAll(dir)
	if !ok {
		os.Exit(1)
	}
}

type bench struct {
	dir      string
	seconds  int
	binaries lab.Binaries
	servers  []string
	highest  map[key]result
	delays   map[key]result
}

type key struct {
	server string
	leases leaseType
}

// prepare checks what is needed and builds the programs.
func (b *bench) prepare(servers []string) bool {
	b.servers = servers
	return run(b.dir, func(s *session) {
		lab.Need(s, "perfdhcp")
		for _, name := range servers {
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

// measure fills in the results. The servers take turns, so that other work on the machine meets them alike.
func (b *bench) measure() bool {
	b.highest, b.delays = make(map[key]result), make(map[key]result)
	for _, leases := range leaseTypes {
		for _, server := range b.servers {
			k := key{server, leases}
			highest, err := b.search(k)
			if err == nil {
				b.highest[k] = highest
				b.delays[k], err = b.probe(k, load{leases: leases, rate: latencyRate, seconds: b.seconds, delays: true})
			}
			if err != nil {
				log.Printf("error: %v", err)
				return false
			}
		}
	}
	return true
}

// search finds the highest rate that a server masters.
func (b *bench) search(k key) (best result, err error) {
	masters := func(rate int) (bool, error) {
		failures := 0
		for range attempts {
			r, err := b.probe(k, load{leases: k.leases, rate: rate, seconds: b.seconds})
			if err != nil {
				return false, err
			}
			log.Printf("%s, %s, %d/s: completed %.0f/s, %.2f %% lost, %v of processor time each; %.1f processors busy elsewhere",
				k.server, k.leases.name, rate, r.exchangesPerSecond, r.dropsPercent, r.perExchange(), r.otherCores)
			if r.passes() {
				best = r
				return true, nil
			}
			// Loss comes by chance too, so that one failure is not enough, even on a quiet machine.
			if r.otherCores < busyCores {
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
			return result{}, err
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
			return result{}, err
		}
		if ok {
			low = middle
		} else {
			high = middle
		}
	}
	if best.rate == 0 {
		return result{}, fmt.Errorf("%s masters no rate down to %d %s per second", k.server, high, k.leases.name)
	}
	return best, nil
}

// probe runs a load against a server that starts with an empty lease database.
func (b *bench) probe(k key, l load) (result, error) {
	var r result
	ok := run(b.dir, func(s *session) {
		n := lab.NewNetwork(s)
		settings := lab.Settings{PreferredSeconds: 3600, ValidSeconds: 7200, Quiet: true}
		var server *lab.Server
		if k.server == "tandem6d" {
			server = n.Tandem6d(s, b.binaries, settings)
		} else {
			server = n.Kea(s, settings)
		}
		server.Start(s)
		pid := server.Process().PID()
		start := time.Now()
		server0, err1 := lab.CPUTime(pid)
		machine0, err2 := lab.MachineCPUTime()
		var err3 error
		r, err3 = l.run(n)
		server1, err4 := lab.CPUTime(pid)
		machine1, err5 := lab.MachineCPUTime()
		if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
			s.Fatalf("%v", err)
		}
		r.serverTime = server1 - server0
		other := machine1 - machine0 - r.serverTime - r.generatorTime
		r.otherCores = max(0, other.Seconds()/time.Since(start).Seconds())
	})
	if !ok {
		return result{}, fmt.Errorf("%s: the probe with %d exchanges per second of %s failed", k.server, l.rate, l.leases.name)
	}
	return r, nil
}

// report prints the tables.
func (b *bench) report(w io.Writer) bool {
	fmt.Fprintf(w, "%d processors, Linux %s, lease databases on %s, probes of %d s.\n\n", runtime.NumCPU(), kernel(), fileSystem(b.dir), b.seconds)
	fmt.Fprintf(w, "| leases | server | highest rate/s | against %s | lost %% | Solicit avg ms | Request avg ms | server's processor µs per exchange | processors busy elsewhere |\n", b.servers[len(b.servers)-1])
	fmt.Fprintln(w, "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, leases := range leaseTypes {
		for _, server := range b.servers {
			r := b.highest[key{server, leases}]
			peer := b.highest[key{b.servers[len(b.servers)-1], leases}]
			fmt.Fprintf(w, "| %s | %s | %d | %.2f | %.2f | %.2f | %.2f | %d | %.2f |\n", leases.name, server, r.rate,
				float64(r.rate)/float64(peer.rate), r.dropsPercent, r.solicitMS, r.requestMS, r.perExchange().Microseconds(), r.otherCores)
		}
	}
	fmt.Fprintf(w, "\nDelays at %d exchanges per second:\n\n", latencyRate)
	fmt.Fprintln(w, "| leases | server | Solicit median ms | p99 ms | Request median ms | p99 ms | server's processor µs per exchange |")
	fmt.Fprintln(w, "| --- | --- | ---: | ---: | ---: | ---: | ---: |")
	for _, leases := range leaseTypes {
		for _, server := range b.servers {
			r := b.delays[key{server, leases}]
			fmt.Fprintf(w, "| %s | %s | %.2f | %.2f | %.2f | %.2f | %d |\n", leases.name, server, percentile(r.solicitMSs, 50),
				percentile(r.solicitMSs, 99), percentile(r.requestMSs, 50), percentile(r.requestMSs, 99), r.perExchange().Microseconds())
		}
	}
	return true
}

func kernel() string {
	text, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(text))
}

// fileSystem names the file system of a folder: on tmpfs, writing to disk costs nothing and a comparison means less.
func fileSystem(dir string) string {
	var info unix.Statfs_t
	if err := unix.Statfs(filepath.Clean(dir), &info); err != nil {
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
