package dhcp6

import (
	"net/netip"
	"slices"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
)

// bindAll answers every identity association of a Solicit, Request, Renew or
// Rebind on its own: the failure of one never spoils another (D-154, D-155).
func (x *exchange) bindAll() {
	x.collect()
	for i := range x.m.ias {
		in := &x.m.ias[i]
		x.bind(in, x.newIA(in))
	}
	for i := range x.m.ias {
		x.settle(&x.m.ias[i], &x.ias[i])
	}
}

// fate is what becomes of a lease that a client has.
type fate uint8

const (
	keep     fate = iota
	runDown       // not extended, left to end by itself
	withdraw      // told to stop at once
)

// bind gives one identity association its leases.
func (x *exchange) bind(in *requestedIA, out *answeredIA) {
	mine := x.link.reservation(x.m, in)
	if x.m.typ == Request && in.typ == lease.IANA && x.offLink(in) {
		out.status, out.text = statusNotOnLink, "an address does not belong to this link" // D-089
		return
	}
	for _, b := range x.bindings {
		if !in.holds(b) {
			switch {
			case !x.extends(in, b):
			case x.returns(b, mine):
				out.known = true
				x.take(out, b.Prefix)
			default:
				out.unsettled = true
			}
			continue
		}
		out.known = true
		switch x.fate(b, mine) {
		case keep:
			x.grant(out, b.Prefix)
		case runDown:
			if x.m.typ != Solicit {
				x.mention(out, rest(b, x.now.Wall))
			}
		case withdraw:
			if x.m.typ != Solicit {
				x.withdraw(out, b.Prefix)
				x.end(b, Withdrawn)
				x.s.offers.put(x.now.Mono, b.Prefix, b.IA) // nobody else's while the client lets go of it
			}
		}
	}
	if !out.unsettled && (out.known || x.creates()) {
		x.fill(in, out, mine)
	}
}

// extends reports whether the client asks for more of a lease that this server
// took for ended, as far as it knew: the partner may have extended it.
func (x *exchange) extends(in *requestedIA, b *lease.Binding) bool {
	return (x.m.typ == Renew || x.m.typ == Rebind) && b.Status == lease.Expired && b.IA == x.ia(in.typ, in.id) && in.lists(b.Prefix)
}

// returns reports whether it can have it: nobody else has, as the partner was
// not told of the end. If it was, its answer may be that the lease goes on; until
// then there is nothing to say about it.
func (x *exchange) returns(b *lease.Binding, mine *Reservation) bool {
	return x.fate(b, mine) == keep && x.free(b.Prefix, b.IA, mine)
}

// extendOnly answers a Renew of a server that may extend the leases on record
// that the client names, and create, end and change nothing else (RFC 8156
// section 8.7.1, Q-12). About what it does not know it says nothing: its partner
// may, and the client will ask.
func (x *exchange) extendOnly() trace.Reason {
	x.leases, x.options = true, true
	x.collect()
	for i := range x.m.ias {
		in := &x.m.ias[i]
		mine := x.link.reservation(x.m, in)
		var out *answeredIA
		for _, b := range x.bindings {
			if !in.holds(b) || !in.lists(b.Prefix) {
				continue
			}
			if out == nil {
				out = x.newIA(in)
			}
			if x.fate(b, mine) == keep {
				x.grant(out, b.Prefix)
			} else {
				x.mention(out, rest(b, x.now.Wall))
			}
		}
	}
	if len(x.ias) == 0 {
		return trace.NotResponsive
	}
	return trace.NoReason
}

// creates reports whether the message may make a binding for an identity
// association that has none (RFC 9915 sections 18.3.4 and 18.3.5).
func (x *exchange) creates() bool {
	switch x.m.typ {
	case Renew:
		return x.link.CreateOnRenew
	case Rebind:
		return x.link.RapidCommit // D-118
	}
	return true
}

