package lease

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// F-271, F-272, Q-41, Q-42: what the BNDREPLY to an active lease's update changes.
func TestConfirmedActive(t *testing.T) {
	for _, tt := range []struct {
		name       string
		acked      Time
		change     func(b *Binding) // since the update was built
		wantAcked  Time
		wantChange uint64
	}{
		{"all told", 3_000, func(*Binding) {}, 3_000, 0},
		{"the echo is absent", 0, func(*Binding) {}, 2_900, 0},
		{"the partner confirms less than before", 2_000, func(*Binding) {}, 2_000, 0},
		{"it cannot confirm more than it was told", 3_001, func(*Binding) {}, 3_000, 0},
		{"renewed since", 3_000, func(b *Binding) { b.Change, b.Expires, b.PartnerLifetime = 43, 2_500, 3_500 }, 3_000, 43},
		{"released since", 3_000, func(b *Binding) { b.Change, b.Status = 43, Released }, 3_000, 43},
		{"the partner's expiry taken since", 3_000, func(b *Binding) { b.Expires = 2_500 }, 3_000, 42},
		{"declined at the partner since", 3_000, func(b *Binding) { b.Status = Abandoned }, 3_000, 42},
		{"another client since", 3_000, func(b *Binding) { b.Client = clientB }, 2_900, 42},
		{"another IAID since", 3_000, func(b *Binding) { b.ID = 2 }, 2_900, 42},
		{"available since", 3_000, func(b *Binding) { b.Status = Free }, 2_900, 42},
	} {
		sent, b := ours(), ours()
		tt.change(b)
		b.HeldUntil = max(b.HeldUntil, b.Expires)
		want := *b
		want.AckedPartnerLifetime, want.Change = tt.wantAcked, tt.wantChange
		if got := Confirmed(b, sent, tt.acked, 2_100, rememberFor); *got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.name, *got, want)
		}
	}
}

// F-274, F-165, F-173, Q-34, Q-43: with the partner's agreement a lease that its
// client lost is available at once, unless something happened to it since.
func TestConfirmedEnd(t *testing.T) {
	for _, tt := range []struct {
		lease string
		want  Status
	}{
		{"2001:db8::1/128", Free},
		{"2001:db8::2/128", FreeBackup},
		{"2001:db8:1::/56", Free},
	} {
		p := netip.MustParsePrefix(tt.lease)
		for _, s := range []Status{Expired, Released, Reset} {
			sent := ours()
			sent.Prefix, sent.IA, sent.Status, sent.StartOfState = p, iaOf(p, clientA), s, 2_050
			sent.Expires, sent.HeldUntil = 0, 0
			want := Binding{Prefix: p, IA: sent.IA, Status: tt.want, StartOfState: 2_050, Expires: 2_600, Hostname: "a"}
			if got := Confirmed(sent, sent, 0, 2_100, rememberFor); *got != want {
				t.Errorf("%v %v:\n got %+v\nwant %+v", p, s, *got, want)
			}
			again := *sent
			again.Status, again.Expires, again.HeldUntil, again.Change = Active, 9_000, 9_000, 43
			if got := Confirmed(&again, sent, 0, 2_100, rememberFor); got != &again {
				t.Errorf("%v %v, leased again: %+v", p, s, *got)
			}
			declined := *sent
			declined.Status = Abandoned
			if got := Confirmed(&declined, sent, 0, 2_100, rememberFor); got != &declined {
				t.Errorf("%v %v, declined at the partner: %+v", p, s, *got)
			}
		}
	}
}

