package failover

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// told lists the leases in the updates that the server sent since the last look,
// and accepts them all.
func (s *scene) told() (list []string) {
	s.Helper()
	for {
		s.pass(0)
		updates := all[*wire.BndUpd](s)
		if len(updates) == 0 {
			return list
		}
		for _, m := range updates {
			list = append(list, leasesOf(m)...)
		}
		for _, m := range updates {
			s.say(m.Reply())
		}
	}
}

// leasesOf names the leases of an update with their status.
func leasesOf(m *wire.BndUpd) (list []string) {
	if m.Prefix != nil {
		return []string{fmt.Sprintf("%v %v", m.Prefix.Prefix, value(m.Prefix.BindingStatus))}
	}
	for _, ia := range m.ClientData.IAs {
		for _, l := range ia.Leases {
			list = append(list, fmt.Sprintf("%v %v", l.Prefix, value(l.BindingStatus)))
		}
	}
	return list
}

// stocked is a server that does not send updates by itself: in POTENTIAL-CONFLICT,
// with ten leases, three of which the partner does not know.
func stocked(t *testing.T) (s *scene, unknown []string) {
	s = newScene(t, lease.Secondary, nil)
	s.reach(Normal)
	for n := range 7 {
		s.say(s.update(fmt.Sprintf("2001:db8::%d", 1+2*n), fmt.Sprint("client", n), lease.Active))
	}
	s.cut()
	for n := range 3 {
		p := fmt.Sprintf("2001:db8::1:%d", 2+2*n)
		s.give(p, fmt.Sprint("client", 10+n), 3600)
		unknown = append(unknown, p+"/128 ACTIVE")
	}
	s.meet(PotentialConflict)
	s.want(PotentialConflict)
	s.heard = nil
	return s, unknown
}

// F-022, F-024, F-034: UPDREQ brings what the partner has not confirmed, and UPDDONE,
// with the id of the request, after the last answer.
func TestUpdReq(t *testing.T) {
	s, unknown := stocked(t)
	req := &wire.UpdReq{Header: s.header()}
	s.say(req)
	updates := all[*wire.BndUpd](s)
	var got []string
	for _, m := range updates {
		got = append(got, leasesOf(m)...)
	}
	if !slices.Equal(got, unknown) {
		t.Fatalf("sent %v, want %v", got, unknown)
	}
	s.say(updates[2].Reply())
	s.say(refusing(updates[0], wire.AddressInUse)) // an answer too
	if heard := types(s.heard); len(heard) != 0 {
		t.Fatalf("%v before the last answer", heard)
	}
	s.say(updates[1].Reply())
	if done := one[*wire.UpdDone](s); done.TransactionID != req.TransactionID {
		t.Errorf("UPDDONE %v, want %v", done.TransactionID, req.TransactionID)
	}
}

// F-025: nothing to tell is told at once.
func TestUpdReqOfNothing(t *testing.T) {
	s := newScene(t, lease.Secondary, nil)
	s.reach(PotentialConflict)
	s.heard = nil
	for _, m := range []wire.Message{&wire.UpdReq{Header: s.header()}, &wire.UpdReqAll{Header: s.header()}} {
		s.say(m)
		if done := one[*wire.UpdDone](s); done.ID() != m.ID() {
			t.Errorf("UPDDONE %v, want %v", done.ID(), m.ID())
		}
	}
}

// F-023, F-024: UPDREQALL brings every lease, known to the partner or not.
func TestUpdReqAll(t *testing.T) {
	s, _ := stocked(t)
	req := &wire.UpdReqAll{Header: s.header()}
	s.say(req)
	updates := all[*wire.BndUpd](s)
	seen := map[string]bool{}
	for _, m := range updates {
		for _, l := range leasesOf(m) {
			seen[l] = true
		}
	}
	if len(seen) != 10 || len(updates) != 10 {
		t.Fatalf("%d leases in %d updates, want 10", len(seen), len(updates))
	}
	for _, m := range updates[1:] {
		s.say(m.Reply())
	}
	if heard := types(s.heard); len(heard) != 0 {
		t.Fatalf("%v before the last answer", heard)
	}
	s.say(updates[0].Reply())
	if done := one[*wire.UpdDone](s); done.TransactionID != req.TransactionID {
		t.Errorf("UPDDONE %v, want %v", done.TransactionID, req.TransactionID)
	}
}

// of what no client has, a partner that knows nothing needs to hear of the
// prefixes: not of addresses, whose owner follows from the address.
func TestUpdReqAllOfFreeLeases(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(Normal)
	s.say(s.update("2001:db8::1", "ann", lease.Active))
	s.say(s.update("2001:db8:8000:100::/56", "ann", lease.Active))
	s.keepAlive(10 * second)
	s.say(s.update("2001:db8::1", "ann", lease.Released))
	s.say(s.update("2001:db8:8000:100::/56", "ann", lease.Released))
	s.say(s.bare("2001:db8:8000:200::/56", lease.FreeBackup))
	s.heard = nil
	s.say(&wire.UpdReqAll{Header: s.header()})
	got, want := s.told(), []string{"2001:db8:8000:100::/56 FREE", "2001:db8:8000:200::/56 FREE-BACKUP"}
	if !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
}

// changes that come after the request do not delay its UPDDONE.
func TestUpdReqIsSnapshot(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(CommunicationsInterrupted)
	s.give("2001:db8::1", "ann", 3600)
	s.meet(Recover)
	s.want(CommunicationsInterrupted)
	s.say(&wire.UpdReq{Header: s.header()})
	first := one[*wire.BndUpd](s)
	s.give("2001:db8::3", "bob", 3600)
	s.pass(0)
	later := one[*wire.BndUpd](s)
	s.say(first.Reply())
	one[*wire.UpdDone](s)
	s.say(later.Reply())
	if len(s.heard) != 0 {
		t.Errorf("it sends %v", types(s.heard))
	}
}

