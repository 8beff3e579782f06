package kernel_test

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tandem6/tandem6/netcfg"
	"github.com/tandem6/tandem6/netcfg/kernel"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var (
	pool       = prefix("2001:db8:8000::/40")
	delegation = netcfg.Delegation{Prefix: prefix("2001:db8:8000::/56"), Via: addr("fe80::2"), Interface: "eth0"}
)

// router returns a namespace with an eth0 that is connected to eth0 of another; both are up.
func router(t *testing.T) (r, peer *namespace) {
	t.Helper()
	r, peer = newNamespace(t, "router"), newNamespace(t, "peer")
	connect(r, "eth0", peer, "eth0")
	r.setUp("eth0")
	peer.setUp("eth0")
	return r, peer
}

// desired is a router with everything that this package configures.
func desired() netcfg.Desired {
	return netcfg.Desired{
		Interfaces: []netcfg.Interface{{
			Name: "eth0", Up: true, MTU: 1400, AcceptRA: netcfg.AcceptRANever,
			Addresses: []netip.Prefix{prefix("2001:db8:0:1::1/64"), prefix("fe80::1/64")},
		}},
		Routes: []netcfg.Route{
			{To: prefix("::/0"), Via: addr("fe80::ffff"), Interface: "eth0"},
			{To: prefix("2001:db8:1::/48"), Via: addr("2001:db8:0:1::7")},
			{To: prefix("2001:db8:2::/64"), Interface: "eth0", Metric: 77},
			{To: prefix("2001:db8:3::/64"), Type: netcfg.Unreachable},
		},
		Aggregates:  []netip.Prefix{pool},
		Delegations: []netcfg.Delegation{delegation},
		Forwarding:  true,
	}
}

// D-257, D-259: every kind of thing is configured from nothing, and applying twice changes nothing.
func TestApplyTwiceChangesNothing(t *testing.T) {
	r, _ := router(t)
	r.setDown("eth0")
	d := desired()
	changes := r.converge(d)
	if len(changes.Ops) != 12 {
		t.Errorf("%d operations: %q", len(changes.Ops), ops(changes))
	}
	r.settled(d)
	var before netcfg.Observed
	eventually(t, "the kernel has finished with the new link: its own link-local address and ours are no more tentative", func() bool {
		before = r.observe()
		usable := 0
		for _, a := range before.Addresses {
			if a.Interface == "eth0" && !a.Tentative {
				usable++
			}
		}
		return usable == 3
	})
	r.apply(changes.Ops...) // the old plan again: each operation finds its work done
	if diff := cmp.Diff(before, r.observe(), cmp.Comparer(equal[netip.Prefix]), cmp.Comparer(equal[netip.Addr])); diff != "" {
		t.Errorf("applying twice changed something (-once +twice):\n%s", diff)
	}

	if got := r.sysctl("net/ipv6/conf/all/forwarding") + r.sysctl("net/ipv6/conf/eth0/accept_ra"); got != "10" {
		t.Errorf("forwarding and accept_ra are %q, want 1 and 0", got)
	}
	if l := r.link("eth0").Attrs(); l.MTU != 1400 {
		t.Errorf("MTU is %d", l.MTU)
	}

	// All of it goes when it is not wanted any more.
	d = netcfg.Desired{}
	r.converge(d)
	r.settled(d)
	for _, x := range r.observe().Routes {
		if x.Protocol == netcfg.Protocol {
			t.Errorf("still there: %v", x)
		}
	}
}

func equal[T comparable](a, b T) bool { return a == b }

