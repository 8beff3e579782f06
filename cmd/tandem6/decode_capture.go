package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// Limits of a capture file.
const (
	// packetLenMax is the longest packet, in octets: libpcap's own limit for all
	// links but a few that are not for IPv6.
	packetLenMax = 262144
	// blockLenMax bounds a block of pcapng that is read as a whole: a packet and
	// what may be said about it.
	blockLenMax = packetLenMax + 1<<16
	// interfacesMax bounds the interfaces of one section of pcapng.
	interfacesMax = 4096
)

// A packet is one that was captured.
type packet struct {
	time time.Time // zero: not known
	link uint16    // what data begins with: a LINKTYPE of tcpdump.org
	data []byte    // good until the next packet; cut off when the capture did that
}

// captureReader reads the packets of a capture file in their order.
type captureReader interface {
	// next returns io.EOF behind the last packet.
	next() (packet, error)
}

var (
	errNoCapture = errors.New("it is no capture file of the format pcap or pcapng")
	errEndsEarly = errors.New("the file ends too early")
)

// openCapture finds out which format a file has.
func openCapture(file io.Reader) (captureReader, error) {
	in := bufio.NewReaderSize(file, 64<<10)
	magic, err := in.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(magic) < 4 {
		return nil, errNoCapture
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch order.Uint32(magic) {
		case 0xa1b2c3d4:
			return openPcap(in, order, time.Microsecond)
		case 0xa1b23c4d:
			return openPcap(in, order, time.Nanosecond)
		case blockSection:
			return &pcapng{in: in}, nil
		}
	}
	return nil, errNoCapture
}

// pcap is the classic format (draft-ietf-opsawg-pcap).
type pcap struct {
	in    *bufio.Reader
	order binary.ByteOrder
	unit  time.Duration // of the fractions of seconds
	link  uint16
	data  []byte
	n     int
}

func openPcap(in *bufio.Reader, order binary.ByteOrder, unit time.Duration) (*pcap, error) {
	var header [24]byte
	if err := fill(in, header[:]); err != nil {
		return nil, err
	}
	if major, minor := order.Uint16(header[4:]), order.Uint16(header[6:]); major != 2 {
		return nil, fmt.Errorf("it is a capture file of version %d.%d, only 2 can be read", major, minor)
	}
	return &pcap{in: in, order: order, unit: unit, link: uint16(order.Uint32(header[20:]))}, nil
}

// fill reads all of b; a file that ends before or within it is cut off.
func fill(in io.Reader, b []byte) error {
	_, err := io.ReadFull(in, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errEndsEarly
	}
	return err
}

func (p *pcap) next() (packet, error) {
	if _, err := p.in.Peek(1); err != nil {
		return packet{}, err
	}
	p.n++
	var header [16]byte
	if err := fill(p.in, header[:]); err != nil {
		return packet{}, fmt.Errorf("packet %d: %w", p.n, err)
	}
	size := p.order.Uint32(header[8:])
	if size > packetLenMax {
		return packet{}, fmt.Errorf("packet %d: it has %d octets according to the file, more than %d are impossible", p.n, size, packetLenMax)
	}
	p.data = resized(p.data, int(size))
	if err := fill(p.in, p.data); err != nil {
		return packet{}, fmt.Errorf("packet %d: %w", p.n, err)
	}
	at := captured(int64(p.order.Uint32(header[:])), int64(p.order.Uint32(header[4:]))*int64(p.unit))
	return packet{at, p.link, p.data}, nil
}

// captured is a time of a capture, not known when it makes no sense.
func captured(unix_s, fraction_ns int64) time.Time {
	const yearMax = 9999 // of RFC 3339
	if t := time.Unix(unix_s, fraction_ns).UTC(); t.Year() > 0 && t.Year() <= yearMax {
		return t
	}
	return time.Time{}
}

