package lease

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

const rememberFor = 500

// checkAccepted holds what is stored against figure 5 of RFC 8156 and the
// decisions of the digest, field by field.
func checkAccepted(t *rapid.T, u *Update, own *Binding, now Time) {
	got := u.Accepted(own, now, rememberFor)
	want := accepted(u, own, now)
	if *got != *want {
		t.Fatalf("Accepted:\n got %+v\nwant %+v\nupdate %+v\nown %+v", *got, *want, u, own)
	}
	if err := got.Check(); err != nil {
		t.Fatal(err)
	}
}

// accepted is the oracle of Accepted.
func accepted(u *Update, own *Binding, now Time) *Binding {
	even := u.Prefix.Bits() == 128 && u.Prefix.Addr().As16()[15]%2 == 0
	free := Free
	if even {
		free = FreeBackup
	}
	b := &Binding{Prefix: u.Prefix, IA: u.IA, StartOfState: u.StartOfState}
	var before Binding                                                      // of the same client
	if own != nil {
		b.Change = own.Change
		if u.Client == "" || u.Client == own.Client && u.Type == own.Type && u.ID == own.ID {
			before = *own
			b.Client, b.ID, b.Hostname = own.Client, own.ID, own.Hostname
		}
	}
	switch u.Status {
	case Expired, Released, Reset, PendingFree:
		b.Status = free
	case Free, FreeBackup:
		b.Status = u.Status
		if u.Prefix.Bits() == 128 {
			b.Status = free
		}
	case Active, Abandoned:
		b.Status = u.Status
		b.Expires = u.Expires
	}
	if b.Status == Free || b.Status == FreeBackup {
		if b.Status == free && b.Change == 0 {
			b.Expires = now + rememberFor
		}
		return b
	}
	later := func(a, b Time) Time {
		if a > b {
			return a
		}
		return b
	}
	b.ExpirationTime = later(u.PartnerLifetime, before.ExpirationTime) // 123, Q-41
	b.PartnerRawCLT = u.CLT                                            // 46
	if u.CLT == 0 {
		b.PartnerRawCLT = before.PartnerRawCLT
	}
	b.LastTransaction = later(u.PartnerRawCLT, before.LastTransaction)  // 126
	b.PartnerLifetime = later(u.ExpirationTime, before.PartnerLifetime) // 120
	b.AckedPartnerLifetime = before.AckedPartnerLifetime
	if before.Status != Active && u.ExpirationTime < b.AckedPartnerLifetime {
		b.AckedPartnerLifetime = u.ExpirationTime
	}
	if b.Status != Active {
		return b
	}
	b.Via = before.Via
	b.Preferred, b.Valid, b.T1, b.T2 = u.Preferred, u.Valid, u.T1, u.T2
	if before.Status == Active {
		theirs, ours := u.CLT, before.LastTransaction
		if theirs == 0 {
			theirs = u.StartOfState
		}
		if ours == 0 {
			ours = before.StartOfState
		}
		keep := false
		switch {
		case ours-theirs > 5: // EARLIER
			keep = true
		case theirs-ours > 5: // LATER
		case before.Expires != u.Expires: // SAME: the later expiry
			keep = before.Expires > u.Expires
		default:
			keep = before.StartOfState > u.StartOfState
		}
		if keep {
			b.Preferred, b.Valid, b.T1, b.T2 = before.Preferred, before.Valid, before.T1, before.T2
			b.Expires, b.StartOfState = before.Expires, before.StartOfState
		}
	}
	b.HeldUntil = b.Expires
	b.PartnerLifetime = later(b.PartnerLifetime, b.Expires)
	return b
}

// ours is a record of a lease that this server dealt with, and told.
func ours() *Binding {
	p := netip.MustParsePrefix("2001:db8::1/128")
	return &Binding{Prefix: p, IA: iaOf(p, clientA), Status: Active, Preferred: 100, Valid: 200, T1: 50, T2: 80,
		Expires: 2_200, HeldUntil: 2_400, StartOfState: 1_000, LastTransaction: 2_000,
		PartnerLifetime: 3_000, AckedPartnerLifetime: 2_900, ExpirationTime: 2_800, PartnerRawCLT: 1_500,
		Change: 42, Via: netip.MustParseAddr("fe80::1"), Hostname: "a"}
}

// theirs is what the partner says of the same lease some time later.
func theirs() *Update {
	b := ours()
	return &Update{Prefix: b.Prefix, IA: b.IA, Status: Active, Preferred: 101, Valid: 201, T1: 51, T2: 81,
		Expires: 3_201, StartOfState: 1_001, CLT: 3_000, PartnerLifetime: 4_000, PartnerRawCLT: 2_000, ExpirationTime: 3_000}
}

