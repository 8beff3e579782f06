package storage

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
)

var samples = []lease.Binding{
	{ // an address as most are
		Prefix: netip.MustParsePrefix("2001:db8:1:2:8a3f:11:c0de:1/128"),
		IA: lease.IA{Link: "lan", Client: "\x00\x01\x00\x01\x2c\x11\x22\x33\x02\x00\x00\x00\x00\x02",
			Type: lease.IANA, ID: 0x12345678},
		Status: lease.Active, Preferred: 3600, Valid: 7200, T1: 1800, T2: 2880,
		Expires: 840_007_200, HeldUntil: 840_014_400, StartOfState: 840_000_000, LastTransaction: 840_000_000,
	},
	{ // a prefix with everything
		Prefix: netip.MustParsePrefix("2001:db8:8000::/56"),
		IA:     lease.IA{Link: "guest", Client: "\x00\x03\x00\x01\x02\x00\x00\x00\x00\x02", Type: lease.IAPD, ID: 1},
		Status: lease.Active, Preferred: lease.Infinity, Valid: lease.Infinity, T1: 5, T2: 8,
		Expires: lease.Forever, HeldUntil: lease.Forever, StartOfState: -946_684_800, LastTransaction: 840_000_000,
		Via: netip.MustParseAddr("fe80::2"), Hostname: "printer",
	},
	{ // the least
		Prefix: netip.MustParsePrefix("2001:db8::1/128"), IA: lease.IA{Type: lease.IANA}, Status: lease.Free,
	},
	{ // in a failover relationship
		Prefix: netip.MustParsePrefix("2001:db8::3/128"),
		IA:     lease.IA{Link: "lan", Client: "\x00\x03\x01", Type: lease.IANA, ID: 1},
		Status: lease.Active, Preferred: 3600, Valid: 3600, T1: 1800, T2: 2880,
		Expires: 840_003_600, HeldUntil: 840_003_600, StartOfState: 840_000_000, LastTransaction: 840_000_000,
		PartnerLifetime: 840_261_000, AckedPartnerLifetime: -1, ExpirationTime: 1, PartnerRawCLT: 840_000_000, Change: 300,
	},
}

// The records as the releases wrote them. They must be read for ever; a new
// version adds its own and changes none of these.
var records = []string{
	"01010312345678" + "0e000100012c112233020000000002" + "036c616e" + "901c" + "a038" + "880e" + "c016" +
		"c0f88ba106" + "80e98ca106" + "80888ba106" + "80888ba106" + "00" + "00",
	"01011900000001" + "0a00030001020000000002" + "056775657374" + "ffffffff0f" + "ffffffff0f" + "05" + "08" +
		"feffffffffffffffff01" + "feffffffffffffffff01" + "ff8dea8607" + "80888ba106" +
		"10fe800000000000000000000000000002" + "077072696e746572",
	"01050300000000" + "00" + "00" + "00000000" + "00000000" + "00" + "00",
	"02010300000001" + "03000301" + "036c616e" + "901c" + "901c" + "880e" + "c016" +
		"a0c08ba106" + "a0c08ba106" + "80888ba106" + "80888ba106" + "00" + "00" +
		"90f6aaa106" + "01" + "02" + "80888ba106" + "ac02",
}

func TestBindingRecord(t *testing.T) {
	for i, b := range samples {
		record := AppendBinding(nil, &b)
		if got := hex.EncodeToString(record); got != records[i] {
			t.Errorf("AppendBinding(%v) = %s, want %s", b.Prefix, got, records[i])
		}
		want, err := hex.DecodeString(records[i])
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseBinding(b.Prefix, want); got != b || err != nil {
			t.Errorf("ParseBinding of %s:\n\t%+v, %v, want\n\t%+v", records[i], got, err, b)
		}
		if got := AppendBinding([]byte("before"), &b); string(got) != "before"+string(record) {
			t.Errorf("AppendBinding does not append: %x", got)
		}
	}
	// The design's budget: about 100 octets with key and CRC.
	if n := KeyLen + len(AppendBinding(nil, &samples[0])) + 4; n > 100 {
		t.Errorf("a usual binding takes %d octets", n)
	}
}

