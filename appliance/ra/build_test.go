package ra

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"pgregory.net/rapid"
)

var (
	mac    = []byte{2, 0, 0, 0, 0, 1}
	global = netip.MustParsePrefix("2001:db8:0:1::/64")
	ula    = netip.MustParsePrefix("fd00:1:2:3::/64")
)

// testConfig serves addresses and prefixes on one link, without SLAAC.
func testConfig() Config {
	c := DefaultConfig()
	c.Managed = true
	p := DefaultPrefix(global)
	p.Autonomous = false
	c.Prefixes = []Prefix{p}
	return c
}

// The expected octets are written from the RFCs' pictures, one line a header or
// option; text stands between quotation marks.
const (
	sllaOption   = "01 01 020000000001"
	globalOption = "03 04 40 80 00001518 00000a8c 00000000 20010db8000000010000000000000000"
)

// What the message holds: D-314, D-315, D-316, D-317, D-319, D-320, D-321, D-322,
// D-323, D-324, D-325, D-327, D-328, D-330, D-336.
func TestBuild(t *testing.T) {
	tests := []struct {
		name   string
		now    time.Duration
		change func(*Config)
		gone   Withdrawn
		want   string
	}{
		{
			name:   "addresses by DHCPv6 only: M, O, and L without A (D-314, D-316, D-322)",
			change: func(c *Config) {},
			want:   "86000000 40 c0 0a8c 00000000 00000000 " + sllaOption + globalOption,
		},
		{
			name: "no addresses by DHCPv6: O without M, and A (D-315, D-316)",
			change: func(c *Config) {
				*c = DefaultConfig()
				c.Prefixes = []Prefix{DefaultPrefix(global)}
			},
			want: "86000000 40 40 0a8c 00000000 00000000 " + sllaOption +
				"03 04 40 c0 00001518 00000a8c 00000000 20010db8000000010000000000000000",
		},
		{
			name:   "no DHCPv6, no hop limit, no default router",
			change: func(c *Config) { *c = Config{MinInterval: 200 * time.Second, MaxInterval: 600 * time.Second} },
			want:   "86000000 00 00 0000 00000000 00000000 " + sllaOption,
		},
		{
			name:   "P without A (D-328)",
			change: func(c *Config) { c.Prefixes[0].PreferDelegation = true },
			want: "86000000 40 c0 0a8c 00000000 00000000 " + sllaOption +
				"03 04 40 90 00001518 00000a8c 00000000 20010db8000000010000000000000000",
		},
		{
			name:   "P with A, which stays as it was (D-327, D-328)",
			change: func(c *Config) { c.Prefixes[0].PreferDelegation, c.Prefixes[0].Autonomous = true, true },
			want: "86000000 40 c0 0a8c 00000000 00000000 " + sllaOption +
				"03 04 40 d0 00001518 00000a8c 00000000 20010db8000000010000000000000000",
		},
		{
			name:   "bits behind the prefix length are zero (D-317)",
			change: func(c *Config) { c.Prefixes[0].Prefix = netip.MustParsePrefix("2001:db8:0:1:ffff::1/64") },
			want:   "86000000 40 c0 0a8c 00000000 00000000 " + sllaOption + globalOption,
		},
		{
			name:   "ULA only: no default router, and then no preference (D-323)",
			change: func(c *Config) { c.Prefixes[0].Prefix, c.Preference = ula, High },
			want: "86000000 40 c0 0000 00000000 00000000 " + sllaOption +
				"03 04 40 80 00001518 00000a8c 00000000 fd000001000200030000000000000000",
		},
		{
			name: "ULA only, default router by decree; preference low",
			change: func(c *Config) {
				c.Prefixes[0].Prefix, c.Preference, c.NeedsGlobalPrefix = ula, Low, false
				c.RouterLifetime = 1800 * time.Second
			},
			want: "86000000 40 d8 0708 00000000 00000000 " + sllaOption +
				"03 04 40 80 00001518 00000a8c 00000000 fd000001000200030000000000000000",
		},
		{
			name:   "preference high",
			change: func(c *Config) { c.Preference = High },
			want:   "86000000 40 c8 0a8c 00000000 00000000 " + sllaOption + globalOption,
		},
		{
			name: "a delegation counts down (D-320)",
			now:  100*time.Second + 200*time.Millisecond,
			change: func(c *Config) {
				c.Prefixes[0].PreferredUntil, c.Prefixes[0].ValidUntil = 250*time.Second, 400*time.Second
			},
			want: "86000000 40 c0 0a8c 00000000 00000000 " + sllaOption +
				"03 04 40 80 0000012b 00000095 00000000 20010db8000000010000000000000000",
		},
		{
			name: "a delegation in its last second: no default router either (D-320, D-323)",
			now:  399*time.Second + 1,
			change: func(c *Config) {
				c.Prefixes[0].PreferredUntil, c.Prefixes[0].ValidUntil = 250*time.Second, 400*time.Second
			},
			want: "86000000 40 c0 0000 00000000 00000000 " + sllaOption +
				"03 04 40 80 00000000 00000000 00000000 20010db8000000010000000000000000",
		},
		{
			name: "a long delegation is capped (D-321)",
			change: func(c *Config) {
				day := 24 * time.Hour
				c.Prefixes[0] = Prefix{Prefix: global, OnLink: true, Preferred: 7 * day, Valid: 30 * day, PreferredUntil: 7 * day, ValidUntil: 30 * day}
				c.Routes = []Route{{Prefix: netip.MustParsePrefix("2001:db8::/48"), Lifetime: 30 * day, ValidUntil: 30 * day}}
				c.DNSServers, c.DNSLifetime = []netip.Addr{netip.MustParseAddr("2001:db8::53")}, 30*day
			},
			want: "86000000 40 c0 0a8c 00000000 00000000 " + sllaOption + globalOption +
				"18 02 30 00 00001518 20010db800000000" +
				"19 03 0000 00001518 20010db8000000000000000000000053",
		},
		{
			name: "preferred never above valid (D-319)",
			now:  100 * time.Second,
			change: func(c *Config) {
				c.Prefixes[0].ValidUntil = 400 * time.Second // the parent's preferred time is not known
			},
			want: "86000000 40 c0 0a8c 00000000 00000000 " + sllaOption +
				"03 04 40 80 0000012c 0000012c 00000000 20010db8000000010000000000000000",
		},
		{
			name: "an infinite lifetime stays infinite",
			change: func(c *Config) {
				c.Prefixes[0].Preferred, c.Prefixes[0].Valid = Infinity, Infinity
			},
			want: "86000000 40 c0 0a8c 00000000 00000000 " + sllaOption +
				"03 04 40 80 ffffffff ffffffff 00000000 20010db8000000010000000000000000",
		},
		{
			name: "routes of every size (D-324)",
			change: func(c *Config) {
				c.Prefixes = nil
				c.Routes = []Route{
					{Prefix: netip.MustParsePrefix("::/0"), Lifetime: ValidLimit},
					{Prefix: netip.MustParsePrefix("2001:db8::/48"), Preference: High, Lifetime: ValidLimit},
					{Prefix: global, Preference: Low, Lifetime: ValidLimit, ValidUntil: 600 * time.Second},
					{Prefix: netip.MustParsePrefix("2001:db8::1/128"), Lifetime: Infinity},
				}
			},
			want: "86000000 40 c0 0000 00000000 00000000 " + sllaOption +
				"18 01 00 00 00001518" +
				"18 02 30 08 00001518 20010db800000000" +
				"18 02 40 18 00000258 20010db800000001" +
				"18 03 80 00 ffffffff 20010db8000000000000000000000001",
		},
		{
			name: "DNS, MTU and captive portal (D-325)",
			change: func(c *Config) {
				c.MTU = 1500
				c.DNSServers = []netip.Addr{netip.MustParseAddr("2001:db8::53"), netip.MustParseAddr("fe80::53")}
				c.SearchDomains = []string{"example.org", "a.example"}
				c.CaptivePortal = "https://portal.example.org/api/1"
			},
			want: "86000000 40 c0 0a8c 00000000 00000000 " + sllaOption +
				"05 01 0000 000005dc" + globalOption +
				"19 05 0000 00001518 20010db8000000000000000000000053 fe800000000000000000000000000053" +
				`1f 04 0000 00001518 07 "example" 03 "org" 00 01 "a" 07 "example" 00` +
				`25 05 "https://portal.example.org/api/1" 000000000000`,
		},
		{
			name: "what left the configuration (D-330)",
			gone: Withdrawn{
				Prefixes:      []AdvertisedPrefix{{Prefix: ula, Autonomous: true}, {Prefix: netip.MustParsePrefix("2001:db8:0:2::/64"), OnLink: true}},
				Routes:        []netip.Prefix{netip.MustParsePrefix("2001:db8::/48")},
				DNSServers:    []netip.Addr{netip.MustParseAddr("2001:db8::53")},
				SearchDomains: []string{"example.org"},
			},
			change: func(c *Config) {},
			want: "86000000 40 c0 0a8c 00000000 00000000 " + sllaOption + globalOption +
				"03 04 40 40 00000000 00000000 00000000 fd000001000200030000000000000000" +
				"03 04 40 80 00000000 00000000 00000000 20010db8000000020000000000000000" +
				"18 02 30 00 00000000 20010db800000000" +
				"19 03 0000 00000000 20010db8000000000000000000000053" +
				`1f 03 0000 00000000 07 "example" 03 "org" 00 000000`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := testConfig()
			tt.change(&c)
			got := encode(t, Build(tt.now, c, tt.gone, mac))
			if want := octets(t, tt.want); !bytes.Equal(got, want) {
				t.Errorf("got  %x\nwant %x", got, want)
			}
		})
	}
}

