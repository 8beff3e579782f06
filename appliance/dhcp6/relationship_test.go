package dhcp6

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
)

// state is that of a failover endpoint (RFC 8156 section 8).
type state uint8

const (
	startup state = iota
	normal
	interrupted // COMMUNICATIONS-INTERRUPTED
	partnerDown
	conflict // POTENTIAL-CONFLICT
	recovering
	recoverWait
	recoverDone
	resolution // RESOLUTION-INTERRUPTED
	conflictDone
)

var stateNames = [...]string{"STARTUP", "NORMAL", "COMMUNICATIONS-INTERRUPTED", "PARTNER-DOWN", "POTENTIAL-CONFLICT",
	"RECOVER", "RECOVER-WAIT", "RECOVER-DONE", "RESOLUTION-INTERRUPTED", "CONFLICT-DONE"}

func (s state) String() string { return stateNames[s] }

// half is the Policy of one server of a pair: the rules of RFC 8156 sections
// 4.2, 4.4 and 8, without their endpoint. What the partner says is set by hand.
type half struct {
	role  lease.Role
	state state
	down  time.Duration // when PARTNER-DOWN began
	mclt  uint32
	sent  map[netip.Prefix]bool // the partner was told of the end of these
	last  uint64                // number of the latest change

	asked  []question // what MayAssign was asked
	causes []Cause    // why leases ended
}

type question struct {
	prefix   netip.Prefix
	status   lease.Status // 0: no record
	reserved bool
}

func newHalf(role lease.Role, s state) *half {
	return &half{role: role, state: s, down: testStart.Mono, mclt: 3600, sent: map[netip.Prefix]bool{}}
}

func (h *half) Serves(string) Service {
	switch h.state {
	case normal:
		if h.role == lease.Secondary {
			return RenewResponsive
		}
		return Responsive
	case interrupted, partnerDown, resolution, conflictDone:
		return Responsive
	case recoverDone:
		return RenewOnly
	}
	return Unresponsive
}

func (h *half) MayAssign(now lease.Clock, p netip.Prefix, b *lease.Binding, ia lease.IA, reserved bool) Claim {
	q := question{prefix: p, reserved: reserved}
	owner := lease.Freed(p)
	if b != nil {
		q.status = b.Status
		if b.Status.Available() && p.Bits() != 128 {
			owner = b.Status
		}
	}
	h.asked = append(h.asked, q)
	switch {
	case h.state == recoverDone:
		return NotOurs
	case b != nil && !b.Status.Available():
		if (b.Status == lease.Expired || b.Status == lease.Released) && b.IA == ia && !h.sent[p] {
			return Ours
		}
		return NotOurs
	case reserved, owner == h.role.Available():
		return Ours
	case p.Bits() != 128 && h.state == partnerDown && now.Mono >= h.down+time.Duration(h.mclt)*time.Second:
		return LastResort
	}
	return NotOurs
}

func (h *half) Valid(now lease.Clock, p netip.Prefix, b *lease.Binding, ia lease.IA, desired uint32) uint32 {
	if h.state == partnerDown {
		return desired
	}
	remaining := lease.Time(0)
	if b != nil && b.IA == ia {
		remaining = max(0, b.AckedPartnerLifetime-now.Wall)
	}
	return uint32(min(lease.Time(desired), remaining+lease.Time(h.mclt)))
}

func (h *half) Bind(now lease.Clock, old, b *lease.Binding, desired uint32) {
	b.HeldUntil = b.Expires
	if old != nil && old.IA == b.IA {
		b.AckedPartnerLifetime, b.PartnerLifetime = old.AckedPartnerLifetime, old.PartnerLifetime
	}
	b.PartnerLifetime = max(b.PartnerLifetime, now.Wall.Add(b.T1).Add(desired))
	h.last++
	b.Change = h.last
}

func (h *half) End(now lease.Clock, b, e *lease.Binding, cause Cause) {
	h.causes = append(h.causes, cause)
	h.last++
	e.Change = h.last
	delete(h.sent, b.Prefix)
	switch cause {
	case RanOut:
		e.Status = lease.Expired
	case Declined:
		e.Status = lease.Abandoned
	case Cleared:
		e.Status = lease.Reset
	default:
		e.Status = lease.Released
	}
	if b.Status == lease.Abandoned {
		e.Status = lease.Reset
	}
}

