package dhcp6

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
)

// one turns the result of an encoder of a single option into a list.
func one(o Option, err error) ([]Option, error) {
	if err != nil {
		return nil, err
	}
	return []Option{o}, nil
}

func addrs(list ...string) (a []netip.Addr) {
	for _, s := range list {
		a = append(a, netip.MustParseAddr(s))
	}
	return a
}

// wire is options as they are sent, in hexadecimal, separated by spaces.
func wire(options []Option) string {
	var s []string
	for _, o := range options {
		s = append(s, hex.EncodeToString(appendOption(nil, o.Code, o.Data)))
	}
	return strings.Join(s, " ")
}

// TestOptionBytes shows the exact encoding of every option that can be
// configured.
//
// D-019: names are never compressed, though they share endings. D-161: an NTP
// option holds one time source. D-162: no NUL ends the boot file URL. D-164: the
// URI of the captive portal's API, without a NUL. D-167: no ipv4hint (key 4) or ipv6hint
// (key 6). D-168: a resolver without addresses has option-len 4 + adn-len. D-169:
// the DNS-over-TLS bit is set in options 146 and 147. D-173: alpn (key 1). D-176:
// one instance for an enterprise number.
func TestOptionBytes(t *testing.T) {
	const (
		google = "20014860486000000000000000008888"
		local  = "fe800000000000000000000000000001"
	)
	type result struct {
		options []Option
		err     error
	}
	of := func(options []Option, err error) result { return result{options, err} }
	for _, c := range []struct {
		name string
		got  result
		want string
	}{
		{"DNS servers", of(DNSServers(addrs("2001:4860:4860::8888", "fe80::1"))), "00170020" + google + local},
		{"domain search", of(DomainSearch([]string{"home.arpa", "lab.home.arpa."})), "0018001a" + "04686f6d65046172706100" + "036c616204686f6d65046172706100"},
		{"SNTP", of(SNTPServers(addrs("2001:4860:4860::8888"))), "001f0010" + google},
		{"NTP D-161", of(NTPServers([]string{"2001:4860:4860::8888", "ff05::101", "ntp.lab"})),
			"00380014" + "00010010" + google + " 00380014" + "00020010" + "ff050000000000000000000000000101" + " 0038000d" + "00030009" + "036e7470036c616200"},
		{"SIP servers", of(SIPServers(addrs("fe80::1"))), "00160010" + local},
		{"SIP domains", of(SIPDomains([]string{"sip.lab"})), "00150009" + "03736970036c616200"},
		{"captive portal D-164", of(one(CaptivePortal("https://p.lab/api"))), "00670011" + hex.EncodeToString([]byte("https://p.lab/api"))},
		{"no captive portal", of(one(CaptivePortal(CaptivePortalNone))), "00670024" + hex.EncodeToString([]byte(CaptivePortalNone))},
		{"boot file URL D-162", of(one(BootFileURL("tftp://[fe80::1]/a"))), "003b0012" + hex.EncodeToString([]byte("tftp://[fe80::1]/a"))},
		{"boot file parameters", of(BootFileParams([]string{"root=/dev/nfs", "q"})), "003c0012" + "000d" + hex.EncodeToString([]byte("root=/dev/nfs")) + "0001" + "71"},
		{"refresh time", of(one(InformationRefreshTime(600))), "0020000400000258"},
		{"refresh time, none", of(one(InformationRefreshTime(lease.Infinity))), "00200004ffffffff"},
		{"SOL_MAX_RT", of(one(SolMaxRT(60))), "005200040000003c"},
		{"INF_MAX_RT", of(one(InfMaxRT(86400))), "0053000400015180"},
		{"vendor D-176", of(VendorInformation([]Vendor{
			{9, []VendorOption{{1, []byte{0x0a, 0x0b}}, {2, nil}}},
			{4491, []VendorOption{{37, []byte("x")}}},
		})), "0011000e" + "00000009" + "00010002" + "0a0b" + "00020000" + " 00110009" + "0000118b" + "00250001" + "78"},
		{"DNR, name only D-168", of(EncryptedDNS([]Resolver{{Priority: 2, Name: "d.lab"}})), "0090000b" + "0002" + "0007" + "0164036c616200"},
		{"DNR over TLS D-173", of(EncryptedDNS([]Resolver{{Priority: 1, Name: "d.lab", Addresses: addrs("2001:4860:4860::8888"), ALPN: []string{"dot"}}})),
			"00900025" + "0001" + "0007" + "0164036c616200" + "0010" + google + "00010004" + "03646f74"},
		{"DNR over HTTPS", of(EncryptedDNS([]Resolver{{Priority: 1, Name: "d.lab", Addresses: addrs("fe80::1"), ALPN: []string{"h2", "h3"}, Port: 8443, DoHPath: "/q{?dns}"}})),
			"00900039" + "0001" + "0007" + "0164036c616200" + "0010" + local + "00010006" + "026832" + "026833" + "00030002" + "20fb" + "00070008" + hex.EncodeToString([]byte("/q{?dns}"))},
		{"POSIX time zone", of(one(POSIXTimezone("CET-1CEST,M3.5.0,M10.5.0/3"))), "0029001a" + hex.EncodeToString([]byte("CET-1CEST,M3.5.0,M10.5.0/3"))},
		{"POSIX time zone in brackets", of(one(POSIXTimezone("<+0330>-3:30"))), "0029000c" + hex.EncodeToString([]byte("<+0330>-3:30"))},
		{"TZDB time zone", of(one(TZDBTimezone("Europe/Zurich"))), "002a000d" + hex.EncodeToString([]byte("Europe/Zurich"))},
		{"AFTR name", of(one(AFTRName("aftr.lab"))), "0040000a" + "0461667472036c616200"},
		{"registered domain", of(one(RegisteredDomain("h.lab"))), "00910007" + "0168036c616200"},
		{"forward manager D-169", of(one(ForwardDistManager("h.lab"))), "00920009" + "0001" + "0168036c616200"},
		{"reverse manager D-169", of(one(ReverseDistManager("h.lab"))), "00930009" + "0001" + "0168036c616200"},
		{"custom", of(one(Custom(65001, []byte{0xc0, 0xff, 0xee}))), "fde90003c0ffee"},
		{"custom without data", of(one(Custom(27, nil))), "001b0000"},
	} {
		if c.got.err != nil || wire(c.got.options) != c.want {
			t.Errorf("%s:\n got %s, %v\nwant %s", c.name, wire(c.got.options), c.got.err, c.want)
		}
	}
}

