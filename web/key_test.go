package web

import (
	"strings"
	"testing"
)

const goodKey = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

func TestParseAddressKey(t *testing.T) {
	for _, text := range []string{goodKey, strings.ToUpper(goodKey), "\t" + goodKey + " \r\n"} {
		if got, err := ParseAddressKey(text); got != goodKey || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, c := range []struct{ text, want string }{
		{"", "has 0 hexadecimal digits, it needs 64"},
		{goodKey[2:], "has 62"},
		{goodKey + "20", "has 66"},
		{strings.Repeat("ab", 1<<20), "has 2097152"},
		{goodKey[:63] + "g", "something else than a hexadecimal digit at place 64"},
		{"0x" + goodKey[2:], "at place 2"},
		{goodKey[:2] + ":" + goodKey[2:], "at place 3"},
		{goodKey[:32] + "\x00" + goodKey[33:], "at place 33"},
		{strings.Repeat("0", 64), "all zeros"},
	} {
		_, err := ParseAddressKey(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80q: %v, want %s", c.text, err, c.want)
			continue
		}
		// Errors are logged and mailed about; a mistyped key is nearly the key.
		if strings.Contains(err.Error(), "0a0b") || strings.Contains(asError(err).Hint, "0a0b") {
			t.Errorf("the error repeats the key: %v", err)
		}
	}
}
