package dhcp6

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/bits"
	"net/netip"
	"slices"
	"unicode/utf8"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
)

// The oracle: a strict reader of DHCPv6 messages that shares nothing with the
// server, and the rules that every answer obeys whatever was asked.

// answer is a server's message as the oracle read it; typ is 0 if there was none.
type answer struct {
	typ      MessageType
	xid      uint32
	cid, sid []byte
	status   int // top level; -1: none
	text     string
	ias      []oracleIA
	options  []tlv // top level, all
	layers   []oracleLayer
	Output

	reason  trace.Reason // why there is none
	promise bool
	changed []*lease.Binding
	events  []trace.Event
}

type tlv struct {
	code uint16
	data []byte
}

type oracleIA struct {
	typ    lease.IAType
	id     lease.IAID
	t1, t2 uint32
	status int // -1: none
	text   string
	leases []oracleLease
}

type oracleLease struct {
	prefix           netip.Prefix
	preferred, valid uint32
	exclude          []byte // data of Prefix Exclude; nil: none
}

type oracleLayer struct {
	hopCount   uint8
	link, peer netip.Addr
	options    []tlv // without the Relay Message
}

// request is the IAs of an Advertise as a client puts them into its Request.
func (a *answer) request() (ias [][]byte) {
	for _, i := range a.ias {
		ias = append(ias, ia(i.typ, i.id, i.prefixes()...))
	}
	return ias
}

// prefixes are the leases that the client may use.
func (i oracleIA) prefixes() (ps []netip.Prefix) {
	for _, l := range i.leases {
		if l.valid > 0 {
			ps = append(ps, l.prefix)
		}
	}
	return ps
}

// withdrawn are the leases that the client has to give up.
func (i oracleIA) withdrawn() (ps []netip.Prefix) {
	for _, l := range i.leases {
		if l.valid == 0 {
			ps = append(ps, l.prefix)
		}
	}
	return ps
}

// ia finds an identity association; the empty one if it is not there.
func (a *answer) ia(typ lease.IAType, id lease.IAID) oracleIA {
	for _, i := range a.ias {
		if i.typ == typ && i.id == id {
			return i
		}
	}
	return oracleIA{status: -1}
}

func (a *answer) na(id lease.IAID) oracleIA { return a.ia(lease.IANA, id) }
func (a *answer) pd(id lease.IAID) oracleIA { return a.ia(lease.IAPD, id) }

// only is the one lease of an identity association; invalid if it has none or more.
func (i oracleIA) only() netip.Prefix {
	if ps := i.prefixes(); len(ps) == 1 {
		return ps[0]
	}
	return netip.Prefix{}
}

// all are the data of all top-level options of a code.
func (a *answer) all(code uint16) (data [][]byte) {
	for _, o := range a.options {
		if o.code == code {
			data = append(data, o.data)
		}
	}
	return data
}

// has reports whether there is a top-level option of that code.
func (a *answer) has(code uint16) bool { return len(a.all(code)) > 0 }

// events of one kind.
func (a *answer) count(id trace.ID) (n int) {
	for _, e := range a.events {
		if e.ID == id {
			n++
		}
	}
	return n
}

var errOracle = errors.New("not strictly a DHCPv6 message")

// split reads options and nothing else: no padding, nothing left over (D-018).
func split(b []byte) (options []tlv, err error) {
	for len(b) > 0 {
		if len(b) < 4 || len(b)-4 < int(binary.BigEndian.Uint16(b[2:])) {
			return nil, errOracle
		}
		end := 4 + int(binary.BigEndian.Uint16(b[2:]))
		options = append(options, tlv{binary.BigEndian.Uint16(b), b[4:end]})
		b = b[end:]
	}
	return options, nil
}

