package lease

import (
	"math"
	"math/big"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// F-154, F-156, F-157: the worked example of RFC 8156 section 4.4.1, with
// MCLT 1 h and a desired lifetime of 3 days, the client renewing at T1.
func TestWorkedExample(t *testing.T) {
	const (
		mclt    = 3_600
		desired = 259_200
		first   = Time(1_000_000)
	)
	acked := Time(0)
	for _, step := range []struct {
		at           Time
		actual, t1   uint32
		announced    Time
		acknowledged bool
	}{
		{0, 3_600, 1_800, 261_000, false},
		{1_800, 3_600, 1_800, 262_800, false}, // no BNDREPLY yet: it stays at MCLT
		{3_600, 3_600, 1_800, 264_600, true},
	} {
		now := first + step.at
		actual := Grant(desired, acked, now, mclt)
		announced := Announce(now, step.t1, actual, desired)
		if actual != step.actual || announced != first+step.announced {
			t.Errorf("at %d: %d s, announced %d, want %d s, %d", step.at, actual, announced-first, step.actual, step.announced)
		}
	}
	for _, step := range []struct {
		at, ackedLeft Time
		actual, t1    uint32
		announced     Time
	}{
		{0, 0, 3_600, 1_800, 261_000},
		{1_800, 259_200, 259_200, 129_600, 390_600},
		{131_400, 259_200, 259_200, 129_600, 520_200},
		{261_000, 259_200, 259_200, 129_600, 649_800},
	} {
		now := first + step.at
		if left := acked.Until(now); left != uint32(step.ackedLeft) {
			t.Errorf("at %d: %d s of what is acked are left, want %d", step.at, left, step.ackedLeft)
		}
		actual := Grant(desired, acked, now, mclt)
		announced := Announce(now, step.t1, actual, desired)
		if actual != step.actual || announced != first+step.announced {
			t.Errorf("at %d: %d s, announced %d, want %d s, %d", step.at, actual, announced-first, step.actual, step.announced)
		}
		if byDefault := Announce(now, 0, actual, desired); byDefault != announced {
			t.Errorf("at %d: with T1 left to the client %d, want %d", step.at, byDefault, announced)
		}
		if announced <= now.Add(actual) || announced <= now.Add(desired) { // F-156
			t.Errorf("at %d: announced %d is not beyond %d s and %d s", step.at, announced, actual, desired)
		}
		acked = announced
	}
	// A client that renews a lease of 3 days only at T2.
	if got := Grant(desired, first+388_800, first+207_360, mclt); got != 185_040 {
		t.Errorf("at T2: %d s, want 185040", got)
	}
}

// F-160: with the partner unreachable, renewals converge to MCLT.
func TestGrantWithoutPartner(t *testing.T) {
	const mclt, desired = 3_600, 259_200
	acked := Time(1_000_000)
	last := uint32(desired)
	for now := acked - 3*desired; now < acked+10*mclt; now += Time(last / 2) {
		got := Grant(desired, acked, now, mclt)
		if got > last {
			t.Errorf("at %d: %d s after %d s", now-acked, got, last)
		}
		if now >= acked && got != mclt {
			t.Errorf("%d s after all that is acked: %d s, want %d", now-acked, got, mclt)
		}
		last = got
	}
}

// F-153, F-156: never beyond the later of now and what is acked by more than
// MCLT, never beyond what is desired, and no less than both allow.
func TestGrantAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lifetime := func(label string) uint32 {
			return rapid.SampledFrom([]uint32{0, 1, 30, 3_600, 86_400, 1 << 30, math.MaxUint32 - 1, math.MaxUint32}).Draw(t, label)
		}
		moment := func(label string) Time {
			return rapid.SampledFrom([]Time{0, 1, 30, 3_600, 700_000_000, 700_003_600, 1 << 32, 1 << 40, Forever - 1, Forever}).Draw(t, label)
		}
		desired, acked := lifetime("desired"), moment("acked")
		mclt := rapid.SampledFrom([]uint32{30, 3_600, 1 << 30}).Draw(t, "MCLT")
		now := min(moment("now"), 1<<40)

		want := naive(max(acked, now))
		want.Add(want, big.NewInt(int64(mclt)))
		want.Sub(want, naive(now))
		if d := big.NewInt(int64(desired)); want.Cmp(d) > 0 {
			want = d
		}
		got := Grant(desired, acked, now, mclt)
		if want.Cmp(big.NewInt(int64(got))) != 0 {
			t.Fatalf("Grant(%d, %d, %d, %d) = %d, want %v", desired, acked, now, mclt, got, want)
		}

		t1 := lifetime("T1")
		announced := naive(now)
		announced.Add(announced, big.NewInt(int64(t1)))
		if t1 == 0 {
			announced.Add(announced, big.NewInt(int64(got/2)))
		}
		announced.Add(announced, big.NewInt(int64(desired)))
		if t1 == Infinity || desired == Infinity {
			announced = naive(Forever)
		}
		if a := Announce(now, t1, got, desired); naive(a).Cmp(announced) != 0 {
			t.Fatalf("Announce(%d, %d, %d, %d) = %d, want %v", now, t1, got, desired, a, announced)
		}
	})
}

