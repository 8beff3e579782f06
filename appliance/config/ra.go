package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/appliance/ra"
	"github.com/tandem6/tandem6/failover/lease"
)

// Advertisement is what one interface advertises. It goes with what DHCPv6
// serves on the link, because both come from the same keys.
type Advertisement struct {
	Link, Interface string

	config   ra.Config
	prefixes []end // of config.Prefixes
	routes   []end // of config.Routes
}

// end is when a prefix ends, as the operator or the provider decided; zero: never.
type end struct{ preferred, valid lease.Time }

// At is the advertisement for a process whose clocks read now: ends in wall time
// become ends in monotonic time.
func (a *Advertisement) At(now lease.Clock) ra.Config {
	c := a.config
	c.Prefixes = append([]ra.Prefix(nil), c.Prefixes...)
	for i, e := range a.prefixes {
		c.Prefixes[i].PreferredUntil, c.Prefixes[i].ValidUntil = monotonic(e.preferred, now), monotonic(e.valid, now)
	}
	c.Routes = append([]ra.Route(nil), c.Routes...)
	for i, e := range a.routes {
		c.Routes[i].ValidUntil = monotonic(e.valid, now)
	}
	return c
}

// monotonic is the monotonic time of a wall time; zero stays zero, and what has
// passed is not zero.
func monotonic(t lease.Time, now lease.Clock) time.Duration {
	left := t.Until(now.Wall)
	switch {
	case t == 0:
		return 0
	case left == 0:
		return 1
	}
	return now.Mono + time.Duration(left)*time.Second // at most 136 years from now
}

// advertisement is a "router-advertisements" object.
type advertisement struct {
	at                   *node
	config               ra.Config
	managed, otherConfig *bool
	lifetime             *time.Duration
	minInterval          time.Duration
	prefixes             []placed[ra.Prefix]
	prefixesGiven        bool
	routes               []placed[netip.Prefix]
	routesGiven          bool
	dns                  bool
}

// advertisement reads a "router-advertisements" object. Package ra knows the
// ranges; only types are checked here.
func (n *node) advertisement() *advertisement {
	a := &advertisement{at: n, config: ra.DefaultConfig(), dns: true}
	n.object(fields{
		"managed":          func(n *node) { a.managed = ptr(n.boolean()) },
		"other-config":     func(n *node) { a.otherConfig = ptr(n.boolean()) },
		"default-lifetime": func(n *node) { a.lifetime = ptr(n.duration(0)) },
		"preference":       func(n *node) { a.config.Preference = n.routerPreference() },
		"min-interval":     func(n *node) { a.minInterval = n.duration(1) },
		"max-interval":     func(n *node) { a.config.MaxInterval = n.duration(1) },
		"mtu":              func(n *node) { a.config.MTU = uint32(n.integer(0, 1<<32-1, "octets")) },
		"hop-limit":        func(n *node) { a.config.HopLimit = uint8(n.integer(0, 255, "")) },
		"prefixes": func(n *node) {
			a.prefixesGiven, a.prefixes = true, list(n, ra.PrefixesMax, (*node).advertisedPrefix)
		},
		"routes": func(n *node) {
			a.routesGiven, a.routes = true, list(n, ra.RoutesMax, (*node).prefix)
		},
		"dns": func(n *node) { a.dns = n.boolean() },
	})
	return a
}

func ptr[T any](v T) *T { return &v }

// duration is seconds as a time.Duration, within what any field of an
// advertisement's header can have.
func (n *node) duration(least uint32) time.Duration {
	return time.Duration(n.seconds(least, 65535)) * time.Second
}

func (n *node) routerPreference() ra.Preference {
	words := []ra.Preference{ra.Medium, ra.Low, ra.High}
	return words[n.oneOf(ra.Medium.String(), ra.Low.String(), ra.High.String())]
}

// advertisedPrefix reads one of "prefixes". Hosts make addresses of their own
// where they can, in a /64, unless the file says otherwise.
func (n *node) advertisedPrefix() ra.Prefix {
	p := ra.DefaultPrefix(netip.Prefix{})
	autonomousGiven := false
	seconds := func(n *node) time.Duration { return time.Duration(n.seconds(0, lease.Infinity)) * time.Second }
	n.object(fields{
		"prefix":            func(n *node) { p.Prefix = n.prefix() },
		"on-link":           func(n *node) { p.OnLink = n.boolean() },
		"autonomous":        func(n *node) { p.Autonomous, autonomousGiven = n.boolean(), true },
		"prefer-delegation": func(n *node) { p.PreferDelegation = n.boolean() },
		"preferred":         func(n *node) { p.Preferred = seconds(n) },
		"valid":             func(n *node) { p.Valid = seconds(n) },
	})
	n.needs("prefix")
	if !autonomousGiven {
		p.Autonomous = p.Prefix.Bits() == subnetLengthUsual
	}
	return p
}

