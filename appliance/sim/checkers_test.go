package sim

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/appliance/engine"
	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
	"github.com/tandem6/tandem6/storage"
)

// Each checker is shown a broken promise, and something close to it that is none:
// one that never complains is worth nothing.

// broken runs f in a world with two partners in step, and returns the check that
// complains, "" for none.
func broken(t *testing.T, f func(w *World)) string {
	t.Helper()
	w := start(t, quiet())
	f(w)
	if w.violation == nil {
		return ""
	}
	if w.violation.Text == "" || !strings.Contains(w.violation.Error(), w.violation.Check) {
		t.Errorf("the violation does not say what it is: %v", w.violation)
	}
	return w.violation.Check
}

var (
	anAddress = netip.MustParsePrefix("2001:db8::1003/128") // odd: the primary's
	other     = netip.MustParsePrefix("2001:db8::1004/128") // even: the secondary's
	aPrefix   = netip.MustParsePrefix("2001:db8:8000:100::/56")
	around    = netip.MustParsePrefix("2001:db8:8000::/48")
)

// held is a lease as a server stores it.
func held(w *World, p netip.Prefix, client *client, status lease.Status) *lease.Binding {
	now := trueDate(w.now)
	b := &lease.Binding{
		Prefix: p, IA: lease.IA{Link: "lan0", Client: client.duid, Type: lease.IANA, ID: 1}, Status: status,
		StartOfState: now, LastTransaction: now,
	}
	if p.Bits() != 128 {
		b.Type = lease.IAPD
	}
	if status == lease.Active {
		b.Preferred, b.Valid, b.Expires, b.HeldUntil = 60, 60, now+60, now+60
	}
	return b
}

// replyFor is a Reply that promises b.
func replyFor(b *lease.Binding, valid uint32) *message {
	return &message{kind: reply, client: b.Client, server: "srv", status: noStatus, ias: []ia{{
		typ: b.Type, id: b.ID, status: noStatus, leases: []leased{{prefix: b.Prefix, preferred: valid, valid: valid}},
	}}}
}

func TestUniqueComplains(t *testing.T) {
	for _, c := range []struct {
		name string
		want string
		do   func(w *World)
	}{
		{"two clients", "unique", func(w *World) {
			w.truth.told(w.clients[0], w.clients[0].ias[0], anAddress, w.now+10)
			w.truth.told(w.clients[1], w.clients[1].ias[0], anAddress, w.now+10)
		}},
		{"two identity associations of one client", "unique", func(w *World) {
			w.truth.told(w.clients[0], w.clients[0].ias[0], aPrefix, w.now+10)
			w.truth.told(w.clients[0], &association{typ: lease.IAPD, id: 9}, aPrefix, w.now+10)
		}},
		{"a prefix around another", "unique", func(w *World) {
			w.truth.told(w.clients[0], w.clients[0].ias[0], aPrefix, w.now+10)
			w.truth.told(w.clients[1], w.clients[1].ias[0], around, w.now+10)
		}},
		{"one after the other", "", func(w *World) {
			w.truth.told(w.clients[0], w.clients[0].ias[0], aPrefix, w.now)
			w.truth.told(w.clients[1], w.clients[1].ias[0], aPrefix, w.now+10)
		}},
		{"given up", "", func(w *World) {
			w.truth.told(w.clients[0], w.clients[0].ias[0], aPrefix, w.now+10)
			w.truth.gaveUp(w.clients[0], aPrefix)
			w.truth.told(w.clients[1], w.clients[1].ias[0], aPrefix, w.now+10)
		}},
	} {
		if got := broken(t, func(w *World) { w.truth.list = nil; c.do(w) }); got != c.want {
			t.Errorf("%s: %q complains, want %q", c.name, got, c.want)
		}
	}
}

