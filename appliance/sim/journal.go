package sim

import (
	"fmt"
	"io"
	"time"
)

// A journal makes one number out of all that happens, which is the same for two
// simulations exactly if they went the same way, and, where somebody reads it, a
// line for each thing.
type journal struct {
	hash uint64
	out  io.Writer // nil: nobody reads
}

// fnvOffset and fnvPrime are those of FNV-1a with 64 bits.
const (
	fnvOffset = 0xcbf29ce484222325
	fnvPrime  = 0x100000001b3
)

func (j *journal) mix(v uint64) {
	for range 8 {
		j.hash = (j.hash ^ v&0xff) * fnvPrime
		v >>= 8
	}
}

func (j *journal) mixBytes(data []byte) {
	for _, c := range data {
		j.hash = (j.hash ^ uint64(c)) * fnvPrime
	}
}

// read reports whether somebody reads, so that lines are worth making.
func (j *journal) read() bool { return j.out != nil }

// note takes one thing into the account: when, to whom, what, with which octets.
func (j *journal) note(now time.Duration, who, what string, data []byte) {
	j.mix(uint64(now))
	for _, s := range [...]string{who, what} {
		for i := range len(s) {
			j.hash = (j.hash ^ uint64(s[i])) * fnvPrime
		}
	}
	j.mixBytes(data)
}

// line writes one line for a reader: time, who, text.
func (j *journal) line(now time.Duration, who, format string, args ...any) {
	if j.out != nil {
		fmt.Fprintf(j.out, "%s %-6s %s\n", clockTime(now), who, fmt.Sprintf(format, args...))
	}
}

// clockTime is a time of the simulation: hours, minutes, seconds, microseconds.
func clockTime(t time.Duration) string {
	return fmt.Sprintf("%3d:%02d:%02d.%06d", t/time.Hour, t/time.Minute%60, t/time.Second%60, t/time.Microsecond%million)
}
