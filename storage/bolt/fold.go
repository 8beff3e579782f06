package bolt

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/tandem6/tandem6/storage"
)

// A fold moves what the journal says into the checkpoint. It is done in steps,
// each short and most of them one transaction, so that commits can go between:
//
//  1. The segments there are become frozen; commits open a new one.
//  2. Each frozen segment is read and sorted.
//  3. The newest state of each key goes into the checkpoint, in the order of the keys.
//  4. The frozen segments are dropped, the oldest first.
//
// Nothing about it is on disk but its effects. After a crash the segments are
// still there and are folded from the start: each entry says what a key is from
// then on, so that applying entries once more, in order, changes nothing. For the
// same reason a segment may be dropped only when no older one is left.
type fold struct {
	frozen int          // segments not dropped yet: the first of Store.segments
	runs   []run        // of the segments read so far; nil after step 2
	items  [kinds]merge // after step 2: what is not in the checkpoint yet
}

// The kinds of items, each with a bucket of the checkpoint.
const (
	kindBinding = iota
	kindValue
	kinds
)

var checkpointBuckets = [kinds][]byte{bucketBindings, bucketValues}

// item is the state of one key: a record, or nil for removed.
type item struct {
	key, record []byte
	age         int // among the items of one run: larger is newer
}

// run holds the items of a part of the journal, by kind, sorted by key.
type run [kinds][]item

// runReader makes a run from the fragments of a part of the journal. It needs
// memory of about twice its length.
type runReader struct {
	run     run
	entries joiner
}

func newRunReader(size int) *runReader {
	r := &runReader{entries: joiner{arena: make([]byte, 0, size)}}
	r.entries.entry = func(seq uint64, data []byte) error {
		return asDamage(storage.ScanBatch(seq, data, r.take(kindBinding), r.take(kindValue)))
	}
	return r
}

// read takes in a bucket of the journal; older buckets come first.
func (r *runReader) read(b *bbolt.Bucket) error { return b.ForEach(r.entries.add) }

func (r *runReader) take(kind int) func(key, record []byte) error {
	return func(key, record []byte) error {
		r.run[kind] = append(r.run[kind], item{key, record, len(r.run[kind])})
		return nil
	}
}

// end returns the run. Of several items with one key the newest stays.
func (r *runReader) end() (run, error) {
	if err := r.entries.end(); err != nil {
		return run{}, err
	}
	for kind, items := range r.run {
		slices.SortFunc(items, func(a, b item) int {
			return cmp.Or(bytes.Compare(a.key, b.key), cmp.Compare(a.age, b.age))
		})
		kept := items[:0]
		for i, it := range items {
			if i+1 == len(items) || !bytes.Equal(it.key, items[i+1].key) {
				kept = append(kept, it)
			}
		}
		r.run[kind] = kept
	}
	return r.run, nil
}

// merge yields the items of several runs, which are in order of age, as one:
// by key, the newest of each. There are few runs, so it looks at all each time.
type merge [][]item

func mergeOf(runs []run, kind int) merge {
	m := make(merge, len(runs))
	for i, r := range runs {
		m[i] = r[kind]
	}
	return m
}

// peek returns the next item and stays on it.
func (m merge) peek() (least item, ok bool) {
	for _, items := range m {
		if len(items) > 0 && (!ok || bytes.Compare(items[0].key, least.key) <= 0) {
			least, ok = items[0], true
		}
	}
	return least, ok
}

// skip goes past the items of key, the one that peek returned.
func (m merge) skip(key []byte) {
	for i, items := range m {
		if len(items) > 0 && bytes.Equal(items[0].key, key) {
			m[i] = items[1:]
		}
	}
}

// Maintain does one step of a fold, if a fold is worth it, and reports whether
// there is more to do now. It takes as long as a large commit. The caller calls
// it when there is nothing to commit.
func (s *Store) Maintain() (more bool, err error) {
	if s.err != nil {
		return false, s.err
	}
	if s.fold == nil && s.journalLen() < s.foldAt() {
		return false, nil
	}
	if err := s.step(); err != nil {
		return false, err
	}
	return s.fold != nil || s.journalLen() >= s.foldAt(), nil
}

// foldAt is the length of the journal from which Maintain folds it. A fold
// rewrites most pages of the checkpoint once the journal has an entry for each,
// so a journal of the checkpoint's length costs about its own length again.
func (s *Store) foldAt() int {
	return min(max(s.limits.foldMin, s.ckptLen), s.limits.journalMax/2)
}

