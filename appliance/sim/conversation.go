package sim

import (
	"net/netip"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// conversation is what a checker remembers of the messages on the present
// connection of a relation.
type conversation struct {
	conn    uint64
	updates map[wire.TransactionID]*wire.BndUpd // of the partner, not answered yet
	flying  map[wire.TransactionID]*wire.BndUpd // our own, not answered yet
	window  int                                 // how many the partner takes
	request wire.TransactionID                  // of the partner's UPDREQ or UPDREQALL
	owed    map[netip.Prefix]*lease.Binding     // what the partner has to hear of before UPDDONE; nil: no request
}

func (c *conversation) on(conn uint64) {
	if c.conn != conn {
		*c = conversation{conn: conn, updates: map[wire.TransactionID]*wire.BndUpd{}, flying: map[wire.TransactionID]*wire.BndUpd{}}
	}
}

// checkFrame judges a message to the partner as it leaves.
func (n *node) checkFrame(e *end, data []byte) {
	m, err := wire.Parse(data)
	if err != nil {
		n.violate("wire", "%s sends what is not well-formed (%v): %x", n.name, err, data)
		return
	}
	if n.journal.read() {
		n.says("=> %s", describe(m))
	}
	n.tally.count("wire: " + m.Type().String())
	r := e.pair.relation(e.side)
	r.on(e.id)
	switch m := m.(type) {
	case *wire.State:
		r.announces(e, m)
	case *wire.BndUpd:
		r.tells(m)
	case *wire.BndReply:
		r.answers(m)
	case *wire.UpdDone:
		r.done(m)
	}
}

// tells watches an update of our own.
func (r *relation) tells(m *wire.BndUpd) {
	n := r.node
	r.flying[m.TransactionID] = m
	if r.window > 0 && len(r.flying) > r.window {
		n.violate("wire", "%s has %d BNDUPDs under way, its partner takes %d", n.name, len(r.flying), r.window)
	}
	for _, l := range leasesOf(m.ClientData, m.Prefix) {
		if s, _ := l.BindingStatus.Get(); s != lease.Active {
			delete(n.lore, l.Prefix) // now its client cannot have it back (section 8.8.1)
		}
		if broken := n.kept.announced(m.ClientData, l); broken != "" {
			n.violate("durable", "%s tells its partner of %s, but %s", n.name, show(l.Prefix), broken)
		}
	}
}

// announced watches that what the partner is told of a lease is on the disk: a
// promise about the longest lifetime, and the end of a lease.
func (a *archive) announced(c *wire.ClientData, l *wire.LeaseOption) (broken string) {
	b := a.bindings[l.Prefix]
	status, _ := l.BindingStatus.Get()
	until, promised := l.PartnerLifetime.Get()
	switch {
	case b == nil && status.Available():
		return ""
	case b == nil:
		return "its disk has no record of it"
	case promised && status == lease.Active && b.Status == lease.Active && c != nil && b.Client == c.ClientID:
		if stored := max(b.PartnerLifetime, b.HeldUntil); until.Sub(wire.At(stored, stored)) > 0 {
			return "the lifetime on its disk is " + stored.String() + ", it says " + until.String()
		}
	}
	return ""
}

// answers watches an answer to the partner: what it accepts is on the disk.
func (r *relation) answers(m *wire.BndReply) {
	n := r.node
	upd := r.updates[m.TransactionID]
	if upd == nil {
		n.violate("wire", "%s answers BNDUPD %v, which it has not got or has answered", n.name, m.TransactionID)
		return
	}
	delete(r.updates, m.TransactionID)
	n.eachLease(m, func(ia *wire.IA, l *wire.LeaseOption) {
		if _, refused := m.Refusal(ia, l).Get(); refused {
			n.tally.count("wire: update refused")
			return
		}
		if broken := n.kept.confirmed(upd, ia, l); broken != "" {
			n.violate("durable", "%s confirms %s to its partner, but %s", n.name, show(l.Prefix), broken)
		}
	})
}

// confirmed watches that an update which is accepted is on the disk.
func (a *archive) confirmed(upd *wire.BndUpd, ia *wire.IA, l *wire.LeaseOption) (broken string) {
	b := a.bindings[l.Prefix]
	status, _ := l.BindingStatus.Get()
	same := b != nil && ia != nil && b.Type == ia.Type && b.ID == ia.IAID && upd.ClientData != nil && b.Client == upd.ClientData.ClientID
	start := startOf(upd, l.Prefix)
	switch {
	case status == lease.Active && b == nil:
		return "its disk has no record of it"
	case status == lease.Active && same && b.Status == lease.Active:
		if sent, ok := l.PartnerLifetimeSent.Get(); ok && sent.Sub(wire.At(b.ExpirationTime, b.ExpirationTime)) > 0 {
			return "the lifetime on its disk is " + b.ExpirationTime.String() + ", the partner said " + sent.String()
		}
	case status != lease.Active && same && b.Status == lease.Active && wire.At(b.StartOfState, b.StartOfState).Sub(start) < 0:
		return "on its disk it is still ACTIVE"
	}
	return ""
}

// startOf is since when, as an update says, a lease has its status.
func startOf(upd *wire.BndUpd, p netip.Prefix) wire.Time {
	for _, l := range leasesOf(upd.ClientData, upd.Prefix) {
		if l.Prefix == p {
			t, _ := l.StartTimeOfState.Get()
			return t
		}
	}
	return 0
}

// leasesOf lists the leases of a BNDUPD or BNDREPLY.
func leasesOf(c *wire.ClientData, bare *wire.LeaseOption) (list []*wire.LeaseOption) {
	if bare != nil {
		list = append(list, bare)
	}
	if c != nil {
		for i := range c.IAs {
			for j := range c.IAs[i].Leases {
				list = append(list, &c.IAs[i].Leases[j])
			}
		}
	}
	return list
}

func (n *node) eachLease(m *wire.BndReply, f func(*wire.IA, *wire.LeaseOption)) {
	if m.Prefix != nil {
		f(nil, m.Prefix)
	}
	if m.ClientData != nil {
		for i := range m.ClientData.IAs {
			for j := range m.ClientData.IAs[i].Leases {
				f(&m.ClientData.IAs[i], &m.ClientData.IAs[i].Leases[j])
			}
		}
	}
}

// done watches UPDDONE: the partner has answered about everything that it did not
// know when it asked (section 5.3.7).
func (r *relation) done(m *wire.UpdDone) {
	n := r.node
	if r.owed == nil || m.TransactionID != r.request {
		return // to a request that was superseded
	}
	for _, p := range sorted(r.owed) {
		if n.known[p] != r.owed[p] {
			continue // it has changed since, and follows by itself
		}
		n.violate("durable", "%s says UPDDONE, but its partner has not answered about %s", n.name, show(p))
	}
	r.owed = nil
}

// checkHeard follows a message from the partner as it comes in.
func (n *node) checkHeard(e *end, data []byte) {
	m, err := wire.Parse(data)
	if err != nil || !e.isOpen {
		return
	}
	r := e.pair.relation(e.side)
	r.on(e.id)
	switch m := m.(type) {
	case *wire.State:
		if r.heardOn == nil {
			r.heardOn = map[uint64]bool{}
		}
		r.heardOn[e.id] = true
		if f, _ := m.Flags.Get(); f&wire.FlagStartup == 0 || r.state == startup {
			r.partner, _ = m.ServerState.Get()
		}
	case *wire.Connect:
		w, _ := m.MaxUnackedBndUpd.Get()
		r.window = int(w)
	case *wire.ConnectReply:
		w, _ := m.MaxUnackedBndUpd.Get()
		r.window = int(w)
	case *wire.BndUpd:
		r.updates[m.TransactionID] = m
	case *wire.BndReply:
		delete(r.flying, m.TransactionID)
		for _, l := range leasesOf(m.ClientData, m.Prefix) {
			delete(r.owed, l.Prefix)
		}
	case *wire.UpdReq:
		r.asked(m.TransactionID, false)
	case *wire.UpdReqAll:
		r.asked(m.TransactionID, true)
	}
}

// asked notes what a request of the partner is about.
func (r *relation) asked(id wire.TransactionID, all bool) {
	r.request, r.owed = id, map[netip.Prefix]*lease.Binding{}
	for _, p := range sorted(r.node.known) {
		b := r.node.known[p]
		if b.Link != r.pair.lan.name || b.Client == "" || all && b.Status.Available() {
			continue // what is not mentioned is available
		}
		if b.Change != 0 || all {
			r.owed[p] = b
		}
	}
}
