// Package kernel observes and changes the network configuration of the Linux kernel for package netcfg, through one
// netlink socket and /proc/sys, and watches it.
//
// It speaks through the message layer of vishvananda/netlink (package nl) rather than through its Handle: the Handle
// of v1.3.1 neither reads nor writes the protocol of an address (IFA_PROTO), by which we know our own, and drops
// the kernel's explanation of an error (extended acknowledgement), which is the best part of it.
package kernel

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	// replyTimeout ends the wait for an answer of the kernel, which comes at once or not at all.
	replyTimeout = 10 * time.Second
	// dumpTries bounds the repetitions of a dump that was interrupted by a change.
	dumpTries = 5
)

// Handle is a connection to the kernel, bound to one network namespace. Its methods may be called concurrently.
type Handle struct {
	sockets map[int]*nl.SocketHandle
	portID  uint32         // the kernel's number for our socket; notifications name it as their cause
	ns      netns.NsHandle // closed: that of the process

	// noFilter says why the kernel cannot hold our packet filter, once it has refused it: it will not learn. Another
	// try at each plan would fail and be told each time.
	noFilter atomic.Pointer[string]
}

// Open connects to the network namespace of the process.
func Open() (*Handle, error) { return open(netns.None()) }

// OpenAt connects to the network namespace ns. The caller may close ns afterwards.
func OpenAt(ns netns.NsHandle) (*Handle, error) {
	fd, err := unix.FcntlInt(uintptr(ns), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("keep network namespace %s: %w", ns, err)
	}
	return open(netns.NsHandle(fd))
}

func open(ns netns.NsHandle) (*Handle, error) {
	h := &Handle{ns: ns}
	if err := h.connect(); err != nil {
		h.Close()
		return nil, fmt.Errorf("open a netlink socket to the kernel's network configuration: %w", err)
	}
	return h, nil
}

func (h *Handle) connect() error {
	socket, err := nl.GetNetlinkSocketAt(h.ns, netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	h.sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}
	if h.portID, err = socket.GetPid(); err != nil {
		return err
	}
	timeout := unix.NsecToTimeval(replyTimeout.Nanoseconds())
	return errors.Join(
		socket.SetSendTimeout(&timeout),
		socket.SetReceiveTimeout(&timeout),
		socket.SetExtAck(true),
	)
}

// Close releases h, which must not be used any more.
func (h *Handle) Close() {
	for _, s := range h.sockets {
		s.Close()
	}
	if h.ns.IsOpen() {
		h.ns.Close()
	}
}

// request returns a netlink request that goes through h's socket.
func (h *Handle) request(messageType uint16, flags uint16, data ...nl.NetlinkRequestData) *nl.NetlinkRequest {
	return &nl.NetlinkRequest{
		NlMsghdr: unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: messageType, Flags: unix.NLM_F_REQUEST | flags},
		Data:     data,
		Sockets:  h.sockets,
	}
}

// change sends a request that asks for no more than an acknowledgement.
func (h *Handle) change(messageType uint16, flags uint16, data ...nl.NetlinkRequestData) error {
	_, err := h.request(messageType, flags|unix.NLM_F_ACK, data...).Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// dump calls each for every object of a kind. When the objects change meanwhile the kernel may skip some and says so; then
// restart is called and the dump is repeated. After dumpTries times it fails with [nl.ErrDumpInterrupted].
func (h *Handle) dump(request, reply uint16, header nl.NetlinkRequestData, restart func(), each func(message []byte) error) error {
	var err error
	for range dumpTries {
		restart()
		var parseErr error
		err = h.request(request, unix.NLM_F_DUMP, header).ExecuteIter(unix.NETLINK_ROUTE, reply, func(message []byte) bool {
			parseErr = each(message)
			return parseErr == nil
		})
		if parseErr != nil {
			return parseErr
		}
		if !errors.Is(err, nl.ErrDumpInterrupted) {
			return err
		}
	}
	return err
}

// inNamespace runs f on a thread that is in h's network namespace: /proc/sys/net shows that of the thread which looks.
func (h *Handle) inNamespace(f func() error) error {
	if !h.ns.IsOpen() {
		return f()
	}
	result := make(chan error, 1)
	go func() {
		// The thread is not unlocked: it ends with this goroutine, so that nobody else finds himself in the namespace.
		runtime.LockOSThread()
		if err := netns.Set(h.ns); err != nil {
			result <- fmt.Errorf("enter network namespace %s: %w", h.ns, err)
			return
		}
		result <- f()
	}()
	return <-result
}
