package lab_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/tandem6/tandem6/appliance/lab"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// transportConfig has two links, one of which may have relays, and an interface that is no link.
const transportConfig = `{
	"interfaces": {
		"eth0": {"addresses": ["2001:db8:0:a::1/64"]},
		"eth1": {"addresses": ["2001:db8:0:b::1/64"]},
		"wan0": {"addresses": ["2001:db8:0:c::1/64"]},
	},
	"links": {
		"a": {"interface": "eth0", "subnets": [{"prefix": "2001:db8:0:a::/64"}]},
		"b": {"interface": "eth1", "subnets": [{"prefix": "2001:db8:0:b::/64"}], "relays": {"from": ["2001:db8:0:b::/64", "fe80::/10"]}},
	},
}`

// A sender sends hand-made datagrams from a host's eth0 and sees what comes back.
type sender struct {
	host    *lab.Host
	capture *lab.Capture
	server  []netip.Addr // its addresses at the other end
	xids    byte         // used
}

// solicit makes a new client's Solicit that asks for an address, and for the Server Unicast option that no server may send any more.
func (s *sender) solicit() *dhcpv6.Message {
	s.xids++
	m := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeSolicit, TransactionID: dhcpv6.TransactionID{0xaa, 0xbb, s.xids}}
	m.AddOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: 1, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, s.xids}}))
	m.AddOption(dhcpv6.OptElapsedTime(0))
	m.AddOption(dhcpv6.OptRequestedOption(dhcpv6.OptionUnicast))
	m.AddOption(&dhcpv6.OptIANA{IaId: [4]byte{0, 0, 0, 1}})
	return m
}

// send sends a message from a port of eth0.
func (s *sender) send(t *testing.T, m dhcpv6.DHCPv6, port uint16, to netip.Addr, hopLimit int) {
	t.Helper()
	conn := s.host.ListenUDP(t, netip.AddrPortFrom(netip.IPv6Unspecified(), port))
	defer conn.Close()
	if to.IsMulticast() || to.IsLinkLocalUnicast() {
		to = to.WithZone(fmt.Sprint(linkOf(t, s.host, "eth0").Index))
	}
	_, err := ipv6.NewPacketConn(conn).WriteTo(m.ToBytes(), &ipv6.ControlMessage{HopLimit: hopLimit}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 547)))
	if err != nil {
		t.Fatal(err)
	}
}

// answer waits for the answer to a message.
func (s *sender) answer(t *testing.T, m *dhcpv6.Message) lab.Packet {
	t.Helper()
	return s.capture.Wait(t, clientTime, 0, "answer", s.isAnswer(m))
}

func (s *sender) isAnswer(m *dhcpv6.Message) func(lab.Packet) bool {
	return func(p lab.Packet) bool {
		return slices.Contains(s.server, p.Src.Addr()) && p.Message.TransactionID == m.TransactionID
	}
}

var allServers = netip.MustParseAddr("ff02::1:2")

