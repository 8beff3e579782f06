package lease

import (
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Figure 4 of RFC 8156 as it is printed, FREE standing for FREE-BACKUP, too.
const figure4 = `
own\received  ACTIVE     EXPIRED  RELEASED  FREE     RESET   ABANDONED
ACTIVE        accept(3)  time(1)  accept    time(1)  accept  accept
EXPIRED       accept     accept   accept    accept   accept  accept
RELEASED      accept     accept   accept    accept   accept  accept
FREE          accept     accept   accept    accept   accept  accept
RESET         time(2)    accept   accept    accept   accept  accept
ABANDONED     accept     accept   accept    accept   accept  accept`

// Who accepts in an "accept" cell when the times are the same, while the partner
// has not confirmed yet what this server says: figures for an update about the
// client of the server's own record, and about another. "nonowner" is the server
// to which the lease is not available once it is free, "." nobody.
const (
	tieSameClient = `
own\received  ACTIVE  EXPIRED    RELEASED   FREE       FREE-BACKUP  RESET      ABANDONED
ACTIVE        .       .          .          .          .            .          .
EXPIRED       .       secondary  secondary  secondary  secondary    secondary  secondary
RELEASED      .       secondary  secondary  secondary  secondary    secondary  secondary
FREE          both    both       both       secondary  both         both       both
FREE-BACKUP   secondary secondary secondary secondary  secondary    secondary  secondary
RESET         .       secondary  secondary  secondary  secondary    secondary  secondary
ABANDONED     .       secondary  secondary  secondary  secondary    secondary  secondary`
	tieOtherClient = `
own\received  ACTIVE    EXPIRED   RELEASED  FREE       FREE-BACKUP  RESET     ABANDONED
ACTIVE        .         .         .         .          .            .         .
EXPIRED       nonowner  nonowner  nonowner  secondary  secondary    nonowner  nonowner
RELEASED      nonowner  nonowner  nonowner  secondary  secondary    nonowner  nonowner
FREE          both      both      both      secondary  both         both      both
FREE-BACKUP   secondary secondary secondary secondary  secondary    secondary secondary
RESET         .         nonowner  nonowner  secondary  secondary    nonowner  nonowner
ABANDONED     nonowner  nonowner  nonowner  secondary  secondary    nonowner  nonowner`
)

// cell looks a pair of statuses up in a figure.
func cell(figure string, own, received Status) string {
	lines := strings.Split(strings.TrimSpace(figure), "\n")
	column := slices.Index(strings.Fields(lines[0]), received.String())
	for _, line := range lines[1:] {
		if f := strings.Fields(line); f[0] == own.String() {
			return f[column]
		}
	}
	panic(fmt.Sprintf("%v is not in the figure", own))
}

// ranks are Times as numbers that cannot overflow.
func naive(t Time) *big.Int { return big.NewInt(int64(t)) }

// later is section 7.5.1 to the letter.
func later(a, b Time) bool { return new(big.Int).Sub(naive(a), naive(b)).Cmp(big.NewInt(5)) > 0 }

// judge is the oracle: the digest's text word by word, slowly.
func judge(u *Update, own *Binding, role Role, now Time) Verdict {
	received := u.Status
	if received == PendingFree {
		received = Free
	}
	if received == Free || received == FreeBackup {
		switch last := u.Prefix.Addr().As16()[15]; {
		case u.Prefix.Bits() == 128 && last%2 == 1:
			received = Free
		case u.Prefix.Bits() == 128:
			received = FreeBackup
		}
	}
	if own == nil {
		return Accept
	}
	either := func(s Status) Status {
		if s == FreeBackup {
			return Free
		}
		return s
	}
	same := u.Client == own.Client && u.Type == own.Type && u.ID == own.ID
	unsaid := own.Change != 0
	unheard := unsaid && own.LastTransaction != 0 // our own contact with the client

	updateTime := u.StartOfState
	if u.CLT != 0 {
		updateTime = u.CLT
		if received != Active && received != Expired && received != Released && u.StartOfState > u.CLT {
			updateTime = u.StartOfState
		}
	}
	ownTime := own.StartOfState
	if own.LastTransaction != 0 {
		ownTime = own.LastTransaction
		// Ours: where the status began after the last contact, it counts.
		if own.Status != Active && own.Status != Expired && own.Status != Released && own.StartOfState > ownTime {
			ownTime = own.StartOfState
		}
	}
	verdict := func(ok bool, otherwise Verdict) Verdict {
		if ok {
			return Accept
		}
		return otherwise
	}
	time2 := u.CLT != 0 && later(u.CLT, own.StartOfState)
	entry := cell(figure4, either(own.Status), either(received))

	end := received // what it would be stored as
	if received == Expired || received == Released || received == Reset {
		end = Free
		if u.Prefix.Bits() == 128 && u.Prefix.Addr().As16()[15]%2 == 0 {
			end = FreeBackup
		}
	}
	changesNothing := end == own.Status && u.StartOfState == own.StartOfState && (same || u.Client == "") &&
		(either(end) == Free || u.Expires == own.Expires)
	if changesNothing { // Q-37 grants it to the same time only
		return Accept
	}

	// Ours: an ACTIVE that has run out is no news.
	if received == Active && later(now, u.Expires) && !(entry == "accept(3)" && same) {
		return Outdated
	}
	// Ours: that a lease ran out here says nothing against a promise of the partner
	// to the same client that has not.
	if own.Status == Expired && received == Active && same {
		return Accept
	}
	switch entry {
	case "accept(3)":
		if !same && !time2 && !later(u.Expires, now) { // ours: nor displaces another client one that may have
			return Outdated
		}
		return verdict(same || time2 || role == Secondary, InUse)
	case "time(2)":
		return verdict(time2, Outdated)
	case "time(1)": // ours: nor while the partner does not know of our contact, which was no earlier
		return verdict(later(now, own.Expires) && (!unheard || later(updateTime, ownTime)), Outdated)
	}
	if own.Status == Active && received == Reset && unheard { // ours
		return Outdated
	}
	if later(updateTime, ownTime) {
		return Accept
	}
	if later(ownTime, updateTime) {
		return Outdated
	}
	// The same: Q-37, as it is now.
	if !unsaid {
		return Accept
	}
	owner := Primary
	if u.Prefix.Bits() == 128 && u.Prefix.Addr().As16()[15]%2 == 0 {
		owner = Secondary
	}
	figure := tieOtherClient
	if same || u.Client == "" {
		figure = tieSameClient
	}
	who := cell(figure, own.Status, received)
	if own.Status == Active && !unheard { // whatever we know of the client we have from the partner
		who = "both"
		if !same && u.Client != "" {
			who = "nonowner"
		}
	}
	return verdict(who == "both" || who == "secondary" && role == Secondary || who == "nonowner" && role != owner, Outdated)
}

var leases = []string{"2001:db8::1/128", "2001:db8::2/128", "2001:db8:1::/56"}

const (
	clientA = DUID("\x00\x03a")
	clientB = DUID("\x00\x03b")
)

func iaOf(p netip.Prefix, client DUID) IA {
	if p.Bits() == 128 {
		return IA{"lan", client, IANA, 1}
	}
	return IA{"lan", client, IAPD, 1}
}

// Every cell of figure 4, with the update earlier, the same and later, at and
// around the limit of the tolerance, for the same client and another, at the
// primary and at the secondary, for each kind of lease, before and after the
// partner confirmed what the server says, while an active lease runs and after.
func testRow(t *testing.T, own ...Status) {
	const now, contact = 10_000, 5_000
	n := 0
	verdicts := map[Verdict]int{}
	for _, prefix := range leases {
		p := netip.MustParsePrefix(prefix)
		for _, own := range own {
			for received := Active; received <= Reset; received++ {
				for _, age := range []Time{-1000, -6, -5, 0, 5, 6, 1000} {
					for bits := range 1 << 6 {
						bit := func(i int) bool { return bits>>i&1 == 1 }
						role, client, b := Primary, clientA, &Binding{Prefix: p, IA: iaOf(p, clientA), Status: own,
							Expires: now + 9_000, StartOfState: contact, LastTransaction: contact}
						u := &Update{Prefix: p, Status: received, Expires: now + 8_000, PartnerLifetime: now + 8_000,
							StartOfState: contact + age, CLT: contact + age}
						if bit(0) {
							role = Secondary
						}
						if bit(1) {
							client = clientB
						}
						if bit(2) {
							b.Change = 7
						}
						if bit(3) {
							b.Expires = now - 6
						}
						if bit(4) {
							u.Expires = now - 6
						}
						if bit(5) {
							b.LastTransaction, u.CLT = 0, 0
						}
						u.IA, b.HeldUntil = iaOf(p, client), b.Expires
						got, want := u.Judge(b, role, now), judge(u, b, role, now)
						if got != want {
							t.Fatalf("%v: %v of %q, at the %v %v of %q (change %d, until %d), %d s later: %v, want %v",
								p, received, client, role, own, clientA, b.Change, b.Expires, age, got, want)
						}
						if got == Accept {
							if err := u.Accepted(b, now, 100).Check(); err != nil {
								t.Fatalf("accepted %+v: %v", u, err)
							}
						}
						n++
						verdicts[got]++
					}
				}
			}
		}
	}
	if verdicts[Accept] == 0 || verdicts[Outdated] == 0 || (verdicts[InUse] != 0) != slices.Contains(own, Active) {
		t.Errorf("of %d updates: %v", n, verdicts)
	}
}

// F-232 and F-238, with F-239 (time(1)), F-241 and F-242 (accept(3)).
func TestMatrixActive(t *testing.T) { testRow(t, Active) }

// F-233.
func TestMatrixExpired(t *testing.T) { testRow(t, Expired) }

// F-234.
func TestMatrixReleased(t *testing.T) { testRow(t, Released) }

// F-235.
func TestMatrixFree(t *testing.T) { testRow(t, Free, FreeBackup) }

// F-236, with F-240 (time(2)).
func TestMatrixReset(t *testing.T) { testRow(t, Reset) }

// F-237.
func TestMatrixAbandoned(t *testing.T) { testRow(t, Abandoned) }

// The same for whatever may come.
func TestJudgeAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := Time(rapid.IntRange(0, 60).Draw(t, "now")) + 1000
		moment := func(label string) Time {
			if rapid.IntRange(0, 4).Draw(t, label+" absent") == 0 {
				return 0
			}
			return Time(rapid.IntRange(980, 1080).Draw(t, label))
		}
		p := netip.MustParsePrefix(rapid.SampledFrom(leases).Draw(t, "lease"))
		ia := func() IA {
			ia := iaOf(p, rapid.SampledFrom([]DUID{clientA, clientB, ""}).Draw(t, "client"))
			ia.ID = IAID(rapid.IntRange(0, 1).Draw(t, "IAID"))
			ia.Link = rapid.SampledFrom([]string{"lan", "renamed"}).Draw(t, "link")
			return ia
		}
		u := &Update{Prefix: p, IA: ia(), Status: Status(rapid.IntRange(1, 8).Draw(t, "received")), Expires: moment("expires"), StartOfState: moment("start") + 1,
			CLT: moment("clt"), PartnerLifetime: moment("partner-lifetime"), PartnerRawCLT: moment("raw"), ExpirationTime: moment("expiration")}
		var own *Binding
		if rapid.IntRange(0, 9).Draw(t, "known") > 0 {
			own = &Binding{Prefix: p, IA: ia(), Status: rapid.SampledFrom([]Status{Active, Expired, Released, Free, FreeBackup, Abandoned, Reset}).Draw(t, "own"),
				Expires: moment("own expires"), StartOfState: moment("own start"), LastTransaction: moment("own clt"), Change: uint64(rapid.IntRange(0, 1).Draw(t, "change"))}
			own.HeldUntil = own.Expires
			if own.Check() != nil {
				t.Skip("no such record")
			}
		}
		role := rapid.SampledFrom([]Role{Primary, Secondary}).Draw(t, "role")
		incomplete := u.Status == Active && (u.Client == "" || u.Expires == 0 || u.PartnerLifetime == 0)
		want := Incomplete
		if !incomplete {
			want = judge(u, own, role, now)
		}
		got := u.Judge(own, role, now)
		if got != want {
			t.Fatalf("Judge = %v, want %v\nupdate %+v\nown %+v", got, want, u, own)
		}
		if got != Incomplete {
			checkAccepted(t, u, own, now)
		}
	})
}

