package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/tandem6/tandem6/failover/lease"
)

// The messages of DHCPv6 as the simulated clients, relays and checkers write and
// read them. They share nothing with the server's own code.

// kind is a message type (RFC 9915 section 7.3).
type kind uint8

// The message types.
const (
	solicit      kind = 1
	advertise    kind = 2
	request      kind = 3
	confirm      kind = 4
	renew        kind = 5
	rebind       kind = 6
	reply        kind = 7
	release      kind = 8
	decline      kind = 9
	relayForward kind = 12
	relayReply   kind = 13
)

var kindNames = [...]string{
	solicit: "Solicit", advertise: "Advertise", request: "Request", confirm: "Confirm", renew: "Renew",
	rebind: "Rebind", reply: "Reply", release: "Release", decline: "Decline",
	relayForward: "Relay-forward", relayReply: "Relay-reply",
}

func (k kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("type %d", uint8(k))
}

// The options that matter here.
const (
	optClientID    = 1
	optServerID    = 2
	optIAAddr      = 5
	optPreference  = 7
	optRelayMsg    = 9
	optStatus      = 13
	optRapidCommit = 14
	optInterfaceID = 18
	optIAPrefix    = 26
)

// The status codes that clients know.
const (
	noStatus      = -1
	success       = 0
	noAddrsAvail  = 2
	noBinding     = 3
	notOnLink     = 4
	noPrefixAvail = 6
)

// message is a message between client and server.
type message struct {
	kind        kind
	xid         uint32
	client      lease.DUID
	server      lease.DUID
	rapidCommit bool
	preference  uint8
	status      int // noStatus: none
	ias         []ia
}

// ia is an identity association in a message.
type ia struct {
	typ    lease.IAType
	id     lease.IAID
	t1, t2 uint32
	status int
	leases []leased
}

// leased is an address or prefix in an identity association.
type leased struct {
	prefix           netip.Prefix
	preferred, valid uint32
}

func (m *message) ia(typ lease.IAType, id lease.IAID) *ia {
	for i := range m.ias {
		if m.ias[i].typ == typ && m.ias[i].id == id {
			return &m.ias[i]
		}
	}
	return nil
}

// grants reports whether m gives or extends any lease.
func (m *message) grants() bool {
	for i := range m.ias {
		for _, l := range m.ias[i].leases {
			if l.valid > 0 {
				return true
			}
		}
	}
	return false
}

// decides reports whether m says something about a lease, or that there is none.
func (m *message) decides() bool {
	for i := range m.ias {
		if len(m.ias[i].leases) > 0 || m.ias[i].status == noBinding {
			return true
		}
	}
	return false
}

// String is the message on one line.
func (m *message) String() string {
	var b strings.Builder
	b.WriteString(m.kind.String())
	if m.rapidCommit {
		b.WriteString(" rapid")
	}
	if m.status != noStatus {
		fmt.Fprintf(&b, " status %d", m.status)
	}
	for i := range m.ias {
		a := &m.ias[i]
		fmt.Fprintf(&b, " %v-%d{", a.typ, a.id)
		for j, l := range a.leases {
			if j > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(show(l.prefix))
			if m.kind == reply || m.kind == advertise {
				fmt.Fprintf(&b, " %ds", l.valid)
			}
		}
		if a.status != noStatus {
			fmt.Fprintf(&b, " status %d", a.status)
		}
		b.WriteByte('}')
	}
	return b.String()
}

// show is a lease for people: an address without its /128.
func show(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// append encodes m.
func (m *message) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(m.kind)<<24|m.xid)
	if m.client != "" {
		b = appendOption(b, optClientID, []byte(m.client))
	}
	if m.server != "" {
		b = appendOption(b, optServerID, []byte(m.server))
	}
	if m.rapidCommit {
		b = appendOption(b, optRapidCommit, nil)
	}
	for i := range m.ias {
		b = m.ias[i].append(b)
	}
	return b
}

func (a *ia) append(b []byte) []byte {
	start := len(b)
	b = appendOption(b, uint16(a.typ), nil)
	b = binary.BigEndian.AppendUint32(b, uint32(a.id))
	b = append(b, make([]byte, 8)...) // T1 and T2: 0 from a client
	for _, l := range a.leases {
		addr := l.prefix.Addr().As16()
		if a.typ == lease.IANA {
			b = appendOption(b, optIAAddr, append(addr[:], make([]byte, 8)...))
			continue
		}
		data := append(make([]byte, 8), byte(l.prefix.Bits()))
		b = appendOption(b, optIAPrefix, append(data, addr[:]...))
	}
	binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start-4))
	return b
}

