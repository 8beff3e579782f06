package kernel_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/tandem6/tandem6/netcfg"
	"github.com/tandem6/tandem6/netcfg/kernel"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

var (
	addr   = netip.MustParseAddr
	prefix = netip.MustParsePrefix
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// namespace is a network namespace of the test's own, with IPv6 and without duplicate address detection.
type namespace struct {
	t      testing.TB
	name   string
	ns     netns.NsHandle
	links  *netlink.Handle // an independent hand on the kernel: what operators and other programs do
	kernel *kernel.Handle  // under test
}

func newNamespace(t testing.TB, name string) *namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root for network namespaces")
		}
		t.Skip("needs root for network namespaces")
	}
	n := &namespace{t: t, name: name}
	made := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends here
		var err error
		n.ns, err = netns.New()
		made <- err
	}()
	must(t, <-made)
	t.Cleanup(func() { n.ns.Close() })
	var err error
	n.links, err = netlink.NewHandleAt(n.ns, unix.NETLINK_ROUTE)
	must(t, err)
	t.Cleanup(n.links.Close)
	n.kernel, err = kernel.OpenAt(n.ns)
	must(t, err)
	t.Cleanup(n.kernel.Close)
	n.setSysctl("net/ipv6/conf/default/accept_dad", "0")
	n.setUp("lo")
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within runs f on a thread inside n; sockets that f opens stay there.
func (n *namespace) within(f func() error) {
	n.t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends here
		if err := netns.Set(n.ns); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	if err := <-done; err != nil {
		n.t.Fatalf("in %s: %v", n.name, err)
	}
}

func (n *namespace) setSysctl(name, value string) {
	n.t.Helper()
	n.within(func() error { return os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0) })
}

func (n *namespace) sysctl(name string) (value string) {
	n.t.Helper()
	n.within(func() error {
		b, err := os.ReadFile(filepath.Join("/proc/sys", name))
		value = string(b[:max(0, len(b)-1)])
		return err
	})
	return value
}

func (n *namespace) link(name string) netlink.Link {
	n.t.Helper()
	l, err := n.links.LinkByName(name)
	if err != nil {
		n.t.Fatalf("in %s: %s: %v", n.name, name, err)
	}
	return l
}

func (n *namespace) setUp(name string)   { n.t.Helper(); must(n.t, n.links.LinkSetUp(n.link(name))) }
func (n *namespace) setDown(name string) { n.t.Helper(); must(n.t, n.links.LinkSetDown(n.link(name))) }

// addAddress does what "ip address add" does.
func (n *namespace) addAddress(name, address string) {
	n.t.Helper()
	a, err := netlink.ParseAddr(address)
	must(n.t, err)
	must(n.t, n.links.AddrAdd(n.link(name), a))
}

// route returns a route as "ip route" would make it.
func (n *namespace) route(to, via, name string) *netlink.Route {
	n.t.Helper()
	_, dst, err := net.ParseCIDR(to)
	must(n.t, err)
	r := &netlink.Route{Dst: dst, Gw: net.ParseIP(via), LinkIndex: n.link(name).Attrs().Index, Priority: netcfg.DefaultMetric}
	return r
}

func (n *namespace) addRoute(to, via, name string) {
	n.t.Helper()
	if err := n.links.RouteAdd(n.route(to, via, name)); err != nil {
		n.t.Fatalf("in %s: add route %s: %v", n.name, to, err)
	}
}

// connect makes an Ethernet between two namespaces. The ends are down.
func connect(a *namespace, aName string, b *namespace, bName string) {
	a.t.Helper()
	must(a.t, a.links.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: aName}, PeerName: bName, PeerNamespace: netlink.NsFd(int(b.ns)),
	}))
}

// routes returns the observed routes to a prefix.
func (n *namespace) routes(to netip.Prefix) (found []netcfg.ObservedRoute) {
	n.t.Helper()
	for _, r := range n.observe().Routes {
		if r.To == to {
			found = append(found, r)
		}
	}
	return found
}

func (n *namespace) observe() netcfg.Observed {
	n.t.Helper()
	o, err := n.kernel.Observe()
	must(n.t, err)
	return o
}

// apply applies ops, all of which must succeed.
func (n *namespace) apply(ops ...netcfg.Op) {
	n.t.Helper()
	for _, err := range n.kernel.Apply(ops) {
		n.t.Errorf("in %s: %v", n.name, err)
	}
	if n.t.Failed() {
		n.t.FailNow()
	}
}

// converge plans and applies, and returns the plan.
func (n *namespace) converge(d netcfg.Desired) netcfg.Changes {
	n.t.Helper()
	changes := netcfg.Plan(d, n.observe())
	n.apply(changes.Ops...)
	return changes
}

// settled fails unless there is nothing left to do.
func (n *namespace) settled(d netcfg.Desired) {
	n.t.Helper()
	if changes := netcfg.Plan(d, n.observe()); len(changes.Ops)+len(changes.Conflicts)+len(changes.Pending) > 0 {
		n.t.Fatalf("in %s: still to do: %v", n.name, changes)
	}
}

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for: %s", patience, what)
		}
	}
}

func ops(changes netcfg.Changes) (words []string) {
	for _, op := range changes.Ops {
		words = append(words, fmt.Sprint(op))
	}
	return words
}
