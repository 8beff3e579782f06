package engine

import (
	"slices"
	"time"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/storage"
)

const (
	// changesPerBatch bounds a batch well below storage.BatchLenMax. Only a clock
	// that is set changes so many leases at once; in parts they are as good.
	changesPerBatch = 16384

	// lateMax is how long an answer may wait for the disk. After it the client
	// would count its lifetimes from too late a moment: the answer is dropped, and
	// the client asks again. It is well within ExpiryGrace.
	lateMax = 5 * time.Second
)

// Pipeline keeps what is promised behind what is stored, and lets the engine go
// on while the disk works: while one batch is on its way, the Readys of further
// Steps gather in the next (group commit). It is pure; the daemon's loop and
// the simulator use it alike.
type Pipeline struct {
	open   Ready // gathering
	flying Ready // handed to the writer
	part   storage.Batch
	left   []storage.Change // of flying, after part
	busy   bool
	late   uint64
}

// Open is the Ready that Steps append to.
func (p *Pipeline) Open() *Ready { return &p.open }

// Busy reports whether a batch is with the writer.
func (p *Pipeline) Busy() bool { return p.busy }

// Late counts the answers that were dropped because the disk took too long.
func (p *Pipeline) Late() uint64 { return p.late }

// TakeNow gives out what promises nothing.
func (p *Pipeline) TakeNow(out *Outputs) {
	out.append(&p.open.Now)
	p.open.Now.reset()
}

// Advance returns what may leave now, on Clock.Mono, and the next batch for the
// writer or nil. Both stay valid until the next call of Advance, the batch until
// Committed.
func (p *Pipeline) Advance(now time.Duration, out *Outputs) (batch *storage.Batch) {
	p.TakeNow(out)
	if p.busy {
		return nil
	}
	if len(p.left) > 0 {
		return p.nextPart()
	}
	if p.open.Commit.Empty() { // rests only on what is on disk already
		p.release(now, &p.open, out)
		return nil
	}
	p.open, p.flying = p.flying, p.open
	p.open.WakeAt, p.open.Offset = p.flying.WakeAt, p.flying.Offset
	p.left = p.flying.Commit.Changes
	return p.nextPart()
}

// nextPart is what the writer gets next of the batch that flies. The values go
// with the last part.
func (p *Pipeline) nextPart() *storage.Batch {
	n := min(len(p.left), changesPerBatch)
	p.part = storage.Batch{Changes: p.left[:n]}
	if p.left = p.left[n:]; len(p.left) == 0 {
		p.part.Values = p.flying.Commit.Values
	}
	p.busy = true
	return &p.part
}

// Committed says that the batch is on disk; what waited for it goes to out.
func (p *Pipeline) Committed(now time.Duration, out *Outputs) {
	if !p.busy {
		panic("engine: Committed without a batch")
	}
	p.busy = false
	if len(p.left) > 0 {
		return
	}
	p.release(now, &p.flying, out)
	p.flying.Commit.Reset()
	p.part, p.left = storage.Batch{}, nil
}

// release lets go of what waited for the disk.
func (p *Pipeline) release(now time.Duration, r *Ready, out *Outputs) {
	waited := &r.AfterCommit
	waited.Packets = slices.DeleteFunc(waited.Packets, func(o dhcp6.Output) bool {
		late := now-o.Made > lateMax
		if late {
			p.late++
		}
		return late
	})
	out.append(waited)
	waited.reset()
}

// Pending is the number of changes that wait for the writer.
func (p *Pipeline) Pending() int { return len(p.open.Commit.Changes) }

func (o *Outputs) append(more *Outputs) {
	o.Packets = append(o.Packets, more.Packets...)
	o.Partner = append(o.Partner, more.Partner...)
	o.Routes = append(o.Routes, more.Routes...)
	o.Done = append(o.Done, more.Done...)
}

// Reset empties o and keeps its memory.
func (o *Outputs) Reset() { o.reset() }

func (o *Outputs) reset() {
	clear(o.Packets)
	clear(o.Partner)
	clear(o.Done)
	o.Packets, o.Partner, o.Routes, o.Done = o.Packets[:0], o.Partner[:0], o.Routes[:0], o.Done[:0]
}