func TestBindingRecordRefused(t *testing.T) {
	p := samples[0].Prefix
	good := AppendBinding(nil, &samples[0])
	at := func(i int, to ...byte) []byte {
		return slices.Concat(good[:i], to, good[i+1:])
	}
	tests := []struct {
		name   string
		prefix netip.Prefix
		data   []byte
		want   string
	}{
		{"empty", p, nil, "empty"},
		{"version 0", p, at(0, 0), "version 0"},
		{"version 3", p, at(0, 3), "newer version"},
		{"version 2 cut off", p, at(0, 2), "too early"},
		{"version 2 about no partner", p, append(at(0, 2), 0, 0, 0, 0, 0), "nothing about a partner"},
		{"version 255", p, at(0, 255), "newer version"},
		{"status 0", p, at(1, 0), "binding-status 0"},
		{"status 9", p, at(1, 9), "binding-status 9"},
		{"IA_TA", p, at(2, 4), "IA type 4"},
		{"IA_PD with an address", p, at(2, 25), "does not fit"},
		{"address with a prefix", netip.MustParsePrefix("2001:db8::/56"), good, "does not fit"},
		{"DUID of 2 octets", p, slices.Concat(good[:7], []byte{2, 0, 1}, good[22:]), "DUID of 2"},
		{"DUID of 200 octets", p, at(7, 200), "too early"},
		{"octet too many", p, append(bytes.Clone(good), 0), "1 octets too many"},
		{"lifetime of 33 bits", p, slices.Concat(good[:26], []byte{0xff, 0xff, 0xff, 0xff, 0x1f}, good[28:]), "allowed is up to"},
		{"longer integer than needed", p, slices.Concat(good[:26], []byte{0x90, 0x9c, 0x00}, good[28:]), "longer than needed"},
		{"integer of 70 bits", p, slices.Concat(good[:34], bytes.Repeat([]byte{0xff}, 10), good[39:]), "64 bits"},
		{"next hop of 15 octets", p, slices.Concat(good[:len(good)-2], []byte{15}, make([]byte, 16)), "next hop of 15"},
	}
	for n := range good {
		tests = append(tests, struct {
			name   string
			prefix netip.Prefix
			data   []byte
			want   string
		}{"cut off", p, good[:n], ""})
	}
	for _, tt := range tests {
		b, err := ParseBinding(tt.prefix, tt.data)
		if err == nil || !strings.Contains(err.Error(), tt.want) || b != (lease.Binding{}) {
			t.Errorf("%s: got %+v, %v, want %q", tt.name, b, err, tt.want)
		}
		if newer := tt.want == "newer version"; errors.Is(err, ErrNewer) != newer {
			t.Errorf("%s: is ErrNewer: %v", tt.name, !newer)
		}
	}
}

// What could not be read back is not written.
func TestAppendPanics(t *testing.T) {
	bad := samples[0]
	bad.Client = ""
	other := Batch{Changes: []Change{{Prefix: netip.MustParsePrefix("2001:db8::2/128"), Binding: &samples[0]}}}
	change := func(p string) func() {
		return func() { AppendBatch(nil, 1, &Batch{Changes: []Change{{Prefix: netip.MustParsePrefix(p)}}}) }
	}
	for name, f := range map[string]func(){
		"binding that fails its check":   func() { AppendBinding(nil, &bad) },
		"prefix of another binding":      func() { AppendBatch(nil, 1, &other) },
		"removal of nothing":             func() { AppendBatch(nil, 1, &Batch{Changes: []Change{{}}}) },
		"removal of an IPv4 prefix":      change("192.0.2.0/24"),
		"removal with bits behind":       change("2001:db8::1/64"),
		"removal of a mapped address":    change("::ffff:192.0.2.1/128"),
		"value without a name":           func() { AppendBatch(nil, 1, &Batch{Values: []Value{{Data: []byte("x")}}}) },
		"value with a name too long":     func() { AppendBatch(nil, 1, &Batch{Values: []Value{{Name: strings.Repeat("n", 256)}}}) },
		"value with more data than fits": func() { AppendBatch(nil, 1, &Batch{Values: []Value{{"n", make([]byte, DataLenMax+1)}}}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

// The order of keys is that of lease.Table, whatever the prefixes.
func TestKeyOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	table := lease.NewTable()
	keys := map[Key]bool{}
	for range 2000 {
		a := netip.AddrFrom16([16]byte{0: 0x20, 6: byte(r.IntN(2)), 7: byte(r.IntN(256)), 15: byte(r.IntN(3))})
		p, err := a.Prefix(40 + r.IntN(89))
		if err != nil {
			t.Fatal(err)
		}
		b := &lease.Binding{Prefix: p, IA: lease.IA{Type: lease.IAPD}, Status: lease.Free}
		if p.Bits() == 128 {
			b.Type = lease.IANA
		}
		table.Put(b)
		keys[KeyOf(p)] = true
	}
	sorted := make([]Key, 0, len(keys))
	for k := range keys {
		sorted = append(sorted, k)
	}
	slices.SortFunc(sorted, func(a, b Key) int { return bytes.Compare(a[:], b[:]) })
	i := 0
	for b := range table.From(netip.Prefix{}) {
		p, err := ParseKey(sorted[i][:])
		if p != b.Prefix || err != nil {
			t.Fatalf("key %d is %v (%v), in the table it is %v", i, p, err, b.Prefix)
		}
		i++
	}
	if i != len(sorted) || i < 1000 {
		t.Errorf("%d prefixes, %d keys", i, len(sorted))
	}
}

func TestParseKeyRefused(t *testing.T) {
	for _, text := range []string{
		"", "20010db8", "20010db800000000000000000000000100", // bits behind
		"20010db800000000000000000000000081", "200000000000000000000000000000000080",
		"00000000000000000000ffffc000020180",
	} {
		data, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := ParseKey(data); err == nil {
			t.Errorf("ParseKey(%s) = %v", text, p)
		}
	}
}
