package sim

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/tandem6/tandem6/failover/lease"
)

// differs compares two archives: what the disk gave back with what the disk had
// said is durable. It names the first difference.
func (a *archive) differs(found *archive) string {
	for _, p := range sorted(a.bindings) {
		switch b := found.bindings[p]; {
		case b == nil:
			return fmt.Sprintf("%s is missing", show(p))
		case *b != *a.bindings[p]:
			return fmt.Sprintf("%s was %+v and is %+v", show(p), *a.bindings[p], *b)
		}
	}
	for _, p := range sorted(found.bindings) {
		if a.bindings[p] == nil {
			return fmt.Sprintf("%s was never stored", show(p))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.values)) {
		if v, ok := found.values[name]; !ok || !bytes.Equal(v, a.values[name]) {
			return fmt.Sprintf("value %q was %x and is %x", name, a.values[name], v)
		}
	}
	if len(found.values) != len(a.values) {
		return "there are values that were never stored"
	}
	return ""
}

// checkRestart watches that a process finds what its predecessor stored, neither
// more nor less, after the way through the encoding of records; and that the
// engine knows just that, every ACTIVE lease at least as long as its record
// promises. What it changes by starting is in the batch that it wants stored.
func (n *node) checkRestart(found *archive) {
	if d := n.kept.differs(found); d != "" {
		n.violate("restart", "%s finds another disk than it left: %s", n.name, d)
	}
	changed := map[netip.Prefix]bool{}
	for _, c := range n.pipeline.Open().Commit.Changes {
		changed[c.Prefix] = true
	}
	known := map[netip.Prefix]*lease.Binding{}
	for b := range n.engine.Table().From(netip.Prefix{}) {
		known[b.Prefix] = b
	}
	for _, p := range sorted(known) {
		if stored := n.kept.bindings[p]; changed[p] {
		} else if stored == nil {
			n.violate("restart", "%s knows %s, which is not on its disk", n.name, show(p))
		} else if d := forgotten(stored, known[p]); d != "" {
			n.violate("restart", "%s knows %s otherwise than its disk: %s", n.name, show(p), d)
		}
	}
	for _, p := range sorted(n.kept.bindings) {
		if known[p] == nil && !changed[p] {
			n.violate("restart", "%s does not know %s, which is on its disk", n.name, show(p))
		}
	}
}

// forgotten compares a record with what the engine makes of it.
func forgotten(stored, known *lease.Binding) string {
	want := *stored
	if want.Status == lease.Active {
		want.Expires = want.HeldUntil
	}
	if want != *known {
		return fmt.Sprintf("%+v instead of %+v", *known, want)
	}
	return ""
}

func sorted[V any](m map[netip.Prefix]V) []netip.Prefix {
	return slices.SortedFunc(maps.Keys(m), comparePrefixes)
}
