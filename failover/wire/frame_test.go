package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// stream is all vectors after each other, and the messages in it.
func stream(t testing.TB) (octets []byte, messages [][]byte) {
	for _, v := range vectors {
		frame := unhex(t, v.frame)
		octets = append(octets, frame...)
		messages = append(messages, frame[sizeLen:])
	}
	return octets, messages
}

// collect feeds chunks to d and returns copies of the messages that come out.
func collect(d *Deframer, chunks ...[]byte) (messages [][]byte, err error) {
	for _, p := range chunks {
		for {
			message, rest, err := d.Next(p)
			if message == nil {
				if err == nil && len(rest) > 0 {
					panic("octets are left without a message")
				}
				if err != nil {
					return messages, err
				}
				break
			}
			messages = append(messages, bytes.Clone(message))
			p = rest
		}
	}
	return messages, nil
}

func chunks(b []byte, size int) (list [][]byte) {
	for len(b) > size {
		list, b = append(list, b[:size]), b[size:]
	}
	return append(list, b)
}

// F-006: however the stream is cut, the same messages come out.
func TestDeframe(t *testing.T) {
	octets, want := stream(t)
	for size := 1; size <= len(octets); size++ {
		got, err := collect(new(Deframer), chunks(octets, size)...)
		if err != nil || len(got) != len(want) {
			t.Fatalf("pieces of %d: %d messages, %v, want %d", size, len(got), err, len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("pieces of %d: message %d is %x, want %x", size, i, got[i], want[i])
			}
		}
	}
}

// After a message nothing is held back, so that octets behind a STARTTLS cannot
// hide.
func TestDeframeHoldsNothingBack(t *testing.T) {
	for _, first := range []string{"0004 17 000001 1603", "0004"} {
		var d Deframer
		p := unhex(t, first)
		message, rest, err := d.Next(p)
		if message == nil {
			message, rest, err = d.Next(unhex(t, "17 000001 1603"))
		}
		if err != nil || !bytes.Equal(message, unhex(t, "17000001")) || !bytes.Equal(rest, unhex(t, "1603")) {
			t.Errorf("%x, %x behind it, %v", message, rest, err)
		}
		if d.Held() != 0 {
			t.Errorf("%d octets are held", d.Held())
		}
		if d.Next(unhex(t, "00")); d.Held() != 1 {
			t.Errorf("%d octets are held of 1", d.Held())
		}
	}
}

// A message-size that cannot be ends the stream for good, before anything of the
// message is held.
func TestDeframeRefuses(t *testing.T) {
	for _, c := range []struct {
		frame, problem string
		max            int
	}{
		{"0000 17", "a message of 0 octets, the header alone has 4", 0},
		{"0001", "a message of 1 octet, ", 0},
		{"0003 17 0000", "a message of 3 octets, ", 0},
		{"0401", "a message of 1025 octets, here they have at most 1024", HandshakeLenMax},
		{"ffff", "a message of 65535 octets, here they have at most 1024", HandshakeLenMax},
	} {
		for _, size := range []int{1, 2, 100} {
			d := Deframer{LenMax: c.max}
			good := unhex(t, "0004 17 000001")
			got, err := collect(&d, chunks(append(good, unhex(t, c.frame)...), size)...)
			var e *Error
			if len(got) != 1 || !errors.As(err, &e) || e.Kind != Malformed || !strings.Contains(err.Error(), c.problem) {
				t.Errorf("%s in pieces of %d: %d messages, %v", c.frame, size, len(got), err)
			}
			if _, _, again := d.Next(good); again != err {
				t.Errorf("%s: the stream goes on with %v", c.frame, again)
			}
			if cap(d.frame) > 64 {
				t.Errorf("%s: holds %d octets", c.frame, cap(d.frame))
			}
		}
	}
	d := Deframer{LenMax: HandshakeLenMax}
	long := append([]byte{4, 0}, make([]byte, HandshakeLenMax)...)
	if got, err := collect(&d, long); err != nil || len(got) != 1 {
		t.Errorf("%d messages of exactly the limit, %v", len(got), err)
	}
}

