package web

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Filter finds leases by any part of what is shown of them. The zero Filter
// matches every lease.
//
// A lease matches when the text is a part of its prefix or address, DUID (with
// colons, with dashes, or with nothing between the octets), host name, link,
// status or next hop, upper and lower case of ASCII being the same. A text that
// is a whole address also finds the delegated prefix that it lies in, and may
// be spelled in any way that RFC 4291 allows.
type Filter struct {
	text   string
	parts  []string   // lower case; one of them has to be found
	octets [][]byte   // the parts again, to be found in rendered octets
	words  bool       // no part can be one of an address, a prefix or a DUID
	digit  string     // the text when it is hexadecimal digits only: DUIDs without separators
	addr   netip.Addr // the text when it is an address
}

// ParseFilter reads the text of a filter. Only its length can be wrong
// (FilterLenMax). White space around it does not count.
func ParseFilter(text string) (Filter, error) {
	if len(text) > FilterLenMax {
		return Filter{}, badRequest(
			fmt.Sprintf("a filter of %d octets is too long, at most %d are allowed", len(text), FilterLenMax),
			"a part of an address, DUID, host name, link or status is enough")
	}
	text = strings.TrimSpace(text)
	if text == "" {
		return Filter{}, nil
	}
	f := Filter{text: text, parts: []string{lowerASCII(text)}}
	if strings.ContainsRune(text, '-') {
		f.parts = append(f.parts, strings.ReplaceAll(f.parts[0], "-", ":"))
	}
	if strings.Trim(f.parts[0], "0123456789abcdef") == "" {
		f.digit = f.parts[0]
	}
	if p, err := parsePrefix(text); err == nil {
		if canonical := leaseText(p); canonical != f.parts[0] {
			f.parts = append(f.parts, canonical)
		}
		if p.IsSingleIP() {
			f.addr = p.Addr()
		}
	}
	for _, part := range f.parts {
		f.octets = append(f.octets, []byte(part))
	}
	f.words = !slices.ContainsFunc(f.parts, func(part string) bool { return strings.Trim(part, "0123456789abcdef:./") == "" })
	return f, nil
}

// String is the text that the filter was made from.
func (f Filter) String() string { return f.text }

// Facts are what a Filter looks at, as a daemon has them before it makes a Lease
// of them: that costs more than the search does.
type Facts struct {
	Prefix                 netip.Prefix // of an address: with its whole length
	Client                 string       // octets of the DUID
	Hostname, Link, Status string
	Via                    netip.Addr // invalid: there is no next hop
}

// MatchFacts is Match of the Lease that these facts make. It does not allocate:
// a search walks a million leases.
func (f Filter) MatchFacts(l *Facts) bool {
	if f.text == "" || f.addr.IsValid() && l.Prefix.Contains(f.addr) {
		return true
	}
	for _, part := range f.parts {
		if containsFold(l.Hostname, part) || containsFold(l.Link, part) || containsFold(l.Status, part) {
			return true
		}
	}
	if f.words {
		return false
	}
	var buffer [factsLenMax]byte // of three texts behind each other
	prefix := appendLeaseText(buffer[:0], l.Prefix)
	// What is digits only is a part of an octet also where there are no colons.
	client := appendDUID(prefix[len(prefix):], l.Client, f.digit == "")
	var via []byte
	if l.Via.IsValid() {
		via = l.Via.AppendTo(client[len(client):])
	}
	for _, part := range f.octets { // these texts are in lower case
		if bytes.Contains(prefix, part) || bytes.Contains(client, part) || bytes.Contains(via, part) {
			return true
		}
	}
	return false
}

// factsLenMax is the room for a prefix, a DUID of 130 octets and an address, in
// octets. Longer texts are searched as well, with an allocation.
const factsLenMax = len("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128") + 3*130 + len("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")

