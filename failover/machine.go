package failover

import (
	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// State is the state of an endpoint (RFC 8156 section 8).
type State = wire.ServerState

// The states, by shorter names.
const (
	Startup                   = wire.StateStartup
	Normal                    = wire.StateNormal
	CommunicationsInterrupted = wire.StateCommunicationsInterrupted
	PartnerDown               = wire.StatePartnerDown
	PotentialConflict         = wire.StatePotentialConflict
	Recover                   = wire.StateRecover
	RecoverWait               = wire.StateRecoverWait
	RecoverDone               = wire.StateRecoverDone
	ResolutionInterrupted     = wire.StateResolutionInterrupted
	ConflictDone              = wire.StateConflictDone
)

// cause is what makes the state machine run.
type cause uint8

const (
	contact   cause = iota // the partner's first STATE of a connection: communications are OK
	news                   // a later STATE with another state
	entry                  // this server's own state has changed while communications are OK
	cut                    // communications are not OK any more
	updated                // UPDDONE for the request of this server
	timeout                // the timer of the state has ended
	order                  // the operator says that the partner is down
	orderSure              // the same, with force
	resync                 // the operator distrusts what is stored here
)

// states is a set of states.
type states uint16

func set(list ...State) (s states) {
	for _, st := range list {
		s |= 1 << st
	}
	return s
}

func (s states) has(st State) bool { return s&(1<<st) != 0 }

// transition is one row of the table: in state from, for cause on, the next
// state is to.
type transition struct {
	id      string // of the project's checklist: T-nn
	from    State
	on      []cause
	role    lease.Role // 0: either
	partner states     // in which the partner must be; 0: any
	to      State
	section string // of RFC 8156, or the decision Q-nn where the RFC is silent
}

// previous as a goal means the state in which the server stopped.
const previous State = 0

var (
	meet    = []cause{contact, news, entry}
	lost    = []cause{cut}
	force   = []cause{orderSure}
	partner = []cause{order, orderSure}
)

// transitions is the state machine. Rows of one state are tried in order; no
// row means that the state stays. The figure in DESIGN.md is made from this
// table. What a server does inside a state is with the states themselves
// (enter, met).
var transitions = []transition{
	{"T-09", Startup, []cause{timeout}, 0, 0, previous, "8.3.2"},
	{"T-06", Startup, []cause{contact}, 0, 0, previous, "8.3.2"},

	{"T-12", PartnerDown, meet, 0, set(Normal, CommunicationsInterrupted, PartnerDown, PotentialConflict, ResolutionInterrupted, ConflictDone), PotentialConflict, "8.4.2"},
	{"T-14", PartnerDown, meet, 0, set(RecoverDone), Normal, "8.4.2"},
	{"Q-73", PartnerDown, []cause{resync}, 0, 0, Recover, "Q-73"},

	{"T-16", Recover, meet, 0, set(PotentialConflict, ResolutionInterrupted, ConflictDone), PotentialConflict, "8.5.2"},
	{"T-19", Recover, []cause{updated}, 0, 0, RecoverWait, "8.5.2"},
	{"Q-20", Recover, force, 0, 0, PartnerDown, "Q-20"},

	{"T-26", RecoverWait, meet, 0, set(PotentialConflict, ResolutionInterrupted, ConflictDone), PotentialConflict, "Q-15"},
	{"T-24", RecoverWait, []cause{timeout}, 0, 0, RecoverDone, "8.6.2"},
	{"Q-20", RecoverWait, force, 0, 0, PartnerDown, "Q-20"},
	{"Q-73", RecoverWait, []cause{resync}, 0, 0, Recover, "Q-73"},

	{"T-27", RecoverDone, meet, 0, set(Normal, RecoverDone), Normal, "8.7.2"},
	{"T-28", RecoverDone, meet, 0, set(Recover, RecoverWait), CommunicationsInterrupted, "8.7.2"},
	{"T-29", RecoverDone, meet, 0, set(PotentialConflict), PotentialConflict, "8.7.2"},
	{"T-30", RecoverDone, meet, 0, set(ResolutionInterrupted, ConflictDone), PotentialConflict, "Q-13"},
	{"Q-20", RecoverDone, force, 0, 0, PartnerDown, "Q-20"},
	{"Q-73", RecoverDone, []cause{resync}, 0, 0, Recover, "Q-73"},

	{"T-35", Normal, lost, 0, 0, CommunicationsInterrupted, "8.8.2"},
	{"T-38", Normal, meet, 0, set(PartnerDown, PotentialConflict, ResolutionInterrupted, Recover, RecoverWait), CommunicationsInterrupted, "8.8.2"},
	{"T-38", Normal, meet, lease.Primary, set(ConflictDone), CommunicationsInterrupted, "Q-16"},
	{"T-34", Normal, force, 0, 0, PartnerDown, "8.8.2"},
	{"Q-73", Normal, []cause{resync}, 0, 0, Recover, "Q-73"},

	{"T-45", CommunicationsInterrupted, meet, 0, set(Normal, CommunicationsInterrupted), Normal, "8.9.2"},
	{"T-46", CommunicationsInterrupted, meet, 0, set(RecoverDone), Normal, "8.9.2"},
	{"T-48", CommunicationsInterrupted, meet, 0, set(PartnerDown, PotentialConflict, ConflictDone, ResolutionInterrupted), PotentialConflict, "8.9.2"},
	{"T-43", CommunicationsInterrupted, []cause{timeout}, 0, 0, PartnerDown, "8.9.2"},
	{"T-44", CommunicationsInterrupted, partner, 0, 0, PartnerDown, "8.9.2"},
	{"Q-73", CommunicationsInterrupted, []cause{resync}, 0, 0, Recover, "Q-73"},

	{"T-51", PotentialConflict, []cause{updated}, lease.Primary, 0, ConflictDone, "8.10.2"},
	{"T-53", PotentialConflict, []cause{updated}, lease.Secondary, 0, Normal, "8.10.2"},
	{"T-54", PotentialConflict, lost, 0, 0, ResolutionInterrupted, "8.10.2"},

	{"T-57", ResolutionInterrupted, meet, 0, 0, PotentialConflict, "8.11.2"},
	{"T-56", ResolutionInterrupted, partner, 0, 0, PartnerDown, "8.11.2"},

	{"T-58", ConflictDone, meet, 0, set(Normal), Normal, "8.12.2"},
	{"T-61", ConflictDone, meet, 0, set(PartnerDown), PotentialConflict, "Q-17"},
	{"Q-17", ConflictDone, force, 0, 0, PartnerDown, "Q-17"},
}

// The ways out of STARTUP that depend on more than the table knows.
var (
	wasGone   = transition{"T-07", Startup, []cause{contact}, 0, set(PartnerDown), Recover, "8.3.2"}           // when the partner became alone
	wasThere  = transition{"T-08", Startup, []cause{contact}, 0, set(PartnerDown), PotentialConflict, "8.3.2"} // this server was serving then
	metNobody = transition{"T-10", Startup, []cause{timeout}, 0, 0, PartnerDown, "8.3.2"}                      // if the operator wants it
)

// next finds the row for a cause, or nil when the state stays.
func next(own State, on cause, role lease.Role, partner State) *transition {
	for i := range transitions {
		t := &transitions[i]
		if t.from == own && t.is(on) && (t.role == 0 || t.role == role) && (t.partner == 0 || t.partner.has(partner)) {
			return t
		}
	}
	return nil
}

func (t *transition) is(on cause) bool {
	for _, c := range t.on {
		if c == on {
			return true
		}
	}
	return false
}

// legal reports whether there is a way from one state to another in one step.
// Startup leads back to every state in which a server can have stopped.
func legal(from, to State) bool {
	if from == Startup {
		return to != Startup && to != Normal
	}
	for i := range transitions {
		if transitions[i].from == from && transitions[i].to == to {
			return true
		}
	}
	return false
}
