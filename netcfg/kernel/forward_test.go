package kernel_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tandem6/tandem6/netcfg"
	"golang.org/x/sys/unix"
)

// network is what a customer's line looks like, each box a namespace:
//
//	internet eth0 -- eth1 router eth0 -- eth0 client eth1 -- eth0 host
//
// The internet sends the whole pool to the router, and the router sends what it does not know to the internet: without
// the pool's unreachable route, packets to undelegated prefixes would go to and fro between the two.
type network struct {
	internet, router, client, host *namespace
	desired                        netcfg.Desired // of the router
}

const (
	hostAddress     = "2001:db8:8000:5::10"   // inside the delegated prefix, behind the client
	internetAddress = "2001:db8:ffff::1"      // of the internet's end of the uplink
	undelegated     = "2001:db8:8000:9900::1" // inside the pool; the internet has it, to see what reaches it
	port            = 5300
)

func newNetwork(t *testing.T) *network {
	w := &network{
		internet: newNamespace(t, "internet"), router: newNamespace(t, "router"),
		client: newNamespace(t, "client"), host: newNamespace(t, "host"),
	}
	connect(w.internet, "eth0", w.router, "eth1")
	connect(w.router, "eth0", w.client, "eth0")
	connect(w.client, "eth1", w.host, "eth0")
	for _, n := range []*namespace{w.internet, w.client, w.host} {
		n.setUp("eth0")
	}
	w.client.setUp("eth1")
	w.client.setSysctl("net/ipv6/conf/all/forwarding", "1")

	w.internet.addAddress("eth0", internetAddress+"/64")
	w.internet.addAddress("lo", undelegated+"/128")
	w.internet.addRoute(pool.String(), "2001:db8:ffff::2", "eth0")
	w.client.addAddress("eth0", delegation.Via.String()+"/64")
	w.client.addAddress("eth1", "2001:db8:8000:5::1/64")
	w.client.addRoute("::/0", "fe80::1", "eth0")
	w.host.addAddress("eth0", hostAddress+"/64")
	w.host.addRoute("::/0", "2001:db8:8000:5::1", "eth0")

	w.desired = netcfg.Desired{
		Interfaces: []netcfg.Interface{
			{Name: "eth0", Up: true, AcceptRA: netcfg.AcceptRANever, Addresses: []netip.Prefix{prefix("2001:db8:0:1::1/64"), prefix("fe80::1/64")}},
			{Name: "eth1", Up: true, Addresses: []netip.Prefix{prefix("2001:db8:ffff::2/64")}},
		},
		Routes:      []netcfg.Route{{To: prefix("::/0"), Via: addr(internetAddress)}},
		Delegations: []netcfg.Delegation{delegation},
		Forwarding:  true,
	}
	return w
}

// has waits until an address can be used: the kernel takes it over in the background.
func (n *namespace) has(address string) {
	n.t.Helper()
	eventually(n.t, n.name+" can use "+address, func() bool {
		return address == "::" || slices.ContainsFunc(n.observe().Addresses, func(a netcfg.Address) bool {
			return a.Prefix.Addr() == addr(address) && !a.Tentative
		})
	})
}

// listen opens a UDP socket on an address of n, or on all ("::"). When echo is set it answers.
func (n *namespace) listen(address string, echo bool) *net.UDPConn {
	n.t.Helper()
	n.has(address)
	var conn *net.UDPConn
	n.within(func() (err error) {
		conn, err = net.ListenUDP("udp6", &net.UDPAddr{IP: net.ParseIP(address), Port: port})
		return err
	})
	n.t.Cleanup(func() { conn.Close() })
	if echo {
		go func() {
			b := make([]byte, 100)
			for {
				size, from, err := conn.ReadFromUDPAddrPort(b)
				if err != nil {
					return // closed
				}
				conn.WriteToUDPAddrPort(b[:size], from)
			}
		}()
	}
	return conn
}

// dial opens a UDP socket that hears of ICMPv6 errors.
func (n *namespace) dial(from, to string) *net.UDPConn {
	n.t.Helper()
	n.has(from)
	var conn *net.UDPConn
	n.within(func() (err error) {
		if conn, err = net.DialUDP("udp6", &net.UDPAddr{IP: net.ParseIP(from)}, &net.UDPAddr{IP: net.ParseIP(to), Port: port}); err != nil {
			return err
		}
		raw, err := conn.SyscallConn()
		if err != nil {
			return err
		}
		var optionErr error
		err = raw.Control(func(fd uintptr) { optionErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1) })
		return errors.Join(err, optionErr)
	})
	n.t.Cleanup(func() { conn.Close() })
	return conn
}