// What others added survives that ours comes and goes, even on our interface and under our pool.
func TestOthersAreLeftAlone(t *testing.T) {
	r, _ := router(t)
	r.addAddress("eth0", "2001:db8:0:9::9/64")
	r.addRoute("2001:db8:8000:4200::/56", "fe80::77", "eth0")
	r.addRoute("2001:db8:7::/48", "fe80::77", "eth0")
	theirs := func() (have []string) {
		o := r.observe()
		for _, a := range o.Addresses {
			if a.Protocol != netcfg.Protocol && !a.Prefix.Addr().IsLinkLocalUnicast() && !a.Prefix.Addr().IsLoopback() {
				have = append(have, a.Prefix.String())
			}
		}
		for _, x := range o.Routes {
			if x.Protocol == 3 {
				have = append(have, x.String())
			}
		}
		return have
	}
	want := []string{
		"2001:db8:0:9::9/64",
		"2001:db8:7::/48 via fe80::77 on eth0 metric 1024",
		"2001:db8:8000:4200::/56 via fe80::77 on eth0 metric 1024",
	}
	for _, d := range []netcfg.Desired{{}, desired(), {}} {
		r.converge(d)
		r.settled(d)
		got := theirs()
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("things of others (-want +got):\n%s", diff)
		}
	}
}

// D-257: right after a lease is committed its route is added, and removed at its end, without a plan. Doing it twice is fine.
func TestDelegatedRouteComesAndGoes(t *testing.T) {
	r, _ := router(t)
	for range 2 {
		r.apply(netcfg.RouteAdd{Route: delegation.Route()})
		want := []netcfg.ObservedRoute{{Route: delegation.Route(), Protocol: netcfg.Protocol}}
		if got := r.routes(delegation.Prefix); !slices.Equal(got, want) {
			t.Fatalf("routes %v, want %v", got, want)
		}
	}
	r.settled(netcfg.Desired{Delegations: []netcfg.Delegation{delegation}})

	moved := delegation
	moved.Via = addr("fe80::3")
	if errs := r.kernel.Apply([]netcfg.Op{netcfg.RouteAdd{Route: moved.Route()}}); len(errs) != 1 || !errors.Is(errs[0], unix.EEXIST) {
		t.Errorf("a second next hop: %v, want EEXIST", errs)
	}
	r.apply(netcfg.RouteDel{Route: delegation.Route()}, netcfg.RouteAdd{Route: moved.Route()})
	r.settled(netcfg.Desired{Delegations: []netcfg.Delegation{moved}})

	for range 2 {
		r.apply(netcfg.RouteDel{Route: moved.Route()})
		if got := r.routes(delegation.Prefix); len(got) != 0 {
			t.Fatalf("routes %v after the end of the lease", got)
		}
	}
}

// A route of another program is neither overwritten nor removed, whether the plan saw it or not.
func TestForeignRouteInTheWay(t *testing.T) {
	r, _ := router(t)
	r.addRoute(delegation.Prefix.String(), "fe80::77", "eth0")
	before := r.routes(delegation.Prefix)

	d := netcfg.Desired{Delegations: []netcfg.Delegation{delegation}}
	changes := netcfg.Plan(d, r.observe())
	if len(changes.Ops) != 0 || len(changes.Conflicts) != 1 {
		t.Errorf("plan %v, want one conflict", changes)
	}
	errs := r.kernel.Apply([]netcfg.Op{netcfg.RouteAdd{Route: delegation.Route()}})
	want := "could not add route 2001:db8:8000::/56 via fe80::2 on eth0 metric 1024: file exists (another route to the prefix has this metric; it is left alone)"
	if len(errs) != 1 || errs[0].Error() != want {
		t.Errorf("errors %v, want %q", errs, want)
	}
	// Even one that reads the same is not ours.
	if errs := r.kernel.Apply([]netcfg.Op{netcfg.RouteAdd{Route: before[0].Route}}); len(errs) != 1 || !errors.Is(errs[0], unix.EEXIST) {
		t.Errorf("errors %v, want EEXIST", errs)
	}
	r.apply(netcfg.RouteDel{Route: delegation.Route()}, netcfg.RouteDel{Route: before[0].Route})
	if got := r.routes(delegation.Prefix); !slices.Equal(got, before) {
		t.Errorf("routes %v, want %v", got, before)
	}
}