// advertise completes what the link advertises from what it serves, and has
// package ra check it.
//
// Both SLAAC and DHCPv6 give addresses by default (M, O, L and A set): hosts
// without a DHCPv6 client for addresses, such as Android, get one, and RFC 7084
// L-6 wants it so (D-316). Who wants to know each address by its lease sets
// "autonomous": false.
func (f *file) advertise(l *link) *Advertisement {
	a := l.ra
	if a == nil {
		return nil
	}
	if l.Interface == "" {
		a.at.problem(`an "interface" of the link`, "advertisements on a link that is only reached through relays")
		return nil
	}
	out := &Advertisement{Link: l.Name, Interface: l.Interface, config: a.config}
	c := &out.config
	c.Managed = l.leasesAddresses() // D-314, D-315
	if a.managed != nil {
		c.Managed = *a.managed
	}
	if a.otherConfig != nil {
		c.OtherConfig = *a.otherConfig
	}
	if a.lifetime != nil {
		c.RouterLifetime, c.NeedsGlobalPrefix = *a.lifetime, false
	}
	c.MinInterval = a.minInterval
	if c.MinInterval == 0 {
		c.MinInterval = ra.DefaultMinInterval(c.MaxInterval)
	}
	l.advertisePrefixes(out)
	l.advertiseRoutes(f.delegated, out)
	if a.dns {
		c.DNSServers = l.options.dnsServers // D-338
		for _, domain := range l.options.searchDomains {
			c.SearchDomains = append(c.SearchDomains, strings.TrimSuffix(domain, "."))
		}
	}
	c.CaptivePortal = l.options.captivePortal // D-166
	f.checkAdvertised(l, c)
	f.warnAdvertised(l, c)
	return out
}

// leasesAddresses reports whether clients on the link can get addresses.
func (l *link) leasesAddresses() bool {
	for _, s := range l.Subnets {
		if len(s.Pools) > 0 && !s.Retired {
			return true
		}
	}
	for _, r := range l.reservations {
		if len(r.Addresses) > 0 {
			return true
		}
	}
	return false
}

// advertisePrefixes are those of the file, or the link's subnets. A retired
// subnet is advertised with lifetimes of zero (D-330), and none beyond its end
// (D-320).
func (l *link) advertisePrefixes(out *Advertisement) {
	prefixes := values(l.ra.prefixes)
	if !l.ra.prefixesGiven {
		for _, s := range l.Subnets {
			p := ra.DefaultPrefix(s.Prefix)
			p.Autonomous = s.Prefix.Bits() == subnetLengthUsual
			prefixes = append(prefixes, p)
		}
	}
	ends := make([]end, len(prefixes))
	for i := range prefixes {
		for _, s := range l.Subnets {
			if !s.Prefix.Overlaps(prefixes[i].Prefix) {
				continue
			}
			ends[i] = end{s.PreferredUntil, s.ValidUntil}
			if s.Retired {
				prefixes[i].Preferred, prefixes[i].Valid = 0, 0
			}
		}
	}
	out.config.Prefixes, out.prefixes = prefixes, ends
}

// delegated is a prefix that is delegated from, and when it ends.
type delegated struct {
	prefix netip.Prefix
	end    end
}

// delegatedHere are the prefixes that this box delegates from on its own links,
// and whether there is a problem in any of them.
func (f *file) delegatedHere() (all []delegated, flawed bool) {
	for _, l := range f.links {
		for i, p := range l.PrefixPools {
			flawed = flawed || l.prefixPools[i].flawed()
			if l.Interface != "" {
				all = append(all, delegated{p.Prefix, end{p.PreferredUntil, p.ValidUntil}})
			}
		}
	}
	return all, flawed
}

// advertiseRoutes are those of the file, or all prefixes that this box delegates
// from, so that hosts find them even where it is not the default router (RFC 7084
// L-3, D-324).
func (l *link) advertiseRoutes(here []delegated, out *Advertisement) {
	routes := here
	if l.ra.routesGiven {
		routes = nil
		for _, r := range l.ra.routes {
			d := delegated{prefix: r.v}
			if i := slices.IndexFunc(here, func(d delegated) bool { return d.prefix == r.v }); i >= 0 {
				d.end = here[i].end
			}
			routes = append(routes, d)
		}
	}
	if len(routes) > ra.RoutesMax {
		l.ra.at.problemIn("routes", fmt.Sprintf("routes to all %d prefix pools", len(routes)), fmt.Sprintf("at most %d: name some in \"routes\"", ra.RoutesMax))
		return
	}
	for _, d := range routes {
		out.config.Routes = append(out.config.Routes, ra.DefaultRoute(d.prefix))
		out.routes = append(out.routes, d.end)
	}
}

// checkAdvertised adds what package ra refuses, at the key that it names, unless
// that is the consequence of another problem.
func (f *file) checkAdvertised(l *link, c *ra.Config) {
	err := c.Validate()
	if err == nil {
		return
	}
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	inherited := append([]*node{f.optionsAt, l.optionsAt}, l.subnets...)
	for _, err := range all {
		var e *ra.FieldError
		if !errors.As(err, &e) {
			l.ra.at.problem("", "%v", err)
			continue
		}
		at := l.ra.at.find(e.Field)
		flawed := at.flawed()
		if at == l.ra.at { // not in the file, but made from what is
			flawed = f.delegatedFlawed || slices.ContainsFunc(inherited, (*node).flawed)
		}
		if !flawed {
			l.ra.at.problemIn(e.Field, e.Found, e.Allowed)
		}
	}
}

// warnAdvertised warns of advertisements that leave hosts without a way out.
func (f *file) warnAdvertised(l *link, c *ra.Config) {
	if c.RouterLifetime == 0 {
		global := func(s dhcp6.Subnet) bool { return !s.Retired && !s.Prefix.Addr().IsPrivate() }
		if i := slices.IndexFunc(l.Subnets, global); i >= 0 {
			l.ra.at.find("default-lifetime").warn("leave default-lifetime out, unless another router advertises itself there", "no default route for hosts in %v", l.Subnets[i].Prefix)
		}
	} else if !f.forwarding {
		l.ra.at.warn(`"forwarding": true, or "default-lifetime": 0`, "this box offers itself as a router, but does not forward")
	}
	if !c.Managed && l.leasesAddresses() {
		l.ra.at.find("managed").warn("leave managed out", "hosts are told not to ask for the addresses that %s leases", l.Name)
	}
}
