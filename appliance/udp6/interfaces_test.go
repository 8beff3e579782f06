package udp6

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

var (
	allRelayAgentsAndServers = netip.MustParseAddr("ff02::1:2")
	allServers               = netip.MustParseAddr("ff05::1:3")
)

// listenServer opens the server's socket on port 547 of the server's namespace.
func (w *world) listenServer() *Conn {
	w.t.Helper()
	c, err := Listen(ServerPort)
	w.check(err)
	w.t.Cleanup(func() { c.Close() })
	return c
}

// TestAnswersLeaveThroughReceivingInterface: D-001 (port 547), D-006 (source port
// 547), D-007 (receiving interface), D-008 (to the source address), D-014 (hop
// limit 1), D-016 (any client port). Both LANs have a client with the same
// address and port, so that nothing but the interface can lead an answer home.
func TestAnswersLeaveThroughReceivingInterface(t *testing.T) {
	w := newWorld(t)
	server := w.listenServer()
	lans := []*lan{w.lan(0, 0), w.lan(1, 0)}
	w.check(server.Sync(map[int]Groups{
		lans[0].serverIndex(): AllDHCPRelayAgentsAndServers,
		lans[1].serverIndex(): AllDHCPRelayAgentsAndServers,
	}))
	echo(t, server)
	for _, port := range []uint16{546, 1024, 40000} {
		clients := []*client{lans[0].newClient(clientAddr, port), lans[1].newClient(clientAddr, port)}
		for range 3 {
			for i, c := range clients {
				// ask fails when the other client's answer comes.
				from := c.ask(allRelayAgentsAndServers, 547)
				if want := netip.AddrPortFrom(lans[i].serverAddr, 547); from != want {
					t.Errorf("client port %d on LAN %d is answered from %v, want %v", port, i, from, want)
				}
			}
		}
	}
}

// TestDatagramTellsInterfaceAndGroup: what the DHCPv6 server judges by.
func TestDatagramTellsInterfaceAndGroup(t *testing.T) {
	w := newWorld(t)
	server := w.listenServer()
	lans := []*lan{w.lan(0, 0), w.lan(1, 0)}
	want := make(map[int]Groups)
	for _, l := range lans {
		want[l.serverIndex()] = AllDHCPRelayAgentsAndServers | AllDHCPServers
	}
	w.check(server.Sync(want))
	run(t, server)
	for _, l := range lans {
		c := l.newClient(clientAddr, 546)
		for _, to := range []netip.Addr{allRelayAgentsAndServers, allServers, l.serverAddr} {
			c.send(to, 547, "hello")
			d := take(t, server, 1)[0]
			if d.IfIndex != l.serverIndex() || d.Destination != to || d.Source != netip.AddrPortFrom(clientAddr, 546) {
				t.Errorf("sent to %v on interface %d: received from %v to %v on interface %d",
					to, l.serverIndex(), d.Source, d.Destination, d.IfIndex)
			}
		}
	}
}

// TestRelayIsAnsweredByRouting: D-003. The relay sends to ff05::1:3 and is
// answered at its global address, from a global address, by normal routing.
func TestRelayIsAnsweredByRouting(t *testing.T) {
	w := newWorld(t)
	server := w.listenServer()
	l := w.lan(0, 0)
	relayAddr, serverAddr := netip.MustParseAddr("2001:db8::c"), netip.MustParseAddr("2001:db8::1")
	w.check(w.serverLinks.AddrAdd(l.server, address(serverAddr.String()+"/64")))
	w.check(w.clientLinks.AddrAdd(l.client, address(relayAddr.String()+"/64")))
	w.check(server.Sync(map[int]Groups{l.serverIndex(): AllDHCPServers}))
	echo(t, server)
	relay := l.newClient(relayAddr, 547)
	if from, want := relay.ask(allServers, 547), netip.AddrPortFrom(serverAddr, 547); from != want {
		t.Errorf("the relay is answered from %v, want %v", from, want)
	}
}

