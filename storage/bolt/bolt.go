// Package bolt is the storage.Store on flash: one bbolt file.
//
// # Layout
//
// bbolt writes whole pages of 4 KiB, from the changed leaf up to the root, so
// that putting single bindings at random keys costs 20 KiB each. Therefore a
// committed batch is appended to a journal, and the journal is folded into the
// bindings rarely and in their order. The buckets, all at the top level:
//
//	about             what the file is (once), and the state (each commit)
//	bindings, values  the checkpoint: records by key, as of the last fold
//	journal-NNNNNNNN  segments of the journal, oldest first
//	tail-N            the newest entries of the journal
//
// bbolt keeps a bucket of up to a quarter of a page inside the page of its
// parent. A tail stays below that: appending to it rewrites the root page and
// the meta page, and a commit in bbolt cannot write less. When the tails are
// full, their entries move to the newest segment.
//
// Octets of pages per changed lease, of 100,000, random, with all folding
// (BenchmarkWear), against single puts in bbolt:
//
//	leases in a batch      1      10     100    1000
//	put                20480    8917    5520    3670
//	journal             8958    1362     353     159
//
// # Entries
//
// One entry of the journal is one batch, cut into fragments that fit a page
// well. A fragment's key is the number of its batch (48 bits) and its place in
// it (16 bits). Batches are numbered without gaps.
//
// # Integrity
//
// bbolt has no checksums but those of its two meta pages. Here each record and
// each batch has a CRC-32C, the state counts the batches, and it holds the sum
// of the CRCs of all records in the checkpoint: with it a page that was lost, or
// that was replaced by an older one of its kind, is found out too. Open checks
// all of it before bbolt sees the file (see audit).
package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"

	"go.etcd.io/bbolt"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/storage"
)

// pageSize is that of the file, in octets. It is fixed, lest a file made on a
// kernel with larger pages costs more per commit, or cannot move to another box.
const pageSize = 4096

// fileLenMax keeps a file that grows without end from filling the flash, in
// octets. A million bindings take some 200 MB.
const fileLenMax = 1 << 30

// limits are fields so that tests reach every state with small files.
type limits struct {
	tail       int // octets in one tail; bbolt inlines up to a quarter of a page
	segment    int // octets in a segment, after which the next one begins
	foldMin    int // octets of journal below which Maintain does not fold
	journalMax int // octets of journal above which Commit folds too
	foldLen    int // octets put in one step of a fold
	foldPages  int // pages changed in one step of a fold
}

var defaultLimits = limits{
	tail: pageSize / 4,
	// A larger segment has one more page between root and leaf; a smaller
	// one takes more of the root page in total.
	segment: 1 << 20,
	// The cost of a fold is that of rewriting the bindings, so it pays to wait
	// until the journal is as long as they are (see foldAt).
	foldMin: 1 << 20,
	// Bounds the memory of Load and the time of a start; 16 MiB are some
	// 150,000 changes.
	journalMax: 16 << 20,
	// A step is the longest that a commit may have to wait behind Maintain:
	// half a megabyte, 50 to 100 ms on a slow SD card.
	foldLen:   512 << 10,
	foldPages: 128,
}

// Store keeps bindings and values in one file. It is not safe for use by
// several goroutines at a time.
type Store struct {
	path   string
	db     *bbolt.DB
	limits limits

	state    state
	segments []segment // oldest first
	tail     int       // index of the tail that is being filled
	tailLen  int       // octets in it
	ckptLen  int       // octets of keys and records in the checkpoint
	written  uint64    // octets of pages since Open

	fold *fold  // nil: none under way
	buf  []byte // the batch being written
	err  error  // what broke the store, for ever
}

var (
	_ storage.Store      = (*Store)(nil)
	_ storage.Maintainer = (*Store)(nil)
)

// ErrClosed is returned by all methods after Close.
var ErrClosed = errors.New("the lease file is closed")

// Open opens the store in the file path, or makes a new one when there is no
// such file; now is noted in it. It waits up to two seconds for another process
// to let go of the file. A file that is damaged, foreign or of a newer version
// gives a *storage.DamagedError and is not changed.
func Open(path string, now lease.Time) (*Store, error) {
	return open(path, now, defaultLimits)
}

