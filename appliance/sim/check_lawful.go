package sim

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/failover/wire"
	"github.com/tandem6/tandem6/storage"
)

// relation is one node's side of a pair, as it shows itself: what the checkers
// know of the state machine.
type relation struct {
	pair *pair
	node *node
	side int

	state   wire.ServerState // of the running process; 0: none runs
	entered time.Duration
	former  wire.ServerState // before it
	left    time.Duration    // when

	partner   wire.ServerState // as the partner's latest STATE says; 0: none
	heardOn   map[uint64]bool  // connections on which a STATE has come
	announced map[uint64]bool  // connections, and the C flag that was sent on each
	path      []milestone      // the states that it came through, the last ones
	promised  time.Duration    // when it last gave or extended a lease
	before    time.Duration    // likewise, before the running process started
	stopped   time.Duration    // when it last stopped with a record on its disk; 0: not known
	downSince time.Duration    // when it last entered PARTNER-DOWN

	conversation
}

// milestone is a state and when it began, by the server's clock.
type milestone struct {
	state wire.ServerState
	since lease.Time
	about bool // since may be a little off: it was not read from a record
}

// is reports whether m is a state that began at a time.
func (m milestone) is(state wire.ServerState, start wire.Time) bool {
	off := wire.At(m.since, m.since).Sub(start)
	return m.state == state && (off == 0 || m.about && max(off, -off) <= int64(skewTolerance/time.Second))
}

const pathMax = 64 // milestones that are remembered; a batch holds a few

func (r *relation) came(m milestone) {
	if len(r.path) == pathMax {
		r.path = append(r.path[:0], r.path[pathMax/2:]...)
	}
	r.path = append(r.path, m)
}

// arcs is the table of the RFC, chapters 8.3 to 8.12, read independently of the
// endpoint's: from each state the states that may follow, each with the partner's
// states in which it may. An empty list: the partner's state does not matter.
var arcs = map[wire.ServerState]map[wire.ServerState][]wire.ServerState{
	0: {startup: {}},
	startup: {
		interrupted: {}, partnerDown: {}, conflict: {}, recovering: {},
		recoverWait: {}, recoverDone: {}, resolution: {}, conflictDone: {},
	},
	partnerDown: {
		conflict:   {normal, interrupted, partnerDown, conflict, resolution, conflictDone}, // T-12
		normal:     {recoverDone},                                                          // T-14
		recovering: {},                                                                     // resync
	},
	recovering: {
		conflict:    {conflict, resolution, conflictDone}, // T-16
		recoverWait: {},                                   // T-19
		partnerDown: {},
	},
	recoverWait: {
		recoverDone: {},                                   // T-24
		conflict:    {conflict, resolution, conflictDone},
		partnerDown: {},
		recovering:  {},
	},
	recoverDone: {
		normal:      {normal, recoverDone},                // T-27
		interrupted: {recovering, recoverWait},            // T-28
		conflict:    {conflict, resolution, conflictDone}, // T-29, Q-13
		partnerDown: {},
		recovering:  {},
	},
	normal: {
		interrupted: {}, // T-35 to T-38
		partnerDown: {}, // T-34
		recovering:  {},
	},
	interrupted: {
		normal:      {normal, interrupted, recoverDone},                // T-45, T-46
		partnerDown: {},                                                // T-43, T-44
		conflict:    {partnerDown, conflict, conflictDone, resolution}, // T-48
		recovering:  {},
	},
	conflict: {
		conflictDone: {}, // T-51
		normal:       {}, // T-53
		resolution:   {}, // T-54, T-62
	},
	resolution: {
		conflict:    {}, // T-57
		partnerDown: {}, // T-56
	},
	conflictDone: {
		normal:      {normal},      // T-58
		conflict:    {partnerDown},
		partnerDown: {},
	},
}

// The states by shorter names.
const (
	startup      = wire.StateStartup
	normal       = wire.StateNormal
	interrupted  = wire.StateCommunicationsInterrupted
	partnerDown  = wire.StatePartnerDown
	conflict     = wire.StatePotentialConflict
	recovering   = wire.StateRecover
	recoverWait  = wire.StateRecoverWait
	recoverDone  = wire.StateRecoverDone
	resolution   = wire.StateResolutionInterrupted
	conflictDone = wire.StateConflictDone
)

// allowed reports what is wrong with a change of state.
func allowed(side int, from, to, partner wire.ServerState) string {
	partners, ok := arcs[from][to]
	switch {
	case !ok:
		return "the RFC knows no such transition"
	case to == conflictDone && side != primary && from == conflict:
		return "only a primary resolves first (T-51)"
	case from == conflict && to == normal && side != secondary:
		return "a primary goes to CONFLICT-DONE first (T-51)"
	case len(partners) == 0:
		return ""
	}
	for _, p := range partners {
		if p == partner {
			return ""
		}
	}
	return fmt.Sprintf("not while the partner is in %v", partner)
}

// heard follows the states that the engine tells of.
func (n *node) heard(e *trace.Event) {
	if e.ID != trace.FailoverState {
		return
	}
	for _, r := range n.relations {
		if r.pair.name == e.Relationship {
			r.changed(e.Text)
		}
	}
}