func TestDurableComplainsOfReplies(t *testing.T) {
	for _, c := range []struct {
		name   string
		stored lease.Status // 0: nothing
		owner  int
		valid  uint32
		want   bool
	}{
		{"stored", lease.Active, 0, 60, false},
		{"not stored", 0, 0, 60, true},
		{"ended", lease.Expired, 0, 60, true},
		{"given up since", lease.Released, 0, 60, false},
		{"another's", lease.Active, 1, 60, true},
		{"for longer", lease.Active, 0, 60 + engine.ExpiryGrace + 1, true},
	} {
		w := newWorld(quiet(), nil)
		var a archive
		if c.stored != 0 {
			a.put(held(w, anAddress, w.clients[c.owner], c.stored))
		}
		m := replyFor(held(w, anAddress, w.clients[0], lease.Active), c.valid)
		if got := a.promised(m, lease.IANA, 1, m.ias[0].leases[0], epoch); (got != "") != c.want {
			t.Errorf("%s: %q", c.name, got)
		}
	}
	// And by the way that an answer takes.
	if got := broken(t, func(w *World) {
		m := replyFor(held(w, anAddress, w.clients[0], lease.Active), 60)
		out := dhcp6.Output{Data: (&message{kind: reply, client: m.client, server: m.server}).append(nil)}
		out.Data = appendGrant(out.Data, &m.ias[0])
		w.nodes[0].checkLeaving(out)
	}); got != "durable" {
		t.Errorf("%q complains about a Reply without a record", got)
	}
}

// appendGrant is an identity association with lifetimes, as servers send it.
func appendGrant(b []byte, in *ia) []byte {
	start := len(b)
	b = in.append(b)
	copy(b[start+4+12+4+16+4:], []byte{0, 0, 0, 60})
	return b
}

// update is a BNDUPD about a lease.
func update(b *lease.Binding, partnerLifetime lease.Time) *wire.BndUpd {
	return &wire.BndUpd{Header: wire.Header{TransactionID: 7}, ClientData: &wire.ClientData{
		ClientID: b.Client, BaseTime: wire.Some(wire.At(epoch, epoch)),
		IAs: []wire.IA{{Type: b.Type, IAID: b.ID, Leases: []wire.LeaseOption{{
			Prefix: b.Prefix, BindingStatus: wire.Some(b.Status), StartTimeOfState: wire.Some(wire.At(b.StartOfState, epoch)),
			StateExpiration: wire.Some(wire.At(b.Expires, epoch)), PartnerLifetime: wire.Some(wire.At(partnerLifetime, epoch)),
		}}}},
	}}
}

func TestDurableComplainsOfPartnerMessages(t *testing.T) {
	w := newWorld(quiet(), nil)
	active := held(w, anAddress, w.clients[0], lease.Active)
	active.PartnerLifetime, active.ExpirationTime = epoch+500, epoch+500
	ended := held(w, anAddress, w.clients[0], lease.Expired)
	ended.StartOfState++ // after the client had it
	for _, c := range []struct {
		name     string
		stored   *lease.Binding
		update   *wire.BndUpd
		tells    bool // complains when it is sent
		confirms bool // complains when it is confirmed
	}{
		{"stored", active, update(active, epoch+500), false, false},
		{"not stored", nil, update(active, epoch+500), true, true},
		{"a longer lifetime than stored", active, update(active, epoch+501), true, true},
		{"still active", active, update(ended, 0), false, true},
	} {
		var a archive
		if c.stored != nil {
			a.put(c.stored)
		}
		c.update.ClientData.IAs[0].Leases[0].StateExpiration = wire.Opt[wire.Time]{}
		l := &c.update.ClientData.IAs[0].Leases[0]
		if got := a.announced(c.update.ClientData, l); (got != "") != c.tells {
			t.Errorf("%s, sent: %q", c.name, got)
		}
		r := c.update.Reply()
		if got := a.confirmed(c.update, &r.ClientData.IAs[0], &r.ClientData.IAs[0].Leases[0]); (got != "") != c.confirms {
			t.Errorf("%s, confirmed: %q", c.name, got)
		}
	}
}

