package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tailscale/hujson"
)

// lan is a file with one link that has an interface.
func lan(keys string) string { return `{"links": {"lan": {"interface": "eth0", ` + keys + `}}}` }

// bad are files with problems: each mark § stands where a problem is to be found,
// and want has what is said there, in the same order.
var bad = []struct {
	name, text string
	want       []string
}{
	// The file as such.
	{"empty", "§", []string{`parsing value: unexpected EOF; allowed: JSON with comments and trailing commas`}},
	{"not JSON", `{"links": §links}`, []string{`invalid literal: links; allowed: JSON with comments and trailing commas`}},
	{"two values", `{} §{}`, []string{`invalid character '{' after top-level value; allowed: JSON with comments and trailing commas`}},
	{"cut off", "{\n  \"links\": {§", []string{`parsing value: unexpected EOF; allowed: JSON with comments and trailing commas`}},
	{"not UTF-8", "{\"links\": \"§\xff\"}", []string{`octet 0xff is not UTF-8; allowed: a file in UTF-8`}},
	{"deep", strings.Repeat("[", 16) + "§[", []string{`nested 17 deep; allowed: at most 16`}},
	{"no object", `§[]`, []string{`a list; allowed: an object in braces with the keys accept-unicast, declined-for, forwarding, interfaces, lifetimes, limits, links, options, relay-supplied-options, remember-for, routes`}},

	// Keys.
	{"unknown key", `{§"lnks": {}, "links": {}}`, []string{`lnks: unknown key (did you mean links?); allowed: accept-unicast, declined-for, forwarding, interfaces, lifetimes, limits, links, options, relay-supplied-options, remember-for, routes`}},
	{"unlike any key", `{"lifetimes": {§"x y": 1}}`, []string{`lifetimes["x y"]: unknown key; allowed: preferred, t1, t2, valid`}},
	{"key twice", "{\"forwarding\": true,\n §\"forwarding\": false}", []string{`forwarding: a second time, first in line 1; allowed: each key once`}},
	{"link twice", `{"links": {"a": {"interface": "eth0"}, §"a": {"interface": "eth1"}}}`, []string{`links.a: a second time, first in line 1; allowed: each key once`}},
	{"null is no default", `{"forwarding": §null}`, []string{`forwarding: null; allowed: true or false`}},

	// Types and ranges.
	{"text for bool", `{"forwarding": §"yes"}`, []string{`forwarding: the text "yes"; allowed: true or false`}},
	{"list for object", `{"lifetimes": §[]}`, []string{`lifetimes: a list; allowed: an object in braces with the keys preferred, t1, t2, valid`}},
	{"object for list", `{"routes": §{}}`, []string{`routes: an object; allowed: a list in brackets`}},
	{"number for names", `{"links": §3}`, []string{`links: 3; allowed: an object in braces with a key for each link`}},
	{"bool for text", `{"links": {"a": {"interface": §true}}}`, []string{`links.a.interface: true; allowed: a text in quotes`}},
	{"name of an interface", `{"links": {"a": {"interface": §"eth 0"}}}`, []string{`links.a.interface: "eth 0"; allowed: ` + interfaceNames}},
	{"terminal codes", "{\"forwarding\": §\"\x1b[31m\"}", []string{`invalid literal: "?[31m"; allowed: JSON with comments and trailing commas`}},
	{"fraction", `{"limits": {"leases": §1.5}}`, []string{`limits.leases: 1.5; allowed: 1 to 1000000`}},
	{"negative", `{"limits": {"leases-per-client": §-1}}`, []string{`limits.leases-per-client: -1; allowed: 1 to 10000`}},
	{"limits", `{"limits": {"leases": §1000001, "declines-per-client": §0, "prefixes-per-client": §"8", "messages-per-second-per-client": §1e2}}`, []string{
		`limits.leases: 1000001; allowed: 1 to 1000000`,
		`limits.declines-per-client: 0; allowed: 1 to 10000`,
		`limits.prefixes-per-client: the text "8"; allowed: 1 to 10000`,
		`limits.messages-per-second-per-client: 1e2; allowed: 1 to 100000`,
	}},
	{"control character", `{"links": {"a": {"interface": §"eth0\u0000"}}}`, []string{`links.a.interface: "eth0\x00"; allowed: a text without control characters`}},
	{"times", `{"declined-for": §59, "remember-for": §"2y", "lifetimes": {"preferred": §7, "valid": §4294967295, "t1": §"1.5h", "t2": §""}}`, []string{
		`declined-for: 59; allowed: 60 to 31622400 seconds`,
		`remember-for: "2y"; allowed: 0 to 31622400 seconds, as a number or with units as in "1h30m" (w, d, h, m, s)`,
		`lifetimes.preferred: 7; allowed: 8 to 4294967294 seconds, or "infinite"`,
		`lifetimes.valid: 4294967295; allowed: 8 to 4294967294 seconds, or "infinite"`,
		`lifetimes.t1: "1.5h"; allowed: 1 to 4294967294 seconds, or "infinite", as a number or with units as in "1h30m" (w, d, h, m, s)`,
		`lifetimes.t2: ""; allowed: 1 to 4294967294 seconds, or "infinite", as a number or with units as in "1h30m" (w, d, h, m, s)`,
	}},
	{"infinite quarantine", `{"declined-for": §"infinite"}`, []string{`declined-for: "infinite"; allowed: 60 to 31622400 seconds, as a number or with units as in "1h30m" (w, d, h, m, s)`}},

	// Lifetimes with each other, D-143.
	{"preferred above valid", `{"lifetimes": {"preferred": §5401}}`, []string{`lifetimes.preferred: 5401 seconds; allowed: at most the valid lifetime, 5400 seconds`}},
	{"valid below inherited preferred", lan(`"lifetimes": §{"valid": 2000}`), []string{`links.lan.lifetimes.preferred: 2700 seconds; allowed: at most the valid lifetime, 2000 seconds`}},
	{"T1 above T2", `{"lifetimes": {"t1": §1000, "t2": 999}}`, []string{`lifetimes.t1: 1000 seconds; allowed: at most T2, 999 seconds`}},
	{"T1 above default T2", `{"lifetimes": {"t1": §2161}}`, []string{`lifetimes.t1: 2161 seconds; allowed: at most T2, 2160 seconds`}},
	{"T2 above preferred", `{"lifetimes": {"t2": §"infinite"}}`, []string{`lifetimes.t2: infinite; allowed: at most the preferred lifetime, 2700 seconds`}},

	// Interfaces and routes.
	{"interface names", `{"interfaces": {"a/b": §{}, "sixteen-letters-": §{}, "eth0:1": §{}, "..": §{}}}`, []string{
		`interfaces["a/b"]: the name "a/b"; allowed: ` + interfaceNames,
		`interfaces.sixteen-letters-: the name "sixteen-letters-"; allowed: ` + interfaceNames,
		`interfaces["eth0:1"]: the name "eth0:1"; allowed: ` + interfaceNames,
		`interfaces[".."]: the name ".."; allowed: ` + interfaceNames,
	}},
	{"addresses", `{"interfaces": {"eth0": {"mtu": §1279, "addresses": [§"2001:db8::1", §"192.0.2.1/24", §"2001:db8::/64", §"ff02::1/64", §7, "2001:db8::5/64", §"2001:db8::5/48"]}}}`, []string{
		`interfaces.eth0.mtu: 1279; allowed: 1280 to 65535 octets`,
		`interfaces.eth0.addresses[0]: "2001:db8::1"; allowed: an IPv6 unicast address with the length of its network, such as 2001:db8:0:1::1/64`,
		`interfaces.eth0.addresses[1]: "192.0.2.1/24"; allowed: an IPv6 unicast address with the length of its network, such as 2001:db8:0:1::1/64`,
		`interfaces.eth0.addresses[2]: 2001:db8::/64 is the subnet-router anycast address (RFC 4291 section 2.6.1); allowed: another address of the network, such as 2001:db8::1/64`,
		`interfaces.eth0.addresses[3]: "ff02::1/64"; allowed: an IPv6 unicast address with the length of its network, such as 2001:db8:0:1::1/64`,
		`interfaces.eth0.addresses[4]: 7; allowed: a text in quotes`,
		`interfaces.eth0.addresses[6]: 2001:db8::5 stands in interfaces.eth0.addresses[5] (line 1) already; allowed: each address once`,
	}},
	{"routes", "{\"routes\": [{\"to\": §\"2001:db8::1/64\", \"via\": \"fe80::1\", \"interface\": \"eth0\"}, §{\"to\": \"::/0\"}, §{\"via\": \"2001:db8::1\"}, §{\"to\": \"::/0\", \"via\": \"fe80::1\"},\n" +
		`{"to": "::/0", "via": "2001:db8::1"}, §{"to": "::/0", "via": "2001:db8::1", "metric": 1024}, {"to": "::/0", "via": "2001:db8::1", "metric": §0}]}`, []string{
		`routes[0].to: 2001:db8::1/64; allowed: no bits behind the length, did you mean 2001:db8::/64?`,
		`routes[1]: no key via or interface; allowed: an object with via or interface`,
		`routes[2]: no key to; allowed: an object with to`,
		`routes[3]: route ::/0: next hop fe80::1 is link-local, so the interface must be named`,
		`routes[5]: ::/0 via 2001:db8::1 metric 1024 stands in routes[4] (line 2) already; allowed: each route once`,
		`routes[6].metric: 0; allowed: 1 to 2147483646`,
	}},

	// Links.
	{"link name", `{"links": {"-": §{"interface": "eth0"}}}`, []string{`links.-: the name "-"; allowed: names of links: 1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit`}},
	{"nobody can reach it", `{"links": {"lan": §{}}}`, []string{`links.lan: neither interface nor relays: nobody can reach it; allowed: an "interface", or the sources of its relays in "relays": {"from": [...]}`}},
	{"relays from nowhere", `{"links": {"lan": §{"relays": {"link-addresses": ["2001:db8::1"]}}}}`, []string{`links.lan: neither interface nor relays: nobody can reach it; allowed: an "interface", or the sources of its relays in "relays": {"from": [...]}`}},
	{"link-addresses from nowhere", lan(`"relays": §{"link-addresses": ["2001:db8::1"]}`), []string{`links.lan.relays: link-addresses, but no sources of relays; allowed: the sources from which relays are trusted in "from"`}},
	{"interface of two links", `{"links": {"a": {"interface": "eth0"}, "b": {"interface": §"eth0"}}}`, []string{`links.b.interface: eth0 belongs to links.a (line 1); allowed: an interface of its own for each link`}},
	{"source validation behind relays", `{"links": {"lan": {"relays": {"from": ["2001:db8::9"]}, "source-validation": §false}}}`, []string{
		`links.lan.source-validation: source validation on a link that is only reached through relays; allowed: an "interface" of the link`,
	}},
	{"source validation without a value", lan(`"source-validation": §"no"`), []string{`links.lan.source-validation: the text "no"; allowed: true or false`}},
	{"address policy", lan(`"address-policy": §"eui64", "preference": §256`), []string{
		`links.lan.address-policy: "eui64"; allowed: stable, random`,
		`links.lan.preference: 256; allowed: 0 to 255`,
	}},
	{"relays", lan(`"relays": {"from": [§"2001:db8::1/64", §"ff05::1:3"], "link-addresses": [§"fe80::1", "2001:db8::9", §"2001:db8::9"]}`), []string{
		`links.lan.relays.from[0]: "2001:db8::1/64"; allowed: an IPv6 address, or a prefix without bits behind its length`,
		`links.lan.relays.from[1]: "ff05::1:3"; allowed: an IPv6 address, or a prefix without bits behind its length`,
		`links.lan.relays.link-addresses[0]: fe80::1; allowed: a global or unique local unicast address`,
		`links.lan.relays.link-addresses[2]: 2001:db8::9 stands in links.lan.relays.link-addresses[1] (line 1) already; allowed: each address once, on one link`,
	}},
	{"relay's address on another link", `{"links": {"a": {"interface": "eth0", "subnets": [{"prefix": "2001:db8:0:1::/64"}]}, "b": {"relays": {"from": ["2001:db8::9"], "link-addresses": ["2001:db8:0:2::1", §"2001:db8:0:1::1"]}}}}`, []string{
		`links.b.relays.link-addresses[1]: 2001:db8:0:1::1 is in 2001:db8:0:1::/64, links.a.subnets[0] (line 1); allowed: an address that is in no other link's subnet`,
	}},

	// Subnets and pools.
	{"subnets", lan(`"subnets": [§{}, {"prefix": §"2001:db8::/31"}, {"prefix": §"2001:db8::1/128"}, {"prefix": §"fe80::/64"}, {"prefix": §"ff05::/64"}, {"prefix": §"::/64"}, {"prefix": §"192.0.2.0/24"}, {"prefix": §"2001:db8:0:1::1/64"}]`), []string{
		`links.lan.subnets[0]: no key prefix; allowed: an object with prefix`,
		`links.lan.subnets[1].prefix: 2001:db8::/31; allowed: a length from 32 to 127`,
		`links.lan.subnets[2].prefix: 2001:db8::1/128; allowed: a length from 32 to 127`,
		`links.lan.subnets[3].prefix: fe80::/64; allowed: a prefix of global or unique local unicast addresses`,
		`links.lan.subnets[4].prefix: ff05::/64; allowed: a prefix of global or unique local unicast addresses`,
		`links.lan.subnets[5].prefix: ::/64; allowed: a prefix of global or unique local unicast addresses`,
		`links.lan.subnets[6].prefix: "192.0.2.0/24"; allowed: an IPv6 prefix such as 2001:db8::/64`,
		`links.lan.subnets[7].prefix: 2001:db8:0:1::1/64; allowed: no bits behind the length, did you mean 2001:db8:0:1::/64?`,
	}},
	{"subnets overlap on a link", lan(`"subnets": [{"prefix": "2001:db8:0:1::/64"}, {"prefix": §"2001:db8:0:1::/64"}]`), []string{
		`links.lan.subnets[1].prefix: 2001:db8:0:1::/64 overlaps subnet 2001:db8:0:1::/64 in links.lan.subnets[0].prefix (line 1); allowed: prefixes that do not overlap`,
	}},
	{"subnets overlap between links", "{\"links\": {\"a\": {\"interface\": \"eth0\", \"subnets\": [{\"prefix\": \"2001:db8:0:1::/64\"}]},\n" +
		`"b": {"interface": "eth1", "subnets": [{"prefix": §"2001:db8::/48"}]}}}`, []string{
		`links.b.subnets[0].prefix: 2001:db8::/48 overlaps subnet 2001:db8:0:1::/64 in links.a.subnets[0].prefix (line 1); allowed: prefixes that do not overlap`,
	}},
	{"pools", lan(`"subnets": [{"prefix": "2001:db8:0:1::/64", "pools": [§"2001:db8:0:1::f-2001:db8:0:1::1", §"2001:db8:0:2::1-2001:db8:0:2::fff", §"2001:db8:0:1::1-2001:db8:0:2::1", §"2001:db8::/48", §"a-b", §"2001:db8:0:1::5", "2001:db8:0:1:8000::/65"]}]`), []string{
		`links.lan.subnets[0].pools[0]: 2001:db8:0:1::f-2001:db8:0:1::1; allowed: the lower address first`,
		`links.lan.subnets[0].pools[1]: 2001:db8:0:2::1-2001:db8:0:2::fff is not in the subnet; allowed: addresses in 2001:db8:0:1::/64`,
		`links.lan.subnets[0].pools[2]: 2001:db8:0:1::1-2001:db8:0:2::1 is not in the subnet; allowed: addresses in 2001:db8:0:1::/64`,
		`links.lan.subnets[0].pools[3]: 2001:db8::-2001:db8:0:ffff:ffff:ffff:ffff:ffff is not in the subnet; allowed: addresses in 2001:db8:0:1::/64`,
		`links.lan.subnets[0].pools[4]: "a-b"; allowed: two addresses such as 2001:db8::1000-2001:db8::1fff, or a prefix`,
		`links.lan.subnets[0].pools[5]: "2001:db8:0:1::5"; allowed: an IPv6 prefix such as 2001:db8::/64`,
	}},
	{"pools overlap", lan("\"subnets\": [{\"prefix\": \"2001:db8:0:1::/64\", \"pools\": [\n" + `"2001:db8:0:1::1-2001:db8:0:1::ffff",` + "\n" + `§"2001:db8:0:1::100/120", "2001:db8:0:1:1::/80", §"2001:db8:0:1::ffff-2001:db8:0:1::1:0"]}]`), []string{
		`links.lan.subnets[0].pools[1]: 2001:db8:0:1::100-2001:db8:0:1::1ff overlaps 2001:db8:0:1::1-2001:db8:0:1::ffff, links.lan.subnets[0].pools[0] (line 2); allowed: pools that do not overlap`,
		`links.lan.subnets[0].pools[3]: 2001:db8:0:1::ffff-2001:db8:0:1::1:0 overlaps 2001:db8:0:1::1-2001:db8:0:1::ffff, links.lan.subnets[0].pools[0] (line 2); allowed: pools that do not overlap`,
	}},
	{"ends", lan(`"subnets": [{"prefix": "2001:db8:0:1::/64", "preferred-until": §"2030-01-02T00:00:00Z", "valid-until": "2030-01-02T00:30:00+01:00"}, {"prefix": "2001:db8:0:2::/64", "valid-until": §"tomorrow", "preferred-until": §"1999-12-31T00:00:00Z"}]`), []string{
		`links.lan.subnets[0].preferred-until: 2030-01-02T00:00:00Z; allowed: at most valid-until, 2030-01-01T23:30:00Z`,
		`links.lan.subnets[1].valid-until: "tomorrow"; allowed: a time after the year 1999 such as 2027-03-01T04:00:00Z (RFC 3339)`,
		`links.lan.subnets[1].preferred-until: "1999-12-31T00:00:00Z"; allowed: a time after the year 1999 such as 2027-03-01T04:00:00Z (RFC 3339)`,
	}},
	{"one mistake, one problem", lan(`"subnets": [{"prefix": §"2001:db8:0:1::1/64", "pools": ["2001:db8:0:1::/80"]}], "prefix-pools": [{"prefix": §5}],
		"reservations": [{"duid": "00:00:01", "addresses": ["2001:db8:0:1::42"], "prefixes": ["2001:db8:8000::/56"]}], "options": {"dns-servers": [§"ns.lab"]}, "router-advertisements": {}`), []string{
		`links.lan.subnets[0].prefix: 2001:db8:0:1::1/64; allowed: no bits behind the length, did you mean 2001:db8:0:1::/64?`,
		`links.lan.prefix-pools[0].prefix: 5; allowed: a text in quotes`,
		`links.lan.options.dns-servers[0]: "ns.lab"; allowed: an IPv6 address such as 2001:db8::1`,
	}},
	{"pool that reaches far", lan(`"subnets": [{"prefix": "2001:db8:0:1::/64", "pools": ["2001:db8:0:1::20-2001:db8:0:1::fff", §"2001:db8:0:1::1-2001:db8:0:1::ffff", §"2001:db8:0:1::2000-2001:db8:0:1::3000"]}]`), []string{
		`links.lan.subnets[0].pools[1]: 2001:db8:0:1::1-2001:db8:0:1::ffff overlaps 2001:db8:0:1::20-2001:db8:0:1::fff, links.lan.subnets[0].pools[0] (line 1); allowed: pools that do not overlap`,
		`links.lan.subnets[0].pools[2]: 2001:db8:0:1::2000-2001:db8:0:1::3000 overlaps 2001:db8:0:1::1-2001:db8:0:1::ffff, links.lan.subnets[0].pools[1] (line 1); allowed: pools that do not overlap`,
	}},

	// Prefix pools, D-253, D-264.
	{"delegated length", lan(`"prefix-pools": [{"prefix": "2001:db8::/40", "delegated-length": §40}, {"prefix": "2001:db9::/40", "delegated-length": §65}, {"prefix": "2001:dba::/40", "delegated-length": §32}, {"prefix": §"2001:dbb::/64"}]`), []string{
		`links.lan.prefix-pools[0].delegated-length: 40; allowed: 41 to 64: longer than the pool's prefix, and no longer than hosts can use (RFC 9663 section 7)`,
		`links.lan.prefix-pools[1].delegated-length: 65; allowed: 41 to 64: longer than the pool's prefix, and no longer than hosts can use (RFC 9663 section 7)`,
		`links.lan.prefix-pools[2].delegated-length: 32; allowed: 41 to 64: longer than the pool's prefix, and no longer than hosts can use (RFC 9663 section 7)`,
		`links.lan.prefix-pools[3].prefix: 2001:dbb::/64; allowed: a length from 16 to 63, shorter than what is delegated from it`,
	}},
	{"pool collides with a subnet", "{\"links\": {\"a\": {\"interface\": \"eth0\", \"subnets\": [{\"prefix\": \"2001:db8:0:1::/64\"}]},\n" +
		`"b": {"interface": "eth1", "prefix-pools": [{"prefix": §"2001:db8::/48"}]}}}`, []string{
		`links.b.prefix-pools[0].prefix: 2001:db8::/48 overlaps subnet 2001:db8:0:1::/64 in links.a.subnets[0].prefix (line 1); allowed: prefixes that do not overlap`,
	}},
	{"pools collide", "{\"links\": {\"a\": {\"interface\": \"eth0\", \"prefix-pools\": [{\"prefix\": \"2001:db8::/48\"}, {\"prefix\": \"2001:db8:1::/48\"}]},\n" +
		`"b": {"interface": "eth1", "prefix-pools": [{"prefix": §"2001:db8:1:8000::/49"}]}}}`, []string{
		`links.b.prefix-pools[0].prefix: 2001:db8:1:8000::/49 overlaps prefix pool 2001:db8:1::/48 in links.a.prefix-pools[1].prefix (line 1); allowed: prefixes that do not overlap`,
	}},
	{"pool collides with a network", "{\"interfaces\": {\"eth9\": {\"addresses\": [\"2001:db8:0:9::1/64\"]}},\n" + `"links": {"a": {"interface": "eth0", "prefix-pools": [{"prefix": §"2001:db8::/48"}]}}}`, []string{
		`links.a.prefix-pools[0].prefix: 2001:db8::/48 overlaps the network 2001:db8:0:9::/64 in interfaces.eth9.addresses[0] (line 1); allowed: prefixes that do not overlap`,
	}},
	{"excluded prefix", lan(`"prefix-pools": [{"prefix": "2001:db8::/40", "delegated-length": 56, "excluded-prefix": {"length": §56}}, {"prefix": "2001:db9::/40", "delegated-length": 56, "excluded-prefix": {"length": 64, "subnet-id": §"0100"}}, {"prefix": "2001:dba::/40", "excluded-prefix": §{}}, {"prefix": "2001:dbb::/40", "excluded-prefix": {"length": §105}}, {"prefix": "2001:dbc::/40", "excluded-prefix": {"length": 65, "subnet-id": §"zz"}}]`), []string{
		`links.lan.prefix-pools[0].excluded-prefix.length: 56; allowed: 57 to 104: longer than the delegated prefix`,
		`links.lan.prefix-pools[1].excluded-prefix.subnet-id: 100; allowed: 0 to ff: a /56 has so many parts of length 64`,
		`links.lan.prefix-pools[2].excluded-prefix: no key length; allowed: an object with length`,
		`links.lan.prefix-pools[3].excluded-prefix.length: 105; allowed: 65 to 104: longer than the delegated prefix`,
		`links.lan.prefix-pools[4].excluded-prefix.subnet-id: "zz"; allowed: at most 8 octets in hexadecimal, such as 0a0b or 0a:0b`,
	}},

	// Options, D-139, D-165, D-174, D-176.
	{"option values", `{"options": {"dns-servers": ["2001:db8::53", §"ff02::53"], "domain-search": [§"a..b"], "ntp-servers": ["ntp.lab", §"::1"], "captive-portal": §"https://[2001:db8::1]/", "information-refresh-time": §60, "sol-max-rt": §10, "inf-max-rt": §86401}}`, []string{
		`options.dns-servers[1]: ff02::53 is not the address of a server; allowed: a unicast IPv6 address without a zone`,
		`options.domain-search[0]: "a..b" has an empty label; allowed: a domain name such as ntp.example.org, international names in their xn-- form`,
		`options.ntp-servers[1]: ::1 is not the address of a server; allowed: a unicast IPv6 address without a zone`,
		`options.captive-portal: host "2001:db8::1" is an IP literal; allowed: an https URI of at most 255 octets with a domain name as host, such as https://portal.example.org/api, or urn:ietf:params:capport:unrestricted (RFC 8910 section 2)`,
		`options.information-refresh-time: 60; allowed: 600 to 4294967294 seconds, or "infinite"`,
		`options.sol-max-rt: 10; allowed: 60 to 86400 seconds`,
		`options.inf-max-rt: 86401; allowed: 60 to 86400 seconds`,
	}},
	{"lists of options", `{"options": {"dns-servers": [§"::", §"::1", "2001:db8::53"], "vendor": [{"enterprise": 9, "options": [{"code": 1}]}, §{"enterprise": 9, "options": [{"code": 2}]}],` +
		` "custom": [{"code": 65001, "hex": §"a:b"}, §{"code": 23}, §{"code": 14}, §{"hex": "00"}],` +
		` "encrypted-dns": [§{"name": "d.lab", "alpn": ["dot"]}, {"name": "e.lab", §"ipv4hint": "192.0.2.1"}, {"name": "f.lab", "priority": §0}]}}`, []string{
		`options.dns-servers[0]: :: is not the address of a server; allowed: a unicast IPv6 address without a zone`,
		`options.dns-servers[1]: ::1 is not the address of a server; allowed: a unicast IPv6 address without a zone`,
		`options.vendor[1]: enterprise number 9 a second time; allowed: one entry with all options of an enterprise number (RFC 9915 section 21.17)`,
		`options.custom[0].hex: "a:b"; allowed: at most 1024 octets in hexadecimal, such as 0a0b or 0a:0b`,
		`options.custom[1]: option code 23; allowed: a code that has no key of its own`,
		`options.custom[2]: option code 14; allowed: a code that the server does not decide itself`,
		`options.custom[3]: no key code; allowed: an object with code`,
		`options.encrypted-dns[0]: resolver "d.lab" with service parameters, but without addresses; allowed: addresses, or nothing but a name (RFC 9463 section 3.1.6)`,
		`options.encrypted-dns[1].ipv4hint: unknown key; allowed: addresses, alpn, doh-path, name, port, priority`,
		`options.encrypted-dns[2].priority: 0; allowed: 1 to 65535`,
	}},
	{"force", `{"options": {"force": [§"dns-server", §"custom", §5]}}`, []string{
		`options.force[0]: "dns-server" (did you mean dns-servers?); allowed: keys of "options" other than custom, which has a "force" of its own`,
		`options.force[1]: "custom"; allowed: keys of "options" other than custom, which has a "force" of its own`,
		`options.force[2]: 5; allowed: a text in quotes`,
	}},
	{"options refused", lan(`"options": {"boot-file-url": §"x", "posix-timezone": §"Europe/Zurich", "tzdb-timezone": §"CET-1CEST,M3", "aftr-name": §"2001:db8::1", "sip-servers": §"2001:db8::1", "boot-file-params": [§""]}`), []string{
		`links.lan.options.boot-file-url: "x" is not such a URL; allowed: an absolute URL of printable ASCII, an IPv6 address in brackets, such as tftp://[2001:db8::5]/boot.efi (RFC 5970 section 3.1)`,
		`links.lan.options.posix-timezone: "Europe/Zurich" is no such string; allowed: a POSIX TZ string, such as CET-1CEST,M3.5.0,M10.5.0/3 (RFC 4833 section 2)`,
		`links.lan.options.tzdb-timezone: "CET-1CEST,M3" is no such name; allowed: a name of the time zone database, such as Europe/Zurich (RFC 4833 section 2)`,
		`links.lan.options.aftr-name: "2001:db8::1" is not a domain name; allowed: a domain name such as ntp.example.org, international names in their xn-- form`,
		`links.lan.options.sip-servers: the text "2001:db8::1"; allowed: a list in brackets`,
		`links.lan.options.boot-file-params[0]: parameter ""; allowed: 1 or more octets of UTF-8 without control characters (RFC 5970 section 3.2)`,
	}},
	{"relay-supplied", `{"relay-supplied-options": [65, §1, 23, §65, §79, §148]}`, []string{
		`relay-supplied-options[1]: option code 1; allowed: a code that the server does not decide itself`,
		`relay-supplied-options[3]: 65 a second time; allowed: each code once`,
		`relay-supplied-options[4]: option code 79; allowed: a code that is not a relay's`,
		`relay-supplied-options[5]: option code 148; allowed: a code that the server does not decide itself`,
	}},

	// Reservations.
	{"reservations", lan(`"subnets": [{"prefix": "2001:db8:0:1::/64"}], "prefix-pools": [{"prefix": "2001:db8:8000::/40", "delegated-length": 56}], "reservations": [` + "\n" +
		`{"duid": "00:03:00:01:02:00:00:00:00:02", "addresses": ["2001:db8:0:1::42", §"2001:db8:0:1::42"]}, §{"duid": "000300010200-00000002", "addresses": [§"2001:db8:0:1::42"]},` +
		`{"duid": "00:00:01", "addresses": [§"2001:db8:0:2::1", §"2001:db8:0:1::", §"2001:db8:0:1:fdff:ffff:ffff:ffff", §"2001:db8:0:1:200:5eff:fe00:5213"]},` +
		`{"duid": "00:00:02", "prefixes": [§"2001:db8:8000::/40", §"2001:db8:8000:1::/65", §"2001:db9::/56", "2001:db8:8001::/56", §"2001:db8:8001:1::/64"]},` +
		`§{"addresses": ["2001:db8:0:1::43"]}, §{"iaid": 1}, {"duid": §"00:01", "iaid": §-1}, {"client-link-layer": §"02:00"}, {"interface-id": §""}, {"interface-id": §"hex:0"}, {"remote-id": §"port7"}, {"remote-id": §"x:7"},` +
		`{"duid": "00:00:03", "deny": §true, "hostname": "a"}, {"duid": "00:00:04", "hostname": §"a_b"}, {"duid": "00:00:05", "options": {"dns-servers": §null}}]`), []string{
		`links.lan.reservations[0].addresses[1]: 2001:db8:0:1::42 is reserved in links.lan.reservations[0].addresses[0] (line 2) already; allowed: each address once`,
		`links.lan.reservations[1]: for the same client as links.lan.reservations[0] (line 2); allowed: one reservation for a client`,
		`links.lan.reservations[1].addresses[0]: 2001:db8:0:1::42 is reserved in links.lan.reservations[0].addresses[0] (line 2) already; allowed: each address once`,
		`links.lan.reservations[2].addresses[0]: 2001:db8:0:2::1 is in none of them; allowed: addresses in the link's subnets: 2001:db8:0:1::/64`,
		`links.lan.reservations[2].addresses[1]: 2001:db8:0:1:: is the subnet-router anycast address; allowed: any other address of the subnet`,
		`links.lan.reservations[2].addresses[2]: 2001:db8:0:1:fdff:ffff:ffff:ffff is a subnet anycast address (RFC 2526); allowed: any other address of the subnet`,
		`links.lan.reservations[2].addresses[3]: 2001:db8:0:1:200:5eff:fe00:5213 is of IANA's reserved interface identifiers (RFC 5453); allowed: any other address of the subnet`,
		`links.lan.reservations[3].prefixes[0]: 2001:db8:8000::/40 in pool 2001:db8:8000::/40; allowed: a length from 41 to 64, within the pool (RFC 9663 section 7)`,
		`links.lan.reservations[3].prefixes[1]: 2001:db8:8000:1::/65 in pool 2001:db8:8000::/40; allowed: a length from 41 to 64, within the pool (RFC 9663 section 7)`,
		`links.lan.reservations[3].prefixes[2]: 2001:db9::/56 is in none of them; allowed: prefixes in the link's prefix-pools: 2001:db8:8000::/40`,
		`links.lan.reservations[3].prefixes[4]: 2001:db8:8001:1::/64 overlaps 2001:db8:8001::/56, reserved in links.lan.reservations[3].prefixes[3] (line 2); allowed: prefixes that do not overlap`,
		`links.lan.reservations[4]: no key duid or client-link-layer or interface-id or remote-id; allowed: an object with duid or client-link-layer or interface-id or remote-id`,
		`links.lan.reservations[5]: no key duid or client-link-layer or interface-id or remote-id; allowed: an object with duid or client-link-layer or interface-id or remote-id`,
		`links.lan.reservations[6].duid: "00:01"; allowed: 3 to 130 octets in hexadecimal, such as 00:03:00:01:02:00:00:00:00:02`,
		`links.lan.reservations[6].iaid: -1; allowed: 0 to 4294967295`,
		`links.lan.reservations[7].client-link-layer: "02:00"; allowed: a link-layer address such as 02:00:00:00:00:02`,
		`links.lan.reservations[8].interface-id: ""; allowed: 1 to 255 octets, as text or in hexadecimal behind hex:`,
		`links.lan.reservations[9].interface-id: "hex:0"; allowed: 1 to 255 octets, as text or in hexadecimal behind hex:`,
		`links.lan.reservations[10].remote-id: "port7"; allowed: an enterprise number, a colon, and 1 to 255 octets, as text or in hexadecimal behind hex:, such as 9:port7 or 9:hex:0a0b`,
		`links.lan.reservations[11].remote-id: "x:7"; allowed: an enterprise number, a colon, and 1 to 255 octets, as text or in hexadecimal behind hex:, such as 9:port7 or 9:hex:0a0b`,
		`links.lan.reservations[12].deny: true, though the reservation gives something; allowed: "deny", or what the client gets, not both`,
		`links.lan.reservations[13].hostname: "a_b"; allowed: letters, digits and dashes, such as nas or nas.example.org (RFC 1123 section 2.1)`,
		`links.lan.reservations[14].options.dns-servers: nothing; allowed: a value: an option cannot be taken away from one client`,
	}},
	{"reservation without pools", lan(`"reservations": [{"duid": "00:00:01", "addresses": [§"2001:db8::1"], "prefixes": [§"2001:db8::/56"]}]`), []string{
		`links.lan.reservations[0].addresses[0]: 2001:db8::1 is in none of them; allowed: addresses in the link's subnets: there are none`,
		`links.lan.reservations[0].prefixes[0]: 2001:db8::/56 is in none of them; allowed: prefixes in the link's prefix-pools: there are none`,
	}},

	// Router advertisements.
	{"advertising behind relays", `{"links": {"lan": {"relays": {"from": ["2001:db8::9"]}, "router-advertisements": §{}}}}`, []string{
		`links.lan.router-advertisements: advertisements on a link that is only reached through relays; allowed: an "interface" of the link`,
	}},
	{"advertisements", lan(`"subnets": [{"prefix": "2001:db8:0:1::/64"}], "router-advertisements": {"preference": §"best", "default-lifetime": §65536, "hop-limit": §256, "dns": §1}`), []string{
		`links.lan.router-advertisements.preference: "best"; allowed: medium, low, high`,
		`links.lan.router-advertisements.default-lifetime: 65536; allowed: 0 to 65535 seconds`,
		`links.lan.router-advertisements.hop-limit: 256; allowed: 0 to 255`,
		`links.lan.router-advertisements.dns: 1; allowed: true or false`,
	}},
	{"advertised timers", lan(`"router-advertisements": {"default-lifetime": §300, "min-interval": §500, "mtu": §1279}`), []string{
		`links.lan.router-advertisements.default-lifetime: 300 s; allowed: 0, or whole seconds from max-interval, 600 s, to 9000 s (RFC 4861 section 6.2.1)`,
		`links.lan.router-advertisements.min-interval: 500 s; allowed: 3 s to three quarters of max-interval, 450 s (RFC 4861 section 6.2.1)`,
		`links.lan.router-advertisements.mtu: 1279; allowed: 0 (not sent), or 1280 to 65535 octets`,
	}},
	{"advertised prefixes", lan(`"subnets": [{"prefix": "2001:db8:0:1::/64"}], "router-advertisements": {"prefixes": [{"prefix": §"fe80::/64"}, {"prefix": "2001:db8:0:2::/63", "autonomous": §true}, {"prefix": "2001:db8:0:1::/64", "preferred": §5401}, {"prefix": "2001:db8:0:6::/64", "valid": §10, "preferred": 0}, §{}], "routes": [§"ff02::/16"]}`), []string{
		`links.lan.router-advertisements.prefixes[0].prefix: fe80::/64; allowed: no link-local prefix (RFC 4861 section 6.2.1)`,
		`links.lan.router-advertisements.prefixes[1].autonomous: true for a /63; allowed: false, or a prefix of length 64: hosts ignore others (RFC 4862 section 5.5.3)`,
		`links.lan.router-advertisements.prefixes[2].preferred: 5401 s; allowed: at most the valid lifetime, 5400 s (RFC 4861 section 4.6.2)`,
		`links.lan.router-advertisements.prefixes[3].valid: 10 s; allowed: 0, or whole seconds from max-interval, 600 s, to 4294967295 (infinite)`,
		`links.lan.router-advertisements.prefixes[4]: no key prefix; allowed: an object with prefix`,
		`links.lan.router-advertisements.routes[0].prefix: ff02::/16; allowed: a prefix of global or unique local unicast addresses`,
	}},
	{"advertised too much", lan(`"options": {"dns-servers": ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "2001:db8::5", "2001:db8::6", "2001:db8::7", "2001:db8::8", "2001:db8::9"]}, "router-advertisements": §{}`), []string{
		`links.lan.router-advertisements.dns-servers: 9 servers; allowed: at most 8 in a router advertisement`,
	}},
	{"advertised routes", lan(`"prefix-pools": [` + numbered(9, `{"prefix": "fd00:%x::/48"}`) + `], "router-advertisements": §{}`), []string{
		`links.lan.router-advertisements.routes: routes to all 9 prefix pools; allowed: at most 8: name some in "routes"`,
	}},
	{"advertised prefix of a pool", lan(`"prefix-pools": [{"prefix": "2001:db8::/48"}], "router-advertisements": {"prefixes": [{"prefix": §"2001:db8:0:1::/64"}]}`), []string{
		`links.lan.router-advertisements.prefixes[0].prefix: 2001:db8:0:1::/64 overlaps prefix pool 2001:db8::/48 in links.lan.prefix-pools[0].prefix (line 1); allowed: prefixes that do not overlap`,
	}},
}

