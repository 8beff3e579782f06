package netcfg_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/tandem6/tandem6/netcfg"
	"pgregory.net/rapid"
)

// model is the kernel as far as this package knows it, with the rules that the privileged tests of netcfg/kernel
// show of the real one.
type model struct {
	forwarding bool
	links      map[string]netcfg.Link
	addresses  []netcfg.Address
	routes     []modelRoute
	filter     netcfg.SourceFilter
	paths      map[int]netcfg.ReturnPath
	unreflects bool
	thresholds [3]int
}

// modelRoute is one next hop. Those with equal destination and metric are shown as one shared route.
type modelRoute struct {
	netcfg.Route
	protocol uint8 // its own
}

func (r modelRoute) sameKey(o netcfg.Route) bool { return r.To == o.To && r.Metric == o.Metric }

func (m *model) clone() *model {
	return &model{
		forwarding: m.forwarding, links: maps.Clone(m.links),
		addresses: slices.Clone(m.addresses), routes: slices.Clone(m.routes),
		filter: m.filter, paths: maps.Clone(m.paths), unreflects: m.unreflects, thresholds: m.thresholds,
	}
}

func (m *model) observe() netcfg.Observed {
	o := netcfg.Observed{
		Forwarding: m.forwarding, Addresses: slices.Clone(m.addresses),
		Filter: m.filter, MarksUnreflected: m.unreflects, NeighborThresholds: m.thresholds,
	}
	for _, p := range m.paths {
		o.ReturnPaths = append(o.ReturnPaths, p)
	}
	for _, l := range m.links {
		o.Links = append(o.Links, l)
	}
	for _, r := range m.routes {
		hops, first := 0, r.protocol
		for _, s := range m.routes {
			if s.sameKey(r.Route) {
				if hops++; hops == 1 {
					first = s.protocol
				}
			}
		}
		o.Routes = append(o.Routes, netcfg.ObservedRoute{Route: r.Route, Protocol: first, Shared: hops > 1})
	}
	return o
}

// apply does op as the kernel would. Where package netcfg/kernel takes an error for convergence ("it is gone
// already") apply returns errConverged, as a plan has no reason for such an operation.
func (m *model) apply(op netcfg.Op) error {
	switch op := op.(type) {
	case netcfg.SysctlSet:
		return m.setSysctl(op)
	case netcfg.LinkSetMTU:
		return m.setLink(op.Interface, func(l *netcfg.Link) { l.MTU = op.MTU })
	case netcfg.LinkSetUp:
		return m.setLink(op.Interface, func(l *netcfg.Link) { l.Up = true })
	case netcfg.AddrAdd:
		if _, exists := m.links[op.Interface]; !exists {
			return errors.New("no such interface")
		}
		for _, a := range m.addresses {
			if a.Interface == op.Interface && a.Prefix.Addr() == op.Address.Addr() {
				return errors.New("address exists")
			}
		}
		m.addresses = append(m.addresses, netcfg.Address{Interface: op.Interface, Prefix: op.Address, Protocol: netcfg.Protocol})
	case netcfg.AddrDel:
		n := slices.IndexFunc(m.addresses, func(a netcfg.Address) bool { return a.Interface == op.Interface && a.Prefix == op.Address })
		if n < 0 {
			return errConverged
		}
		m.addresses = slices.Delete(m.addresses, n, n+1)
	case netcfg.RouteAdd:
		return m.addRoute(op.Route)
	case netcfg.RouteDel:
		n := slices.IndexFunc(m.routes, func(r modelRoute) bool { return r.Route == op.Route && r.protocol == netcfg.Protocol })
		if n < 0 {
			return errConverged
		}
		m.routes = slices.Delete(m.routes, n, n+1)
	case netcfg.FilterSet:
		return m.setFilter(op)
	case netcfg.ReturnPathAdd:
		l, exists := m.links[op.Interface]
		if !exists || !l.Up {
			return fmt.Errorf("interface %s is not up", op.Interface)
		}
		m.paths[l.Index] = netcfg.ReturnPath{Index: l.Index, Rule: true, Route: true}
	case netcfg.ReturnPathDel:
		if _, exists := m.paths[op.Index]; !exists {
			return errConverged
		}
		delete(m.paths, op.Index)
	default:
		return fmt.Errorf("the model does not know %T", op)
	}
	return nil
}

