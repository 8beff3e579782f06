package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A batchSocket sends and receives many datagrams with each system call, on behalf of one goroutine. It is made of system calls
// and nothing else, because the load generator shares the processors with the server that it measures: golang.org/x/net/ipv6
// lists all interfaces of the machine for each batch whose destination has a zone, which took three times as long as the rest.
type batchSocket struct {
	file     *os.File // keeps fd open
	fd       uintptr  // blocking: the thread has nothing else to do
	to       unix.RawSockaddrInet6
	outgoing [streamBatch]mmsghdr
	incoming [streamBatch]mmsghdr
	parts    [2][streamBatch]unix.Iovec // of outgoing and incoming
	buffers  [streamBatch][packetOctets]byte
	queued   int
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr    unix.Msghdr
	octets uint32 // received
}

// newBatchSocket takes over conn to send to one destination, whose zone is an interface's number. Receiving waits as long as
// given at most.
func newBatchSocket(conn *net.UDPConn, to netip.AddrPort, wait time.Duration) (*batchSocket, error) {
	defer conn.Close()
	zone, err := strconv.ParseUint(to.Addr().Zone(), 10, 32)
	if err != nil {
		return nil, fmt.Errorf("the zone of %v is no number", to)
	}
	file, err := conn.File()
	if err != nil {
		return nil, err
	}
	s := &batchSocket{file: file, fd: file.Fd()}
	timeout := unix.NsecToTimeval(wait.Nanoseconds())
	if err := unix.SetNonblock(int(s.fd), false); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	if err := unix.SetsockoptTimeval(int(s.fd), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return nil, os.NewSyscallError("setsockopt SO_RCVTIMEO", err)
	}
	s.to = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: to.Addr().As16(), Scope_id: uint32(zone)}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&s.to.Port))[:], to.Port())
	for i := range streamBatch {
		out, in := &s.outgoing[i].hdr, &s.incoming[i].hdr
		out.Name, out.Namelen = (*byte)(unsafe.Pointer(&s.to)), unix.SizeofSockaddrInet6
		out.Iov, in.Iov = &s.parts[0][i], &s.parts[1][i]
		out.SetIovlen(1)
		in.SetIovlen(1)
		s.parts[1][i].Base = &s.buffers[i][0]
		s.parts[1][i].SetLen(packetOctets)
	}
	return s, nil
}

// Close closes the socket.
func (s *batchSocket) Close() error { return s.file.Close() }

// send queues a packet, which must not change until flush, and flushes when there are enough for a system call.
func (s *batchSocket) send(packet []byte) error {
	s.parts[0][s.queued].Base = &packet[0]
	s.parts[0][s.queued].SetLen(len(packet))
	if s.queued++; s.queued == streamBatch {
		return s.flush()
	}
	return nil
}

// flush sends what is queued.
func (s *batchSocket) flush() error {
	for sent := 0; sent < s.queued; {
		n, err := s.call(unix.SYS_SENDMMSG, s.outgoing[sent:s.queued], 0)
		if err != nil {
			return os.NewSyscallError("sendmmsg", err)
		}
		sent += n
	}
	s.queued = 0
	return nil
}

// receive calls take for each packet that is there, after waiting for the first.
func (s *batchSocket) receive(take func(packet []byte) error) error {
	n, err := s.call(unix.SYS_RECVMMSG, s.incoming[:], unix.MSG_WAITFORONE)
	if err == unix.EAGAIN {
		return nil // none came in time
	}
	if err != nil {
		return os.NewSyscallError("recvmmsg", err)
	}
	for i := range n {
		if err := take(s.buffers[i][:s.incoming[i].octets]); err != nil {
			return err
		}
	}
	return nil
}

func (s *batchSocket) call(trap uintptr, messages []mmsghdr, flags uintptr) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(trap, s.fd, uintptr(unsafe.Pointer(&messages[0])), uintptr(len(messages)), flags, 0, 0)
		runtime.KeepAlive(s)
		if errno == 0 {
			return int(n), nil
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}
