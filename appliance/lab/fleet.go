package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
)

// A Fleet is any number of DHCPv6 clients on one interface of a host. They share its link-local address and one socket, and each
// has a DUID of its own. It keeps a ledger of every lease that a Reply gave to one of them.
type Fleet struct {
	conn    *net.UDPConn
	own     netip.AddrPort // where answers arrive
	to      netip.AddrPort // all servers on the link
	drained chan struct{}  // see Drain

	mu        sync.Mutex
	last      uint32                             // transaction-id
	questions map[dhcpv6.TransactionID]*question // sent and not answered
	held      map[netip.Prefix]holding           // by address or prefix
	conflicts []string                           // what Replies did to leases that clients hold
	replies   int                                // that gave or extended leases
	clients   uint32                             // made so far
	server    dhcpv6.DUID                        // the first that answered
}

// A question waits for its answer. It outlives the client that asked: whenever the answer comes, it counts.
type question struct {
	client *FleetClient
	kind   dhcpv6.MessageType
	answer chan *dhcpv6.Message
}

// A holding is a lease that a client holds.
type holding struct {
	Lease
	client *FleetClient
}

// A FleetClient is one client of a [Fleet].
type FleetClient struct {
	DUID   dhcpv6.DUID
	Leases []Lease
	fleet  *Fleet
}

// receiveOctets keeps answers that arrive while the test's threads have no processor.
const receiveOctets = 4 << 20

// exampleEnterprise is for documentation (RFC 5612).
const exampleEnterprise = 32473

// NewFleet makes a fleet without clients. It ends with the test t.
func NewFleet(t T, h *Host, iface string) *Fleet {
	t.Helper()
	conn, own, to := h.clientSocket(t, iface)
	f := &Fleet{
		conn: conn, own: own, to: to, last: rand.Uint32(),
		questions: make(map[dhcpv6.TransactionID]*question), held: make(map[netip.Prefix]holding), drained: make(chan struct{}, 1),
	}
	done := make(chan struct{})
	go func() {
		f.receive()
		close(done)
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return f
}

// ClientSocket opens a DHCPv6 client's socket on an interface, with room for many answers, and returns with it the address of all
// servers on the link.
func (h *Host) ClientSocket(t T, iface string) (conn *net.UDPConn, servers netip.AddrPort) {
	t.Helper()
	conn, _, servers = h.clientSocket(t, iface)
	return conn, servers
}

// clientSocket is ClientSocket, and returns the socket's own address too. The addresses carry the interface's number, not its name:
// package net remembers numbers by name, for all hosts alike.
func (h *Host) clientSocket(t T, iface string) (conn *net.UDPConn, own, to netip.AddrPort) {
	t.Helper()
	address := h.LinkLocal(t, iface)
	var index int
	err := h.Do(func() error {
		link, err := net.InterfaceByName(iface)
		if err == nil {
			index = link.Index
		}
		return err
	})
	if err != nil {
		t.Fatalf("%s: %s: %v", h.Name, iface, err)
	}
	zone := strconv.Itoa(index)
	own = netip.AddrPortFrom(address.WithZone(zone), clientPort)
	to = netip.AddrPortFrom(netip.MustParseAddr("ff02::1:2").WithZone(zone), serverPort)
	conn = h.ListenUDP(t, own)
	if err := conn.SetReadBuffer(receiveOctets); err != nil {
		t.Fatalf("%s: %v", h.Name, err)
	}
	return conn, own, to
}

// ListenUDP opens a UDP socket on the host. An address that is in use is tried again: a program that is just being started holds
// copies of all open sockets for a moment, also of those that have been closed meanwhile.
func (h *Host) ListenUDP(t T, address netip.AddrPort) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	var err error
	if !Poll(settleTime, func() bool {
		err = h.Do(func() (err error) {
			conn, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(address))
			return err
		})
		return !errors.Is(err, syscall.EADDRINUSE)
	}) || err != nil {
		t.Fatalf("%s: cannot open a socket at %v: %v", h.Name, address, err)
	}
	return conn
}

// receive takes in answers until the socket is closed.
func (f *Fleet) receive() {
	buffer := make([]byte, 65536)
	for {
		length, err := f.conn.Read(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // such as port unreachable, when nobody serves
		}
		if length == 0 {
			f.drained <- struct{}{}
			continue
		}
		if answer, err := dhcpv6.MessageFromBytes(buffer[:length]); err == nil {
			f.take(answer)
		}
	}
}

// take hands an answer to the client that waits for it, and enters the leases of a Reply in the ledger.
func (f *Fleet) take(answer *dhcpv6.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := f.questions[answer.TransactionID]
	if q == nil {
		return // a copy of an answer that came already
	}
	delete(f.questions, answer.TransactionID)
	if f.server == nil {
		f.server = answer.Options.ServerID()
	}
	if answer.MessageType == dhcpv6.MessageTypeReply && q.kind != dhcpv6.MessageTypeRelease {
		f.replies++
		for _, l := range Leases(answer) {
			f.enter(q, l)
		}
	}
	q.answer <- answer
}