func appendOption(b []byte, code uint16, data []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, code)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

var errMessage = errors.New("not a DHCPv6 message")

// parseMessage reads a message that is not relayed.
func parseMessage(b []byte) (*message, error) {
	if len(b) < 4 {
		return nil, errMessage
	}
	m := &message{kind: kind(b[0]), xid: binary.BigEndian.Uint32(b) & 0xffffff, status: noStatus}
	return m, eachOption(b[4:], func(code uint16, data []byte) error {
		switch code {
		case optClientID:
			m.client = lease.DUID(data)
		case optServerID:
			m.server = lease.DUID(data)
		case optRapidCommit:
			m.rapidCommit = true
		case optPreference:
			if len(data) != 1 {
				return errMessage
			}
			m.preference = data[0]
		case optStatus:
			return parseStatus(&m.status, data)
		case uint16(lease.IANA), uint16(lease.IAPD):
			return m.parseIA(lease.IAType(code), data)
		}
		return nil
	})
}

func parseStatus(into *int, data []byte) error {
	if len(data) < 2 {
		return errMessage
	}
	*into = int(binary.BigEndian.Uint16(data))
	return nil
}

func (m *message) parseIA(typ lease.IAType, data []byte) error {
	if len(data) < 12 {
		return errMessage
	}
	m.ias = append(m.ias, ia{
		typ: typ, id: lease.IAID(binary.BigEndian.Uint32(data)), status: noStatus,
		t1: binary.BigEndian.Uint32(data[4:]), t2: binary.BigEndian.Uint32(data[8:]),
	})
	a := &m.ias[len(m.ias)-1]
	return eachOption(data[12:], func(code uint16, data []byte) error {
		switch {
		case code == optStatus:
			return parseStatus(&a.status, data)
		case code == optIAAddr && typ == lease.IANA:
			if len(data) < 24 {
				return errMessage
			}
			a.leases = append(a.leases, leased{lease.Address(netip.AddrFrom16([16]byte(data))),
				binary.BigEndian.Uint32(data[16:]), binary.BigEndian.Uint32(data[20:])})
		case code == optIAPrefix && typ == lease.IAPD:
			if len(data) < 25 || data[8] > 128 {
				return errMessage
			}
			a.leases = append(a.leases, leased{netip.PrefixFrom(netip.AddrFrom16([16]byte(data[9:])), int(data[8])),
				binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:])})
		}
		return nil
	})
}

// eachOption walks options; padding and what is cut off are errors.
func eachOption(b []byte, f func(code uint16, data []byte) error) error {
	for len(b) > 0 {
		if len(b) < 4 {
			return errMessage
		}
		end := 4 + int(binary.BigEndian.Uint16(b[2:]))
		if len(b) < end {
			return errMessage
		}
		if err := f(binary.BigEndian.Uint16(b), b[4:end]); err != nil {
			return err
		}
		b = b[end:]
	}
	return nil
}

// relayed is a Relay-forward or Relay-reply of one layer.
type relayed struct {
	kind        kind
	link, peer  netip.Addr
	interfaceID []byte
	inner       []byte
}

func (r *relayed) append(b []byte) []byte {
	b = append(b, byte(r.kind), 0)
	b = append(append(b, r.link.AsSlice()...), r.peer.AsSlice()...)
	if r.interfaceID != nil {
		b = appendOption(b, optInterfaceID, r.interfaceID)
	}
	return appendOption(b, optRelayMsg, r.inner)
}

func parseRelayed(b []byte) (*relayed, error) {
	if len(b) < 34 {
		return nil, errMessage
	}
	r := &relayed{kind: kind(b[0]), link: netip.AddrFrom16([16]byte(b[2:])), peer: netip.AddrFrom16([16]byte(b[18:]))}
	return r, eachOption(b[34:], func(code uint16, data []byte) error {
		switch code {
		case optInterfaceID:
			r.interfaceID = data
		case optRelayMsg:
			r.inner = data
		}
		return nil
	})
}

// parseAny reads a message, relayed or not.
func parseAny(b []byte) (*message, error) {
	for len(b) > 0 && (kind(b[0]) == relayForward || kind(b[0]) == relayReply) {
		r, err := parseRelayed(b)
		if err != nil {
			return nil, err
		}
		b = r.inner
	}
	return parseMessage(b)
}