// TestTransport sends the server what comes from where it should, and what does not.
func TestTransport(t *testing.T) {
	t.Parallel()
	needTandem6d(t)
	lab.Need(t, "tcpdump", "tshark")
	router := lab.NewHost(t, "server")
	connect := func(iface, address string) *sender {
		h := lab.NewHost(t, "at-"+iface)
		lab.Cable(t, router, iface, h, "eth0")
		h.LinkLocal(t, "eth0")
		return &sender{host: h, capture: h.Capture(t, "eth0"), server: []netip.Addr{router.LinkLocal(t, iface), netip.MustParseAddr(address)}}
	}
	a, b, wan := connect("eth0", "2001:db8:0:a::1"), connect("eth1", "2001:db8:0:b::1"), connect("wan0", "2001:db8:0:c::1")
	server := binaries.NewTandem6d(t, router, transportConfig, false)
	server.Start(t)
	t.Cleanup(func() {
		audit(t, a.capture.Packets(t))
		a.capture.Check(t)
		b.capture.Check(t)
	})
	// silence shows that a message was not answered: a later one was.
	silence := func(t *testing.T, s *sender, m *dhcpv6.Message) {
		t.Helper()
		after := a.solicit()
		a.send(t, after, 546, allServers, 1)
		a.answer(t, after)
		for _, p := range s.capture.Packets(t) {
			if s.isAnswer(m)(p) {
				t.Errorf("answer: %v", p)
			}
		}
	}

	// D-004, D-016: any source port is accepted, answers go to 546.
	t.Run("source port", func(t *testing.T) {
		for _, port := range []uint16{546, 547, 1024, 40000} {
			m := a.solicit()
			a.send(t, m, port, allServers, 1)
			if p := a.answer(t, m); p.Dst.Port() != 546 {
				t.Errorf("the answer to port %d goes to port %d, want 546", port, p.Dst.Port())
			}
		}
	})
	// D-014
	t.Run("hop limit", func(t *testing.T) {
		for _, hopLimit := range []int{1, 64, 255} {
			m := a.solicit()
			a.send(t, m, 546, allServers, hopLimit)
			a.answer(t, m)
		}
	})
	// D-007, D-057: each link by itself, one server for both.
	t.Run("two links", func(t *testing.T) {
		ma, mb := a.solicit(), b.solicit()
		mb.TransactionID[0] = 0xbb
		a.send(t, ma, 546, allServers, 1)
		b.send(t, mb, 546, allServers, 1)
		pa, pb := a.answer(t, ma), b.answer(t, mb)
		if !pa.Message.Options.ServerID().Equal(pb.Message.Options.ServerID()) {
			t.Errorf("server identifiers %v and %v", pa.Message.Options.ServerID(), pb.Message.Options.ServerID())
		}
		for _, test := range []struct {
			answer lab.Packet
			prefix string
		}{{pa, "2001:db8:0:a::/64"}, {pb, "2001:db8:0:b::/64"}} {
			for _, l := range lab.Leases(test.answer.Message) {
				if !netip.MustParsePrefix(test.prefix).Contains(l.Prefix.Addr()) {
					t.Errorf("%v is not in %s", l, test.prefix)
				}
			}
		}
		for _, elsewhere := range []*sender{b, wan} {
			for _, p := range elsewhere.capture.Packets(t) {
				if elsewhere.isAnswer(ma)(p) {
					t.Errorf("an answer to a client at eth0 leaves elsewhere: %v", p)
				}
			}
		}
	})
	// D-015
	t.Run("no link", func(t *testing.T) {
		m := wan.solicit()
		wan.send(t, m, 546, allServers, 1)
		silence(t, wan, m)
	})
	// D-010, D-012: messages to an address of the server's own get no answer, so no UseMulticast either.
	t.Run("unicast", func(t *testing.T) {
		for _, to := range a.server {
			for _, kind := range []dhcpv6.MessageType{dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew} {
				m := a.solicit()
				m.MessageType = kind
				if kind != dhcpv6.MessageTypeSolicit {
					m.AddOption(dhcpv6.OptServerID(serverOf(t, a)))
				}
				a.host.Run(t, "ip", "address", "replace", "2001:db8:0:a::99/64", "dev", "eth0")
				a.send(t, m, 546, to, 64)
				silence(t, a, m)
			}
		}
		if list := server.Leases(t); len(list) > 0 {
			t.Errorf("leases %v, want none", list)
		}
	})
	// D-013
	t.Run("Ethernet unicast", func(t *testing.T) {
		m := a.solicit()
		sendFrame(t, a.host, linkOf(t, router, "eth0").HardwareAddr, m.ToBytes())
		a.answer(t, m)
	})
	// D-011: asked for in every Solicit here.
	t.Run("Server Unicast option", func(t *testing.T) {
		m := a.solicit()
		a.send(t, m, 546, allServers, 1)
		if p := a.answer(t, m); p.Message.GetOneOption(dhcpv6.OptionUnicast) != nil {
			t.Errorf("the answer holds the Server Unicast option: %v", p)
		}
	})

	relayed := func(s *sender, options ...dhcpv6.Option) (*dhcpv6.Message, *dhcpv6.RelayMessage) {
		m := s.solicit()
		forward := &dhcpv6.RelayMessage{
			MessageType: dhcpv6.MessageTypeRelayForward, LinkAddr: net.ParseIP("2001:db8:0:b::99"), PeerAddr: net.ParseIP("fe80::99"),
		}
		forward.AddOption(dhcpv6.OptInterfaceID([]byte("port7")))
		for _, o := range options {
			forward.AddOption(o)
		}
		forward.AddOption(dhcpv6.OptRelayMessage(m))
		return m, forward
	}
	b.host.Run(t, "ip", "address", "add", "2001:db8:0:b::99/64", "dev", "eth0")
	// D-003, D-005: relays reach the server at its address and at All_DHCP_Servers, and are answered at port 547.
	t.Run("relay", func(t *testing.T) {
		for _, to := range []string{"2001:db8:0:b::1", "ff05::1:3"} {
			for _, port := range []uint16{547, 1024} {
				m, forward := relayed(b)
				b.send(t, forward, port, netip.MustParseAddr(to), 8)
				if p := b.answer(t, m); p.Dst.Port() != 547 {
					t.Errorf("the answer to the relay goes to port %d, want 547", p.Dst.Port())
				}
			}
		}
	})
	// D-217: a relay may ask for answers at the port that it sent from.
	t.Run("relay source port", func(t *testing.T) {
		m, forward := relayed(b, dhcpv6.OptRelayPort(0))
		b.send(t, forward, 50000, netip.MustParseAddr("2001:db8:0:b::1"), 8)
		if p := b.answer(t, m); p.Dst.Port() != 50000 {
			t.Errorf("the answer to the relay goes to port %d, want 50000", p.Dst.Port())
		}
	})
	// D-233
	t.Run("relay where none is expected", func(t *testing.T) {
		m, forward := relayed(a)
		a.send(t, forward, 547, allServers, 8)
		silence(t, a, m)
	})
	// D-020, D-025, D-034, D-035, D-040: what is no message for a server leaves it alive and silent.
	t.Run("not for a server", func(t *testing.T) {
		for _, kind := range []dhcpv6.MessageType{
			dhcpv6.MessageTypeAdvertise, dhcpv6.MessageTypeReply, dhcpv6.MessageTypeReconfigure, 200,
		} {
			m := a.solicit()
			m.MessageType = kind
			a.send(t, m, 546, allServers, 1)
			silence(t, a, m)
		}
		m, reply := relayed(b)
		reply.MessageType = dhcpv6.MessageTypeRelayReply
		b.send(t, reply, 547, netip.MustParseAddr("2001:db8:0:b::1"), 8)
		silence(t, b, m)
	})
}

