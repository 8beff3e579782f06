package lease

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A pair of servers with one lease between them, for as long as it takes: enough
// of a failover relationship to judge the rules of this package by what clients
// get to see. Each server does with its record what RFC 8156 says and this
// package decides, messages travel in order or are lost with their connection,
// and the clocks differ by up to the 5 seconds allowed.

const (
	pairMCLT     = 600
	pairDesired  = 3000
	pairRemember = 5000
	pairGrace    = 15 // Q-33, and what the clocks may differ by
	pairScan     = 60
	pairFlight   = 60 // FO_KEEPALIVE_TIME: a message that takes longer is lost with its connection
)

type frame struct {
	at       Time     // when it left
	sent     *Binding // the update was built from it
	reply    bool     // or is answered
	rejected bool
	echo     Time
}

// server is one of the two.
type server struct {
	role      Role
	skew      Time // of its clock
	b         *Binding
	changes   uint64
	toldEnd   bool     // the partner was told that the lease ended, and may have agreed
	sent      *Binding // outstanding
	retry     Time
	downSince Time // of its partner: it is in PARTNER-DOWN
	failed    Time // it is down, or recovering, since then
	up        bool
	started   Time // again, after a failure
	lost      bool // its storage, at that failure
}

type pair struct {
	t         *rapid.T
	now       Time // true time
	p         netip.Prefix
	servers   [2]*server // primary, secondary
	links     [2][]frame // towards each
	connected bool
	until     map[DUID]Time // when each client's lease ends in truth
	log       []string
	frames    int
}

func newPair(t *rapid.T) *pair {
	p := netip.MustParsePrefix([]string{"2001:db8:1::/56", "2001:db8::1/128", "2001:db8::2/128", "2001:db8:1::/56"}[bits(t, 2, "lease")])
	x := &pair{t: t, now: 1_000_000, p: p, until: map[DUID]Time{}}
	x.servers[0] = &server{role: Primary, up: true}
	x.servers[1] = &server{role: Secondary, up: true, skew: []Time{0, -5, -5, -3, -1, 2, 4, 5}[bits(t, 3, "skew")]}
	return x
}

func (x *pair) clock(i int) Time { return x.now + x.servers[i].skew }

func (x *pair) note(format string, args ...any) {
	x.log = append(x.log, fmt.Sprintf("%d ", x.now)+fmt.Sprintf(format, args...))
}

func (x *pair) fail(format string, args ...any) {
	for _, line := range x.log {
		x.t.Log(line)
	}
	x.t.Fatalf(format, args...)
}

// put stores a change of the server's own.
func (x *pair) put(i int, b Binding) {
	s := x.servers[i]
	s.changes++
	b.Change = s.changes
	x.store(i, &b)
}

func (x *pair) store(i int, b *Binding) {
	if err := b.Check(); err != nil {
		x.fail("server %d would store: %v", i, err)
	}
	x.servers[i].b = b
	x.note("server %d: %v", i, show(b))
}

func show(b *Binding) string {
	if b == nil {
		return "nothing"
	}
	return fmt.Sprintf("%v %q until %d since %d clt %d raw %d announced %d acked %d confirmed %d change %d", b.Status, b.Client,
		int64(b.Expires), int64(b.StartOfState), int64(b.LastTransaction), int64(b.PartnerRawCLT), int64(b.PartnerLifetime),
		int64(b.AckedPartnerLifetime), int64(b.ExpirationTime), b.Change)
}

func (x *pair) ia(client DUID) IA {
	typ := IANA
	if x.p.Bits() != 128 {
		typ = IAPD
	}
	return IA{Link: "lan", Client: client, Type: typ, ID: 1}
}

func (x *pair) status(i int) Status {
	if b := x.servers[i].b; b != nil {
		return b.Status
	}
	return Freed(x.p)
}

// serves reports whether the server answers clients.
func (x *pair) serves(i int) bool { return x.servers[i].up && x.servers[i].failed == 0 }

