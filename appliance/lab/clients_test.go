package lab_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/tandem6/tandem6/appliance/lab"
)

// clientTime bounds a client's step. The slowest is a Rebind that met no server: it comes again after 10 s, doubled and shifted at
// random (REB_TIMEOUT, RFC 9915 section 7.6).
const clientTime = 60 * time.Second

// shortLived makes clients renew soon, and leaves them ample time to rebind. T2 is well after T1 because systemd-networkd takes ten
// seconds of liberty with its timers, and goes straight to Rebind when both are over.
var shortLived = lab.Settings{PreferredSeconds: 20, ValidSeconds: 120, RenewSeconds: 4, RebindSeconds: 15}

// TestClients has every client get, renew, rebind after the server was killed, find again after its own reboot, and release its
// leases on the server's own link. With [audit] on all packets it shows
//   - D-001, D-006, D-008: where answers come from and go to;
//   - D-085, D-177: what no answer holds;
//   - D-053, D-054, D-055: transaction-id, Server and Client Identifier;
//   - D-058, D-340: one server DUID, also after SIGKILL and restart;
//   - D-066, D-155: each IA that was asked for is in the answer;
//   - D-075: the Reply holds what the Advertise offered;
//   - D-143: T1 not above T2, preferred not above valid lifetime;
//   - D-101, D-103, D-123: dhclient's Confirm and its Rebind of a prefix after a reboot;
//   - D-105, D-115, D-150: leases extended by Renew, and by Rebind after SIGKILL;
//   - D-069, D-156, D-159: the DNS server that the client asked for, in every answer;
//   - D-124, D-126, D-128: the Release;
//   - D-237, D-246: addresses and prefixes out of the link's pools.
func TestClients(t *testing.T) {
	t.Parallel()
	testClients(t, lab.NewNetwork)
}

// TestClientsRelayed is TestClients with ISC dhcrelay between clients and server. Beside what TestClients shows, [audit] finds
//   - D-005, D-009: answers go to the relay's address, port 547;
//   - D-214, D-215, D-218: they return through the relay with all that it put there, its Interface-ID among it.
func TestClientsRelayed(t *testing.T) {
	t.Parallel()
	lab.Need(t, "dhcrelay")
	testClients(t, lab.NewRelayedNetwork)
}

func testClients(t *testing.T, newNetwork func(lab.T) *lab.Network) {
	for _, c := range lab.Clients {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			lab.Need(t, append(c.Programs, "tcpdump", "tshark")...)
			testClient(t, newNetwork(t), c)
		})
	}
}

