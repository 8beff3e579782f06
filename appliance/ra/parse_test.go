package ra

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
)

// RFC 4861 section 6.1.1.
func TestParseSolicitation(t *testing.T) {
	const header = "85000000 00000000"
	tests := []struct {
		name     string
		packet   string
		source   string
		hopLimit int
		want     error
		withLLA  bool
	}{
		{"shortest", header, "fe80::2", 255, nil, false},
		{"from nobody yet", header, "::", 255, nil, false},
		{"with link-layer address", header + "0101 020000000002", "fe80::2", 255, nil, true},
		{"reserved field is ignored", "85000000 ffffffff", "fe80::2", 255, nil, false},
		{"unknown option is ignored", header + "fd02 0000000000000000000000000000" + "0101 020000000002", "fe80::2", 255, nil, true},
		{"global source", header, "2001:db8::2", 255, nil, false},
		{"forwarded", header, "fe80::2", 254, ErrHopLimit, false},
		{"hop limit not known", header, "fe80::2", 0, ErrHopLimit, false},
		{"code", "85010000 00000000", "fe80::2", 255, ErrCode, false},
		{"advertisement", "86000000 00000000", "fe80::2", 255, ErrType, false},
		{"7 octets", "85000000 000000", "fe80::2", 255, ErrShort, false},
		{"3 octets", "850000", "fe80::2", 255, ErrShort, false},
		{"nothing", "", "fe80::2", 255, ErrShort, false},
		{"option of length zero", header + "0100 020000000002", "fe80::2", 255, ErrOption, false},
		{"option beyond the end", header + "0102 020000000002", "fe80::2", 255, ErrOption, false},
		{"half an option header", header + "01", "fe80::2", 255, ErrOption, false},
		{"unspecified with link-layer address", header + "0101 020000000002", "::", 255, ErrSource, false},
		{"multicast source", header, "ff02::1", 255, ErrSource, false},
	}
	for _, tt := range tests {
		source := netip.MustParseAddr(tt.source)
		s, err := ParseSolicitation(octets(t, tt.packet), source, tt.hopLimit)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
		if err == nil && (s.Source != source || s.LinkLayer != tt.withLLA) {
			t.Errorf("%s: got %v", tt.name, s)
		}
	}
}

// RFC 4861 section 6.1.2.
func TestParseAdvertisement(t *testing.T) {
	const header = "86000000 40 c0 0708 00000000 00000000"
	tests := []struct {
		name     string
		packet   string
		source   string
		hopLimit int
		want     error
	}{
		{"shortest", header, "fe80::2", 255, nil},
		{"options of odd sizes are ignored", header + "0502 0000 000005dc 0000000000000000" + "0301 40c000000000", "fe80::2", 255, nil},
		{"prefix length beyond 128 is ignored", header + strings.Replace(globalOption, "40 80", "81 80", 1), "fe80::2", 255, nil},
		{"global source", header, "2001:db8::2", 255, ErrSource},
		{"forwarded", header, "fe80::2", 64, ErrHopLimit},
		{"code", "86010000 40 c0 0708 00000000 00000000", "fe80::2", 255, ErrCode},
		{"15 octets", "86000000 40 c0 0708 00000000 000000", "fe80::2", 255, ErrShort},
		{"option of length zero", header + "0300", "fe80::2", 255, ErrOption},
		{"solicitation", "85000000 00000000 00000000 00000000", "fe80::2", 255, ErrType},
	}
	for _, tt := range tests {
		o, err := ParseAdvertisement(octets(t, tt.packet), netip.MustParseAddr(tt.source), tt.hopLimit)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
		if err == nil && (o.HopLimit != 64 || !o.Managed || !o.OtherConfig || o.RouterLifetime != 1800*time.Second || o.MTU != 0 || o.Prefixes != nil) {
			t.Errorf("%s: got %+v", tt.name, o)
		}
	}
}

// Nothing that comes in panics or is kept without limit, and what ndp takes for
// a solicitation or advertisement we do not call malformed.
func FuzzParse(f *testing.F) {
	f.Add(octets2("8500000000000000"), true)
	f.Add(octets2("85000000000000000101020000000002"), false)
	c := testConfig()
	c.MTU, c.DNSServers = 1500, []netip.Addr{netip.MustParseAddr("2001:db8::53")}
	b, err := ndp.MarshalMessage(Build(0, c, Withdrawn{}, mac))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, true)
	f.Fuzz(func(t *testing.T, b []byte, linkLocal bool) {
		source := netip.IPv6Unspecified()
		if linkLocal {
			source = netip.MustParseAddr("fe80::2")
		}
		_, errS := ParseSolicitation(b, source, 255)
		o, errA := ParseAdvertisement(b, source, 255)
		if errS == nil && errA == nil {
			t.Fatal("both a solicitation and an advertisement")
		}
		if len(o.Prefixes) > PrefixesMax {
			t.Fatalf("%d prefixes kept", len(o.Prefixes))
		}
		if errA == nil {
			l := newLink(t, testConfig(), 1)
			l.Observed(l.now, o)
		}
		if !linkLocal || len(b) > 512 || len(b) > 1 && b[1] != 0 { // ndp ignores code and source
			return
		}
		m, err := ndp.ParseMessage(b)
		if err != nil {
			return
		}
		switch m := m.(type) {
		case *ndp.RouterSolicitation:
			if errS != nil {
				t.Fatalf("ndp accepts it: %v", errS)
			}
		case *ndp.RouterAdvertisement:
			if errA != nil || o.Managed != m.ManagedConfiguration || o.RouterLifetime != m.RouterLifetime {
				t.Fatalf("ndp accepts it as %+v: %+v, %v", m, o, errA)
			}
		}
	})
}

func octets2(s string) []byte { return octets(&testing.T{}, s) }
