package dhcp6

import (
	"net/netip"

	"github.com/tandem6/tandem6/failover/lease"
)

// Service says which client messages a server answers (RFC 8156 section 3).
type Service uint8

// The services.
const (
	Responsive      Service = iota // every valid message
	ResponsiveApart                // likewise, and so does the partner, out of reach: what is not on record here may be on record there
	RenewResponsive                // every valid message that names this server
	RenewOnly                      // only a Renew that names this server, to extend leases on record (section 8.7.1, Q-12)
	Unresponsive                   // none
)

// answers reports whether a valid message is answered.
func (s Service) answers(m *message) bool {
	switch s {
	case Responsive, ResponsiveApart:
		return true
	case RenewResponsive:
		return m.serverID != nil
	case RenewOnly:
		return m.typ == Renew
	}
	return false
}

// Claim is what a server may do with a lease that no client holds.
type Claim uint8

// The claims.
const (
	NotOurs    Claim = iota // it must not be given to this client now
	LastResort              // the partner's: only when nothing of our own is left on the link (RFC 8156 section 8.4.1, Q-61)
	Ours
)

// Cause is why a lease ends.
type Cause uint8

// The causes. RanOut and Cleared also end a quarantine, or any other status
// that keeps a lease from being available.
const (
	GivenBack Cause = iota // by a Release
	Withdrawn              // the client was told to stop using it
	Declined               // by a Decline
	RanOut                 // its time is over
	Cleared                // by the operator
)

// byClient reports whether the lease ended in dealing with its client.
func (c Cause) byClient() bool { return c <= Declined }

// Policy is what a failover relationship decides for the server. A server that
// is alone uses Alone.
type Policy interface {
	// Serves says which messages about a link are answered now.
	Serves(link string) Service

	// MayAssign says whether p, which no client holds and which is not
	// ABANDONED, may be given to ia now. b is its record, nil for none;
	// reserved says that the operator keeps it for this very client, by its DUID
	// to a place, such as the port of a switch, two clients can come.
	// It is asked, too, where only Renews are answered, and says NotOurs.
	//
	// A search of a pool takes the answer about one prefix for all: what is
	// refused as FREE, or for want of a record, is refused in the whole pool;
	// likewise what is refused as FREE-BACKUP. Addresses are asked for singly.
	MayAssign(now lease.Clock, p netip.Prefix, b *lease.Binding, ia lease.IA, reserved bool) Claim

	// Valid is the valid lifetime in seconds that may be promised to ia for p,
	// 1 to desired. b is the record of p, whoever's it is, or nil.
	Valid(now lease.Clock, p netip.Prefix, b *lease.Binding, ia lease.IA, desired uint32) uint32

	// Bind completes the record of a lease that is about to be promised, before
	// it is put into the table: HeldUntil, and what a relationship keeps. old is
	// the record that it replaces, or nil; desired is the valid lifetime in
	// seconds by configuration. A record that Bind leaves different from old in
	// more than lifetimes, Expires and LastTransaction is stored.
	Bind(now lease.Clock, old, b *lease.Binding, desired uint32)

	// End completes the record of a lease that ended, before it is put into the
	// table: its Status, and what a relationship keeps. e is b, the record
	// until now, without its lifetimes and times; the server adds how long an
	// available lease is remembered and an ABANDONED one is set aside.
	End(now lease.Clock, b, e *lease.Binding, cause Cause)
}

// Alone is the Policy of a server without a partner.
type Alone struct{}

// Serves answers everybody.
func (Alone) Serves(string) Service { return Responsive }

// MayAssign gives away whatever is FREE.
func (Alone) MayAssign(_ lease.Clock, _ netip.Prefix, b *lease.Binding, _ lease.IA, _ bool) Claim {
	if b == nil || b.Status == lease.Free {
		return Ours
	}
	return NotOurs
}

// Valid is what the configuration says.
func (Alone) Valid(_ lease.Clock, _ netip.Prefix, _ *lease.Binding, _ lease.IA, desired uint32) uint32 {
	return desired
}

// Bind has the record promise one more lifetime than the client was told, so
// that the next renewals need no write (design: kind to flash).
func (Alone) Bind(_ lease.Clock, old, b *lease.Binding, _ uint32) {
	b.HeldUntil = b.Expires.Add(b.Valid)
	if old != nil && b.Expires <= old.HeldUntil {
		b.HeldUntil = old.HeldUntil
	}
}

// End makes the lease available at once. A former partner has no part in it.
func (Alone) End(_ lease.Clock, _, e *lease.Binding, cause Cause) {
	e.PartnerLifetime, e.AckedPartnerLifetime, e.ExpirationTime, e.PartnerRawCLT, e.Change = 0, 0, 0, 0, 0
	e.Status = lease.Free
	if cause == Declined {
		e.Status = lease.Abandoned
	}
}

// covers reports whether the record old, as it is on disk, holds all that b
// promises: up to HeldUntil the expiry may move in the table alone.
func covers(old, b *lease.Binding) bool {
	if old == nil {
		return false
	}
	o := *old
	o.Preferred, o.Valid, o.T1, o.T2 = b.Preferred, b.Valid, b.T1, b.T2
	o.Expires, o.LastTransaction = b.Expires, b.LastTransaction
	return o == *b
}
