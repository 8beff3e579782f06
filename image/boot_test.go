package image_test

import (
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/tandem6/tandem6/appliance/lab"
	"github.com/tandem6/tandem6/image/disk"
	"github.com/tandem6/tandem6/image/pack"
	"github.com/tandem6/tandem6/image/qemu"
	"golang.org/x/sync/errgroup"
)

const (
	// serving is on the serial console when the appliance serves.
	serving = `msg="serving DHCPv6"`
	// bootTime bounds a boot: emulated, 5 s on a quiet machine, four times that on a busy one.
	bootTime = 2 * time.Minute
	// answerTime bounds anything that is to happen on the network: a client that met no answer asks again after up to 30 s, and
	// a slow emulation takes its time to answer.
	answerTime = 2 * time.Minute
)

// boxConfig is a configuration with an address pool, a prefix pool and a T1 of 20 s.
//
//go:embed testdata/box.json
var boxConfig string

// boxAddress is the appliance's own in boxConfig.
var boxAddress = netip.MustParseAddr("2001:db8:6:1::1")

// A lan is an appliance and a client on one Ethernet segment.
type lan struct {
	box    *qemu.Machine
	client *lab.Host
	cable  *qemu.Segment
}

// newLAN builds the image and puts it into a machine. The power is off. On /perm are the given files; none if nil.
func newLAN(t *testing.T, perm map[string]string) lan {
	t.Helper()
	lab.Need(t, append(qemu.Programs, "dhclient", "tcpdump", "tshark")...)
	image, err := pack.Image(pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rack := qemu.NewRack(t)
	l := lan{client: lab.NewHost(t, "client"), cable: rack.Segment(t, "lan")}
	l.cable.Plug(t, l.client, "eth0")
	l.client.LinkLocal(t, "eth0")
	l.client.Run(t, "mkdir", "-p", "/var/lib/dhcp")
	l.box = rack.NewMachine(t, "box", image, perm, l.cable)
	return l
}

// boot switches the appliance on and waits until it serves.
func (l lan) boot(t *testing.T) {
	t.Helper()
	mark, start := l.box.Mark(), time.Now()
	l.box.Start(t)
	l.box.WaitConsole(t, bootTime, mark, serving)
	t.Logf("the appliance serves %.1f s after it got power", time.Since(start).Seconds())
}

// dhclient starts ISC dhclient on the client. It remembers leases from an earlier start.
func (l lan) dhclient(t *testing.T, flags ...string) *lab.Process {
	return l.client.Start(t, append(append([]string{"dhclient", "-d", "-6"}, flags...), "eth0")...)
}

// TestPowerCut shows the appliance's main job end to end: a client on its LAN gets an address, a delegated prefix and a default
// router. Then the power is cut without warning. The same disk boots again, and the client renews the same address and prefix.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	l := newLAN(t, map[string]string{"tandem6/config.json": boxConfig})
	capture := l.client.Capture(t, "eth0")
	l.boot(t)
	l.dhclient(t, "-N", "-P")
	first := capture.Wait(t, answerTime, 0, "Reply with an address and a prefix", func(p lab.Packet) bool {
		_, _, ok := addressAndPrefix(lab.Leases(p.Message))
		return ok && p.Message.MessageType == dhcpv6.MessageTypeReply
	})
	held := lab.Leases(first.Message)
	address, prefix, _ := addressAndPrefix(held)
	if !netip.MustParsePrefix("2001:db8:6:1::/64").Contains(address) {
		t.Errorf("client got %v: want it out of 2001:db8:6:1::/64", address)
	}
	if !netip.MustParsePrefix("2001:db8:6:8000::/49").Contains(prefix.Addr()) || prefix.Bits() != 56 {
		t.Errorf("client got %v: want a /56 out of 2001:db8:6:8000::/49", prefix)
	}
	inside := prefix.Addr().Next()
	l.client.Run(t, "ip", "address", "add", inside.String()+"/128", "dev", "lo")
	l.expectConnected(t, address, inside)

	mark := capture.Mark(t)
	l.box.Kill()
	l.boot(t)
	var renew lab.Packet
	second := capture.Wait(t, answerTime, mark, "Reply to a Renew", func(p lab.Packet) bool {
		if p.Message.MessageType == dhcpv6.MessageTypeRenew {
			renew = p
		}
		return renew.Message != nil && p.Message.MessageType == dhcpv6.MessageTypeReply && p.Message.TransactionID == renew.Message.TransactionID
	})
	renewed := lab.Leases(second.Message)
	if len(renewed) != len(held) || !slices.EqualFunc(held, renewed, lab.Lease.Same) {
		t.Errorf("before the power cut the client had %v; renewed was %v", held, renewed)
	}
	for _, p := range capture.Packets(t)[mark:] {
		switch p.Message.MessageType {
		case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRebind:
			t.Errorf("after the power cut the client did not just renew: %v", p)
		}
	}
	l.expectConnected(t, address, inside)
	capture.Check(t)

	if info, err := disk.ReadFile(l.permAfterPowerCut(t), "tandem6/leases.db"); err != nil || len(info) == 0 {
		t.Errorf("leases.db on /perm: %d octets, %v", len(info), err)
	}
}

// permAfterPowerCut cuts the power and returns the appliance's /perm, found in good order, as a file system for [disk.ReadFile].
func (l lan) permAfterPowerCut(t *testing.T) string {
	t.Helper()
	l.box.Kill()
	fileSystem := filepath.Join(t.TempDir(), "perm")
	if err := disk.ExtractPerm(fileSystem, l.box.Disk); err != nil {
		t.Fatal(err)
	}
	return fileSystem
}

