package ra

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/mdlayher/ndp"
)

// Sizes of options in octets.
const (
	linkLayerSize    = 6 // of an Ethernet address
	shortOptionSize  = 8 // source link-layer address, MTU
	prefixOptionSize = 32
	dnsOptionHeader  = 8 // of RDNSS and DNSSL: type, length, reserved, lifetime
	addressSize      = 16
)

// Withdrawn is what hosts shall stop using: it is advertised with lifetime zero.
type Withdrawn struct {
	Prefixes      []AdvertisedPrefix
	Routes        []netip.Prefix
	DNSServers    []netip.Addr
	SearchDomains []string
}

// Build is the advertisement of a valid Config at the time now. The message is
// the same for unsolicited and solicited advertisements (RFC 4861 section 6.2.3).
//
// Source is the interface's link-layer address; one that is not an Ethernet
// address is not sent, as RFC 4861 section 4.2 allows. Of w as much is sent as
// fits into AdvertisementSizeMax. Reserved fields stay zero (D-336): ndp and
// prefixOption set nothing else.
func Build(now time.Duration, c Config, w Withdrawn, source []byte) *ndp.RouterAdvertisement {
	var o options
	if len(source) == linkLayerSize {
		o.add(&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: source}, shortOptionSize)
	}
	if c.MTU != 0 {
		o.add(ndp.NewMTU(c.MTU), shortOptionSize)
	}
	for _, p := range c.Prefixes {
		preferred, valid := p.lifetimes(now)
		o.add(prefixOption(p, preferred, valid), prefixOptionSize)
	}
	for _, r := range c.Routes {
		o.add(routeOption(r.Prefix, r.Preference, r.lifetime(now)))
	}
	o.dns(c.DNSServers, c.SearchDomains, c.dnsLifetime(now))
	if c.CaptivePortal != "" {
		o.add(&ndp.CaptivePortal{URI: c.CaptivePortal}, padded(2+len(c.CaptivePortal)))
	}
	o.withdraw(w)

	m := &ndp.RouterAdvertisement{
		CurrentHopLimit:      c.HopLimit,
		ManagedConfiguration: c.Managed,
		OtherConfiguration:   c.OtherConfig,
		RouterLifetime:       c.routerLifetime(now),
		Options:              o.list,
	}
	if m.RouterLifetime != 0 { // RFC 4191 section 2.2
		m.RouterSelectionPreference = c.Preference.wire()
	}
	return m
}

// lifetimes are what is left of p's lifetimes at the time now (D-319 to D-321).
func (p Prefix) lifetimes(now time.Duration) (preferred, valid time.Duration) {
	preferred, valid = p.Preferred, p.Valid
	if p.ValidUntil != 0 {
		valid = min(valid, ValidLimit, remaining(p.ValidUntil, now))
		preferred = min(preferred, PreferredLimit)
	}
	if p.PreferredUntil != 0 {
		preferred = min(preferred, remaining(p.PreferredUntil, now))
	}
	return min(preferred, valid), valid
}

// lifetime is what is left of r's lifetime at the time now.
func (r Route) lifetime(now time.Duration) time.Duration {
	if r.ValidUntil == 0 {
		return r.Lifetime
	}
	return min(r.Lifetime, ValidLimit, remaining(r.ValidUntil, now))
}

// routerLifetime is zero when a global prefix is needed and none is left.
func (c Config) routerLifetime(now time.Duration) time.Duration {
	if !c.NeedsGlobalPrefix {
		return c.RouterLifetime
	}
	for _, p := range c.Prefixes {
		if _, valid := p.lifetimes(now); valid > 0 && !p.Prefix.Addr().IsPrivate() {
			return c.RouterLifetime
		}
	}
	return 0
}