// unwrap reads the relay layers of a message, outermost first.
func unwrap(b []byte, typ MessageType) (layers []oracleLayer, inner []byte, err error) {
	for len(b) > 0 && MessageType(b[0]) == typ {
		if len(b) < 34 {
			return nil, nil, errOracle
		}
		l := oracleLayer{hopCount: b[1], link: netip.AddrFrom16([16]byte(b[2:18])), peer: netip.AddrFrom16([16]byte(b[18:34]))}
		options, err := split(b[34:])
		if err != nil {
			return nil, nil, err
		}
		var messages [][]byte
		for _, o := range options {
			if o.code == 9 {
				messages = append(messages, o.data)
			} else {
				l.options = append(l.options, o)
			}
		}
		if len(messages) != 1 {
			return nil, nil, errOracle
		}
		layers, b = append(layers, l), messages[0]
	}
	return layers, b, nil
}

func find(options []tlv, code uint16) (data []byte, ok bool) {
	for _, o := range options {
		if o.code == code {
			return o.data, true
		}
	}
	return nil, false
}

// asked is a client's message as the oracle read it.
type asked struct {
	typ         MessageType
	xid         uint32
	cid         []byte // nil: none
	oro         []uint16
	rapidCommit bool
	ias         []tlv // code and first four octets, without repetition
	layers      []oracleLayer
}

func readAsked(data []byte) (*asked, error) {
	layers, b, err := unwrap(data, RelayForward)
	if err != nil || len(b) < 4 {
		return nil, errOracle
	}
	options, err := split(b[4:])
	if err != nil {
		return nil, err
	}
	q := &asked{typ: MessageType(b[0]), xid: binary.BigEndian.Uint32(b) & 0xffffff, layers: layers}
	q.cid, _ = find(options, 1)
	_, q.rapidCommit = find(options, 14)
	for _, o := range options {
		switch {
		case o.code == 6 && q.oro == nil && len(o.data)%2 == 0:
			q.oro = []uint16{}
			for c := o.data; len(c) > 0; c = c[2:] {
				q.oro = append(q.oro, binary.BigEndian.Uint16(c))
			}
		case (o.code == 3 || o.code == 25) && len(o.data) >= 12:
			if _, err := split(o.data[12:]); err != nil {
				return nil, err
			}
			if !slices.ContainsFunc(q.ias, func(i tlv) bool { return i.code == o.code && bytes.Equal(i.data, o.data[:4]) }) {
				q.ias = append(q.ias, tlv{o.code, o.data[:4]})
			}
		}
	}
	return q, nil
}

// readAnswer reads a server's message, and nothing but a well-formed one.
func readAnswer(data []byte) (*answer, error) {
	layers, b, err := unwrap(data, RelayReply)
	if err != nil || len(b) < 4 {
		return nil, errOracle
	}
	a := &answer{typ: MessageType(b[0]), xid: binary.BigEndian.Uint32(b) & 0xffffff, status: -1, layers: layers}
	if a.options, err = split(b[4:]); err != nil {
		return nil, err
	}
	for _, o := range a.options {
		switch o.code {
		case 1:
			a.cid = o.data
		case 2:
			a.sid = o.data
		case 13:
			a.status, a.text, err = readStatus(o.data)
		case 3, 25:
			var ia oracleIA
			ia, err = readIA(o)
			a.ias = append(a.ias, ia)
		}
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

func readStatus(b []byte) (code int, text string, err error) {
	if len(b) < 2 || !utf8.Valid(b[2:]) || bytes.IndexByte(b[2:], 0) >= 0 { // D-064
		return 0, "", errOracle
	}
	return int(binary.BigEndian.Uint16(b)), string(b[2:]), nil
}

func readIA(o tlv) (ia oracleIA, err error) {
	b := o.data
	if len(b) < 12 {
		return ia, errOracle
	}
	ia = oracleIA{typ: lease.IAType(o.code), id: lease.IAID(binary.BigEndian.Uint32(b)), t1: binary.BigEndian.Uint32(b[4:]), t2: binary.BigEndian.Uint32(b[8:]), status: -1}
	options, err := split(b[12:])
	if err != nil {
		return ia, err
	}
	for _, s := range options {
		switch {
		case s.code == 13 && ia.status == -1:
			ia.status, ia.text, err = readStatus(s.data)
		case s.code == 5 && ia.typ == lease.IANA && len(s.data) == 24:
			ia.leases = append(ia.leases, oracleLease{prefix: lease.Address(netip.AddrFrom16([16]byte(s.data))),
				preferred: binary.BigEndian.Uint32(s.data[16:]), valid: binary.BigEndian.Uint32(s.data[20:])})
		case s.code == 26 && ia.typ == lease.IAPD && len(s.data) >= 25:
			l := oracleLease{prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte(s.data[9:])), int(s.data[8])),
				preferred: binary.BigEndian.Uint32(s.data), valid: binary.BigEndian.Uint32(s.data[4:])}
			l.exclude, err = readExclude(s.data[25:])
			ia.leases = append(ia.leases, l)
		default:
			err = errOracle
		}
		if err != nil {
			return ia, err
		}
	}
	return ia, nil
}