// TestBad holds every problem to its place, its words, and to being the only one
// that is told.
//
// D-139: no information refresh time below 600 seconds. D-143: preferred lifetimes
// not above valid ones, T1 not above T2. D-165: no captive portal at an IP literal.
// D-174: SOL_MAX_RT and INF_MAX_RT from 60 to 86400 seconds. D-176: one entry for an
// enterprise number. D-253: nothing longer than /64 is delegated. D-264: what a link
// has is not delegated.
func TestBad(t *testing.T) {
	for _, c := range bad {
		t.Run(c.name, func(t *testing.T) {
			text, places := unmark(c.text)
			cfg, problems := Parse("", []byte(text))
			var got []string
			for _, p := range problems {
				if !p.Warning {
					got = append(got, p.String())
				}
			}
			var want []string
			for i, w := range c.want {
				want = append(want, places[min(i, len(places)-1)]+": "+w)
			}
			if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w || len(places) != len(want) {
				t.Errorf("got\n%s\nwant\n%s", g, w)
			}
			if cfg != nil {
				t.Error("a configuration in spite of problems")
			}
		})
	}
}

// unmark takes the marks out of a text, and says at which lines and columns they
// stood.
func unmark(marked string) (text string, places []string) {
	var b strings.Builder
	line, column := 1, 1
	for _, part := range strings.SplitAfter(marked, "§") {
		plain := strings.TrimSuffix(part, "§")
		b.WriteString(plain)
		for _, c := range []byte(plain) {
			if column++; c == '\n' {
				line, column = line+1, 1
			}
		}
		if plain != part {
			places = append(places, fmt.Sprintf("%d:%d", line, column))
		}
	}
	return b.String(), places
}

