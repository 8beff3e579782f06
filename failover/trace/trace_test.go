package trace

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
)

// Every kind has a name for metrics and a sentence whose fields all exist.
func TestKinds(t *testing.T) {
	name := regexp.MustCompile(`^[a-z][a-z_]+$`)
	seen := map[string]bool{}
	for _, id := range IDs() {
		if !name.MatchString(id.Name()) || seen[id.Name()] {
			t.Errorf("event %d has the name %q", id, id.Name())
		}
		seen[id.Name()] = true
		if s := (Event{ID: id}).String(); strings.ContainsAny(s, "{}") {
			t.Errorf("event %d leaves a field open: %q", id, s)
		}
	}
	for r := range ReasonCount {
		if !name.MatchString(r.Name()) || seen[r.Name()] || r.String() == "" {
			t.Errorf("reason %d is %q: %q", r, r.Name(), r)
		}
		seen[r.Name()] = true
	}
}

// D-346: what a client sent reaches a sentence as hexadecimal only.
func TestSentenceIsSafe(t *testing.T) {
	e := Event{ID: LeaseAssigned, Client: "\x00\x03\n{link}\x1b[2J", Link: "lan", Lease: lease.Address(netip.MustParseAddr("2001:db8::1")), IAID: 7}
	want := "Leased 2001:db8::1 to 00:03:0a:7b:6c:69:6e:6b:7d:1b:5b:32:4a (IAID 7) on lan"
	if got := e.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
