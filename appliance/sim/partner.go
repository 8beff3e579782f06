package sim

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/tandem6/tandem6/appliance/engine"
	"github.com/tandem6/tandem6/failover"
	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// partnerSide is what a node has to do with its partners.
type partnerSide struct {
	partnered []*pair
	relations []*relation // in the order of pairs
	ids       uint64      // connections ever
	tickets   map[uint64]func(error)
	ticket    uint64
	lead      lease.Time // of the engine's wall clock before the monotonic one
	leadLife  int        // of which process
	stepped   lease.Time // by how much it was set last
	steppedAt time.Duration
	wasOff    lease.Time    // how far the engine's time was ahead of true time when it stopped
	misled    bool          // its clock was wrong once
	astray    time.Duration // all the time by which it was set wrong
}

// join makes a node one side of a pair.
func (n *node) join(p *pair) {
	n.partnered = append(n.partnered, p)
	n.relations = append(n.relations, &relation{pair: p, node: n, side: p.side(n)})
}

// relation is one node's side of a pair, as the checkers see it.
func (p *pair) relation(side int) *relation {
	n := p.nodes[side]
	for i, other := range n.partnered {
		if other == p {
			return n.relations[i]
		}
	}
	panic("sim: a pair without one of its sides")
}

// of is the relation that covers a lan, nil for a server that is alone.
func (n *node) of(l *lan) *relation {
	for _, r := range n.relations {
		if r.pair.lan == l {
			return r
		}
	}
	return nil
}

// relationships is the failover configuration.
func (n *node) relationships() (list []failover.Config) {
	for _, r := range n.relations {
		p := r.pair
		list = append(list, failover.Config{
			Name: p.name, Role: roles[r.side], Partners: []netip.Addr{p.nodes[1-r.side].address()},
			Links:  []failover.Link{{Name: p.lan.name}},
			MCLT_s: p.mclt_s, Keepalive_s: n.Keepalive_s, MaxUnacked: n.MaxUnacked, BackupShare: n.BackupShare,
			Startup_s: n.Startup_s, Reconnect_s: n.Reconnect_s, AckTimeout_s: n.AckTimeout_s, UpdDone_s: n.UpdDone_s,
			AutoPartnerDown_s: n.AutoPartnerDown_s, StartupPartnerDown: p.alone && r.side == primary,
		})
	}
	return list
}

// sendPartner carries out what the engine wants of its partners.
func (n *node) sendPartner() {
	for _, o := range n.out.Partner {
		if o.Dial != "" {
			n.dial(o.Dial)
			continue
		}
		e := n.endOf(o.Conn)
		if e == nil || !e.isOpen {
			continue // it has ended meanwhile
		}
		if o.Frame != nil {
			wall := n.engineWall()
			wire.Stamp(o.Frame, wire.At(wall, wall))
			n.note(n.now, n.name, "sends", o.Frame)
			n.checkFrame(e, o.Frame[2:])
			e.write(o.Frame)
		}
		if o.Close {
			n.note(n.now, n.name, "closes", nil)
			n.says("closes connection %d", o.Conn)
			e.close()
		}
	}
	for _, d := range n.out.Done {
		if f := n.tickets[d.Ticket]; f != nil {
			delete(n.tickets, d.Ticket)
			f(d.Err)
		}
	}
}

// engineWall is what the engine takes for the time.
func (n *node) engineWall() lease.Time {
	return n.lead + lease.Time(n.mono(n.now)/time.Second)
}

func (n *node) endOf(id engine.ConnID) *end {
	for _, p := range n.partnered {
		for _, s := range p.streams {
			if e := s.ends[p.side(n)]; e.id == uint64(id) {
				return e
			}
		}
	}
	return nil
}

func (n *node) dial(relationship string) {
	life := n.life
	for _, p := range n.partnered {
		if p.name != relationship {
			continue
		}
		p.dial(n, func(e *end) {
			n.note(n.now, n.name, "connected", nil)
			n.says("connected to %s (connection %d)", e.peer().node.name, e.id)
			n.step(engine.PartnerConnected{Conn: engine.ConnID(e.id), Relationship: relationship})
		}, func() {
			if n.life == life {
				n.step(engine.DialFailed{Relationship: relationship})
			}
		})
	}
}

// accepted is a connection that a partner has opened.
func (n *node) accepted(e *end) {
	n.note(n.now, n.name, "accepts", nil)
	n.step(engine.PartnerConnected{Conn: engine.ConnID(e.id), Peer: e.peer().node.address()})
}

func (n *node) partnerFrame(e *end, data []byte) {
	n.note(n.now, n.name, "hears", data)
	n.checkHeard(e, data)
	n.step(engine.PartnerFrame{Conn: engine.ConnID(e.id), At: n.read(n.now), Data: data})
}

func (n *node) partnerClosed(e *end) {
	n.note(n.now, n.name, "broken", nil)
	n.says("connection %d has ended", e.id)
	n.step(engine.PartnerClosed{Conn: engine.ConnID(e.id)})
}

// operate gives the engine an order; done hears what became of it.
func (n *node) operate(p *pair, c failover.Command, done func(error)) {
	n.ticket++
	n.tickets[n.ticket] = done
	n.step(engine.Operate{Ticket: n.ticket, Relationship: p.name, Command: c})
}

// describe is a message on one line.
func describe(m wire.Message) string {
	switch m := m.(type) {
	case *wire.State:
		s, _ := m.ServerState.Get()
		f, _ := m.Flags.Get()
		since, _ := m.StartTime.Get()
		return fmt.Sprintf("STATE %v since %v, %v", s, since, f)
	case *wire.BndUpd:
		return fmt.Sprintf("BNDUPD %d %s", m.ID(), describeLeases(m.ClientData, m.Prefix))
	case *wire.BndReply:
		return fmt.Sprintf("BNDREPLY %d %s", m.ID(), describeLeases(m.ClientData, m.Prefix))
	case *wire.Disconnect:
		return fmt.Sprintf("DISCONNECT %v", m.Status)
	case *wire.ConnectReply:
		if m.Rejects() {
			return fmt.Sprintf("CONNECTREPLY %v", m.Status)
		}
	}
	return fmt.Sprintf("%v %d", m.Type(), m.ID())
}

func describeLeases(c *wire.ClientData, bare *wire.LeaseOption) string {
	var b strings.Builder
	one := func(l *wire.LeaseOption) {
		s, _ := l.BindingStatus.Get()
		fmt.Fprintf(&b, " %s %v", show(l.Prefix), s)
		if t, ok := l.StateExpiration.Get(); ok {
			fmt.Fprintf(&b, " until %v", t)
		}
		if t, ok := l.PartnerLifetime.Get(); ok {
			fmt.Fprintf(&b, " partner %v", t)
		}
		if st, ok := l.Status.Get(); ok {
			fmt.Fprintf(&b, " %v", st)
		}
	}
	if bare != nil {
		one(bare)
	}
	if c != nil {
		for i := range c.IAs {
			fmt.Fprintf(&b, " %v %v-%d", c.ClientID, c.IAs[i].Type, c.IAs[i].IAID)
			for j := range c.IAs[i].Leases {
				one(&c.IAs[i].Leases[j])
			}
		}
		if st, ok := c.Status.Get(); ok {
			fmt.Fprintf(&b, " %v", st)
		}
	}
	return strings.TrimSpace(b.String())
}
