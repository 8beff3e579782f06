package wire

import "github.com/tandem6/tandem6/failover/lease"

// Time is an absolute time as it travels: seconds since 2000-01-01 00:00:00
// UTC, modulo 2^32 (RFC 8156 section 3). It wraps in 2136, so it means an
// instant only together with a rough idea of the present. Where an option may
// have no time to tell, zero says so.
type Time uint32

// horizon_s is how far from now a Time can be told from one that wrapped: 68
// years, the serial number arithmetic of RFC 1982.
const horizon_s = 1<<31 - 1

// At returns t for the wire. The zero Time of lease, "none", stays zero. An
// instant beyond the horizon of 68 years, lease.Forever among them, becomes the
// horizon, and the one instant in 136 years whose low 32 bits are zero the
// second after it, so that neither is mistaken for something else.
func At(t, now lease.Time) Time {
	if t == 0 {
		return 0
	}
	t = min(max(t, now-horizon_s), now+horizon_s)
	return max(Time(uint32(t)), 1)
}

// Resolve returns the instant that t means: of those with its 32 bits, the one
// nearest to now. Zero is the zero Time of lease, "none".
func (t Time) Resolve(now lease.Time) lease.Time {
	if t == 0 {
		return 0
	}
	return now + lease.Time(t.Sub(Time(uint32(now))))
}

// Sub returns the seconds from u to t, negative when t is the earlier one. Both
// are instants, zero included, at most 68 years apart.
func (t Time) Sub(u Time) int64 { return int64(int32(t - u)) }

// String is t in the years up to 2136 as RFC 3339 has it, or "none".
func (t Time) String() string {
	if t == 0 {
		return "none"
	}
	return lease.Time(t).String()
}
