package failover

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/failover/wire"
)

const (
	// handshakeMax is how long a connection may take from its beginning to the
	// partner's first STATE.
	handshakeMax = 30 * second
	// contactsPerKeepalive is FO_CONTACT_PER_KEEPALIVE_TIME (RFC 8156 section 6.5).
	contactsPerKeepalive = 4
	// skewMax_s is by how much the partners' clocks may differ (RFC 8156 section 7.1).
	skewMax_s = 5
	// skewedMax is how many messages in a row may look skewed before the
	// connection is dropped: one may have been held up on its way.
	skewedMax = 3
	// steadyAfter is how long a connection has to last to count as a success:
	// the next one is then tried at once.
	steadyAfter = 10 * second
)

// phase is how far a connection has come.
type phase uint8

const (
	greeting phase = iota // of a primary: CONNECT is sent, CONNECTREPLY awaited
	meeting               // the first STATE is sent, the partner's is awaited
	open                  // communications are OK
)

// session is one connection.
type session struct {
	id    ConnID
	phase phase
	met   bool // a STATE without the STARTUP flag has come
	begun time.Duration

	communicated bool          // what Communicated was before this connection
	ackStartup   bool          // the partner's latest flags had STARTUP
	sendEvery    time.Duration // FO_SEND_TIME
	maxUnacked   int           // how many BNDUPDs the partner takes
	skewed       int           // messages in a row

	handshakeBy time.Duration
	sendAt      time.Duration // FO_SEND_TIMER
	deadAt      time.Duration // FO_KEEPALIVE_TIMER
	idleAt      time.Duration // the request is given up, or POTENTIAL-CONFLICT; never: neither

	connectID wire.TransactionID
	lastID    wire.TransactionID
	request   *request // of ours, or nil
	answer    *answer  // to a request of the partner, or nil

	flight  map[wire.TransactionID]*update
	order   []*update           // as sent; those answered are removed when they come to the front
	flying  map[uint64]struct{} // the numbers of the changes in flight
	refused map[netip.Prefix]refusal
	sent    uint64    // changes up to this number were sent on this connection
	scanned uint64    // where the scan goes on; 0: it begins
	taking  int       // prefixes that the partner was asked to give back
	replyTo []*update // scratch
}

func (e *Endpoint) newSession(id ConnID, p phase) *session {
	now := e.now.Mono
	keepalive := time.Duration(e.cfg.Keepalive_s) * second
	return &session{
		id: id, phase: p, begun: now,
		communicated: e.record.Communicated,
		sendEvery:    sendEvery(e.cfg.Keepalive_s),
		handshakeBy:  now + handshakeMax, sendAt: never, deadAt: now + keepalive, idleAt: never,
		flight: map[wire.TransactionID]*update{}, flying: map[uint64]struct{}{},
		refused: map[netip.Prefix]refusal{},
	}
}

// sendEvery is FO_SEND_TIME for the keepalive time of the partner.
func sendEvery(keepalive_s uint32) time.Duration {
	return time.Duration(max(keepalive_s/contactsPerKeepalive, 1)) * second
}

// Connected says that the connection asked for by Output.Dial stands.
func (e *Endpoint) Connected(now lease.Clock, id ConnID, out *Output) {
	e.begin(now, out)
	e.dialing = false
	if e.cfg.Role != lease.Primary || e.session != nil || e.stopped {
		e.out.Now = append(e.out.Now, Send{Conn: id, Close: true})
	} else {
		s := e.newSession(id, greeting)
		e.session = s
		e.announceMCLT(e.cfg.MCLT_s)
		e.store()
		s.connectID = e.nextID()
		e.send(&wire.Connect{
			Header:  wire.Header{TransactionID: s.connectID},
			Version: wire.Some(wire.Version), MCLT: wire.Some(e.cfg.MCLT_s), KeepaliveTime: wire.Some(e.cfg.Keepalive_s),
			MaxUnackedBndUpd: wire.Some(e.cfg.MaxUnacked), RelationshipName: wire.Some(e.cfg.Name), Flags: wire.Some(wire.FixedPDLength),
		})
	}
	e.end()
}

