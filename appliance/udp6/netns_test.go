package udp6

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A world is two network namespaces that the test made, one for the server and
// one for its clients. The test's goroutine stays in the server's.
type world struct {
	t              testing.TB
	server, client netns.NsHandle
	serverLinks    *netlink.Handle
	clientLinks    *netlink.Handle
}

// newWorld skips the test without root, and fails it if that happens in CI.
func newWorld(t testing.TB) *world {
	t.Helper()
	// The thread is never unlocked, so that it ends with the goroutine, and with
	// it the namespace.
	runtime.LockOSThread()
	w := &world{t: t}
	w.client = newNamespace(t)
	w.server = newNamespace(t)
	var err error
	if w.serverLinks, err = netlink.NewHandleAt(w.server); err != nil {
		t.Fatal(err)
	}
	if w.clientLinks, err = netlink.NewHandleAt(w.client); err != nil {
		t.Fatal(err)
	}
	// Makes the ends of a LAN differ in index: if they are equal, the kernel takes
	// them for no pair, and a second to notice the carrier.
	attributes := netlink.NewLinkAttrs()
	attributes.Name = "spare"
	w.check(w.clientLinks.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: "spare-peer"}))
	t.Cleanup(func() {
		w.serverLinks.Close()
		w.clientLinks.Close()
		w.server.Close()
		w.client.Close()
	})
	return w
}

// newNamespace makes a network namespace and moves the thread into it.
func newNamespace(t testing.TB) netns.NsHandle {
	t.Helper()
	ns, err := netns.New()
	if errors.Is(err, unix.EPERM) && os.Getenv("CI") != "true" {
		t.Skip("making a network namespace needs root")
	}
	if err != nil {
		t.Fatal(err)
	}
	// Addresses are usable at once, without a second of duplicate address detection.
	setSysctl(t, "net/ipv6/conf/all/accept_dad", "0")
	setSysctl(t, "net/ipv6/conf/default/accept_dad", "0")
	setSysctl(t, "net/ipv6/conf/default/router_solicitations", "0")
	return ns
}

// setSysctl writes a setting of the namespace that the thread is in.
func setSysctl(t testing.TB, name, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

// inClient calls f in the namespace of the clients.
func (w *world) inClient(f func()) {
	w.t.Helper()
	if err := netns.Set(w.client); err != nil {
		w.t.Fatal(err)
	}
	defer func() {
		if err := netns.Set(w.server); err != nil {
			w.t.Fatal(err)
		}
	}()
	f()
}

// clientAddr is the link-local address of the client on every LAN, the same on
// all of them: only the interface tells them apart.
var clientAddr = netip.MustParseAddr("fe80::c")

// A lan is a veth pair between the two namespaces.
type lan struct {
	w              *world
	server, client netlink.Link
	serverAddr     netip.Addr // the server's link-local address
}

// lan makes LAN number i, up on both sides. The server's interface gets the given
// index, or one of the kernel's choice if it is 0.
func (w *world) lan(i, serverIndex int) *lan {
	w.t.Helper()
	serverName, clientName := fmt.Sprintf("s%d", i), fmt.Sprintf("c%d", i)
	attributes := netlink.NewLinkAttrs()
	attributes.Name, attributes.Index = serverName, serverIndex
	veth := &netlink.Veth{LinkAttrs: attributes, PeerName: clientName, PeerNamespace: netlink.NsFd(w.client)}
	if err := w.serverLinks.LinkAdd(veth); err != nil {
		w.t.Fatal(err)
	}
	l := &lan{w: w, server: w.link(w.serverLinks, serverName), client: w.link(w.clientLinks, clientName)}
	if serverIndex != 0 && l.serverIndex() != serverIndex {
		w.t.Fatalf("%s got index %d, want %d", serverName, l.serverIndex(), serverIndex)
	}
	w.check(w.clientLinks.AddrAdd(l.client, address(clientAddr.String()+"/64")))
	w.check(w.clientLinks.LinkSetUp(l.client))
	l.up()
	return l
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) link(handle *netlink.Handle, name string) netlink.Link {
	w.t.Helper()
	link, err := handle.LinkByName(name)
	w.check(err)
	return link
}

func address(prefix string) *netlink.Addr {
	addr, err := netlink.ParseAddr(prefix)
	if err != nil {
		panic(err)
	}
	addr.Flags = unix.IFA_F_NODAD
	return addr
}

func (l *lan) serverIndex() int { return l.server.Attrs().Index }
func (l *lan) clientIndex() int { return l.client.Attrs().Index }

// up brings the server's interface up and waits for its link-local address.
func (l *lan) up() {
	l.w.t.Helper()
	l.w.check(l.w.serverLinks.LinkSetUp(l.server))
	eventually(l.w.t, "the server's interface has a link-local address", func() bool {
		addrs, err := l.w.serverLinks.AddrList(l.server, netlink.FAMILY_V6)
		l.w.check(err)
		for _, addr := range addrs {
			if ip, ok := netip.AddrFromSlice(addr.IP); ok && ip.IsLinkLocalUnicast() && addr.Flags&unix.IFA_F_TENTATIVE == 0 {
				l.serverAddr = ip
				return true
			}
		}
		return false
	})
}

func (l *lan) down() {
	l.w.t.Helper()
	l.w.check(l.w.serverLinks.LinkSetDown(l.server))
}

func (l *lan) delete() {
	l.w.t.Helper()
	l.w.check(l.w.serverLinks.LinkDel(l.server))
}

// A client is a plain UDP socket of one port and address on a LAN.
type client struct {
	t     testing.TB
	lan   *lan
	udp   *net.UDPConn
	asked int
}

// setClientOptions binds a socket to an interface and makes its multicasts leave
// there with hop limit 1, as those of systemd-networkd do.
func setClientOptions(ifIndex int) func(string, string, syscall.RawConn) error {
	return func(_, _ string, raw syscall.RawConn) error {
		var err error
		controlErr := raw.Control(func(fd uintptr) {
			err = errors.Join(
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, ifIndex),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, ifIndex),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 1))
		})
		return errors.Join(controlErr, err)
	}
}

