package netcfg_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tandem6/tandem6/netcfg"
)

var (
	addr   = netip.MustParseAddr
	prefix = netip.MustParsePrefix
)

func ours(r netcfg.Route) netcfg.ObservedRoute {
	return netcfg.ObservedRoute{Route: r, Protocol: netcfg.Protocol}
}

func foreign(r netcfg.Route) netcfg.ObservedRoute {
	return netcfg.ObservedRoute{Route: r, Protocol: 4}
}

var (
	up   = netcfg.Link{Index: 2, Name: "eth0", Up: true, Carrier: true, MTU: 1500, AcceptRA: 1}
	down = netcfg.Link{Index: 2, Name: "eth0", MTU: 1500, AcceptRA: 1}

	delegation = netcfg.Delegation{Prefix: prefix("2001:db8:8000::/56"), Via: addr("fe80::2"), Interface: "eth0"}
	pool       = prefix("2001:db8:8000::/40")
	poolRoute  = netcfg.Route{To: pool, Type: netcfg.Unreachable, Metric: netcfg.AggregateMetric}
)

// address is one that eth0 has.
func address(p string, protocol uint8) netcfg.Address {
	return netcfg.Address{Interface: "eth0", Prefix: prefix(p), Protocol: protocol}
}

// delegatedAt is the delegation with another next hop.
func delegatedAt(via, name string) netcfg.Route {
	return netcfg.Route{To: delegation.Prefix, Via: addr(via), Interface: name, Metric: netcfg.DefaultMetric}
}