// stepShare is how many octets of a batch call for one more step of a fold
// that is overdue. A step brings the checkpoint on by half a megabyte, so that
// the fold always overtakes the journal.
const stepShare = 32 << 10

// relieve folds in the place of Maintain when that was not called in time,
// after a batch of n octets was committed.
func (s *Store) relieve(n int) error {
	for ; s.journalLen() >= s.limits.journalMax && n >= 0; n -= stepShare {
		if err := s.step(); err != nil {
			return err
		}
	}
	return nil
}

// step does one step of a fold and begins one if needed.
func (s *Store) step() error {
	if s.fold == nil {
		s.fold = &fold{frozen: len(s.segments), runs: []run{}}
	}
	switch f := s.fold; {
	case f.runs != nil:
		return s.readSegment(s.segments[len(f.runs)])
	case f.pending():
		return s.update("fold", s.applyItems)
	default:
		return s.update("fold", s.dropSegment)
	}
}

// pending reports whether step 3 has something left.
func (f *fold) pending() bool {
	return slices.ContainsFunc(f.items[:], func(m merge) bool {
		_, ok := m.peek()
		return ok
	})
}

// readSegment is step 2 for one segment.
func (s *Store) readSegment(g segment) error {
	r := newRunReader(g.len)
	err := s.view(func(tx *bbolt.Tx) error { return r.read(tx.Bucket(g.name())) })
	if err != nil {
		return s.fail("fold", err)
	}
	done, err := r.end()
	if err != nil {
		return s.fail("fold", err)
	}
	f := s.fold
	if f.runs = append(f.runs, done); len(f.runs) < f.frozen {
		return nil
	}
	for kind := range f.items {
		f.items[kind] = mergeOf(f.runs, kind)
	}
	f.runs = nil
	return nil
}

// applyItems is step 3 for as much as one step may hold.
func (s *Store) applyItems(tx *bbolt.Tx) error {
	left := s.limits.foldLen
	for kind, name := range checkpointBuckets {
		b := tx.Bucket(name)
		// Room for a few new keys before a page splits again.
		b.FillPercent = 0.8
		for m := s.fold.items[kind]; ; {
			it, ok := m.peek()
			if !ok {
				break
			}
			if stats := tx.Stats(); left <= 0 || stats.NodeCount >= int64(s.limits.foldPages) {
				return nil
			}
			if err := s.apply(b, it); err != nil {
				return err
			}
			left -= itemLen + len(it.key) + len(it.record)
			m.skip(it.key)
		}
	}
	return nil
}

// apply brings one key of the checkpoint to the state it has in the journal.
// A record that is there already, from before a crash, costs no page.
func (s *Store) apply(b *bbolt.Bucket, it item) error {
	old := b.Get(it.key)
	var sealed []byte
	if it.record != nil {
		sealed = seal(nil, it.key, it.record)
	}
	if bytes.Equal(old, sealed) {
		return nil
	}
	if old != nil {
		_, sum, err := unseal(it.key, old)
		if err != nil {
			return err
		}
		s.state.remove(sum)
		s.ckptLen -= len(it.key) + len(old)
	}
	if sealed == nil {
		return b.Delete(it.key)
	}
	_, sum, err := unseal(it.key, sealed)
	if err != nil {
		return err
	}
	s.state.add(sum)
	s.ckptLen += len(it.key) + len(sealed)
	return b.Put(it.key, sealed)
}

// dropSegment is step 4 for one segment, and the end of the fold for the last.
func (s *Store) dropSegment(tx *bbolt.Tx) error {
	if err := tx.DeleteBucket(s.segments[0].name()); err != nil {
		return err
	}
	s.segments = slices.Delete(s.segments, 0, 1)
	s.state.first = s.firstBatch(tx)
	if s.fold.frozen--; s.fold.frozen == 0 {
		s.fold = nil
	}
	return nil
}

// firstBatch is the number of the oldest batch in the journal.
func (s *Store) firstBatch(tx *bbolt.Tx) uint64 {
	for _, name := range s.journalBuckets() {
		if k, _ := tx.Bucket(name).Cursor().First(); k != nil {
			return binary.BigEndian.Uint64(k) >> 16
		}
	}
	return s.state.last + 1
}
