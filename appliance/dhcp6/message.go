package dhcp6

import (
	"encoding/binary"
	"net/netip"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
)

// MessageType is a DHCPv6 message type (RFC 9915 section 7.3).
type MessageType uint8

// The message types of RFC 9915.
const (
	Solicit            MessageType = 1
	Advertise          MessageType = 2
	Request            MessageType = 3
	Confirm            MessageType = 4
	Renew              MessageType = 5
	Rebind             MessageType = 6
	Reply              MessageType = 7
	Release            MessageType = 8
	Decline            MessageType = 9
	Reconfigure        MessageType = 10
	InformationRequest MessageType = 11
	RelayForward       MessageType = 12
	RelayReply         MessageType = 13
)

// The option codes that the server itself understands (RFC 9915 section 21
// unless noted). What it only hands out is in optionbuild.go.
const (
	optClientID        = 1
	optServerID        = 2
	optIANA            = 3
	optIATA            = 4
	optIAAddr          = 5
	optORO             = 6
	optPreference      = 7
	optRelayMessage    = 9
	optStatusCode      = 13
	optRapidCommit     = 14
	optInterfaceID     = 18
	optIAPD            = 25
	optIAPrefix        = 26
	optRefreshTime     = 32
	optRemoteID        = 37 // RFC 4649
	optERO             = 43 // RFC 4994
	optArchType        = 61 // RFC 5970
	optRSOO            = 66 // RFC 6422
	optPDExclude       = 67 // RFC 6603
	optClientLinkLayer = 79 // RFC 6939
	optSolMaxRT        = 82
	optInfMaxRT        = 83
	optRelaySourcePort = 135 // RFC 8357
	optionHeaderLen    = 4
	messageHeaderLen   = 4
	relayHeaderLen     = 34
	iaHeaderLen        = 12
	iaAddrLen          = 24
	iaPrefixLen        = 25
	linkLayerTypeLen   = 2
	relaySourcePortLen = 2
	archTypeLen        = 2
	optionCodeLen      = 2
)

// The status codes this server uses (RFC 9915 section 21.13).
const (
	statusSuccess       = 0
	statusNoAddrsAvail  = 2
	statusNoBinding     = 3
	statusNotOnLink     = 4
	statusNoPrefixAvail = 6
)

// Limits of one message. A message beyond them is dropped.
const (
	// IAsPerMessageMax is far above what clients send (a router with many
	// downstream links asks for a handful) and bounds the work for one packet.
	IAsPerMessageMax = 64
	// leasesPerMessageMax bounds the addresses and prefixes that a message
	// lists; more are ignored. Clients list what they hold, a few.
	leasesPerMessageMax = 512
	// relayLayersMax is one more than HOP_COUNT_LIMIT: the first relay writes
	// hop-count 0 and a relay drops what has 8 (RFC 9915 section 19.1.2, D-230).
	relayLayersMax = 9
	// relayOverheadMax bounds the octets that the way back through the relays
	// adds, so that the answer remains a datagram.
	relayOverheadMax = 16384
	// echoesMax bounds the options that a relay gets back; more are ignored.
	// Relays ask for one or two.
	echoesMax = 32
)

// options is the option area of a message.
type options []byte

// next cuts the first option off. ok is false at the end and when the rest is
// no complete option.
func (o options) next() (code uint16, data []byte, rest options, ok bool) {
	if len(o) < optionHeaderLen {
		return 0, nil, o, false
	}
	code = binary.BigEndian.Uint16(o)
	end := optionHeaderLen + int(binary.BigEndian.Uint16(o[2:]))
	if len(o) < end {
		return 0, nil, o, false
	}
	return code, o[optionHeaderLen:end:end], o[end:], true
}

// message is what the server reads from a client's message. Its slices point
// into the packet.
type message struct {
	typ         MessageType
	xid         [3]byte
	clientID    []byte // nil: absent
	serverID    []byte // nil: absent
	ias         []requestedIA
	hasIA       bool   // also a malformed or an obsolete one
	listed      int    // leases in ias
	oro         []byte // codes, two octets each
	rapidCommit bool
	archTypes   []byte // types of option 61, two octets each
	relays      []relay
}

// requestedIA is one identity association of a client's message. T1, T2 and
// lifetimes from clients mean nothing (D-046, D-047) and are not kept.
type requestedIA struct {
	typ    lease.IAType
	id     lease.IAID
	leases []requestedLease
}

// requestedLease is an address or prefix that a client names: one it holds, or a hint.
type requestedLease struct {
	prefix  netip.Prefix // as sent, its address may be :: with a length that is wished for
	exclude []byte       // data of a Prefix Exclude option, nil if there is none
}

// reset empties m and keeps the memory of its slices.
func (m *message) reset() {
	for i := range m.ias {
		m.ias[i].leases = m.ias[i].leases[:0]
	}
	*m = message{ias: m.ias[:0], relays: m.relays[:0]}
}

