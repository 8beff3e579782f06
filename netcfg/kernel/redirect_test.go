package kernel_test

import (
	"net/netip"
	"testing"

	"github.com/tandem6/tandem6/netcfg"
	"github.com/vishvananda/netlink"
)

// plugIn connects eth0 of n to a switch.
func plugIn(sw *namespace, port string, n *namespace) {
	sw.t.Helper()
	connect(sw, port, n, "eth0")
	bridge := sw.link("br0")
	must(sw.t, sw.links.LinkSetMaster(sw.link(port), bridge))
	sw.setUp(port)
	n.setUp("eth0")
}

// D-262: a client sends to the delegated prefix of another on the same link through the router at first, which tells it the
// better next hop: the other client's link-local address. The sender's own address is an on-link one; to others
// Linux sends no redirects. Source validation lets such packets pass, even with a link-local source, which is routed
// back through the interface like any other.
func TestRedirectBetweenClients(t *testing.T) {
	sw, r := newNamespace(t, "switch"), newNamespace(t, "router")
	a, b := newNamespace(t, "a"), newNamespace(t, "b")
	must(t, sw.links.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}))
	sw.setUp("br0")
	plugIn(sw, "p0", r)
	plugIn(sw, "p1", a)
	plugIn(sw, "p2", b)
	const (
		fromA = "2001:db8:0:1::a"
		toB   = "2001:db8:8000:b00::b" // in b's delegated prefix
	)
	a.addAddress("eth0", fromA+"/128")
	a.addAddress("eth0", "fe80::a/64")
	a.addRoute("::/0", "fe80::1", "eth0")
	b.addAddress("eth0", "fe80::b/64")
	b.addAddress("lo", toB+"/128")
	d := netcfg.Desired{
		Interfaces: []netcfg.Interface{{
			Name: "eth0", Up: true, Serves: true,
			Addresses: []netip.Prefix{prefix("2001:db8:0:1::1/64"), prefix("fe80::1/64")},
		}},
		Delegations:      []netcfg.Delegation{{Prefix: prefix("2001:db8:8000:b00::/56"), Via: addr("fe80::b"), Interface: "eth0"}},
		SourceValidation: []string{"eth0"},
		Forwarding:       true,
	}
	r.converge(d)
	r.settled(d)
	r.has("fe80::1")

	icmp, heard := a.icmp(), b.listen("::", false)
	a.say(marker, "fe80::a", toB)
	hears(t, heard, marker)

	var redirects [][]byte
	eventually(t, "a redirect", func() bool {
		a.say(marker, fromA, toB)
		redirects = icmpMessages(t, icmp, redirect)
		return len(redirects) > 0
	})
	const size = 8 + 16 + 16 // of the message up to its options
	if m := redirects[0]; len(m) < size || netip.AddrFrom16([16]byte(m[8:24])) != addr("fe80::b") || netip.AddrFrom16([16]byte(m[24:40])) != addr(toB) {
		t.Errorf("redirect %x, want one to fe80::b for %s", m, toB)
	}
	hears(t, heard, marker)
}
