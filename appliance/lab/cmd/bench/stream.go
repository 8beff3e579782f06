package main

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/tandem6/tandem6/appliance/lab"
)

// A stream keeps a fixed number of 4-message exchanges under way, each of a new client, and starts the next as soon as one completes.
// It costs a small part of perfdhcp's processor time, so that the server's own limit shows. Its Requests are the Advertises with
// another message type: without an Option Request, they hold the identifiers and the offered leases only.
type stream struct {
	socket   *batchSocket
	leases   leaseType
	slots    []slot
	clients  uint32    // so far
	now      time.Time // when the present batch came
	repeated time.Time // when slots were last looked through for lost messages
	result   streamResult
}

// A streamResult is what a stream saw.
type streamResult struct {
	completed int             // exchanges
	lost      int             // messages that were not answered in time
	refused   int             // Replies without the leases that were asked for
	solicits  []time.Duration // from Solicit to Advertise; sorted
	requests  []time.Duration // from Request to Reply; sorted
}

// A slot is one exchange that is under way. The transaction-id is made of a count, so that late answers to earlier messages are
// not taken for it, and of the slot's index.
type slot struct {
	packet []byte // sent last
	sent   time.Time
	count  byte // messages so far
}

const (
	streamInFlight = 256 // exchanges
	streamBatch    = 64  // packets for one system call
	streamLost     = time.Second
	packetOctets   = 1500

	solicit   = 1 // message types (RFC 9915 section 7.3)
	advertise = 2
	request   = 3
	reply     = 7

	optionClientID    = 1 // options (RFC 9915 section 21)
	optionIANA        = 3
	optionIAAddress   = 5
	optionElapsedTime = 8
	optionIAPD        = 25
	optionIAPrefix    = 26
	iaHeaderLen       = 12
)

// runStream keeps a server busy for some time.
func runStream(t lab.T, n *lab.Network, leases leaseType, seconds int) streamResult {
	conn, to := n.Client.ClientSocket(t, "eth0")
	socket, err := newBatchSocket(conn, to, streamLost/10)
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer socket.Close()
	s := &stream{socket: socket, leases: leases, slots: make([]slot, streamInFlight)}
	if err := s.run(time.Now().Add(time.Duration(seconds) * time.Second)); err != nil {
		t.Fatalf("%v", err)
	}
	slices.Sort(s.result.solicits)
	slices.Sort(s.result.requests)
	return s.result
}

func (s *stream) run(end time.Time) error {
	s.now = time.Now()
	s.repeated = s.now
	for i := range s.slots {
		if err := s.solicit(i); err != nil {
			return err
		}
	}
	for s.now.Before(end) {
		if err := s.socket.flush(); err != nil {
			return err
		}
		first := true
		err := s.socket.receive(func(answer []byte) error {
			if first { // the clock is read once for all that waited
				s.now, first = time.Now(), false
			}
			return s.take(answer)
		})
		if err != nil {
			return err
		}
		if first {
			s.now = time.Now()
		}
		if s.now.Sub(s.repeated) > streamLost/10 {
			if err := s.repeat(); err != nil {
				return err
			}
		}
	}
	return nil
}

// take carries the exchange on that an answer belongs to.
func (s *stream) take(answer []byte) error {
	if len(answer) < 4 {
		return nil
	}
	i := int(binary.BigEndian.Uint16(answer[2:]))
	if i >= len(s.slots) {
		return nil
	}
	sl := &s.slots[i]
	if answer[1] != sl.count {
		return nil
	}
	switch {
	case answer[0] == advertise && sl.packet[0] == solicit:
		s.result.solicits = append(s.result.solicits, s.now.Sub(sl.sent))
		sl.count++
		sl.packet = append(sl.packet[:0], answer...)
		sl.packet[0], sl.packet[1] = request, sl.count
		sl.packet = append(sl.packet, 0, optionElapsedTime, 0, 2, 0, 0)
		return s.send(i)
	case answer[0] == reply && sl.packet[0] == request:
		s.result.requests = append(s.result.requests, s.now.Sub(sl.sent))
		if leasesIn(answer[4:]) == len(s.leases.ias) {
			s.result.completed++
		} else {
			s.result.refused++
		}
		return s.solicit(i)
	}
	return nil
}

// solicit starts the exchange of a new client.
func (s *stream) solicit(i int) error {
	s.clients++
	sl := &s.slots[i]
	sl.count++
	p := append(sl.packet[:0], solicit, sl.count, byte(i>>8), byte(i))
	p = append(p, 0, optionClientID, 0, 10, 0, 3, 0, 1, 2, 0) // DUID-LL of a locally administered address
	p = binary.BigEndian.AppendUint32(p, s.clients)
	p = append(p, 0, optionElapsedTime, 0, 2, 0, 0)
	for _, option := range s.leases.ias {
		p = append(p, 0, option, 0, iaHeaderLen, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	sl.packet = p
	return s.send(i)
}

// repeat sends again what was not answered in time.
func (s *stream) repeat() error {
	s.repeated = s.now
	for i := range s.slots {
		if s.now.Sub(s.slots[i].sent) > streamLost {
			s.result.lost++
			if err := s.send(i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *stream) send(i int) error {
	s.slots[i].sent = s.now
	return s.socket.send(s.slots[i].packet)
}

// leasesIn counts the addresses and prefixes in the IAs of a message's options.
func leasesIn(options []byte) int {
	count := 0
	for code, data := range eachOption(options) {
		if code != optionIANA && code != optionIAPD || len(data) < iaHeaderLen {
			continue
		}
		for code := range eachOption(data[iaHeaderLen:]) {
			if code == optionIAAddress || code == optionIAPrefix {
				count++
			}
		}
	}
	return count
}

func eachOption(b []byte) func(yield func(code uint16, data []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= 4 {
			code, length := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
			if len(b) < 4+length || !yield(code, b[4:4+length]) {
				return
			}
			b = b[4+length:]
		}
	}
}