// The update is later than what this server knows: figure 5.
func TestAccepted(t *testing.T) {
	b := theirs().Accepted(ours(), 3_000, rememberFor)
	for _, tt := range []struct {
		id        string
		got, want any
	}{
		{"F-247", b.Status, Active},
		{"F-248", b.ExpirationTime, Time(4_000)},
		{"F-249", b.Expires, Time(3_201)},
		{"F-249, on disk", b.HeldUntil, Time(3_201)},
		{"F-250", b.PartnerRawCLT, Time(3_000)},
		{"F-251", b.LastTransaction, Time(2_000)},
		{"F-252, raised to the expiry", b.PartnerLifetime, Time(3_201)},
		{"F-253", b.StartOfState, Time(1_001)},
		{"F-157: an update confirms nothing", b.AckedPartnerLifetime, Time(2_900)},
		{"lifetimes", [...]uint32{b.Preferred, b.Valid, b.T1, b.T2}, [...]uint32{101, 201, 51, 81}},
		{"Q-42", b.Change, uint64(42)},
		{"next hop", b.Via, netip.MustParseAddr("fe80::1")},
		{"host name", b.Hostname, "a"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %v, want %v", tt.id, tt.got, tt.want)
		}
	}
}

// F-251, F-252: what the partner returns of our own is taken if it is later, as
// after a loss of storage. Its own contact is stored exactly
// as it is.
func TestAcceptedReturnsOurOwn(t *testing.T) {
	for _, tt := range []struct {
		raw, expiration      Time // 126, 120
		wantContact, wantOwn Time
	}{
		{0, 0, 2_000, 9_000},
		{1_999, 8_999, 2_000, 9_000},
		{2_001, 9_001, 2_001, 9_001},
	} {
		own, u := ours(), theirs()
		own.PartnerLifetime = 9_000
		u.PartnerRawCLT, u.ExpirationTime = tt.raw, tt.expiration
		if b := u.Accepted(own, 3_000, rememberFor); b.LastTransaction != tt.wantContact || b.PartnerLifetime != tt.wantOwn {
			t.Errorf("126 = %d, 120 = %d: contact %d, announced %d, want %d, %d", tt.raw, tt.expiration, b.LastTransaction, b.PartnerLifetime, tt.wantContact, tt.wantOwn)
		}
		lost := u.Accepted(nil, 3_000, rememberFor)
		if lost.LastTransaction != tt.raw || lost.PartnerLifetime != max(tt.expiration, lost.Expires) {
			t.Errorf("126 = %d, 120 = %d, nothing known: contact %d, announced %d", tt.raw, tt.expiration, lost.LastTransaction, lost.PartnerLifetime)
		}
	}
	for _, clt := range []Time{1, 1_499, 2_999, 1 << 33} {
		u := theirs()
		u.CLT = clt
		if b := u.Accepted(ours(), 3_000, rememberFor); b.PartnerRawCLT != clt {
			t.Errorf("partner's contact at %d is stored as %d", clt, b.PartnerRawCLT)
		}
	}
}

// what the partner says of the same client's active lease, before,
// at and after the time of our own contact.
func TestAcceptedSameClient(t *testing.T) {
	for _, tt := range []struct {
		name               string
		clt, expires       Time
		wantExpires, since Time
	}{
		{"earlier", 1_994, 9_000, 2_200, 1_000},
		{"same, expires sooner", 1_995, 2_199, 2_200, 1_000},
		{"same, expires later", 1_995, 2_201, 2_201, 1_001},
		{"same, expires sooner, newer by clock", 2_005, 2_199, 2_200, 1_000},
		{"later, expires sooner", 2_006, 2_199, 2_199, 1_001},
	} {
		u := theirs()
		u.CLT, u.Expires, u.PartnerLifetime = tt.clt, tt.expires, 2_700
		b := u.Accepted(ours(), 3_000, rememberFor)
		if b.Expires != tt.wantExpires || b.StartOfState != tt.since || b.HeldUntil != b.Expires {
			t.Errorf("%s: until %d (on disk %d) since %d, want %d since %d", tt.name, b.Expires, b.HeldUntil, b.StartOfState, tt.wantExpires, tt.since)
		}
		if b.ExpirationTime != 2_800 || b.PartnerRawCLT != tt.clt || b.Change != 42 {
			t.Errorf("%s: confirmed %d, partner's contact %d, change %d", tt.name, b.ExpirationTime, b.PartnerRawCLT, b.Change)
		}
	}
}