// F-185, F-273, F-275, Q-65: a prefix is taken back by the secondary's
// agreement, given away by the primary alone.
func TestConfirmedRebalancing(t *testing.T) {
	p := netip.MustParsePrefix("2001:db8:1::/56")
	given := &Binding{Prefix: p, IA: iaOf(p, ""), Status: FreeBackup, StartOfState: 900, Change: 7}
	kept := Confirmed(given, given, 0, 1_000, rememberFor)
	if want := (Binding{Prefix: p, IA: given.IA, Status: FreeBackup, StartOfState: 900}); *kept != want {
		t.Fatalf("given: %+v, want %+v", *kept, want)
	}
	asked := *kept
	asked.Change = 8
	sent := asked
	sent.Status, sent.StartOfState = Free, 1_900
	got := Confirmed(&asked, &sent, 0, 2_000, rememberFor)
	if want := (Binding{Prefix: p, IA: given.IA, Status: Free, StartOfState: 1_900, Expires: 2_500}); *got != want {
		t.Errorf("taken back: %+v, want %+v", *got, want)
	}
	leased := asked
	leased.IA, leased.Status, leased.Expires, leased.HeldUntil = iaOf(p, clientA), Active, 9_000, 9_000
	if got := Confirmed(&leased, &sent, 0, 2_000, rememberFor); got != &leased {
		t.Errorf("leased meanwhile: %+v", *got)
	}
	givenAgain := asked
	givenAgain.Change, givenAgain.StartOfState = 9, 1_950
	if got := Confirmed(&givenAgain, &sent, 0, 2_000, rememberFor); got != &givenAgain {
		t.Errorf("given again meanwhile: %+v", *got)
	}
}

// A server that is asked for all it has sends what was confirmed long ago.
func TestConfirmedAgain(t *testing.T) {
	told := ours()
	told.Change = 0
	if got := Confirmed(told, told, told.AckedPartnerLifetime, 2_100, rememberFor); got != told {
		t.Errorf("active: %+v", *got)
	}
	free := &Binding{Prefix: told.Prefix, IA: told.IA, Status: Free, StartOfState: 900, Expires: 1_500}
	if got := Confirmed(free, free, 0, 2_100, rememberFor); got != free {
		t.Errorf("a free lease is remembered anew: %+v", *got)
	}
}

// Whatever the two records are: the result is one, news are never lost, and no
// more is believed to be confirmed than was told.
func TestConfirmedProperties(t *testing.T) {
	record := func(t *rapid.T, label string) *Binding {
		p := netip.MustParsePrefix("2001:db8:1::/56")
		small := func(what string) Time { return Time(rapid.IntRange(0, 9).Draw(t, label+" "+what)) }
		b := &Binding{Prefix: p, IA: iaOf(p, rapid.SampledFrom([]DUID{clientA, clientB}).Draw(t, label)), Status: Status(rapid.IntRange(1, 8).Draw(t, label+" status")),
			Expires: small("expires"), HeldUntil: 9, StartOfState: small("start"), PartnerLifetime: small("announced"), AckedPartnerLifetime: small("acked"),
			Change: uint64(small("change")) / 3}
		if b.Status == Active && b.Expires == 0 {
			b.Expires = 1
		}
		return b
	}
	rapid.Check(t, func(t *rapid.T) {
		b, sent := record(t, "now"), record(t, "sent")
		acked := Time(rapid.IntRange(0, 12).Draw(t, "echo"))
		got := Confirmed(b, sent, acked, 100, rememberFor)
		if err := got.Check(); err != nil {
			t.Fatal(err)
		}
		if got != b && *got == *b {
			t.Fatal("a copy without a change")
		}
		says := func(b *Binding) Binding {
			return Binding{Status: b.Status, IA: b.IA, Expires: b.Expires, StartOfState: b.StartOfState}
		}
		news := b.Change != sent.Change || says(b) != says(sent)
		taken := b.Change == sent.Change && b.Status == FreeBackup && sent.Status == Free
		if news && !taken && (got.Change != b.Change || says(got) != says(b)) {
			t.Fatalf("news are lost:\n now %+v\nsent %+v\n got %+v", *b, *sent, *got)
		}
		if !news && got.Change != 0 || taken && got.Status != Free && b.Change != 0 {
			t.Fatalf("nothing is settled:\n now %+v\nsent %+v\n got %+v", *b, *sent, *got)
		}
		if a := got.AckedPartnerLifetime; a != b.AckedPartnerLifetime && a != 0 && (a > acked || a > sent.PartnerLifetime || b.IA != sent.IA) {
			t.Fatalf("acked %d of %d announced:\n now %+v\nsent %+v", a, sent.PartnerLifetime, *b, *sent)
		}
		if got.Status.ended() && !news {
			t.Fatalf("agreed on, but still %v", got.Status)
		}
	})
}
