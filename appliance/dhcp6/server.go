// Package dhcp6 is a DHCPv6 server (RFC 9915) without sockets, clocks and
// disks: Server.Handle takes a packet and the lease table, changes the table,
// and says what to answer and what has to be on disk first.
//
// The layers of a message: message.go and relay.go read it, link.go finds the
// client's link and reservation, bind.go chooses and binds leases, reply.go
// writes the answer.
package dhcp6

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
)

// The UDP ports of DHCPv6 (RFC 9915 section 7.2).
const (
	ClientPort = 546
	ServerPort = 547
)

// allAgentsAndServers is where clients send (All_DHCP_Relay_Agents_and_Servers,
// RFC 9915 section 7.1). The group of all servers is for relays: a client's
// message to it may come from another link.
var allAgentsAndServers = netip.MustParseAddr("ff02::1:2")

// RSOODefault is the registry of options that relays may supply (RFC 6422
// section 7): the ERP local domain name.
var RSOODefault = []uint16{65}

// Packet is a received datagram.
type Packet struct {
	Data        []byte
	Source      netip.AddrPort // without zone
	Destination netip.Addr
	IfIndex     int // of the interface it came in on
}

// Output is a datagram to send.
type Output struct {
	Data        []byte
	Destination netip.AddrPort // without zone
	IfIndex     int            // of the interface to leave through; 0: by routing

	// Made is when the answer was made, on Clock.Mono. Its client counts the
	// lifetimes in it from when it comes, so it must not be held for long.
	Made time.Duration
}

// Interface is one of this box's network interfaces as it is now.
type Interface struct {
	Index int
	Name  string
	Addrs []netip.Addr // its own addresses, never leased to anybody (D-238)
}

// Result is what comes of one packet.
type Result struct {
	Answer  Output           // no Data: no answer
	Promise bool             // Answer may leave only when all of Changed, now and before, is on disk
	Changed []*lease.Binding // to be stored; the table has them already
	Trace   []trace.Event
}

func (r *Result) reset() {
	clear(r.Changed)
	clear(r.Trace)
	*r = Result{Changed: r.Changed[:0], Trace: r.Trace[:0]}
}

// Server answers DHCPv6 clients. It is not safe for concurrent use.
type Server struct {
	id    lease.DUID
	key   AddressKey
	rnd   *rand.Rand
	cfg   *Config
	links []*link
	pools poolIndex
	rate  rateLimit

	byIfIndex  map[int]*link
	bySubnet   []subnetLink
	own        map[netip.Addr]bool
	interfaces []Interface
	offers     *offers

	stats Stats
	msg   message  // of the packet in hand
	x     exchange // likewise
}

// Stats counts packets since the start.
type Stats struct {
	Received [256]uint64 // by message type, of the client's message if relayed; 0: unreadable
	Answered [256]uint64 // by message type of the answer
	Dropped  [trace.ReasonCount]uint64
	Relayed  uint64
}

// New makes a server. id is its DUID, key the secret of its choice of
// addresses; both stay the same for ever. rnd serves only the policy of random
// addresses and the rate limit. Afterwards the server has to be told of every
// change of the lease table by Changed.
func New(cfg *Config, id lease.DUID, key AddressKey, rnd *rand.Rand) *Server {
	s := &Server{id: id, key: key, rnd: rnd, offers: newOffers()}
	s.rate.seed = rnd.Uint64()
	s.configure(cfg)
	return s
}

// Reconfigure puts a new configuration in force. Leases that fit it no longer
// end as RFC 9915 section 18.3.4 says; offers are forgotten.
func (s *Server) Reconfigure(cfg *Config, t *lease.Table) {
	s.offers = newOffers()
	s.configure(cfg)
	for b := range t.From(netip.Prefix{}) {
		s.Changed(nil, b)
	}
}

func (s *Server) configure(cfg *Config) {
	s.cfg = cfg
	s.rate.limit = uint32(cfg.Limits.MessagesPerSecondPerClient)
	s.links = nil
	for i := range cfg.Links {
		s.links = append(s.links, newLink(&cfg.Links[i]))
	}
	s.pools = newPoolIndex(s.links)
	s.bySubnet = newSubnetIndex(s.links)
	s.SetInterfaces(s.interfaces)
}

// SetAddressKey changes the secret behind the choice of addresses.
func (s *Server) SetAddressKey(key AddressKey) { s.key = key }

// SetInterfaces tells the server about this box's interfaces.
func (s *Server) SetInterfaces(ifs []Interface) {
	s.interfaces = ifs
	s.byIfIndex = map[int]*link{}
	s.own = map[netip.Addr]bool{}
	for _, i := range ifs {
		for _, l := range s.links {
			if l.Interface == i.Name && i.Name != "" {
				s.byIfIndex[i.Index] = l
			}
		}
		for _, a := range i.Addrs {
			s.own[a] = true
		}
	}
}

// Changed tells the server of a change in the lease table, with what was there
// and what is, nil for nothing.
func (s *Server) Changed(old, now *lease.Binding) { s.pools.changed(old, now) }

