package dhcp6

import (
	"net/netip"

	"github.com/tandem6/tandem6/failover/lease"
)

// Config is what the operator decides about the server. It never changes while
// the server runs; a new one is given to Server.Reconfigure.
type Config struct {
	Links []Link // no two with the same Name, Interface or overlapping prefixes

	// AcceptUnicast also answers clients that send to a unicast address,
	// because an old server once told them to (chapter 11, C1). RFC 9915
	// section 16 advises against it.
	AcceptUnicast bool

	// RelaySupplied are the codes of options that a relay may add for its
	// clients where the server has none of its own (RSOO, RFC 6422, D-228).
	RelaySupplied []uint16

	DeclinedFor uint32 // seconds that a declined address is given to nobody
	RememberFor uint32 // seconds that a lease which ended is kept for its last client
	Limits      Limits
}

// Limits bound what one client, or all of them, can take (RFC 9915 section 22).
type Limits struct {
	LeasesPerClient            int // addresses and prefixes of one DUID on one link
	PrefixesPerClient          int // delegated prefixes of one DUID on one link (RFC 8987 G-5)
	DeclinesPerClient          int // addresses of one DUID in quarantine at a time
	MessagesPerSecondPerClient int // answered per DUID
	Leases                     int // in all, but for those that are only remembered
}

// DefaultLimits fit a branch router; every one can be configured.
var DefaultLimits = Limits{
	LeasesPerClient:            32,
	PrefixesPerClient:          8, // RFC 8987 G-7
	DeclinesPerClient:          8,
	MessagesPerSecondPerClient: 20, // a client that boots sends about eight in a few seconds
	Leases:                     1_000_000,
}

// Defaults of Config and Lifetimes, in seconds. The lifetimes are also limits
// where the prefix has an end of its own (D-146).
const (
	DefaultDeclinedFor = 86400 // a day: time to find the host with the fixed address
	DefaultRememberFor = 86400 // RFC 9915 section 18.3.7 lets the server remember
	DefaultPreferred   = 2700  // ND_PREFERRED_LIMIT, RFC 9096 section 3.4
	DefaultValid       = 5400  // ND_VALID_LIMIT, RFC 9096 section 3.4
	LifetimeMin        = 8     // below it clients only renew and never rest; tests use it
)

// Link is one layer 2 segment with its clients: on an interface of this box,
// or behind relays, or both.
type Link struct {
	Name        string
	Interface   string // name of the interface, empty: only behind relays
	Subnets     []Subnet
	PrefixPools []PrefixPool

	// RelayFrom are the sources from which a Relay-forward about this link is
	// accepted (D-233). Empty: from nobody.
	RelayFrom []netip.Prefix
	// RelayLinkAddresses are link-addresses of relays on this link that lie in
	// none of its subnets.
	RelayLinkAddresses []netip.Addr

	// RapidCommit says that this is the only server on the link: a Solicit with
	// Rapid Commit is answered with a Reply, and a Rebind of an unknown client
	// creates a binding (chapter 11, C4).
	RapidCommit   bool
	CreateOnRenew bool  // a Renew of an unknown client creates a binding
	Preference    uint8 // option 7; 0 is not sent (D-073)

	// RandomAddresses gives each new lease an address that has nothing to do
	// with earlier ones (RFC 7824 section 4.3). Otherwise the address is a keyed
	// hash of the client and returns with it (RFC 7943).
	RandomAddresses bool

	Lifetimes    Lifetimes
	Options      []Option // sorted by code; several of one code in the order to send
	Reservations []Reservation
}

// Lifetimes of leases in seconds; lease.Infinity never ends.
type Lifetimes struct {
	Preferred, Valid uint32
	T1, T2           uint32 // 0: half and four fifths of the shortest preferred lifetime
}

// Subnet is one on-link prefix and what of it is leased.
type Subnet struct {
	Prefix netip.Prefix
	Pools  []Range // empty: reservations only

	// Retired marks a prefix that is no longer ours: leases in it are told to
	// stop, with lifetimes of zero (RFC 9096 section 3.5, D-147).
	Retired bool

	// PreferredUntil and ValidUntil are the ends that the prefix itself has,
	// because the provider's delegation or a planned renumbering ends it; no
	// lease outlives them (RFC 9096 section 3.3, D-145). Zero: no end.
	PreferredUntil, ValidUntil lease.Time
}

// over reports whether the prefix is no longer ours.
func (s *Subnet) over(now lease.Time) bool {
	return s.Retired || s.ValidUntil != 0 && s.ValidUntil <= now
}

// Range is a pool of addresses, both ends included.
type Range struct{ First, Last netip.Addr }

// Contains reports whether a lies in r.
func (r Range) Contains(a netip.Addr) bool { return r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0 }

// PrefixPool is a prefix of which parts are delegated.
type PrefixPool struct {
	Prefix netip.Prefix
	Length int // of each delegated prefix, at most DelegatedLengthMax

	// Exclude is the part of each delegated prefix that this box keeps for the
	// link to the client (RFC 6603). Zero Length: none.
	Exclude Exclude

	PreferredUntil, ValidUntil lease.Time // as in Subnet
}

// over reports whether the prefix is no longer ours.
func (p *PrefixPool) over(now lease.Time) bool { return p.ValidUntil != 0 && p.ValidUntil <= now }

// DelegatedLengthMax is the longest prefix that is of use to hosts (RFC 9663
// section 7, D-253).
const DelegatedLengthMax = 64

// Exclude names the excluded prefix within a delegated one: its length, at most
// 64 bits more than any delegated length of its pool, and the bits between.
type Exclude struct {
	Length   int
	SubnetID uint64
}

// Reservation fixes what one client gets. The first criterion that is set
// decides whether it is meant; all that are set have to match.
type Reservation struct {
	Client      lease.DUID
	IAID        lease.IAID
	HasIAID     bool   // IAID counts
	LinkLayer   []byte // link-layer address from the relay's option 79 (D-222)
	InterfaceID []byte // from the relay (D-224)
	RemoteID    []byte // from the relay, enterprise number included (D-223)

	Addresses []netip.Addr
	Prefixes  []netip.Prefix // of at most DelegatedLengthMax bits
	Hostname  string
	Options   []Option // replace the link's options of the same code
	Deny      bool     // not served at all (D-076)
}

// Option is an option that clients can ask for.
type Option struct {
	Code  uint16
	Data  []byte
	Force bool // sent even if the client did not ask
}

// Find returns the link of that name, or nil.
func (c *Config) Find(name string) *Link {
	for i := range c.Links {
		if c.Links[i].Name == name {
			return &c.Links[i]
		}
	}
	return nil
}
