// Package netcfg decides what has to change in the kernel's network configuration: [Plan] compares what is
// [Desired] with what was [Observed] and gives the typed operations that turn the second into the first.
// Package netcfg/kernel observes and applies.
//
// # What is ours
//
// The package is stateless: what Tandem6 added is told by marks that the kernel keeps.
//   - A route is ours when it carries the route protocol number [Protocol]. Name it for iproute2 with
//     "86 tandem6" in /etc/iproute2/rt_protos.d/tandem6.conf; routing daemons can select it and redistribute the
//     delegated prefixes (RFC 8987, R-4).
//   - An address is ours when it carries the address protocol [Protocol] (IFA_PROTO, Linux 5.18). An older
//     kernel drops the mark; addresses then are added but never removed.
//
// Only what is ours is removed. What somebody else added is left alone, and where it stands in the way this is
// reported as a [Conflict]. Planning on a state that is already right gives no operations.
//
// # Routes to delegated prefixes
//
// Each delegated prefix has a route via its client (D-257), and each pool of prefixes has an unreachable route for all
// of it, so that packets to parts that are not delegated get an ICMPv6 error instead of following the
// default route upstream and back (D-259). The delegated routes are more specific, and where a pool is a single delegated
// prefix they have the better metric. A route is wanted as long as the lease lives: that the client is silent or the
// link lost its carrier changes nothing (D-258). When the interface itself goes down the kernel drops its routes; the
// next plan after it is up again brings them back.
//
// A route that points to an old next hop is removed and added again rather than replaced: a replacement would also
// overwrite a route that somebody else put there since the observation. For the moment between
// the two operations the pool's unreachable route answers.
//
// ICMPv6 redirects stay at the kernel's default, which is to send them (D-262; RFC 9663, section 6.4). Linux sends them to
// on-link sources only: not to a client that uses an address of its delegated prefix, which is behind a next hop.
//
// # Source validation
//
// On chosen interfaces a packet is forwarded only if the kernel would route an answer to it out through the same
// interface (BCP 38; RFC 8987, R-3). Nothing has to be told about single leases: the routes to delegated prefixes and
// the on-link prefixes are what is looked up, and the validation follows them (D-260). Packets to and from the box itself,
// neighbour discovery among them, are not forwarded and not looked at. The default route counts: on the interface that
// leads upstream everything is valid.
//
// A refused packet is answered with ICMPv6 destination unreachable, code 5 (D-261; RFC 7084, L-14), at most
// [RefusalsPerSecond] times a second. The kernel would send this error wherever its routes for the source lead, which is
// by definition not where the packet came from: to the victim of a forger, or nowhere. So each validated interface has a
// [ReturnPath] for errors about its packets, on which every source counts as on the link. A host that still has an
// address of a former prefix answers neighbour discovery for it and gets the error; a forged source does not. Nor does a
// host behind a client whose delegation has ended, as there is no route any more; there the client has to tell
// (L-14 holds for it as well).
//
// Filter and return paths are told by the name of the filter's table and by marks: the rules and routes of
// return paths carry [Protocol], and their packet marks and tables are numbers above [ReturnPathBase].
//
// # Neighbours
//
// An interface that serves holds less for neighbours that do not answer, and the box remembers more neighbours, than
// is the kernel's default: see [NeighborQueueBytes] and [NeighborsMost]. Both stay when nothing is served any more,
// as does fwmark_reflect (which sends errors on their return paths, and does nothing to packets without mark).
//
// The package is pure: no goroutine, clock, file or socket.
package netcfg

import (
	"fmt"
	"net/netip"
)

// Protocol marks the routes (rtm_protocol) and addresses (IFA_PROTO) that are ours.
// The number is free in iproute2's rt_protos and in FRR's and BIRD's tables.
const Protocol = 86

// Metrics of routes; the lower one wins between routes to the same prefix.
const (
	// DefaultMetric is the kernel's own default for IPv6 routes. Delegated prefixes use it, so that a route
	// added by hand for the same prefix meets ours and is reported instead of silently sharing the traffic.
	DefaultMetric = 1024
	// AggregateMetric makes a pool's unreachable route lose against every other route to the same prefix.
	// It is the largest number that fits the signed integers of other tools.
	AggregateMetric = 1<<31 - 1
)

// Bounds. They are far above what a box serves and keep memory in sight.
const (
	// MaxInterfaces is the most interfaces that one configuration may name.
	MaxInterfaces = 256
	// MaxValidated is the most interfaces with source validation. The kernel looks at a rule for each of them whenever it
	// looks for a route.
	MaxValidated = 1024
	// MaxAddresses is the most addresses of one interface. The kernel looks through all of them for each packet it sends.
	MaxAddresses = 256
	// MaxRoutes is the most static routes.
	MaxRoutes = 4096
	// MaxAggregates is the most pools of prefixes.
	MaxAggregates = 4096
	// MaxDelegations is the most routes to delegated prefixes: one for each lease of the largest lease table.
	// A plan for them takes about 300 MB and the kernel about 800 bytes for each route.
	MaxDelegations = 1_000_000
	// MaxConflicts is the most conflicts that one plan words; the rest is counted.
	MaxConflicts = 100
	// RefusalsPerSecond is the most errors about refused packets, on all interfaces. An error to a forged source waits three
	// seconds for a neighbour that does not answer, in the send buffer from which the kernel sends all its ICMPv6 messages.
	// That has room for 159 of them; 20 in a burst and 60 after it take half.
	RefusalsPerSecond = 20
	// MinMTUBytes is the smallest MTU of a link that carries IPv6 (RFC 8200, section 5). Below it Linux turns IPv6 off.
	MinMTUBytes = 1280
	// MaxMTUBytes is the largest packet without a jumbo payload option.
	MaxMTUBytes = 65535
)

