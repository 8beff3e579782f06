package config

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/failover/lease"
)

// FuzzParse holds what every file does: it is a configuration or it has a problem,
// not both; problems are few and stand inside the file; and what is accepted is
// accepted by each component.
func FuzzParse(f *testing.F) {
	reference, err := os.ReadFile("reference.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(reference)
	f.Add(Init(prefix("fd12:3456:789a::/48"), "eth0"))
	for _, c := range bad {
		text, _ := unmark(c.text)
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before := bytes.Clone(text)
		c, problems := Parse("f", text)
		if !bytes.Equal(text, before) {
			t.Fatal("the file was changed")
		}
		if (c == nil) != (problems.Err() != nil) {
			t.Fatalf("configuration %v with problems %v", c, problems)
		}
		if len(problems) > 2*ProblemsMax+2 {
			t.Fatalf("%d problems", len(problems))
		}
		lines := bytes.Count(text, []byte("\n")) + 1
		for _, p := range problems {
			if p.Line > lines || p.Line > 0 && p.Column < 1 || p.Column > len(text)+1 || p.Found == "" {
				t.Fatalf("problem %+v in a file of %d lines", p, lines)
			}
		}
		if c == nil {
			return
		}
		if err := c.Network.Validate(); err != nil {
			t.Fatal(err)
		}
		now := lease.Clock{Wall: lease.FromUnix(1_800_000_000)}
		for i := range c.Advertisements {
			if err := c.Advertisements[i].At(now).Validate(); err != nil {
				t.Fatal(err)
			}
		}
		dhcp6.New(&c.Server, "\x00\x03\x00\x01\x02\x00\x00\x00\x00\x01", dhcp6.AddressKey{}, rand.New(rand.NewPCG(1, 2)))
		if d := Diff(c, c); d != "nothing" {
			t.Fatal(d)
		}
	})
}
