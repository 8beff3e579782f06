package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/tandem6/tandem6/failover/lease"
)

// ErrNewer says that a record has a version this program does not know yet.
var ErrNewer = errors.New("written by a newer version of this program")

// errRecord is wrapped by whatever else is wrong with stored octets.
var errRecord = errors.New("damaged record")

// KeyLen is the length of a Key in octets.
const KeyLen = 17

// Key is a prefix as a sorting key: 16 octets of address, one of prefix
// length. The order of keys is the order of lease.Table.
type Key [KeyLen]byte

// KeyOf returns the key of an IPv6 prefix. It panics on anything else: what
// could not be read back must not be written.
func KeyOf(p netip.Prefix) Key {
	if !isKey(p) {
		panic(fmt.Sprintf("storage: %v is not an IPv6 prefix", p))
	}
	var k Key
	a := p.Addr().As16()
	copy(k[:], a[:])
	k[KeyLen-1] = byte(p.Bits())
	return k
}

func isKey(p netip.Prefix) bool {
	return p.IsValid() && p.Addr().Is6() && !p.Addr().Is4In6() && p.Masked() == p
}

// ParseKey reads a key. It refuses what is not an IPv6 prefix, or has bits
// set behind its length.
func ParseKey(data []byte) (netip.Prefix, error) {
	if len(data) != KeyLen {
		return netip.Prefix{}, fmt.Errorf("%w: a key of %d octets, want %d", errRecord, len(data), KeyLen)
	}
	p := netip.PrefixFrom(netip.AddrFrom16([16]byte(data)), int(data[KeyLen-1]))
	if !isKey(p) {
		return netip.Prefix{}, fmt.Errorf("%w: key %x is not an IPv6 prefix", errRecord, data)
	}
	return p, nil
}

// The versions of a binding's record. A version that was released is never
// changed: a new one gets a new number and a new parse function, and the old
// function stays, so that every file ever written can be read.
const (
	bindingV1      = 1 // what AppendBinding writes for a lease outside any failover relationship
	bindingV2      = 2 // what it writes for one inside
	bindingVersion = bindingV2
)

// AppendBinding appends b's record; the prefix is not
// part of it but the record's key. It panics when b.Check fails: what could not
// be read back must not be written.
//
// Version 1, integers big-endian, (u)varint as in encoding/binary, shortest form:
//
//	octet    1 (version)
//	octet    binding-status
//	octet    IA type, an option code
//	4 octets IAID
//	1+n      client's DUID, preceded by its length, as all strings here
//	1+n      link
//	uvarint  preferred lifetime, valid lifetime, T1, T2 in seconds
//	varint   Expires, HeldUntil, StartOfState, LastTransaction
//	1+n      Via: 0 or 16 octets
//	1+n      host name
//
// Version 2 goes on with what a failover relationship keeps (RFC 8156 section
// 7.3), of which something is not zero:
//
//	varint   PartnerLifetime, AckedPartnerLifetime, ExpirationTime, PartnerRawCLT
//	uvarint  Change
func AppendBinding(dst []byte, b *lease.Binding) []byte {
	if err := b.Check(); err != nil {
		panic("storage: " + err.Error())
	}
	version := byte(bindingV1)
	if inRelationship(b) {
		version = bindingV2
	}
	dst = append(dst, version, byte(b.Status), byte(b.Type))
	dst = binary.BigEndian.AppendUint32(dst, uint32(b.ID))
	dst = appendString(dst, string(b.Client))
	dst = appendString(dst, b.Link)
	for _, v := range [...]uint32{b.Preferred, b.Valid, b.T1, b.T2} {
		dst = binary.AppendUvarint(dst, uint64(v))
	}
	for _, v := range [...]lease.Time{b.Expires, b.HeldUntil, b.StartOfState, b.LastTransaction} {
		dst = binary.AppendVarint(dst, int64(v))
	}
	if b.Via.IsValid() {
		a := b.Via.As16()
		dst = appendString(dst, string(a[:]))
	} else {
		dst = append(dst, 0)
	}
	dst = appendString(dst, b.Hostname)
	if version == bindingV1 {
		return dst
	}
	for _, v := range partnerTimes(b) {
		dst = binary.AppendVarint(dst, int64(*v))
	}
	return binary.AppendUvarint(dst, b.Change)
}

// inRelationship reports whether b has anything to store about a partner.
func inRelationship(b *lease.Binding) bool {
	times := partnerTimes(b)
	return b.Change != 0 || slices.ContainsFunc(times[:], func(t *lease.Time) bool { return *t != 0 })
}

// partnerTimes are the times of version 2, in the order of the record.
func partnerTimes(b *lease.Binding) [4]*lease.Time {
	return [...]*lease.Time{&b.PartnerLifetime, &b.AckedPartnerLifetime, &b.ExpirationTime, &b.PartnerRawCLT}
}

// appendString appends the length of s and s. The limits of everything that is
// stored are at most 255 octets.
func appendString(dst []byte, s string) []byte {
	return append(append(dst, byte(len(s))), s...)
}

// ParseBinding reads the record of p, of any version up to the current one. It
// is strict: what it accepts, AppendBinding reproduces octet for octet, as long
// as no newer way to write the same exists. It keeps nothing of data. The error wraps ErrNewer when the
// record's version is not known.
func ParseBinding(p netip.Prefix, data []byte) (lease.Binding, error) {
	if len(data) == 0 {
		return lease.Binding{}, fmt.Errorf("%w of %v: empty", errRecord, p)
	}
	r := reader{data: data[1:]}
	b := lease.Binding{Prefix: p}
	switch version := data[0]; version {
	case bindingV1:
		parseBindingV1(&r, &b)
	case bindingV2:
		parseBindingV2(&r, &b)
	case 0:
		return lease.Binding{}, fmt.Errorf("%w of %v: version 0", errRecord, p)
	default:
		return lease.Binding{}, fmt.Errorf("record of %v has version %d, known are 1 to %d: %w", p, version, bindingVersion, ErrNewer)
	}
	r.end()
	if r.err != nil {
		return lease.Binding{}, fmt.Errorf("%w of %v: %w", errRecord, p, r.err)
	}
	if err := b.Check(); err != nil {
		return lease.Binding{}, fmt.Errorf("%w of %v: %w", errRecord, p, err)
	}
	return b, nil
}

func parseBindingV1(r *reader, b *lease.Binding) {
	b.Status = lease.Status(r.octet())
	b.Type = lease.IAType(r.octet())
	b.ID = lease.IAID(r.uint32())
	b.Client = lease.DUID(r.string())
	b.Link = string(r.string())
	for _, v := range [...]*uint32{&b.Preferred, &b.Valid, &b.T1, &b.T2} {
		*v = uint32(r.uvarint(uint64(lease.Infinity)))
	}
	for _, v := range [...]*lease.Time{&b.Expires, &b.HeldUntil, &b.StartOfState, &b.LastTransaction} {
		*v = lease.Time(r.varint())
	}
	switch via := r.string(); len(via) {
	case 0:
	case 16:
		b.Via = netip.AddrFrom16([16]byte(via))
	default:
		r.fail("a next hop of %d octets", len(via))
	}
	b.Hostname = string(r.string())
}

func parseBindingV2(r *reader, b *lease.Binding) {
	parseBindingV1(r, b)
	for _, v := range partnerTimes(b) {
		*v = lease.Time(r.varint())
	}
	b.Change = r.uvarint(math.MaxUint64)
	if r.err == nil && !inRelationship(b) {
		r.fail("nothing about a partner")
	}
}