func TestBoundedComplains(t *testing.T) {
	const mclt = 60
	for _, c := range []struct {
		valid uint32
		known lease.Time // from now
		want  bool
	}{
		{mclt, 0, true},
		{mclt, -1000, true},
		{mclt + boundedTolerance, 0, true},
		{mclt + boundedTolerance + 1, 0, false},
		{mclt + 1000, 1000, true},
		{mclt + 1000 + boundedTolerance + 1, 1000, false},
	} {
		if got := bounded(c.valid, mclt, epoch+c.known, epoch); got != c.want {
			t.Errorf("%d s, known for %d s: %v", c.valid, c.known, got)
		}
	}
	long := func(state wire.ServerState) func(w *World) {
		return func(w *World) {
			n := w.nodes[0]
			n.relations[0].state = state
			m := replyFor(held(w, anAddress, w.clients[0], lease.Active), 100000)
			n.checkBounded(m, &m.ias[0], m.ias[0].leases[0])
		}
	}
	if got := broken(t, long(normal)); got != "bounded" {
		t.Errorf("%q complains about a day in NORMAL", got)
	}
	if got := broken(t, long(partnerDown)); got != "" {
		t.Errorf("%q complains about a day in PARTNER-DOWN", got)
	}
}

// The table of the checker knows the RFC's transitions and no others.
func TestLawfulTable(t *testing.T) {
	for _, c := range []struct {
		side              int
		from, to, partner wire.ServerState
		ok                bool
	}{
		{primary, startup, interrupted, 0, true},
		{primary, startup, normal, normal, false}, // T-03: NORMAL is left when the process ends
		{primary, interrupted, normal, interrupted, true},
		{primary, interrupted, normal, partnerDown, false},
		{secondary, interrupted, conflict, partnerDown, true},
		{secondary, interrupted, conflict, normal, false},
		{primary, partnerDown, normal, recoverDone, true},
		{primary, partnerDown, normal, recovering, false},
		{primary, partnerDown, interrupted, 0, false},
		{primary, recovering, recoverDone, 0, false},
		{primary, recoverWait, recoverDone, 0, true},
		{primary, conflict, conflictDone, 0, true},
		{secondary, conflict, conflictDone, 0, false},
		{primary, conflict, normal, 0, false},
		{secondary, conflict, normal, conflictDone, true},
		{primary, conflictDone, normal, normal, true},
		{primary, conflictDone, normal, conflict, false},
		{primary, normal, startup, 0, false},
	} {
		if got := allowed(c.side, c.from, c.to, c.partner); (got == "") != c.ok {
			t.Errorf("%v to %v beside %v: %q", c.from, c.to, c.partner, got)
		}
	}
}

func TestLawfulComplains(t *testing.T) {
	state := func(w *World, s wire.ServerState, ago lease.Time, flags wire.ServerFlags) *wire.State {
		r := w.nodes[0].relations[0]
		disk, _ := parseMilestone(w.nodes[0].kept.values[recordPrefix+r.pair.name])
		since := disk.since - ago
		return &wire.State{ServerState: wire.Some(s), Flags: wire.Some(flags), StartTime: wire.Some(wire.At(since, since))}
	}
	conn := func(w *World) *end { return w.pairs[0].streams[len(w.pairs[0].streams)-1].ends[primary] }
	for _, c := range []struct {
		name string
		want string
		do   func(w *World, r *relation)
	}{
		{"what is stored", "", func(w *World, r *relation) { r.announces(conn(w), state(w, normal, 0, 0)) }},
		{"another state", "lawful", func(w *World, r *relation) { r.announces(conn(w), state(w, partnerDown, 0, 0)) }},
		{"another time", "lawful", func(w *World, r *relation) { r.announces(conn(w), state(w, normal, 77, 0)) }},
		{"COMMUNICATED changes", "lawful", func(w *World, r *relation) {
			r.announced[conn(w).id] = true
			r.announces(conn(w), state(w, normal, 0, 0))
		}},
		{"COMMUNICATED without a cause", "lawful", func(w *World, r *relation) {
			r.heardOn, r.announced = map[uint64]bool{conn(w).id: true}, nil
			r.announces(conn(w), state(w, normal, 0, wire.FlagCommunicated))
		}},
		{"in STARTUP, began after it stopped", "lawful", func(w *World, r *relation) {
			r.stopped = w.now - time.Hour
			r.announces(conn(w), state(w, normal, 0, wire.FlagStartup))
		}},
		{"a way that is none", "lawful", func(w *World, r *relation) { r.changed("RECOVER-DONE, was NORMAL (T-00)") }},
		{"a way from where it is not", "lawful", func(w *World, r *relation) {
			r.changed("POTENTIAL-CONFLICT, was COMMUNICATIONS-INTERRUPTED (T-48)")
		}},
		{"RECOVER-WAIT too short", "lawful", func(w *World, r *relation) {
			r.state, r.before = recoverWait, w.now-time.Second
			r.changed("RECOVER-DONE, was RECOVER-WAIT (T-24)")
		}},
		{"RECOVER-WAIT long enough", "", func(w *World, r *relation) {
			r.state, r.before = recoverWait, w.now-seconds(w.MCLT_s)
			r.changed("RECOVER-DONE, was RECOVER-WAIT (T-24)")
		}},
	} {
		got := broken(t, func(w *World) {
			r := w.nodes[0].relations[0]
			r.heardOn = map[uint64]bool{0: true, conn(w).id: true}
			r.announced = map[uint64]bool{}
			c.do(w, r)
		})
		if got != c.want {
			t.Errorf("%s: %q complains, want %q", c.name, got, c.want)
		}
	}
}

