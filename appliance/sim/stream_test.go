package sim

import (
	"bytes"
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover/wire"
)

// recorder takes down what comes in at an end.
type recorder struct{ messages [][]byte }

func (r *recorder) partnerFrame(_ *end, m []byte) { r.messages = append(r.messages, bytes.Clone(m)) }
func (r *recorder) partnerClosed(*end)            {}

// wireless is a stream between two nodes that run nothing, and what arrives at
// its sides.
func wireless(o Options) (*World, *stream, func(side int) [][]byte) {
	w := newWorld(o, nil)
	s := &stream{pair: w.pairs[0]}
	var heard [2]recorder
	for side, n := range s.pair.nodes {
		n.powered, n.running, n.life = true, true, 1
		s.ends[side] = &end{stream: s, side: side, node: n, life: 1, id: 1, isOpen: true, hears: &heard[side]}
	}
	s.pair.streams = []*stream{s}
	return w, s, func(side int) [][]byte { return heard[side].messages }
}

func contact(t *testing.T, id int) []byte {
	t.Helper()
	f, err := wire.AppendFrame(nil, &wire.Contact{Header: wire.Header{TransactionID: wire.TransactionID(id)}})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func ids(t *testing.T, list [][]byte) (ids []int) {
	t.Helper()
	for _, b := range list {
		m, err := wire.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, int(m.ID()))
	}
	return ids
}

// Octets arrive in order, whatever they are cut into.
func TestStreamKeepsOrder(t *testing.T) {
	for _, pieces := range []bool{false, true} {
		o := quiet()
		o.Segments, o.LatencySpread = pieces, 50*time.Millisecond
		w, s, got := wireless(o)
		for id := range 200 {
			w.at(time.Duration(id)*3*time.Millisecond, func() { s.ends[primary].write(contact(t, id)) })
		}
		w.until(time.Minute)
		list := ids(t, got(secondary))
		if len(list) != 200 {
			t.Fatalf("pieces %v: %d of 200 messages arrived", pieces, len(list))
		}
		for i, id := range list {
			if i != id {
				t.Fatalf("pieces %v: message %d came as number %d", pieces, id, i)
			}
		}
	}
}

// What is written into a partition arrives when it is over, nothing is lost, and
// the other direction does not care.
func TestStreamPartition(t *testing.T) {
	w, s, got := wireless(quiet())
	s.ends[primary].write(contact(t, 0))
	w.until(time.Second)
	s.pair.partition(true, false)
	s.ends[primary].write(contact(t, 1))
	s.ends[secondary].write(contact(t, 2))
	w.until(time.Minute)
	if len(got(secondary)) != 1 || len(got(primary)) != 1 {
		t.Fatalf("%d and %d messages arrived", len(got(secondary)), len(got(primary)))
	}
	s.pair.heal()
	s.ends[primary].write(contact(t, 3)) // behind the one that waits
	w.until(2 * time.Minute)
	if list := ids(t, got(secondary)); len(list) != 3 || list[1] != 1 || list[2] != 3 {
		t.Errorf("after the partition: %v", list)
	}
}

// A box that lost its power leaves its partner with half a connection, until it
// is on again and says that it knows of none.
func TestHalfOpen(t *testing.T) {
	w, s, _ := wireless(quiet())
	a, b := s.ends[primary], s.ends[secondary]
	b.node.running, b.node.powered = false, false
	b.node.vanish()
	a.write(contact(t, 0))
	w.until(time.Minute)
	if !a.isOpen {
		t.Fatal("somebody told the partner")
	}
	b.node.powered = true
	a.write(contact(t, 1))
	w.until(2 * time.Minute)
	if a.isOpen {
		t.Error("the connection is open although the other side knows of none")
	}
}

// The end comes behind what was written before it.
func TestStreamClose(t *testing.T) {
	w, s, got := wireless(quiet())
	s.ends[primary].write(contact(t, 0))
	s.ends[primary].close()
	w.until(time.Minute)
	if len(got(secondary)) != 1 || s.ends[secondary].isOpen {
		t.Errorf("%d messages, open: %v", len(got(secondary)), s.ends[secondary].isOpen)
	}
}

// A stream that the network has forgotten is silent on both sides.
func TestSilentStream(t *testing.T) {
	w, s, got := wireless(quiet())
	s.ends[primary].write(contact(t, 0)) // already on its way: too late
	s.silent = true
	s.ends[secondary].write(contact(t, 1))
	w.until(time.Hour)
	if len(got(primary))+len(got(secondary)) != 0 || !s.ends[primary].isOpen || !s.ends[secondary].isOpen {
		t.Error("something got through")
	}
}
