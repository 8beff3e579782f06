package lease

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The FREE-BACKUP prefixes against a walk over the whole table.
func TestBackupAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := NewTable()
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			b := &Binding{Status: Status(rapid.IntRange(1, 8).Draw(t, "status")), Expires: 5, HeldUntil: 9}
			b.IA = IA{Link: "lan", Client: DUID("\x00\x03\x01"), Type: IANA}
			low := byte(rapid.IntRange(0, 12).Draw(t, "low"))
			b.Prefix = Address(netip.AddrFrom16([16]byte{0: 0x20, 15: low}))
			if rapid.IntRange(0, 3).Draw(t, "PD") > 0 {
				b.Type = IAPD
				b.Prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0x20, 6: low}), rapid.IntRange(56, 57).Draw(t, "bits"))
			}
			if rapid.IntRange(0, 4).Draw(t, "delete") == 0 {
				table.Delete(b.Prefix)
			} else {
				table.Put(b)
			}

			from := netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0x20, 6: byte(rapid.IntRange(0, 13).Draw(t, "from"))}), 56)
			if rapid.Bool().Draw(t, "all") {
				from = netip.Prefix{}
			}
			var want []*Binding
			for b := range table.From(from) {
				if b.Status == FreeBackup && b.Type == IAPD {
					want = append(want, b)
				}
			}
			if got := slices.Collect(table.Backup(from)); !slices.Equal(got, want) {
				t.Fatalf("Backup(%v) = %v, want %v", from, got, want)
			}
		}
	})
}

// A walk that is broken off leaves the table as it was.
func TestBackupStops(t *testing.T) {
	table := NewTable()
	for i := range 5 {
		b := &Binding{Prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0x20, 6: byte(i)}), 56), Status: FreeBackup}
		b.Type = IAPD
		table.Put(b)
	}
	n := 0
	for range table.Backup(netip.Prefix{}) {
		if n++; n == 2 {
			break
		}
	}
	if all := slices.Collect(table.Backup(netip.Prefix{})); n != 2 || len(all) != 5 {
		t.Errorf("%d walked, then %d", n, len(all))
	}
}