// readExclude reads the options of an IA Prefix: at most one Prefix Exclude.
func readExclude(b []byte) ([]byte, error) {
	options, err := split(b)
	switch {
	case err != nil:
		return nil, err
	case len(options) == 0:
		return nil, nil
	case len(options) > 1 || options[0].code != 67 || len(options[0].data) < 2 || len(options[0].data) > 17:
		return nil, errOracle
	}
	return options[0].data, nil
}

// repeatable are the options that may stand in one answer several times.
var repeatable = []uint16{3, 25, 17, 56, 94, 95, 96, 144}

// never are the options that no answer to a client holds (D-011, D-177, D-180).
var never = []uint16{4, 5, 6, 8, 9, 10, 11, 12, 18, 19, 26, 37, 38, 43, 53, 66, 67, 79, 135}

// plain are the options that a server sends of its own accord; all others are
// configuration, which the client asked for or the operator forces.
var plain = []uint16{1, 2, 3, 7, 13, 14, 25}

// checkAnswer reads the answer in d.r and applies the rules.
func checkAnswer(d *desk, p *Packet) *answer {
	d.Helper()
	r := &d.r
	if r.Answer.Data == nil {
		if len(r.Trace) != 1 || r.Trace[0].ID != trace.PacketDropped && r.Trace[0].ID != trace.PolicyRefused || r.Trace[0].Reason == trace.NoReason {
			d.Fatalf("no answer, and no reason: %v", r.Trace)
		}
		return &answer{status: -1, reason: r.Trace[0].Reason, events: slices.Clone(r.Trace)}
	}
	q, err := readAsked(p.Data)
	if err != nil {
		d.Fatalf("D-041: an answer to a malformed message\n%x", p.Data)
	}
	a, err := readAnswer(r.Answer.Data)
	if err != nil {
		d.Fatalf("the answer is malformed\n%x\nasked %x", r.Answer.Data, p.Data)
	}
	a.Output, a.promise, a.changed, a.events = r.Answer, r.Promise, slices.Clone(r.Changed), slices.Clone(r.Trace)

	checkHeader(d, q, a)
	checkOptions(d, q, a)
	checkIAs(d, q, a)
	checkLayers(d, q, a)
	checkSize(d, a)
	checkSecondParser(d, a)
	return a
}

func checkHeader(d *desk, q *asked, a *answer) {
	d.Helper()
	want := Reply
	if q.typ == Solicit && !a.has(14) {
		want = Advertise
	}
	if a.typ != want || a.xid != q.xid {
		d.Errorf("answer of type %d, transaction-id %06x to type %d, %06x", a.typ, a.xid, q.typ, q.xid)
	}
	if !bytes.Equal(a.sid, []byte(serverDUID)) || !bytes.Equal(a.cid, q.cid) || a.has(1) != (q.cid != nil) {
		d.Errorf("answer with server %x, client %x (%v) to client %x", a.sid, a.cid, a.has(1), q.cid)
	}
	switch {
	case q.typ == Confirm:
		if a.status != 0 && a.status != 4 || len(a.options) != 3 {
			d.Errorf("D-103: status %d and %d options in the answer to a Confirm", a.status, len(a.options))
		}
	case q.typ == Release || q.typ == Decline:
		if a.status != 0 {
			d.Errorf("D-126: status %d in the answer to a Release or Decline", a.status)
		}
	case a.status != -1:
		d.Errorf("D-065: top-level status %d in the answer to type %d", a.status, q.typ)
	}
}

