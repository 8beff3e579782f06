package appliance

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/appliance/engine"
	"github.com/tandem6/tandem6/appliance/udp6"
	"github.com/tandem6/tandem6/netcfg"
	"github.com/tandem6/tandem6/netcfg/kernel"
)

const (
	// settle is for how long changes of the kernel are collected before it is
	// looked at: one flap of a link is a burst of notifications.
	settle = 50 * time.Millisecond
	// reconcileEvery is how often the kernel is compared with what it should be
	// although nothing was heard of a change.
	reconcileEvery = 5 * time.Minute
	// retryMin and retryMax bound the wait after the kernel refused something.
	retryMin = time.Second
	retryMax = time.Minute
	// routeBatchesMax is how many batches of route changes may wait. When there
	// are more they are dropped, and all routes are compared instead.
	routeBatchesMax = 256
)

// routeQueue carries route changes from the event loop to the network task
// without ever holding the loop up.
type routeQueue struct {
	batches  chan []engine.RouteChange
	overflow chan struct{} // a batch was dropped: compare everything
}

func newRouteQueue() *routeQueue {
	return &routeQueue{make(chan []engine.RouteChange, routeBatchesMax), make(chan struct{}, 1)}
}

func (q *routeQueue) add(changes []engine.RouteChange) {
	if len(changes) == 0 {
		return
	}
	select {
	case q.batches <- slices.Clone(changes):
	default:
		poke(q.overflow)
	}
}

// poke puts a token into a channel with room for one, unless it has one.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// network keeps the kernel as the configuration and the leases want it, and
// tells everybody else what interfaces there are.
type network struct {
	kernel *kernel.Handle
	conn   *udp6.Conn
	loop   *loop
	routes *routeQueue
	log    *slog.Logger

	settings  chan settings // a new configuration
	changed   chan struct{} // the kernel changed
	state     atomic.Pointer[networkState]
	installed routeSet

	want     settings
	first    chan struct{} // closed when the kernel was brought in line for the first time
	told     []dhcp6.Interface
	groups   map[int]udp6.Groups
	problems []string // as last logged
}

// settings is the part of a configuration that concerns the network.
type settings struct {
	desired netcfg.Desired         // without delegations
	served  map[string]udp6.Groups // by name of the interface
}

// routeSet are the routes to delegated prefixes that the kernel has. The network
// task writes it, requests of operators read it.
type routeSet struct {
	mu sync.RWMutex
	m  map[netip.Prefix]bool
}

func (s *routeSet) has(p netip.Prefix) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.m[p]
}

func (s *routeSet) replace(m map[netip.Prefix]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m = m
}

func (s *routeSet) change(changes []engine.RouteChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		if c.Add {
			s.m[c.Delegation.Prefix] = true
		} else {
			delete(s.m, c.Delegation.Prefix)
		}
	}
}

// networkState is the network as it was last seen, for status reports.
type networkState struct {
	links    map[string]netcfg.Link
	ready    map[string]bool // interfaces with a link-local address that can be used
	problems []string
}

func newNetwork(k *kernel.Handle, conn *udp6.Conn, l *loop, q *routeQueue, log *slog.Logger) *network {
	n := &network{kernel: k, conn: conn, loop: l, routes: q, log: log,
		settings: make(chan settings, 1), changed: make(chan struct{}, 1), first: make(chan struct{})}
	n.state.Store(&networkState{})
	n.installed.replace(map[netip.Prefix]bool{})
	return n
}

// watch listens to the kernel until ctx ends.
func (n *network) watch(ctx context.Context) error {
	err := n.kernel.Watch(ctx, func(kernel.Change) { poke(n.changed) })
	if err != nil {
		return fmt.Errorf("watch the network interfaces: %w", err)
	}
	return nil
}