func (m *model) setFilter(op netcfg.FilterSet) error {
	if m.filter.State == netcfg.FilterUnusable {
		return errors.New("no packet filter")
	}
	m.filter = netcfg.SourceFilter{}
	if names := op.Names(); len(names) > 0 {
		m.filter = netcfg.SourceFilter{State: netcfg.FilterIntact, Interfaces: names}
	}
	return nil
}

var errConverged = errors.New("it is gone already")

func (m *model) setSysctl(op netcfg.SysctlSet) error {
	if op.Name == "net/ipv6/conf/all/forwarding" {
		m.forwarding = op.Value == "1"
		return nil
	}
	if op.Name == "net/ipv6/fwmark_reflect" {
		m.unreflects = op.Value == "0"
		return nil
	}
	dirs := strings.Split(op.Name, "/")
	switch name, key := dirs[3], dirs[4]; key {
	case "accept_ra":
		return m.setLink(name, func(l *netcfg.Link) { fmt.Sscan(op.Value, &l.AcceptRA) })
	case "unres_qlen_bytes":
		return m.setLink(name, func(l *netcfg.Link) { fmt.Sscan(op.Value, &l.NeighborQueueBytes) })
	default:
		var n int
		if _, err := fmt.Sscanf(key, "gc_thresh%d", &n); err != nil || m.thresholds[n-1] == 0 {
			return fmt.Errorf("no parameter %s", op.Name)
		}
		fmt.Sscan(op.Value, &m.thresholds[n-1])
		return nil
	}
}

func (m *model) setLink(name string, set func(*netcfg.Link)) error {
	l, exists := m.links[name]
	if !exists {
		return fmt.Errorf("no interface %s", name)
	}
	set(&l)
	m.links[name] = l
	return nil
}

func (m *model) addRoute(r netcfg.Route) error {
	for _, have := range m.routes {
		if have.sameKey(r) {
			return fmt.Errorf("route exists: %s", have.Route)
		}
	}
	if r.Type == netcfg.Unicast && r.Interface == "" {
		for _, a := range m.addresses {
			if a.Prefix.Masked().Contains(r.Via) && m.links[a.Interface].Up {
				r.Interface = a.Interface
			}
		}
	}
	if r.Type == netcfg.Unicast && !m.links[r.Interface].Up {
		return fmt.Errorf("interface %q is not up", r.Interface)
	}
	m.routes = append(m.routes, modelRoute{Route: r, protocol: netcfg.Protocol})
	return nil
}

// world is a model and a wish, drawn from small sets so that things meet.
type world struct {
	desired netcfg.Desired
	kernel  *model
	shared  bool // somebody appended next hops to routes
}

var (
	names = []string{"eth0", "eth1", "eth2", "eth3"}
	hosts = []netip.Prefix{
		prefix("2001:db8:0:1::1/64"), prefix("2001:db8:0:1::1/48"), prefix("2001:db8:0:2::1/64"),
		prefix("fe80::1/64"), prefix("2001:db8:8000:100::1/57"),
	}
	prefixes = []netip.Prefix{
		prefix("2001:db8:8000::/56"), prefix("2001:db8:8000:100::/56"), prefix("2001:db8:8000:180::/60"),
		prefix("2001:db8:8000::/40"), prefix("2001:db8:9000::/40"), prefix("::/0"),
	}
	nextHops  = []netip.Addr{addr("fe80::2"), addr("fe80::3"), addr("2001:db8:0:1::7")}
	metrics   = []uint32{0, 100, 1024, netcfg.AggregateMetric}
	protocols = []uint8{netcfg.Protocol, netcfg.Protocol, 2, 4, 186}
)