// Match reports whether the lease is one that the operator looks for.
func (f Filter) Match(l *Lease) bool {
	if f.text == "" {
		return true
	}
	for _, part := range f.parts {
		if containsFold(l.Prefix, part) || containsFold(l.Client, part) || containsFold(l.Hostname, part) ||
			containsFold(l.Link, part) || containsFold(l.Status, part) || containsFold(l.Via, part) {
			return true
		}
	}
	return f.digit != "" && containsDigits(l.Client, f.digit) || f.addr.IsValid() && covers(l.Prefix, f.addr)
}

// covers reports whether a delegated prefix holds the address.
func covers(prefix string, a netip.Addr) bool {
	if strings.IndexByte(prefix, '/') < 0 {
		return false // an address: compared as text already
	}
	p, err := netip.ParsePrefix(prefix)
	return err == nil && p.Contains(a)
}

// containsFold reports whether lower, which is in lower case, is a part of s.
func containsFold(s, lower string) bool {
	for i := 0; i+len(lower) <= len(s); i++ {
		n := 0
		for n < len(lower) && lowerByte(s[i+n]) == lower[n] {
			n++
		}
		if n == len(lower) {
			return true
		}
	}
	return false
}

// containsDigits reports whether digits are a part of the DUID when its colons
// are left out.
func containsDigits(duid, digits string) bool {
	for i := 0; i < len(duid); i++ {
		n := 0
		for j := i; j < len(duid) && n < len(digits); j++ {
			if duid[j] == ':' {
				continue
			}
			if lowerByte(duid[j]) != digits[n] {
				break
			}
			n++
		}
		if n == len(digits) {
			return true
		}
	}
	return false
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// lowerASCII leaves everything but A to Z as it is, octets that are no UTF-8 included.
func lowerASCII(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] = lowerByte(b[i])
	}
	return string(b)
}

// parsePrefix reads an address (as a prefix of 128 bits) or a prefix.
func parsePrefix(text string) (netip.Prefix, error) {
	const hint = "write an address such as 2001:db8::1 or a prefix such as 2001:db8:0:100::/56"
	if a, err := netip.ParseAddr(text); err == nil && a.Is6() && !a.Is4In6() && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is6() || p.Addr().Is4In6() {
		return netip.Prefix{}, badRequest(fmt.Sprintf("%s is neither an IPv6 address nor a prefix", quoted(text)), hint)
	}
	if p.Masked() != p {
		return netip.Prefix{}, badRequest(fmt.Sprintf("%s has bits set behind its length", quoted(text)),
			fmt.Sprintf("did you mean %v?", p.Masked()))
	}
	return p, nil
}

// CanonicalPrefix spells an address or a delegated prefix as Lease.Prefix does.
// Its errors say what is wrong with text and are fit for the person who wrote it.
func CanonicalPrefix(text string) (string, error) {
	p, err := parsePrefix(text)
	if err != nil {
		return "", err
	}
	return leaseText(p), nil
}

// leaseText is how Lease.Prefix spells p: an address without its length.
func leaseText(p netip.Prefix) string { return string(appendLeaseText(nil, p)) }

func appendLeaseText(b []byte, p netip.Prefix) []byte {
	if p.IsSingleIP() {
		return p.Addr().AppendTo(b)
	}
	return p.AppendTo(b)
}

// appendDUID spells a DUID as Lease.Client does, or without its colons.
func appendDUID(b []byte, duid string, colons bool) []byte {
	const digits = "0123456789abcdef"
	for i := range len(duid) {
		if i > 0 && colons {
			b = append(b, ':')
		}
		b = append(b, digits[duid[i]>>4], digits[duid[i]&15])
	}
	return b
}

// quotedLenMax is how much of a foreign text an error repeats, in octets.
const quotedLenMax = 64

// quoted makes a text from outside safe to print.
func quoted(text string) string {
	if len(text) > quotedLenMax {
		return fmt.Sprintf("%q...", text[:quotedLenMax])
	}
	return fmt.Sprintf("%q", text)
}
