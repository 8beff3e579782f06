package failover

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"time"

	"testing"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/failover/wire"
)

// start is when tests begin, by the true time.
const start = lease.Time(757382400) // 2024-01-01

// expiryGrace is how long after its end a DHCPv6 server ends a lease, in seconds.
const expiryGrace = 15

// server is an endpoint with its disk, its clock, and as much of a DHCPv6 server
// as it takes to make leases. What is at the other end of its connection is for
// others to say: a second server (pair), or the test itself (scene).
//
// Whatever it does is held to the rules that hold always: see do.
type server struct {
	testing.TB
	name  string
	cfg   Config
	truth *lease.Clock
	skew  lease.Time // of its clock against the truth

	off   bool
	e     *Endpoint
	t     *lease.Table
	disk  disk
	stuck bool     // the disk: nothing gets onto it, what waits for it waits
	held  []Output // for the disk

	fate   func() fate // asked at each output; nil: to live
	events []trace.Event
	turns  []turn // of the state machine
	put    func(Send)
	dial   func()
	die    func()
	told   func(trace.Event) // nil: nobody listens
}

// fate is what becomes of a server that has decided what to do next.
type fate uint8

const (
	live      fate = iota
	dieBefore      // the disk has it
	dieAfter       // it is on disk, and before anything is sent
)

// disk is what a server finds again after a crash.
type disk struct {
	leases map[netip.Prefix]*lease.Binding
	record []byte
}

// turn is one step of the state machine.
type turn struct {
	from, to State
	id       string // of the transition; empty: the start
}

func newServer(t testing.TB, name string, cfg Config, truth *lease.Clock) *server {
	if err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	return &server{TB: t, name: name, cfg: cfg, truth: truth, off: true, disk: disk{leases: map[netip.Prefix]*lease.Binding{}}}
}

// lan is the link of most tests.
func lan() Link {
	return Link{
		Name: "lan", Covers: func(l netip.Prefix) bool { return prefix("2001:db8::/32").Contains(l.Addr()) },
		Pools: []PrefixPool{{prefix("2001:db8:8000::/48"), 56}},
	}
}

// config is the configuration of most tests.
func config(role lease.Role) Config {
	return Config{Name: "pair1", Role: role, Links: []Link{lan()}, MCLT_s: 3600, RememberMax: 1000, Remember_s: 1000}
}

func prefix(s string) netip.Prefix {
	p, err := lease.ParsePrefix(s)
	if err != nil {
		panic(err)
	}
	return p
}

func (s *server) clock() lease.Clock {
	c := *s.truth
	c.Wall += s.skew
	return c
}

// boot starts the server with what is on its disk.
func (s *server) boot() {
	s.off, s.stuck, s.held = false, false, nil
	s.t = lease.NewTable()
	s.e = New(s.cfg, s.t)
	for _, b := range s.disk.leases {
		s.t.Put(b)
		s.e.Changed(nil, b)
	}
	s.t.Watch(s.e.Changed)
	if s.disk.record != nil {
		if err := s.e.Load(s.disk.record); err != nil {
			s.Fatal(err)
		}
	}
	s.do(s.e.Start)
}

// do calls the endpoint and carries out what it wants.
func (s *server) do(f func(lease.Clock, *Output)) {
	s.Helper()
	var out Output
	f(s.clock(), &out)
	s.check(&out)
	s.events = append(s.events, out.Trace...)
	for _, e := range out.Trace {
		if m := turnText.FindStringSubmatch(e.Text); e.ID == trace.FailoverState && m != nil {
			s.turns = append(s.turns, turn{stateNamed(m[2]), stateNamed(m[1]), m[3]})
		}
		if s.told != nil {
			s.told(e)
		}
	}
	if s.fate != nil && len(out.Changes)+len(out.Record)+len(out.After) > 0 {
		switch s.fate() {
		case dieAfter:
			s.disk.keep(&out)
			fallthrough
		case dieBefore:
			s.die()
			return
		}
	}
	for _, m := range out.Now {
		s.put(m)
	}
	s.held = append(s.held, out)
	if !s.stuck {
		s.sync()
	}
	if out.Dial {
		s.dial()
	}
}