func TestRestartComplains(t *testing.T) {
	w := newWorld(quiet(), nil)
	b, moved := held(w, anAddress, w.clients[0], lease.Active), held(w, anAddress, w.clients[0], lease.Active)
	moved.Expires--
	with := func(list ...*lease.Binding) *archive {
		a := new(archive)
		for _, b := range list {
			a.put(b)
		}
		return a
	}
	for _, c := range []struct {
		name         string
		stored, disk *archive
		want         bool
	}{
		{"the same", with(b), with(b), false},
		{"missing", with(b), with(), true},
		{"too much", with(), with(b), true},
		{"changed", with(b), with(moved), true},
	} {
		if got := c.stored.differs(c.disk); (got != "") != c.want {
			t.Errorf("%s: %q", c.name, got)
		}
	}
	shorter := *b
	shorter.Expires--
	if forgotten(b, b) != "" || forgotten(b, &shorter) == "" {
		t.Error("an engine that knows a shorter lease than is stored is not found out")
	}
	values := with()
	values.set(storage.Value{Name: "x", Data: []byte{1}})
	if with().differs(values) == "" || values.differs(with()) == "" {
		t.Error("a value that is missing or too much is not found out")
	}
}

func TestLiveComplains(t *testing.T) {
	w := newWorld(quiet(), nil)
	a, b := held(w, aPrefix, w.clients[0], lease.Active), held(w, aPrefix, w.clients[0], lease.Active)
	if why := disagree(aPrefix, a, b); why != "" {
		t.Error(why)
	}
	backup := &lease.Binding{Prefix: aPrefix, Status: lease.FreeBackup}
	believes := *a
	believes.AckedPartnerLifetime = 77
	for name, pair := range map[string][2]*lease.Binding{
		"status":    {a, nil},
		"client":    {a, held(w, aPrefix, w.clients[1], lease.Active)},
		"owner":     {nil, backup},
		"confirmed": {&believes, b},
	} {
		if disagree(aPrefix, pair[0], pair[1]) == "" || disagree(aPrefix, pair[1], pair[0]) == "" {
			t.Errorf("partners who differ in %s agree", name)
		}
	}
	if why := disagree(other, nil, &lease.Binding{Prefix: other, Status: lease.FreeBackup}); why != "" {
		t.Errorf("an even address is the secondary's, known or not: %s", why)
	}

	if got := broken(t, func(w *World) {
		w.soothe()
		w.pairs[0].partition(true, true) // against the rules of calm
		w.until(w.now + time.Minute)
		w.await()
	}); got != "live" {
		t.Errorf("%q complains about partners that cannot reach each other", got)
	}
	if got := broken(t, func(w *World) {
		for range 2 * momentMax {
			w.busyWatch()
		}
	}); got != "live" {
		t.Errorf("%q complains about a busy loop", got)
	}
}