// TestServiceParameterKeys reads the service parameters back: keys ascend, alpn
// is there (D-173), and the hints 4 and 6 are not (D-167).
func TestServiceParameterKeys(t *testing.T) {
	built, err := EncryptedDNS([]Resolver{{Priority: 1, Name: "dns.example.org", Addresses: addrs("2001:db8::1", "2001:db8::2"),
		ALPN: []string{"dot", "doq", "h2"}, Port: 443, DoHPath: "/dns-query{?dns}"}})
	if err != nil {
		t.Fatal(err)
	}
	data := built[0].Data
	adn := int(binary.BigEndian.Uint16(data[2:]))
	data = data[4+adn:]
	// The layout of SvcParams is that of options: key, length, value.
	params := options(data[2+int(binary.BigEndian.Uint16(data)):])
	var keys []uint16
	for len(params) > 0 {
		key, _, rest, ok := params.next()
		if !ok {
			t.Fatalf("cut off: % x", []byte(params))
		}
		keys, params = append(keys, key), rest
	}
	if len(keys) != 3 || keys[0] != 1 || keys[1] != 3 || keys[2] != 7 {
		t.Errorf("keys %v, want alpn 1, port 3, dohpath 7", keys)
	}
}

// TestEmptyListIsNoOption: D-178.
func TestEmptyListIsNoOption(t *testing.T) {
	for name, build := range map[string]func() ([]Option, error){
		"DNS":           func() ([]Option, error) { return DNSServers(nil) },
		"search":        func() ([]Option, error) { return DomainSearch([]string{}) },
		"SNTP":          func() ([]Option, error) { return SNTPServers(nil) },
		"NTP":           func() ([]Option, error) { return NTPServers(nil) },
		"SIP":           func() ([]Option, error) { return SIPServers(nil) },
		"SIP domains":   func() ([]Option, error) { return SIPDomains(nil) },
		"boot params":   func() ([]Option, error) { return BootFileParams(nil) },
		"vendor":        func() ([]Option, error) { return VendorInformation(nil) },
		"encrypted DNS": func() ([]Option, error) { return EncryptedDNS(nil) },
	} {
		if options, err := build(); len(options) != 0 || err != nil {
			t.Errorf("%s: %v, %v", name, options, err)
		}
	}
}