// TestGroupsOnlyWhereWanted: a multicast on an interface that is not in Sync's
// map is not received, one after leaving isn't either. The unicast datagram that
// follows it on the same cable shows when it would have come.
func TestGroupsOnlyWhereWanted(t *testing.T) {
	w := newWorld(t)
	server := w.listenServer()
	served, unserved := w.lan(0, 0), w.lan(1, 0)
	run(t, server)
	expect := func(l *lan, group netip.Addr, received bool) {
		t.Helper()
		c := l.newClient(clientAddr, 546)
		defer c.udp.Close()
		c.send(group, 547, "group")
		c.send(l.serverAddr, 547, "unicast")
		want := []string{"group", "unicast"}
		if !received {
			want = want[1:]
		}
		for i, d := range take(t, server, len(want)) {
			if string(d.Payload) != want[i] {
				t.Errorf("interface %d, group %v: received %q, want %q", l.serverIndex(), group, d.Payload, want[i])
			}
		}
	}
	expect(served, allRelayAgentsAndServers, false)
	w.check(server.Sync(map[int]Groups{served.serverIndex(): AllDHCPRelayAgentsAndServers}))
	expect(served, allRelayAgentsAndServers, true)
	expect(served, allServers, false)
	expect(unserved, allRelayAgentsAndServers, false)
	w.check(server.Sync(map[int]Groups{served.serverIndex(): AllDHCPServers, unserved.serverIndex(): AllDHCPRelayAgentsAndServers}))
	expect(served, allRelayAgentsAndServers, false)
	expect(served, allServers, true)
	expect(unserved, allRelayAgentsAndServers, true)
	w.check(server.Sync(nil))
	expect(served, allServers, false)
	expect(unserved, allRelayAgentsAndServers, false)
}

// TestServesAfterLinkFlap: D-002. Nobody calls Sync after the flap, and the kernel
// reports the membership again, which a switch with MLD snooping needs.
func TestServesAfterLinkFlap(t *testing.T) {
	w := newWorld(t)
	server := w.listenServer()
	l := w.lan(0, 0)
	reports := l.watchReports()
	w.check(server.Sync(map[int]Groups{l.serverIndex(): AllDHCPRelayAgentsAndServers}))
	echo(t, server)
	c := l.newClient(clientAddr, 546)
	c.ask(allRelayAgentsAndServers, 547)
	reports.wait(allRelayAgentsAndServers)
	for range 2 {
		l.down()
		reports.drain()
		l.up()
		c.ask(allRelayAgentsAndServers, 547)
		reports.wait(allRelayAgentsAndServers)
	}
	w.check(server.Sync(map[int]Groups{l.serverIndex(): AllDHCPRelayAgentsAndServers}))
	c.ask(allRelayAgentsAndServers, 547)
}

// TestServesInterfaceThatIsDownAtFirst: D-002. Joining works before the link is up.
func TestServesInterfaceThatIsDownAtFirst(t *testing.T) {
	w := newWorld(t)
	server := w.listenServer()
	l := w.lan(0, 0)
	l.down()
	w.check(server.Sync(map[int]Groups{l.serverIndex(): AllDHCPRelayAgentsAndServers}))
	echo(t, server)
	l.up()
	l.newClient(clientAddr, 546).ask(allRelayAgentsAndServers, 547)
}