// settle says what one identity association does not get, once it is known
// what all of them get.
func (x *exchange) settle(in *requestedIA, out *answeredIA) {
	if out.status != statusSuccess || out.unsettled {
		return
	}
	x.withdrawUnknown(in, out)
	switch {
	case len(out.grants) > 0:
	case !out.known && x.leftToPartner():
	case !out.known && !x.creates():
		out.status, out.text = statusNoBinding, "this server knows no such lease, ask for a new one"
	default:
		x.nothing(out)
	}
}

// leftToPartner reports whether the partner, out of reach, may know what this
// server does not: a Reply without leases could come in before its Reply.
func (x *exchange) leftToPartner() bool { return x.m.typ == Rebind && x.service == ResponsiveApart }

// stale reports whether the link once had what p is made from and has it no
// more: the client is told to stop (RFC 9096 section 3.5, D-147).
func (x *exchange) stale(typ lease.IAType, p netip.Prefix) bool {
	l := x.link
	switch {
	case l.appropriate(p, x.now.Wall):
		return false
	case typ == lease.IANA && l.subnetOf(p.Addr()) != nil, typ == lease.IAPD && l.prefixPoolOf(p) != nil:
		return true // retired, or at its end
	}
	b := x.t.Get(p)
	return b != nil && b.Link == l.Name && b.Client == x.client
}

// wrong reports whether p cannot be used on this link, by what the
// configuration says of it.
func (x *exchange) wrong(typ lease.IAType, p netip.Prefix) bool {
	return x.link.judges(typ) && !x.link.appropriate(p, x.now.Wall) || x.stale(typ, p)
}

// offLink reports whether the client names an address that fits no prefix of
// the link. A stale one does not count: it is withdrawn and replaced (chapter
// 11, C2).
func (x *exchange) offLink(in *requestedIA) bool {
	for _, l := range in.leases {
		if specified(l.prefix) && !x.link.onLink(l.prefix.Addr(), x.now.Wall) && !x.stale(in.typ, l.prefix) {
			return true
		}
	}
	return false
}

// specified reports whether a client's IA Prefix or IA Address names something,
// and is not only a wish for a length.
func specified(p netip.Prefix) bool { return !p.Addr().IsUnspecified() }

// ia is the key of an identity association of this client.
func (x *exchange) ia(typ lease.IAType, id lease.IAID) lease.IA {
	return lease.IA{Link: x.link.Name, Client: x.client, Type: typ, ID: id}
}

// collect finds what the client has, or had, on this link.
func (x *exchange) collect() {
	for b := range x.t.OfClient(x.client) {
		if b.Link == x.link.Name {
			x.bindings = append(x.bindings, b)
			x.count(b, 1)
		}
	}
}

// tally counts leases of one client.
type tally struct{ leases, prefixes int }

func (t *tally) add(typ lease.IAType, n int) {
	t.leases += n
	if typ == lease.IAPD {
		t.prefixes += n
	}
}

// count adds b n times to what the client holds, or held.
func (x *exchange) count(b *lease.Binding, n int) {
	switch b.Status {
	case lease.Active:
		x.held.add(b.Type, n)
	case lease.Expired, lease.Released, lease.Reset, lease.PendingFree:
		x.waiting.add(b.Type, n)
	}
}

// holds reports whether b, a binding of its client, is an active lease of ia.
func (ia *requestedIA) holds(b *lease.Binding) bool {
	return b.Status == lease.Active && b.Type == ia.typ && b.ID == ia.id
}

// fate decides about a lease that the client holds.
func (x *exchange) fate(b *lease.Binding, mine *Reservation) fate {
	l := x.link
	switch {
	case !l.appropriate(b.Prefix, x.now.Wall):
		return withdraw
	case l.reservedForOther(b.Prefix, mine):
		return runDown
	case l.reserved[b.Prefix] != nil:
		return keep
	case x.reservedInstead(b, mine):
		return withdraw
	}
	if p, _ := x.s.pools.find(b.Prefix); p == nil || p.link != l {
		return runDown
	}
	return keep
}

