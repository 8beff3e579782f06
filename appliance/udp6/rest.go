package udp6

import "time"

const (
	// While a lot arrives the reader rests after each batch, so that the next one
	// holds about restBatch datagrams: waking reader and event loop for each single
	// datagram costs more than answering it. At 5,000 exchanges per second a batch
	// of 8 saves a third of the processor's time over no rest.
	restBatch = 8

	// restMax bounds a rest. A client does not feel it, and the socket's buffer
	// holds what arrives meanwhile at any rate.
	restMax = 500 * time.Microsecond

	// restWindow is over how long the arrivals are counted, and restAbove how many
	// in it are a lot: 4,000 per second.
	restWindow = 10 * time.Millisecond
	restAbove  = 40
)

// rester decides how long the reader rests.
type rester struct {
	since time.Time     // beginning of the window
	n     int           // datagrams in it
	rest  time.Duration // by those of the last one
}

// read is told of each batch, and returns how long to rest.
func (r *rester) read(n int, now time.Time) time.Duration {
	r.n += n
	if passed := now.Sub(r.since); passed >= restWindow {
		r.rest = 0
		// After a long pause the window was not full of them.
		if r.n > restAbove && passed < 2*restWindow {
			r.rest = min(restMax, restBatch*passed/time.Duration(r.n))
		}
		r.since, r.n = now, 0
	}
	return r.rest
}
