package dhcp6

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
)

// The example of the checklist's chapter 12: one link, an address and a prefix.

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	vectorServer = "000100012c3d4e5f020000000001"
	vectorClient = "00030001020000000002"
)

func vectorConfig() *Config {
	return &Config{
		DeclinedFor: DefaultDeclinedFor, RememberFor: DefaultRememberFor, Limits: DefaultLimits,
		Links: []Link{{
			Name: "lan", Interface: "eth0", RapidCommit: true, CreateOnRenew: true,
			Subnets:     []Subnet{{Prefix: netip.MustParsePrefix("2001:db8:0:1::/64"), Pools: []Range{{netip.MustParseAddr("2001:db8:0:1::"), netip.MustParseAddr("2001:db8:0:1:ffff:ffff:ffff:ffff")}}}},
			PrefixPools: []PrefixPool{{Prefix: netip.MustParsePrefix("2001:db8:0:10::/60"), Length: 60}},
			Lifetimes:   Lifetimes{Preferred: 2700, Valid: 5400},
			Options: []Option{
				{Code: 23, Data: netip.MustParseAddr("2001:db8:0:1::1").AsSlice()},
				{Code: 24, Data: []byte("\x04home\x04arpa\x00")},
			},
		}},
	}
}

func vectorServerWith(t testing.TB, cfg *Config) (*Server, *lease.Table) {
	key := AddressKey{}
	for i := range 16 {
		key[i] = byte(i)
	}
	s := New(cfg, lease.DUID(unhex(t, vectorServer)), key, rand.New(rand.NewPCG(1, 2)))
	s.SetInterfaces([]Interface{{Index: 2, Name: "eth0", Addrs: []netip.Addr{netip.MustParseAddr("2001:db8:0:1::1")}}})
	table := lease.NewTable()
	table.Watch(s.Changed)
	return s, table
}

func handle(t testing.TB, s *Server, table *lease.Table, wall lease.Time, packet []byte) (*Result, []byte) {
	t.Helper()
	r := new(Result)
	s.Handle(lease.Clock{Wall: wall}, &Packet{
		Data: packet, Source: netip.MustParseAddrPort("[fe80::aa]:546"), Destination: netip.MustParseAddr("ff02::1:2"), IfIndex: 2,
	}, table, Alone{}, r)
	return r, r.Answer.Data
}

// D-053 to D-055, D-069, D-142: the wire examples, byte for byte.
func TestWireExamples(t *testing.T) {
	// The key of the digest's vector has 16 octets; the server's has 32. The
	// hash covers the key, so only this test uses the shorter one.
	h := hashID(netip.MustParsePrefix("2001:db8:0:1::/64"), lease.DUID(unhex(t, vectorClient)), 1, 0, unhex(t, "000102030405060708090a0b0c0d0e0f"))
	all := toU128(netip.MustParseAddr("::ffff:ffff:ffff:ffff"))
	if got := toU128(netip.MustParseAddr("2001:db8:0:1::")).add(mod(h, all)).addr(); got != netip.MustParseAddr("2001:db8:0:1:8bfb:9d51:8a53:38d5") {
		t.Errorf("D-242: hashed address %v", got)
	}
	if got := toU128(netip.MustParseAddr("2001:db8:0:1::1000")).add(mod(h, u128{0, 0xfff})).addr(); got != netip.MustParseAddr("2001:db8:0:1::18d5") {
		t.Errorf("D-242: hashed address in a small pool %v", got)
	}

	cfg := vectorConfig()
	cfg.Links[0].Reservations = []Reservation{{Client: lease.DUID(unhex(t, vectorClient)), Addresses: []netip.Addr{netip.MustParseAddr("2001:db8:0:1:8bfb:9d51:8a53:38d5")}}}
	s, table := vectorServerWith(t, cfg)
	_, got := handle(t, s, table, 1000, unhex(t, `010a0b0c
		0001000a00030001020000000002 000800020000 00060006001700180052
		0003000c000000010000000000000000
		00190029000000010000000000000000001a001900000000000000003c00000000000000000000000000000000`))
	want := unhex(t, `020a0b0c
		0001000a00030001020000000002 0002000e000100012c3d4e5f020000000001
		000300280000000100000546000008700005001820010db8000000018bfb9d518a5338d500000a8c00001518
		00190029000000010000054600000870001a001900000a8c000015183c20010db8000000100000000000000000
		0017001020010db8000000010000000000000001 0018000b04686f6d65046172706100`)
	if hex.EncodeToString(got) != hex.EncodeToString(want) {
		t.Errorf("Advertise\n got %x\nwant %x", got, want)
	}
	if table.Len() != 0 {
		t.Errorf("D-077: the Advertise left %d bindings", table.Len())
	}
}

