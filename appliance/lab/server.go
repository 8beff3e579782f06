package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// readyTime bounds the start of a server with a full lease file on a slow, shared machine.
const readyTime = 30 * time.Second

// A Server is a DHCPv6 server that can be stopped, killed and started again on the state that it left behind.
type Server struct {
	Name   string // of the program
	Host   *Host
	argv   []string
	ready  func(T, *Process) // waits until the server serves
	leases func() ([]Lease, error)
	proc   *Process
}

// Start starts the server and waits until it serves.
func (s *Server) Start(t T) {
	t.Helper()
	s.Launch(t)
	s.WaitReady(t)
}

// Launch starts the server.
func (s *Server) Launch(t T) {
	t.Helper()
	if s.proc != nil && s.proc.Running() {
		t.Fatalf("%s is already running", s.Name)
	}
	s.proc = s.Host.Start(t, s.argv...)
}

// WaitReady waits until the server serves.
func (s *Server) WaitReady(t T) {
	t.Helper()
	s.ready(t, s.proc)
}

// Process returns the running process, or the last one.
func (s *Server) Process() *Process { return s.proc }

// Stop ends the server in good order; another exit code than 0 fails the test.
func (s *Server) Stop(t T) {
	t.Helper()
	if code := s.proc.Stop(t); code != 0 {
		t.Errorf("%s: exit code %d after SIGTERM, want 0", s.Name, code)
	}
}

// Kill ends the server with SIGKILL: it has no chance to write anything more.
func (s *Server) Kill() { s.proc.Kill() }

// Leases returns the leases that the running server says it has given out.
func (s *Server) Leases(t T) []Lease {
	t.Helper()
	list, err := s.leases()
	if err != nil {
		t.Fatalf("%s: cannot list leases: %v", s.Name, err)
	}
	return list
}

// Binaries is the folder with the programs that [Build] made.
type Binaries string

// NewTandem6d prepares tandem6d on a host with the text of a configuration file, or without one when the text is empty;
// [Server.Start] starts it. Quiet has it log only what goes wrong.
func (b Binaries) NewTandem6d(t T, h *Host, config string, quiet bool) *Server {
	t.Helper()
	dir := t.TempDir()
	configPath := filepath.Join(dir, "config.json")
	if config != "" {
		if err := os.WriteFile(configPath, []byte(config), 0o600); err != nil {
			t.Fatalf("%v", err)
		}
	}
	s := &Server{Name: "tandem6d", Host: h}
	s.argv = []string{filepath.Join(string(b), "tandem6d"), "-config", configPath, "-state", dir, "-socket", controlSocket}
	s.ready = func(t T, p *Process) {
		t.Helper()
		p.WaitLog(t, readyTime, `msg="serving DHCPv6"`)
	}
	if quiet {
		s.argv = append(s.argv, "-log-level", "warning")
		s.ready = waitListening
	}
	s.leases = func() ([]Lease, error) {
		out, err := b.Tandem6(h, "leases", "--json")
		if err != nil {
			return nil, err
		}
		return parseTandem6Leases(out)
	}
	return s
}

// controlSocket is in the host's own /run.
const controlSocket = "/run/tandem6.sock"

// Tandem6 runs the command-line program on a host and returns what it printed.
func (b Binaries) Tandem6(h *Host, args ...string) (string, error) {
	return h.Try(append([]string{filepath.Join(string(b), "tandem6"), "-socket", controlSocket}, args...)...)
}

// NewKea prepares ISC Kea's kea-dhcp6, the peer that benchmarks compare with, with the text of a configuration file. The file has
// to leave the lease database at its default place, so that it is on the same disk as the state of other servers.
func NewKea(t T, h *Host, config string) *Server {
	t.Helper()
	// Debian's AppArmor profile lets Kea read and write only in its own folders.
	const configPath, leaseFolder = "/etc/kea/lab.conf", "/var/lib/kea"
	dir := t.TempDir()
	h.WriteFile(t, configPath, config, 0o644)
	h.Run(t, "mkdir", "-p", leaseFolder, "/run/kea", "/run/lock/kea")
	h.Run(t, "mount", "--bind", dir, leaseFolder)
	s := &Server{Name: "kea-dhcp6", Host: h}
	s.argv = []string{"kea-dhcp6", "-c", configPath}
	s.ready = waitListening
	s.leases = func() ([]Lease, error) {
		text, err := os.ReadFile(filepath.Join(dir, "kea-leases6.csv"))
		if err != nil {
			return nil, err
		}
		return parseKeaLeases(string(text), time.Now())
	}
	return s
}

// waitListening waits until a server has opened its port and joined the servers' multicast group: from then on no packet for it is
// lost.
func waitListening(t T, p *Process) {
	t.Helper()
	contains := func(file, text string) bool {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", p.PID(), file))
		return err == nil && strings.Contains(string(content), text)
	}
	port := fmt.Sprintf(":%04X ", serverPort)
	const group = " ff020000000000000000000000010002 "
	Eventually(t, readyTime, p.Name+" listens for clients", func() bool {
		if !p.Running() {
			t.Fatalf("%s ended: %v", p.Name, p.cmd.ProcessState)
		}
		return contains("udp6", port) && contains("igmp6", group)
	})
}
