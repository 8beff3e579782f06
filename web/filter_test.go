package web

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var nas = Lease{
	Prefix: "2001:db8:80aa:bb00::/56", Type: "IA_PD", Link: "Upstairs", Client: "00:01:00:01:2c:3d:4e:5f:02:00:00:ab:cd:ef",
	Hostname: "nas-1", Status: "ACTIVE", Via: "fe80::ab:cdff:fe12:3456", Route: "installed",
}

var nasFacts = Facts{
	Prefix: netip.MustParsePrefix(nas.Prefix), Client: "\x00\x01\x00\x01\x2c\x3d\x4e\x5f\x02\x00\x00\xab\xcd\xef",
	Hostname: nas.Hostname, Link: nas.Link, Status: nas.Status, Via: netip.MustParseAddr(nas.Via),
}

func TestFilter(t *testing.T) {
	for _, c := range []struct {
		text string
		want bool
	}{
		{"", true},
		{"  \t ", true},
		{"2001:db8:80aa", true},
		{"2001:DB8:80AA", true},
		{"bb00::/56", true},
		{" /56 ", true},
		{"/57", false},
		{"2001:0db8:80aa:bb00:0:0:0:0/56", true}, // another spelling of the prefix
		{"2001:db8:80aa:bb00::5", true},          // an address inside it
		{"2001:db8:80aa:bbff:0::ffff", true},
		{"2001:db8:80aa:bc00::", false},
		{"2001:0db8:80aa:bb00::/55", false},
		{"02:00:00:ab:cd:ef", true},
		{"02-00-00-AB-CD-EF", true},
		{"020000abcdef", true},
		{"20000ABCDE", true},
		{"20:00:0a:bc:de", false}, // the octets are others
		{"000100012c3d4e5f020000abcdef", true},
		{"000100012c3d4e5f020000abcdef0", false},
		{"NAS", true},
		{"nas-1", true},
		{"nas-2", false},
		{"upstairs", true},
		{"active", true},
		{"fe80::ab", true},
		{"fe80:0::ab:cdff:fe12:3456", true},
		{"installed", false}, // the state of the route is no part of the search
		{"IA_PD", false},
		{"\xff\xfe", false},
	} {
		f, err := ParseFilter(c.text)
		if err != nil {
			t.Fatalf("ParseFilter(%q): %v", c.text, err)
		}
		if got := f.Match(&nas); got != c.want {
			t.Errorf("%q: match %v, want %v", c.text, got, c.want)
		}
		if got := f.MatchFacts(&nasFacts); got != c.want {
			t.Errorf("%q: match of the facts %v, want %v", c.text, got, c.want)
		}
	}
}

