package lab_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/tandem6/tandem6/appliance/lab"
)

// TestDelegatedRoute follows the route to a delegated prefix through the client's life: it is there while the lease is, whatever
// happens to link and daemon, and goes with it (D-077, D-257, D-258).
func TestDelegatedRoute(t *testing.T) {
	t.Parallel()
	needTandem6d(t)
	lab.Need(t, "dhclient", "tcpdump")
	n := lab.NewNetwork(t)
	server := newServer(t, n, lab.Settings{PreferredSeconds: 3600, ValidSeconds: 7200})
	server.Start(t)
	gateway := n.Client.LinkLocal(t, "eth0")

	t.Run("advertise", func(t *testing.T) {
		if _, err := lab.NewFleet(t, n.Client, "eth0").NewClient().Solicit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if routes := n.Server.Run(t, "ip", "-6", "route", "show", "root", lab.PrefixPool.String(), "via", gateway.String()); routes != "" {
			t.Errorf("routes after the Advertise: %q, want none", routes)
		}
	})

	// dhclient leaves it to the administrator what becomes of the prefix.
	const client = "dhclient-prefix"
	capture := n.Client.Capture(t, "eth0")
	process := clientByName(t, client).Start(t, n.Client, "eth0")
	reply := capture.Wait(t, clientTime, 0, "Reply with a prefix", func(p lab.Packet) bool {
		return p.Message.MessageType == dhcpv6.MessageTypeReply && len(lab.Leases(p.Message)) == 1
	})
	prefix := lab.Leases(reply.Message)[0].Prefix
	expectRoute(t, n, prefix, gateway, true)

	// A host behind the client: the client's other interface stands for it.
	behind := prefix.Addr().Next()
	lab.Cable(t, n.Client, "down0", n.Client, "down0-peer")
	n.Client.Run(t, "ip", "address", "add", behind.String()+"/64", "dev", "down0")
	wayBack := []string{"ip", "route", "replace", lab.LinkPrefix.String(), "dev", "eth0"}
	n.Client.Run(t, wayBack...)
	if err := n.Server.Ping(behind, clientTime); err != nil {
		t.Errorf("a host behind the client cannot be reached: %v", err)
	}

	t.Run("client's cable out and in", func(t *testing.T) {
		monitor := n.Server.Start(t, "ip", "-6", "monitor", "link", "route")
		n.Client.Run(t, "ip", "link", "set", "eth0", "down")
		monitor.WaitLog(t, clientTime, "NO-CARRIER")
		n.Client.Run(t, "ip", "link", "set", "eth0", "up")
		monitor.WaitLog(t, clientTime, "LOWER_UP")
		n.Client.Run(t, wayBack...)
		if err := n.Server.Ping(behind, clientTime); err != nil {
			t.Error(err)
		}
		monitor.Kill()
		if log := monitor.Log(); strings.Contains(log, "Deleted "+prefix.String()) {
			t.Errorf("the route went for a while:\n%s", log)
		}
	})
	t.Run("server's interface down and up", func(t *testing.T) {
		n.Server.Run(t, "ip", "link", "set", "eth0", "down")
		n.Server.Run(t, "ip", "link", "set", "eth0", "up")
		expectRoute(t, n, prefix, gateway, true)
	})
	t.Run("route removed by hand", func(t *testing.T) {
		n.Server.Run(t, "ip", "-6", "route", "del", prefix.String())
		expectRoute(t, n, prefix, gateway, true)
	})
	t.Run("kill and restart", func(t *testing.T) {
		server.Kill()
		n.Server.Run(t, "ip", "-6", "route", "del", prefix.String()) // as a power cut would
		server.Start(t)
		expectRoute(t, n, prefix, gateway, true)
	})
	t.Run("stop and restart", func(t *testing.T) {
		server.Stop(t)
		expectRoute(t, n, prefix, gateway, true)
		server.Start(t)
		expectRoute(t, n, prefix, gateway, true)
	})
	t.Run("release", func(t *testing.T) {
		clientByName(t, client).Release(t, n.Client, process)
		expectRoute(t, n, prefix, gateway, false)
	})
}

// TestDelegatedRouteExpires shows that the route goes when the client is silent and the lease runs out (D-257).
func TestDelegatedRouteExpires(t *testing.T) {
	t.Parallel()
	needTandem6d(t)
	lab.Need(t)
	n := lab.NewNetwork(t)
	server := newServer(t, n, lab.Settings{PreferredSeconds: 8, ValidSeconds: 8})
	server.Start(t)
	client := lab.NewFleet(t, n.Client, "eth0").NewClient()
	if err := client.Lease(t.Context()); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for _, l := range client.Leases {
		if l.Delegated {
			expectRoute(t, n, l.Prefix, n.Client.LinkLocal(t, "eth0"), true)
			expectRoute(t, n, l.Prefix, n.Client.LinkLocal(t, "eth0"), false)
		}
	}
	if lived := time.Since(start); lived < 7*time.Second {
		t.Errorf("the route went after %v, want at least 7 s: the lease was valid for 8 s", lived)
	}
	lab.Eventually(t, clientTime, "the server lists no lease", func() bool { return len(server.Leases(t)) == 0 })
}

// expectRoute waits until the server's host has, or has not, a route to a delegated prefix via the client.
func expectRoute(t *testing.T, n *lab.Network, prefix netip.Prefix, gateway netip.Addr, want bool) {
	t.Helper()
	var routes string
	if !lab.Poll(clientTime, func() bool {
		routes = n.Server.Run(t, "ip", "-6", "route", "show", prefix.String())
		return strings.Contains(routes, " via "+gateway.String()+" dev eth0 ") == want
	}) {
		t.Errorf("routes to %v: %q; a route via %v: %t, want %t", prefix, routes, gateway, !want, want)
	}
}