// resized is b with n octets, whatever they are.
func resized(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// The blocks of pcapng that matter here (draft-ietf-opsawg-pcapng section 4).
const (
	blockSection   = 0x0a0d0d0a // the same in both orders of octets
	blockInterface = 1
	blockSimple    = 3
	blockPacket    = 6
)

// pcapng is the format of Wireshark (draft-ietf-opsawg-pcapng).
type pcapng struct {
	in         *bufio.Reader
	order      binary.ByteOrder // of the section
	interfaces []captureInterface
	data       []byte
	n          int // blocks
}

// captureInterface is where packets of a pcapng file come from.
type captureInterface struct {
	link    uint16
	perUnit uint64 // units of time in a second
	offset  int64  // seconds to add
}

func (p *pcapng) next() (packet, error) {
	for {
		if _, err := p.in.Peek(1); err != nil {
			return packet{}, err
		}
		p.n++
		found, ok, err := p.block()
		if err != nil {
			return packet{}, fmt.Errorf("block %d: %w", p.n, err)
		}
		if ok {
			return found, nil
		}
	}
}

// block reads one block; ok reports whether it held a packet.
func (p *pcapng) block() (found packet, ok bool, err error) {
	var header [8]byte
	if err := fill(p.in, header[:]); err != nil {
		return packet{}, false, err
	}
	if binary.BigEndian.Uint32(header[:]) == blockSection {
		if err := p.section(); err != nil {
			return packet{}, false, err
		}
	}
	kind, size := p.order.Uint32(header[:]), p.order.Uint32(header[4:])
	if size < 12 || size%4 != 0 {
		return packet{}, false, fmt.Errorf("its length %d is impossible", size)
	}
	body := int64(size) - 12
	switch kind {
	case blockInterface, blockSimple, blockPacket:
		if size > blockLenMax {
			return packet{}, false, fmt.Errorf("its length %d is above %d", size, blockLenMax)
		}
		p.data = resized(p.data, int(body))
		err = fill(p.in, p.data)
	default: // not kept, so of any size
		if _, err = io.CopyN(io.Discard, p.in, body); err == io.EOF {
			err = errEndsEarly
		}
	}
	if err != nil {
		return packet{}, false, err
	}
	if err := fill(p.in, header[4:]); err != nil {
		return packet{}, false, err
	}
	if again := p.order.Uint32(header[4:]); again != size {
		return packet{}, false, fmt.Errorf("its length is %d at its beginning and %d at its end", size, again)
	}
	switch kind {
	case blockInterface:
		return packet{}, false, p.addInterface()
	case blockSimple:
		found, err = p.simplePacket()
		return found, err == nil, err
	case blockPacket:
		found, err = p.packet()
		return found, err == nil, err
	}
	return packet{}, false, nil
}

// section looks ahead at the magic number that says in which order the octets of
// the section are.
func (p *pcapng) section() error {
	magic, err := p.in.Peek(4)
	switch {
	case len(magic) == 4 && binary.LittleEndian.Uint32(magic) == 0x1a2b3c4d:
		p.order = binary.LittleEndian
	case len(magic) == 4 && binary.BigEndian.Uint32(magic) == 0x1a2b3c4d:
		p.order = binary.BigEndian
	case err != nil && err != io.EOF:
		return err
	default:
		return errNoCapture
	}
	p.interfaces = p.interfaces[:0]
	return nil
}

// The options of an interface block that change what times mean.
const (
	optionResolution = 9
	optionOffset     = 14
)

var errShort = errors.New("it is shorter than what it should contain")

func (p *pcapng) addInterface() error {
	if len(p.interfaces) == interfacesMax {
		return fmt.Errorf("more than %d interfaces", interfacesMax)
	}
	if len(p.data) < 8 {
		return errShort
	}
	i := captureInterface{link: p.order.Uint16(p.data), perUnit: 1e6}
	for options := p.data[8:]; len(options) >= 4; {
		code, size := p.order.Uint16(options), int(p.order.Uint16(options[2:]))
		padded := (size + 3) &^ 3
		if code == 0 {
			break
		}
		if options = options[4:]; len(options) < padded {
			return errShort
		}
		switch {
		case code == optionResolution && size == 1:
			if i.perUnit = unitsPerSecond(options[0]); i.perUnit == 0 {
				return fmt.Errorf("its times have the resolution %#x, finer than nanoseconds", options[0])
			}
		case code == optionOffset && size == 8:
			i.offset = int64(p.order.Uint64(options))
		}
		options = options[padded:]
	}
	p.interfaces = append(p.interfaces, i)
	return nil
}

// unitsPerSecond reads if_tsresol: a power of ten, or of two when its first bit is
// set; 0 when it is beyond what a time can hold.
func unitsPerSecond(resolution byte) uint64 {
	const tensMax, twosMax = 9, 30
	if exponent := resolution & 0x7f; resolution&0x80 != 0 && exponent <= twosMax {
		return 1 << exponent
	}
	units := uint64(1)
	for range resolution {
		units *= 10
	}
	if resolution > tensMax {
		return 0
	}
	return units
}

func (p *pcapng) packet() (packet, error) {
	if len(p.data) < 20 {
		return packet{}, errShort
	}
	number, size := p.order.Uint32(p.data), p.order.Uint32(p.data[12:])
	switch {
	case uint64(number) >= uint64(len(p.interfaces)):
		return packet{}, fmt.Errorf("there is no interface %d", number)
	case uint64(size) > uint64(len(p.data)-20):
		return packet{}, errShort
	}
	i := p.interfaces[number]
	units := uint64(p.order.Uint32(p.data[4:]))<<32 | uint64(p.order.Uint32(p.data[8:]))
	fraction := units % i.perUnit * 1e9 / i.perUnit
	seconds := int64(min(units/i.perUnit, math.MaxInt64))
	return packet{captured(seconds+i.offset, int64(fraction)), i.link, p.data[20 : 20+size]}, nil
}

// simplePacket is one without a time, from the first interface.
func (p *pcapng) simplePacket() (packet, error) {
	if len(p.data) < 4 || len(p.interfaces) == 0 {
		return packet{}, errShort
	}
	size := min(p.order.Uint32(p.data), uint32(len(p.data)-4)) // padding, or cut off
	return packet{link: p.interfaces[0].link, data: p.data[4 : 4+size]}, nil
}
