package kernel_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/tandem6/tandem6/netcfg"
	"golang.org/x/sys/unix"
)

// D-257, D-258: many routes at once, of which one cannot be: the others come, and the error tells which. Doing all once more changes
// nothing, and all go.
func TestApplyManyRoutes(t *testing.T) {
	r, _ := router(t)
	const many = 200
	var adds, dels []netcfg.Op
	for n := range many {
		adds = append(adds, netcfg.RouteAdd{Route: delegated(n).Route()})
		dels = append(dels, netcfg.RouteDel{Route: delegated(n).Route()})
	}
	installed := func() (n int) {
		for _, route := range r.observe().Routes {
			if route.Protocol == netcfg.Protocol && slices.ContainsFunc(adds, func(op netcfg.Op) bool { return op == netcfg.RouteAdd{Route: route.Route} }) {
				n++
			}
		}
		return n
	}
	unreachable := netcfg.Route{To: prefix("2001:db8:1::/48"), Via: addr("2001:db8:99::1"), Metric: 1024}
	for round := range 2 {
		errs := r.kernel.Apply(slices.Insert(slices.Clone(adds), many/2, netcfg.Op(netcfg.RouteAdd{Route: unreachable})))
		if len(errs) != 1 || !errors.Is(errs[0], unix.EHOSTUNREACH) && !errors.Is(errs[0], unix.ENETUNREACH) {
			t.Fatalf("round %d: errors %v, want one of the route without a way", round, errs)
		}
		if n := installed(); n != many {
			t.Fatalf("round %d: %d routes of %d", round, n, many)
		}
	}
	if errs := r.kernel.Apply(append(slices.Clone(dels[:many/2]), adds[0], dels[0])); len(errs) != 0 {
		t.Fatalf("errors %v", errs)
	}
	if n := installed(); n != many/2 {
		t.Fatalf("%d routes are left of %d", n, many/2)
	}
	if errs := r.kernel.Apply(dels); len(errs) != 0 { // half of them are gone already
		t.Fatalf("errors %v", errs)
	}
	if n := installed(); n != 0 {
		t.Fatalf("%d routes are left", n)
	}
}
