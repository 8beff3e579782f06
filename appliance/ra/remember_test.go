package ra

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// withPrefixes is testConfig with other prefixes, L and A set.
func withPrefixes(list ...netip.Prefix) Config {
	c := testConfig()
	c.Prefixes = nil
	for _, p := range list {
		c.Prefixes = append(c.Prefixes, DefaultPrefix(p))
	}
	return c
}

// gone are the prefixes that the last message withdraws, with their flags, sorted
// because they take turns in being first.
func gone(t *testing.T, l *link) string {
	t.Helper()
	var list []string
	b := encode(t, l.sent[len(l.sent)-1].Message)
	err := eachOption(b[advertisementSizeMin:], func(kind byte, o []byte) {
		if kind == optionPrefix && slices.Equal(o[4:12], make([]byte, 8)) {
			list = append(list, fmt.Sprintf("%s %02x", netip.AddrFrom16([16]byte(o[16:])), o[3]))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

var (
	prefixA = netip.MustParsePrefix("2001:db8:0:a::/64")
	prefixB = netip.MustParsePrefix("2001:db8:0:b::/64")
	prefixC = netip.MustParsePrefix("2001:db8:0:c::/64")
)

// D-330: a prefix that went away is advertised with 0 and 0, L and A unchanged,
// for the valid lifetime last advertised, counted from the change.
func TestPrefixWentAway(t *testing.T) {
	c := withPrefixes(prefixA, prefixB)
	c.Prefixes[0].Autonomous, c.Prefixes[1].OnLink = false, false
	c.Prefixes[1].Valid = 7200 * time.Second
	l := newLink(t, c, 1)
	l.run(time.Hour, 0)
	if got := gone(t, l); got != "" {
		t.Fatalf("withdrawn too early: %s", got)
	}

	changed := l.now
	mustReconfigure(t, l, withPrefixes(prefixC))
	l.sent = nil
	l.run(time.Second, 0)
	if got, want := gone(t, l), "2001:db8:0:a:: 80, 2001:db8:0:b:: 40"; got != want {
		t.Fatalf("after the change: withdrawn %q, want %q", got, want)
	}
	for l.now < changed+3*time.Hour {
		l.run(l.Next()-l.now, 0)
		want := ""
		if l.now < changed+7200*time.Second {
			want = "2001:db8:0:b:: 40"
		}
		if l.now < changed+5400*time.Second {
			want = "2001:db8:0:a:: 80, " + want
		}
		if got := gone(t, l); got != want {
			t.Fatalf("%s after the change: withdrawn %q, want %q", l.now-changed, got, want)
		}
	}
}

// A prefix that comes back is served again; one with other flags is withdrawn
// with those that were last sent.
func TestPrefixComesBack(t *testing.T) {
	l := newLink(t, withPrefixes(prefixA), 1)
	l.run(time.Second, 0)
	mustReconfigure(t, l, withPrefixes(prefixB))
	l.run(time.Minute, 0)
	back := withPrefixes(prefixA)
	back.Prefixes[0].Autonomous = false
	mustReconfigure(t, l, back)
	l.run(time.Minute, 0)
	if got, want := gone(t, l), "2001:db8:0:b:: c0"; got != want {
		t.Errorf("withdrawn %q, want %q", got, want)
	}
	mustReconfigure(t, l, withPrefixes())
	l.run(5*time.Second, 0)
	if got, want := gone(t, l), "2001:db8:0:a:: 80, 2001:db8:0:b:: c0"; got != want {
		t.Errorf("withdrawn %q, want %q", got, want)
	}
}

// Lowering the lifetimes before the prefix goes does not shorten the withdrawal:
// some host may have missed the lower ones.
func TestPrefixFadesOut(t *testing.T) {
	l := newLink(t, withPrefixes(prefixA), 1)
	l.run(time.Hour, 0)
	faded := withPrefixes(prefixA)
	faded.Prefixes[0].Preferred, faded.Prefixes[0].Valid = 0, 600*time.Second
	mustReconfigure(t, l, faded)
	l.run(time.Minute, 0)
	mustReconfigure(t, l, withPrefixes(prefixB))
	l.run(4000*time.Second, 0)
	if got, want := gone(t, l), "2001:db8:0:a:: c0"; got != want {
		t.Errorf("withdrawn %q, want %q", got, want)
	}
}

// What was never sent needs no withdrawal.
func TestPrefixNeverSent(t *testing.T) {
	l := newLink(t, withPrefixes(prefixA), 1)
	mustReconfigure(t, l, withPrefixes(prefixB))
	l.run(time.Second, 0)
	if got := gone(t, l); got != "" {
		t.Errorf("withdrawn %q", got)
	}
}

// D-331: the same after a reboot. What is to be remembered is complete before the
// first message with it leaves, so that it can be stored first.
func TestPrefixRememberedOverReboot(t *testing.T) {
	l := newLink(t, withPrefixes(prefixA), 1)
	l.run(time.Second, 0)
	mustReconfigure(t, l, withPrefixes(prefixB))
	stored := l.Remembered(l.now)
	want := []AdvertisedPrefix{
		{prefixA, true, true, 5400 * time.Second},
		{prefixB, true, true, 5400 * time.Second},
	}
	if !slices.Equal(stored, want) {
		t.Fatalf("to be stored: %v, want %v", stored, want)
	}

	const start = 5 * time.Second // the new process counts its own time
	a, err := New(withPrefixes(prefixC), stored, testRand(2), start)
	if err != nil {
		t.Fatal(err)
	}
	l = &link{Advertiser: a, now: start}
	l.run(5300*time.Second, 0)
	if got, want := gone(t, l), "2001:db8:0:a:: c0, 2001:db8:0:b:: c0"; got != want {
		t.Errorf("withdrawn %q, want %q", got, want)
	}
	if got := l.Remembered(l.now); len(got) != 3 || got[1].Remaining != 100*time.Second {
		t.Errorf("remembered %v", got)
	}
	l.run(5300*time.Second, 0)
	if got := gone(t, l); got != "" {
		t.Errorf("withdrawn for too long: %q", got)
	}
	later := l.now + 2*time.Hour // nothing was sent meanwhile
	mustReconfigure(t, l, withPrefixes(prefixA))
	if got := l.Remembered(later); len(got) != 1 || got[0].Prefix != prefixA {
		t.Errorf("remembered %v", got)
	}
	mustReconfigure(t, l, withPrefixes(prefixC))
	if got := l.Remembered(l.now); len(got) != 1 || got[0].Prefix != prefixC {
		t.Errorf("remembered %v", got)
	}
}

// A damaged memory is refused, not sent to hosts.
func TestNewRefusesMemory(t *testing.T) {
	for _, p := range []AdvertisedPrefix{
		{},
		{Prefix: netip.MustParsePrefix("fe80::/64")},
		{Prefix: netip.MustParsePrefix("2001:db8::1/64")},
		{Prefix: prefixA, Remaining: -1},
		{Prefix: prefixA, Remaining: Infinity + 1},
	} {
		if _, err := New(testConfig(), []AdvertisedPrefix{p}, testRand(1), 0); err == nil || !strings.Contains(err.Error(), "advertised prefix") {
			t.Errorf("%v: got %v", p, err)
		}
	}
}

// Routes, DNS servers and search domains that went away are withdrawn as well
// (RFC 4191 section 2.3, RFC 8106 sections 5.1 and 5.2: lifetime 0).
func TestRoutesAndDNSWentAway(t *testing.T) {
	old, fresh := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	c := testConfig()
	c.Routes = []Route{DefaultRoute(prefixA)}
	c.DNSServers, c.SearchDomains = []netip.Addr{old, fresh}, []string{"old.example", "fresh.example"}
	l := newLink(t, c, 1)
	l.run(time.Second, 0)
	c.Routes = []Route{DefaultRoute(prefixB)}
	c.DNSServers, c.SearchDomains = []netip.Addr{fresh}, []string{"fresh.example"}
	mustReconfigure(t, l, c)
	l.run(time.Minute, 0)
	want := octets(t, "86000000 40 c0 0a8c 00000000 00000000 "+sllaOption+globalOption+
		"18 02 40 00 00001518 20010db80000000b"+
		"19 03 0000 00001518 20010db8000000000000000000000002"+
		`1f 03 0000 00001518 05 "fresh" 07 "example" 00 00`+
		"18 02 40 00 00000000 20010db80000000a"+
		"19 03 0000 00000000 20010db8000000000000000000000001"+
		`1f 03 0000 00000000 03 "old" 07 "example" 00 000000`)
	if got := encode(t, l.sent[len(l.sent)-1].Message); !slices.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	l.run(5400*time.Second+DefaultMaxInterval, 0)
	if o := l.known.withdrawn(l.config); len(o.Routes)+len(o.DNSServers)+len(o.SearchDomains) != 0 {
		t.Errorf("still withdrawn: %v", o)
	}
}

// A configuration that changes all the time is remembered within limits, and each
// withdrawn prefix has its turn although not all fit into one message.
func TestManyPrefixesWentAway(t *testing.T) {
	l := newLink(t, withPrefixes(prefixA), 1)
	numbered := func(i int) netip.Prefix {
		return netip.MustParsePrefix(fmt.Sprintf("2001:db8:1:%x::/64", i))
	}
	var kept []netip.Prefix
	for i := range 10 {
		kept = append(kept, numbered(1000+i))
	}
	for i := range 100 {
		c := withPrefixes(append(slices.Clone(kept), numbered(i))...)
		c.CaptivePortal = "https://portal.example/" + strings.Repeat("a", 200)
		c.MinInterval, c.MaxInterval = minIntervalLeast, maxIntervalLeast
		mustReconfigure(t, l, c)
		l.run(4*time.Second, 0)
		if n := len(l.known.prefixes); n > rememberedMax {
			t.Fatalf("%d prefixes remembered", n)
		}
	}
	if n := len(strings.Split(gone(t, l), ", ")); n >= rememberedMax-11 {
		t.Fatalf("%d prefixes withdrawn in one message", n)
	}
	seen := map[string]bool{}
	for range rememberedMax {
		l.run(l.Next()-l.now, 0)
		for _, p := range strings.Split(gone(t, l), ", ") {
			seen[p] = true
		}
	}
	for i := 100 - (rememberedMax - 10); i < 99; i++ { // the youngest; hosts forget the others first
		if !seen[numbered(i).Addr().String()+" c0"] {
			t.Errorf("%s is never withdrawn", numbered(i))
		}
	}
}