// TestServesInterfaceMadeAgain: D-002. The interface is deleted, and comes back
// with a new index, with the old one, and with the old one before anybody noticed.
func TestServesInterfaceMadeAgain(t *testing.T) {
	w := newWorld(t)
	server := w.listenServer()
	both := AllDHCPRelayAgentsAndServers | AllDHCPServers
	l, other := w.lan(0, 0), w.lan(1, 0)
	w.check(server.Sync(map[int]Groups{l.serverIndex(): both, other.serverIndex(): both}))
	echo(t, server)
	serves := func(l *lan) {
		t.Helper()
		c := l.newClient(clientAddr, 546)
		defer c.udp.Close()
		c.ask(allRelayAgentsAndServers, 547)
	}
	serves(l)
	first := l.serverIndex()

	l.delete()
	// An interface that has gone is an error of its own, and hurts no other.
	if err := server.Sync(map[int]Groups{first: both, other.serverIndex(): both}); !errors.Is(err, unix.ENODEV) {
		t.Errorf("Sync with an interface that has gone: %v, want ENODEV", err)
	}
	serves(other)
	w.check(server.Sync(map[int]Groups{other.serverIndex(): both}))

	l = w.lan(0, 0)
	if l.serverIndex() == first {
		t.Fatalf("the kernel gave index %d again", first)
	}
	w.check(server.Sync(map[int]Groups{l.serverIndex(): both, other.serverIndex(): both}))
	serves(l)

	index := l.serverIndex()
	l.delete()
	w.check(server.Sync(map[int]Groups{other.serverIndex(): both}))
	l = w.lan(0, index)
	w.check(server.Sync(map[int]Groups{index: both, other.serverIndex(): both}))
	serves(l)

	l.delete()
	l = w.lan(0, index)
	w.check(server.Sync(map[int]Groups{index: both, other.serverIndex(): both}))
	serves(l)
	serves(other)
}

// TestServesInterfaceMovedAwayAndBack: D-002. In another network namespace and back
// again the interface keeps its index, but not its memberships.
func TestServesInterfaceMovedAwayAndBack(t *testing.T) {
	w := newWorld(t)
	server := w.listenServer()
	l := w.lan(0, 0)
	want := map[int]Groups{l.serverIndex(): AllDHCPRelayAgentsAndServers}
	w.check(server.Sync(want))
	echo(t, server)
	c := l.newClient(clientAddr, 546)
	c.ask(allRelayAgentsAndServers, 547)
	away := newNamespace(t) // where no other interface has the index
	defer away.Close()
	w.check(netns.Set(w.server))
	awayLinks, err := netlink.NewHandleAt(away)
	w.check(err)
	defer awayLinks.Close()
	w.check(w.serverLinks.LinkSetNsFd(l.server, int(away)))
	w.check(awayLinks.LinkSetNsFd(w.link(awayLinks, "s0"), int(w.server)))
	if back := w.link(w.serverLinks, "s0"); back.Attrs().Index != l.serverIndex() {
		t.Fatalf("the interface came back with index %d, it was %d", back.Attrs().Index, l.serverIndex())
	}
	l.up()
	w.check(server.Sync(want))
	c.ask(allRelayAgentsAndServers, 547)
}

// TestServesAfterTooSmallMTU: D-002. With an MTU below 1,280 the kernel takes IPv6
// off the interface, and gives it back without memberships.
func TestServesAfterTooSmallMTU(t *testing.T) {
	w := newWorld(t)
	server := w.listenServer()
	l := w.lan(0, 0)
	want := map[int]Groups{l.serverIndex(): AllDHCPRelayAgentsAndServers}
	w.check(server.Sync(want))
	echo(t, server)
	c := l.newClient(clientAddr, 546)
	c.ask(allRelayAgentsAndServers, 547)
	w.check(w.serverLinks.LinkSetMTU(l.server, 1279))
	if err := server.Sync(want); err == nil {
		t.Error("Sync joined an interface without IPv6")
	}
	w.check(w.serverLinks.LinkSetMTU(l.server, 1500))
	l.up()
	w.check(server.Sync(want))
	c.ask(allRelayAgentsAndServers, 547)
}

// TestSyncDoesNothingTwice: nothing is left or joined for a wish that is
// fulfilled, up or down. The kernel shows memberships of links that are down.
func TestSyncDoesNothingTwice(t *testing.T) {
	w := newWorld(t)
	server := w.listenServer()
	l := w.lan(0, 0)
	want := map[int]Groups{l.serverIndex(): AllDHCPRelayAgentsAndServers | AllDHCPServers}
	w.check(server.Sync(want))
	unchanged := func(state string) {
		t.Helper()
		present, err := memberships()
		w.check(err)
		wanted, err := expand(want)
		w.check(err)
		if leave, join := plan(server.joined, present, wanted); len(leave)+len(join) != 0 {
			t.Errorf("%s: Sync would leave %v and join %v", state, leave, join)
		}
		w.check(server.Sync(want))
	}
	unchanged("up")
	l.down()
	unchanged("down")
	l.up()
	unchanged("up again")
}

