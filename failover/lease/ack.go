package lease

// Confirmed returns b after the partner accepted an update (RFC 8156 sections
// 7.7 and 7.2): sent is what the update told, b the record of the same lease now.
// acked is the OPTION_F_PARTNER_LIFETIME_SENT of the BNDREPLY, 0 for none. It
// returns b itself when nothing changes.
//
// The partner is known to have all news only if there were none since,
// neither our own, which raise Change, nor the partner's, which do not. Then
// what was EXPIRED, RELEASED or RESET becomes available, remembered for remember
// seconds. So does a prefix that the primary takes back: b is still
// FREE-BACKUP, sent FREE with the same Change.
//
// What the partner confirmed to know of the client is taken as it says, even if
// it is less than before, but never more than it was told.
func Confirmed(b, sent *Binding, acked, now Time, remember uint32) *Binding {
	c := *b
	if acked = min(acked, sent.PartnerLifetime); acked > 0 && b.sameClient(sent.IA) && !b.Status.Available() {
		c.AckedPartnerLifetime = acked
	}
	if b.Change == sent.Change {
		c.agree(sent, now, remember)
	}
	if c == *b {
		return b
	}
	return &c
}

// agree makes b what both servers have agreed on, now that the partner accepted
// sent and this server made no news since. An update from the partner that came
// in between may have made something else of b, while the partner made of its
// own record what was sent: then there is still something to be told.
func (b *Binding) agree(sent *Binding, now Time, remember uint32) {
	taken := b.Status == FreeBackup && sent.Status == Free
	same := b.Status == sent.Status && b.sameClient(sent.IA) && b.Expires == sent.Expires && b.StartOfState == sent.StartOfState
	if !same && !taken || b.Change == 0 && b.Status.Available() {
		return
	}
	b.Change, b.StartOfState = 0, sent.StartOfState
	if status := settled(sent.Status, sent.Prefix); status.Available() {
		b.free(status, now, remember)
	}
}
