package lease

import (
	"fmt"
	"net/netip"
)

// Update is what a BNDUPD says about one lease (RFC 8156 section 7.4), its times
// made absolute. The zero value of a field stands for an option that was absent.
type Update struct {
	Prefix netip.Prefix
	IA            // Link by our own configuration; Client empty and Type IA_PD for a bare OPTION_IAPREFIX
	Status Status // OPTION_F_BINDING_STATUS

	// As told to the client, in seconds. They carry no meaning unless Status is Active.
	Preferred, Valid, T1, T2 uint32

	Expires         Time // OPTION_F_STATE_EXPIRATION_TIME: when Status ends
	StartOfState    Time // OPTION_F_START_TIME_OF_STATE: since when Status holds
	CLT             Time // OPTION_CLT_TIME: when the sender last dealt with the client
	PartnerLifetime Time // OPTION_F_PARTNER_LIFETIME: what the sender wants us to confirm
	PartnerRawCLT   Time // OPTION_F_PARTNER_RAW_CLT_TIME: when we last dealt with the client, as we once told
	ExpirationTime  Time // OPTION_F_EXPIRATION_TIME: what the sender has confirmed to us
}

// Verdict is the answer to an Update. Its values are those of the status codes
// (RFC 8156 section 5.6), and 0 for an acceptance.
type Verdict uint8

// The verdicts.
const (
	Accept     Verdict = 0
	InUse      Verdict = 16 // AddressInUse: another client has it here
	Incomplete Verdict = 18 // MissingBindingInformation: no record can be made of it
	Outdated   Verdict = 19 // OutdatedBindingInformation: this server knows better
)

func (v Verdict) String() string {
	switch v {
	case Accept:
		return "accept"
	case InUse:
		return "AddressInUse"
	case Incomplete:
		return "MissingBindingInformation"
	case Outdated:
		return "OutdatedBindingInformation"
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

// Judge decides whether a server accepts u, by what it knows of the lease
// itself: own is its record, nil for none, which is as good as a lease that was
// always available (RFC 8156 section 7.5.4 and its figure 4, Q-36 to Q-39).
// role is the server's own, now its wall clock. Judge does not ask whether the
// lease is configured here.
func (u *Update) Judge(own *Binding, role Role, now Time) Verdict {
	switch {
	case !u.complete():
		return Incomplete
	case own == nil:
		return Accept
	}
	status, age := u.status(), Compare(u.time(), own.time())
	switch {
	case own.Status == Active && status == Active && own.sameClient(u.IA), u.repeats(own):
		return Accept
	case status == Active && Compare(now, u.Expires) > 0:
		return Outdated // it has run out on its way
	case own.Status == Expired && status == Active && own.sameClient(u.IA):
		return Accept // ended here by the clock alone; the partner's promise stands
	case own.Status == Active && status == Active:
		switch {
		case u.contactAfter(own.StartOfState):
			return Accept
		case Compare(now, u.Expires) == 0:
			return Outdated // the lease here may be the next one
		case role == Secondary:
			return Accept
		}
		return InUse
	case own.Status == Active && (status == Expired || status.Available()):
		return acceptIf(Compare(now, own.Expires) > 0 && (age > 0 || own.informed()))
	case own.Status == Reset && status == Active:
		return acceptIf(u.contactAfter(own.StartOfState))
	case own.Status == Active && status == Reset && !own.informed():
		return Outdated // unlike a release, the operator's word says nothing about the client
	case age == 0:
		return acceptIf(u.acceptedOnTie(own, role))
	}
	return acceptIf(age > 0)
}

func acceptIf(ok bool) Verdict {
	if ok {
		return Accept
	}
	return Outdated
}

// complete reports whether u holds what a record of its lease needs (Q-49,
// Q-76), and nothing that none can have.
func (u *Update) complete() bool {
	if !u.Status.Valid() || u.StartOfState == 0 || u.Status == Active && u.PartnerLifetime == 0 {
		return false
	}
	b := u.record()
	return b.Check() == nil
}

// status is the status in the update as this server reads it: PENDING-FREE is
// never more than a passing one, and to whom an address is available
// follows from the address, whatever the partner calls it.
func (u *Update) status() Status {
	if u.Status == PendingFree || u.Status.Available() && u.Prefix.Bits() == 128 {
		return Freed(u.Prefix)
	}
	return u.Status
}

// time is when that happened which u tells of.
func (u *Update) time() Time { return happened(u.Status, u.CLT, u.StartOfState) }

// time is when that happened which b tells of. It is the time of an update made
// of b. The RFC takes the last contact here even for a status that began later
// by itself; two servers could then each find the other's update the later one.
func (b *Binding) time() Time { return happened(b.Status, b.LastTransaction, b.StartOfState) }

func happened(s Status, contact, start Time) Time {
	switch {
	case contact == 0:
		return start
	case s == Active || s == Expired || s == Released:
		return contact
	}
	return max(contact, start)
}

// contactAfter reports whether the sender dealt with the client after t.
func (u *Update) contactAfter(t Time) bool { return u.CLT != 0 && Compare(u.CLT, t) > 0 }

// sameClient reports whether ia is the identity association of b. Links
// are not compared: a prefix is on one link, which the operator may rename.
func (b *Binding) sameClient(ia IA) bool {
	return b.Client == ia.Client && b.Type == ia.Type && b.ID == ia.ID
}

// informed reports whether the partner, when it sent an update, knew all that
// this server knows of the client by itself: messages keep their order, and it
// had confirmed everything before. If it did not, it may be learning of the
// latest contact now, and go back to believing in a lease that it said is over.
func (own *Binding) informed() bool { return own.Change == 0 || own.LastTransaction == 0 }

// acceptedOnTie decides about an update whose time is that of own within the
// tolerance, so that the clocks do not tell which of the two came first.
// What the partner said in knowledge of own is the later. Else each may be
// hearing the other's story now, and they must not end up with swapped ones:
// the secondary gives way, but no client loses a lease for it.
func (u *Update) acceptedOnTie(own *Binding, role Role) bool {
	status := u.status()
	switch {
	case own.Change == 0:
		return true
	case own.Status.Available():
		// The primary may be giving it to the secondary at this moment.
		return role == Secondary || own.Status == Free && status != Free
	case !status.Available() && u.Client != "" && !own.sameClient(u.IA):
		// Only the server to which the lease became available in between can have
		// given it to another client.
		return role.Available() != Freed(u.Prefix) && (own.Status != Active || own.LastTransaction == 0)
	case own.Status == Active:
		return own.LastTransaction == 0 // its client may have come here last
	case status == Active:
		return false // its client may have left here last
	}
	return role == Secondary
}

// repeats reports whether u says nothing but what own says already. It would be
// no use to reject that, whatever its time: the partner could only hear the same.
func (u *Update) repeats(own *Binding) bool {
	return own.Status == settled(u.status(), u.Prefix) && own.StartOfState == u.StartOfState &&
		(u.Client == "" || own.sameClient(u.IA)) && (own.Status.Available() || own.Expires == u.Expires)
}
