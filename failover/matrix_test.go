package failover

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// partners are the columns of the matrix.
var partners = [9]State{
	Normal, CommunicationsInterrupted, PartnerDown, PotentialConflict, ResolutionInterrupted, ConflictDone, Recover, RecoverWait, RecoverDone,
}

// way is the states through which an endpoint goes, one after the other.
type way []State

// The ways of the matrix. stay is the shortest.
var (
	stay   = way{}
	toNOR  = way{Normal}
	toCI   = way{CommunicationsInterrupted}
	toPC   = way{PotentialConflict}
	toCIPC = way{CommunicationsInterrupted, PotentialConflict}
)

// matrix says where an endpoint goes when it is in contact with a partner that is
// in a state: RFC 8156 sections 8.4 to 8.12, with the decisions
// where they are silent. One cell departs from Q-16: NORMAL stays when the
// partner says COMMUNICATIONS-INTERRUPTED. Each server that left would make the
// other one leave, for ever.
var matrix = []struct {
	own  State
	role lease.Role // 0: both
	ways [9]way
}{
	//                                  NOR    CI     PD      PC      RI      CD      REC   RW    RD
	{Normal, lease.Primary, [9]way{stay, stay, toCIPC, toCIPC, toCIPC, toCIPC, toCI, toCI, stay}},
	{Normal, lease.Secondary, [9]way{stay, stay, toCIPC, toCIPC, toCIPC, stay, toCI, toCI, stay}},
	{CommunicationsInterrupted, 0, [9]way{toNOR, toNOR, toPC, toPC, toPC, toPC, stay, stay, toNOR}},
	{PartnerDown, 0, [9]way{toPC, toPC, toPC, toPC, toPC, toPC, stay, stay, toNOR}},
	{PotentialConflict, 0, [9]way{stay, stay, stay, stay, stay, stay, stay, stay, stay}},
	{ResolutionInterrupted, 0, [9]way{toPC, toPC, toPC, toPC, toPC, toPC, toPC, toPC, toPC}},
	{ConflictDone, 0, [9]way{toNOR, stay, toPC, stay, stay, stay, stay, stay, stay}},
	{Recover, 0, [9]way{stay, stay, stay, toPC, toPC, toPC, stay, stay, stay}},
	{RecoverWait, 0, [9]way{stay, stay, stay, toPC, toPC, toPC, stay, stay, stay}},
	{RecoverDone, 0, [9]way{toNOR, stay, stay, toPC, toPC, toPC, toCI, toCI, toNOR}},
}

// cell finds a way in the matrix.
func cell(own State, role lease.Role, partner State) way {
	for _, row := range matrix {
		if row.own == own && (row.role == 0 || row.role == role) {
			return row.ways[slices.Index(partners[:], partner)]
		}
	}
	panic(fmt.Sprintf("no row for %v", own))
}

// F-127, F-134, F-276 to F-279, F-297 to F-301, F-304, F-320 to F-322, F-330, F-341 to F-344, F-359, F-362:
// every own state against every state of the partner, in both roles. The partner
// is there when the connection begins, or it changes its state later, or the
// server itself has come into its state while it is connected.
func TestMatrix(t *testing.T) {
	for _, row := range matrix {
		for _, role := range []lease.Role{lease.Primary, lease.Secondary} {
			if row.role != 0 && row.role != role {
				continue
			}
			for i, partner := range partners {
				name := fmt.Sprintf("%v %v, partner %v", role, row.own, partner)
				t.Run(name+"/contact", func(t *testing.T) { testContact(t, role, row.own, partner, row.ways[i]) })
				t.Run(name+"/news", func(t *testing.T) { testNews(t, role, row.own, partner, row.ways[i]) })
				t.Run(name+"/entry", func(t *testing.T) { testEntry(t, role, row.own, partner, row.ways[i]) })
			}
		}
	}
}

// testContact: a connection begins, and the partner is in a state.
func testContact(t *testing.T, role lease.Role, own, partner State, want way) {
	s := newScene(t, role, nil)
	s.reach(own)
	if own == Normal || own == PotentialConflict { // these end with the connection: T-35, T-54
		s.cut()
		if s.e.state == own {
			t.Fatalf("%v without a partner", own)
		}
		return
	}
	s.connect()
	if st := one[*wire.State](s); st.ServerState != wire.Some(own) || has(st, wire.FlagStartup) {
		t.Fatalf("%v is announced as %v %v", own, st.ServerState, st.Flags)
	}
	s.turns = nil
	s.state(partner, 0)
	s.wantWay(own, want)
	s.wantRequest(partner)
}

// testNews: the partner was in a state that suits, and changes it.
func testNews(t *testing.T, role lease.Role, own, partner State, want way) {
	s := newScene(t, role, nil)
	if own == ResolutionInterrupted { // it ends with the first contact: T-57
		s.reach(own)
		s.meet(partner)
		s.want(PotentialConflict)
		return
	}
	s.withPartner(own, partner)
	asked := s.e.session.request != nil
	s.state(partner, 0)
	s.wantWay(own, want)
	if !asked {
		s.wantRequest(partner)
	}
}

