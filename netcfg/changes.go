package netcfg

import (
	"fmt"
	"slices"
	"strings"
)

// Changes is the outcome of a plan.
type Changes struct {
	// Ops in the order in which they must be applied. None means that all that can be right is right.
	Ops []Op
	// Conflicts need a person: they stay until the configuration or what stands in the way is changed.
	Conflicts []Conflict
	// ConflictsOmitted counts the conflicts behind the first MaxConflicts.
	ConflictsOmitted int
	// Pending need an event: plan again when the link changes. Sorted by interface.
	Pending []Pending
}

// Conflict is something wanted that is not done, and why.
type Conflict struct {
	Wanted string
	Reason string
}

func (c Conflict) String() string { return c.Wanted + ": " + c.Reason }

// Pending is an interface for which something waits.
type Pending struct {
	Interface string
	Down      bool // it exists but is down, and is not ours to set up; otherwise it does not exist
	Addresses int
	Routes    int
}

func (p Pending) String() string {
	state := "does not exist yet"
	if p.Down {
		state = "is down"
	}
	return fmt.Sprintf("interface %s %s: %s and %s wait for it",
		p.Interface, state, count(p.Addresses, "address", "addresses"), count(p.Routes, "route", "routes"))
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// add appends ops.
func (c *Changes) add(ops ...Op) { c.Ops = append(c.Ops, ops...) }

// conflict words a conflict unless there are too many already.
func (c *Changes) conflict(wanted fmt.Stringer, reason string, args ...any) {
	if len(c.Conflicts) >= MaxConflicts {
		c.ConflictsOmitted++
		return
	}
	c.Conflicts = append(c.Conflicts, Conflict{Wanted: wanted.String(), Reason: fmt.Sprintf(reason, args...)})
}

// pending returns the entry for the named interface.
func (c *Changes) pending(name string, down bool) *Pending {
	i, found := slices.BinarySearchFunc(c.Pending, name, func(p Pending, name string) int {
		return strings.Compare(p.Interface, name)
	})
	if !found {
		c.Pending = slices.Insert(c.Pending, i, Pending{Interface: name, Down: down})
	}
	return &c.Pending[i]
}