func clientByName(t *testing.T, name string) lab.Client {
	t.Helper()
	for _, c := range lab.Clients {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("there is no client %q", name)
	return lab.Client{}
}

// TestLinkFlap shows that clients are served again after the server's interface was down, and was taken away and came back, and that
// it may come after the daemon (D-002). The server stays the same for them, with a new network card too (D-058).
func TestLinkFlap(t *testing.T) {
	t.Parallel()
	needTandem6d(t)
	lab.Need(t)
	n := lab.NewNetwork(t)
	server := newServer(t, n, lab.Settings{PreferredSeconds: 3600, ValidSeconds: 7200})
	server.Start(t)
	var duid dhcpv6.DUID
	serve := func(t *testing.T) {
		t.Helper()
		fleet := lab.NewFleet(t, n.Client, "eth0")
		// The kernel needs a moment for the link-local address, and the daemon for its groups: the client tries again.
		var err error
		if !lab.Poll(clientTime, func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			err = fleet.NewClient().Lease(ctx)
			return err == nil
		}) {
			t.Fatal(err)
		}
		if duid == nil {
			duid = fleet.Server()
		}
		if !duid.Equal(fleet.Server()) {
			t.Errorf("the server is %v, it was %v", fleet.Server(), duid)
		}
	}
	t.Run("as it is", serve)
	t.Run("down and up", func(t *testing.T) {
		n.Server.Run(t, "ip", "link", "set", "eth0", "down")
		n.Server.Run(t, "ip", "link", "set", "eth0", "up")
		serve(t)
	})
	t.Run("gone and back", func(t *testing.T) {
		n.Server.Run(t, "ip", "link", "del", "eth0")
		lab.Cable(t, n.Server, "eth0", n.Client, "eth0")
		serve(t)
	})
	t.Run("comes after the daemon", func(t *testing.T) {
		server.Stop(t)
		n.Server.Run(t, "ip", "link", "del", "eth0")
		server.Launch(t)
		server.Process().WaitLog(t, clientTime, "msg=starting")
		lab.Cable(t, n.Server, "eth0", n.Client, "eth0")
		server.WaitReady(t)
		serve(t)
	})
}

// TestPowerOn is the whole job of a router, with hosts that are set up for nothing: a router advertisement makes them ask for an
// address, they use it through the router, and find a network behind it.
func TestPowerOn(t *testing.T) {
	t.Parallel()
	needTandem6d(t)
	for _, c := range lab.Hosts {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			lab.Need(t, append(c.Programs, "tcpdump", "tshark")...)
			n := lab.NewNetwork(t)
			server := newServer(t, n, lab.Settings{PreferredSeconds: 3600, ValidSeconds: 7200, Advertise: true})
			server.Start(t)
			beyond := lab.NewHost(t, "beyond")
			lab.Cable(t, n.Server, "eth1", beyond, "eth0")
			n.Server.Run(t, "ip", "address", "add", "2001:db8:f::1/64", "dev", "eth1")
			beyond.Run(t, "ip", "address", "add", "2001:db8:f::2/64", "dev", "eth0")
			beyond.Run(t, "ip", "route", "add", "default", "via", "2001:db8:f::1")

			capture := n.Client.Capture(t, "eth0")
			c.Start(t, n.Client, "eth0")
			reply := capture.Wait(t, clientTime, 0, "Reply with an address", func(p lab.Packet) bool {
				return p.Message.MessageType == dhcpv6.MessageTypeReply && complete(c, lab.Leases(p.Message))
			})
			for _, l := range lab.Leases(reply.Message) {
				expectUse(t, n, c, l)
			}
			router := n.Server.LinkLocal(t, "eth0")
			lab.Eventually(t, clientTime, "a default route via the server", func() bool {
				return strings.Contains(n.Client.Run(t, "ip", "-6", "route", "show", "default"), "via "+router.String()+" dev eth0")
			})
			if err := n.Client.Ping(netip.MustParseAddr("2001:db8:f::2"), clientTime); err != nil {
				t.Errorf("a host beyond the router cannot be reached: %v", err)
			}
			audit(t, capture.Packets(t))
			capture.Check(t)
		})
	}
}

// TestFirstStart starts the daemon as the image does for the first time, without a configuration: hosts on its LAN get private
// addresses and reach it (D-170). The configuration that it has made stays when it starts again.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	needTandem6d(t)
	c := lab.Hosts[0]
	lab.Need(t, append(c.Programs, "tcpdump", "tshark")...)
	n := lab.NewNetwork(t)
	server := binaries.NewTandem6d(t, n.Server, "", false)
	server.Start(t)
	capture := n.Client.Capture(t, "eth0")
	c.Start(t, n.Client, "eth0")
	reply := capture.Wait(t, clientTime, 0, "Reply with an address", func(p lab.Packet) bool {
		return p.Message.MessageType == dhcpv6.MessageTypeReply && complete(c, lab.Leases(p.Message))
	})
	held := lab.Leases(reply.Message)[0]
	expectUse(t, n, c, held)
	for _, own := range n.Server.Addresses("eth0") {
		if own.IsLinkLocalUnicast() {
			continue
		}
		if !own.IsPrivate() || !netip.PrefixFrom(own, 64).Contains(held.Prefix.Addr()) {
			t.Errorf("the server has %v, the client %v; want private addresses of one /64", own, held)
		}
		if err := n.Client.Ping(own, clientTime); err != nil {
			t.Errorf("the server cannot be reached: %v", err)
		}
	}
	server.Stop(t)
	server.Start(t)
	expectLease(t, server, held)
	capture.Check(t)
}
