package udp6

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Groups is a set of the multicast groups of RFC 9915 section 7.1.
type Groups uint8

const (
	// AllDHCPRelayAgentsAndServers is ff02::1:2, on which clients and on-link
	// relays are heard. It belongs on every served interface.
	AllDHCPRelayAgentsAndServers Groups = 1 << iota
	// AllDHCPServers is ff05::1:3, to which relays send. It belongs on the
	// interfaces through which relays reach the server.
	AllDHCPServers
)

// groupAddresses holds the address of each bit of Groups, lowest bit first.
var groupAddresses = [...]netip.Addr{
	netip.MustParseAddr("ff02::1:2"),
	netip.MustParseAddr("ff05::1:3"),
}

// InterfacesMax is how many interfaces may be served. The kernel charges each
// membership to the socket, up to net.core.optmem_max. Two groups on each of 128
// interfaces fit into 20 KiB, the default of older kernels (newer ones: 128 KiB).
const InterfacesMax = 128

// dumpAttemptsMax bounds how often a kernel dump that changed on the way is asked
// for again. Each change of a link calls Sync again, so giving up loses nothing.
const dumpAttemptsMax = 5

// A membership is one group on one interface.
type membership struct {
	ifIndex int
	group   netip.Addr
}

func (m membership) compare(o membership) int {
	return cmp.Or(cmp.Compare(m.ifIndex, o.ifIndex), m.group.Compare(o.group))
}

// Sync makes the socket a member of exactly the groups wanted, by interface
// index. It compares with what the kernel says, so it repairs what an interface
// lost when it was deleted and made again, even under the same index, and does
// nothing when nothing is to be done. Call it at the start and after every
// change of a link (added, removed, up, down, MTU).
//
// An interface that cannot be joined, because it has gone meanwhile or has no
// IPv6, does not keep the others from being joined. The error names each one;
// the next call tries again. Sync must not be called by two goroutines at once,
// and only in the network namespace in which Listen was called.
func (c *Conn) Sync(want map[int]Groups) error {
	wanted, err := expand(want)
	if err != nil {
		return err
	}
	present, err := memberships()
	if err != nil {
		return err
	}
	leave, join := plan(c.joined, present, wanted)
	var errs []error
	for _, m := range leave { // first, for it frees what joining needs of optmem_max
		errs = append(errs, c.leave(m))
	}
	for _, m := range join {
		errs = append(errs, c.join(m))
	}
	return errors.Join(errs...)
}

// plan says what to leave and then to join, given the socket's entries, the
// interfaces' memberships and those wanted. An entry without a membership is
// stale: it is left, and joined again if it is wanted.
func plan(joined, present, wanted map[membership]bool) (leave, join []membership) {
	for m := range joined {
		if !wanted[m] || !present[m] {
			leave = append(leave, m)
		}
	}
	for m := range wanted {
		if !joined[m] || !present[m] {
			join = append(join, m)
		}
	}
	slices.SortFunc(leave, membership.compare)
	slices.SortFunc(join, membership.compare)
	return leave, join
}

// expand turns the caller's wish into a set of memberships, or says what is wrong with it.
func expand(want map[int]Groups) (map[membership]bool, error) {
	if len(want) > InterfacesMax {
		return nil, fmt.Errorf("joining DHCPv6 multicast groups: %d interfaces are asked for, at most %d can be served", len(want), InterfacesMax)
	}
	wanted := make(map[membership]bool, 2*len(want))
	for ifIndex, groups := range want {
		if ifIndex <= 0 {
			return nil, fmt.Errorf("joining DHCPv6 multicast groups: %d is no interface index", ifIndex)
		}
		if groups>>len(groupAddresses) != 0 {
			return nil, fmt.Errorf("joining DHCPv6 multicast groups: unknown group in set %#x for interface %d", groups, ifIndex)
		}
		for bit, group := range groupAddresses {
			if groups&(1<<bit) != 0 {
				wanted[membership{ifIndex, group}] = true
			}
		}
	}
	return wanted, nil
}

func (c *Conn) join(m membership) error {
	if err := c.setMembership(unix.IPV6_JOIN_GROUP, m); err != nil {
		return fmt.Errorf("joining DHCPv6 multicast group %v on interface %d: %w", m.group, m.ifIndex, err)
	}
	c.joined[m] = true
	return nil
}

// leave drops the socket's entry, which also works when the interface is gone.
func (c *Conn) leave(m membership) error {
	if err := c.setMembership(unix.IPV6_LEAVE_GROUP, m); err != nil {
		return fmt.Errorf("leaving DHCPv6 multicast group %v on interface %d: %w", m.group, m.ifIndex, err)
	}
	delete(c.joined, m)
	return nil
}

func (c *Conn) setMembership(option int, m membership) error {
	request := unix.IPv6Mreq{Multiaddr: m.group.As16(), Interface: uint32(m.ifIndex)}
	var err error
	controlErr := c.raw.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt", unix.SetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IPV6, option, &request))
	})
	return errors.Join(controlErr, err)
}

// memberships asks the kernel which IPv6 groups which interfaces are members of,
// for whichever socket. An interface that is down keeps its memberships.
func memberships() (map[membership]bool, error) {
	var messages [][]byte
	var err error
	for range dumpAttemptsMax {
		request := nl.NewNetlinkRequest(unix.RTM_GETMULTICAST, unix.NLM_F_DUMP)
		request.AddData(nl.NewIfAddrmsg(unix.AF_INET6))
		messages, err = request.Execute(unix.NETLINK_ROUTE, 0)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("asking the kernel for multicast memberships (RTM_GETMULTICAST): %w", err)
	}
	present := make(map[membership]bool, len(messages))
	for _, message := range messages {
		if len(message) < unix.SizeofIfAddrmsg {
			return nil, fmt.Errorf("asking the kernel for multicast memberships: an answer of %d octets, at least %d expected", len(message), unix.SizeofIfAddrmsg)
		}
		attributes, err := nl.ParseRouteAttr(message[unix.SizeofIfAddrmsg:])
		if err != nil {
			return nil, fmt.Errorf("asking the kernel for multicast memberships: %w", err)
		}
		for _, attribute := range attributes {
			if group, ok := netip.AddrFromSlice(attribute.Value); ok && attribute.Attr.Type == unix.IFA_MULTICAST {
				present[membership{int(nl.DeserializeIfAddrmsg(message).Index), group}] = true
			}
		}
	}
	return present, nil
}
