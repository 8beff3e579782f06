package ra

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func testRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 6)) }

// link is an Advertiser in simulated time that notes what it sent.
type link struct {
	*Advertiser
	now  time.Duration
	sent []sending
}

type sending struct {
	at time.Duration
	Advertisement
}

func newLink(t testing.TB, c Config, seed uint64) *link {
	t.Helper()
	const start = 42 * time.Hour // times have no meaning of their own
	a, err := New(c, nil, testRand(seed), start)
	if err != nil {
		t.Fatal(err)
	}
	return &link{Advertiser: a, now: start}
}

// run sends what is due until d from now have passed, each message late by lag.
func (l *link) run(d, lag time.Duration) {
	for end := l.now + d; ; {
		next := l.Next()
		if next > end {
			l.now = max(l.now, end)
			return
		}
		l.now = max(l.now, next+lag)
		for {
			ad, ok := l.Due(l.now, mac)
			if !ok {
				break
			}
			l.sent = append(l.sent, sending{l.now, ad})
		}
	}
}

// multicast are the times of what was sent to all nodes.
func (l *link) multicast() []time.Duration {
	var times []time.Duration
	for _, s := range l.sent {
		if s.To == allNodes {
			times = append(times, s.at)
		}
	}
	return times
}

func host(n int) Solicitation {
	a := netip.MustParseAddr("fe80::").As16()
	a[14], a[15] = byte(n>>8), byte(n)
	return Solicitation{Source: netip.AddrFrom16(a), LinkLayer: true}
}

var unspecified = Solicitation{Source: netip.IPv6Unspecified()}

// RFC 4861 section 6.2.4: the interval is uniformly random between its bounds.
func TestUnsolicitedInterval(t *testing.T) {
	c := testConfig()
	l := newLink(t, c, 1)
	l.run(1000*c.MaxInterval, 0)
	times := l.multicast()
	var counts [4]int
	for i := 3; i < len(times); i++ {
		gap := times[i] - times[i-1]
		if gap < c.MinInterval || gap > c.MaxInterval {
			t.Fatalf("gap %d is %s", i, gap)
		}
		counts[min(3, 4*(gap-c.MinInterval)/(c.MaxInterval-c.MinInterval))]++
	}
	for quarter, n := range counts { // a quarter of about 1500, give or take five standard deviations
		if n < 290 || n > 460 {
			t.Errorf("quarter %d of the interval: %d of %d", quarter, n, len(times))
		}
	}
}

// D-334: the first three advertisements are at most 16 seconds apart; the first
// comes at once, the fourth in its normal time. So after each news.
func TestInitialAdvertisements(t *testing.T) {
	news := map[string]func(*link){
		"start":       func(l *link) { l.Start(l.now) },
		"forwarding":  func(l *link) { l.SetForwarding(l.now, false) },
		"reconfigure": func(l *link) { c := testConfig(); c.MTU = 1500; mustReconfigure(t, l, c) },
	}
	for name, tell := range news {
		for seed := range uint64(100) {
			l := newLink(t, testConfig(), seed)
			for _, what := range []string{"new", name} {
				began := l.now
				l.sent = nil
				l.run(700*time.Second, 0)
				times := l.multicast()
				if first := times[0] - began; first > MaxRADelay {
					t.Fatalf("%s: first after %s", what, first)
				}
				for i := 1; i < 3; i++ {
					if gap := times[i] - times[i-1]; gap > 16*time.Second || gap < MinDelayBetweenRAs {
						t.Fatalf("%s: advertisements %d and %d are %s apart", what, i-1, i, gap)
					}
				}
				if gap := times[3] - times[2]; gap < 200*time.Second {
					t.Fatalf("%s: fourth advertisement after %s", what, gap)
				}
				l.run(time.Minute, 0)
				tell(l)
			}
		}
	}
}