// A next hop that somebody appended to our route stays, and ours goes when its lease ends.
func TestAppendedNextHop(t *testing.T) {
	r, _ := router(t)
	d := netcfg.Desired{Delegations: []netcfg.Delegation{delegation}}
	r.converge(d)
	must(t, r.links.RouteAppend(r.route(delegation.Prefix.String(), "fe80::77", "eth0")))

	got := r.routes(delegation.Prefix)
	if len(got) != 2 || !got[0].Shared || !got[1].Shared {
		t.Fatalf("routes %v, want two next hops of one route", got)
	}
	if changes := netcfg.Plan(d, r.observe()); len(changes.Ops) != 0 || len(changes.Conflicts) != 1 {
		t.Errorf("plan %v, want one conflict", changes)
	}
	r.converge(netcfg.Desired{})
	r.settled(netcfg.Desired{})
	got = r.routes(delegation.Prefix)
	if len(got) != 1 || got[0].Via != addr("fe80::77") || got[0].Protocol == netcfg.Protocol {
		t.Errorf("routes %v, want the appended one only", got)
	}
}

// An address that somebody added with another prefix length is told as a conflict, and by Apply as an error.
func TestForeignAddressInTheWay(t *testing.T) {
	r, _ := router(t)
	r.addAddress("eth0", "2001:db8:0:1::1/48")
	d := netcfg.Desired{Interfaces: []netcfg.Interface{{Name: "eth0", Addresses: []netip.Prefix{prefix("2001:db8:0:1::1/64")}}}}
	if changes := netcfg.Plan(d, r.observe()); len(changes.Ops) != 0 || len(changes.Conflicts) != 1 {
		t.Errorf("plan %v, want one conflict", changes)
	}
	errs := r.kernel.Apply([]netcfg.Op{netcfg.AddrAdd{Interface: "eth0", Address: prefix("2001:db8:0:1::1/64")}})
	if len(errs) != 1 || !errors.Is(errs[0], unix.EEXIST) {
		t.Errorf("errors %v, want EEXIST", errs)
	}
}

// A duplicate address is seen and told.
func TestDuplicateAddress(t *testing.T) {
	r, peer := router(t)
	r.setSysctl("net/ipv6/conf/eth0/accept_dad", "1")
	peer.addAddress("eth0", "2001:db8:0:1::1/64")
	d := netcfg.Desired{Interfaces: []netcfg.Interface{{Name: "eth0", Addresses: []netip.Prefix{prefix("2001:db8:0:1::1/64")}}}}
	r.converge(d)
	eventually(t, "the duplicate is found", func() bool {
		changes := netcfg.Plan(d, r.observe())
		return len(changes.Ops) == 0 && len(changes.Conflicts) == 1 && strings.Contains(changes.Conflicts[0].Reason, "another node")
	})
}

// watched starts a watch that ends with the test and returns its changes.
func (n *namespace) watched() <-chan kernel.Change {
	n.t.Helper()
	changes := make(chan kernel.Change, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- n.kernel.Watch(ctx, func(c kernel.Change) {
			select {
			case changes <- c:
			case <-ctx.Done():
			}
		})
	}()
	n.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			n.t.Errorf("watch: %v", err)
		}
	})
	if c := n.await(changes, "the beginning of the watch", func(kernel.Change) bool { return true }); c.Kind != kernel.Resync {
		n.t.Fatalf("the first change is %v, want a resync", c)
	}
	return changes
}

// await returns the first change that is wanted.
func (n *namespace) await(changes <-chan kernel.Change, what string, wanted func(kernel.Change) bool) kernel.Change {
	n.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case c := <-changes:
			if wanted(c) {
				return c
			}
		case <-timeout:
			n.t.Fatalf("waited %s for: %s", patience, what)
		}
	}
}

// convergeUntil plans and applies at each change until the plan has nothing more to do and wait for.
func (n *namespace) convergeUntil(changes <-chan kernel.Change, d netcfg.Desired) {
	n.t.Helper()
	n.await(changes, "a plan without anything to do", func(kernel.Change) bool {
		c := n.converge(d)
		return len(c.Ops)+len(c.Pending)+len(c.Conflicts) == 0
	})
	n.settled(d)
}

