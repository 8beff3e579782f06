package dhcp6

import (
	"encoding/binary"
	"net/netip"

	"github.com/tandem6/tandem6/failover/trace"
)

// relay is one layer of Relay-forward. Absent options are nil; an option that
// is there but empty is not.
type relay struct {
	hopCount    uint8
	link, peer  netip.Addr
	options     options // all of them, for the Echo Request option
	interfaceID []byte
	remoteID    []byte
	linkLayer   []byte // the client's link-layer address without its hardware type
	sourcePort  []byte
	ero         []byte
	rsoo        options
}

// parseRelays unwraps the layers, outermost first, and returns the client's message.
func (m *message) parseRelays(data []byte) ([]byte, trace.Reason) {
	for len(data) > 0 && MessageType(data[0]) == RelayForward {
		if len(m.relays) == relayLayersMax {
			return nil, trace.RelaysTooDeep
		}
		if len(data) < relayHeaderLen {
			return nil, trace.Truncated
		}
		r := relay{
			hopCount: data[1],
			link:     netip.AddrFrom16([16]byte(data[2:])),
			peer:     netip.AddrFrom16([16]byte(data[18:])),
			options:  options(data[relayHeaderLen:]),
		}
		inner, reason := r.parseOptions()
		if reason != trace.NoReason {
			return nil, reason
		}
		m.relays = append(m.relays, r)
		data = inner
	}
	return data, trace.NoReason
}

// parseOptions reads a layer's options and returns its one Relay Message.
func (r *relay) parseOptions() (inner []byte, reason trace.Reason) {
	first := func(into *[]byte, data []byte) {
		if *into == nil {
			*into = data[:len(data):len(data)]
		}
	}
	for rest := r.options; len(rest) > 0; {
		code, data, more, ok := rest.next()
		if !ok {
			return nil, trace.Truncated
		}
		rest = more
		switch code {
		case optRelayMessage:
			if inner != nil {
				return nil, trace.NoRelayMessage // two of them: which one is meant?
			}
			inner = data
		case optInterfaceID:
			first(&r.interfaceID, data)
		case optRemoteID:
			first(&r.remoteID, data)
		case optClientLinkLayer:
			if len(data) > linkLayerTypeLen {
				first(&r.linkLayer, data[linkLayerTypeLen:])
			}
		case optRelaySourcePort:
			if len(data) == relaySourcePortLen {
				first(&r.sourcePort, data)
			}
		case optERO:
			if len(data)%optionCodeLen == 0 {
				first(&r.ero, data[:min(len(data), echoesMax*optionCodeLen)])
			}
		case optRSOO:
			if r.rsoo == nil {
				r.rsoo = data
			}
		}
	}
	if len(inner) == 0 {
		return nil, trace.NoRelayMessage
	}
	return inner, trace.NoReason
}

// overhead is what the Relay-reply of this layer adds around its message.
func (r *relay) overhead() int {
	n := relayHeaderLen + optionHeaderLen
	if r.interfaceID != nil {
		n += optionHeaderLen + len(r.interfaceID)
	}
	if r.sourcePort != nil {
		n += optionHeaderLen + len(r.sourcePort)
	}
	for _, data := range r.echoes {
		n += optionHeaderLen + len(data)
	}
	return n
}

// relayOverhead is how much longer the way back through the relays makes a message.
func (m *message) relayOverhead() int {
	n := 0
	for i := range m.relays {
		n += m.relays[i].overhead()
	}
	return n
}

// appendRelayHeaders writes the Relay-reply layers, outermost first, up to the
// header of the innermost Relay Message option, for an inner message of n
// octets (RFC 9915 section 19.3: the way back is the way it came).
func (m *message) appendRelayHeaders(b []byte, n int) []byte {
	n += m.relayOverhead()
	for i := range m.relays {
		r := &m.relays[i]
		n -= r.overhead()
		link, peer := r.link.As16(), r.peer.As16()
		b = append(b, byte(RelayReply), r.hopCount)
		b = append(b, link[:]...)
		b = append(b, peer[:]...)
		if r.interfaceID != nil {
			b = appendOption(b, optInterfaceID, r.interfaceID)
		}
		if r.sourcePort != nil {
			b = appendOption(b, optRelaySourcePort, r.sourcePort)
		}
		for code, data := range r.echoes {
			b = appendOption(b, code, data)
		}
		b = appendOptionHeader(b, optRelayMessage, n)
	}
	return b
}

// echoes walks the options that the relay asked to get back (RFC 4994 section
// 5): each once, only what it sent, and nothing that the Relay-reply has anyway.
func (r *relay) echoes(yield func(code uint16, data []byte) bool) {
	for ero := r.ero; len(ero) > 0; ero = ero[optionCodeLen:] {
		code := binary.BigEndian.Uint16(ero)
		switch code {
		case optRelayMessage, optInterfaceID, optRelaySourcePort:
			continue
		}
		if repeats(r.ero, ero, code) {
			continue
		}
		if data, ok := r.options.find(code); ok && !yield(code, data) {
			return
		}
	}
}

// find returns the first option of that code.
func (o options) find(code uint16) ([]byte, bool) {
	for {
		c, data, rest, ok := o.next()
		if !ok {
			return nil, false
		}
		if c == code {
			return data, true
		}
		o = rest
	}
}

// repeats reports whether code already stands in ero before its tail.
func repeats(ero, tail []byte, code uint16) bool {
	for before := ero[:len(ero)-len(tail)]; len(before) > 0; before = before[optionCodeLen:] {
		if binary.BigEndian.Uint16(before) == code {
			return true
		}
	}
	return false
}