// reservedInstead reports whether a reservation now gives the client something
// else in place of b.
func (x *exchange) reservedInstead(b *lease.Binding, mine *Reservation) bool {
	if mine == nil {
		return false
	}
	if b.Type == lease.IAPD {
		return x.anyFree(mine.Prefixes, b.IA, mine)
	}
	s := x.link.subnetOf(b.Prefix.Addr())
	for _, a := range mine.Addresses {
		if s.Prefix.Contains(a) && x.free(lease.Address(a), b.IA, mine) {
			return true
		}
	}
	return false
}

func (x *exchange) anyFree(ps []netip.Prefix, ia lease.IA, mine *Reservation) bool {
	for _, p := range ps {
		if x.free(p, ia, mine) {
			return true
		}
	}
	return false
}

// fill gives an identity association what it lacks: one address for each subnet
// (D-240), or a prefix.
func (x *exchange) fill(in *requestedIA, out *answeredIA, mine *Reservation) {
	if in.typ == lease.IAPD {
		if !out.holds(nil) {
			x.fillPrefixes(in, out, mine)
		}
		return
	}
	for i := range x.link.Subnets {
		s := &x.link.Subnets[i]
		if s.over(x.now.Wall) || out.holds(s) || !x.room(in.typ) {
			continue
		}
		if p, ok := x.ours(func() (netip.Prefix, bool) { return x.chooseAddress(i, in, mine) }); ok {
			x.take(out, p)
		}
	}
}

// holds reports whether the answer already grants a lease, in s if it is given.
func (ia *answeredIA) holds(s *Subnet) bool {
	for i := range ia.grants {
		if g := &ia.grants[i]; g.hold && (s == nil || s.Prefix.Contains(g.prefix.Addr())) {
			return true
		}
	}
	return false
}

// take grants a lease that the client did not have, and keeps it from others.
func (x *exchange) take(out *answeredIA, p netip.Prefix) {
	x.s.offers.put(x.now.Mono, p, x.ia(out.typ, out.id))
	if x.waiting.leases > 0 {
		if b := x.t.Get(p); slices.Contains(x.bindings, b) {
			x.count(b, -1) // it is taken back
		}
	}
	x.held.add(out.typ, 1)
	x.grant(out, p)
}

// grant adds a lease to the answer with the lifetimes it gets from now on.
func (x *exchange) grant(out *answeredIA, p netip.Prefix) {
	cfg := x.link.Lifetimes
	preferred, valid := cfg.Preferred, cfg.Valid
	preferredUntil, validUntil := x.link.ends(p)
	if validUntil != 0 {
		preferred = min(preferred, DefaultPreferred)
		valid = min(valid, DefaultValid, validUntil.Until(x.now.Wall))
	}
	if preferredUntil != 0 {
		preferred = min(preferred, preferredUntil.Until(x.now.Wall))
	}
	desired := valid
	// A policy that has its sums wrong must not turn a grant into a withdrawal.
	valid = min(desired, max(1, x.policy.Valid(x.now, p, x.t.Get(p), x.ia(out.typ, out.id), desired)))
	g := grant{prefix: p, preferred: min(preferred, valid), valid: valid, desired: desired, extend: true, hold: true}
	if out.typ == lease.IAPD && x.m.wants(optPDExclude) {
		g.exclude = x.link.excluded(p)
	}
	x.mention(out, g)
}

// leasesPerAnswerMax bounds an answer, so that it remains a datagram. What is
// beyond it is left out, which RFC 9915 section 18.3.4 permits.
const leasesPerAnswerMax = 768

// mention puts a lease into the answer.
func (x *exchange) mention(out *answeredIA, g grant) {
	if x.mentioned < leasesPerAnswerMax {
		x.mentioned++
		out.grants = append(out.grants, g)
	}
}

// rest is what the client has left of a lease that is not extended.
func rest(b *lease.Binding, now lease.Time) grant {
	// After a restart Expires errs to the safe side, never beyond what was told.
	valid := min(b.Expires.Until(now), b.Valid)
	deprecated := b.Valid - b.Preferred // for so long before its end
	return grant{prefix: b.Prefix, preferred: valid - min(valid, deprecated), valid: valid}
}

