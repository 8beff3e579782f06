package sim

import (
	"time"

	"github.com/tandem6/tandem6/failover/lease"
)

// A pair is one failover relationship: a primary, a secondary, the network
// between them, and the operator's duties.
type pair struct {
	*World
	name    string
	nodes   [2]*node // primary, secondary
	lan     *lan
	cut     [2]bool // by sender: what it sends does not arrive
	streams []*stream
	operator
}

const (
	primary   = 0
	secondary = 1
)

var roles = [2]lease.Role{lease.Primary, lease.Secondary}

// side is where a node is in the pair.
func (p *pair) side(n *node) int {
	if p.nodes[primary] == n {
		return primary
	}
	return secondary
}

// whole reports whether the network between the partners works.
func (p *pair) whole() bool { return !p.cut[primary] && !p.cut[secondary] }

const (
	// dialTimeout is when an attempt to connect that nobody answers fails.
	dialTimeout = 5 * time.Second
	// handshake is the segments of which TCP's handshake has three.
	handshakeTrips = 3
)

// dial tries to connect from one side to the other.
func (p *pair) dial(from *node, connected func(*end), failed func()) {
	to := p.nodes[1-p.side(from)]
	p.tally.count("streams: dialled")
	switch {
	case !p.whole() || !to.powered:
		p.after(dialTimeout, failed)
		return
	case !to.running:
		p.after(2*p.latency(), failed)
		return
	}
	life := to.life
	p.after(handshakeTrips*p.latency(), func() {
		if !from.running || !to.running || to.life != life || !p.whole() {
			failed()
			return
		}
		s := &stream{pair: p}
		for side, n := range p.nodes {
			n.ids++
			s.ends[side] = &end{stream: s, side: side, node: n, life: n.life, id: n.ids, isOpen: true, hears: n}
		}
		p.streams = append(p.open(), s)
		to.accepted(s.ends[p.side(to)])
		connected(s.ends[p.side(from)])
	})
}

// open are the streams of which an end still matters.
func (p *pair) open() []*stream {
	kept := p.streams[:0]
	for _, s := range p.streams {
		if s.ends[0].isOpen && s.ends[0].lives() || s.ends[1].isOpen && s.ends[1].lives() {
			kept = append(kept, s)
		}
	}
	clear(p.streams[len(kept):])
	return kept
}

// partition cuts the network in one direction or both.
func (p *pair) partition(fromPrimary, fromSecondary bool) {
	p.cut[primary] = p.cut[primary] || fromPrimary
	p.cut[secondary] = p.cut[secondary] || fromSecondary
}

// heal makes the network whole.
func (p *pair) heal() {
	p.cut = [2]bool{}
	for _, s := range p.streams {
		s.ends[0].again()
		s.ends[1].again()
	}
}

// hangUp is what the operating system does about the streams of a process that
// ended.
func (n *node) hangUp() {
	for _, p := range n.partnered {
		for _, s := range p.streams {
			for _, e := range s.ends {
				if e.node == n && e.isOpen {
					e.abort()
				}
			}
		}
	}
}

// vanish is what becomes of the streams of a box without power: its partner does
// not hear of it.
func (n *node) vanish() {
	for _, p := range n.partnered {
		for _, s := range p.streams {
			for _, e := range s.ends {
				if e.node == n {
					e.isOpen, e.held = false, nil
				}
			}
		}
	}
}
