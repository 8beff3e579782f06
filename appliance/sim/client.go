package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
)

// A client is a DHCPv6 client (RFC 9915 section 18.2): it asks, keeps what it was
// told, renews it, and believes any Reply to its transaction. What it holds is the
// truth that the checkers judge by.
type client struct {
	*lan
	id      int
	who     string
	duid    lease.DUID
	address netip.Addr // link-local
	relayed bool
	habits

	on     bool
	ias    []*association
	server lease.DUID // that answered last
	t1, t2 time.Duration
	xid    uint32
	x      dialogue
	lease  timer // the next end of a lease, T1 or T2
	pause  timer // until it asks again, or is switched on
}

// habits are what makes one client different from the other.
type habits struct {
	lazy   bool // renews somewhere between T1 and the end
	silent bool // does not renew
	rapid  bool // offers Rapid Commit
	hints  bool // asks for what it had
}

// An association is an IA_NA or IA_PD of a client.
type association struct {
	typ    lease.IAType
	id     lease.IAID
	held   []holding
	former []netip.Prefix // what it had, to be asked for
}

// A holding is a lease that the client may use until a moment of true time.
type holding struct {
	prefix netip.Prefix
	until  time.Duration
}

func newClient(l *lan, n int) *client {
	id := l.index*0x100 + n
	c := &client{
		lan: l, id: id, who: fmt.Sprintf("c%d", id),
		duid:    lease.DUID([]byte{0, 3, 0, 1, 2, 0, 0, 0, byte(id >> 8), byte(id)}),
		address: netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: 2, 14: byte(id >> 8), 15: byte(id)}),
		relayed: n >= l.Clients-l.Relayed,
		habits: habits{
			lazy: l.chance(l.Habits.Lazy), silent: l.chance(l.Habits.Silent),
			rapid: l.chance(l.Habits.Rapid), hints: l.chance(l.Habits.Hints),
		},
	}
	if n >= l.Routers || l.chance(0.5) {
		c.want(lease.IANA)
	}
	if n < l.Routers {
		for range 1 + l.IntN(3) {
			c.want(lease.IAPD)
		}
	}
	return c
}

// want adds an identity association.
func (c *client) want(typ lease.IAType) {
	c.ias = append(c.ias, &association{typ: typ, id: lease.IAID(len(c.ias) + 1)})
}

// powerOn starts the client. What it still may use it has to confirm (RFC 9915
// section 18.2.12), delegated prefixes by a Rebind.
func (c *client) powerOn() {
	c.on = true
	c.tick()
	if !c.x.idle() {
		return // it holds nothing and asks already
	}
	onlyAddresses := true
	for _, a := range c.ias {
		onlyAddresses = onlyAddresses && (a.typ == lease.IANA || len(a.held) == 0)
	}
	switch {
	case !c.holdsAny():
		c.solicit()
	case onlyAddresses:
		c.confirm()
	default:
		c.rebind()
	}
}

// powerOff stops it without a word. It may come back and use what it holds.
func (c *client) powerOff() {
	c.on = false
	c.x.stop()
	c.lease.stop()
	c.pause.stop()
}

func (c *client) holdsAny() bool {
	return slices.ContainsFunc(c.ias, func(a *association) bool { return len(a.held) > 0 })
}

// lastEnd is when the last lease ends.
func (c *client) lastEnd() (end time.Duration) {
	for _, a := range c.ias {
		for _, h := range a.held {
			end = max(end, h.until)
		}
	}
	return end
}

// forget lets go of everything without telling anybody.
func (c *client) forget() {
	for _, a := range c.ias {
		for _, h := range a.held {
			c.truth.gaveUp(c, h.prefix)
		}
		a.held = nil
	}
}

func (c *client) association(typ lease.IAType, id lease.IAID) *association {
	for _, a := range c.ias {
		if a.typ == typ && a.id == id {
			return a
		}
	}
	return nil
}

func (a *association) holds(p netip.Prefix) bool {
	return slices.ContainsFunc(a.held, func(h holding) bool { return h.prefix == p })
}

