package wire

import (
	"encoding/binary"
	"fmt"
)

const sizeLen = 2 // octets of message-size, the field before each message

// AppendFrame appends m as it goes onto the stream: with message-size before it
// (RFC 5460 section 5.1). It fails as Append does.
func AppendFrame(dst []byte, m Message) ([]byte, error) {
	b, err := Append(append(dst, 0, 0), m)
	if err != nil {
		return dst, err
	}
	binary.BigEndian.PutUint16(b[len(dst):], uint16(len(b)-len(dst)-sizeLen))
	return b, nil
}

// Stamp sets the sent-time in one frame of AppendFrame, at the moment when it
// goes to the socket (RFC 8156 section 7.1). A message without one stays as it
// is.
func Stamp(frame []byte, now Time) {
	if Type(frame[sizeLen]).HasSentTime() {
		binary.BigEndian.PutUint32(frame[sizeLen+plainHeaderLen:], uint32(now))
	}
}

// SentTime is the sent-time of a message, if it has one.
func SentTime(m Message) (t Time, ok bool) {
	if h := m.header(); h != nil {
		return h.SentTime, true
	}
	return 0, false
}

// A Deframer cuts a stream of octets into messages. It holds at most one of them,
// and no more of it than has come. The zero Deframer is ready.
type Deframer struct {
	LenMax int // octets of the longest message to accept; zero: MessageLenMax

	frame    []byte // what has come of a frame, from its message-size on
	complete bool   // frame was returned and is not needed any more
	err      error
}

// Next takes octets of the stream. It returns the first message that they
// complete, and the octets behind it, which are for the next call; when they
// complete none, it keeps them and message is nil. The message is good until the
// next call or a change of p. After it nothing is held back: what else has come
// is in rest.
//
// An error, of type *Error and Malformed, is final: nobody knows where the next
// message would begin.
func (d *Deframer) Next(p []byte) (message, rest []byte, err error) {
	if d.err != nil {
		return nil, nil, d.err
	}
	if d.complete {
		d.frame, d.complete = d.frame[:0], false
	}
	if len(d.frame) == 0 && len(p) >= sizeLen {
		end := sizeLen + int(binary.BigEndian.Uint16(p))
		if len(p) >= end && d.allows(end-sizeLen) {
			return p[sizeLen:end:end], p[end:], nil // without a copy
		}
	}
	p = d.take(p, sizeLen)
	if len(d.frame) < sizeLen {
		return nil, nil, nil
	}
	size := int(binary.BigEndian.Uint16(d.frame))
	if !d.allows(size) {
		return nil, nil, d.err
	}
	p = d.take(p, sizeLen+size)
	if len(d.frame) < sizeLen+size {
		return nil, nil, nil
	}
	d.complete = true
	return d.frame[sizeLen:], p, nil
}

// Held is how many octets of a frame that is not complete have come.
func (d *Deframer) Held() int {
	if d.complete {
		return 0
	}
	return len(d.frame)
}

// take moves octets from p to the frame until it has n of them.
func (d *Deframer) take(p []byte, n int) []byte {
	n = min(max(n-len(d.frame), 0), len(p))
	d.frame = append(d.frame, p[:n]...)
	return p[n:]
}

// allows reports whether a message may have n octets; if not, this is the end.
func (d *Deframer) allows(n int) bool {
	limit := d.LenMax
	if limit == 0 {
		limit = MessageLenMax
	}
	switch {
	case n < plainHeaderLen:
		d.err = &Error{Kind: Malformed, Problem: fmt.Sprintf("a message of %s, the header alone has %d", octets(n), plainHeaderLen)}
	case n > limit:
		d.err = &Error{Kind: Malformed, Problem: fmt.Sprintf("a message of %s, here they have at most %d", octets(n), limit)}
	}
	return d.err == nil
}
