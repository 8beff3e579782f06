package udp6

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls are made here, and not by golang.org/x/net/ipv6 ReadBatch and
// WriteBatch, for two reasons. ReadBatch and the parsing of its control messages
// allocate 5 objects, 216 octets, for each datagram (measured, x/net v0.55.0).
// And WriteBatch waits while the send buffer is full, where the event loop must
// go on.

// mmsghdr is struct mmsghdr of recvmmsg(2). Go pads it as C does.
type mmsghdr struct {
	hdr    unix.Msghdr
	octets uint32 // length of the datagram that was received or sent
}

// recvmmsg receives at most len(messages) datagrams, and waits for none.
func recvmmsg(fd uintptr, messages []mmsghdr) (n int, errno syscall.Errno) {
	r, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&messages[0])),
		uintptr(len(messages)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

// sendmmsg sends messages until one of them fails. An error is that of the first
// message; when a later one fails, its error comes with the next call.
func sendmmsg(fd uintptr, messages []mmsghdr) (n int, errno syscall.Errno) {
	r, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&messages[0])),
		uintptr(len(messages)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

// wirePort turns a port between host order and the network order that a sockaddr holds.
func wirePort(port uint16) uint16 {
	var octets [2]byte
	binary.NativeEndian.PutUint16(octets[:], port)
	return binary.BigEndian.Uint16(octets[:])
}