// TestOptionRefused shows what no option is made from, and what is said of it.
//
// D-139: no refresh time below 600 seconds. D-165: no captive portal at an IP
// literal, none beyond 255 octets. D-174: SOL_MAX_RT and INF_MAX_RT from 60 to
// 86400. D-176: an enterprise number comes once.
func TestOptionRefused(t *testing.T) {
	errOf := func(_ []Option, err error) error { return err }
	resolver := Resolver{Priority: 1, Name: "d.lab", Addresses: addrs("2001:db8::1"), ALPN: []string{"dot"}}
	edit := func(f func(r *Resolver)) error {
		r := resolver
		f(&r)
		return errOf(EncryptedDNS([]Resolver{resolver, r}))
	}
	long := strings.Repeat("a", 64)
	many := func(n int) (s []string) {
		for range n {
			s = append(s, "ntp.lab")
		}
		return s
	}
	for _, c := range []struct {
		err  error
		want string // what was found, as it begins
		i    int    // element of the list
	}{
		{errOf(DNSServers(addrs("2001:db8::1", "192.0.2.1"))), "192.0.2.1 is not the address of a server", 1},
		{errOf(DNSServers(addrs("::ffff:192.0.2.1"))), "::ffff:192.0.2.1 is not the address", 0},
		{errOf(DNSServers(addrs("ff02::1"))), "ff02::1 is not the address", 0},
		{errOf(DNSServers(addrs("::"))), ":: is not the address", 0},
		{errOf(DNSServers(addrs("::1"))), "::1 is not the address", 0},
		{errOf(DNSServers(addrs("fe80::1%eth0"))), "fe80::1%eth0 is not the address", 0},
		{errOf(DNSServers([]netip.Addr{{}})), "invalid IP is not the address", 0},
		{errOf(SNTPServers(make([]netip.Addr, 1))), "invalid IP is not", 0},
		{errOf(DomainSearch([]string{"a.lab", "b..lab"})), `"b..lab" has an empty label`, 1},
		{errOf(DomainSearch([]string{""})), `"" has an empty label`, 0},
		{errOf(DomainSearch([]string{"."})), `"." has an empty label`, 0},
		{errOf(DomainSearch([]string{long + ".lab"})), `"` + long[:60] + `"... has a label of 64 octets`, 0},
		{errOf(DomainSearch([]string{strings.Repeat("abcdefg.", 32)})), `"abcdefg.abcdefg.abcdefg.abcdefg.abcdefg.abcdefg.abcdefg.abcd"... is 257 octets long`, 0},
		{errOf(DomainSearch([]string{"bücher.example"})), `"bücher.example" is not a domain name`, 0},
		{errOf(DomainSearch([]string{"a b"})), `"a b" is not a domain name`, 0},
		{errOf(DomainSearch([]string{"a\x00b"})), `"a\x00b" is not a domain name`, 0},
		{errOf(DomainSearch(many(200))), "too much for one option", 113},
		{errOf(NTPServers([]string{"ntp.lab", "::1"})), "::1 is not the address", 1},
		{errOf(NTPServers([]string{"192.0.2.1"})), "192.0.2.1 is not the address", 0},
		{errOf(NTPServers([]string{"ff02::101%eth0"})), "ff02::101%eth0 is not the address", 0},
		{errOf(NTPServers([]string{"ntp lab"})), `"ntp lab" is not a domain name`, 0},
		{errOf(NTPServers(many(33))), "a list of 33", -1},
		{errOf(one(CaptivePortal("http://p.lab/"))), `"http://p.lab/" is not such a URI`, -1},
		{errOf(one(CaptivePortal("https://p.lab/\x00"))), `"https://p.lab/\x00" is not such a URI`, -1},
		{errOf(one(CaptivePortal("https://p.lab/a b"))), `"https://p.lab/a b" is not such a URI`, -1},
		{errOf(one(CaptivePortal("https://me@p.lab/"))), `"https://me@p.lab/" is not such a URI`, -1},
		{errOf(one(CaptivePortal("https:///api"))), `"https:///api" is not such a URI`, -1},
		{errOf(one(CaptivePortal("https://[2001:db8::1]/api"))), `host "2001:db8::1" is an IP literal`, -1},
		{errOf(one(CaptivePortal("https://192.0.2.1/api"))), `host "192.0.2.1" is an IP literal`, -1},
		{errOf(one(CaptivePortal("https://3232235521/api"))), `host "3232235521" is an IP literal`, -1},
		{errOf(one(CaptivePortal("https://127.0x1/api"))), `host "127.0x1" is an IP literal`, -1},
		{errOf(one(CaptivePortal("https://p..lab/api"))), `host "p..lab" is not a domain name`, -1},
		{errOf(one(CaptivePortal("https://p.lab/" + strings.Repeat("a", 242)))), "a URI of 256 octets", -1},
		{errOf(one(CaptivePortal("urn:ietf:params:capport:other"))), `"urn:ietf:params:capport:other" is not such a URI`, -1},
		{errOf(one(BootFileURL(""))), `"" is not such a URL`, -1},
		{errOf(one(BootFileURL("boot.efi"))), `"boot.efi" is not such a URL`, -1},
		{errOf(one(BootFileURL("tftp://2001:db8::5/boot.efi"))), `"tftp://2001:db8::5/boot.efi" has an IPv6 address without brackets`, -1},
		{errOf(one(BootFileURL("tftp://a/b\x00"))), `"tftp://a/b\x00" is not such a URL`, -1},
		{errOf(one(BootFileURL("tftp://a/" + strings.Repeat("b", 1024)))), "a URL of 1033 octets", -1},
		{errOf(BootFileParams([]string{"a", ""})), `parameter ""`, 1},
		{errOf(BootFileParams([]string{"a\x00"})), `parameter "a\x00"`, 0},
		{errOf(BootFileParams([]string{"\xff"})), `parameter "\xff"`, 0},
		{errOf(BootFileParams([]string{strings.Repeat("b", 1023)})), "too much for one option", 0},
		{errOf(one(InformationRefreshTime(599))), "599 seconds", -1},
		{errOf(one(SolMaxRT(59))), "59 seconds", -1},
		{errOf(one(SolMaxRT(86401))), "86401 seconds", -1},
		{errOf(one(InfMaxRT(10))), "10 seconds", -1},
		{errOf(one(InfMaxRT(lease.Infinity))), "4294967295 seconds", -1},
		{errOf(VendorInformation([]Vendor{{9, []VendorOption{{1, nil}}}, {9, []VendorOption{{2, nil}}}})), "enterprise number 9 a second time", 1},
		{errOf(VendorInformation([]Vendor{{0, []VendorOption{{1, nil}}}})), "enterprise number 0", 0},
		{errOf(VendorInformation([]Vendor{{9, nil}})), "enterprise number 9 without options", 0},
		{errOf(VendorInformation([]Vendor{{9, []VendorOption{{1, make([]byte, 1017)}}}})), "too much for one option", 0},
		{edit(func(r *Resolver) {}), `resolver "d.lab" a second time`, 1},
		{edit(func(r *Resolver) { r.Name = "D.LAB." }), `resolver "D.LAB." a second time`, 1},
		{edit(func(r *Resolver) { r.Name = "" }), `"" has an empty label`, 1},
		{edit(func(r *Resolver) { r.Name, r.Priority = "e.lab", 0 }), "priority 0", 1},
		{edit(func(r *Resolver) { r.Name, r.ALPN = "e.lab", nil }), `resolver "e.lab" without alpn`, 1},
		{edit(func(r *Resolver) { r.Name, r.Addresses = "e.lab", nil }), `resolver "e.lab" with service parameters, but without addresses`, 1},
		{edit(func(r *Resolver) { r.Name, r.Addresses = "e.lab", addrs("ff02::1") }), "ff02::1 is not the address", 1},
		{edit(func(r *Resolver) { r.Name, r.Addresses = "e.lab", addrs("::1") }), "::1 is not the address", 1},
		{edit(func(r *Resolver) { r.Name, r.Addresses = "e.lab", make([]netip.Addr, 33) }), "a list of 33", 1},
		{edit(func(r *Resolver) { r.Name, r.ALPN = "e.lab", []string{"dot", ""} }), `alpn ""`, 1},
		{edit(func(r *Resolver) { r.Name, r.ALPN = "e.lab", []string{"h3"} }), `DoH path ""`, 1},
		{edit(func(r *Resolver) { r.Name, r.ALPN, r.DoHPath = "e.lab", []string{"h2"}, "/q{?ip}" }), `DoH path "/q{?ip}"`, 1},
		{edit(func(r *Resolver) { r.Name, r.DoHPath = "e.lab", "/q{?dns}" }), `DoH path "/q{?dns}"`, 1},
		{errOf(one(POSIXTimezone("Europe/Zurich"))), `"Europe/Zurich" is no such string`, -1},
		{errOf(one(POSIXTimezone("CET-1\x00"))), `"CET-1\x00" is no such string`, -1},
		{errOf(one(TZDBTimezone("/etc/../x"))), `"/etc/../x" is no such name`, -1},
		{errOf(one(TZDBTimezone(""))), `"" is no such name`, -1},
		{errOf(one(AFTRName("2001:db8::1"))), `"2001:db8::1" is not a domain name`, -1},
		{errOf(one(ForwardDistManager(""))), `"" has an empty label`, -1},
		{errOf(one(Custom(65001, make([]byte, 1025)))), "too much for one option", -1},
	} {
		e, ok := c.err.(*OptionError)
		if !ok || !strings.HasPrefix(e.Found, c.want) || e.Index != c.i || e.Allowed == "" {
			t.Errorf("got %#v, want %q at %d", c.err, c.want, c.i)
		}
	}
}

