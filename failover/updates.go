package failover

import (
	"net/netip"
	"slices"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/failover/wire"
)

const (
	// leasesPerUpdate bounds a BNDUPD well below the 65535 octets of a message;
	// only an identity association of more leases is split.
	leasesPerUpdate = 256
	// updatesPerStep bounds the BNDUPDs of one step, so that clients need not
	// wait for a partner that takes in its whole database.
	updatesPerStep = 32
	// scanEvery is the period of the scan for updates that were refused.
	scanEvery = 60 * second
	// scannedPerStep bounds the changes that the scan looks at in one step.
	scannedPerStep = 1024
	// retryMax is the longest wait before a refused update is tried again.
	retryMax = 600 * second
)

// update is a BNDUPD on its way.
type update struct {
	id       wire.TransactionID
	sent     []*lease.Binding // as they were; for a prefix that is taken back: as it shall be
	first    uint64           // the lowest number of a change in it; 0: none
	walk     bool             // part of the answer to UPDREQALL
	take     *lease.Binding   // the prefix that the partner is asked to give back, as it was; else nil
	at       time.Duration
	answered bool
}

// refusal is an update that the partner would not take.
type refusal struct {
	change  uint64
	code    wire.StatusCode
	retryAt time.Duration
	wait    time.Duration
}

// window is how many BNDUPDs may be on their way.
func (s *session) window() int { return s.maxUnacked }

// unanswered is the update that has waited longest for its answer, or nil.
func (s *session) unanswered() *update {
	for len(s.order) > 0 && s.order[0].answered {
		s.order[0] = nil
		s.order = s.order[1:]
	}
	if len(s.order) == 0 {
		return nil
	}
	return s.order[0]
}

// pump sends what can be sent now: changes as they come up, and the answers to
// the partner's requests, in turns.
func (e *Endpoint) pump() {
	s := e.session
	if s == nil || s.phase != open || !s.met {
		return
	}
	for n := 0; len(s.flight) < s.window(); n++ {
		if n == updatesPerStep {
			e.more = true
			break
		}
		sent := flowing(e.state) && e.sendNextChange()
		if s.answer != nil && len(s.flight) < s.window() {
			sent = e.sendNextAnswer() || sent
		}
		if !sent {
			break
		}
	}
	e.finishAnswer()
	e.leavePartnerDown()
	if e.poolReqReady() && e.now.Mono >= e.poolReqAt {
		e.poolReqDue = false
		e.poolReqAt = e.now.Mono + poolReqEvery
		e.send(&wire.PoolReq{Header: wire.Header{TransactionID: e.nextID()}})
	}
}

// told reports whether the partner has answered every change up to a number.
func (e *Endpoint) told(upTo uint64) bool {
	s := e.session
	if n, _, ok := e.nextChange(s.sent); ok && n <= upTo {
		return false
	}
	return s.landed(upTo)
}

// landed reports whether every update with a change up to a number that was sent
// is answered.
func (s *session) landed(upTo uint64) bool {
	for _, u := range s.flight {
		if u.first != 0 && u.first <= upTo {
			return false
		}
	}
	return true
}

// poolReqReady reports whether a POOLREQ can be sent: in NORMAL, after what the
// partner lacked at its beginning (T-33).
func (e *Endpoint) poolReqReady() bool {
	return e.poolReqDue && e.state == Normal && e.session.met && e.told(e.entered)
}

// sendNextChange sends the oldest change that was not sent on this connection.
func (e *Endpoint) sendNextChange() bool {
	s := e.session
	for {
		number, p, ok := e.nextChange(s.sent)
		if !ok {
			return false
		}
		s.sent = number
		if _, flies := s.flying[number]; !flies && e.sendUpdate(e.table.Get(p), false) {
			return true
		}
	}
}

// nextChange finds the first unconfirmed change after a number.
func (e *Endpoint) nextChange(after uint64) (number uint64, p netip.Prefix, ok bool) {
	e.changes.Ascend(after+1, func(n uint64, prefix netip.Prefix) bool {
		number, p, ok = n, prefix, true
		return false
	})
	return number, p, ok
}