// DialFailed says that it could not be made.
func (e *Endpoint) DialFailed(now lease.Clock, out *Output) {
	e.begin(now, out)
	e.dialing = false
	e.dialLater()
	e.end()
}

// dialLater waits twice as long as the last time (RFC 8156 section 6.1).
func (e *Endpoint) dialLater() {
	least := time.Duration(e.cfg.Reconnect_s) * second
	e.dialWait = min(max(2*e.dialWait, least), max(ReconnectMax_s*second, least))
	e.dialAt = e.now.Mono + e.dialWait
}

// slowDown waits longer, after a rejection. A server that has nothing else to do
// than to wait for its partner goes on asking.
func (e *Endpoint) slowDown() {
	e.dialWait = RejectedMax_s * second
	if e.state == Startup {
		e.dialWait = ReconnectMax_s * second
	}
	e.dialAt = e.now.Mono + e.dialWait
}

// startupMax is how many times as long STARTUP may take if the partner shows signs
// of life. It cannot be for ever: two servers whose clocks differ would then
// serve nobody.
const startupMax = 10

// partnerIsAlive notes that the partner is there, though it may not be possible
// to connect: STARTUP must not end as if it were off. It may be serving alone.
func (e *Endpoint) partnerIsAlive() {
	if e.state == Startup {
		wait := time.Duration(e.cfg.Startup_s) * second
		e.untilState = max(e.untilState, min(e.now.Mono+wait, e.started+startupMax*wait))
	}
}

// Reject is the answer to a CONNECT that belongs to no endpoint, or cannot be
// accepted. The connection ends with it.
func Reject(id ConnID, m *wire.Connect, keepalive_s uint32, code wire.StatusCode, text string) Send {
	return Send{Conn: id, Close: true, Message: &wire.ConnectReply{
		Header: wire.Header{TransactionID: m.TransactionID},
		Status: wire.Some(wire.Status{Code: code, Text: text}), KeepaliveTime: wire.Some(keepalive_s),
	}}
}

// Accept takes a CONNECT on a connection that the partner has opened, which was
// found to be for this endpoint. skew is by how many seconds the partner's
// clock is ahead.
func (e *Endpoint) Accept(now lease.Clock, id ConnID, m *wire.Connect, skew lease.Time, out *Output) {
	e.begin(now, out)
	e.partnerIsAlive()
	if status, ok := e.objection(m, skew).Get(); ok {
		e.out.Now = append(e.out.Now, Reject(id, m, e.cfg.Keepalive_s, status.Code, status.Text))
		e.tell(trace.Event{ID: trace.FailoverRefusedConnect, Text: status.String(), N: int64(skew)})
	} else {
		e.accept(id, m)
	}
	e.end()
}

// objection is why a CONNECT is rejected (RFC 8156 section 6.1.2, in this order).
func (e *Endpoint) objection(m *wire.Connect, skew lease.Time) (none wire.Opt[wire.Status]) {
	reject := func(code wire.StatusCode, format string, args ...any) wire.Opt[wire.Status] {
		return wire.Some(wire.Status{Code: code, Text: fmt.Sprintf(format, args...)})
	}
	version, _ := m.Version.Get()
	mclt, _ := m.MCLT.Get()
	keepalive, _ := m.KeepaliveTime.Get()
	unacked, _ := m.MaxUnackedBndUpd.Get()
	flags, _ := m.Flags.Get()
	switch check := m.Check(); {
	case e.cfg.Role != lease.Secondary:
		return reject(wire.ConfigurationConflict, "this server is the primary of the relationship")
	case e.stopped:
		return reject(wire.ServerShuttingDown, "this server is stopping")
	case skewed(skew):
		return reject(wire.ExcessiveTimeSkew, "the clocks differ by %d s, at most %d are possible", skew, skewMax_s)
	case version != (wire.ProtocolVersion{}) && version.Major != wire.Version.Major:
		return reject(wire.NotSupported, "protocol version %v, this server speaks %v", version, wire.Version)
	case check != none:
		return check
	case mclt < MCLTMin_s || mclt > MCLTMax_s:
		return reject(wire.ConfigurationConflict, "MCLT %d s, allowed are %d to %d", mclt, MCLTMin_s, MCLTMax_s)
	case keepalive == 0 || unacked == 0:
		return reject(wire.ConfigurationConflict, "keepalive time %d s, %d unacknowledged BNDUPDs: neither can be 0", keepalive, unacked)
	case flags&wire.FixedPDLength == 0:
		return reject(wire.NotSupported, "prefixes of different lengths from one delegable prefix are not supported")
	case e.activating:
		return reject(wire.UnspecFail, "this server is not ready yet, try again")
	}
	return none
}

