package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
)

// settle ends the faults, and watches that all is well in bounded time: the
// partners are NORMAL, know the same of every lease, and every client that can
// have a lease has it. Safety alone would be easy: a server that does nothing
// breaks no promise.
func (w *World) settle() {
	if w.violation != nil {
		return
	}
	w.soothe()
	w.await()
}

// await waits until all is well, as long as that may take.
func (w *World) await() {
	end := w.now + w.patience()
	why := w.unwell()
	for ; why != "" && w.now < end && w.violation == nil; why = w.unwell() {
		w.until(w.now + time.Second)
	}
	if why != "" {
		w.violate("live", "%v after the last fault: %s", w.now-w.calmAt, why)
	}
	if w.violation == nil {
		w.tally.add("live: seconds until all was well", int((w.now-w.calmAt)/time.Second))
	}
}

// soothe takes all faults back.
func (w *World) soothe() {
	w.calm, w.calmAt = true, w.now
	w.line(w.now, "calm", "the faults are over")
	w.loss, w.duplicates, w.delays, w.congestion = 0, 0, 0, 0
	for _, l := range w.lans {
		l.split = false
		for _, p := range l.ports {
			p.cutIn, p.cutOut = false, false
		}
	}
	for _, n := range w.nodes {
		n.stall, n.failNext = 0, false
		if n.powered {
			n.setClock(n.skew())
		}
	}
	for _, p := range w.pairs {
		p.heal()
		p.off, p.busy, p.alone = [2]bool{}, false, false
	}
	for _, n := range w.nodes {
		n.comeBack()
	}
	for _, c := range w.clients {
		if !c.on {
			c.pause.stop()
			c.powerOn()
		}
	}
}

// patience is how long it may take until all is well: every wait of the protocol
// once, and the time that a clock is ahead.
func (w *World) patience() time.Duration {
	t := bootMin + bootSpread + restartMin + restartSpread
	t += 2 * seconds(max(w.Startup_s, 90))
	t += 3 * seconds(60+w.Reconnect_s) // to connect, after a rejection
	t += 4 * seconds(w.Keepalive_s)    // to notice that a connection is dead
	t += 2 * seconds(max(w.UpdDone_s, w.AckTimeout_s, 120))
	t += 2 * 600 * time.Second         // to repeat an update that was refused
	t += 4 * seconds(w.SolMaxRT_s) * 2 // of a client
	t += 600 * time.Second             // REN_MAX_RT, REB_MAX_RT
	for _, p := range w.pairs {
		t = max(t, t+2*seconds(p.mcltMax()))
	}
	for _, n := range w.nodes {
		t += 2*seconds(max(n.off(), 0)) + n.astray // it waits for the right clock at half the pace
	}
	return t
}

// unwell says what is not well yet, or nothing.
func (w *World) unwell() string {
	for _, n := range w.nodes {
		if !n.running {
			return n.name + " does not run"
		}
	}
	for _, p := range w.pairs {
		if why := p.unwell(); why != "" {
			return why
		}
	}
	for _, c := range w.clients {
		if why := c.unserved(); why != "" {
			return why
		}
	}
	return ""
}

func (p *pair) unwell() string {
	for _, r := range [...]*relation{p.relation(primary), p.relation(secondary)} {
		if r.state != normal {
			return fmt.Sprintf("%s is in %s", r.node.name, short(r.state))
		}
		for _, st := range r.node.engine.View(r.node.read(p.now)).Relationships {
			if st.Name == p.name && (st.State != normal || !st.OK) {
				return fmt.Sprintf("%s says that it is in %v, connected: %v", r.node.name, st.State, st.OK)
			}
			if st.Name == p.name && st.Unconfirmed+st.InFlight > 0 {
				return fmt.Sprintf("%s has %d changes that its partner has not confirmed: %s", r.node.name, st.Unconfirmed, r.unconfirmed())
			}
		}
	}
	return p.differ()
}

// unconfirmed names the leases of which the partner has to be told.
func (r *relation) unconfirmed() string {
	var names []string
	for _, p := range sorted(r.node.known) {
		if b := r.node.known[p]; b.Change != 0 && b.Link == r.pair.lan.name {
			names = append(names, fmt.Sprintf("%s %v", show(p), b.Status))
		}
	}
	return strings.Join(names, ", ")
}

// differ names a lease about which the partners do not agree.
func (p *pair) differ() string {
	a, b := p.nodes[primary].known, p.nodes[secondary].known
	all := append(sorted(a), sorted(b)...)
	slices.SortFunc(all, comparePrefixes)
	for _, prefix := range slices.Compact(all) {
		if p.nodes[primary].lanOf(prefix) != p.lan {
			continue
		}
		if why := disagree(prefix, a[prefix], b[prefix]); why != "" {
			return fmt.Sprintf("%s and %s do not agree about %s: %s", p.nodes[primary].name, p.nodes[secondary].name, show(prefix), why)
		}
	}
	return ""
}

// disagree compares what two partners know of a lease, in what both must know
// alike: whose it is, and that neither believes the other to have confirmed more
// than it did.
func disagree(p netip.Prefix, a, b *lease.Binding) string {
	status := func(b *lease.Binding) lease.Status {
		if b == nil || p.Bits() == 128 && b.Status.Available() {
			return lease.Freed(p)
		}
		return b.Status
	}
	switch {
	case status(a) != status(b):
		return fmt.Sprintf("%v and %v", status(a), status(b))
	case a == nil || b == nil || a.Status != lease.Active:
		return ""
	case a.IA != b.IA:
		return fmt.Sprintf("it is of %v-%d of %v, and of %v-%d of %v", a.Type, a.ID, a.Client, b.Type, b.ID, b.Client)
	case a.AckedPartnerLifetime > b.ExpirationTime:
		return fmt.Sprintf("the primary believes that %v was confirmed, the secondary confirmed %v", a.AckedPartnerLifetime, b.ExpirationTime)
	case b.AckedPartnerLifetime > a.ExpirationTime:
		return fmt.Sprintf("the secondary believes that %v was confirmed, the primary confirmed %v", b.AckedPartnerLifetime, a.ExpirationTime)
	}
	return ""
}

// unserved says why a client is not served although it could be: it has nothing,
// while the server that is in charge has what it wants. A client that has a part
// of what it wants asks for the rest when it renews, which may be in days.
func (c *client) unserved() string {
	if !c.on || c.holdsAny() {
		return ""
	}
	for _, a := range c.ias {
		if len(a.held) == 0 && c.lan.available(a.typ) {
			return fmt.Sprintf("%s has no %v-%d, but there is one to give", c.who, a.typ, a.id)
		}
	}
	return ""
}

// available reports whether the server in charge of a lan has a lease to give: of
// a pair the primary.
func (l *lan) available(typ lease.IAType) bool {
	n := l.ports[0].node
	own := lease.Free
	free := func(p netip.Prefix) bool {
		b := n.known[p]
		owner := lease.Freed(p)
		if b != nil {
			if !b.Status.Available() {
				return false
			}
			if p.Bits() != 128 {
				owner = b.Status
			}
		}
		return len(n.partnered) == 0 || owner == own
	}
	if typ == lease.IANA {
		first := l.poolFirst()
		for i := range l.Addresses {
			if free(lease.Address(l.host(first + i))) {
				return true
			}
		}
		return false
	}
	for p := range l.eachPrefix() {
		if free(p) {
			return true
		}
	}
	return false
}
