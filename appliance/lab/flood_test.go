package lab_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/tandem6/tandem6/appliance/lab"
)

// TestFlood floods the server with Solicits, each from a client that never comes back, while known clients renew. They are all
// served, and the server's memory stays within bounds.
func TestFlood(t *testing.T) {
	const (
		floodTime     = 5 * time.Second
		knownClients  = 20
		renewEvery    = 200 * time.Millisecond // all of them, so that the processor is left to flood and server
		memoryMostKiB = 192 << 10              // of the 512 MiB that the smallest box has
	)
	lab.Need(t)
	n := &lab.Network{Server: lab.NewHost(t, "server"), Client: lab.NewHost(t, "client")}
	attacker := lab.NewHost(t, "attacker")
	lan := lab.NewSwitch(t)
	for _, h := range []*lab.Host{n.Server, n.Client, attacker} {
		lan.Plug(t, h, "eth0")
		h.LinkLocal(t, "eth0")
	}
	server := newServer(t, n, lab.Settings{PreferredSeconds: 3600, ValidSeconds: 7200, Quiet: true})
	server.Start(t)
	fleet := lab.NewFleet(t, n.Client, "eth0")
	for range knownClients {
		if err := fleet.NewClient().Lease(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	before, _, err := lab.MemoryKiB(server.Process().PID())
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), floodTime)
	defer cancel()
	flood := make(chan int, 1)
	go func() { flood <- attacker.Flood(ctx, t, "eth0") }()
	renewals := 0
	var slowest time.Duration
	for tick := time.Tick(renewEvery); ctx.Err() == nil; <-tick {
		start := time.Now()
		if err := fleet.RenewAll(t.Context(), knownClients); err != nil {
			t.Errorf("after %d renewals: %v", renewals, err)
			break
		}
		renewals += knownClients
		slowest = max(slowest, time.Since(start))
	}
	cancel()
	sent := <-flood
	after, peak, err := lab.MemoryKiB(server.Process().PID())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d Solicits in %v; %d renewals, the slowest round of %d took %v; memory %d KiB before, %d after, %d at its peak",
		sent, floodTime, renewals, knownClients, slowest.Round(time.Millisecond), before, after, peak)
	if peak > memoryMostKiB {
		t.Errorf("the server's memory grew to %d KiB, want at most %d", peak, memoryMostKiB)
	}
	expectLedger(t, 0, server, fleet)
}

// TestOneClientFloods has one client ask over and over: the server answers it only so often, and serves the others (D-245).
func TestOneClientFloods(t *testing.T) {
	needTandem6d(t)
	lab.Need(t)
	const (
		limit = 20 // messages per second and client: the default
		asked = 50 * limit
	)
	n := lab.NewNetwork(t)
	server := newServer(t, n, lab.Settings{PreferredSeconds: 3600, ValidSeconds: 7200})
	server.Start(t)
	fleet := lab.NewFleet(t, n.Client, "eth0")
	eager := fleet.NewClient()
	if err := eager.Lease(t.Context()); err != nil {
		t.Fatal(err)
	}
	start, before := time.Now(), fleet.Replies()
	// The fleet waits for each answer; those that do not come are given up when the other client has been served.
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	for range asked {
		asking.Go(func() { eager.Renew(ctx) })
	}
	other := fleet.NewClient()
	if err := other.Lease(t.Context()); err != nil {
		t.Errorf("another client is not served: %v", err)
	}
	cancel()
	asking.Wait()
	answered := fleet.Replies() - before - 1 // one went to the other client
	most := limit * (2 + int(time.Since(start).Seconds()))
	t.Logf("%d of %d messages answered within %v", answered, asked, time.Since(start).Round(time.Millisecond))
	if answered > most {
		t.Errorf("%d answers to one client within %v, want at most %d", answered, time.Since(start), most)
	}
}