// TestWrongTypeAnywhere replaces each value of the reference by one of another
// type: the problem stands right there.
func TestWrongTypeAnywhere(t *testing.T) {
	text, err := ReadFile("reference.json")
	if err != nil {
		t.Fatal(err)
	}
	d, root := parse("", text)
	count := 0
	var walk func(v *hujson.Value)
	walk = func(v *hujson.Value) {
		count++
		other := "true"
		if kind := v.Value.Kind(); kind == 't' || kind == 'f' {
			other = `"x"`
		}
		changed := string(text[:v.StartOffset]) + other + string(text[v.EndOffset:])
		line, column := d.position(v.StartOffset)
		_, problems := Parse("", []byte(changed))
		if !slices.ContainsFunc(problems, func(p Problem) bool { return !p.Warning && p.Line == line && p.Column == column }) {
			t.Errorf("line %d: %s for %s: %v", line, other, text[v.StartOffset:v.EndOffset], problems)
		}
		switch v := v.Value.(type) {
		case *hujson.Object:
			for i := range v.Members {
				walk(&v.Members[i].Value)
			}
		case *hujson.Array:
			for i := range v.Elements {
				walk(&v.Elements[i])
			}
		}
	}
	walk(root.value)
	if count < 150 {
		t.Errorf("only %d values", count)
	}
}