// F-189, F-190, Q-62: one case for each term that may be the latest; F-171 for
// what was available to the partner.
func TestReuseAt(t *testing.T) {
	const mclt, down = 600, Time(10_000)
	for _, tt := range []struct {
		name string
		set  func(*Binding)
		want Time
	}{
		{"partner down", func(b *Binding) {}, 10_600},
		{"the client's expiry", func(b *Binding) { b.Expires = 20_000 }, 20_600},
		{"what was announced", func(b *Binding) { b.PartnerLifetime = 20_000 }, 20_600},
		{"what the partner confirmed", func(b *Binding) { b.AckedPartnerLifetime = 20_000 }, 20_600},
		{"what was confirmed to it", func(b *Binding) { b.ExpirationTime = 20_000 }, 20_600},
		{"expired since", func(b *Binding) { b.Status, b.StartOfState = Expired, 20_000 }, 20_600},
		{"released since", func(b *Binding) { b.Status, b.StartOfState = Released, 20_000 }, 20_600},
		{"reset since", func(b *Binding) { b.Status, b.StartOfState = Reset, 20_000 }, 20_600},
		{"expired since, but announced further", func(b *Binding) { b.Status, b.StartOfState, b.PartnerLifetime = Expired, 20_000, 30_000 }, 30_600},
		{"active since does not count", func(b *Binding) { b.StartOfState = 20_000 }, 10_600},
		{"F-171: an address of the partner's half", func(b *Binding) { b.Status = FreeBackup }, 10_600},
		{"the memory of a client does not count", func(b *Binding) { b.Status, b.Expires, b.StartOfState = Free, 20_000, 20_000 }, 10_600},
		{"for ever", func(b *Binding) { b.Expires = Forever }, Forever},
	} {
		b := &Binding{Prefix: netip.MustParsePrefix("2001:db8::2/128"), Status: Active,
			Expires: 1_000, PartnerLifetime: 2_000, AckedPartnerLifetime: 3_000, ExpirationTime: 4_000, StartOfState: 5_000}
		tt.set(b)
		if got := b.ReuseAt(mclt, down); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// ReuseAt against section 8.4.1 in sums: not before MCLT has passed since any of
// the moments, and then at once.
func TestReuseAtAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		moment := func(label string) Time {
			return rapid.SampledFrom([]Time{0, 1, 1_000, 1_001, 700_000_000, 1 << 40}).Draw(t, label)
		}
		b := &Binding{Status: Status(rapid.IntRange(1, 8).Draw(t, "status")), Expires: moment("expires"), StartOfState: moment("start"),
			PartnerLifetime: moment("announced"), AckedPartnerLifetime: moment("acked"), ExpirationTime: moment("confirmed")}
		down, mclt := moment("down"), uint32(rapid.IntRange(30, 1_000_000).Draw(t, "MCLT"))
		moments := []Time{down}
		switch b.Status {
		case Expired, Released, Reset:
			moments = append(moments, b.StartOfState)
			fallthrough
		case Active, Abandoned, PendingFree:
			moments = append(moments, b.Expires, b.PartnerLifetime, b.AckedPartnerLifetime, b.ExpirationTime)
		}
		reuse := b.ReuseAt(mclt, down)
		reached := false
		for _, m := range moments {
			switch naive(reuse).Cmp(new(big.Int).Add(naive(m), big.NewInt(int64(mclt)))) {
			case -1:
				t.Fatalf("%+v may be reused at %d, less than %d s after %d", *b, reuse, mclt, m)
			case 0:
				reached = true
			}
		}
		if !reached {
			t.Fatalf("%+v may be reused only at %d", *b, reuse)
		}
	})
}

// whose it is to end a lease, and when the other one may.
func TestEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		b    Binding
		want Time
	}{
		{"ours", Binding{Status: Active, Expires: 100, ExpirationTime: 300, LastTransaction: 50, PartnerRawCLT: 49}, 100},
		{"both at once", Binding{Status: Active, Expires: 100, ExpirationTime: 300, LastTransaction: 50, PartnerRawCLT: 50}, 100},
		{"the partner's", Binding{Status: Active, Expires: 100, ExpirationTime: 300, LastTransaction: 50, PartnerRawCLT: 51}, 300},
		{"the partner's, beyond what was confirmed", Binding{Status: Active, Expires: 400, ExpirationTime: 300, PartnerRawCLT: 51}, 400},
		{"the partner's, never", Binding{Status: Active, Expires: 100, ExpirationTime: Forever, PartnerRawCLT: 51}, Forever},
		{"quarantine", Binding{Status: Abandoned, Expires: 100, ExpirationTime: 300, PartnerRawCLT: 51}, 100},
		{"memory", Binding{Status: Free, Expires: 100}, 100},
		{"no end", Binding{Status: Expired, ExpirationTime: 300, PartnerRawCLT: 51}, 0},
		{"for ever", Binding{Status: Active, Expires: Forever, PartnerRawCLT: 51}, Forever},
	} {
		if got := tt.b.End(); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
