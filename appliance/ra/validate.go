package ra

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/mdlayher/ndp"
)

// Limits of a Config. Everything must fit in one packet that no link has to
// fragment, because fragmented ND messages are dropped (RFC 6980 section 5).
const (
	PrefixesMax      = 16 // half a kilobyte of options
	RoutesMax        = 8
	DNSServersMax    = 8 // hosts use three
	SearchDomainsMax = 8

	// AdvertisementSizeMax is the ICMPv6 message in an IPv6 packet of 1280 octets,
	// the smallest MTU of any link (RFC 8200 section 5).
	AdvertisementSizeMax = 1280 - 40
	// configSizeMax leaves room for four withdrawn prefixes in every message.
	configSizeMax = AdvertisementSizeMax - 4*prefixOptionSize

	// optionSizeMax is the largest option that ndp v1.1.0 encodes: it computes
	// the size in eight bits.
	optionSizeMax    = 248
	captivePortalMax = optionSizeMax - 2
	searchDomainMax  = optionSizeMax - dnsOptionHeader - 2 // a name needs two octets more on the wire

	mtuMin, mtuMax = 1280, 65535 // RFC 8200 section 5; no jumbograms on a LAN

	maxIntervalLeast, maxIntervalMost = 4 * time.Second, 1800 * time.Second // RFC 4861 section 6.2.1
	minIntervalLeast                  = 3 * time.Second                     // RFC 4861 section 6.2.1
	routerLifetimeMost                = 9000 * time.Second                  // RFC 4861 section 6.2.1
)

var linkLocal = netip.MustParsePrefix("fe80::/10")

// Infinity is the lifetime that never ends (RFC 4861 section 4.6.2).
const Infinity = ndp.Infinity

// A FieldError says what is wrong with one field of a Config. Field has the
// key's name in the configuration file, such as "prefixes[2].valid".
type FieldError struct {
	Field, Found, Allowed string
}

func (e *FieldError) Error() string {
	return fmt.Sprintf("%s: found %s; allowed: %s", e.Field, e.Found, e.Allowed)
}

// Validate returns nil or, joined, a *FieldError for each problem.
func (c Config) Validate() error {
	var p problems
	p.schedule(c)
	p.header(c)
	p.prefixes(c)
	p.routes(c)
	p.dns(c)
	if len(p) == 0 {
		p.size(c)
	}
	return errors.Join(p...)
}

// problems collects what is wrong.
type problems []error

func (p *problems) add(field string, found any, allowed string, args ...any) {
	*p = append(*p, &FieldError{field, fmt.Sprint(found), fmt.Sprintf(allowed, args...)})
}

func (p *problems) schedule(c Config) {
	if c.MaxInterval < maxIntervalLeast || c.MaxInterval > maxIntervalMost {
		p.add("max-interval", seconds(c.MaxInterval), "%s to %s (RFC 4861 section 6.2.1)", seconds(maxIntervalLeast), seconds(maxIntervalMost))
		return
	}
	if most := c.MaxInterval * 3 / 4; c.MinInterval < minIntervalLeast || c.MinInterval > most {
		p.add("min-interval", seconds(c.MinInterval), "%s to three quarters of max-interval, %s (RFC 4861 section 6.2.1)", seconds(minIntervalLeast), seconds(most))
	}
}

func (p *problems) header(c Config) {
	if c.RouterLifetime != 0 && (c.RouterLifetime < c.MaxInterval || c.RouterLifetime > routerLifetimeMost) || !whole(c.RouterLifetime) {
		p.add("default-lifetime", seconds(c.RouterLifetime), "0, or whole seconds from max-interval, %s, to %s (RFC 4861 section 6.2.1)", seconds(c.MaxInterval), seconds(routerLifetimeMost))
	}
	p.preference("preference", c.Preference)
	if c.MTU != 0 && (c.MTU < mtuMin || c.MTU > mtuMax) {
		p.add("mtu", c.MTU, "0 (not sent), or %d to %d octets", mtuMin, mtuMax)
	}
	if c.CaptivePortal != "" && !validURI(c.CaptivePortal) {
		p.add("captive-portal", fmt.Sprintf("%q", c.CaptivePortal), "an absolute URI of printable ASCII, such as https://portal.example.org/api")
	} else if len(c.CaptivePortal) > captivePortalMax {
		p.add("captive-portal", fmt.Sprintf("%d octets", len(c.CaptivePortal)), "at most %d octets in a router advertisement", captivePortalMax)
	}
}

func (p *problems) prefixes(c Config) {
	if len(c.Prefixes) > PrefixesMax {
		p.add("prefixes", fmt.Sprintf("%d prefixes", len(c.Prefixes)), "at most %d", PrefixesMax)
		return
	}
	seen := map[netip.Prefix]bool{}
	for i, q := range c.Prefixes {
		at := fmt.Sprintf("prefixes[%d].", i)
		if why := unfitOnLink(q.Prefix); why != "" {
			p.add(at+"prefix", q.Prefix, "%s", why)
			continue
		}
		if seen[q.Prefix] {
			p.add(at+"prefix", q.Prefix.String()+" a second time", "each prefix once")
		}
		seen[q.Prefix] = true
		if q.Autonomous && q.Prefix.Bits() != 64 {
			p.add(at+"autonomous", fmt.Sprintf("true for a /%d", q.Prefix.Bits()), "false, or a prefix of length 64: hosts ignore others (RFC 4862 section 5.5.3)")
		}
		if q.PreferDelegation && !c.Managed && !c.OtherConfig {
			p.add(at+"prefer-delegation", "true without managed and other-config", "true only with one of them (RFC 9762 section 6)")
		}
		p.lifetime(at+"valid", q.Valid, c.MaxInterval)
		p.lifetime(at+"preferred", q.Preferred, c.MaxInterval)
		if q.Preferred > q.Valid {
			p.add(at+"preferred", seconds(q.Preferred), "at most the valid lifetime, %s (RFC 4861 section 4.6.2)", seconds(q.Valid))
		}
	}
}

