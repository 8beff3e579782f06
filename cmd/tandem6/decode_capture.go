package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
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
