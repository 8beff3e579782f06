package sim

import (
	"net/netip"
	"slices"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
)

// holders watch that no address or prefix is valid at two clients at one true
// time. They know what the clients were told, in true time, and nothing of what
// the servers think.
type holders struct {
	list   []holder // in the order of their prefixes
	report func(check, format string, args ...any)
	now    *time.Duration
}

// holder is a client with a lease.
type holder struct {
	prefix netip.Prefix
	who    string
	client int
	typ    lease.IAType
	id     lease.IAID
	until  time.Duration
	before time.Duration // when the one who had it before let go of it
}

// told notes that a client may use a lease until some time.
func (h *holders) told(c *client, a *association, p netip.Prefix, until time.Duration) {
	h.add(holder{prefix: p, who: c.who, client: c.id, typ: a.typ, id: a.id, until: until})
}

func (h *holders) add(now holder) {
	i, found := slices.BinarySearchFunc(h.list, now.prefix, func(e holder, p netip.Prefix) int {
		return comparePrefixes(e.prefix, p)
	})
	for j := range h.list {
		other := &h.list[j]
		if !other.prefix.Overlaps(now.prefix) || other.until <= *h.now {
			continue
		}
		if !other.same(&now) {
			h.report("unique", "%s was told that %s is its own until %s, but %s holds %s until %s",
				now.who, show(now.prefix), clockTime(now.until), other.who, show(other.prefix), clockTime(other.until))
		}
	}
	if found {
		old := &h.list[i]
		now.before = min(old.until, *h.now)
		if old.same(&now) && old.until > *h.now {
			now.before = old.before
		}
		*old = now
		return
	}
	h.list = slices.Insert(h.list, i, now)
}

func comparePrefixes(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

func (h *holder) same(o *holder) bool {
	return h.prefix == o.prefix && h.client == o.client && h.typ == o.typ && h.id == o.id
}

// gaveUp notes that a client does not use a lease any more.
func (h *holders) gaveUp(c *client, p netip.Prefix) {
	for i := range h.list {
		if e := &h.list[i]; e.client == c.id && e.prefix == p {
			e.until = min(e.until, *h.now)
		}
	}
}

// of is who holds a lease now, nil if nobody does.
func (h *holders) of(p netip.Prefix) *holder {
	for i := range h.list {
		if h.list[i].prefix == p && h.list[i].until > *h.now {
			return &h.list[i]
		}
	}
	return nil
}
