package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Limits of a message in octets.
const (
	// MessageLenMax is what the two octets of message-size can say (RFC 5460
	// section 5.1). A smaller limit would refuse updates that a partner may
	// send, again and again; the memory for one message of each connection is
	// little.
	MessageLenMax = 1<<16 - 1

	// HandshakeLenMax bounds the messages of somebody who has not shown yet that
	// he is the partner: STARTTLS, REPLY, CONNECT, CONNECTREPLY. Ours have less
	// than 100 octets and a relationship's name or an explanation.
	HandshakeLenMax = 1024

	plainHeaderLen = 4
	headerLen      = 8
)

// ErrTooLong is the error of Append when a message or an option exceeds the 16
// bits of its length. Of a BNDUPD, send fewer identity associations at once.
var ErrTooLong = errors.New("longer than 65535 octets")

// Parse reads one message, without message-size. Its error is an *Error; then
// there is no message. The message does not refer to b.
func Parse(b []byte) (Message, error) {
	m, err := parse(b)
	if err != nil {
		return nil, err
	}
	return m, nil
}

func parse(b []byte) (Message, *Error) {
	if len(b) < plainHeaderLen {
		return nil, &Error{Kind: Malformed, Problem: fmt.Sprintf("a message of %s, the header alone has %d", octets(len(b)), plainHeaderLen)}
	}
	t, id := Type(b[0]), TransactionID(binary.BigEndian.Uint32(b)&uint32(TransactionIDMax))
	if !t.Valid() {
		return nil, &Error{Kind: UnknownType, Type: t, TransactionID: id, Problem: "is not a message of failover"}
	}
	m := layouts[t].make()
	m.setID(id)
	options := b[plainHeaderLen:]
	if h := m.header(); h != nil {
		if len(b) < headerLen {
			return nil, &Error{Kind: Malformed, Type: t, TransactionID: id, Problem: fmt.Sprintf("has %s, its header alone has %d", octets(len(b)), headerLen)}
		}
		h.SentTime, options = Time(binary.BigEndian.Uint32(options)), b[headerLen:]
	}
	if err := layouts[t].parse(m, options); err != nil {
		err.Type, err.TransactionID = t, id
		return nil, err
	}
	return m, nil
}

// Append appends the octets of m, without message-size, to dst. It fails with
// ErrTooLong, or when a field of m holds what cannot be sent; then it returns
// dst as it was.
func Append(dst []byte, m Message) ([]byte, error) {
	e := encoder{b: dst}
	e.message(m)
	if e.err != nil {
		return dst, fmt.Errorf("cannot send %v %v: %w", m.Type(), m.ID(), e.err)
	}
	return e.b, nil
}

func (e *encoder) message(m Message) {
	start := len(e.b)
	if m.ID() > TransactionIDMax {
		e.fail("the transaction-id has more than 24 bits")
	}
	e.u32(uint32(m.Type())<<24 | uint32(m.ID()))
	if h := m.header(); h != nil {
		e.u32(uint32(h.SentTime))
	}
	layouts[m.Type()].append(e, m)
	if n := len(e.b) - start; n > MessageLenMax {
		e.fail("%w: it would have %d octets", ErrTooLong, n)
	}
}