// An address that is not an Ethernet address is left out (RFC 4861 section 4.2).
func TestBuildWithoutLinkLayerAddress(t *testing.T) {
	want := octets(t, "86000000 40 c0 0a8c 00000000 00000000 "+globalOption)
	for _, source := range [][]byte{nil, make([]byte, 20)} {
		if got := encode(t, Build(0, testConfig(), Withdrawn{}, source)); !bytes.Equal(got, want) {
			t.Errorf("source %x: got %x, want %x", source, got, want)
		}
	}
}

// DNS ends with the last prefix when all of them end, and not otherwise (D-321).
func TestBuildDNSLifetime(t *testing.T) {
	c := testConfig()
	c.DNSServers = []netip.Addr{netip.MustParseAddr("2001:db8::53")}
	ending := c.Prefixes[0]
	ending.ValidUntil = 300 * time.Second
	later := DefaultPrefix(ula)
	later.ValidUntil = 900 * time.Second
	tests := []struct {
		prefixes []Prefix
		want     time.Duration
	}{
		{nil, ValidLimit},
		{[]Prefix{ending}, 200 * time.Second},
		{[]Prefix{ending, later}, 800 * time.Second},
		{[]Prefix{later, ending}, 800 * time.Second},
		{[]Prefix{ending, DefaultPrefix(ula)}, ValidLimit},
	}
	for _, tt := range tests {
		c.Prefixes = tt.prefixes
		m := Build(100*time.Second, c, Withdrawn{}, mac)
		dns, ok := m.Options[len(m.Options)-1].(*ndp.RecursiveDNSServer)
		if !ok || dns.Lifetime != tt.want {
			t.Errorf("prefixes %v: got %v, want %s", tt.prefixes, m.Options, tt.want)
		}
	}
}

