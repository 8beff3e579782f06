package engine

import (
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/netcfg"
	"github.com/tandem6/tandem6/storage"
)

// box is an engine on a desk: its clock is set by hand, its disk is a map.
type box struct {
	t      *testing.T
	e      *Engine
	now    lease.Clock
	values map[string][]byte
	disk   map[netip.Prefix]*lease.Binding
	ready  Ready
}

func config() *dhcp6.Config {
	return &dhcp6.Config{
		DeclinedFor: 1000, RememberFor: 500, Limits: dhcp6.DefaultLimits,
		Links: []dhcp6.Link{{
			Name: "lan", Interface: "eth0", RapidCommit: true, CreateOnRenew: true,
			Subnets:     []dhcp6.Subnet{{Prefix: netip.MustParsePrefix("2001:db8:0:1::/64"), Pools: []dhcp6.Range{{First: netip.MustParseAddr("2001:db8:0:1::1000"), Last: netip.MustParseAddr("2001:db8:0:1::1fff")}}}},
			PrefixPools: []dhcp6.PrefixPool{{Prefix: netip.MustParsePrefix("2001:db8:8000::/40"), Length: 56}},
			Lifetimes:   dhcp6.Lifetimes{Preferred: 50, Valid: 100},
		}},
	}
}

func newBox(t *testing.T, wall lease.Time) *box {
	b := &box{t: t, now: lease.Clock{Mono: time.Hour, Wall: wall}, values: map[string][]byte{}, disk: map[netip.Prefix]*lease.Binding{}}
	b.boot()
	return b
}

// boot starts a new engine from what is on the disk.
func (b *box) boot() {
	b.t.Helper()
	b.e = New(Config{DHCP: config()}, rand.New(rand.NewPCG(1, 2)))
	for _, v := range b.disk {
		if err := b.e.LoadBinding(v); err != nil {
			b.t.Fatal(err)
		}
	}
	for name, data := range b.values {
		if err := b.e.LoadValue(storage.Value{Name: name, Data: data}); err != nil {
			b.t.Fatal(err)
		}
	}
	b.ready = Ready{}
	b.e.Start(b.now, &b.ready)
	b.write()
	b.step(Interfaces{[]dhcp6.Interface{{Index: 2, Name: "eth0"}}})
}

// step makes one Step and writes its batch to the disk.
func (b *box) step(ev Event) *Ready {
	b.ready = Ready{}
	b.e.Step(b.now, ev, &b.ready)
	b.write()
	return &b.ready
}

func (b *box) write() {
	for _, c := range b.ready.Commit.Changes {
		if c.Binding == nil {
			delete(b.disk, c.Prefix)
		} else {
			b.disk[c.Prefix] = c.Binding
		}
	}
	for _, v := range b.ready.Commit.Values {
		b.values[v.Name] = v.Data
	}
}

// pass lets time go by on both clocks, second by second of the engine's wishes.
func (b *box) pass(seconds int) {
	end := b.now.Mono + time.Duration(seconds)*time.Second
	for b.ready.WakeAt <= end {
		at := max(b.ready.WakeAt, b.now.Mono)
		b.now.Wall += lease.Time((at - b.now.Mono) / time.Second)
		b.now.Mono = at
		b.step(Wake{})
	}
	b.now.Wall += lease.Time((end - b.now.Mono) / time.Second)
	b.now.Mono = end
}

