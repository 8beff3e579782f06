package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

var errTruncated = errors.New("ends too early")

// reader takes values off the front of data. After the first error it yields
// zeros, so that callers check err once, at the end.
type reader struct {
	data []byte
	err  error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
	r.data = nil
}

// next takes n octets; they belong to the caller of the parser.
func (r *reader) next(n int) []byte {
	if n > len(r.data) {
		r.fail("%w", errTruncated)
		return nil
	}
	b := r.data[:n:n]
	r.data = r.data[n:]
	return b
}

func (r *reader) octet() byte {
	if b := r.next(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.next(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// string takes what appendString appended.
func (r *reader) string() []byte { return r.next(int(r.octet())) }

// uvarint takes an integer of at most limit.
func (r *reader) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.data)
	switch {
	case n == 0:
		r.fail("%w", errTruncated)
		return 0
	case n < 0:
		r.fail("an integer of more than 64 bits")
		return 0
	case n > 1 && r.data[n-1] == 0:
		r.fail("an integer that is longer than needed")
		return 0
	case v > limit:
		r.fail("integer %d, allowed is up to %d", v, limit)
		return 0
	}
	r.data = r.data[n:]
	return v
}

// varint takes what binary.AppendVarint appended: zig-zag over uvarint.
func (r *reader) varint() int64 {
	u := r.uvarint(math.MaxUint64)
	return int64(u>>1) ^ -int64(u&1)
}

// end refuses octets that are left over.
func (r *reader) end() {
	if r.err == nil && len(r.data) != 0 {
		r.fail("%d octets too many", len(r.data))
	}
}
