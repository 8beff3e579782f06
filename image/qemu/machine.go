package qemu

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/tandem6/tandem6/appliance/lab"
	"github.com/tandem6/tandem6/image/disk"
)

const (
	// memoryMiB is what the appliance is made for: half as much boots, the rest is room for a second kernel while it updates.
	memoryMiB = 256
	// machinesMax and segmentsMax keep the numbers in MAC addresses and on the PCI bus within one octet, with room to spare.
	machinesMax, segmentsMax = 64, 8
	// consoleTail is how much of the serial console a failed test shows, in octets.
	consoleTail = 6000
)

// A nic is one of a machine's network interfaces.
type nic struct {
	id  string // QEMU's name for it
	mac net.HardwareAddr
}

// A Machine is one appliance. Its disk outlives [Machine.Kill], as that of a real one does.
type Machine struct {
	Name string
	Disk string // path of the machine's own disk
	// Screen gets what the machine writes to its serial console, when it is set before Start.
	Screen io.Writer

	host    *lab.Host
	args    []string
	nics    map[*Segment]nic
	qmp     string // path of the control socket
	console console

	mu    sync.Mutex // a program that is told to end cuts the power while it is still setting up
	cmd   *exec.Cmd  // nil while the power is off
	input io.WriteCloser
	off   chan struct{} // closed when QEMU is gone
}

// NewMachine puts a machine into the rack, with its interfaces eth0, eth1, ... on the given segments. Its disk is a copy of an
// image. When perm is not nil, /perm holds the files it names, by path and content, and nothing else. The power is off; it goes
// off again when the test ends.
func (r *Rack) NewMachine(t lab.T, name, image string, perm map[string]string, segments ...*Segment) *Machine {
	t.Helper()
	r.machines++
	if r.machines > machinesMax || len(segments) > segmentsMax {
		t.Fatalf("machine %s: at most %d machines with %d interfaces each", name, machinesMax, segmentsMax)
	}
	dir := t.TempDir()
	m := &Machine{
		Name: name, Disk: filepath.Join(dir, "disk.img"), host: r.host,
		nics: make(map[*Segment]nic), qmp: filepath.Join(dir, "qmp"),
	}
	if err := disk.Copy(m.Disk, image); err != nil {
		t.Fatalf("machine %s: %v", name, err)
	}
	if perm != nil {
		if err := fill(m.Disk, t.TempDir(), perm); err != nil {
			t.Fatalf("machine %s: %v", name, err)
		}
	}
	m.args = []string{"qemu-system-x86_64", "-name", name, "-nodefaults", "-nographic", "-accel", "tcg", "-m", fmt.Sprint(memoryMiB),
		"-device", "virtio-rng-pci", "-drive", "file=" + m.Disk + ",format=raw,if=virtio",
		"-serial", "mon:stdio", "-qmp", "unix:" + m.qmp + ",server=on,wait=off"}
	for i, s := range segments {
		n := nic{id: fmt.Sprintf("nic%d", i), mac: net.HardwareAddr{0x52, 0x54, 0, 0, byte(r.machines), byte(i)}} // 52:54:00 is QEMU's
		m.nics[s] = n
		m.args = append(m.args,
			"-netdev", fmt.Sprintf("tap,id=net%d,ifname=%s,script=no,downscript=no", i, s.tap(t)),
			// An empty romfile leaves out the network boot, which would only take time.
			"-device", fmt.Sprintf("virtio-net-pci,id=%s,netdev=net%d,mac=%v,romfile=", n.id, i, n.mac))
	}
	t.Cleanup(func() {
		m.Kill()
		if t.Failed() {
			text, _ := m.console.since(0)
			t.Logf("serial console of %s:\n%s", m.Name, text[max(0, len(text)-consoleTail):])
		}
	})
	return m
}

// fill puts files on the /perm of a disk; dir is an empty folder to gather them in.
func fill(image, dir string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return disk.FormatPerm(image, dir, time.Now())
}

// Start switches the machine on.
func (m *Machine) Start(t lab.T) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmd != nil {
		t.Fatalf("machine %s is on already", m.Name)
	}
	cmd := m.host.Command(m.args...)
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatalf("machine %s: %v", m.Name, err)
	}
	output := io.Writer(&m.console)
	if m.Screen != nil {
		output = io.MultiWriter(output, m.Screen)
	}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatalf("machine %s: %v", m.Name, err)
	}
	m.cmd, m.input, m.off = cmd, input, make(chan struct{})
	go func(off chan struct{}) {
		cmd.Wait()
		close(off)
	}(m.off)
}

// Kill cuts the power: QEMU ends with SIGKILL, so the machine has no chance to write anything more. It does nothing when the power
// is off.
func (m *Machine) Kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cmd == nil {
		return
	}
	m.cmd.Process.Kill()
	<-m.off // cannot hang: SIGKILL is not refused
	m.cmd = nil
}

// Off is closed when the machine that was started last has lost its power or was ended from its console.
func (m *Machine) Off() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.off
}

// Keyboard is the other direction of the serial console. QEMU itself takes Ctrl-a x there, and ends.
func (m *Machine) Keyboard() io.Writer {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.input
}

// Mark returns the current end of the serial console: with [Machine.WaitConsole], only what follows counts.
func (m *Machine) Mark() int {
	_, end := m.console.since(0)
	return end
}

// WaitConsole waits until a text is on the serial console, after a mark. It fails the test at once when the machine goes off without
// having written it.
func (m *Machine) WaitConsole(t lab.T, within time.Duration, mark int, text string) {
	t.Helper()
	seen := func() bool {
		out, _ := m.console.since(mark)
		return strings.Contains(out, text)
	}
	power, off := m.Off(), false
	lab.Poll(within, func() bool {
		select {
		case <-power:
			off = true // asked before the console is read, so that its last words are seen
		default:
		}
		return seen() || off
	})
	switch {
	case seen():
	case off:
		t.Fatalf("machine %s went off without the text %q on its console", m.Name, text)
	default:
		t.Fatalf("machine %s: no text %q on its console within %v", m.Name, text, within)
	}
}

// LinkLocal returns the machine's link-local address on a segment: Linux derives it from the link-layer address (RFC 4291 appendix A).
func (m *Machine) LinkLocal(t lab.T, s *Segment) netip.Addr {
	t.Helper()
	mac := m.nic(t, s).mac
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
}

// SetLink plugs in or pulls the machine's cable to a segment: the machine sees its carrier come or go.
func (m *Machine) SetLink(t lab.T, s *Segment, up bool) {
	t.Helper()
	if err := execute(m.qmp, "set_link", map[string]any{"name": m.nic(t, s).id, "up": up}); err != nil {
		t.Fatalf("machine %s: %v", m.Name, err)
	}
}

func (m *Machine) nic(t lab.T, s *Segment) nic {
	t.Helper()
	n, ok := m.nics[s]
	if !ok {
		t.Fatalf("machine %s is not on %s", m.Name, s.bridge)
	}
	return n
}
