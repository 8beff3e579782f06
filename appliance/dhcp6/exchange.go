package dhcp6

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
)

// exchange is one message and its answer in the making.
type exchange struct {
	s       *Server
	now     lease.Clock
	link    *link
	m       *message
	t       *lease.Table
	policy  Policy
	service Service
	r       *Result

	client      lease.DUID
	via         netip.Addr       // next hop to the client, if it is on this very link
	reservation *Reservation     // of the client as a whole, for its options
	bindings    []*lease.Binding // of the client on this link, whatever their status
	held        tally            // what it holds of them
	waiting     tally            // what it held of them and nobody may have yet
	mentioned   int              // leases in the answer
	want        Claim            // on a lease to be given away
	refused     bool             // the policy has another claim on the lease that was looked at last
	partners    bool             // a lease was refused that would do as a last resort
	searched    [Ours + 1]int    // leases that searches of pools have looked at, for each want
	cut         bool             // a search ended before it had seen everything
	ias         []answeredIA

	answerType  MessageType
	rapidCommit bool   // the answer carries Rapid Commit
	status      uint16 // top-level status, sent if hasStatus
	hasStatus   bool
	statusText  string
	leases      bool // the answer holds ias
	options     bool // the answer holds configuration
}

func (x *exchange) start(s *Server, now lease.Clock, p *Packet, m *message, l *link, t *lease.Table, policy Policy, service Service, r *Result) {
	*x = exchange{s: s, now: now, link: l, m: m, t: t, policy: policy, service: service, r: r,
		client: lease.DUID(m.clientID), ias: x.ias[:0], bindings: x.bindings[:0], want: Ours, answerType: Reply}
	x.via = nextHop(p, m, l)
	x.reservation = l.reservation(m, nil)
}

// nextHop is the client's link-local address, when the client is on the link
// itself: heard directly, or through a relay agent in a switch, which leaves
// link-address zero (RFC 6221). Behind a router the router keeps the routes.
func nextHop(p *Packet, m *message, l *link) netip.Addr {
	a := p.Source.Addr()
	for i := range m.relays {
		if !m.relays[i].link.IsUnspecified() {
			return netip.Addr{}
		}
		a = m.relays[i].peer
	}
	if !a.IsLinkLocalUnicast() || l.Interface == "" {
		return netip.Addr{}
	}
	return a
}

// handle works out the answer. A reason means: no answer.
func (x *exchange) handle() trace.Reason {
	if x.reservation != nil && x.reservation.Deny {
		return trace.Denied
	}
	if x.service == RenewOnly {
		return x.extendOnly()
	}
	switch x.m.typ {
	case Solicit:
		x.solicit()
	case Request, Renew, Rebind:
		x.leases, x.options = true, true
		x.bindAll()
		asked := len(x.ias)
		x.ias = slices.DeleteFunc(x.ias, func(ia answeredIA) bool {
			return len(ia.grants) == 0 && (ia.unsettled || !ia.known && x.leftToPartner())
		})
		if len(x.ias) == 0 && (x.m.typ == Rebind || asked > 0) {
			return trace.NothingToSay // RFC 9915 section 18.3.5, D-120
		}
	case Confirm:
		return x.confirm()
	case Release, Decline:
		x.giveBack()
	case InformationRequest:
		x.options = true
	}
	return trace.NoReason
}

// solicit answers with an Advertise, or at once with a Reply if client and link
// agree to Rapid Commit (RFC 9915 section 18.3.1, D-082). With nothing to give,
// the Advertise keeps the client looking (D-087).
func (x *exchange) solicit() {
	x.leases, x.options = true, true
	x.rapidCommit = x.m.rapidCommit && x.link.RapidCommit
	if !x.rapidCommit {
		x.answerType = Advertise
	}
	x.bindAll()
	for i := range x.ias {
		if len(x.ias[i].grants) > 0 {
			return
		}
	}
	x.answerType, x.rapidCommit = Advertise, false
}

// confirm is a question about topology only: bindings do not matter (RFC 9915
// section 18.3.3, D-099 to D-104).
func (x *exchange) confirm() trace.Reason {
	if !x.link.judges(lease.IANA) {
		return trace.NothingToConfirm
	}
	asked := false
	for i := range x.m.ias {
		for _, l := range x.m.ias[i].leases {
			if x.m.ias[i].typ != lease.IANA || !specified(l.prefix) {
				continue
			}
			asked = true
			if !x.link.onLink(l.prefix.Addr(), x.now.Wall) {
				x.setStatus(statusNotOnLink, "move to a new address: not all of these belong to this link")
				return trace.NoReason
			}
		}
	}
	if !asked {
		return trace.NothingToConfirm
	}
	x.setStatus(statusSuccess, "all addresses fit this link")
	return trace.NoReason
}

func (x *exchange) setStatus(code uint16, text string) {
	x.hasStatus, x.status, x.statusText = true, code, text
}

// newIA opens the answer to one identity association.
func (x *exchange) newIA(in *requestedIA) *answeredIA {
	if len(x.ias) < cap(x.ias) {
		x.ias = x.ias[:len(x.ias)+1]
	} else {
		x.ias = append(x.ias, answeredIA{})
	}
	out := &x.ias[len(x.ias)-1]
	*out = answeredIA{typ: in.typ, id: in.id, grants: out.grants[:0]}
	return out
}

