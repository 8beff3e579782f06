package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
)

// A World is one simulation.
type World struct {
	Options
	scheduler
	dice // all chance after the options
	journal
	tally     Tally
	violation *Violation

	nodes   []*node
	lans    []*lan
	pairs   []*pair
	clients []*client
	truth   holders

	loss, duplicates, delays float64       // of datagrams, as they are now
	congestion               time.Duration // added to every latency
	calm                     bool          // the faults are over
	calmAt                   time.Duration
	moment                   time.Duration // of the latest event
	within                   int           // events of that moment
}

// newWorld builds everything; nothing is switched on yet.
func newWorld(o Options, out io.Writer) *World {
	w := &World{Options: o, dice: dice{rand.New(rand.NewPCG(o.Seed, 0x776f726c64))}, tally: Tally{}}
	w.journal = journal{hash: fnvOffset, out: out}
	w.truth = holders{report: w.violate, now: &w.now}
	w.loss, w.duplicates, w.delays = o.Loss, o.Duplicates, o.Delays
	for i := range max(o.Primaries, 1) {
		w.addLan(i)
	}
	switch o.Primaries {
	case 0:
		w.addNode("alone", w.lans...)
	default:
		for i := range o.Primaries {
			name := "prim"
			if o.Primaries > 1 {
				name = fmt.Sprintf("prim%d", i+1)
			}
			w.addNode(name, w.lans[i])
		}
		second := w.addNode("second", w.lans...)
		for i := range o.Primaries {
			w.addPair(w.nodes[i], second, w.lans[i])
		}
	}
	return w
}

func (w *World) addLan(index int) {
	l := &lan{World: w, index: index, name: fmt.Sprintf("lan%d", index)}
	w.lans = append(w.lans, l)
	for n := range w.Clients {
		c := newClient(l, n)
		l.clients = append(l.clients, c)
		w.clients = append(w.clients, c)
	}
}

func (w *World) addNode(name string, lans ...*lan) *node {
	n := &node{World: w, id: len(w.nodes), name: name, battery: !w.chance(w.NoBattery), lore: map[netip.Prefix]learned{}}
	for _, l := range lans {
		p := &port{node: n, ifIndex: lanIndexes + l.index}
		n.ports = append(n.ports, p)
		l.ports = append(l.ports, p)
	}
	w.nodes = append(w.nodes, n)
	return n
}

func (w *World) addPair(prim, second *node, l *lan) {
	p := &pair{World: w, name: "pair-" + l.name, nodes: [2]*node{prim, second}, lan: l, operator: operator{mclt_s: w.MCLT_s}}
	w.pairs = append(w.pairs, p)
	prim.join(p)
	second.join(p)
}

// begin switches everything on, in no order.
func (w *World) begin() {
	w.line(w.now, "", "%v", &w.Options)
	for i, n := range w.nodes {
		if w.CommissionedAlone && i == len(w.nodes)-1 {
			for _, p := range w.pairs {
				p.alone, p.off[secondary] = true, true
			}
			w.after(w.between(time.Minute, w.Safety/2), n.commission)
			continue
		}
		w.after(time.Duration(w.Float64()*float64(startSpread)), n.powerOn)
	}
	for _, c := range w.clients {
		w.after(time.Duration(w.Float64()*float64(2*startSpread)), c.powerOn)
		c.live()
	}
	w.storms()
}

const startSpread = 30 * time.Second

// serverName is the node with a server's DUID.
func (w *World) serverName(id lease.DUID) string {
	for _, n := range w.nodes {
		if n.duid() == id {
			return n.name
		}
	}
	return "a server unknown"
}