// testClient drives one client through its life. Each step builds on the one before it.
func testClient(t *testing.T, n *lab.Network, c lab.Client) {
	capture := n.Client.Capture(t, "eth0")
	captures := []*lab.Capture{capture}
	if n.Relay != nil {
		captures = append(captures, n.Server.Capture(t, "eth1"))
	}
	server := newServer(t, n, shortLived)
	server.Start(t)
	process := c.Start(t, n.Client, "eth0")
	var held []lab.Lease

	ok := t.Run("lease", func(t *testing.T) {
		reply := capture.Wait(t, clientTime, 0, "Reply with all that the client asks for", func(p lab.Packet) bool {
			return p.Message.MessageType == dhcpv6.MessageTypeReply && complete(c, lab.Leases(p.Message))
		})
		held = lab.Leases(reply.Message)
		for _, l := range held {
			if l.Preferred != 20*time.Second || l.Valid != 120*time.Second {
				t.Errorf("%v: want the configured lifetimes, 20 s and 120 s", l)
			}
			if a := l.Prefix.Addr(); !l.Delegated && (a.Compare(lab.Pool[0]) < 0 || a.Compare(lab.Pool[1]) > 0) ||
				l.Delegated && (!lab.PrefixPool.Contains(a) || l.Prefix.Bits() != lab.DelegatedBits) {
				t.Errorf("%v is not out of the link's pools", l)
			}
			expectLease(t, server, l)
			expectUse(t, n, c, l)
		}
	}) && t.Run("renew", func(t *testing.T) {
		expectSame(t, capture, capture.Mark(t), held, dhcpv6.MessageTypeRenew)
	}) && t.Run("rebind", func(t *testing.T) {
		server.Kill()
		mark := capture.Mark(t)
		capture.Wait(t, clientTime, mark, "Rebind", sent(dhcpv6.MessageTypeRebind))
		server.Start(t)
		if c.GivesUpPrefix {
			expectSame(t, capture, mark, held, dhcpv6.MessageTypeRebind, dhcpv6.MessageTypeRequest)
		} else {
			expectSame(t, capture, mark, held, dhcpv6.MessageTypeRebind)
		}
	}) && t.Run("reboot", func(t *testing.T) {
		process.Kill()
		n.Client.Run(t, "ip", "-6", "address", "flush", "scope", "global")
		mark := capture.Mark(t)
		process = c.Start(t, n.Client, "eth0")
		expectBack(t, capture, mark, held)
	})
	if ok && c.Release != nil {
		t.Run("release", func(t *testing.T) {
			mark := capture.Mark(t)
			c.Release(t, n.Client, process)
			lab.Eventually(t, clientTime, "a Reply to Release", func() bool {
				_, replies := exchanges(t, capture, mark, dhcpv6.MessageTypeRelease)
				for _, reply := range replies {
					if status := lab.Status(reply.Message); status != 0 {
						t.Errorf("Reply to Release has status %d, want 0 (Success)", status)
					}
				}
				return len(replies) > 0
			})
			lab.Eventually(t, clientTime, "the server forgets the released leases", func() bool {
				for _, l := range server.Leases(t) {
					for _, h := range held {
						if l.Same(h) {
							return false
						}
					}
				}
				return true
			})
		})
	}
	for _, c := range captures {
		audit(t, c.Packets(t))
		c.Check(t)
	}
	t.Logf("what passed on the client's link:%s", story(capture.Packets(t)))
}

// story tells a capture in one line for each packet: seconds since the first, direction, message, leases.
func story(packets []lab.Packet) string {
	var b strings.Builder
	for _, p := range packets {
		direction := "->"
		if p.Src.Port() == 547 {
			direction = "<-"
		}
		fmt.Fprintf(&b, "\n\t%8.3f %s %v", p.Time.Sub(packets[0].Time).Seconds(), direction, p.Message.MessageType)
		for _, l := range lab.Leases(p.Message) {
			fmt.Fprintf(&b, " %v", l.Prefix)
		}
	}
	return b.String()
}

// complete reports whether leases hold all that the client asks for.
func complete(c lab.Client, leases []lab.Lease) bool {
	var address, prefix bool
	for _, l := range leases {
		address = address || !l.Delegated && l.Valid > 0
		prefix = prefix || l.Delegated && l.Valid > 0
	}
	return address == c.Address && prefix == c.Prefix
}

func sent(kind dhcpv6.MessageType) func(lab.Packet) bool {
	return func(p lab.Packet) bool { return p.Message.MessageType == kind }
}

// exchanges returns the messages of some kinds, from a position on, that were answered by a Reply, and their Replies.
func exchanges(t *testing.T, capture *lab.Capture, from int, kinds ...dhcpv6.MessageType) (requests, replies []lab.Packet) {
	open := make(map[dhcpv6.TransactionID]lab.Packet)
	for _, p := range capture.Packets(t)[from:] {
		if slices.Contains(kinds, p.Message.MessageType) {
			open[p.Message.TransactionID] = p
		}
		if request, ok := open[p.Message.TransactionID]; ok && p.Message.MessageType == dhcpv6.MessageTypeReply {
			requests, replies = append(requests, request), append(replies, p)
		}
	}
	return requests, replies
}

