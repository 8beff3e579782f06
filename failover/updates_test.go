package failover

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/failover/wire"
)

// at is a time of the wire in these tests, some an option that holds one.
func at(t lease.Time) wire.Time             { return wire.At(t, start) }
func some(t lease.Time) wire.Opt[wire.Time] { return wire.Some(at(t)) }

// F-016, F-017, F-035, F-036, F-040, F-053, F-192 to F-195, F-197, F-199 to F-212, F-214 to F-216, F-218,
// F-219, Q-45, Q-48, Q-49: what a BNDUPD holds, octet for octet, for each
// binding-status, and that one follows each change. F-196, F-213: RFC 6607 is not
// supported here, so there is no VPN to name but the default one.
func TestUpdateMessage(t *testing.T) {
	const address, delegated = "2001:db8::1", "2001:db8:8000:100::/56"
	s := newScene(t, lease.Primary, nil)
	s.reach(Normal)
	began := s.now.Wall

	// wants checks the one BNDUPD that was sent, and has the partner accept it.
	wants := func(want *wire.BndUpd) {
		t.Helper()
		s.pass(0)
		got := one[*wire.BndUpd](s)
		want.Header = got.Header
		if !same(got, want) {
			t.Fatalf("the server sends\n%+v\nwant\n%+v", got, want)
		}
		s.say(got.Reply())
	}
	client := func(name string, typ lease.IAType, t1, t2 uint32, l wire.LeaseOption) *wire.BndUpd {
		return &wire.BndUpd{ClientData: &wire.ClientData{
			ClientID: lease.DUID("\x00\x02" + name), BaseTime: some(s.now.Wall),
			IAs: []wire.IA{{Type: typ, IAID: 1, T1: t1, T2: t2, Leases: []wire.LeaseOption{l}}},
		}}
	}

	s.give(address, "ann", 86400)
	wants(client("ann", lease.IANA, 1800, 2880, wire.LeaseOption{
		Prefix: prefix(address), Preferred: 3600, Valid: 3600,
		BindingStatus: wire.Some(lease.Active), StartTimeOfState: some(began), StateExpiration: some(began + 3600),
		CLTTime: wire.Some[uint32](0), PartnerLifetime: some(began + 1800 + 86400), Expiration: some(0),
	}))

	s.keepAlive(100 * second) // the partner renews, which this server confirms
	theirs := s.now.Wall
	s.say(s.update(address, "ann", lease.Active))
	s.keepAlive(100 * second)
	renewed := s.now.Wall
	s.heard = nil
	s.give(address, "ann", 86400)
	wants(client("ann", lease.IANA, 43200, 69120, wire.LeaseOption{
		Prefix: prefix(address), Preferred: 86400, Valid: 86400,
		BindingStatus: wire.Some(lease.Active), StartTimeOfState: some(theirs), StateExpiration: some(renewed + 86400),
		CLTTime: wire.Some[uint32](0), PartnerLifetime: some(renewed + 43200 + 86400), Expiration: some(theirs + 1800 + 86400),
		PartnerRawCLT: some(theirs),
	}))

	s.keepAlive(50 * second)
	s.heard = nil
	s.end(address, lease.Released)
	wants(client("ann", lease.IANA, 0, 0, wire.LeaseOption{
		Prefix: prefix(address), BindingStatus: wire.Some(lease.Released), StartTimeOfState: some(s.now.Wall),
		CLTTime: wire.Some[uint32](0), PartnerRawCLT: some(theirs),
	}))

	s.give(delegated, "bob", 60)
	lastSeen := s.now.Wall
	s.pass(0)
	s.say(one[*wire.BndUpd](s).Reply())
	s.keepAlive((60 + expiryGrace - 1) * second)
	s.heard = nil
	s.pass(second)
	ended := s.now.Wall
	wants(client("bob", lease.IAPD, 0, 0, wire.LeaseOption{
		Prefix: prefix(delegated), BindingStatus: wire.Some(lease.Expired), StartTimeOfState: some(ended),
		CLTTime: wire.Some(uint32(ended - lastSeen)), // not the moment of expiry
	}))

	s.give("2001:db8::3", "eve", 60)
	s.pass(0)
	s.say(one[*wire.BndUpd](s).Reply())
	acked := s.t.Get(prefix("2001:db8::3")).PartnerLifetime
	s.end("2001:db8::3", lease.Abandoned)
	wants(client("eve", lease.IANA, 0, 0, wire.LeaseOption{
		Prefix: prefix("2001:db8::3"), BindingStatus: wire.Some(lease.Abandoned), StartTimeOfState: some(s.now.Wall),
		StateExpiration: some(s.now.Wall + quarantine_s), PartnerLifetime: some(max(acked, s.now.Wall+quarantine_s)), Expiration: some(0),
		CLTTime: wire.Some[uint32](0),
	}))
	s.keepAlive(10 * second)
	s.heard = nil
	s.end("2001:db8::3", lease.Reset)
	wants(client("eve", lease.IANA, 0, 0, wire.LeaseOption{
		Prefix: prefix("2001:db8::3"), BindingStatus: wire.Some(lease.Reset), StartTimeOfState: some(s.now.Wall), CLTTime: wire.Some[uint32](10),
	}))
}