// D-258: the client's side of the cable is dead, and the route stays.
func TestRouteStaysWithoutCarrier(t *testing.T) {
	r, peer := router(t)
	d := netcfg.Desired{Delegations: []netcfg.Delegation{delegation}}
	r.converge(d)
	before := r.routes(delegation.Prefix)
	peer.setDown("eth0")
	eventually(t, "the carrier is lost", func() bool {
		return slices.ContainsFunc(r.observe().Links, func(l netcfg.Link) bool { return l.Name == "eth0" && l.Up && !l.Carrier })
	})
	r.settled(d)
	if got := r.routes(delegation.Prefix); !slices.Equal(got, before) {
		t.Errorf("routes %v, want %v", got, before)
	}
}

// D-258: the kernel drops the routes and addresses of an interface that goes down; they are back when it is up again.
func TestLinkDownUp(t *testing.T) {
	r, _ := router(t)
	t.Run("interface of somebody else", func(t *testing.T) {
		d := netcfg.Desired{Delegations: []netcfg.Delegation{delegation}, Aggregates: []netip.Prefix{pool}}
		r.converge(d)
		changes := r.watched()
		r.setDown("eth0")
		r.await(changes, "eth0 down", func(c kernel.Change) bool { return c == kernel.Change{Kind: kernel.LinkChanged, Interface: "eth0"} })
		if got := r.routes(delegation.Prefix); len(got) != 0 {
			t.Fatalf("the kernel kept %v", got)
		}
		plan := r.converge(d)
		want := netcfg.Pending{Interface: "eth0", Down: true, Routes: 1}
		if len(plan.Ops) != 0 || len(plan.Pending) != 1 || plan.Pending[0] != want {
			t.Fatalf("plan %v while down, want only %v", plan, want)
		}
		r.setUp("eth0")
		r.convergeUntil(changes, d)
		if got := r.routes(delegation.Prefix); len(got) != 1 || got[0].Route != delegation.Route() {
			t.Errorf("routes %v after the interface is up again", got)
		}
	})
	t.Run("configured interface", func(t *testing.T) {
		d := desired()
		r.converge(d)
		changes := r.watched()
		r.setDown("eth0")
		r.await(changes, "eth0 down", func(c kernel.Change) bool { return c.Kind == kernel.LinkChanged })
		r.convergeUntil(changes, d) // sets it up, too
	})
}

// An interface may appear after the start (USB, a slow driver) and go away.
func TestInterfaceAppearsLater(t *testing.T) {
	r, peer := newNamespace(t, "router"), newNamespace(t, "peer")
	d := desired()
	plan := r.converge(d)
	want := []netcfg.Pending{{Interface: "eth0", Addresses: 2, Routes: 4}}
	if !slices.Equal(plan.Pending, want) {
		t.Fatalf("pending %v, want %v", plan.Pending, want)
	}
	if got := r.routes(pool); len(got) != 1 {
		t.Fatalf("the pool's unreachable route does not wait for an interface: %v", got)
	}
	changes := r.watched()
	connect(r, "eth0", peer, "eth0")
	r.convergeUntil(changes, d)

	must(t, r.links.LinkDel(r.link("eth0")))
	r.await(changes, "eth0 gone", func(kernel.Change) bool { return len(netcfg.Plan(d, r.observe()).Pending) > 0 })
	errs := r.kernel.Apply([]netcfg.Op{
		netcfg.RouteAdd{Route: delegation.Route()}, netcfg.LinkSetUp{Interface: "eth0"},
		netcfg.RouteDel{Route: delegation.Route()}, netcfg.AddrDel{Interface: "eth0", Address: prefix("2001:db8::1/64")},
	})
	if len(errs) != 2 || !errors.Is(errs[0], unix.ENODEV) || errs[1].Error() != "could not set eth0 up: there is no such interface: no such device" {
		t.Errorf("errors %v, want two that miss the interface", errs)
	}
}