// TestCustomCodes: what RFC 9915 section 21.7 lists, what the server decides and
// what has a key is not custom.
func TestCustomCodes(t *testing.T) {
	refused := map[uint16]bool{}
	for code := range 256 {
		if _, err := Custom(uint16(code), nil); err != nil {
			refused[uint16(code)] = true
		}
	}
	for _, code := range []uint16{
		1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 18, 19, 20, 25, 26, // section 21.7
		32, 82, 83, 39, 67, 61, 148, // decided by the server
		17, 23, 24, 31, 56, 59, 60, 64, 103, 144, 145, 146, 147, 21, 22, 41, 42, // have a key
		37, 43, 66, 79, 135, 0, 47, 114, 134,
	} {
		if !refused[code] {
			t.Errorf("code %d is allowed", code)
		}
	}
	for _, code := range []uint16{27, 28, 29, 30, 40, 49, 51, 94, 95, 96, 113, 136, 143, 149} {
		if refused[code] {
			t.Errorf("code %d is refused", code)
		}
	}
}

// TestCheckRelaySupplied: what has a key may come from a relay where the operator
// allows it, what the server decides may not.
func TestCheckRelaySupplied(t *testing.T) {
	for _, code := range []uint16{23, 24, 65, 65001} {
		if err := CheckRelaySupplied(code); err != nil {
			t.Errorf("%d: %v", code, err)
		}
	}
	for _, code := range []uint16{0, 1, 3, 9, 14, 39, 67, 79, 120, 148} {
		if err := CheckRelaySupplied(code); err == nil {
			t.Errorf("%d is allowed", code)
		}
	}
}

func TestSortOptions(t *testing.T) {
	options := []Option{{Code: 56, Data: []byte("a")}, {Code: 23}, {Code: 56, Data: []byte("b")}, {Code: 17}, {Code: 56, Data: []byte("c")}}
	SortOptions(options)
	got := ""
	for _, o := range options {
		got += string(rune('0'+o.Code/10)) + string(o.Data)
	}
	if got != "125a5b5c" {
		t.Errorf("got %s", got)
	}
}