func checkOptions(d *desk, q *asked, a *answer) {
	d.Helper()
	seen := map[uint16]bool{}
	for _, o := range a.options {
		if seen[o.code] && !slices.Contains(repeatable, o.code) {
			d.Errorf("option %d twice", o.code)
		}
		seen[o.code] = true
		if slices.Contains(never, o.code) {
			d.Errorf("option %d in an answer", o.code)
		}
		if !slices.Contains(plain, o.code) && !slices.Contains(q.oro, o.code) && !forced(d.cfg, o.code) {
			d.Errorf("D-157: option %d, which nobody asked for", o.code)
		}
	}
	switch {
	case seen[14] && (q.typ != Solicit || !q.rapidCommit || len(a.all(14)[0]) != 0):
		d.Errorf("D-085: Rapid Commit in the answer to type %d", q.typ)
	case seen[7] && a.typ != Advertise:
		d.Errorf("Preference in a Reply")
	case seen[32] && q.typ != InformationRequest:
		d.Errorf("D-140: Information Refresh Time in the answer to type %d", q.typ)
	case (seen[82] || seen[83]) && q.oro == nil, seen[83] && a.typ != Reply:
		d.Errorf("D-175: SOL_MAX_RT or INF_MAX_RT out of place")
	case (q.typ == Release || q.typ == Decline) && slices.ContainsFunc(a.options, func(o tlv) bool { return !slices.Contains(plain, o.code) }):
		d.Errorf("configuration in the answer to type %d", q.typ)
	}
}

func forced(cfg *Config, code uint16) bool {
	for _, l := range cfg.Links {
		options := l.Options
		for _, r := range l.Reservations {
			options = append(slices.Clone(options), r.Options...)
		}
		if slices.ContainsFunc(options, func(o Option) bool { return o.Code == code && o.Force }) {
			return true
		}
	}
	return false
}

// allowedStatus is what an IA of an answer may say (chapter 2.4 of the checklist).
func allowedStatus(q MessageType, typ lease.IAType) []int {
	none := map[lease.IAType]int{lease.IANA: 2, lease.IAPD: 6}[typ]
	switch {
	case q == Request && typ == lease.IANA:
		return []int{4, none}
	case q == Solicit || q == Request:
		return []int{none}
	case q == Renew || q == Rebind:
		return []int{3, none}
	}
	return []int{3} // Release, Decline
}