// Whatever is configured and withdrawn: the message can be encoded, fits into the
// smallest packet, holds the whole configuration, and has no reserved bit set
// (D-336); no preferred lifetime is above its valid lifetime (D-319).
func TestBuildAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfig(t)
		now := drawSeconds(t, "now", 0, 20000)
		var w Withdrawn
		for range rapid.IntRange(0, rememberedMax).Draw(t, "withdrawn") {
			w.Prefixes = append(w.Prefixes, AdvertisedPrefix{Prefix: drawPrefix(t), OnLink: rapid.Bool().Draw(t, "L")})
			w.Routes = append(w.Routes, drawPrefix(t))
			w.DNSServers = append(w.DNSServers, drawPrefix(t).Addr().Next())
			w.SearchDomains = append(w.SearchDomains, drawDomain(t))
		}
		b, err := ndp.MarshalMessage(Build(now, c, w, mac))
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > AdvertisementSizeMax || len(b)%8 != 0 {
			t.Fatalf("%d octets", len(b))
		}
		checkReserved(t, b)
		o, err := ParseAdvertisement(b, netip.MustParseAddr("fe80::1"), 255)
		if err != nil {
			t.Fatal(err)
		}
		if len(o.Prefixes) < len(c.Prefixes) {
			t.Fatalf("%d of %d prefixes sent", len(o.Prefixes), len(c.Prefixes))
		}
		if d := Compare(now, c, o); len(d) != 0 {
			t.Fatalf("the message says something else: %v", d)
		}
		for _, p := range o.Prefixes {
			if p.Preferred > p.Valid {
				t.Fatalf("%v", p)
			}
		}
	})
}

