package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/tandem6/tandem6/appliance/ra"
)

// patience is how long a test waits for something that comes sooner or never.
const patience = 15 * time.Second

// space is a network namespace that a test made.
type space struct {
	t      *testing.T
	handle netns.NsHandle
	links  *netlink.Handle
}

// newSpace makes a namespace. It skips the test where that is not allowed, but
// fails it in CI.
func newSpace(t *testing.T) *space {
	t.Helper()
	s := &space{t: t}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		var err error
		s.handle, err = netns.New()
		failed <- err
	}()
	if err := <-failed; err != nil {
		if os.Getenv("CI") == "true" || !errors.Is(err, fs.ErrPermission) {
			t.Fatalf("making a network namespace: %v", err)
		}
		t.Skipf("making a network namespace: %v", err)
	}
	links, err := netlink.NewHandleAt(s.handle, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	s.links = links
	t.Cleanup(func() {
		links.Close()
		s.handle.Close()
	})
	s.sysctl("net/ipv6/conf/default/accept_dad", "0") // tests that want it ask for it
	return s
}

// in runs f on a thread of its own in the namespace.
func (s *space) in(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(s.handle); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func (s *space) must(f func() error) {
	s.t.Helper()
	if err := s.in(f); err != nil {
		s.t.Fatal(err)
	}
}

func (s *space) sysctl(key, value string) {
	s.t.Helper()
	s.must(func() error { return os.WriteFile("/proc/sys/"+key, []byte(value), 0) })
}

func (s *space) read(path string) string {
	s.t.Helper()
	var b []byte
	s.must(func() (err error) { b, err = os.ReadFile(path); return err })
	return strings.TrimSpace(string(b))
}

func (s *space) link(name string) netlink.Link {
	s.t.Helper()
	l, err := s.links.LinkByName(name)
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

func (s *space) up(name string) {
	s.t.Helper()
	if err := s.links.LinkSetUp(s.link(name)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *space) down(name string) {
	s.t.Helper()
	if err := s.links.LinkSetDown(s.link(name)); err != nil {
		s.t.Fatal(err)
	}
}

// removeLinks removes the cables that are left.
func (s *space) removeLinks() {
	s.t.Helper()
	list, err := s.links.LinkList()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, l := range list {
		if l.Type() == "veth" {
			if err := s.links.LinkDel(l); err != nil {
				s.t.Error(err)
			}
		}
	}
}

// addresses that can be used, of the kind asked for.
func (s *space) addresses(name string, is func(netip.Addr) bool) []netip.Addr {
	s.t.Helper()
	list, err := s.links.AddrList(s.link(name), netlink.FAMILY_V6)
	if err != nil {
		s.t.Fatal(err)
	}
	var found []netip.Addr
	for _, a := range list {
		ip, _ := netip.AddrFromSlice(a.IP)
		if a.Flags&unix.IFA_F_TENTATIVE == 0 && is(ip) {
			found = append(found, ip)
		}
	}
	return found
}

// linkLocal waits for the interface's link-local address.
func (s *space) linkLocal(name string) netip.Addr {
	s.t.Helper()
	var found []netip.Addr
	eventually(s.t, "link-local address of "+name, func() bool {
		found = s.addresses(name, netip.Addr.IsLinkLocalUnicast)
		return len(found) > 0
	})
	return found[0]
}

// gateways are the default routers that advertisements told of.
func (s *space) gateways(name string) string {
	s.t.Helper()
	filter := &netlink.Route{LinkIndex: s.link(name).Attrs().Index, Protocol: unix.RTPROT_RA}
	routes, err := s.links.RouteListFiltered(netlink.FAMILY_V6, filter, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		s.t.Fatal(err)
	}
	var list []string
	for _, r := range routes {
		if r.Dst == nil || r.Dst.String() == "::/0" {
			list = append(list, r.Gw.String())
		}
	}
	return strings.Join(list, " ")
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// lab is a router with interface lan0 and a client with interface cl0 on one link.
type lab struct{ router, client *space }

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{router: newSpace(t), client: newSpace(t)}
	l.router.sysctl("net/ipv6/conf/all/forwarding", "1")
	l.connect("lan0", "cl0")
	return l
}

// connect makes a cable between the two and sets both ends up.
func (l *lab) connect(router, client string) {
	l.router.t.Helper()
	err := l.router.links.LinkAdd(&netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: router},
		PeerName:      client,
		PeerNamespace: netlink.NsFd(l.client.handle),
	})
	if err != nil {
		l.router.t.Fatal(err)
	}
	l.client.up(client)
	l.router.up(router)
}

// daemon is a Router that runs in a namespace.
type daemon struct {
	*Router
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error

	mu     sync.Mutex
	events []Event
}

// advertise runs a Router in the space until the test ends.
func (s *space) advertise(o Options) *daemon {
	s.t.Helper()
	d := &daemon{t: s.t, ended: make(chan error, 1)}
	o.Rand = rand.New(rand.NewPCG(1, 2))
	o.Hook = func(e Event) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.events = append(d.events, e)
	}
	r, err := New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	d.Router = r
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	go func() { d.ended <- s.in(func() error { return r.Run(ctx) }) }()
	s.t.Cleanup(func() {
		s.removeLinks() // nobody is left to say goodbye to: it ends at once
		d.stop()
		if s.t.Failed() {
			for _, e := range d.told() {
				s.t.Log(e)
			}
		}
	})
	return d
}

// stop ends the daemon and waits until it has ended.
func (d *daemon) stop() {
	d.t.Helper()
	d.cancel()
	select {
	case err := <-d.ended:
		if err != nil {
			d.t.Errorf("Run: %v", err)
		}
		d.ended <- nil // for the next to ask
	case <-time.After(patience):
		d.t.Fatalf("Run does not end within %s", patience)
	}
}

