package ra

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Limits of what is kept and told about other routers, since anybody on the link
// can claim to be many.
const (
	NeighboursMax = 8 // a link rarely has more than two
	neighbourKept = 30 * time.Minute
	// neighbourQuiet is the shortest time between two reports about one router.
	neighbourQuiet = time.Minute
	// lifetimeLeeway is how far lifetimes may be apart, because those of a
	// delegation count down (RFC 4861 section 6.2.7).
	lifetimeLeeway = 10 * time.Second
)

// Difference is a value that two routers on one link should agree on.
type Difference struct{ Field, Ours, Theirs string }

// String is the difference in an operator's words.
func (d Difference) String() string {
	return fmt.Sprintf("%s: here %s, there %s", d.Field, d.Ours, d.Theirs)
}

// Report is news about another router.
type Report struct {
	Router         netip.Addr
	RouterLifetime time.Duration // 0: it is not a default router
	IsNew          bool          // not seen before, or not for half an hour
	Differences    []Difference  // none: it agrees with this box
}

// neighbour is another router on the link.
type neighbour struct {
	router     netip.Addr
	fields     string // that differed when it was last reported
	seenAt     time.Duration
	reportedAt time.Duration
}

// Observed takes note of another router's advertisement and reports whether there
// is something new to tell: the router itself, or other fields that differ.
func (a *Advertiser) Observed(now time.Duration, o Observation) (Report, bool) {
	a.neighbours = slices.DeleteFunc(a.neighbours, func(n neighbour) bool { return n.seenAt+neighbourKept <= now })
	r := Report{Router: o.Router, RouterLifetime: o.RouterLifetime, Differences: Compare(now, a.config, o)}
	var fields strings.Builder
	for _, d := range r.Differences {
		fields.WriteString(d.Field + ";")
	}

	i := slices.IndexFunc(a.neighbours, func(n neighbour) bool { return n.router == o.Router })
	if i < 0 {
		if len(a.neighbours) == NeighboursMax {
			return Report{}, false
		}
		r.IsNew = true
		a.neighbours = append(a.neighbours, neighbour{o.Router, fields.String(), now, now})
		return r, true
	}
	n := &a.neighbours[i]
	n.seenAt = now
	if n.fields == fields.String() || now < n.reportedAt+neighbourQuiet {
		return Report{}, false
	}
	n.fields, n.reportedAt = fields.String(), now
	return r, true
}

// Compare finds what RFC 4861 section 6.2.7 wants all routers of a link to agree
// on. Unspecified values agree with everything, and so do prefixes that only one
// of them advertises.
func Compare(now time.Duration, c Config, o Observation) []Difference {
	var list []Difference
	differ := func(field string, ours, theirs any) {
		list = append(list, Difference{field, fmt.Sprint(ours), fmt.Sprint(theirs)})
	}
	if c.Managed != o.Managed {
		differ("managed", c.Managed, o.Managed)
	}
	if c.OtherConfig != o.OtherConfig {
		differ("other-config", c.OtherConfig, o.OtherConfig)
	}
	if c.HopLimit != o.HopLimit && c.HopLimit != 0 && o.HopLimit != 0 {
		differ("hop-limit", c.HopLimit, o.HopLimit)
	}
	if c.MTU != o.MTU && c.MTU != 0 && o.MTU != 0 {
		differ("mtu", c.MTU, o.MTU)
	}
	for _, q := range o.Prefixes {
		i := slices.IndexFunc(c.Prefixes, func(p Prefix) bool { return p.Prefix == q.Prefix })
		if i < 0 {
			continue
		}
		preferred, valid := c.Prefixes[i].lifetimes(now)
		if (preferred - q.Preferred).Abs() > lifetimeLeeway {
			differ(fmt.Sprintf("preferred lifetime of %s", q.Prefix), seconds(preferred), seconds(q.Preferred))
		}
		if (valid - q.Valid).Abs() > lifetimeLeeway {
			differ(fmt.Sprintf("valid lifetime of %s", q.Prefix), seconds(valid), seconds(q.Valid))
		}
	}
	return list
}