// run keeps the kernel in line until ctx ends. It leaves addresses and routes
// where they are: a restart of the daemon must not be felt by any client.
func (n *network) run(ctx context.Context) error {
	// Without knowing what is wanted, everything that is ours would be removed.
	select {
	case n.want = <-n.settings:
	case <-ctx.Done():
		return nil
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	retry := retryMin
	for {
		select {
		case n.want = <-n.settings:
			timer.Reset(0)
		case <-n.changed:
			timer.Reset(settle)
		case <-n.routes.overflow:
			timer.Reset(0)
		case changes := <-n.routes.batches:
			if !n.route(changes) {
				timer.Reset(retryMin)
			}
		case <-timer.C:
			wait := reconcileEvery
			if err := n.reconcile(ctx); err != nil {
				n.log.Error("the network is not as configured; trying again", "error", err, "in", retry)
				wait, retry = retry, min(2*retry, retryMax)
			} else {
				retry = retryMin
			}
			timer.Reset(wait)
		case <-ctx.Done():
			return nil
		}
	}
}

// route carries out changes as they come from the leases, and reports whether
// all went well.
func (n *network) route(changes []engine.RouteChange) bool {
	changes = slices.DeleteFunc(changes, func(c engine.RouteChange) bool {
		err := c.Delegation.Validate()
		if err != nil {
			n.log.Warn("no route for a delegated prefix", "prefix", c.Delegation.Prefix, "error", err)
		}
		return err != nil
	})
	ops := make([]netcfg.Op, 0, len(changes))
	for _, c := range changes {
		if c.Add {
			ops = append(ops, netcfg.RouteAdd{Route: c.Delegation.Route()})
		} else {
			ops = append(ops, netcfg.RouteDel{Route: c.Delegation.Route()})
		}
	}
	errs := n.kernel.Apply(ops)
	for _, err := range errs {
		n.log.Warn("route not changed; trying again", "error", err)
	}
	if len(errs) > 0 {
		return false
	}
	n.installed.change(changes)
	return true
}

// reconcile compares the kernel with what it should be and mends it.
func (n *network) reconcile(ctx context.Context) error {
	v, err := n.loop.look(ctx)
	if err != nil {
		return nil // stopping
	}
	observed, err := n.kernel.Observe()
	if err != nil {
		return fmt.Errorf("read the network configuration: %w", err)
	}
	desired := n.want.desired
	desired.Delegations = slices.Collect(v.Delegations())
	plan := netcfg.Plan(desired, observed)
	errs := n.kernel.Apply(plan.Ops)
	if len(plan.Ops) > 0 {
		if observed, err = n.kernel.Observe(); err != nil {
			return fmt.Errorf("read the network configuration: %w", err)
		}
	}
	n.report(plan, observed, errs)
	select {
	case <-n.first:
	default:
		close(n.first)
	}
	if err := n.tell(ctx, observed); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return fmt.Errorf("%d of %d steps failed, the first: %w", len(errs), len(plan.Ops), errs[0])
	}
	return nil
}

// report logs what needs a person, once, and keeps what status reports show.
func (n *network) report(plan netcfg.Changes, observed netcfg.Observed, failed []error) {
	for _, op := range plan.Ops {
		n.log.Info("network: " + op.String())
	}
	var problems []string
	for _, c := range plan.Conflicts {
		problems = append(problems, c.String())
	}
	if plan.ConflictsOmitted > 0 {
		problems = append(problems, fmt.Sprintf("and %d more of the kind", plan.ConflictsOmitted))
	}
	for _, p := range plan.Pending {
		problems = append(problems, p.String())
	}
	for _, err := range failed {
		problems = append(problems, err.Error())
	}
	for _, p := range problems {
		if !slices.Contains(n.problems, p) {
			n.log.Warn("network: " + p)
		}
	}
	n.problems = problems
	installed := map[netip.Prefix]bool{}
	s := &networkState{links: map[string]netcfg.Link{}, ready: linkLocals(observed), problems: problems}
	for _, l := range observed.Links {
		s.links[l.Name] = l
	}
	for _, r := range observed.Routes {
		if r.Protocol == netcfg.Protocol && r.Type == netcfg.Unicast {
			installed[r.To] = true
		}
	}
	n.installed.replace(installed)
	n.state.Store(s)
}

// linkLocals are the interfaces with a link-local address that has passed
// duplicate address detection.
func linkLocals(observed netcfg.Observed) map[string]bool {
	ready := map[string]bool{}
	for _, a := range observed.Addresses {
		if a.Prefix.Addr().IsLinkLocalUnicast() && !a.Tentative && !a.DADFailed {
			ready[a.Interface] = true
		}
	}
	return ready
}

// tell passes on what interfaces there are: to the socket, which joins groups
// on those that are served, and to the engine.
func (n *network) tell(ctx context.Context, observed netcfg.Observed) error {
	own := map[string][]netip.Addr{}
	for _, a := range observed.Addresses {
		own[a.Interface] = append(own[a.Interface], a.Prefix.Addr())
	}
	ready := linkLocals(observed)
	var list []dhcp6.Interface
	groups := map[int]udp6.Groups{}
	for _, l := range observed.Links {
		list = append(list, dhcp6.Interface{Index: l.Index, Name: l.Name, Addrs: own[l.Name]})
		// Without a link-local address that has passed duplicate address detection
		// answers would leave from another one, or not at all (D-234).
		if g, ok := n.want.served[l.Name]; ok && l.Up && ready[l.Name] {
			groups[l.Index] = g
		}
	}
	slices.SortFunc(list, func(a, b dhcp6.Interface) int { return a.Index - b.Index })
	if !slices.EqualFunc(list, n.told, func(a, b dhcp6.Interface) bool {
		return a.Index == b.Index && a.Name == b.Name && slices.Equal(a.Addrs, b.Addrs)
	}) {
		if err := n.loop.do(ctx, engine.Interfaces{List: list}); err != nil {
			return nil // stopping
		}
		n.told = list
	}
	if n.groups == nil || !maps.Equal(groups, n.groups) {
		var names []string
		for _, i := range list {
			if _, ok := groups[i.Index]; ok {
				names = append(names, i.Name)
			}
		}
		n.groups = groups
		if len(names) > 0 || len(n.want.served) == 0 {
			n.log.Info("serving DHCPv6", "interfaces", strings.Join(names, ","))
		} else {
			n.log.Warn("not serving DHCPv6: no configured interface is ready")
		}
	}
	if err := n.conn.Sync(groups); err != nil {
		return fmt.Errorf("join the DHCPv6 groups: %w", err)
	}
	return nil
}
