package bolt

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"

	"github.com/tandem6/tandem6/storage"
)

// audit reads the whole file, checks all that can be checked, and sets up s
// from it. It changes nothing. What is wrong with the file is a *storage.DamagedError.
func (s *Store) audit(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read lease file %s: %w", s.path, err)
	}
	err = foreign("it is no regular file")
	if info.Mode().IsRegular() {
		err = s.auditPages(f, info.Size())
	}
	if err == nil {
		return nil
	}
	if d := s.damagedError(err); d != nil {
		return d
	}
	return fmt.Errorf("read lease file %s: %w", s.path, err)
}

func (s *Store) auditPages(r io.ReaderAt, size int64) error {
	m, err := readMeta(r, size)
	if err != nil {
		return err
	}
	a := &auditor{s: s, entries: joiner{reuse: true}}
	a.entries.entry = a.entry
	if err := readPages(r, m, a); err != nil {
		return err
	}
	return a.end()
}

// auditor is the visitor that knows what belongs in a lease file.
type auditor struct {
	s       *Store
	buckets []string                      // seen so far
	take    func(key, value []byte) error // of the bucket being read
	file    bool                          // whether the file record was there
	found   state                         // records and sum as counted
	next    uint64                        // number of the batch that must come next; 0: no state yet
	entries joiner
}

func (a *auditor) pair(key, value []byte) error { return a.take(key, value) }

func (a *auditor) bucket(name string) error {
	// The file record decides how all else is read.
	if len(a.buckets) > 0 && !a.file {
		return foreign("it begins with bucket %q", a.buckets[0])
	}
	a.buckets = append(a.buckets, name)
	tail := slices.IndexFunc(bucketTails[:], func(t []byte) bool { return string(t) == name })
	number, isSegment := parseSegment(name)
	switch {
	case name == string(bucketAbout):
		a.take = a.about
	case name == string(bucketBindings) || name == string(bucketValues):
		a.take = a.record
	case isSegment:
		a.s.segments = append(a.s.segments, segment{number: number})
		n := &a.s.segments[len(a.s.segments)-1].len
		a.take = func(key, value []byte) error { return a.fragment(n, key, value) }
	case tail >= 0:
		a.take = func(key, value []byte) error {
			if a.s.tail != tail { // the one in use is the last that is not empty
				a.s.tail, a.s.tailLen = tail, pageHeaderLen
			}
			return a.fragment(&a.s.tailLen, key, value)
		}
	default:
		return foreign("it has a bucket %q", name)
	}
	return nil
}

func (a *auditor) about(key, value []byte) (err error) {
	switch string(key) {
	case string(keyFile):
		_, err = parseFileRecord(value)
		a.file = err == nil
	case string(keyState):
		a.s.state, err = parseState(value)
		a.next = a.s.state.first
	default:
		err = damaged("key %q", key)
	}
	return err
}

func (a *auditor) record(key, value []byte) error {
	_, sum, err := unseal(key, value)
	if err != nil {
		return err
	}
	a.found.add(sum)
	a.s.ckptLen += len(key) + len(value)
	return nil
}

func (a *auditor) fragment(n *int, key, value []byte) error {
	*n += itemLen + len(value)
	return a.entries.add(key, value)
}

func (a *auditor) entry(seq uint64, data []byte) error {
	if seq != a.next {
		return damaged("batch %d is where batch %d belongs", seq, a.next)
	}
	a.next++
	none := func(_, _ []byte) error { return nil }
	return asDamage(storage.ScanBatch(seq, data, none, none))
}

// end compares what was found with what the state says.
func (a *auditor) end() error {
	if !a.file {
		return foreign("it has no bucket %q", bucketAbout)
	}
	for _, name := range append([][]byte{bucketAbout, bucketBindings, bucketValues}, bucketTails[:]...) {
		if !slices.Contains(a.buckets, string(name)) {
			return damaged("there is no bucket %s", name)
		}
	}
	if err := a.entries.end(); err != nil {
		return err
	}
	st := a.s.state
	if a.next == 0 || a.next != st.last+1 {
		return damaged("the journal ends before batch %d, but %d was committed", a.next, st.last)
	}
	if a.found.records != st.records || a.found.sum != st.sum {
		return damaged("the checkpoint has %d records of checksum %d, want %d of %d", a.found.records, a.found.sum, st.records, st.sum)
	}
	return nil
}

// What the operator can do.
const (
	hintDamaged = "Restore it from a backup, or move it away to begin with no leases."
	hintForeign = "Move it away, or name another file for the leases."
	hintNewer   = "Run the version that wrote it, or move the file away to begin with no leases."
)

// damagedError makes err a *storage.DamagedError, if it says something about the
// file; else it returns nil.
func (s *Store) damagedError(err error) error {
	var d *damage
	switch isDamage := errors.As(err, &d); {
	case errors.Is(err, storage.ErrNewer):
		return &storage.DamagedError{File: s.path, What: "it is too new", Hint: hintNewer, Err: err}
	case isDamage && d.foreign:
		return &storage.DamagedError{File: s.path, What: "it is not a lease file", Hint: hintForeign, Err: err}
	case isDamage:
		return &storage.DamagedError{File: s.path, What: "it is damaged", Hint: hintDamaged, Err: err}
	}
	return nil
}

// guard is deferred around calls into bbolt, as
//
//	defer s.guard(debug.SetPanicOnFault(true), &err)
//
// Audit has made sure that bbolt can trust the file. But when flash fails later,
// reading a page through the memory map is a fault, and a page that changed makes
// bbolt panic with a text. Both become an error; other panics are mistakes of a
// program and go on.
func (s *Store) guard(onFault bool, err *error) {
	debug.SetPanicOnFault(onFault)
	switch r := recover().(type) {
	case nil:
	case interface{ Addr() uintptr }: // of the runtime, see debug.SetPanicOnFault
		*err = s.damagedError(damaged("reading it failed (%v)", r))
	case string:
		*err = s.damagedError(damaged("bbolt: %s", r))
	default:
		panic(r)
	}
}
