package kernel

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tandem6/tandem6/appliance/ra"
)

const (
	// retryMin and retryMax bound the pause before something that failed is tried
	// again. It doubles from one to the other.
	retryMin = time.Second
	retryMax = 30 * time.Second
	// stopMax is how long stopping may take: the longest wait that RFC 4861 makes
	// necessary, and a little.
	stopMax = ra.MinDelayBetweenRAs + 500*time.Millisecond
)

// owner is the state of Run.
type owner struct {
	*Router
	netlink *netlink.Handle
	watcher *watcher      // nil: it failed and is tried again
	retry   backoff       // of the watcher
	ports   []*port       // sorted by name
	changed chan struct{} // links, addresses or forwarding
	arrived chan struct{} // messages, or the end of a reader

	remembered  map[string][]ra.AdvertisedPrefix // of interfaces that are gone as well
	stopping    bool
	stopUntil   time.Duration
	viewChanged bool // since it was published
}

// backoff says when to try again.
type backoff struct {
	pause time.Duration
	at    time.Duration // ra.Never: not at all
}

func (b *backoff) failed(now time.Duration) {
	b.pause = min(max(2*b.pause, retryMin), retryMax)
	b.at = now + b.pause
}

func (b *backoff) succeeded() { *b = backoff{at: ra.Never} }

func newOwner(r *Router) (*owner, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	o := &owner{
		Router: r, netlink: h,
		changed: make(chan struct{}, 1), arrived: make(chan struct{}, 1),
		remembered: maps.Clone(r.options.Remembered),
	}
	if o.remembered == nil {
		o.remembered = map[string][]ra.AdvertisedPrefix{}
	}
	o.retry.succeeded()
	if o.watcher, err = watch(o.changed); err != nil {
		h.Close()
		return nil, err
	}
	return o, nil
}

func (o *owner) close() {
	for _, p := range o.ports {
		p.end()
	}
	o.ports = nil
	o.publish()
	if o.watcher != nil {
		o.watcher.close()
	}
	o.netlink.Close()
}

func (o *owner) now() time.Duration { return time.Since(o.options.Start) }

// update makes the ports fit a validated configuration.
func (o *owner) update(interfaces map[string]ra.Config) {
	if o.stopping {
		return
	}
	now := o.now()
	for _, name := range slices.Sorted(maps.Keys(interfaces)) {
		i, found := slices.BinarySearchFunc(o.ports, name, func(p *port, name string) int { return cmp.Compare(p.name, name) })
		if found {
			o.ports[i].reconfigure(interfaces[name], now)
		} else {
			o.ports = slices.Insert(o.ports, i, newPort(o, name, interfaces[name], now))
		}
		o.ports[i].remember(now)
		o.ports[i].look(now)
	}
	for _, p := range o.ports {
		if _, ok := interfaces[p.name]; !ok {
			p.leave(now)
		}
	}
}

// lookAtAll follows what the kernel has told.
func (o *owner) lookAtAll() {
	now := o.now()
	for _, p := range o.ports {
		p.look(now)
	}
}

// stop begins the end: one final advertisement for each interface.
func (o *owner) stop() {
	now := o.now()
	o.stopping, o.stopUntil = true, now+stopMax
	for _, p := range o.ports {
		p.leave(now)
	}
}

// finished reports whether nothing is left to be done after stop.
func (o *owner) finished() bool {
	if !o.stopping {
		return false
	}
	if o.now() >= o.stopUntil {
		return true
	}
	for _, p := range o.ports {
		if p.conn != nil && !p.saidGoodbye {
			return false
		}
	}
	return true
}

// step does what is due and returns how long to wait for the next time.
func (o *owner) step() time.Duration {
	now := o.now()
	if o.watcher == nil && now >= o.retry.at {
		o.watchAgain(now)
	}
	wake := o.retry.at
	if o.stopping {
		wake = min(wake, o.stopUntil)
	}
	for _, p := range o.ports {
		p.step(now)
		wake = min(wake, p.next())
	}
	o.ports = slices.DeleteFunc(o.ports, func(p *port) bool {
		if p.isGone() {
			p.end()
			return true
		}
		return false
	})
	if o.viewChanged {
		o.publish()
	}
	return max(0, wake-now)
}

// watchEnded is closed when the watcher has failed.
func (o *owner) watchEnded() <-chan struct{} {
	if o.watcher == nil {
		return nil
	}
	return o.watcher.done
}

func (o *owner) watchFailed() {
	o.options.Hook(Event{Kind: Failed, Text: o.watcher.err.Error()})
	o.watcher.close()
	o.watcher = nil
	o.retry.failed(o.now())
}

// watchAgain opens the watcher, and looks at what it has missed.
func (o *owner) watchAgain(now time.Duration) {
	w, err := watch(o.changed)
	if err != nil {
		o.options.Hook(Event{Kind: Failed, Text: err.Error()})
		o.retry.failed(now)
		return
	}
	o.watcher = w
	o.retry.succeeded()
	o.lookAtAll()
}

func (o *owner) publish() {
	list := make([]liveView, 0, len(o.ports))
	for _, p := range o.ports {
		v := liveView{View: View{Interface: p.name, Waiting: p.waiting}, counters: &p.counters}
		if p.conn != nil {
			v.Address = p.conn.address
		}
		list = append(list, v)
	}
	o.views.Store(&list)
	o.viewChanged = false
}