// addressAndPrefix picks the address and the delegated prefix out of leases; ok is false when one is missing.
func addressAndPrefix(leases []lab.Lease) (address netip.Addr, prefix netip.Prefix, ok bool) {
	for _, l := range leases {
		if l.Delegated {
			prefix = l.Prefix
		} else {
			address = l.Prefix.Addr()
		}
	}
	return address, prefix, address.IsValid() && prefix.IsValid()
}

// expectConnected checks that the client's kernel knows the appliance as its default router, that it uses its address, and that
// packets come back to that address and to one inside of its delegated prefix: the appliance routes the prefix to the client.
func (l lan) expectConnected(t *testing.T, address, inside netip.Addr) {
	t.Helper()
	lab.Eventually(t, answerTime, "a default router on the client", func() bool {
		return strings.Contains(l.client.Run(t, "ip", "-6", "route", "show", "default", "proto", "ra"), "via fe80::")
	})
	lab.Eventually(t, answerTime, "the leased address on the client", func() bool {
		return slices.Contains(l.client.Addresses("eth0"), address)
	})
	for _, from := range []netip.Addr{address, inside} {
		lab.Eventually(t, answerTime, "an answer of the appliance to "+from.String(), func() bool {
			return isRefused(connect(l.client, from, boxAddress, closedPort))
		})
	}
}

// TestFirstBoot has an image boot that nobody has configured: it makes its own configuration, serves with it, and keeps both it and
// what it leased over a power cut.
func TestFirstBoot(t *testing.T) {
	t.Parallel()
	l := newLAN(t, nil)
	capture := l.client.Capture(t, "eth0")
	l.boot(t)
	first := l.leaseAfresh(t, capture)
	address := lab.Leases(first.Message)[0].Prefix.Addr()
	if !address.IsPrivate() {
		t.Errorf("client got %v: want a unique local address", address)
	}

	box := l.box.LinkLocal(t, l.cable).WithZone(index(t, l.client))
	t.Run("ports", func(t *testing.T) { expectNoTCP(t, l.client, box) })
	t.Run("cable", func(t *testing.T) {
		reached := func() bool { return isRefused(connect(l.client, netip.Addr{}, box, closedPort)) }
		l.box.SetLink(t, l.cable, false)
		lab.Eventually(t, answerTime, "silence without the cable", func() bool { return !reached() })
		l.box.SetLink(t, l.cable, true)
		lab.Eventually(t, answerTime, "answers with the cable back", reached)
	})

	l.box.Kill()
	l.boot(t)
	second := l.leaseAfresh(t, capture)
	if again := lab.Leases(second.Message)[0].Prefix.Addr(); again != address {
		t.Errorf("before the power cut the client had %v, after it %v", address, again)
	}
	capture.Check(t)

	text, err := disk.ReadFile(l.permAfterPowerCut(t), "tandem6/config.json")
	if err != nil || !strings.Contains(string(text), "//") {
		t.Errorf("the configuration of the first boot: want it on /perm, with comments; got %q, %v", text, err)
	}
}

// leaseAfresh runs a client that remembers nothing but its DUID, which it derives from its link-layer address, until it has got an
// address, and returns the Reply.
func (l lan) leaseAfresh(t *testing.T, capture *lab.Capture) lab.Packet {
	l.client.Run(t, "rm", "-f", "/var/lib/dhcp/dhclient6.leases")
	mark := capture.Mark(t)
	dhclient := l.dhclient(t, "-N", "-D", "LL")
	defer dhclient.Kill()
	return capture.Wait(t, answerTime, mark, "Reply with an address", func(p lab.Packet) bool {
		return p.Message.MessageType == dhcpv6.MessageTypeReply && len(lab.Leases(p.Message)) > 0
	})
}

// index returns the number of the client's interface eth0. As a zone, a name would be ambiguous: there is an eth0 in every host.
func index(t *testing.T, h *lab.Host) string {
	return strings.TrimSpace(h.Run(t, "cat", "/sys/class/net/eth0/ifindex"))
}

const (
	// closedPort is one that nothing ever listens on (discard, RFC 863).
	closedPort = 9
	portMax    = 65535
	// scanners share a scan of all ports: enough to hide the round trips, few enough for an emulated machine.
	scanners = 16
	// refusalTime bounds the answer to one attempt to connect: TCP tries again after 1 and 3 s.
	refusalTime = 5 * time.Second
)

// connect tries to connect to a TCP port, from a given address of a host if it is valid.
func connect(h *lab.Host, from, to netip.Addr, port uint16) error {
	dialer := net.Dialer{Timeout: refusalTime}
	if from.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	return h.Do(func() error {
		conn, err := dialer.Dial("tcp6", netip.AddrPortFrom(to, port).String())
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// isRefused reports whether an attempt to connect was answered by a machine on which nobody listens.
func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// expectNoTCP tries to connect to every TCP port of an address. Each has to be refused: silence would not tell whether anybody
// listens. No program of the image listens yet; gokrazy's own web server would, on link-local and unique local addresses.
func expectNoTCP(t *testing.T, from *lab.Host, to netip.Addr) {
	t.Helper()
	var last atomic.Int32
	var group errgroup.Group
	for range scanners {
		group.Go(func() error {
			for port := last.Add(1); port <= portMax; port = last.Add(1) {
				if err := connect(from, netip.Addr{}, to, uint16(port)); err == nil {
					t.Errorf("TCP port %d of the appliance is open", port)
				} else if !isRefused(err) {
					return fmt.Errorf("TCP port %d: want the connection refused: %w", port, err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}
