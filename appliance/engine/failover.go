package engine

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/failover"
	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// ConnID names a connection with a partner. The shell gives them out, each once.
type ConnID = failover.ConnID

// The events of the connections with partners.
type (
	// PartnerConnected is a new connection: for Relationship, because an output
	// asked for it, or accepted from Peer if that is empty.
	PartnerConnected struct {
		Conn         ConnID
		Relationship string
		Peer         netip.Addr
	}
	// DialFailed says that the connection for a relationship cannot be made now.
	DialFailed struct{ Relationship string }
	// PartnerFrame is a message, without the two octets of its size. At is what
	// the system's clocks read when it came in.
	PartnerFrame struct {
		Conn ConnID
		At   lease.Clock
		Data []byte
	}
	// PartnerClosed is the end of a connection, whoever ended it.
	PartnerClosed struct{ Conn ConnID }
	// Operate is a command of the operator for a relationship; its Done carries
	// the Ticket.
	Operate struct {
		Ticket       uint64
		Relationship string
		Command      failover.Command
	}
)

func (PartnerConnected) event() {}
func (DialFailed) event()       {}
func (PartnerFrame) event()     {}
func (PartnerClosed) event()    {}
func (Operate) event()          {}

// PartnerOutput is what has to be done for a partner.
type PartnerOutput struct {
	Conn  ConnID
	Frame []byte // with its size in front; wire.Stamp sets its time when it goes to the socket
	Close bool   // the connection, after Frame
	Dial  string // or: connect to the partner of this relationship
}

const (
	// lobbyMax bounds the connections that have not said yet what they are for.
	lobbyMax = 16
	// lobbyWait is how long they may take for it (F-380).
	lobbyWait = 10 * time.Second
)

// visitor is a connection in the lobby.
type visitor struct {
	conn  ConnID
	peer  netip.Addr
	until time.Duration // on Clock.Mono
}

// partners are the relationships of this server.
type partners struct {
	list   []*failover.Endpoint
	cfg    []failover.Config
	byLink map[string]*failover.Endpoint
	byConn map[ConnID]*failover.Endpoint
	lobby  []visitor
	saved  map[string][]byte // records from stable storage, by name of the relationship
	out    failover.Output   // scratch
}

// recordPrefix begins the name of the stored value of a relationship.
const recordPrefix = "failover/"

// relationships makes an endpoint for each configured relationship, and keeps
// those that are there.
func (e *Engine) relationships(now lease.Clock, cfg []failover.Config, flaws failover.Flaw) {
	p := &e.partners
	before := p.list
	for _, f := range before { // first: it has the last word about its record
		if !slices.ContainsFunc(cfg, func(c failover.Config) bool { return c.Name == f.Name() && c.Role == f.Role() }) {
			_ = f.Operate(now, failover.Shutdown, &p.out) // is never refused
			e.carryOut(f)
		}
	}
	p.list, p.cfg, p.byLink = nil, nil, map[string]*failover.Endpoint{}
	for _, c := range cfg {
		c.Links = e.territories(c.Links)
		c.Remember_s = e.cfg.DHCP.RememberFor
		c.RememberMax = e.cfg.DHCP.Limits.Leases / rememberedShare
		c.LeasesMax = 2 * e.cfg.DHCP.Limits.Leases // those of both servers
		i := slices.IndexFunc(before, func(f *failover.Endpoint) bool { return f.Name() == c.Name && f.Role() == c.Role })
		var f *failover.Endpoint
		if i >= 0 {
			f = before[i]
		} else {
			f = failover.New(c, e.table)
			f.Break(flaws)
		}
		p.list, p.cfg = append(p.list, f), append(p.cfg, c)
		for _, l := range c.Links {
			p.byLink[l.Name] = f
		}
		if i >= 0 {
			f.Reconfigure(now, c, &p.out)
		} else {
			for b := range e.table.From(netip.Prefix{}) {
				f.Changed(nil, b)
			}
			if data := p.saved[c.Name]; data != nil {
				if err := f.Load(data); err != nil { // LoadValue has checked it
					panic(fmt.Sprintf("engine: record of relationship %q: %v", c.Name, err))
				}
			}
			f.Start(now, &p.out)
		}
		e.carryOut(f)
	}
	e.forsake()
	e.settleAlone(now)
}

