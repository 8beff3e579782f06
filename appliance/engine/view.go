package engine

import (
	"iter"
	"net/netip"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/failover"
	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/netcfg"
)

// View is the engine at one moment, immutable: any goroutine may read it.
type View struct {
	At           lease.Clock
	ClockTrusted bool
	ServerID     lease.DUID
	AddressKey   dhcp6.AddressKey
	Leases       *lease.Snapshot
	Pools        []dhcp6.PoolUse
	Stats        dhcp6.Stats

	Relationships []failover.Status

	interfaces map[string]string
}

// View costs little: the table is shared until it changes.
func (e *Engine) View(now lease.Clock) *View {
	now.Wall = max(e.clock.offset+lease.Time(now.Mono/1e9), e.clock.boot)
	return &View{
		At: now, ClockTrusted: e.clock.trusted, ServerID: e.id, AddressKey: e.key,
		Leases: e.table.Snapshot(), Pools: e.server.Pools(), Stats: *e.server.Stats(),
		Relationships: e.relationshipStatus(), interfaces: e.interfaces,
	}
}

// Table is the engine's own lease table, for the simulator to look at between
// two Steps. It must not be changed.
func (e *Engine) Table() *lease.Table { return e.table }

// Delegations walks the routes that the leases demand.
func (v *View) Delegations() iter.Seq[netcfg.Delegation] {
	return func(yield func(netcfg.Delegation) bool) {
		for b := range v.Leases.From(netip.Prefix{}) {
			if d := delegation(b, v.interfaces); d.Prefix.IsValid() && !yield(d) {
				return
			}
		}
	}
}