// answerLen is room for most answers, to be grown if need be.
const answerLen = 512

// finish binds what the answer promises and writes it.
func (x *exchange) finish() []byte {
	t1, t2 := times(x.ias, x.link.Lifetimes)
	if x.leases && x.answerType == Reply {
		x.commit(t1, t2)
	}
	b := make([]byte, 0, answerLen)
	if len(x.m.relays) == 0 {
		return x.appendMessage(b, t1, t2)
	}
	inner := x.appendMessage(b, t1, t2)
	out := make([]byte, 0, len(inner)+x.m.relayOverhead())
	return append(x.m.appendRelayHeaders(out, len(inner)), inner...)
}

// appendMessage writes the Advertise or Reply: identifiers first, then status,
// leases, configuration (chapter 5.5; clients take any order).
func (x *exchange) appendMessage(b []byte, t1, t2 uint32) []byte {
	b = append(b, byte(x.answerType))
	b = append(b, x.m.xid[:]...)
	if x.m.clientID != nil {
		b = appendOption(b, optClientID, x.m.clientID)
	}
	b = appendOption(b, optServerID, []byte(x.s.id))
	if x.rapidCommit {
		b = appendOption(b, optRapidCommit, nil)
	}
	if x.answerType == Advertise && x.link.Preference > 0 {
		b = appendOption(b, optPreference, []byte{x.link.Preference})
	}
	if x.hasStatus {
		b = appendStatus(b, x.status, x.statusText)
	}
	for i := range x.ias {
		b = appendIA(b, &x.ias[i], t1, t2)
	}
	if x.options {
		b = x.appendConfiguration(b)
	}
	return b
}

// appendConfiguration writes the options that the client asked for, then those
// that are sent unasked, as far as there is room.
func (x *exchange) appendConfiguration(b []byte) []byte {
	overhead := x.m.relayOverhead()
	for _, forced := range []bool{false, true} {
		room := answerLenMax
		if forced {
			room = answerLenWanted
		}
		for code, data := range x.configured(forced) {
			if len(b)+optionHeaderLen+len(data)+overhead > room {
				x.trace(trace.Event{ID: trace.AnswerCut, N: int64(code)})
				continue
			}
			b = appendOption(b, code, data)
		}
	}
	return b
}

// configured walks the options of the answer: those asked for, or those forced
// upon the client. A reservation's replace the link's.
func (x *exchange) configured(forced bool) func(yield func(uint16, []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		var own []Option
		if x.reservation != nil {
			own = x.reservation.Options
		}
		send := func(o Option) bool {
			wanted := x.m.wants(o.Code)
			if forced == wanted || forced && !o.Force || !x.fitsMessage(o.Code, wanted) {
				return true
			}
			data := o.Data
			if o.Code == optArchType {
				if data = x.commonArchTypes(o.Data); len(data) == 0 {
					return true
				}
			}
			return yield(o.Code, data)
		}
		for _, o := range own {
			if !send(o) {
				return
			}
		}
		for _, o := range x.link.Options {
			if !hasOption(own, o.Code) && !send(o) {
				return
			}
		}
		if !forced {
			x.relaySupplied(own, yield)
		}
	}
}

func hasOption(os []Option, code uint16) bool {
	for i := range os {
		if os[i].Code == code {
			return true
		}
	}
	return false
}

// fitsMessage applies the rules of options that belong to some answers only
// (RFC 9915 sections 21.23 to 21.25; D-140, D-175).
func (x *exchange) fitsMessage(code uint16, wanted bool) bool {
	switch code {
	case optRefreshTime:
		return x.m.typ == InformationRequest
	case optSolMaxRT:
		return wanted
	case optInfMaxRT:
		return wanted && x.answerType == Reply
	}
	return true
}

// commonArchTypes returns the configured boot architectures that the client
// has, in the order configured (RFC 5970 section 3.3, D-163).
func (x *exchange) commonArchTypes(configured []byte) []byte {
	var common []byte
	for c := configured; len(c) >= archTypeLen; c = c[archTypeLen:] {
		for a := x.m.archTypes; len(a) >= archTypeLen; a = a[archTypeLen:] {
			if binary.BigEndian.Uint16(a) == binary.BigEndian.Uint16(c) {
				common = append(common, c[:archTypeLen]...)
				break
			}
		}
	}
	return common
}

// relaySupplied walks the options that relays add for the client: only codes
// on the list, only where the server has none, each once, the relay nearest to
// the client first (RFC 6422 section 6, D-227, D-229).
func (x *exchange) relaySupplied(own []Option, yield func(uint16, []byte) bool) {
	for _, code := range x.s.cfg.RelaySupplied {
		if !x.m.wants(code) || !x.fitsMessage(code, true) || hasOption(own, code) || hasOption(x.link.Options, code) {
			continue
		}
		for i := len(x.m.relays) - 1; i >= 0; i-- {
			if data, ok := x.m.relays[i].rsoo.find(code); ok {
				if !yield(code, data) {
					return
				}
				break
			}
		}
	}
}

// trace adds an event about this client.
func (x *exchange) trace(e trace.Event) {
	e.Link, e.Client, e.Msg = x.link.Name, x.client, uint8(x.m.typ)
	x.r.Trace = append(x.r.Trace, e)
}
