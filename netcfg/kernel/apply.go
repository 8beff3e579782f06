package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tandem6/tandem6/netcfg"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// MaxErrors is the most errors that one Apply words: when a link with many routes breaks they all read the same.
const MaxErrors = 100

// Apply does ops in order. One that fails does not stop the others. It returns an error for each operation that failed, at most
// MaxErrors and then one that counts the rest; each says what was tried and wraps the kernel's errno. Plan again after
// errors: the plan tells what is still missing and, as a conflict or as pending, why.
func (h *Handle) Apply(ops []netcfg.Op) []error {
	var errs []error
	omitted := 0
	a := applier{Handle: h}
	for run := range runs(ops) {
		if len(run) > 1 && a.burst(run) == nil {
			continue
		}
		for _, op := range run { // again after an error, to learn which
			err := a.apply(op)
			switch {
			case err == nil:
			case len(errs) < MaxErrors:
				errs = append(errs, explain(op, err))
			default:
				omitted++
			}
		}
	}
	if omitted > 0 {
		errs = append(errs, fmt.Errorf("%d more changes to the network configuration failed", omitted))
	}
	return errs
}

// applier applies operations in a row, with the numbers of the interfaces read once.
type applier struct {
	*Handle
	indices map[string]int
}

func (a *applier) apply(op netcfg.Op) error {
	switch op := op.(type) {
	case netcfg.SysctlSet:
		return a.inNamespace(func() error { return writeSysctl(op.Name, op.Value) })
	case netcfg.LinkSetMTU:
		return a.setLink(op.Interface, 0, nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(op.MTU))))
	case netcfg.LinkSetUp:
		return a.setLink(op.Interface, unix.IFF_UP)
	case netcfg.AddrAdd:
		return a.addAddress(op)
	case netcfg.AddrDel:
		return a.delAddress(op)
	case netcfg.RouteAdd:
		return a.addRoute(op.Route)
	case netcfg.RouteDel:
		return a.delRoute(op.Route)
	case netcfg.FilterSet:
		return a.setFilter(op.Names())
	case netcfg.ReturnPathAdd:
		return a.addReturnPath(op.Interface)
	case netcfg.ReturnPathDel:
		return a.delReturnPath(op.Index)
	}
	panic(fmt.Sprintf("kernel: unknown operation %T", op))
}

// errNoInterface wraps ENODEV, the kernel's word for it.
var errNoInterface = fmt.Errorf("there is no such interface: %w", unix.ENODEV)

// index returns the kernel's number of an interface.
func (a *applier) index(name string) (int, error) {
	if err := a.readIndices(); err != nil {
		return 0, err
	}
	if index, exists := a.indices[name]; exists {
		return index, nil
	}
	return 0, errNoInterface
}

func (a *applier) readIndices() error {
	if a.indices != nil {
		return nil
	}
	links, err := a.links()
	if err != nil {
		return err
	}
	a.indices = make(map[string]int, len(links))
	for _, l := range links {
		a.indices[l.Name] = l.Index
	}
	return nil
}

// nameOf returns the name of the interface that the kernel numbers index, or "".
func (a *applier) nameOf(index int) string {
	for name, i := range a.indices {
		if i == index {
			return name
		}
	}
	return ""
}

// setLink sets the given flags and attributes of an interface.
func (a *applier) setLink(name string, flags uint32, attrs ...nl.NetlinkRequestData) error {
	index, err := a.index(name)
	if err != nil {
		return err
	}
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index, header.Flags, header.Change = int32(index), flags, flags
	return a.change(unix.RTM_SETLINK, 0, append([]nl.NetlinkRequestData{header}, attrs...)...)
}

func (a *applier) addAddress(op netcfg.AddrAdd) error {
	index, err := a.index(op.Interface)
	if err != nil {
		return err
	}
	err = a.change(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, addressMessage(index, op.Address)...)
	if errors.Is(err, unix.EEXIST) && a.hasAddress(index, op.Address) {
		return nil
	}
	return err
}

func (a *applier) delAddress(op netcfg.AddrDel) error {
	index, err := a.index(op.Interface)
	if err == nil {
		err = a.change(unix.RTM_DELADDR, 0, addressMessage(index, op.Address)...)
	}
	if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV) {
		return nil // it is gone
	}
	return err
}

func addressMessage(index int, address netip.Prefix) []nl.NetlinkRequestData {
	header := nl.NewIfAddrmsg(unix.AF_INET6)
	header.Index = uint32(index)
	header.Prefixlen = uint8(address.Bits())
	return []nl.NetlinkRequestData{
		header,
		nl.NewRtAttr(unix.IFA_LOCAL, address.Addr().AsSlice()),
		nl.NewRtAttr(ifaProto, nl.Uint8Attr(netcfg.Protocol)),
	}
}

