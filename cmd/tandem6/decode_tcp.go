package main

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/tandem6/tandem6/failover/wire"
)

// The links whose packets can be read, of tcpdump.org's list of LINKTYPEs.
const (
	linkEthernet = 1
	linkRaw      = 101
	linkCooked   = 113 // tcpdump -i any
	linkIPv6     = 229
	linkCooked2  = 276 // tcpdump -i any, newer
)

const (
	etherIPv6    = 0x86dd
	etherVLAN    = 0x8100
	etherService = 0x88a8
	vlansMax     = 4 // tags of a frame; two are in use
)

// ipv6 returns the IPv6 packet in a packet, nil when there is none. known is false
// for links that cannot be read.
func (p *packet) ipv6() (ip []byte, known bool) {
	var protocol, header int // their offset and length
	switch p.link {
	case linkRaw, linkIPv6:
		return p.data, true
	case linkEthernet:
		protocol, header = 12, 14
	case linkCooked:
		protocol, header = 14, 16
	case linkCooked2:
		protocol, header = 0, 20
	default:
		return nil, false
	}
	if len(p.data) < header {
		return nil, true
	}
	ether, rest := binary.BigEndian.Uint16(p.data[protocol:]), p.data[header:]
	for range vlansMax {
		if ether != etherVLAN && ether != etherService || len(rest) < 4 {
			break
		}
		ether, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
	}
	if ether != etherIPv6 {
		return nil, true
	}
	return rest, true
}

// A segment is one of TCP.
type segment struct {
	from, to netip.AddrPort
	seq      uint32
	syn      bool
	data     []byte
}

// The headers of IPv6 that can stand before TCP (RFC 8200 section 4).
const (
	nextHopByHop    = 0
	nextTCP         = 6
	nextRouting     = 43
	nextFragment    = 44
	nextDestination = 60
	extensionsMax   = 16 // far more than anybody sends
)

// parseSegment reads the TCP segment in an IPv6 packet. Fragments are none:
// nobody fragments TCP.
func parseSegment(ip []byte) (s segment, ok bool) {
	if len(ip) < 40 || ip[0]>>4 != 6 {
		return s, false
	}
	// What is behind the packet pads a short frame. A length of zero is that of
	// segments which Linux has put together to more than 65535 octets.
	if n := int(binary.BigEndian.Uint16(ip[4:])); n > 0 && 40+n < len(ip) {
		ip = ip[:40+n]
	}
	next, rest := ip[6], ip[40:]
	for range extensionsMax {
		if next != nextHopByHop && next != nextRouting && next != nextDestination && next != nextFragment || len(rest) < 8 {
			break
		}
		size := 8 + 8*int(rest[1])
		if next == nextFragment {
			if binary.BigEndian.Uint16(rest[2:])&^6 != 0 { // offset and the flag for more
				return s, false
			}
			size = 8
		}
		if len(rest) < size {
			return s, false
		}
		next, rest = rest[0], rest[size:]
	}
	if next != nextTCP || len(rest) < 20 {
		return s, false
	}
	header := int(rest[12]>>4) * 4
	if header < 20 || header > len(rest) {
		return s, false
	}
	const syn = 2
	s.from = netip.AddrPortFrom(netip.AddrFrom16([16]byte(ip[8:])), binary.BigEndian.Uint16(rest))
	s.to = netip.AddrPortFrom(netip.AddrFrom16([16]byte(ip[24:])), binary.BigEndian.Uint16(rest[2:]))
	s.seq, s.syn, s.data = binary.BigEndian.Uint32(rest[4:]), rest[13]&syn != 0, rest[header:]
	return s, true
}

// Limits of what is remembered of the streams.
const (
	// flowsMax bounds the directions of connections that are followed at once; the
	// one that was silent for longest makes room. A pair of servers has two.
	flowsMax = 64
	// earlyMax bounds the octets of a direction that came too early and wait for
	// others to come before them, earlySegmentsMax their pieces.
	earlyMax         = 256 << 10
	earlySegmentsMax = 1024
	// jumpMax is how far a segment may be from the place where it is expected and
	// still belong to the same connection.
	jumpMax = 1 << 24
)

// A flow is one direction of a connection.
type flow struct {
	from, to netip.AddrPort
	used     int // packet number, for flowsMax

	synced bool   // next is known
	next   uint32 // sequence number of the octet that comes next
	early  []segment
	held   int // octets in early

	frames  wire.Deframer
	aligned bool // the next octet begins a message, or is in the middle of one that has begun
	tls     bool // what comes cannot be read
	skipped int  // octets since it was not aligned
}

// A found message, or a note about the stream at that place.
type found struct {
	time     time.Time
	from, to netip.AddrPort
	tree     wire.Tree
	note     string // empty: tree is a message
}

// streams puts the octets of TCP into their order and finds the messages in them.
type streams struct {
	port  uint16
	flows map[[2]netip.AddrPort]*flow
	n     int       // segments
	time  time.Time // of the last packet
	show  func(*found) error
	err   error // of show, which is not called again after it
}

// add takes a segment. Its data are copied if they have to wait.
func (s *streams) add(at time.Time, g segment) {
	if g.from.Port() != s.port && g.to.Port() != s.port {
		return
	}
	s.time = at
	s.n++
	f := s.flow(g.from, g.to)
	f.used = s.n
	if g.syn {
		s.end(f)
		f.synced, f.aligned, f.next = true, true, g.seq+1
		g.seq++ // data may come with it
	}
	if jump := int32(g.seq - f.next); f.synced && (jump > jumpMax || jump < -jumpMax) {
		s.end(f) // another connection, whose beginning was not captured
	}
	if len(g.data) == 0 {
		return
	}
	if !f.synced {
		f.synced, f.next = true, g.seq
	}
	s.place(f, g)
}