// F-229, F-230, F-231: which of its times an update goes by, and a record.
func TestTimeOfUpdate(t *testing.T) {
	p := netip.MustParsePrefix("2001:db8::1/128")
	for s := Active; s <= Reset; s++ {
		contactOnly := s == Active || s == Expired || s == Released
		for _, tt := range []struct {
			clt, start  Time
			want, other Time // for the three statuses of F-229, for the others
		}{
			{clt: 0, start: 50, want: 50, other: 50},
			{clt: 40, start: 50, want: 40, other: 50},
			{clt: 60, start: 50, want: 60, other: 60},
		} {
			want := tt.other
			if contactOnly {
				want = tt.want
			}
			u := Update{Prefix: p, Status: s, CLT: tt.clt, StartOfState: tt.start}
			if got := u.time(); got != want {
				t.Errorf("update %v, contact %d, since %d: %d, want %d", s, tt.clt, tt.start, got, want)
			}
			b := Binding{Prefix: p, Status: s, LastTransaction: tt.clt, StartOfState: tt.start}
			if got := b.time(); got != want {
				t.Errorf("record %v, contact %d, since %d: %d, want %d", s, tt.clt, tt.start, got, want)
			}
		}
	}
}

// Single verdicts in words.
func TestJudge(t *testing.T) {
	const now = 10_000
	p := netip.MustParsePrefix("2001:db8:1::/56")
	record := func(client DUID, s Status, happened, expires Time, change uint64) *Binding {
		return &Binding{Prefix: p, IA: iaOf(p, client), Status: s, StartOfState: happened, LastTransaction: happened,
			Expires: expires, HeldUntil: expires, PartnerLifetime: expires, Change: change}
	}
	update := func(client DUID, s Status, happened, expires Time) *Update {
		return updateOf(record(client, s, happened, expires, 1))
	}
	learned := func(b *Binding) *Binding {
		b.LastTransaction, b.PartnerRawCLT = 0, b.LastTransaction
		return b
	}
	for _, tt := range []struct {
		name string
		u    *Update
		own  *Binding
		role Role
		want Verdict
	}{
		{"Q-36: nothing is known of the lease", update(clientB, Active, 7_000, 11_000), nil, Primary, Accept},

		{"F-186: the secondary does not return a prefix that it leased",
			update("", Free, 9_990, 0), record(clientA, Active, 9_000, now+1, 0), Secondary, Outdated},
		{"F-186: nor in the tolerance", update("", Free, 9_990, 0), record(clientA, Active, 9_000, now-5, 0), Secondary, Outdated},
		{"but once the lease has run out", update("", Free, 9_990, 0), record(clientA, Active, 9_000, now-6, 0), Secondary, Accept},

		{"F-241: time(2) lets the primary accept another client",
			update(clientB, Active, 9_000, 11_000), record(clientA, Active, 8_000, 12_000, 1), Primary, Accept},
		{"F-241: it refuses an older one", update(clientB, Active, 7_000, 11_000), record(clientA, Active, 8_000, 12_000, 1), Primary, InUse},
		{"F-241: which the secondary accepts", update(clientB, Active, 7_000, 11_000), record(clientA, Active, 8_000, 12_000, 1), Secondary, Accept},
		{"F-242: of the same client, however old", update(clientA, Active, 7_000, 11_000), record(clientA, Active, 9_999, 12_000, 1), Primary, Accept},

		// What a history of two servers showed to be needed beyond the RFC.
		{"a failed primary returns with a lease that ends just when the secondary gave it to the next client",
			update(clientB, Active, 9_400, now), record(clientA, Active, now, now+600, 1), Secondary, Outdated},
		{"a lease that has run out on its way",
			update(clientA, Active, 9_000, now-6), record(clientA, Expired, 8_000, 0, 1), Secondary, Outdated},
		{"the same release again, its answer was lost: the next client has the lease",
			update(clientA, Released, 9_998, 0), record(clientB, Active, 9_999, 12_000, 1), Secondary, Outdated},
		{"a client that came here after it left the partner, perhaps",
			update(clientA, Released, 9_998, 0), record(clientA, Active, 9_999, 12_000, 1), Secondary, Outdated},
		{"a client that left the partner, which knew that it had been here",
			update(clientA, Released, 9_998, 0), record(clientA, Active, 9_999, 12_000, 0), Primary, Accept},
		{"a client that only the partner ever dealt with",
			update(clientA, Released, 9_998, 0), learned(record(clientA, Active, 9_996, 12_000, 1)), Primary, Accept},
		{"a client that came to the partner before it left here, perhaps",
			update(clientA, Active, 9_998, 12_000), record(clientA, Released, 9_999, 0, 1), Secondary, Outdated},
		{"expired for the partner, which does not know of the last renewal",
			update(clientA, Expired, 8_000, 0), record(clientA, Active, 9_000, 9_900, 1), Secondary, Outdated},
		{"expired for both", update(clientA, Expired, 8_000, 0), record(clientA, Active, 9_000, 9_900, 0), Secondary, Accept},
		{"reset by an operator who does not know that the client came back",
			update(clientA, Reset, 9_900, 0), record(clientA, Active, 9_000, 12_000, 1), Primary, Outdated},
		{"while the primary gives a prefix away, the secondary says that it is free",
			update("", Free, 9_998, 0), record("", FreeBackup, 9_999, 0, 1), Primary, Outdated},
		{"one story twice, though this server had a contact since",
			update(clientA, Abandoned, 9_000, 0), &Binding{Prefix: p, IA: iaOf(p, clientA), Status: Abandoned, StartOfState: 9_000, LastTransaction: 9_100, Change: 1}, Primary, Accept},
	} {
		if got := tt.u.Judge(tt.own, tt.role, now); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Whatever no record can be made of is refused, and what is missing is named by
// the verdict.
func TestJudgeIncomplete(t *testing.T) {
	good := func() *Update {
		p := netip.MustParsePrefix("2001:db8::1/128")
		return &Update{Prefix: p, IA: iaOf(p, clientA), Status: Active, Preferred: 1, Valid: 2, Expires: 100, StartOfState: 1, PartnerLifetime: 200}
	}
	for _, tt := range []struct {
		name  string
		spoil func(*Update)
		want  Verdict
	}{
		{"good", func(*Update) {}, Accept},
		{"without expiration-time", func(u *Update) { u.ExpirationTime = 0 }, Accept},
		{"ACTIVE without state-expiration-time", func(u *Update) { u.Expires = 0 }, Incomplete},
		{"ACTIVE without partner-lifetime", func(u *Update) { u.PartnerLifetime = 0 }, Incomplete},
		{"ACTIVE without client", func(u *Update) { u.Client = "" }, Incomplete},
		{"EXPIRED without either", func(u *Update) { u.Status, u.Expires, u.PartnerLifetime, u.Client = Expired, 0, 0, "" }, Accept},
		{"without start-time-of-state", func(u *Update) { u.StartOfState = 0 }, Incomplete},
		{"without status", func(u *Update) { u.Status = 0 }, Incomplete},
		{"status 9", func(u *Update) { u.Status = 9 }, Incomplete},
		{"preferred above valid", func(u *Update) { u.Preferred = 3 }, Incomplete},
		{"lifetimes of a lease that ended", func(u *Update) { u.Preferred, u.Status = 3, Released }, Accept},
		{"no prefix", func(u *Update) { u.Prefix = netip.Prefix{} }, Incomplete},
		{"bits behind the prefix length", func(u *Update) { u.Prefix, u.Type = netip.MustParsePrefix("2001:db8::1/56"), IAPD }, Incomplete},
		{"an address in an IA_PD", func(u *Update) { u.Type = IAPD }, Incomplete},
		{"an address in an IA_TA", func(u *Update) { u.Type = 4 }, Incomplete},
		{"DUID too long", func(u *Update) { u.Client = DUID(make([]byte, DUIDLenMax+1)) }, Incomplete},
	} {
		u := good()
		tt.spoil(u)
		for _, own := range []*Binding{nil, {Prefix: u.Prefix, IA: u.IA, Status: Free}} {
			if got := u.Judge(own, Primary, 50); got != tt.want {
				t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
			}
		}
	}
	if got := fmt.Sprint(Accept, InUse, Incomplete, Outdated, Verdict(3)); got != "accept AddressInUse MissingBindingInformation OutdatedBindingInformation verdict 3" {
		t.Errorf("verdicts are called %s", got)
	}
}
