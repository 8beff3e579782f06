package config

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/tailscale/hujson"
)

// Init is the configuration of a box that nobody has configured: one LAN on one
// interface, with addresses and prefixes from a unique local /48 (RFC 4193), and
// comments that say where to go on from there.
//
// The prefix has to be a ULA of length 48, chosen at random (RFC 4193 section
// 3.2), and the name one that Linux allows; Init panics otherwise.
func Init(ula netip.Prefix, lanInterface string) []byte {
	if ula.Bits() != 48 || !ula.Addr().Is6() || !ula.Addr().IsPrivate() || ula != ula.Masked() {
		panic(fmt.Sprintf("config: %v is not a unique local prefix of length 48", ula))
	}
	if !isInterfaceName(lanInterface) {
		panic(fmt.Sprintf("config: %q is not %s", lanInterface, interfaceNames))
	}
	lan := subnetOf(ula, 0x0001, 64)
	return []byte(strings.NewReplacer(
		"@INTERFACE@", string(hujson.String(lanInterface)),
		"@ROUTER@", netip.PrefixFrom(lan.Addr().Next(), lan.Bits()).String(),
		"@LAN@", lan.String(),
		"@POOL@", subnetOf(ula, 0x8000, 49).String(),
	).Replace(initial))
}

// subnetOf is the prefix of the given length with the number id behind a /48.
func subnetOf(ula netip.Prefix, id uint16, length int) netip.Prefix {
	b := ula.Addr().As16()
	b[6], b[7] = byte(id>>8), byte(id)
	return netip.PrefixFrom(netip.AddrFrom16(b), length)
}

const initial = `// Tandem6: one LAN with addresses and prefixes by DHCPv6.
// Check a change with "tandem6 config check", use it with "tandem6 config apply".
{
  "interfaces": {
    @INTERFACE@: { "addresses": ["@ROUTER@"] },
    // The way to the Internet, when there is one:
    // "eth1": { "addresses": ["2001:db8:ffff::2/64"], "accept-ra": true },
  },

  "options": {
    // "dns-servers": ["2001:db8::53"],
    // "domain-search": ["home.arpa"],
    // "ntp-servers": ["ntp.example.org"],
  },

  "links": {
    "lan": {
      "interface": @INTERFACE@,

      // Addresses are leased from the whole subnet. Put your provider's prefix
      // beside this private one.
      "subnets": [{ "prefix": "@LAN@" }],

      // Routers and phones get prefixes of their own out of this one. Make
      // delegated-length 56 or 60 for routers with several LANs behind them.
      "prefix-pools": [{ "prefix": "@POOL@", "delegated-length": 64 }],

      // Clients learn their default router and that DHCPv6 is there. With private
      // prefixes only, this box is not offered as the way to the Internet.
      "router-advertisements": {},

      // What one client always gets:
      "reservations": [
        // { "duid": "00:03:00:01:02:00:00:00:00:02", "addresses": ["..."], "hostname": "nas" },
      ],
    },
  },
}
`
