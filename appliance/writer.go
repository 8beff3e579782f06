package appliance

import (
	"context"
	"fmt"
	"time"

	"github.com/tandem6/tandem6/storage"
)

// maintainIdle is how long the disk has to be idle before the writer tidies the
// store up: long enough not to stand in the way of a burst of clients.
const maintainIdle = 200 * time.Millisecond

// writer commits batches, one at a time, off the event loop.
type writer struct {
	store   storage.Store
	batches chan *storage.Batch
	done    chan committed
}

// committed is the outcome of one batch.
type committed struct {
	took    time.Duration
	written uint64 // octets of pages since the start
	err     error
}

func newWriter(store storage.Store) *writer {
	return &writer{store: store, batches: make(chan *storage.Batch, 1), done: make(chan committed, 1)}
}

// written is how much the store has written, in octets, if it counts.
func (w *writer) written() uint64 {
	if s, ok := w.store.(interface{ Written() uint64 }); ok {
		return s.Written()
	}
	return 0
}

// run commits what the loop hands over until the loop closes batches. A failed
// commit ends it: nobody knows then what is on the disk.
func (w *writer) run(ctx context.Context) error {
	idle := time.NewTimer(maintainIdle)
	defer idle.Stop()
	for {
		select {
		case b, ok := <-w.batches:
			if !ok {
				return nil
			}
			start := time.Now()
			err := w.store.Commit(b)
			w.done <- committed{time.Since(start), w.written(), err}
			if err != nil {
				return fmt.Errorf("commit to the lease store: %w", err)
			}
			idle.Reset(maintainIdle)
		case <-idle.C:
			m, ok := w.store.(storage.Maintainer)
			if !ok {
				continue
			}
			more, err := m.Maintain()
			if err != nil {
				return fmt.Errorf("tidy up the lease store: %w", err)
			}
			if more && len(w.batches) == 0 && ctx.Err() == nil {
				idle.Reset(0)
			}
		}
	}
}
