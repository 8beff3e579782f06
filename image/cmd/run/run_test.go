package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tandem6/tandem6/appliance/lab"
	"github.com/tandem6/tandem6/image/pack"
	"github.com/tandem6/tandem6/image/qemu"
	"golang.org/x/sys/unix"
)

// What the program has to show of the client.
var lease = []*regexp.Regexp{
	regexp.MustCompile(`(?m)^\s*=== +address +2001:db8:6:1:[0-9a-f:]+ +preferred \S+, valid \S+`),
	regexp.MustCompile(`(?m)^\s*=== +prefix +2001:db8:6:[89a-f][0-9a-f]00::/56 +preferred \S+, valid \S+`),
	regexp.MustCompile(`(?m)^\s*=== +default router +fe80:[0-9a-f:]+ +by router advertisement`),
}

// endTime bounds the end of the program once it was told to.
const endTime = 30 * time.Second

// A program is one run of this command.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	tmp  string // where it makes its temporary files
	done chan struct{}

	mu     sync.Mutex
	output bytes.Buffer
}

// newProgram builds the image and the program.
func newProgram(t *testing.T, args ...string) *program {
	t.Helper()
	lab.Need(t, append(qemu.Programs, "dhclient", "tcpdump")...)
	image, err := pack.Image(pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, tmp: t.TempDir(), done: make(chan struct{})}
	p.cmd = exec.Command(compile(t), append([]string{"-disk", image}, args...)...)
	p.cmd.Env = append(os.Environ(), "TMPDIR="+p.tmp)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return p
}

// compile builds the program alone.
func compile(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "run")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

func (p *program) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.Write(text)
}

func (p *program) shown() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

func (p *program) start() {
	p.t.Helper()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	p.t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.done
		if p.t.Failed() {
			p.t.Logf("the program showed:\n%s", p.shown())
		}
	})
}

// waitShown waits until a pattern is on the screen.
func (p *program) waitShown(pattern string) {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	lab.Eventually(p.t, bootTime+leaseTime+routerTime, "on the screen: "+pattern, func() bool { return re.MatchString(p.shown()) })
}

// waitEnd waits until the program has ended, and checks its exit code and that nothing is left of it.
func (p *program) waitEnd(within time.Duration, code int) {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		p.t.Fatalf("still running after %v", within)
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Errorf("exit code %d, want %d", got, code)
	}
	if left, err := os.ReadDir(p.tmp); err != nil || len(left) > 0 {
		p.t.Errorf("temporary files left behind: %v, %v", left, err)
	}
	p.expectNoProcess()
}

// expectNoProcess checks that no machine, client or capture outlives the program: each has a path below tmp on its command line, or
// ends with the one that has.
func (p *program) expectNoProcess() {
	p.t.Helper()
	lab.Eventually(p.t, endTime, "no process left behind", func() bool { return len(processes(p.tmp)) == 0 })
}

// processes lists the command lines of all processes, on the whole machine, that hold a text.
func processes(text string) []string {
	var found []string
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		if line, err := os.ReadFile(path); err == nil && bytes.Contains(line, []byte(text)) {
			found = append(found, string(line))
		}
	}
	return found
}

func (p *program) expectLease() {
	p.t.Helper()
	for _, re := range lease {
		if !re.MatchString(p.shown()) {
			p.t.Errorf("the screen does not show %s", re)
		}
	}
}

// TestOnce runs without a terminal: the program ends by itself when the client has its lease.
func TestOnce(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.start()
	p.waitEnd(bootTime+leaseTime+routerTime+endTime, 0)
	p.expectLease()
	if !strings.Contains(p.shown(), "serving DHCPv6") {
		t.Error("the serial console was not shown")
	}
}

// TestTerminal runs on a terminal: it shows the lease, goes on, and ends with Ctrl-a x.
func TestTerminal(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	terminal, user := newTerminal(t)
	p.cmd.Stdin = terminal
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true, Setctty: true}
	before := settings(t, terminal)
	p.start()
	p.waitShown("this terminal is the serial console")
	p.expectLease()
	if settings(t, terminal) == before {
		t.Error("the terminal was not set up for single keys")
	}
	if _, err := user.WriteString("\x01x"); err != nil {
		t.Fatal(err)
	}
	p.waitEnd(endTime, 0)
	if after := settings(t, terminal); after != before {
		t.Errorf("the terminal was left with the settings %+v, it had %+v", after, before)
	}
}

// TestInterrupted ends the program with Ctrl-C before the client has its lease, and kills it so that it cannot clean up: the machine
// goes with it each time.
func TestInterrupted(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			p := newProgram(t)
			p.start()
			p.waitShown("Linux version")
			if len(processes(p.tmp)) == 0 {
				t.Fatal("the machine is not to be found: is it looked for in the right way?")
			}
			if err := p.cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if signal == syscall.SIGKILL {
				p.expectNoProcess()
			} else {
				p.waitEnd(endTime, 1)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	lab.Need(t)
	binary := compile(t)
	for _, test := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"-disk", "/nowhere/disk.img"}, "/nowhere/disk.img: no such file", 1},
		{[]string{"disk.img"}, `unexpected argument "disk.img"`, 2},
	} {
		cmd := exec.Command(binary, test.args...)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != test.code || !strings.Contains(string(out), test.want) {
			t.Errorf("run %q: exit code %d and %q; want %d and %q", test.args, code, out, test.code, test.want)
		}
	}
}

// newTerminal makes a pseudo terminal: what a program has as its terminal, and the side of the person in front of it.
func newTerminal(t *testing.T) (terminal, user *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { user.Close() })
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return terminal, user
}

func settings(t *testing.T, terminal *os.File) unix.Termios {
	t.Helper()
	s, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *s
}