func mustReconfigure(t testing.TB, l *link, c Config) {
	t.Helper()
	if err := l.Reconfigure(l.now, c); err != nil {
		t.Fatal(err)
	}
}

// The same configuration again is no news.
func TestReconfigureWithoutChange(t *testing.T) {
	l := newLink(t, testConfig(), 1)
	l.run(time.Minute, 0)
	next := l.Next()
	c := testConfig()
	c.Routes = []Route{} // empty or nil: no difference
	mustReconfigure(t, l, c)
	if l.Next() != next {
		t.Errorf("next in %s instead of %s", l.Next()-l.now, next-l.now)
	}
}

// A bad configuration changes nothing.
func TestReconfigureRefuses(t *testing.T) {
	l := newLink(t, testConfig(), 1)
	l.run(time.Minute, 0)
	bad := testConfig()
	bad.MTU = 7
	next, remembered := l.Next(), l.Remembered(l.now)
	if err := l.Reconfigure(l.now, bad); err == nil {
		t.Fatal("accepted")
	}
	if l.Next() != next || !slices.Equal(l.Remembered(l.now), remembered) || l.config.MTU != 0 {
		t.Error("something changed")
	}
}

// D-332: a host that says where it is has an answer of its own, 0 to 0.5 seconds
// after it asked, even right after a multicast advertisement.
func TestSolicitedUnicast(t *testing.T) {
	l := newLink(t, testConfig(), 1)
	l.run(time.Minute, 0)
	l.Start(l.now)
	l.run(MaxRADelay, 0) // a multicast advertisement was just sent
	var earliest, latest = time.Hour, time.Duration(0)
	for range 1000 {
		asked := l.now
		l.sent = nil
		l.Solicited(l.now, host(1))
		l.run(MaxRADelay, 0)
		if len(l.sent) == 0 || l.sent[0].To != host(1).Source && l.sent[0].To != allNodes {
			t.Fatalf("sent %v", l.sent)
		}
		delay := l.sent[0].at - asked
		if delay < 0 || delay > MaxRADelay {
			t.Fatalf("answer after %s", delay)
		}
		earliest, latest = min(earliest, delay), max(latest, delay)
		l.run(5*time.Second, 0)
	}
	if earliest > 20*time.Millisecond || latest < 480*time.Millisecond {
		t.Errorf("delays from %s to %s are not spread over half a second", earliest, latest)
	}
}

// D-332, D-333: an answer to everybody is delayed as well, and after a recent
// advertisement by the same after the three seconds (RFC 4861 section 6.2.6).
func TestSolicitedMulticast(t *testing.T) {
	for seed := range uint64(200) {
		l := newLink(t, testConfig(), seed)
		l.run(time.Minute, 0)
		for range 2 {
			asked, last := l.now, slices.Max(l.multicast())
			l.sent = nil
			l.Solicited(l.now, unspecified)
			l.run(5*time.Second, 0)
			times := l.multicast()
			least := max(asked, last+MinDelayBetweenRAs)
			if len(times) != 1 || times[0] < least || times[0] > least+MaxRADelay+100*time.Millisecond {
				t.Fatalf("asked at %s, last at %s, answers at %v", asked, last, times)
			}
			l.now = times[0] + time.Second // and once more soon after
		}
	}
}

// A solicitation just before an advertisement is answered by that.
func TestSolicitedBeforeScheduled(t *testing.T) {
	l := newLink(t, testConfig(), 1)
	l.run(time.Minute, 0)
	l.now = l.Next() - time.Nanosecond
	l.sent = nil
	l.Solicited(l.now, host(1))
	l.Solicited(l.now, unspecified)
	l.run(4*time.Second, 0)
	if len(l.sent) != 1 || l.sent[0].To != allNodes {
		t.Errorf("sent %v", l.sent)
	}
}

