package bolt

import (
	"bytes"
	"runtime/debug"

	"go.etcd.io/bbolt"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/storage"
)

// Load reads all bindings and values, the checkpoint and the journal merged. It
// holds the journal in memory (journalMax octets and some), not the checkpoint. The callbacks may keep what
// they are given; they must not call the store.
func (s *Store) Load(binding func(*lease.Binding) error, value func(storage.Value) error) error {
	if s.err != nil {
		return s.err
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return s.fail("load", err)
	}
	defer tx.Rollback()
	journal, err := s.readJournal(tx)
	if err != nil {
		return s.fail("load", err)
	}
	give := [kinds]func(item) error{
		kindBinding: func(it item) error {
			b, err := parseBinding(it)
			if err != nil {
				return s.fail("load", err)
			}
			return binding(b)
		},
		kindValue: func(it item) error {
			return value(storage.Value{Name: string(it.key), Data: append([]byte{}, it.record...)})
		},
	}
	for kind := range kinds {
		if err := s.walk(tx.Bucket(checkpointBuckets[kind]), journal[kind], give[kind]); err != nil {
			return err
		}
	}
	return nil
}

// readJournal reads the journal whole.
func (s *Store) readJournal(tx *bbolt.Tx) (items [kinds]merge, err error) {
	defer s.guard(debug.SetPanicOnFault(true), &err)
	r := newRunReader(s.journalLen() + len(bucketTails)*s.limits.tail)
	for _, name := range s.journalBuckets() {
		if err := r.read(tx.Bucket(name)); err != nil {
			return items, err
		}
	}
	journal, err := r.end()
	for kind := range items {
		items[kind] = mergeOf([]run{journal}, kind)
	}
	return items, err
}

// walk gives the items of a bucket of the checkpoint, as the journal has changed
// them, in the order of their keys.
func (s *Store) walk(b *bbolt.Bucket, journal merge, give func(item) error) error {
	w := walker{s: s, c: b.Cursor(), journal: journal}
	for {
		it, ok, err := w.next()
		if err != nil {
			return s.fail("load", err)
		}
		if !ok {
			return nil
		}
		if err := give(it); err != nil {
			return err
		}
	}
}

// walker is the cursor of walk. The callbacks run outside its guard.
type walker struct {
	s       *Store
	c       *bbolt.Cursor
	journal merge

	begun       bool
	key, sealed []byte // at the cursor
}

func (w *walker) advance(move func() (key, value []byte)) { w.key, w.sealed = move() }

func (w *walker) next() (it item, ok bool, err error) {
	defer w.s.guard(debug.SetPanicOnFault(true), &err)
	if !w.begun {
		w.begun = true
		w.advance(w.c.First)
	}
	for {
		newer, more := w.journal.peek()
		if w.key != nil && (!more || bytes.Compare(w.key, newer.key) < 0) {
			it.key = w.key
			it.record, _, err = unseal(w.key, w.sealed)
			w.advance(w.c.Next)
			return it, err == nil, err
		}
		if !more {
			return item{}, false, nil
		}
		if bytes.Equal(w.key, newer.key) {
			w.advance(w.c.Next)
		}
		w.journal.skip(newer.key)
		if newer.record != nil {
			return newer, true, nil
		}
	}
}

// parseBinding reads an item of the bindings. Its CRC was right, so that what
// is wrong with it was wrong when it was written.
func parseBinding(it item) (*lease.Binding, error) {
	p, err := storage.ParseKey(it.key)
	if err != nil {
		return nil, asDamage(err)
	}
	b, err := storage.ParseBinding(p, it.record)
	if err != nil {
		return nil, asDamage(err)
	}
	return &b, nil
}
