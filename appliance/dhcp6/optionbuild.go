package dhcp6

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// The option codes that the server only hands out, as the operator configured them.
const (
	optVendor             = 17  // RFC 9915 section 21.17
	optSIPDomains         = 21  // RFC 3319 section 3.1
	optSIPServers         = 22  // RFC 3319 section 3.2
	optDNSServers         = 23  // RFC 3646 section 3
	optDomainSearch       = 24  // RFC 3646 section 4
	optSNTPServers        = 31  // RFC 4075 section 4
	optPOSIXTimezone      = 41  // RFC 4833 section 3
	optTZDBTimezone       = 42  // RFC 4833 section 3
	optNTPServer          = 56  // RFC 5908 section 4
	optBootFileURL        = 59  // RFC 5970 section 3.1
	optBootFileParams     = 60  // RFC 5970 section 3.2
	optAFTRName           = 64  // RFC 6334 section 3
	optCaptivePortal      = 103 // RFC 8910 section 2.2
	optEncryptedDNS       = 144 // RFC 9463 section 4.1
	optRegisteredDomain   = 145 // RFC 9527 section 4.1
	optForwardDistManager = 146 // RFC 9527 section 4.2
	optReverseDistManager = 147 // RFC 9527 section 4.3
)

// Limits of what an option may hold.
const (
	// OptionDataLenMax leaves 200 octets of answerLenWanted for the identifiers
	// and leases; an option beyond it could never be sent beside them.
	OptionDataLenMax = 1024
	// OptionListMax bounds every list of one option: 32 addresses are 512 octets.
	OptionListMax = 32

	CaptivePortalLenMax = 255 // octets, RFC 8910 section 2 (D-165)

	InformationRefreshTimeMin = 600   // seconds, IRT_MINIMUM, RFC 9915 section 21.23 (D-139)
	MaxRTMin                  = 60    // seconds, RFC 9915 sections 21.24 and 21.25 (D-174)
	MaxRTMax                  = 86400 // seconds, the same

	labelLenMax = 63  // RFC 1035 section 3.1
	nameLenMax  = 255 // octets on the wire, RFC 1035 section 3.1
)

// CaptivePortalNone is the URI that says that there is no captive portal (RFC
// 8910 section 2).
const CaptivePortalNone = "urn:ietf:params:capport:unrestricted"

// OptionError says why a value cannot be an option: what was found, and what is
// allowed instead.
type OptionError struct {
	Index          int // of the element at fault in the list that was given, -1: no list
	Found, Allowed string
}

func (e *OptionError) Error() string { return e.Found + "; allowed: " + e.Allowed }

// badElement returns err as the error of element i of a list.
func badElement(i int, err error) error {
	if e, ok := err.(*OptionError); ok {
		return &OptionError{i, e.Found, e.Allowed}
	}
	return err
}

func badOption(allowed, found string, args ...any) error {
	return &OptionError{-1, fmt.Sprintf(found, args...), allowed}
}

// The functions below build the options that an operator can configure. An
// empty list is no option (D-178). Errors are of type *OptionError.

// DNSServers builds a DNS Recursive Name Server option (RFC 3646 section 3).
func DNSServers(servers []netip.Addr) ([]Option, error) { return addressList(optDNSServers, servers) }

// SNTPServers builds an SNTP Servers option (RFC 4075 section 4), which the NTP
// Server option replaces (RFC 5908 section 7).
func SNTPServers(servers []netip.Addr) ([]Option, error) {
	return addressList(optSNTPServers, servers)
}

// SIPServers builds a SIP Servers IPv6 Address List option (RFC 3319 section 3.2).
func SIPServers(servers []netip.Addr) ([]Option, error) { return addressList(optSIPServers, servers) }

// DomainSearch builds a Domain Search List option (RFC 3646 section 4).
func DomainSearch(domains []string) ([]Option, error) { return nameList(optDomainSearch, domains) }

// SIPDomains builds a SIP Servers Domain Name List option (RFC 3319 section 3.1).
func SIPDomains(domains []string) ([]Option, error) { return nameList(optSIPDomains, domains) }