func checkIAs(d *desk, q *asked, a *answer) {
	d.Helper()
	var keys []tlv
	granted, mentioned := map[netip.Prefix]int{}, map[netip.Prefix]int{} // by IAs
	for _, i := range a.ias {
		keys = append(keys, tlv{uint16(i.typ), u32(uint32(i.id))})
		if i.t1 != a.ias[0].t1 || i.t2 != a.ias[0].t2 {
			d.Errorf("D-095: T1 %d, T2 %d beside %d, %d", i.t1, i.t2, a.ias[0].t1, a.ias[0].t2)
		}
		if i.t1 > i.t2 {
			d.Errorf("D-143: T1 %d above T2 %d", i.t1, i.t2)
		}
		if i.status != -1 && (!slices.Contains(allowedStatus(q.typ, i.typ), i.status) || len(i.leases) > 0) {
			d.Errorf("D-065: status %d with %d leases in an IA of type %d, in the answer to type %d", i.status, len(i.leases), i.typ, q.typ)
		}
		if i.status == -1 && len(i.leases) == 0 {
			d.Errorf("an IA without lease or status")
		}
		for n, l := range i.leases {
			mentioned[l.prefix]++
			if l.valid > 0 {
				granted[l.prefix]++
			}
			switch {
			case slices.ContainsFunc(i.leases[:n], func(o oracleLease) bool { return o.prefix == l.prefix }):
				d.Errorf("%v twice in one IA", l.prefix)
			case l.preferred > l.valid:
				d.Errorf("D-143: preferred %d above valid %d", l.preferred, l.valid)
			case l.prefix != l.prefix.Masked() || i.typ == lease.IAPD && l.valid > 0 && l.prefix.Bits() > DelegatedLengthMax:
				d.Errorf("D-253: delegated prefix %v", l.prefix)
			case l.valid == 0 && a.typ == Advertise:
				d.Errorf("D-071: %v in an Advertise with lifetime 0", l.prefix)
			case l.exclude != nil && !slices.Contains(q.oro, 67):
				d.Errorf("D-180: Prefix Exclude unasked")
			}
		}
	}
	for p := range granted {
		if mentioned[p] != 1 {
			d.Errorf("%v granted in %d IAs, mentioned in %d", p, granted[p], mentioned[p])
		}
	}
	for n, k := range keys {
		same := func(o tlv) bool { return o.code == k.code && bytes.Equal(o.data, k.data) }
		if slices.ContainsFunc(keys[:n], same) || !slices.ContainsFunc(q.ias, same) {
			d.Errorf("IA %d %x twice or not asked for", k.code, k.data)
		}
	}
	switch q.typ {
	case Solicit, Request, Renew, Rebind:
		if len(keys) != len(q.ias) && d.s.x.service != RenewOnly {
			d.Errorf("D-066, D-155: %d IAs in the answer, %d asked for", len(keys), len(q.ias))
		}
	case Confirm, InformationRequest:
		if len(keys) != 0 {
			d.Errorf("D-103, D-137: %d IAs in the answer to type %d", len(keys), q.typ)
		}
	}
}

// checkLayers compares the way back with the way the message came.
func checkLayers(d *desk, q *asked, a *answer) {
	d.Helper()
	if len(a.layers) != len(q.layers) {
		d.Fatalf("D-218: %d layers back, %d came", len(a.layers), len(q.layers))
	}
	for n, back := range a.layers {
		came := q.layers[n]
		came.options = slices.DeleteFunc(slices.Clone(came.options), func(o tlv) bool { return o.code == 135 && len(o.data) != 2 }) // malformed
		if back.hopCount != came.hopCount || back.link != came.link || back.peer != came.peer {
			d.Errorf("D-214: layer %d is %v, came %v", n, back, came)
		}
		ero, _ := find(came.options, 43)
		for i, o := range back.options {
			data, ok := find(came.options, o.code)
			echo := o.code == 18 || o.code == 135 || containsCode(ero, o.code)
			if _, twice := find(back.options[:i], o.code); !ok || twice || !echo || !bytes.Equal(data, o.data) {
				d.Errorf("D-226: layer %d has option %d, %x", n, o.code, o.data)
			}
		}
		for _, code := range []uint16{18, 135} {
			if _, ok := find(came.options, code); ok {
				if _, back := find(back.options, code); !back {
					d.Errorf("D-215, D-216: layer %d lacks option %d", n, code)
				}
			}
		}
	}
}

func containsCode(list []byte, code uint16) bool {
	for ; len(list) >= 2; list = list[2:] {
		if binary.BigEndian.Uint16(list) == code {
			return true
		}
	}
	return false
}

// checkSize: beyond what every host can reassemble goes only what has to.
func checkSize(d *desk, a *answer) {
	d.Helper()
	configured := slices.ContainsFunc(a.options, func(o tlv) bool { return !slices.Contains(plain, o.code) })
	if n := len(a.Data); n > 1452 && configured || n > 65527 {
		d.Errorf("D-017: an answer of %d octets", n)
	}
}