func (f *Fleet) enter(q *question, l Lease) {
	if l.Valid == 0 {
		if f.held[l.Prefix].DUID == l.DUID {
			f.conflicts = append(f.conflicts, fmt.Sprintf("Reply to %v withdraws %v, which the client holds", q.kind, l))
			delete(f.held, l.Prefix)
		}
		return
	}
	if other, ok := f.held[l.Prefix]; ok && other.DUID != l.DUID {
		f.conflicts = append(f.conflicts, fmt.Sprintf("Reply to %v gives %v, which is held: %v", q.kind, l, other.Lease))
	}
	f.held[l.Prefix] = holding{l, q.client}
}

// Drain returns when everything that had arrived before is in the ledger. It is of use when the server is dead.
func (f *Fleet) Drain(t T) {
	t.Helper()
	if _, err := f.conn.WriteToUDPAddrPort(nil, f.own); err != nil { // an empty datagram to itself queues up behind the rest
		t.Fatalf("fleet: %v", err)
	}
	select {
	case <-f.drained:
	case <-time.After(settleTime):
		t.Fatalf("fleet: its own datagram did not arrive within %v", settleTime)
	}
}

// NewClient makes a client without leases.
func (f *Fleet) NewClient() *FleetClient {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clients++
	return &FleetClient{fleet: f, DUID: &dhcpv6.DUIDEN{
		EnterpriseNumber: exampleEnterprise, EnterpriseIdentifier: binary.BigEndian.AppendUint32(nil, f.clients),
	}}
}

// errNoAnswer tells that the server did not answer in time.
var errNoAnswer = errors.New("no answer")

// ask sends a message and waits for the answer, sending it again after each pause until they are used up.
func (c *FleetClient) ask(ctx context.Context, m *dhcpv6.Message, pauses ...time.Duration) (*dhcpv6.Message, error) {
	f := c.fleet
	q := &question{client: c, kind: m.MessageType, answer: make(chan *dhcpv6.Message, 1)}
	f.mu.Lock()
	f.last++
	m.TransactionID = dhcpv6.TransactionID{byte(f.last >> 16), byte(f.last >> 8), byte(f.last)}
	f.questions[m.TransactionID] = q
	f.mu.Unlock()
	packet := m.ToBytes()
	for _, pause := range pauses {
		if _, err := f.conn.WriteToUDPAddrPort(packet, f.to); err != nil {
			return nil, fmt.Errorf("cannot send %v: %w", m.MessageType, err)
		}
		timer := time.NewTimer(pause)
		select {
		case answer := <-q.answer:
			timer.Stop()
			return answer, nil
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
	}
	return nil, fmt.Errorf("%v from %v: %w", m.MessageType, c.DUID, errNoAnswer)
}

// patience is how long a client waits for an answer before it sends its message again (SOL_TIMEOUT, REQ_TIMEOUT; RFC 9915 section
// 7.6), and how often. It makes one exception: the long pauses of Renew, which would only make tests slow.
var patience = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}

// message builds a client's message with an IA_NA and an IA_PD that hold its leases.
func (c *FleetClient) message(kind dhcpv6.MessageType, server dhcpv6.DUID) *dhcpv6.Message {
	const iaidOctet = 1 // of the last octet of both IAIDs
	m := &dhcpv6.Message{MessageType: kind}
	m.AddOption(dhcpv6.OptClientID(c.DUID))
	if server != nil {
		m.AddOption(dhcpv6.OptServerID(server))
	}
	m.AddOption(dhcpv6.OptElapsedTime(0))
	na := &dhcpv6.OptIANA{IaId: [4]byte{3: iaidOctet}}
	pd := &dhcpv6.OptIAPD{IaId: [4]byte{3: iaidOctet}}
	for _, l := range c.Leases {
		if l.Delegated {
			mask := net.CIDRMask(l.Prefix.Bits(), 128)
			pd.Options.Add(&dhcpv6.OptIAPrefix{Prefix: &net.IPNet{IP: l.Prefix.Addr().AsSlice(), Mask: mask}})
		} else {
			na.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: l.Prefix.Addr().AsSlice()})
		}
	}
	m.AddOption(na)
	m.AddOption(pd)
	return m
}

// Solicit asks for an address and a prefix, and keeps in mind what is offered.
func (c *FleetClient) Solicit(ctx context.Context) (*dhcpv6.Message, error) {
	advertise, err := c.ask(ctx, c.message(dhcpv6.MessageTypeSolicit, nil), patience...)
	if err != nil {
		return nil, err
	}
	c.Leases = Leases(advertise)
	return advertise, nil
}

