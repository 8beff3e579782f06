package failover

import (
	"fmt"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// loaded is a server that has changes of n clients to tell, and a partner that
// takes so many updates without an answer.
func loaded(t *testing.T, role lease.Role, n int, unacked uint32) *scene {
	s := newScene(t, role, nil)
	s.reach(CommunicationsInterrupted)
	for i := range n {
		address := 2*i + int(role) // odd ones are the primary's
		s.give(fmt.Sprintf("2001:db8::%x:%x", address>>16, address&0xffff), fmt.Sprint("client", i), 3600)
	}
	if role == lease.Primary {
		m := s.connectReply(s.dialed())
		m.MaxUnackedBndUpd = wire.Some(unacked)
		s.say(m)
	} else {
		m := s.connectMessage()
		m.MaxUnackedBndUpd = wire.Some(unacked)
		s.accept(m)
	}
	return s
}

// F-032, F-081, F-082, F-324, Q-57: never more BNDUPDs are on their way than the partner takes,
// each with a transaction-id of its own. A refusal is an answer.
func TestWindow(t *testing.T) {
	const clients = 100
	for _, role := range roles {
		for _, unacked := range []uint32{1, 2, 7, 99, 100, 101} {
			t.Run(fmt.Sprintf("%v %d", role, unacked), func(t *testing.T) {
				s := loaded(t, role, clients, unacked)
				s.state(Normal, 0)
				flight, told := []*wire.BndUpd{}, map[lease.DUID]bool{}
				for n := 0; ; n++ {
					s.pass(0)
					flight = append(flight, all[*wire.BndUpd](s)...)
					if len(flight) == 0 {
						break
					}
					if len(flight) > int(unacked) {
						t.Fatalf("%d updates are on their way", len(flight))
					}
					if want := min(int(unacked), clients-len(told)); len(flight) != want {
						t.Fatalf("%d updates are on their way, there is room for %d", len(flight), want)
					}
					ids := map[wire.TransactionID]bool{}
					for _, m := range flight {
						ids[m.TransactionID] = true
					}
					if len(ids) != len(flight) {
						t.Fatalf("%d updates have %d transaction-ids", len(flight), len(ids))
					}
					m := flight[n*7%len(flight)] // in any order
					flight = remove(flight, m)
					told[m.ClientData.ClientID] = true
					if n%10 == 3 {
						s.say(refusing(m, wire.AddressInUse))
					} else {
						s.say(m.Reply())
					}
				}
				if len(told) != clients {
					t.Errorf("%d clients were told of, want %d", len(told), clients)
				}
			})
		}
	}
}

func remove(list []*wire.BndUpd, m *wire.BndUpd) []*wire.BndUpd {
	var rest []*wire.BndUpd
	for _, x := range list {
		if x != m {
			rest = append(rest, x)
		}
	}
	return rest
}

// a full window holds up updates and nothing else, and a new connection
// begins with an empty one.
func TestFullWindow(t *testing.T) {
	s := loaded(t, lease.Secondary, 3, 1)
	s.state(Normal, 0)
	first := one[*wire.BndUpd](s)
	s.say(s.bare("2001:db8:8000:100::/56", lease.FreeBackup))
	one[*wire.BndReply](s)
	s.say(&wire.UpdReq{Header: s.header()})
	s.keepAlive(15 * second)
	one[*wire.Contact](s)
	s.state(Recover, 0)
	one[*wire.State](s)
	s.cut()
	s.meet(Normal)
	if list := all[*wire.BndUpd](s); len(list) != 3 || list[0].ClientData.ClientID != first.ClientData.ClientID {
		t.Errorf("%d updates on the next connection, which takes 100", len(list))
	}
}

// A partner that claims to take any number of updates gets no more than
// MaxUnackedMax, and not all at once: clients are served meanwhile.
func TestWindowWithoutEnd(t *testing.T) {
	s := loaded(t, lease.Primary, MaxUnackedMax+500, 1<<32-1)
	s.state(Normal, 0)
	for n := 0; n <= MaxUnackedMax; {
		list := all[*wire.BndUpd](s)
		if len(list) > updatesPerStep {
			t.Fatalf("%d updates in one step", len(list))
		}
		if n += len(list); len(list) == 0 {
			if n != MaxUnackedMax {
				t.Errorf("%d updates on their way, want %d", n, MaxUnackedMax)
			}
			return
		}
		s.do(s.e.Wake)
	}
	t.Errorf("more than %d updates are on their way", MaxUnackedMax)
}

// F-031, F-032, F-033: no transaction-id is used by two at a time, and that of a
// request not before its UPDDONE, even when the counter has come round.
func TestTransactionIDs(t *testing.T) {
	s := loaded(t, lease.Primary, 3, 100)
	s.state(PotentialConflict, 0)
	request := one[*wire.UpdReq](s)
	s.say(&wire.UpdReqAll{Header: s.header()})
	taken := map[wire.TransactionID]bool{request.TransactionID: true}
	for _, m := range all[*wire.BndUpd](s) {
		taken[m.TransactionID] = true
	}
	if len(taken) != 4 {
		t.Fatalf("4 messages have the ids %v", taken)
	}
	s.e.session.lastID = wire.TransactionIDMax - 2 // 2^24 messages later
	for range 6 {
		s.pass(15 * second)
		id := one[*wire.Contact](s).TransactionID
		if taken[id] || id > wire.TransactionIDMax {
			t.Errorf("CONTACT has the id %v", id)
		}
		s.state(PotentialConflict, 0)
	}
	s.say(&wire.UpdDone{Header: answering(request)})
	s.e.session.lastID = request.TransactionID - 1
	s.heard = nil
	s.pass(15 * second)
	if id := one[*wire.Contact](s).TransactionID; id != request.TransactionID {
		t.Errorf("the id %v is free again, used is %v", request.TransactionID, id)
	}
}
