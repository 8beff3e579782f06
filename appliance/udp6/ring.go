package udp6

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// RingMax is how many datagrams wait for the event loop before the oldest is
	// dropped. A small board that serves 4,000 datagrams per second works half a
	// second on a full ring; a client asks again after one second (RFC 9915
	// section 7.6, SOL_TIMEOUT and the like), so that waiting longer is in vain.
	RingMax = 2048

	// DatagramOctetsMax is the longest datagram that is received. No UDP datagram
	// is longer, except in a jumbogram (RFC 2675), which is dropped as truncated.
	DatagramOctetsMax = 65535

	// usualOctets is the size of the buffer that each datagram has. Whatever fits
	// into an Ethernet frame fits in.
	usualOctets = 2048

	// largeMax is how many datagrams longer than usualOctets are held at once.
	// Honest ones are rare: DHCPv6 messages are kept within 1,280 octets (RFC 9915
	// section 18.3). It bounds what a flood of fragmented datagrams can occupy.
	largeMax = 16
)

// A Datagram is a UDP datagram as it was received.
type Datagram struct {
	// Payload is the content of the datagram, 0 to DatagramOctetsMax octets.
	Payload []byte
	// Source is where the datagram came from. Its address has no zone; that is
	// what IfIndex is for.
	Source netip.AddrPort
	// Destination is the IPv6 destination address, unicast or multicast, without zone.
	Destination netip.Addr
	// IfIndex is the index of the interface that received the datagram.
	IfIndex int
	// Received is when the datagram was read from the socket, with a monotonic part.
	Received time.Time

	usual []byte // usualOctets long, belongs to this Datagram for ever
	large []byte // nil, or lent from ring.larges
}

// ring is the queue between the reader and the event loop. Each place in it, and
// each place in the reader's batch, always holds a Datagram with a buffer of its
// own. Putting and taking swap pointers: an arrived datagram against an empty
// one. So buffers can be neither leaked nor used twice.
type ring struct {
	mu     sync.Mutex
	places [RingMax]*Datagram
	head   int       // place of the oldest datagram
	count  int       // datagrams that wait, 0 to RingMax
	taken  *Datagram // what next returned last
	larges [][]byte  // large buffers that nobody uses

	ready chan struct{} // holds a token when there may be something to take
}

func newRing() *ring {
	r := &ring{
		taken:  &Datagram{usual: make([]byte, usualOctets)},
		larges: make([][]byte, largeMax),
		ready:  make(chan struct{}, 1),
	}
	usual := make([]byte, RingMax*usualOctets)
	for i := range r.places {
		r.places[i] = &Datagram{usual: cut(usual, i, usualOctets)}
	}
	large := make([]byte, largeMax*DatagramOctetsMax)
	for i := range r.larges {
		r.larges[i] = cut(large, i, DatagramOctetsMax)
	}
	return r
}

// cut returns the i-th piece of a slab. The piece cannot grow into the next one.
func cut(slab []byte, i, octets int) []byte {
	return slab[i*octets : (i+1)*octets : (i+1)*octets]
}

// put appends d and returns an empty Datagram in exchange. When the ring is
// full, the oldest datagram is dropped. The caller holds mu.
func (r *ring) put(d *Datagram) (empty *Datagram, dropped bool) {
	if r.count == RingMax {
		r.head = (r.head + 1) % RingMax
		r.count--
		dropped = true
	}
	tail := (r.head + r.count) % RingMax
	r.places[tail], empty = d, r.places[tail]
	r.count++
	r.clear(empty)
	return empty, dropped
}

// next takes the oldest datagram, nil if there is none. What it returned the
// time before is no longer valid.
func (r *ring) next() *Datagram {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clear(r.taken)
	if r.count == 0 {
		return nil
	}
	r.places[r.head], r.taken = r.taken, r.places[r.head]
	r.head = (r.head + 1) % RingMax
	r.count--
	if r.count > 0 {
		r.signal() // a caller that stops here is woken again
	}
	return r.taken
}

// borrow returns a large buffer, nil if all are in use. The caller holds mu.
func (r *ring) borrow() []byte {
	last := len(r.larges) - 1
	if last < 0 {
		return nil
	}
	large := r.larges[last]
	r.larges = r.larges[:last]
	return large
}

// clear makes d an empty Datagram and takes its large buffer back. The caller holds mu.
func (r *ring) clear(d *Datagram) {
	d.Payload = nil
	if d.large != nil {
		r.larges = append(r.larges, d.large)
		d.large = nil
	}
}

// signal leaves a token in ready. One that is there already will do: whoever
// takes it looks into the ring after this.
func (r *ring) signal() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}
