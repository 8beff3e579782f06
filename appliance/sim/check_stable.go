package sim

import (
	"net/netip"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// answersTo says which messages a server answers, by its state and role
// (section 8, figure of the digest's chapter 8.2). may: it is free to.
func answersTo(state wire.ServerState, side int, m *message) (must, may bool) {
	switch state {
	case normal:
		if side == secondary {
			return m.server != "", false // renew responsive
		}
		return true, false
	case interrupted, partnerDown, resolution:
		return true, false
	case conflictDone:
		return side == primary, false
	case recoverDone:
		return false, m.kind == renew
	}
	return false, false
}

// learned remembers since when a node has known that a client holds a lease. It
// is kept beside the engine, by what the engine stored.
type learned struct {
	client lease.DUID
	typ    lease.IAType
	id     lease.IAID
	at     time.Duration
}

// learns notes what a change of the lease table says about who holds a lease.
func (n *node) learns(p netip.Prefix, b *lease.Binding) {
	switch {
	case b == nil || b.Status.Available(): // both servers agree that it is over
		delete(n.lore, p)
	case b.Status == lease.Active:
		n.lore[p] = learned{b.Client, b.Type, b.ID, n.now}
	case b.Status == lease.Released || b.Status == lease.Abandoned: // by its client
		delete(n.lore, p)
	}
}

// relearn keeps of the lore what a new process finds on the disk.
func (n *node) relearn() {
	for p, l := range n.lore {
		b := n.kept.bindings[p]
		if b == nil || b.Status != lease.Active || b.Client != l.client || b.Type != l.typ || b.ID != l.id {
			delete(n.lore, p)
		}
	}
}

// checkStable watches that a client which asks in time keeps its lease: a server
// that serves and knows that the client holds it extends it. held is who holds
// the lease in truth.
func (n *node) checkStable(c *client, m *message, r *relation, answers []*message) {
	if m.kind != renew && m.kind != rebind || m.server != "" && m.server != n.duid() || n.aheadOfTime() {
		return
	}
	if r != nil {
		if must, _ := answersTo(r.state, r.side, m); !must {
			return
		}
	}
	for i := range m.ias {
		in := &m.ias[i]
		if in.typ == lease.IANA && c.lan.reserves(c) {
			continue // its reservation takes the place of anything else
		}
		for _, l := range in.leases {
			h := n.truth.of(l.prefix)
			if h == nil || h.client != c.id || h.id != in.id || h.typ != in.typ || !n.knewOf(h, m.client) {
				continue
			}
			if !mentions(answers, in) && n.awaits(l.prefix) {
				n.tally.count("served: nothing said, the partner has the word")
				continue
			}
			if !extends(answers, in, l.prefix) {
				n.violate("stable", "%s asks %s in time for more of %s, which it holds until %s, and does not get it",
					c.who, n.name, show(l.prefix), clockTime(h.until))
			}
			n.tally.count("served: lease extended in time")
		}
	}
}

// knewOf reports whether the node has come to know of a holding since it began.
func (n *node) knewOf(h *holder, client lease.DUID) bool {
	l, ok := n.lore[h.prefix]
	return ok && l.client == client && l.typ == h.typ && l.id == h.id && l.at > h.before
}

// awaits reports whether a node took a lease for ended and has told its partner,
// which may know better: until it answers, silence keeps the client asking.
func (n *node) awaits(p netip.Prefix) bool {
	b := n.engine.Table().Get(p)
	return b != nil && b.Status == lease.Expired
}

func mentions(answers []*message, asked *ia) bool {
	for _, m := range answers {
		if m.ia(asked.typ, asked.id) != nil {
			return true
		}
	}
	return false
}

func extends(answers []*message, asked *ia, p netip.Prefix) bool {
	for _, m := range answers {
		if in := m.ia(asked.typ, asked.id); in != nil {
			for _, l := range in.leases {
				if l.prefix == p && l.valid > 0 {
					return true
				}
			}
		}
	}
	return false
}
