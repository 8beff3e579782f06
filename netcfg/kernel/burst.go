package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"

	"github.com/tandem6/tandem6/netcfg"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// burstMax is how many routes one system call changes. The kernel's errors for
// all of them fit into the socket's receive buffer.
const burstMax = 64

// errBurst says that some change of a burst failed, not which.
var errBurst = errors.New("a change of several routes at once failed")

// runs cuts ops into what can be done in one burst each, or is a single operation.
func runs(ops []netcfg.Op) iter.Seq[[]netcfg.Op] {
	return func(yield func([]netcfg.Op) bool) {
		for len(ops) > 0 {
			n := 0
			for n < min(len(ops), burstMax) && isRoute(ops[n]) {
				n++
			}
			n = max(n, 1)
			if !yield(ops[:n]) {
				return
			}
			ops = ops[n:]
		}
	}
}

func isRoute(op netcfg.Op) bool {
	switch op.(type) {
	case netcfg.RouteAdd, netcfg.RouteDel:
		return true
	}
	return false
}

// burst does a run of operations on routes with two system calls, where one by
// one each takes several. After an error any of them may have been done; doing
// all of them again, one by one, comes to the same end.
func (a *applier) burst(run []netcfg.Op) error {
	var messages [][]byte
	for _, op := range run {
		request, err := a.routeRequest(op)
		if err != nil {
			return err
		}
		messages = append(messages, request.Serialize())
	}
	return a.send(messages)
}

// send sends requests that ask for no more than success, in one datagram, and
// waits for the answer to the last.
func (h *Handle) send(messages [][]byte) error {
	handle := h.sockets[unix.NETLINK_ROUTE]
	last := atomic.AddUint32(&handle.Seq, uint32(len(messages)))
	first := last - uint32(len(messages)) + 1
	var datagram []byte
	for i, m := range messages {
		// struct nlmsghdr: length (4 octets), type (2), flags (2), sequence number (4), port (4).
		if i == len(messages)-1 { // the others are answered only when they fail
			flags := binary.NativeEndian.Uint16(m[6:])
			binary.NativeEndian.PutUint16(m[6:], flags|unix.NLM_F_ACK)
		}
		binary.NativeEndian.PutUint32(m[8:], first+uint32(i))
		datagram = append(datagram, m...) // routes' messages are a multiple of 4 octets long
	}
	s := handle.Socket
	s.Lock()
	defer s.Unlock()
	if err := unix.Sendto(s.GetFd(), datagram, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send to the kernel: %w", err)
	}
	failed := false
	for {
		answers, from, err := s.Receive()
		if err != nil {
			return fmt.Errorf("hear from the kernel: %w", err)
		}
		if from.Pid != nl.PidKernel { // any process may send to a netlink socket
			continue
		}
		for _, m := range answers {
			// Answers to requests before, which nobody waited for, are left out.
			if m.Header.Type != unix.NLMSG_ERROR || m.Header.Seq-first > last-first || len(m.Data) < 4 {
				continue
			}
			failed = failed || binary.NativeEndian.Uint32(m.Data) != 0
			if m.Header.Seq != last {
				continue
			}
			if failed {
				return errBurst
			}
			return nil
		}
	}
}