// F-016, F-192, Q-53: all leases of an identity association travel together; those
// of another one, or of another client, do not.
func TestUpdateHoldsOneIA(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(CommunicationsInterrupted)
	for n := range 3 {
		s.give(fmt.Sprintf("2001:db8::%d", 1+2*n), "ann", 60)
	}
	s.give("2001:db8:8000:100::/56", "ann", 60)
	s.give("2001:db8::11", "bob", 60)
	s.meet(Normal)
	var got []string
	for _, m := range all[*wire.BndUpd](s) {
		for _, ia := range m.ClientData.IAs {
			got = append(got, fmt.Sprintf("%s %v %d", name(m.ClientData.ClientID), ia.Type, len(ia.Leases)))
		}
	}
	if want := []string{"ann IA_NA 3", "ann IA_PD 1", "bob IA_NA 1"}; !slices.Equal(got, want) {
		t.Errorf("updates %q, want %q", got, want)
	}
}

// Only an association that is too large for a message is cut, and no lease of it
// is lost.
func TestUpdateOfManyLeases(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(CommunicationsInterrupted)
	const many = 2*leasesPerUpdate + 10
	for n := range many {
		s.give(fmt.Sprintf("2001:db8::%x", 1+2*n), "ann", 600)
	}
	s.meet(Normal)
	seen := map[string]bool{}
	for list := all[*wire.BndUpd](s); len(list) > 0; list = all[*wire.BndUpd](s) {
		for _, m := range list {
			if n := len(m.ClientData.IAs[0].Leases); n > leasesPerUpdate {
				t.Errorf("%d leases in one update", n)
			}
			for _, l := range m.ClientData.IAs[0].Leases {
				seen[l.Prefix.String()] = true
			}
			s.say(m.Reply())
		}
		s.pass(0)
	}
	if len(seen) != many || s.e.Status().Unconfirmed != 0 {
		t.Errorf("%d leases were sent, %d are unconfirmed", len(seen), s.e.Status().Unconfirmed)
	}
}

// an address that no client ever had cannot be expressed.
func TestUpdateWithoutClient(t *testing.T) {
	s := newScene(t, lease.Primary, nil)
	s.reach(Normal)
	s.heard = nil
	b := &lease.Binding{Prefix: prefix("2001:db8::1"), IA: lease.IA{Link: "lan", Type: lease.IANA}, Status: lease.Abandoned, StartOfState: start}
	s.e.End(b)
	s.write(b)
	s.pass(0)
	if len(s.heard) != 0 {
		t.Errorf("it sends %v", types(s.heard))
	}
}