var turnText = regexp.MustCompile(`^([A-Z-]+), was ([A-Z-]+)(?: \((.*)\))?$`)

func stateNamed(name string) State {
	for st := Startup; st <= ConflictDone; st++ {
		if st.String() == name {
			return st
		}
	}
	panic("no state " + name)
}

// sync writes what was to be written, and sends what waited for it.
func (s *server) sync() {
	held := s.held
	s.held = nil
	for i := range held {
		s.disk.keep(&held[i])
	}
	for _, out := range held {
		for _, m := range out.After {
			s.put(m)
		}
	}
}

// keep stores what an output wants stored.
func (d *disk) keep(out *Output) {
	for _, c := range out.Changes {
		d.store(c.Prefix, c.Binding)
	}
	if out.Record != nil {
		d.record = out.Record
	}
}

func (d *disk) store(p netip.Prefix, b *lease.Binding) {
	if b == nil {
		delete(d.leases, p)
	} else {
		d.leases[p] = b
	}
}

// copy is a disk with the same on it.
func (d *disk) copy() disk { return disk{maps.Clone(d.leases), d.record} }

// check holds one output to the rules that every output keeps:
// what leaves before the disk has it promises nothing (design: durable before
// visible); the table is what the changes say; the record can be read back and
// is what the endpoint goes by (F-277); a STATE tells what is recorded (F-133).
func (s *server) check(out *Output) {
	s.Helper()
	for _, m := range out.Now {
		switch m := m.Message.(type) {
		case nil, *wire.Contact:
		case *wire.ConnectReply:
			if !m.Rejects() {
				s.Errorf("%s accepts a connection before the disk knows of it", s.name)
			}
		default:
			s.Errorf("%s sends a %v before it is on disk", s.name, m.Type())
		}
	}
	last := map[netip.Prefix]*lease.Binding{}
	for _, c := range out.Changes {
		last[c.Prefix] = c.Binding
	}
	for p, b := range last {
		if s.t.Get(p) != b {
			s.Errorf("%s has %+v of %v in its table, and stores %+v", s.name, s.t.Get(p), p, b)
		}
	}
	if out.Record != nil {
		if r, err := parseRecord(out.Record); err != nil || !reflect.DeepEqual(r, s.e.record) {
			s.Errorf("%s stores a record %+v (%v), and goes by %+v", s.name, r, err, s.e.record)
		}
	}
	var state *wire.State
	for _, m := range out.After {
		if st, ok := m.Message.(*wire.State); ok && s.e.session != nil && m.Conn == s.e.session.id {
			state = st
		}
	}
	changed := false
	for _, e := range out.Trace {
		changed = changed || e.ID == trace.FailoverState
	}
	switch {
	case changed && out.Record == nil:
		s.Errorf("%s changes to %v and does not store it", s.name, s.e.state)
	case changed && state == nil && s.e.session != nil && s.e.session.phase >= meeting && s.e.state != Startup:
		s.Errorf("%s changes to %v and does not tell (F-127)", s.name, s.e.state)
	case state != nil && state.ServerState != wire.Some(s.e.record.State):
		s.Errorf("%s announces %v, and goes by %v", s.name, state.ServerState, s.e.record.State)
	}
}

// whole checks that the disk has what the table has.
func (s *server) whole() {
	s.Helper()
	if s.t.Len() != len(s.disk.leases) {
		s.Errorf("%s has %d leases in its table, %d on disk", s.name, s.t.Len(), len(s.disk.leases))
	}
	for b := range s.t.From(netip.Prefix{}) {
		if d := s.disk.leases[b.Prefix]; d == nil || *d != *b {
			s.Errorf("%s has %+v in its table, %+v on disk", s.name, b, d)
		}
	}
}

// nextAt is when the server has something to do.
func (s *server) nextAt() time.Duration {
	at := s.e.WakeAt()
	if b := s.t.FirstEnd(); b != nil && b.End() != lease.Forever {
		at = min(at, s.truth.Mono+time.Duration(max(b.End()+expiryGrace-s.clock().Wall, 0))*second)
	}
	return at
}

// wake does what has become due.
func (s *server) wake() {
	s.endLeases()
	if s.e.WakeAt() <= s.truth.Mono {
		s.do(s.e.Wake)
	}
}

