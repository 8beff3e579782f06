package engine

import (
	"errors"
	"fmt"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/failover"
)

// Config is what an engine is to do. It satisfies Check.
type Config struct {
	DHCP          *dhcp6.Config
	Relationships []failover.Config // of their Links only the names count; DHCP says the rest
	Flaws         failover.Flaw     // for the simulator alone
}

var errConfig = errors.New("failover")

// Check reports what keeps relationships and links from going together: a lease
// that two partners would share, a link that is not there, and lifetimes with
// which the protocol does not work.
func (c *Config) Check() error {
	if err := failover.CheckAll(c.Relationships); err != nil {
		return err
	}
	for _, r := range c.Relationships {
		for _, l := range r.Links {
			link := c.DHCP.Find(l.Name)
			if link == nil {
				return fmt.Errorf("%w: relationship %q covers link %q, which is not configured", errConfig, r.Name, l.Name)
			}
			// F-001 (RFC 8156 section 1), Q-32.
			if v := link.Lifetimes.Valid; v < failover.MCLTMin_s || v > failover.LifetimeMax_s {
				return fmt.Errorf("%w: relationship %q covers link %q, whose valid lifetime is %d s; under failover it has %d to %d s",
					errConfig, r.Name, l.Name, v, failover.MCLTMin_s, failover.LifetimeMax_s)
			}
			t := c.DHCP.Territory(l.Name)
			for _, p := range t.Pools {
				if other, ok := c.sharedWith(r.Name, p); ok {
					return fmt.Errorf("%w: prefix pool %v of link %q lies in both relationships %q and %q; a lease can be shared with one partner only", errConfig, p.Prefix, l.Name, r.Name, other)
				}
			}
		}
	}
	return nil
}

// sharedWith finds another relationship that leases out of the same pool.
func (c *Config) sharedWith(name string, p dhcp6.PrefixPool) (string, bool) {
	for _, r := range c.Relationships {
		if r.Name == name {
			continue
		}
		for _, l := range r.Links {
			t := c.DHCP.Territory(l.Name)
			for _, o := range t.Pools {
				if o.Prefix.Overlaps(p.Prefix) {
					return r.Name, true
				}
			}
		}
	}
	return "", false
}
