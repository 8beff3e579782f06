package engine

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/failover"
	"github.com/tandem6/tandem6/failover/lease"
)

// F-001, F-094, F-096: what cannot work is refused at configuration.
func TestConfigCheck(t *testing.T) {
	make2 := func(change func(c *Config)) *Config {
		d := config()
		guest := d.Links[0]
		guest.Name, guest.Interface = "guest", "eth1"
		guest.Subnets = []dhcp6.Subnet{{Prefix: netip.MustParsePrefix("2001:db8:0:2::/64")}}
		guest.PrefixPools = []dhcp6.PrefixPool{{Prefix: netip.MustParsePrefix("2001:db8:9000::/40"), Length: 56}}
		d.Links = append(d.Links, guest)
		one, two := relationship(lease.Secondary), relationship(lease.Secondary)
		two.Name, two.Links = "pair2", []failover.Link{{Name: "guest"}}
		c := &Config{DHCP: d, Relationships: []failover.Config{one, two}}
		if change != nil {
			change(c)
		}
		return c
	}
	tests := []struct {
		name   string
		change func(c *Config)
		want   string
	}{
		{"good", nil, ""},
		{"one name twice", func(c *Config) { c.Relationships[1].Name = "pair1" }, "configured twice"},
		{"one link twice", func(c *Config) { c.Relationships[1].Links[0].Name = "lan" }, `belongs to relationship "pair1" already`},
		{"one pool twice", func(c *Config) { c.DHCP.Links[1].PrefixPools = c.DHCP.Links[0].PrefixPools }, "lies in both relationships"},
		{"no such link", func(c *Config) { c.Relationships[1].Links[0].Name = "attic" }, "not configured"},
		{"20 s leases", func(c *Config) { c.DHCP.Links[0].Lifetimes.Valid = 20 }, "30 to"},
		{"endless leases", func(c *Config) { c.DHCP.Links[0].Lifetimes.Valid = lease.Infinity }, "30 to"},
		{"no role", func(c *Config) { c.Relationships[0].Role = 0 }, "neither primary nor secondary"},
		{"short MCLT", func(c *Config) { c.Relationships[0].MCLT_s = 29 }, "allowed are 30"},
		{"no name", func(c *Config) { c.Relationships[0].Name = "" }, "its name needs"},
		{"NUL", func(c *Config) { c.Relationships[0].Name = "x\x00" }, "its name needs"},
	}
	for _, tt := range tests {
		err := make2(tt.change).Check()
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}