// InPool reports whether the configuration still knows a lease: it lies in a
// pool or is reserved.
func (s *Server) InPool(b *lease.Binding) bool {
	if p, _ := s.pools.find(b.Prefix); p != nil {
		return p.link.Name == b.Link
	}
	for _, l := range s.links {
		if l.Name == b.Link {
			return l.reserved[b.Prefix] != nil
		}
	}
	return false
}

// Stats returns the counters.
func (s *Server) Stats() *Stats { return &s.stats }

// Handle answers one packet. r is overwritten; its slices belong to the caller
// until the next call.
func (s *Server) Handle(now lease.Clock, p *Packet, t *lease.Table, policy Policy, r *Result) {
	r.reset()
	m := &s.msg
	reason := m.parse(p.Data)
	s.stats.Received[m.typ]++
	if reason != trace.NoReason {
		s.drop(p, m, nil, reason, r)
		return
	}
	l, reason := s.admit(now, p, m)
	if reason != trace.NoReason {
		s.drop(p, m, l, reason, r)
		return
	}
	service := policy.Serves(l.Name)
	if !service.answers(m) {
		s.drop(p, m, l, trace.NotResponsive, r)
		return
	}
	x := &s.x
	x.start(s, now, p, m, l, t, policy, service, r)
	if reason := x.handle(); reason != trace.NoReason {
		s.drop(p, m, l, reason, r)
		return
	}
	s.stats.Answered[x.answerType]++
	r.Answer = s.address(p, m, x.finish())
	r.Answer.Made = now.Mono
}

// admit decides whether a message deserves an answer, and on which link its
// client is.
func (s *Server) admit(now lease.Clock, p *Packet, m *message) (*link, trace.Reason) {
	if reason := m.validate(s.id); reason != trace.NoReason {
		return nil, reason
	}
	if len(m.relays) > 0 {
		s.stats.Relayed++
	} else if p.Destination != allAgentsAndServers && !s.cfg.AcceptUnicast {
		return nil, trace.UnicastClient
	}
	l := s.linkOf(p, m)
	if l == nil {
		return nil, trace.UnknownLink
	}
	if len(m.relays) > 0 && !s.relayAllowed(p, l) {
		return l, trace.RelayNotAllowed
	}
	if m.relayOverhead() > relayOverheadMax {
		return l, trace.RelaysTooDeep
	}
	if !s.rate.allow(now.Mono, rateKey(p, m)) {
		return l, trace.TooManyMessages
	}
	return l, trace.NoReason
}

// rateKey is what identifies the client for the rate limit: its DUID, or the
// address that it sent from.
func rateKey(p *Packet, m *message) []byte {
	if m.clientID != nil {
		return m.clientID
	}
	a := p.Source.Addr()
	if n := len(m.relays); n > 0 {
		a = m.relays[n-1].peer
	}
	b := a.As16()
	return b[:]
}

// relayAllowed reports whether a Relay-forward about a link may come in as p
// did (D-233). A link-local source says who it is on its own link only, so it
// cannot speak for a link on another interface.
func (s *Server) relayAllowed(p *Packet, l *link) bool {
	source := p.Source.Addr()
	if source.IsLinkLocalUnicast() && l.Interface != "" && s.byIfIndex[p.IfIndex] != l {
		return false
	}
	for _, from := range l.RelayFrom {
		if from.Contains(source) {
			return true
		}
	}
	return false
}

// linkOf finds the client's link (RFC 9915 section 13.1): by the innermost
// link-address that says something, else by the interface.
func (s *Server) linkOf(p *Packet, m *message) *link {
	for i := len(m.relays) - 1; i >= 0; i-- {
		a := m.relays[i].link
		switch {
		case a.IsUnspecified(): // D-219
			continue
		case a.IsLinkLocalUnicast():
			continue // says which link only to the relay itself
		}
		return s.linkByAddress(a)
	}
	return s.byIfIndex[p.IfIndex]
}

func (s *Server) drop(p *Packet, m *message, l *link, reason trace.Reason, r *Result) {
	s.stats.Dropped[reason]++
	e := trace.Event{ID: trace.PacketDropped, Reason: reason, Msg: uint8(m.typ), Peer: p.Source.Addr(), Client: lease.DUID(m.clientID)}
	if reason == trace.Denied {
		e.ID = trace.PolicyRefused
	}
	if l == nil {
		l = s.byIfIndex[p.IfIndex]
	}
	if l != nil {
		e.Link = l.Name
	}
	r.Trace = append(r.Trace, e)
}

// address says where an answer goes (RFC 9915 section 18.3.10): to the client's
// port on the interface it asked on, or back to the relay.
func (s *Server) address(p *Packet, m *message, data []byte) Output {
	o := Output{Data: data, Destination: netip.AddrPortFrom(p.Source.Addr(), ClientPort), IfIndex: p.IfIndex}
	if len(m.relays) > 0 {
		port := uint16(ServerPort)
		if m.relays[0].sourcePort != nil {
			port = p.Source.Port() // RFC 8357 section 5.2
		}
		o.Destination = netip.AddrPortFrom(p.Source.Addr(), port)
		if !p.Source.Addr().IsLinkLocalUnicast() {
			o.IfIndex = 0
		}
	}
	return o
}
