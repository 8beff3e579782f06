package netcfg

import (
	"fmt"
	"net/netip"
)

// Op is one change to the kernel's configuration. String words it for an operator.
type Op interface {
	fmt.Stringer
	op()
}

// SysctlSet writes a kernel parameter. Name is the path below /proc/sys: with slashes, as names of interfaces may have dots.
type SysctlSet struct {
	Name  string
	Value string
}

// LinkSetMTU sets the MTU of an interface.
type LinkSetMTU struct {
	Interface string
	MTU       int // bytes
}

// LinkSetUp sets an interface administratively up.
type LinkSetUp struct {
	Interface string
}

// AddrAdd adds an address, marked as ours. An equal address that is already there is fine.
type AddrAdd struct {
	Interface string
	Address   netip.Prefix
}

// AddrDel removes an address. That it is gone already is fine.
type AddrDel struct {
	Interface string
	Address   netip.Prefix
}

// RouteAdd adds a route, marked as ours. An equal route of ours that is already there is fine; any other route to the
// same prefix with the same metric is left alone, and the operation fails.
type RouteAdd struct {
	Route Route
}

// RouteDel removes a route if it is ours. That it is gone already is fine.
type RouteDel struct {
	Route Route
}

func (SysctlSet) op()  {}
func (LinkSetMTU) op() {}
func (LinkSetUp) op()  {}
func (AddrAdd) op()    {}
func (AddrDel) op()    {}
func (RouteAdd) op()   {}
func (RouteDel) op()   {}

func (o SysctlSet) String() string { return fmt.Sprintf("set sysctl %s to %s", o.Name, o.Value) }
func (o LinkSetMTU) String() string {
	return fmt.Sprintf("set MTU of %s to %d bytes", o.Interface, o.MTU)
}
func (o LinkSetUp) String() string { return fmt.Sprintf("set %s up", o.Interface) }
func (o AddrAdd) String() string   { return fmt.Sprintf("add address %s to %s", o.Address, o.Interface) }
func (o AddrDel) String() string {
	return fmt.Sprintf("remove address %s from %s", o.Address, o.Interface)
}
func (o RouteAdd) String() string { return "add route " + o.Route.String() }
func (o RouteDel) String() string { return "remove route " + o.Route.String() }

// forwardingOp turns IPv6 forwarding on or off, on all interfaces and on those that will appear later.
func forwardingOp(on bool) Op {
	value := "0"
	if on {
		value = "1"
	}
	return SysctlSet{Name: "net/ipv6/conf/all/forwarding", Value: value}
}

func acceptRAOp(name string, a AcceptRA) Op {
	return SysctlSet{Name: "net/ipv6/conf/" + name + "/accept_ra", Value: fmt.Sprint(a.sysctl())}
}
