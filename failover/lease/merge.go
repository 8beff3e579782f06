package lease

import "net/netip"

// Accepted returns what the server stores that accepted u, in place of own (nil
// for none), with Binding.Check satisfied (RFC 8156 section 7.5.5, figure 5). It
// may be called only after Judge said Accept.
//
// A lease that its client lost is made available in the same step: that the
// update is accepted is the agreement it waited for. Such a lease keeps
// the StartOfState of the update, so that both servers agree on it to the second
// and whatever happens later compares as later. remember is for how many seconds
// it is kept for its last client.
//
// Change stays what it was in own, even if another client's news is
// overwritten. The partner may be accepting that very news at this moment,
// so only its answer to an update built from the new record shows that both
// have the same. The price is one update that tells the partner what it knows.
func (u *Update) Accepted(own *Binding, now Time, remember uint32) *Binding {
	b := u.record()
	if own != nil {
		b.Change = own.Change
		if u.Client == "" || own.sameClient(u.IA) {
			b.continues(own)
			if own.Status != Active {
				// The partner may have confirmed that the lease was over, which this
				// server did not hear, and leased it anew, knowing only what it says now.
				b.AckedPartnerLifetime = min(b.AckedPartnerLifetime, u.ExpirationTime)
			}
			if b.Status == Active && own.Status == Active && !u.supersedes(own) {
				b.keepLease(own)
			}
		}
	}
	switch status := settled(b.Status, b.Prefix); {
	case status.Available():
		b.free(status, now, remember)
	case status == Active:
		// This server may have to tell of the lease though it never granted it, and
		// an update without a partner-lifetime would be refused.
		b.PartnerLifetime = max(b.PartnerLifetime, b.Expires)
	}
	return &b
}

// record is u as it is stored where nothing was known.
func (u *Update) record() Binding {
	b := Binding{
		Prefix: u.Prefix, IA: u.IA, Status: u.status(),
		Expires: u.Expires, StartOfState: u.StartOfState,
		LastTransaction: u.PartnerRawCLT, PartnerRawCLT: u.CLT,
		PartnerLifetime: u.ExpirationTime, ExpirationTime: u.PartnerLifetime,
	}
	if b.Status == Active {
		b.Preferred, b.Valid, b.T1, b.T2 = u.Preferred, u.Valid, u.T1, u.T2
		b.HeldUntil = u.Expires
	}
	return b
}

// continues takes over into b, fresh from an update, what own says of the same
// client and the update does not know better.
func (b *Binding) continues(own *Binding) {
	b.Client, b.ID = own.Client, own.ID // which a bare OPTION_IAPREFIX does not name; one string for all
	b.LastTransaction = max(b.LastTransaction, own.LastTransaction)
	b.PartnerLifetime = max(b.PartnerLifetime, own.PartnerLifetime)
	b.ExpirationTime = max(b.ExpirationTime, own.ExpirationTime) // the partner may have used the greater
	b.AckedPartnerLifetime = own.AckedPartnerLifetime
	if b.PartnerRawCLT == 0 {
		b.PartnerRawCLT = own.PartnerRawCLT
	}
	if b.Status == Active {
		b.Via = own.Via
	}
	b.Hostname = own.Hostname
}

// supersedes reports whether of two accounts of one client's active lease u is
// the one to believe: the later one, and of two at the same time the one that
// errs to the safe side. Both servers come to the same answer.
func (u *Update) supersedes(own *Binding) bool {
	if c := Compare(u.time(), own.time()); c != 0 {
		return c > 0
	}
	if u.Expires != own.Expires {
		return u.Expires > own.Expires
	}
	return u.StartOfState >= own.StartOfState
}

// keepLease keeps what own says of a client's active lease.
func (b *Binding) keepLease(own *Binding) {
	b.Preferred, b.Valid, b.T1, b.T2 = own.Preferred, own.Valid, own.T1, own.T2
	b.Expires, b.HeldUntil, b.StartOfState = own.Expires, own.Expires, own.StartOfState
}

// ended reports whether the client lost the lease, but the partner has yet to
// agree before another client can have it.
func (s Status) ended() bool { return s == Expired || s == Released || s == Reset }

// settled is what becomes of a status once both servers have agreed on it (RFC
// 8156 section 7.2, events 4 to 6).
func settled(s Status, p netip.Prefix) Status {
	if s.ended() || s == PendingFree {
		return Freed(p)
	}
	return s
}

// free makes b available. The next client starts without the times of the last
// one. The record is forgotten after remember seconds if having none
// means the same. A prefix of the secondary's pool is kept, as is what the
// partner has yet to be told.
func (b *Binding) free(status Status, now Time, remember uint32) {
	b.Status = status
	b.Preferred, b.Valid, b.T1, b.T2 = 0, 0, 0, 0
	b.Expires, b.HeldUntil, b.Via = 0, 0, netip.Addr{}
	b.PartnerLifetime, b.AckedPartnerLifetime, b.ExpirationTime = 0, 0, 0
	b.LastTransaction, b.PartnerRawCLT = 0, 0
	if status == Freed(b.Prefix) && b.Change == 0 {
		b.Expires = now.Add(remember)
	}
}
