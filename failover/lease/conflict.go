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
	case own.Status == Active && status == Active:
		switch {
		case own.sameClient(u.IA):
			return Accept
		case Compare(now, u.Expires) > 0:
			return acceptIf(Compare(now, own.Expires) > 0)
		case u.contactAfter(own.StartOfState) || role == Secondary:
			return Accept
		}
		return InUse
	case own.Status == Active && (status == Expired || status.Available()):
		return acceptIf(Compare(now, own.Expires) > 0 && (age > 0 || u.informed(own)))
	case own.Status == Reset && status == Active:
		return acceptIf(u.contactAfter(own.StartOfState))
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

// time is when that happened which the update tells of.
func (u *Update) time() Time {
	switch {
	case u.CLT == 0:
		return u.StartOfState
	case u.Status == Active || u.Status == Expired || u.Status == Released:
		return u.CLT
	}
	return max(u.CLT, u.StartOfState)
}

// time is when that happened which b tells of.
func (b *Binding) time() Time {
	if b.LastTransaction != 0 {
		return b.LastTransaction
	}
	return b.StartOfState
}

// contactAfter reports whether the sender dealt with the client after t.
func (u *Update) contactAfter(t Time) bool { return u.CLT != 0 && Compare(u.CLT, t) > 0 }

// sameClient reports whether ia is the identity association of b. Links
// are not compared: a prefix is on one link, which the operator may rename.
func (b *Binding) sameClient(ia IA) bool {
	return b.Client == ia.Client && b.Type == ia.Type && b.ID == ia.ID
}

// informed reports whether the partner knew of this server's last contact with
// the client when it said that the client lost the lease. If it did not, it may
// be learning of it now, and go back to believing in the lease that this server
// is about to give to somebody else.
func (u *Update) informed(own *Binding) bool {
	return own.LastTransaction == 0 || own.sameClient(u.IA) && u.PartnerRawCLT >= own.LastTransaction
}

// acceptedOnTie decides about an update whose time is that of own within the
// tolerance, so that the clocks do not tell which of the two came first.
// The secondary gives way, and the primary as well when the update goes a step
// forward. But no lease is taken from a client that may have got it later.
func (u *Update) acceptedOnTie(own *Binding, role Role) bool {
	switch {
	case u.repeats(own):
		return true
	case own.Status == Active:
		return own.sameClient(u.IA) && u.informed(own)
	}
	return role == Secondary || own.ledTo(u)
}

// repeats reports whether accepting u would change nothing of own.
func (u *Update) repeats(own *Binding) bool {
	return own.Status == settled(u.status(), u.Prefix) && own.StartOfState == u.StartOfState &&
		(u.Client == "" || own.sameClient(u.IA)) && (own.Status.Available() || own.Expires == u.Expires)
}

// ledTo reports whether the lease can have gone from own, which is the
// primary's and in the hands of no client, to what the secondary says: by the
// steps of RFC 8156 section 7.2, figure 2, with those of Q-64, except for two on
// which the secondary gives way instead, as both would change sides otherwise:
// from FREE-BACKUP to FREE, where an update that crosses the opposite one would
// put the lease into both pools, and back to the client that lost it (L-14).
func (own *Binding) ledTo(u *Update) bool {
	to := u.status()
	switch own.Status {
	case Free, PendingFree:
		return to == Active || to == FreeBackup || to == Abandoned
	case FreeBackup:
		return to == Active || to == Abandoned
	case Expired, Released:
		return to == Active && !own.sameClient(u.IA) || to.Available() || to == Reset
	case Reset:
		return to.Available()
	case Abandoned:
		return to == Reset
	}
	return false
}
