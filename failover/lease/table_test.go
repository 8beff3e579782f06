package lease

import (
	"cmp"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func binding(prefix string, client DUID, expires Time) *Binding {
	p := netip.MustParsePrefix(prefix)
	b := &Binding{Prefix: p, Status: Active, Expires: expires, HeldUntil: expires}
	b.IA = IA{Link: "lan", Client: client, Type: IANA, ID: 1}
	if p.Bits() != 128 {
		b.Type = IAPD
	}
	return b
}

// The table against the naive oracle: a slice that is searched from end to end.
func TestTableAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := NewTable()
		var oracle []*Binding
		var frozen *Snapshot
		var frozenOracle []*Binding

		find := func(p netip.Prefix) int {
			return slices.IndexFunc(oracle, func(b *Binding) bool { return b.Prefix == p })
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			addr := netip.AddrFrom16([16]byte{0: 0x20, 15: byte(rapid.IntRange(0, 12).Draw(t, "addr"))})
			p := Address(addr)
			typ := IANA
			if rapid.Bool().Draw(t, "pd") {
				p, _ = netip.AddrFrom16([16]byte{0: 0x20, 7: addr.As16()[15] << 2}).Prefix(rapid.IntRange(60, 64).Draw(t, "bits"))
				typ = IAPD
			}
			switch rapid.IntRange(0, 5).Draw(t, "op") {
			case 0:
				table.Delete(p)
				if i := find(p); i >= 0 {
					oracle = slices.Delete(slices.Clone(oracle), i, i+1)
				}
			case 1:
				frozen, frozenOracle = table.Snapshot(), slices.Clone(oracle)
			default:
				b := &Binding{Prefix: p, Status: Status(rapid.IntRange(1, 8).Draw(t, "status")),
					Expires: Time(rapid.IntRange(1, 5).Draw(t, "expires")), HeldUntil: 9}
				b.IA = IA{"lan", DUID([]byte{0, 3, byte(rapid.IntRange(0, 3).Draw(t, "client"))}), typ, IAID(rapid.IntRange(0, 1).Draw(t, "iaid"))}
				table.Put(b)
				oracle = slices.Clone(oracle)
				if i := find(p); i >= 0 {
					oracle[i] = b
				} else {
					oracle = append(oracle, b)
				}
			}
			same(t, table, oracle)
			if frozen != nil {
				got := slices.Collect(frozen.From(netip.Prefix{}))
				want := slices.SortedFunc(slices.Values(frozenOracle), func(a, b *Binding) int { return comparePrefix(a.Prefix, b.Prefix) })
				if !slices.Equal(got, want) {
					t.Fatalf("snapshot changed: %v, want %v", got, want)
				}
			}
		}
	})
}

func same(t *rapid.T, table *Table, oracle []*Binding) {
	byPrefix := slices.SortedFunc(slices.Values(oracle), func(a, b *Binding) int { return comparePrefix(a.Prefix, b.Prefix) })
	if got := slices.Collect(table.From(netip.Prefix{})); !slices.Equal(got, byPrefix) {
		t.Fatalf("by prefix: %v, want %v", got, byPrefix)
	}
	var active int
	for _, b := range oracle {
		if table.Get(b.Prefix) != b {
			t.Fatalf("Get(%v) = %v", b.Prefix, table.Get(b.Prefix))
		}
		if b.Status == Active {
			active++
		}
		want := slices.Collect(func(yield func(*Binding) bool) {
			for _, o := range byPrefix {
				if o.IA == b.IA && !yield(o) {
					return
				}
			}
		})
		if got := slices.Collect(table.OfIA(b.IA)); !slices.Equal(got, want) {
			t.Fatalf("OfIA(%v) = %v, want %v", b.IA, got, want)
		}
		if n := len(slices.Collect(table.OfClient(b.Client))); n != count(oracle, func(o *Binding) bool { return o.Client == b.Client }) {
			t.Fatalf("OfClient(%v) has %d", b.Client, n)
		}
		overlap := slices.ContainsFunc(oracle, func(o *Binding) bool {
			return o.Prefix != b.Prefix && !o.Status.Available() && o.Prefix.Overlaps(b.Prefix)
		})
		if got := table.Overlaps(b.Prefix); (got != nil) != overlap || got != nil && !got.Prefix.Overlaps(b.Prefix) {
			t.Fatalf("Overlaps(%v) = %v, want %v", b.Prefix, got, overlap)
		}
	}
	if table.Count(Active) != active || table.Len() != len(oracle) {
		t.Fatalf("counts %d active of %d, want %d of %d", table.Count(Active), table.Len(), active, len(oracle))
	}
	first := slices.MinFunc(append([]*Binding{{Expires: Forever}}, oracle...), func(a, b *Binding) int {
		return cmp.Or(cmp.Compare(a.Expires, b.Expires), comparePrefix(a.Prefix, b.Prefix))
	})
	if got := table.FirstEnd(); len(oracle) > 0 && got != first {
		t.Fatalf("FirstEnd() = %v, want %v", got, first)
	}
}

