package failover

import (
	"net/netip"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/failover/wire"
)

// walkedPerStep bounds the leases that are looked at in one step while the
// partner takes in the whole database.
const walkedPerStep = 512

// request is an UPDREQ or UPDREQALL of this server that waits for its UPDDONE.
type request struct {
	id  wire.TransactionID
	all bool
}

// answer is the work on one of the partner.
type answer struct {
	id      wire.TransactionID
	all     bool
	from    uint64       // UPDREQ: changes up to this number were looked at
	upTo    uint64       // UPDREQ: later ones are no part of it
	next    netip.Prefix // UPDREQALL: where the walk goes on
	walking bool         // UPDREQALL: it has not come to its end
	n       int          // updates sent
}

// request asks the partner for what it knows, once for each connection and
// state (RFC 8156 sections 8.5.2 and 8.10.2).
func (e *Endpoint) request() {
	s := e.session
	if s.request != nil {
		return
	}
	s.request = &request{id: e.nextID(), all: e.record.Loss == lossData}
	h := wire.Header{TransactionID: s.request.id}
	if s.request.all {
		e.disown()
		e.send(&wire.UpdReqAll{Header: h})
	} else {
		e.send(&wire.UpdReq{Header: h})
	}
	s.stirred(e)
	e.tell(trace.Event{ID: trace.FailoverRequested})
}

// concede takes back the end of leases of which a partner that has lost its
// storage may have promised more: up to MCLT beyond what this server confirmed to
// it. The partner does not know that it has to object.
func (e *Endpoint) concede() {
	var ended []*lease.Binding
	e.changes.Scan(func(_ uint64, p netip.Prefix) bool {
		b := e.table.Get(p)
		if (b.Status == lease.Expired || b.Status == lease.Released) && b.ExpirationTime != 0 && b.ExpirationTime.Add(e.reuseMCLT()) > e.now.Wall {
			ended = append(ended, b)
		}
		return true
	})
	for _, b := range ended {
		a := *b
		a.Status, a.StartOfState = lease.Active, e.now.Wall
		a.Expires = b.ExpirationTime.Add(e.reuseMCLT())
		a.HeldUntil, a.PartnerLifetime = a.Expires, max(a.PartnerLifetime, a.Expires)
		a.Change = e.number()
		e.put(&a)
	}
}

// disown gives up the prefixes that this server believes to be its own before
// it learns from the partner which are. The partner does not use what it has
// handed over, so the doubt hurts nobody.
func (e *Endpoint) disown() {
	if e.cfg.Role != lease.Secondary {
		return
	}
	var list []netip.Prefix
	for b := range e.table.Backup(netip.Prefix{}) {
		if e.Covers(b) {
			list = append(list, b.Prefix)
		}
	}
	for _, p := range list {
		e.forget(p)
	}
}

// receiveDone handles UPDDONE.
func (e *Endpoint) receiveDone(m *wire.UpdDone) {
	s := e.session
	if s.request == nil || s.request.id != m.TransactionID {
		e.tell(trace.Event{ID: trace.FailoverProtocol, Text: "an UPDDONE that nothing asked for"})
		return
	}
	if s.request.all && e.record.Loss == lossData {
		e.record.Loss = lossPromises
		e.store()
	}
	s.request = nil
	e.joined()
	s.stirred(e)
	e.tell(trace.Event{ID: trace.FailoverUpToDate})
	e.run(updated)
}

// receiveRequest handles UPDREQ and UPDREQALL. A second one replaces the first.
func (e *Endpoint) receiveRequest(id wire.TransactionID, all bool) {
	s := e.session
	s.answer = &answer{id: id, all: all, upTo: e.lastChange, walking: all}
	s.stirred(e)
	e.tell(trace.Event{ID: trace.FailoverAsked})
}

// sendNextAnswer sends one update that the partner asked for.
func (e *Endpoint) sendNextAnswer() bool {
	a := e.session.answer
	sent := false
	if a.all {
		sent = e.walkOn(a)
	} else {
		sent = e.sendNextAsked(a)
	}
	if sent {
		a.n++
	}
	return sent
}

// sendNextAsked goes on with an UPDREQ.
func (e *Endpoint) sendNextAsked(a *answer) bool {
	for {
		number, p, ok := e.nextChange(a.from)
		if !ok || number > a.upTo {
			a.from = a.upTo
			return false
		}
		a.from = number
		if _, flies := e.session.flying[number]; !flies && e.sendUpdate(e.table.Get(p), false) {
			return true
		}
	}
}

// walkOn goes on with an UPDREQALL.
func (e *Endpoint) walkOn(a *answer) bool {
	if !a.walking {
		return false
	}
	n := 0
	for b := range e.table.From(a.next) {
		if b.Prefix == a.next { // was looked at
			continue
		}
		if n++; n > walkedPerStep {
			return false
		}
		a.next = b.Prefix
		if e.Covers(b) && e.tellsMore(b) && e.sendUpdate(b, true) {
			return true
		}
	}
	a.walking = false
	return false
}

// tellsMore reports whether a partner that has nothing needs to hear of b by
// itself: not of an address that is free, nor of a lease that came along with
// another of its identity association.
func (e *Endpoint) tellsMore(b *lease.Binding) bool {
	if b.Status.Available() {
		return b.Type == lease.IAPD
	}
	if b.Client == "" {
		return true
	}
	n := 0
	for o := range e.table.OfIA(b.IA) {
		if o == b {
			return n%leasesPerUpdate == 0
		}
		if !o.Status.Available() {
			n++
		}
	}
	return true
}

// finishAnswer sends UPDDONE when everything asked for was sent and answered
// (RFC 8156 section 5.3.7). A refusal is an answer too.
func (e *Endpoint) finishAnswer() {
	s := e.session
	a := s.answer
	if a == nil || a.walking || !a.all && a.from < a.upTo {
		return
	}
	if !e.flawed(FlawUpdDoneEarly) && (a.all && !s.walked() || !a.all && !s.landed(a.upTo)) {
		return
	}
	s.answer = nil
	e.send(&wire.UpdDone{Header: wire.Header{TransactionID: a.id}})
	e.tell(trace.Event{ID: trace.FailoverAnswered, N: int64(a.n)})
}

// walked reports whether all updates of an answer to UPDREQALL are answered.
func (s *session) walked() bool {
	for _, u := range s.flight {
		if u.walk {
			return false
		}
	}
	return true
}
