package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// settleTime bounds what the kernel or a local program does by itself within milliseconds. It is long because tests share
	// their machine with other work.
	settleTime = 10 * time.Second
	// logTail is how much of a program's log a failed test shows, in octets.
	logTail = 6000
)

// A Process is a program that runs in a host until the test ends, or until it is stopped. What it writes is kept.
type Process struct {
	Name    string
	cmd     *exec.Cmd
	logPath string
	done    chan struct{} // closed when the process is gone
}

// Start runs a program inside the host. It is killed with all its children at the end of the test that made the host; if that test
// failed, the end of the log is shown.
func (h *Host) Start(t T, argv ...string) *Process {
	t.Helper()
	p := &Process{Name: h.Name + "/" + filepath.Base(argv[0]), done: make(chan struct{})}
	p.logPath = filepath.Join(h.t.TempDir(), filepath.Base(argv[0])+".log")
	log, err := os.Create(p.logPath)
	if err != nil {
		t.Fatalf("%s: %v", p.Name, err)
	}
	defer log.Close()
	p.cmd = h.Command(argv...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%s: %v", p.Name, err)
	}
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	h.t.Cleanup(func() {
		p.Kill()
		if h.t.Failed() {
			text := p.Log()
			if len(text) > logTail {
				text = "..." + text[len(text)-logTail:]
			}
			h.t.Logf("log of %s:\n%s", p.Name, text)
		}
	})
	return p
}

// PID returns the process id, as seen from outside the host.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log returns everything that the process wrote so far.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.logPath)
	if err != nil {
		return fmt.Sprintf("the log cannot be read: %v", err)
	}
	return string(text)
}

// WaitLog waits until the log contains a text. It fails the test at once when the process ends without having written it.
func (p *Process) WaitLog(t T, within time.Duration, text string) {
	t.Helper()
	ended := false
	found := Poll(within, func() bool {
		ended = !p.Running() // asked before the log is read, so that the last words of the process are seen
		return strings.Contains(p.Log(), text) || ended
	})
	if found && strings.Contains(p.Log(), text) {
		return
	}
	if ended {
		t.Fatalf("%s ended (%v) without the line %q", p.Name, p.cmd.ProcessState, text)
	}
	t.Fatalf("%s: no line %q within %v", p.Name, text, within)
}

// Running reports whether the process is still there.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends a signal to the process alone.
func (p *Process) Signal(t T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatalf("%s: cannot send %v: %v", p.Name, s, err)
	}
}

// Wait waits for the process to end by itself and returns its exit code, or -1 when a signal ended it.
func (p *Process) Wait(t T, within time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		t.Fatalf("%s: still running after %v", p.Name, within)
		return -1
	}
}

// Stop asks the process to end with SIGTERM, waits, and returns its exit code.
func (p *Process) Stop(t T) int {
	t.Helper()
	p.Signal(t, syscall.SIGTERM)
	return p.Wait(t, settleTime)
}

// Kill ends the process with SIGKILL, together with the children in its group, and waits until it is gone. Children that left the
// group end with the host.
func (p *Process) Kill() {
	if p.Running() {
		syscall.Kill(-p.PID(), syscall.SIGKILL)
	}
	<-p.done // cannot hang: SIGKILL is not refused
}

// MemoryKiB returns the resident set of a process and its peak, both in KiB.
func MemoryKiB(pid int) (now, peak int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		number, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		switch key {
		case "VmRSS":
			now = number
		case "VmHWM":
			peak = number
		}
	}
	if now == 0 || peak == 0 {
		return 0, 0, fmt.Errorf("/proc/%d/status has no VmRSS and VmHWM: is the process gone?", pid)
	}
	return now, peak, nil
}

// MachineCPUTime returns the processor time that everything on the machine has used since it started, other than waiting.
func MachineCPUTime() (time.Duration, error) {
	const path = "/proc/stat"
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	// cpu user nice system idle iowait irq softirq steal ... (proc(5))
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("%s: cannot be understood: %q", path, line)
	}
	var busy int
	for _, i := range []int{1, 2, 3, 6, 7, 8} {
		ticks, err := strconv.Atoi(fields[i])
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		busy += ticks
	}
	return time.Duration(busy) * tick, nil
}

// tick is the unit of processor times: USER_HZ is 100 on every architecture that Go supports.
const tick = time.Second / 100

// CPUTime returns the processor time, user and system, that a process has used.
func CPUTime(pid int) (time.Duration, error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	// The second field is the command in parentheses and may hold anything; utime and stime are fields 14 and 15 (proc(5)).
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("%s: cannot be understood: %q", path, text)
	}
	user, errUser := strconv.Atoi(fields[11])
	system, errSystem := strconv.Atoi(fields[12])
	if err := errors.Join(errUser, errSystem); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return time.Duration(user+system) * tick, nil
}