func drawWorld(t *rapid.T) world {
	one := func(label string) bool { return rapid.Bool().Draw(t, label) }
	name := func() string { return rapid.SampledFrom(names).Draw(t, "interface") }
	times := func(most int, label string, f func()) {
		for range rapid.IntRange(0, most).Draw(t, label) {
			f()
		}
	}
	w := world{kernel: &model{forwarding: one("forwarding"), links: make(map[string]netcfg.Link)}}
	for n, name := range names {
		if one("exists") {
			w.kernel.links[name] = netcfg.Link{Index: n + 2, Name: name, Up: one("up"), MTU: 1500, AcceptRA: rapid.IntRange(-1, 2).Draw(t, "accept_ra"),
				NeighborQueueBytes: rapid.SampledFrom([]int{0, 1000, 212992}).Draw(t, "queue")}
		}
	}
	w.kernel.drawValidation(t)
	times(6, "addresses", func() {
		a := netcfg.Address{
			Interface: name(), Prefix: rapid.SampledFrom(hosts).Draw(t, "address"),
			Protocol: rapid.SampledFrom(protocols).Draw(t, "protocol"),
		}
		if _, exists := w.kernel.links[a.Interface]; exists && !slices.ContainsFunc(w.kernel.addresses, func(b netcfg.Address) bool {
			return a.Interface == b.Interface && a.Prefix.Addr() == b.Prefix.Addr()
		}) {
			w.kernel.addresses = append(w.kernel.addresses, a)
		}
	})
	w.shared = rapid.IntRange(0, 9).Draw(t, "shared") == 0
	times(12, "routes", func() {
		r := netcfg.Route{
			To: rapid.SampledFrom(prefixes).Draw(t, "to"), Via: rapid.SampledFrom(nextHops).Draw(t, "via"), Interface: name(),
			Metric: rapid.SampledFrom(metrics[1:]).Draw(t, "metric"),
		}
		if rapid.IntRange(0, 3).Draw(t, "type") == 0 {
			r = netcfg.Route{To: r.To, Type: netcfg.Unreachable, Metric: r.Metric}
		} else if !w.kernel.links[r.Interface].Up {
			return
		}
		protocol := rapid.SampledFrom(protocols).Draw(t, "protocol")
		for _, have := range w.kernel.routes {
			if !have.sameKey(r) {
				continue
			}
			if !w.shared || have.Route == r || r.Type != netcfg.Unicast || have.Type != netcfg.Unicast || protocol == netcfg.Protocol {
				return // we append to no route, and the kernel only next hops
			}
		}
		w.kernel.routes = append(w.kernel.routes, modelRoute{Route: r, protocol: protocol})
	})

	w.desired.Forwarding = one("want forwarding")
	w.desired.SourceValidation = rapid.SliceOfN(rapid.SampledFrom(names), 0, 3).Draw(t, "validated")
	for _, name := range names {
		if one("configured") {
			w.desired.Interfaces = append(w.desired.Interfaces, netcfg.Interface{
				Name: name, Up: one("want up"), MTU: rapid.SampledFrom([]int{0, 1280, 1500}).Draw(t, "mtu"),
				Addresses: rapid.SliceOfNDistinct(rapid.SampledFrom(hosts), 0, 3, netip.Prefix.Addr).Draw(t, "addresses"),
				AcceptRA:  netcfg.AcceptRA(rapid.IntRange(0, 2).Draw(t, "want accept_ra")),
				Serves:    one("serves"),
			})
		}
	}
	times(3, "static routes", func() {
		w.desired.Routes = append(w.desired.Routes, netcfg.Route{
			To: rapid.SampledFrom(prefixes).Draw(t, "to"), Via: rapid.SampledFrom(nextHops).Draw(t, "via"), Interface: name(),
			Metric: rapid.SampledFrom(metrics).Draw(t, "metric"),
		})
	})
	w.desired.Aggregates = rapid.SliceOfNDistinct(rapid.SampledFrom(prefixes), 0, 2, rapid.ID).Draw(t, "pools")
	for _, p := range rapid.SliceOfNDistinct(rapid.SampledFrom(prefixes), 0, len(prefixes), rapid.ID).Draw(t, "delegated") {
		w.desired.Delegations = append(w.desired.Delegations, netcfg.Delegation{Prefix: p, Via: rapid.SampledFrom(nextHops).Draw(t, "via"), Interface: name()})
	}
	return w
}