// mayAssign reports whether the server may give the lease to any client.
func (x *pair) mayAssign(i int) bool {
	s, status := x.servers[i], x.status(i)
	switch {
	case status == s.role.Available():
		return true
	case !status.Available() || s.downSince == 0 || x.p.Bits() == 128:
		return false
	}
	available := Binding{Status: status}
	return x.clock(i) >= available.ReuseAt(pairMCLT, s.downSince)+pairGrace
}

// ask has a client want the lease from a server: a Request, Renew or Rebind.
func (x *pair) ask(client DUID, i int) {
	s, now := x.servers[i], x.clock(i)
	if !x.serves(i) {
		return
	}
	n := Binding{Prefix: x.p, IA: x.ia(client), Status: Active, StartOfState: now, LastTransaction: now}
	switch b := s.b; {
	case s.toldEnd && b != nil && !b.Status.Available():
		return // not even the client gets it (RFC 8156 section 8.8.1)
	case b != nil && b.Status == Active && b.sameClient(n.IA):
		n = *b
		n.LastTransaction = now
	case b != nil && (b.Status == Expired || b.Status == Released) && b.sameClient(n.IA):
		n = *b // L-14: the partner has not been told
		n.Status, n.StartOfState, n.LastTransaction = Active, now, now
	case !x.mayAssign(i):
		return
	}
	n.Valid = Grant(pairDesired, n.AckedPartnerLifetime, now, pairMCLT)
	if s.downSince != 0 && !x.connected {
		n.Valid = pairDesired
	}
	n.Expires = now.Add(n.Valid)
	n.HeldUntil = n.Expires
	n.PartnerLifetime = max(n.PartnerLifetime, Announce(now, 0, n.Valid, pairDesired))
	if s.downSince == 0 && !x.servers[1-i].lost {
		x.checkLead(i, &n, now)
	}
	x.until[client] = x.now.Add(n.Valid)
	x.put(i, n)
	for c, until := range x.until {
		if c != client && until > x.now {
			x.fail("server %d leases to %q, but %q holds it until %d", i, client, c, until)
		}
	}
}

// checkLead holds the fundamental rule against what the partner has on disk.
func (x *pair) checkLead(i int, n *Binding, now Time) {
	known := now
	if b := x.servers[1-i].b; b != nil && b.Client == n.Client && !b.Status.Available() {
		known = max(known, b.ExpirationTime)
	}
	if n.Expires > known+pairMCLT {
		x.fail("server %d lets %q have it until %d, MCLT beyond what its partner knows is %d: %s", i, n.Client, n.Expires, known+pairMCLT, show(x.servers[1-i].b))
	}
}

// end has a server end what the client had.
func (x *pair) end(i int, status Status) {
	e := *x.servers[i].b
	e.Status, e.StartOfState = status, x.clock(i)
	e.Preferred, e.Valid, e.T1, e.T2, e.Expires, e.HeldUntil = 0, 0, 0, 0, 0, 0
	x.put(i, e)
}

// release has the holder of the lease give it back to a server, or decline it.
func (x *pair) release(client DUID, i int, status Status) {
	b := x.servers[i].b
	if !x.serves(i) || b == nil || b.Status != Active || b.Client != client {
		return
	}
	delete(x.until, client)
	c := *b
	c.LastTransaction = x.clock(i)
	x.servers[i].b = &c
	x.end(i, status)
}

// reset is the operator's.
func (x *pair) reset(i int) {
	if x.serves(i) && x.status(i) == Abandoned {
		x.end(i, Reset)
	}
}

// rebalance has the primary give a prefix, or ask it back.
func (x *pair) rebalance() {
	s := x.servers[0]
	if x.p.Bits() == 128 || !x.connected || !x.serves(0) || !x.serves(1) || s.sent != nil || s.b != nil && s.b.Change != 0 {
		return
	}
	switch x.status(0) {
	case Free:
		n := Binding{Prefix: x.p, IA: x.ia(""), Status: FreeBackup, StartOfState: x.clock(0)}
		if s.b != nil {
			n.IA = s.b.IA
		}
		x.put(0, n)
		x.send(0)
	case FreeBackup: // it stays what it is until the partner agrees
		x.put(0, *s.b)
		x.send(0)
		taken := *s.b
		taken.Status, taken.StartOfState = Free, x.clock(0)
		s.sent = &taken
		x.links[1][len(x.links[1])-1].sent = &taken
	}
}

