package main

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// A tape is a capture in the making: IPv6 packets in their order.
type tape [][]byte

var (
	tapePrimary   = netip.MustParseAddrPort("[2001:db8::1]:40000")
	tapeSecondary = netip.MustParseAddrPort("[2001:db8::2]:647")
)

const (
	flagFIN = 1
	flagSYN = 2
	flagACK = 16
)

// tcp adds a segment.
func (t *tape) tcp(from, to netip.AddrPort, seq uint32, flags byte, data []byte) {
	s := binary.BigEndian.AppendUint16(nil, from.Port())
	s = binary.BigEndian.AppendUint16(s, to.Port())
	s = binary.BigEndian.AppendUint32(s, seq)
	s = append(s, 0, 0, 0, 0, 8<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
	s = append(s, make([]byte, 12)...) // options, none
	t.ip(from.Addr(), to.Addr(), 6, append(s, data...))
}

func (t *tape) ip(from, to netip.Addr, next byte, data []byte) {
	src, dst := from.As16(), to.As16()
	head := binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(data)))
	*t = append(*t, slices.Concat(head, []byte{next, 64}, src[:], dst[:], data))
}

// A talk is both directions of a connection on a tape, in good order.
type talk struct {
	tape
	next [2]uint32 // sequence numbers: from the primary, from the secondary
}

// newTalk begins a connection; the primary's sequence numbers wrap soon.
func newTalk() *talk {
	t := &talk{next: [2]uint32{0xfffffff0, 1000}}
	t.say(true, flagSYN, nil)
	t.say(false, flagSYN|flagACK, nil)
	t.say(true, flagACK, nil)
	return t
}

func (t *talk) say(primary bool, flags byte, data []byte) {
	from, to, next := tapePrimary, tapeSecondary, &t.next[0]
	if !primary {
		from, to, next = to, from, &t.next[1]
	}
	t.tcp(from, to, *next, flags, data)
	*next += uint32(len(data))
	if flags&(flagSYN|flagFIN) != 0 {
		*next++
	}
}

// frames are messages as they go onto the stream.
func frames(messages ...wire.Message) []byte {
	var b []byte
	for _, m := range messages {
		var err error
		if b, err = wire.AppendFrame(b, m); err != nil {
			panic(err)
		}
	}
	return b
}

func header(id wire.TransactionID) wire.Header {
	return wire.Header{TransactionID: id, SentTime: 757382400}
}

// bndUpd is a BNDUPD of one address.
func bndUpd(id wire.TransactionID) *wire.BndUpd {
	return &wire.BndUpd{Header: header(id), ClientData: &wire.ClientData{
		ClientID: "\x00\x03\x00\x01\x02\x00\x00\x00\x00\xaa", BaseTime: wire.Some[wire.Time](757382400),
		IAs: []wire.IA{{Type: lease.IANA, IAID: 1, T1: 1800, T2: 2880, Leases: []wire.LeaseOption{{
			Prefix: netip.MustParsePrefix("2001:db8::1001/128"), Preferred: 3600, Valid: 3600,
			BindingStatus: wire.Some(lease.Active), StartTimeOfState: wire.Some[wire.Time](757382400),
			StateExpiration: wire.Some[wire.Time](757386000), PartnerLifetime: wire.Some[wire.Time](757643400),
			FQDN: wire.Some(wire.FQDN{Name: "\x04h\x1b[m"}),
		}}}},
	}}
}