// withdraw tells the client to stop using p (D-106, D-112, D-116, D-147).
func (x *exchange) withdraw(out *answeredIA, p netip.Prefix) {
	x.mention(out, grant{prefix: p})
	x.trace(trace.Event{ID: trace.LeaseWithdrawn, Lease: p})
}

// withdrawUnknown tells a client to stop using what it names and is not its
// own; silence would let it go on (D-112). An unknown client that gets nothing
// keeps what fits the link (D-109, D-110). To a Request only what is stale is
// withdrawn, as other addresses in it are wishes.
func (x *exchange) withdrawUnknown(in *requestedIA, out *answeredIA) {
	tell := x.wrong
	switch {
	case x.m.typ == Solicit: // D-071
		return
	case x.m.typ == Request, x.m.typ == Renew && !out.known && !x.creates():
		tell = x.stale
	case x.service == ResponsiveApart: // it may be the partner's, and rightly the client's
	case out.known || out.holds(nil):
		tell = func(lease.IAType, netip.Prefix) bool { return true }
	}
	for _, l := range in.leases {
		if specified(l.prefix) && !out.mentions(l.prefix) && tell(in.typ, l.prefix) && !x.holds(l.prefix) {
			x.withdraw(out, l.prefix)
		}
	}
}

// holds reports whether the client rightly holds p, now or from now on, be it
// in another identity association than it said.
func (x *exchange) holds(p netip.Prefix) bool {
	b := x.t.Get(p)
	if b != nil && b.Status == lease.Active && b.Client == x.client && b.Link == x.link.Name && x.link.appropriate(p, x.now.Wall) {
		return true
	}
	for i := range x.ias {
		for j := range x.ias[i].grants {
			if g := &x.ias[i].grants[j]; g.prefix == p && g.hold {
				return true
			}
		}
	}
	return false
}

func (ia *answeredIA) mentions(p netip.Prefix) bool {
	for i := range ia.grants {
		if ia.grants[i].prefix == p {
			return true
		}
	}
	return false
}

// nothing says that there is no lease for an identity association.
func (x *exchange) nothing(out *answeredIA) {
	out.status, out.text = statusNoAddrsAvail, "no address is available here"
	if out.typ == lease.IAPD {
		out.status, out.text = statusNoPrefixAvail, "no prefix is available here"
	}
	x.trace(trace.Event{ID: trace.PoolExhausted, IAID: out.id, Text: out.typ.String()})
}

// room reports whether the client may have one more lease (D-244, D-254). As
// many again may wait for the partner: more, and a client that keeps asking and
// releasing would empty the pool while the partner is away.
func (x *exchange) room(typ lease.IAType) bool {
	reached := func(held, waiting, limit int) bool { return held >= limit || held+waiting >= 2*limit }
	limits := &x.s.cfg.Limits
	switch {
	case x.mentioned == leasesPerAnswerMax:
		return false
	case reached(x.held.leases, x.waiting.leases, limits.LeasesPerClient):
		x.trace(trace.Event{ID: trace.LimitReached, Reason: trace.LeaseLimit, N: int64(limits.LeasesPerClient)})
		return false
	case typ == lease.IAPD && reached(x.held.prefixes, x.waiting.prefixes, limits.PrefixesPerClient):
		x.trace(trace.Event{ID: trace.LimitReached, Reason: trace.PrefixLimit, N: int64(limits.PrefixesPerClient)})
		return false
	}
	return true
}