// NTPServers builds an NTP Server option for each server, because one option
// holds exactly one time source (RFC 5908 section 4, D-161). A server is an
// address, a multicast address or a domain name.
func NTPServers(servers []string) ([]Option, error) {
	const address, multicast, name = 1, 2, 3 // suboption codes
	var options []Option
	for i, s := range servers {
		suboption, data := uint16(name), []byte(nil)
		if a, err := netip.ParseAddr(s); err == nil {
			suboption = address
			if a.IsMulticast() && a.Is6() && a.Zone() == "" {
				suboption = multicast
			} else if err := checkServer(a); err != nil {
				return nil, badElement(i, err)
			}
			data = a.AsSlice()
		} else if data, err = appendName(nil, s); err != nil {
			return nil, badElement(i, err)
		}
		options = append(options, Option{Code: optNTPServer, Data: appendOption(nil, suboption, data)})
	}
	return options, checkListLen(len(servers))
}

// CaptivePortal builds a Captive-Portal option with the URI of the portal's API
// (RFC 8910 section 2, D-164), without an IP literal as host (D-165).
func CaptivePortal(uri string) (Option, error) {
	const allowed = "an https URI of at most 255 octets with a domain name as host, such as https://portal.example.org/api, or " + CaptivePortalNone + " (RFC 8910 section 2)"
	option := Option{Code: optCaptivePortal, Data: []byte(uri)}
	if uri == CaptivePortalNone {
		return option, nil
	}
	u, err := url.Parse(uri)
	switch {
	case len(uri) > CaptivePortalLenMax:
		return Option{}, badOption(allowed, "a URI of %d octets", len(uri))
	case err != nil || !isURI(uri) || u.Scheme != "https" || u.Host == "" || u.User != nil:
		return Option{}, badOption(allowed, "%s is not such a URI", quoted(uri))
	case isIPLiteral(u.Hostname()):
		return Option{}, badOption(allowed, "host %s is an IP literal", quoted(u.Hostname()))
	}
	if _, err := appendName(nil, u.Hostname()); err != nil {
		return Option{}, badOption(allowed, "host %s is not a domain name", quoted(u.Hostname()))
	}
	return option, nil
}

// BootFileURL builds a Boot File URL option, without a NUL at its end (RFC 5970
// section 3.1, D-162).
func BootFileURL(uri string) (Option, error) {
	const allowed = "an absolute URL of printable ASCII, an IPv6 address in brackets, such as tftp://[2001:db8::5]/boot.efi (RFC 5970 section 3.1)"
	u, err := url.Parse(uri)
	switch {
	case len(uri) > OptionDataLenMax:
		return Option{}, badOption(allowed, "a URL of %d octets; they are at most %d", len(uri), OptionDataLenMax)
	case err != nil || !isURI(uri) || !u.IsAbs() || u.Host == "" && u.Opaque == "":
		return Option{}, badOption(allowed, "%s is not such a URL", quoted(uri))
	case strings.Count(u.Host, ":") > 1 && !strings.HasPrefix(u.Host, "["):
		return Option{}, badOption(allowed, "%s has an IPv6 address without brackets", quoted(uri))
	}
	return Option{Code: optBootFileURL, Data: []byte(uri)}, nil
}

// BootFileParams builds a Boot File Parameters option (RFC 5970 section 3.2).
// The order of the parameters is kept.
func BootFileParams(params []string) ([]Option, error) {
	const allowed = "1 or more octets of UTF-8 without control characters (RFC 5970 section 3.2)"
	var data []byte
	for i, p := range params {
		if p == "" || !utf8.ValidString(p) || strings.ContainsFunc(p, isControl) {
			return nil, badElement(i, badOption(allowed, "parameter %s", quoted(p)))
		}
		if len(data)+2+len(p) > OptionDataLenMax {
			return nil, badElement(i, tooLong())
		}
		data = binary.BigEndian.AppendUint16(data, uint16(len(p)))
		data = append(data, p...)
	}
	return oneOption(optBootFileParams, len(params), data)
}