// client is a packet of client n with IA_NA 1 and IA_PD 1. The server
// identifier is added where the message type needs it.
func (b *box) client(typ dhcp6.MessageType, n byte, leases ...netip.Prefix) *Received {
	p := []byte{byte(typ), 0, 0, n, 0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, n}
	switch typ {
	case dhcp6.Request, dhcp6.Renew, dhcp6.Release, dhcp6.Decline:
		p = append(p, 0, 2, 0, byte(len(b.e.id)))
		p = append(p, b.e.id...)
	}
	var na, pd []byte
	for _, l := range leases {
		a := l.Addr().As16()
		if l.Bits() == 128 {
			na = append(na, 0, 5, 0, 24)
			na = append(append(na, a[:]...), make([]byte, 8)...)
		} else {
			pd = append(pd, 0, 26, 0, 25, 0, 0, 0, 0, 0, 0, 0, 0, byte(l.Bits()))
			pd = append(pd, a[:]...)
		}
	}
	p = append(append(p, 0, 3, 0, byte(12+len(na)), 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0), na...)
	p = append(append(p, 0, 25, 0, byte(12+len(pd)), 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0), pd...)
	return &Received{dhcp6.Packet{Data: p, Source: netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: n}), 546), Destination: netip.MustParseAddr("ff02::1:2"), IfIndex: 2}}
}

// held lists what client n holds.
func (b *box) held(n byte) (ps []netip.Prefix) {
	for l := range b.e.table.OfClient(lease.DUID([]byte{0, 3, 0, 1, 2, 0, 0, 0, 0, n})) {
		if l.Status == lease.Active {
			ps = append(ps, l.Prefix)
		}
	}
	return ps
}

func kinds(evs []trace.Event) string {
	var s []string
	for _, e := range evs {
		s = append(s, e.ID.Name())
	}
	return strings.Join(s, " ")
}

// D-084, D-150, D-257: the Reply waits for the disk, and so does the route.
func TestReplyWaitsForDisk(t *testing.T) {
	b := newBox(t, 1000)
	r := b.step(b.client(dhcp6.Solicit, 1))
	if len(r.Now.Packets) != 1 || !r.Commit.Empty() {
		t.Fatalf("D-077: an Advertise goes at once and stores nothing, got %d packets, %d changes", len(r.Now.Packets), len(r.Commit.Changes))
	}
	r = b.step(b.client(dhcp6.Request, 1))
	if len(r.Now.Packets) != 0 || len(r.AfterCommit.Packets) != 1 || len(r.Commit.Changes) != 2 {
		t.Fatalf("a Reply waits: %d now, %d after, %d changes", len(r.Now.Packets), len(r.AfterCommit.Packets), len(r.Commit.Changes))
	}
	if len(r.Now.Routes) != 0 || len(r.AfterCommit.Routes) != 1 || !r.AfterCommit.Routes[0].Add {
		t.Fatalf("the route waits too: %+v", r.AfterCommit.Routes)
	}
	want := netcfg.Delegation{Prefix: b.held(1)[1], Via: netip.MustParseAddr("fe80::1"), Interface: "eth0"}
	if got := r.AfterCommit.Routes[0].Delegation; got != want {
		t.Errorf("route %v, want %v", got, want)
	}
	r = b.step(b.client(dhcp6.Release, 1, b.held(1)...))
	if len(r.AfterCommit.Routes) != 1 || r.AfterCommit.Routes[0].Add {
		t.Errorf("D-257: a Release removes the route, got %+v", r.AfterCommit.Routes)
	}
}

// A renewal within what the record promises costs no write; the next one does.
func TestRenewalsAreCheap(t *testing.T) {
	b := newBox(t, 1000)
	b.step(b.client(dhcp6.Request, 1))
	writes := 0
	for range 20 {
		b.pass(25)
		r := b.step(b.client(dhcp6.Renew, 1, b.held(1)...))
		if len(r.AfterCommit.Packets) != 1 {
			t.Fatal("no Reply, or one that does not wait for earlier batches")
		}
		if len(r.Commit.Changes) > 0 {
			writes++
		}
		for _, p := range b.held(1) {
			if now, disk := b.e.table.Get(p), b.disk[p]; disk == nil || disk.HeldUntil < now.Expires {
				t.Fatalf("%v was promised until %v, the disk has %+v", p, now.Expires, disk)
			}
		}
	}
	if writes > 5 {
		t.Errorf("%d of 20 renewals wrote to the disk, want a quarter at most", writes)
	}
}