func skewed(skew lease.Time) bool { return skew > skewMax_s || skew < -skewMax_s }

func (e *Endpoint) accept(id ConnID, m *wire.Connect) {
	if e.session != nil { // the partner knows that the old one is dead
		e.hangUp("the partner has opened a new connection")
	}
	s := e.newSession(id, meeting)
	e.session = s
	mclt, _ := m.MCLT.Get()
	e.adoptMCLT(mclt)
	e.store()
	keepalive, _ := m.KeepaliveTime.Get()
	unacked, _ := m.MaxUnackedBndUpd.Get()
	s.agree(keepalive, unacked)
	e.send(&wire.ConnectReply{
		Header:  wire.Header{TransactionID: m.TransactionID},
		Version: wire.Some(wire.Version), MCLT: m.MCLT, KeepaliveTime: wire.Some(e.cfg.Keepalive_s),
		MaxUnackedBndUpd: wire.Some(e.cfg.MaxUnacked), Flags: wire.Some(wire.FixedPDLength),
	})
	e.sendState()
}

// agree takes over what the partner said of itself.
func (s *session) agree(keepalive_s, unacked uint32) {
	s.sendEvery = sendEvery(keepalive_s)
	s.maxUnacked = int(min(unacked, MaxUnackedMax))
}

// receiveConnectReply ends the greeting of a primary (RFC 8156 section 6.1.3).
func (e *Endpoint) receiveConnectReply(m *wire.ConnectReply, skew lease.Time) {
	s := e.session
	if s.phase != greeting || m.TransactionID != s.connectID {
		e.tell(trace.Event{ID: trace.FailoverProtocol, Text: "a CONNECTREPLY that nothing asked for"})
		return
	}
	if m.Rejects() {
		status, _ := m.Status.Get()
		e.tell(trace.Event{ID: trace.FailoverRejected, Text: status.String()})
		e.partnerIsAlive()
		e.hangUp("rejected")
		e.slowDown()
		return
	}
	version, _ := m.Version.Get()
	mclt, _ := m.MCLT.Get()
	keepalive, _ := m.KeepaliveTime.Get()
	unacked, _ := m.MaxUnackedBndUpd.Get()
	flags, _ := m.Flags.Get()
	switch status, lacks := m.Check().Get(); {
	case lacks:
		e.disconnect(status.Code, status.Text)
	case version.Major != wire.Version.Major:
		e.disconnect(wire.NotSupported, fmt.Sprintf("protocol version %v, this server speaks %v", version, wire.Version))
	case mclt != e.cfg.MCLT_s:
		e.disconnect(wire.ConfigurationConflict, fmt.Sprintf("MCLT %d s, configured here are %d", mclt, e.cfg.MCLT_s))
	case keepalive == 0 || unacked == 0:
		e.disconnect(wire.ConfigurationConflict, "neither keepalive time nor the number of unacknowledged BNDUPDs can be 0")
	case flags&wire.FixedPDLength == 0:
		e.disconnect(wire.NotSupported, "prefixes of different lengths from one delegable prefix are not supported")
	case skewed(skew):
		e.disconnect(wire.ExcessiveTimeSkew, fmt.Sprintf("the clocks differ by %d s, at most %d are possible", skew, skewMax_s))
	default:
		s.phase = meeting
		s.agree(keepalive, unacked)
		if r := &e.record; r.FormerUntil == lease.Forever { // announceMCLT
			r.FormerUntil = e.now.Wall.Add(r.FormerMCLT_s)
		}
		e.adoptMCLT(mclt)
		e.store()
		e.sendState()
	}
}