// InformationRefreshTime builds an Information Refresh Time option. The time is
// in seconds, InformationRefreshTimeMin or more; lease.Infinity is allowed (RFC
// 9915 section 21.23, D-139).
func InformationRefreshTime(seconds uint32) (Option, error) {
	if seconds < InformationRefreshTimeMin {
		return Option{}, badOption(fmt.Sprintf("%d seconds or more (RFC 9915 section 21.23)", InformationRefreshTimeMin), "%d seconds", seconds)
	}
	return Option{Code: optRefreshTime, Data: binary.BigEndian.AppendUint32(nil, seconds)}, nil
}

// SolMaxRT builds a SOL_MAX_RT option, in seconds from MaxRTMin to MaxRTMax
// (RFC 9915 section 21.24, D-174).
func SolMaxRT(seconds uint32) (Option, error) { return maxRT(optSolMaxRT, 24, seconds) }

// InfMaxRT builds an INF_MAX_RT option, in seconds from MaxRTMin to MaxRTMax
// (RFC 9915 section 21.25, D-174).
func InfMaxRT(seconds uint32) (Option, error) { return maxRT(optInfMaxRT, 25, seconds) }

func maxRT(code uint16, section int, seconds uint32) (Option, error) {
	if seconds < MaxRTMin || seconds > MaxRTMax {
		return Option{}, badOption(fmt.Sprintf("%d to %d seconds (RFC 9915 section 21.%d)", MaxRTMin, MaxRTMax, section), "%d seconds", seconds)
	}
	return Option{Code: code, Data: binary.BigEndian.AppendUint32(nil, seconds)}, nil
}

// Vendor is what one vendor's clients are told.
type Vendor struct {
	Enterprise uint32 // IANA's number of the vendor
	Options    []VendorOption
}

// VendorOption is one option within a vendor's own number space.
type VendorOption struct {
	Code uint16
	Data []byte
}

// VendorInformation builds a Vendor-specific Information option for each vendor.
// There is one instance for an enterprise number, so a number that comes twice
// is refused (RFC 9915 section 21.17, D-176).
func VendorInformation(vendors []Vendor) ([]Option, error) {
	var options []Option
	seen := map[uint32]bool{}
	for i, v := range vendors {
		switch {
		case v.Enterprise == 0:
			return nil, badElement(i, badOption("a number that IANA assigned, 1 to 4294967295", "enterprise number 0"))
		case seen[v.Enterprise]:
			return nil, badElement(i, badOption("one entry with all options of an enterprise number (RFC 9915 section 21.17)", "enterprise number %d a second time", v.Enterprise))
		case len(v.Options) == 0:
			return nil, badElement(i, badOption("one or more options", "enterprise number %d without options", v.Enterprise))
		}
		seen[v.Enterprise] = true
		data := binary.BigEndian.AppendUint32(nil, v.Enterprise)
		for _, o := range v.Options {
			if len(data)+optionHeaderLen+len(o.Data) > OptionDataLenMax {
				return nil, badElement(i, tooLong())
			}
			data = appendOption(data, o.Code, o.Data)
		}
		options = append(options, Option{Code: optVendor, Data: data})
	}
	return options, checkListLen(len(vendors))
}

// Resolver is a DNS resolver that is reached through an encrypted transport
// (RFC 9463). Without addresses only its name is handed out, and the other
// fields stay empty.
type Resolver struct {
	Priority  uint16 // 1 or more; the smallest is preferred
	Name      string // authentication domain name
	Addresses []netip.Addr
	ALPN      []string // protocols, such as dot, doq, h2, h3
	Port      uint16   // 0: the protocol's own
	DoHPath   string   // URI template (RFC 9461 section 5), for h2 and h3
}

