package udp6

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// recvBatchMax is how many datagrams one recvmmsg(2) reads. More gained
	// nothing in BenchmarkEcho, and each costs 62 KiB of address space.
	recvBatchMax = 32

	// spillOctets is the part of a longest datagram that exceeds its usual buffer.
	spillOctets = DatagramOctetsMax - usualOctets

	// recvControlOctets has room for the two control messages that Listen asks
	// for: in6_pktinfo (16 + 20 octets) and a drop count (16 + 4), both aligned.
	recvControlOctets = 64
)

// receiver holds the arguments of recvmmsg(2) for one batch. A datagram is
// received into its usual buffer, and what does not fit there into its spill.
type receiver struct {
	messages  [recvBatchMax]mmsghdr
	names     [recvBatchMax]unix.RawSockaddrInet6
	parts     [recvBatchMax][2]unix.Iovec
	controls  [recvBatchMax][recvControlOctets]byte
	datagrams [recvBatchMax]*Datagram
	spills    [recvBatchMax][]byte

	n     int // how many of them the last call filled
	errno syscall.Errno
}

func newReceiver() *receiver {
	r := new(receiver)
	usual := make([]byte, recvBatchMax*usualOctets)
	spill := make([]byte, recvBatchMax*spillOctets)
	for i := range recvBatchMax {
		r.spills[i] = cut(spill, i, spillOctets)
		r.parts[i][1].Base = &r.spills[i][0]
		r.parts[i][1].SetLen(spillOctets)
		r.parts[i][0].SetLen(usualOctets)
		r.replace(i, &Datagram{usual: cut(usual, i, usualOctets)})
		hdr := &r.messages[i].hdr
		hdr.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		hdr.Iov = &r.parts[i][0]
		hdr.SetIovlen(2)
		hdr.Control = &r.controls[i][0]
		r.prepare(i)
	}
	return r
}

// replace makes d the Datagram that message i is received into.
func (r *receiver) replace(i int, d *Datagram) {
	r.datagrams[i] = d
	r.parts[i][0].Base = &d.usual[0]
}

// prepare restores what the kernel overwrites in message i.
func (r *receiver) prepare(i int) {
	hdr := &r.messages[i].hdr
	hdr.Namelen = unix.SizeofSockaddrInet6
	hdr.SetControllen(recvControlOctets)
	hdr.Flags = 0
}

// receive reads a batch. It is called by RawConn.Read, which waits for the
// socket and calls again when it returns false.
func (r *receiver) receive(fd uintptr) (done bool) {
	for i := range r.n {
		r.prepare(i)
	}
	r.n, r.errno = 0, unix.EINTR
	for r.errno == unix.EINTR {
		r.n, r.errno = recvmmsg(fd, r.messages[:])
	}
	return r.errno != unix.EAGAIN
}

// control is what the control messages of a datagram say.
type control struct {
	destination netip.Addr
	ifIndex     int
	drops       uint32 // what the kernel dropped since the socket was made
	hasDrops    bool
}

// control reads the control messages of message i. It reports false if there is
// no packet information among them.
func (r *receiver) control(i int) (c control, ok bool) {
	hdr := &r.messages[i].hdr
	if hdr.Flags&unix.MSG_CTRUNC != 0 {
		return c, false
	}
	rest := r.controls[i][:hdr.Controllen]
	for len(rest) >= unix.SizeofCmsghdr {
		header, data, remainder, err := unix.ParseOneSocketControlMessage(rest)
		if err != nil {
			return c, false
		}
		rest = remainder
		switch {
		case header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
			c.destination, c.ifIndex, ok = netip.AddrFrom16(info.Addr), int(info.Ifindex), true
		case header.Level == unix.SOL_SOCKET && header.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			c.drops, c.hasDrops = binary.NativeEndian.Uint32(data), true
		}
	}
	return c, ok
}

// fill completes the Datagram of message i, except for its Payload.
func (r *receiver) fill(i int, c control, now time.Time) *Datagram {
	name := &r.names[i]
	d := r.datagrams[i]
	d.Source = netip.AddrPortFrom(netip.AddrFrom16(name.Addr), wirePort(name.Port))
	d.Destination = c.destination
	d.IfIndex = c.ifIndex
	d.Received = now
	return d
}

// deliver moves the batch into the ring and counts.
func (c *Conn) deliver(r *receiver, now time.Time) {
	c.received.Add(uint64(r.n))
	c.ring.mu.Lock()
	defer c.ring.mu.Unlock()
	for i := range r.n {
		info, ok := r.control(i)
		if info.hasDrops {
			c.droppedKernel.Add(uint64(info.drops - c.kernelDrops)) // right across a wrap, too
			c.kernelDrops = info.drops
		}
		if !ok || r.messages[i].hdr.Flags&unix.MSG_TRUNC != 0 {
			c.truncated.Add(1)
			continue
		}
		d := r.fill(i, info, now)
		if !c.setPayload(d, int(r.messages[i].octets), r.spills[i]) {
			c.oversized.Add(1)
			continue
		}
		empty, dropped := c.ring.put(d)
		if dropped {
			c.droppedRing.Add(1)
		}
		r.replace(i, empty)
	}
	c.ring.signal()
}

// setPayload sets the Payload of a datagram of the given length, of which the
// beginning is in d.usual and the rest in spill. It reports false when it needs a
// large buffer and all are in use. The caller holds the ring's lock.
func (c *Conn) setPayload(d *Datagram, octets int, spill []byte) bool {
	if octets <= usualOctets {
		d.Payload = d.usual[:octets:octets]
		return true
	}
	d.large = c.ring.borrow()
	if d.large == nil {
		return false
	}
	d.Payload = d.large[:octets:octets]
	n := copy(d.Payload, d.usual)
	copy(d.Payload[n:], spill)
	return true
}