// Receive takes a message from the partner. skew is by how many seconds its
// sent-time was ahead of the moment when it came in.
func (e *Endpoint) Receive(now lease.Clock, id ConnID, m wire.Message, skew lease.Time, out *Output) {
	if e.session == nil || e.session.id != id && !e.flawed(FlawStaleEpoch) {
		return // of an earlier connection
	}
	e.begin(now, out)
	e.receive(m, skew)
	e.end()
}

// alive takes note that something has come from the partner.
func (e *Endpoint) alive() {
	e.session.deadAt = e.now.Mono + time.Duration(e.cfg.Keepalive_s)*second
	e.record.LastMessage = e.now.Wall
}

func (e *Endpoint) receive(m wire.Message, skew lease.Time) {
	s := e.session
	e.alive()
	if m.Type().HasSentTime() && skewed(skew) {
		if s.skewed++; s.skewed >= skewedMax {
			e.disconnect(wire.ExcessiveTimeSkew, fmt.Sprintf("the clocks differ by %d s, at most %d are possible", skew, skewMax_s))
			return
		}
	} else {
		s.skewed = 0
	}
	switch m := m.(type) {
	case *wire.ConnectReply:
		e.receiveConnectReply(m, skew)
		return
	case *wire.Disconnect:
		status, _ := m.Status.Get()
		e.hangUp("the partner disconnected: " + status.String())
		switch {
		case s.phase == greeting:
			e.slowDown()
		case e.dialWait == 0: // it has lasted, but was not to go on
			e.dialLater()
		}
		return
	case *wire.Contact:
		return
	case *wire.State:
		if s.phase == greeting {
			break
		}
		e.receiveState(m)
		return
	}
	if s.phase != open {
		e.disconnect(wire.UnspecFail, fmt.Sprintf("a %v before the connection is set up", m.Type()))
		return
	}
	switch m := m.(type) {
	case *wire.BndUpd:
		e.receiveUpdate(m)
	case *wire.BndReply:
		e.receiveReply(m)
	case *wire.UpdReq, *wire.UpdReqAll:
		if !s.met { // it is in STARTUP
			e.tell(trace.Event{ID: trace.FailoverProtocol, Text: fmt.Sprintf("a %v in STARTUP", m.Type())})
			return
		}
		_, all := m.(*wire.UpdReqAll)
		e.receiveRequest(m.ID(), all)
	case *wire.UpdDone:
		e.receiveDone(m)
	case *wire.PoolReq:
		e.receivePoolReq(m)
	case *wire.PoolResp:
	default:
		e.disconnect(wire.UnspecFail, fmt.Sprintf("a %v has no place here", m.Type()))
	}
}

// Malformed says that the partner sent what is no message of its kind; err is
// that of wire.Parse.
func (e *Endpoint) Malformed(now lease.Clock, id ConnID, err error, out *Output) {
	if e.session == nil || e.session.id != id {
		return
	}
	e.begin(now, out)
	e.malformed(err)
	e.end()
}

// malformed ignores a message of unknown type, refuses an update of which only the
// content is wrong, and has enough of a partner that sends anything else.
func (e *Endpoint) malformed(err error) {
	bad := new(wire.Error)
	switch known := errors.As(err, &bad); {
	case known && bad.Kind == wire.UnknownType:
		e.alive()
		e.tell(trace.Event{ID: trace.FailoverProtocol, Text: "a " + bad.Type.String()})
	case known && bad.Kind == wire.BadOption && bad.Type == wire.TypeBndUpd && e.session.phase == open:
		e.alive()
		status := wire.Status{Code: wire.MissingBindingInformation, Text: bad.Error()}
		e.refuse(nil, status)
		e.answerUpdate(&wire.BndReply{Header: wire.Header{TransactionID: bad.TransactionID}, Status: wire.Some(status)})
	default:
		e.disconnect(wire.UnspecFail, err.Error())
	}
}