// tapes are the captures of the scripts.
var tapes = map[string]func() tape{
	// Handshake, an update with its answer, a goodbye; several messages in a
	// segment and one in several.
	"session": func() tape {
		t := newTalk()
		t.say(true, flagACK, frames(&wire.Connect{
			Header: header(1), Version: wire.Some(wire.Version), MCLT: wire.Some[uint32](3600), KeepaliveTime: wire.Some[uint32](60),
			MaxUnackedBndUpd: wire.Some[uint32](100), RelationshipName: wire.Some("pair1"), Flags: wire.Some(wire.FixedPDLength),
		}))
		t.say(false, flagACK, frames(
			&wire.ConnectReply{Header: header(1), Status: wire.Some(wire.Status{Text: "sch\u00f6n\x1b[2J"})},
			&wire.State{Header: header(7), ServerState: wire.Some(wire.StateNormal), Flags: wire.Some(wire.FlagCommunicated)}))
		u := bndUpd(2)
		octets := frames(u, &wire.Contact{Header: header(3), Extra: wire.Extra{Unknown: []wire.RawOption{{Code: 65001, Data: "\x1b"}}}})
		for p := range slices.Chunk(octets, 50) {
			t.say(true, flagACK, p)
		}
		reply := u.Reply()
		reply.SentTime = 757382401
		t.say(false, flagACK, frames(reply))
		t.say(true, flagACK|flagFIN, frames(&wire.Disconnect{Header: header(4), Status: wire.Some(wire.Status{Code: wire.ServerShuttingDown, Text: "bye"})}))
		return t.tape
	},
	// STARTTLS, after which nothing can be read.
	"tls": func() tape {
		t := newTalk()
		t.say(true, flagACK, frames(&wire.StartTLS{PlainHeader: wire.PlainHeader{TransactionID: 1}}))
		t.say(false, flagACK, frames(&wire.Reply{PlainHeader: wire.PlainHeader{TransactionID: 1}}))
		t.say(true, flagACK, []byte("\x16\x03\x01\x00\x02\x01\x00"))
		t.say(true, flagACK, frames(&wire.Contact{Header: header(1)})) // looks like a message, but is not one any more
		t.say(false, flagACK, []byte("\x16\x03\x03\x00\x02\x02\x00"))
		return t.tape
	},
	// What is not as it should be: options, types, sizes.
	"malformed": func() tape {
		t := newTalk()
		t.say(true, flagACK, []byte("\x00\x0e\x1a\x00\x00\x01\x2d\x24\xbd\x00\x00\x7a\x00\x04\x00\x00"))
		t.say(true, flagACK, []byte("\x00\x0f\x1f\x00\x00\x02\x2d\x24\xbd\x00\x00\x7a\x00\x03\x00\x0e\x10"))
		t.say(true, flagACK, []byte("\x00\x04\x63\x00\x00\x03\x00\x03abc"))
		t.say(true, flagACK, []byte("lost"))
		t.say(true, flagACK, frames(&wire.Contact{Header: header(4)}))
		return t.tape
	},
	// The capture begins within a message, and misses a part of another.
	"gaps": func() tape {
		t := newTalk()
		octets := frames(bndUpd(1), bndUpd(2), bndUpd(3), bndUpd(4))
		size := len(octets) / 4
		t.say(true, flagACK, octets[:10])
		t.tape = t.tape[:0]
		t.say(true, flagACK, octets[10:size])
		t.say(true, flagACK, octets[size:2*size+5])
		t.next[0] += uint32(size - 5)
		t.say(true, flagACK, octets[3*size:])
		t.say(true, flagACK, octets[:20])
		return t.tape
	},
	// Nothing of failover.
	"silent": func() tape {
		t := newTalk()
		t.ip(tapePrimary.Addr(), tapeSecondary.Addr(), 17, make([]byte, 40))
		t.tcp(netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8::2]:6470"), 1, flagACK, frames(bndUpd(1)))
		return t.tape
	},
}

// linked puts IPv6 packets onto a link.
func linked(link uint16, ip []byte) []byte {
	switch link {
	case linkEthernet:
		return append([]byte("\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x86\xdd"), ip...)
	case linkCooked:
		return append([]byte("\x00\x00\x00\x01\x00\x06\x02\x00\x00\x00\x00\x01\x00\x00\x86\xdd"), ip...)
	case linkCooked2:
		return append([]byte("\x86\xdd\x00\x00\x00\x00\x00\x02\x00\x01\x00\x06\x02\x00\x00\x00\x00\x01\x00\x00"), ip...)
	}
	return ip
}

// tapeStart_s is when captures begin, 2024-01-01, in Unix time; packets are a
// millisecond apart.
const tapeStart_s = 1704067200