// settleAlone frees what waits for a partner that is configured no more.
func (e *Engine) settleAlone(now lease.Clock) {
	var waiting []*lease.Binding
	for b := range e.table.From(netip.Prefix{}) {
		if e.partners.byLink[b.Link] == nil && b.Status != lease.Active && b.Status != lease.Abandoned && b.Status != lease.Free {
			waiting = append(waiting, b)
		}
	}
	for _, b := range waiting {
		e.end(now, b, dhcp6.Cleared)
	}
}

// forsake marks the records of relationships that are configured no more.
func (e *Engine) forsake() {
	for _, name := range slices.Sorted(maps.Keys(e.partners.saved)) {
		if e.relationship(name) != nil {
			continue
		}
		before := e.partners.saved[name]
		after, err := failover.Forsake(before)
		if err != nil {
			panic(fmt.Sprintf("engine: record of relationship %q: %v", name, err)) // LoadValue has checked it
		}
		if !bytes.Equal(before, after) {
			e.partners.saved[name] = after
			e.ready.Commit.Set(recordPrefix+name, after)
		}
	}
}

// rememberedShare bounds the freed leases that remember their client, as a part
// of the leases that there may be.
const rememberedShare = 4

// territories fills in what the configuration of DHCP says about the links of a
// relationship.
func (e *Engine) territories(links []failover.Link) []failover.Link {
	var full []failover.Link
	for _, l := range links {
		t := e.cfg.DHCP.Territory(l.Name)
		l.Covers = t.Contains
		l.Text = fmt.Sprint(t.Subnets)
		l.Reserved = t.Reserved
		l.Pools = nil
		for _, p := range t.Pools {
			l.Pools = append(l.Pools, failover.PrefixPool{Prefix: p.Prefix, Length: p.Length})
		}
		full = append(full, l)
	}
	return full
}

// carryOut turns what an endpoint wants done into outputs.
func (e *Engine) carryOut(f *failover.Endpoint) {
	out := &e.partners.out
	for _, c := range out.Changes {
		if c.Binding == nil {
			e.ready.Commit.Delete(c.Prefix)
		} else {
			e.ready.Commit.Put(c.Binding)
		}
	}
	if out.Record != nil {
		e.partners.saved[f.Name()] = out.Record
		e.ready.Commit.Set(recordPrefix+f.Name(), out.Record)
	}
	for _, s := range out.Now {
		e.ready.Now.Partner = append(e.ready.Now.Partner, frame(s))
	}
	for _, s := range out.After {
		e.ready.AfterCommit.Partner = append(e.ready.AfterCommit.Partner, frame(s))
	}
	if out.Dial {
		e.ready.Now.Partner = append(e.ready.Now.Partner, PartnerOutput{Dial: f.Name()})
	}
	e.ready.Trace = append(e.ready.Trace, out.Trace...)
	clear(out.Changes)
	clear(out.Now)
	clear(out.After)
	*out = failover.Output{Now: out.Now[:0], After: out.After[:0], Changes: out.Changes[:0], Trace: out.Trace[:0]}
}

// frame encodes a message. The endpoint sends nothing that cannot be.
func frame(s failover.Send) PartnerOutput {
	o := PartnerOutput{Conn: s.Conn, Close: s.Close}
	if s.Message != nil {
		var err error
		if o.Frame, err = wire.AppendFrame(nil, s.Message); err != nil {
			panic(fmt.Sprintf("engine: %v cannot be sent: %v", s.Message.Type(), err))
		}
	}
	return o
}

// connected handles a new connection.
func (e *Engine) connected(now lease.Clock, ev PartnerConnected) {
	p := &e.partners
	if ev.Relationship != "" {
		f := e.relationship(ev.Relationship)
		if f == nil { // not configured any more
			e.hangUp(ev.Conn)
			return
		}
		p.byConn[ev.Conn] = f
		f.Connected(now, ev.Conn, &p.out)
		e.carryOut(f)
		return
	}
	known := slices.ContainsFunc(p.cfg, func(c failover.Config) bool {
		return c.Role == lease.Secondary && slices.Contains(c.Partners, ev.Peer)
	})
	if !known || len(p.lobby) == lobbyMax { // F-066, F-379
		e.hangUp(ev.Conn)
		return
	}
	p.lobby = append(p.lobby, visitor{ev.Conn, ev.Peer, now.Mono + lobbyWait})
}

func (e *Engine) hangUp(conn ConnID) {
	e.ready.Now.Partner = append(e.ready.Now.Partner, PartnerOutput{Conn: conn, Close: true})
}

