package ra

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestDefaults(t *testing.T) {
	c := DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if c.Managed || !c.OtherConfig { // D-315
		t.Errorf("M %t, O %t", c.Managed, c.OtherConfig)
	}
	if c.RouterLifetime != 2700*time.Second || !c.NeedsGlobalPrefix { // D-322, D-323
		t.Errorf("router lifetime %s, needs global prefix %t", c.RouterLifetime, c.NeedsGlobalPrefix)
	}
	if c.DNSLifetime < 3*c.MaxInterval || c.DNSLifetime > 5400*time.Second { // D-326, D-321
		t.Errorf("DNS lifetime %s", c.DNSLifetime)
	}
	p := DefaultPrefix(global)
	if !p.OnLink || !p.Autonomous || p.PreferDelegation { // D-316, D-327
		t.Errorf("L %t, A %t, P %t", p.OnLink, p.Autonomous, p.PreferDelegation)
	}
	if p.Preferred != 2700*time.Second || p.Valid != 5400*time.Second { // D-321
		t.Errorf("preferred %s, valid %s", p.Preferred, p.Valid)
	}
	for _, longest := range []time.Duration{4, 8, 9, 10, 600, 1800} {
		c.MaxInterval = longest * time.Second
		c.MinInterval = DefaultMinInterval(c.MaxInterval)
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
	}
}

