package lease

// Grant returns the valid lifetime in seconds that a client may be given now
// outside PARTNER-DOWN: desired, but never so much that the client's expiry lies
// more than mclt seconds (the Maximum Client Lead Time) beyond the later of now
// and acked, which is what the partner has confirmed to know (RFC 8156 section
// 4.4). The same holds for what is offered.
func Grant(desired uint32, acked, now Time, mclt uint32) uint32 {
	return uint32(min(uint64(desired), uint64(acked.Until(now))+uint64(mclt)))
}

// Announce returns the partner-lifetime to be sent for a lease that was given
// now for actual seconds: far enough ahead that the client, renewing at T1, can
// have the desired lifetime in full (RFC 8156 section 4.4.1). t1 is the T1 that
// the client was told, in seconds; 0 left it to the client, which then takes half.
func Announce(now Time, t1, actual, desired uint32) Time {
	if t1 == 0 {
		t1 = actual / 2
	}
	return now.Add(t1).Add(desired)
}

// ReuseAt returns when a server in PARTNER-DOWN since partnerDownSince may give
// the lease to another client, though its partner cannot agree: mclt seconds
// after the latest moment up to which the partner may have believed in it, for
// all that both ever told each other and the client (RFC 8156 sections 4.2.2.1
// and 8.4.1, Q-62). For a lease that was available to the partner that is mclt
// after partnerDownSince; what is available to this server need not wait at all,
// which the caller knows.
func (b *Binding) ReuseAt(mclt uint32, partnerDownSince Time) Time {
	last := partnerDownSince
	if !b.Status.Available() { // whose Expires is only how long a client is remembered
		last = max(last, b.Expires, b.PartnerLifetime, b.AckedPartnerLifetime, b.ExpirationTime)
	}
	if b.Status.ended() {
		last = max(last, b.StartOfState)
	}
	return last.Add(mclt)
}

// End returns when this server may end the status of b by itself, before any
// grace; 0: never. An active lease that the partner was the last to deal with is
// its to end. This server joins in only at the time that it confirmed to the
// partner, before which the partner may have renewed it.
func (b *Binding) End() Time {
	if b.Status == Active && b.PartnerRawCLT > b.LastTransaction {
		return max(b.Expires, b.ExpirationTime)
	}
	return b.Expires
}