// After a crash the server keeps every lease at least as long as promised.
func TestCrashKeepsPromises(t *testing.T) {
	b := newBox(t, 1000)
	b.step(b.client(dhcp6.Request, 1))
	b.pass(25)
	b.step(b.client(dhcp6.Renew, 1, b.held(1)...))
	promised := b.e.table.Get(b.held(1)[0]).Expires
	held := b.held(1)
	b.boot()
	for b.now.Wall <= promised+ExpiryGrace {
		if got := b.held(1); !slices.Equal(got, held) {
			t.Fatalf("at %v, promised until %v: holds %v, want %v", b.now.Wall, promised, got, held)
		}
		b.pass(1)
	}
	if len(b.ready.AfterCommit.Routes) != 0 {
		t.Errorf("routes changed: %+v", b.ready.AfterCommit.Routes)
	}
}

// D-058, D-242, D-340: DUID and key are made once, then they are loaded.
//
// D-059 to D-063: the DUID is a random UUID. It depends on no clock, no network
// card and no number that somebody has to hand out, and two boxes differ.
func TestIdentityIsMadeOnce(t *testing.T) {
	b := newBox(t, 1000)
	id, key := b.e.id, b.e.key
	if len(id) != 18 || id[:2] != "\x00\x04" || key == (dhcp6.AddressKey{}) {
		t.Fatalf("DUID %v, key %x", id, key)
	}
	other := newBox(t, 1000)
	other.e = New(Config{DHCP: config()}, rand.New(rand.NewPCG(3, 4)))
	other.e.Start(other.now, &other.ready)
	if other.e.id == id || other.e.key == key {
		t.Errorf("two boxes have DUIDs %v and %v", id, other.e.id)
	}
	b.boot()
	if b.e.id != id || b.e.key != key {
		t.Errorf("after a restart: DUID %v, key %s", b.e.id, hex.EncodeToString(b.e.key[:]))
	}
	// D-243: the operator can see the key and change it.
	r := b.step(SetAddressKey{Ticket: 3, Key: dhcp6.AddressKey{1, 2, 3}})
	if len(r.AfterCommit.Done) != 1 || r.AfterCommit.Done[0].Ticket != 3 {
		t.Errorf("Done %+v", r.AfterCommit.Done)
	}
	b.boot()
	if got := b.e.View(b.now).AddressKey; got != (dhcp6.AddressKey{1, 2, 3}) {
		t.Errorf("after a restart the key is %x", got)
	}
	for _, v := range []storage.Value{{Name: storage.ServerDUID, Data: []byte{1}}, {Name: storage.AddressKey, Data: []byte{1}}, {Name: storage.TimeFloor, Data: []byte{1}}} {
		if err := b.e.LoadValue(v); err == nil {
			t.Errorf("LoadValue(%v) took it", v)
		}
	}
}

// A lease ends, is remembered, and is forgotten.
func TestLeaseEnds(t *testing.T) {
	b := newBox(t, 1000)
	b.step(b.client(dhcp6.Request, 1))
	held := b.held(1)
	b.pass(100 + ExpiryGrace - 1)
	if got := b.held(1); !slices.Equal(got, held) {
		t.Fatalf("within the grace: %v", got)
	}
	b.pass(2)
	if got := b.held(1); len(got) != 0 {
		t.Fatalf("after the end: %v", got)
	}
	if d := b.disk[held[0]]; d == nil || d.Status != lease.Free {
		t.Fatalf("on disk: %+v", d)
	}
	// D-239: it comes back to the same leases, even with a pool full of others.
	b.step(b.client(dhcp6.Request, 1))
	if got := b.held(1); !slices.Equal(got, held) {
		t.Errorf("came back to %v, had %v", got, held)
	}
	b.pass(100 + ExpiryGrace + 500 + ExpiryGrace + 2)
	if len(b.disk) != 0 || b.e.table.Len() != 0 {
		t.Errorf("not forgotten: %d on disk, %d in the table", len(b.disk), b.e.table.Len())
	}
}

