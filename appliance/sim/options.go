package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tandem6/tandem6/failover"
)

// Options are everything that is different from one simulation to the next, but
// for chance itself. Draw makes them from the seed: each simulation has other
// sizes, other speeds, and another subset of the faults (swarm testing), so that
// rare combinations are met, and calm stretches in which a fault has time to
// show its effect.
type Options struct {
	Seed uint64

	// Who there is.
	Primaries int // 0: one server alone; 1: a pair; more: as many with one secondary
	Clients   int // on each link
	Routers   int // of the clients, those that ask for prefixes
	Relayed   int // of the clients, those behind a relay

	// What there is to lease, on each link.
	Addresses   int // in the pool
	OddFirst    bool
	Prefixes    int // in the pool; a power of two
	Reserved    int // clients with a reservation
	RapidCommit bool
	OnRenew     bool // a Renew of an unknown client makes a binding

	// Times, in seconds.
	Preferred_s, Valid_s     uint32
	Declined_s, Remember_s   uint32
	MCLT_s, Keepalive_s      uint32
	Startup_s, Reconnect_s   uint32
	AckTimeout_s, UpdDone_s  uint32
	AutoPartnerDown_s        uint32 // 0: off
	MaxUnacked               uint32
	BackupShare              int
	CommissionedAlone        bool    // a primary starts before its partner exists (T-10)
	NoBattery                float64 // share of boxes that start without the time
	SolMaxRT_s               uint32
	Safety                   time.Duration // how long there are faults
	Latency, LatencySpread   time.Duration // of a datagram or segment
	Disk, DiskSpread         time.Duration // of a commit
	Loss, Duplicates, Delays float64       // of datagrams
	Segments                 bool          // streams are cut into small pieces
	Late                     bool          // what a connection still held may be read after it was closed

	Faults [faultCount]time.Duration // mean time between two of a kind; 0: never
	Habits Habits

	Flaws failover.Flaw // known mistakes to make on purpose
}

// Habits are how clients behave. Shares are between 0 and 1.
type Habits struct {
	Acts   time.Duration // mean time between two things a client does unasked
	Lazy   float64       // clients that renew late
	Silent float64       // clients that do not renew at all, and ask anew at the end
	Rapid  float64       // clients that offer Rapid Commit
	Hints  float64       // clients that ask for what they had

	// What a client does unasked, as weights.
	Release, Decline, Reboot, NewIAID, Forget, Confirm, Away int
}

// Draw makes the options of a seed.
func Draw(seed uint64) Options {
	d := dice{rand.New(rand.NewPCG(seed, 0x6f7074696f6e73))}
	o := Options{Seed: seed}
	d.people(&o)
	d.pools(&o)
	d.times(&o)
	d.network(&o)
	d.habits(&o)
	d.faults(&o)
	return o
}

// dice draw options.
type dice struct{ *rand.Rand }

func (d dice) chance(p float64) bool { return d.Float64() < p }

func pick[T any](d dice, values ...T) T { return values[d.IntN(len(values))] }

// between is a number from lo to hi, both included, each order of magnitude as likely.
func (d dice) between(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	l, h := math.Log(float64(lo)), math.Log(float64(hi))
	return time.Duration(math.Exp(l + d.Float64()*(h-l)))
}

func (d dice) people(o *Options) {
	switch n := d.IntN(20); {
	case n == 0:
		o.Primaries = 0
	case n < 5:
		o.Primaries = 3
	default:
		o.Primaries = 1
	}
	o.Clients = pick(d, 1, 2, 2, 3, 4, 6, 8)
	if o.Primaries > 1 {
		o.Clients = min(o.Clients, 3)
	}
	o.Routers = d.IntN(o.Clients + 1)
	o.Relayed = d.IntN(o.Clients + 1)
}

func (d dice) pools(o *Options) {
	o.Addresses = pick(d, 1, 1, 2, 3, 4, 8, 16, 64)
	o.OddFirst = d.chance(0.5)
	o.Prefixes = pick(d, 1, 1, 2, 4, 8, 16)
	if d.chance(0.2) {
		o.Reserved = 1 + d.IntN(o.Clients)
	}
	o.RapidCommit = d.chance(0.5)
	o.OnRenew = d.chance(0.5)
	o.BackupShare = pick(d, 10, 25, 50)
}

func (d dice) times(o *Options) {
	o.MCLT_s = pick[uint32](d, 30, 30, 60, 120, 300, 900, 3600)
	o.Valid_s = pick[uint32](d, 30, 60, 120, 300, 600, 3600, 7200, 43200, 86400, 259200)
	o.Preferred_s = max(o.Valid_s*uint32(50+d.IntN(51))/100, 20)
	o.Declined_s = pick[uint32](d, 60, 600, 86400)
	o.Remember_s = pick[uint32](d, 60, 600, 86400)
	o.MaxUnacked = pick[uint32](d, 1, 2, 10, 100)
	o.Startup_s = pick[uint32](d, 0, 5, 30, 90) // 0: the default
	o.Reconnect_s = pick[uint32](d, 0, 1, 5, 20)
	o.AckTimeout_s = pick[uint32](d, 0, 10, 60)
	o.UpdDone_s = pick[uint32](d, 0, 10, 60)
	o.SolMaxRT_s = pick[uint32](d, 15, 60, 120)

	// Long enough for the slowest of the times to come round a few times, short
	// enough for the fastest client to send some thousand messages at most.
	slow := seconds(max(o.MCLT_s, min(o.Valid_s, 7200), 120))
	fast := seconds(max(min(o.Preferred_s, o.MCLT_s)/2, 8))
	clients := time.Duration(max(o.Primaries, 1) * o.Clients)
	o.Safety = min(slow*time.Duration(5+d.IntN(20)), fast*exchangesMax/clients, safetyMax)
	o.Safety = max(o.Safety, safetyMin)
	// Of keepalives, too, no more than some thousand.
	o.Keepalive_s = pick[uint32](d, 1, 2, 5, 10, 20, 60)
	o.Keepalive_s = max(o.Keepalive_s, uint32(o.Safety/time.Second)/keepalivesMax)
	o.CommissionedAlone = o.Primaries > 0 && d.chance(0.05)
	o.NoBattery = pick(d, 0, 0, 0.5, 1)
}

