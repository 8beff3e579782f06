package dhcp6

import "time"

const (
	rateSlots  = 1 << 14 // counters; clients that share one share its limit
	rateWindow = time.Second
)

// rateLimit counts the messages of each client in the present second. It takes
// the same memory for any number of clients (D-245).
type rateLimit struct {
	limit uint32
	seed  uint64
	slots [rateSlots]struct{ window, count uint32 }
}

// allow counts one message of a client and reports whether it is within the limit.
func (r *rateLimit) allow(now time.Duration, client []byte) bool {
	slot := &r.slots[r.hash(client)%rateSlots]
	if w := uint32(now / rateWindow); slot.window != w {
		slot.window, slot.count = w, 0
	}
	slot.count++
	return slot.count <= r.limit
}

// hash is FNV-1a from a secret start, so that nobody can aim at another
// client's counter.
func (r *rateLimit) hash(client []byte) uint64 {
	h := 0xcbf29ce484222325 ^ r.seed
	for _, c := range client {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	return h ^ h>>32
}
