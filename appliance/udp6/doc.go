// Package udp6 is the DHCPv6 server's UDP socket: one wildcard IPv6 socket
// that serves every interface, read and written in batches (recvmmsg(2),
// sendmmsg(2)), with a bounded ring between the socket and the event loop.
//
// # Use
//
//	conn, err := udp6.Listen(udp6.ServerPort)
//	go conn.Run(ctx)                     // the reader; its error ends the daemon
//	conn.Sync(map[int]udp6.Groups{...})  // after every change of a link
//	...
//	case <-conn.Ready():                 // in the event loop
//		for range stepBatchMax {
//			datagram := conn.Next()
//			if datagram == nil {
//				break
//			}
//			... // datagram is good until the next call of Next
//		}
//		conn.Send(replies)
//
// # Goroutines
//
// One, the caller's that runs [Conn.Run] (for THREADS.md: "udp6 reader"). It
// owns the receive buffers and puts what arrives into the ring. [Conn.Next]
// belongs to the event loop, [Conn.Send] to it or its sender, [Conn.Sync] to the
// goroutine that watches the links; none of the three may be called by two
// goroutines at once.
// They do not wait for each other, and [Conn.Counters] may be called by anyone.
// The only lock guards the ring; it is held for one batch of pointer swaps.
//
// # Bounds
//
// The ring holds [RingMax] datagrams. When it is full the oldest one goes and is
// counted: its client has waited longest and is the first to ask again. A
// datagram lies in a buffer of 2,048 octets, or, when it is longer, in one of 16
// buffers of 65,535 octets; when those are all in use it is dropped and counted.
// Buffers change hands by swapping, so that a packet makes no garbage. All of it
// is 7 MiB, of which a quiet server touches little.
//
// # Interfaces that go away and come back
//
// What the kernel (seen on Linux 6.18) does with memberships of multicast groups:
//   - Interface down, up, or without carrier: they stay, nothing arrives
//     meanwhile, and when it is up again the kernel reports them (MLD) anew.
//   - Interface deleted, moved to another network namespace, or its MTU set
//     below 1,280 (IPv6 is taken off the interface, and comes back without any
//     membership): the interface's membership is gone, yet the socket still
//     holds an entry under the old interface index. The entry takes memory, and
//     if an interface of that index appears again it makes joining fail with
//     EADDRINUSE although nothing is received.
//
// So [Conn.Sync] asks the kernel which memberships the interfaces really have, drops
// stale entries and joins again. It has to be called after every change of a link;
// when nothing is to be done it does nothing.
//
// # Neighbours that do not answer
//
// A datagram to an on-link address that does not resolve waits in the kernel for
// about three seconds and counts against the socket's send buffer meanwhile. By
// default the kernel holds 212,992 octets per such neighbour, so that some forty
// forged source addresses fill the send buffer, and then nobody is answered.
// netcfg has to set net.ipv6.neigh.IFACE.unres_qlen_bytes to a few thousand on each
// served interface: the newest datagram is always kept, which is all that a
// client needs.
//
// # What is left to others
//
// This package looks at no octet of a payload. Whether a datagram is accepted by
// its destination, interface and content, and to which port an answer goes, is
// decided in appliance/dhcp6. The socket also receives on interfaces that are not
// served: unicast datagrams, and multicast ones if another program joined a group
// there. Drop them by IfIndex.
package udp6