// drawValidation gives m whatever may be left of validation and neighbour limits from before.
func (m *model) drawValidation(t *rapid.T) {
	m.filter.State = netcfg.FilterState(rapid.IntRange(0, 3).Draw(t, "filter"))
	if m.filter.State == netcfg.FilterIntact {
		m.filter.Interfaces = slices.Sorted(slices.Values(rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 3, rapid.ID).Draw(t, "filtered")))
	}
	m.unreflects = rapid.Bool().Draw(t, "unreflects")
	m.paths = make(map[int]netcfg.ReturnPath)
	for _, index := range rapid.SliceOfNDistinct(rapid.IntRange(1, 7), 0, 3, rapid.ID).Draw(t, "paths") {
		m.paths[index] = netcfg.ReturnPath{Index: index, Rule: true, Route: rapid.Bool().Draw(t, "route of path")}
	}
	m.thresholds = rapid.SampledFrom([][3]int{{}, {128, 512, 1024}, {128, 9000, 1 << 20}}).Draw(t, "thresholds")
}

// TestPlanConverges shows for random worlds: every operation of a plan succeeds, the plan after it is empty, it touches
// nothing of others, and whatever is wanted is there, pending or a conflict.
func TestPlanConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		before := w.kernel.clone()
		rounds := 1
		if w.shared {
			rounds = 2 // of a shared route the kernel does not tell which next hops are ours; removing shows it
		}
		for range rounds {
			for _, op := range netcfg.Plan(w.desired, w.kernel.observe()).Ops {
				if err := w.kernel.apply(op); err != nil && !w.shared {
					t.Fatalf("%s: %v", op, err)
				}
			}
		}
		after := netcfg.Plan(w.desired, w.kernel.observe())
		if len(after.Ops) > 0 {
			t.Fatalf("still to do: %v", after.Ops)
		}
		checkForeign(t, before, w.kernel)
		checkWanted(t, w, after)
	})
}

// checkForeign holds that everything that is not ours, and every link that is not configured, is as before.
func checkForeign(t *rapid.T, before, after *model) {
	foreign := func(m *model) (kept []string) {
		for _, a := range m.addresses {
			if a.Protocol != netcfg.Protocol {
				kept = append(kept, fmt.Sprint(a))
			}
		}
		for _, r := range m.routes {
			if r.protocol != netcfg.Protocol {
				kept = append(kept, fmt.Sprint(r))
			}
		}
		return kept
	}
	if diff := cmp.Diff(foreign(before), foreign(after)); diff != "" {
		t.Fatalf("things of others changed (-before +after):\n%s", diff)
	}
	for name, l := range before.links {
		if l.Up && !after.links[name].Up {
			t.Fatalf("%s was set down", name)
		}
	}
}