func (d *daemon) told() []Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Event(nil), d.events...)
}

// await waits until an event that fits has been told, and returns the first.
func (d *daemon) await(what string, fits func(Event) bool) (found Event) {
	d.t.Helper()
	eventually(d.t, what, func() bool {
		for _, e := range d.told() {
			if fits(e) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// count is the number of events of one kind so far.
func (d *daemon) count(k Kind) int {
	n := 0
	for _, e := range d.told() {
		if e.Kind == k {
			n++
		}
	}
	return n
}

// counters of the only interface.
func (d *daemon) counters() Counters {
	d.t.Helper()
	v := d.View()
	if len(v) != 1 {
		d.t.Fatalf("%d interfaces", len(v))
	}
	return v[0].Counters
}

// tap sees what comes in on an interface, below IP, and sends any octets.
type tap struct {
	t     *testing.T
	fd    int
	mac   net.HardwareAddr
	index int
}

// packet is an ICMPv6 packet that a tap saw.
type packet struct {
	at       time.Time
	source   netip.Addr
	to       netip.Addr
	hopLimit int
	icmp     []byte
}

func (s *space) tap(name string) *tap {
	s.t.Helper()
	p := &tap{t: s.t}
	l := s.link(name)
	p.mac, p.index = l.Attrs().HardwareAddr, l.Attrs().Index
	s.must(func() (err error) {
		p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(networkOrder(unix.ETH_P_IPV6)))
		if err != nil {
			return err
		}
		return unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_IPV6), Ifindex: p.index})
	})
	s.t.Cleanup(func() { unix.Close(p.fd) })
	return p
}

func networkOrder(v uint16) uint16 { return v<<8 | v>>8 }

// next is the next router advertisement, or nothing after the time given.
func (p *tap) next(wait time.Duration) (packet, bool) {
	p.t.Helper()
	const ethernet, header = 14, 40
	b := make([]byte, 2048)
	for deadline := time.Now().Add(wait); ; {
		left := time.Until(deadline)
		if left <= 0 {
			return packet{}, false
		}
		timeout := unix.NsecToTimeval(max(left, time.Millisecond).Nanoseconds())
		if err := unix.SetsockoptTimeval(p.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
			p.t.Fatal(err)
		}
		n, from, err := unix.Recvfrom(p.fd, b, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			p.t.Fatal(err)
		}
		if l := from.(*unix.SockaddrLinklayer); l.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if n < ethernet+header+8 || b[ethernet+6] != unix.IPPROTO_ICMPV6 || b[ethernet+header] != byte(ipv6.ICMPTypeRouterAdvertisement) {
			continue
		}
		ip := b[ethernet:n]
		return packet{
			at:       time.Now(),
			source:   netip.AddrFrom16([16]byte(ip[8:24])),
			to:       netip.AddrFrom16([16]byte(ip[24:40])),
			hopLimit: int(ip[7]),
			icmp:     append([]byte(nil), ip[header:]...),
		}, true
	}
}

// must is next with patience.
func (p *tap) must() packet {
	p.t.Helper()
	got, ok := p.next(patience)
	if !ok {
		p.t.Fatalf("no advertisement within %s", patience)
	}
	return got
}

// send sends an ICMPv6 message, its checksum made right, to a group.
func (p *tap) send(source, group netip.Addr, hopLimit int, icmp []byte) {
	p.t.Helper()
	b := []byte{0x33, 0x33}
	to, from := group.As16(), source.As16()
	b = append(b, to[12:]...)
	b = append(b, p.mac...)
	b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(icmp)))
	b = append(b, unix.IPPROTO_ICMPV6, byte(hopLimit))
	b = append(b, from[:]...)
	b = append(b, to[:]...)
	icmp = append([]byte(nil), icmp...)
	if len(icmp) >= 4 {
		binary.BigEndian.PutUint16(icmp[2:], checksum(from, to, icmp))
	}
	b = append(b, icmp...)
	if err := unix.Sendto(p.fd, b, 0, &unix.SockaddrLinklayer{Ifindex: p.index}); err != nil {
		p.t.Fatalf("sending %x: %v", b, err)
	}
}

// checksum of an ICMPv6 message (RFC 4443 section 2.3).
func checksum(from, to [16]byte, icmp []byte) uint16 {
	b := append(from[:], to[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(icmp)))
	b = append(b, 0, 0, 0, unix.IPPROTO_ICMPV6)
	b = append(append(b, icmp[0], icmp[1], 0, 0), icmp[4:]...)
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// config is a SLAAC prefix with stateless DHCPv6.
func config(prefixes ...string) ra.Config {
	c := ra.DefaultConfig()
	for _, p := range prefixes {
		c.Prefixes = append(c.Prefixes, ra.DefaultPrefix(netip.MustParsePrefix(p)))
	}
	return c
}

func on(name string, c ra.Config) map[string]ra.Config { return map[string]ra.Config{name: c} }

func isSent(e Event) bool        { return e.Kind == Sent }
func isAdvertising(e Event) bool { return e.Kind == Advertising }

// waitsBecause finds a Waiting event.
func waitsBecause(text string) func(Event) bool {
	return func(e Event) bool { return e.Kind == Waiting && strings.Contains(e.Text, text) }
}

// solicitation is a Router Solicitation, with the link-layer address if given.
func solicitation(mac net.HardwareAddr) []byte {
	b := []byte{byte(ipv6.ICMPTypeRouterSolicitation), 0, 0, 0, 0, 0, 0, 0}
	if mac != nil {
		b = append(append(b, 1, 1), mac...)
	}
	return b
}

func (p packet) String() string {
	return fmt.Sprintf("%s > %s, hop limit %d: %x", p.source, p.to, p.hopLimit, p.icmp)
}
