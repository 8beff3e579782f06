package config

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tailscale/hujson"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/failover/lease"
)

// textLenMax is the longest text in octets: an option's octets in hexadecimal,
// with colons between them.
const textLenMax = 3 * dhcp6.OptionDataLenMax

// The methods below read one value. What is wrong is added as a problem, and the
// zero value returned; most callers need not know, because a file with a problem
// is not used.

// text reads a text without control characters.
func (n *node) text() (s string, ok bool) {
	literal, ok := n.value.Value.(hujson.Literal)
	if !ok || literal.Kind() != '"' {
		n.wrongType("a text in quotes")
		return "", false
	}
	s = literal.String()
	switch {
	case len(s) > textLenMax:
		n.problem(fmt.Sprintf("at most %d octets", textLenMax), "a text of %d octets", len(s))
		return "", false
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		n.problem("a text without control characters", "%s", quote(s))
		return "", false
	}
	return s, true
}

// oneOf reads one of some words, and returns its place among them.
func (n *node) oneOf(words ...string) int {
	s, ok := n.text()
	if !ok {
		return 0
	}
	i := slices.Index(words, s)
	if i < 0 {
		n.problem(strings.Join(words, ", "), "%s", quote(s))
		return 0
	}
	return i
}

func (n *node) boolean() bool {
	kind := n.value.Value.Kind()
	if kind != 't' && kind != 'f' {
		n.wrongType("true or false")
	}
	return kind == 't'
}

// integer reads a number without fraction or exponent. The unit, in the plural,
// may be empty.
func (n *node) integer(least, most uint64, unit string) uint64 {
	allowed := strings.TrimSpace(fmt.Sprintf("%d to %d %s", least, most, unit))
	literal, ok := n.value.Value.(hujson.Literal)
	if !ok || literal.Kind() != '0' {
		n.wrongType(allowed)
		return 0
	}
	v, err := strconv.ParseUint(string(literal), 10, 64)
	if err != nil || v < least || v > most {
		n.problem(allowed, "%s", cut(string(literal)))
		return 0
	}
	return v
}

// infinite is the word for a lifetime that never ends (RFC 9915 section 7.7).
const infinite = "infinite"

// seconds reads a time in seconds, as a number, as a text such as 1h30m, or, if
// most is lease.Infinity, as the word infinite.
func (n *node) seconds(least, most uint32) uint32 {
	allowed := fmt.Sprintf("%d to %d seconds", least, most)
	if most == lease.Infinity {
		allowed = fmt.Sprintf("%d to %d seconds, or %q", least, most-1, infinite)
	}
	literal, ok := n.value.Value.(hujson.Literal)
	if !ok || literal.Kind() != '"' && literal.Kind() != '0' {
		n.wrongType(allowed)
		return 0
	}
	if literal.Kind() == '"' && literal.String() == infinite && most == lease.Infinity {
		return lease.Infinity
	}
	v, ok := parseSeconds(literal.String())
	if !ok || v < least || v > most || v == lease.Infinity {
		found := cut(string(literal))
		if literal.Kind() == '"' && !ok {
			allowed += `, as a number or with units as in "1h30m" (w, d, h, m, s)`
		}
		n.problem(allowed, "%s", found)
		return 0
	}
	return v
}

// parseSeconds reads 5400, 5400s, 90m or 1h30m.
func parseSeconds(s string) (seconds uint32, ok bool) {
	if v, err := strconv.ParseUint(s, 10, 32); err == nil {
		return uint32(v), true
	}
	units := map[byte]uint64{'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 7 * 86400}
	total := uint64(0)
	for rest := s; rest != ""; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		if digits == 0 || digits == len(rest) {
			return 0, false
		}
		v, err := strconv.ParseUint(rest[:digits], 10, 32)
		unit := units[rest[digits]]
		if total += v * unit; err != nil || unit == 0 || total > uint64(lease.Infinity) {
			return 0, false
		}
		rest = rest[digits+1:]
	}
	return uint32(total), s != ""
}