func open(path string, now lease.Time, l limits) (*Store, error) {
	f, err := openLocked(path, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err := create(path, now); err != nil {
			return nil, fmt.Errorf("make lease file %s: %w", path, err)
		}
		f, err = openLocked(path, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("open lease file %s: %w", path, err)
	}
	s := &Store{path: path, limits: l, tailLen: pageHeaderLen}
	if err := s.audit(f); err != nil {
		f.Close()
		return nil, err
	}
	if err := s.openDB(f); err != nil {
		f.Close() // as bbolt has done, unless it panicked
		return nil, fmt.Errorf("open lease file %s: %w", path, err)
	}
	return s, nil
}

func (s *Store) openDB(f *os.File) (err error) {
	defer s.guard(debug.SetPanicOnFault(true), &err)
	s.db, err = bbolt.Open(f.Name(), 0, options(f))
	return err
}

// options are those of every bbolt.Open here, on a file that is open and locked.
func options(f *os.File) *bbolt.Options {
	return &bbolt.Options{
		OpenFile: func(string, int, os.FileMode) (*os.File, error) { return f, nil },
		PageSize: pageSize,
		Timeout:  lockTimeout, // the lock is ours already
		MaxSize:  fileLenMax,
		// A list of free pages on disk costs a page per commit. Without it
		// bbolt walks all pages when it opens the file, which audit does anyway.
		NoFreelistSync: true,
		// The array gives out the lowest free page: the file stays short, and
		// most commits overwrite blocks that the file system has already
		// allocated. The map is faster only for files full of large values.
		FreelistType: bbolt.FreelistArrayType,
		NoStatistics: true,
		// NoGrowSync stays off: without it a power cut can leave a file on ext4
		// that is shorter than its pages.
	}
}

// Close gives the file back. It need not be called before the process ends.
func (s *Store) Close() error {
	if errors.Is(s.err, ErrClosed) {
		return ErrClosed
	}
	s.err = ErrClosed
	s.fold = nil
	return s.db.Close()
}

// Commit makes b durable in one transaction. When the journal has outgrown its
// limit, which it does only while Maintain is not called, it also does a share
// of the folding. After an error the store is of no further use.
func (s *Store) Commit(b *storage.Batch) error {
	if s.err != nil {
		return s.err
	}
	if b.Empty() {
		return nil
	}
	s.buf = storage.AppendBatch(s.buf[:0], s.state.last+1, b)
	if len(s.buf) > storage.BatchLenMax {
		return fmt.Errorf("lease file %s: a batch of %d octets is too large, allowed are %d", s.path, len(s.buf), storage.BatchLenMax)
	}
	err := s.update("commit", func(tx *bbolt.Tx) error { return s.append(tx, s.buf) })
	if err != nil {
		return err
	}
	written := len(s.buf)
	if cap(s.buf) > bufKept {
		s.buf = nil
	}
	return s.relieve(written)
}

// Written is the number of octets that the file's pages took since Open, which
// is what the flash is worn by.
func (s *Store) Written() uint64 { return s.written }

// bufKept is the largest buffer kept between commits, in octets.
const bufKept = 1 << 20

// update runs fn in one transaction, together with the state as fn leaves it.
// What fn changes in s before an error does not matter: an error is for ever.
func (s *Store) update(what string, fn func(*bbolt.Tx) error) error {
	err := func() (err error) {
		defer s.guard(debug.SetPanicOnFault(true), &err)
		// Not db.Update: after a panic it walks all pages on a goroutine of its
		// own, where the next panic could not be recovered.
		tx, err := s.db.Begin(true)
		if err != nil {
			return err
		}
		defer tx.Rollback() // of no effect after Commit
		if err := fn(tx); err != nil {
			return err
		}
		if err := tx.Bucket(bucketAbout).Put(keyState, s.state.append(nil)); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		s.written += uint64(tx.Stats().PageAlloc) + pageSize
		return nil
	}()
	return s.fail(what, err)
}

// view runs fn in a transaction that only reads.
func (s *Store) view(fn func(*bbolt.Tx) error) (err error) {
	defer s.guard(debug.SetPanicOnFault(true), &err)
	return s.db.View(fn)
}

// fail makes err, if there is one, the answer to all that is asked from now on.
func (s *Store) fail(what string, err error) error {
	if err == nil {
		return nil
	}
	if d := s.damagedError(err); d != nil {
		err = d
	}
	s.err = fmt.Errorf("%s in lease file %s: %w", what, s.path, err)
	return s.err
}