// D-318 (link-local), D-319 (preferred above valid), D-326 (DNS lifetime) and
// D-329 (P without M and O) are among what is refused.
func TestValidateRefuses(t *testing.T) {
	prefix := func(s string) func(*Config) {
		return func(c *Config) { c.Prefixes[0].Prefix = netip.MustParsePrefix(s) }
	}
	server := func(s string) func(*Config) {
		return func(c *Config) { c.DNSServers = []netip.Addr{netip.MustParseAddr(s)} }
	}
	domain := func(s string) func(*Config) {
		return func(c *Config) { c.SearchDomains = []string{s} }
	}
	tests := []struct {
		change             func(*Config)
		field, found, says string
	}{
		{func(c *Config) { c.MaxInterval = 3 * time.Second }, "max-interval", "3 s", "4 s to 1800 s"},
		{func(c *Config) { c.MaxInterval = 1801 * time.Second }, "max-interval", "1801 s", "4 s to 1800 s"},
		{func(c *Config) { c.MinInterval = 2 * time.Second }, "min-interval", "2 s", "3 s to three quarters"},
		{func(c *Config) { c.MinInterval = 451 * time.Second }, "min-interval", "451 s", "max-interval, 450 s"},
		{func(c *Config) { c.RouterLifetime = 599 * time.Second }, "default-lifetime", "599 s", "from max-interval, 600 s, to 9000 s"},
		{func(c *Config) { c.RouterLifetime = 9001 * time.Second }, "default-lifetime", "9001 s", "9000 s"},
		{func(c *Config) { c.RouterLifetime = -time.Second }, "default-lifetime", "-1 s", "0, or"},
		{func(c *Config) { c.RouterLifetime += time.Millisecond }, "default-lifetime", "2700.001 s", "whole seconds"},
		{func(c *Config) { c.Preference = 2 }, "preference", "Preference(2)", "low, medium, high"},
		{func(c *Config) { c.MTU = 1279 }, "mtu", "1279", "1280 to 65535"},
		{func(c *Config) { c.MTU = 65536 }, "mtu", "65536", "1280 to 65535"},
		{func(c *Config) { c.CaptivePortal = "portal.example.org" }, "captive-portal", `"portal.example.org"`, "absolute URI"},
		{func(c *Config) { c.CaptivePortal = "https://a/\x00" }, "captive-portal", `"https://a/\x00"`, "printable"},
		{func(c *Config) { c.CaptivePortal = "https://a/" + strings.Repeat("b", 237) }, "captive-portal", "247 octets", "at most 246"},

		{prefix("fe80::/64"), "prefixes[0].prefix", "fe80::/64", "no link-local"}, // D-318
		{prefix("fe00::/8"), "prefixes[0].prefix", "fe00::/8", "no link-local"},
		{prefix("::/0"), "prefixes[0].prefix", "::/0", "from 1 to 128"},
		{prefix("ff02::/64"), "prefixes[0].prefix", "ff02::/64", "unicast"},
		{prefix("192.0.2.0/24"), "prefixes[0].prefix", "192.0.2.0/24", "an IPv6 prefix"},
		{prefix("2001:db8::1/64"), "prefixes[0].prefix", "2001:db8::1/64", "behind the prefix length: 2001:db8::/64"},
		{func(c *Config) { c.Prefixes[0].Prefix = netip.Prefix{} }, "prefixes[0].prefix", "invalid Prefix", "an IPv6 prefix"},
		{func(c *Config) { c.Prefixes = append(c.Prefixes, c.Prefixes[0]) }, "prefixes[1].prefix", "a second time", "once"},
		{func(c *Config) { c.Prefixes = make([]Prefix, PrefixesMax+1) }, "prefixes", "17 prefixes", "at most 16"},
		{
			func(c *Config) {
				c.Prefixes[0].Prefix, c.Prefixes[0].Autonomous = netip.MustParsePrefix("2001:db8::/56"), true
			},
			"prefixes[0].autonomous", "/56", "length 64",
		},
		{
			func(c *Config) { c.Managed, c.OtherConfig, c.Prefixes[0].PreferDelegation = false, false, true },
			"prefixes[0].prefer-delegation", "without managed", "RFC 9762", // D-329
		},
		{func(c *Config) { c.Prefixes[0].Preferred = 5401 * time.Second }, "prefixes[0].preferred", "5401 s", "valid lifetime, 5400 s"}, // D-319
		{func(c *Config) { c.Prefixes[0].Preferred = 599 * time.Second }, "prefixes[0].preferred", "599 s", "max-interval, 600 s"},
		{func(c *Config) { c.Prefixes[0].Valid = Infinity + time.Second }, "prefixes[0].valid", "s", "4294967295 (infinite)"},
		{func(c *Config) { c.Prefixes[0].Valid += time.Microsecond }, "prefixes[0].valid", "5400", "whole seconds"},

		{func(c *Config) { c.Routes = []Route{DefaultRoute(netip.MustParsePrefix("fe80::/64"))} }, "routes[0].prefix", "fe80::/64", "unicast"},
		{func(c *Config) { c.Routes = []Route{DefaultRoute(global), DefaultRoute(global)} }, "routes[1].prefix", "a second time", "once"},
		{func(c *Config) { c.Routes = []Route{{Prefix: global, Preference: -2}} }, "routes[0].preference", "Preference(-2)", "low"},
		{func(c *Config) { c.Routes = []Route{{Prefix: global, Lifetime: time.Second}} }, "routes[0].lifetime", "1 s", "max-interval"},
		{func(c *Config) { c.Routes = make([]Route, RoutesMax+1) }, "routes", "9 routes", "at most 8"},

		{server("192.0.2.1"), "dns-servers[0]", "192.0.2.1", "unicast IPv6"},
		{server("::ffff:192.0.2.1"), "dns-servers[0]", "::ffff:192.0.2.1", "unicast IPv6"},
		{server("::"), "dns-servers[0]", "::", "unicast IPv6"},
		{server("::1"), "dns-servers[0]", "::1", "unicast IPv6"},
		{server("ff02::fb"), "dns-servers[0]", "ff02::fb", "unicast IPv6"},
		{server("fe80::1%eth0"), "dns-servers[0]", "fe80::1%eth0", "without a zone"},
		{func(c *Config) { c.DNSServers = make([]netip.Addr, DNSServersMax+1) }, "dns-servers", "9 servers", "at most 8"},
		{func(c *Config) { server("2001:db8::53")(c); c.DNSLifetime = 1799 * time.Second }, "dns-lifetime", "1799 s", "max-interval, 1800 s"}, // D-326
		{domain(""), "domain-search[0]", `""`, "domain name"},
		{domain("example.org."), "domain-search[0]", `"example.org."`, "without a dot at the end"},
		{domain("a..b"), "domain-search[0]", `"a..b"`, "domain name"},
		{domain("bücher.example"), "domain-search[0]", `"bücher.example"`, "ASCII"},
		{domain("xn--0.example"), "domain-search[0]", `"xn--0.example"`, "domain name"},
		{domain(strings.Repeat("a", 64)), "domain-search[0]", "aaa", "domain name"},
		{domain(strings.Repeat("a.", 120) + "org"), "domain-search[0]", "a.a", "at most 238 octets"},
		{func(c *Config) { c.SearchDomains = make([]string, SearchDomainsMax+1) }, "domain-search", "9 domains", "at most 8"},

		{func(c *Config) {
			for i := range SearchDomainsMax {
				c.SearchDomains = append(c.SearchDomains, fmt.Sprintf("%d.%s", i, strings.Repeat("abcdefghi.", 20)+"org"))
			}
		}, "router-advertisements", "octets", "at most 1112"},
	}
	for _, tt := range tests {
		c := testConfig()
		tt.change(&c)
		err := c.Validate()
		if err == nil {
			t.Errorf("%s %s: accepted", tt.field, tt.found)
			continue
		}
		var f *FieldError
		if !errors.As(err, &f) || f.Field != tt.field || !strings.Contains(f.Found, tt.found) || !strings.Contains(f.Allowed, tt.says) {
			t.Errorf("got %v\nwant %s, %s, %s", err, tt.field, tt.found, tt.says)
		}
		if _, err := New(c, nil, testRand(1), 0); err == nil {
			t.Errorf("%s %s: New accepts it", tt.field, tt.found)
		}
	}
}

// Every problem is told, not only the first one.
func TestValidateTellsAll(t *testing.T) {
	c := testConfig()
	c.MTU, c.Preference, c.Prefixes[0].Prefix = 1, 7, netip.MustParsePrefix("fe80::/64")
	err := c.Validate()
	for _, field := range []string{"mtu: ", "preference: ", "prefixes[0].prefix: "} {
		if !strings.Contains(fmt.Sprint(err), field) {
			t.Errorf("%s is missing in: %v", field, err)
		}
	}
}

func TestParsePreference(t *testing.T) {
	for _, p := range []Preference{Low, Medium, High} {
		if got, err := ParsePreference(p.String()); got != p || err != nil {
			t.Errorf("%s: got %s, %v", p, got, err)
		}
	}
	if _, err := ParsePreference("highest"); err == nil || !strings.Contains(err.Error(), `found "highest"`) {
		t.Errorf("got %v", err)
	}
}
