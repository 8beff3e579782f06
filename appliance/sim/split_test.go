package sim

import (
	"fmt"
	"math/bits"
	"strings"
	"testing"
	"time"
)

// RFC 7031 section 3.1.3: the pool has one address, the network between the
// servers is cut, and on each side is a client that wants it. In every order of
// what can happen there are never two clients on it.

// The events, each of which happens once.
const (
	splitCut   = iota // the network between the partners
	splitHeal         // not before it is cut
	splitLeft         // the client asks that reaches the primary only
	splitRight        // the one asks that reaches the secondary only
	splitGive         // the first releases what it has
	splitLate         // time passes until every lease has run out
	splitCrash        // the primary's process
	splitCount
)

var splitNames = [splitCount]string{"cut", "heal", "left asks", "right asks", "left releases", "leases run out", "primary crashes"}

// splitBefore are pairs of which the first has to come first, or the second means
// nothing.
var splitBefore = [][2]int{{splitCut, splitHeal}, {splitLeft, splitGive}}

// eachOrder walks the permutations of the events that keep splitBefore.
func eachOrder(f func(order []int)) {
	order := make([]int, 0, splitCount)
	var walk func(used uint)
	walk = func(used uint) {
		if bits.OnesCount(used) == splitCount {
			f(order)
			return
		}
		for e := range splitCount {
			if used&(1<<e) != 0 {
				continue
			}
			ready := true
			for _, b := range splitBefore {
				ready = ready && (b[1] != e || used&(1<<b[0]) != 0)
			}
			if !ready {
				continue
			}
			order = append(order, e)
			walk(used | 1<<e)
			order = order[:len(order)-1]
		}
	}
	walk(0)
}

// TestSplitNetwork runs all orders, for an address of either half, quickly, so
// that nobody notices the cut in time, and slowly.
func TestSplitNetwork(t *testing.T) {
	runs, served := 0, 0
	for _, odd := range []bool{false, true} {
		for _, pace := range []time.Duration{100 * time.Millisecond, 40 * time.Second} {
			eachOrder(func(order []int) {
				runs++
				w := splitWorld(odd)
				for _, e := range order {
					w.split(e)
					w.until(w.now + pace)
				}
				w.until(w.now + time.Minute)
				if w.violation != nil {
					t.Errorf("%s: %v", splitName(odd, pace, order), w.violation)
				}
				if w.tally["clients: lease taken"] > 0 {
					served++
				}
			})
		}
	}
	t.Logf("%d orders; in %d somebody was served", runs, served)
	if served < runs/2 {
		t.Errorf("in %d of %d orders nobody ever got the address: that is no test", runs-served, runs)
	}
}

func splitName(odd bool, pace time.Duration, order []int) string {
	var names []string
	for _, e := range order {
		names = append(names, splitNames[e])
	}
	half := "even"
	if odd {
		half = "odd"
	}
	return fmt.Sprintf("%s address, every %v: %s", half, pace, strings.Join(names, ", "))
}

// splitWorld is a pair in step with one address and two clients that are off.
func splitWorld(odd bool) *World {
	o := quiet()
	o.Addresses, o.OddFirst, o.Prefixes = 1, odd, 1
	o.Preferred_s, o.Valid_s, o.MCLT_s, o.Keepalive_s = 40, 60, 30, 5
	w := newWorld(o, nil)
	w.lans[0].split = true
	for _, n := range w.nodes {
		n.powerOn()
	}
	for w.now < 5*time.Minute && !w.pairs[0].steady() {
		w.until(w.now + time.Second)
	}
	return w
}

func (w *World) split(event int) {
	left, right := w.clients[0], w.clients[1]
	switch event {
	case splitCut:
		w.pairs[0].partition(true, true)
	case splitHeal:
		w.pairs[0].heal()
	case splitLeft:
		left.powerOn()
	case splitRight:
		right.powerOn()
	case splitGive:
		left.release()
	case splitLate:
		left.powerOff() // they stay away, and still hold what they have until it ends
		right.powerOff()
		w.until(w.now + seconds(w.Valid_s) + 30*time.Second)
		left.powerOn()
	case splitCrash:
		w.nodes[primary].crash("test")
	}
}