// Who cannot be answered alone is answered with everybody: no address yet, no
// link-layer address given, an address that is not link-local.
func TestSolicitedBySomebodyOdd(t *testing.T) {
	for _, s := range []Solicitation{
		unspecified,
		{Source: host(1).Source},
		{Source: netip.MustParseAddr("2001:db8::1"), LinkLayer: true},
	} {
		l := newLink(t, testConfig(), 1)
		l.run(time.Minute, 0)
		l.sent = nil
		l.Solicited(l.now, s)
		l.run(time.Second, 0)
		if len(l.sent) != 1 || l.sent[0].To != allNodes {
			t.Errorf("%v: sent %v", s, l.sent)
		}
	}
}

// Who asks again soon after its answer did not get it: now everybody is told.
func TestSolicitedAgain(t *testing.T) {
	l := newLink(t, testConfig(), 1)
	l.run(time.Minute, 0)
	l.sent = nil
	l.Solicited(l.now, host(1))
	l.Solicited(l.now, host(1)) // before the answer: no second one
	l.run(MaxRADelay, 0)
	l.Solicited(l.now, host(1))
	l.run(MaxRADelay, 0)
	if len(l.sent) != 2 || l.sent[0].To != host(1).Source || l.sent[1].To != allNodes {
		t.Errorf("sent %v", l.sent)
	}
}

// What everybody is told no host needs to be told alone.
func TestMulticastAnswersAll(t *testing.T) {
	for seed := range uint64(20) {
		l := newLink(t, testConfig(), seed)
		l.run(time.Minute, 0)
		l.sent = nil
		l.Solicited(l.now, host(1))
		l.Solicited(l.now, host(2))
		l.next = l.now
		l.run(2*time.Second, 0)
		if len(l.sent) != 1 || l.sent[0].To != allNodes {
			t.Fatalf("sent %v", l.sent)
		}
	}
}

// The delay is that of the first solicitation; many of them do not shorten it
// (RFC 4861 section 6.2.6).
func TestManySolicitationsKeepDelay(t *testing.T) {
	var sum time.Duration
	const runs = 200
	for seed := range uint64(runs) {
		l := newLink(t, testConfig(), seed)
		l.run(time.Minute, 0)
		l.sent = nil
		asked := l.now
		for range 100 {
			l.Solicited(l.now, unspecified)
		}
		l.run(time.Second, 0)
		if len(l.sent) != 1 {
			t.Fatalf("sent %v", l.sent)
		}
		sum += l.sent[0].at - asked
	}
	if mean := sum / runs; mean < 200*time.Millisecond || mean > 300*time.Millisecond {
		t.Errorf("mean delay %s", mean)
	}
}

// Many questions, few answers: a flood of solicitations, each from another host,
// costs a bounded number of messages and places (D-333).
func TestSolicitationFlood(t *testing.T) {
	l := newLink(t, testConfig(), 1)
	l.run(time.Minute, 0)
	l.sent = nil
	const seconds = 30
	for i := range seconds * 1000 {
		l.Solicited(l.now, host(i))
		l.run(time.Millisecond, 0)
		if len(l.answers) > AnswersMax || cap(l.answers) > 4*AnswersMax {
			t.Fatalf("%d answers kept, room for %d", len(l.answers), cap(l.answers))
		}
	}
	all, multicast := len(l.sent), l.multicast()
	if len(multicast) > seconds/3+1 || len(multicast) < seconds/4 {
		t.Errorf("%d multicast advertisements in %d seconds", len(multicast), seconds)
	}
	if unicast := all - len(multicast); unicast > AnswersMax*(seconds+1) || unicast < AnswersMax*seconds/4 {
		t.Errorf("%d unicast advertisements in %d seconds", unicast, seconds)
	}
	checkLimits(t, l.sent)
}

// One host that asks all the time gets one answer of its own per window.
func TestSolicitationFloodFromOne(t *testing.T) {
	l := newLink(t, testConfig(), 1)
	l.run(time.Minute, 0)
	l.sent = nil
	for range 10_000 {
		l.Solicited(l.now, host(1))
		l.run(time.Millisecond, 0)
	}
	if len(l.sent) > 10+4 {
		t.Errorf("%d advertisements in 10 seconds", len(l.sent))
	}
	checkLimits(t, l.sent)
}

