package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// BatchLenMax is the longest encoded batch in octets. A store holds a batch in
// memory a few times while it writes it, so what is larger must be split;
// 16 MiB are some 200,000 bindings.
const BatchLenMax = 16 << 20

const batchVersion = 1

// batchOverhead is the version in front and the CRC behind.
const batchOverhead = 1 + crc32.Size

// castagnoli is the CRC-32C of RFC 3385: better than the Ethernet one at
// these lengths, and in hardware on amd64 and arm64.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum is the CRC-32C over all parts, as if they were one.
func Checksum(parts ...[]byte) uint32 {
	var sum uint32
	for _, p := range parts {
		sum = crc32.Update(sum, castagnoli, p)
	}
	return sum
}

// AppendBatch appends b as one entry of a journal. The sequence number is not
// part of the entry but goes into its CRC, so that an entry in the wrong place
// is found out as a damaged one is. It panics on a binding that fails its
// Check and on a value beyond its limits: both are mistakes of the program.
//
// Version 1, integers as in AppendBinding:
//
//	octet   1 (version)
//	uvarint number of changes
//	  17 octets Key, uvarint length of the record, record; length 0: removed
//	uvarint number of values
//	  1+n name, uvarint length of the data + 1, data; 0: removed
//	4 octets CRC-32C of the sequence number (8 octets) and all of the above
func AppendBatch(dst []byte, seq uint64, b *Batch) []byte {
	start := len(dst)
	dst = append(dst, batchVersion)
	dst = binary.AppendUvarint(dst, uint64(len(b.Changes)))
	var record []byte
	for _, c := range b.Changes {
		k := KeyOf(c.Prefix)
		dst = append(dst, k[:]...)
		if c.Binding == nil {
			dst = append(dst, 0)
			continue
		}
		if c.Binding.Prefix != c.Prefix {
			panic(fmt.Sprintf("storage: change of %v with the binding of %v", c.Prefix, c.Binding.Prefix))
		}
		record = AppendBinding(record[:0], c.Binding)
		dst = binary.AppendUvarint(dst, uint64(len(record)))
		dst = append(dst, record...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(b.Values)))
	for _, v := range b.Values {
		if len(v.Name) == 0 || len(v.Name) > NameLenMax || len(v.Data) > DataLenMax {
			panic(fmt.Sprintf("storage: value %q of %d octets is beyond the limits", v.Name, len(v.Data)))
		}
		dst = appendString(dst, v.Name)
		if v.Data == nil {
			dst = append(dst, 0)
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(len(v.Data))+1)
		dst = append(dst, v.Data...)
	}
	return binary.BigEndian.AppendUint32(dst, batchChecksum(seq, dst[start:]))
}

func batchChecksum(seq uint64, body []byte) uint32 {
	var s [8]byte
	binary.BigEndian.PutUint64(s[:], seq)
	return Checksum(s[:], body)
}

// ScanBatch reads an entry that AppendBatch wrote and calls change and value
// for each item in order, with nil for a removed one. The slices are parts of
// data. Records are handed on unparsed: a checkpoint needs no more. It stops at
// the first error of a callback and returns it. It is strict as ParseBinding is.
func ScanBatch(seq uint64, data []byte, change func(key, record []byte) error, value func(name, data []byte) error) error {
	body, err := openBatch(seq, data)
	if err != nil {
		return err
	}
	r := reader{data: body}
	for n := r.uvarint(uint64(len(data))); n > 0 && r.err == nil; n-- {
		key := r.next(KeyLen)
		record := r.next(int(r.uvarint(uint64(len(data)))))
		if r.err != nil {
			break
		}
		if _, err := ParseKey(key); err != nil {
			return fmt.Errorf("batch %d: %w", seq, err)
		}
		if len(record) == 0 {
			record = nil
		}
		if err := change(key, record); err != nil {
			return err
		}
	}
	for n := r.uvarint(uint64(len(data))); n > 0 && r.err == nil; n-- {
		name := r.string()
		if r.err == nil && len(name) == 0 {
			r.fail("a value without a name")
		}
		var val []byte
		if length := r.uvarint(DataLenMax + 1); length > 0 {
			val = r.next(int(length) - 1)
		}
		if r.err != nil {
			break
		}
		if err := value(name, val); err != nil {
			return err
		}
	}
	r.end()
	if r.err != nil {
		return fmt.Errorf("%w: batch %d: %w", errRecord, seq, r.err)
	}
	return nil
}

// openBatch checks version and CRC and returns what is between them.
func openBatch(seq uint64, data []byte) ([]byte, error) {
	if len(data) < batchOverhead || len(data) > BatchLenMax {
		return nil, fmt.Errorf("%w: batch %d has %d octets", errRecord, seq, len(data))
	}
	end := len(data) - crc32.Size
	if sum := binary.BigEndian.Uint32(data[end:]); sum != batchChecksum(seq, data[:end]) {
		return nil, fmt.Errorf("%w: batch %d fails its CRC", errRecord, seq)
	}
	switch version := data[0]; {
	case version == 0:
		return nil, fmt.Errorf("%w: batch %d has version 0", errRecord, seq)
	case version > batchVersion:
		return nil, fmt.Errorf("batch %d has version %d, known are 1 to %d: %w", seq, version, batchVersion, ErrNewer)
	}
	return data[1:end], nil
}

// ParseBatch reads an entry whole. The values are parts of data.
func ParseBatch(seq uint64, data []byte) (*Batch, error) {
	b := new(Batch)
	err := ScanBatch(seq, data,
		func(key, record []byte) error {
			p, err := ParseKey(key)
			if err != nil {
				return err
			}
			if record == nil {
				b.Delete(p)
				return nil
			}
			binding, err := ParseBinding(p, record)
			if err != nil {
				return err
			}
			b.Put(&binding)
			return nil
		},
		func(name, data []byte) error {
			b.Set(string(name), data)
			return nil
		})
	if err != nil {
		return nil, err
	}
	return b, nil
}