// Closed says that a connection has ended.
func (e *Endpoint) Closed(now lease.Clock, id ConnID, out *Output) {
	if e.session == nil || e.session.id != id {
		return
	}
	e.begin(now, out)
	e.gone("the connection broke")
	e.end()
}

// receiveState handles STATE (RFC 8156 section 6.4).
func (e *Endpoint) receiveState(m *wire.State) {
	s := e.session
	if status, bad := m.Check().Get(); bad {
		e.disconnect(status.Code, status.Text)
		return
	}
	state, _ := m.ServerState.Get()
	flags, _ := m.Flags.Get()
	start, _ := m.StartTime.Get()
	since := start.Resolve(e.now.Wall)
	r := &e.record
	changed := state != r.Partner
	r.Partner, r.PartnerFlags, r.PartnerSince, r.PartnerDownTime = state, flags, since, 0
	if t, ok := m.PartnerDownTime.Get(); ok && state == PartnerDown {
		r.PartnerDownTime = t.Resolve(e.now.Wall)
	}
	r.Communicated = true
	r.Dispute = r.Dispute || state == PartnerDown
	if e.flawed(FlawCommunicatedNotFrozen) {
		s.communicated = true
	}
	s.ackStartup = flags&wire.FlagStartup != 0
	first := s.phase == meeting
	if first {
		s.phase = open
		s.sent = 0
		e.tell(trace.Event{ID: trace.FailoverConnected, Text: state.String()})
		if e.state == CommunicationsInterrupted {
			e.untilState = never
		}
		e.judgeLoss(flags&wire.FlagCommunicated != 0)
		if s.communicated && flags&wire.FlagCommunicated == 0 {
			e.concede()
		}
	}
	e.store()
	s.stirred(e)
	if e.state == Startup {
		e.leaveStartup(state, since)
	}
	if s.ackStartup { // it will come out of it and say so
		s.met = false
		return
	}
	on := news
	if !s.met {
		s.met, on = true, contact
		e.entered = e.lastChange
	} else if !changed {
		e.met()
		return
	}
	e.run(on)
}

// judgeLoss compares what both servers remember of each other, when a
// connection begins (T-18, T-23).
func (e *Endpoint) judgeLoss(partnerRemembers bool) {
	r := &e.record
	switch {
	case e.session.communicated:
	case partnerRemembers:
		r.Virgin = false
		if r.Loss == lossNone {
			r.Loss = lossData
			e.grantsFrom = e.started + e.waitMCLT()
			e.failed = 0
			e.tell(trace.Event{ID: trace.FailoverStorageLost})
		}
	case r.State == Recover && r.Previous == 0:
		r.Virgin = true
	}
}

// sendState sends STATE (RFC 8156 section 6.3).
func (e *Endpoint) sendState() {
	s, r := e.session, &e.record
	m := &wire.State{Header: wire.Header{TransactionID: e.nextID()}, ServerState: wire.Some(r.State), StartTime: wire.Some(e.at(r.Since))}
	var flags wire.ServerFlags
	if s.communicated {
		flags |= wire.FlagCommunicated
	}
	if s.ackStartup {
		flags |= wire.FlagAckStartup
	}
	if e.state == Startup { // T-05
		flags |= wire.FlagStartup
	}
	m.Flags = wire.Some(flags)
	if r.State == PartnerDown {
		m.PartnerDownTime = wire.Some(e.at(r.Since))
	}
	if e.flawed(FlawStateBeforeStored) {
		e.sendNow(m)
		return
	}
	e.send(m)
}

// at is a time as it goes onto the wire.
func (e *Endpoint) at(t lease.Time) wire.Time { return wire.At(t, e.now.Wall) }

// nextID is a transaction-id that nothing under way has (RFC 8156 section 5.4).
func (e *Endpoint) nextID() wire.TransactionID {
	s := e.session
	for {
		s.lastID = (s.lastID + 1) & wire.TransactionIDMax
		_, taken := s.flight[s.lastID]
		if !taken && (s.request == nil || s.request.id != s.lastID) {
			return s.lastID
		}
	}
}

