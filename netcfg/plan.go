package netcfg

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Plan returns what turns observed into desired. The result depends on the values only, not on the order in which
// observed lists them. Time and memory are linear in the number of routes, save for sorting those that change.
//
// Interfaces come first (their routes need them up), then addresses (gateways are found through them), then routes,
// each new one before the next old one goes, then source validation, which follows the routes. Forwarding is turned on last,
// so that no packet to a delegated prefix can leave upstream before the pools' unreachable routes are there, nor any packet
// with a forged source, and turned off first.
func Plan(desired Desired, observed Observed) Changes {
	p := planner{desired: desired, observed: observed, links: make(map[string]linkState, len(observed.Links))}
	for _, l := range observed.Links {
		p.links[l.Name] = linkState{Link: l, willBeUp: l.Up}
	}
	if observed.Forwarding && !desired.Forwarding {
		p.changes.add(forwardingOp(false))
	}
	p.planInterfaces()
	p.planAddresses()
	p.planRoutes()
	p.planSourceValidation()
	if !observed.Forwarding && desired.Forwarding {
		p.changes.add(forwardingOp(true))
	}
	return p.changes
}

type planner struct {
	desired    Desired
	observed   Observed
	links      map[string]linkState
	interfaces []Interface // the valid ones of desired, sorted by name
	changes    Changes
}

type linkState struct {
	Link
	willBeUp bool // it is up, or an operation sets it up
}

func (p *planner) planInterfaces() {
	serves := false
	sorted := slices.Clone(p.desired.Interfaces)
	slices.SortStableFunc(sorted, func(a, b Interface) int { return strings.Compare(a.Name, b.Name) })
	for n, i := range sorted {
		if err := i.Validate(); err != nil {
			p.changes.conflict(interfaceName(i.Name), "refused: %v", err)
			continue
		}
		if n > 0 && sorted[n-1].Name == i.Name {
			p.changes.conflict(interfaceName(i.Name), "configured twice; only the first is used")
			continue
		}
		p.interfaces = append(p.interfaces, i)
		serves = serves || i.Serves
		link, exists := p.links[i.Name]
		if !exists {
			p.changes.pending(i.Name, false).Addresses = len(i.Addresses)
			continue
		}
		if i.MTU != 0 && i.MTU != link.MTU {
			p.changes.add(LinkSetMTU{Interface: i.Name, MTU: i.MTU})
		}
		if i.AcceptRA != AcceptRAUnmanaged && i.AcceptRA.sysctl() != link.AcceptRA {
			p.changes.add(acceptRAOp(i.Name, i.AcceptRA))
		}
		if i.Up && !link.Up {
			p.changes.add(LinkSetUp{Interface: i.Name})
			link.willBeUp = true
			p.links[i.Name] = link
		}
		if i.Serves {
			p.planNeighborQueue(link.Link)
		}
	}
	if serves {
		p.planNeighborThresholds()
	}
}

type interfaceName string

func (n interfaceName) String() string { return "interface " + string(n) }

// addressKey is what the kernel holds unique among addresses: their length is not part of it.
type addressKey struct {
	name string
	addr netip.Addr
}

// planAddresses plans removals before additions: the same address may move to another port of the same network, and
// would fail its duplicate address detection against its old self.
func (p *planner) planAddresses() {
	have := make(map[addressKey]Address, len(p.observed.Addresses))
	for _, a := range p.observed.Addresses {
		have[addressKey{a.Interface, a.Prefix.Addr()}] = a
	}
	keep := make(map[addressKey]bool)
	var adds []Op
	for _, i := range p.interfaces {
		if _, exists := p.links[i.Name]; !exists {
			continue
		}
		for _, a := range i.Addresses {
			key := addressKey{i.Name, a.Addr()}
			old, exists := have[key]
			add := AddrAdd{Interface: i.Name, Address: a}
			switch {
			case !exists || old.Protocol == Protocol && old.Prefix != a:
				adds = append(adds, add)
			case old.Prefix != a:
				p.changes.conflict(add, "another program added it as %s", old.Prefix)
			case old.DADFailed:
				p.changes.conflict(add, "another node on the link already has this address (duplicate address detection failed); "+
					"give one of the two another address, then unplug and plug the cable")
			}
			keep[key] = !exists || old.Prefix == a
		}
	}

	var dels []Op
	for _, a := range p.observed.Addresses {
		if a.Protocol == Protocol && !keep[addressKey{a.Interface, a.Prefix.Addr()}] {
			dels = append(dels, AddrDel{Interface: a.Interface, Address: a.Prefix})
		}
	}
	slices.SortFunc(dels, func(a, b Op) int {
		x, y := a.(AddrDel), b.(AddrDel)
		return cmp.Or(strings.Compare(x.Interface, y.Interface), x.Address.Compare(y.Address))
	})
	p.changes.add(dels...)
	p.changes.add(adds...)
}

