package failover

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"unicode/utf8"

	"github.com/tandem6/tandem6/failover/lease"
)

// Config is one failover relationship as the operator wrote it. Zero numbers
// mean the defaults.
type Config struct {
	Name     string       // of the relationship, the same on both servers (RFC 8156 section 6.2)
	Role     lease.Role   // of this server in it
	Partners []netip.Addr // the partner's addresses
	Links    []Link       // whose leases the relationship covers

	MCLT_s       uint32 // of a primary: maximum client lead time, 30 to 86400; of a secondary: until it learns the primary's
	Keepalive_s  uint32 // FO_KEEPALIVE_TIME, 1 to 3600: without a message for so long the connection is dead
	MaxUnacked   uint32 // BNDUPDs that the partner may send without waiting for an answer, 1 to 10000
	BackupShare  int    // of the delegable prefixes for the secondary, percent, 1 to 50; of a primary
	Startup_s    uint32 // how long STARTUP waits for the partner, 1 to 600
	Reconnect_s  uint32 // between attempts to connect, 1 to 3600, doubling up to ReconnectMax_s
	Remember_s   uint32 // how long a freed lease remembers its last client
	RememberMax  int    // how many do
	LeasesMax    int    // in the table: the partner cannot add to more; 0: no limit
	AckTimeout_s uint32 // a partner that answers no BNDUPD for so long is cut off
	UpdDone_s    uint32 // likewise for UPDDONE (RFC 8156 section 8.5.2, Q-83)

	AutoPartnerDown_s  uint32 // from COMMUNICATIONS-INTERRUPTED to PARTNER-DOWN without an operator; 0: never
	StartupPartnerDown bool   // to PARTNER-DOWN when the partner cannot be reached at the start
}

// Link is one link of a relationship.
type Link struct {
	Name string
	// Covers reports whether an address or prefix can be leased on the link.
	// It must not change its mind.
	Covers func(netip.Prefix) bool
	Text   string // what Covers says, for comparison
	Pools  []PrefixPool
	// Reserved are the prefixes kept for certain clients: they are not handed
	// to and fro.
	Reserved map[netip.Prefix]bool
}

// PrefixPool is a prefix whose parts of equal length are delegated.
type PrefixPool struct {
	Prefix netip.Prefix
	Length int // of the parts in bits
}

// The defaults of a Config (appendix B of the project's digest; the RFC gives
// only that of the keepalive).
const (
	MCLTDefault_s       = 3600
	KeepaliveDefault_s  = 60 // RFC 8156 section 6.5
	MaxUnackedDefault   = 100
	BackupShareDefault  = 10
	StartupDefault_s    = 30
	ReconnectDefault_s  = 5
	ReconnectMax_s      = 10 // a secondary in STARTUP must not wait for longer
	RejectedMax_s       = 60 // after a rejection (RFC 8156 section 6.1)
	AckTimeoutDefault_s = 120
	UpdDoneDefault_s    = 120
)

// The limits of a Config.
const (
	MCLTMin_s     = 30 // RFC 8156 section 1: no new lease is shorter
	MCLTMax_s     = 86400
	MaxUnackedMax = 10000       // bounds memory: a BNDUPD in flight takes some 200 octets
	LifetimeMax_s = 400 * 86400 // of a lease: far from the horizon of the wire, and no update can take one away for decades
	NameLenMax    = 255         // of a relationship, in octets
	LinksMax      = 1 << 12     // of a relationship
)

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	set := func(v *uint32, d uint32) {
		if *v == 0 {
			*v = d
		}
	}
	set(&c.MCLT_s, MCLTDefault_s)
	set(&c.Keepalive_s, KeepaliveDefault_s)
	set(&c.MaxUnacked, MaxUnackedDefault)
	set(&c.Startup_s, StartupDefault_s)
	set(&c.Reconnect_s, ReconnectDefault_s)
	set(&c.AckTimeout_s, AckTimeoutDefault_s)
	set(&c.UpdDone_s, UpdDoneDefault_s)
	if c.BackupShare == 0 {
		c.BackupShare = BackupShareDefault
	}
	return c
}

var errConfig = errors.New("failover relationship")

// Check reports what is wrong with a configuration.
func (c Config) Check() error {
	c = c.withDefaults()
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w %q: %s", errConfig, c.Name, fmt.Sprintf(format, args...))
	}
	switch {
	case c.Name == "" || len(c.Name) > NameLenMax || !utf8.ValidString(c.Name) || c.Name[len(c.Name)-1] == 0:
		return bad("its name needs 1 to %d octets of UTF-8", NameLenMax)
	case c.Role != lease.Primary && c.Role != lease.Secondary:
		return bad("role %d is neither primary nor secondary", c.Role)
	case c.MCLT_s < MCLTMin_s || c.MCLT_s > MCLTMax_s:
		return bad("MCLT %d s, allowed are %d to %d", c.MCLT_s, MCLTMin_s, MCLTMax_s)
	case c.Keepalive_s > 3600 || c.Startup_s > 600 || c.Reconnect_s > 3600 || c.AckTimeout_s > 3600 || c.UpdDone_s > 3600:
		return bad("a time is too long: keepalive, reconnect and the time-outs have at most 3600 s, startup 600 s")
	case c.MaxUnacked > MaxUnackedMax:
		return bad("max-unacked-bndupd %d, allowed are 1 to %d", c.MaxUnacked, MaxUnackedMax)
	case c.BackupShare < 1 || c.BackupShare > 50:
		return bad("the secondary's share of prefixes is %d %%, allowed are 1 to 50", c.BackupShare)
	case len(c.Links) > LinksMax:
		return bad("%d links, allowed are %d", len(c.Links), LinksMax)
	}
	return nil
}

// CheckAll checks the relationships of a server together: their names differ,
// and no link, so no pool, belongs to two (RFC 8156 section 6.2, F-094, F-096).
func CheckAll(list []Config) error {
	owner := map[string]string{}
	for i, c := range list {
		if err := c.Check(); err != nil {
			return err
		}
		if slices.ContainsFunc(list[:i], func(o Config) bool { return o.Name == c.Name }) {
			return fmt.Errorf("%w %q is configured twice; each needs a name of its own", errConfig, c.Name)
		}
		for _, l := range c.Links {
			if other, ok := owner[l.Name]; ok {
				return fmt.Errorf("%w %q: link %q belongs to relationship %q already; a lease can be shared with one partner only", errConfig, c.Name, l.Name, other)
			}
			owner[l.Name] = c.Name
		}
	}
	return nil
}