// checkReserved looks at the bits that RFC 4861 sections 4.2 and 4.6.2, RFC 4191
// section 2.3 and RFC 8106 sections 5.1 and 5.2 reserve.
func checkReserved(t *rapid.T, b []byte) {
	if b[1] != 0 || b[5]&^0xd8 != 0 || b[5]&0x18 == 0x10 {
		t.Fatalf("header %x", b[:16])
	}
	err := eachOption(b[16:], func(kind byte, o []byte) {
		reserved := [4]byte{}
		ok := true
		switch kind {
		case 3:
			ok = o[3]&^0xd0 == 0 && bytes.Equal(o[12:16], reserved[:])
		case 24:
			ok = o[3]&^0x18 == 0 && o[3] != 0x10
		case 5, 25, 31:
			ok = bytes.Equal(o[2:4], reserved[:2])
		}
		if !ok {
			t.Fatalf("option %x", o)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func encode(t *testing.T, m *ndp.RouterAdvertisement) []byte {
	t.Helper()
	b, err := ndp.MarshalMessage(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// octets reads hexadecimal digits and quoted text.
func octets(t *testing.T, s string) []byte {
	t.Helper()
	var all []byte
	for i, part := range strings.Split(s, `"`) {
		if i%2 == 1 {
			all = append(all, part...)
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

func drawSeconds(t *rapid.T, label string, least, most int) time.Duration {
	return time.Duration(rapid.IntRange(least, most).Draw(t, label)) * time.Second
}

func drawPrefix(t *rapid.T) netip.Prefix {
	a := netip.MustParseAddr("2001:db8::").As16()
	if rapid.Bool().Draw(t, "ula") {
		a = netip.MustParseAddr("fd00::").As16()
	}
	for i := 4; i < 16; i++ {
		a[i] = rapid.Byte().Draw(t, "octet")
	}
	bits := rapid.SampledFrom([]int{32, 48, 56, 64, 64, 64, 127, 128}).Draw(t, "bits")
	return netip.PrefixFrom(netip.AddrFrom16(a), bits).Masked()
}

func drawDomain(t *rapid.T) string {
	return rapid.StringMatching(`[a-z0-9_-]{1,30}(\.[a-z0-9-]{1,60}){0,2}`).
		Filter(validDomain).Draw(t, "domain")
}

// drawConfig is any valid Config.
func drawConfig(t *rapid.T) Config {
	c := Config{
		Managed:           rapid.Bool().Draw(t, "M"),
		OtherConfig:       rapid.Bool().Draw(t, "O"),
		HopLimit:          rapid.Byte().Draw(t, "hop limit"),
		NeedsGlobalPrefix: rapid.Bool().Draw(t, "needs global prefix"),
		Preference:        rapid.SampledFrom([]Preference{Low, Medium, High}).Draw(t, "preference"),
		MaxInterval:       drawSeconds(t, "max interval", 4, 1800),
		MTU:               rapid.SampledFrom([]uint32{0, 1280, 65535}).Draw(t, "mtu"),
		CaptivePortal:     rapid.SampledFrom([]string{"", "https://a.example", "urn:ietf:params:capport:unrestricted"}).Draw(t, "portal"),
	}
	c.MinInterval = time.Duration(rapid.Int64Range(int64(minIntervalLeast), int64(c.MaxInterval*3/4)).Draw(t, "min interval"))
	lifetime := func() time.Duration {
		if rapid.Bool().Draw(t, "zero") {
			return 0
		}
		return max(c.MaxInterval, drawSeconds(t, "lifetime", 4, 9000))
	}
	c.RouterLifetime = lifetime()
	for range rapid.IntRange(0, 6).Draw(t, "prefixes") {
		p := Prefix{Prefix: drawPrefix(t), OnLink: rapid.Bool().Draw(t, "L"), Valid: lifetime()}
		p.Autonomous = p.Prefix.Bits() == 64 && rapid.Bool().Draw(t, "A")
		p.PreferDelegation = (c.Managed || c.OtherConfig) && rapid.Bool().Draw(t, "P")
		p.Preferred = min(lifetime(), p.Valid)
		if rapid.Bool().Draw(t, "ends") {
			p.PreferredUntil, p.ValidUntil = drawSeconds(t, "preferred until", 1, 20000), drawSeconds(t, "valid until", 1, 20000)
		}
		if !c.hasPrefix(p.Prefix) {
			c.Prefixes = append(c.Prefixes, p)
		}
	}
	for range rapid.IntRange(0, 4).Draw(t, "routes") {
		r := Route{Prefix: drawPrefix(t), Preference: c.Preference, Lifetime: lifetime()}
		if !strings.Contains(routesOf(c), r.Prefix.String()) {
			c.Routes = append(c.Routes, r)
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "servers") {
		c.DNSServers = append(c.DNSServers, drawPrefix(t).Addr().Next())
	}
	for range rapid.IntRange(0, 3).Draw(t, "domains") {
		c.SearchDomains = append(c.SearchDomains, drawDomain(t))
	}
	c.DNSLifetime = 3 * c.MaxInterval
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return c
}

func routesOf(c Config) string {
	var b strings.Builder
	for _, r := range c.Routes {
		b.WriteString(r.Prefix.String() + " ")
	}
	return b.String()
}