// Others' changes of routes are reported, our own are not.
func TestWatchRoutes(t *testing.T) {
	r, _ := router(t)
	changes := r.watched()
	other := prefix("2001:db8:7::/48")
	r.apply(netcfg.RouteAdd{Route: delegation.Route()})
	r.addRoute(other.String(), "fe80::77", "eth0")
	r.await(changes, "the other's route", func(c kernel.Change) bool {
		if c.Kind == kernel.RouteChanged && c.Prefix == delegation.Prefix {
			t.Errorf("our own change is reported: %v", c)
		}
		return c == kernel.Change{Kind: kernel.RouteChanged, Prefix: other}
	})
	stolen := r.route(delegation.Prefix.String(), "fe80::2", "eth0")
	must(t, r.links.RouteDel(stolen))
	r.await(changes, "our route is removed by somebody", func(c kernel.Change) bool { return c.Prefix == delegation.Prefix })
	r.addAddress("eth0", "2001:db8:0:9::9/64")
	r.await(changes, "an address", func(c kernel.Change) bool {
		return c == kernel.Change{Kind: kernel.AddressChanged, Prefix: prefix("2001:db8:0:9::9/64")}
	})
}

// When more happens than the buffer holds, a resync tells so.
func TestWatchOverrun(t *testing.T) {
	r, _ := router(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	begun, goOn := make(chan bool), make(chan bool)
	resyncs := 0
	done := make(chan error, 1)
	go func() {
		done <- r.kernel.Watch(ctx, func(c kernel.Change) {
			if c.Kind != kernel.Resync {
				return
			}
			if resyncs++; resyncs == 1 {
				begun <- true
				<-goOn
				return
			}
			cancel()
		})
	}()
	select {
	case <-begun:
	case <-time.After(patience):
		t.Fatal("the watch does not begin with a resync")
	}
	for n := range 10_000 {
		p := delegated(n).Prefix.String()
		r.addRoute(p, "fe80::77", "eth0")
	}
	close(goOn)
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(patience):
		t.Fatal("no resync")
	}
	if resyncs != 2 {
		t.Errorf("%d resyncs, want the first and one for the overrun", resyncs)
	}
}

// delegated returns the n-th delegation.
func delegated(n int) netcfg.Delegation {
	a := pool.Addr().As16()
	a[4], a[5], a[6], a[7] = a[4]|byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	return netcfg.Delegation{Prefix: netip.PrefixFrom(netip.AddrFrom16(a), 64), Via: addr("fe80::2"), Interface: "eth0"}
}

// A kernel parameter is written only when it differs; what is wrong is told.
func TestSysctl(t *testing.T) {
	r, _ := router(t)
	const forwarding = "net/ipv6/conf/all/forwarding"
	r.apply(netcfg.SysctlSet{Name: forwarding, Value: "1"})
	r.setSysctl("net/ipv6/conf/eth0/forwarding", "0")
	r.apply(netcfg.SysctlSet{Name: forwarding, Value: "1"}) // a write would set eth0's again
	if got := r.sysctl("net/ipv6/conf/eth0/forwarding"); got != "0" {
		t.Errorf("the parameter was written although it had the value")
	}
	if !r.observe().Forwarding {
		t.Errorf("forwarding is not observed")
	}

	errs := r.kernel.Apply([]netcfg.Op{
		netcfg.SysctlSet{Name: "net/ipv6/conf/eth9/accept_ra", Value: "0"},
		netcfg.SysctlSet{Name: "../../etc/passwd", Value: "0"},
		netcfg.SysctlSet{Name: forwarding, Value: "maybe"},
	})
	if len(errs) != 3 || !errors.Is(errs[0], fs.ErrNotExist) || !errors.Is(errs[2], unix.EINVAL) {
		t.Fatalf("errors %v", errs)
	}
	if got := errs[1].Error(); !strings.Contains(got, "does not name a kernel parameter") {
		t.Errorf("error %q", got)
	}
}