// Desired is what the network configuration should be.
type Desired struct {
	Interfaces  []Interface    // interfaces not named here are left alone
	Routes      []Route        // static routes
	Aggregates  []netip.Prefix // pools of prefixes: unreachable where nothing is delegated
	Delegations []Delegation   // one for each delegated prefix whose lease lives
	Forwarding  bool           // net.ipv6.conf.all.forwarding is made 1 or 0
	// SourceValidation names the interfaces from which packets are forwarded only when their source is reached through
	// the same interface (D-260).
	SourceValidation []string
}

// Interface is what one interface should be.
type Interface struct {
	Name      string
	Addresses []netip.Prefix // each an address with the length of its on-link prefix
	MTU       int            // bytes; 0 leaves it alone
	Up        bool           // set it up; false leaves it alone
	AcceptRA  AcceptRA
	Serves    bool // anybody may ask from there: limits for neighbours are set
}

// AcceptRA says whether the kernel configures itself from router advertisements heard on an interface.
type AcceptRA uint8

const (
	AcceptRAUnmanaged AcceptRA = iota // leave the setting alone
	AcceptRANever                     // accept_ra=0: on interfaces on which we advertise
	AcceptRAAlways                    // accept_ra=2: on an upstream interface; 1 would mean "unless forwarding"
)

// sysctl returns the kernel's value for a.
func (a AcceptRA) sysctl() int {
	if a == AcceptRAAlways {
		return 2
	}
	return 0
}

// Delegation is a route to a delegated prefix (D-257).
type Delegation struct {
	Prefix netip.Prefix
	// Via is the next hop: the client's link-local address as it was seen in its message, never one derived from its
	// DUID; or the address of the relay through which it is reached.
	Via       netip.Addr
	Interface string // of the client's link
}

// Route returns the kernel's route for d. Right after a lease is committed, [RouteAdd] and [RouteDel] with it save a
// whole plan; call [Delegation.Validate] before. When the next hop of a lease changes, delete the old route, then add the new one.
func (d Delegation) Route() Route {
	return Route{To: d.Prefix, Via: d.Via, Interface: d.Interface, Metric: DefaultMetric}
}

// RouteType says what happens to packets that follow a route.
type RouteType uint8

const (
	Unicast      RouteType = iota // sent to the next hop, or to the destination on the link
	Unreachable                   // answered with ICMPv6 destination unreachable
	OtherType                     // anything else; only observed
	routeTypeEnd                  // not a type
)

// Route is a route of the main table.
type Route struct {
	To        netip.Prefix
	Type      RouteType
	Via       netip.Addr // zero: the destination is on the link
	Interface string     // may be empty when Via is not link-local: then the kernel finds it
	Metric    uint32     // 0: DefaultMetric
}

// String words r like "2001:db8:8000::/56 via fe80::2 on eth0 metric 1024".
func (r Route) String() string {
	var b []byte
	switch r.Type {
	case Unreachable:
		b = append(b, "unreachable "...)
	case OtherType:
		b = append(b, "special "...)
	}
	b = r.To.AppendTo(b)
	if r.Via.IsValid() {
		b = append(b, " via "...)
		b = r.Via.AppendTo(b)
	}
	if r.Interface != "" {
		b = append(b, " on "...)
		b = append(b, r.Interface...)
	}
	return string(fmt.Appendf(b, " metric %d", r.Metric))
}

// Observed is the part of the kernel's network configuration that a plan needs, in any order.
type Observed struct {
	Forwarding bool // net.ipv6.conf.all.forwarding
	Links      []Link
	Addresses  []Address       // IPv6, of all interfaces
	Routes     []ObservedRoute // IPv6, of the main table
	Filter     SourceFilter
	// ReturnPaths are ours, one for each number of an interface.
	ReturnPaths []ReturnPath
	// MarksUnreflected tells that net.ipv6.fwmark_reflect is 0: errors ignore the marks of what they are about.
	MarksUnreflected bool
	// NeighborThresholds are gc_thresh1, 2 and 3 of net.ipv6.neigh.default; 0 where the kernel does not show them,
	// as in all network namespaces but the first.
	NeighborThresholds [3]int
}

// AcceptRAUnknown is the value of [Link.AcceptRA] on a link on which IPv6 is off.
const AcceptRAUnknown = -1

// Link is a network interface of the kernel.
type Link struct {
	Index        int
	Name         string
	Up           bool // administratively
	Carrier      bool // there is a signal from the other side
	MTU          int  // bytes
	HardwareAddr string
	AcceptRA     int // net.ipv6.conf.NAME.accept_ra, or AcceptRAUnknown
	// NeighborQueueBytes is net.ipv6.neigh.NAME.unres_qlen_bytes, 0 where IPv6 is off.
	NeighborQueueBytes int
}

// Address is an address of the kernel.
type Address struct {
	Interface  string
	Prefix     netip.Prefix // not masked
	Protocol   uint8        // IFA_PROTO; 0 when nobody marked it
	Tentative  bool         // duplicate address detection is under way
	DADFailed  bool         // another node has the address; the kernel does not use it
	Deprecated bool
}

// ObservedRoute is a route of the kernel.
type ObservedRoute struct {
	Route
	Protocol uint8 // rtm_protocol
	// Shared tells that the kernel has several next hops for it; each is observed as a route of its own. The
	// kernel shows the protocol of the first next hop for all of them.
	Shared bool
}
