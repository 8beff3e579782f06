package failover

import (
	"fmt"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
)

// serving reports whether a server in a state may answer clients.
func serving(s State) bool {
	return set(Normal, CommunicationsInterrupted, PartnerDown, RecoverDone, ResolutionInterrupted, ConflictDone).has(s)
}

// flowing reports whether updates are sent as they come up, and not only when
// the partner asks for them. In PARTNER-DOWN and COMMUNICATIONS-INTERRUPTED the
// partner recovers meanwhile.
func flowing(s State) bool {
	return set(Normal, CommunicationsInterrupted, PartnerDown, ConflictDone).has(s)
}

// run lets the state machine run until it rests.
func (e *Endpoint) run(on cause) {
	for {
		t := next(e.state, on, e.cfg.Role, e.record.Partner)
		if t == nil || t.from == PartnerDown && t.to == Normal && !e.partnerKnows() {
			break
		}
		e.become(t.to, t.id)
		if !e.inContact() {
			break
		}
		on = entry
	}
	e.met()
}

// partnerKnows reports whether the partner can serve again after PARTNER-DOWN: it
// has confirmed what was promised without regard to it, and what came later is
// on its way before the STATE that lets it serve.
func (e *Endpoint) partnerKnows() bool {
	_, _, more := e.nextChange(e.session.sent)
	return !more && e.told(e.entered)
}

// leavePartnerDown looks again for the end of PARTNER-DOWN.
func (e *Endpoint) leavePartnerDown() {
	if e.state == PartnerDown && e.record.Partner == RecoverDone && e.partnerKnows() {
		e.run(entry)
	}
}

// inContact reports whether communications are OK and the partner's state is
// known: it has left STARTUP.
func (e *Endpoint) inContact() bool {
	return e.session != nil && e.session.phase == open && e.session.met
}

// become changes the state: nothing else does. The new state is stored before
// anybody hears of it.
func (e *Endpoint) become(to State, id string) {
	from := e.state
	if to == previous { // the old state goes on, with its time
		to = e.record.State
	} else {
		e.record.Previous, e.record.State, e.record.Since = e.record.State, to, e.now.Wall
	}
	if !legal(from, to) {
		panic(fmt.Sprintf("failover: no way from %v to %v (%s)", from, to, id))
	}
	e.state = to
	e.untilState, e.sweepAt = never, never
	e.enter(from)
	e.store()
	e.tell(trace.Event{ID: trace.FailoverState, Text: fmt.Sprintf("%v, was %v (%s)", to, from, id)})
	if e.session != nil && e.session.phase >= meeting {
		e.sendState()
	}
}

// clockMargin is what waits in PARTNER-DOWN are longer, for the difference of the
// partners' clocks and the fractions of seconds.
const clockMargin = 15 * second

// enter does what belongs to the beginning of a state.
func (e *Endpoint) enter(from State) {
	now := e.now.Mono
	switch e.state {
	case RecoverWait:
		wait := e.recoverWait()
		e.untilState = now + wait
		e.untilWall = e.now.Wall + lease.Time(wait/second)
	case RecoverDone:
		e.forgive()
	case CommunicationsInterrupted:
		e.armAutoPartnerDown()
		if from == Normal {
			e.tell(trace.Event{ID: trace.FailoverInterrupted})
		}
	case ResolutionInterrupted:
		e.tell(trace.Event{ID: trace.FailoverUnresolved})
	case PartnerDown:
		e.availableAt = now + e.remaining(e.record.Since, e.waitMCLT()) + clockMargin
		e.sweepAt = now + sweepEvery
	case Normal:
		e.record.Dispute = false
		e.maybeSent = e.lastChange // the partner may have done anything with what it was not told
		e.poolReqDue = e.cfg.Role == lease.Secondary
		e.entered = e.lastChange
		if e.session != nil {
			e.session.sent = 0 // T-33: all that is unconfirmed
		}
	case PotentialConflict:
		if e.session != nil {
			e.session.request = nil // an older one does not cover what came since
			e.session.stirred(e)
		}
	}
	if serving(e.state) {
		e.record.Virgin = false
	}
}

// stateTimer handles the end of the time that a state has.
func (e *Endpoint) stateTimer() {
	switch {
	case e.state == Startup && e.cfg.StartupPartnerDown: // T-10
		e.become(metNobody.to, metNobody.id)
	case e.state == CommunicationsInterrupted && e.session != nil && e.session.phase == open:
		// only while communications are not OK
	default:
		e.run(timeout)
	}
}