// routeKey is what the kernel holds unique among routes. It is kept free of pointers: there are a million of them.
type routeKey struct {
	addr   [16]byte
	bits   uint8
	metric uint32
}

func keyOf(r Route) routeKey {
	return routeKey{addr: r.To.Addr().As16(), bits: uint8(r.To.Bits()), metric: r.Metric}
}

// wantedRoute is a route to be had, and what the kernel has under its key.
type wantedRoute struct {
	Route
	present bool
	foreign *ObservedRoute  // not ours
	stale   []ObservedRoute // ours, but with another next hop
}

func (p *planner) planRoutes() {
	wanted, index := p.wantedRoutes()
	var gone []Op
	for _, r := range p.observed.Routes {
		n, found := index[keyOf(r.Route)]
		switch {
		case !found && r.Protocol == Protocol:
			gone = append(gone, RouteDel{Route: r.Route})
		case !found:
		case r.Protocol != Protocol:
			wanted[n].meetForeign(r)
		case satisfies(r.Route, wanted[n].Route):
			wanted[n].present = true
		default:
			wanted[n].stale = append(wanted[n].stale, r)
		}
	}

	var todo []int32
	for n := range wanted {
		if w := &wanted[n]; !w.present || w.foreign != nil || w.stale != nil {
			todo = append(todo, int32(n))
		}
	}
	slices.SortFunc(todo, func(a, b int32) int { return compareRoutes(wanted[a].Route, wanted[b].Route) })
	p.changes.Ops = slices.Grow(p.changes.Ops, len(todo)+len(gone))
	for _, n := range todo {
		p.planRoute(&wanted[n])
	}
	slices.SortFunc(gone, func(a, b Op) int { return compareRoutes(a.(RouteDel).Route, b.(RouteDel).Route) })
	p.changes.add(gone...)
}

// planRoute handles a route that is missing or not alone under its key.
func (p *planner) planRoute(w *wantedRoute) {
	slices.SortFunc(w.stale, func(a, b ObservedRoute) int { return compareRoutes(a.Route, b.Route) })
	add := RouteAdd{Route: w.Route}
	switch {
	case w.foreign != nil && satisfies(w.foreign.Route, w.Route):
		p.changes.conflict(add, "another program (%s) added the same route; it is used, and will stay when ours is no longer wanted",
			protocolName(w.foreign.Protocol))
	case w.foreign != nil:
		p.changes.conflict(add, "another program (%s) has the route %s; it is left alone, remove it to have ours",
			protocolName(w.foreign.Protocol), w.foreign.Route)
	case w.present && w.stale != nil:
		p.changes.conflict(add, "another program appended the next hop %s; it is left alone", w.stale[0].Route)
	default:
		// Of a shared route only our own next hops go: the kernel compares the protocol of each.
		for _, old := range w.stale {
			p.changes.add(RouteDel{Route: old.Route})
		}
		p.changes.add(add)
	}
}

// meetForeign notes a route of somebody else under w's key; the least of several, for a stable result.
func (w *wantedRoute) meetForeign(r ObservedRoute) {
	if w.foreign == nil || compareRoutes(r.Route, w.foreign.Route) < 0 {
		w.foreign = &r
	}
}

// wantedRoutes returns the routes that can be had now, and where each key is among them. Of two routes with the same
// key the first wins: static routes, then pools, then delegations.
func (p *planner) wantedRoutes() ([]wantedRoute, map[routeKey]int32) {
	n := len(p.desired.Routes) + len(p.desired.Aggregates) + len(p.desired.Delegations)
	wanted, index := make([]wantedRoute, 0, n), make(map[routeKey]int32, n)
	add := func(r Route) {
		if r.Type == Unicast && r.Interface != "" {
			if link := p.links[r.Interface]; !link.willBeUp {
				p.changes.pending(r.Interface, link.Name != "").Routes++
				return
			}
		}
		key := keyOf(r)
		if other, exists := index[key]; exists {
			if wanted[other].Route != r {
				p.changes.conflict(RouteAdd{Route: r}, "the route %s is wanted too and is used", wanted[other].Route)
			}
			return
		}
		index[key] = int32(len(wanted))
		wanted = append(wanted, wantedRoute{Route: r})
	}

	for _, r := range p.desired.Routes {
		if err := r.Validate(); err != nil {
			p.changes.conflict(RouteAdd{Route: r}, "refused: %v", err)
			continue
		}
		r.Metric = cmp.Or(r.Metric, DefaultMetric)
		if r.Interface == "" && r.Via.IsValid() {
			r.Interface = p.interfaceTo(r.Via)
		}
		add(r)
	}
	for _, a := range p.desired.Aggregates {
		r := aggregateRoute(a)
		if err := r.Validate(); err != nil {
			p.changes.conflict(RouteAdd{Route: r}, "refused: %v", err)
			continue
		}
		add(r)
	}
	onLink := p.onLinkPrefixes()
	for n, d := range p.desired.Delegations {
		if n == MaxDelegations {
			p.changes.conflict(RouteAdd{Route: d.Route()}, "more than %d delegated prefixes; this one and all after it have no route", MaxDelegations)
			break
		}
		if err := d.Validate(); err != nil {
			p.changes.conflict(RouteAdd{Route: d.Route()}, "refused: %v", err)
			continue
		}
		if l, found := onLink.covering(d.Prefix); found {
			p.changes.conflict(RouteAdd{Route: d.Route()}, "the prefix lies inside %s, which is on a link of this box; take it out of the pool", l)
			continue
		}
		add(d.Route())
	}
	return wanted, index
}