// tick lets time end what ends by itself.
func (x *pair) tick(i int) {
	s, now := x.servers[i], x.clock(i)
	b := s.b
	switch {
	case !s.up || b == nil:
	case b.Status == Active && now >= b.End()+pairGrace:
		x.end(i, Expired)
	case b.Status.ended() && s.downSince != 0 && now >= b.ReuseAt(pairMCLT, s.downSince)+pairGrace:
		n := *b
		n.Change = 1
		n.free(Freed(x.p), now, pairRemember)
		x.put(i, n)
	case b.Status.Available() && b.Change == 0 && b.Expires != 0 && now >= b.Expires+pairGrace:
		s.b = nil
	}
	x.send(i)
}

// send tells the partner what it has to know.
func (x *pair) send(i int) {
	s := x.servers[i]
	if !x.connected || !s.up || s.b == nil || s.b.Change == 0 || s.sent != nil || x.clock(i) < s.retry {
		return
	}
	s.sent = s.b
	s.toldEnd = s.toldEnd || s.b.Status.ended()
	x.links[1-i] = append(x.links[1-i], frame{at: x.now, sent: s.b})
}

// updateOf is b as a BNDUPD says it (digest 7.3).
func updateOf(b *Binding) *Update {
	u := &Update{Prefix: b.Prefix, IA: b.IA, Status: b.Status, StartOfState: b.StartOfState, CLT: b.LastTransaction, PartnerRawCLT: b.PartnerRawCLT}
	switch {
	case b.Status == Active:
		u.Preferred, u.Valid, u.T1, u.T2 = b.Preferred, b.Valid, b.T1, b.T2
		u.Expires, u.PartnerLifetime, u.ExpirationTime = b.Expires, b.PartnerLifetime, b.ExpirationTime
	case b.Status.Available() && b.Prefix.Bits() != 128:
		u.IA, u.CLT, u.PartnerRawCLT = IA{Link: b.Link, Type: IAPD}, 0, 0 // bare
	}
	return u
}

// deliver hands the oldest message to server i.
func (x *pair) deliver(i int) {
	if !x.connected || len(x.links[i]) == 0 {
		return
	}
	f := x.links[i][0]
	x.links[i] = x.links[i][1:]
	x.frames++
	s, now := x.servers[i], x.clock(i)
	if f.reply {
		s.sent = nil
		s.retry = now + pairScan
		if !f.rejected {
			s.retry, s.toldEnd = now, false
			if c := Confirmed(s.b, f.sent, f.echo, now, pairRemember); c != s.b {
				x.store(i, c)
			}
		}
		return
	}
	u := updateOf(f.sent)
	verdict := u.Judge(s.b, s.role, now)
	x.note("server %d judges %s: %v", i, show(f.sent), verdict)
	switch verdict {
	case Accept:
		x.store(i, u.Accepted(s.b, now, pairRemember))
	case Incomplete:
		x.fail("incomplete: %+v", u)
	case Outdated:
		if s.b.Change == 0 {
			x.put(i, *s.b)
			s.retry = now
		}
	}
	x.links[1-i] = append(x.links[1-i], frame{at: x.now, sent: f.sent, reply: true, rejected: verdict != Accept, echo: u.PartnerLifetime})
	x.send(i)
}

func (x *pair) connect() {
	if x.servers[0].up && x.servers[1].up && !x.connected {
		x.note("connected")
		x.connected = true
	}
}

func (x *pair) cut() {
	x.note("cut")
	x.connected = false
	x.links = [2][]frame{}
	for _, s := range x.servers {
		s.sent, s.retry = nil, 0
	}
}

