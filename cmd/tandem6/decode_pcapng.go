package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

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
// set; 0 when it is finer than nanoseconds.
func unitsPerSecond(resolution byte) uint64 {
	const tensMax, two, twosMax = 9, 0x80, 30
	switch {
	case resolution <= tensMax:
		return uint64(math.Pow10(int(resolution)))
	case resolution >= two && resolution <= two+twosMax:
		return 1 << (resolution - two)
	}
	return 0
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