// D-335: final advertisements say that this is no router any more, three seconds
// apart, and then nothing is sent. Prefixes and DNS stay as they are.
func TestStop(t *testing.T) {
	c := testConfig()
	c.Routes = []Route{DefaultRoute(netip.MustParsePrefix("2001:db8::/48"))}
	c.Preference = High
	l := newLink(t, c, 1)
	l.run(time.Minute, 0)
	l.sent = nil
	l.Solicited(l.now, host(1))
	l.Stop(l.now)
	l.Stop(l.now)
	if l.Next() > l.now+MinDelayBetweenRAs || l.Stopped() {
		t.Errorf("next in %s, stopped %t", l.Next()-l.now, l.Stopped())
	}
	l.run(time.Second, 0) // the first is sent
	l.Solicited(l.now, host(2))
	l.Solicited(l.now, unspecified)
	l.run(24*time.Hour, 0)
	if len(l.sent) != FinalMax || !l.Stopped() || l.Next() != Never {
		t.Fatalf("sent %v, stopped %t, next %s", l.sent, l.Stopped(), l.Next())
	}
	checkLimits(t, l.sent)
	want := octets(t, "86000000 40 c0 0000 00000000 00000000 "+sllaOption+globalOption+
		"18 02 30 00 00000000 20010db800000000")
	for _, s := range l.sent {
		if got := encode(t, s.Message); !s.Final || s.To != allNodes || !slices.Equal(got, want) {
			t.Errorf("to %s, final %t: got %x, want %x", s.To, s.Final, got, want)
		}
	}

	l.sent = nil
	l.Start(l.now) // and back again
	l.run(time.Second, 0)
	if len(l.sent) != 1 || l.sent[0].Final || l.sent[0].Message.RouterLifetime == 0 || l.Stopped() {
		t.Errorf("after Start: %v", l.sent)
	}
}

// RFC 4861 section 6.2.5: who does not forward is no default router.
func TestNotForwarding(t *testing.T) {
	c := testConfig()
	c.Routes = []Route{DefaultRoute(netip.MustParsePrefix("2001:db8::/48"))}
	l := newLink(t, c, 1)
	l.SetForwarding(l.now, false)
	l.run(time.Second, 0)
	want := octets(t, "86000000 40 c0 0000 00000000 00000000 "+sllaOption+globalOption+"18 02 30 00 00000000 20010db800000000")
	if got := encode(t, l.sent[0].Message); !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	l.sent = nil
	l.SetForwarding(l.now, true)
	l.run(4*time.Second, 0)
	if len(l.sent) != 1 || l.sent[0].Message.RouterLifetime != PreferredLimit {
		t.Errorf("sent %v", l.sent)
	}
}

// The caller's slices are its own.
func TestConfigIsCopied(t *testing.T) {
	c := testConfig()
	l := newLink(t, c, 1)
	c.Prefixes[0].Prefix = ula
	if got := l.Remembered(l.now); len(got) != 1 || got[0].Prefix != global {
		t.Errorf("after New: advertised %v", got)
	}
	d := testConfig()
	d.MTU = 1500
	mustReconfigure(t, l, d)
	d.Prefixes[0].Prefix = ula
	l.run(time.Second, 0)
	if got := l.Remembered(l.now); len(got) != 1 || got[0].Prefix != global {
		t.Errorf("after Reconfigure: advertised %v", got)
	}
}

// The same seed gives the same messages at the same times.
func TestDeterministic(t *testing.T) {
	trace := func() string {
		l := newLink(t, testConfig(), 7)
		for i := range 100 {
			l.Solicited(l.now, host(i%20))
			l.run(time.Duration(i)*time.Second/10, 0)
		}
		var b strings.Builder
		for _, s := range l.sent {
			fmt.Fprintf(&b, "%s %s %x\n", s.at, s.To, encode(t, s.Message))
		}
		return b.String()
	}
	if trace() != trace() {
		t.Error("two runs differ")
	}
}

