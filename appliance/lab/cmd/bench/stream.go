package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/tandem6/tandem6/appliance/lab"
	"golang.org/x/net/ipv6"
)

// A stream keeps a fixed number of 4-message exchanges under way, each of a new client, and starts the next as soon as one completes.
// It costs a small part of perfdhcp's processor time, so that the server's own limit shows. Its Requests are the Advertises with
// another message type: without an Option Request, they hold the identifiers and the offered leases only.
type stream struct {
	conn     *ipv6.PacketConn
	to       net.Addr
	leases   leaseType
	slots    []slot
	clients  uint32 // so far
	received []ipv6.Message
	out      []ipv6.Message
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
	defer conn.Close()
	s := &stream{conn: ipv6.NewPacketConn(conn), to: net.UDPAddrFromAddrPort(to), leases: leases, slots: make([]slot, streamInFlight)}
	for range streamBatch {
		s.received = append(s.received, ipv6.Message{Buffers: [][]byte{make([]byte, packetOctets)}})
	}
	for i := range s.slots {
		s.solicit(i, time.Now())
	}
	if err := s.run(time.Now().Add(time.Duration(seconds) * time.Second)); err != nil {
		t.Fatalf("%v", err)
	}
	slices.Sort(s.result.solicits)
	slices.Sort(s.result.requests)
	return s.result
}

func (s *stream) run(end time.Time) error {
	for {
		for len(s.out) > 0 {
			n, err := s.conn.WriteBatch(s.out, 0)
			if err != nil {
				return fmt.Errorf("cannot send to the server: %w", err)
			}
			s.out = s.out[n:]
		}
		s.out = s.out[:0]
		s.conn.SetReadDeadline(time.Now().Add(streamLost / 10))
		n, err := s.conn.ReadBatch(s.received, 0)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("cannot read the server's answers: %w", err)
		}
		now := time.Now()
		if now.After(end) {
			return nil
		}
		for _, m := range s.received[:max(0, n)] {
			s.take(m.Buffers[0][:m.N], now)
		}
		if now.Sub(s.repeated) > streamLost/10 {
			s.repeat(now)
		}
	}
}

// take carries the exchange on that an answer belongs to.
func (s *stream) take(answer []byte, now time.Time) {
	if len(answer) < 4 {
		return
	}
	i := int(binary.BigEndian.Uint16(answer[2:]))
	if i >= len(s.slots) {
		return
	}
	sl := &s.slots[i]
	if answer[1] != sl.count {
		return
	}
	switch {
	case answer[0] == advertise && sl.packet[0] == solicit:
		s.result.solicits = append(s.result.solicits, now.Sub(sl.sent))
		sl.count++
		sl.packet = append(sl.packet[:0], answer...)
		sl.packet[0], sl.packet[1] = request, sl.count
		sl.packet = append(sl.packet, 0, optionElapsedTime, 0, 2, 0, 0)
		s.send(i, now)
	case answer[0] == reply && sl.packet[0] == request:
		s.result.requests = append(s.result.requests, now.Sub(sl.sent))
		if leasesIn(answer[4:]) == len(s.leases.ias) {
			s.result.completed++
		} else {
			s.result.refused++
		}
		s.solicit(i, now)
	}
}

// solicit starts the exchange of a new client.
func (s *stream) solicit(i int, now time.Time) {
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
	s.send(i, now)
}

// repeat sends again what was not answered in time.
func (s *stream) repeat(now time.Time) {
	s.repeated = now
	for i := range s.slots {
		if now.Sub(s.slots[i].sent) > streamLost {
			s.result.lost++
			s.send(i, now)
		}
	}
}

func (s *stream) send(i int, now time.Time) {
	s.slots[i].sent = now
	s.out = append(s.out, ipv6.Message{Buffers: [][]byte{s.slots[i].packet}, Addr: s.to})
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
