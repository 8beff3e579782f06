package failover

import (
	"errors"
	"fmt"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// Command is an order of the operator.
type Command uint8

// The commands.
const (
	// SetPartnerDown says that the partner is not operating, and will not before
	// it is connected again: seeing to that is the operator's part (RFC 8156
	// section 8.4).
	SetPartnerDown Command = iota + 1
	// SetPartnerDownForce says so also in states in which it is not foreseen.
	SetPartnerDownForce
	// Resync distrusts what is stored here, a restored backup for instance, and
	// asks the partner for everything.
	Resync
	// Shutdown takes leave of the partner, before a planned stop.
	Shutdown
)

// ErrRefused is what Operate returns when a command does not fit the state.
var ErrRefused = errors.New("refused")

// Operate carries a command out.
func (e *Endpoint) Operate(now lease.Clock, c Command, out *Output) (err error) {
	e.begin(now, out)
	switch c {
	case SetPartnerDown, SetPartnerDownForce:
		err = e.setPartnerDown(c == SetPartnerDownForce)
	case Resync:
		if next(e.state, resync, e.cfg.Role, e.record.Partner) == nil {
			err = fmt.Errorf("%w: in %v this server asks its partner anyway, or is not ready to", ErrRefused, e.state)
			break
		}
		e.record.Loss, e.failed = lossData, 0
		e.grantsFrom = e.started + e.waitMCLT()
		e.run(resync)
	case Shutdown:
		e.stopped = true
		if e.session != nil {
			e.disconnect(wire.ServerShuttingDown, "this server is going down by its operator's order")
		}
	default:
		panic(fmt.Sprintf("failover: unknown command %d", c))
	}
	e.end()
	return err
}

func (e *Endpoint) setPartnerDown(sure bool) error {
	on := order
	if sure {
		on = orderSure
	}
	switch {
	case next(e.state, on, e.cfg.Role, e.record.Partner) != nil && (e.session == nil || e.session.phase != open || e.state == Normal):
		e.run(on)
		return nil
	case e.state == Normal:
		return fmt.Errorf("%w: the partner is connected and in step; cut it off first, or force it", ErrRefused)
	case e.session != nil && e.session.phase == open:
		return fmt.Errorf("%w: the partner is connected, in %v", ErrRefused, e.record.Partner)
	case e.state == PartnerDown:
		return fmt.Errorf("%w: this server is in PARTNER-DOWN already", ErrRefused)
	case next(e.state, orderSure, e.cfg.Role, e.record.Partner) != nil:
		return fmt.Errorf("%w: this server is in %v and may not know all that its partner promised; force it if the partner is gone for good", ErrRefused, e.state)
	}
	return fmt.Errorf("%w: not in %v, wait until it has ended", ErrRefused, e.state)
}

// Status is an endpoint at one moment, for people and checks.
type Status struct {
	Name     string
	Role     lease.Role
	State    State
	Since    lease.Time
	Previous State // zero: none

	Partner      State // zero: never heard of
	PartnerSince lease.Time
	LastMessage  lease.Time
	OK           bool // communications

	MCLT_s      uint32
	Unconfirmed int           // changes that the partner has not confirmed
	InFlight    int           // BNDUPDs without answer
	Ends        time.Duration // of the state's timer, on Clock.Mono; Never: none
}

// Never is the end of a state that has no timer.
const Never = never

// Status tells how the endpoint stands.
func (e *Endpoint) Status() Status {
	r := &e.record
	st := Status{
		Name: e.cfg.Name, Role: e.cfg.Role, State: e.state, Since: r.Since, Previous: r.Previous,
		Partner: r.Partner, PartnerSince: r.PartnerSince, LastMessage: r.LastMessage,
		MCLT_s: r.MCLT_s, Unconfirmed: e.changes.Len(), Ends: e.untilState,
	}
	if s := e.session; s != nil {
		st.OK, st.InFlight = s.phase == open, len(s.flight)
	}
	return st
}