// sendUpdate sends what is known of the identity association of b, or of the
// prefix without client. It reports whether there was anything to send.
func (e *Endpoint) sendUpdate(b *lease.Binding, walk bool) bool {
	if b == nil {
		return false
	}
	if b.Type == lease.IAPD && (b.Client == "" || b.Status.Available()) {
		e.launch(e.barePrefix(b), []*lease.Binding{b}, walk)
		return true
	}
	if b.Client == "" { // an address that no client ever had cannot be expressed
		return false
	}
	var list []*lease.Binding
	for o := range e.table.OfIA(b.IA) {
		if o == b || !o.Status.Available() {
			list = append(list, o)
		}
	}
	if len(list) > leasesPerUpdate {
		list = list[slices.Index(list, b):]
		list = list[:min(len(list), leasesPerUpdate)]
	}
	e.launch(e.clientUpdate(list), list, walk)
	return true
}

// launch sends a BNDUPD and waits for its answer.
func (e *Endpoint) launch(m *wire.BndUpd, sent []*lease.Binding, walk bool) *update {
	s := e.session
	u := &update{id: e.nextID(), sent: sent, walk: walk, at: e.now.Mono}
	m.TransactionID = u.id
	for _, b := range sent {
		e.maybeSent = max(e.maybeSent, b.Change)
		if b.Change != 0 {
			s.flying[b.Change] = struct{}{}
			if u.first == 0 || b.Change < u.first {
				u.first = b.Change
			}
		}
	}
	s.flight[u.id] = u
	s.order = append(s.order, u)
	e.send(m)
	return u
}

// clientUpdate is the BNDUPD about leases of one identity association (RFC 8156
// section 7.4).
func (e *Endpoint) clientUpdate(list []*lease.Binding) *wire.BndUpd {
	b := list[0]
	ia := wire.IA{Type: b.Type, IAID: b.ID, T1: b.T1, T2: b.T2, Leases: make([]wire.LeaseOption, len(list))}
	for i, l := range list {
		o := e.leaseOption(l)
		o.Preferred, o.Valid = l.Preferred, l.Valid
		if l.LastTransaction != 0 {
			o.CLTTime = wire.Some(uint32(max(e.now.Wall-l.LastTransaction, 0)))
		}
		if l.PartnerRawCLT != 0 {
			o.PartnerRawCLT = wire.Some(e.at(l.PartnerRawCLT))
		}
		ia.Leases[i] = o
	}
	return &wire.BndUpd{ClientData: &wire.ClientData{ClientID: b.Client, BaseTime: wire.Some(e.at(e.now.Wall)), IAs: []wire.IA{ia}}}
}

// barePrefix is the BNDUPD about a prefix that no client has.
func (e *Endpoint) barePrefix(b *lease.Binding) *wire.BndUpd {
	o := e.leaseOption(b)
	o.BaseTime = wire.Some(e.at(e.now.Wall))
	return &wire.BndUpd{Prefix: &o}
}

// leaseOption is what both forms say of a lease.
func (e *Endpoint) leaseOption(b *lease.Binding) wire.LeaseOption {
	o := wire.LeaseOption{Prefix: b.Prefix, BindingStatus: wire.Some(b.Status), StartTimeOfState: wire.Some(e.at(b.StartOfState))}
	if timed(b) {
		o.StateExpiration = wire.Some(e.at(b.Expires))
		o.PartnerLifetime = wire.Some(e.at(max(b.PartnerLifetime, b.Expires)))
		o.Expiration = wire.Some(e.at(b.ExpirationTime))
	}
	return o
}

// timed reports whether the binding-status times out, for the partner too. That
// a free lease forgets its last client is nobody else's matter.
func timed(b *lease.Binding) bool {
	return b.Status == lease.Active || b.Status == lease.Abandoned && b.Expires != 0
}

// receiveReply takes the partner's answer to an update (RFC 8156 section 7.7).
func (e *Endpoint) receiveReply(m *wire.BndReply) {
	s := e.session
	u := s.flight[m.TransactionID]
	if u == nil {
		e.tell(trace.Event{ID: trace.FailoverProtocol, Text: "a BNDREPLY to no BNDUPD on its way"})
		return
	}
	s.stirred(e)
	u.answered = true
	delete(s.flight, u.id)
	for _, b := range u.sent {
		delete(s.flying, b.Change)
	}
	if u.take != nil {
		s.taking--
	}
	for _, b := range u.sent {
		ia, l := find(m, b)
		if l == nil {
			status, _ := m.Status.Get()
			e.refusedBy(b, status.Code)
			continue
		}
		status, refuses := m.Refusal(ia, l).Get()
		now := e.table.Get(b.Prefix)
		switch {
		case refuses:
			e.refusedBy(b, status.Code)
		case u.take == nil:
			e.confirmed(b, l)
		case u.take == now:
			e.forget(b.Prefix) // ours again: no record means FREE
		case now != nil && now.Change == b.Change: // handed over anew meanwhile
			e.tellAgain(now)
		}
	}
}

