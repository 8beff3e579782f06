// Package ra builds the router advertisements of the interfaces that advertise
// and decides when they are sent (RFC 4861 section 6.2, with RFC 4191, 8106,
// 8910, 9096 and 9762).
//
// DHCPv6 carries neither a default route nor an on-link prefix, so a DHCPv6
// server without matching advertisements does not give working hosts.
//
// The package is pure. An Advertiser is one interface's state machine: it is
// told what happened (Solicited, Observed, Reconfigure, SetForwarding, Start,
// Stop) and asked what to send (Due) and when to ask again (Next). Package
// ra/kernel gives it sockets and a clock.
//
// Times are monotonic: a time.Duration since an arbitrary start that is the
// same for every argument and every Config of one process. Lifetimes and
// intervals are time.Duration too; lifetimes are whole seconds.
//
// # Answers to solicitations
//
// RFC 4861 section 6.2.6 allows a multicast or a unicast answer. A solicitation
// that names its sender's link-layer address is answered by unicast: that wakes
// nobody else (RFC 7772 section 5.1), and it does not have to wait for the 3
// seconds between multicast advertisements, so a host that comes up right after
// one has its default route within half a second. At most AnswersMax of them
// are sent in an AnswerWindow. All others, and those without a usable address,
// share one multicast advertisement. So neither memory nor traffic grows with
// the number of solicitations.
//
// # What hosts still believe
//
// A prefix, route or DNS server that leaves the configuration is advertised with
// lifetime zero for as long as hosts may remember it (RFC 9096 section 3.5).
// Reconfigure works out what those are. Remembered exports the prefixes, and New
// takes them back after a reboot.
package ra

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"
)

// Config is what one interface advertises. Validate says what is allowed.
type Config struct {
	Managed     bool  // M: addresses can be had by DHCPv6 (D-314)
	OtherConfig bool  // O: other configuration can be had by DHCPv6 (D-314, D-315)
	HopLimit    uint8 // for packets that hosts send; 0: unspecified

	// RouterLifetime is how long hosts use this box as a default router; 0: not
	// at all (RFC 4861 section 6.2.1, AdvDefaultLifetime).
	RouterLifetime time.Duration
	// NeedsGlobalPrefix advertises RouterLifetime only while one of Prefixes is
	// valid and global, that is, neither a ULA nor at its end (RFC 7084 L-4 and
	// ULA-5, D-323). Without it RouterLifetime is always advertised.
	NeedsGlobalPrefix bool
	// Preference of this default router (RFC 4191); sent as medium, as section
	// 2.2 demands, when the lifetime sent is 0.
	Preference Preference

	// Unsolicited advertisements follow each other after a random time between
	// these (RFC 4861 section 6.2.1, MinRtrAdvInterval and MaxRtrAdvInterval).
	MinInterval, MaxInterval time.Duration

	MTU uint32 // octets; 0: option not sent

	Prefixes []Prefix // on-link prefixes; their order is kept
	Routes   []Route  // more specific routes through this box (RFC 4191, D-324)

	DNSServers    []netip.Addr  // RDNSS (RFC 8106 section 5.1, D-325); the same as by DHCPv6 (D-338)
	SearchDomains []string      // DNSSL (RFC 8106 section 5.2, D-325); ASCII, no dot at the end
	DNSLifetime   time.Duration // of both; at least 3 times MaxInterval (D-326)

	CaptivePortal string // URI of the captive portal's API (RFC 8910 section 2.3); empty: not sent
}

// Prefix is a Prefix Information option (RFC 4861 section 4.6.2).
type Prefix struct {
	Prefix     netip.Prefix
	OnLink     bool // L: hosts reach these addresses without a router
	Autonomous bool // A: hosts form their own addresses (SLAAC); needs a /64
	// PreferDelegation is the P flag: a host had better ask for a prefix of its own
	// (RFC 9762). It says nothing about Autonomous (D-327, D-328), and it needs
	// Managed or OtherConfig for hosts that do not know it (D-329).
	PreferDelegation bool

	Preferred, Valid time.Duration // 0 and 0: hosts shall stop using it

	// PreferredUntil and ValidUntil are the monotonic times at which the
	// delegation ends that this prefix is part of. No lifetime goes beyond them
	// (RFC 9096 section 3.3, D-320), and the caps of section 3.4 apply (D-321).
	// Zero: it has no end.
	PreferredUntil, ValidUntil time.Duration
}