// of a client that is overwritten nothing stays, but that the
// partner is to be told what this server has now.
func TestAcceptedOtherClient(t *testing.T) {
	for name, other := range map[string]func(*IA){
		"DUID": func(ia *IA) { ia.Client = clientB },
		"IAID": func(ia *IA) { ia.ID = 2 },
	} {
		u := theirs()
		other(&u.IA)
		u.PartnerRawCLT, u.ExpirationTime = 0, 0
		b := u.Accepted(ours(), 3_000, rememberFor)
		want := Binding{Prefix: u.Prefix, IA: u.IA, Status: Active, Preferred: 101, Valid: 201, T1: 51, T2: 81, Expires: 3_201, HeldUntil: 3_201,
			StartOfState: 1_001, PartnerLifetime: 3_201, ExpirationTime: 4_000, PartnerRawCLT: 3_000, Change: 42}
		if *b != want {
			t.Errorf("another %s:\n got %+v\nwant %+v", name, *b, want)
		}
	}
}

// F-165, F-173, Q-34, Q-35, Q-43: a lease that its client lost is available as
// soon as the update is accepted, an address to its half, a prefix to the
// primary; and nothing of the last client limits the next one.
func TestAcceptedEnd(t *testing.T) {
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
			for _, change := range []uint64{0, 42} {
				own, u := ours(), theirs()
				own.Prefix, own.IA, own.Change = p, iaOf(p, clientA), change
				u.Prefix, u.IA, u.Status, u.Expires, u.PartnerLifetime = p, own.IA, s, 0, 0
				want := Binding{Prefix: p, IA: own.IA, Status: tt.want, StartOfState: 1_001, Expires: 3_500, Change: change, Hostname: "a"}
				if change != 0 {
					want.Expires = 0 // the partner has yet to be told
				}
				if b := u.Accepted(own, 3_000, rememberFor); *b != want {
					t.Errorf("%v %v:\n got %+v\nwant %+v", p, s, *b, want)
				}
			}
		}
	}
}

// F-254: a bare OPTION_IAPREFIX. What is the secondary's must never be forgotten:
// a prefix without a record is the primary's.
func TestAcceptedBare(t *testing.T) {
	p := netip.MustParsePrefix("2001:db8:1::/56")
	u := &Update{Prefix: p, IA: IA{Link: "lan", Type: IAPD}, Status: FreeBackup, StartOfState: 900, Preferred: 9, Valid: 8}
	b := u.Accepted(nil, 1_000, rememberFor)
	if want := (Binding{Prefix: p, IA: u.IA, Status: FreeBackup, StartOfState: 900}); *b != want {
		t.Errorf("given:\n got %+v\nwant %+v", *b, want)
	}
	u.Status, u.StartOfState = Free, 1_900
	b = u.Accepted(b, 2_000, rememberFor)
	if want := (Binding{Prefix: p, IA: u.IA, Status: Free, StartOfState: 1_900, Expires: 2_500}); *b != want {
		t.Errorf("taken back:\n got %+v\nwant %+v", *b, want)
	}
	abandoned := &Binding{Prefix: p, IA: iaOf(p, clientA), Status: Abandoned, StartOfState: 1_000, LastTransaction: 800, PartnerLifetime: 5, ExpirationTime: 5}
	u.Status, u.Expires, u.PartnerLifetime, u.ExpirationTime = Abandoned, 7_000, 6, 4
	b = u.Accepted(abandoned, 2_000, rememberFor)
	want := Binding{Prefix: p, IA: iaOf(p, clientA), Status: Abandoned, StartOfState: 1_900, Expires: 7_000, LastTransaction: 800, PartnerLifetime: 5, ExpirationTime: 6}
	if *b != want {
		t.Errorf("abandoned:\n got %+v\nwant %+v", *b, want)
	}
}

// The partner leased anew to the client that this server still thinks ended: it
// knows no more of this server's promises than it says.
func TestAcceptedAnew(t *testing.T) {
	for _, s := range []Status{Expired, Released, Abandoned} {
		own, u := ours(), theirs()
		own.Status, own.Expires, own.HeldUntil = s, 0, 0
		u.ExpirationTime = 0
		if b := u.Accepted(own, 3_000, rememberFor); b.AckedPartnerLifetime != 0 {
			t.Errorf("%v: acked %d, want 0", s, b.AckedPartnerLifetime)
		}
	}
}
