package failover

import (
	"fmt"
	"net/netip"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/failover/wire"
)

// receiveUpdate takes a BNDUPD and answers it, lease by lease (RFC 8156 section
// 7.5). What is accepted is on disk before the answer leaves.
func (e *Endpoint) receiveUpdate(m *wire.BndUpd) {
	e.session.stirred(e)
	status, refuse := m.Check().Get()
	if !m.Mirrors() {
		e.refuse(nil, status)
		e.answerUpdate(&wire.BndReply{Header: wire.Header{TransactionID: m.TransactionID}, Status: wire.Some(status)})
		return
	}
	if !answerable(m) {
		status = wire.Status{Code: wire.UnspecFail, Text: fmt.Sprintf("more than %d leases in one update, or a long VPN name", leasesTaken)}
		e.refuse(nil, status)
		e.answerUpdate(&wire.BndReply{Header: wire.Header{TransactionID: m.TransactionID}, ClientData: &wire.ClientData{ClientID: m.ClientData.ClientID, Status: wire.Some(status)}})
		return
	}
	r := m.Reply()
	if m.Prefix != nil {
		if !refuse {
			status, refuse = e.take(m.Prefix, nil, nil)
		}
		if refuse {
			e.refuse(m.Prefix, status)
			r.Prefix.Status = wire.Some(status)
		}
		e.answerUpdate(r)
		return
	}
	if vss, ok := m.ClientData.VSS.Get(); ok && !refuse && vss.Type != wire.VSSGlobal {
		status, refuse = wire.Status{Code: wire.ConfigurationConflict, Text: fmt.Sprintf("VPN %v is not configured here", vss)}, true
	}
	if refuse {
		e.refuse(nil, status)
		r.ClientData.Status = wire.Some(status)
		e.answerUpdate(r)
		return
	}
	worded := 0
	for i := range m.ClientData.IAs {
		ia := &m.ClientData.IAs[i]
		for j := range ia.Leases {
			if status, refuse := e.take(&ia.Leases[j], ia, m.ClientData); refuse {
				e.refuse(&ia.Leases[j], status)
				if worded++; worded > refusalsWorded {
					status.Text = ""
				}
				r.ClientData.IAs[i].Leases[j].Status = wire.Some(status)
			}
		}
	}
	e.answerUpdate(r)
}

const (
	// leasesTaken and vssTaken bound an update so that the answer, which repeats
	// each lease with its fate, is a message too. Ours are smaller by far.
	leasesTaken = 512
	vssTaken    = 255
	// refusalsWorded is for how many leases of an update the answer says in words
	// why they are refused.
	refusalsWorded = 64
)

// answerable reports whether the answer to an update fits a message.
func answerable(m *wire.BndUpd) bool {
	if m.ClientData == nil {
		return true
	}
	n := len(m.ClientData.IAs)
	for i := range m.ClientData.IAs {
		n += len(m.ClientData.IAs[i].Leases)
	}
	vss, _ := m.ClientData.VSS.Get()
	return n <= leasesTaken && len(vss.Data) <= vssTaken
}

func (e *Endpoint) answerUpdate(r *wire.BndReply) {
	if e.flawed(FlawAckBeforeCommit) {
		e.sendNow(r)
		return
	}
	e.send(r)
}

func (e *Endpoint) refuse(l *wire.LeaseOption, status wire.Status) {
	ev := trace.Event{ID: trace.FailoverUpdateRefused, Text: status.String()}
	if l != nil {
		ev.Lease = l.Prefix
	}
	e.tell(ev)
}

// take stores what an update says about one lease, or says why not. ia and c are
// nil for a prefix without client.
func (e *Endpoint) take(l *wire.LeaseOption, ia *wire.IA, c *wire.ClientData) (wire.Status, bool) {
	refuse := func(code wire.StatusCode, text string) (wire.Status, bool) {
		return wire.Status{Code: code, Text: text}, true
	}
	if vss, ok := l.VSS.Get(); ok && vss.Type != wire.VSSGlobal {
		return refuse(wire.ConfigurationConflict, fmt.Sprintf("VPN %v is not configured here", vss))
	}
	if status, lacks := l.Check(ia).Get(); lacks {
		return status, true
	}
	u, ok := e.resolve(l, ia, c)
	if !ok {
		return refuse(wire.ConfigurationConflict, fmt.Sprintf("%v is not a lease of this relationship here", l.Prefix))
	}
	// What has happened does not lie ahead, and lifetimes have a limit: such a date
	// would count for ever.
	if max(u.StartOfState, u.CLT, u.PartnerRawCLT) > e.now.Wall+2*skewMax_s || max(u.Expires, u.PartnerLifetime, u.ExpirationTime) > e.now.Wall+2*LifetimeMax_s {
		return refuse(wire.UnspecFail, "its times lie in the future")
	}
	own := e.table.Get(u.Prefix)
	if own == nil && e.cfg.LeasesMax != 0 && e.table.Len() >= e.cfg.LeasesMax {
		return refuse(wire.UnspecFail, "this server has no room for more leases")
	}
	if own == nil || own.Status.Available() && (own.StartOfState != u.StartOfState || own.Client != u.Client) {
		if b := e.mayBeHeld(u); b != nil {
			e.put(b)
			own = b
		}
	}
	switch u.Judge(own, e.cfg.Role, e.now.Wall) {
	case lease.Outdated:
		e.insist(own)
		return refuse(wire.OutdatedBindingInformation, "this server knows of something later")
	case lease.InUse:
		return refuse(wire.AddressInUse, "another client has it")
	case lease.Incomplete:
		return refuse(wire.MissingBindingInformation, "the binding-status needs more")
	}
	b := u.Accepted(own, e.now.Wall, e.remember())
	if b.Status == lease.Active {
		b = e.held(b, own, u)
	}
	if own != nil && own.Status == lease.Active && b.Status == lease.Active && own.IA != b.IA {
		e.tell(trace.Event{ID: trace.FailoverClientReplaced, Lease: own.Prefix, Link: own.Link, Client: own.Client})
	}
	if own == nil || *own != *b {
		e.put(b)
	}
	return wire.Status{}, false
}

