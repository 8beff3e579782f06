package qemu

import (
	"strings"
	"testing"
)

func TestConsoleKeepsItsEnd(t *testing.T) {
	var c console
	c.Write([]byte("first\n"))
	_, mark := c.since(0)
	c.Write([]byte("second\n"))
	if text, end := c.since(mark); text != "second\n" || end != len("first\nsecond\n") {
		t.Errorf("since the mark: %q up to %d", text, end)
	}
	block := strings.Repeat("x", consoleMax/4)
	for range 5 {
		c.Write([]byte(block))
	}
	c.Write([]byte("last\n"))
	text, end := c.since(mark)
	if len(text) != consoleMax || !strings.HasSuffix(text, "last\n") {
		t.Errorf("kept %d octets that end in %q; want the last %d", len(text), text[len(text)-5:], consoleMax)
	}
	if want := len("first\nsecond\nlast\n") + 5*len(block); end != want {
		t.Errorf("the end is at %d, want %d", end, want)
	}
	if text, _ := c.since(end); text != "" {
		t.Errorf("after the end there is %q", text)
	}
}