// The memory follows what has come, not what a message-size announces, and stays
// below twice the longest message.
func TestDeframeMemory(t *testing.T) {
	var d Deframer
	d.Next([]byte{0xff, 0xff, 1, 2, 3})
	if cap(d.frame) > 64 {
		t.Errorf("5 octets of a long message hold %d", cap(d.frame))
	}
	for range MessageLenMax - 3 {
		if message, _, err := d.Next([]byte{0}); message != nil && len(message) != MessageLenMax || err != nil {
			t.Fatalf("%d octets, %v", len(message), err)
		}
	}
	if !d.complete || cap(d.frame) > 2*MessageLenMax {
		t.Errorf("complete: %v, capacity %d", d.complete, cap(d.frame))
	}

	octets, _ := stream(t)
	pieces := chunks(octets, 7)
	if n := testing.AllocsPerRun(100, func() {
		for _, p := range pieces {
			for {
				message, rest, err := d.Next(p)
				if err != nil {
					t.Fatal(err)
				}
				if message == nil {
					break
				}
				p = rest
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations for a stream of %d messages", n, len(vectors))
	}
}

// The sent-time can be set when the frame is about to leave (RFC 8156 section
// 7.1). F-009: STARTTLS and its REPLY have none.
func TestStamp(t *testing.T) {
	for _, v := range vectors {
		frame := unhex(t, v.frame)
		want := bytes.Clone(frame)
		if v.message.Type().HasSentTime() {
			binary.BigEndian.PutUint32(want[6:], 0x01020304)
		}
		Stamp(frame, 0x01020304)
		if !bytes.Equal(frame, want) {
			t.Errorf("%s: %x, want %x", v.name, frame, want)
		}
	}
}

// Frames too short for their headers, types that do not exist, options that
// overrun their containers: each at every length.
func TestMalformed(t *testing.T) {
	for n := range 4 {
		refuses(t, make([]byte, n), Malformed, "the header alone has 4")
	}
	for typ := range 256 {
		b := msg(Type(typ))[:4]
		switch {
		case !Type(typ).Valid():
			e := refuses(t, append(b, "anything"...), UnknownType, "message type")
			if e.Type != Type(typ) || e.TransactionID != 0x010203 {
				t.Errorf("type %d: the error names %v %v", typ, e.Type, e.TransactionID)
			}
		case Type(typ).HasSentTime():
			for n := range 4 {
				refuses(t, append(b, make([]byte, n)...), Malformed, "its header alone has 8")
			}
		default:
			accepts(t, b)
		}
	}
	// Every message of the vectors, cut anywhere, is either shorter by whole
	// options or refused as malformed.
	for _, v := range vectors {
		b := unhex(t, v.frame)[sizeLen:]
		whole := map[int]bool{len(b): true}
		at := 4
		if v.message.Type().HasSentTime() {
			at = 8
		}
		for ; at < len(b); at += 4 + int(binary.BigEndian.Uint16(b[at+2:])) {
			whole[at] = true
		}
		for n := range b {
			if whole[n] {
				accepts(t, b[:n])
			} else {
				refuses(t, b[:n], Malformed, "")
			}
		}
	}
	e := refuses(t, msg(TypeBndUpd, opt(OptionClientData, opt(OptionIANA, fixedIA, opt(OptionIAAddr, fixedAddress, []byte{0, 114, 0, 2, 1})))), Malformed,
		"BNDUPD 0x010203: OPTION_F_BINDING_STATUS in OPTION_IAADDR in OPTION_IA_NA in OPTION_CLIENT_DATA has 2 octets according to its length, but only 1 are left")
	if len(e.Path) != 4 || e.Path[0] != OptionClientData {
		t.Errorf("path %v", e.Path)
	}
}
