package sim

import (
	"net/netip"
	"time"

	"github.com/tandem6/tandem6/appliance/engine"
	"github.com/tandem6/tandem6/failover/lease"
)

// bounded is the fundamental rule (sections 3, 4.4): outside of PARTNER-DOWN a
// client may hold a lease for at most MCLT longer than the partner knows of, or
// than now if that is later. The partner knows what is on its disk. It judges by
// true time: a server whose clock is wrong is bound all the same.
//
// known is until when the partner knows that the lease may be held, or 0.
func bounded(valid, mclt_s uint32, known, now lease.Time) bool {
	beyond := max(known-now, 0)
	return lease.Time(valid) <= beyond+lease.Time(mclt_s)+boundedTolerance
}

// boundedTolerance is, in seconds, the skew between the partners' clocks and the
// time that an answer may have waited for the disk.
const boundedTolerance = 5 + engine.ExpiryGrace

// checkBounded judges one lease of a Reply that leaves.
func (n *node) checkBounded(m *message, in *ia, l leased) {
	lan := n.lanOf(l.prefix)
	if lan == nil {
		return
	}
	r := n.of(lan)
	if r == nil {
		return
	}
	r.promised = n.now
	if r.state == partnerDown || r.former == partnerDown && n.now-r.left < promiseWait {
		return
	}
	partner := r.pair.nodes[1-r.side]
	known := partner.kept.knows(m, in, l) - min(partner.off(), 0) + max(partner.stepping(), 0)
	now := trueDate(n.now)
	if !bounded(l.valid, r.pair.mcltMax(), known, now) {
		n.violate("bounded", "%s, in %v, promises %s to %v for %d s, which is more than MCLT (%d s) beyond what its partner knows: %v, now it is %v",
			n.name, r.state, show(l.prefix), m.client, l.valid, r.pair.mcltMax(), known, now)
	}
}

// off is by how much the engine's time is ahead of true time, or was when the
// process ended. A record means an instant of that time: when the clock is set,
// the engine shifts its records.
func (n *node) off() lease.Time {
	if n.running {
		n.wasOff = n.engineWall() - trueDate(n.now)
	}
	return n.wasOff
}

// promiseWait is how long a promise may wait between its making and its leaving.
const promiseWait = time.Minute

// knows is until when a disk says that a client may hold a lease, by what was
// confirmed to the partner. What was on a disk that is lost counts: whoever lost
// it waits accordingly.
func (a *archive) knows(m *message, in *ia, l leased) (until lease.Time) {
	for _, records := range [...]map[netip.Prefix]*lease.Binding{a.bindings, a.lost} {
		b := records[l.prefix]
		if b != nil && b.Client == m.client && b.Type == in.typ && b.ID == in.id {
			until = max(until, b.ExpirationTime)
		}
	}
	return until
}

// lanOf is the lan of which a lease is.
func (n *node) lanOf(p netip.Prefix) *lan {
	for _, port := range n.ports {
		l := n.lans[port.ifIndex-lanIndexes]
		if l.subnet().Overlaps(p) || l.prefixes().Overlaps(p) {
			return l
		}
	}
	return nil
}
