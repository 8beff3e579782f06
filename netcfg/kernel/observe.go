package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/tandem6/tandem6/netcfg"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ifaProto is IFA_PROTO of linux/if_addr.h (Linux 5.18); x/sys/unix does not have it.
const ifaProto = 11

// MaxObservedRoutes is the largest routing table that is read: all delegations and the Internet's full
// table several times over. A larger one would take more memory than a box has.
const MaxObservedRoutes = 3_000_000

// Observe reads the links, the IPv6 addresses, the IPv6 routes of the main table, source validation, and the kernel
// parameters that a plan needs.
func (h *Handle) Observe() (netcfg.Observed, error) {
	var o netcfg.Observed
	links, err := h.links()
	if err != nil {
		return o, err
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Index] = l.Name
	}
	nameOf := func(index int) string { return names[index] }
	o.Links = links
	if o.Addresses, err = h.addresses(nameOf); err != nil {
		return netcfg.Observed{}, err
	}
	returns := make(returnPaths)
	if o.Routes, err = h.routes(nameOf, returns.addRoute); err != nil {
		return netcfg.Observed{}, err
	}
	if err := h.returnRules(returns.addRule); err != nil {
		return netcfg.Observed{}, err
	}
	o.ReturnPaths = returns.sorted()
	o.Filter = h.filter()
	if err := h.inNamespace(func() error { return observeSysctls(&o) }); err != nil {
		return netcfg.Observed{}, err
	}
	return o, nil
}

func observeSysctls(o *netcfg.Observed) error {
	forwarding, err := readSysctlNumber("net/ipv6/conf/all/forwarding", 0)
	if err != nil {
		return err
	}
	o.Forwarding = forwarding != 0
	reflect, err := readSysctlNumber("net/ipv6/fwmark_reflect", 1)
	if err != nil {
		return err
	}
	o.MarksUnreflected = reflect == 0
	for n := range o.NeighborThresholds {
		name := fmt.Sprintf("net/ipv6/neigh/default/gc_thresh%d", n+1)
		if o.NeighborThresholds[n], err = readSysctlNumber(name, 0); err != nil {
			return err
		}
	}
	for n := range o.Links {
		l := &o.Links[n]
		if l.AcceptRA, err = readSysctlNumber("net/ipv6/conf/"+l.Name+"/accept_ra", netcfg.AcceptRAUnknown); err != nil {
			return err
		}
		if l.NeighborQueueBytes, err = readSysctlNumber("net/ipv6/neigh/"+l.Name+"/unres_qlen_bytes", 0); err != nil {
			return err
		}
	}
	return nil
}

// links returns all interfaces.
func (h *Handle) links() ([]netcfg.Link, error) {
	var links []netcfg.Link
	err := h.dump(unix.RTM_GETLINK, unix.RTM_NEWLINK, nl.NewIfInfomsg(unix.AF_UNSPEC),
		func() { links = links[:0] },
		func(m []byte) error {
			l, err := parseLink(m)
			links = append(links, l)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("list the interfaces: %w", err)
	}
	return links, nil
}

func parseLink(m []byte) (netcfg.Link, error) {
	var l netcfg.Link
	attrs, err := attributes(m, unix.SizeofIfInfomsg)
	if err != nil {
		return l, err
	}
	header := nl.DeserializeIfInfomsg(m)
	l.Index = int(header.Index)
	l.Up = header.Flags&unix.IFF_UP != 0
	l.Carrier = header.Flags&unix.IFF_LOWER_UP != 0
	for _, a := range attrs {
		switch a.kind {
		case unix.IFLA_IFNAME:
			l.Name = string(bytes.TrimRight(a.value, "\x00"))
		case unix.IFLA_MTU:
			l.MTU = int(a.uint32())
		case unix.IFLA_ADDRESS:
			l.HardwareAddr = net.HardwareAddr(a.value).String()
		}
	}
	return l, nil
}

// addresses returns the IPv6 addresses of the interfaces to which nameOf gives a name.
func (h *Handle) addresses(nameOf func(index int) string) ([]netcfg.Address, error) {
	var addresses []netcfg.Address
	err := h.dump(unix.RTM_GETADDR, unix.RTM_NEWADDR, nl.NewIfAddrmsg(unix.AF_INET6),
		func() { addresses = addresses[:0] },
		func(m []byte) error {
			index, a, err := parseAddress(m)
			if a.Interface = nameOf(index); a.Interface != "" { // or the interface is so new that it was not listed
				addresses = append(addresses, a)
			}
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("list the addresses: %w", err)
	}
	return addresses, nil
}

func parseAddress(m []byte) (index int, a netcfg.Address, err error) {
	attrs, err := attributes(m, unix.SizeofIfAddrmsg)
	if err != nil {
		return 0, a, err
	}
	header := nl.DeserializeIfAddrmsg(m)
	flags := uint32(header.Flags)
	var address, local netip.Addr
	for _, t := range attrs {
		switch t.kind {
		case unix.IFA_ADDRESS:
			address = t.addr()
		case unix.IFA_LOCAL: // only when IFA_ADDRESS is that of the peer
			local = t.addr()
		case unix.IFA_FLAGS:
			flags = t.uint32()
		case ifaProto:
			a.Protocol = t.uint8()
		}
	}
	if local.IsValid() {
		address = local
	}
	a.Prefix = netip.PrefixFrom(address, int(header.Prefixlen))
	a.Tentative = flags&unix.IFA_F_TENTATIVE != 0
	a.DADFailed = flags&unix.IFA_F_DADFAILED != 0
	a.Deprecated = flags&unix.IFA_F_DEPRECATED != 0
	return int(header.Index), a, nil
}

// routes returns the IPv6 routes of the main table, and calls others for each that may be of another one. While others keep changing a large table, a dump without interruption may
// never come; then the last one will do. Each operation is checked again by the kernel: what is there is
// not added, what is gone or not ours is not removed.
func (h *Handle) routes(nameOf func(index int) string, others func(message []byte) error) ([]netcfg.ObservedRoute, error) {
	var routes []netcfg.ObservedRoute
	header := &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6}}
	err := h.dump(unix.RTM_GETROUTE, unix.RTM_NEWROUTE, header,
		func() { routes = routes[:0] },
		func(m []byte) error {
			var err error
			if len(m) >= unix.SizeofRtMsg && nl.DeserializeRtMsg(m).Table != unix.RT_TABLE_MAIN {
				return others(m)
			}
			routes, err = appendRoutes(routes, m, nameOf)
			if err == nil && len(routes) > MaxObservedRoutes {
				err = fmt.Errorf("there are more than %d", MaxObservedRoutes)
			}
			return err
		})
	if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list the routes of the main table: %w", err)
	}
	return routes, nil
}

