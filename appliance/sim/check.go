package sim

import (
	"fmt"
	"time"
)

// A Violation is a promise that was broken. The first ends a simulation.
type Violation struct {
	Check string // which checker says so
	At    time.Duration
	Text  string // who promised what, and what was found
}

func (v *Violation) Error() string {
	return fmt.Sprintf("%s at %s: %s", v.Check, clockTime(v.At), v.Text)
}

// violate records the first violation.
func (w *World) violate(check, format string, args ...any) {
	if w.violation != nil {
		return
	}
	w.violation = &Violation{check, w.now, fmt.Sprintf(format, args...)}
	w.line(w.now, "!!", "VIOLATION %v", w.violation)
}

// The checkers, each with the promise that it watches:
//
//	unique     1  no lease is valid at two clients at one true time
//	durable    2  every promise is on the disk of its sender when it leaves
//	bounded    3  what a client holds is at most MCLT beyond what the partner knows
//	lawful     4  states change by the RFC's table, and are stored before they are announced
//	restart    5  after a restart the engine knows what is on the disk
//	replay     6  the same seed gives the same history
//	live       7  when the faults are over, all is well in bounded time
//	stable     8  who asks in time keeps what he has
//	entitled   -  a server gives only what its state and the pools allow
//	wire       -  every message is well-formed
//
// The last two are promises that the RFC makes in passing; to break them leads to
// breaking one of the eight, with luck.

// wellFormed watches that clients get nothing that they cannot read.
func (w *World) wellFormed(c *client, data []byte, err error) {
	if err != nil {
		w.violate("wire", "%s got a message that is not well-formed (%v): %x", c.who, err, data)
	}
}