// free reports whether a lease can be given to ia now.
func (x *exchange) free(p netip.Prefix, ia lease.IA, mine *Reservation) bool {
	x.refused = false
	b := x.t.Get(p)
	switch {
	case (b == nil || b.Status.Available()) && x.s.full(x.t):
		return false
	case b != nil && (b.Status == lease.Active || b.Status == lease.Abandoned):
		return false
	case !x.link.appropriate(p, x.now.Wall):
		return false
	case x.link.reservedForOther(p, mine):
		return false
	}
	// Two clients may come to one reservation that goes by the port of a switch:
	// for the policy it is a lease like any other.
	reserved := mine != nil && mine.Client != "" && x.link.reserved[p] == mine
	if claim := x.policy.MayAssign(x.now, p, b, ia, reserved); claim != x.want {
		x.refused, x.partners = true, x.partners || claim == LastResort
		return false
	}
	if holder, ok := x.s.offers.holder(x.now.Mono, p); ok && holder != ia {
		return false
	}
	if p.Bits() == 128 {
		// The operator may reserve what the server would not choose.
		return !x.s.own[p.Addr()] && (x.link.reserved[p] != nil || !reservedIn(x.link.subnetOf(p.Addr()).Prefix, p.Addr()))
	}
	return x.t.Overlaps(p) == nil
}

// commit binds every lease that the answer grants. Retransmissions of the same
// message come to the same binding.
func (x *exchange) commit(t1, t2 uint32) {
	x.r.Promise = true
	for i := range x.ias {
		out := &x.ias[i]
		for j := range out.grants {
			if g := &out.grants[j]; g.hold && g.valid > 0 {
				x.store(out, g, t1, t2)
			}
		}
	}
}

// store puts a granted lease into the table, and on disk unless the record
// there already covers it.
func (x *exchange) store(out *answeredIA, g *grant, t1, t2 uint32) {
	old := x.t.Get(g.prefix)
	b := &lease.Binding{
		Prefix: g.prefix, IA: x.ia(out.typ, out.id), Status: lease.Active,
		Preferred: g.preferred, Valid: g.valid, T1: t1, T2: t2,
		Expires: x.now.Wall.Add(g.valid), StartOfState: x.now.Wall, LastTransaction: x.now.Wall,
		Via: x.via,
	}
	if mine := x.link.reserved[g.prefix]; mine != nil {
		b.Hostname = mine.Hostname
	}
	renewed := old != nil && old.Status == lease.Active && old.IA == b.IA
	if renewed {
		b.Client = old.Client // one string for all bindings of a client
		b.StartOfState = old.StartOfState
		// The Reply may be lost, and the client goes by an earlier one.
		b.Expires = max(b.Expires, old.Expires)
	}
	x.s.offers.remove(g.prefix)
	x.policy.Bind(x.now, old, b, g.desired)
	x.t.Put(b)
	if !covers(old, b) {
		x.r.Changed = append(x.r.Changed, b)
	}
	id := trace.LeaseAssigned
	if renewed {
		id = trace.LeaseRenewed
	}
	x.trace(trace.Event{ID: id, Lease: b.Prefix, IAID: b.ID})
}

// end takes a lease from its client.
func (x *exchange) end(b *lease.Binding, cause Cause) {
	e := x.s.End(x.now, x.t, x.policy, b, cause)
	x.t.Put(e)
	x.r.Changed = append(x.r.Changed, e)
	x.bindings[slices.Index(x.bindings, b)] = e
	x.count(b, -1) // and not as waiting: it makes room for what replaces it
}

// rememberedPerClientMax bounds the ended leases that are remembered for one
// client, and so the work for its next message.
const rememberedPerClientMax = 64

// rememberedShare bounds the ended leases that are remembered in all, as a part
// of Limits.Leases. They do not count against that limit: former clients must
// not keep new ones out.
const rememberedShare = 4

// full reports whether no lease can be added to the table. One that waits for
// the partner counts like one that is held: while the partner is away they add
// up, and memory has an end. New clients are turned away then; nobody loses what
// he has, and a client gets back its own.
func (s *Server) full(t *lease.Table) bool {
	return t.Len()-t.Count(lease.Free)-t.Count(lease.FreeBackup) >= s.cfg.Limits.Leases
}