// wireExamples is the server of the wire examples, with client's address reserved.
func wireExamples(t *testing.T, change func(*Link)) *desk {
	cfg := vectorConfig()
	cfg.Links[0].Options = nil
	cfg.Links[0].Reservations = []Reservation{{Client: lease.DUID(unhex(t, vectorClient)), Addresses: addrs("2001:db8:0:1:8bfb:9d51:8a53:38d5")}}
	change(&cfg.Links[0])
	return newDesk(t, cfg)
}

// sameButText compares an answer with an example whose status texts, in octets,
// are of other words and length.
func sameButText(t *testing.T, what string, got *answer, want string) {
	t.Helper()
	example, err := readAnswer(unhex(t, want))
	if err != nil {
		t.Fatal(err)
	}
	if got.typ != example.typ || got.xid != example.xid || got.status != example.status || string(got.cid) != string(example.cid) || string(got.sid) != string(example.sid) ||
		len(got.options) != len(example.options) || !slices.EqualFunc(got.ias, example.ias, sameIA) {
		t.Errorf("%s\n got %+v\nwant %+v", what, got, example)
	}
}

// D-126, D-127, D-147, D-154: the wire examples 12.3, 12.4 and 12.5 of the checklist.
func TestWireExamplesOfReplies(t *testing.T) {
	d := wireExamples(t, func(l *Link) { l.Subnets[0].Pools, l.Reservations = nil, nil })
	got := d.handle(d.client(1).packet(unhex(t, `030b0b0b 0001000a00030001020000000002 0002000e000100012c3d4e5f020000000001
		0003000c000000010000000000000000 0019000c000000010000000000000000`)))
	sameButText(t, "12.3", got, `070b0b0b 0001000a00030001020000000002 0002000e000100012c3d4e5f020000000001
		00030023000000010000054600000870000d001300026e6f206164647265737365732068657265
		00190029000000010000054600000870001a001900000a8c000015183c20010db8000000100000000000000000`)

	stale := Subnet{Prefix: prefix("2001:db8:ff:1::/64"), Retired: true}
	d = wireExamples(t, func(l *Link) { l.Subnets = append(l.Subnets, stale) })
	old := &lease.Binding{Prefix: prefix("2001:db8:ff:1::5"), IA: lease.IA{Link: "lan", Client: lease.DUID(unhex(t, vectorClient)), Type: lease.IANA, ID: 1},
		Status: lease.Active, Expires: testStart.Wall + 1000, HeldUntil: testStart.Wall + 1000}
	d.table.Put(old)
	got = d.handle(d.client(1).packet(unhex(t, `05010203 0001000a00030001020000000002 0002000e000100012c3d4e5f020000000001
		00030028000000010000000000000000 0005001820010db800ff000100000000000000050000000000000000`)))
	want := unhex(t, `07010203 0001000a00030001020000000002 0002000e000100012c3d4e5f020000000001
		000300440000000100000546000008700005001820010db800ff0001000000000000000500000000000000000005001820010db8000000018bfb9d518a5338d500000a8c00001518`)
	if hex.EncodeToString(got.Data) != hex.EncodeToString(want) {
		t.Errorf("12.4\n got %x\nwant %x", got.Data, want)
	}

	got = d.handle(d.client(1).packet(unhex(t, `080a0a0a 0001000a00030001020000000002 0002000e000100012c3d4e5f020000000001
		00190029000000070000000000000000001a001900000000000000003c20010db8000000100000000000000000`)))
	sameButText(t, "12.5", got, `070a0a0a 0001000a00030001020000000002 0002000e000100012c3d4e5f020000000001
		000d00020000 00190021000000070000000000000000000d001100036e6f20737563682062696e64696e67`)
}