// serverOf asks for the server's identifier.
func serverOf(t *testing.T, s *sender) dhcpv6.DUID {
	t.Helper()
	m := s.solicit()
	s.send(t, m, 546, allServers, 1)
	return s.answer(t, m).Message.Options.ServerID()
}

// sendFrame sends a DHCPv6 message to the servers' multicast address in an Ethernet frame to a single machine.
func sendFrame(t *testing.T, h *lab.Host, to net.HardwareAddr, message []byte) {
	t.Helper()
	link := linkOf(t, h, "eth0")
	source, destination := h.LinkLocal(t, "eth0").As16(), allServers.As16()
	udp := binary.BigEndian.AppendUint16(nil, 546)
	udp = binary.BigEndian.AppendUint16(udp, 547)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(message)))
	udp = append(append(udp, 0, 0), message...)
	pseudo := slices.Concat(source[:], destination[:], []byte{0, 0, 0, byte(len(udp)), 0, 0, 0, unix.IPPROTO_UDP}, udp)
	binary.BigEndian.PutUint16(udp[6:], internetChecksum(pseudo))
	ip := slices.Concat([]byte{6 << 4, 0, 0, 0, 0, byte(len(udp)), unix.IPPROTO_UDP, 1}, source[:], destination[:])
	frame := slices.Concat(to, link.HardwareAddr, []byte{0x86, 0xdd}, ip, udp)
	err := h.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link.Index})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// internetChecksum is the one's complement sum of 16-bit words (RFC 1071).
func internetChecksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		word := uint32(b[i]) << 8
		if i+1 < len(b) {
			word |= uint32(b[i+1])
		}
		sum += word
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func linkOf(t *testing.T, h *lab.Host, iface string) *net.Interface {
	t.Helper()
	var link *net.Interface
	err := h.Do(func() (err error) {
		link, err = net.InterfaceByName(iface)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return link
}