// Lease gets an address and a prefix with Solicit and Request.
func (c *FleetClient) Lease(ctx context.Context) error {
	advertise, err := c.Solicit(ctx)
	if err != nil {
		return err
	}
	reply, err := c.ask(ctx, c.message(dhcpv6.MessageTypeRequest, advertise.Options.ServerID()), patience...)
	if err != nil {
		return err
	}
	if c.Leases = Leases(reply); len(c.Leases) != 2 {
		return fmt.Errorf("client %v asked for an address and a prefix and got %v", c.DUID, reply)
	}
	return nil
}

// Renew renews the client's leases. An answer that does not extend them all is an error.
func (c *FleetClient) Renew(ctx context.Context) error {
	reply, err := c.ask(ctx, c.message(dhcpv6.MessageTypeRenew, c.fleet.Server()), patience...)
	if err != nil {
		return err
	}
	got := Leases(reply)
	for _, want := range c.Leases {
		if !slices.ContainsFunc(got, func(l Lease) bool { return l.Same(want) && l.Valid > 0 }) {
			return fmt.Errorf("Renew of %v was answered with %v", want, reply)
		}
	}
	return nil
}

// Release gives the client's leases back. From the moment of sending the fleet no longer holds the server to them.
func (c *FleetClient) Release(ctx context.Context) error {
	f := c.fleet
	f.mu.Lock()
	for _, l := range c.Leases {
		delete(f.held, l.Prefix)
	}
	f.mu.Unlock()
	_, err := c.ask(ctx, c.message(dhcpv6.MessageTypeRelease, f.Server()), patience...)
	return err
}

// Load keeps the server busy until the context ends: that many clients at a time get leases, some of them renew, some release
// after that and make room for others. It returns what went wrong other than missing answers.
func (f *Fleet) Load(ctx context.Context, atOnce int) error {
	problems := make(chan error, atOnce)
	for range atOnce {
		go func() {
			var err error
			for err == nil || errors.Is(err, errNoAnswer) {
				err = f.life(ctx)
			}
			problems <- err
		}()
	}
	var all error
	for range atOnce {
		if err := <-problems; !errors.Is(err, context.Canceled) {
			all = errors.Join(all, err)
		}
	}
	return all
}

// life is one client's: of four, three keep their leases, one of them after a renewal.
func (f *Fleet) life(ctx context.Context) error {
	c := f.NewClient()
	if err := c.Lease(ctx); err != nil {
		return err
	}
	switch rand.IntN(4) {
	case 0:
		return c.Renew(ctx)
	case 1:
		if err := c.Renew(ctx); err != nil {
			return err
		}
		return c.Release(ctx)
	}
	return nil
}

// Server returns the DUID of the first server that answered.
func (f *Fleet) Server() dhcpv6.DUID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.server
}

// Replies counts the Replies so far that gave or extended leases.
func (f *Fleet) Replies() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.replies
}

// Held returns clients with the leases that they hold, as their Replies say.
func (f *Fleet) Held() []*FleetClient {
	f.mu.Lock()
	defer f.mu.Unlock()
	clients := make(map[*FleetClient]*FleetClient)
	for _, h := range f.held {
		c := clients[h.client]
		if c == nil {
			c = &FleetClient{fleet: f, DUID: h.client.DUID}
			clients[h.client] = c
		}
		c.Leases = append(c.Leases, h.Lease)
	}
	return slices.Collect(maps.Values(clients))
}

// Check compares the ledger with a server's own list and returns what is wrong: a lease for which a Reply came and which is not in
// the list, or an address or prefix that two clients have.
func (f *Fleet) Check(list []Lease) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	wrong := slices.Clone(f.conflicts)
	known := make(map[netip.Prefix]Lease, len(list))
	for _, l := range list {
		if other, ok := known[l.Prefix]; ok {
			wrong = append(wrong, fmt.Sprintf("the server lists %v and %v", l, other))
		}
		known[l.Prefix] = l
	}
	for prefix, h := range f.held {
		if !known[prefix].Same(h.Lease) {
			wrong = append(wrong, fmt.Sprintf("a Reply gave %v, the server has %v", h.Lease, known[prefix]))
		}
	}
	return wrong
}

// RenewAll has all clients that hold leases renew them, that many at a time, and returns what went wrong.
func (f *Fleet) RenewAll(ctx context.Context, atOnce int) error {
	clients := make(chan *FleetClient)
	problems := make(chan error, atOnce)
	for range atOnce {
		go func() {
			var all error
			for c := range clients {
				all = errors.Join(all, c.Renew(ctx))
			}
			problems <- all
		}()
	}
	for _, c := range f.Held() {
		clients <- c
	}
	close(clients)
	var all error
	for range atOnce {
		all = errors.Join(all, <-problems)
	}
	return all
}