// TestPlan: what Sync does in each combination of the three sets.
func TestPlan(t *testing.T) {
	for bits := range 8 {
		const joined, present, wanted = 1, 2, 4
		set := func(bit int) map[membership]bool {
			if bits&bit == 0 {
				return nil
			}
			return map[membership]bool{{7, allServers}: true}
		}
		leave, join := plan(set(joined), set(present), set(wanted))
		wantLeave := bits == joined || bits == joined|present || bits == joined|wanted
		wantJoin := bits == wanted || bits == wanted|present || bits == wanted|joined
		if (len(leave) == 1) != wantLeave || (len(join) == 1) != wantJoin {
			t.Errorf("joined %v, present %v, wanted %v: leave %v, join %v", bits&joined != 0, bits&present != 0, bits&wanted != 0, leave, join)
		}
	}
}

// TestSyncServesInterfacesMax: all memberships fit into the smallest optmem_max
// that kernels come with.
func TestSyncServesInterfacesMax(t *testing.T) {
	w := newWorld(t)
	setSysctl(t, "net/core/optmem_max", "20480")
	server := w.listenServer()
	want := make(map[int]Groups)
	for i := range InterfacesMax / 2 {
		attributes := netlink.NewLinkAttrs()
		attributes.Name = fmt.Sprintf("a%d", i)
		w.check(w.serverLinks.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: fmt.Sprintf("b%d", i)}))
	}
	links, err := w.serverLinks.LinkList()
	w.check(err)
	for _, link := range links {
		if link.Type() == "veth" {
			want[link.Attrs().Index] = AllDHCPRelayAgentsAndServers | AllDHCPServers
		}
	}
	if len(want) != InterfacesMax {
		t.Fatalf("%d interfaces, want %d", len(want), InterfacesMax)
	}
	w.check(server.Sync(want))
	if len(server.joined) != 2*InterfacesMax {
		t.Errorf("%d memberships, want %d", len(server.joined), 2*InterfacesMax)
	}
	w.check(server.Sync(nil))
	if len(server.joined) != 0 {
		t.Errorf("%d memberships after leaving all", len(server.joined))
	}
}

// TestUnicastFrameToGroup: D-013. An access point that turns multicast into unicast
// frames changes the Ethernet address only.
func TestUnicastFrameToGroup(t *testing.T) {
	w := newWorld(t)
	server := w.listenServer()
	l := w.lan(0, 0)
	w.check(server.Sync(map[int]Groups{l.serverIndex(): AllDHCPRelayAgentsAndServers}))
	run(t, server)
	packet := udpPacket(clientAddr, allRelayAgentsAndServers, 546, 547, []byte("unicast frame"))
	w.inClient(func() {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		w.check(err)
		defer unix.Close(fd)
		to := &unix.SockaddrLinklayer{Protocol: wirePort(unix.ETH_P_IPV6), Ifindex: l.clientIndex(), Halen: 6}
		copy(to.Addr[:], l.server.Attrs().HardwareAddr)
		w.check(unix.Sendto(fd, packet, 0, to))
	})
	if d := take(t, server, 1)[0]; string(d.Payload) != "unicast frame" || d.Destination != allRelayAgentsAndServers {
		t.Errorf("received %q to %v", d.Payload, d.Destination)
	}
}