// Whatever happens, and however late the caller is: multicast advertisements are
// never closer than three seconds (D-333), unicast ones are limited, memory is
// bounded, and each solicitation has its answer in time (D-332).
func TestAnyHistory(t *testing.T) {
	quick, other := testConfig(), testConfig()
	quick.MinInterval, quick.MaxInterval = minIntervalLeast, maxIntervalLeast
	other.Prefixes = []Prefix{DefaultPrefix(ula)}
	configs := rapid.SampledFrom([]Config{testConfig(), quick, other})
	rapid.Check(t, func(t *rapid.T) {
		a, err := New(configs.Draw(t, "config"), nil, testRand(rapid.Uint64().Draw(t, "seed")), 0)
		if err != nil {
			t.Fatal(err)
		}
		l := &link{Advertiser: a}
		const lagMax = 300 * time.Millisecond
		type question struct {
			at time.Duration
			by Solicitation
		}
		var open []question
		steps := rapid.IntRange(1, 60).Draw(t, "steps")
		for range steps {
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0:
				if err := l.Reconfigure(l.now, configs.Draw(t, "config")); err != nil {
					t.Fatal(err)
				}
			case 1:
				l.SetForwarding(l.now, rapid.Bool().Draw(t, "forwarding"))
			case 2:
				l.Stop(l.now)
				open = nil
			case 3:
				l.Start(l.now)
				open = nil
			default:
				for range rapid.IntRange(1, 50).Draw(t, "solicitations") {
					s := unspecified
					if rapid.Bool().Draw(t, "from a host") {
						s = host(rapid.IntRange(1, 100).Draw(t, "host"))
					}
					l.Solicited(l.now, s)
					if !l.stopping {
						open = append(open, question{l.now, s})
					}
				}
			}
			from := len(l.sent)
			lag := time.Duration(rapid.Int64Range(0, int64(lagMax)).Draw(t, "lag"))
			pause := time.Duration(rapid.Int64Range(0, int64(4*time.Second)).Draw(t, "pause"))
			l.run(pause, lag)
			if len(l.answers) > AnswersMax {
				t.Fatalf("%d answers kept", len(l.answers))
			}
			open = slices.DeleteFunc(open, func(q question) bool {
				answered := l.now
				i := slices.IndexFunc(l.sent[from:], func(s sending) bool {
					return s.at >= q.at && (s.To == allNodes || s.To == q.by.Source)
				})
				if i >= 0 {
					answered = l.sent[from+i].at
				}
				if waited := answered - q.at; waited > minGap+MaxRADelay+lagMax {
					t.Fatalf("%s waits %s for an answer", q.by.Source, waited)
				}
				return i >= 0
			})
		}
		checkLimits(t, l.sent)
	})
}

// checkLimits: multicast 3 seconds apart, unicast AnswersMax per AnswerWindow.
func checkLimits(t interface{ Fatalf(string, ...any) }, sent []sending) {
	var multicast, unicast []time.Duration
	for _, s := range sent {
		if s.To == allNodes {
			multicast = append(multicast, s.at)
		} else {
			unicast = append(unicast, s.at)
		}
	}
	for i := 1; i < len(multicast); i++ {
		if gap := multicast[i] - multicast[i-1]; gap < MinDelayBetweenRAs {
			t.Fatalf("multicast advertisements %s apart", gap)
		}
	}
	for i := AnswersMax; i < len(unicast); i++ {
		if gap := unicast[i] - unicast[i-AnswersMax]; gap < AnswerWindow {
			t.Fatalf("%d unicast advertisements in %s", AnswersMax+1, gap)
		}
	}
}
