package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"runtime"
	"testing"
)

// memoryMax_bytes bounds what reading one message may allocate, for each of its
// octets: an IA_TA of 8 octets is a struct of some 140 bytes, and slices grow by
// doubling.
const memoryMax_bytes = 64

// FuzzParse gives any octets to Parse: no panic, and what is accepted is written
// back octet by octet; the tree agrees; memory is in proportion.
func FuzzParse(f *testing.F) {
	for _, v := range vectors {
		f.Add(unhex(f, v.frame)[sizeLen:])
	}
	for place, codes := range matrix {
		for _, code := range codes {
			for _, content := range append(shapes[code].good, shapes[code].bad...) {
				digits, _ := split(content)
				f.Add(inside[place](opt(code, unhex(f, digits)), opt(65000, []byte("x"))))
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > MessageLenMax {
			return
		}
		input := bytes.Clone(b)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, err := Parse(b)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > uint64(64<<10+memoryMax_bytes*len(b)) {
			t.Errorf("%d octets allocate %d bytes", len(b), used)
		}
		if !bytes.Equal(b, input) {
			t.Error("Parse changed its input")
		}
		tree := TreeOf(b)
		if text := tree.String(); tree.Bad() != (err != nil) || text == "" {
			t.Errorf("the tree is bad: %v, the error %v", tree.Bad(), err)
		}
		if err != nil {
			var e *Error
			if m != nil || !errors.As(err, &e) || e.Problem == "" || e.Kind < Malformed || e.Kind > UnknownType {
				t.Errorf("a message %v beside %v", m, err)
			}
			return
		}
		back, err := Append(nil, m)
		if err != nil || !bytes.Equal(back, input) {
			t.Fatalf("%x became %x, %v", input, back, err)
		}
		again, err := Parse(back)
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("read %+v, %v, before %+v", again, err, m)
		}
		check(t, m)
	})
}

// check asks all that can be asked of a message: no panic, and each update finds
// its answer.
func check(t *testing.T, m Message) {
	switch m := m.(type) {
	case *Connect:
		m.Check()
	case *ConnectReply:
		m.Check()
	case *State:
		m.Check()
	case *BndUpd:
		if m.Check(); m.Mirrors() {
			r := m.Reply()
			b, err := Append(nil, r)
			if err != nil {
				t.Fatalf("the answer to an update cannot be sent: %v", err)
			}
			if _, err := Parse(b); err != nil {
				t.Fatalf("the answer to an update cannot be read: %v", err)
			}
			leases(m.ClientData, m.Prefix, func(ia *IA, l *LeaseOption) { l.Check(ia) })
			leases(r.ClientData, r.Prefix, func(ia *IA, l *LeaseOption) {
				if r.Refusal(ia, l).Present() {
					t.Error("an answer that accepts refuses")
				}
			})
		}
	case *BndReply:
		leases(m.ClientData, m.Prefix, func(ia *IA, l *LeaseOption) { m.Refusal(ia, l) })
	}
}

func leases(c *ClientData, bare *LeaseOption, f func(*IA, *LeaseOption)) {
	if bare != nil {
		f(nil, bare)
	}
	if c == nil {
		return
	}
	for i := range c.IAs {
		for j := range c.IAs[i].Leases {
			f(&c.IAs[i], &c.IAs[i].Leases[j])
		}
	}
}

// FuzzDeframe cuts any octets at any places: the messages are those that a
// reader of the whole finds, whatever the pieces, up to the same error.
func FuzzDeframe(f *testing.F) {
	octets, _ := stream(f)
	f.Add(octets, uint8(1), uint16(0))
	f.Add(octets, uint8(7), uint16(HandshakeLenMax))
	f.Add(octets[:40], uint8(255), uint16(4))
	f.Add([]byte{0, 4, 1, 2, 3, 4, 0, 3}, uint8(2), uint16(0))
	f.Fuzz(func(t *testing.T, octets []byte, size uint8, max uint16) {
		want, ends := cutWhole(octets, int(max))
		d := Deframer{LenMax: int(max)}
		got, err := collect(&d, chunks(octets, int(size)+1)...)
		if len(got) != len(want) || (err != nil) != ends {
			t.Fatalf("%d messages, %v; want %d, error %v", len(got), err, len(want), ends)
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("message %d is %x, want %x", i, got[i], want[i])
			}
		}
		if cap(d.frame) > 2*len(octets)+64 {
			t.Fatalf("holds %d octets of %d", cap(d.frame), len(octets))
		}
	})
}

// cutWhole is the naive oracle: it has the whole stream before it.
func cutWhole(b []byte, max int) (messages [][]byte, bad bool) {
	if max == 0 {
		max = MessageLenMax
	}
	for len(b) >= 2 {
		n := int(binary.BigEndian.Uint16(b))
		if n < 4 || n > max {
			return messages, true
		}
		if len(b) < 2+n {
			break
		}
		messages, b = append(messages, b[2:2+n]), b[2+n:]
	}
	return messages, false
}
