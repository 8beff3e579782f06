package kernel

import (
	"testing"

	"github.com/tandem6/tandem6/netcfg"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// FuzzParse shows that no netlink message makes a parser panic, and that a route's next hops are bounded by its size.
func FuzzParse(f *testing.F) {
	a := applier{indices: map[string]int{"eth0": 2}}
	for _, r := range []netcfg.Route{
		{Type: netcfg.Unreachable, Metric: 7},
		{Interface: "eth0", Metric: 7},
	} {
		message, err := a.routeMessage(nl.NewRtMsg(), r)
		if err != nil {
			f.Fatal(err)
		}
		var b []byte
		for _, part := range message {
			b = append(b, part.Serialize()...)
		}
		f.Add(b)
	}
	for _, message := range [][]nl.NetlinkRequestData{returnRoute(nl.NewRtMsg(), 2), returnRule(2)} {
		var b []byte
		for _, part := range message {
			b = append(b, part.Serialize()...)
		}
		f.Add(b)
	}
	f.Add(make([]byte, unix.SizeofIfInfomsg))
	f.Fuzz(func(t *testing.T, b []byte) {
		name := func(int) string { return "eth0" }
		routes, err := appendRoutes(nil, b, name)
		if err == nil && len(routes) > 1+len(b)/unix.SizeofRtNexthop {
			t.Errorf("%d routes of %d octets", len(routes), len(b))
		}
		paths := make(returnPaths)
		if paths.addRoute(b) == nil && paths.addRule(b) == nil && len(paths) > 2 {
			t.Errorf("%d return paths of two messages", len(paths))
		}
		_, _ = parseLink(b)
		_, _, _ = parseAddress(b)
		(&Handle{}).parseChange(unix.RTM_NEWADDR, 0, b)
		(&Handle{}).parseChange(unix.RTM_NEWROUTE, 0, b)
		(&Handle{}).parseChange(unix.RTM_NEWLINK, 0, b)
	})
}