// send sends a message that rests on what is stored. Nearly all do: even one
// that promises nothing must not overtake the others.
func (e *Endpoint) send(m wire.Message) {
	e.out.After = append(e.out.After, Send{Conn: e.session.id, Message: m})
	e.session.sendAt = e.now.Mono + e.session.sendEvery
}

// sendNow sends a message that may overtake.
func (e *Endpoint) sendNow(m wire.Message) {
	e.out.Now = append(e.out.Now, Send{Conn: e.session.id, Message: m})
	e.session.sendAt = e.now.Mono + e.session.sendEvery
}

// watchSession handles the timers of the connection.
func (e *Endpoint) watchSession() {
	s, now := e.session, e.now.Mono
	switch {
	case now >= s.deadAt:
		e.hangUp("nothing has come for the keepalive time")
	case s.phase != open && now >= s.handshakeBy:
		e.hangUp("the connection was not set up in time")
	case now >= s.idleAt:
		e.disconnect(wire.UnspecFail, "no progress, let us begin again")
	case s.unanswered() != nil && now >= s.unanswered().at+time.Duration(e.cfg.AckTimeout_s)*second:
		e.disconnect(wire.UnspecFail, "a BNDUPD was not answered in time")
	case now >= s.sendAt:
		contact := &wire.Contact{Header: wire.Header{TransactionID: e.nextID()}}
		if s.phase == open {
			e.sendNow(contact)
		} else {
			e.send(contact)
		}
	}
}

// wakeAt is the first of the connection's timers.
func (s *session) wakeAt(e *Endpoint) time.Duration {
	at := min(s.deadAt, s.sendAt, s.idleAt)
	if s.phase != open {
		at = min(at, s.handshakeBy)
	}
	if u := s.unanswered(); u != nil {
		at = min(at, u.at+time.Duration(e.cfg.AckTimeout_s)*second)
	}
	if s.answer != nil && s.answer.walking && len(s.flight) < s.window() {
		at = 0
	}
	return at
}

// stirred restarts the timer that watches the progress of a request, or of
// POTENTIAL-CONFLICT as a whole (T-21, Q-83).
func (s *session) stirred(e *Endpoint) {
	s.idleAt = never
	if s.request != nil || e.state == PotentialConflict {
		s.idleAt = e.now.Mono + time.Duration(e.cfg.UpdDone_s)*second
	}
}

// disconnect ends the connection and says why.
func (e *Endpoint) disconnect(code wire.StatusCode, text string) {
	s := e.session
	e.out.After = append(e.out.After, Send{Conn: s.id, Close: true, Message: &wire.Disconnect{
		Header: wire.Header{TransactionID: e.nextID()}, Status: wire.Some(wire.Status{Code: code, Text: text}),
	}})
	e.gone(fmt.Sprintf("%v: %s", code, text))
}

// hangUp ends it without a word.
func (e *Endpoint) hangUp(why string) {
	e.out.Now = append(e.out.Now, Send{Conn: e.session.id, Close: true})
	e.gone(why)
}

// gone takes note that there is no connection any more.
func (e *Endpoint) gone(why string) {
	s := e.session
	e.session = nil
	if s.phase == open {
		e.tell(trace.Event{ID: trace.FailoverLost, Text: why})
	} else {
		e.tell(trace.Event{ID: trace.FailoverNoSession, Text: why})
	}
	if s.phase == open && e.now.Mono >= s.begun+steadyAfter {
		e.dialWait = 0
		e.dialAt = e.now.Mono
	} else {
		e.dialLater()
	}
	if e.flawed(FlawQueueLost) {
		e.forgetFlight(s)
	}
	if s.phase == open {
		e.run(cut)
		e.armAutoPartnerDown()
	}
}

// Connection is the connection in use; 0: none.
func (e *Endpoint) Connection() ConnID {
	if e.session == nil {
		return 0
	}
	return e.session.id
}