// moment reads a time of day with date and zone (RFC 3339).
func (n *node) moment() lease.Time {
	s, ok := n.text()
	if !ok {
		return 0
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || lease.FromUnix(t.Unix()) <= 0 {
		n.problem("a time after the year 1999 such as 2027-03-01T04:00:00Z (RFC 3339)", "%s", quote(s))
		return 0
	}
	return lease.FromUnix(t.Unix())
}

// hex reads octets in hexadecimal, with or without colons between them.
func (n *node) hex(most int) []byte {
	s, ok := n.text()
	if !ok {
		return nil
	}
	b, ok := parseHex(s)
	if !ok || len(b) > most {
		n.problem(fmt.Sprintf("at most %d octets in hexadecimal, such as 0a0b or 0a:0b", most), "%s", quote(s))
		return nil
	}
	return b
}

func parseHex(s string) ([]byte, bool) {
	if strings.Contains(s, ":") {
		for part := range strings.SplitSeq(s, ":") {
			if len(part) != 2 {
				return nil, false
			}
		}
		s = strings.ReplaceAll(s, ":", "")
	}
	b, err := hex.DecodeString(s)
	return b, err == nil
}

// address reads an IPv6 address without a zone.
func (n *node) address() netip.Addr {
	s, ok := n.text()
	if !ok {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is6() || a.Is4In6() || a.Zone() != "" {
		n.problem("an IPv6 address such as 2001:db8::1", "%s", quote(s))
		return netip.Addr{}
	}
	return a
}

// prefix reads an IPv6 prefix without bits behind its length.
func (n *node) prefix() netip.Prefix {
	s, ok := n.text()
	if !ok {
		return netip.Prefix{}
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || !p.Addr().Is6() || p.Addr().Is4In6():
		n.problem("an IPv6 prefix such as 2001:db8::/64", "%s", quote(s))
		return netip.Prefix{}
	case p != p.Masked():
		n.problem(fmt.Sprintf("no bits behind the length, did you mean %v?", p.Masked()), "%v", p)
		return netip.Prefix{}
	}
	return p
}

// unicastPrefix reads a prefix from which hosts can have addresses, with a length
// from least to most.
func (n *node) unicastPrefix(least, most int, why string) netip.Prefix {
	p := n.prefix()
	switch {
	case !p.IsValid():
		return p
	case p.Bits() < least || p.Bits() > most:
		n.problem(fmt.Sprintf("a length from %d to %d%s", least, most, why), "%v", p)
		return netip.Prefix{}
	case !isUnicast(p.Addr()):
		n.problem("a prefix of global or unique local unicast addresses", "%v", p)
		return netip.Prefix{}
	}
	return p
}

// isUnicast reports whether a is a global or unique local unicast address. It
// answers for all of a prefix of length 8 or more.
func isUnicast(a netip.Addr) bool {
	const reserved, linkLocalAndReserved, multicast = 0x00, 0xfe, 0xff // RFC 4291 section 2.4
	first := a.As16()[0]
	return first != reserved && first != linkLocalAndReserved && first != multicast
}

// interfaceName reads a name as Linux allows it (dev_valid_name).
func (n *node) interfaceName() string {
	s, ok := n.text()
	if ok && !isInterfaceName(s) {
		n.problem(interfaceNames, "%s", quote(s))
		return ""
	}
	return s
}

const interfaceNames = "a name of an interface such as eth0: 1 to 15 ASCII characters without space, slash or colon"

func isInterfaceName(s string) bool {
	const longest = 15 // IFNAMSIZ less the zero at its end
	return s != "" && len(s) <= longest && s != "." && s != ".." &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' || r == ':' || r > 0x7f })
}

// placed is a value and where it stands.
type placed[T any] struct {
	at *node
	v  T
}

// list reads a list whose elements read reads.
func list[T any](n *node, most int, read func(*node) T) (l []placed[T]) {
	n.elements(most, func(e *node) { l = append(l, placed[T]{e, read(e)}) })
	return l
}

// values are the values of a list without their places.
func values[T any](l []placed[T]) []T {
	if l == nil {
		return nil
	}
	v := make([]T, len(l))
	for i := range l {
		v[i] = l[i].v
	}
	return v
}
