package wire

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestName(t *testing.T) {
	label := strings.Repeat("a", 63)
	long := strings.Repeat(label+".", 3) + strings.Repeat("b", 61) // 254 octets
	for _, c := range []struct {
		text, wire string
		complete   bool
	}{
		{"", "", false},
		{".", "\x00", true},
		{"host", "\x04host", false},
		{"host.example.", "\x04host\x07example\x00", true},
		{"b\u00fccher", "\x07b\xc3\xbccher", false},
		{label + ".", "\x3f" + label + "\x00", true},
		{long + ".", strings.Repeat("\x3f"+label, 3) + "\x3d" + strings.Repeat("b", 61) + "\x00", true},
	} {
		n, err := NewName(c.text)
		if err != nil || string(n) != c.wire || n.Complete() != c.complete || n.check() != nil {
			t.Errorf("%q is %q, %v", c.text, n, err)
		}
		if n.String() != strings.ReplaceAll(c.text, "\u00fc", `\195\188`) {
			t.Errorf("%q is shown as %q", c.text, n)
		}
	}
	for _, text := range []string{"..", ".host", "a..b", label + "a", long + "bb.", long + ".c."} {
		if n, err := NewName(text); err == nil || n != "" || !strings.Contains(err.Error(), "is not a domain name") {
			t.Errorf("%q is %q, %v", text, n, err)
		}
	}
	if got := Name("\x03a.b\x02\\\x09\x01 \x00").String(); got != `a\.b.\\\009.\032.` {
		t.Errorf("shown as %s", got)
	}
}

// What NewName makes is a name of the wire, and is shown as it was given.
func TestNameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`([a-z0-9-]{1,20}\.){0,12}([a-z0-9-]{1,20})?`).Draw(t, "text")
		n, err := NewName(text)
		if err != nil {
			if len(text)+1 < nameLenMax {
				t.Fatal(err)
			}
			return
		}
		if n.check() != nil || n.String() != text {
			t.Fatalf("%q is shown as %q, %v", text, n, n.check())
		}
	})
}

func TestOpt(t *testing.T) {
	var absent Opt[uint32]
	if v, ok := absent.Get(); v != 0 || ok || absent.Present() || absent.Or(7) != 7 || absent.String() != "absent" {
		t.Errorf("absent: %d %v %v", v, ok, absent)
	}
	zero := Some[uint32](0)
	if v, ok := zero.Get(); v != 0 || !ok || !zero.Present() || zero.Or(7) != 0 || zero.String() != "0" || zero == absent {
		t.Errorf("present: %d %v %v", v, ok, zero)
	}
}