// testEntry: the state begins while the partner is in one. Most ways into a state
// leave the partner in few others, so the state is put in by hand here.
func testEntry(t *testing.T, role lease.Role, own, partner State, want way) {
	s := newScene(t, role, nil)
	s.reach(ResolutionInterrupted)
	s.meet(partner)
	s.do(func(now lease.Clock, out *Output) {
		s.e.begin(now, out)
		s.e.session.request = nil
		s.e.state, s.e.record.State = own, own
		s.heard, s.turns = nil, nil
		s.e.run(entry)
		s.e.end()
	})
	s.wantWay(own, want)
	s.wantRequest(partner)
}

// wantWay checks through which states the server has gone, that the last one is
// on disk, and that the partner was told of each (F-127, F-276, F-277).
func (s *scene) wantWay(from State, want way) {
	s.Helper()
	got := way{}
	for _, turn := range s.turns {
		got = append(got, turn.to)
	}
	if !slices.Equal(got, want) {
		s.Fatalf("it went %v, want %v", got, want)
	}
	var told way
	for _, m := range s.heard {
		if m, ok := m.(*wire.State); ok {
			st, _ := m.ServerState.Get()
			told = append(told, st)
		}
	}
	if !slices.Equal(told, want) {
		s.Errorf("it told of %v, want %v", told, want)
	}
	last := from
	if len(want) > 0 {
		last = want[len(want)-1]
	}
	if r, err := parseRecord(s.disk.record); len(want) > 0 && (err != nil || r.State != last) {
		s.Errorf("on disk is %v (%v), want %v", r.State, err, last)
	}
	s.want(last)
}

// wantRequest checks that the server asks the partner for updates if, and only
// if, its state has a use for them.
func (s *scene) wantRequest(partner State) {
	s.Helper()
	want := 0
	switch s.e.state {
	case Recover: // T-17
		want = 1
	case PotentialConflict: // T-49, T-52
		if s.cfg.Role == lease.Primary || partner == ConflictDone {
			want = 1
		}
	}
	if list := all[*wire.UpdReq](s); len(list) != want {
		s.Errorf("%d UPDREQ in %v, want %d", len(list), s.e.state, want)
	}
}

// F-138, F-297, Q-09: a STATE with the STARTUP flag moves nobody, nor does one
// that says what was said before.
func TestNoTransition(t *testing.T) {
	for _, role := range []lease.Role{lease.Primary, lease.Secondary} {
		for _, own := range partners {
			if own == ResolutionInterrupted {
				continue // has no partner
			}
			for _, partner := range partners {
				t.Run(fmt.Sprintf("%v %v, partner %v", role, own, partner), func(t *testing.T) {
					s := newScene(t, role, nil)
					s.withPartner(own, 0)
					s.state(partner, wire.FlagStartup)
					s.wantWay(own, stay)
				})
			}
			t.Run(fmt.Sprintf("%v %v, twice", role, own), func(t *testing.T) {
				s := newScene(t, role, nil)
				s.withPartner(own, 0)
				s.state(s.e.record.Partner, 0)
				s.wantWay(own, stay)
			})
		}
	}
}

// F-290, F-291, F-292: what becomes of a server that starts, by what it was and
// what its partner is. A partner that is alone since this server's last operation
// makes it recover; one that was alone before makes both doubt.
func TestStartupMatrix(t *testing.T) {
	for _, role := range []lease.Role{lease.Primary, lease.Secondary} {
		for _, was := range partners {
			back := was // T-03
			switch was {
			case Normal:
				back = CommunicationsInterrupted
			case PotentialConflict:
				back = ResolutionInterrupted
			}
			for _, partner := range partners {
				for _, startup := range []wire.ServerFlags{0, wire.FlagStartup} {
					t.Run(fmt.Sprintf("%v %v, partner %v %v", role, was, partner, startup), func(t *testing.T) {
						s := newScene(t, role, nil)
						s.wakeUp(lived(was))
						s.connect()
						if st := one[*wire.State](s); st.ServerState != wire.Some(back) || !has(st, wire.FlagStartup) {
							t.Fatalf("STARTUP is announced as %v %v", st.ServerState, st.Flags)
						}
						s.turns = nil
						s.state(partner, startup) // in it since start, ten seconds after the last operation
						var want way
						switch {
						case partner == PartnerDown: // T-07
							want = way{Recover}
						case startup != 0: // it will say what it is in when it is out of STARTUP
							want = way{back}
						default:
							want = append(way{back}, cell(back, role, partner)...)
						}
						s.wantWay(back, want)
					})
				}
			}
			t.Run(fmt.Sprintf("%v %v, partner PARTNER-DOWN before", role, was), func(t *testing.T) {
				r := lived(was)
				r.Stamp = start + 6 // T-08: it has operated while the partner was alone
				s := newScene(t, role, nil)
				s.now.Wall += 20
				s.wakeUp(r)
				s.turns = nil
				s.meet(PartnerDown)
				s.want(PotentialConflict)
			})
		}
	}
}

func has(m *wire.State, flag wire.ServerFlags) bool {
	flags, _ := m.Flags.Get()
	return flags&flag != 0
}
