package sim

import (
	"testing"
	"time"

	"github.com/tandem6/tandem6/appliance/engine"
	"github.com/tandem6/tandem6/failover/lease"
)

// quiet is a pair in a world where nothing goes wrong and nothing is slow.
func quiet() Options {
	return Options{
		Primaries: 1, Clients: 2, Addresses: 16, Prefixes: 4,
		Preferred_s: 240, Valid_s: 300, Declined_s: 600, Remember_s: 600,
		MCLT_s: 60, Keepalive_s: 10, Startup_s: 30, Reconnect_s: 1, MaxUnacked: 10, BackupShare: 25,
		SolMaxRT_s: 15, Safety: time.Hour,
		Latency: time.Millisecond, Disk: time.Millisecond,
	}
}

// start runs a world until both partners are NORMAL.
func start(t *testing.T, o Options) *World {
	t.Helper()
	w := newWorld(o, nil)
	w.begin()
	for w.now < 10*time.Minute && w.violation == nil && !(w.pairs[0].steady() && w.clients[0].holdsAny()) {
		w.until(w.now + time.Second)
	}
	if w.violation != nil {
		t.Fatal(w.violation)
	}
	if !w.pairs[0].steady() {
		t.Fatal("the partners are not NORMAL after ten minutes of calm")
	}
	return w
}

// A batch on its way to the disk when the process ends is there whole or not at
// all, and both happen.
func TestCrashDuringCommit(t *testing.T) {
	there, gone := 0, 0
	for seed := range uint64(40) {
		o := quiet()
		o.Seed, o.Primaries, o.Disk = seed, 0, time.Second
		w := newWorld(o, nil)
		n := w.nodes[0]
		n.powerOn()
		w.until(time.Minute)
		n.step(engine.SetAddressKey{Key: [32]byte{byte(seed), 1}})
		if n.batch == nil {
			t.Fatal("nothing is on its way")
		}
		n.crash("test")
		if n.kept.values["address-key"][1] == 1 {
			there++
		} else {
			gone++
		}
		w.until(2 * time.Minute) // it starts again, and check_restart compares
		if w.violation != nil || !n.running {
			t.Fatalf("seed %d: running %v, %v", seed, n.running, w.violation)
		}
	}
	if there == 0 || gone == 0 {
		t.Errorf("the batch was there %d times, gone %d times", there, gone)
	}
}

// A commit that fails ends the process, which starts again with what is there.
func TestFailedCommit(t *testing.T) {
	w := start(t, quiet())
	n := w.nodes[0]
	life := n.life
	n.failNext = true
	n.step(engine.SetAddressKey{Key: [32]byte{1}})
	w.until(w.now + time.Minute)
	if n.life != life+1 || !n.running || w.violation != nil {
		t.Errorf("life %d after %d, running %v, %v", n.life, life, n.running, w.violation)
	}
}

// A disk that stalls answers when it has done so, and in the end.
func TestDiskStall(t *testing.T) {
	w := start(t, quiet())
	n := w.nodes[0]
	n.stall = w.now + 20*time.Second
	n.step(engine.SetAddressKey{Key: [32]byte{1}})
	w.until(w.now + 19*time.Second)
	if n.batch == nil {
		t.Error("the disk answered while it stalled")
	}
	w.until(w.now + 2*time.Second)
	if n.kept.values["address-key"][0] != 1 {
		t.Error("the batch is not on the disk after the stall")
	}
}

// Clients in a quiet world get what they ask for, and keep it.
func TestQuietWorld(t *testing.T) {
	o := quiet()
	o.Clients, o.Routers, o.Relayed, o.Reserved = 4, 2, 2, 1
	w := start(t, o)
	w.until(o.Safety)
	w.settle()
	if w.violation != nil {
		t.Fatal(w.violation)
	}
	for _, c := range w.clients {
		if !c.holdsAny() {
			t.Errorf("%s has nothing", c.who)
		}
	}
	if lost := w.tally["clients: lease ran out"]; lost != 0 {
		t.Errorf("%d leases ran out", lost)
	}
}

// The operator says partner-down only to a server whose partner is off, and the
// other box comes back only to meet it.
func TestOutage(t *testing.T) {
	met := false
	for seed := range uint64(10) {
		o := quiet()
		o.Seed = seed
		w := start(t, o)
		p := w.pairs[0]
		p.outage()
		sawDown := false
		for w.now < 2*time.Hour && w.violation == nil {
			w.until(w.now + time.Second)
			for x, n := range p.nodes {
				if p.relation(x).state == partnerDown {
					sawDown = true
					if other := p.nodes[1-x]; other.powered && !p.guarded && !p.off[1-x] && p.relation(1-x).state == startup {
						t.Fatalf("seed %d: %s starts beside %s in PARTNER-DOWN, and nobody watches", seed, other.name, n.name)
					}
				}
			}
		}
		if w.violation != nil {
			t.Fatalf("seed %d: %v", seed, w.violation)
		}
		met = met || sawDown && p.steady()
	}
	if !met {
		t.Error("no outage led to PARTNER-DOWN and back")
	}
}

// A disk is replaced only while the partner knows all that is not younger than MCLT.
func TestReplaceDisk(t *testing.T) {
	w := start(t, quiet())
	p := w.pairs[0]
	n := p.nodes[primary]
	n.replaceDisk()
	if n.powered || len(n.kept.bindings) != 0 || !p.wasLost {
		t.Fatal("the disk was not replaced")
	}
	p.nodes[secondary].replaceDisk()
	if !p.nodes[secondary].powered {
		t.Error("two disks were lost at a time")
	}
	w.soothe()
	w.until(w.now + 10*time.Minute)
	if !p.steady() || w.violation != nil {
		t.Errorf("steady: %v, %v", p.steady(), w.violation)
	}
}

// The pools of a lan are where its clients and checkers look for them.
func TestLanLayout(t *testing.T) {
	for _, odd := range []bool{false, true} {
		o := quiet()
		o.OddFirst, o.Addresses = odd, 1
		l := newWorld(o, nil).lans[0]
		link := l.link()
		pool := link.Subnets[0].Pools[0]
		if pool.First != pool.Last || (lease.Freed(lease.Address(pool.First)) == lease.Free) != odd {
			t.Errorf("odd %v: pool %v to %v", odd, pool.First, pool.Last)
		}
		n := 0
		for p := range l.eachPrefix() {
			n++
			if !link.PrefixPools[0].Prefix.Contains(p.Addr()) || p.Masked() != p {
				t.Errorf("%v is not in %v", p, link.PrefixPools[0].Prefix)
			}
		}
		if n != o.Prefixes {
			t.Errorf("%d prefixes", n)
		}
	}
}