// crash ends a server, with or without its storage. Its partner may be told
// some time later.
func (x *pair) crash(i int, lost bool) {
	s := x.servers[i]
	if !x.serves(0) || !x.serves(1) || x.servers[0].downSince != 0 || x.servers[1].downSince != 0 {
		return
	}
	if lost && s.b != nil && s.b.Change != 0 && x.servers[1-i].b != nil && !x.status(1-i).Available() {
		lost = false // RFC 8156 has no answer to the loss of news about a lease that the partner may end meanwhile
	}
	x.cut()
	x.note("server %d crashes, storage lost: %v", i, lost)
	s.up, s.failed, s.lost = false, x.clock(i), lost
	if lost {
		s.b, s.changes, s.toldEnd = nil, 0, false
	}
}

func (x *pair) partnerDown(i int) {
	if x.serves(i) && !x.servers[1-i].up && x.servers[i].downSince == 0 {
		x.note("server %d: partner down", i)
		x.servers[i].downSince = x.clock(i)
	}
}

func (x *pair) restart(i int) {
	s := x.servers[i]
	if s.up {
		return
	}
	x.note("server %d starts", i)
	s.up, s.started = true, x.clock(i)
	if !s.lost && x.servers[1-i].downSince == 0 {
		s.failed = 0 // COMMUNICATIONS-INTERRUPTED
	}
	if partner := x.servers[1-i]; s.lost && partner.b != nil { // UPDREQALL
		x.put(1-i, *partner.b)
	}
}

// recover ends RECOVER-WAIT, and with it PARTNER-DOWN, once the server has been
// told everything and all leases that only it knew of are over.
func (x *pair) recover(i int) {
	s, partner := x.servers[i], x.servers[1-i]
	since := s.failed
	if s.lost {
		since = s.started
	}
	if s.up && s.failed != 0 && x.connected && (partner.b == nil || partner.b.Change == 0) && x.clock(i) >= since+pairMCLT {
		x.note("server %d has recovered", i)
		s.failed, s.lost, partner.downSince = 0, false, 0
	}
}

func (x *pair) pass(by Time) {
	for range 8 {
		x.tick(0)
		x.tick(1)
	}
	x.now += by
	for _, frames := range x.links {
		if len(frames) > 0 && x.now-frames[0].at > pairFlight {
			x.cut()
		}
	}
	x.tick(0)
	x.tick(1)
}

// settled reports whether neither has anything to tell.
func (x *pair) settled() bool {
	for i, s := range x.servers {
		if s.b != nil && s.b.Change != 0 || len(x.links[i]) > 0 {
			return false
		}
	}
	return true
}

// equal reports whether both know the same.
func (x *pair) equal() bool {
	a, b := x.servers[0].b, x.servers[1].b
	switch {
	case x.status(0) != x.status(1):
		return false
	case a == nil || b == nil || a.Status.Available():
		return true
	}
	return a.IA == b.IA // of two renewals at the same time each may have the one or the other
}

// bits draws a number of n bits, all equally likely, which rapid's ranges are not.
func bits(t *rapid.T, n int, label string) (v int) {
	for range n {
		v <<= 1
		if rapid.Bool().Draw(t, label) {
			v |= 1
		}
	}
	return v
}

// step does one random thing.
func (x *pair) step() {
	t := x.t
	op, i := bits(t, 5, "op"), bits(t, 1, "server")
	client := DUID([]string{"\x00\x03a", "\x00\x03b", "\x00\x03a", "\x00\x03c"}[bits(t, 2, "client")])
	switch {
	case op < 6:
		x.ask(client, i)
	case op < 9:
		x.release(client, i, Released)
	case op < 10:
		x.release(client, i, Abandoned)
	case op < 11:
		x.reset(i)
	case op < 18:
		x.deliver(i)
	case op < 20:
		x.connect()
	case op < 21:
		x.cut()
	case op < 23:
		x.rebalance()
	case op < 28:
		x.pass([]Time{0, 1, 1, 2, 2, 4, 4, 7, 7, 15, 20, 60, 300, 600, 700, 3100}[bits(t, 4, "seconds")])
	case op < 29:
		x.crash(i, bits(t, 2, "lost") == 0)
	case op < 30:
		x.partnerDown(i)
	case op < 31:
		x.restart(i)
	default:
		x.recover(i)
	}
}