func (e *Engine) relationship(name string) *failover.Endpoint {
	for _, f := range e.partners.list {
		if f.Name() == name {
			return f
		}
	}
	return nil
}

// received handles a message of a partner.
func (e *Engine) received(now lease.Clock, ev PartnerFrame) {
	p := &e.partners
	m, err := wire.Parse(ev.Data)
	if f := p.byConn[ev.Conn]; f != nil {
		if err != nil {
			f.Malformed(now, ev.Conn, err, &p.out)
		} else {
			skew := e.skew(m, ev.At)
			f.Receive(now, ev.Conn, m, skew, &p.out)
			if r, ok := m.(*wire.ConnectReply); ok && r.Rejects() {
				e.carryOut(f)
				e.adopt(&now, skew) // the next attempt will be better
			}
		}
		e.carryOut(f)
		return
	}
	i := slices.IndexFunc(p.lobby, func(v visitor) bool { return v.conn == ev.Conn })
	if i < 0 {
		e.astray(now, ev, m)
		return
	}
	v := p.lobby[i]
	if start, ok := m.(*wire.StartTLS); ok && err == nil {
		// The shell makes TLS before the engine sees a connection; this one is
		// without (F-115).
		refused := &wire.Reply{PlainHeader: wire.PlainHeader{TransactionID: start.TransactionID}, Status: wire.Some(wire.Status{Code: wire.TLSConnectionRefused})}
		e.ready.Now.Partner = append(e.ready.Now.Partner, frame(failover.Send{Conn: v.conn, Message: refused}))
		return
	}
	p.lobby = slices.Delete(p.lobby, i, i+1)
	connect, ok := m.(*wire.Connect)
	if err != nil || !ok {
		e.hangUp(v.conn)
		return
	}
	f, ok := e.meant(connect, v.peer)
	if !ok {
		name, _ := connect.RelationshipName.Get()
		e.ready.Now.Partner = append(e.ready.Now.Partner, frame(failover.Reject(v.conn, connect, failover.KeepaliveDefault_s, wire.ConfigurationConflict, fmt.Sprintf("no relationship %q with this partner as primary", name))))
		return
	}
	p.byConn[v.conn] = f
	skew := e.skew(m, ev.At)
	if e.adopt(&now, skew) {
		skew = 0
	}
	f.Accept(now, v.conn, connect, skew, &p.out)
	e.carryOut(f)
}

// astray handles a message of a connection that is no more. An endpoint that is
// flawed on purpose takes it for news.
func (e *Engine) astray(now lease.Clock, ev PartnerFrame, m wire.Message) {
	p := &e.partners
	if e.cfg.Flaws&failover.FlawStaleEpoch == 0 || len(p.list) == 0 || m == nil {
		return
	}
	p.list[0].Receive(now, ev.Conn, m, e.skew(m, ev.At), &p.out)
	e.carryOut(p.list[0])
}

// meant finds the endpoint that a CONNECT is for, by its name and where it came
// from (RFC 8156 section 6.2, Q-27).
func (e *Engine) meant(m *wire.Connect, peer netip.Addr) (*failover.Endpoint, bool) {
	name, named := m.RelationshipName.Get()
	var found *failover.Endpoint
	for i, c := range e.partners.cfg {
		if c.Role != lease.Secondary || !slices.Contains(c.Partners, peer) || named && c.Name != name {
			continue
		}
		if found != nil {
			return nil, false
		}
		found = e.partners.list[i]
	}
	return found, found != nil
}

// skew is by how many seconds a message's sent-time was ahead of this server's
// clock when it came in.
func (e *Engine) skew(m wire.Message, at lease.Clock) lease.Time {
	sent, ok := wire.SentTime(m)
	if !ok {
		return 0
	}
	here := e.clock.at(at.Mono)
	return sent.Resolve(here) - here
}

// closed handles the end of a connection.
func (e *Engine) closed(now lease.Clock, conn ConnID) {
	p := &e.partners
	p.lobby = slices.DeleteFunc(p.lobby, func(v visitor) bool { return v.conn == conn })
	if f := p.byConn[conn]; f != nil {
		delete(p.byConn, conn)
		f.Closed(now, conn, &p.out)
		e.carryOut(f)
	}
}