// agree is the partner's answer to all that it was not told of yet.
func (h *half) agree(d *desk) {
	for b := range d.table.From(netip.Prefix{}) {
		if b.Change == 0 {
			continue
		}
		a := *b
		a.Change = 0
		switch b.Status {
		case lease.Active:
			a.AckedPartnerLifetime = b.PartnerLifetime
		case lease.Expired, lease.Released, lease.Reset:
			a.Status, a.PartnerLifetime, a.AckedPartnerLifetime = lease.Freed(b.Prefix), 0, 0
		}
		d.table.Put(&a)
	}
}

// deskIn is a desk with one server of a pair, which gives leases to clients as
// configured by changes of the first link.
func deskIn(t tester, role lease.Role, s state, changes ...func(*Link)) (*desk, *half) {
	cfg := branch(lanWith(func(l *Link) { l.RapidCommit, l.CreateOnRenew = false, true }))
	for _, change := range changes {
		change(&cfg.Links[0])
	}
	d, h := newDesk(t, cfg), newHalf(role, s)
	d.policy = h
	return d, h
}

// give makes prefixes the secondary's.
func (d *desk) give(ps ...netip.Prefix) {
	for _, p := range ps {
		b := &lease.Binding{Prefix: p, Status: lease.FreeBackup, StartOfState: d.now.Wall}
		b.Link, b.Type = "lan", lease.IAPD
		d.table.Put(b)
	}
}

// What each state answers: F-282, F-295, F-303, F-310, F-316, F-326, F-333,
// F-345, F-354, F-360. A message that names another server is never answered
// nor is a Renew in RECOVER-DONE that another state would answer with
// a new lease.
func TestServices(t *testing.T) {
	all := []MessageType{Solicit, Request, Confirm, Renew, Rebind, Release, Decline, InformationRequest}
	naming := []MessageType{Request, Renew, Release, Decline}
	for _, tt := range []struct {
		state              state
		primary, secondary []MessageType
	}{
		{startup, nil, nil},
		{normal, all, naming},
		{interrupted, all, all},
		{partnerDown, all, all},
		{conflict, nil, nil},
		{recovering, nil, nil},
		{recoverWait, nil, nil},
		{recoverDone, []MessageType{Renew}, []MessageType{Renew}},
		{resolution, all, all},
		{conflictDone, all, all},
	} {
		for role, answered := range map[lease.Role][]MessageType{lease.Primary: tt.primary, lease.Secondary: tt.secondary} {
			for _, typ := range all {
				d, h := deskIn(t, role, interrupted)
				c := d.client(1)
				held := c.send(Request, na(1))
				if !held.na(1).only().IsValid() {
					t.Fatalf("%v: %+v", role, held.ias)
				}
				h.state = tt.state
				var ias [][]byte
				if typ != InformationRequest {
					ias = held.request()
				}
				a := c.send(typ, ias...)
				if want := slices.Contains(answered, typ); want != (a.typ != 0) || !want && a.reason != trace.NotResponsive {
					t.Errorf("%v in %v, type %d: answer of type %d, reason %q", role, tt.state, typ, a.typ, a.reason.Name())
				}
				if slices.Contains(naming, typ) {
					c.silent(trace.ForeignServerID, c.bare(typ, slices.Concat([][]byte{opt(1, []byte(c.duid)), opt(2, []byte(otherDUID))}, ias)...))
				}
			}
			d, h := deskIn(t, role, tt.state)
			c := d.client(1)
			named := c.handle(c.packet(c.bare(InformationRequest, opt(1, []byte(c.duid)), opt(2, []byte(serverDUID)))))
			eq(t, name("%v in %v answers an Information-request that names it", role, tt.state), named.typ != 0, h.Serves("lan") == Responsive || h.Serves("lan") == RenewResponsive)
			// The service is asked for by link.
			d.policy = oneLink{h}
			eq(t, "another link", c.on(wifiIndex).send(Solicit, na(1)).typ, Advertise)
		}
	}
}

// oneLink is in a relationship with one link; the others are this server's own.
type oneLink struct{ *half }

func (o oneLink) Serves(link string) Service {
	if link != "lan" {
		return Responsive
	}
	return o.half.Serves(link)
}

// snapshot is the table as it is now.
func (d *desk) snapshot() map[netip.Prefix]lease.Binding {
	all := map[netip.Prefix]lease.Binding{}
	for b := range d.table.From(netip.Prefix{}) {
		all[b.Prefix] = *b
	}
	return all
}