// checkWanted holds that the kernel has what is desired, save what the plan says it cannot have.
func checkWanted(t *rapid.T, w world, after netcfg.Changes) {
	told := func(what string) bool {
		return slices.ContainsFunc(after.Conflicts, func(c netcfg.Conflict) bool { return strings.Contains(c.Wanted, what) })
	}
	waits := func(name string) bool {
		return slices.ContainsFunc(after.Pending, func(p netcfg.Pending) bool { return p.Interface == name })
	}
	owned := 0
	for _, i := range w.desired.Interfaces {
		l, exists := w.kernel.links[i.Name]
		if i.Serves && (l.NeighborQueueBytes > netcfg.NeighborQueueBytes || w.kernel.thresholds[2] > 0 && w.kernel.thresholds[2] < netcfg.NeighborsMost) {
			t.Fatalf("neighbours of %+v are not limited, or %v are too few", l, w.kernel.thresholds)
		}
		if !exists {
			if !waits(i.Name) {
				t.Fatalf("nobody says that %s is missing", i.Name)
			}
			continue
		}
		if i.Up && !l.Up || i.MTU != 0 && i.MTU != l.MTU {
			t.Fatalf("%+v does not fit %+v", l, i)
		}
		for _, a := range i.Addresses {
			have := slices.ContainsFunc(w.kernel.addresses, func(h netcfg.Address) bool { return h.Interface == i.Name && h.Prefix == a })
			if !have && !told(a.String()) {
				t.Fatalf("address %s of %s is missing", a, i.Name)
			}
		}
	}
	for _, d := range w.desired.Delegations {
		have := slices.ContainsFunc(w.kernel.routes, func(r modelRoute) bool { return r.Route == d.Route() })
		if !have && !told(d.Route().String()) && !waits(d.Interface) {
			t.Fatalf("route of %v is missing", d)
		}
	}
	for _, r := range w.kernel.routes {
		if r.protocol == netcfg.Protocol {
			owned++
		}
	}
	if most := len(w.desired.Routes) + len(w.desired.Aggregates) + len(w.desired.Delegations); owned > most {
		t.Fatalf("%d routes of ours, %d wanted", owned, most)
	}
	if w.kernel.forwarding != w.desired.Forwarding {
		t.Fatalf("forwarding is %v", w.kernel.forwarding)
	}
	checkValidation(t, w, told("validate source addresses"))
}

// checkValidation holds that the filter has the interfaces that are wanted, save when a conflict was told because the kernel has
// none, and that the interfaces that are up, and no others, have return paths.
func checkValidation(t *rapid.T, w world, told bool) {
	want := slices.Compact(slices.Sorted(slices.Values(w.desired.SourceValidation)))
	if told != (w.kernel.filter.State == netcfg.FilterUnusable && len(want) > 0) {
		t.Fatalf("conflict told: %v, filter %+v", told, w.kernel.filter)
	}
	if w.kernel.filter.State == netcfg.FilterUnusable {
		want = nil
	} else if !slices.Equal(w.kernel.filter.Interfaces, want) || w.kernel.filter.State == netcfg.FilterAltered {
		t.Fatalf("filter %+v, want %v", w.kernel.filter, want)
	}
	if len(want) > 0 && w.kernel.unreflects {
		t.Fatalf("marks are not reflected")
	}
	for _, name := range names {
		l, exists := w.kernel.links[name]
		path, has := w.kernel.paths[l.Index]
		wanted := exists && slices.Contains(want, name)
		if has && !wanted || wanted && l.Up && !path.Route {
			t.Fatalf("return path of %+v: %+v, wanted %v", l, path, wanted)
		}
	}
}

// TestPlanIgnoresOrder shows that a plan depends on what the kernel has, not on the order in which it lists it.
func TestPlanIgnoresOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		observed := w.kernel.observe()
		want := netcfg.Plan(w.desired, observed)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		r.Shuffle(len(observed.Links), func(a, b int) { observed.Links[a], observed.Links[b] = observed.Links[b], observed.Links[a] })
		r.Shuffle(len(observed.ReturnPaths), func(a, b int) {
			observed.ReturnPaths[a], observed.ReturnPaths[b] = observed.ReturnPaths[b], observed.ReturnPaths[a]
		})
		r.Shuffle(len(observed.Addresses), func(a, b int) {
			observed.Addresses[a], observed.Addresses[b] = observed.Addresses[b], observed.Addresses[a]
		})
		r.Shuffle(len(observed.Routes), func(a, b int) { observed.Routes[a], observed.Routes[b] = observed.Routes[b], observed.Routes[a] })
		sameOp := cmp.Comparer(func(a, b netcfg.Op) bool { return a == b })
		if diff := cmp.Diff(want, netcfg.Plan(w.desired, observed), sameOp, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("another plan (-before +after):\n%s", diff)
		}
	})
}