// operate carries out the operator's command.
func (e *Engine) operate(now lease.Clock, ev Operate) {
	done := Done{Ticket: ev.Ticket}
	if f := e.relationship(ev.Relationship); f != nil {
		done.Err = f.Operate(now, ev.Command, &e.partners.out)
		e.carryOut(f)
	} else {
		done.Err = fmt.Errorf("%w: no failover relationship %q is configured", failover.ErrRefused, ev.Relationship)
	}
	e.ready.AfterCommit.Done = append(e.ready.AfterCommit.Done, done)
}

// wakePartners lets the endpoints do what has become due, a part for each Step,
// and returns when there is more.
func (e *Engine) wakePartners(now lease.Clock) time.Duration {
	p := &e.partners
	at := Never
	for _, f := range p.list {
		if f.WakeAt() <= now.Mono {
			f.Wake(now, &p.out)
			e.carryOut(f)
		}
		at = min(at, max(f.WakeAt(), now.Mono))
	}
	for len(p.lobby) > 0 && p.lobby[0].until <= now.Mono {
		e.hangUp(p.lobby[0].conn)
		p.lobby = p.lobby[1:]
	}
	if len(p.lobby) > 0 {
		at = min(at, p.lobby[0].until)
	}
	return at
}

// partnersChanged tells the endpoints about a change of the lease table.
func (e *Engine) partnersChanged(old, now *lease.Binding) {
	var was, is *failover.Endpoint
	if old != nil {
		was = e.partners.byLink[old.Link]
	}
	if now != nil {
		is = e.partners.byLink[now.Link]
	}
	switch {
	case was == is && is != nil:
		is.Changed(old, now)
	default:
		if was != nil {
			was.Changed(old, nil)
		}
		if is != nil {
			is.Changed(nil, now)
		}
	}
}

// policy is the dhcp6.Policy of the server: for each link that of its
// relationship, or that of a server which is alone.
type policy struct {
	e *Engine
	dhcp6.Alone
}

func (p policy) of(link string) *failover.Endpoint { return p.e.partners.byLink[link] }

func (p policy) Serves(link string) dhcp6.Service {
	f := p.of(link)
	if f == nil {
		return p.Alone.Serves(link)
	}
	switch f.Serves() {
	case failover.Responsive:
		if f.Apart() {
			return dhcp6.ResponsiveApart
		}
		return dhcp6.Responsive
	case failover.RenewResponsive:
		return dhcp6.RenewResponsive
	case failover.RenewOnly:
		return dhcp6.RenewOnly
	}
	return dhcp6.Unresponsive
}

func (p policy) MayAssign(now lease.Clock, l netip.Prefix, b *lease.Binding, ia lease.IA, reserved bool) dhcp6.Claim {
	f := p.of(ia.Link)
	if f == nil {
		return p.Alone.MayAssign(now, l, b, ia, reserved)
	}
	switch f.MayAssign(now, l, b, ia, reserved) {
	case failover.Ours:
		return dhcp6.Ours
	case failover.LastResort:
		return dhcp6.LastResort
	}
	return dhcp6.NotOurs
}

func (p policy) Valid(now lease.Clock, l netip.Prefix, b *lease.Binding, ia lease.IA, desired uint32) uint32 {
	if f := p.of(ia.Link); f != nil {
		return f.Valid(now, b, ia, desired)
	}
	return p.Alone.Valid(now, l, b, ia, desired)
}

func (p policy) Bind(now lease.Clock, old, b *lease.Binding, desired uint32) {
	if f := p.of(b.Link); f != nil {
		f.Bind(now, old, b, desired)
		return
	}
	p.Alone.Bind(now, old, b, desired)
}

func (p policy) End(now lease.Clock, b, ended *lease.Binding, cause dhcp6.Cause) {
	f := p.of(b.Link)
	if f == nil {
		p.Alone.End(now, b, ended, cause)
		return
	}
	switch {
	case cause == dhcp6.Declined:
		ended.Status = lease.Abandoned
	case cause == dhcp6.Cleared, b.Status == lease.Abandoned:
		ended.Status = lease.Reset
	case cause == dhcp6.RanOut:
		ended.Status = lease.Expired
	default:
		ended.Status = lease.Released
	}
	f.End(ended)
}

// relationshipStatus tells how each relationship stands.
func (e *Engine) relationshipStatus() []failover.Status {
	var list []failover.Status
	for _, f := range e.partners.list {
		list = append(list, f.Status())
	}
	return list
}
