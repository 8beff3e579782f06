package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// watchBufferBytes holds the notifications that come while the caller is busy: some thousand. A link with more routes that
// goes down overruns it, which is told as a Resync.
const watchBufferBytes = 1 << 20

// ChangeKind says what changed.
type ChangeKind uint8

const (
	Resync         ChangeKind = iota // anything may have changed: watching began, or notifications were lost
	LinkChanged                      // an interface appeared, went, or changed its state
	AddressChanged                   // an IPv6 address was added, removed, or changed its state
	RouteChanged                     // an IPv6 route of the main table was added, replaced or removed, not by this Handle
)

// Change is a notification of the kernel. It names what changed but not how: observe and plan again.
type Change struct {
	Kind      ChangeKind
	Interface string       // of LinkChanged
	Prefix    netip.Prefix // of AddressChanged, RouteChanged
}

func (c Change) String() string {
	switch c.Kind {
	case LinkChanged:
		return "interface " + c.Interface + " changed"
	case AddressChanged:
		return "address " + c.Prefix.String() + " changed"
	case RouteChanged:
		return "route " + c.Prefix.String() + " changed"
	}
	return "anything may have changed"
}

// Watch calls report for each change until ctx is done, and then returns nil; another error means that the kernel does
// not let us watch. The first call is a Resync, so that nothing is missed between an observation and the beginning
// of the watch. Changes come in bursts: collect them for a moment before observing. report must return soon.
func (h *Handle) Watch(ctx context.Context, report func(Change)) error {
	socket, err := nl.SubscribeAt(h.ns, netns.None(), unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return fmt.Errorf("subscribe to changes of the kernel's network configuration: %w", err)
	}
	defer socket.Close()
	stop := context.AfterFunc(ctx, socket.Close)
	defer stop()
	// Without CAP_NET_ADMIN the forced size is refused; then the system's default has to do.
	_ = socket.SetReceiveBufferSize(watchBufferBytes, true)

	report(Change{Kind: Resync})
	for {
		messages, from, err := socket.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			report(Change{Kind: Resync})
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("receive changes of the kernel's network configuration: %w", err)
		case from.Pid != nl.PidKernel: // any process may send to a netlink socket
			continue
		}
		for _, m := range messages {
			if c, relevant := h.parseChange(m.Header.Type, m.Header.Pid, m.Data); relevant {
				report(c)
			}
		}
	}
}

// parseChange reads a notification whose cause is the socket numbered cause. One that cannot be read is worth a Resync.
func (h *Handle) parseChange(messageType uint16, cause uint32, data []byte) (c Change, relevant bool) {
	switch messageType {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		l, err := parseLink(data)
		if err != nil {
			return Change{Kind: Resync}, true
		}
		return Change{Kind: LinkChanged, Interface: l.Name}, true
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		_, a, err := parseAddress(data)
		if err != nil {
			return Change{Kind: Resync}, true
		}
		return Change{Kind: AddressChanged, Prefix: a.Prefix}, true
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if cause == h.portID {
			return Change{}, false
		}
		return parseRouteChange(data)
	}
	return Change{}, false
}

func parseRouteChange(data []byte) (c Change, relevant bool) {
	routes, err := appendRoutes(nil, data, func(int) string { return "any" })
	if err != nil {
		return Change{Kind: Resync}, true
	}
	if len(routes) == 0 { // of another table
		return Change{}, false
	}
	return Change{Kind: RouteChanged, Prefix: routes[0].To}, true
}
