package web

import (
	"fmt"
	"strings"
)

// Summary is the state of the server in one to three sentences: whether it
// serves, whom, and what is in the way.
func (s *Status) Summary() string {
	var serving, idle []string
	for _, l := range s.Links {
		if l.Serving {
			serving = append(serving, l.Name)
			continue
		}
		why := l.Message
		if why == "" {
			why = string(l.State)
		}
		idle = append(idle, fmt.Sprintf("%s (%s)", l.Name, why))
	}
	var b strings.Builder
	if !s.Clock.Trusted {
		b.WriteString("The time is not known")
		if s.Clock.Reason != "" {
			b.WriteString(": " + s.Clock.Reason)
		}
		b.WriteString(". ")
	}
	switch {
	case len(s.Links) == 0:
		b.WriteString("Serving nobody: no link is configured.")
	case len(serving) == 0:
		b.WriteString("Serving nobody.")
	default:
		fmt.Fprintf(&b, "Serving %s: %s.", strings.Join(serving, ", "), plural(s.Leases["ACTIVE"], "active lease"))
	}
	if len(idle) > 0 {
		b.WriteString(" Not served: " + strings.Join(idle, ", ") + ".")
	}
	return b.String()
}

func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
