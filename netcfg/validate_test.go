package netcfg_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/tandem6/tandem6/netcfg"
)

func TestValidate(t *testing.T) {
	withInterface := func(i netcfg.Interface) netcfg.Desired {
		return netcfg.Desired{Interfaces: []netcfg.Interface{i}}
	}
	withAddress := func(p netip.Prefix) netcfg.Desired {
		return withInterface(netcfg.Interface{Name: "eth0", Addresses: []netip.Prefix{p}})
	}
	withRoute := func(r netcfg.Route) netcfg.Desired { return netcfg.Desired{Routes: []netcfg.Route{r}} }
	withDelegation := func(d netcfg.Delegation) netcfg.Desired {
		return netcfg.Desired{Delegations: []netcfg.Delegation{d}}
	}
	any6 := prefix("::/0")

	tests := []struct {
		name    string
		desired netcfg.Desired
		want    string // part of the error; "" for none
	}{
		{"empty", netcfg.Desired{}, ""},
		{"name with a dot", withInterface(netcfg.Interface{Name: "eth0.5"}), ""},
		{"no name", withInterface(netcfg.Interface{}), "no name"},
		{"long name", withInterface(netcfg.Interface{Name: "abcdefghijklmnop"}), "1 to 15 bytes"},
		{"name that climbs", withInterface(netcfg.Interface{Name: ".."}), "not a name"},
		{"name with slash", withInterface(netcfg.Interface{Name: "a/b"}), `'/'`},
		{"name with newline", withInterface(netcfg.Interface{Name: "a\nb"}), `'\n'`},
		{"twice", netcfg.Desired{Interfaces: []netcfg.Interface{{Name: "a"}, {Name: "a"}}}, "named twice"},
		{"MTU too small", withInterface(netcfg.Interface{Name: "a", MTU: 1279}), "1280 to 65535"},
		{"MTU least", withInterface(netcfg.Interface{Name: "a", MTU: 1280}), ""},
		{"MTU too large", withInterface(netcfg.Interface{Name: "a", MTU: 65536}), "1280 to 65535"},
		{"MTU negative", withInterface(netcfg.Interface{Name: "a", MTU: -1}), "1280 to 65535"},
		{"AcceptRA", withInterface(netcfg.Interface{Name: "a", AcceptRA: 3}), "AcceptRA 3"},

		{"address", withAddress(prefix("2001:db8::1/64")), ""},
		{"address link-local", withAddress(prefix("fe80::1/64")), ""},
		{"address /128", withAddress(prefix("2001:db8::1/128")), ""},
		{"address point-to-point", withAddress(prefix("2001:db8::/127")), ""}, // RFC 6164
		{"address invalid", withAddress(netip.Prefix{}), "without value"},
		{"address IPv4", withAddress(prefix("192.0.2.1/24")), "not an IPv6 unicast"},
		{"address multicast", withAddress(prefix("ff02::1/64")), "not an IPv6 unicast"},
		{"address /0", withAddress(prefix("2001:db8::1/0")), "prefix length"},
		{"address anycast", withAddress(prefix("2001:db8::/64")), "subnet-router anycast"},
		{"address twice", withInterface(netcfg.Interface{Name: "a", Addresses: []netip.Prefix{prefix("2001:db8::1/64"), prefix("2001:db8::1/48")}}), "given twice"},
		{"addresses too many", withInterface(netcfg.Interface{Name: "a", Addresses: make([]netip.Prefix, netcfg.MaxAddresses+1)}), "at most 256"},

		{"default route", withRoute(netcfg.Route{To: any6, Via: addr("fe80::1"), Interface: "a"}), ""},
		{"route on link", withRoute(netcfg.Route{To: prefix("2001:db8::/64"), Interface: "a"}), ""},
		{"route unreachable", withRoute(netcfg.Route{To: prefix("2001:db8::/32"), Type: netcfg.Unreachable}), ""},
		{"route to nothing", withRoute(netcfg.Route{Via: addr("fe80::1"), Interface: "a"}), "no value"},
		{"route without next hop", withRoute(netcfg.Route{To: any6}), "needs a next hop"},
		{"route via link-local", withRoute(netcfg.Route{To: any6, Via: addr("fe80::1")}), "must be named"},
		{"route via zone", withRoute(netcfg.Route{To: any6, Via: addr("fe80::1%a"), Interface: "a"}), "without zone"},
		{"route with host bits", withRoute(netcfg.Route{To: prefix("2001:db8::1/64"), Interface: "a"}), "did you mean 2001:db8::/64"},
		{"route IPv4", withRoute(netcfg.Route{To: prefix("0.0.0.0/0"), Interface: "a"}), "not an IPv6 prefix"},
		{"route multicast", withRoute(netcfg.Route{To: prefix("ff00::/8"), Interface: "a"}), "kernel's own"},
		{"route unreachable via", withRoute(netcfg.Route{To: any6, Type: netcfg.Unreachable, Interface: "a"}), "no next hop"},
		{"route of another type", withRoute(netcfg.Route{To: any6, Type: netcfg.OtherType}), "only unicast and unreachable"},
		{"route on a bad interface", withRoute(netcfg.Route{To: any6, Interface: "a b"}), "' '"},
		{"routes too many", netcfg.Desired{Routes: make([]netcfg.Route, netcfg.MaxRoutes+1)}, "at most 4096"},

		{"pool", netcfg.Desired{Aggregates: []netip.Prefix{pool}}, ""},
		{"pool invalid", netcfg.Desired{Aggregates: []netip.Prefix{prefix("2001:db8::1/40")}}, "did you mean"},

		{"source validation", netcfg.Desired{SourceValidation: []string{"eth0"}}, ""},
		{"source validation on no name", netcfg.Desired{SourceValidation: []string{"eth0", "a b"}}, `"a b" is not a name`},
		{"source validation on too many", netcfg.Desired{SourceValidation: make([]string, netcfg.MaxValidated+1)}, "at most 1024"},

		{"delegation", withDelegation(delegation), ""},
		{"delegation via a relay", withDelegation(netcfg.Delegation{Prefix: pool, Via: addr("2001:db8::7"), Interface: "a"}), ""},
		{"delegation of everything", withDelegation(netcfg.Delegation{Prefix: any6, Via: addr("fe80::1"), Interface: "a"}), "default route"},
		{"delegation without via", withDelegation(netcfg.Delegation{Prefix: pool, Interface: "a"}), "no next hop"},
		{"delegation without interface", withDelegation(netcfg.Delegation{Prefix: pool, Via: addr("fe80::1")}), "no name"},
		{"delegation via multicast", withDelegation(netcfg.Delegation{Prefix: pool, Via: addr("ff02::2"), Interface: "a"}), "not an IPv6 unicast"},
		{"delegation via loopback", withDelegation(netcfg.Delegation{Prefix: pool, Via: addr("::1"), Interface: "a"}), "not an IPv6 unicast"},
		{"delegation via IPv4", withDelegation(netcfg.Delegation{Prefix: pool, Via: addr("::ffff:192.0.2.1"), Interface: "a"}), "not an IPv6 unicast"},
		{"delegation via itself", withDelegation(netcfg.Delegation{Prefix: pool, Via: addr("2001:db8:8000::1"), Interface: "a"}), "lies inside it"},
		{"delegation of link-local", withDelegation(netcfg.Delegation{Prefix: prefix("fe80::/64"), Via: addr("fe80::1"), Interface: "a"}), "kernel's own"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := test.desired.Validate()
			switch {
			case test.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.want != "" && err == nil:
				t.Errorf("accepted, want an error with %q", test.want)
			case test.want != "" && !strings.Contains(err.Error(), test.want):
				t.Errorf("error %q, want one with %q", err, test.want)
			}
		})
	}
}
