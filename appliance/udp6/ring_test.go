package udp6

import (
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

// TestRingAgainstModel drives the ring with random bursts and takes, and compares
// it with a slice that does the same naively. A buffer that two datagrams share
// would show as a wrong number.
func TestRingAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRing()
		reader := &Datagram{usual: make([]byte, usualOctets)}
		var model []uint32
		var number uint32
		put := func() {
			number++
			reader.Payload = reader.usual[:4]
			if number%100 == 0 {
				if reader.large = r.borrow(); reader.large == nil {
					return
				}
				reader.Payload = reader.large[:4]
			}
			binary.BigEndian.PutUint32(reader.Payload, number)
			empty, dropped := r.put(reader)
			model = append(model, number)
			if dropped != (len(model) > RingMax) {
				t.Fatalf("put with %d datagrams waiting: dropped is %v", len(model)-1, dropped)
			}
			if dropped {
				model = model[1:]
			}
			reader = empty
		}
		take := func() {
			d := r.next()
			if len(model) == 0 {
				if d != nil {
					t.Fatalf("empty ring gave %v", d)
				}
				return
			}
			if got := binary.BigEndian.Uint32(d.Payload); got != model[0] {
				t.Fatalf("took datagram %d, want %d", got, model[0])
			}
			model = model[1:]
		}
		for range rapid.IntRange(1, 12).Draw(t, "rounds") {
			for range rapid.IntRange(0, RingMax+200).Draw(t, "puts") {
				put()
			}
			for range rapid.IntRange(0, RingMax+200).Draw(t, "takes") {
				take()
			}
		}
		for len(model) > 0 {
			take()
		}
		if r.next() != nil || len(r.larges) != largeMax {
			t.Fatalf("after all was taken %d of %d large buffers are free", len(r.larges), largeMax)
		}
	})
}

// TestRingWakesCallerThatStoppedEarly: one token, two datagrams, one taken.
func TestRingWakesCallerThatStoppedEarly(t *testing.T) {
	r := newRing()
	for range 2 {
		r.put(&Datagram{usual: make([]byte, usualOctets)})
	}
	r.signal()
	r.signal() // a second token must neither block nor be needed
	<-r.ready
	if r.next() == nil {
		t.Fatal("nothing to take")
	}
	select {
	case <-r.ready:
	default:
		t.Fatal("a datagram waits, but ready yields nothing")
	}
	if r.next() == nil || r.next() != nil {
		t.Fatal("want exactly one datagram more")
	}
	select {
	case <-r.ready:
		t.Fatal("ready yields, but nothing waits")
	default:
	}
}
