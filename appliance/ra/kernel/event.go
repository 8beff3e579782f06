package kernel

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/tandem6/tandem6/appliance/ra"
)

// Kind says what happened. Its Name is stable.
type Kind uint8

// The kinds of events, with the fields that they use.
const (
	Advertising   Kind = iota // Address: the interface begins to advertise
	Waiting                   // Text: why the interface cannot advertise now
	Ended                     // the interface advertises no more, as wanted
	Sent                      // Address: where to; Final
	Failed                    // Text: what was tried, and why it failed; tried again
	NotForwarding             // not a default router while the kernel does not forward
	Forwarding                // a router again
	Remember                  // Prefixes: to be stored for Options.Remembered of the next start
	OtherRouter               // Report: news of another router on the link
	kindCount
)

var kinds = [kindCount]struct {
	name  string
	level slog.Level
}{
	Advertising:   {"ra_advertising", slog.LevelInfo},
	Waiting:       {"ra_waiting", slog.LevelInfo},
	Ended:         {"ra_ended", slog.LevelInfo},
	Sent:          {"ra_sent", slog.LevelDebug},
	Failed:        {"ra_failed", slog.LevelError},
	NotForwarding: {"ra_not_forwarding", slog.LevelWarn},
	Forwarding:    {"ra_forwarding", slog.LevelInfo},
	Remember:      {"ra_remember", slog.LevelDebug},
	OtherRouter:   {"ra_other_router", slog.LevelInfo},
}

// Name is the kind's name in metrics and filters.
func (k Kind) Name() string { return kinds[k].name }

// Event is one thing that happened. Fields that a kind does not use are zero.
type Event struct {
	Kind      Kind
	Interface string // empty: concerns all of them
	Address   netip.Addr
	Final     bool
	Text      string
	Prefixes  []ra.AdvertisedPrefix
	Report    ra.Report
}

// Level is who wants to know: a router that disagrees with this one is worth a
// warning, its mere presence is not.
func (e Event) Level() slog.Level {
	if e.Kind == OtherRouter && len(e.Report.Differences) > 0 {
		return slog.LevelWarn
	}
	return kinds[e.Kind].level
}

// String is the event as a sentence for an operator.
func (e Event) String() string {
	switch e.Kind {
	case Advertising:
		return fmt.Sprintf("Sending router advertisements on %s from %s", e.Interface, e.Address)
	case Waiting:
		return fmt.Sprintf("No router advertisements on %s for now: %s", e.Interface, e.Text)
	case Ended:
		return fmt.Sprintf("Stopped sending router advertisements on %s", e.Interface)
	case Sent:
		if e.Final {
			return fmt.Sprintf("Sent a final router advertisement on %s to %s", e.Interface, e.Address)
		}
		return fmt.Sprintf("Sent a router advertisement on %s to %s", e.Interface, e.Address)
	case Failed:
		if e.Interface == "" {
			return "Router advertisements: " + e.Text
		}
		return fmt.Sprintf("Router advertisements on %s: %s", e.Interface, e.Text)
	case NotForwarding:
		return fmt.Sprintf("%s does not forward packets, so hosts are told not to use it as a router; set \"forwarding\" to true", e.Interface)
	case Forwarding:
		return fmt.Sprintf("%s forwards packets again, so hosts may use it as a router", e.Interface)
	case Remember:
		return fmt.Sprintf("The prefixes advertised on %s have changed, %d to be remembered", e.Interface, len(e.Prefixes))
	case OtherRouter:
		return e.Interface + ": " + reportSentence(e.Report)
	}
	panic(fmt.Sprintf("ra/kernel: event of unknown kind %d", e.Kind))
}

func reportSentence(r ra.Report) string {
	who := "router " + r.Router.String()
	switch {
	case len(r.Differences) > 0:
		list := make([]string, len(r.Differences))
		for i, d := range r.Differences {
			list[i] = d.String()
		}
		return who + " advertises something else than this box: " + strings.Join(list, "; ")
	case r.IsNew && r.RouterLifetime > 0:
		return fmt.Sprintf("%s is a default router too, for %d s; it agrees with this box", who, r.RouterLifetime/time.Second)
	case r.IsNew:
		return who + " advertises too, but not as a default router; it agrees with this box"
	}
	return who + " agrees with this box again"
}
