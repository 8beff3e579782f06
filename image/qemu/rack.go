// Package qemu runs disk images of the appliance as machines, and joins them to hosts of the test bench by virtual networks.
//
// A [Rack] is where machines stand. Its network segments live in a network namespace of their own: no packet can leave it, and
// it vanishes with all its machines when the program that made it ends, in whatever way.
//
// Machines are emulated, never virtualized: /dev/kvm may be there and accept the start of a machine, only to fail in the middle
// of its boot, as happens where the machine that runs the tests is itself virtual. Emulated, a boot takes five to twenty seconds
// everywhere. Round trips to an emulated machine take up to a second while others boot: be patient in tests.
package qemu

import (
	"fmt"

	"github.com/tandem6/tandem6/appliance/lab"
)

// Programs are what must be installed besides the programs of the test bench.
var Programs = []string{"qemu-system-x86_64", "mke2fs", "e2fsck", "debugfs", "cp"}

// A Rack holds machines and the network segments between them.
type Rack struct {
	host     *lab.Host
	machines int
	ports    int
}

// NewRack makes an empty rack. It ends with the test.
func NewRack(t lab.T) *Rack {
	t.Helper()
	r := &Rack{host: lab.NewHost(t, "rack")}
	// The rack only switches frames; nothing in it may answer to clients or be seen by them.
	r.host.Run(t, "sysctl", "-q", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
	return r
}

// A Segment is one Ethernet segment: what is plugged into it is on one link.
type Segment struct {
	rack   *Rack
	bridge string
}

// Segment makes a network segment without ports. Its name has up to 12 letters.
func (r *Rack) Segment(t lab.T, name string) *Segment {
	t.Helper()
	s := &Segment{rack: r, bridge: "br-" + name}
	r.host.Run(t, "ip", "link", "add", s.bridge, "type", "bridge", "mcast_snooping", "0")
	r.host.Run(t, "ip", "link", "set", s.bridge, "up")
	return s
}

// Plug joins a new interface of a host to the segment.
func (s *Segment) Plug(t lab.T, h *lab.Host, iface string) {
	t.Helper()
	port := s.rack.port()
	lab.Cable(t, s.rack.host, port, h, iface)
	s.rack.host.Run(t, "ip", "link", "set", port, "master", s.bridge)
}

// tap makes a port for a machine's interface.
func (s *Segment) tap(t lab.T) string {
	t.Helper()
	port := s.rack.port()
	s.rack.host.Run(t, "ip", "tuntap", "add", "dev", port, "mode", "tap")
	s.rack.host.Run(t, "ip", "link", "set", port, "master", s.bridge, "up")
	return port
}

func (r *Rack) port() string {
	r.ports++
	return fmt.Sprintf("port%d", r.ports)
}