// pcap writes the tape as a classic capture file.
func (t tape) pcap(order binary.AppendByteOrder, link uint16, nano bool) []byte {
	magic, perMilli := uint32(0xa1b2c3d4), uint32(1000)
	if nano {
		magic, perMilli = 0xa1b23c4d, 1000_000
	}
	var b []byte
	b = order.AppendUint16(order.AppendUint16(order.AppendUint32(b, magic), 2), 4)
	for _, v := range []uint32{0, 0, 1 << 18, uint32(link)} {
		b = order.AppendUint32(b, v)
	}
	for i, ip := range t {
		data := linked(link, ip)
		for _, v := range []uint32{tapeStart_s, uint32(i) * perMilli, uint32(len(data)), uint32(len(data))} {
			b = order.AppendUint32(b, v)
		}
		b = append(b, data...)
	}
	return b
}

// block is one of pcapng.
func block(order binary.AppendByteOrder, kind uint32, body ...[]byte) []byte {
	data := slices.Concat(body...)
	data = append(data, make([]byte, (4-len(data)%4)%4)...)
	size := uint32(len(data) + 12)
	b := order.AppendUint32(order.AppendUint32(nil, kind), size)
	return order.AppendUint32(append(b, data...), size)
}

// sectionBlock begins a section.
func sectionBlock(order binary.AppendByteOrder) []byte {
	body := order.AppendUint32(nil, 0x1a2b3c4d)
	return block(order, blockSection, order.AppendUint16(order.AppendUint16(body, 1), 0), bytes.Repeat([]byte{0xff}, 8))
}

// pcapng writes the tape as sections that change the order of octets, with
// packets of two interfaces, one of which counts nanoseconds since 2020.
func (t tape) pcapng() []byte {
	var b []byte
	half := len(t) / 2
	for i, part := range []tape{t[:half], t[half:]} {
		order := []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian}[i]
		u16 := func(v uint16) []byte { return order.AppendUint16(nil, v) }
		u32 := func(v uint32) []byte { return order.AppendUint32(nil, v) }
		const offset_s = 1577836800 // 2020-01-01
		b = append(b, sectionBlock(order)...)
		b = append(b, block(order, blockInterface, u16(linkEthernet), u16(0), u32(0), u16(2), u16(4), []byte("eth0"), u32(0))...)
		b = append(b, block(order, blockInterface, u16(linkCooked2), u16(0), u32(0), u16(optionResolution), u16(1), []byte{9, 0, 0, 0},
			u16(optionOffset), u16(8), order.AppendUint64(nil, offset_s))...)
		b = append(b, block(order, 5, make([]byte, 12))...) // statistics
		for j, ip := range part {
			n := i*half + j
			number, link, units := uint32(n%2), uint16(linkEthernet), uint64(tapeStart_s*1000+n)*1000
			if number == 1 {
				link, units = linkCooked2, uint64((tapeStart_s-offset_s)*1000+n)*1000_000
			}
			data := linked(link, ip)
			length := u32(uint32(len(data)))
			b = append(b, block(order, blockPacket, u32(number), u32(uint32(units>>32)), u32(uint32(units)), length, length, data)...)
		}
	}
	return b
}

// simple writes the tape as simple packets, which have no time.
func (t tape) simple() []byte {
	order := binary.LittleEndian
	b := append(sectionBlock(order), block(order, blockInterface, []byte{linkRaw, 0, 0, 0, 0, 0, 0, 0})...)
	for _, ip := range t {
		b = append(b, block(order, blockSimple, order.AppendUint32(nil, uint32(len(ip))), ip)...)
	}
	return b
}

// formats are those of the scripts.
var formats = map[string]func(tape) []byte{
	"pcap":         func(t tape) []byte { return t.pcap(binary.LittleEndian, linkEthernet, false) },
	"pcap-nano":    func(t tape) []byte { return t.pcap(binary.BigEndian, linkRaw, true) },
	"pcap-any":     func(t tape) []byte { return t.pcap(binary.LittleEndian, linkCooked, false) },
	"pcap-strange": func(t tape) []byte { return t.pcap(binary.LittleEndian, 147, false) },
	"pcapng":       tape.pcapng,
	"simple":       tape.simple,
}

// decodeAll decodes a capture and returns what is found.
func decodeAll(file []byte) (list []found, err error) {
	s := &streams{port: wire.Port, flows: map[[2]netip.AddrPort]*flow{}, show: func(it *found) error {
		list = append(list, *it)
		return nil
	}}
	_, _, _, err = s.readAll(bytes.NewReader(file))
	s.close()
	return list, err
}
