package sim

import (
	"net/netip"
	"slices"
	"time"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/appliance/engine"
	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
	"github.com/tandem6/tandem6/storage"
)

// stateOn is the state in which a node serves a lan; 0 when it is alone.
func (n *node) stateOn(l *lan) wire.ServerState {
	if r := n.of(l); r != nil {
		return r.state
	}
	return 0
}

// answers are what a Step had to say to clients.
func (n *node) answers(before marks) (list []*message) {
	ready := n.pipeline.Open()
	for _, packets := range [...][]dhcp6.Output{ready.Now.Packets[before.now:], ready.AfterCommit.Packets[before.after:]} {
		for i := range packets {
			m, err := parseAny(packets[i].Data)
			if err != nil {
				n.violate("wire", "%s answers what is not well-formed (%v): %x", n.name, err, packets[i].Data)
				return nil
			}
			list = append(list, m)
		}
	}
	return list
}

// checkAnswer judges what comes of a client's message: that only a server answers
// which may, and that it gives who asks in time what he has. was is the state
// before the Step; the clock may have changed it before the message's turn.
func (n *node) checkAnswer(c *client, m *message, was wire.ServerState, answers []*message) {
	r := n.of(c.lan)
	if r != nil && len(answers) > 0 && !answersAny(was, r.side, m) && !answersAny(r.state, r.side, m) {
		n.violate("entitled", "%s, %v in %v, answers a %v of %s", n.name, roles[r.side], r.state, m.kind, c.who)
	}
	if r == nil || was == r.state {
		n.checkStable(c, m, r, answers)
	}
}

func answersAny(state wire.ServerState, side int, m *message) bool {
	must, may := answersTo(state, side, m)
	return must || may
}

// checkChange judges a change of the lease table: what a server gives to a client
// that did not have it is its own to give.
func (n *node) checkChange(event engine.Event, old *lease.Binding, c storage.Change) {
	n.learns(c.Prefix, c.Binding)
	now := c.Binding
	if _, asked := event.(*engine.Received); !asked || now == nil || now.Status != lease.Active {
		return
	}
	if old != nil && old.Status == lease.Active && old.IA == now.IA {
		return // extended
	}
	n.tally.count("served: lease given")
	if old != nil && (old.Status == lease.Active || old.Status == lease.Abandoned) {
		n.violate("entitled", "%s gives %s, which is %v by %v, to %v", n.name, show(c.Prefix), old.Status, old.Client, now.Client)
		return
	}
	lan := n.lanOf(c.Prefix)
	r := n.of(lan)
	if r == nil || lan.reservedAddress(c.Prefix) {
		return
	}
	if wrong := n.entitled(r, old, now, c.Prefix); wrong != "" {
		n.violate("entitled", "%s, %v in %v, gives %s to %v: %s", n.name, roles[r.side], r.state, show(c.Prefix), now.Client, wrong)
	}
}

// entitled says why a server must not give a lease that nobody holds (chapter 6
// of the digest).
func (n *node) entitled(r *relation, old, now *lease.Binding, p netip.Prefix) string {
	state := r.state
	if r.entered == n.now && r.former != 0 {
		state = r.former // the client's message came first
	}
	switch state {
	case normal, interrupted, partnerDown, resolution, conflictDone:
	default:
		return "in this state nothing is given"
	}
	owner := lease.Freed(p)
	if old != nil {
		switch {
		case old.Status.Available():
			owner = old.Status
			if p.Bits() == 128 {
				owner = lease.Freed(p)
			}
		case old.IA == now.IA && old.Status != lease.Reset:
			return n.regrant(r, old)
		case r.state != partnerDown:
			return "it is " + old.Status.String() + ", and the partner has not agreed that it is free"
		default:
			if wrong := r.tooEarly(old, n.engineWall()); wrong != "" {
				return wrong
			}
		}
	}
	switch {
	case owner == roles[r.side].Available():
		return ""
	case p.Bits() == 128:
		return "it is of the partner's half"
	case r.state != partnerDown:
		return "it is " + owner.String()
	case n.now < r.downSince+seconds(r.pair.mcltMin())-skewTolerance:
		return "it is " + owner.String() + ", and PARTNER-DOWN has not lasted MCLT yet"
	}
	return ""
}

// regrant says why an ended lease must not go back to its client: the partner
// was told of its end and has not answered (section 8.8.1).
func (n *node) regrant(r *relation, old *lease.Binding) string {
	for id, m := range r.flying {
		if r.conn == 0 {
			break
		}
		for _, l := range leasesOf(m.ClientData, m.Prefix) {
			status, _ := l.BindingStatus.Get()
			start, _ := l.StartTimeOfState.Get()
			if l.Prefix == old.Prefix && status == old.Status && start == wire.At(old.StartOfState, old.StartOfState) && r.state != partnerDown {
				return "the partner is being told that it is " + old.Status.String() + " (BNDUPD " + id.String() + ")"
			}
		}
	}
	return ""
}

// tooEarly applies the formula of sections 4.2.2.1 and 8.4.1 to a lease
// that another client had when the partner went down.
func (r *relation) tooEarly(old *lease.Binding, now lease.Time) string {
	at := max(old.Expires, old.PartnerLifetime, old.AckedPartnerLifetime, old.ExpirationTime, old.StartOfState)
	at += lease.Time(r.pair.mcltMin()) - lease.Time(skewTolerance/time.Second)
	if now < at {
		return "it may not be reused before " + at.String() + ", now it is " + now.String()
	}
	return ""
}

// reservedAddress reports whether an address is reserved for a client.
func (l *lan) reservedAddress(p netip.Prefix) bool {
	for i := range l.Reserved {
		if p == lease.Address(l.host(reservedFirst+i)) {
			return true
		}
	}
	return false
}

// reserves reports whether a client has a reservation.
func (l *lan) reserves(c *client) bool {
	return slices.Index(l.clients, c) < l.Reserved
}