// The kernel's own explanation is part of an error, and many alike errors are counted.
func TestApplyErrors(t *testing.T) {
	r, _ := router(t)
	r.setDown("eth0")
	var many []netcfg.Op
	for n := range kernel.MaxErrors + 50 {
		many = append(many, netcfg.RouteAdd{Route: delegated(n).Route()})
	}
	errs := r.kernel.Apply(many)
	if len(errs) != kernel.MaxErrors+1 || !errors.Is(errs[0], unix.ENETDOWN) {
		t.Fatalf("%d errors, the first %v", len(errs), errs[0])
	}
	if got := errs[kernel.MaxErrors].Error(); got != "50 more changes to the network configuration failed" {
		t.Errorf("last error %q", got)
	}
	r.setUp("eth0")
	errs = r.kernel.Apply([]netcfg.Op{
		netcfg.RouteAdd{Route: netcfg.Route{To: prefix("2001:db8:1::/48"), Via: addr("2001:db8:99::1"), Metric: 1024}},
		netcfg.LinkSetMTU{Interface: "eth0", MTU: 1},
	})
	if len(errs) != 2 || !errors.Is(errs[0], unix.EHOSTUNREACH) && !errors.Is(errs[0], unix.ENETUNREACH) || !errors.Is(errs[1], unix.EINVAL) {
		t.Fatalf("errors %v", errs)
	}
	for _, err := range errs {
		t.Log(err)
	}
}

func TestObserveLinks(t *testing.T) {
	r, peer := router(t)
	want := r.link("eth0").Attrs()
	queue, err := strconv.Atoi(r.sysctl("net/ipv6/neigh/eth0/unres_qlen_bytes"))
	must(t, err)
	eventually(t, "the carrier", func() bool {
		return slices.Contains(r.observe().Links, netcfg.Link{
			Index: want.Index, Name: "eth0", Up: true, Carrier: true, MTU: 1500,
			HardwareAddr: want.HardwareAddr.String(), AcceptRA: 1, NeighborQueueBytes: queue,
		})
	})
	// An address with a peer is told by its own side.
	a, err := netlink.ParseAddr("2001:db8::1/128")
	must(t, err)
	far, err := netlink.ParseAddr("2001:db8::2/128")
	must(t, err)
	a.Peer = far.IPNet
	must(t, peer.links.AddrAdd(peer.link("eth0"), a))
	eventually(t, "the address, not tentative", func() bool {
		return slices.Contains(peer.observe().Addresses, netcfg.Address{Interface: "eth0", Prefix: prefix("2001:db8::1/128")})
	})
}

// TestManyRoutes shows that a full table is applied, observed and settled.
func TestManyRoutes(t *testing.T) {
	r, _ := router(t)
	var d netcfg.Desired
	for n := range 20_000 {
		d.Delegations = append(d.Delegations, delegated(n))
	}
	r.converge(d)
	r.settled(d)
	d.Delegations = d.Delegations[:10_000]
	if changes := r.converge(d); len(changes.Ops) != 10_000 {
		t.Errorf("%d operations", len(changes.Ops))
	}
	r.settled(d)
}

func BenchmarkRoutes(b *testing.B) {
	const routes = 100_000
	r, peer := newNamespace(b, "router"), newNamespace(b, "peer")
	connect(r, "eth0", peer, "eth0")
	r.setUp("eth0")
	var adds, dels []netcfg.Op
	for n := range routes {
		adds = append(adds, netcfg.RouteAdd{Route: delegated(n).Route()})
		dels = append(dels, netcfg.RouteDel{Route: delegated(n).Route()})
	}
	perRoute := func(b *testing.B, f func()) {
		for b.Loop() {
			f()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/routes, "ns/route")
	}
	b.Run("add100k", func(b *testing.B) {
		perRoute(b, func() {
			r.apply(adds...)
			b.StopTimer()
			r.apply(dels...)
			b.StartTimer()
		})
	})
	r.apply(adds...)
	b.Run("observe100k", func(b *testing.B) {
		b.ReportAllocs()
		perRoute(b, func() { r.observe() })
	})
	b.Run("renew", func(b *testing.B) { // one route that is there already, next to 100k others
		for b.Loop() {
			r.apply(adds[4711])
		}
	})
}