// D-130, D-135: a declined address is quarantined across restarts, and the
// operator can clear it.
func TestDeclinedIsQuarantined(t *testing.T) {
	b := newBox(t, 1000)
	b.step(b.client(dhcp6.Request, 1))
	declined := b.held(1)[0]
	b.step(b.client(dhcp6.Decline, 1, declined))
	b.boot()
	if got := b.e.table.Get(declined); got == nil || got.Status != lease.Abandoned {
		t.Fatalf("after a restart: %+v", got)
	}
	b.step(b.client(dhcp6.Request, 1))
	if slices.Contains(b.held(1), declined) {
		t.Fatal("given again")
	}
	r := b.step(Clear{Ticket: 7, Prefix: declined})
	if len(r.AfterCommit.Done) != 1 || r.AfterCommit.Done[0] != (Done{Ticket: 7}) {
		t.Errorf("Done %+v", r.AfterCommit.Done)
	}
	if b.e.table.Get(declined) != nil {
		t.Error("not cleared")
	}
	r = b.step(Clear{Ticket: 8, Prefix: declined})
	if !errors.Is(r.AfterCommit.Done[0].Err, ErrNoLease) {
		t.Errorf("cleared twice: %+v", r.AfterCommit.Done)
	}
	// The other way out is time.
	b.step(b.client(dhcp6.Decline, 1, b.held(1)[0]))
	b.pass(1000 + ExpiryGrace + 1)
	if n := b.e.table.Count(lease.Abandoned); n != 0 {
		t.Errorf("%d addresses in quarantine for ever", n)
	}
}

// D-342: a board without a clock chip boots in 1970, and learns the time later.
func TestClockJumps(t *testing.T) {
	b := newBox(t, 500_000)
	b.step(b.client(dhcp6.Request, 1))
	old := b.held(1)
	b.now = lease.Clock{Mono: time.Second, Wall: -900_000_000} // 1970
	b.boot()
	if b.e.clock.trusted {
		t.Fatal("the clock of 1970 is trusted")
	}
	if got := b.held(1); !slices.Equal(got, old) {
		t.Fatalf("leases ended by the wrong date: %v", got)
	}
	b.pass(5)
	b.step(b.client(dhcp6.Request, 2)) // given in the wrong era
	held := b.held(2)
	if got := b.disk[held[0]].LastTransaction; got < 500_000 {
		t.Fatalf("a record from %v", got)
	}
	// A week later by the calendar: NTP has answered.
	b.now.Wall = 500_000 + 7*86400
	r := b.step(Wake{})
	if !strings.Contains(kinds(r.Trace), "clock_trusted") {
		t.Errorf("trace: %s", kinds(r.Trace))
	}
	b.pass(50)
	if got := b.held(2); !slices.Equal(got, held) {
		t.Errorf("the lease ended by the jump of the clock: %v, want %v", got, held)
	}
	if got := b.held(1); len(got) != 0 {
		t.Errorf("a lease of last week is still held: %v", got)
	}
	b.pass(60 + ExpiryGrace)
	if got := b.held(2); len(got) != 0 {
		t.Errorf("the shifted lease never ends: %v", got)
	}

	// A clock that seemed right is set, forward and backward: the engine follows,
	// and what is left to the leases stays the same.
	b.step(b.client(dhcp6.Request, 3))
	held = b.held(3)
	for _, by := range []lease.Time{3600, -5 * 86400} {
		left := b.e.table.Get(held[0]).Expires - b.now.Wall
		b.now.Wall += by
		r = b.step(Wake{})
		if b.e.View(b.now).At.Wall != b.now.Wall || !strings.Contains(kinds(r.Trace), "clock_set") {
			t.Errorf("set by %d: the engine has %v, trace: %s", by, b.e.View(b.now).At.Wall, kinds(r.Trace))
		}
		// Set forward, the lease keeps what is left; set back, it lasts longer.
		if now := b.e.table.Get(held[0]).Expires - b.now.Wall; now != left+max(-by, 0) {
			t.Errorf("set by %d: %d s are left of the lease, had %d", by, now, left)
		}
	}
	b.pass(99)
	if got := b.held(3); !slices.Equal(got, held) {
		t.Errorf("the lease ended early: %v, want %v", got, held)
	}
	b.pass(5*86400 + 2 + ExpiryGrace)
	if got := b.held(3); len(got) != 0 {
		t.Errorf("the lease does not end: %v", got)
	}
}