func TestStableComplains(t *testing.T) {
	ask := func(answer *message, change func(w *World, c *client)) string {
		return broken(t, func(w *World) {
			c, n := w.clients[0], w.nodes[0]
			w.truth.list = nil
			w.truth.told(c, c.ias[0], anAddress, w.now+time.Minute)
			n.lore[anAddress] = learned{c.duid, lease.IANA, c.ias[0].id, w.now}
			if change != nil {
				change(w, c)
			}
			m := &message{kind: renew, client: c.duid, server: n.duid(), ias: []ia{{typ: lease.IANA, id: c.ias[0].id, leases: []leased{{prefix: anAddress}}}}}
			var answers []*message
			if answer != nil {
				answers = append(answers, answer)
			}
			n.checkStable(c, m, n.relations[0], answers)
		})
	}
	b := &lease.Binding{Prefix: anAddress, IA: lease.IA{Client: "x", Type: lease.IANA, ID: 1}}
	for _, c := range []struct {
		name   string
		answer *message
		change func(w *World, c *client)
		want   string
	}{
		{"extended", replyFor(b, 60), nil, ""},
		{"not answered", nil, nil, "stable"},
		{"withdrawn", replyFor(b, 0), nil, "stable"},
		{"another lease", replyFor(&lease.Binding{Prefix: other, IA: b.IA}, 60), nil, "stable"},
		{"does not know the lease", nil, func(w *World, c *client) { clear(w.nodes[0].lore) }, ""},
		{"knew it before the client gave it up", nil, func(w *World, c *client) { w.truth.list[0].before = w.now }, ""},
		{"too late", nil, func(w *World, c *client) { w.truth.gaveUp(c, anAddress) }, ""},
		{"does not serve", nil, func(w *World, c *client) { w.nodes[0].relations[0].state = recovering }, ""},
	} {
		if got := ask(c.answer, c.change); got != c.want {
			t.Errorf("%s: %q complains, want %q", c.name, got, c.want)
		}
	}
}

// What a server may answer in each state (digest 8.2).
func TestAnswersTo(t *testing.T) {
	named, unnamed := &message{kind: renew, server: "x"}, &message{kind: solicit}
	for state := startup; state <= conflictDone; state++ {
		for side := range 2 {
			mustNamed, mayNamed := answersTo(state, side, named)
			mustAny, mayAny := answersTo(state, side, unnamed)
			responsive := state == normal && side == primary || state == interrupted || state == partnerDown ||
				state == resolution || state == conflictDone && side == primary
			renewResponsive := state == normal && side == secondary
			if mustAny != responsive || mustNamed != (responsive || renewResponsive) || mayAny || mayNamed != (state == recoverDone) {
				t.Errorf("%v in %v: a Renew must be answered %v, may be %v; a Solicit %v, %v", roles[side], state, mustNamed, mayNamed, mustAny, mayAny)
			}
		}
	}
}

func TestEntitledComplains(t *testing.T) {
	for _, c := range []struct {
		name   string
		side   int
		state  wire.ServerState
		down   time.Duration // since it is in PARTNER-DOWN
		prefix netip.Prefix
		old    lease.Status // 0: no record
		client int          // who had it
		ok     bool
	}{
		{"its own half", primary, normal, 0, anAddress, 0, 0, true},
		{"the partner's half", primary, normal, 0, other, 0, 0, false},
		{"the partner's half in PARTNER-DOWN", primary, partnerDown, time.Hour, other, 0, 0, false},
		{"its own half, the secondary", secondary, interrupted, 0, other, 0, 0, true},
		{"a FREE prefix", primary, normal, 0, aPrefix, 0, 0, true},
		{"a FREE prefix, the secondary", secondary, interrupted, 0, aPrefix, 0, 0, false},
		{"a FREE prefix soon after the partner went down", secondary, partnerDown, time.Second, aPrefix, 0, 0, false},
		{"a FREE prefix long after", secondary, partnerDown, time.Hour, aPrefix, 0, 0, true},
		{"a prefix that was handed over", primary, interrupted, 0, aPrefix, lease.FreeBackup, 0, false},
		{"somebody's", primary, normal, 0, anAddress, lease.Active, 1, false},
		{"somebody's, expired", primary, normal, 0, anAddress, lease.Expired, 1, false},
		{"its own, expired", primary, normal, 0, anAddress, lease.Expired, 0, true},
		{"set aside", primary, normal, 0, anAddress, lease.Abandoned, 0, false},
		{"in RECOVER-DONE", primary, recoverDone, 0, anAddress, 0, 0, false},
		{"somebody's, expired a moment ago, in PARTNER-DOWN", primary, partnerDown, time.Hour, anAddress, lease.Expired, 1, false},
	} {
		got := broken(t, func(w *World) {
			n := w.nodes[c.side]
			r := n.relations[0]
			r.state, r.former, r.entered = c.state, c.state, 0
			r.downSince = w.now - c.down
			var old *lease.Binding
			if c.old != 0 {
				old = held(w, c.prefix, w.clients[c.client], c.old)
			}
			n.checkChange(&engine.Received{}, old, storage.Change{Prefix: c.prefix, Binding: held(w, c.prefix, w.clients[0], lease.Active)})
		})
		if (got == "") != c.ok || got != "" && got != "entitled" {
			t.Errorf("%s: %q complains", c.name, got)
		}
	}
	answer := func(state wire.ServerState) string {
		return broken(t, func(w *World) {
			n := w.nodes[0]
			n.relations[0].state = state
			n.checkAnswer(w.clients[0], &message{kind: solicit}, state, []*message{{kind: advertise}})
		})
	}
	if got := answer(recovering); got != "entitled" {
		t.Errorf("%q complains about an answer in RECOVER", got)
	}
	if got := answer(interrupted); got != "" {
		t.Errorf("%q complains about an answer in COMMUNICATIONS-INTERRUPTED", got)
	}
}