// armAutoPartnerDown starts the timer of T-43, if the operator wants it.
func (e *Endpoint) armAutoPartnerDown() {
	if e.state == CommunicationsInterrupted && e.cfg.AutoPartnerDown_s != 0 {
		e.untilState = e.now.Mono + time.Duration(e.cfg.AutoPartnerDown_s)*second
	}
}

// remaining is what is left of a wait that began at a wall time, perhaps in an
// earlier life. It is measured once; then the monotonic clock runs, which no
// wrong date shortens. A clock behind the truth makes the wait longer.
func (e *Endpoint) remaining(since lease.Time, wait time.Duration) time.Duration {
	if since == 0 {
		return wait
	}
	passed := time.Duration(max(e.now.Wall-since, 0)) * second
	return max(wait-passed, 0)
}

// recoverWait is how long RECOVER-WAIT lasts: until whatever this server
// promised before it failed has run out, or is known to the partner (T-22).
func (e *Endpoint) recoverWait() time.Duration {
	switch {
	case e.flawed(FlawNoRecoverWait), e.record.Virgin: // T-23: it has promised nothing
		return 0
	case e.record.Loss != lossNone || e.failed == 0:
		return max(e.started+e.waitMCLT()-e.now.Mono, 0)
	}
	return e.remaining(e.failed, e.waitMCLT())
}

// forgive ends the effects of a loss of storage: all promises that nobody knows
// of have run out.
func (e *Endpoint) forgive() {
	if e.record.Loss == lossPromises {
		e.record.Loss = lossNone
	}
	e.grantsFrom = 0
}

// waitMCLT is the MCLT by which waits are measured. After it was made shorter,
// the longer one counts for as long as leases given by it can last.
func (e *Endpoint) waitMCLT() time.Duration {
	mclt := e.mclt()
	if e.now.Wall < e.record.FormerUntil {
		mclt = max(mclt, e.record.FormerMCLT_s)
	}
	return time.Duration(mclt) * second
}

// mclt is the MCLT in use, in seconds.
func (e *Endpoint) mclt() uint32 { return e.record.MCLT_s }

// adoptMCLT puts another MCLT in use.
func (e *Endpoint) adoptMCLT(mclt_s uint32) {
	r := &e.record
	if mclt_s < r.MCLT_s {
		until := e.now.Wall.Add(r.MCLT_s)
		if e.now.Wall < r.FormerUntil && r.FormerMCLT_s > r.MCLT_s { // two decreases in a row
			r.FormerUntil = max(r.FormerUntil, until)
		} else {
			r.FormerMCLT_s, r.FormerUntil = r.MCLT_s, until
		}
	}
	r.MCLT_s = mclt_s
}

// announceMCLT prepares a primary for a partner that may put an MCLT in use
// without this server hearing of it: from now on nothing is granted by more,
// and waits are measured by no less.
func (e *Endpoint) announceMCLT(mclt_s uint32) {
	r := &e.record
	if mclt_s <= r.MCLT_s {
		e.adoptMCLT(mclt_s)
		return
	}
	if e.now.Wall < r.FormerUntil {
		mclt_s = max(mclt_s, r.FormerMCLT_s)
	}
	r.FormerMCLT_s, r.FormerUntil = mclt_s, lease.Forever
}

// met does what a state demands as long as the partner is there.
func (e *Endpoint) met() {
	if !e.inContact() {
		return
	}
	switch e.state {
	case Recover: // T-17, T-18
		e.request()
	default:
		if len(e.joining) > 0 && !e.activating {
			e.request()
		}
	case PotentialConflict: // T-49, T-52; Q-19: not only at the moment of the change
		if e.cfg.Role == lease.Primary || e.record.Partner == ConflictDone {
			e.request()
		}
	}
}

// leaveStartup is how the partner's first STATE ends STARTUP.
func (e *Endpoint) leaveStartup(partner State, since lease.Time) {
	if partner != PartnerDown {
		t := next(e.state, contact, e.cfg.Role, partner)
		e.become(t.to, t.id)
		return
	}
	if last := e.lastOperation(); lease.Compare(since, last) > 0 {
		e.become(wasGone.to, wasGone.id)
	} else {
		e.become(wasThere.to, wasThere.id)
	}
}