// lacks are updates that lack something, or say what cannot be.
var lacks = []struct {
	name   string
	change func(*wire.BndUpd)
	where  string // of the status in the answer
	want   wire.StatusCode
}{
	{"nothing", func(m *wire.BndUpd) {}, "", wire.Success},
	{"both forms", func(m *wire.BndUpd) { m.Prefix = only(m) }, "message", wire.MissingBindingInformation},
	{"neither form", func(m *wire.BndUpd) { m.ClientData = nil }, "message", wire.MissingBindingInformation},
	{"the client", func(m *wire.BndUpd) { m.ClientData.ClientID = "" }, "client", wire.MissingBindingInformation},
	{"the base time", func(m *wire.BndUpd) { m.ClientData.BaseTime = wire.Opt[wire.Time]{} }, "client", wire.MissingBindingInformation},
	{"an association", func(m *wire.BndUpd) { m.ClientData.IAs = nil }, "client", wire.MissingBindingInformation},
	{"a lease", func(m *wire.BndUpd) { m.ClientData.IAs[0].Leases = nil }, "client", wire.MissingBindingInformation},
	{"the binding-status", func(m *wire.BndUpd) { only(m).BindingStatus = wire.Opt[lease.Status]{} }, "lease", wire.MissingBindingInformation},
	{"a known binding-status", func(m *wire.BndUpd) { only(m).BindingStatus = wire.Some[lease.Status](9) }, "lease", wire.MissingBindingInformation},
	{"a binding-status above 0", func(m *wire.BndUpd) { only(m).BindingStatus = wire.Some[lease.Status](0) }, "lease", wire.MissingBindingInformation},
	{"the start time", func(m *wire.BndUpd) { only(m).StartTimeOfState = wire.Opt[wire.Time]{} }, "lease", wire.MissingBindingInformation},
	{"the expiration", func(m *wire.BndUpd) { only(m).StateExpiration = wire.Opt[wire.Time]{} }, "lease", wire.MissingBindingInformation},
	{"the partner-lifetime", func(m *wire.BndUpd) { only(m).PartnerLifetime = wire.Opt[wire.Time]{} }, "lease", wire.MissingBindingInformation},
	{"a time in the expiration", func(m *wire.BndUpd) { only(m).StateExpiration = some(0) }, "lease", wire.MissingBindingInformation},
	{"a VPN that is known here", func(m *wire.BndUpd) {
		m.ClientData.VSS = wire.Some(wire.VSS{Type: wire.VSSName, Data: "blue"})
	}, "client", wire.ConfigurationConflict},
	{"a lease that is ours", func(m *wire.BndUpd) { only(m).Prefix = prefix("2001:db9::1") }, "lease", wire.ConfigurationConflict},
	{"a proper association", func(m *wire.BndUpd) { m.ClientData.IAs[0].Type = lease.IAPD }, "lease", wire.ConfigurationConflict},
	{"a lasting association", func(m *wire.BndUpd) {
		m.ClientData.IAs[0].Type, m.ClientData.IAs[0].T1, m.ClientData.IAs[0].T2 = wire.IATA, 0, 0
	}, "lease", wire.ConfigurationConflict},
	{"the expiration-time", func(m *wire.BndUpd) { only(m).Expiration = wire.Opt[wire.Time]{} }, "", wire.Success},
	{"the contact", func(m *wire.BndUpd) { only(m).CLTTime = wire.Opt[uint32]{} }, "", wire.Success},
	{"status and start at their place", func(m *wire.BndUpd) {
		ia := &m.ClientData.IAs[0]
		ia.BindingStatus, ia.StartTimeOfState = only(m).BindingStatus, only(m).StartTimeOfState
		only(m).BindingStatus, only(m).StartTimeOfState = wire.Opt[lease.Status]{}, wire.Opt[wire.Time]{}
	}, "", wire.Success},
}

