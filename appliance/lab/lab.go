// Package lab is a test bench for DHCPv6: hosts made of Linux namespaces, joined by virtual cables, on which real servers,
// relays and clients run unmodified while their packets are captured.
//
// A [Host] has its own interfaces, /etc, /run, /var/lib and /var/log. All of it lives in namespaces that are held open by one
// process, so it vanishes with that process, even when the test itself is killed. Nothing on the machine outside is changed and
// no packet can leave it.
//
// The tests in this folder drive the built tandem6d and tandem6 with every DHCPv6 client that Debian packages. Other tests, and
// the benchmark in cmd/bench, use the same hosts.
package lab

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// T is the part of [testing.TB] that the bench needs, so that programs which are not tests can use it too.
type T interface {
	Helper()
	Name() string
	Cleanup(func())
	TempDir() string
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// Need says that a test cannot run without root and the named programs. Where they are missing the test is skipped, or fails
// when CI=true is in the environment: there a skip would hide that nothing was tested.
func Need(t T, programs ...string) {
	t.Helper()
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "root")
	}
	for _, program := range append([]string{"unshare", "nsenter", "ip", "mount"}, programs...) {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if len(missing) == 0 {
		return
	}
	report := t.Skipf
	if os.Getenv("CI") == "true" {
		report = t.Fatalf
	}
	report("the test bench needs %s", strings.Join(missing, ", "))
}

// pollInterval is short against everything that is waited for and long enough to leave the processor to the programs under test.
const pollInterval = 10 * time.Millisecond

// Poll calls done until it returns true or the time is over, and returns its last answer.
func Poll(within time.Duration, done func() bool) bool {
	for deadline := time.Now().Add(within); ; time.Sleep(pollInterval) {
		if done() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// Eventually fails the test when done does not become true in time. What completes the sentence "... did not happen".
func Eventually(t T, within time.Duration, what string, done func() bool) {
	t.Helper()
	if !Poll(within, done) {
		t.Fatalf("%s: did not happen within %v", what, within)
	}
}

// Build compiles tandem6d and tandem6 into dir, as the image has them: without cgo.
func Build(dir string) error {
	const module = "github.com/tandem6/tandem6"
	cmd := exec.Command("go", "build", "-o", dir, module+"/cmd/tandem6d", module+"/cmd/tandem6")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}