// ia is the identity association that a client uses for p.
func ia(p netip.Prefix, client string) lease.IA {
	ia := lease.IA{Link: "lan", Client: lease.DUID("\x00\x02" + client), Type: lease.IANA, ID: 1}
	if p.Bits() < 128 {
		ia.Type = lease.IAPD
	}
	return ia
}

// write stores a lease as the DHCPv6 server does, before it answers.
func (s *server) write(b *lease.Binding) {
	s.t.Put(b)
	s.disk.store(b.Prefix, b)
}

// grant gives a lease to a client, or extends it, for at most desired seconds, as
// the DHCPv6 server does. The error says why the client gets nothing.
func (s *server) grant(p netip.Prefix, client string, desired uint32) (*lease.Binding, error) {
	now, old, who := s.clock(), s.t.Get(p), ia(p, client)
	service := s.e.Serves()
	extends := old != nil && old.Status == lease.Active && old.IA == who
	switch {
	case service == Unresponsive:
		return nil, fmt.Errorf("no answer in %v", s.e.state)
	case service == RenewOnly && !extends:
		return nil, fmt.Errorf("nothing new in %v", s.e.state)
	case !extends && old != nil && (old.Status == lease.Active || old.Status == lease.Abandoned):
		return nil, fmt.Errorf("%v is %v", p, old.Status)
	case !extends && s.e.MayAssign(now, p, old, who, false) == NotOurs:
		return nil, fmt.Errorf("not ours to give")
	}
	valid := s.e.Valid(now, old, who, desired)
	b := &lease.Binding{
		Prefix: p, IA: who, Status: lease.Active, Preferred: valid, Valid: valid, T1: valid / 2, T2: valid / 5 * 4,
		Expires: now.Wall.Add(valid), StartOfState: now.Wall, LastTransaction: now.Wall,
	}
	if extends {
		b.StartOfState = old.StartOfState
	}
	s.e.Bind(now, old, b, desired)
	s.write(b)
	return b, nil
}

// give is a grant that must succeed.
func (s *server) give(p, client string, desired uint32) *lease.Binding {
	s.Helper()
	b, err := s.grant(prefix(p), client, desired)
	if err != nil {
		s.Fatalf("%s gives %s to %s: %v", s.name, p, client, err)
	}
	return b
}

// end ends a lease, as the DHCPv6 server does.
func (s *server) end(p string, status lease.Status) *lease.Binding {
	s.Helper()
	b := s.t.Get(prefix(p))
	if b == nil {
		s.Fatalf("%s ends %s, which it does not know", s.name, p)
	}
	return s.finish(b, status)
}

func (s *server) finish(b *lease.Binding, status lease.Status) *lease.Binding {
	now, e := s.clock().Wall, *b
	e.Status, e.StartOfState = status, now
	e.Preferred, e.Valid, e.T1, e.T2, e.Expires, e.HeldUntil = 0, 0, 0, 0, 0, 0
	if status == lease.Released || status == lease.Abandoned {
		e.LastTransaction = now
	}
	if status == lease.Abandoned {
		e.Expires = now + quarantine_s
	}
	s.e.End(&e)
	s.write(&e)
	return &e
}

// quarantine_s is how long a declined address is set aside.
const quarantine_s = 86400

// endLeases ends what has run out, as the DHCPv6 server does.
func (s *server) endLeases() {
	for b := s.t.FirstEnd(); b != nil && b.End() <= s.clock().Wall-expiryGrace; b = s.t.FirstEnd() {
		switch {
		case b.Status == lease.FreeBackup && b.Type == lease.IAPD:
			f := *b
			f.Client, f.Expires = "", 0
			s.write(&f)
		case b.Status.Available():
			s.t.Delete(b.Prefix)
			s.disk.store(b.Prefix, nil)
		case b.Status == lease.Abandoned:
			s.finish(b, lease.Reset)
		default:
			s.finish(b, lease.Expired)
		}
	}
}

// count is how many events of a kind there were.
func (s *server) count(id trace.ID) (n int) {
	for _, e := range s.events {
		if e.ID == id {
			n++
		}
	}
	return n
}
