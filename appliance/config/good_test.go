package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/appliance/ra"
	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/netcfg"
)

// netips compares addresses and prefixes as values.
var netips = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

// good parses a file that has to be valid, and returns its warnings too.
func good(t *testing.T, text string) (*Config, Problems) {
	t.Helper()
	c, problems := Parse("config.json", []byte(text))
	if err := problems.Err(); err != nil || c == nil {
		t.Fatalf("%v", err)
	}
	return c, problems
}

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// TestDefaults is what a short file stands for.
//
// D-153: no lifetime is infinite. D-178: no option without a value. D-252: prefixes
// of length 64 are delegated. D-314: M where addresses are leased, and O. D-316: L
// and A. D-322: the router lifetime is 2700 seconds.
func TestDefaults(t *testing.T) {
	c, problems := good(t, `{
		"interfaces": {"eth0": {"addresses": ["2001:db8:0:1::1/64"]}},
		"links": {"lan": {
			"interface": "eth0",
			"subnets": [{"prefix": "2001:db8:0:1::/64"}],
			"prefix-pools": [{"prefix": "2001:db8:8000::/40"}],
			"options": {"dns-servers": [], "vendor": [], "ntp-servers": []},
			"router-advertisements": {},
		}},
	}`)
	if len(problems) > 0 {
		t.Errorf("%v", problems)
	}
	want := Config{
		Network: netcfg.Desired{
			Interfaces: []netcfg.Interface{{Name: "eth0", Addresses: []netip.Prefix{prefix("2001:db8:0:1::1/64")}, Up: true, AcceptRA: netcfg.AcceptRANever}},
			Aggregates: []netip.Prefix{prefix("2001:db8:8000::/40")},
			Forwarding: true,

			SourceValidation: []string{"eth0"},
		},
		Server: dhcp6.Config{
			Links: []dhcp6.Link{{
				Name:      "lan",
				Interface: "eth0",
				Subnets: []dhcp6.Subnet{{
					Prefix: prefix("2001:db8:0:1::/64"),
					Pools:  []dhcp6.Range{{First: addr("2001:db8:0:1::"), Last: addr("2001:db8:0:1:ffff:ffff:ffff:ffff")}},
				}},
				PrefixPools:   []dhcp6.PrefixPool{{Prefix: prefix("2001:db8:8000::/40"), Length: 64}},
				RapidCommit:   true,
				CreateOnRenew: true,
				Lifetimes:     dhcp6.Lifetimes{Preferred: 2700, Valid: 5400},
			}},
			RelaySupplied: []uint16{65},
			DeclinedFor:   86400,
			RememberFor:   86400,
			Limits:        dhcp6.Limits{LeasesPerClient: 32, PrefixesPerClient: 8, DeclinesPerClient: 8, MessagesPerSecondPerClient: 20, Leases: 1_000_000},
		},
	}
	if diff := cmp.Diff(want, *c, netips, cmpopts.IgnoreFields(Config{}, "Advertisements")); diff != "" {
		t.Error(diff)
	}
	if len(c.Advertisements) != 1 || c.Find("lan") != &c.Advertisements[0] || c.Advertisements[0].Interface != "eth0" {
		t.Fatalf("advertisements %+v", c.Advertisements)
	}
	wantRA := ra.Config{
		Managed: true, OtherConfig: true, HopLimit: 64,
		RouterLifetime: 2700 * time.Second, NeedsGlobalPrefix: true,
		MinInterval: 200 * time.Second, MaxInterval: 600 * time.Second,
		Prefixes:    []ra.Prefix{{Prefix: prefix("2001:db8:0:1::/64"), OnLink: true, Autonomous: true, Preferred: 2700 * time.Second, Valid: 5400 * time.Second}},
		Routes:      []ra.Route{{Prefix: prefix("2001:db8:8000::/40"), Lifetime: 5400 * time.Second}},
		DNSLifetime: 5400 * time.Second,
	}
	if diff := cmp.Diff(wantRA, c.Find("lan").At(lease.Clock{}), netips, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

// TestReference checks that the reference is valid, and that it has every key that
// is known and, because unknown keys are problems, no other.
func TestReference(t *testing.T) {
	text, err := ReadFile("reference.json")
	if err != nil {
		t.Fatal(err)
	}
	_, problems := good(t, string(text))
	if len(problems) > 0 {
		t.Errorf("%v", problems)
	}
	d, root := parse("reference.json", text)
	read(root)
	for key, there := range d.asked {
		// The options of a link or a client have the keys of those of all links.
		if strings.HasPrefix(key, "links.") && strings.Contains(key, ".options.") {
			continue
		}
		if !there {
			t.Errorf("the reference lacks %s", key)
		}
	}
	if len(d.asked) < 100 {
		t.Errorf("only %d keys were asked for", len(d.asked))
	}
}

// TestReferenceDefaults compares what the comments of the reference call defaults
// with what a file without the keys has.
func TestReferenceDefaults(t *testing.T) {
	bare, _ := good(t, `{"links": {"lan": {"interface": "eth0"}}}`)
	named, _ := good(t, `{
		"forwarding": true, "lifetimes": {"preferred": 2700, "valid": 5400},
		"limits": {"leases-per-client": 32, "prefixes-per-client": 8, "declines-per-client": 8, "messages-per-second-per-client": 20, "leases": 1000000},
		"declined-for": "1d", "remember-for": "24h", "accept-unicast": false, "relay-supplied-options": [65],
		"links": {"lan": {"interface": "eth0", "rapid-commit": true, "create-on-renew": true, "preference": 0, "address-policy": "stable", "source-validation": true}},
	}`)
	if diff := cmp.Diff(bare, named, netips, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	bare, _ = good(t, lan(`"router-advertisements": {}`))
	named, _ = good(t, lan(`"router-advertisements": {"managed": false, "other-config": true, "preference": "medium", "min-interval": 200, "max-interval": 600, "mtu": 0, "hop-limit": 64, "dns": true}`))
	if diff := cmp.Diff(bare.Find("lan").At(lease.Clock{}), named.Find("lan").At(lease.Clock{}), netips, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestInit(t *testing.T) {
	text := Init(prefix("fd12:3456:789a::/48"), `en"0`)
	c, problems := good(t, string(text))
	if len(problems) > 0 {
		t.Errorf("%v", problems)
	}
	l := &c.Server.Links[0]
	if l.Interface != `en"0` || l.Subnets[0].Prefix != prefix("fd12:3456:789a:1::/64") || l.PrefixPools[0].Prefix != prefix("fd12:3456:789a:8000::/49") {
		t.Errorf("%+v", l)
	}
	if i := c.Network.Interfaces[0]; i.Name != `en"0` || i.Addresses[0] != prefix("fd12:3456:789a:1::1/64") {
		t.Errorf("%+v", i)
	}
	// With private prefixes only, hosts are not offered a default router (D-323).
	if a := c.Find("lan").At(lease.Clock{}); !a.Managed || !a.NeedsGlobalPrefix || ra.Build(0, a, ra.Withdrawn{}, nil).RouterLifetime != 0 {
		t.Errorf("%+v", a)
	}
}

func TestInitRefuses(t *testing.T) {
	for _, f := range []func(){
		func() { Init(prefix("2001:db8::/48"), "eth0") },
		func() { Init(prefix("fd00::/64"), "eth0") },
		func() { Init(netip.Prefix{}, "eth0") },
		func() { Init(prefix("fd00::/48"), "a/b") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		}()
	}
}

// TestInheritance: a key of a link replaces the one for all links, null takes it
// away, and what a client gets replaces its link's.
//
// D-161: one NTP option for each server. D-178: an empty list is no option.
func TestInheritance(t *testing.T) {
	c, _ := good(t, `{
		"lifetimes": {"preferred": 1000, "valid": "infinite"},
		"options": {"dns-servers": ["2001:db8::53"], "domain-search": ["lab"], "ntp-servers": ["2001:db8::123"], "sol-max-rt": 60, "force": ["dns-servers"]},
		"links": {
			"same": {"interface": "eth0"},
			"other": {
				"interface": "eth1",
				"lifetimes": {"valid": 3000, "t1": 10},
				"options": {"dns-servers": ["fe80::1"], "domain-search": [], "sol-max-rt": null, "ntp-servers": ["fe80::7", "fe80::8"], "custom": [{"code": 65001, "hex": "00", "force": true}]},
				"reservations": [{"duid": "00:00:01", "options": {"dns-servers": ["fe80::2"], "domain-search": ["x"]}}],
			},
			"silent": {"interface": "eth2", "options": {"force": []}},
		}}`)
	show := func(options []dhcp6.Option) string {
		var s []string
		for _, o := range options {
			force := ""
			if o.Force {
				force = "!"
			}
			s = append(s, fmt.Sprintf("%d%s:%s", o.Code, force, hex.EncodeToString(o.Data)))
		}
		return strings.Join(s, " ")
	}
	const (
		dns, search  = "20010db8000000000000000000000053", "036c616200"
		fe80         = "fe80000000000000000000000000000"
		ntp, maxRT   = "56:0001001020010db8000000000000000000000123", "82:0000003c"
		ntp7, custom = "56:00010010" + fe80 + "7", "65001!:00"
	)
	links := c.Server.Links
	for i, want := range []string{
		"23!:" + dns + " 24:" + search + " " + ntp + " " + maxRT,
		"23!:" + fe80 + "1 " + ntp7 + " " + ntp7[:len(ntp7)-1] + "8 " + custom,
		"23:" + dns + " 24:" + search + " " + ntp + " " + maxRT,
	} {
		if got := show(links[i].Options); got != want {
			t.Errorf("%s: %s\nwant %s", links[i].Name, got, want)
		}
	}
	if got, want := show(links[1].Reservations[0].Options), "23!:"+fe80+"2 24:017800"; got != want {
		t.Errorf("reservation: %s, want %s", got, want)
	}
	for i, want := range []dhcp6.Lifetimes{{Preferred: 1000, Valid: lease.Infinity}, {Preferred: 1000, Valid: 3000, T1: 10}} {
		if links[i].Lifetimes != want {
			t.Errorf("%s: %+v", links[i].Name, links[i].Lifetimes)
		}
	}
}

// TestRelaySupplied: the list of options that relays may supply is the
// operator's (D-228).
func TestRelaySupplied(t *testing.T) {
	c, _ := good(t, `{"relay-supplied-options": [23, 65]}`)
	if got := c.Server.RelaySupplied; !slices.Equal(got, []uint16{23, 65}) {
		t.Errorf("%v", got)
	}
}

func TestReservations(t *testing.T) {
	c, _ := good(t, lan(`"subnets": [{"prefix": "2001:db8:0:1::/64", "pools": []}], "prefix-pools": [{"prefix": "2001:db8:8000::/40", "delegated-length": 56}], "reservations": [
		{"duid": "00:03:00:01:02:00:00:00:00:02", "iaid": 0, "addresses": ["2001:db8:0:1::42"], "prefixes": ["2001:db8:80aa::/48"]},
		{"duid": "00:03:00:01:02:00:00:00:00:02", "hostname": "nas.example.org"},
		{"client-link-layer": "02:00:00:00:00:02", "addresses": ["2001:db8:0:1::43"]},
		{"interface-id": "port7", "addresses": ["2001:db8:0:1::44"]}, {"interface-id": "hex:00:ff", "addresses": ["2001:db8:0:1::45"]},
		{"remote-id": "9:port:7", "addresses": ["2001:db8:0:1::46"]}, {"remote-id": "4294967295:hex:0A", "deny": true}]`))
	want := []dhcp6.Reservation{
		{Client: "\x00\x03\x00\x01\x02\x00\x00\x00\x00\x02", HasIAID: true, Addresses: []netip.Addr{addr("2001:db8:0:1::42")}, Prefixes: []netip.Prefix{prefix("2001:db8:80aa::/48")}},
		{Client: "\x00\x03\x00\x01\x02\x00\x00\x00\x00\x02", Hostname: "nas.example.org"},
		{LinkLayer: []byte{2, 0, 0, 0, 0, 2}, Addresses: []netip.Addr{addr("2001:db8:0:1::43")}},
		{InterfaceID: []byte("port7"), Addresses: []netip.Addr{addr("2001:db8:0:1::44")}},
		{InterfaceID: []byte{0, 0xff}, Addresses: []netip.Addr{addr("2001:db8:0:1::45")}},
		{RemoteID: []byte("\x00\x00\x00\x09port:7"), Addresses: []netip.Addr{addr("2001:db8:0:1::46")}},
		{RemoteID: []byte{0xff, 0xff, 0xff, 0xff, 0x0a}, Deny: true},
	}
	if diff := cmp.Diff(want, c.Server.Links[0].Reservations, netips, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

// TestAdvertisements: what advertisements say follows from what is served.
//
// D-166: the captive portal is the same URI. D-338: DNS servers and search domains
// are the same. D-324: a route for each aggregate that is delegated from.
// D-312: none where the file does not ask for any. D-315: M = 0 and O = 1 where no
// addresses are leased. D-327, D-328: the P flag is off, and set on its own.
func TestAdvertisements(t *testing.T) {
	c, _ := good(t, `{
		"options": {"dns-servers": ["fd00::53"], "domain-search": ["lab."], "captive-portal": "https://p.lab/"},
		"links": {
			"a": {"interface": "eth0", "subnets": [{"prefix": "fd00:0:0:1::/64", "pools": []}, {"prefix": "2001:db8::/65", "pools": []}],
				"router-advertisements": {"max-interval": 6, "preference": "high"}},
			"b": {"interface": "eth1", "prefix-pools": [{"prefix": "fd00:1::/48"}], "options": {"dns-servers": null, "captive-portal": null},
				"router-advertisements": {"default-lifetime": 0, "prefixes": [{"prefix": "fd00:0:0:2::/64", "autonomous": false, "prefer-delegation": true, "valid": "infinite"}], "mtu": 1400}},
			"c": {"relays": {"from": ["fd00::9"]}, "prefix-pools": [{"prefix": "fd00:2::/48"}]},
			"d": {"interface": "eth2", "options": {"captive-portal": null}, "router-advertisements": {"dns": false, "routes": [], "managed": true, "other-config": false}},
			"e": {"interface": "eth3", "subnets": [{"prefix": "fd00:0:0:3::/64"}]},
		}}`)
	base := ra.DefaultConfig()
	base.SearchDomains = []string{"lab"}
	route := []ra.Route{{Prefix: prefix("fd00:1::/48"), Lifetime: 5400 * time.Second}}
	a, b, d := base, base, base
	a.DNSServers, a.CaptivePortal, a.Routes, a.Preference = []netip.Addr{addr("fd00::53")}, "https://p.lab/", route, ra.High
	a.MinInterval, a.MaxInterval = 4500*time.Millisecond, 6*time.Second
	a.Prefixes = []ra.Prefix{ra.DefaultPrefix(prefix("fd00:0:0:1::/64")), ra.DefaultPrefix(prefix("2001:db8::/65"))}
	a.Prefixes[1].Autonomous = false
	b.Routes, b.RouterLifetime, b.NeedsGlobalPrefix, b.MTU = route, 0, false, 1400
	b.Prefixes = []ra.Prefix{{Prefix: prefix("fd00:0:0:2::/64"), OnLink: true, PreferDelegation: true, Preferred: 2700 * time.Second, Valid: ra.Infinity}}
	d.Managed, d.OtherConfig, d.SearchDomains = true, false, nil
	for link, want := range map[string]ra.Config{"a": a, "b": b, "d": d} {
		if diff := cmp.Diff(want, c.Find(link).At(lease.Clock{}), netips, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", link, diff)
		}
	}
	if c.Find("c") != nil || c.Find("e") != nil {
		t.Error("advertisements that nobody asked for")
	}
	if want := []netip.Prefix{prefix("fd00:1::/48")}; !slices.Equal(c.Network.Aggregates, want) {
		t.Errorf("aggregates %v, want %v: relays route theirs", c.Network.Aggregates, want)
	}
}

// TestSourceValidation: D-260 on the box's own links, unless the file says no; not
// behind relays, whose routes are not ours, and not on other interfaces.
func TestSourceValidation(t *testing.T) {
	c, _ := good(t, `{
		"interfaces": {"eth9": {}},
		"links": {
			"a": {"interface": "eth0"},
			"b": {"interface": "eth1", "source-validation": false},
			"c": {"relays": {"from": ["fd00::9"]}},
			"d": {"interface": "eth2", "relays": {"from": ["fd00::8"]}, "source-validation": true},
		}}`)
	if want := []string{"eth0", "eth2"}; !slices.Equal(c.Network.SourceValidation, want) {
		t.Errorf("%v, want %v", c.Network.SourceValidation, want)
	}
}

// TestEnds: the end of a prefix reaches leases, on-link prefixes and routes.
//
// D-320: advertised lifetimes stay below what is left, counted down. D-330: a
// retired prefix is advertised with zero, L and A unchanged.
func TestEnds(t *testing.T) {
	c, _ := good(t, lan(`"subnets": [{"prefix": "2001:db8:0:1::/64", "preferred-until": "2030-01-01T00:00:00Z", "valid-until": "2030-01-01T01:00:00Z"}, {"prefix": "2001:db8:0:2::/64", "retired": true}],
		"prefix-pools": [{"prefix": "2001:db8:8000::/40", "valid-until": "2030-01-01T00:00:00Z"}],
		"router-advertisements": {}`))
	end := lease.FromUnix(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).Unix())
	l := &c.Server.Links[0]
	if s := l.Subnets[0]; s.PreferredUntil != end || s.ValidUntil != end+3600 || !l.Subnets[1].Retired || l.PrefixPools[0].ValidUntil != end {
		t.Errorf("%+v %+v", l.Subnets, l.PrefixPools)
	}
	type left struct{ preferred, valid, route uint32 }
	at := func(wall lease.Time) left {
		now := lease.Clock{Mono: 7 * time.Hour, Wall: wall}
		a := c.Find("lan").At(now)
		if p := a.Prefixes[1]; p.Preferred != 0 || p.Valid != 0 || !p.OnLink || !p.Autonomous || p.ValidUntil != 0 {
			t.Errorf("retired prefix %+v", p)
		}
		remaining := func(until time.Duration) uint32 { return uint32(max(0, until-now.Mono) / time.Second) }
		if a.Prefixes[0].PreferredUntil == 0 || a.Prefixes[0].ValidUntil == 0 || a.Routes[0].ValidUntil == 0 {
			t.Error("an end became endless")
		}
		return left{remaining(a.Prefixes[0].PreferredUntil), remaining(a.Prefixes[0].ValidUntil), remaining(a.Routes[0].ValidUntil)}
	}
	for wall, want := range map[lease.Time]left{
		end - 100:     {100, 3700, 100},
		end:           {0, 3600, 0},
		end + 1800:    {0, 1800, 0},
		end + 3600:    {0, 0, 0},
		end + 1<<40:   {0, 0, 0},
		end - 1000000: {1000000, 1003600, 1000000},
	} {
		if got := at(wall); got != want {
			t.Errorf("%v: %+v, want %+v", wall, got, want)
		}
	}
	if m := monotonic(lease.Forever, lease.Clock{Mono: time.Hour, Wall: -1 << 30}); m < 136*365*24*time.Hour {
		t.Errorf("forever is %v", m)
	}
}

// TestWarnings are what is legal, but likely not meant.
func TestWarnings(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`§{}`, `no links: nobody is served; better: "links"`},
		{lan(`"subnets": [{"prefix": "2001:db8:0:1::/64", "pools": [§"2001:db8:0:1::100-2001:db8:0:1::17f", "2001:db8:0:1::180-2001:db8:0:1::1fe"]}]`),
			`links.lan.subnets[0].pools[0]: warning: 255 addresses in all: whoever scans them finds every host (RFC 7824 section 4.3); better: pools of 256 addresses or more, best the whole subnet`},
		{lan(`"subnets": [{"prefix": §"2001:db8:0:1::/65"}]`), `links.lan.subnets[0].prefix: warning: 2001:db8:0:1::/65: hosts make their own addresses only in a /64 (RFC 4862 section 5.5.3); better: a /64`},
		{lan(`"lifetimes": §{"preferred": 30, "valid": 59}`), `links.lan.lifetimes: warning: leases of 59 seconds make each client renew all the time; better: lifetimes of a minute or more`},
		{lan(`"reservations": [§{"duid": "00:00:01"}]`), `links.lan.reservations[0]: warning: a reservation of nothing; better: addresses, prefixes, a hostname, options or deny`},
		{lan(`"subnets": [{"prefix": "2001:db8:0:1::/64"}], "router-advertisements": {"default-lifetime": §0}`),
			`links.lan.router-advertisements.default-lifetime: warning: no default route for hosts in 2001:db8:0:1::/64; better: leave default-lifetime out, unless another router advertises itself there`},
		{lan(`"subnets": [{"prefix": "2001:db8:0:1::/64"}], "router-advertisements": {"managed": §false}`),
			`links.lan.router-advertisements.managed: warning: hosts are told not to ask for the addresses that lan leases; better: leave managed out`},
		{`{"forwarding": false, "links": {"lan": {"interface": "eth0", "router-advertisements": §{}}}}`,
			`links.lan.router-advertisements: warning: this box offers itself as a router, but does not forward; better: "forwarding": true, or "default-lifetime": 0`},
		{`{"interfaces": {"eth0": {"addresses": ["fd00::1/64"]}}, "links": {"lan": {"interface": "eth0", "subnets": [{"prefix": §"2001:db8:0:1::/64"}, {"prefix": "2001:db8:0:2::/64", "retired": true}]}}}`,
			`links.lan.subnets[0].prefix: warning: eth0 has no address in 2001:db8:0:1::/64: this box has no route to its hosts; better: an address such as 2001:db8:0:1::1/64 in interfaces.eth0`},
	} {
		text, places := unmark(c.text)
		_, problems := good(t, text)
		want := "config.json:" + places[0] + ": " + c.want
		if !strings.Contains(want, "warning: ") {
			want = "config.json:" + places[0] + ": warning: " + c.want
		}
		if got := problems.String(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

// TestNoWarning are small pools and lengths that are meant.
func TestNoWarning(t *testing.T) {
	for _, text := range []string{
		lan(`"subnets": [{"prefix": "2001:db8:0:1::/64", "pools": ["2001:db8:0:1::100-2001:db8:0:1::17f", "2001:db8:0:1::180-2001:db8:0:1::1ff"]}]`),
		lan(`"subnets": [{"prefix": "2001:db8:0:1::/64", "pools": []}]`),
		lan(`"subnets": [{"prefix": "2001:db8:0:1::/64", "retired": true, "pools": ["2001:db8:0:1::100/120"]}]`),
		lan(`"subnets": [{"prefix": "fd00:0:0:1::/64"}], "router-advertisements": {"default-lifetime": 0}`),
	} {
		if _, problems := good(t, text); len(problems) > 0 {
			t.Errorf("%v", problems)
		}
	}
}

// TestProblemsAreBounded: a file in which everything is wrong.
func TestProblemsAreBounded(t *testing.T) {
	c, problems := Parse("x", []byte("{"+numbered(5000, `"key%x": 0`)+"}"))
	if c != nil || len(problems) != ProblemsMax+2 { // one of them: no links
		t.Fatalf("%d problems", len(problems))
	}
	if got := problems[len(problems)-1].String(); got != "x: 4900 more problems are not shown" {
		t.Error(got)
	}
}

// TestFileLimits: what is too much is refused.
func TestFileLimits(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{strings.Repeat(" ", FileSizeMax+1), "a file of 4194305 octets; allowed: at most 4194304"},
		{"[" + strings.Repeat(",", 400_000), "too many values; allowed: at most 200000, names of keys included"},
		{`{"links":{` + numbered(LinksMax+1, `"l%x":0`) + `}}`, "links: 1025 entries; allowed: at most 1024"},
		{lan(`"subnets":[` + strings.Repeat("0,", SubnetsMax) + `0]`), "links.lan.subnets: 65 entries; allowed: at most 64"},
		{lan(`"reservations":[` + strings.Repeat("0,", ReservationsMax) + `0]`), "links.lan.reservations: 10001 entries; allowed: at most 10000"},
		{`{"options":{"domain-search": [` + strings.Repeat("0,", 32) + `0]}}`, "options.domain-search: 33 entries; allowed: at most 32"},
		{`{"options":{"domain-search": ["` + strings.Repeat("a", textLenMax+1) + `"]}}`, "options.domain-search[0]: a text of 3073 octets; allowed: at most 3072 octets"},
		{`{"options":{"custom": [{"code": 9, "hex":"` + strings.Repeat("00", 1025) + `"}]}}`,
			`options.custom[0].hex: "` + strings.Repeat("0", 80) + `..."; allowed: at most 1024 octets in hexadecimal, such as 0a0b or 0a:0b`},
	} {
		_, problems := Parse("", []byte(c.text))
		if !slices.ContainsFunc(problems, func(p Problem) bool { return strings.HasSuffix(p.String(), ": "+c.want) && !p.Warning }) {
			t.Errorf("got %v\nwant %s", problems, c.want)
		}
	}
}

// numbered is a list of n elements, each made from format with its number as
// often as the format wants it.
func numbered(n int, format string) string {
	elements := make([]string, n)
	for i := range n {
		elements[i] = strings.ReplaceAll(format, "%x", fmt.Sprintf("%x", i))
	}
	return strings.Join(elements, ",")
}

// TestReservationsInAll: the limit holds across links.
func TestReservationsInAll(t *testing.T) {
	reservations := func(n int) string { return `"reservations": [` + strings.Repeat(`{"deny": true},`, n) + `]` }
	_, problems := Parse("x", []byte(`{"links": {"a": {"interface": "eth0", `+reservations(6000)+`}, "b": {"interface": "eth1", `+reservations(6000)+`}}}`))
	if got := problems[len(problems)-1].Found; got != "11901 more problems are not shown" { // 12000 without criteria, and the sum
		t.Error(got)
	}
	all := `"reservations": [` + numbered(6000, `{"client-link-layer": "02:00:00:00:00:00", "interface-id": "%x", "deny": true}`) + `]`
	_, problems = Parse("x", []byte(`{"links": {"a": {"interface": "eth0", `+all+`}, "b": {"interface": "eth1", `+all+`}}}`))
	if len(problems) != 1 || problems[0].String() != "x:1:1: 12000 reservations in all; allowed: at most 10000" {
		t.Errorf("%v", problems)
	}
}

// TestManyPools: as many pools as a link can have, none overlapping.
func TestManyPools(t *testing.T) {
	var subnets []string
	for i := range SubnetsMax {
		net := fmt.Sprintf("2001:db8:0:%x:", i)
		subnets = append(subnets, `{"prefix": "`+net+`:/64", "pools": [`+numbered(PoolsMax, `"`+net+`:%x:0-`+net+`:%x:ffff"`)+`]}`)
	}
	c, problems := good(t, lan(`"subnets": [`+strings.Join(subnets, ",")+`]`))
	if len(problems) > 0 || len(c.Server.Links[0].Subnets[SubnetsMax-1].Pools) != PoolsMax {
		t.Errorf("%v", problems)
	}
}

// TestHostileFiles are made to use up memory, or time: comparing each thing with
// each other one would take these minutes.
func TestHostileFiles(t *testing.T) {
	pool, nets := `"subnets": [{"prefix": "2001:db8::/64"}], "prefix-pools": [{"prefix": "2001:db9::/32", "delegated-length": 56}],`, []string{}
	for range SubnetsMax {
		nets = append(nets, `{"prefix": "2001:db8::/64", "pools": [`+numbered(PoolsMax, `"2001:db8::-2001:db8::%x"`)+`]}`)
	}
	for name, text := range map[string]string{
		"values":            "[" + strings.Repeat("0,", valuesMax-2) + "0]",
		"objects":           `{"routes": [` + strings.Repeat("{},", valuesMax/3) + "0]}",
		"unknown keys":      "{" + numbered(valuesMax/3, `"preferred-prefixes-%x": 0`) + "}",
		"text":              `{"links": "` + strings.Repeat("a", FileSizeMax-100) + `"}`,
		"key":               `{"` + strings.Repeat("a", FileSizeMax-100) + `": 0}`,
		"escapes":           `{"links": "` + strings.Repeat(`\u0000`, FileSizeMax/6-100) + `"}`,
		"comments":          strings.Repeat("/*/**/", FileSizeMax/6) + "{}",
		"lines":             strings.Repeat("\n", FileSizeMax-2) + "{}",
		"overlapping pools": lan(`"subnets": [` + strings.Join(nets, ",") + `]`),
		"reservations":      lan(pool + `"reservations": [` + numbered(ReservationsMax, `{"interface-id": "%x", "addresses": ["2001:db8::%x:1"], "prefixes": ["2001:db9:%x::/48"]}`) + `]`),
		"same reservations": lan(pool + `"reservations": [` + strings.Repeat(`{"interface-id": "x", "addresses": ["2001:db8::1"], "prefixes": ["2001:db9::/48"]},`, ReservationsMax) + `]`),
		"wrong options":     `{"links": {` + numbered(LinksMax, `"l%x": {"interface": "e%x", "options": {"dns-servers": [`+strings.Repeat(`"::1",`, 32)+`]}}`) + `}}`,
		"links":             `{"links": {` + numbered(LinksMax, `"l%x": {"interface": "e%x", "subnets": [{"prefix": "2001:db8:0:%x::/64"}], "prefix-pools": [{"prefix": "2001:db9:%x::/48"}], "router-advertisements": {}}`) + `}}`,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, problems := Parse("x", []byte(text))
		runtime.ReadMemStats(&after)
		if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb > 256 || len(problems) > 2*ProblemsMax+2 || len(problems.String()) > 1<<20 {
			t.Errorf("%s: %d MB, %d problems in %d octets", name, mb, len(problems), len(problems.String()))
		}
	}
}

func TestDiff(t *testing.T) {
	before, _ := good(t, `{"links": {"a": {"interface": "eth0"}, "b": {"interface": "eth1", "router-advertisements": {}}, "c": {"interface": "eth2"}}}`)
	after, _ := good(t, `{"forwarding": false, "limits": {"leases": 5}, "interfaces": {"eth0": {}}, "routes": [{"to": "::/0", "interface": "eth9"}], "declined-for": 60, "remember-for": 60, "accept-unicast": true, "relay-supplied-options": [],
		"links": {"a": {"interface": "eth7", "subnets": [{"prefix": "2001:db8:0:1::/64"}], "prefix-pools": [{"prefix": "2001:db8:8000::/40"}], "relays": {"from": ["fd00::9"]}, "rapid-commit": false, "create-on-renew": false,
			"preference": 1, "address-policy": "random", "lifetimes": {"valid": 6000}, "options": {"sol-max-rt": 60}, "reservations": [{"duid": "00:00:01"}], "source-validation": false},
		"b": {"interface": "eth1", "router-advertisements": {"hop-limit": 1}}, "d": {"interface": "eth2"}}}`)
	want := "interfaces; forwarding; routes; limits; declined-for; remember-for; accept-unicast; relay-supplied-options; link c removed; " +
		"link a: interface, subnets, prefix-pools, relays, rapid-commit, create-on-renew, preference, address-policy, lifetimes, options, reservations, source-validation; " +
		"link b: router-advertisements; link d added"
	if got := Diff(before, after); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := Diff(after, after); got != "nothing" {
		t.Error(got)
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadFile(filepath.Join(dir, "none.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	large := filepath.Join(dir, "large.json")
	if err := os.WriteFile(large, make([]byte, 2*FileSizeMax), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := ReadFile(large)
	if err != nil || len(text) != FileSizeMax+1 {
		t.Errorf("%d octets, %v", len(text), err)
	}
	if _, problems := Parse(large, text); problems.Err() == nil {
		t.Error("too large a file is taken")
	}
}

func TestProblemString(t *testing.T) {
	_, problems := Parse("/perm/tandem6/config.json", []byte("{\n  \"lifetimes\": { \"preferd\": 5 },\n  \"links\": { \"lan\": { \"interface\": \"eth0\", \"lifetimes\": { \"valid\": 10, \"preferred\": 9 } } }\n}"))
	want := "/perm/tandem6/config.json:2:18: lifetimes.preferd: unknown key (did you mean preferred?); allowed: preferred, t1, t2, valid\n" +
		"/perm/tandem6/config.json:3:57: links.lan.lifetimes: warning: leases of 10 seconds make each client renew all the time; better: lifetimes of a minute or more"
	if problems.String() != want {
		t.Errorf("%s", problems)
	}
	if err := problems.Err(); err == nil || err.Error() != strings.Split(want, "\n")[0] {
		t.Errorf("%v", err)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"prefix", "preferred", "pools", "retired", "t1"}
	for key, want := range map[string]string{"preferd": "preferred", "Prefix": "prefix", "pool": "pools", "xyz": "", "": "", "t3": "t1", strings.Repeat("p", 1000): ""} {
		if got := nearest(key, names); got != want {
			t.Errorf("%q: %q, want %q", key, got, want)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "ab", 1}, {"", "ab", 2}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b, 10); got != c.want {
			t.Errorf("%q %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