// differ lists what has changed since then.
func (d *desk) differ(before map[netip.Prefix]lease.Binding) (ps []netip.Prefix) {
	for b := range d.table.From(netip.Prefix{}) {
		if before[b.Prefix] != *b {
			ps = append(ps, b.Prefix)
		}
	}
	if len(before) > d.table.Len() {
		d.Errorf("%d records are gone", len(before)-d.table.Len())
	}
	return ps
}

// F-316 to F-319, Q-12: in RECOVER-DONE a Renew extends the leases on record
// that it names, and nothing else happens to anything.
func TestRecoverDone(t *testing.T) {
	x, y, prefix1 := prefix("2001:db8:0:1::1111"), prefix("2001:db8:0:1::1113"), prefix("2001:db8:8000:100::/56")
	for _, role := range []lease.Role{lease.Primary, lease.Secondary} {
		start := func() (*desk, *half, *client) {
			d, h := deskIn(t, role, interrupted)
			h.role = lease.Primary // to obtain these leases
			c := d.client(1)
			c.obtain(na(1, x), na(2, y), pd(1, prefix1))
			eq(t, "leases", len(d.active(c.duid)), 3)
			h.role, h.state = role, recoverDone
			d.pass(100)
			return d, h, c
		}

		d, _, c := start()
		before := d.snapshot()
		a := c.send(Renew, na(1, x))
		eq(t, "extended", a.na(1).only(), x)
		eq(t, "by MCLT, as nothing is acknowledged", a.na(1).leases[0].valid, 3600)
		eq(t, "expires", d.table.Get(x).Expires, d.now.Wall+3600)
		if got := d.differ(before); !slices.Equal(got, []netip.Prefix{x}) {
			t.Errorf("F-317: changed %v", got)
		}

		// Named or not: an IA of which nothing is known is left out, and so is a
		// lease that is not on record or not named. The partner may know them.
		before = d.snapshot()
		d.pass(1)
		a = c.send(Renew, na(1, x, prefix("2001:db8:0:1::9999")), na(2), na(3, prefix("2001:db8:0:1::7777")), na(4), pd(1, prefix1), pd(2, prefix("2001:db8:8000:200::/56")))
		eq(t, "IAs", len(a.ias), 2)
		for _, i := range a.ias {
			if len(i.leases) != 1 || i.status != -1 || i.leases[0].prefix != x && i.leases[0].prefix != prefix1 {
				t.Errorf("%+v", i)
			}
		}
		if got := d.differ(before); !slices.Equal(got, []netip.Prefix{x, prefix1}) {
			t.Errorf("changed %v", got)
		}

		// F-318, F-319: nothing to extend, no answer, no lease.
		before = d.snapshot()
		d.pass(1)
		for _, message := range [][]byte{
			c.message(Renew, na(9, x)), c.message(Renew, na(1, y)), c.message(Renew, na(1)), c.message(Renew), c.message(Renew, pd(7)),
			d.client(2).message(Renew, na(1, x)), d.client(2).message(Renew, na(1)), d.client(2).message(Solicit, na(1)), d.client(2).message(Request, na(1)),
			c.message(Rebind, na(1, x)), c.message(Release, na(1, x)), c.message(Decline, na(1, x)),
		} {
			c.silent(trace.NotResponsive, message)
		}
		if got := d.differ(before); len(got) != 0 {
			t.Errorf("changed %v", got)
		}
		d.recount()
	}
}

