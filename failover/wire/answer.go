package wire

import "github.com/tandem6/tandem6/failover/lease"

// Reply returns the answer that accepts m as a whole (RFC 8156 section 7.6); to
// refuse it or a lease of it, set the Status of the answer's ClientData or
// Prefix, or of that lease: they are in the order of m. m must Mirror.
func (m *BndUpd) Reply() *BndReply {
	r := &BndReply{Header: Header{TransactionID: m.TransactionID}}
	switch {
	case !m.Mirrors():
		panic("wire: a BNDUPD that holds not one of CLIENT_DATA and IAPREFIX has no mirror image")
	case m.Prefix != nil:
		l := m.Prefix.echo(m.Prefix.BindingStatus)
		r.Prefix = &l
		return r
	}
	c := m.ClientData
	r.ClientData = &ClientData{ClientID: c.ClientID, VSS: c.VSS, IAs: make([]IA, len(c.IAs))}
	for i := range c.IAs {
		from, to := &c.IAs[i], &r.ClientData.IAs[i]
		*to = IA{Type: from.Type, IAID: from.IAID, Leases: make([]LeaseOption, len(from.Leases))}
		for j := range from.Leases {
			to.Leases[j] = from.Leases[j].echo(from.StatusOf(&from.Leases[j]))
		}
	}
	return r
}

// echo is what an answer repeats of a lease: what was there, unchanged.
func (l *LeaseOption) echo(status Opt[lease.Status]) LeaseOption {
	return LeaseOption{
		Prefix: l.Prefix, VSS: l.VSS, BindingStatus: status,
		StateExpiration: l.StateExpiration, PartnerLifetimeSent: l.PartnerLifetime,
	}
}

// Refusal is the error, if any, with which m refuses one of its leases: that of
// the lease itself, or of what contains it. ia is nil for a prefix without
// client. Success codes say nothing (RFC 8156 sections 7.6 and 7.7).
func (m *BndReply) Refusal(ia *IA, l *LeaseOption) Opt[Status] {
	levels := [4]Opt[Status]{m.Status, {}, {}, l.Status}
	if ia != nil {
		levels[1], levels[2] = m.ClientData.Status, ia.Status
	}
	for _, s := range levels {
		if s.value.Code != Success {
			return s
		}
	}
	return Opt[Status]{}
}