func (p *problems) routes(c Config) {
	if len(c.Routes) > RoutesMax {
		p.add("routes", fmt.Sprintf("%d routes", len(c.Routes)), "at most %d", RoutesMax)
		return
	}
	seen := map[netip.Prefix]bool{}
	for i, r := range c.Routes {
		at := fmt.Sprintf("routes[%d].", i)
		if why := unfitRoute(r.Prefix); why != "" {
			p.add(at+"prefix", r.Prefix, "%s", why)
			continue
		}
		if seen[r.Prefix] {
			p.add(at+"prefix", r.Prefix.String()+" a second time", "each prefix once")
		}
		seen[r.Prefix] = true
		p.preference(at+"preference", r.Preference)
		p.lifetime(at+"lifetime", r.Lifetime, c.MaxInterval)
	}
}

func (p *problems) dns(c Config) {
	if len(c.DNSServers) > DNSServersMax {
		p.add("dns-servers", fmt.Sprintf("%d servers", len(c.DNSServers)), "at most %d in a router advertisement", DNSServersMax)
	}
	for i, a := range c.DNSServers {
		if !a.Is6() || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() {
			p.add(fmt.Sprintf("dns-servers[%d]", i), a, "a unicast IPv6 address without a zone")
		}
	}
	if len(c.SearchDomains) > SearchDomainsMax {
		p.add("domain-search", fmt.Sprintf("%d domains", len(c.SearchDomains)), "at most %d in a router advertisement", SearchDomainsMax)
	}
	for i, d := range c.SearchDomains {
		if !validDomain(d) {
			p.add(fmt.Sprintf("domain-search[%d]", i), fmt.Sprintf("%q", d), "a domain name of at most %d octets in ASCII without a dot at the end, such as example.org", searchDomainMax)
		}
	}
	if len(c.DNSServers)+len(c.SearchDomains) == 0 {
		return
	}
	if least := 3 * c.MaxInterval; c.DNSLifetime < least || c.DNSLifetime > Infinity || !whole(c.DNSLifetime) {
		p.add("dns-lifetime", seconds(c.DNSLifetime), "whole seconds, at least three times max-interval, %s (RFC 8106 section 5.1)", seconds(least))
	}
}

func (p *problems) preference(field string, v Preference) {
	if v < Low || v > High {
		p.add(field, v, "low, medium, high")
	}
}

// lifetime refuses what would run out between two advertisements.
func (p *problems) lifetime(field string, v, maxInterval time.Duration) {
	if v != 0 && (v < maxInterval || v > Infinity) || !whole(v) {
		p.add(field, seconds(v), "0, or whole seconds from max-interval, %s, to %d (infinite)", seconds(maxInterval), Infinity/time.Second)
	}
}

func (p *problems) size(c Config) {
	b, err := ndp.MarshalMessage(Build(0, c, Withdrawn{}, make([]byte, linkLayerSize)))
	if err != nil {
		panic(fmt.Sprintf("ra: a valid configuration has no encoding: %v", err))
	}
	if len(b) > configSizeMax {
		p.add("router-advertisements", fmt.Sprintf("an advertisement of %d octets", len(b)), "at most %d: list fewer prefixes, routes or domains", configSizeMax)
	}
}

// unfitOnLink says what is allowed when p cannot be an on-link prefix, otherwise
// nothing.
func unfitOnLink(p netip.Prefix) string {
	switch {
	case p.IsValid() && p.Bits() == 0:
		return "a prefix length from 1 to 128"
	case p.IsValid() && p.Overlaps(linkLocal):
		return "no link-local prefix (RFC 4861 section 6.2.1)"
	}
	return unfitRoute(p)
}

// unfitRoute is unfitOnLink for routes: a route may be the default route.
func unfitRoute(p netip.Prefix) string {
	a := p.Addr()
	switch {
	case !p.IsValid() || !a.Is6() || a.Is4In6():
		return "an IPv6 prefix, such as 2001:db8::/64"
	case p.Masked() != p:
		return fmt.Sprintf("no bits behind the prefix length: %s", p.Masked())
	case a.IsMulticast() || a.IsLinkLocalUnicast() || a.IsLoopback():
		return "a prefix of global or unique local unicast addresses"
	}
	return ""
}

// validURI reports whether s is an absolute URI that needs no escaping.
func validURI(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	u, err := url.Parse(s)
	return err == nil && u.IsAbs()
}

// validDomain reports whether s can be put into a DNSSL option.
func validDomain(s string) bool {
	if len(s) > searchDomainMax {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) < 1 || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	// A label that begins with xn-- must also decode.
	option := &ndp.DNSSearchList{DomainNames: []string{s}}
	_, err := ndp.MarshalMessage(&ndp.RouterAdvertisement{Options: []ndp.Option{option}})
	return err == nil
}

// whole reports whether a lifetime is one that the wire can carry exactly.
func whole(d time.Duration) bool { return d >= 0 && d%time.Second == 0 }

// seconds is a duration as the configuration file has it.
func seconds(d time.Duration) string { return fmt.Sprintf("%g s", d.Seconds()) }