// F-220 to F-224, F-227, F-228, F-257, Q-47, Q-49, Q-54, Q-55, Q-76: an update that lacks something is refused
// as a whole, or the lease of it that lacks it; nothing else changes.
func TestIncompleteUpdates(t *testing.T) {
	for _, c := range lacks {
		t.Run(c.name, func(t *testing.T) {
			s := newScene(t, lease.Secondary, nil)
			s.reach(Normal)
			m := s.update("2001:db8::1", "ann", lease.Active)
			c.change(m)
			s.heard = nil
			s.say(m)
			r := one[*wire.BndReply](s)
			if r.TransactionID != m.TransactionID {
				t.Errorf("answer %v to %v", r.TransactionID, m.TransactionID)
			}
			found := map[string]wire.Opt[wire.Status]{"message": r.Status}
			if r.ClientData != nil {
				found["client"] = r.ClientData.Status
				for _, ia := range r.ClientData.IAs {
					found["association"] = ia.Status
					for _, l := range ia.Leases {
						found["lease"] = l.Status
					}
				}
			}
			for where, status := range found {
				code := value(status)
				switch {
				case where == c.where && (code.Code != c.want || code.Text == ""):
					t.Errorf("in the %s is %v, want %v", where, code, c.want)
				case where != c.where && status.Present():
					t.Errorf("in the %s is %v", where, code)
				}
			}
			if c.where == "message" && (r.ClientData != nil || r.Prefix != nil) {
				t.Error("the answer mirrors what cannot be mirrored")
			}
			if stored := s.t.Len() != 0; stored != (c.want == wire.Success) {
				t.Errorf("stored: %v", stored)
			}
			if refused := s.count(trace.FailoverUpdateRefused); refused != 0 == (c.want == wire.Success) {
				t.Errorf("%d refusals told", refused)
			}
		})
	}
}

// F-220, F-221, F-228: the same for a prefix without client.
func TestIncompletePrefix(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*wire.LeaseOption)
		want   wire.StatusCode
	}{
		"nothing":            {func(l *wire.LeaseOption) {}, wire.Success},
		"the base time":      {func(l *wire.LeaseOption) { l.BaseTime = wire.Opt[wire.Time]{} }, wire.MissingBindingInformation},
		"the binding-status": {func(l *wire.LeaseOption) { l.BindingStatus = wire.Opt[lease.Status]{} }, wire.MissingBindingInformation},
		"the start time":     {func(l *wire.LeaseOption) { l.StartTimeOfState = wire.Opt[wire.Time]{} }, wire.MissingBindingInformation},
		"a client":           {func(l *wire.LeaseOption) { l.BindingStatus = wire.Some(lease.Active) }, wire.MissingBindingInformation},
		"a known VPN":        {func(l *wire.LeaseOption) { l.VSS = wire.Some(wire.VSS{Type: wire.VSSName, Data: "blue"}) }, wire.ConfigurationConflict},
		"a prefix of ours":   {func(l *wire.LeaseOption) { l.Prefix = prefix("2001:db9:100::/56") }, wire.ConfigurationConflict},
		"a prefix at all":    {func(l *wire.LeaseOption) { l.Prefix = prefix("2001:db8::1") }, wire.ConfigurationConflict},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, lease.Secondary, nil)
			s.reach(Normal)
			m := s.bare("2001:db8:8000:100::/56", lease.FreeBackup)
			c.change(m.Prefix)
			s.heard = nil
			s.say(m)
			r := one[*wire.BndReply](s)
			if status := value(only(r).Status); status.Code != c.want || r.TransactionID != m.TransactionID || r.Status.Present() {
				t.Errorf("answer %+v", r)
			}
			if stored := s.t.Len() != 0; stored != (c.want == wire.Success) {
				t.Errorf("stored: %v", stored)
			}
		})
	}
}
