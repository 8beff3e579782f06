package ra

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// rememberedMax bounds each list of what hosts may still believe. It is twice
// what a Config holds; beyond it, what hosts forget first is given up.
const rememberedMax = 2 * PrefixesMax

// AdvertisedPrefix is what has to outlive a reboot for a prefix to be withdrawn
// properly (RFC 9096 section 3.5, D-331).
type AdvertisedPrefix struct {
	Prefix     netip.Prefix
	OnLink     bool
	Autonomous bool
	// Remaining is how long hosts may go on believing in the prefix. After a
	// reboot it counts from then, whatever the power cut lasted: this box may have
	// no clock, and a withdrawal that lasts too long does no harm. So the list has
	// to be stored when a prefix or flag in it changes, not at each advertisement.
	Remaining time.Duration
}

// Validate reports what makes p unfit for New: a prefix that could never have
// been advertised, or a lifetime out of range.
func (p AdvertisedPrefix) Validate() error {
	if why := unfitOnLink(p.Prefix); why != "" {
		return &FieldError{"advertised prefix", p.Prefix.String(), why}
	}
	if p.Remaining < 0 || p.Remaining > Infinity {
		return &FieldError{fmt.Sprintf("advertised prefix %s: remaining", p.Prefix), seconds(p.Remaining), fmt.Sprintf("0 s to %s", seconds(Infinity))}
	}
	return nil
}

// flags are those of a prefix that its withdrawal repeats.
type flags struct{ onLink, autonomous bool }

// belief is what hosts may hold until a time because of earlier advertisements.
type belief[K comparable, V any] struct {
	key   K
	value V
	until time.Duration
}

// beliefs are a list because the order of options must not depend on chance.
type beliefs[K comparable, V any] []belief[K, V]

// note records that key was advertised and ends no earlier than until.
func (b *beliefs[K, V]) note(key K, value V, until time.Duration) {
	i := slices.IndexFunc(*b, func(x belief[K, V]) bool { return x.key == key })
	if i >= 0 {
		(*b)[i].value = value
		(*b)[i].until = max((*b)[i].until, until)
		return
	}
	if len(*b) == rememberedMax {
		first := slices.MinFunc(*b, func(x, y belief[K, V]) int { return cmp.Compare(x.until, y.until) })
		*b = slices.DeleteFunc(*b, func(x belief[K, V]) bool { return x.key == first.key })
	}
	*b = append(*b, belief[K, V]{key, value, until})
}

// forget drops what no host believes any more.
func (b *beliefs[K, V]) forget(now time.Duration) {
	*b = slices.DeleteFunc(*b, func(x belief[K, V]) bool { return x.until <= now })
}

// rotate lets each belief have its turn when not all fit into one message.
func (b beliefs[K, V]) rotate() {
	if len(b) > 1 {
		copy(b, append(slices.Clone(b[1:]), b[0]))
	}
}

// without are the keys that are not served any more.
func (b beliefs[K, V]) without(served func(K) bool) []K {
	var keys []K
	for _, x := range b {
		if !served(x.key) {
			keys = append(keys, x.key)
		}
	}
	return keys
}

// memory is all that hosts may believe.
type memory struct {
	prefixes beliefs[netip.Prefix, flags]
	routes   beliefs[netip.Prefix, struct{}]
	servers  beliefs[netip.Addr, struct{}]
	domains  beliefs[string, struct{}]
}

// sent records that c was advertised at the time now.
func (m *memory) sent(now time.Duration, c Config) {
	for _, p := range c.Prefixes {
		_, valid := p.lifetimes(now)
		m.prefixes.note(p.Prefix, flags{p.OnLink, p.Autonomous}, now+valid)
	}
	for _, r := range c.Routes {
		m.routes.note(r.Prefix, struct{}{}, now+r.lifetime(now))
	}
	dns := now + c.dnsLifetime(now)
	for _, a := range c.DNSServers {
		m.servers.note(a, struct{}{}, dns)
	}
	for _, d := range c.SearchDomains {
		m.domains.note(d, struct{}{}, dns)
	}
	m.forget(now)
}

func (m *memory) forget(now time.Duration) {
	m.prefixes.forget(now)
	m.routes.forget(now)
	m.servers.forget(now)
	m.domains.forget(now)
}

func (m *memory) rotate() {
	m.prefixes.rotate()
	m.routes.rotate()
	m.servers.rotate()
	m.domains.rotate()
}

// withdrawn is what hosts may believe and c does not advertise.
func (m *memory) withdrawn(c Config) Withdrawn {
	var w Withdrawn
	for _, b := range m.prefixes {
		if !c.hasPrefix(b.key) {
			w.Prefixes = append(w.Prefixes, AdvertisedPrefix{Prefix: b.key, OnLink: b.value.onLink, Autonomous: b.value.autonomous})
		}
	}
	w.Routes = m.routes.without(func(p netip.Prefix) bool {
		return slices.ContainsFunc(c.Routes, func(r Route) bool { return r.Prefix == p })
	})
	w.DNSServers = m.servers.without(func(a netip.Addr) bool { return slices.Contains(c.DNSServers, a) })
	w.SearchDomains = m.domains.without(func(d string) bool { return slices.Contains(c.SearchDomains, d) })
	return w
}

// remembered is what a reboot must not forget, sorted: what c advertises, whether
// it was sent yet or not, and what is being withdrawn.
func (m *memory) remembered(now time.Duration, c Config) []AdvertisedPrefix {
	var list []AdvertisedPrefix
	for _, p := range c.Prefixes {
		_, valid := p.lifetimes(now)
		for _, b := range m.prefixes {
			if b.key == p.Prefix {
				valid = max(valid, b.until-now)
			}
		}
		list = append(list, AdvertisedPrefix{p.Prefix, p.OnLink, p.Autonomous, valid})
	}
	for _, b := range m.prefixes {
		if b.until > now && !c.hasPrefix(b.key) {
			list = append(list, AdvertisedPrefix{b.key, b.value.onLink, b.value.autonomous, b.until - now})
		}
	}
	slices.SortFunc(list, func(a, b AdvertisedPrefix) int { return a.Prefix.Compare(b.Prefix) })
	return list
}

func (c Config) hasPrefix(p netip.Prefix) bool {
	return slices.ContainsFunc(c.Prefixes, func(q Prefix) bool { return q.Prefix == p })
}