// Route is a Route Information option (RFC 4191 section 2.3).
type Route struct {
	Prefix     netip.Prefix
	Preference Preference
	Lifetime   time.Duration // 0: hosts shall forget it
	ValidUntil time.Duration // as in Prefix; zero: no end
}

// Preference among default routers and among routes (RFC 4191 section 2.1).
type Preference int8

// The three preferences; the zero value is the RFC's default.
const (
	Low    Preference = -1
	Medium Preference = 0
	High   Preference = 1
)

// String is the preference as it is written in a configuration.
func (p Preference) String() string {
	switch p {
	case Low:
		return "low"
	case Medium:
		return "medium"
	case High:
		return "high"
	}
	return fmt.Sprintf("Preference(%d)", int8(p))
}

// ParsePreference reads what String wrote.
func ParsePreference(s string) (Preference, error) {
	for _, p := range []Preference{Low, Medium, High} {
		if s == p.String() {
			return p, nil
		}
	}
	return Medium, fmt.Errorf("preference: found %q; allowed: low, medium, high", s)
}

// The defaults of a Config.
const (
	DefaultHopLimit    = 64
	DefaultMaxInterval = 600 * time.Second // RFC 4861 section 6.2.1
	defaultMinInterval = 200 * time.Second

	// PreferredLimit and ValidLimit are ND_PREFERRED_LIMIT and ND_VALID_LIMIT
	// (RFC 9096 section 3.4): short enough for hosts to get over a renumbering,
	// and caps for whatever comes from a delegation.
	PreferredLimit = 2700 * time.Second
	ValidLimit     = 5400 * time.Second
)

// Constants of RFC 4861 section 10.
const (
	InitialIntervalMax  = 16 * time.Second       // MAX_INITIAL_RTR_ADVERT_INTERVAL
	InitialMax          = 3                      // MAX_INITIAL_RTR_ADVERTISEMENTS
	FinalMax            = 3                      // MAX_FINAL_RTR_ADVERTISEMENTS
	MinDelayBetweenRAs  = 3 * time.Second        // MIN_DELAY_BETWEEN_RAS
	MaxRADelay          = 500 * time.Millisecond // MAX_RA_DELAY_TIME
	solicitationSizeMin = 8                      // octets, section 6.1.1
)

// DefaultConfig is an interface where a DHCPv6 server answers
// Information-request and leases nothing (D-315). The router lifetime is that of
// RFC 9096 section 3.4 (D-322) and needs a global prefix (D-323).
func DefaultConfig() Config {
	return Config{
		OtherConfig:       true,
		HopLimit:          DefaultHopLimit,
		RouterLifetime:    PreferredLimit,
		NeedsGlobalPrefix: true,
		MinInterval:       defaultMinInterval,
		MaxInterval:       DefaultMaxInterval,
		DNSLifetime:       ValidLimit,
	}
}

// DefaultMinInterval is the shortest interval that goes with a longest one (RFC
// 4861 section 6.2.1): a third of it, three quarters of a short one.
func DefaultMinInterval(maxInterval time.Duration) time.Duration {
	if maxInterval >= 9*time.Second {
		return maxInterval / 3
	}
	return maxInterval * 3 / 4
}

// DefaultPrefix is p with both flags set (RFC 4861 section 6.2.1, D-316) and the
// lifetimes of RFC 9096 section 3.4.
func DefaultPrefix(p netip.Prefix) Prefix {
	return Prefix{Prefix: p, OnLink: true, Autonomous: true, Preferred: PreferredLimit, Valid: ValidLimit}
}

// DefaultRoute is a route of medium preference with the lifetime of RFC 9096
// section 3.4.
func DefaultRoute(p netip.Prefix) Route { return Route{Prefix: p, Lifetime: ValidLimit} }

// clone shares nothing with c.
func (c Config) clone() Config {
	c.Prefixes = slices.Clone(c.Prefixes)
	c.Routes = slices.Clone(c.Routes)
	c.DNSServers = slices.Clone(c.DNSServers)
	c.SearchDomains = slices.Clone(c.SearchDomains)
	return c
}

// equal reports whether both are advertised alike. An empty list equals none.
func (c Config) equal(d Config) bool {
	return slices.Equal(c.Prefixes, d.Prefixes) && slices.Equal(c.Routes, d.Routes) &&
		slices.Equal(c.DNSServers, d.DNSServers) && slices.Equal(c.SearchDomains, d.SearchDomains) &&
		reflect.DeepEqual(c.withoutLists(), d.withoutLists())
}

func (c Config) withoutLists() Config {
	c.Prefixes, c.Routes, c.DNSServers, c.SearchDomains = nil, nil, nil, nil
	return c
}
