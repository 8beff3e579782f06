package dhcp6

import (
	"net/netip"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
)

const (
	// offerHold is for how long an advertised lease is kept for its client: a
	// Request follows within REQ_MAX_RC tries of at most 30 s (D-081).
	offerHold = 60 * time.Second
	// offersMax bounds the memory that Solicits from invented clients take; the
	// oldest offer goes first.
	offersMax = 1 << 16
)

// offer is a lease that was advertised and not yet requested.
type offer struct {
	prefix netip.Prefix
	ia     lease.IA
	until  time.Duration
	next   int // slot of the offer to the same ia before this one, noSlot: none
}

const noSlot = -1

// offers remembers what was advertised, so that two clients are never offered
// the same lease. It is a ring in the order of time.
type offers struct {
	ring     []offer
	head     int // oldest
	byPrefix map[netip.Prefix]int
	byIA     map[lease.IA]int // the latest of each
}

func newOffers() *offers {
	return &offers{byPrefix: map[netip.Prefix]int{}, byIA: map[lease.IA]int{}}
}

// put offers p to ia until now+offerHold.
func (o *offers) put(now time.Duration, p netip.Prefix, ia lease.IA) {
	o.remove(p)
	slot := len(o.ring)
	if slot < offersMax {
		o.ring = append(o.ring, offer{})
	} else {
		slot = o.head
		o.head = (o.head + 1) % offersMax
		if old := o.ring[slot].prefix; old.IsValid() {
			o.remove(old)
		}
	}
	next, ok := o.byIA[ia]
	if !ok {
		next = noSlot
	}
	o.ring[slot] = offer{p, ia, now + offerHold, next}
	o.byPrefix[p] = slot
	o.byIA[ia] = slot
}

// remove forgets the offer of p.
func (o *offers) remove(p netip.Prefix) {
	slot, ok := o.byPrefix[p]
	if !ok {
		return
	}
	f := &o.ring[slot]
	switch before := o.byIA[f.ia]; {
	case before != slot:
		for o.ring[before].next != slot {
			before = o.ring[before].next
		}
		o.ring[before].next = f.next
	case f.next == noSlot:
		delete(o.byIA, f.ia)
	default:
		o.byIA[f.ia] = f.next
	}
	delete(o.byPrefix, p)
	*f = offer{}
}

// holder returns to whom p is offered, if it is.
func (o *offers) holder(now time.Duration, p netip.Prefix) (lease.IA, bool) {
	slot, ok := o.byPrefix[p]
	if !ok || o.ring[slot].until <= now {
		return lease.IA{}, false
	}
	return o.ring[slot].ia, true
}

// of walks what is offered to ia, the latest first.
func (o *offers) of(now time.Duration, ia lease.IA, yield func(netip.Prefix) bool) {
	slot, ok := o.byIA[ia]
	for ; ok && slot != noSlot; slot = o.ring[slot].next {
		if f := &o.ring[slot]; f.until <= now || !yield(f.prefix) {
			return
		}
	}
}
