package lease

import (
	"iter"
	"net/netip"
)

// Backup walks the delegable prefixes that are FREE-BACKUP, the secondary's to
// give (RFC 8156 section 4.2.2), in order from p on; the zero Prefix starts at
// the first. They may be few among millions that are not.
func (t *Table) Backup(p netip.Prefix) iter.Seq[*Binding] { return from(t.backup, p) }

// countBackup keeps the order of the FREE-BACKUP prefixes. Addresses are not
// among them: their owner follows from the address.
func (t *Table) countBackup(b *Binding, n int) {
	switch {
	case b.Status != FreeBackup || b.Type != IAPD:
	case n > 0:
		t.backup.Set(b)
	default:
		t.backup.Delete(b)
	}
}
