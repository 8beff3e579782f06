package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
)

// A Packet is one captured DHCPv6 packet.
type Packet struct {
	Time     time.Time
	Src, Dst netip.AddrPort
	HopLimit uint8
	Message  *dhcpv6.Message        // the client's or server's message, out of all relay layers
	Relays   []*dhcpv6.RelayMessage // outermost first; empty when it was not relayed
}

// String gives one line, for the messages of failed tests.
func (p Packet) String() string {
	relayed := ""
	for _, r := range p.Relays {
		relayed += fmt.Sprintf("%v hop %d link %v peer %v: ", r.MessageType, r.HopCount, r.LinkAddr, r.PeerAddr)
	}
	return fmt.Sprintf("%s %v > %v: %s%v %v", p.Time.Format("15:04:05.000"), p.Src, p.Dst, relayed, p.Message.MessageType, p.Message.Options)
}

// A Capture records what passes through one interface, all of IPv6, into a file that tcpdump writes, and reads the DHCPv6 packets
// back while it grows: tests wait for packets instead of sleeping.
type Capture struct {
	Path string
	proc *Process

	mu      sync.Mutex
	offset  int64
	packets []Packet
}

// Capture starts to record an interface; it has begun when the function returns.
func (h *Host) Capture(t T, iface string) *Capture {
	t.Helper()
	// The ending .pcap matters: Debian's AppArmor profile lets tcpdump write nothing else.
	c := &Capture{Path: filepath.Join(h.t.TempDir(), h.Name+"-"+iface+".pcap")}
	c.proc = h.Start(t, "tcpdump", "-i", iface, "-U", "--immediate-mode", "-n", "-Z", "root", "-B", "8192", "-w", c.Path, "ip6")
	c.proc.WaitLog(t, settleTime, "listening on")
	return c
}

// Packets returns the DHCPv6 packets captured so far.
func (c *Capture) Packets(t T) []Packet {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.read(); err != nil {
		t.Fatalf("capture %s: %v", c.Path, err)
	}
	return c.packets[:len(c.packets):len(c.packets)]
}

// Mark returns a position in the capture: with [Capture.Wait], only packets from here on count.
func (c *Capture) Mark(t T) int { return len(c.Packets(t)) }

// Wait waits for a packet at or after a position and returns it. What is a name for the packet in the message of a failed test.
func (c *Capture) Wait(t T, within time.Duration, from int, what string, match func(Packet) bool) Packet {
	t.Helper()
	var found Packet
	if Poll(within, func() bool {
		for _, p := range c.Packets(t)[from:] {
			if match(p) {
				found = p
				return true
			}
		}
		return false
	}) {
		return found
	}
	packets := c.Packets(t)[from:]
	var seen strings.Builder
	for _, p := range packets[max(0, len(packets)-packetsShown):] {
		fmt.Fprintf(&seen, "\n\t%v", p)
	}
	t.Fatalf("no %s within %v; seen since:%s", what, within, seen.String())
	return Packet{}
}

// packetsShown is how many of the last packets the message of a failed test shows.
const packetsShown = 10

// The layout of a capture file, as tcpdump writes it on a little-endian machine: pcap-savefile(5).
const (
	fileHeaderLen   = 24
	recordHeaderLen = 16
	ethernetLen     = 14
	ip6Len          = 40
	udpLen          = 8
	protocolUDP     = 17
	serverPort      = 547
	clientPort      = 546
)

// read takes in the records that are complete since the last call.
func (c *Capture) read() error {
	f, err := os.Open(c.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if c.offset == 0 {
		c.offset = fileHeaderLen
	}
	var header [recordHeaderLen]byte
	for {
		if _, err := f.ReadAt(header[:], c.offset); err != nil {
			return nil // not written yet
		}
		frame := make([]byte, binary.LittleEndian.Uint32(header[8:]))
		if _, err := f.ReadAt(frame, c.offset+recordHeaderLen); err != nil {
			return nil
		}
		c.offset += int64(recordHeaderLen + len(frame))
		seconds, micros := binary.LittleEndian.Uint32(header[0:]), binary.LittleEndian.Uint32(header[4:])
		p, ok, err := parseFrame(frame)
		if err != nil {
			return err
		}
		if ok {
			p.Time = time.Unix(int64(seconds), int64(micros)*1000)
			c.packets = append(c.packets, p)
		}
	}
}

// parseFrame understands DHCPv6 in UDP right behind the IPv6 header; ok is false for anything else.
func parseFrame(frame []byte) (p Packet, ok bool, err error) {
	if len(frame) < ethernetLen+ip6Len+udpLen || frame[ethernetLen+6] != protocolUDP {
		return Packet{}, false, nil
	}
	ip, udp := frame[ethernetLen:], frame[ethernetLen+ip6Len:]
	source, destination := binary.BigEndian.Uint16(udp[0:]), binary.BigEndian.Uint16(udp[2:])
	if source != serverPort && destination != serverPort && destination != clientPort {
		return Packet{}, false, nil
	}
	p.HopLimit = ip[7]
	p.Src = netip.AddrPortFrom(netip.AddrFrom16([16]byte(ip[8:24])), source)
	p.Dst = netip.AddrPortFrom(netip.AddrFrom16([16]byte(ip[24:40])), destination)
	outer, err := dhcpv6.FromBytes(udp[udpLen:])
	if err != nil {
		return Packet{}, false, fmt.Errorf("%v > %v: not DHCPv6: %w: %x", p.Src, p.Dst, err, udp[udpLen:])
	}
	for outer.IsRelay() {
		relay := outer.(*dhcpv6.RelayMessage)
		p.Relays = append(p.Relays, relay)
		if outer = relay.Options.RelayMessage(); outer == nil {
			return Packet{}, false, fmt.Errorf("%v > %v: relay message without a message in it", p.Src, p.Dst)
		}
	}
	p.Message = outer.(*dhcpv6.Message)
	return p, true, nil
}

// judged are the packets that tshark finds fault with: malformed ones of any protocol, and DHCPv6 that its dissector warns about.
const judged = `_ws.malformed || _ws.expert.severity == "Error" || (dhcpv6 && _ws.expert.severity == "Warning")`

// Check ends the capture and has tshark judge it: a malformed packet, or one it warns about, fails the test, and so does a capture
// without any DHCPv6.
func (c *Capture) Check(t T) {
	t.Helper()
	c.proc.Stop(t)
	if len(c.Packets(t)) == 0 {
		t.Errorf("capture %s holds no DHCPv6 packet", c.Path)
	}
	cmd := exec.Command("tshark", "-r", c.Path, "-Y", judged, "-T", "fields", "-e", "frame.number", "-e", "_ws.col.Info", "-e", "_ws.expert.message")
	var out, problem strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		t.Errorf("%s: %v: %s", strings.Join(cmd.Args, " "), err, problem.String())
	}
	if out.Len() > 0 {
		t.Errorf("tshark finds malformed packets in %s:\n%s", c.Path, out.String())
	}
}