// quiet ends all faults and has the messages flow until there are none, for at
// most some seconds. It returns false if it lasts longer.
func (x *pair) quiet(seconds Time) bool {
	for i := range x.servers {
		x.restart(i)
	}
	x.connect()
	for end := x.now + seconds; x.now < end; x.pass(pairScan) {
		for range 20 {
			x.tick(0)
			x.tick(1)
			x.deliver(0)
			x.deliver(1)
			x.recover(0)
			x.recover(1)
		}
		if x.settled() && x.serves(0) && x.serves(1) {
			return true
		}
	}
	return false
}

// histories checks a property of thirty times as many histories as rapid would;
// most of them are uneventful.
func histories(t *testing.T, property func(*rapid.T)) {
	for range 30 {
		rapid.Check(t, property)
	}
}

// F-153: no client ever has a lease for longer than its servers may promise, no
// two have it at once, and when faults end both servers know the same.
func TestPair(t *testing.T) {
	histories(t, func(t *rapid.T) {
		x := newPair(t)
		for range bits(t, 8, "steps") {
			x.step()
		}
		if !x.quiet(20 * pairDesired) {
			x.fail("does not settle: %s", x)
		}
		if !x.equal() {
			x.fail("settled on different records: %s", x)
		}
		for range 200 {
			x.pass(pairScan)
			x.quiet(1)
		}
		if !x.equal() || !x.settled() || x.status(0) != Abandoned && !x.status(0).Available() {
			x.fail("long after: %s", x)
		}
	})
}

// Whatever the two believe at first, each with something to tell: they settle
// on one story, and soon unless a client's lease stands against it.
func TestPairSettles(t *testing.T) {
	histories(t, func(t *rapid.T) {
		x := newPair(t)
		running := false
		for i := range x.servers {
			moment := func(label string) Time {
				return x.now - []Time{0, 1, 3, 5, 6, 8, 100, 3_000}[bits(t, 3, label)]
			}
			b := Binding{Prefix: x.p, IA: x.ia([]DUID{clientA, clientB}[bits(t, 1, "client")]), StartOfState: moment("since")}
			b.Status = []Status{Active, Expired, Released, Abandoned, Reset, Free, FreeBackup, Active}[bits(t, 3, "status")]
			if bits(t, 1, "own contact") == 1 {
				b.LastTransaction = moment("contact")
			}
			switch b.Status {
			case Free, FreeBackup:
				b.LastTransaction = 0
				if x.p.Bits() == 128 {
					b.Status = Freed(x.p)
				}
			case Active:
				b.Expires = x.now + []Time{-100, -6, -5, 0, 5, 6, 100, 3_000}[bits(t, 3, "expires")]
				b.HeldUntil = b.Expires
				b.PartnerLifetime = b.Expires
				b.ExpirationTime = x.now + []Time{-3_000, -100, 100, 3_000}[bits(t, 2, "confirmed")]
				if bits(t, 1, "partner's contact") == 1 {
					b.PartnerRawCLT = moment("partner's contact")
				}
				running = running || b.End()+pairGrace > x.now
			}
			x.put(i, b)
		}
		if !running {
			if !x.quiet(4 * pairScan) {
				x.fail("does not settle in four scans: %s", x)
			}
			if x.frames > 16 {
				x.fail("%d messages for one lease", x.frames)
			}
		}
		if !x.quiet(20 * pairDesired) {
			x.fail("does not settle: %s", x)
		}
		if !x.equal() {
			x.fail("settled on different records: %s", x)
		}
	})
}

func (x *pair) String() string {
	var b strings.Builder
	for i, s := range x.servers {
		fmt.Fprintf(&b, "\nserver %d: %s", i, show(s.b))
	}
	return b.String()
}
