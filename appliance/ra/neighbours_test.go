package ra

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// agreeing is what a router says that is configured as testConfig.
func agreeing() Observation {
	return Observation{
		Router: netip.MustParseAddr("fe80::2"), HopLimit: 64, Managed: true, OtherConfig: true, RouterLifetime: 1800 * time.Second,
		Prefixes: []ObservedPrefix{{global, PreferredLimit, ValidLimit}, {ula, time.Second, time.Second}},
	}
}

// RFC 4861 section 6.2.7.
func TestCompare(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config, *Observation)
		want   []string
	}{
		{"the same", func(*Config, *Observation) {}, nil},
		{"flags", func(c *Config, o *Observation) { o.Managed, c.OtherConfig = false, false }, []string{
			"managed: here true, there false", "other-config: here false, there true",
		}},
		{"hop limit", func(c *Config, o *Observation) { o.HopLimit = 32 }, []string{"hop-limit: here 64, there 32"}},
		{"hop limit unspecified", func(c *Config, o *Observation) { o.HopLimit = 0 }, nil},
		{"MTU", func(c *Config, o *Observation) { c.MTU, o.MTU = 1500, 1480 }, []string{"mtu: here 1500, there 1480"}},
		{"MTU of one only", func(c *Config, o *Observation) { c.MTU = 1500 }, nil},
		{"router lifetime is everybody's own", func(c *Config, o *Observation) { o.RouterLifetime = 0 }, nil},
		{"lifetimes", func(c *Config, o *Observation) { o.Prefixes[0].Preferred, o.Prefixes[0].Valid = 0, 0 }, []string{
			"preferred lifetime of 2001:db8:0:1::/64: here 2700 s, there 0 s",
			"valid lifetime of 2001:db8:0:1::/64: here 5400 s, there 0 s",
		}},
		{"nearly the same lifetimes", func(c *Config, o *Observation) { o.Prefixes[0].Valid += 9 * time.Second }, nil},
		{"both count down", func(c *Config, o *Observation) {
			c.Prefixes[0].PreferredUntil, c.Prefixes[0].ValidUntil = 200*time.Second, 400*time.Second
			o.Prefixes[0].Preferred, o.Prefixes[0].Valid = 99*time.Second, 299*time.Second
		}, nil},
		{"other prefixes", func(c *Config, o *Observation) { o.Prefixes = o.Prefixes[1:] }, nil},
	}
	for _, tt := range tests {
		c, o := testConfig(), agreeing()
		tt.change(&c, &o)
		var got []string
		for _, d := range Compare(100*time.Second, c, o) {
			got = append(got, d.String())
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Another router is reported when it appears and when what differs changes, not
// with each of its advertisements.
func TestObserved(t *testing.T) {
	l := newLink(t, testConfig(), 1)
	differing := agreeing()
	differing.Managed = false
	steps := []struct {
		after   time.Duration
		see     Observation
		isTold  bool
		isNew   bool
		differs int
	}{
		{0, agreeing(), true, true, 0},
		{time.Second, agreeing(), false, false, 0},
		{time.Second, differing, false, false, 0}, // too soon
		{time.Minute, differing, true, false, 1},
		{time.Minute, differing, false, false, 0},
		{time.Minute, agreeing(), true, false, 0}, // and they agree again
		{31 * time.Minute, differing, true, true, 1},
	}
	for i, s := range steps {
		l.now += s.after
		r, ok := l.Observed(l.now, s.see)
		if ok != s.isTold || r.IsNew != s.isNew || len(r.Differences) != s.differs {
			t.Errorf("step %d: got %+v, %t", i, r, ok)
		}
		if ok && (r.Router != s.see.Router || r.RouterLifetime != s.see.RouterLifetime) {
			t.Errorf("step %d: got %+v", i, r)
		}
	}
}

// A flood of advertisements from invented routers costs a bounded number of
// places and reports.
func TestObservedFlood(t *testing.T) {
	l := newLink(t, testConfig(), 1)
	told := 0
	for i := range 10_000 {
		o := agreeing()
		o.Router = host(i).Source
		o.Managed = i%2 == 0
		if _, ok := l.Observed(l.now, o); ok {
			told++
		}
		l.now += time.Millisecond
	}
	if told != NeighboursMax || len(l.neighbours) != NeighboursMax {
		t.Errorf("%d reports, %d kept", told, len(l.neighbours))
	}
}
