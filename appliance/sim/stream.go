package sim

import (
	"time"

	"github.com/tandem6/tandem6/failover/wire"
)

// A stream is one connection between partners, as TCP makes them: octets arrive
// in order or not at all, and neither side knows more of the other than what has
// come. What cannot get through waits and is sent again later; a stream that a
// box in between has forgotten stays silent for ever.
type stream struct {
	pair   *pair
	ends   [2]*end // by side of the pair
	silent bool    // nothing gets through any more
}

// An end is one side's view of a stream.
type end struct {
	*stream
	side   int
	node   *node
	life   int    // of the process that has it
	id     uint64 // the shell's name for it
	closed time.Duration
	isOpen bool
	deaf   bool // what comes after it was closed is not read

	last   time.Duration // when the latest segment sent from here arrives
	held   []segment     // sent from here, and waiting for the network
	frames wire.Deframer // of what arrives here
	hears  listener      // the node's process
}

// A listener is told what comes in at an end.
type listener interface {
	partnerFrame(e *end, message []byte)
	partnerClosed(e *end)
}

// A segment is octets on their way, or the end of them.
type segment struct {
	data []byte
	fin  bool
}

func (e *end) peer() *end { return e.ends[1-e.side] }

// lives reports whether the process that has the end still runs.
func (e *end) lives() bool { return e.node.running && e.node.life == e.life }

// write sends octets. They are cut up as the network likes.
func (e *end) write(data []byte) {
	for w := e.pair.World; w.Segments && len(data) > 1; {
		n := 1 + w.IntN(min(len(data), segmentMax))
		if n == len(data) {
			break
		}
		e.send(segment{data: data[:n]})
		data = data[n:]
	}
	e.send(segment{data: data})
}

const segmentMax = 40 // octets of a piece, where streams are cut into small ones

// close ends the stream from this side, in order behind what was written.
func (e *end) close() {
	if !e.isOpen {
		return
	}
	e.isOpen, e.closed = false, e.node.now
	e.send(segment{fin: true})
}

// abort ends it at once, as the operating system does for a process that ended.
func (e *end) abort() {
	e.isOpen, e.held = false, nil
	e.reset(e.peer())
}

// reset tells the other side that there is nobody here, if that gets through.
func (e *end) reset(to *end) {
	w := e.pair.World
	if e.silent || e.pair.cut[e.side] {
		return
	}
	w.after(w.latency(), func() { to.lost() })
}

// send puts a segment on its way.
func (e *end) send(s segment) {
	if e.silent {
		return
	}
	if e.pair.cut[e.side] || len(e.held) > 0 {
		e.held = append(e.held, s)
		return
	}
	w := e.pair.World
	e.last = max(e.last, w.now+w.latency())
	w.at(e.last, func() { e.peer().arrive(s) })
}

// again sends what had to wait, after the network is whole: TCP tries again when
// its timer ends.
func (e *end) again() {
	if len(e.held) == 0 {
		return
	}
	w := e.pair.World
	w.after(time.Duration(w.Float64()*float64(retransmitMax)), func() {
		held := e.held
		e.held = nil
		for _, s := range held {
			e.send(s)
		}
	})
}

const retransmitMax = 4 * time.Second

// lateReads is for how long after closing a stream the process may still come
// upon what the operating system had read of it.
const lateReads = 50 * time.Millisecond

// arrive takes a segment.
func (e *end) arrive(s segment) {
	w := e.pair.World
	switch {
	case e.silent, !e.node.powered:
	case !e.lives():
		e.reset(e.peer())
	case !e.isOpen:
		if w.Late && !s.fin && !e.deaf && w.now-e.closed < lateReads && w.chance(0.5) {
			w.tally.count("streams: frame read after the connection was closed")
			e.deliver(s.data)
			return
		}
		e.deaf = true
		e.reset(e.peer())
	case s.fin:
		e.isOpen = false
		e.hears.partnerClosed(e)
	default:
		e.deliver(s.data)
	}
}

// deliver gives the node the messages that octets complete.
func (e *end) deliver(data []byte) {
	for len(data) > 0 {
		message, rest, err := e.frames.Next(data)
		if err != nil {
			e.pair.violate("wire", "%s sent what is no frame: %v", e.peer().node.name, err)
			return
		}
		if message == nil {
			return
		}
		e.hears.partnerFrame(e, message)
		data = rest
	}
}

// lost is when the end learns that the stream is no more.
func (e *end) lost() {
	if !e.isOpen || !e.lives() {
		return
	}
	e.isOpen = false
	e.hears.partnerClosed(e)
}
