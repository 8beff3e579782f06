package sim

import (
	"slices"
	"time"

	"github.com/tandem6/tandem6/failover"
)

// operator is what the people who run a pair do, and their duties. They say
// partner-down only when the partner is switched off, and switch it on again only
// when it will reach the other one before it serves (RFC 8156 section 8.4): they
// see to it that the other box runs and the network between is whole, and touch
// neither until the two have met.
type operator struct {
	mclt_s   uint32   // configured on the primary
	mclts    []uint32 // that were
	alone    bool     // the primary may start into PARTNER-DOWN: its partner does not exist yet
	off      [2]bool  // switched off by the operator, who will switch it on
	declared [2]bool  // which side was in PARTNER-DOWN since both were NORMAL last
	guarded  bool     // the two are about to meet: nobody touches anything
	busy     bool     // the operator does something that takes a while
	wasLost  bool     // one lost its disk since both were NORMAL last, or was told to distrust it
	met      bool     // both were NORMAL once
	steadily uint64   // how often both became NORMAL
}

// wasDown reports whether there may be promises without bound that only one side
// knows of.
func (o *operator) wasDown() bool { return o.declared[primary] || o.declared[secondary] }

// mcltMax and mcltMin bound the MCLT by which a promise can have been made.
func (o *operator) mcltMax() (m uint32) {
	for _, v := range append(o.mclts, o.mclt_s) {
		m = max(m, v)
	}
	return m
}

func (o *operator) mcltMin() uint32 {
	m := o.mclt_s
	for _, v := range o.mclts {
		m = min(m, v)
	}
	return m
}

// follow is called at every change of state of either side.
func (p *pair) follow(r *relation) {
	if r.state == partnerDown {
		p.declared[r.side] = true
		if r.former != startup {
			p.tally.count("takeover: " + roles[r.side].String())
		}
		if r.former != startup || r.downSince == 0 {
			r.downSince = p.now
		}
	}
	if p.steady() {
		p.declared, p.wasLost, p.met = [2]bool{}, false, true
		p.steadily++
		p.tally.count("pairs: both NORMAL")
	}
}

// steady reports whether both serve side by side, and know of each other.
func (p *pair) steady() bool {
	return p.relation(primary).state == normal && p.relation(secondary).state == normal
}

// touchable reports whether a fault may strike a node now.
func (n *node) touchable() bool {
	for _, p := range n.partnered {
		if p.guarded || p.off[p.side(n)] {
			return false
		}
	}
	return true
}

// outage is a box that is switched off for a while, and an operator who tells the
// other one when he has noticed.
func (p *pair) outage() {
	if p.guarded || p.busy || p.off != [2]bool{} {
		return
	}
	x := p.IntN(2)
	n := p.nodes[x]
	if !n.touchable() || !n.powered {
		return
	}
	p.busy, p.off[x] = true, true
	n.powerOff()
	notice := 30*time.Second + p.between(time.Second, 10*time.Minute)
	p.after(notice, func() { p.sayDown(x) })
	p.after(notice+p.between(time.Second, p.Safety/3), func() { p.switchOn(x) })
}

// sayDown tells the other server that x is down, if the operator can be sure of
// it: it is off, and it has made no promises that only it knows of.
func (p *pair) sayDown(x int) {
	y := p.relation(1 - x)
	if p.calm || p.declared[x] || p.nodes[x].powered || !y.node.running || y.node.aheadOfTime() {
		return
	}
	p.line(p.now, "oper", "partner-down to %s, which is in %v", y.node.name, y.state)
	y.node.operate(p, failover.SetPartnerDown, func(err error) {
		p.line(p.now, "oper", "partner-down: %v", err)
		if err == nil {
			p.tally.count("operator: partner-down")
		} else {
			p.tally.count("operator refused: partner-down")
		}
	})
}

// blunder is an operator who takes a cut cable for a dead box, says partner-down,
// and finds his mistake long before MCLT has passed. Both servers serve in doubt
// then; but a server in PARTNER-DOWN gives nothing that may be its partner's
// before MCLT is over (section 8.4.1), so that no promise is broken by it.
func (p *pair) blunder() {
	if p.guarded || p.busy || p.wasDown() || p.wasLost || !p.steady() || p.astray() || p.mcltMin() < blunderMCLT_s {
		return
	}
	p.busy = true
	p.partition(true, true)
	y := p.relation(p.IntN(2))
	p.after(2*seconds(p.Keepalive_s)+time.Second, func() {
		if p.calm || p.guarded || y.state != interrupted || p.whole() {
			p.busy = false
			return
		}
		p.guarded = true
		p.line(p.now, "oper", "partner-down to %s, by mistake", y.node.name)
		y.node.operate(p, failover.SetPartnerDown, func(error) { p.tally.count("operator: partner-down by mistake") })
		p.after(time.Duration(p.Float64()*float64(seconds(p.mcltMin())/4)), func() {
			p.heal()
			p.reconcile(y)
		})
	})
}

// blunderMCLT_s is the least MCLT with which there is time to find the mistake,
// and for the partners to meet.
const blunderMCLT_s = 300