// A clock that was once ahead has left its dates on the disk. When it comes to
// them again, the engine agrees with it and with its partners.
func TestClockCatchesUp(t *testing.T) {
	b := newBox(t, 500_000)
	b.step(b.client(dhcp6.Request, 1))
	b.now.Wall -= 3600
	b.boot()
	b.step(b.client(dhcp6.Request, 2))
	left := b.e.table.Get(b.held(2)[0]).Expires - b.e.View(b.now).At.Wall
	for passed := 0; !b.e.clock.trusted; passed += 60 {
		if passed > 3660 {
			t.Fatalf("after %d s the engine has %v, the wall clock %v", passed, b.e.View(b.now).At.Wall, b.now.Wall)
		}
		b.now.Mono += time.Minute
		b.now.Wall += 60
		b.step(b.client(dhcp6.Renew, 2, b.held(2)...))
	}
	if now := b.e.View(b.now).At.Wall; now != b.now.Wall {
		t.Errorf("the engine has %v, the wall clock %v", now, b.now.Wall)
	}
	if got := b.e.table.Get(b.held(2)[0]).Expires - b.now.Wall; got < left {
		t.Errorf("%d s are left of a lease that was extended just now, want at least %d", got, left)
	}
}

// A clock that is set back by mistake, and right again after a restart: what was
// given meanwhile has dates that are too early, and lasts as long as promised.
func TestSetBackByMistake(t *testing.T) {
	b := newBox(t, 500_000)
	b.now.Wall -= 3600
	b.step(Wake{})
	b.now.Mono += 7200 * time.Second
	b.now.Wall += 7200
	b.step(b.client(dhcp6.Request, 1))
	held := b.held(1)
	b.now.Wall += 3600 // the right time
	b.boot()
	if got := b.held(1); !slices.Equal(got, held) {
		t.Fatalf("the lease ended by the wrong date: %v, want %v", got, held)
	}
	if got := b.e.table.Get(held[0]); got.LastTransaction < b.now.Wall-10 || got.LastTransaction > b.now.Wall {
		t.Errorf("the client was served at %v, it says, now it is %v", got.LastTransaction, b.now.Wall)
	}
	if v, ok := b.values[storage.ClockSetBack]; ok && v != nil {
		t.Error("the step is not forgotten")
	}
	if err := b.e.LoadValue(storage.Value{Name: storage.ClockSetBack, Data: []byte{1}}); err == nil {
		t.Error("LoadValue takes a damaged step")
	}
}

// The reader of the clock may know that it is behind although the disk does not
// say so: nobody has told it the time yet.
func TestClockNotSetYet(t *testing.T) {
	b := newBox(t, 500_000)
	b.step(b.client(dhcp6.Request, 1))
	b.now.Untrusted = true
	b.boot()
	if b.e.View(b.now).ClockTrusted {
		t.Fatal("a clock that was not set is trusted")
	}
	b.step(b.client(dhcp6.Request, 2))
	old, new := b.held(1)[0], b.held(2)[0]
	ends := b.e.table.Get(old).Expires
	b.now.Wall += 40
	b.now.Untrusted = false
	b.step(Wake{})
	if b.e.table.Get(old).Expires != ends {
		t.Error("a lease of the time before, when the date was right, was shifted")
	}
	if got := b.e.table.Get(new).Expires - b.now.Wall; got != 100 {
		t.Errorf("%d s are left of the new lease", got)
	}
}