func TestFilterOfAddress(t *testing.T) {
	l := Lease{Prefix: "2001:db8::1", Client: "00:03:00:01:02:00:00:00:00:01"}
	for text, want := range map[string]bool{"2001:db8:0:0::1": true, "2001:db8::1/128": true, "2001:db8::2": false, "::ffff:1.2.3.4": false} {
		f, err := ParseFilter(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Match(&l); got != want {
			t.Errorf("%q: match %v, want %v", text, got, want)
		}
	}
}

func TestFilterTooLong(t *testing.T) {
	if _, err := ParseFilter(strings.Repeat("a", FilterLenMax)); err != nil {
		t.Errorf("the longest filter: %v", err)
	}
	if _, err := ParseFilter(strings.Repeat("a", FilterLenMax+1)); err == nil {
		t.Error("a filter that is too long is accepted")
	}
}

// A search walks up to a million leases: garbage would cost more than the search.
func TestFilterDoesNotAllocate(t *testing.T) {
	f, err := ParseFilter("2001:db8:ffff::1")
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { f.MatchFacts(&nasFacts) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	longest := nasFacts
	longest.Client = strings.Repeat("\xff", 130)
	longest.Prefix, longest.Via = netip.MustParsePrefix("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127"), netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
	if n := testing.AllocsPerRun(100, func() { f.MatchFacts(&longest) }); n != 0 {
		t.Errorf("%v allocations for the longest facts", n)
	}
}

// FuzzFacts: the facts of a lease match exactly when what is shown of it does.
func FuzzFacts(f *testing.F) {
	a, via := nasFacts.Prefix.Addr().As16(), nasFacts.Via.As16()
	for _, s := range []string{"", "ab", "02-00", "0001000", "2001:db8::/32", "2001:db8:80aa:bb00::1", "::", "NAS", "active", "fe80:0::ab:cdff:fe12:3456"} {
		f.Add(s, a[:], uint8(56), []byte(nasFacts.Client), nas.Hostname, nas.Status, via[:])
		f.Add(s, a[:], uint8(128), []byte{}, "", "", []byte{})
	}
	f.Fuzz(func(t *testing.T, text string, address []byte, bits uint8, client []byte, name, status string, via []byte) {
		filter, err := ParseFilter(text)
		addr, ok := netip.AddrFromSlice(address)
		if err != nil || !ok || !addr.Is6() || addr.Is4In6() || bits > 128 {
			return
		}
		prefix, err := addr.Prefix(int(bits))
		if err != nil {
			t.Fatal(err)
		}
		facts := Facts{Prefix: prefix, Client: string(client), Hostname: name, Status: status}
		l := Lease{Prefix: leaseText(prefix), Hostname: name, Status: status}
		var octets []string
		for _, o := range client {
			octets = append(octets, fmt.Sprintf("%02x", o))
		}
		l.Client = strings.Join(octets, ":")
		if next, ok := netip.AddrFromSlice(via); ok && next.Is6() {
			facts.Via, l.Via = next, next.String()
		}
		if got, want := filter.MatchFacts(&facts), filter.Match(&l); got != want {
			t.Errorf("%q: facts match %v, %+v matches %v", text, got, l, want)
		}
	})
}

func BenchmarkFilter(b *testing.B) {
	for _, text := range []string{"020000abcdee", "2001:db8:ffff::1", "printer"} {
		b.Run(text, func(b *testing.B) {
			f, err := ParseFilter(text)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				f.MatchFacts(&nasFacts)
			}
		})
	}
}

// FuzzFilter compares with the plain words of the definition.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"", "ab", "02-00", "2001:db8::/32", "2001:db8:80aa:bb00::1", "ÄÖ", "::", "nas"} {
		f.Add(s, "2001:db8:80aa:bb00::/56", nas.Client, "nas", "ACTIVE")
	}
	f.Fuzz(func(t *testing.T, text, prefix, client, name, status string) {
		filter, err := ParseFilter(text)
		if err != nil {
			if len(text) <= FilterLenMax {
				t.Fatalf("%q refused: %v", text, err)
			}
			return
		}
		l := Lease{Prefix: prefix, Client: client, Hostname: name, Status: status}
		got := filter.Match(&l)
		want := lowerASCII(strings.TrimSpace(text))
		part := false
		for _, s := range []string{prefix, client, name, status} {
			part = part || strings.Contains(lowerASCII(s), want)
		}
		digits := strings.Trim(want, "0123456789abcdef") == "" &&
			strings.Contains(strings.ReplaceAll(lowerASCII(client), ":", ""), want)
		if (part || digits) && !got {
			t.Errorf("%q does not find %+v", text, l)
		}
		_, noPrefix := parsePrefix(strings.TrimSpace(text))
		if got && !part && !digits && noPrefix != nil && !strings.Contains(text, "-") {
			t.Errorf("%q finds %+v", text, l)
		}
	})
}

func TestSummary(t *testing.T) {
	lan := Link{Name: "lan", State: LinkUp, Serving: true}
	guest := Link{Name: "guest", State: LinkMissing}
	dmz := Link{Name: "dmz", State: LinkUp, Message: "it has no link-local address"}
	trusted := Clock{Now: time.Unix(1e9, 0), Trusted: true}
	for _, c := range []struct {
		s    Status
		want string
	}{
		{Status{Clock: trusted}, "Serving nobody: no link is configured."},
		{Status{Clock: trusted, Links: []Link{lan}, Leases: map[string]int{"ACTIVE": 1, "EXPIRED": 5}}, "Serving lan: 1 active lease."},
		{Status{Clock: trusted, Links: []Link{lan, guest, dmz}, Leases: map[string]int{"ACTIVE": 312}},
			"Serving lan: 312 active leases. Not served: guest (missing), dmz (it has no link-local address)."},
		{Status{Clock: trusted, Links: []Link{guest}}, "Serving nobody. Not served: guest (missing)."},
		{Status{Clock: Clock{Reason: "it reads 1970"}, Links: []Link{guest}},
			"The time is not known: it reads 1970. Serving nobody. Not served: guest (missing)."},
	} {
		if got := c.s.Summary(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
