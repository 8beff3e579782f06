package kernel

import (
	"net/netip"
	"sync/atomic"

	"github.com/tandem6/tandem6/appliance/ra"
)

// View is one interface as others may see it while Run works.
type View struct {
	Interface string
	Address   netip.Addr // the link-local address it advertises from; invalid: it does not
	Waiting   string     // why it does not advertise now; empty: it does
	Counters  Counters
}

// Counters count since the interface was configured.
type Counters struct {
	Multicast      uint64 // advertisements sent to all nodes
	Unicast        uint64 // advertisements sent to one host
	SendErrors     uint64 // advertisements that the kernel did not take
	Solicitations  uint64 // valid ones
	Advertisements uint64 // valid ones of other routers
	Invalid        uint64 // messages that RFC 4861 section 6.1 wants discarded
	Dropped        uint64 // valid messages given up because too many were waiting
	SocketsOpened  uint64 // one, and one more after each loss of the link
}

// counters are Counters that the reading and the owning goroutine share.
type counters struct {
	multicast, unicast, sendErrors         atomic.Uint64
	solicitations, advertisements, invalid atomic.Uint64
	dropped, opened                        atomic.Uint64
}

// count counts an advertisement that was sent, or not.
func (c *counters) count(ad ra.Advertisement, err error) {
	switch {
	case err != nil:
		c.sendErrors.Add(1)
	case ad.To == allNodes:
		c.multicast.Add(1)
	default:
		c.unicast.Add(1)
	}
}

func (c *counters) load() Counters {
	return Counters{
		Multicast:      c.multicast.Load(),
		Unicast:        c.unicast.Load(),
		SendErrors:     c.sendErrors.Load(),
		Solicitations:  c.solicitations.Load(),
		Advertisements: c.advertisements.Load(),
		Invalid:        c.invalid.Load(),
		Dropped:        c.dropped.Load(),
		SocketsOpened:  c.opened.Load(),
	}
}