// held is b, an active lease as the partner tells it, held for as long as this
// server may have promised it to the same client: the partner's Reply may be
// lost, and the client goes by ours. After a loss of storage that is up to MCLT
// beyond the later of the failure and what the partner had confirmed. It can be
// longer than RECOVER-WAIT, for which the RFC has MCLT after the failure only.
func (e *Endpoint) held(b, own *lease.Binding, u *lease.Update) *lease.Binding {
	until := b.Expires
	if own != nil && own.IA == b.IA && own.Status == lease.Active {
		until = max(until, own.Expires)
	}
	if e.record.Loss != lossNone {
		until = max(until, max(u.ExpirationTime, e.startedAt()).Add(e.reuseMCLT()))
	}
	if until == b.Expires {
		return b
	}
	h := *b
	h.Expires, h.HeldUntil = until, until
	return &h
}

// mayBeHeld is a lease of which the partner tells the end while nothing of it is
// stored here any more: for all that this server knows, it was extended before
// the storage was lost, by up to MCLT beyond the time at which the partner saw
// it end. To confirm the end would let the partner give it to somebody else, so
// it counts as the client's for so long. Otherwise nil.
func (e *Endpoint) mayBeHeld(u *lease.Update) *lease.Binding {
	if e.record.Loss == lossNone || u.Client == "" || u.Status == lease.Active || u.Status == lease.Abandoned {
		return nil
	}
	left := max(e.grantsFrom-e.now.Mono, e.remaining(u.StartOfState, e.waitMCLT()))
	if left <= 0 {
		return nil
	}
	failed := e.startedAt() // the last thing that it did cannot be later
	until := e.now.Wall + lease.Time(left/second)
	return &lease.Binding{
		Prefix: u.Prefix, IA: u.IA, Status: lease.Active, Expires: until, HeldUntil: until, PartnerLifetime: until,
		StartOfState: failed, LastTransaction: failed, PartnerRawCLT: u.CLT,
	}
}

// startedAt is when this server started, by its present wall clock.
func (e *Endpoint) startedAt() lease.Time {
	return e.now.Wall - lease.Time((e.now.Mono-e.started)/second)
}

// insist has a lease sent to a partner that is behind; but not again if it is
// due to be sent anyway, or the two would never stop (RFC 8156 section 7.5.4).
func (e *Endpoint) insist(own *lease.Binding) {
	if own == nil || own.Change != 0 {
		return
	}
	b := *own
	b.Change = e.number()
	e.put(&b)
}

// resolve makes the times of an update absolute and finds the link of its
// lease. It reports false for what cannot be leased in this relationship.
func (e *Endpoint) resolve(l *wire.LeaseOption, ia *wire.IA, c *wire.ClientData) (*lease.Update, bool) {
	p := l.Prefix
	link := e.linkOf(p)
	if link == "" {
		return nil, false
	}
	at := func(t wire.Opt[wire.Time]) lease.Time {
		v, _ := t.Get()
		return v.Resolve(e.now.Wall)
	}
	u := &lease.Update{
		Prefix: p, Preferred: l.Preferred, Valid: l.Valid,
		Expires: at(l.StateExpiration), PartnerLifetime: at(l.PartnerLifetime),
		PartnerRawCLT: at(l.PartnerRawCLT), ExpirationTime: at(l.Expiration),
	}
	u.Link = link
	if ia == nil {
		u.Type = lease.IAPD
		u.Status, _ = l.BindingStatus.Get()
		u.StartOfState = at(l.StartTimeOfState)
		return u, p.Bits() < 128
	}
	u.Client, u.Type, u.ID, u.T1, u.T2 = c.ClientID, ia.Type, ia.IAID, ia.T1, ia.T2
	u.Status, _ = ia.StatusOf(l).Get()
	u.StartOfState = at(ia.StartOf(l))
	if ago, ok := l.CLTTime.Get(); ok {
		u.CLT = at(c.BaseTime) - lease.Time(ago)
	}
	if u.Preferred > u.Valid || len(u.Client) < lease.DUIDLenMin || len(u.Client) > lease.DUIDLenMax {
		return nil, false
	}
	return u, u.Type == lease.IANA && p.Bits() == 128 || u.Type == lease.IAPD && p.Bits() < 128
}

// linkOf finds the link on which a lease can be given, or "".
func (e *Endpoint) linkOf(p netip.Prefix) string {
	if !p.IsValid() || p.Masked() != p {
		return ""
	}
	for i := range e.cfg.Links {
		if l := &e.cfg.Links[i]; l.Covers(p) {
			return l.Name
		}
	}
	return ""
}