// reconcile waits until the two have met and begin to resolve their conflict.
func (p *pair) reconcile(y *relation) {
	p.after(20*time.Millisecond, func() {
		switch {
		case y.state == partnerDown || y.state == startup || y.state == 0:
			p.reconcile(y)
			return
		case y.state == conflict && !p.calm:
			p.after(time.Duration(p.Float64()*float64(20*p.Latency+5*p.Disk)), p.disturb)
		}
		p.guarded, p.busy = false, false
	})
}

// disturb breaks the resolution of a conflict, or lets it be.
func (p *pair) disturb() {
	switch p.IntN(4) {
	case 0:
		p.partition(true, true)
		p.after(p.between(100*time.Millisecond, time.Minute), p.heal)
	case 1:
		p.nodes[primary].crash("killed while a conflict is resolved")
	case 2:
		p.nodes[secondary].crash("killed while a conflict is resolved")
	}
}

// astray reports whether the clock of a side is or was wrong: then nobody is
// bold.
func (p *pair) astray() bool { return p.nodes[primary].misled || p.nodes[secondary].misled }

// switchOn ends an outage.
func (p *pair) switchOn(x int) {
	if p.off[x] {
		p.off[x], p.busy = false, false
		p.nodes[x].comeBack()
	}
}

// comeBack switches a box on. Where its partner may serve without bound, the
// operator sees to it that the two meet before anything else can happen: the
// partner has to run, and to be in reach.
func (n *node) comeBack() {
	if n.powered || slices.ContainsFunc(n.partnered, func(p *pair) bool { return p.off[p.side(n)] }) {
		return
	}
	ready := true
	for _, p := range n.partnered {
		x := p.side(n)
		if !p.declared[1-x] {
			continue
		}
		p.guarded = true
		p.heal()
		y := p.relation(1 - x)
		if !y.node.powered {
			p.off[1-x] = false
			y.node.powerOn()
		}
		ready = ready && y.state != 0 && y.state != startup
	}
	if !ready {
		n.after(time.Second, n.comeBack)
		return
	}
	n.powerOn()
	for _, p := range n.partnered {
		if p.guarded {
			p.introduce(p.side(n))
		}
	}
}

// introduce waits until a box that was off has met its partner, or serves.
func (p *pair) introduce(x int) {
	p.after(time.Second, func() {
		if r := p.relation(x); r.state == 0 || r.state == startup {
			p.introduce(x)
			return
		}
		p.guarded = false
	})
}

// commission is the first start of a server whose partners serve alone already.
func (n *node) commission() {
	n.line(n.now, "oper", "commissions %s", n.name)
	for _, p := range n.partnered {
		p.alone = false
		p.off[p.side(n)] = false
	}
	n.comeBack()
}

// upgrade restarts both boxes with new software, one after the other, the second
// when the first is back in step.
func (p *pair) upgrade() {
	if p.guarded || p.busy || !p.steady() {
		return
	}
	p.busy = true
	p.tally.count("operator: upgrade")
	first := p.IntN(2)
	p.replaceSoftware(first, func() { p.replaceSoftware(1-first, func() { p.busy = false }) })
}

// replaceSoftware stops one server in order, and starts it again.
func (p *pair) replaceSoftware(x int, then func()) {
	n := p.nodes[x]
	if p.calm || !n.running || p.guarded {
		p.busy = false
		return
	}
	p.line(p.now, "oper", "shuts %s down for an upgrade", n.name)
	life := n.life
	n.operate(p, failover.Shutdown, func(error) {
		p.after(200*time.Millisecond, func() {
			if n.running && n.life == life {
				n.shutdown(seconds(5 + p.IntN(60)))
			}
		})
	})
	p.awaitSteady(seconds(600), func() { then() })
}

// awaitSteady waits until both are NORMAL again, at most for a while.
func (p *pair) awaitSteady(patience time.Duration, then func()) {
	p.after(5*time.Second, func() {
		switch {
		case p.steady():
			then()
		case patience <= 0:
			p.busy = false
		default:
			p.awaitSteady(patience-5*time.Second, then)
		}
	})
}

// distrust tells a server to ask its partner for everything.
func (p *pair) distrust() {
	if p.guarded || p.busy || !p.steady() {
		return
	}
	n := p.nodes[p.IntN(2)]
	p.line(p.now, "oper", "resync to %s", n.name)
	p.wasLost = true
	n.operate(p, failover.Resync, func(err error) {
		p.line(p.now, "oper", "resync: %v", err)
		p.tally.count("operator: resync")
	})
}

// reconfigure changes the MCLT on the primary.
func (p *pair) reconfigure() {
	n := p.nodes[primary]
	if p.guarded || !n.running {
		return
	}
	p.mclts = append(p.mclts, p.mclt_s)
	p.mclt_s = pick[uint32](p.dice, 30, 60, 120, 300, 900)
	p.line(p.now, "oper", "MCLT is %d s from now on", p.mclt_s)
	p.tally.count("operator: MCLT changed")
	n.reconfigure()
}