// F-317: what another state would take from the client or replace, RECOVER-DONE
// lets run on.
func TestRecoverDoneEndsNothing(t *testing.T) {
	x, reserved := prefix("2001:db8:0:1::1111"), addr("2001:db8:0:1::2221")
	for _, tt := range []struct {
		name   string
		change func(*Link)
		valid  uint32
	}{
		{"a new subnet", func(l *Link) {
			l.Subnets = append(l.Subnets, Subnet{Prefix: prefix("2001:db8:0:4::/64"), Pools: poolOf("2001:db8:0:4::1000", "2001:db8:0:4::1fff")})
		}, 3600},
		{"a reservation of something else", func(l *Link) {
			l.Reservations = []Reservation{{Client: d1.duid, Addresses: []netip.Addr{reserved}}}
		}, 3600},
		{"reserved for another", func(l *Link) {
			l.Reservations = []Reservation{{Client: "\x00\x03\xff", Addresses: []netip.Addr{x.Addr()}}}
		}, 3500},
		{"no pool any more", func(l *Link) { l.Subnets[0].Pools = nil }, 3500},
		{"retired", func(l *Link) { l.Subnets[0].Retired = true }, 3500},
	} {
		d, h := deskIn(t, lease.Primary, interrupted)
		c := d.client(1)
		c.obtain(na(1, x))
		h.state = recoverDone
		cfg := *d.cfg
		cfg.Links = slices.Clone(d.cfg.Links)
		cfg.Links[0].Subnets = slices.Clone(cfg.Links[0].Subnets)
		tt.change(&cfg.Links[0])
		d.reconfigure(&cfg)
		before := d.snapshot()
		d.pass(100)
		a := c.send(Renew, na(1, x))
		if i := a.na(1); len(i.leases) != 1 || i.only() != x || i.leases[0].valid != tt.valid {
			t.Errorf("%s: %+v", tt.name, i)
		}
		eq(t, tt.name+": leases", len(d.active(c.duid)), 1)
		eq(t, tt.name+": changes", len(d.differ(before)), map[uint32]int{3600: 1, 3500: 0}[tt.valid])
	}
}

// F-153 to F-157, F-160, F-161, P-14, Q-70: the example of RFC 8156 section
// 4.4.1, and what follows when the partner is silent. T1 and T2 follow the
// lifetime that is given, the Advertise shows no more than the Reply.
func TestLifetimesOfRelationship(t *testing.T) {
	const desired = 259200
	days := func(l *Link) { l.Lifetimes = Lifetimes{Preferred: desired, Valid: desired} }
	for _, s := range []state{normal, interrupted, resolution, conflictDone} {
		d, h := deskIn(t, lease.Primary, s, days)
		c := d.client(1)
		start := d.now.Wall
		check := func(typ MessageType, valid uint32, partner lease.Time) {
			t.Helper()
			for _, i := range c.send(typ, na(1), pd(1)).ias {
				if len(i.leases) != 1 || i.leases[0].valid != valid || i.leases[0].preferred != valid || i.t1 != valid/2 || i.t2 != valid*8/10 {
					t.Errorf("%v, type %d at %d: %+v", s, typ, d.now.Wall-start, i)
				}
				if typ == Solicit || len(i.leases) == 0 {
					continue
				}
				b := d.table.Get(i.leases[0].prefix)
				if b.HeldUntil != b.Expires || b.Expires != d.now.Wall.Add(valid) || b.PartnerLifetime != start+partner {
					t.Errorf("%v, type %d at %d: %+v", s, typ, d.now.Wall-start, b)
				}
			}
		}
		check(Solicit, 3600, 0)
		check(Request, 3600, 261000)
		check(Renew, 3600, 261000)
		h.agree(d)
		check(Solicit, desired, 0) // the client has it already, and might ask again
		d.pass(1800)
		check(Renew, desired, 390600)
		h.agree(d)
		d.pass(129600)
		check(Rebind, desired, 520200)
		h.agree(d)
		d.pass(207360) // T2
		check(Rebind, 185040, 338760+92520+desired)
		// The partner is silent from now on: in the end only MCLT is left.
		d.pass(180000)
		check(Renew, 5040, 338760+180000+2520+desired) // 520200 was acknowledged
		d.pass(5040)
		check(Renew, 3600, 338760+185040+1800+desired)
		d.pass(1800)
		check(Renew, 3600, 338760+186840+1800+desired)

		h.state = partnerDown // F-159: MCLT does not count
		check(Renew, desired, 338760+186840+desired/2+desired)
	}
}

// T1 and T2 of the configuration are for the lifetimes of the
// configuration. Of shorter ones they are half and four fifths at most.
func TestTimesOfShortLeases(t *testing.T) {
	for _, tt := range []struct {
		t1, t2         uint32 // configured
		wantT1, wantT2 uint32
	}{
		{0, 0, 1800, 2880}, {40000, 80000, 1800, 2880}, {600, 80000, 600, 2880}, {600, 1200, 600, 1200}, {40000, 1200, 1200, 1200},
	} {
		d, h := deskIn(t, lease.Primary, normal, func(l *Link) { l.Lifetimes = Lifetimes{86400, 86400, tt.t1, tt.t2} })
		c := d.client(1)
		for _, typ := range []MessageType{Solicit, Request} {
			i := c.send(typ, na(1)).na(1)
			eq(t, name("T1 %d", tt.t1), i.t1, tt.wantT1)
			eq(t, name("T2 %d", tt.t2), i.t2, tt.wantT2)
		}
		h.agree(d)
		if i := c.send(Renew, na(1)).na(1); tt.t1 != 0 && i.t1 != min(tt.t1, tt.t2) || tt.t2 != 0 && i.t2 != tt.t2 {
			t.Errorf("in full: %+v", i)
		}
	}
}