// expectSame waits until the client has sent messages of the given kinds and had Replies to them that hold all its leases, the same as
// before and with full lifetimes. One client, dibbler, asks for its address and its prefix in messages of their own.
func expectSame(t *testing.T, capture *lab.Capture, from int, held []lab.Lease, kinds ...dhcpv6.MessageType) {
	t.Helper()
	got := make(map[lab.Lease]bool)
	var requests, replies []lab.Packet
	done := lab.Poll(clientTime, func() bool {
		requests, replies = exchanges(t, capture, from, kinds...)
		for _, reply := range replies {
			for _, l := range lab.Leases(reply.Message) {
				got[l] = true
			}
		}
		return len(replies) > 0 && len(got) >= len(held)
	})
	for _, l := range held {
		done = done && got[l]
	}
	if !done || len(got) != len(held) {
		t.Errorf("held %v\nsent %v\n got %v\nwant the same leases in Replies to %v", held, requests, replies, kinds)
	}
}

// expectBack waits until a client that has rebooted has its leases again: in a Reply to Request or Rebind, or because Confirm told it
// that they still fit. Only clients without a prefix use Confirm (RFC 9915 section 18.2.3).
func expectBack(t *testing.T, capture *lab.Capture, from int, held []lab.Lease) {
	t.Helper()
	lab.Eventually(t, clientTime, "the client has its leases again", func() bool {
		back := 0
		_, replies := exchanges(t, capture, from, dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRebind)
		for _, l := range held {
			if slices.ContainsFunc(replies, func(p lab.Packet) bool { return slices.Contains(lab.Leases(p.Message), l) }) {
				back++
			}
		}
		requests, replies := exchanges(t, capture, from, dhcpv6.MessageTypeConfirm)
		for i, reply := range replies {
			if lab.Status(reply.Message) == 0 {
				back += len(lab.Leases(requests[i].Message))
			}
		}
		return back == len(held)
	})
}

// expectLease checks that the server knows of a lease.
func expectLease(t *testing.T, server *lab.Server, want lab.Lease) {
	t.Helper()
	list := server.Leases(t)
	for _, l := range list {
		if l.Same(want) {
			return
		}
	}
	t.Errorf("%s does not list %v but %v", server.Name, want, list)
}

// expectUse checks that the client can be reached at what it was given: at the address, and at the address that it has made for
// itself out of the delegated prefix.
func expectUse(t *testing.T, n *lab.Network, c lab.Client, l lab.Lease) {
	t.Helper()
	iface := "eth0"
	if l.Delegated {
		iface = c.Downstream
	}
	if iface == "" {
		return
	}
	lab.Eventually(t, clientTime, "client uses "+l.String()+" on "+iface, func() bool {
		for _, a := range n.Client.Addresses(iface) {
			if l.Prefix.Contains(a) {
				return true
			}
		}
		return false
	})
}

// TestStateless has dhclient ask for options only: it gets the DNS server, no IA, and no lease comes of it (D-137, D-141).
func TestStateless(t *testing.T) {
	t.Parallel()
	lab.Need(t, "dhclient", "tcpdump", "tshark")
	n := lab.NewNetwork(t)
	server := newServer(t, n, shortLived)
	server.Start(t)
	capture := n.Client.Capture(t, "eth0")
	n.Client.Run(t, "mkdir", "-p", "/var/lib/dhcp")
	n.Client.Start(t, "dhclient", "-6", "-S", "-d", "eth0")
	lab.Eventually(t, clientTime, "a Reply to Information-request", func() bool {
		_, replies := exchanges(t, capture, 0, dhcpv6.MessageTypeInformationRequest)
		return len(replies) > 0
	})
	_, replies := exchanges(t, capture, 0, dhcpv6.MessageTypeInformationRequest)
	m := replies[0].Message
	if dns := m.Options.DNS(); len(dns) != 1 || dns[0].String() != "2001:db8::53" || len(m.Options.IANA())+len(m.Options.IAPD()) > 0 {
		t.Errorf("got %v, want the DNS server 2001:db8::53 and no IA", m)
	}
	if list := server.Leases(t); len(list) > 0 {
		t.Errorf("leases %v, want none", list)
	}
	audit(t, capture.Packets(t))
	capture.Check(t)
}
