package dhcp6

import (
	"net/netip"

	"github.com/tandem6/tandem6/failover/lease"
)

// Service says which client messages a server answers (RFC 8156 section 3).
type Service uint8

// The services.
const (
	Responsive      Service = iota // every valid message
	RenewResponsive                // only messages that name this server
	Unresponsive                   // none
)

// Policy is what a failover relationship decides for the server. A server that
// is alone uses Alone.
type Policy interface {
	// Serves says which messages about a link are answered now.
	Serves(link string) Service

	// MayAssign reports whether p, which no client holds, may be given to
	// client now; b is its record, or nil when there is none.
	MayAssign(now lease.Clock, p netip.Prefix, b *lease.Binding, client lease.DUID) bool

	// Valid is the valid lifetime in seconds that may be promised for p, at
	// most desired; b is its record, or nil.
	Valid(now lease.Clock, p netip.Prefix, b *lease.Binding, desired uint32) uint32

	// Ended is the status that a lease takes when it runs out or is given up:
	// Expired or Released until the partner agrees, Free without a partner.
	Ended(from lease.Status, released bool) lease.Status
}

// Alone is the Policy of a server without a partner.
type Alone struct{}

// Serves answers everybody.
func (Alone) Serves(string) Service { return Responsive }

// MayAssign gives away whatever nobody holds.
func (Alone) MayAssign(_ lease.Clock, _ netip.Prefix, b *lease.Binding, _ lease.DUID) bool {
	return b == nil || b.Status == lease.Free
}

// Valid is what the configuration says.
func (Alone) Valid(_ lease.Clock, _ netip.Prefix, _ *lease.Binding, desired uint32) uint32 {
	return desired
}

// Ended makes the lease available at once.
func (Alone) Ended(lease.Status, bool) lease.Status { return lease.Free }