// appendRoutes parses a route and appends it, once for each of its next hops. Routes of other tables, of the
// destination cache, and on interfaces without a name are left out.
func appendRoutes(routes []netcfg.ObservedRoute, m []byte, nameOf func(index int) string) ([]netcfg.ObservedRoute, error) {
	attrs, err := attributes(m, unix.SizeofRtMsg)
	if err != nil {
		return routes, err
	}
	header := nl.DeserializeRtMsg(m)
	if header.Family != unix.AF_INET6 || header.Flags&unix.RTM_F_CLONED != 0 {
		return routes, nil
	}
	r := netcfg.ObservedRoute{Protocol: header.Protocol}
	r.Type = routeType(header.Type)
	table, destination := uint32(header.Table), netip.IPv6Unspecified()
	first, index := len(routes), 0
	for _, a := range attrs {
		switch a.kind {
		case unix.RTA_TABLE:
			table = a.uint32()
		case unix.RTA_DST:
			destination = a.addr()
		case unix.RTA_PRIORITY:
			r.Metric = a.uint32()
		case unix.RTA_GATEWAY:
			r.Via = a.addr()
		case unix.RTA_OIF:
			index = int(a.uint32())
		case unix.RTA_MULTIPATH:
			if routes, err = appendHops(routes, a.value, nameOf); err != nil {
				return routes[:first], err
			}
		}
	}
	r.To = netip.PrefixFrom(destination, int(header.Dst_len))
	if table != unix.RT_TABLE_MAIN {
		return routes[:first], nil
	}
	for n := range routes[first:] {
		hop := &routes[first+n]
		r.Route.Via, r.Route.Interface = hop.Via, hop.Interface
		*hop = r
		hop.Shared = true
	}
	if len(routes) > first {
		return routes, nil
	}
	if r.Type == netcfg.Unicast { // the kernel shows an interface for others too, but it has no meaning
		if r.Interface = nameOf(index); r.Interface == "" {
			return routes, nil
		}
	}
	return append(routes, r), nil
}

// appendHops appends a route with no more than a next hop for each entry of RTA_MULTIPATH.
func appendHops(routes []netcfg.ObservedRoute, b []byte, nameOf func(index int) string) ([]netcfg.ObservedRoute, error) {
	for len(b) > 0 {
		if len(b) < unix.SizeofRtNexthop {
			return routes, errTruncated
		}
		hop := nl.DeserializeRtNexthop(b)
		size := int(hop.RtNexthop.Len)
		if size < unix.SizeofRtNexthop || size > len(b) {
			return routes, errTruncated
		}
		attrs, err := attributes(b[:size], unix.SizeofRtNexthop)
		if err != nil {
			return routes, err
		}
		var r netcfg.ObservedRoute
		r.Interface = nameOf(int(hop.Ifindex))
		for _, a := range attrs {
			if a.kind == unix.RTA_GATEWAY {
				r.Via = a.addr()
			}
		}
		routes = append(routes, r)
		b = b[min(len(b), (size+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1)):]
	}
	return routes, nil
}

func routeType(kernelType uint8) netcfg.RouteType {
	switch kernelType {
	case unix.RTN_UNICAST:
		return netcfg.Unicast
	case unix.RTN_UNREACHABLE:
		return netcfg.Unreachable
	}
	return netcfg.OtherType
}

var errTruncated = errors.New("the kernel sent a truncated netlink message")

// attribute is one attribute of a netlink message. Its accessors give zero for a value of the wrong size.
type attribute struct {
	kind  uint16
	value []byte
}

// attributes returns the attributes behind a header of headerSize octets.
func attributes(m []byte, headerSize int) ([]attribute, error) {
	if len(m) < headerSize {
		return nil, errTruncated
	}
	m = m[headerSize:]
	attrs := make([]attribute, 0, 16)
	for len(m) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(m))
		if size < unix.SizeofRtAttr || size > len(m) {
			return nil, errTruncated
		}
		kind := binary.NativeEndian.Uint16(m[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		attrs = append(attrs, attribute{kind: kind, value: m[unix.SizeofRtAttr:size]})
		m = m[min(len(m), (size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
	}
	return attrs, nil
}

func (a attribute) uint8() uint8 {
	if len(a.value) != 1 {
		return 0
	}
	return a.value[0]
}

func (a attribute) uint32() uint32 {
	if len(a.value) != 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(a.value)
}

func (a attribute) addr() netip.Addr {
	addr, _ := netip.AddrFromSlice(a.value)
	return addr
}
