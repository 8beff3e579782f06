package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/storage"
)

// The buckets, and the keys of the first. Short names leave room in the root page.
var (
	bucketAbout    = []byte("about") // sorts first: audit must see it before the others
	bucketBindings = []byte("bindings")
	bucketValues   = []byte("values")
	bucketTails    = [...][]byte{[]byte("tail-0"), []byte("tail-1")}

	keyFile  = []byte("file")
	keyState = []byte("state")
)

const segmentPrefix = "journal-"

// damage is an error that says what is wrong with the octets of a file.
type damage struct {
	foreign bool // they were never ours
	err     error
}

func (d *damage) Error() string { return d.err.Error() }
func (d *damage) Unwrap() error { return d.err }

func damaged(format string, args ...any) error {
	return &damage{err: fmt.Errorf(format, args...)}
}

func foreign(format string, args ...any) error {
	return &damage{foreign: true, err: fmt.Errorf(format, args...)}
}

// asDamage makes an error of the storage package's parsers one of the file. A
// version that is not known is no damage.
func asDamage(err error) error {
	if err == nil || errors.Is(err, storage.ErrNewer) {
		return err
	}
	return damaged("%w", err)
}

// seal appends a record and the CRC over it and its key.
func seal(dst, key, record []byte) []byte {
	return binary.BigEndian.AppendUint32(append(dst, record...), storage.Checksum(key, record))
}

// unseal returns the record and its CRC.
func unseal(key, sealed []byte) (record []byte, sum uint32, err error) {
	end := len(sealed) - crc32.Size
	if end < 0 {
		return nil, 0, damaged("record %x of %d octets", key, len(sealed))
	}
	sum = binary.BigEndian.Uint32(sealed[end:])
	if storage.Checksum(key, sealed[:end]) != sum {
		return nil, 0, damaged("record %x fails its CRC", key)
	}
	return sealed[:end], sum, nil
}

// The file record says what the file is. Its format changes only when an
// older program must not even look at the rest: records and batches have
// versions of their own.
const (
	fileMagic  = "tandem6 leases\x00"
	fileFormat = 1
)

// appendFileRecord: magic, format (octet), time of creation (8 octets), CRC.
func appendFileRecord(dst []byte, created lease.Time) []byte {
	r := append([]byte(fileMagic), fileFormat)
	r = binary.BigEndian.AppendUint64(r, uint64(created))
	return seal(dst, keyFile, r)
}

// parseFileRecord tells a foreign file, a newer one and a damaged one apart.
func parseFileRecord(sealed []byte) (created lease.Time, err error) {
	if len(sealed) <= len(fileMagic) || string(sealed[:len(fileMagic)]) != fileMagic {
		return 0, foreign("it says that it is %.20q", sealed)
	}
	r, _, err := unseal(keyFile, sealed)
	if err != nil {
		return 0, err
	}
	r = r[len(fileMagic):]
	if len(r) > 0 && r[0] > fileFormat {
		return 0, fmt.Errorf("the file has format %d, known is %d: %w", r[0], fileFormat, storage.ErrNewer)
	}
	if len(r) != 9 || r[0] != fileFormat {
		return 0, damaged("file record %x", sealed)
	}
	return lease.Time(binary.BigEndian.Uint64(r[1:])), nil
}

// state is rewritten with each transaction.
type state struct {
	first, last uint64 // batches in the journal; none: first is last+1
	records     uint64 // in the checkpoint
	sum         uint64 // of their CRCs
}

func (s state) append(dst []byte) []byte {
	var r []byte
	for _, v := range [...]uint64{s.first, s.last, s.records, s.sum} {
		r = binary.BigEndian.AppendUint64(r, v)
	}
	return seal(dst, keyState, r)
}

func parseState(sealed []byte) (s state, err error) {
	r, _, err := unseal(keyState, sealed)
	if err != nil {
		return s, err
	}
	fields := [...]*uint64{&s.first, &s.last, &s.records, &s.sum}
	if len(r) != 8*len(fields) {
		return s, damaged("state %x", r)
	}
	for i, f := range fields {
		*f = binary.BigEndian.Uint64(r[8*i:])
	}
	return s, nil
}

// add and remove account for one record of the checkpoint.
func (s *state) add(sum uint32)    { s.records++; s.sum += uint64(sum) }
func (s *state) remove(sum uint32) { s.records--; s.sum -= uint64(sum) }