// accept takes a Reply for what it says.
func (c *client) accept(m *message) {
	before := c.x.kind
	if (before == renew || before == rebind) && !m.decides() {
		return // it is as good as none: another server may know better
	}
	c.server = m.server
	c.x.stop()
	if before == request && m.status == notOnLink {
		c.askAgain()
		return
	}
	var unbound []*association
	var fresh []*association
	for i := range m.ias {
		in := &m.ias[i]
		a := c.association(in.typ, in.id)
		if a == nil {
			continue
		}
		if in.status == noBinding && (before == renew || before == rebind) {
			unbound = append(unbound, a)
		}
		if c.take(a, in) {
			fresh = append(fresh, a)
		}
		c.times(in)
	}
	c.settle()
	switch {
	case len(fresh) > 0 && c.declines(fresh[0]):
	case len(unbound) > 0: // RFC 9915 section 18.2.10.1
		c.request(m.server, unbound)
	}
}

// take applies one identity association of a Reply. It reports whether there is
// something new in it.
func (c *client) take(a *association, in *ia) (fresh bool) {
	for _, l := range in.leases {
		i := slices.IndexFunc(a.held, func(h holding) bool { return h.prefix == l.prefix })
		switch {
		case l.valid == 0:
			if i >= 0 {
				c.truth.gaveUp(c, l.prefix)
				a.held = slices.Delete(a.held, i, i+1)
			}
		case i >= 0:
			a.held[i].until = c.now + seconds(l.valid)
			c.truth.told(c, a, l.prefix, a.held[i].until)
		default:
			fresh = true
			a.held = append(a.held, holding{l.prefix, c.now + seconds(l.valid)})
			a.former = []netip.Prefix{l.prefix}
			c.truth.told(c, a, l.prefix, c.now+seconds(l.valid))
			c.tally.count("clients: lease taken")
		}
	}
	return fresh
}

// times takes over T1 and T2, the earliest of all identity associations. What
// has passed is over.
func (c *client) times(in *ia) {
	if len(in.leases) == 0 || in.t2 == 0 && in.t1 == 0 {
		return
	}
	if at := c.now + seconds(in.t1); c.t1 <= c.now || at < c.t1 {
		c.t1 = at
	}
	if at := c.now + seconds(in.t2); c.t2 <= c.now || at < c.t2 {
		c.t2 = at
	}
}

// settle is what follows an answer: rest until the next thing is due.
func (c *client) settle() {
	if !c.holdsAny() {
		c.askAgain()
		return
	}
	if c.t1 <= c.now { // not told: at the client's discretion
		c.t1 = c.now + (c.lastEnd()-c.now)/2
		c.t2 = max(c.t1, c.t2)
	}
	if c.lazy {
		c.t1 += time.Duration(c.Float64() * float64(max(c.lastEnd()-c.t1, 0)))
		c.t2 = max(c.t1, c.t2)
	}
	if c.silent {
		c.t1, c.t2 = c.lastEnd(), c.lastEnd()
	}
	c.arm()
}

// askAgain starts over after a while: servers that have nothing are not to be
// pressed.
func (c *client) askAgain() {
	c.lease.stop()
	c.pause.start(&c.scheduler, c.now+c.jitter(seconds(c.SolMaxRT_s)/2), c.solicit)
}

// arm waits for the next end of a lease, T1 or T2.
func (c *client) arm() {
	next := c.lastEnd()
	for _, a := range c.ias {
		for _, h := range a.held {
			next = min(next, h.until)
		}
	}
	if c.x.idle() {
		next = min(next, c.t1)
	}
	if c.x.kind != rebind {
		next = min(next, c.t2)
	}
	c.lease.start(&c.scheduler, next, c.tick)
}

// tick lets go of what has run out, and asks for more time when it is due.
func (c *client) tick() {
	if !c.on {
		return
	}
	lost := false
	for _, a := range c.ias {
		for i := len(a.held) - 1; i >= 0; i-- {
			if a.held[i].until <= c.now {
				lost = true
				c.tally.count("clients: lease ran out")
				c.line(c.now, c.who, "lets %s go, it ran out", show(a.held[i].prefix))
				a.held = slices.Delete(a.held, i, i+1)
			}
		}
	}
	switch {
	case !c.holdsAny():
		if lost || c.x.idle() {
			c.solicit()
		}
		return
	case c.now >= c.t2 && c.x.kind != rebind:
		c.rebind()
	case c.now >= c.t1 && c.x.idle():
		c.renew()
	}
	c.arm()
}