// A walk may look into the table again, and a walk that was left early does not
// disturb the next.
func TestWalkInsideWalk(t *testing.T) {
	table := NewTable()
	for _, client := range []DUID{"one", "two"} {
		for _, prefix := range []string{"2001:db8::1/128", "2001:db8:1::/64", "2001:db8:2::/64"} {
			p := netip.MustParsePrefix(prefix)
			a := p.Addr().As16()
			a[7] = client[0]
			table.Put(binding(netip.PrefixFrom(netip.AddrFrom16(a), p.Bits()).String(), client, 1))
		}
	}
	var walked []DUID
	for b := range table.OfClient("one") {
		walked = append(walked, b.Client)
		for other := range table.OfClient("two") {
			walked = append(walked, other.Client)
			if table.Overlaps(other.Prefix) != nil || table.Get(b.Prefix) != b {
				t.Fatalf("%v is not found alone", b.Prefix)
			}
			break
		}
	}
	if want := []DUID{"one", "two", "one", "two", "one", "two"}; !slices.Equal(walked, want) {
		t.Fatalf("walked %q, want %q", walked, want)
	}
}

func count(bs []*Binding, f func(*Binding) bool) (n int) {
	for _, b := range bs {
		if f(b) {
			n++
		}
	}
	return n
}

func TestBindingCheck(t *testing.T) {
	const client = "\x00\x03\x01"
	tests := []struct {
		name   string
		spoil  func(*Binding)
		wantOK bool
	}{
		{"good", func(*Binding) {}, true},
		{"free without client", func(b *Binding) { b.Client, b.Status = "", Free }, true},
		{"zero prefix", func(b *Binding) { b.Prefix = netip.Prefix{} }, false},
		{"IPv4", func(b *Binding) { b.Prefix = netip.MustParsePrefix("192.0.2.1/32") }, false},
		{"bits behind the length", func(b *Binding) { b.Prefix, b.Type = netip.MustParsePrefix("2001:db8::1/64"), IAPD }, false},
		{"delegated /128", func(b *Binding) { b.Type = IAPD }, false},
		{"IA_TA", func(b *Binding) { b.Type = 4 }, false},
		{"status 0", func(b *Binding) { b.Status = 0 }, false},
		{"status 9", func(b *Binding) { b.Status = 9 }, false},
		{"active without client", func(b *Binding) { b.Client = "" }, false},
		{"DUID too long", func(b *Binding) { b.Client = DUID(make([]byte, 131)) }, false},
		{"active for ever by accident", func(b *Binding) { b.Expires = 0 }, false},
		{"held shorter than promised", func(b *Binding) { b.HeldUntil = b.Expires - 1 }, false},
		{"preferred above valid", func(b *Binding) { b.Preferred = 2 }, false},
		{"next hop with zone", func(b *Binding) { b.Via = netip.MustParseAddr("fe80::1%eth0") }, false},
	}
	for _, tt := range tests {
		b := binding("2001:db8::1/128", client, 100)
		tt.spoil(b)
		if err := b.Check(); (err == nil) != tt.wantOK {
			t.Errorf("%s: Check() = %v", tt.name, err)
		}
	}
}

func TestTime(t *testing.T) {
	if got := FromUnix(946684800 + 5); got != 5 {
		t.Errorf("FromUnix = %d, want 5", got)
	}
	if got := Time(100).Add(Infinity); got != Forever {
		t.Errorf("Add(Infinity) = %v", got)
	}
	for _, tt := range []struct {
		end, now Time
		want     uint32
	}{{10, 4, 6}, {4, 10, 0}, {4, 4, 0}, {Forever, 4, Infinity}, {1 << 40, 0, Infinity - 1}} {
		if got := tt.end.Until(tt.now); got != tt.want {
			t.Errorf("%d.Until(%d) = %d, want %d", tt.end, tt.now, got, tt.want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, s := range []string{"00:03:00:01:02:00:00:00:00:02", "00030001020000000002", "00-03-00"} {
		d, err := ParseDUID(s)
		if err != nil {
			t.Errorf("ParseDUID(%q): %v", s, err)
		}
		if again, err := ParseDUID(d.String()); again != d || err != nil {
			t.Errorf("ParseDUID(%q) = %v, %v", d.String(), again, err)
		}
	}
	// D-045: 3 to 130 octets.
	for _, s := range []string{"", "00:03", "xy", DUID(make([]byte, 131)).String()} {
		if d, err := ParseDUID(s); err == nil {
			t.Errorf("ParseDUID(%q) = %v, want an error", s, d)
		}
	}
	for s, want := range map[string]string{"2001:db8::1": "2001:db8::1/128", "2001:db8:8::/48": "2001:db8:8::/48"} {
		if p, err := ParsePrefix(s); err != nil || p.String() != want {
			t.Errorf("ParsePrefix(%q) = %v, %v", s, p, err)
		}
	}
	for _, s := range []string{"", "192.0.2.1", "fe80::1%eth0", "2001:db8::1/64", "::ffff:192.0.2.1", "2001:db8::/129"} {
		if p, err := ParsePrefix(s); err == nil {
			t.Errorf("ParsePrefix(%q) = %v, want an error", s, p)
		}
	}
	for s := Active; s <= Reset; s++ {
		if got, err := ParseStatus(s.String()); got != s || err != nil {
			t.Errorf("ParseStatus(%v) = %v, %v", s, got, err)
		}
	}
}

func BenchmarkTablePut(b *testing.B) {
	table := NewTable()
	b.ReportAllocs()
	for i := range b.N {
		a := netip.AddrFrom16([16]byte{0: 0x20, 12: byte(i >> 16), 13: byte(i >> 8), 14: byte(i)})
		v := binding(Address(a).String(), DUID([]byte{0, 3, byte(i >> 8), byte(i)}), Time(i+1))
		table.Put(v)
	}
}