// Group commit: what is promised behind a batch leaves when it is on disk.
func TestPipeline(t *testing.T) {
	var p Pipeline
	var out Outputs
	at := time.Hour
	packet := func(s string) dhcp6.Output { return dhcp6.Output{Data: []byte(s), Made: at} }
	text := func() (s string) {
		for _, o := range out.Packets {
			s += string(o.Data)
		}
		out.Reset()
		return s
	}
	p.Open().Now.Packets = append(p.Open().Now.Packets, packet("a"))
	p.Open().AfterCommit.Packets = append(p.Open().AfterCommit.Packets, packet("b"))
	if batch := p.Advance(at, &out); batch != nil || text() != "ab" {
		t.Fatal("without a batch everything leaves at once")
	}
	p.Open().Commit.Delete(netip.MustParsePrefix("2001:db8::/56"))
	p.Open().AfterCommit.Packets = append(p.Open().AfterCommit.Packets, packet("c"))
	batch := p.Advance(at, &out)
	if batch == nil || len(batch.Changes) != 1 || text() != "" {
		t.Fatal("c left before its batch was on disk")
	}
	p.Open().AfterCommit.Packets = append(p.Open().AfterCommit.Packets, packet("d"))
	p.Open().Now.Packets = append(p.Open().Now.Packets, packet("e"))
	if p.Advance(at, &out) != nil || text() != "e" {
		t.Fatal("d rests on the batch that flies")
	}
	p.Open().Commit.Set("x", nil)
	p.Committed(at, &out)
	if got := text(); got != "c" {
		t.Fatalf("after the first commit: %q", got)
	}
	if batch = p.Advance(at, &out); batch == nil || len(batch.Values) != 1 || len(batch.Changes) != 0 {
		t.Fatalf("second batch %+v", batch)
	}
	p.Committed(at, &out)
	if got := text(); got != "d" {
		t.Fatalf("after the second commit: %q", got)
	}

	// What a slow disk has held up for too long is dropped.
	p.Open().Commit.Set("x", nil)
	p.Open().AfterCommit.Packets = append(p.Open().AfterCommit.Packets, packet("f"))
	p.Advance(at, &out)
	p.Open().AfterCommit.Packets = append(p.Open().AfterCommit.Packets, packet("g"))
	at += lateMax
	p.Open().AfterCommit.Packets = append(p.Open().AfterCommit.Packets, packet("h"))
	p.Committed(at, &out)
	at++
	p.Advance(at, &out)
	if got := text(); got != "fh" || p.Late() != 1 {
		t.Errorf("after a slow commit: %q, %d late", got, p.Late())
	}

	// A batch that is too large for the store goes in parts, and then what rests on it.
	for i := range changesPerBatch + 1 {
		p.Open().Commit.Delete(netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 14: byte(i >> 8), 15: byte(i)}), 128))
	}
	p.Open().Commit.Set("y", nil)
	p.Open().AfterCommit.Packets = append(p.Open().AfterCommit.Packets, packet("i"))
	if batch = p.Advance(at, &out); len(batch.Changes) != changesPerBatch || len(batch.Values) != 0 {
		t.Errorf("the first part has %d changes and %d values", len(batch.Changes), len(batch.Values))
	}
	p.Committed(at, &out)
	if got := text(); got != "" {
		t.Errorf("%q left after the first part", got)
	}
	if batch = p.Advance(at, &out); batch == nil || len(batch.Changes) != 1 || len(batch.Values) != 1 {
		t.Fatalf("the second part is %+v", batch)
	}
	p.Committed(at, &out)
	if got := text(); got != "i" {
		t.Errorf("%q left after the second part", got)
	}
}
