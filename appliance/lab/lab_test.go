package lab_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/tandem6/tandem6/appliance/lab"
)

var (
	serverName = flag.String("server", "tandem6d", "the server under test: tandem6d, or kea to check the bench itself where a test allows it")
	binFolder  = flag.String("bin", "", "the folder with tandem6d and tandem6; empty: build them")
	binaries   lab.Binaries
)

// TestMain builds the programs under test once.
func TestMain(m *testing.M) {
	flag.Parse()
	// The parallel tests wait for the timers of real clients nearly all the time: they need no processor each.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if *serverName == "kea" || os.Geteuid() != 0 {
		return m.Run()
	}
	if *binFolder != "" {
		binaries = lab.Binaries(*binFolder)
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "tandem6-lab-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := lab.Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	binaries = lab.Binaries(dir)
	return m.Run()
}

// newServer prepares the server under test.
func newServer(t *testing.T, n *lab.Network, s lab.Settings) *lab.Server {
	t.Helper()
	if *serverName == "kea" {
		lab.Need(t, "kea-dhcp6")
		return n.Kea(t, s)
	}
	return n.Tandem6d(t, binaries, s)
}

// needTandem6d is for tests that only make sense with the project's own server.
func needTandem6d(t *testing.T) {
	t.Helper()
	if *serverName != "tandem6d" {
		t.Skipf("not a test of %s", *serverName)
	}
}
