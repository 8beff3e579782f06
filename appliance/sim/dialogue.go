package sim

import (
	"time"

	"github.com/tandem6/tandem6/failover/lease"
)

// A dialogue is one transaction of a client: a message, sent again until there is
// an answer or no hope (RFC 9915 section 15). The zero dialogue is none.
type dialogue struct {
	kind   kind
	xid    uint32
	data   []byte
	tries  int
	rt     time.Duration // to the next try
	until  time.Duration // give up then; 0: never, or by tries
	offers []*message
	retry  timer
}

// manner is how often a message is sent (RFC 9915 section 7.6).
type manner struct {
	first, longest time.Duration // longest 0: no bound
	tries          int           // 0: no bound
}

var manners = [...]manner{
	solicit: {time.Second, 0, 0}, // its longest is SOL_MAX_RT
	request: {time.Second, 30 * time.Second, 10},
	confirm: {time.Second, 4 * time.Second, 0},
	renew:   {10 * time.Second, 600 * time.Second, 0},
	rebind:  {10 * time.Second, 600 * time.Second, 0},
	release: {time.Second, 0, 4},
	decline: {time.Second, 0, 5},
}

const confirmFor = 10 * time.Second // CNF_MAX_RD

func (x *dialogue) idle() bool { return x.kind == 0 }

func (x *dialogue) stop() {
	x.retry.stop()
	x.kind, x.offers = 0, nil
}

// begin starts a dialogue in place of what was going on.
func (c *client) begin(m *message, until time.Duration) {
	c.x.stop()
	c.pause.stop()
	c.xid = (c.xid + 1) & 0xffffff
	m.xid, m.client, m.status = c.xid, c.duid, noStatus
	c.x.kind, c.x.xid, c.x.data = m.kind, m.xid, m.append(nil)
	c.x.tries, c.x.rt, c.x.until = 0, 0, until
	c.transmit()
}

func (c *client) transmit() {
	x := &c.x
	how := manners[x.kind]
	if x.kind == solicit {
		how.longest = seconds(c.SolMaxRT_s)
	}
	x.tries++
	switch {
	case x.tries == 1 && x.kind == solicit:
		x.rt = how.first + time.Duration(c.Float64()*0.1*float64(how.first)) // D-066: longer than the first
	case x.tries == 1:
		x.rt = c.jitter(how.first)
	default:
		x.rt = c.jitter(2 * x.rt)
	}
	if how.longest > 0 && x.rt > how.longest {
		x.rt = c.jitter(how.longest)
	}
	at := c.now + x.rt
	if x.until != 0 {
		at = min(at, x.until)
	}
	c.note(c.now, c.who, "sends", x.data)
	if c.read() {
		m, _ := parseMessage(x.data)
		c.line(c.now, c.who, "-> %v (%d)", m, x.tries)
	}
	c.tally.count("clients: message " + x.kind.String())
	x.retry.start(&c.scheduler, at, c.silence)
	c.fromClient(c, x.data)
}

// jitter is a time plus or minus up to a tenth (RAND of RFC 9915 section 15).
func (c *client) jitter(d time.Duration) time.Duration {
	return d + time.Duration((c.Float64()-0.5)*0.2*float64(d))
}

// silence is when no answer has come in time.
func (c *client) silence() {
	x := &c.x
	switch {
	case len(x.offers) > 0:
		c.choose()
	case x.until != 0 && c.now >= x.until, manners[x.kind].tries != 0 && x.tries >= manners[x.kind].tries:
		c.hopeless()
	default:
		c.transmit()
	}
}

// hopeless is what follows when a message is not sent any more.
func (c *client) hopeless() {
	was := c.x.kind
	c.x.stop()
	switch was {
	case request:
		if c.holdsAny() {
			c.arm()
			return
		}
		c.solicit()
	case release, decline:
		c.afterFarewell()
	case confirm: // RFC 9915 section 18.2.3: go on as before
		c.arm()
	case renew, rebind:
		c.tick()
	}
}

func (c *client) solicit() {
	c.lease.stop()
	m := &message{kind: solicit, rapidCommit: c.rapid}
	for _, a := range c.ias {
		in := ia{typ: a.typ, id: a.id, status: noStatus}
		if c.hints {
			for _, p := range a.former {
				in.leases = append(in.leases, leased{prefix: p})
			}
		}
		m.ias = append(m.ias, in)
	}
	c.begin(m, 0)
}

// offered takes an Advertise (RFC 9915 section 18.2.9).
func (c *client) offered(m *message) {
	if !m.grants() {
		return
	}
	c.x.offers = append(c.x.offers, m)
	if m.preference == 255 || c.x.tries > 1 {
		c.choose()
	}
}

// choose requests the best offer: the highest preference, then the most leases.
func (c *client) choose() {
	leases := func(m *message) (n int) {
		for i := range m.ias {
			n += len(m.ias[i].leases)
		}
		return n
	}
	best := c.x.offers[0]
	for _, m := range c.x.offers[1:] {
		if m.preference > best.preference || m.preference == best.preference && leases(m) > leases(best) {
			best = m
		}
	}
	m := &message{kind: request, server: best.server, ias: best.ias}
	c.begin(m, 0)
}

// request asks a server for identity associations that it said it does not know.
func (c *client) request(server lease.DUID, list []*association) {
	c.begin(&message{kind: request, server: server, ias: inMessage(list)}, 0)
}

// inMessage is what a client tells about its identity associations.
func inMessage(list []*association) (ias []ia) {
	for _, a := range list {
		in := ia{typ: a.typ, id: a.id, status: noStatus}
		for _, h := range a.held {
			in.leases = append(in.leases, leased{prefix: h.prefix})
		}
		ias = append(ias, in)
	}
	return ias
}

func (c *client) renew() {
	c.begin(&message{kind: renew, server: c.server, ias: inMessage(c.ias)}, c.t2)
}

func (c *client) rebind() {
	c.begin(&message{kind: rebind, ias: inMessage(c.ias)}, c.lastEnd())
}

// confirm asks whether the addresses still fit the link.
func (c *client) confirm() {
	m := &message{kind: confirm}
	for _, a := range c.ias {
		if a.typ == lease.IANA {
			m.ias = append(m.ias, inMessage([]*association{a})...)
		}
	}
	c.begin(m, c.now+confirmFor)
}

// receive takes a message that may be an answer.
func (c *client) receive(data []byte) {
	m, err := parseMessage(data)
	c.wellFormed(c, data, err)
	if err != nil || !c.on || c.x.idle() || m.xid != c.x.xid || m.client != c.duid || m.server == "" {
		return
	}
	c.note(c.now, c.who, "gets", data)
	c.line(c.now, c.who, "<- %v from %s", m, c.serverName(m.server))
	switch {
	case c.x.kind == solicit && m.kind == advertise:
		c.offered(m)
	case m.kind != reply:
	case c.x.kind == solicit:
		if m.rapidCommit && c.rapid {
			c.accept(m)
		}
	case c.x.kind == confirm:
		c.x.stop()
		if m.status == notOnLink {
			c.forget()
			c.solicit()
			return
		}
		c.arm()
	case c.x.kind == release, c.x.kind == decline:
		c.x.stop()
		c.afterFarewell()
	default:
		c.accept(m)
	}
}
