package kernel_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/tandem6/tandem6/netcfg"
	"golang.org/x/sys/unix"
)

const (
	onLinkAddress  = "2001:db8:0:1::2"          // of the client, in the router's own prefix on eth0
	forgedAddress  = "2001:db8:bad::1"          // to which the router has no other route than the default one
	stolenAddress  = "2001:db8:8000:5::66"      // inside the delegated prefix
	secondAddress  = "2001:db8:0:3::2"          // of a client on the second LAN
	unreachable    = 1                          // ICMPv6 type
	policyFail     = 5                          // ICMPv6 code
	redirect       = 137                        // ICMPv6 type
	marker, forged = "a valid one", "a forgery" // what packets say
)

// newValidatedNetwork is a network whose router validates on eth0, configured and settled.
func newValidatedNetwork(t *testing.T) *network {
	w := newNetwork(t)
	w.desired.Aggregates = []netip.Prefix{pool}
	w.desired.SourceValidation = []string{"eth0"}
	w.client.addAddress("eth0", onLinkAddress+"/64")
	w.internet.addRoute("2001:db8::/44", "2001:db8:ffff::2", "eth0")
	w.router.converge(w.desired)
	w.router.settled(w.desired)
	return w
}

// bind opens a UDP socket on an address of n, a link-local one on eth0, that is not connected.
func (n *namespace) bind(address string) *net.UDPConn {
	n.t.Helper()
	n.has(address)
	local := &net.UDPAddr{IP: net.ParseIP(address)}
	if local.IP.IsLinkLocalUnicast() {
		local.Zone = fmt.Sprint(n.link("eth0").Attrs().Index) // package net knows names of its own namespace only
	}
	var conn *net.UDPConn
	n.within(func() (err error) {
		conn, err = net.ListenUDP("udp6", local)
		return err
	})
	n.t.Cleanup(func() { conn.Close() })
	return conn
}

// say sends one packet.
func (n *namespace) say(what, from, to string) {
	n.t.Helper()
	_, err := n.bind(from).WriteToUDPAddrPort([]byte(what), netip.AddrPortFrom(addr(to), port))
	must(n.t, err)
}

// hears fails unless the next packet to conn is what. Packets keep their order: when a forgery was sent before a marker
// and the marker comes first, the forgery does not come.
func hears(t *testing.T, conn *net.UDPConn, what string) {
	t.Helper()
	b := make([]byte, 100)
	must(t, conn.SetReadDeadline(time.Now().Add(patience)))
	size, from, err := conn.ReadFromUDPAddrPort(b)
	must(t, err)
	if got := string(b[:size]); got != what {
		t.Fatalf("%q from %v arrived, want %q", got, from, what)
	}
}

// icmpError is an ICMPv6 error as a sender hears of it.
type icmpError struct {
	kind, code uint8
	by         netip.Addr
}

// refusal sends until an ICMPv6 error comes, and returns it.
func (n *namespace) refusal(from, to string) icmpError {
	n.t.Helper()
	conn := n.dial(from, to)
	raw, err := conn.SyscallConn()
	must(n.t, err)
	var got icmpError
	eventually(n.t, n.name+" hears that "+from+" is refused", func() bool {
		_, _ = conn.Write([]byte(forged)) // its error is that of an earlier packet
		oob := make([]byte, 512)
		var size int
		must(n.t, raw.Control(func(fd uintptr) {
			_, size, _, _, err = unix.Recvmsg(int(fd), nil, oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		}))
		if errors.Is(err, unix.EAGAIN) {
			return false
		}
		must(n.t, err)
		got = parseExtendedError(n.t, oob[:size])
		return true
	})
	return got
}

// parseExtendedError reads struct sock_extended_err and the address behind it.
func parseExtendedError(t testing.TB, oob []byte) icmpError {
	t.Helper()
	messages, err := unix.ParseSocketControlMessage(oob)
	must(t, err)
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR && len(m.Data) >= 16+24 {
			by, _ := netip.AddrFromSlice(m.Data[16+8 : 16+24])
			return icmpError{kind: m.Data[5], code: m.Data[6], by: by}
		}
	}
	t.Fatalf("no ICMPv6 error in %x", oob)
	return icmpError{}
}

// icmp opens a socket that hears all ICMPv6 messages to n.
func (n *namespace) icmp() (fd int) {
	n.t.Helper()
	n.within(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		return err
	})
	n.t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// icmpMessages returns what has arrived of a type.
func icmpMessages(t testing.TB, fd int, kind byte) (messages [][]byte) {
	t.Helper()
	for {
		b := make([]byte, 2048)
		size, _, err := unix.Recvfrom(fd, b, 0)
		if errors.Is(err, unix.EAGAIN) {
			return messages
		}
		must(t, err)
		if b[0] == kind {
			messages = append(messages, b[:size])
		}
	}
}

// D-260: packets from a delegated prefix pass as long as its lease lives, and return traffic too, with nothing done but
// the route to it. Without validation they would pass always, which shows that the test would see it.
func TestSourceValidationFollowsLeases(t *testing.T) {
	w := newValidatedNetwork(t)
	w.host.listen(hostAddress, true)
	echo := w.internet.listen(internetAddress, true)
	if err := w.host.ping(hostAddress, internetAddress); err != nil {
		t.Errorf("from the delegated prefix: %v", err)
	}
	if err := w.internet.ping(internetAddress, hostAddress); err != nil {
		t.Errorf("to the delegated prefix and back: %v", err)
	}
	if err := w.client.ping(onLinkAddress, internetAddress); err != nil {
		t.Errorf("from an on-link host: %v", err)
	}

	must(t, echo.Close())
	internet := w.internet.listen("::", false)
	w.router.apply(netcfg.RouteDel{Route: delegation.Route()})
	w.host.say(forged, hostAddress, internetAddress)
	w.client.say(marker, onLinkAddress, internetAddress)
	hears(t, internet, marker)

	w.router.apply(netcfg.RouteAdd{Route: delegation.Route()})
	w.host.say(marker, hostAddress, internetAddress)
	hears(t, internet, marker)

	w.desired.SourceValidation, w.desired.Delegations = nil, nil
	w.router.converge(w.desired)
	w.router.settled(w.desired)
	w.host.say(forged, hostAddress, internetAddress)
	hears(t, internet, forged)
}