// EncryptedDNS builds an Encrypted DNS option for each resolver (RFC 9463
// section 4.1). Service parameters are ALPN, port and DoH path only, never
// address hints (D-167, D-173). A resolver without addresses takes the form
// that ends behind the name (D-168).
func EncryptedDNS(resolvers []Resolver) ([]Option, error) {
	var options []Option
	seen := map[string]bool{}
	for i, r := range resolvers {
		name, err := appendName(nil, r.Name)
		if err != nil {
			return nil, badElement(i, err)
		}
		key := strings.ToLower(string(name))
		if seen[key] {
			return nil, badElement(i, badOption("one entry for a resolver", "resolver %s a second time", quoted(r.Name)))
		}
		seen[key] = true
		if err := r.check(); err != nil {
			return nil, badElement(i, err)
		}
		data := binary.BigEndian.AppendUint16(nil, r.Priority)
		data = binary.BigEndian.AppendUint16(data, uint16(len(name)))
		data = append(data, name...)
		if len(r.Addresses) > 0 {
			data = binary.BigEndian.AppendUint16(data, uint16(16*len(r.Addresses)))
			data = appendAddresses(data, r.Addresses)
			data = r.appendServiceParams(data)
		}
		if len(data) > OptionDataLenMax {
			return nil, badElement(i, tooLong())
		}
		options = append(options, Option{Code: optEncryptedDNS, Data: data})
	}
	return options, checkListLen(len(resolvers))
}

func (r *Resolver) check() error {
	http := slices.Contains(r.ALPN, "h2") || slices.Contains(r.ALPN, "h3")
	switch {
	case r.Priority == 0:
		return badOption("1 to 65535, the smallest is preferred (RFC 9463 section 3.1)", "priority 0")
	case len(r.Addresses) == 0 && (len(r.ALPN) > 0 || r.Port != 0 || r.DoHPath != ""):
		return badOption("addresses, or nothing but a name (RFC 9463 section 3.1.6)", "resolver %s with service parameters, but without addresses", quoted(r.Name))
	case len(r.Addresses) == 0:
		return nil
	case len(r.Addresses) > OptionListMax || len(r.ALPN) > OptionListMax:
		return checkListLen(max(len(r.Addresses), len(r.ALPN)))
	case len(r.ALPN) == 0:
		return badOption("its protocols, such as dot, doq, h2, h3 (RFC 9463 section 3.1)", "resolver %s without alpn", quoted(r.Name))
	case http && !isDoHPath(r.DoHPath):
		return badOption("a path with the variable dns, such as /dns-query{?dns} (RFC 9461 section 5)", "DoH path %s", quoted(r.DoHPath))
	case !http && r.DoHPath != "":
		return badOption("a DoH path with alpn h2 or h3 only", "DoH path %s", quoted(r.DoHPath))
	}
	for _, a := range r.Addresses {
		if err := checkServer(a); err != nil {
			return err
		}
	}
	for _, id := range r.ALPN {
		if len(id) == 0 || len(id) > 255 || !isURI(id) {
			return badOption("names of protocols, such as dot, doq, h2, h3", "alpn %s", quoted(id))
		}
	}
	return nil
}

// appendServiceParams writes SvcParams with their keys ascending (RFC 9460
// section 2.2). The field has no length of its own.
func (r *Resolver) appendServiceParams(b []byte) []byte {
	const alpn, port, dohPath = 1, 3, 7 // RFC 9460 section 14.3.2, RFC 9461 section 9
	var ids []byte
	for _, id := range r.ALPN {
		ids = append(append(ids, byte(len(id))), id...)
	}
	b = appendOption(b, alpn, ids) // the same layout: key, length, value
	if r.Port != 0 {
		b = appendOption(b, port, binary.BigEndian.AppendUint16(nil, r.Port))
	}
	if r.DoHPath != "" {
		b = appendOption(b, dohPath, []byte(r.DoHPath))
	}
	return b
}

// posixTZ is the TZ variable of POSIX: standard time with its offset, then
// perhaps summer time and the rules for its start and end.
var posixTZ = func() *regexp.Regexp {
	const (
		name   = `([A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)`
		clock  = `\d{1,3}(:\d{2}(:\d{2})?)?`
		offset = `[+-]?` + clock
		date   = `(J\d{1,3}|\d{1,3}|M\d{1,2}\.[1-5]\.[0-6])(/[+-]?` + clock + `)?`
	)
	return regexp.MustCompile(`^` + name + offset + `(` + name + `(` + offset + `)?(,` + date + `,` + date + `)?)?$`)
}()