// find finds the answer about a lease.
func find(m *wire.BndReply, b *lease.Binding) (*wire.IA, *wire.LeaseOption) {
	if m.Prefix != nil && m.Prefix.Prefix == b.Prefix {
		return nil, m.Prefix
	}
	if m.ClientData == nil {
		return nil, nil
	}
	for i := range m.ClientData.IAs {
		ia := &m.ClientData.IAs[i]
		for j := range ia.Leases {
			if ia.Leases[j].Prefix == b.Prefix && ia.Type == b.Type && ia.IAID == b.ID {
				return ia, &ia.Leases[j]
			}
		}
	}
	return nil, nil
}

// confirmed takes note that the partner has accepted what was sent of a lease.
func (e *Endpoint) confirmed(sent *lease.Binding, l *wire.LeaseOption) {
	s := e.session
	delete(s.refused, sent.Prefix)
	now := e.table.Get(sent.Prefix)
	if now == nil {
		return
	}
	echoed, _ := l.PartnerLifetimeSent.Get()
	acked := echoed.Resolve(e.now.Wall)
	if e.flawed(FlawAckRaised) && acked != 0 {
		raised := *sent
		acked += lease.Time(e.mclt())
		raised.PartnerLifetime = acked
		sent = &raised
	}
	b := lease.Confirmed(now, sent, acked, e.now.Wall, e.remember())
	if b != now {
		e.put(b)
	}
	if b.Change != 0 && b.Change == sent.Change { // accepted, but not as it is now
		e.tellAgain(b)
	}
}

// tellAgain leaves it to the scan to tell of a lease that was sent.
func (e *Endpoint) tellAgain(b *lease.Binding) {
	e.session.refused[b.Prefix] = refusal{change: b.Change, retryAt: e.now.Mono}
}

// remember is how long a freed lease remembers its client; not at all when too
// many do.
func (e *Endpoint) remember() uint32 {
	if e.table.Count(lease.Free)+e.table.Count(lease.FreeBackup) >= e.cfg.RememberMax {
		return 0
	}
	return e.cfg.Remember_s
}

// refusedBy takes note that the partner has not.
func (e *Endpoint) refusedBy(sent *lease.Binding, code wire.StatusCode) {
	s := e.session
	e.tell(trace.Event{ID: trace.FailoverUpdateRejected, Lease: sent.Prefix, Link: sent.Link, Client: sent.Client, Text: code.String()})
	r := s.refused[sent.Prefix]
	r.change, r.code = sent.Change, code
	r.wait = min(max(2*r.wait, scanEvery), retryMax)
	r.retryAt = e.now.Mono + r.wait
	s.refused[sent.Prefix] = r
}

// scan tries again what was refused and might be taken now.
func (e *Endpoint) scan() {
	s := e.session
	if s == nil || s.phase != open || !flowing(e.state) {
		return
	}
	n := 0
	from := s.scanned
	s.scanned = 0
	e.changes.Ascend(from, func(number uint64, p netip.Prefix) bool {
		if number > s.sent || len(s.flight) >= s.window() {
			return false
		}
		if n++; n > scannedPerStep {
			s.scanned, e.scanAt = number, e.now.Mono
			return false
		}
		r, refused := s.refused[p]
		_, flies := s.flying[number]
		switch {
		case !refused || r.change != number || flies || e.now.Mono < r.retryAt:
		case r.code == wire.ConfigurationConflict, r.code == wire.MissingBindingInformation, r.code == wire.DNSUpdateNotSupported:
			// Not before the next connection.
		default:
			e.sendUpdate(e.table.Get(p), false)
		}
		return true
	})
}

// forgetFlight is FlawQueueLost.
func (e *Endpoint) forgetFlight(s *session) {
	for _, u := range s.order {
		for _, sent := range u.sent {
			if b := e.table.Get(sent.Prefix); !u.answered && b != nil && b.Change == sent.Change && b.Change != 0 {
				c := *b
				c.Change = 0
				e.put(&c)
			}
		}
	}
}
