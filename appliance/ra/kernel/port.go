package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/tandem6/tandem6/appliance/ra"
)

// port is one interface that advertises, or waits for being able to.
type port struct {
	owner      *owner
	name       string
	advertiser *ra.Advertiser
	counters   counters

	conn    *conn  // nil: waiting
	mac     []byte // of the interface
	waiting string // why there is no conn, as it was told
	retry   backoff

	forwards    bool // as it was told
	leaving     bool // not configured any more: goes when all final advertisements are sent
	saidGoodbye bool // the first of them was sent
}

func newPort(o *owner, name string, c ra.Config, now time.Duration) *port {
	a, err := ra.New(c, o.remembered[name], o.options.Rand, now)
	if err != nil {
		panic(fmt.Sprintf("ra/kernel: validated configuration of %s: %v", name, err))
	}
	p := &port{owner: o, name: name, advertiser: a, forwards: true}
	p.retry.succeeded()
	return p
}

// tell reports an event; what others can see of the port changes with it.
func (p *port) tell(e Event) {
	e.Interface = p.name
	p.owner.viewChanged = p.owner.viewChanged || e.Kind != Sent
	p.owner.options.Hook(e)
}

func (p *port) reconfigure(c ra.Config, now time.Duration) {
	if err := p.advertiser.Reconfigure(now, c); err != nil {
		panic(fmt.Sprintf("ra/kernel: validated configuration of %s: %v", p.name, err))
	}
	if p.leaving {
		p.leaving, p.saidGoodbye = false, false
		p.advertiser.Start(now)
	}
}

// leave begins the end of the port.
func (p *port) leave(now time.Duration) {
	if !p.leaving {
		p.leaving = true
		p.advertiser.Stop(now)
	}
}

// isGone reports whether the port has no more to do. One that cannot send has not.
func (p *port) isGone() bool {
	return p.leaving && (p.conn == nil || p.advertiser.Stopped())
}

// end closes what is open and says so.
func (p *port) end() {
	p.disconnect()
	p.tell(Event{Kind: Ended})
}

// remember tells which prefixes must be withdrawn after a reboot, when that list
// has changed in more than its times.
func (p *port) remember(now time.Duration) {
	list := p.advertiser.Remembered(now)
	same := slices.EqualFunc(list, p.owner.remembered[p.name], func(a, b ra.AdvertisedPrefix) bool {
		return a.Prefix == b.Prefix && a.OnLink == b.OnLink && a.Autonomous == b.Autonomous
	})
	p.owner.remembered[p.name] = list
	if !same {
		p.tell(Event{Kind: Remember, Prefixes: list})
	}
}

// look opens or closes the socket as the interface demands.
func (p *port) look(now time.Duration) {
	var inUse netip.Addr
	if p.conn != nil {
		inUse = p.conn.address
	}
	l, err := readLink(p.owner.netlink, p.name, inUse)
	if err != nil {
		p.lose(err, now)
		return
	}
	p.mac = l.mac
	p.advertiser.SetForwarding(now, l.forwarding)
	p.tellForwarding(l.forwarding)
	if p.conn != nil && p.conn.index == l.index && p.conn.address == l.address {
		return
	}
	p.disconnect()
	if p.leaving {
		return // there is nobody left to say goodbye to
	}
	c, err := open(l, &p.counters, p.owner.arrived)
	if err != nil {
		p.lose(err, now)
		return
	}
	p.conn, p.waiting = c, ""
	p.retry.succeeded()
	p.counters.opened.Add(1)
	p.advertiser.Start(now) // hosts may have come and gone while the link was down
	p.tell(Event{Kind: Advertising, Address: l.address})
}

// lose closes the socket. What is not ready is waited for; after anything else the
// port is looked at again after a pause.
func (p *port) lose(err error, now time.Duration) {
	p.disconnect()
	kind := Waiting
	if errors.As(err, new(notReady)) {
		p.retry.succeeded()
	} else {
		kind = Failed
		p.retry.failed(now)
	}
	if p.waiting != err.Error() {
		p.waiting = err.Error()
		p.tell(Event{Kind: kind, Text: p.waiting})
	}
}

func (p *port) disconnect() {
	if p.conn != nil {
		p.conn.close()
		p.conn = nil
	}
}

func (p *port) tellForwarding(on bool) {
	if p.forwards == on {
		return
	}
	p.forwards = on
	if on {
		p.tell(Event{Kind: Forwarding})
	} else {
		p.tell(Event{Kind: NotForwarding})
	}
}

// step takes what came in and sends what is due.
func (p *port) step(now time.Duration) {
	if p.conn == nil && now >= p.retry.at {
		p.look(now)
	}
	if p.conn == nil {
		return
	}
	p.receive(now)
	select {
	case <-p.conn.done:
		p.lose(p.conn.err, now)
		return
	default:
	}
	p.send(now)
}

// receive takes no more than one queue full, so that no interface holds up others.
func (p *port) receive(now time.Duration) {
	for range queueMax {
		select {
		case m := <-p.conn.messages:
			if m.observation == nil {
				p.advertiser.Solicited(now, m.solicitation)
			} else if r, ok := p.advertiser.Observed(now, *m.observation); ok {
				p.tell(Event{Kind: OtherRouter, Report: r})
			}
		default:
			return
		}
	}
	poke(p.owner.arrived) // there may be more
}

func (p *port) send(now time.Duration) {
	for {
		ad, ok := p.advertiser.Due(now, p.mac)
		if !ok {
			return
		}
		p.saidGoodbye = p.saidGoodbye || ad.Final
		err := p.conn.send(ad)
		p.counters.count(ad, err)
		switch {
		case err == nil:
			p.tell(Event{Kind: Sent, Address: ad.To, Final: ad.Final})
		case ad.To == allNodes:
			p.lose(fmt.Errorf("sending a router advertisement to %s: %w", ad.To, err), now)
			return
		default: // one host is out of reach (its neighbour entry, a filter): tell everybody instead
			p.advertiser.Solicited(now, ra.Solicitation{Source: netip.IPv6Unspecified()})
		}
		p.remember(now)
	}
}

// next is when the port wants to be woken.
func (p *port) next() time.Duration {
	if p.conn == nil {
		return p.retry.at
	}
	return p.advertiser.Next()
}
