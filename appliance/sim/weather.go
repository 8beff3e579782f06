package sim

import (
	"time"
)

// fault is a kind of thing that goes wrong. What the operator does is among them:
// it comes from outside all the same.
type fault uint8

// The kinds of faults.
const (
	faultCrash fault = iota
	faultPower
	faultCommit
	faultStall
	faultReplace
	faultLan
	faultLanOneWay
	faultSplit
	faultStorm
	faultCongestion
	faultCable
	faultOneWay
	faultReset
	faultSilence
	faultClockBehind
	faultClockAhead
	faultOutage
	faultBlunder
	faultUpgrade
	faultResync
	faultMCLT
	faultCount
)

// faultKinds says of each kind what it is called, where it fits, what it does,
// and whether it keeps two servers that both run from talking to each other.
var faultKinds [faultCount]struct {
	name      string
	fits      func(o *Options) bool
	strike    func(w *World)
	separates bool
}

func init() {
	any := func(*Options) bool { return true }
	paired := func(o *Options) bool { return o.Primaries > 0 }
	onNode := func(f func(*node)) func(*World) {
		return func(w *World) {
			if n := w.nodes[w.IntN(len(w.nodes))]; n.touchable() {
				f(n)
			}
		}
	}
	onPair := func(f func(*pair)) func(*World) {
		return func(w *World) {
			if p := w.pairs[w.IntN(len(w.pairs))]; !p.guarded {
				f(p)
			}
		}
	}
	add := func(f fault, name string, fits func(*Options) bool, separates bool, strike func(*World)) {
		k := &faultKinds[f]
		k.name, k.fits, k.separates, k.strike = name, fits, separates, strike
	}
	add(faultCrash, "process crash", any, false, onNode(func(n *node) { n.crash("killed") }))
	add(faultPower, "power loss", any, false, onNode((*node).powerCycle))
	add(faultCommit, "failed commit", any, false, onNode(func(n *node) { n.failNext = n.running }))
	add(faultStall, "disk stall", any, false, onNode((*node).stallDisk))
	add(faultReplace, "disk replaced", paired, false, onNode((*node).replaceDisk))
	add(faultLan, "server cut off from its clients", any, false, func(w *World) { w.cutLan(true, true) })
	add(faultLanOneWay, "server deaf or mute to its clients", any, false, func(w *World) {
		deaf := w.chance(0.5)
		w.cutLan(deaf, !deaf)
	})
	add(faultSplit, "lan split in two", paired, false, func(w *World) {
		l := w.lans[w.IntN(len(w.lans))]
		l.split = true
		w.during(w.lasting(), func() { l.split = false })
	})
	add(faultStorm, "loss of datagrams", any, false, (*World).storm)
	add(faultCongestion, "congestion", any, false, (*World).congest)
	add(faultCable, "partition", paired, true, onPair(func(p *pair) { p.cutFor(true, true) }))
	add(faultOneWay, "partition one way", paired, true, onPair(func(p *pair) {
		fromPrimary := p.chance(0.5)
		p.cutFor(fromPrimary, !fromPrimary)
	}))
	add(faultReset, "connection reset", paired, false, onPair((*pair).resetAll))
	add(faultSilence, "connection forgotten by the network", paired, true, onPair((*pair).silence))
	add(faultClockBehind, "clock an hour behind", any, true, onNode(func(n *node) { n.stepClock(-time.Hour) }))
	add(faultClockAhead, "clock an hour ahead", paired, true, onNode(func(n *node) { n.stepClock(time.Hour) }))
	add(faultOutage, "outage with partner-down", paired, false, onPair((*pair).outage))
	add(faultBlunder, "partner-down by mistake", paired, true, onPair((*pair).blunder))
	add(faultUpgrade, "upgrade one by one", paired, false, onPair((*pair).upgrade))
	add(faultResync, "resync", paired, false, onPair((*pair).distrust))
	add(faultMCLT, "other MCLT", paired, false, onPair((*pair).reconfigure))
}

// storms lets the faults of the seed strike until the calm.
func (w *World) storms() {
	for f := range faultCount {
		if w.Faults[f] > 0 {
			w.brew(f)
		}
	}
}

func (w *World) brew(f fault) {
	w.after(time.Duration(w.ExpFloat64()*float64(w.Faults[f])), func() {
		if w.calm {
			return
		}
		w.tally.count("fault: " + faultKinds[f].name)
		w.note(w.now, "fault", faultKinds[f].name, nil)
		w.line(w.now, "fault", "%s", faultKinds[f].name)
		faultKinds[f].strike(w)
		w.brew(f)
	})
}

// lasting is how long a fault stays: seconds, or a good part of everything.
func (w *World) lasting() time.Duration { return w.between(time.Second, w.Safety/4) }

// during does something now and takes it back after a while.
func (w *World) during(d time.Duration, undo func()) {
	w.after(d, func() {
		if !w.calm {
			undo()
		}
	})
}

func (n *node) powerCycle() {
	n.powerOff()
	n.after(n.lasting(), n.comeBack)
}

// stallDisk lets the disk think for a while: flash does, when it tidies up.
func (n *node) stallDisk() { n.stall = n.now + n.between(50*time.Millisecond, stallMax) }

const stallMax = 30 * time.Second

// replaceDisk gives a box an empty disk. The other one must have all that is not
// younger than MCLT: two disks lost at a time, or the only one that knows of
// promises without bound, are more than the protocol survives.
func (n *node) replaceDisk() {
	for _, p := range n.partnered {
		if p.wasDown() || p.wasLost || p.busy || !p.met {
			return
		}
	}
	for _, p := range n.partnered {
		p.wasLost = true
	}
	n.powerOff()
	n.line(n.now, n.name, "gets an EMPTY DISK")
	n.tally.count("nodes: disk replaced")
	n.disk.Replace()
	n.kept.replace()
	clear(n.lore)
	for _, r := range n.relations {
		r.stopped = 0
	}
	n.after(n.lasting(), n.comeBack)
}

// cutLan cuts one server off from one of its lans.
func (w *World) cutLan(in, out bool) {
	l := w.lans[w.IntN(len(w.lans))]
	p := l.ports[w.IntN(len(l.ports))]
	p.cutIn, p.cutOut = p.cutIn || in, p.cutOut || out
	w.during(w.lasting(), func() { p.cutIn, p.cutOut = false, false })
}

func (w *World) storm() {
	w.loss = pick(w.dice, 0.3, 0.6, 0.9)
	w.during(w.lasting(), func() { w.loss = w.Loss })
}

// congest makes everything slow, partners' segments included.
func (w *World) congest() {
	w.congestion = w.between(10*time.Millisecond, congestionMax)
	w.during(w.lasting(), func() { w.congestion = 0 })
}

const congestionMax = 1500 * time.Millisecond

func (p *pair) cutFor(fromPrimary, fromSecondary bool) {
	p.partition(fromPrimary, fromSecondary)
	p.during(p.lasting(), func() {
		if !p.guarded {
			p.heal()
		}
	})
}

// resetAll breaks the connections, as a firewall does that has been restarted.
func (p *pair) resetAll() {
	for _, s := range p.streams {
		for _, e := range s.ends {
			e.reset(e)
		}
	}
}

// silence lets the network forget the connections: nothing gets through any more
// and nobody says so.
func (p *pair) silence() {
	for _, s := range p.streams {
		s.silent = true
	}
}