// generous is a Policy that promises the same whatever is configured.
type generous struct {
	Alone
	valid uint32
}

func (g generous) Valid(lease.Clock, netip.Prefix, *lease.Binding, lease.IA, uint32) uint32 {
	return g.valid
}

// F-001, Q-29: whatever a policy comes to, what is granted is granted: never for
// no time, never for longer than configured.
func TestPolicyCannotWithdraw(t *testing.T) {
	for _, valid := range []uint32{0, 1, 30, lease.Infinity} {
		d := newDesk(t, branch())
		d.policy = generous{valid: valid}
		c := d.client(1)
		for _, typ := range []MessageType{Solicit, Request, Renew, Rebind} {
			for _, i := range c.send(typ, na(1), pd(1)).ias {
				if len(i.leases) != 1 || i.leases[0].valid != min(max(valid, 1), DefaultValid) {
					t.Errorf("policy says %d, type %d: %+v", valid, typ, i)
				}
			}
		}
	}
}

// A record in a relationship is stored with each renewal, one of a server that
// is alone only when it promises too little; what says the same again is not.
func TestWhatIsStored(t *testing.T) {
	d, h := deskIn(t, lease.Primary, normal)
	c := d.client(1)
	held := c.send(Request, na(1), pd(1))
	eq(t, "assigned", len(held.changed), 2)
	for range 5 {
		d.pass(100)
		a := c.send(Renew, held.request()...)
		eq(t, "renewed", len(a.changed), 2)
		for _, b := range a.changed {
			if b.HeldUntil != b.Expires || b.Expires != d.now.Wall+3600 {
				t.Errorf("%+v", b)
			}
		}
	}
	// The same second, the same answer: but the change has a new number.
	eq(t, "again", len(c.send(Renew, held.request()...).changed), 2)

	// Alone from now on: what the relationship left is written over once.
	d.policy = Alone{}
	eq(t, "without the partner", len(c.send(Renew, held.request()...).changed), 2)
	for b := range d.table.From(netip.Prefix{}) {
		if b.Change != 0 || b.PartnerLifetime != 0 || b.HeldUntil != d.now.Wall+2*DefaultValid {
			t.Errorf("%+v", b)
		}
	}
	for range 5 {
		d.pass(1000)
		eq(t, "covered", len(c.send(Renew, held.request()...).changed), 0)
	}
	d.pass(1000)
	eq(t, "beyond the record", len(c.send(Renew, held.request()...).changed), 2)
	eq(t, "changes numbered", h.last, 2+10+2)

	d.policy = h
	c.send(Renew, held.request()...)
	d.policy = Alone{}
	c.send(Release, held.request()...)
	for b := range d.table.From(netip.Prefix{}) {
		if b.Status != lease.Free || b.Change != 0 || b.PartnerLifetime != 0 {
			t.Errorf("a former partner has a part in %+v", b)
		}
	}
}

// A Rebind that only the partner can answer is left to it while the two cannot
// reach each other: a Reply without leases could come in first and cost the
// client its own. What this server does know, it answers.
func TestRebindOfPartnersClient(t *testing.T) {
	d := newDesk(t, branch())
	c, stranger := d.client(1), d.client(2)
	p, elsewhere := c.obtain(na(1)).na(1).only(), prefix("2001:db8:0:1::1fff")
	never := func(*lease.Binding) bool { return false }
	d.policy = partner{service: ResponsiveApart, assign: never, valid: 60}
	eq(t, "extended", c.send(Rebind, na(1, p)).na(1).only(), p)
	stranger.silent(trace.NothingToSay, stranger.message(Rebind, na(1, elsewhere)))
	d.policy = partner{service: Responsive, assign: never, valid: 60}
	eq(t, "D-119: alone", len(stranger.send(Rebind, na(1, elsewhere)).ias), 1)
}
