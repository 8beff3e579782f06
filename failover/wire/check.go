package wire

import (
	"fmt"

	"github.com/tandem6/tandem6/failover/lease"
)

// The Check methods find what a well-formed message lacks, and the status with
// which it is answered. An absent status means that nothing is lacking. What
// depends on configuration, clocks or the lease is not their matter.

// Check is the status with which a Connect is to be rejected (RFC 8156 section
// 6.1.1, Q-24). A name may be absent.
func (m *Connect) Check() Opt[Status] {
	return required(UnspecFail,
		need{m.Version.present, OptionProtocolVersion}, need{m.MCLT.present, OptionMCLT},
		need{m.KeepaliveTime.present, OptionKeepaliveTime}, need{m.MaxUnackedBndUpd.present, OptionMaxUnackedBndUpd},
		need{m.Flags.present, OptionConnectFlags})
}

// Check is the status with which to disconnect after a ConnectReply that accepts
// (RFC 8156 section 6.1.2). One that rejects needs no more than its status.
func (m *ConnectReply) Check() Opt[Status] {
	if m.Rejects() {
		return Opt[Status]{}
	}
	return required(UnspecFail,
		need{m.Version.present, OptionProtocolVersion}, need{m.MCLT.present, OptionMCLT},
		need{m.KeepaliveTime.present, OptionKeepaliveTime}, need{m.MaxUnackedBndUpd.present, OptionMaxUnackedBndUpd},
		need{m.Flags.present, OptionConnectFlags})
}

// Rejects reports whether m rejects the connection: only an error does.
func (m *ConnectReply) Rejects() bool { return m.Status.value.Code != Success }

// Check is the status with which to disconnect after a State (RFC 8156 section
// 6.3, Q-76). PARTNER_DOWN_TIME is not asked for: nothing depends on it.
func (m *State) Check() Opt[Status] {
	if s, ok := m.ServerState.Get(); ok && (!s.Valid() || s == StateStartup) {
		return Some(Status{UnspecFail, fmt.Sprintf("%v holds %v, which is never sent", OptionServerState, s)})
	}
	return required(UnspecFail,
		need{m.ServerState.present, OptionServerState}, need{m.Flags.present, OptionServerFlags},
		need{m.StartTime.present, OptionStartTimeOfState})
}

// Check is the status with which to refuse the whole update (RFC 8156 sections
// 7.4 and 7.5.3). Mirrors says where it is to stand.
func (m *BndUpd) Check() Opt[Status] {
	switch {
	case !m.Mirrors():
		return missing("the message needs either %v or %v", OptionClientData, OptionIAPrefix)
	case m.Prefix != nil:
		if m.Prefix.BindingStatus == Some(lease.Active) {
			return missing("a lease that is %v needs its client", lease.Active)
		}
		return required(MissingBindingInformation, need{m.Prefix.BaseTime.present, OptionLQBaseTime})
	}
	return m.ClientData.check()
}

// Mirrors reports whether m can be answered in its own form, by what Reply
// returns: it has one of CLIENT_DATA and IAPREFIX. Otherwise the status stands
// in the BndReply itself, and nothing else.
func (m *BndUpd) Mirrors() bool { return (m.ClientData != nil) != (m.Prefix != nil) }

func (c *ClientData) check() Opt[Status] {
	if len(c.IAs) == 0 {
		return missing("%v needs an %v, %v or %v", OptionClientData, OptionIANA, OptionIATA, OptionIAPD)
	}
	for i := range c.IAs {
		if ia := &c.IAs[i]; len(ia.Leases) == 0 {
			return missing("%v %d needs an %v", OptionCode(ia.Type), ia.IAID, leaseCode(ia.Type))
		}
	}
	return required(MissingBindingInformation,
		need{c.ClientID != "", OptionClientID}, need{c.BaseTime.present, OptionLQBaseTime})
}

// Check is the status with which to refuse one lease of an update (RFC 8156
// section 7.4, Q-49, Q-76). ia is what the lease came in, nil for a prefix
// without client.
func (l *LeaseOption) Check(ia *IA) Opt[Status] {
	status, start := l.BindingStatus, l.StartTimeOfState
	if ia != nil {
		status, start = ia.StatusOf(l), ia.StartOf(l)
	}
	s, ok := status.Get()
	if ok && !s.Valid() {
		return missing("%v does not exist", s)
	}
	timed := s == lease.Active
	return required(MissingBindingInformation,
		need{ok, OptionBindingStatus}, need{start.present, OptionStartTimeOfState},
		need{!timed || l.StateExpiration.present, OptionStateExpirationTime},
		need{!timed || l.PartnerLifetime.present, OptionPartnerLifetime})
}

// StatusOf is the binding-status of one of the leases of ia.
func (ia *IA) StatusOf(l *LeaseOption) Opt[lease.Status] {
	if l.BindingStatus.present {
		return l.BindingStatus
	}
	return ia.BindingStatus
}

// StartOf is since when one of the leases of ia has its binding-status.
func (ia *IA) StartOf(l *LeaseOption) Opt[Time] {
	if l.StartTimeOfState.present {
		return l.StartTimeOfState
	}
	return ia.StartTimeOfState
}

// A need is an option that must be there.
type need struct {
	met  bool
	code OptionCode
}

// required is the status for the first need that is not met.
func required(code StatusCode, needs ...need) Opt[Status] {
	for _, n := range needs {
		if !n.met {
			return Some(Status{code, fmt.Sprintf("%v is missing", n.code)})
		}
	}
	return Opt[Status]{}
}

func missing(text string, args ...any) Opt[Status] {
	return Some(Status{MissingBindingInformation, fmt.Sprintf(text, args...)})
}
