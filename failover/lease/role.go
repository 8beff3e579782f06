package lease

import (
	"fmt"
	"net/netip"
)

// Role is the part of a server in a failover relationship (RFC 8156 section 3).
type Role uint8

// The roles. A server may have different ones in different relationships.
const (
	Primary   Role = 1
	Secondary Role = 2
)

// Partner is the role on the other side.
func (r Role) Partner() Role { return Primary + Secondary - r }

// Available is the status of what r may give to any client.
func (r Role) Available() Status {
	if r == Primary {
		return Free
	}
	return FreeBackup
}

func (r Role) String() string {
	switch r {
	case Primary:
		return "primary"
	case Secondary:
		return "secondary"
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// Freed is the status of a lease that no client has any more, once both
// servers agree (RFC 8156 section 7.2, events 5 and 6): prefixes return to the
// primary, addresses to their half.
func Freed(p netip.Prefix) Status {
	if p.Bits() == 128 && p.Addr().As16()[15]&1 == 0 {
		return FreeBackup
	}
	return Free
}
