package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"go.etcd.io/bbolt"
)

// fragmentLen is the longest fragment in octets: eight of them, with the 24
// octets that bbolt spends on each, are just less than a page.
const fragmentLen = 485

// Costs of a page and of an item in it, in octets.
const (
	pageHeaderLen = 16
	itemLen       = 16 + fragmentKeyLen
)

// fragmentKeyLen is the length of a fragment's key in octets.
const fragmentKeyLen = 8

// fragmentKey orders fragments by batch, then by place in it. 2^48 batches are
// 8,900 years of a thousand a second; 2^16 fragments are twice BatchLenMax.
func fragmentKey(seq uint64, place int) []byte {
	return binary.BigEndian.AppendUint64(nil, seq<<16|uint64(place))
}

// entryLen is what an entry of n octets takes in a page.
func entryLen(n int) int {
	fragments := (n + fragmentLen - 1) / fragmentLen
	return n + fragments*itemLen
}

// segment is one bucket of the journal.
type segment struct {
	number uint32
	len    int // octets, costs included
}

func (g segment) name() []byte { return fmt.Appendf(nil, segmentPrefix+"%08d", g.number) }

func parseSegment(name string) (number uint32, ok bool) {
	digits, ok := strings.CutPrefix(name, segmentPrefix)
	if !ok || len(digits) != 8 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), err == nil
}

// journalLen is the length of all segments in octets.
func (s *Store) journalLen() (n int) {
	for _, g := range s.segments {
		n += g.len
	}
	return n
}

// journalBuckets are the names of all buckets of the journal, oldest first.
func (s *Store) journalBuckets() (names [][]byte) {
	for _, g := range s.segments {
		names = append(names, g.name())
	}
	return append(names, bucketTails[:]...)
}

// append adds an entry to the journal: to the first tail with room, or else,
// together with what is in the tails, to the newest segment.
func (s *Store) append(tx *bbolt.Tx, entry []byte) error {
	s.state.last++
	n := entryLen(len(entry))
	for ; s.tail < len(bucketTails); s.tail, s.tailLen = s.tail+1, pageHeaderLen {
		if s.tailLen+n <= s.limits.tail {
			s.tailLen += n
			return putEntry(tx.Bucket(bucketTails[s.tail]), s.state.last, entry)
		}
	}
	bucket, g, err := s.newestSegment(tx)
	if err != nil {
		return err
	}
	for _, name := range bucketTails {
		moved, err := moveTail(tx, name, bucket)
		if err != nil {
			return err
		}
		g.len += moved
	}
	s.tail, s.tailLen = 0, pageHeaderLen
	g.len += n
	return putEntry(bucket, s.state.last, entry)
}

func putEntry(b *bbolt.Bucket, seq uint64, entry []byte) error {
	for place := 0; len(entry) > 0; place++ {
		n := min(fragmentLen, len(entry))
		if err := b.Put(fragmentKey(seq, place), entry[:n]); err != nil {
			return err
		}
		entry = entry[n:]
	}
	return nil
}

// newestSegment returns the segment to write to, which is a new one when the
// last is full or is being folded.
func (s *Store) newestSegment(tx *bbolt.Tx) (*bbolt.Bucket, *segment, error) {
	n := len(s.segments)
	fresh := n == 0 || s.segments[n-1].len >= s.limits.segment || s.fold != nil && s.fold.frozen == n
	if fresh {
		number := uint32(1)
		if n > 0 {
			number = s.segments[n-1].number + 1
		}
		s.segments = append(s.segments, segment{number: number})
	}
	g := &s.segments[len(s.segments)-1]
	bucket, err := tx.CreateBucketIfNotExists(g.name())
	if err != nil {
		return nil, nil, err
	}
	bucket.FillPercent = 1 // keys only grow: nothing will be inserted later
	return bucket, g, nil
}

// moveTail moves all fragments of a tail to a segment.
func moveTail(tx *bbolt.Tx, name []byte, segment *bbolt.Bucket) (moved int, err error) {
	err = tx.Bucket(name).ForEach(func(k, v []byte) error {
		moved += itemLen + len(v)
		return segment.Put(k, bytes.Clone(v)) // v dies with the tail
	})
	if err != nil || moved == 0 {
		return 0, err
	}
	if err := tx.DeleteBucket(name); err != nil {
		return 0, err
	}
	_, err = tx.CreateBucket(name)
	return moved, err
}

// joiner puts the fragments of entries together again, in the order of their keys.
type joiner struct {
	entry func(seq uint64, data []byte) error // called for each entry; data is part of arena
	arena []byte
	reuse bool // arena is emptied after each entry

	start int // of the entry under way, in arena
	seq   uint64
	next  int // place of the next fragment; 0: no entry under way
}

func (j *joiner) add(key, fragment []byte) error {
	if len(key) != fragmentKeyLen {
		return damaged("journal key %x", key)
	}
	k := binary.BigEndian.Uint64(key)
	seq, place := k>>16, int(k&0xffff)
	if place == 0 {
		if err := j.end(); err != nil {
			return err
		}
		j.seq = seq
	}
	if seq != j.seq || place != j.next {
		return damaged("journal has fragment %d of batch %d where fragment %d of batch %d belongs", place, seq, j.next, j.seq)
	}
	j.arena = append(j.arena, fragment...)
	j.next++
	return nil
}

// end hands on the entry under way; the caller calls it after the last fragment.
func (j *joiner) end() error {
	if j.next == 0 {
		return nil
	}
	data := j.arena[j.start:len(j.arena):len(j.arena)]
	j.next = 0
	if err := j.entry(j.seq, data); err != nil {
		return err
	}
	if j.reuse {
		j.arena = j.arena[:0]
	}
	j.start = len(j.arena)
	return nil
}