// changed takes the text "NEW, was OLD (row)".
func (r *relation) changed(text string) {
	n := r.node
	name, rest, _ := strings.Cut(text, ", was ")
	old, row, _ := strings.Cut(rest, " (")
	to, from := stateByName(name), stateByName(old)
	if to == startup {
		from = 0
	}
	if from != r.state {
		n.violate("lawful", "%s says that it leaves %v, but it was in %v (%s)", n.name, from, r.state, text)
	}
	if wrong := allowed(r.side, r.state, to, r.partner); wrong != "" {
		n.violate("lawful", "%s went from %v to %v: %s (%s", n.name, r.state, to, wrong, row)
	}
	r.waited(to)
	if to != startup {
		r.came(milestone{to, n.engineWall(), true})
	}
	n.tally.count("transition: " + short(r.state) + " -> " + short(to))
	n.tally.count("state: " + roles[r.side].String() + " in " + short(to))
	r.former, r.left = r.state, n.now
	r.state, r.entered = to, n.now
	r.pair.follow(r)
}

// records follows what is to be stored of the endpoints.
func (n *node) records(values []storage.Value) {
	for _, v := range values {
		for _, r := range n.relations {
			if v.Name == recordPrefix+r.pair.name {
				if m, ok := parseMilestone(v.Data); ok {
					r.came(m)
				}
			}
		}
	}
}

// waited watches the one wait that protects everybody: RECOVER-WAIT ends only
// when what this server promised before it failed has run out, or is known to
// its partner (section 8.6.2). What it promised since it knows itself.
func (r *relation) waited(to wire.ServerState) {
	n := r.node
	if r.state != recoverWait || to != recoverDone || r.before == 0 {
		return
	}
	if passed := n.now - r.before; passed < seconds(r.pair.mcltMin())-waitTolerance {
		n.violate("lawful", "%s left RECOVER-WAIT %v after it last promised something, MCLT is %d s", n.name, passed, r.pair.mcltMin())
	}
}

// waitTolerance is by how much a wait may be shorter that was measured by one
// clock in two lives: its skew twice, its drift, and whole seconds.
const waitTolerance = 10 * time.Second

// skewTolerance is by how much two clocks may differ unnoticed (section 7.1).
const skewTolerance = 5 * time.Second

var stateNames = func() map[string]wire.ServerState {
	m := map[string]wire.ServerState{}
	for s := startup; s <= conflictDone; s++ {
		m[s.String()] = s
	}
	return m
}()

func stateByName(name string) wire.ServerState { return stateNames[name] }

// short is a state's name for tables.
func short(s wire.ServerState) string {
	if s == 0 {
		return "off"
	}
	return s.String()
}

// announces watches a STATE as it leaves: it is stored, it began when it says,
// and what it says of former connections was so when the connection began.
func (r *relation) announces(e *end, m *wire.State) {
	n := r.node
	state, _ := m.ServerState.Get()
	start, _ := m.StartTime.Get()
	flags, _ := m.Flags.Get()
	if wrong := r.stored(state, start); wrong != "" {
		n.violate("lawful", "%s announces %v since %v, but %s", n.name, state, start, wrong)
	}
	if flags&wire.FlagStartup != 0 && r.stopped != 0 && !n.misled {
		if ended := trueDate(r.stopped); start.Sub(wire.At(ended, ended)) > int64(skewTolerance/time.Second) {
			n.violate("lawful", "%s, in STARTUP, announces that it has been in %v since %v, but it was not running from %v on", n.name, state, start, ended)
		}
	}
	remembers := flags&wire.FlagCommunicated != 0
	if before, ok := r.announced[e.id]; ok && before != remembers {
		n.violate("lawful", "%s changed the flag COMMUNICATED within connection %d", n.name, e.id)
	}
	if r.announced == nil {
		r.announced = map[uint64]bool{}
	}
	r.announced[e.id] = remembers
	if remembers && !r.heardBefore(e.id) {
		n.violate("lawful", "%s claims that it has communicated before connection %d, and has not", n.name, e.id)
	}
}

// stored says what is wrong with announcing a state: it is not on the disk, nor
// was it passed before what is on the disk. Several changes may share a batch.
func (r *relation) stored(state wire.ServerState, start wire.Time) string {
	disk, ok := parseMilestone(r.node.kept.values[recordPrefix+r.pair.name])
	if !ok {
		return "its disk knows of no state"
	}
	i := len(r.path) - 1
	for ; i >= 0 && r.path[i] != disk; i-- {
	}
	for ; i >= 0; i-- {
		if r.path[i].is(state, start) {
			return ""
		}
	}
	return fmt.Sprintf("on its disk it is in %v since %v", disk.state, disk.since)
}

func (r *relation) heardBefore(conn uint64) bool {
	for id := range r.heardOn {
		if id < conn {
			return true
		}
	}
	return false
}

// recordPrefix begins the name of the value that an endpoint stores.
const recordPrefix = "failover/"

// parseMilestone reads an endpoint's record: a version, then varints, of which
// the first is the state and the third when it began.
func parseMilestone(data []byte) (m milestone, ok bool) {
	if len(data) == 0 {
		return m, false
	}
	data = data[1:]
	var fields [3]int64
	for i := range fields {
		v, n := binary.Varint(data)
		if n <= 0 {
			return m, false
		}
		fields[i], data = v, data[n:]
	}
	return milestone{state: wire.ServerState(fields[0]), since: lease.Time(fields[2])}, true
}
