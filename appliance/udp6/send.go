package udp6

import (
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sendBatchMax is how many datagrams one sendmmsg(2) sends: the replies of one
// group commit on a busy server. More is sent in several calls.
const sendBatchMax = 64

// An Outgoing is a UDP datagram to send.
type Outgoing struct {
	// Payload is at most 65,527 octets; the kernel refuses longer ones.
	Payload []byte
	// Destination is an IPv6 address and port; a zone is ignored.
	Destination netip.AddrPort
	// IfIndex is the index of the interface to send through: for an answer to a
	// directly heard client that on which the request came in (RFC 9915 section
	// 18.3.10). 0 means normal routing; to a link-local destination it is refused.
	IfIndex int
}

// addressed reports whether it is clear where o goes. The kernel is less strict:
// it would send to the loopback interface for the unspecified address, and through
// any interface to a link-local address.
func (o *Outgoing) addressed() bool {
	addr := o.Destination.Addr()
	local := addr.IsLinkLocalUnicast() || addr.IsLinkLocalMulticast()
	return addr.Is6() && !addr.IsUnspecified() && (o.IfIndex != 0 || !local)
}

// packetInfo is the control message IPV6_PKTINFO of RFC 3542 section 6. Its
// address stays unspecified, so that the kernel chooses the source: a link-local
// one of the interface for a link-local destination (RFC 6724 section 5).
type packetInfo struct {
	header unix.Cmsghdr
	info   unix.Inet6Pktinfo
}

// sender holds the arguments of sendmmsg(2) for one batch.
type sender struct {
	messages [sendBatchMax]mmsghdr
	names    [sendBatchMax]unix.RawSockaddrInet6
	parts    [sendBatchMax]unix.Iovec
	infos    [sendBatchMax]packetInfo

	pending []mmsghdr // what the next call sends
	n       int       // how many the last call sent
	errno   syscall.Errno
	write   func(fd uintptr) bool // s.send, made once
}

func newSender() *sender {
	s := new(sender)
	s.write = s.send
	for i := range sendBatchMax {
		s.names[i].Family = unix.AF_INET6
		header := &s.infos[i].header
		header.Level, header.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
		header.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
		s.messages[i].hdr.Iov = &s.parts[i]
		s.messages[i].hdr.SetIovlen(1)
	}
	return s
}

// load makes o message i.
func (s *sender) load(i int, o *Outgoing) {
	hdr := &s.messages[i].hdr
	hdr.Name, hdr.Namelen = nil, 0
	if o.addressed() { // without a name the kernel answers EDESTADDRREQ
		s.names[i].Addr = o.Destination.Addr().As16()
		s.names[i].Port = wirePort(o.Destination.Port())
		hdr.Name, hdr.Namelen = (*byte)(unsafe.Pointer(&s.names[i])), unix.SizeofSockaddrInet6
	}
	hdr.Control = nil
	hdr.SetControllen(0)
	if o.IfIndex != 0 {
		s.infos[i].info.Ifindex = uint32(o.IfIndex)
		hdr.Control = (*byte)(unsafe.Pointer(&s.infos[i]))
		hdr.SetControllen(int(unsafe.Sizeof(packetInfo{})))
	}
	s.parts[i].Base = unsafe.SliceData(o.Payload)
	s.parts[i].SetLen(len(o.Payload))
}

// send is called by RawConn.Write. It always reports true, so that nobody waits
// for room in the send buffer.
func (s *sender) send(fd uintptr) (done bool) {
	s.errno = unix.EINTR
	for s.errno == unix.EINTR {
		s.n, s.errno = sendmmsg(fd, s.pending)
	}
	return true
}

// Send sends the datagrams in their order and returns how many the kernel took.
// It never waits: a datagram that cannot be sent now (no room in the send
// buffer, no route, interface gone, too long) is counted and left out, and the
// others are sent; clients and relays ask again. The error tells the first
// failure and how many there were. After Close it is [net.ErrClosed].
//
// Send must not be called by two goroutines at once. It keeps nothing of out.
func (c *Conn) Send(out []Outgoing) (sent int, err error) {
	for rest := out; len(rest) > 0; {
		batch := rest[:min(len(rest), sendBatchMax)]
		rest = rest[len(batch):]
		n, failure := c.sendBatch(batch)
		sent += n
		if err == nil {
			err = failure
		}
	}
	failed := len(out) - sent
	c.sent.Add(uint64(sent))
	c.sendErrors.Add(uint64(failed))
	if failed > 1 {
		err = fmt.Errorf("%w; %d of %d datagrams were not sent", err, failed, len(out))
	}
	return sent, err
}

// sendBatch sends at most sendBatchMax datagrams. The error is that of the first
// one that failed.
func (c *Conn) sendBatch(batch []Outgoing) (sent int, err error) {
	s := c.sender
	for i := range batch {
		s.load(i, &batch[i])
	}
	for next := 0; next < len(batch); {
		s.pending = s.messages[next:len(batch)]
		failure := c.raw.Write(s.write)
		if failure == nil && s.errno == 0 {
			sent += s.n
			next += s.n
			continue
		}
		if failure == nil {
			failure = s.errno
		}
		if err == nil {
			o := &batch[next]
			err = fmt.Errorf("sending %d octets to %v through interface %d (0 is by routing): %w",
				len(o.Payload), o.Destination, o.IfIndex, failure)
		}
		next++
	}
	for i := range batch {
		s.parts[i].Base = nil // lets go of the payload
	}
	return sent, err
}
