package lease

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// F-150: up to 5 seconds either way is the same time.
func TestCompare(t *testing.T) {
	for _, tt := range []struct {
		a, b Time
		want int
	}{
		{1000, 1000, 0}, {1005, 1000, 0}, {995, 1000, 0}, {1006, 1000, 1}, {994, 1000, -1},
		{Forever, 1000, 1}, {1000, Forever, -1}, {Forever, Forever, 0}, {-1000, Forever, -1}, {Forever, -1000, 1},
		{math.MaxUint32, math.MaxUint32 + 6, -1}, // where times of 32 bits would wrap
	} {
		if got := Compare(tt.a, tt.b); got != tt.want {
			t.Errorf("Compare(%d, %d) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestCompareAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := Time(rapid.Int64Range(-1<<40, 1<<62).Draw(t, "a"))
		b := a + Time(rapid.Int64Range(-20, 20).Draw(t, "distance"))
		want := 0
		switch {
		case later(a, b):
			want = 1
		case later(b, a):
			want = -1
		}
		if got := Compare(a, b); got != want || Compare(b, a) != -want {
			t.Fatalf("Compare(%d, %d) = %d, %d, want %d", a, b, got, Compare(b, a), want)
		}
	})
}
