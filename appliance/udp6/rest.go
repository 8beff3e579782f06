package udp6

import "time"

const (
	// restFor is how long the reader rests after a batch while a lot arrives, so
	// that the next batch is larger. Waking reader and event loop for each single
	// datagram costs more than answering it; a client does not feel the delay.
	restFor = 200 * time.Microsecond

	// restWindow is over how long the arrivals are counted, and restAbove how many
	// in it are a lot: 4,000 per second.
	restWindow = 10 * time.Millisecond
	restAbove  = 40
)

// rester decides when the reader rests.
type rester struct {
	since time.Time // beginning of the window
	n     int       // datagrams in it
	busy  bool      // there were a lot in the last one
}

// read is told of each batch, and returns how long to rest.
func (r *rester) read(n int, now time.Time) time.Duration {
	r.n += n
	if passed := now.Sub(r.since); passed >= restWindow {
		// After a long pause the window was not full of them.
		r.busy = r.n > restAbove && passed < 2*restWindow
		r.since, r.n = now, 0
	}
	if r.busy {
		return restFor
	}
	return 0
}
