package config

import (
	"fmt"
	"net/netip"

	"github.com/tandem6/tandem6/netcfg"
)

// iface is an interface as the file has it.
type iface struct {
	netcfg.Interface
	addresses []placed[netip.Prefix]
}

// iface reads one interface.
func (f *file) iface(n *node) {
	i := iface{Interface: netcfg.Interface{Name: n.key, Up: true}}
	if !isInterfaceName(n.key) {
		n.problem(interfaceNames, "the name %s", quote(n.key))
	}
	n.object(fields{
		"addresses": func(n *node) {
			i.addresses = list(n, netcfg.MaxAddresses, (*node).interfaceAddress)
		},
		"mtu": func(n *node) { i.MTU = int(n.integer(netcfg.MinMTUBytes, netcfg.MaxMTUBytes, "octets")) },
		"accept-ra": func(n *node) {
			i.AcceptRA = netcfg.AcceptRANever
			if n.boolean() {
				i.AcceptRA = netcfg.AcceptRAAlways
			}
		},
	})
	i.Addresses = values(i.addresses)
	f.interfaces = append(f.interfaces, i)
}

// interfaceAddress reads an address with the length of its network.
func (n *node) interfaceAddress() netip.Prefix {
	const allowed = "an IPv6 unicast address with the length of its network, such as 2001:db8:0:1::1/64"
	s, ok := n.text()
	if !ok {
		return netip.Prefix{}
	}
	p, err := netip.ParsePrefix(s)
	a := p.Addr()
	switch {
	case err != nil || !a.Is6() || a.Is4In6() || p.Bits() == 0 || a.IsMulticast() || a.IsUnspecified() || a.IsLoopback():
		n.problem(allowed, "%s", quote(s))
		return netip.Prefix{}
	case a == p.Masked().Addr() && p.Bits() < 127:
		n.problem(fmt.Sprintf("another address of the network, such as %v/%d", a.Next(), p.Bits()), "%v is the subnet-router anycast address (RFC 4291 section 2.6.1)", p)
		return netip.Prefix{}
	}
	return p
}

// route reads one static route.
func (f *file) route(n *node) {
	r := netcfg.Route{Metric: netcfg.DefaultMetric}
	n.object(fields{
		"to":        func(n *node) { r.To = n.prefix() },
		"via":       func(n *node) { r.Via = n.address() },
		"interface": func(n *node) { r.Interface = n.interfaceName() },
		"metric":    func(n *node) { r.Metric = uint32(n.integer(1, netcfg.AggregateMetric-1, "")) },
	})
	n.needs("to")
	n.needs("via", "interface")
	if n.flawed() {
		return
	}
	if err := r.Validate(); err != nil {
		n.problem("", "%v", err)
	}
	f.routes = append(f.routes, placed[netcfg.Route]{n, r})
}

// checkNetwork compares interfaces and routes with each other.
func (f *file) checkNetwork() {
	addresses := map[netip.Addr]*node{}
	for _, i := range f.interfaces {
		for _, a := range i.addresses {
			key := a.v.Addr()
			if !key.IsValid() || key.IsLinkLocalUnicast() { // these may be the same on each interface
				continue
			}
			if before := addresses[key]; before != nil {
				a.at.problem("each address once", "%v stands in %s already", key, before.place())
			} else {
				addresses[key] = a.at
			}
		}
	}
	routes := map[netcfg.Route]*node{}
	for _, r := range f.routes {
		if before := routes[r.v]; before != nil {
			r.at.problem("each route once", "%v stands in %s already", r.v, before.place())
		} else {
			routes[r.v] = r.at
		}
	}
}

// network is the network configuration of the box. The pools that are delegated
// from on its own links get unreachable routes (D-259); those behind relays are
// routed by the relays. Sources are validated on its own links (D-260).
func (f *file) network() netcfg.Desired {
	d := netcfg.Desired{Forwarding: f.forwarding, Routes: values(f.routes)}
	advertises := map[string]bool{}
	for _, l := range f.links {
		if l.ra != nil {
			advertises[l.Interface] = true
		}
		if l.Interface != "" {
			if !l.unvalidated {
				d.SourceValidation = append(d.SourceValidation, l.Interface)
			}
			for _, p := range l.PrefixPools {
				d.Aggregates = append(d.Aggregates, p.Prefix)
			}
		}
	}
	for _, i := range f.interfaces {
		if i.AcceptRA == netcfg.AcceptRAUnmanaged && advertises[i.Name] {
			i.AcceptRA = netcfg.AcceptRANever
		}
		d.Interfaces = append(d.Interfaces, i.Interface)
	}
	return d
}
