// Package config reads the configuration file of the appliance: JSON with
// comments and trailing commas, strict. Every problem is found in one go and
// named with file, line, path, what was found, and what is allowed. What is valid
// becomes the small configuration of each component: the DHCPv6 server, the
// router advertisements, and the network.
//
// reference.json has every key with its default, range and source. Keys are
// kebab-case. Times are seconds as a number, or a text with units such as "90m".
package config

import (
	"fmt"
	"io"
	"os"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/netcfg"
)

// Config is a valid configuration.
type Config struct {
	Network        netcfg.Desired  // without the routes to delegated prefixes
	Server         dhcp6.Config    // links in the order of the file
	Advertisements []Advertisement // of the links that advertise, in the same order
}

// Find returns what the link of that name advertises, or nil.
func (c *Config) Find(link string) *Advertisement {
	for i := range c.Advertisements {
		if c.Advertisements[i].Link == link {
			return &c.Advertisements[i]
		}
	}
	return nil
}

// ReadFile reads a configuration file for Parse, and no more of it than tells
// Parse that it is too large.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, FileSizeMax+1))
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return text, nil
}

// Parse reads the text of a configuration file; name, which may be empty, stands
// in its problems. The Config is nil when there is any problem but warnings, so
// that a file counts as a whole or not at all.
func Parse(name string, text []byte) (*Config, Problems) {
	d, root := parse(name, text)
	if root == nil {
		return nil, d.report()
	}
	f := read(root)
	f.inherit()
	c := f.config()
	f.check()
	if len(d.problems) == 0 {
		// A guard: what passed the checks above is valid to the component too.
		if err := c.Network.Validate(); err != nil {
			root.problem("", "%v", err)
		}
	}
	if len(d.problems) > 0 {
		c = nil
	}
	return c, d.report()
}

// file is what stands in a file, before and after inheritance.
type file struct {
	root       *node
	interfaces []iface
	forwarding bool
	routes     []placed[netcfg.Route]
	lifetimes  lifetimes
	options    options
	optionsAt  *node
	server     dhcp6.Config
	links      []*link

	// For router advertisements, when all is read.
	delegated       []delegated
	delegatedFlawed bool
}

// relaySupplied are the options that relays may supply by default: ERP Local
// Domain Name, the one for which the mechanism was made (RFC 6440).
var relaySupplied = []uint16{65}

// read reads the whole file, each value for itself.
func read(root *node) *file {
	f := &file{root: root, forwarding: true, server: dhcp6.Config{
		RelaySupplied: relaySupplied,
		DeclinedFor:   dhcp6.DefaultDeclinedFor,
		RememberFor:   dhcp6.DefaultRememberFor,
		Limits:        dhcp6.DefaultLimits,
	}}
	const yearSeconds = 366 * 86400
	root.object(fields{
		"interfaces":             func(n *node) { n.members(netcfg.MaxInterfaces, "interface", f.iface) },
		"forwarding":             func(n *node) { f.forwarding = n.boolean() },
		"routes":                 func(n *node) { n.elements(netcfg.MaxRoutes, f.route) },
		"lifetimes":              func(n *node) { f.lifetimes = n.lifetimes() },
		"options":                func(n *node) { f.options, f.optionsAt = n.options(), n },
		"limits":                 func(n *node) { n.limits(&f.server.Limits) },
		"declined-for":           func(n *node) { f.server.DeclinedFor = n.seconds(60, yearSeconds) },
		"remember-for":           func(n *node) { f.server.RememberFor = n.seconds(0, yearSeconds) },
		"accept-unicast":         func(n *node) { f.server.AcceptUnicast = n.boolean() },
		"relay-supplied-options": func(n *node) { f.server.RelaySupplied = n.relaySupplied() },
		"links":                  func(n *node) { n.members(LinksMax, "link", f.link) },
	})
	return f
}

// limits reads a "limits" object (RFC 9915 section 22).
func (n *node) limits(l *dhcp6.Limits) {
	limit := func(v *int, most uint64) func(*node) {
		return func(n *node) { *v = int(n.integer(1, most, "")) }
	}
	n.object(fields{
		"leases-per-client":              limit(&l.LeasesPerClient, 10_000),
		"prefixes-per-client":            limit(&l.PrefixesPerClient, 10_000),
		"declines-per-client":            limit(&l.DeclinesPerClient, 10_000),
		"messages-per-second-per-client": limit(&l.MessagesPerSecondPerClient, 100_000),
		"leases":                         limit(&l.Leases, netcfg.MaxDelegations),
	})
}

// relaySupplied reads the codes of options that relays may supply (D-227, D-228).
func (n *node) relaySupplied() (codes []uint16) {
	seen := map[uint16]bool{}
	n.elements(dhcp6.OptionListMax, func(n *node) {
		code := uint16(n.integer(1, 1<<16-1, ""))
		if n.flawed() {
			return
		}
		n.refused(dhcp6.CheckRelaySupplied(code))
		if seen[code] {
			n.problem("each code once", "%d a second time", code)
		}
		seen[code] = true
		codes = append(codes, code)
	})
	return codes
}

// inherit gives each link what it leaves out.
func (f *file) inherit() {
	base := f.lifetimes.over(dhcp6.Lifetimes{Preferred: dhcp6.DefaultPreferred, Valid: dhcp6.DefaultValid})
	f.lifetimes.check(base)
	for _, l := range f.links {
		l.Lifetimes = l.lifetimes.over(base)
		l.lifetimes.check(l.Lifetimes)
		l.options = l.options.over(f.options)
		l.Options = l.options.list()
		for i := range l.reservations {
			r := &l.reservations[i]
			if !r.options.forceGiven {
				r.options.force = l.options.force
			}
			r.Options = r.options.list()
		}
	}
}

// config puts the parts together.
func (f *file) config() *Config {
	c := &Config{Network: f.network(), Server: f.server}
	f.delegated, f.delegatedFlawed = f.delegatedHere()
	for _, l := range f.links {
		for i := range l.reservations {
			l.Reservations = append(l.Reservations, l.reservations[i].Reservation)
		}
		c.Server.Links = append(c.Server.Links, l.Link)
		if a := f.advertise(l); a != nil {
			c.Advertisements = append(c.Advertisements, *a)
		}
	}
	return c
}