// flow finds or begins a flow.
func (s *streams) flow(from, to netip.AddrPort) *flow {
	key := [2]netip.AddrPort{from, to}
	f := s.flows[key]
	if f != nil {
		return f
	}
	if len(s.flows) == flowsMax {
		oldest := s.ordered()[0]
		s.end(oldest)
		delete(s.flows, [2]netip.AddrPort{oldest.from, oldest.to})
	}
	f = &flow{from: from, to: to}
	s.flows[key] = f
	return f
}

// ordered lists the flows, the one that was silent for longest first.
func (s *streams) ordered() []*flow {
	var list []*flow
	for _, f := range s.flows {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b *flow) int { return cmp.Compare(a.used, b.used) })
	return list
}

// place hands a segment on if it is next, or keeps it until it is.
func (s *streams) place(f *flow, g segment) {
	if int32(g.seq-f.next) > 0 {
		g.data = slices.Clone(g.data)
		i, _ := slices.BinarySearchFunc(f.early, g, func(a, b segment) int { return cmp.Compare(int32(a.seq-f.next), int32(b.seq-f.next)) })
		f.early = slices.Insert(f.early, i, g)
		if f.held += len(g.data); f.held <= earlyMax && len(f.early) <= earlySegmentsMax {
			return
		}
		s.skip(f)
		return
	}
	s.deliver(f, g)
	s.deliverEarly(f)
}

// deliverEarly hands on what has waited and is next now.
func (s *streams) deliverEarly(f *flow) {
	n := 0
	for n < len(f.early) && int32(f.early[n].seq-f.next) <= 0 {
		f.held -= len(f.early[n].data)
		s.deliver(f, f.early[n])
		n++
	}
	f.early = slices.Delete(f.early, 0, n)
}

// skip gives up to wait for octets that are missing in the capture.
func (s *streams) skip(f *flow) {
	missing := int(int32(f.early[0].seq - f.next))
	s.note(f, fmt.Sprintf("%s missing in the capture%s", are(missing, "octet"), f.unfinished()))
	f.next, f.aligned, f.frames = f.early[0].seq, false, wire.Deframer{}
	s.deliverEarly(f)
}

func are(n int, thing string) string {
	if n == 1 {
		return "1 " + thing + " is"
	}
	return plural(n, thing) + " are"
}

// unfinished says what is lost of a message that has begun.
func (f *flow) unfinished() string {
	if n := f.frames.Held(); n > 0 {
		return fmt.Sprintf(", within a message of which %s there", are(n, "octet"))
	}
	return ""
}

// deliver hands on what is new of a segment that is next.
func (s *streams) deliver(f *flow, g segment) {
	known := int(f.next - g.seq) // sent again
	if known >= len(g.data) {
		return
	}
	data := g.data[known:]
	f.next += uint32(len(data))
	s.read(f, data)
}

// read finds the messages in octets that follow what was read before.
func (s *streams) read(f *flow, p []byte) {
	if f.tls {
		return
	}
	if !f.aligned && !begins(p) && !isTLS(p) {
		f.skipped += len(p)
		return
	}
	if f.skipped > 0 {
		s.note(f, fmt.Sprintf("%s skipped before the beginning of a message", are(f.skipped, "octet")))
	}
	f.aligned, f.skipped = true, 0
	for {
		if f.frames.Held() == 0 && isTLS(p) {
			f.tls = true
			s.note(f, "TLS from here on")
			return
		}
		message, rest, err := f.frames.Next(p)
		if err != nil {
			s.note(f, "malformed: "+err.Error())
			f.aligned, f.frames = false, wire.Deframer{}
			return
		}
		if message == nil {
			return
		}
		s.found(f, &found{tree: wire.TreeOf(message)})
		p = rest
	}
}

// begins reports whether p looks like the beginning of a frame.
func begins(p []byte) bool {
	if len(p) < 3 {
		return false
	}
	size, typ := binary.BigEndian.Uint16(p), wire.Type(p[2])
	return typ.Valid() && size >= 4 && (size >= 8 || !typ.HasSentTime())
}

// isTLS reports whether p is the beginning of a record of TLS. A frame cannot
// look like one: where the minor version stands, it has its message type.
func isTLS(p []byte) bool {
	return len(p) >= 3 && p[0] >= 20 && p[0] <= 23 && p[1] == 3 && p[2] <= 4
}

// end forgets a connection, after what can still be said about it.
func (s *streams) end(f *flow) {
	for len(f.early) > 0 {
		s.skip(f)
	}
	if f.frames.Held() > 0 {
		s.note(f, "the stream ends"+f.unfinished())
	}
	if f.skipped > 0 {
		s.note(f, fmt.Sprintf("%s skipped, in which no message begins", are(f.skipped, "octet")))
	}
	*f = flow{from: f.from, to: f.to, used: f.used}
}

// close says what is left to say of all flows.
func (s *streams) close() {
	for _, f := range s.ordered() {
		s.end(f)
	}
}

func (s *streams) note(f *flow, text string) { s.found(f, &found{note: text}) }

// found shows something.
func (s *streams) found(f *flow, it *found) {
	it.time, it.from, it.to = s.time, f.from, f.to
	if s.err == nil {
		s.err = s.show(it)
	}
}