const (
	safetyMin     = 15 * time.Minute
	safetyMax     = 100 * time.Hour
	exchangesMax  = 1500
	keepalivesMax = 300
)

func (d dice) network(o *Options) {
	o.Latency = d.between(50*time.Microsecond, 200*time.Millisecond)
	o.LatencySpread = d.between(10*time.Microsecond, 4*o.Latency)
	o.Disk = d.between(200*time.Microsecond, 100*time.Millisecond)
	o.DiskSpread = d.between(10*time.Microsecond, 5*o.Disk)
	if d.chance(0.5) {
		o.Loss = pick(d, 0.01, 0.1, 0.3)
	}
	if d.chance(0.3) {
		o.Duplicates = pick(d, 0.01, 0.1)
	}
	if d.chance(0.3) {
		o.Delays = pick(d, 0.01, 0.1)
	}
	o.Segments = d.chance(0.2)
	o.Late = d.chance(0.5)
}

func (d dice) habits(o *Options) {
	h := &o.Habits
	h.Acts = o.Safety / time.Duration(1+d.IntN(12))
	share := func() float64 { return pick(d, 0, 0, 0.2, 0.5, 1) }
	h.Lazy, h.Silent, h.Rapid, h.Hints = share(), pick(d, 0, 0, 0, 0.3), share(), share()
	weight := func() int { return pick(d, 0, 1, 3) }
	h.Release, h.Decline, h.Reboot, h.NewIAID = weight(), weight(), weight(), weight()
	h.Forget, h.Confirm, h.Away = weight(), weight(), weight()
}

// faults draws the subset of faults and how often they strike.
func (d dice) faults(o *Options) {
	for f := range faultCount {
		if d.chance(0.35) && faultKinds[f].fits(o) {
			o.Faults[f] = o.Safety / time.Duration(1+d.IntN(10))
		}
	}
	if o.Primaries > 0 && d.chance(0.15) {
		d.automatic(o)
	}
}

// automatic turns auto-partner-down on. Then a server that cannot be reached has
// to be down: faults that leave both running without a connection for so long are
// outside of what the RFC promises to survive (section 8.9).
func (d dice) automatic(o *Options) {
	o.AutoPartnerDown_s = pick[uint32](d, 120, 300, 900)
	o.NoBattery = 0 // skewed clocks separate, too
	for f := range faultCount {
		if faultKinds[f].separates {
			o.Faults[f] = 0
		}
	}
}

// Flaws are the names of the known mistakes.
func Flaws() (names []string) {
	for _, f := range failover.Flaws {
		names = append(names, f.Name)
	}
	return names
}

// Break has the servers make a known mistake.
func (o *Options) Break(name string) error {
	for _, f := range failover.Flaws {
		if f.Name == name {
			o.Flaws |= f.Flaw
			return nil
		}
	}
	return fmt.Errorf("no known mistake is called %q; there are: %s", name, strings.Join(Flaws(), ", "))
}

// Without leaves out the faults whose names contain one of some words. It helps
// to find out what a history needs.
func (o *Options) Without(words ...string) error {
	for _, word := range words {
		found := false
		for f := range faultCount {
			if strings.Contains(faultKinds[f].name, word) {
				o.Faults[f], found = 0, true
			}
		}
		if strings.Contains("clock", word) {
			o.NoBattery, found = 0, true
		}
		if !found {
			return fmt.Errorf("no fault is called like %q", word)
		}
	}
	return nil
}

// String is the options on a few lines, faults that are off left out.
func (o *Options) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %s, %d clients a link (%d routers, %d relayed, %d reserved), %d addresses, %d prefixes\n",
		o.Seed, o.shape(), o.Clients, o.Routers, o.Relayed, o.Reserved, o.Addresses, o.Prefixes)
	fmt.Fprintf(&b, "  lifetimes %d/%d s, MCLT %d s, keepalive %d s, startup %d s, max-unacked %d, auto-partner-down %d s, faults for %v\n",
		o.Preferred_s, o.Valid_s, o.MCLT_s, o.Keepalive_s, o.Startup_s, o.MaxUnacked, o.AutoPartnerDown_s, o.Safety.Round(time.Second))
	fmt.Fprintf(&b, "  latency %v+%v, loss %v, duplicates %v, delays %v, disk %v+%v\n  faults:",
		o.Latency, o.LatencySpread, o.Loss, o.Duplicates, o.Delays, o.Disk, o.DiskSpread)
	for f, mean := range o.Faults {
		if mean > 0 {
			fmt.Fprintf(&b, " %s every %v,", faultKinds[f].name, mean.Round(time.Second))
		}
	}
	return strings.TrimSuffix(b.String(), ",")
}

func (o *Options) shape() string {
	switch o.Primaries {
	case 0:
		return "a server alone"
	case 1:
		return "a pair"
	}
	return fmt.Sprintf("%d primaries with one secondary", o.Primaries)
}
