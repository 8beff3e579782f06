package engine

import "github.com/tandem6/tandem6/storage"

// Pipeline keeps what is promised behind what is stored, and lets the engine go
// on while the disk works: while one batch is on its way, the Readys of further
// Steps gather in the next (group commit). It is pure; the daemon's loop and
// the simulator use it alike.
type Pipeline struct {
	open   Ready // gathering
	flying Ready // handed to the writer
	busy   bool
}

// Open is the Ready that Steps append to.
func (p *Pipeline) Open() *Ready { return &p.open }

// Busy reports whether a batch is with the writer.
func (p *Pipeline) Busy() bool { return p.busy }

// TakeNow gives out what promises nothing.
func (p *Pipeline) TakeNow(out *Outputs) {
	out.append(&p.open.Now)
	p.open.Now.reset()
}

// Advance returns what may leave now, and the next batch for the writer or nil.
// Both stay valid until the next call of Advance, the batch until Committed.
func (p *Pipeline) Advance(out *Outputs) (batch *storage.Batch) {
	p.TakeNow(out)
	if p.busy {
		return nil
	}
	if p.open.Commit.Empty() { // rests only on what is on disk already
		out.append(&p.open.AfterCommit)
		p.open.AfterCommit.reset()
		return nil
	}
	p.open, p.flying = p.flying, p.open
	p.open.WakeAt, p.open.Offset = p.flying.WakeAt, p.flying.Offset
	p.busy = true
	return &p.flying.Commit
}

// Committed says that the batch is on disk; what waited for it goes to out.
func (p *Pipeline) Committed(out *Outputs) {
	if !p.busy {
		panic("engine: Committed without a batch")
	}
	p.busy = false
	out.append(&p.flying.AfterCommit)
	p.flying.AfterCommit.reset()
	p.flying.Commit.Reset()
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