// End returns the record of b after it ended.
func (s *Server) End(now lease.Clock, t *lease.Table, policy Policy, b *lease.Binding, cause Cause) *lease.Binding {
	e := *b
	e.StartOfState = now.Wall
	if cause == RanOut { // not when it was noticed: a partner compares the times
		e.StartOfState = min(now.Wall, b.End())
	}
	e.Preferred, e.Valid, e.T1, e.T2 = 0, 0, 0, 0
	e.Expires, e.HeldUntil, e.Via = 0, 0, netip.Addr{}
	if cause.byClient() {
		e.LastTransaction = now.Wall
	}
	policy.End(now, b, &e, cause)
	switch {
	case e.Status == lease.Abandoned:
		e.Expires = now.Wall.Add(s.cfg.DeclinedFor)
	case e.Status.Available():
		s.remember(t, b, &e, now.Wall)
	}
	return &e
}

// remember has e, which is available, keep the name of its last client for
// Config.RememberFor, or forget it if there is too much to remember. Who
// declined an address must not be given it again.
func (s *Server) remember(t *lease.Table, b, e *lease.Binding, now lease.Time) {
	e.Expires = now.Add(s.cfg.RememberFor)
	if b.Status == lease.Abandoned || t.Count(lease.Free) >= s.cfg.Limits.Leases/rememberedShare || remembersEnough(t, b.Client) {
		e.Client, e.Expires = "", now
	}
}

// remembersEnough reports whether a client is remembered for as many leases as
// it may be.
func remembersEnough(t *lease.Table, client lease.DUID) bool {
	n := 0
	for b := range t.OfClient(client) {
		if b.Status.Available() {
			n++
		}
		if n == rememberedPerClientMax {
			return true
		}
	}
	return false
}

// giveBack answers a Release or a Decline: Success for the message, NoBinding
// for each identity association that is not known, nothing about the others
// (RFC 9915 sections 18.3.7 and 18.3.8).
func (x *exchange) giveBack() {
	x.setStatus(statusSuccess, "")
	x.r.Promise = true
	x.collect()
	for i := range x.m.ias {
		in := &x.m.ias[i]
		if x.m.typ == Decline && in.typ == lease.IAPD {
			continue // section 18.2.8, D-132
		}
		if !slices.ContainsFunc(x.bindings, in.holds) || !x.excludesFit(in) {
			out := x.newIA(in)
			out.status, out.text = statusNoBinding, "this server knows no such lease"
			continue
		}
		for _, b := range x.bindings {
			switch {
			case !in.holds(b) || !in.lists(b.Prefix): // not named, or somebody else's (D-125)
			case x.m.typ == Release:
				x.end(b, GivenBack)
				x.trace(trace.Event{ID: trace.LeaseReleased, Lease: b.Prefix, IAID: b.ID})
			default:
				x.decline(b)
			}
		}
	}
}

// excludesFit reports whether each Prefix Exclude that the client returns is
// one that it was given (RFC 6603 section 6.2, D-133).
func (x *exchange) excludesFit(in *requestedIA) bool {
	for _, l := range in.leases {
		if l.exclude == nil {
			continue
		}
		e := x.link.excluded(l.prefix)
		if e.Length == 0 || string(appendExclude(nil, l.prefix.Bits(), e)[optionHeaderLen:]) != string(l.exclude) {
			return false
		}
	}
	return true
}

// decline sets an address aside that its client found in use (D-129, D-130).
// A client that does it too often only gives its leases back, or it would empty
// the pool (D-134).
func (x *exchange) decline(b *lease.Binding) {
	declined := 0
	for o := range x.t.OfClient(x.client) {
		if o.Status == lease.Abandoned {
			declined++
		}
	}
	if limit := x.s.cfg.Limits.DeclinesPerClient; declined >= limit {
		x.trace(trace.Event{ID: trace.LimitReached, Reason: trace.DeclineLimit, N: int64(limit)})
		x.end(b, GivenBack)
		return
	}
	x.end(b, Declined)
	x.trace(trace.Event{ID: trace.AddressDeclined, Lease: b.Prefix, IAID: b.ID})
}