// ping sends until an answer comes, or an ICMPv6 error, which it returns.
func (n *namespace) ping(from, to string) error {
	n.t.Helper()
	conn := n.dial(from, to)
	b := make([]byte, 100)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if _, err := conn.Write([]byte("ping")); err != nil {
			return err
		}
		must(n.t, conn.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
		if _, err := conn.Read(b); !isTimeout(err) {
			return err
		}
	}
	n.t.Fatalf("in %s: neither an answer nor an error from %s within %s", n.name, to, patience)
	return nil
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// D-257: packets to a host behind the client pass the router in both directions while the prefix is delegated, and not before and
// after. D-259: then they are answered with an ICMPv6 error.
func TestForwardToDelegatedPrefix(t *testing.T) {
	w := newNetwork(t)
	w.host.listen(hostAddress, true)
	w.internet.listen(internetAddress, true)
	without := w.desired
	without.Aggregates, without.Delegations = []netip.Prefix{pool}, nil
	with := without
	with.Delegations = []netcfg.Delegation{delegation}

	w.router.converge(without)
	if err := w.internet.ping(internetAddress, hostAddress); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("before the delegation: %v, want ENETUNREACH", err)
	}
	w.router.apply(netcfg.RouteAdd{Route: delegation.Route()})
	w.router.settled(with)
	if err := w.internet.ping(internetAddress, hostAddress); err != nil {
		t.Errorf("internet to host: %v", err)
	}
	if err := w.host.ping(hostAddress, internetAddress); err != nil {
		t.Errorf("host to internet: %v", err)
	}
	w.router.apply(netcfg.RouteDel{Route: delegation.Route()})
	w.router.settled(without)
	if err := w.internet.ping(internetAddress, hostAddress); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("after the release: %v, want ENETUNREACH", err)
	}
}

// D-259: packets to undelegated parts of the pool are not forwarded upstream but answered with an ICMPv6 error, wherever they
// come from. Without the unreachable route they do go upstream, which shows that the test would see it.
func TestUndelegatedPartsAreUnreachable(t *testing.T) {
	w := newNetwork(t)
	upstream := w.internet.listen(undelegated, true)

	w.router.converge(w.desired)
	if err := w.host.ping(hostAddress, undelegated); err != nil {
		t.Fatalf("without the unreachable route: %v, want an answer from upstream", err)
	}
	must(t, upstream.Close())

	w.desired.Aggregates = []netip.Prefix{pool}
	w.router.converge(w.desired)
	w.router.settled(w.desired)
	upstream = w.internet.listen("::", false)
	if err := w.host.ping(hostAddress, undelegated); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("host to an undelegated prefix: %v, want ENETUNREACH", err)
	}
	if err := w.internet.ping(internetAddress, "2001:db8:8000:8800::1"); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("internet to an undelegated prefix: %v, want ENETUNREACH", err)
	}

	// Packets keep their order: if one had leaked it would arrive before this one.
	marker := w.host.dial(hostAddress, internetAddress)
	_, err := marker.Write([]byte("marker"))
	must(t, err)
	b := make([]byte, 100)
	must(t, upstream.SetReadDeadline(time.Now().Add(patience)))
	size, _, err := upstream.ReadFromUDPAddrPort(b)
	must(t, err)
	if got := string(b[:size]); got != "marker" {
		t.Errorf("a packet to an undelegated prefix reached the internet: %q", got)
	}
}

// D-258: traffic flows again after the client's link was down and up, with nothing but a plan.
func TestForwardAfterLinkDownUp(t *testing.T) {
	w := newNetwork(t)
	w.host.listen(hostAddress, true)
	w.desired.Aggregates = []netip.Prefix{pool}
	w.router.converge(w.desired)
	if err := w.internet.ping(internetAddress, hostAddress); err != nil {
		t.Fatalf("before: %v", err)
	}
	changes := w.router.watched()
	w.router.setDown("eth0")
	if err := w.internet.ping(internetAddress, hostAddress); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("while down: %v, want ENETUNREACH", err)
	}
	w.router.convergeUntil(changes, w.desired)
	if err := w.internet.ping(internetAddress, hostAddress); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
