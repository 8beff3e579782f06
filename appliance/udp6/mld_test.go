package udp6

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// reports are the Multicast Listener Reports (RFC 9777) seen on the clients' side of a LAN.
type reports struct {
	w  *world
	fd int
}

// watchReports starts to record what the server's interface sends.
func (l *lan) watchReports() *reports {
	w := l.w
	w.t.Helper()
	r := &reports{w: w}
	w.inClient(func() {
		var err error
		r.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		w.check(err)
		w.t.Cleanup(func() { unix.Close(r.fd) })
		w.check(unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: wirePort(unix.ETH_P_IPV6), Ifindex: l.clientIndex()}))
	})
	return r
}

// next returns one packet that the server sent, nil if there is none.
func (r *reports) next() []byte {
	r.w.t.Helper()
	packet := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(r.fd, packet, 0)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		r.w.check(err)
		if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING {
			return packet[:n]
		}
	}
}

func (r *reports) drain() {
	r.w.t.Helper()
	for r.next() != nil {
	}
}

// wait waits for a report that says that the group has a listener.
func (r *reports) wait(group netip.Addr) {
	r.w.t.Helper()
	eventually(r.w.t, "an MLD report of "+group.String(), func() bool {
		for packet := r.next(); packet != nil; packet = r.next() {
			if reportsListener(packet, group) {
				return true
			}
		}
		return false
	})
}

// reportsListener reads a Version 2 Multicast Listener Report (RFC 9777 section
// 5.2): IPv6 header, hop-by-hop header of 8 octets, then the report.
func reportsListener(packet []byte, group netip.Addr) bool {
	const isExclude, toExclude = 2, 4 // record types of a listener without source filter
	if len(packet) < 56 || packet[6] != 0 || packet[40] != unix.IPPROTO_ICMPV6 || packet[48] != 143 {
		return false
	}
	records := binary.BigEndian.Uint16(packet[54:])
	for rest := packet[56:]; records > 0 && len(rest) >= 20; records-- {
		if (rest[0] == isExclude || rest[0] == toExclude) && netip.AddrFrom16([16]byte(rest[4:20])) == group {
			return true
		}
		rest = rest[min(len(rest), 20+16*int(binary.BigEndian.Uint16(rest[2:]))+4*int(rest[1])):]
	}
	return false
}

// udpPacket returns an IPv6 packet with a UDP datagram in it.
func udpPacket(from, to netip.Addr, fromPort, toPort uint16, payload []byte) []byte {
	length := uint16(8 + len(payload))
	packet := []byte{0x60, 0, 0, 0}
	packet = binary.BigEndian.AppendUint16(packet, length)
	packet = append(packet, unix.IPPROTO_UDP, 1)
	packet = append(packet, from.AsSlice()...)
	packet = append(packet, to.AsSlice()...)
	packet = binary.BigEndian.AppendUint16(packet, fromPort)
	packet = binary.BigEndian.AppendUint16(packet, toPort)
	packet = binary.BigEndian.AppendUint16(packet, length)
	packet = append(packet, 0, 0)
	packet = append(packet, payload...)
	// The checksum covers a pseudo header of addresses, length and protocol (RFC 8200 section 8.1).
	sum := uint32(length) + unix.IPPROTO_UDP
	covered := packet[8:]
	if len(covered)%2 == 1 {
		covered = append(covered[:len(covered):len(covered)], 0)
	}
	for ; len(covered) > 0; covered = covered[2:] {
		sum += uint32(binary.BigEndian.Uint16(covered))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(packet[46:], ^uint16(sum))
	return packet
}