// TestSendSurvivesBadLinks: no route, a link that is down, an interface that was
// deleted. The client on the good link is served in the same batch.
func TestSendSurvivesBadLinks(t *testing.T) {
	w := newWorld(t)
	server := w.listenServer()
	good, down, gone := w.lan(0, 0), w.lan(1, 0), w.lan(2, 0)
	down.down()
	gone.delete()
	c := good.newClient(clientAddr, 546)
	to := netip.AddrPortFrom(clientAddr, 546)
	n, err := server.Send([]Outgoing{
		{Payload: []byte("no route"), Destination: netip.MustParseAddrPort("[2001:db8:1::1]:547")},
		{Payload: []byte("down"), Destination: to, IfIndex: down.serverIndex()},
		{Payload: []byte("gone"), Destination: to, IfIndex: gone.serverIndex()},
		{Payload: []byte("good"), Destination: to, IfIndex: good.serverIndex()},
	})
	if n != 1 || !errors.Is(err, unix.ENETUNREACH) || !strings.HasPrefix(err.Error(), "sending 8 octets to [2001:db8:1::1]:547 through interface 0") {
		t.Errorf("Send: %d, %v; want 1 and ENETUNREACH for the first", n, err)
	}
	if payload, _, ok := c.receive(time.Now().Add(patience)); !ok || payload != "good" {
		t.Errorf("received %q, want good", payload)
	}
}

// TestSocketBuffersAreRaised: root gets them whatever rmem_max and wmem_max say.
// The kernel doubles what is asked for, for its own overhead (socket(7)).
func TestSocketBuffersAreRaised(t *testing.T) {
	server := newWorld(t).listenServer()
	if got := option(t, server, unix.SOL_SOCKET, unix.SO_RCVBUF); got != 2*socketBufferOctets {
		t.Errorf("receive buffer is %d octets, want %d", got, 2*socketBufferOctets)
	}
	if got := option(t, server, unix.SOL_SOCKET, unix.SO_SNDBUF); got != 2*socketBufferOctets {
		t.Errorf("send buffer is %d octets, want %d", got, 2*socketBufferOctets)
	}
}

// TestFullSendBufferDoesNotBlock fills the send buffer with datagrams to
// neighbours that do not exist. Send must return, and count.
func TestFullSendBufferDoesNotBlock(t *testing.T) {
	w := newWorld(t)
	server := w.listenServer()
	l := w.lan(0, 0)
	start := time.Now()
	err := l.floodNobody(server)
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatalf("the send buffer was not filled: %v", err)
	}
	// The kernel gives up on a neighbour after 3 seconds; waiting would take that long.
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("Send took %v", took)
	}
	if counters := server.Counters(); counters.Sent+counters.SendErrors != floodNeighbours*floodEach {
		t.Errorf("counters do not add up to %d: %+v", floodNeighbours*floodEach, counters)
	}
}

// TestShortNeighbourQueueKeepsServing holds the package comment's advice to netcfg:
// with a small unres_qlen_bytes the same flood leaves room for everybody else.
func TestShortNeighbourQueueKeepsServing(t *testing.T) {
	w := newWorld(t)
	server := w.listenServer()
	l := w.lan(0, 0)
	setSysctl(t, "net/ipv6/neigh/s0/unres_qlen_bytes", "4096")
	w.check(server.Sync(map[int]Groups{l.serverIndex(): AllDHCPRelayAgentsAndServers}))
	if err := l.floodNobody(server); err != nil {
		t.Fatalf("the flood fills the send buffer: %v", err)
	}
	echo(t, server)
	l.newClient(clientAddr, 546).ask(allRelayAgentsAndServers, 547)
}

// The package comment says that some forty neighbours can fill the send buffer.
const floodNeighbours, floodEach = 45, 300

// floodNobody sends floodEach datagrams to each of floodNeighbours addresses on
// the LAN that nobody has. It returns the last error.
func (l *lan) floodNobody(c *Conn) error {
	var last error
	out := make([]Outgoing, floodNeighbours)
	for i := range out {
		nobody := netip.MustParseAddr("fe80::dead:0:0").As16()
		binary.BigEndian.PutUint32(nobody[12:], uint32(i))
		out[i] = Outgoing{
			Payload:     make([]byte, 200),
			Destination: netip.AddrPortFrom(netip.AddrFrom16(nobody), 546),
			IfIndex:     l.serverIndex(),
		}
	}
	for range floodEach {
		if _, err := c.Send(out); err != nil {
			last = err
		}
	}
	return last
}