// newClient opens a socket on the client's side, bound to addr and the interface.
func (l *lan) newClient(addr netip.Addr, port uint16) *client {
	t := l.w.t
	t.Helper()
	c := &client{t: t, lan: l}
	l.w.inClient(func() {
		config := net.ListenConfig{Control: setClientOptions(l.clientIndex())}
		zone := ""
		if addr.IsLinkLocalUnicast() {
			zone = strconv.Itoa(l.clientIndex())
		}
		conn, err := config.ListenPacket(t.Context(), "udp6", netip.AddrPortFrom(addr.WithZone(zone), port).String())
		l.w.check(err)
		c.udp = conn.(*net.UDPConn)
	})
	t.Cleanup(func() { c.udp.Close() })
	return c
}

// send sends a datagram to a group or address on the client's LAN.
func (c *client) send(to netip.Addr, port uint16, payload string) {
	c.t.Helper()
	if to.IsLinkLocalUnicast() || to.IsLinkLocalMulticast() {
		to = to.WithZone(strconv.Itoa(c.lan.clientIndex()))
	}
	_, err := c.udp.WriteToUDPAddrPort([]byte(payload), netip.AddrPortFrom(to, port))
	c.lan.w.check(err)
}

// receive waits for one datagram; it reports false if none comes until the deadline.
func (c *client) receive(deadline time.Time) (payload string, from netip.AddrPort, ok bool) {
	c.t.Helper()
	c.lan.w.check(c.udp.SetReadDeadline(deadline))
	buffer := make([]byte, 2048)
	n, from, err := c.udp.ReadFromUDPAddrPort(buffer)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "", from, false
	}
	c.lan.w.check(err)
	return string(buffer[:n]), netip.AddrPortFrom(from.Addr().WithZone(""), from.Port()), true
}

// ask sends a unique request, again and again as clients do, until its echo
// comes, and returns where it came from. Any other datagram but the echo of an
// earlier request of the same client fails the test.
func (c *client) ask(to netip.Addr, port uint16) (from netip.AddrPort) {
	c.t.Helper()
	c.asked++
	request := fmt.Sprintf("%p request %d", c, c.asked)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		c.send(to, port, request)
		again := time.Now().Add(100 * time.Millisecond)
		for {
			payload, from, ok := c.receive(again)
			if !ok {
				break
			}
			if payload == request {
				return from
			}
			var number int
			if n, _ := fmt.Sscanf(payload, fmt.Sprintf("%p request %%d", c), &number); n != 1 || number >= c.asked {
				c.t.Fatalf("received %q from %v, want the echo of %q", payload, from, request)
			}
		}
	}
	c.t.Fatalf("no answer to %q from %v port %d within %v", request, to, port, patience)
	return from
}

// echo is an event loop that sends each datagram back to where it came from,
// through the interface that it came in on, or by routing if it came to ff05::1:3
// (from a relay). It ends with the test.
func echo(t testing.TB, c *Conn) {
	t.Helper()
	run(t, c)
	stop, done := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-done })
	go func() {
		defer close(done)
		var buffers [sendBatchMax][usualOctets]byte
		out := make([]Outgoing, 0, sendBatchMax)
		for {
			select {
			case <-c.Ready():
			case <-stop:
				return
			}
			out = out[:0]
			for len(out) < sendBatchMax {
				d := c.Next()
				if d == nil {
					break
				}
				payload := buffers[len(out)][:copy(buffers[len(out)][:], d.Payload)]
				reply := Outgoing{Payload: payload, Destination: d.Source, IfIndex: d.IfIndex}
				if d.Destination == allServers {
					reply.IfIndex = 0
				}
				out = append(out, reply)
			}
			c.Send(out) // a link that is down or gone is part of some tests
		}
	}()
}