func aggregateRoute(pool netip.Prefix) Route {
	return Route{To: pool, Type: Unreachable, Metric: AggregateMetric}
}

// interfaceTo returns the configured interface on whose link addr is, by the longest prefix, or "".
func (p *planner) interfaceTo(addr netip.Addr) string {
	name, bits := "", 0
	for _, i := range p.interfaces {
		for _, a := range i.Addresses {
			if a.Contains(addr) && a.Bits() > bits {
				name, bits = i.Name, a.Bits()
			}
		}
	}
	return name
}

// prefixSet finds covering prefixes with one look-up for each prefix length in it.
type prefixSet struct {
	prefixes map[netip.Prefix]bool
	lengths  []int // ascending
}

// onLinkPrefixes returns the prefixes that are on the links of this box, ours or not. A route into one would
// take addresses away from the nodes of that link.
func (p *planner) onLinkPrefixes() prefixSet {
	s := prefixSet{prefixes: make(map[netip.Prefix]bool)}
	add := func(a netip.Prefix) {
		if a.Addr().IsLinkLocalUnicast() || a.Bits() == a.Addr().BitLen() {
			return
		}
		s.prefixes[a.Masked()] = true
		if n, found := slices.BinarySearch(s.lengths, a.Bits()); !found {
			s.lengths = slices.Insert(s.lengths, n, a.Bits())
		}
	}
	for _, i := range p.interfaces {
		for _, a := range i.Addresses {
			add(a)
		}
	}
	for _, a := range p.observed.Addresses {
		if a.Protocol != Protocol { // ours count by what is desired: the others are about to go
			add(a.Prefix)
		}
	}
	return s
}

// covering returns the shortest prefix of s that is p or contains it. A prefix of s inside p is fine: that is
// how a delegation with an excluded prefix looks (RFC 6603).
func (s prefixSet) covering(p netip.Prefix) (netip.Prefix, bool) {
	for _, bits := range s.lengths {
		if bits > p.Bits() {
			break
		}
		if l := netip.PrefixFrom(p.Addr(), bits).Masked(); s.prefixes[l] {
			return l, true
		}
	}
	return netip.Prefix{}, false
}

// satisfies reports whether the kernel's route have is the route want.
func satisfies(have, want Route) bool {
	if want.Interface == "" {
		have.Interface = "" // the kernel found one
	}
	return have == want
}

// compareRoutes orders routes for a plan: those whose gateway is found through other routes come last, otherwise by
// prefix, so that a pool precedes what is delegated from it.
func compareRoutes(a, b Route) int {
	return cmp.Or(
		cmp.Compare(rank(a), rank(b)),
		a.To.Addr().Compare(b.To.Addr()),
		cmp.Compare(a.To.Bits(), b.To.Bits()),
		cmp.Compare(a.Metric, b.Metric),
		cmp.Compare(a.Type, b.Type),
		a.Via.Compare(b.Via),
		strings.Compare(a.Interface, b.Interface),
	)
}

func rank(r Route) int {
	if r.Via.IsValid() && !r.Via.IsLinkLocalUnicast() {
		return 1
	}
	return 0
}

// protocolName names the well-known route protocols of iproute2.
func protocolName(protocol uint8) string {
	names := map[uint8]string{
		2: "kernel", 3: "added by hand, boot", 4: "static", 9: "ra", 11: "zebra", 12: "bird", 16: "dhcp",
		18: "keepalived", 42: "babel", 186: "bgp", 187: "isis", 188: "ospf", 189: "rip",
	}
	if name, known := names[protocol]; known {
		return fmt.Sprintf("route protocol %d, %s", protocol, name)
	}
	return fmt.Sprintf("route protocol %d", protocol)
}
