package lease

import (
	"math"
	"time"
)

// Time is an absolute time: whole seconds since 2000-01-01 00:00:00 UTC, the
// epoch of RFC 8156 section 3. It is wider than the 32 bits of the wire, so
// that sums never wrap. The zero Time means "never" or "not known".
type Time int64

// Forever is the end of a lease with infinite lifetime (RFC 9915 section 7.7).
const Forever Time = math.MaxInt64

// Infinity is the lifetime that never runs out, in seconds (RFC 9915 section 7.7).
const Infinity uint32 = math.MaxUint32

// epochUnix_s is 2000-01-01 00:00:00 UTC in Unix time.
const epochUnix_s = 946684800

// FromUnix converts Unix seconds.
func FromUnix(unix_s int64) Time { return Time(unix_s - epochUnix_s) }

// Unix converts back to Unix seconds. Forever stays the largest value.
func (t Time) Unix() int64 {
	if t == Forever {
		return math.MaxInt64
	}
	return int64(t) + epochUnix_s
}

// UTC is t for display. It must not be called on Forever.
func (t Time) UTC() time.Time { return time.Unix(t.Unix(), 0).UTC() }

// Add returns t plus a lifetime in seconds; the infinite lifetime gives Forever.
func (t Time) Add(seconds uint32) Time {
	if seconds == Infinity || t == Forever {
		return Forever
	}
	return t + Time(seconds)
}

// Until returns the seconds from now to t as a lifetime: 0 when t has passed,
// Infinity for Forever.
func (t Time) Until(now Time) uint32 {
	switch {
	case t == Forever:
		return Infinity
	case t <= now:
		return 0
	case t-now >= Time(Infinity):
		return Infinity - 1
	}
	return uint32(t - now)
}

// String is RFC 3339, or a word for the two special values.
func (t Time) String() string {
	switch t {
	case 0:
		return "never"
	case Forever:
		return "forever"
	}
	return t.UTC().Format(time.RFC3339)
}

// Clock is one reading of both clocks. Timers run on Mono, which only moves
// forward; leases, wire and disk use Wall. The two never mix: a step of the
// wall clock must neither fire nor delay a timer.
type Clock struct {
	Mono time.Duration // since an arbitrary start
	Wall Time

	// Untrusted says that Wall may lie in the past, never in the future: the
	// system's clock reads less than what is on disk, or nobody has told it the
	// time since it started (a board without a clock chip).
	Untrusted bool
}