func TestPlan(t *testing.T) {
	withAddress := func(addresses ...netip.Prefix) netcfg.Desired {
		return netcfg.Desired{Interfaces: []netcfg.Interface{{Name: "eth0", Addresses: addresses}}}
	}
	delegated := netcfg.Desired{Delegations: []netcfg.Delegation{delegation}}
	validating := netcfg.Desired{SourceValidation: []string{"eth0"}}
	intact := netcfg.SourceFilter{State: netcfg.FilterIntact, Interfaces: []string{"eth0"}}
	links := []netcfg.Link{up}

	tests := []struct {
		name      string
		desired   netcfg.Desired
		observed  netcfg.Observed
		ops       []string
		conflicts []string // parts of their text
		pending   []string
	}{
		{name: "nothing wanted, nothing there"},
		{
			name: "D-257 D-259 from scratch, in the order that the kernel needs",
			desired: netcfg.Desired{
				Interfaces: []netcfg.Interface{
					{Name: "eth1", Addresses: []netip.Prefix{prefix("2001:db8:ffff::2/64")}, Up: true, AcceptRA: netcfg.AcceptRAAlways},
					{Name: "eth0", Addresses: []netip.Prefix{prefix("2001:db8:0:1::1/64")}, MTU: 1400, Up: true, AcceptRA: netcfg.AcceptRANever},
				},
				Routes: []netcfg.Route{
					{To: prefix("2001:db8:1::/48"), Via: addr("2001:db8:ffff::1")},
					{To: prefix("::/0"), Via: addr("fe80::1"), Interface: "eth1", Metric: 512},
				},
				Aggregates:  []netip.Prefix{pool},
				Delegations: []netcfg.Delegation{delegation},
				Forwarding:  true,
			},
			observed: netcfg.Observed{Links: []netcfg.Link{down, {Index: 3, Name: "eth1", MTU: 1500, AcceptRA: 1}}},
			ops: []string{
				"set MTU of eth0 to 1400 bytes",
				"set sysctl net/ipv6/conf/eth0/accept_ra to 0",
				"set eth0 up",
				"set sysctl net/ipv6/conf/eth1/accept_ra to 2",
				"set eth1 up",
				"add address 2001:db8:0:1::1/64 to eth0",
				"add address 2001:db8:ffff::2/64 to eth1",
				"add route ::/0 via fe80::1 on eth1 metric 512",
				"add route unreachable 2001:db8:8000::/40 metric 2147483647",
				"add route 2001:db8:8000::/56 via fe80::2 on eth0 metric 1024",
				"add route 2001:db8:1::/48 via 2001:db8:ffff::1 on eth1 metric 1024",
				"set sysctl net/ipv6/conf/all/forwarding to 1",
			},
		},
		{
			name: "all is there",
			desired: netcfg.Desired{
				Interfaces: []netcfg.Interface{{
					Name: "eth0", Addresses: []netip.Prefix{prefix("2001:db8:0:1::1/64")},
					MTU: 1500, Up: true, AcceptRA: netcfg.AcceptRANever,
				}},
				Routes:      []netcfg.Route{{To: prefix("::/0"), Via: addr("2001:db8:9::9")}},
				Aggregates:  []netip.Prefix{pool},
				Delegations: []netcfg.Delegation{delegation},
				Forwarding:  true,
			},
			observed: netcfg.Observed{
				Forwarding: true,
				Links:      []netcfg.Link{{Index: 2, Name: "eth0", Up: true, MTU: 1500, AcceptRA: 0}},
				Addresses:  []netcfg.Address{address("2001:db8:0:1::1/64", netcfg.Protocol)},
				Routes: []netcfg.ObservedRoute{
					ours(delegation.Route()), ours(poolRoute),
					ours(netcfg.Route{To: prefix("::/0"), Via: addr("2001:db8:9::9"), Interface: "eth7", Metric: 1024}),
				},
			},
		},
		{
			name:     "forwarding is turned off before anything else",
			desired:  withAddress(prefix("2001:db8::1/64")),
			observed: netcfg.Observed{Forwarding: true, Links: links},
			ops:      []string{"set sysctl net/ipv6/conf/all/forwarding to 0", "add address 2001:db8::1/64 to eth0"},
		},
		{
			name:    "what others added stays, what was ours goes",
			desired: netcfg.Desired{},
			observed: netcfg.Observed{
				Links: links,
				Addresses: []netcfg.Address{
					address("2001:db8::1/64", netcfg.Protocol), address("2001:db8::2/64", 0),
					address("fe80::1/64", 3),
				},
				Routes: []netcfg.ObservedRoute{
					ours(delegation.Route()), ours(poolRoute),
					foreign(netcfg.Route{To: prefix("2001:db8:5::/48"), Via: addr("fe80::5"), Interface: "eth0", Metric: 1024}),
				},
			},
			ops: []string{
				"remove address 2001:db8::1/64 from eth0",
				"remove route unreachable 2001:db8:8000::/40 metric 2147483647",
				"remove route 2001:db8:8000::/56 via fe80::2 on eth0 metric 1024",
			},
		},
		{
			name:     "our address with another prefix length",
			desired:  withAddress(prefix("2001:db8::1/64")),
			observed: netcfg.Observed{Links: links, Addresses: []netcfg.Address{address("2001:db8::1/48", netcfg.Protocol)}},
			ops:      []string{"remove address 2001:db8::1/48 from eth0", "add address 2001:db8::1/64 to eth0"},
		},
		{
			name:      "their address with another prefix length",
			desired:   withAddress(prefix("2001:db8::1/64")),
			observed:  netcfg.Observed{Links: links, Addresses: []netcfg.Address{address("2001:db8::1/48", 0)}},
			conflicts: []string{"add address 2001:db8::1/64 to eth0: another program added it as 2001:db8::1/48"},
		},
		{
			name:     "the very address, added by hand",
			desired:  withAddress(prefix("2001:db8::1/64")),
			observed: netcfg.Observed{Links: links, Addresses: []netcfg.Address{address("2001:db8::1/64", 0)}},
		},
		{
			name:    "duplicate address",
			desired: withAddress(prefix("2001:db8::1/64")),
			observed: netcfg.Observed{Links: links, Addresses: []netcfg.Address{
				{Interface: "eth0", Prefix: prefix("2001:db8::1/64"), Protocol: netcfg.Protocol, Tentative: true, DADFailed: true},
			}},
			conflicts: []string{"another node on the link already has this address"},
		},
		{
			name:    "an address moves to another port: removed first",
			desired: netcfg.Desired{Interfaces: []netcfg.Interface{{Name: "eth0"}, {Name: "eth1", Addresses: []netip.Prefix{prefix("2001:db8::1/64")}}}},
			observed: netcfg.Observed{
				Links:     []netcfg.Link{up, {Index: 3, Name: "eth1", Up: true}},
				Addresses: []netcfg.Address{address("2001:db8::1/64", netcfg.Protocol)},
			},
			ops: []string{"remove address 2001:db8::1/64 from eth0", "add address 2001:db8::1/64 to eth1"},
		},
		{
			name: "missing interface: everything on it waits, nothing fails",
			desired: netcfg.Desired{
				Interfaces:  []netcfg.Interface{{Name: "eth0", Addresses: []netip.Prefix{prefix("2001:db8::2/64"), prefix("2001:db8:1::2/64")}, Up: true}},
				Routes:      []netcfg.Route{{To: prefix("::/0"), Via: addr("2001:db8::1")}}, // found through eth0's prefix
				Delegations: []netcfg.Delegation{delegation},
				Aggregates:  []netip.Prefix{pool},
			},
			ops:     []string{"add route unreachable 2001:db8:8000::/40 metric 2147483647"},
			pending: []string{"interface eth0 does not exist yet: 2 addresses and 2 routes wait for it"},
		},
		{
			name:     "D-258 interface that is down and not ours to set up: its routes wait",
			desired:  delegated,
			observed: netcfg.Observed{Links: []netcfg.Link{down}},
			pending:  []string{"interface eth0 is down: 0 addresses and 1 route wait for it"},
		},
		{
			name:     "D-258 no carrier: the route is wanted all the same",
			desired:  delegated,
			observed: netcfg.Observed{Links: []netcfg.Link{{Index: 2, Name: "eth0", Up: true, Carrier: false}}},
			ops:      []string{"add route 2001:db8:8000::/56 via fe80::2 on eth0 metric 1024"},
		},
		{
			name:     "the client has a new link-local address",
			desired:  delegated,
			observed: netcfg.Observed{Links: links, Routes: []netcfg.ObservedRoute{ours(delegatedAt("fe80::9", "eth0"))}},
			ops: []string{
				"remove route 2001:db8:8000::/56 via fe80::9 on eth0 metric 1024",
				"add route 2001:db8:8000::/56 via fe80::2 on eth0 metric 1024",
			},
		},
		{
			name:      "another program's route stands in the way",
			desired:   delegated,
			observed:  netcfg.Observed{Links: links, Routes: []netcfg.ObservedRoute{foreign(delegatedAt("fe80::9", "eth0"))}},
			conflicts: []string{"another program (route protocol 4, static) has the route 2001:db8:8000::/56 via fe80::9 on eth0 metric 1024; it is left alone"},
		},
		{
			name:      "another program added the same route",
			desired:   delegated,
			observed:  netcfg.Observed{Links: links, Routes: []netcfg.ObservedRoute{foreign(delegation.Route())}},
			conflicts: []string{"added the same route; it is used"},
		},
		{
			name:    "a route with another metric is no conflict",
			desired: delegated,
			observed: netcfg.Observed{Links: links, Routes: []netcfg.ObservedRoute{
				foreign(netcfg.Route{To: delegation.Prefix, Via: addr("fe80::9"), Interface: "eth0", Metric: 100}),
			}},
			ops: []string{"add route 2001:db8:8000::/56 via fe80::2 on eth0 metric 1024"},
		},
		{
			name:    "somebody appended a next hop to our route",
			desired: delegated,
			observed: netcfg.Observed{Links: links, Routes: []netcfg.ObservedRoute{
				{Route: delegation.Route(), Protocol: netcfg.Protocol, Shared: true},
				{Route: delegatedAt("fe80::9", "eth0"), Protocol: netcfg.Protocol, Shared: true},
			}},
			conflicts: []string{"another program appended the next hop 2001:db8:8000::/56 via fe80::9"},
		},
		{
			name: "a delegation that would take the link's own prefix away",
			desired: netcfg.Desired{
				Interfaces:  []netcfg.Interface{{Name: "eth0", Addresses: []netip.Prefix{prefix("2001:db8:8000::1/48")}}},
				Delegations: []netcfg.Delegation{delegation},
			},
			observed: netcfg.Observed{
				Links: links, Addresses: []netcfg.Address{address("2001:db8:8000::1/48", netcfg.Protocol)},
			},
			conflicts: []string{"the prefix lies inside 2001:db8:8000::/48, which is on a link of this box"},
		},
		{
			name:     "an address of ours that goes does not keep its prefix from being delegated",
			desired:  delegated,
			observed: netcfg.Observed{Links: links, Addresses: []netcfg.Address{address("2001:db8:8000::1/48", netcfg.Protocol)}},
			ops: []string{
				"remove address 2001:db8:8000::1/48 from eth0",
				"add route 2001:db8:8000::/56 via fe80::2 on eth0 metric 1024",
			},
		},
		{
			name:      "the prefix of somebody else's address on a link is not ours to delegate",
			desired:   delegated,
			observed:  netcfg.Observed{Links: links, Addresses: []netcfg.Address{address("2001:db8:8000::1/48", 0)}},
			conflicts: []string{"the prefix lies inside 2001:db8:8000::/48, which is on a link of this box"},
		},
		{
			name: "an on-link prefix inside the delegation is an excluded prefix",
			desired: netcfg.Desired{
				Interfaces:  []netcfg.Interface{{Name: "eth0", Addresses: []netip.Prefix{prefix("2001:db8:8000::1/64")}}},
				Delegations: []netcfg.Delegation{delegation},
			},
			observed: netcfg.Observed{
				Links: links, Addresses: []netcfg.Address{address("2001:db8:8000::1/64", netcfg.Protocol)},
			},
			ops: []string{"add route 2001:db8:8000::/56 via fe80::2 on eth0 metric 1024"},
		},
		{
			name:     "a whole pool delegated as one prefix: both routes, the delegation's metric wins",
			desired:  netcfg.Desired{Aggregates: []netip.Prefix{delegation.Prefix}, Delegations: []netcfg.Delegation{delegation}},
			observed: netcfg.Observed{Links: links},
			ops: []string{
				"add route 2001:db8:8000::/56 via fe80::2 on eth0 metric 1024",
				"add route unreachable 2001:db8:8000::/56 metric 2147483647",
			},
		},
		{
			name: "two routes wanted for one prefix",
			desired: netcfg.Desired{
				Routes:      []netcfg.Route{delegatedAt("fe80::9", "eth0")},
				Delegations: []netcfg.Delegation{delegation},
			},
			observed:  netcfg.Observed{Links: links},
			ops:       []string{"add route 2001:db8:8000::/56 via fe80::9 on eth0 metric 1024"},
			conflicts: []string{"the route 2001:db8:8000::/56 via fe80::9 on eth0 metric 1024 is wanted too and is used"},
		},
		{
			name: "D-260 D-261 source validation from scratch: behind the routes, before forwarding",
			desired: netcfg.Desired{
				Interfaces: []netcfg.Interface{{Name: "eth0", Up: true}}, Delegations: []netcfg.Delegation{delegation},
				SourceValidation: []string{"eth1", "eth0", "eth1"}, Forwarding: true,
			},
			observed: netcfg.Observed{Links: []netcfg.Link{down}, MarksUnreflected: true},
			ops: []string{
				"set eth0 up",
				"add route 2001:db8:8000::/56 via fe80::2 on eth0 metric 1024",
				"set sysctl net/ipv6/fwmark_reflect to 1",
				"send errors about refused packets from eth0 back there",
				"validate source addresses of packets from eth0, eth1",
				"set sysctl net/ipv6/conf/all/forwarding to 1",
			},
		},
		{
			name:     "source validation is there",
			desired:  validating,
			observed: netcfg.Observed{Links: links, Filter: intact, ReturnPaths: []netcfg.ReturnPath{{Index: 2, Rule: true, Route: true}}},
		},
		{
			name:     "somebody changed the filter and took half of the return path",
			desired:  validating,
			observed: netcfg.Observed{Links: links, Filter: netcfg.SourceFilter{State: netcfg.FilterAltered}, ReturnPaths: []netcfg.ReturnPath{{Index: 2, Rule: true}}},
			ops:      []string{"send errors about refused packets from eth0 back there", "validate source addresses of packets from eth0"},
		},
		{
			name:    "validation of another interface, and the return path of one that is gone",
			desired: validating,
			observed: netcfg.Observed{
				Links: links, Filter: netcfg.SourceFilter{State: netcfg.FilterIntact, Interfaces: []string{"eth1"}},
				ReturnPaths: []netcfg.ReturnPath{{Index: 3, Route: true}},
			},
			ops: []string{
				"stop sending errors back to the interface that had the number 3",
				"send errors about refused packets from eth0 back there",
				"validate source addresses of packets from eth0",
			},
		},
		{
			name:     "the return path waits while its interface is down, and nothing is removed",
			desired:  validating,
			observed: netcfg.Observed{Links: []netcfg.Link{down}, Filter: intact, ReturnPaths: []netcfg.ReturnPath{{Index: 2, Rule: true}}},
		},
		{
			name:     "validation is no longer wanted; errors may be reflected for somebody else's sake",
			observed: netcfg.Observed{Links: links, Filter: intact, ReturnPaths: []netcfg.ReturnPath{{Index: 2, Rule: true, Route: true}}},
			ops:      []string{"stop sending errors back to the interface that had the number 2", "stop validating source addresses"},
		},
		{
			name:     "a changed filter goes too",
			observed: netcfg.Observed{Links: links, Filter: netcfg.SourceFilter{State: netcfg.FilterAltered}},
			ops:      []string{"stop validating source addresses"},
		},
		{
			name:      "a kernel that cannot filter: told, and everything else is done",
			desired:   netcfg.Desired{SourceValidation: validating.SourceValidation, Delegations: []netcfg.Delegation{delegation}},
			observed:  netcfg.Observed{Links: links, MarksUnreflected: true, Filter: netcfg.SourceFilter{State: netcfg.FilterUnusable, Reason: "no nf_tables"}},
			ops:       []string{"add route 2001:db8:8000::/56 via fe80::2 on eth0 metric 1024"},
			conflicts: []string{"validate source addresses of packets from eth0: no nf_tables; packets with forged sources are forwarded"},
		},
		{
			name:     "a kernel that cannot filter, and nobody wants it",
			observed: netcfg.Observed{Links: links, Filter: netcfg.SourceFilter{State: netcfg.FilterUnusable, Reason: "no nf_tables"}},
		},
		{
			name:      "validation on what cannot be an interface",
			desired:   netcfg.Desired{SourceValidation: []string{"a b", "eth0"}},
			observed:  netcfg.Observed{Links: links, Filter: intact, ReturnPaths: []netcfg.ReturnPath{{Index: 2, Rule: true, Route: true}}},
			conflicts: []string{`interface a b: its sources are not validated: "a b" is not a name`},
		},
		{
			name:    "limits for neighbours: less for the silent on each interface that serves, more in all",
			desired: netcfg.Desired{Interfaces: []netcfg.Interface{{Name: "eth0", Serves: true}, {Name: "eth1"}}},
			observed: netcfg.Observed{
				Links: []netcfg.Link{
					{Index: 2, Name: "eth0", Up: true, NeighborQueueBytes: 212992}, {Index: 3, Name: "eth1", Up: true, NeighborQueueBytes: 212992},
				},
				NeighborThresholds: [3]int{128, 512, 1024},
			},
			ops: []string{
				"set sysctl net/ipv6/neigh/eth0/unres_qlen_bytes to 4096",
				"set sysctl net/ipv6/neigh/default/gc_thresh1 to 2048",
				"set sysctl net/ipv6/neigh/default/gc_thresh2 to 8192",
				"set sysctl net/ipv6/neigh/default/gc_thresh3 to 16384",
			},
		},
		{
			name:    "limits for neighbours: who has set stricter or larger ones keeps them",
			desired: netcfg.Desired{Interfaces: []netcfg.Interface{{Name: "eth0", Serves: true}}},
			observed: netcfg.Observed{
				Links:              []netcfg.Link{{Index: 2, Name: "eth0", Up: true, NeighborQueueBytes: 1000}},
				NeighborThresholds: [3]int{2048, 100_000, 200_000},
			},
		},
		{
			name:     "limits for neighbours: a namespace without thresholds, an interface without IPv6",
			desired:  netcfg.Desired{Interfaces: []netcfg.Interface{{Name: "eth0", Serves: true}}},
			observed: netcfg.Observed{Links: links},
		},
		{
			name:     "limits for neighbours: nothing serves",
			desired:  netcfg.Desired{Interfaces: []netcfg.Interface{{Name: "eth0"}}},
			observed: netcfg.Observed{Links: links, NeighborThresholds: [3]int{128, 512, 1024}},
		},
		{
			name: "what is invalid is refused one by one",
			desired: netcfg.Desired{
				Interfaces: []netcfg.Interface{{Name: "../all"}, {Name: "eth0", MTU: 1279}},
				Delegations: []netcfg.Delegation{
					{Prefix: delegation.Prefix, Via: addr("ff02::1"), Interface: "eth0"},
					{Prefix: prefix("2001:db8:8100::/56"), Via: addr("fe80::3"), Interface: "eth0"},
				},
			},
			observed:  netcfg.Observed{Links: links},
			ops:       []string{"add route 2001:db8:8100::/56 via fe80::3 on eth0 metric 1024"},
			conflicts: []string{`"../all" is not a name of an interface`, "MTU 1279", "next hop ff02::1 is not an IPv6 unicast address"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			changes := netcfg.Plan(test.desired, test.observed)
			var ops, pending []string
			for _, op := range changes.Ops {
				ops = append(ops, op.String())
			}
			for _, p := range changes.Pending {
				pending = append(pending, p.String())
			}
			if diff := cmp.Diff(test.ops, ops); diff != "" {
				t.Errorf("operations (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.pending, pending); diff != "" {
				t.Errorf("pending (-want +got):\n%s", diff)
			}
			if len(changes.Conflicts) != len(test.conflicts) {
				t.Fatalf("conflicts %q, want %q", changes.Conflicts, test.conflicts)
			}
			for n, want := range test.conflicts {
				if got := changes.Conflicts[n].String(); !strings.Contains(got, want) {
					t.Errorf("conflict %q, want one with %q", got, want)
				}
			}
		})
	}
}

// TestPlanBounds shows that neither many conflicts nor too many delegations get out of hand.
func TestPlanBounds(t *testing.T) {
	var desired netcfg.Desired
	for n := range netcfg.MaxDelegations + 2 {
		d := delegation
		d.Prefix = nthPrefix(n)
		desired.Delegations = append(desired.Delegations, d)
	}
	changes := netcfg.Plan(desired, netcfg.Observed{Links: []netcfg.Link{up}})
	if len(changes.Ops) != netcfg.MaxDelegations || len(changes.Conflicts) != 1 {
		t.Errorf("%d operations and conflicts %v, want %d and one that tells", len(changes.Ops), changes.Conflicts, netcfg.MaxDelegations)
	}

	for n := range netcfg.MaxValidated + 2 {
		desired.SourceValidation = append(desired.SourceValidation, fmt.Sprintf("eth%d", n))
	}
	desired.Delegations = nil
	changes = netcfg.Plan(desired, netcfg.Observed{})
	if got := len(changes.Ops[0].(netcfg.FilterSet).Names()); got != netcfg.MaxValidated || len(changes.Conflicts) != 2 {
		t.Errorf("%d interfaces in the filter and conflicts %v", got, changes.Conflicts)
	}

	desired = netcfg.Desired{}
	for n := range 1000 {
		d := delegation
		d.Prefix = nthPrefix(n)
		desired.Delegations = append(desired.Delegations, d)
	}
	observed := netcfg.Observed{Links: []netcfg.Link{up}}
	for _, d := range desired.Delegations {
		observed.Routes = append(observed.Routes, foreign(d.Route()))
	}
	changes = netcfg.Plan(desired, observed)
	if len(changes.Conflicts) != netcfg.MaxConflicts || changes.ConflictsOmitted != 1000-netcfg.MaxConflicts {
		t.Errorf("%d conflicts and %d omitted", len(changes.Conflicts), changes.ConflictsOmitted)
	}
}

// nthPrefix returns the n-th /64 of 2001:db8::/32.
func nthPrefix(n int) netip.Prefix {
	a := addr("2001:db8::").As16()
	a[4], a[5], a[6], a[7] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

func BenchmarkPlan(b *testing.B) {
	const routes = 100_000
	var desired netcfg.Desired
	var full netcfg.Observed
	full.Links = []netcfg.Link{up}
	for n := range routes {
		d := delegation
		d.Prefix = nthPrefix(n)
		desired.Delegations = append(desired.Delegations, d)
		full.Routes = append(full.Routes, ours(d.Route()))
	}
	for _, c := range []struct {
		name     string
		desired  netcfg.Desired
		observed netcfg.Observed
		ops      int
	}{
		{"add100k", desired, netcfg.Observed{Links: full.Links}, routes},
		{"keep100k", desired, full, 0},
		{"remove100k", netcfg.Desired{}, full, routes},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got := len(netcfg.Plan(c.desired, c.observed).Ops); got != c.ops {
					b.Fatalf("%d operations, want %d", got, c.ops)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/routes, "ns/route")
		})
	}
}
