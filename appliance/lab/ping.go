package lab

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
)

// Ping sends ICMPv6 echo requests from the host to a global address until an answer comes back or the time is over.
func (h *Host) Ping(to netip.Addr, within time.Duration) error {
	var conn *icmp.PacketConn
	err := h.Do(func() (err error) {
		conn, err = icmp.ListenPacket("ip6:ipv6-icmp", "::")
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: cannot ping: %w", h.Name, err)
	}
	defer conn.Close()
	const id, between = 6, 200 * time.Millisecond
	answer := make([]byte, 1500)
	var problem error
	for deadline, sequence := time.Now().Add(within), 1; time.Now().Before(deadline); sequence++ {
		echo := icmp.Message{Type: ipv6.ICMPTypeEchoRequest, Body: &icmp.Echo{ID: id, Seq: sequence}}
		packet, err := echo.Marshal(nil) // the kernel fills in the checksum
		if err != nil {
			return err
		}
		// Without a route yet, sending fails; it may be on its way.
		if _, problem = conn.WriteTo(packet, &net.IPAddr{IP: to.AsSlice()}); problem != nil {
			problem = fmt.Errorf("%s: ping %v: %w", h.Name, to, problem)
		}
		conn.SetReadDeadline(time.Now().Add(between))
		for {
			length, from, err := conn.ReadFrom(answer)
			if err != nil {
				break // the deadline
			}
			m, err := icmp.ParseMessage(ipv6.ICMPTypeEchoReply.Protocol(), answer[:length])
			if err == nil && m.Type == ipv6.ICMPTypeEchoReply && from.String() == to.String() {
				return nil
			}
		}
	}
	if problem != nil {
		return problem
	}
	return fmt.Errorf("%s: no answer from %v within %v", h.Name, to, within)
}