// parse reads a packet into m, through all layers of relays.
func (m *message) parse(data []byte) trace.Reason {
	m.reset()
	data, reason := m.parseRelays(data)
	if reason != trace.NoReason {
		return reason
	}
	if len(data) < messageHeaderLen {
		return trace.Truncated
	}
	m.typ = MessageType(data[0])
	copy(m.xid[:], data[1:])
	switch m.typ {
	case Solicit, Request, Confirm, Renew, Rebind, Release, Decline, InformationRequest:
	case Advertise, Reply, Reconfigure, RelayReply:
		return trace.NotForServers
	default:
		return trace.UnknownType
	}
	rest := options(data[messageHeaderLen:])
	for len(rest) > 0 {
		code, data, more, ok := rest.next()
		if !ok {
			return trace.Truncated
		}
		if reason := m.parseOption(code, data); reason != trace.NoReason {
			return reason
		}
		rest = more
	}
	return trace.NoReason
}

// parseOption reads one top-level option. Of repeated options the first counts
// (V6); an option with too short a fixed part is ignored (V8), as is one that
// is unknown or out of place (V2, V3).
func (m *message) parseOption(code uint16, data []byte) trace.Reason {
	switch code {
	case optClientID:
		return parseDUID(&m.clientID, data)
	case optServerID:
		return parseDUID(&m.serverID, data)
	case optIANA, optIAPD:
		m.hasIA = true
		return m.parseIA(lease.IAType(code), data)
	case optIATA:
		m.hasIA = true
	case optORO:
		if m.oro == nil && len(data)%optionCodeLen == 0 {
			m.oro = data
		}
	case optRapidCommit:
		m.rapidCommit = true
	case optArchType:
		if m.archTypes == nil && len(data)%archTypeLen == 0 {
			m.archTypes = data
		}
	}
	return trace.NoReason
}

func parseDUID(into *[]byte, data []byte) trace.Reason {
	switch {
	case *into != nil:
		return trace.RepeatedID
	case len(data) < lease.DUIDLenMin || len(data) > lease.DUIDLenMax:
		return trace.BadDUID
	}
	*into = data
	return trace.NoReason
}

// parseIA reads an IA_NA or IA_PD. A second one with the same IAID is merged
// into the first (V17: Windows does that).
func (m *message) parseIA(typ lease.IAType, data []byte) trace.Reason {
	if len(data) < iaHeaderLen {
		return trace.NoReason // V8
	}
	ia := m.ia(typ, lease.IAID(binary.BigEndian.Uint32(data)))
	if ia == nil {
		return trace.TooManyIAs
	}
	rest := options(data[iaHeaderLen:])
	for len(rest) > 0 {
		code, data, more, ok := rest.next()
		if !ok {
			return trace.Truncated
		}
		rest = more
		switch {
		case m.listed == leasesPerMessageMax:
		case code == optIAAddr && typ == lease.IANA && len(data) >= iaAddrLen:
			a := netip.AddrFrom16([16]byte(data))
			m.list(ia, requestedLease{prefix: lease.Address(a)})
		case code == optIAPrefix && typ == lease.IAPD && len(data) >= iaPrefixLen && data[8] < 128: // a /128 is an address
			p, _ := netip.AddrFrom16([16]byte(data[9:])).Prefix(int(data[8]))
			l := requestedLease{prefix: p}
			for o := options(data[iaPrefixLen:]); len(o) > 0; {
				code, data, more, ok := o.next()
				if !ok {
					return trace.Truncated
				}
				if code == optPDExclude && l.exclude == nil {
					l.exclude = data
				}
				o = more
			}
			m.list(ia, l)
		}
	}
	return trace.NoReason
}

// list keeps the first mention of a lease in ia (clients repeat themselves).
func (m *message) list(ia *requestedIA, l requestedLease) {
	if !ia.lists(l.prefix) {
		ia.leases = append(ia.leases, l)
		m.listed++
	}
}

// lists reports whether the client named exactly p.
func (ia *requestedIA) lists(p netip.Prefix) bool {
	for i := range ia.leases {
		if ia.leases[i].prefix == p {
			return true
		}
	}
	return false
}

// ia finds or adds an identity association; nil when there are too many.
func (m *message) ia(typ lease.IAType, id lease.IAID) *requestedIA {
	for i := range m.ias {
		if m.ias[i].typ == typ && m.ias[i].id == id {
			return &m.ias[i]
		}
	}
	if len(m.ias) == IAsPerMessageMax {
		return nil
	}
	if len(m.ias) < cap(m.ias) {
		m.ias = m.ias[:len(m.ias)+1]
	} else {
		m.ias = append(m.ias, requestedIA{})
	}
	ia := &m.ias[len(m.ias)-1]
	ia.typ, ia.id = typ, id
	return ia
}

// wants reports whether the client's Option Request option lists code.
func (m *message) wants(code uint16) bool {
	for o := m.oro; len(o) >= optionCodeLen; o = o[optionCodeLen:] {
		if binary.BigEndian.Uint16(o) == code {
			return true
		}
	}
	return false
}

// validate applies the rules of RFC 9915 section 16.
func (m *message) validate(server lease.DUID) trace.Reason {
	if m.clientID == nil && m.typ != InformationRequest {
		return trace.NoClientID
	}
	switch m.typ {
	case Solicit, Confirm, Rebind:
		if m.serverID != nil {
			return trace.UnwantedServerID
		}
	case Request, Renew, Release, Decline:
		if m.serverID == nil {
			return trace.NoServerID
		}
	case InformationRequest:
		if m.hasIA {
			return trace.IAInInformation
		}
	}
	if m.serverID != nil && lease.DUID(m.serverID) != server {
		return trace.ForeignServerID
	}
	return trace.NoReason
}