// dnsLifetime ends with the last prefix when all of them end, because then this
// box knows the servers from the same provider (RFC 9096 section 3.4).
func (c Config) dnsLifetime(now time.Duration) time.Duration {
	longest := time.Duration(0)
	for _, p := range c.Prefixes {
		if p.ValidUntil == 0 {
			return c.DNSLifetime
		}
		longest = max(longest, remaining(p.ValidUntil, now))
	}
	if len(c.Prefixes) == 0 {
		return c.DNSLifetime
	}
	return min(c.DNSLifetime, ValidLimit, longest)
}

// remaining is the whole seconds from now to a monotonic time.
func remaining(until, now time.Duration) time.Duration {
	return max(0, until-now).Truncate(time.Second)
}

// options are those of one message, as many as fit.
type options struct {
	list []ndp.Option
	size int // octets
}

func (o *options) add(option ndp.Option, size int) {
	const header = 16 // type to Retrans Timer
	if header+o.size+size > AdvertisementSizeMax {
		return // only withdrawals: Validate leaves room for the rest
	}
	o.list = append(o.list, option)
	o.size += size
}

// withdraw adds w with lifetimes zero (D-330).
func (o *options) withdraw(w Withdrawn) {
	for _, p := range w.Prefixes {
		o.add(prefixOption(Prefix{Prefix: p.Prefix, OnLink: p.OnLink, Autonomous: p.Autonomous}, 0, 0), prefixOptionSize)
	}
	for _, r := range w.Routes {
		o.add(routeOption(r, Medium, 0))
	}
	o.dns(w.DNSServers, w.SearchDomains, 0)
}

// dns adds as many options as the servers and domains need.
func (o *options) dns(servers []netip.Addr, domains []string, lifetime time.Duration) {
	for len(servers) > 0 {
		n := min(len(servers), DNSServersMax)
		o.add(&ndp.RecursiveDNSServer{Lifetime: lifetime, Servers: servers[:n]}, dnsOptionHeader+n*addressSize)
		servers = servers[n:]
	}
	for len(domains) > 0 {
		n, size := 0, dnsOptionHeader
		for n < len(domains) && size+len(domains[n])+2 <= optionSizeMax {
			size += len(domains[n]) + 2
			n++
		}
		o.add(&ndp.DNSSearchList{Lifetime: lifetime, DomainNames: domains[:n]}, padded(size))
		domains = domains[n:]
	}
}

// prefixOption encodes p by itself, because ndp v1.1.0 does not know the P flag.
// Bits behind the prefix length are sent as zero (D-317).
func prefixOption(p Prefix, preferred, valid time.Duration) ndp.Option {
	const flagL, flagA, flagP = 0x80, 0x40, 0x10
	v := make([]byte, prefixOptionSize-2)
	v[0] = byte(p.Prefix.Bits())
	if p.OnLink {
		v[1] |= flagL
	}
	if p.Autonomous {
		v[1] |= flagA
	}
	if p.PreferDelegation {
		v[1] |= flagP
	}
	binary.BigEndian.PutUint32(v[2:], uint32(valid/time.Second))
	binary.BigEndian.PutUint32(v[6:], uint32(preferred/time.Second))
	address := p.Prefix.Masked().Addr().As16()
	copy(v[14:], address[:]) // behind four reserved octets
	return &ndp.RawOption{Type: optionPrefix, Length: prefixOptionSize / 8, Value: v}
}

func routeOption(p netip.Prefix, pref Preference, lifetime time.Duration) (option ndp.Option, size int) {
	size = 8 + (p.Bits()+63)/64*8 // no octet of the prefix for ::/0, 8 up to /64, 16 beyond
	return &ndp.RouteInformation{
		PrefixLength:  uint8(p.Bits()),
		Preference:    pref.wire(),
		RouteLifetime: lifetime,
		Prefix:        p.Masked().Addr(),
	}, size
}

func (p Preference) wire() ndp.Preference {
	switch p {
	case Low:
		return ndp.Low
	case High:
		return ndp.High
	}
	return ndp.Medium
}

// padded is size rounded up to the units of options.
func padded(size int) int { return (size + 7) / 8 * 8 }