// D-261: after a change of the link's prefix, a host that still uses the old one hears ICMPv6 destination unreachable code
// 5 from the router, and its packets are not forwarded. The internet hears nothing, although the route to the
// old prefix leads there now.
func TestInvalidatedPrefixIsRefused(t *testing.T) {
	w := newValidatedNetwork(t)
	internet, errs := w.internet.listen("::", false), w.internet.icmp()
	w.client.say(marker, onLinkAddress, internetAddress)
	hears(t, internet, marker)

	w.desired.Interfaces[0].Addresses = []netip.Prefix{prefix("2001:db8:0:2::1/64"), prefix("fe80::1/64")}
	w.router.converge(w.desired)
	w.router.settled(w.desired)
	w.client.addAddress("eth0", "2001:db8:0:2::2/64")
	w.router.has("2001:db8:0:2::1")

	want := icmpError{kind: unreachable, code: policyFail, by: addr("2001:db8:0:2::1")}
	if got := w.client.refusal(onLinkAddress, internetAddress); got != want {
		t.Errorf("the host hears %+v, want %+v", got, want)
	}
	w.client.say(marker, "2001:db8:0:2::2", internetAddress)
	hears(t, internet, marker)
	if got := icmpMessages(t, errs, unreachable); len(got) > 0 {
		t.Errorf("the internet hears %d errors about packets that it has not sent", len(got))
	}
}

// D-260, D-261: a source that was never anybody's is refused, from a host on the link and from behind a client, and so is one
// that the router knows elsewhere: from a prefix delegated on another LAN. The errors go to the LAN of the sender.
func TestForgedSourceIsRefused(t *testing.T) {
	w := newValidatedNetwork(t)
	second := newNamespace(t, "second")
	connect(w.router, "eth2", second, "eth0")
	second.setUp("eth0")
	second.addAddress("eth0", secondAddress+"/64")
	second.addAddress("eth0", stolenAddress+"/128")
	second.addRoute("::/0", "2001:db8:0:3::1", "eth0")
	w.desired.Interfaces = append(w.desired.Interfaces, netcfg.Interface{
		Name: "eth2", Up: true, Addresses: []netip.Prefix{prefix("2001:db8:0:3::1/64")},
	})
	w.desired.SourceValidation = []string{"eth2", "eth0"}
	w.router.converge(w.desired)
	w.router.settled(w.desired)
	internet, errs, clientErrs := w.internet.listen("::", false), w.internet.icmp(), w.client.icmp()

	w.client.addAddress("eth0", forgedAddress+"/128")
	want := icmpError{kind: unreachable, code: policyFail, by: addr("2001:db8:0:1::1")}
	if got := w.client.refusal(forgedAddress, internetAddress); got != want {
		t.Errorf("the forger on the link hears %+v, want %+v", got, want)
	}
	w.host.addAddress("eth0", "2001:db8:bad::2/128")
	w.host.say(forged, "2001:db8:bad::2", internetAddress)
	w.host.say(marker, hostAddress, internetAddress)
	hears(t, internet, marker)

	icmpMessages(t, clientErrs, unreachable)
	want.by = addr("2001:db8:0:3::1")
	if got := second.refusal(stolenAddress, internetAddress); got != want {
		t.Errorf("the forger on the second LAN hears %+v, want %+v", got, want)
	}
	second.say(marker, secondAddress, internetAddress)
	hears(t, internet, marker)
	if got := len(icmpMessages(t, errs, unreachable)) + len(icmpMessages(t, clientErrs, unreachable)); got > 0 {
		t.Errorf("others than the senders hear %d errors", got)
	}
}

// Forged sources neither fill the table of neighbours nor the send buffer of the kernel's ICMPv6 messages (which without the limit
// ends it, at 159): no more errors are sent than are allowed for the time.
func TestRefusalsAreLimited(t *testing.T) {
	w := newValidatedNetwork(t)
	forgeries := prefix("2001:db8:bad::/64")
	w.client.setSysctl("net/ipv6/ip_nonlocal_bind", "1")
	w.router.setSysctl("net/ipv6/icmp/ratelimit", "0")
	conn := w.client.bind("::")
	begin := time.Now()
	for n := range 3000 {
		a := forgeries.Addr().As16()
		binary.BigEndian.PutUint32(a[12:], uint32(n+1))
		_, _, err := conn.WriteMsgUDPAddrPort([]byte(forged), sourceAddress(netip.AddrFrom16(a)), netip.AddrPortFrom(addr(internetAddress), port))
		must(t, err)
	}
	neighbors, err := w.router.links.NeighList(w.router.link("eth0").Attrs().Index, unix.AF_INET6)
	must(t, err)
	got := 0
	for _, n := range neighbors {
		if a, _ := netip.AddrFromSlice(n.IP); forgeries.Contains(a) {
			got++
		}
	}
	most := netcfg.RefusalsPerSecond * (2 + int(time.Since(begin).Seconds()))
	if got == 0 || got > most {
		t.Errorf("%d neighbours were made for 3000 forged sources, want 1 to %d", got, most)
	}
}

// sourceAddress is the control message by which a packet gets a source address.
func sourceAddress(a netip.Addr) []byte {
	return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: a.As16()})
}