// hasAddress reports whether the interface has the very address, with the same prefix length.
func (a *applier) hasAddress(index int, address netip.Prefix) bool {
	addresses, err := a.addresses(func(i int) string {
		if i == index {
			return "it"
		}
		return ""
	})
	return err == nil && slices.ContainsFunc(addresses, func(have netcfg.Address) bool { return have.Prefix == address })
}

// routeRequest is the request that does op, without asking for an answer.
func (a *applier) routeRequest(op netcfg.Op) (*nl.NetlinkRequest, error) {
	switch op := op.(type) {
	case netcfg.RouteAdd:
		message, err := a.routeMessage(nl.NewRtMsg(), op.Route)
		return a.request(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, message...), err
	case netcfg.RouteDel:
		message, err := a.routeMessage(nl.NewRtDelMsg(), op.Route)
		return a.request(unix.RTM_DELROUTE, 0, message...), err
	}
	panic(fmt.Sprintf("kernel: %T is no operation on a route", op))
}

func (a *applier) changeRoute(op netcfg.Op) error {
	request, err := a.routeRequest(op)
	if err != nil {
		return err
	}
	request.Flags |= unix.NLM_F_ACK
	_, err = request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func (a *applier) addRoute(r netcfg.Route) error {
	err := a.changeRoute(netcfg.RouteAdd{Route: r})
	if errors.Is(err, unix.EEXIST) && a.hasRoute(r) {
		return nil
	}
	return err
}

func (a *applier) delRoute(r netcfg.Route) error {
	err := a.changeRoute(netcfg.RouteDel{Route: r})
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) {
		return nil // it is gone, or somebody else's
	}
	return err
}

func (a *applier) routeMessage(header *nl.RtMsg, r netcfg.Route) ([]nl.NetlinkRequestData, error) {
	header.Family = unix.AF_INET6
	header.Dst_len = uint8(r.To.Bits())
	header.Protocol = netcfg.Protocol
	header.Type = unix.RTN_UNICAST
	if r.Type == netcfg.Unreachable {
		header.Type = unix.RTN_UNREACHABLE
	}
	metric := binary.NativeEndian.AppendUint32(nil, r.Metric)
	message := []nl.NetlinkRequestData{
		header,
		nl.NewRtAttr(unix.RTA_DST, r.To.Addr().AsSlice()),
		nl.NewRtAttr(unix.RTA_PRIORITY, metric),
	}
	if r.Via.IsValid() {
		message = append(message, nl.NewRtAttr(unix.RTA_GATEWAY, r.Via.AsSlice()))
	}
	if r.Interface != "" {
		index, err := a.index(r.Interface)
		if err != nil {
			return nil, err
		}
		message = append(message, nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
	}
	return message, nil
}

// hasRoute reports whether r is there already and ours.
func (a *applier) hasRoute(r netcfg.Route) bool {
	if err := a.readIndices(); err != nil {
		return false
	}
	routes, err := a.routesLike(r)
	return err == nil && slices.ContainsFunc(routes, func(have netcfg.ObservedRoute) bool {
		if r.Interface == "" {
			have.Interface = "" // the kernel found one
		}
		return have.Route == r && have.Protocol == netcfg.Protocol
	})
}

// routesLike returns routes among which r is, if it is there. The kernel finds a route only by an address that takes it, or
// lists all; and for an address that takes an unreachable route it gives the error instead. Where a more specific route
// takes the first address of r's prefix, r is not found although it is there, which costs no more than a plan.
func (a *applier) routesLike(r netcfg.Route) ([]netcfg.ObservedRoute, error) {
	if r.Type == netcfg.Unreachable {
		return a.routes(a.nameOf, func([]byte) error { return nil })
	}
	header := &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6, Dst_len: 128, Flags: unix.RTM_F_FIB_MATCH}}
	found, err := a.request(unix.RTM_GETROUTE, 0, header, nl.NewRtAttr(unix.RTA_DST, r.To.Addr().AsSlice())).
		Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
	if err != nil || len(found) != 1 {
		return nil, err
	}
	return appendRoutes(nil, found[0], a.nameOf)
}

// explain says what was tried, and what to do where the errno alone does not tell.
func explain(op netcfg.Op, err error) error {
	var hint string
	_, isRoute := op.(netcfg.RouteAdd)
	_, isFilter := op.(netcfg.FilterSet)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		hint = " (needs root or the capability CAP_NET_ADMIN, and IPv6 must not be disabled on the interface)"
	case isFilter && lacks(err):
		hint = " (" + lacking + ")"
	case errors.Is(err, unix.EROFS):
		hint = " (/proc/sys is mounted read-only here)"
	case errors.Is(err, unix.EEXIST) && isRoute:
		hint = " (another route to the prefix has this metric; it is left alone)"
	case errors.Is(err, unix.EEXIST):
		hint = " (the interface has the address with another prefix length; it is left alone)"
	case errors.Is(err, unix.ENETDOWN):
		hint = " (the interface is down)"
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		hint = " (no link of this box leads to the next hop)"
	}
	return fmt.Errorf("could not %s: %w%s", op, err, hint)
}