// a request takes the place of an earlier one, of either kind. Only the last
// is answered, and what is on its way is not sent again for it.
func TestUpdReqAgain(t *testing.T) {
	s, unknown := stocked(t)
	s.say(&wire.UpdReq{Header: s.header()})
	updates := all[*wire.BndUpd](s)
	s.say(&wire.UpdReqAll{Header: s.header()})
	updates = append(updates, all[*wire.BndUpd](s)...)
	last := &wire.UpdReq{Header: s.header()}
	s.say(last)
	if again := all[*wire.BndUpd](s); len(updates) != len(unknown)+10 || len(again) != 0 {
		t.Errorf("%d updates, then %d", len(updates), len(again))
	}
	for _, m := range updates {
		s.say(m.Reply())
	}
	if done := one[*wire.UpdDone](s); done.TransactionID != last.TransactionID {
		t.Errorf("UPDDONE %v, want %v", done.TransactionID, last.TransactionID)
	}
}

// updates and requests are answered in every state in which the partner is there.
func TestRequestsInEveryState(t *testing.T) {
	for _, role := range roles {
		for st := Normal; st <= ConflictDone; st++ {
			if st == ResolutionInterrupted {
				continue
			}
			s := newScene(t, role, nil)
			s.withPartner(st, 0)
			s.say(s.update("2001:db8::1", "ann", lease.Active))
			if one[*wire.BndReply](s); s.t.Len() != 1 {
				t.Errorf("%v %v takes no updates", role, st)
			}
			s.say(&wire.UpdReq{Header: s.header()})
			one[*wire.UpdDone](s)
			s.say(&wire.UpdReqAll{Header: s.header()})
			if got := s.told(); len(got) != 1 {
				t.Errorf("%v %v tells %v", role, st, got)
			}
		}
	}
}

// F-023: a database that is larger than a step, or than the window, comes through in pieces of
// bounded size, each lease once.
func TestUpdReqAllOfMany(t *testing.T) {
	const many = 3*walkedPerStep + 100
	s := newScene(t, lease.Primary, nil)
	for n := range many {
		b := old(n)
		b.PartnerLifetime, b.AckedPartnerLifetime = b.Expires, b.Expires
		s.disk.leases[b.Prefix] = b
	}
	s.reach(PotentialConflict)
	s.heard = nil
	seen := map[string]int{}
	steps := func(step func()) { // and what the server sends in it is answered one by one
		before := len(s.heard)
		if step(); len(s.heard)-before > updatesPerStep {
			t.Fatalf("%d messages in one step", len(s.heard)-before)
		}
	}
	steps(func() { s.say(&wire.UpdReqAll{Header: s.header()}) })
	for done := false; !done; {
		switch {
		case len(s.heard) > 0:
			m := s.heard[0]
			s.heard = s.heard[1:]
			if m, ok := m.(*wire.BndUpd); ok {
				for _, l := range leasesOf(m) {
					seen[l]++
				}
				steps(func() { s.say(m.Reply()) })
			}
			_, done = m.(*wire.UpdDone)
		case s.e.WakeAt() <= s.now.Mono:
			steps(func() { s.do(s.e.Wake) })
		default:
			t.Fatal("no UPDDONE")
		}
	}
	if len(seen) != many {
		t.Errorf("%d leases told, want %d", len(seen), many)
	}
	for l, n := range seen {
		if n != 1 {
			t.Errorf("%s told %d times", l, n)
		}
	}
}

// F-024: UPDDONE does not come before the end of the walk, however little there is
// to tell on the way.
func TestUpdReqAllThroughADesert(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	for n := range 3 * walkedPerStep { // free addresses, of which nothing is told
		b := old(n)
		b.Status, b.Preferred, b.Valid, b.T1, b.T2, b.HeldUntil, b.Expires = lease.Freed(b.Prefix), 0, 0, 0, 0, 0, start+100_000
		s.disk.leases[b.Prefix] = b
	}
	last := delegable(1)
	s.disk.leases[last] = &lease.Binding{Prefix: last, IA: lease.IA{Link: "lan", Type: lease.IAPD}, Status: lease.FreeBackup, StartOfState: start - 1000}
	s.reach(PotentialConflict)
	s.heard = nil
	s.say(&wire.UpdReqAll{Header: s.header()})
	for len(s.heard) == 0 && s.e.WakeAt() <= s.now.Mono {
		s.do(s.e.Wake)
	}
	m := one[*wire.BndUpd](s)
	s.say(m.Reply())
	s.pass(0)
	one[*wire.UpdDone](s)
}

// A secondary that asks for everything does not believe any more that prefixes
// are its own: its partner says which are.
func TestDisown(t *testing.T) {
	s := newScene(t, lease.Secondary, nil)
	s.reach(Normal)
	s.say(s.bare("2001:db8:8000:100::/56", lease.FreeBackup))
	s.say(s.bare("2001:db8:8000:200::/56", lease.FreeBackup))
	s.order(Resync)
	one[*wire.UpdReqAll](s)
	if n := s.t.Count(lease.FreeBackup); n != 0 {
		t.Errorf("%d prefixes are still its own", n)
	}
	s.say(s.bare("2001:db8:8000:200::/56", lease.FreeBackup))
	if n := s.t.Count(lease.FreeBackup); n != 1 {
		t.Errorf("%d prefixes are its own, want 1", n)
	}
	s.whole()
}
