// Package kernel sends the router advertisements that package ra decides on. It
// holds one ICMPv6 socket per advertising interface, through package mdlayher/ndp,
// and opens it anew when the link or its link-local address comes back.
//
// Goroutines: the one that calls Run owns everything and is the only one that
// sends; one per open socket reads and checks messages; one waits for news of
// links from netlink. Readers hand over through a queue per interface that drops
// its oldest message, everything else is a note that something has to be looked
// at. So neither a flood nor a slow owner can block or fill anything.
//
// Every socket and file is opened by the goroutine that calls Run: a caller that
// has locked itself to a thread in another network namespace serves that one.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tandem6/tandem6/appliance/ra"
)

const (
	// interfacesMax bounds sockets and goroutines; a box has a handful of ports and
	// some VLANs.
	interfacesMax = 256
	// nameSizeMax is IFNAMSIZ without the final zero.
	nameSizeMax = 15
)

// Options are what a Router starts with.
type Options struct {
	// Interfaces advertise; all others stay silent (RFC 4861 section 6.2.1, D-312).
	Interfaces map[string]ra.Config
	// Remembered is, for each interface, the list of the last Remember event before
	// the restart (D-331).
	Remembered map[string][]ra.AdvertisedPrefix
	// Start is the origin of the monotonic times in every ra.Config. Zero: now.
	Start time.Time
	// Rand is used by Run only.
	Rand *rand.Rand
	// Hook is called with each event by the goroutine that runs Run. It must
	// return soon and must not call Run. A Remember event comes before the first
	// advertisement that it is about: a hook that stores it makes it durable before
	// it is visible. Nil: none.
	Hook func(Event)
}

// Router sends the advertisements of all interfaces.
type Router struct {
	options Options
	running atomic.Bool
	updates chan map[string]ra.Config // the newest only
	views   atomic.Pointer[[]liveView]
}

// New checks the options and returns a Router; nothing is sent before Run. The
// error names the interface and what is wrong with it.
func New(o Options) (*Router, error) {
	if o.Rand == nil {
		return nil, errors.New("router advertisements: no random generator given")
	}
	if err := validate(o.Interfaces); err != nil {
		return nil, err
	}
	for name, list := range o.Remembered {
		for _, p := range list {
			if err := p.Validate(); err != nil {
				return nil, fmt.Errorf("router advertisements on %s: %w", name, err)
			}
		}
	}
	if o.Start.IsZero() {
		o.Start = time.Now()
	}
	if o.Hook == nil {
		o.Hook = func(Event) {}
	}
	r := &Router{options: o, updates: make(chan map[string]ra.Config, 1)}
	r.views.Store(new([]liveView))
	r.updates <- maps.Clone(o.Interfaces)
	return r, nil
}

// Update replaces the configuration of all interfaces, also before and during
// Run. Interfaces that are not in it any more send their final advertisements.
// An error changes nothing.
func (r *Router) Update(interfaces map[string]ra.Config) error {
	if err := validate(interfaces); err != nil {
		return err
	}
	interfaces = maps.Clone(interfaces)
	for {
		select {
		case r.updates <- interfaces:
			return nil
		default:
		}
		select { // an older one that nobody has seen yet
		case <-r.updates:
		default:
		}
	}
}

func validate(interfaces map[string]ra.Config) error {
	if len(interfaces) > interfacesMax {
		return fmt.Errorf("router advertisements: found %d interfaces; allowed: at most %d", len(interfaces), interfacesMax)
	}
	var problems []error
	for name, c := range interfaces {
		if name == "" || name == "." || name == ".." || len(name) > nameSizeMax || strings.ContainsAny(name, "/ \t\n\x00") {
			problems = append(problems, fmt.Errorf("router advertisements: found interface name %q; allowed: 1 to %d octets without slash or space", name, nameSizeMax))
			continue
		}
		if err := c.Validate(); err != nil {
			problems = append(problems, fmt.Errorf("router advertisements on %s: %w", name, err))
		}
	}
	return errors.Join(problems...)
}

// View returns what all interfaces do now, sorted by name. Any goroutine may call
// it.
func (r *Router) View() []View {
	live := *r.views.Load()
	views := make([]View, len(live))
	for i, v := range live {
		views[i] = v.View
		views[i].Counters = v.counters.load()
	}
	return views
}

// liveView is a View without counters, and where they are counted.
type liveView struct {
	View
	counters *counters
}

// Run advertises until ctx is done. Then every interface that can sends one final
// advertisement (D-335), at the latest MinDelayBetweenRAs after its last one, and
// Run returns nil. Run may be called once. It returns an error only when it
// cannot begin; whatever fails later is reported to the hook and tried again.
func (r *Router) Run(ctx context.Context) error {
	if r.running.Swap(true) {
		return errors.New("router advertisements: Run was called twice")
	}
	o, err := newOwner(r)
	if err != nil {
		return fmt.Errorf("router advertisements: %w", err)
	}
	defer o.close()

	done := ctx.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !o.finished() {
		select {
		case <-done:
			o.stop()
			done = nil
		case interfaces := <-r.updates:
			o.update(interfaces)
		case <-o.changed:
			o.lookAtAll()
		case <-o.watchEnded():
			o.watchFailed()
		case <-o.arrived:
		case <-timer.C:
		}
		timer.Reset(o.step())
	}
	return nil
}
