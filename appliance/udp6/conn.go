package udp6

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ServerPort is the UDP port that servers and relay agents listen on (RFC 9915 section 7.2).
const ServerPort = 547

// socketBufferOctets is the size asked for the socket's receive and send buffer.
// The kernel's default of 208 KiB overflows in a stall of 40 ms at 6,000
// exchanges per second; 4 MiB hold thousands of datagrams. The replies of a large
// group commit leave in one go, hence the send buffer, too.
const socketBufferOctets = 4 << 20

// Counters are totals since Listen.
type Counters struct {
	// Received is how many datagrams were read from the socket, including those
	// that Truncated, Oversized and DroppedRing count.
	Received uint64
	// DroppedRing is how many were dropped, the oldest first, because the event
	// loop did not take them in time.
	DroppedRing uint64
	// DroppedKernel is how many the kernel dropped because the socket's receive
	// buffer was full (or a checksum was wrong). It is learnt from the next datagram.
	DroppedKernel uint64
	// Oversized is how many of more than 2,048 octets were dropped because all
	// large buffers were in use.
	Oversized uint64
	// Truncated is how many were dropped because they were longer than
	// DatagramOctetsMax or came without interface and destination.
	Truncated uint64
	// Sent is how many datagrams the kernel took.
	Sent uint64
	// SendErrors is how many it refused.
	SendErrors uint64
}

// A Conn is the server's socket. See the package comment for who may call what.
type Conn struct {
	udp    *net.UDPConn
	raw    syscall.RawConn
	ring   *ring
	sender *sender
	joined map[membership]bool // what Sync joined and did not leave

	kernelDrops uint32 // the kernel's drop count when it was last seen; the reader's

	received, droppedRing, droppedKernel, oversized, truncated atomic.Uint64
	sent, sendErrors                                           atomic.Uint64
}

// Listen opens the socket on the given UDP port of every interface: [ServerPort],
// or 0 for one that the kernel chooses (for tests). It needs root or
// CAP_NET_BIND_SERVICE for ServerPort. No multicast group is joined yet.
func Listen(port uint16) (*Conn, error) {
	config := net.ListenConfig{Control: setOptions}
	// Go makes the socket IPV6_V6ONLY for the network "udp6".
	packetConn, err := config.ListenPacket(context.Background(), "udp6", net.JoinHostPort("::", strconv.Itoa(int(port))))
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return nil, fmt.Errorf("opening UDP port %d for DHCPv6: %w; stop the other DHCPv6 server or relay on this machine", port, err)
	case errors.Is(err, unix.EACCES):
		return nil, fmt.Errorf("opening UDP port %d for DHCPv6: %w; run as root or with CAP_NET_BIND_SERVICE", port, err)
	case err != nil:
		return nil, fmt.Errorf("opening UDP port %d for DHCPv6: %w", port, err)
	}
	udp := packetConn.(*net.UDPConn)
	raw, err := udp.SyscallConn()
	if err != nil {
		udp.Close()
		return nil, fmt.Errorf("opening UDP port %d for DHCPv6: %w", port, err)
	}
	return &Conn{
		udp:    udp,
		raw:    raw,
		ring:   newRing(),
		sender: newSender(),
		joined: make(map[membership]bool),
	}, nil
}

// setOptions runs before the socket is bound, so that no datagram is queued
// without its interface and destination.
func setOptions(_, _ string, raw syscall.RawConn) error {
	var err error
	controlErr := raw.Control(func(fd uintptr) { err = setSocketOptions(int(fd)) })
	return errors.Join(controlErr, err)
}

func setSocketOptions(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err != nil {
		return os.NewSyscallError("setsockopt IPV6_RECVPKTINFO", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1); err != nil {
		return os.NewSyscallError("setsockopt SO_RXQ_OVFL", err)
	}
	if err := setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF); err != nil {
		return os.NewSyscallError("setsockopt SO_RCVBUF", err)
	}
	if err := setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF); err != nil {
		return os.NewSyscallError("setsockopt SO_SNDBUF", err)
	}
	return nil
}

// setBuffer sets a buffer's size past net.core.rmem_max or wmem_max if that is
// permitted (CAP_NET_ADMIN), and up to it if not.
func setBuffer(fd, force, plain int) error {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, socketBufferOctets) == nil {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, socketBufferOctets)
}

// Run reads the socket into the ring until ctx is done or the Conn is closed,
// and then returns nil; the socket can still send until Close. Any other end
// means that the socket is dead: Run returns the reason, and the Conn is of no
// more use. Run may be called once.
func (c *Conn) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { c.udp.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	r := newReceiver()
	var rest rester
	receive := r.receive // made once: a method value is an allocation
	for {
		err := c.raw.Read(receive)
		switch {
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("reading DHCPv6 datagrams: %w", err)
		case r.errno != 0:
			return fmt.Errorf("reading DHCPv6 datagrams: %w", os.NewSyscallError("recvmmsg", r.errno))
		}
		now := time.Now()
		c.deliver(r, now)
		if d := rest.read(r.n, now); d > 0 {
			time.Sleep(d)
		}
	}
}

// Ready returns a channel that yields a value when datagrams wait. Whoever
// receives it calls [Conn.Next]. If Next has not returned nil by then, the channel
// yields again, so it is safe to stop early. A value may come although nothing waits.
func (c *Conn) Ready() <-chan struct{} { return c.ring.ready }

// Next returns the datagram that waited longest, or nil if none waits; it does
// not block. The Datagram and its Payload are valid until the next call of Next,
// so copy what is to be kept. It must not be called by two goroutines at once.
func (c *Conn) Next() *Datagram { return c.ring.next() }

// Counters returns the totals so far.
func (c *Conn) Counters() Counters {
	return Counters{
		Received:      c.received.Load(),
		DroppedRing:   c.droppedRing.Load(),
		DroppedKernel: c.droppedKernel.Load(),
		Oversized:     c.oversized.Load(),
		Truncated:     c.truncated.Load(),
		Sent:          c.sent.Load(),
		SendErrors:    c.sendErrors.Load(),
	}
}

// Port returns the UDP port that the socket is bound to.
func (c *Conn) Port() uint16 { return uint16(c.udp.LocalAddr().(*net.UDPAddr).Port) }

// Close closes the socket. [Conn.Run] returns, and the kernel leaves all groups.
func (c *Conn) Close() error { return c.udp.Close() }
