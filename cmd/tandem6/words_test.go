package main

import (
	"bufio"
	"strings"
	"testing"

	"github.com/tandem6/tandem6/web"
)

func TestWords(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{duration(0), "0 s"},
		{duration(59), "59 s"},
		{duration(60), "1 min"},
		{duration(3599), "59 min"},
		{duration(3600), "1 h"},
		{duration(5400), "1 h 30 min"},
		{duration(86399), "23 h 59 min"},
		{duration(86400), "1 day"},
		{duration(100000), "1 day 3 h"},
		{duration(2 * 86400), "2 days"},
		{duration(400*86400 + 3600), "400 days 1 h"},
		{remaining(0), "now"},
		{remaining(2520), "in 42 min"},
		{remaining(web.Infinity), "never"},
		{lifetime(web.Infinity), "for ever"},
		{lifetime(2700), "45 min"},
		{count(0), "0"},
		{count(999), "999"},
		{count(1000), "1,000"},
		{count(1234567), "1,234,567"},
		{count(-1234), "-1,234"},
		{count(-123), "-123"},
		{size("61440"), "61,440"},
		{size("1099511627775"), "1,099,511,627,775"},
		{size("18446744073709551616"), "2^64"},
		{size("18446744073709551615"), "~2^63"},
		{size("x\x1b[2J"), "x?[2J"},
		{share(0, "100"), "0%"},
		{share(1, "1000"), "<1%"},
		{share(999, "1000"), "99%"},
		{share(1000, "1000"), "full"},
		{share(1001, "1000"), "full"},
		{share(1, "18446744073709551616"), "<1%"},
		{share(0, "0"), "-"},
		{share(0, "many"), "-"},
		{octets(1023), "1023 B"},
		{octets(1024), "1.0 KiB"},
		{octets(5 << 20), "5.0 MiB"},
		{octets(1<<64 - 1), "16.0 EiB"},
		{microseconds(999), "999 us"},
		{microseconds(3140), "3.1 ms"},
		{printable("nas\x1b]0;pwned\a\r\n\u202e"), "nas?]0;pwned????"},
		{printable("Küche"), "Küche"},
		{client(&web.Lease{Client: "00:03:00:01:02:00:00:00:00:02"}), "00030001020000000002"},
		{client(&web.Lease{Client: "00:03", Hostname: "nas"}), "nas"},
		{client(&web.Lease{Client: strings.Repeat("00:", 20) + "02:00:00:ab:cd:ef"}), "..00000000000000020000abcdef"},
		{client(&web.Lease{Hostname: strings.Repeat("ä", 40)}), ".." + strings.Repeat("ä", 26)},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"status", "status", 0}, {"staus", "status", 1}, {"sttaus", "status", 2}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
	if distance(strings.Repeat("status", 1000), "status") < 32 {
		t.Error("a word of 6000 letters is near to status")
	}
}

// Columns grow with what comes later, and wide numbers stand right.
func TestTable(t *testing.T) {
	var b strings.Builder
	w := bufio.NewWriter(&b)
	tab := newTable(w, "NAME", ">N")
	if err := tab.flush(); err != nil || b.Len() != 0 {
		t.Errorf("an empty table prints %q, %v", b.String(), err)
	}
	for _, r := range [][]string{{"a", "1"}, {"bcdef", "1,000"}, {"", "\x1b"}} {
		if err := tab.row(r...); err != nil {
			t.Fatal(err)
		}
	}
	if err := tab.flush(); err != nil {
		t.Fatal(err)
	}
	tab.row("ghijklmn", "2")
	if err := tab.flush(); err != nil {
		t.Fatal(err)
	}
	const want = "NAME       N\na          1\nbcdef  1,000\n-          ?\nghijklmn      2\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
