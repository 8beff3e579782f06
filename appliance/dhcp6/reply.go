package dhcp6

import (
	"encoding/binary"
	"net/netip"

	"github.com/tandem6/tandem6/failover/lease"
)

// Sizes of an answer in octets, as UDP payload.
const (
	// answerLenWanted fits a packet of 1280 octets, the MTU that every link has
	// (RFC 8200 section 5, D-017). Options that nobody asked for stay within it.
	answerLenWanted = 1232
	// answerLenMax is what every host can reassemble: 1500 octets of packet.
	// Requested options beyond it are left out.
	answerLenMax = 1452
)

func appendOptionHeader(b []byte, code uint16, n int) []byte {
	b = binary.BigEndian.AppendUint16(b, code)
	return binary.BigEndian.AppendUint16(b, uint16(n))
}

func appendOption(b []byte, code uint16, data []byte) []byte {
	return append(appendOptionHeader(b, code, len(data)), data...)
}

// appendStatus writes a Status Code option; its text has no NUL (D-064).
func appendStatus(b []byte, code uint16, text string) []byte {
	b = appendOptionHeader(b, optStatusCode, 2+len(text))
	return append(binary.BigEndian.AppendUint16(b, code), text...)
}

// openOption writes an option header whose length closeOption fills in.
func openOption(b []byte, code uint16) ([]byte, int) {
	return appendOptionHeader(b, code, 0), len(b)
}

func closeOption(b []byte, start int) []byte {
	binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start-optionHeaderLen))
	return b
}

// grant is one lease in an answer.
type grant struct {
	prefix           netip.Prefix
	preferred, valid uint32
	desired          uint32  // valid lifetime by configuration
	extend           bool    // counts for T1 and T2 (RFC 9915 section 18.3.4)
	hold             bool    // is to be bound to the client, not only mentioned
	exclude          Exclude // of a delegated prefix, Length 0: none
}

// answeredIA is one identity association of an answer: leases, or a status.
type answeredIA struct {
	typ   lease.IAType
	id    lease.IAID
	known bool // the client holds leases in it
	// unsettled: it asks for more of a lease about whose end the partner was told.
	unsettled bool
	grants    []grant
	status    uint16 // statusSuccess: not sent
	text      string
}

// times computes the T1 and T2 that all identity associations of one answer
// share (D-095, D-111, D-122, D-142), in seconds.
func times(ias []answeredIA, cfg Lifetimes) (t1, t2 uint32) {
	preferred, rest := lease.Infinity, lease.Infinity
	extend, withdrawnOnly := false, true
	for i := range ias {
		for _, g := range ias[i].grants {
			if g.extend && g.preferred > 0 {
				extend, preferred = true, min(preferred, g.preferred)
			}
			if g.valid > 0 {
				withdrawnOnly, rest = false, min(rest, g.valid)
			}
		}
	}
	switch {
	case withdrawnOnly:
		return 0, 0
	case !extend: // D-107
		return rest, rest
	case preferred == lease.Infinity:
		return lease.Infinity, lease.Infinity
	}
	t1, t2 = preferred/2, uint32(uint64(preferred)*8/10)
	t1Max, t2Max := preferred, preferred
	if preferred < cfg.Preferred {
		// Cut short, by the end of a prefix or for a partner: there has to be
		// time to rebind (RFC 8156 section 8.9.1, Q-70).
		t1Max, t2Max = t1, t2
	}
	if cfg.T1 != 0 {
		t1 = min(cfg.T1, t1Max)
	}
	if cfg.T2 != 0 {
		t2 = min(cfg.T2, t2Max)
	}
	return min(t1, t2), t2
}

// appendIA writes an identity association.
func appendIA(b []byte, ia *answeredIA, t1, t2 uint32) []byte {
	b, start := openOption(b, uint16(ia.typ))
	b = binary.BigEndian.AppendUint32(b, uint32(ia.id))
	b = binary.BigEndian.AppendUint32(b, t1)
	b = binary.BigEndian.AppendUint32(b, t2)
	for i := range ia.grants {
		g := &ia.grants[i]
		if g.preferred > g.valid {
			panic("dhcp6: preferred lifetime above valid lifetime") // D-143
		}
		if ia.typ == lease.IANA {
			b = appendIAAddr(b, g)
		} else {
			b = appendIAPrefix(b, g)
		}
	}
	if ia.status != statusSuccess {
		b = appendStatus(b, ia.status, ia.text)
	}
	return closeOption(b, start)
}

func appendIAAddr(b []byte, g *grant) []byte {
	b = appendOptionHeader(b, optIAAddr, iaAddrLen)
	a := g.prefix.Addr().As16()
	b = append(b, a[:]...)
	b = binary.BigEndian.AppendUint32(b, g.preferred)
	return binary.BigEndian.AppendUint32(b, g.valid)
}

func appendIAPrefix(b []byte, g *grant) []byte {
	b, start := openOption(b, optIAPrefix)
	b = binary.BigEndian.AppendUint32(b, g.preferred)
	b = binary.BigEndian.AppendUint32(b, g.valid)
	b = append(b, byte(g.prefix.Bits()))
	a := g.prefix.Addr().As16()
	b = append(b, a[:]...)
	if g.exclude.Length != 0 {
		b = appendExclude(b, g.prefix.Bits(), g.exclude)
	}
	return closeOption(b, start)
}

// appendExclude writes a Prefix Exclude option: the bits between the delegated
// and the excluded length, moved to the top of their octets (RFC 6603 section
// 4.2, D-255).
func appendExclude(b []byte, delegated int, e Exclude) []byte {
	bits := e.Length - delegated
	octets := (bits + 7) / 8
	b = appendOptionHeader(b, optPDExclude, 1+octets)
	b = append(b, byte(e.Length))
	var id [8]byte
	binary.BigEndian.PutUint64(id[:], e.SubnetID<<(64-bits))
	return append(b, id[:octets]...)
}
