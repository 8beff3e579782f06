package wire

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/tandem6/tandem6/failover/lease"
)

// F-152: the vector, and the wrap of 2136-02-07T06:28:16Z.
func TestTime(t *testing.T) {
	const (
		now  lease.Time = 757382400 // 2024-01-01
		wrap lease.Time = 1 << 32   // 2136-02-07T06:28:16Z
		far             = wrap - 10
	)
	for _, c := range []struct {
		name    string
		t, now  lease.Time
		wire    Time
		back    lease.Time
		message string
	}{
		{"the vector", lease.FromUnix(1704067200), now, 0x2d24bd00, now, "2024-01-01T00:00:00Z"},
		{"none", 0, now, 0, 0, "none"},
		{"just before the wrap", wrap - 1, far, 0xffffffff, wrap - 1, "2136-02-07T06:28:15Z"},
		{"the instant that looks like none", wrap, far, 1, wrap + 1, "2000-01-01T00:00:01Z"},
		{"behind the wrap", wrap + 5, far, 5, wrap + 5, "2000-01-01T00:00:05Z"},
		{"before the wrap, seen from behind", far, wrap + 5, 0xfffffff6, far, "2136-02-07T06:28:06Z"},
		{"at the horizon", now + 1<<31 - 1, now, 0xad24bcff, now + 1<<31 - 1, "2092-01-19T03:14:07Z"},
		{"beyond the horizon", now + 1<<31, now, 0xad24bcff, now + 1<<31 - 1, "2092-01-19T03:14:07Z"},
		{"forever", lease.Forever, now, 0xad24bcff, now + 1<<31 - 1, "2092-01-19T03:14:07Z"},
		{"long past", now - 1<<31 - 1, now, 0xad24bd01, now - 1<<31 + 1, "2092-01-19T03:14:09Z"},
		{"a clock that begins in 1970", lease.FromUnix(0), now, 0xc792bc80, lease.FromUnix(0), "2106-02-07T06:28:16Z"},
	} {
		w := At(c.t, c.now)
		if w != c.wire || w.Resolve(c.now) != c.back || w.String() != c.message {
			t.Errorf("%s: %#x %v, means %d, want %#x %s, %d", c.name, uint32(w), w, w.Resolve(c.now), uint32(c.wire), c.message, c.back)
		}
	}
	for _, c := range []struct {
		t, u Time
		want int64
	}{
		{10, 4, 6}, {4, 10, -6}, {0, 0, 0}, {2, 0xfffffffd, 5}, {0xfffffffd, 2, -5}, {0, 1, -1},
	} {
		if got := c.t.Sub(c.u); got != c.want {
			t.Errorf("%d - %d is %d, want %d", c.t, c.u, got, c.want)
		}
	}
}

// Any instant within 68 years of now survives the way over the wire, and their
// differences agree.
func TestTimeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := lease.Time(rapid.Int64Range(-1<<33, 1<<34).Draw(t, "now"))
		instant := now + lease.Time(rapid.Int64Range(-horizon_s, horizon_s).Draw(t, "offset"))
		if uint32(instant) == 0 {
			return // shown above
		}
		w := At(instant, now)
		if got := w.Resolve(now); got != instant {
			t.Fatalf("%d seen from %d became %d", instant, now, got)
		}
		if got, want := w.Sub(Time(uint32(now))), int64(instant-now); got != want {
			t.Fatalf("the difference is %d, want %d", got, want)
		}
	})
}
