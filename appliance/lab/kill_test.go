package lab_test

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/tandem6/tandem6/appliance/lab"
)

// TestKillUnderLoad kills the server with SIGKILL while clients get, renew and release leases, again and again: after each restart
// it still has every lease for which a Reply left, and it never gives an address or prefix to two clients. At the end all clients
// renew, and get what they had (D-150). The environment variable TANDEM6_KILLS says how often it is killed.
func TestKillUnderLoad(t *testing.T) {
	const (
		atOnce      = 64  // clients that are being served when the kill comes
		repliesMost = 600 // before a kill, so that it comes at any moment between start and full speed
	)
	lab.Need(t)
	kills := 10
	if text := os.Getenv("TANDEM6_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil || kills < 1 {
			t.Fatalf("TANDEM6_KILLS=%q: want a number of kills", text)
		}
	}
	n := lab.NewNetwork(t)
	server := newServer(t, n, lab.Settings{PreferredSeconds: 3600, ValidSeconds: 7200, Quiet: true})
	fleet := lab.NewFleet(t, n.Client, "eth0")
	for kill := range kills {
		server.Start(t)
		expectLedger(t, kill, server, fleet)
		target := fleet.Replies() + 1 + rand.IntN(repliesMost)
		ctx, cancel := context.WithCancel(t.Context())
		load := make(chan error, 1)
		go func() { load <- fleet.Load(ctx, atOnce) }()
		lab.Eventually(t, time.Minute, "the load", func() bool { return fleet.Replies() >= target })
		server.Kill()
		cancel()
		if err := <-load; err != nil {
			t.Fatalf("before kill %d: %v", kill+1, err)
		}
		fleet.Drain(t)
	}
	server.Start(t)
	expectLedger(t, kills, server, fleet)
	if err := fleet.RenewAll(t.Context(), atOnce); err != nil {
		t.Errorf("after %d kills: %v", kills, err)
	}
	expectLedger(t, kills, server, fleet)
	t.Logf("%d kills, %d Replies with leases, %d clients hold leases", kills, fleet.Replies(), len(fleet.Held()))
}

// expectLedger checks the server's leases against what its Replies have promised.
func expectLedger(t *testing.T, kills int, server *lab.Server, fleet *lab.Fleet) {
	t.Helper()
	const shown = 10
	wrong := fleet.Check(server.Leases(t))
	for _, problem := range wrong[:min(shown, len(wrong))] {
		t.Errorf("after kill %d: %s", kills, problem)
	}
	if len(wrong) > 0 {
		t.Fatalf("after kill %d: %d problems", kills, len(wrong))
	}
}
