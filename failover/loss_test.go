package failover

import (
	"net/netip"
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
)

// A server that lost its storage may have promised leases of which its partner
// heard nothing. Until those promises have run out it must not agree that a lease
// is over, or the partner would give it to somebody else: F-153, F-187, Q-08.
func TestForgottenPromise(t *testing.T) {
	for _, c := range []struct {
		address string // the other server's to give
		lossy   func(*pair) (lossy, other *end)
	}{
		{"2001:db8::2", func(p *pair) (*end, *end) { return p.a, p.b }},
		{"2001:db8::1", func(p *pair) (*end, *end) { return p.b, p.a }},
	} {
		p := newPair(t, nil)
		p.together()
		lossy, other := c.lossy(p)
		other.give(c.address, "bob", 600)
		p.pass(50 * second)
		promise := lossy.give(c.address, "bob", 3600).Expires // bob rebinds; the partner is not told any more
		lossy.crash()
		lossy.disk = disk{leases: map[netip.Prefix]*lease.Binding{}}
		p.pass(time.Minute)
		lossy.boot()
		for p.truth.Wall < promise {
			p.pass(10 * second)
			if b, err := other.grant(prefix(c.address), "joe", 600); err == nil && p.truth.Wall < promise {
				t.Fatalf("%s gives %v to joe at %s, bob has it until %s", other.name, b.Prefix, since(p.truth.Wall), since(promise))
			}
		}
		p.pass(2 * time.Hour)
		p.want(Normal, Normal)
		p.agree()
		if _, err := other.grant(prefix(c.address), "joe", 600); err != nil {
			t.Errorf("joe never gets it: %v", err)
		}
	}
}
