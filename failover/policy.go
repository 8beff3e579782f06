package failover

import (
	"net/netip"

	"github.com/tandem6/tandem6/failover/lease"
)

// Service says which client messages a server answers (RFC 8156 section 3).
type Service uint8

// The services.
const (
	Unresponsive    Service = iota // none
	RenewOnly                      // RENEW that names this server, for leases on record (RECOVER-DONE, Q-12)
	RenewResponsive                // every valid message that names this server
	Responsive                     // every valid message
)

// Serves says which client messages are answered now (RFC 8156 section 8).
func (e *Endpoint) Serves() Service {
	switch e.state {
	case Normal:
		if e.cfg.Role == lease.Secondary {
			return RenewResponsive
		}
		return Responsive
	case CommunicationsInterrupted, PartnerDown, ResolutionInterrupted, ConflictDone:
		return Responsive
	case RecoverDone:
		return RenewOnly
	}
	return Unresponsive
}

// Apart reports whether both servers may be serving all clients, out of each
// other's reach.
func (e *Endpoint) Apart() bool {
	return (e.state == CommunicationsInterrupted || e.state == ResolutionInterrupted) && !e.inContact()
}

// Claim says whose a lease is that no client has.
type Claim uint8

// The claims.
const (
	NotOurs    Claim = iota // it must not be given away by this server now
	LastResort              // the partner's: only when nothing of our own is left (RFC 8156 section 8.4.1)
	Ours
)

// MayAssign says whether p, which no client holds, may be given to ia now; b is
// its record or nil. reserved: the operator keeps it for this client, so that
// it cannot go to two.
func (e *Endpoint) MayAssign(now lease.Clock, p netip.Prefix, b *lease.Binding, ia lease.IA, reserved bool) Claim {
	if s := e.Serves(); s == Unresponsive || s == RenewOnly || now.Mono < e.grantsFrom || e.joining[ia.Link] && e.state != PartnerDown {
		return NotOurs
	}
	status := lease.Freed(p)
	switch {
	case b == nil:
	case b.Status.Available():
		if p.Bits() < 128 { // to whom an address is available follows from the address
			status = b.Status
		}
	case e.goesBack(b, ia):
		return Ours
	case !e.reusable(now, b):
		return NotOurs
	}
	if e.state == ResolutionInterrupted && e.record.Dispute && p.Bits() < 128 {
		return NotOurs // the partner may have given it away as a last resort, and not said so yet
	}
	switch {
	case reserved, status == e.cfg.Role.Available():
		return Ours
	case p.Bits() == 128: // never, in no state
		if e.flawed(FlawParityIgnored) && e.state == PartnerDown {
			return LastResort
		}
		return NotOurs
	case e.flawed(FlawPrefixTwice) && status == lease.FreeBackup:
		return Ours
	case e.state == PartnerDown && (now.Mono >= e.availableAt || e.flawed(FlawNoPartnerDownWait)):
		return LastResort
	}
	return NotOurs
}

// goesBack reports whether an ended lease may go back to the client that had
// it, as if nothing had happened: the partner was never told of its end (RFC
// 8156 section 4.2.2.1).
func (e *Endpoint) goesBack(b *lease.Binding, ia lease.IA) bool {
	if b.IA != ia || b.Status != lease.Expired && b.Status != lease.Released {
		return false
	}
	return b.Change > e.maybeSent || e.flawed(FlawRegrantAfterSent)
}

// reusable reports whether an ended lease may go to another client although the
// partner has not agreed: in PARTNER-DOWN, after all that the partner may have
// promised for it has run out (RFC 8156 section 8.4.1).
func (e *Endpoint) reusable(now lease.Clock, b *lease.Binding) bool {
	switch {
	case b.Status != lease.Expired && b.Status != lease.Released && b.Status != lease.Reset:
		return false
	case e.flawed(FlawReuseWithoutAck):
		return true
	case e.state != PartnerDown || now.Untrusted:
		return false
	}
	return e.flawed(FlawNoPartnerDownWait) || now.Mono >= e.availableAt && now.Wall >= b.ReuseAt(e.reuseMCLT()+uint32(clockMargin/second), e.record.Since)
}

func (e *Endpoint) reuseMCLT() uint32 { return uint32(e.waitMCLT() / second) }

// Valid is the valid lifetime in seconds that may be promised to ia for p, at
// most desired (RFC 8156 section 4.4). b is the record of p, or nil.
func (e *Endpoint) Valid(now lease.Clock, b *lease.Binding, ia lease.IA, desired uint32) uint32 {
	if e.flawed(FlawNoMCLT) || e.state == PartnerDown && !e.inContact() {
		return desired
	}
	var acked lease.Time
	// A clock behind the truth would make what the partner knows look longer.
	if b != nil && b.IA == ia && !b.Status.Available() && !now.Untrusted {
		acked = b.AckedPartnerLifetime
	}
	return lease.Grant(desired, acked, now.Wall, e.mclt())
}

// Bind completes the record of a lease that is about to be promised: what the
// partner shall hear of it. old is the record that it replaces, or nil; desired
// is the lifetime without failover.
func (e *Endpoint) Bind(now lease.Clock, old, b *lease.Binding, desired uint32) {
	b.HeldUntil = b.Expires
	if old != nil && old.IA == b.IA && !old.Status.Available() {
		b.PartnerLifetime, b.AckedPartnerLifetime = old.PartnerLifetime, old.AckedPartnerLifetime
		b.ExpirationTime, b.PartnerRawCLT = old.ExpirationTime, old.PartnerRawCLT
	}
	b.PartnerLifetime = max(b.PartnerLifetime, lease.Announce(now.Wall, b.T1, b.Valid, desired))
	b.Change = e.number()
}

// End completes the record of a lease that its client has lost: the partner has
// to agree before anybody else gets it.
func (e *Endpoint) End(b *lease.Binding) { b.Change = e.number() }

const (
	// sweepEvery is how often PARTNER-DOWN looks for leases that have become free.
	sweepEvery   = 60 * second
	sweptPerStep = 512
)

// sweep frees, in PARTNER-DOWN, what may be reused, so that a long absence of
// the partner does not fill the table (RFC 8156 section 7.2, event 4).
func (e *Endpoint) sweep() {
	if e.state != PartnerDown {
		e.sweepAt = never
		return
	}
	var free []*lease.Binding
	n, next := 0, netip.Prefix{}
	for b := range e.table.From(e.sweepFrom) {
		if n++; n > sweptPerStep {
			next = b.Prefix
			break
		}
		if e.Covers(b) && !e.inContact() && e.reusable(e.now, b) {
			free = append(free, b)
		}
	}
	for _, b := range free {
		f := lease.Binding{Prefix: b.Prefix, IA: b.IA, Status: lease.Freed(b.Prefix), StartOfState: e.now.Wall, LastTransaction: b.LastTransaction}
		f.Expires = e.now.Wall.Add(e.remember())
		if f.Type == lease.IAPD { // the partner counts it among somebody's
			f.Expires, f.Change = 0, e.number()
		}
		e.put(&f)
	}
	e.sweepFrom = next
	e.sweepAt = e.now.Mono + sweepEvery
	if next.IsValid() {
		e.sweepAt = e.now.Mono
	}
}