func TestWireComplains(t *testing.T) {
	conn := func(w *World) *end { return w.pairs[0].streams[len(w.pairs[0].streams)-1].ends[primary] }
	frame := func(m wire.Message) []byte {
		b, err := wire.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		name string
		want string
		do   func(w *World)
	}{
		{"an answer that cannot be read", "wire", func(w *World) { w.clients[0].receive([]byte{7, 0, 0, 1, 0, 1, 0}) }},
		{"a frame that cannot be read", "wire", func(w *World) { w.nodes[0].checkFrame(conn(w), []byte{200, 1, 2}) }},
		{"an answer to nothing", "wire", func(w *World) {
			w.nodes[0].checkFrame(conn(w), frame(&wire.BndReply{Header: wire.Header{TransactionID: 99}}))
		}},
		{"more updates than the partner takes", "wire", func(w *World) {
			w.pairs[0].relation(primary).window = 1
			b := held(w, anAddress, w.clients[0], lease.Active)
			w.nodes[0].kept.put(b)
			for id := range 2 {
				m := update(b, b.Expires)
				m.TransactionID = wire.TransactionID(1000 + id)
				w.nodes[0].checkFrame(conn(w), frame(m))
			}
		}},
		{"UPDDONE before the last answer", "durable", func(w *World) {
			n := w.nodes[0]
			n.known[anAddress] = held(w, anAddress, w.clients[0], lease.Active)
			n.known[anAddress].Change = 5
			n.checkHeard(conn(w), frame(&wire.UpdReq{Header: wire.Header{TransactionID: 3}}))
			n.checkFrame(conn(w), frame(&wire.UpdDone{Header: wire.Header{TransactionID: 3}}))
		}},
		{"UPDDONE after it", "", func(w *World) {
			n := w.nodes[0]
			b := held(w, anAddress, w.clients[0], lease.Active)
			b.Change = 5
			n.known[anAddress] = b
			n.checkHeard(conn(w), frame(&wire.UpdReq{Header: wire.Header{TransactionID: 3}}))
			n.checkHeard(conn(w), frame(update(b, b.Expires).Reply()))
			n.checkFrame(conn(w), frame(&wire.UpdDone{Header: wire.Header{TransactionID: 3}}))
		}},
	} {
		if got := broken(t, c.do); got != c.want {
			t.Errorf("%s: %q complains, want %q", c.name, got, c.want)
		}
	}
}

// Two histories of different seeds differ, two of one do not: the checker of
// replay compares something.
func TestReplay(t *testing.T) {
	hashes := map[uint64]uint64{}
	for seed := range uint64(12) {
		r := Twice(Draw(seed))
		if r.Violation != nil && r.Violation.Check == "replay" {
			t.Errorf("seed %d: %v", seed, r.Violation)
		}
		if before, ok := hashes[r.Hash]; ok {
			t.Errorf("seeds %d and %d have one history", before, seed)
		}
		hashes[r.Hash] = seed
	}
}