// checkSecondParser has the answer read and written again by another library:
// the same octets come out only if nothing is padded, compressed or left over.
func checkSecondParser(d *desk, a *answer) {
	d.Helper()
	if _, err := dhcpv6.DUIDFromBytes(a.cid); err != nil && a.cid != nil {
		return // the library demands more of a DUID than RFC 9915 section 11 does
	}
	_, inner, _ := unwrap(a.Data, RelayReply) // the relay's own options are not ours
	m, err := dhcpv6.MessageFromBytes(inner)
	if err != nil {
		d.Errorf("the second parser says %v about\n%x", err, inner)
	} else if again := m.ToBytes(); !bytes.Equal(again, inner) {
		d.Errorf("the second parser reads\n%x as\n%x", inner, again)
	}
}

// checkTable compares what the answer says with what the table holds.
func checkTable(d *desk, p *Packet, a *answer) {
	d.Helper()
	last := map[netip.Prefix]*lease.Binding{}
	for _, b := range d.r.Changed {
		last[b.Prefix] = b
	}
	for p, b := range last {
		if d.table.Get(p) != b {
			d.Errorf("%v is to be stored as %+v, the table has %+v", p, b, d.table.Get(p))
		}
	}
	for _, c := range d.changes {
		covered := c.old != nil && c.now != nil && c.old.Status == lease.Active && c.now.Status == lease.Active &&
			c.old.IA == c.now.IA && c.now.HeldUntil == c.old.HeldUntil && c.now.Expires <= c.now.HeldUntil
		if c.now == nil || last[c.now.Prefix] == nil && !covered {
			d.Errorf("changed without being stored: %+v", c)
		}
	}
	if len(d.changes) > 0 && (a.typ != Reply || !a.promise) {
		d.Errorf("D-077: %d changes of the table by an answer of type %d", len(d.changes), a.typ)
	}
	if a.typ != Reply {
		return
	}
	for _, i := range a.ias {
		for _, l := range i.leases {
			b := d.table.Get(l.prefix)
			ours := b != nil && b.Status == lease.Active && b.IA == lease.IA{Link: d.s.x.link.Name, Client: lease.DUID(a.cid), Type: i.typ, ID: i.id}
			switch {
			case l.valid == 0 && ours && b.Expires > d.now.Wall:
				d.Errorf("%v is withdrawn and still held", l.prefix)
			case l.valid > 0 && (!ours || !a.promise || b.Expires < d.now.Wall.Add(l.valid) || b.HeldUntil < b.Expires):
				d.Errorf("D-088: %v is promised for %d s at %d, the table has %+v", l.prefix, l.valid, d.now.Wall, b)
			}
		}
	}
}

// recount compares the counters of the pools with the table, and looks for
// leases that overlap.
func (d *desk) recount() {
	d.Helper()
	for _, p := range d.s.pools {
		used, marked := 0, 0
		for b := range d.table.From(netip.Prefix{}) {
			_, ok := p.index(b.Prefix)
			if ok && !b.Status.Available() {
				used++
			}
			if ok && (!b.Status.Available() || b.Status == lease.FreeBackup && b.Type == lease.IAPD) {
				marked++
			}
		}
		if p.used != used {
			d.Errorf("pool %s counts %d, the table has %d", p.name, p.used, used)
		}
		for w, word := range p.marks {
			for ; word != 0; word &= word - 1 {
				if standingOf(d.table.Get(p.at(u128{0, uint64(w*64 + bits.TrailingZeros64(word))}))) == unmarked {
					d.Errorf("pool %s: a mark too many in %x", p.name, p.marks[w])
				}
				marked--
			}
		}
		if p.marks != nil && marked != 0 {
			d.Errorf("pool %s lacks %d marks", p.name, marked)
		}
	}
	var before *lease.Binding
	for b := range d.table.From(netip.Prefix{}) {
		if err := b.Check(); err != nil {
			d.Errorf("%v", err)
		}
		if b.Status.Available() {
			continue
		}
		if before != nil && before.Prefix.Overlaps(b.Prefix) {
			d.Errorf("%v and %v overlap", before.Prefix, b.Prefix)
		}
		before = b
	}
}
