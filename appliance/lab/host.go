package lab

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// setUp makes the inside of a host and then holds its namespaces open until its standard input ends: that is when the program
// that made the host closes it, or dies in whatever way.
//
// /etc is the machine's with a private layer on top: clients rewrite resolv.conf. /sys shows the host's own interfaces, read-only,
// as systemd-networkd takes a writable /sys for a running udev. Duplicate address detection is off: it would only make every test
// wait a second for each link-local address.
const setUp = `set -e
mount -t sysfs -o ro sysfs /sys
mount -t tmpfs tmpfs /run
mkdir -p /run/lab/etc /run/lab/work
mount -t overlay -o lowerdir=/etc,upperdir=/run/lab/etc,workdir=/run/lab/work overlay /etc
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /var/log
echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad
echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
rm -f /etc/resolv.conf
echo '# made by the test bench' > /etc/resolv.conf
tr -d - < /proc/sys/kernel/random/uuid > /run/lab/machine-id
rm -f /etc/machine-id
cp /run/lab/machine-id /etc/machine-id
ip link set lo up
echo ready
exec cat`

// A Host is a machine of its own as far as network and system folders go: a network namespace and a mount namespace.
type Host struct {
	Name string
	t    T
	pid  int // of the process that holds the namespaces
}

// NewHost makes a host without any interface but lo. It ends with the test.
func NewHost(t T, name string) *Host {
	t.Helper()
	cmd := exec.Command("unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", setUp)
	cmd.SysProcAttr = childAttributes()
	hold, err := cmd.StdinPipe()
	if err != nil {
		t.Fatalf("host %s: %v", name, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("host %s: %v", name, err)
	}
	var problem strings.Builder
	cmd.Stderr = &problem
	if err := cmd.Start(); err != nil {
		t.Fatalf("host %s: %v", name, err)
	}
	h := &Host{Name: name, t: t, pid: cmd.Process.Pid}
	t.Cleanup(func() {
		h.killAll()
		hold.Close()
		cmd.Wait()
	})
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		hold.Close()
		cmd.Wait()
		t.Fatalf("host %s: cannot make its namespaces: %s", name, problem.String())
	}
	return h
}

// killAll ends every process that is in the host's network, whatever became of its parents, except the one that holds the host.
func (h *Host) killAll() {
	network := func(pid int) string {
		link, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		return link
	}
	own := network(h.pid)
	if own == "" || own == network(os.Getpid()) {
		return // the host never came to be
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if pid != h.pid && network(pid) == own {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// childAttributes lets a process end with the program that started it, and its children be signalled together with it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// Command prepares a command that runs inside the host. The process is the command itself, so its pid and signals are the
// command's own.
func (h *Host) Command(argv ...string) *exec.Cmd {
	enter := []string{"--target", strconv.Itoa(h.pid), "--net", "--mount", "--"}
	cmd := exec.Command("nsenter", append(enter, argv...)...)
	cmd.SysProcAttr = childAttributes()
	return cmd
}

// Try runs a command inside the host to its end and returns what it wrote to its standard output. The error holds what it wrote
// to its standard error.
func (h *Host) Try(argv ...string) (string, error) {
	cmd := h.Command(argv...)
	var out, problem strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %s: %w: %s", h.Name, strings.Join(argv, " "), err, strings.TrimSpace(problem.String()))
	}
	return out.String(), nil
}

// Run is [Host.Try] for commands that must succeed.
func (h *Host) Run(t T, argv ...string) string {
	t.Helper()
	out, err := h.Try(argv...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return out
}

// WriteFile writes a file as the host sees it: below /etc, /run, /var/lib and /var/log it is the host's own.
func (h *Host) WriteFile(t T, path, text string, mode os.FileMode) {
	t.Helper()
	cmd := h.Command("sh", "-c", `mkdir -p "$(dirname "$0")" && cat > "$0" && chmod "$1" "$0"`, path, fmt.Sprintf("%o", mode))
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: cannot write %s: %v: %s", h.Name, path, err, out)
	}
}

// Do calls f on a thread that is in the host's network namespace. Sockets opened there stay in it.
func (h *Host) Do(f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", h.pid))
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("cannot enter the network of %s: %w", h.Name, err)
	}
	result := f()
	// A thread that cannot go home stays locked, so that no other goroutine ever runs in the wrong network.
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("cannot leave the network of %s: %w", h.Name, err)
	}
	runtime.UnlockOSThread()
	return result
}

// Cable joins two hosts with a virtual Ethernet cable whose ends have the given interface names, and sets both ends up.
func Cable(t T, a *Host, interfaceA string, b *Host, interfaceB string) {
	t.Helper()
	a.Run(t, "ip", "link", "add", interfaceA, "type", "veth", "peer", "name", interfaceB, "netns", strconv.Itoa(b.pid))
	a.Run(t, "ip", "link", "set", interfaceA, "up")
	b.Run(t, "ip", "link", "set", interfaceB, "up")
}

// A Switch is an Ethernet switch with any number of ports.
type Switch struct {
	host  *Host
	ports int
}

// NewSwitch makes a switch without ports. It ends with the test.
func NewSwitch(t T) *Switch {
	t.Helper()
	h := NewHost(t, "switch")
	h.Run(t, "ip", "link", "add", "br0", "type", "bridge")
	h.Run(t, "ip", "link", "set", "br0", "up")
	return &Switch{host: h}
}

// Plug joins a host's new interface to the switch.
func (s *Switch) Plug(t T, h *Host, iface string) {
	t.Helper()
	s.ports++
	port := fmt.Sprintf("port%d", s.ports)
	Cable(t, s.host, port, h, iface)
	s.host.Run(t, "ip", "link", "set", port, "master", "br0")
}

// LinkLocal returns the link-local address of an interface, waiting for the kernel to assign it.
func (h *Host) LinkLocal(t T, iface string) netip.Addr {
	t.Helper()
	var found netip.Addr
	Eventually(t, settleTime, h.Name+": a link-local address on "+iface, func() bool {
		for _, a := range h.Addresses(iface) {
			if a.IsLinkLocalUnicast() {
				found = a
			}
		}
		return found.IsValid()
	})
	return found
}

// Addresses lists the IPv6 addresses of an interface, or of all when iface is empty. Addresses that are still tentative or failed
// duplicate address detection are left out. An interface that does not exist has none.
func (h *Host) Addresses(iface string) []netip.Addr {
	argv := []string{"ip", "-6", "-oneline", "address", "show"}
	if iface != "" {
		argv = append(argv, "dev", iface)
	}
	out, _ := h.Try(argv...)
	var list []netip.Addr
	for line := range strings.Lines(out) {
		// 2: eth0    inet6 fe80::1/64 scope link \       valid_lft forever preferred_lft forever
		fields := strings.Fields(line)
		if len(fields) < 4 || strings.Contains(line, "tentative") || strings.Contains(line, "dadfailed") {
			continue
		}
		if p, err := netip.ParsePrefix(fields[3]); err == nil {
			list = append(list, p.Addr())
		}
	}
	return list
}