// POSIXTimezone builds a New POSIX Timezone option (RFC 4833 section 3).
func POSIXTimezone(tz string) (Option, error) {
	if len(tz) > labelLenMax || !posixTZ.MatchString(tz) {
		return Option{}, badOption("a POSIX TZ string, such as CET-1CEST,M3.5.0,M10.5.0/3 (RFC 4833 section 2)", "%s is no such string", quoted(tz))
	}
	return Option{Code: optPOSIXTimezone, Data: []byte(tz)}, nil
}

var tzdbName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$`)

// TZDBTimezone builds a New TZDB Timezone option (RFC 4833 section 3).
func TZDBTimezone(name string) (Option, error) {
	if len(name) > labelLenMax || !tzdbName.MatchString(name) {
		return Option{}, badOption("a name of the time zone database, such as Europe/Zurich (RFC 4833 section 2)", "%s is no such name", quoted(name))
	}
	return Option{Code: optTZDBTimezone, Data: []byte(name)}, nil
}

// AFTRName builds an AFTR-Name option for DS-Lite (RFC 6334 section 3).
func AFTRName(name string) (Option, error) { return nameOption(optAFTRName, nil, name) }

// RegisteredDomain builds a Registered Homenet Domain option (RFC 9527 section 4.1).
func RegisteredDomain(name string) (Option, error) {
	return nameOption(optRegisteredDomain, nil, name)
}

// dnsOverTLS is the Supported Transport field with the one bit that every
// Distribution Manager has set (RFC 9527 sections 4.2 and 4.3, D-169).
var dnsOverTLS = []byte{0x00, 0x01}

// ForwardDistManager builds a Forward Distribution Manager option (RFC 9527 section 4.2).
func ForwardDistManager(name string) (Option, error) {
	return nameOption(optForwardDistManager, dnsOverTLS, name)
}

// ReverseDistManager builds a Reverse Distribution Manager Server option (RFC 9527 section 4.3).
func ReverseDistManager(name string) (Option, error) {
	return nameOption(optReverseDistManager, dnsOverTLS, name)
}

// Custom builds any option that the server neither decides itself nor has an
// encoder for.
func Custom(code uint16, data []byte) (Option, error) {
	switch why := governed(code); {
	case why != "":
		return Option{}, badOption("a code that "+why, "option code %d", code)
	case len(data) > OptionDataLenMax:
		return Option{}, tooLong()
	}
	return Option{Code: code, Data: slices.Clone(data)}, nil
}

// CheckRelaySupplied reports why a relay may not supply an option of that code
// (RFC 6422 section 6): the server itself, the protocol or another relay decides it.
func CheckRelaySupplied(code uint16) error {
	if why := governed(code); why != "" && why != hasKey {
		return badOption("a code that "+why, "option code %d", code)
	}
	return nil
}

// hasKey is the reason that only Custom minds.
const hasKey = "has no key of its own"

// governed says what kind of code is wanted when code is not for Custom: RFC
// 9915 section 21.7 lists what no client can request.
func governed(code uint16) (allowed string) {
	switch code {
	case 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 18, 19, 20, 25, 26,
		39,              // Client FQDN answers the client's own (RFC 4704 section 6, D-268)
		optArchType, 62, // answers the client's own (RFC 5970 section 3.3, D-163)
		optPDExclude,
		148: // ADDR_REG_ENABLE promises a service (RFC 9686, D-179)
		return "the server does not decide itself"
	case optRefreshTime, optSolMaxRT, optInfMaxRT, optVendor, optSIPDomains, optSIPServers, optDNSServers, optDomainSearch, optSNTPServers,
		optPOSIXTimezone, optTZDBTimezone, optNTPServer, optBootFileURL, optBootFileParams, optAFTRName, optCaptivePortal,
		optEncryptedDNS, optRegisteredDomain, optForwardDistManager, optReverseDistManager:
		return hasKey
	case optRemoteID, 38, optERO, 53, optRSOO, optClientLinkLayer, optRelaySourcePort: // relays only
		return "is not a relay's"
	case 44, 45, 46, 47, 48, 100, 101, 102: // RFC 5007, RFC 7653
		return "does not belong to leasequery"
	}
	if 114 <= code && code <= 134 { // RFC 8156
		return "does not belong to failover"
	}
	return ""
}

// SortOptions puts options into the order in which they are sent: by code,
// those of one code as they were.
func SortOptions(options []Option) {
	slices.SortStableFunc(options, func(a, b Option) int { return cmp.Compare(a.Code, b.Code) })
}

// oneOption is the option that holds a list of n elements, encoded as data.
func oneOption(code uint16, n int, data []byte) ([]Option, error) {
	if n == 0 { // D-178
		return nil, nil
	}
	return []Option{{Code: code, Data: data}}, checkListLen(n)
}

func addressList(code uint16, list []netip.Addr) ([]Option, error) {
	for i, a := range list {
		if err := checkServer(a); err != nil {
			return nil, badElement(i, err)
		}
	}
	if err := checkListLen(len(list)); err != nil {
		return nil, err
	}
	return oneOption(code, len(list), appendAddresses(nil, list))
}

func appendAddresses(b []byte, list []netip.Addr) []byte {
	for _, a := range list {
		b = append(b, a.AsSlice()...)
	}
	return b
}

// checkServer reports why a is no address of a server.
func checkServer(a netip.Addr) error {
	if !a.Is6() || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() {
		return badOption("a unicast IPv6 address without a zone", "%v is not the address of a server", a)
	}
	return nil
}

func nameList(code uint16, names []string) ([]Option, error) {
	var data []byte
	for i, name := range names {
		var err error
		if data, err = appendName(data, name); err != nil {
			return nil, badElement(i, err)
		}
		if len(data) > OptionDataLenMax {
			return nil, badElement(i, tooLong())
		}
	}
	return oneOption(code, len(names), data)
}

func nameOption(code uint16, head []byte, name string) (Option, error) {
	data, err := appendName(slices.Clone(head), name)
	if err != nil {
		return Option{}, err
	}
	return Option{Code: code, Data: data}, nil
}

// appendName writes a domain name as labels, without compression (RFC 9915
// section 10, D-019). A dot at its end changes nothing.
func appendName(b []byte, name string) ([]byte, error) {
	const allowed = "a domain name such as ntp.example.org, international names in their xn-- form"
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		switch {
		case label == "":
			return nil, badOption(allowed, "%s has an empty label", quoted(name))
		case len(label) > labelLenMax:
			return nil, badOption(allowed, "%s has a label of %d octets; they are at most %d", quoted(name), len(label), labelLenMax)
		case strings.Trim(label, letters) != "":
			return nil, badOption(allowed, "%s is not a domain name", quoted(name))
		}
		b = append(append(b, byte(len(label))), label...)
	}
	if n := len(strings.TrimSuffix(name, ".")) + 2; n > nameLenMax { // first length octet, root label
		return nil, badOption(allowed, "%s is %d octets long on the wire; they are at most %d", quoted(name), n, nameLenMax)
	}
	return append(b, 0), nil
}

// isURI reports whether s is of the characters that a URI may have (RFC 3986);
// NUL and spaces are not among them.
func isURI(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// isDoHPath reports whether s is a relative URI template with the variable dns.
func isDoHPath(s string) bool {
	_, expression, found := strings.Cut(s, "{")
	return found && isURI(s) && s[0] == '/' && strings.Contains(expression, "dns") && strings.Contains(expression, "}")
}

// isIPLiteral reports whether a browser would take host for an address: besides
// the usual forms whatever ends in a number (0x7f.1 is 127.0.0.1).
func isIPLiteral(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	return last != "" && strings.Trim(last, "0123456789") == "" || strings.HasPrefix(strings.ToLower(last), "0x")
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func checkListLen(n int) error {
	if n > OptionListMax {
		return badOption(fmt.Sprintf("at most %d", OptionListMax), "a list of %d", n)
	}
	return nil
}

func tooLong() error {
	return badOption(fmt.Sprintf("at most %d octets in one option, to leave room for leases in an answer", OptionDataLenMax), "too much for one option")
}

// quoted shows a value in an error, cut short.
func quoted(s string) string {
	const most = 60
	if len(s) > most {
		return fmt.Sprintf("%q...", strings.ToValidUTF8(s[:most], ""))
	}
	return fmt.Sprintf("%q", s)
}
