package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/storage"
	"github.com/tandem6/tandem6/storage/storagetest"
)

// tinyLimits reach every state of the journal within a few batches.
var tinyLimits = limits{tail: 600, segment: 3000, foldMin: 6000, journalMax: 24000, foldLen: 2000, foldPages: 3}

func mustOpen(t testing.TB, path string, l limits) *Store {
	t.Helper()
	s, err := open(path, 1, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.err == nil {
			checkBolt(t, s)
			s.Close()
		}
	})
	return s
}

// checkBolt lets bbolt look for errors in its file.
func checkBolt(t testing.TB, s *Store) {
	t.Helper()
	err := s.db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("bbolt's check: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func mustCommit(t testing.TB, s *Store, b *storage.Batch) {
	t.Helper()
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
}

func mustHold(t testing.TB, s *Store, want storagetest.Content) {
	t.Helper()
	got, err := storagetest.Read(s)
	if err != nil {
		t.Fatal(err)
	}
	if d := want.Diff(got); d != "" {
		t.Fatalf("the store differs:\n%s", d)
	}
}

func TestStore(t *testing.T) {
	for name, l := range map[string]limits{"default": defaultLimits, "tiny": tinyLimits} {
		t.Run(name, func(t *testing.T) {
			storagetest.Run(t, func(t *testing.T) (storage.Store, func() storage.Store) {
				path := filepath.Join(t.TempDir(), "leases.db")
				reopen := func() storage.Store { return mustOpen(t, path, l) }
				return reopen(), reopen
			})
		})
	}
}

func TestCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases.db")
	s, err := Open(path, 820_000_000)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode is %v (%v), want -rw-------", info.Mode(), err)
	}
	err = s.db.View(func(tx *bbolt.Tx) error {
		created, err := parseFileRecord(tx.Bucket(bucketAbout).Get(keyFile))
		if created != 820_000_000 {
			t.Errorf("created at %v", created)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := Open(filepath.Join(path, "no", "leases.db"), 1); err == nil {
		t.Error("made a file in a directory that is none")
	}
}

// A power cut while the file is made leaves anything under the temporary name,
// and nothing under the real one. The next start makes it anew.
func TestCreateAfterCrash(t *testing.T) {
	image, _, _ := busyFile(t)
	for name, left := range map[string][]byte{
		"empty": {}, "part of a page": image[:1000], "part": image[:3*pageSize], "garbage": []byte(strings.Repeat("garbage", 10000)), "whole": image,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "leases.db")
			if err := os.WriteFile(path+".new", left, 0o600); err != nil {
				t.Fatal(err)
			}
			s := mustOpen(t, path, defaultLimits)
			mustHold(t, s, storagetest.NewContent())
			if _, err := os.Lstat(path + ".new"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the temporary file is still there (%v)", err)
			}
		})
	}
}

func TestLocked(t *testing.T) {
	t.Parallel() // it waits for the timeout
	path := filepath.Join(t.TempDir(), "leases.db")
	s := mustOpen(t, path, defaultLimits)
	_, err := Open(path, 1)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Errorf("second Open: %v", err)
	}
	// One that comes while the first is ending waits for it.
	opened := make(chan error)
	go func() {
		s, err := Open(path, 1)
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Errorf("Open after Close: %v", err)
	}
}

// Many processes that start at the same time, with no file there yet, neither
// make two files nor spoil the one.
func TestConcurrentCreate(t *testing.T) {
	for range 5 {
		path := filepath.Join(t.TempDir(), "leases.db")
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				s, err := Open(path, 1)
				if err != nil {
					t.Errorf("open: %v", err)
					return
				}
				defer s.Close()
				b := new(storage.Batch)
				b.Set(fmt.Sprint(i), []byte("was here"))
				if err := s.Commit(b); err != nil {
					t.Errorf("commit: %v", err)
				}
			})
		}
		wg.Wait()
		c, err := storagetest.Read(mustOpen(t, path, defaultLimits))
		if err != nil || len(c.Values) != 8 {
			t.Errorf("%d of 8 commits are there (%v)", len(c.Values), err)
		}
	}
}

func TestBatchTooLarge(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "leases.db"), defaultLimits)
	b := new(storage.Batch)
	for i := range storage.BatchLenMax/storage.DataLenMax + 1 {
		b.Set(fmt.Sprint(i), make([]byte, storage.DataLenMax))
	}
	if err := s.Commit(b); err == nil {
		t.Error("committed")
	}
	mustHold(t, s, storagetest.NewContent())
}

// numbered is binding i of many, each with a prefix of its own.
func numbered(i int, now lease.Time) *lease.Binding {
	a := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	binary.BigEndian.PutUint64(a[8:], uint64(i)*0x9e3779b97f4a7c15) // spread, as address choice does
	duid := append([]byte{0, 1, 0, 1, 0x2c, 0x11, 0x22, 0x33}, a[10:]...)
	return &lease.Binding{
		Prefix:    lease.Address(netip.AddrFrom16(a)),
		IA:        lease.IA{Link: "lan", Client: lease.DUID(duid), Type: lease.IANA, ID: lease.IAID(i)},
		Status:    lease.Active,
		Preferred: 3600, Valid: 7200, T1: 1800, T2: 2880,
		Expires: now.Add(7200), HeldUntil: now.Add(14400), StartOfState: now, LastTransaction: now,
	}
}

// No call takes long: neither a commit nor a step of a fold writes more than its
// share, and without Maintain the journal stays bounded by Commit alone.
func TestBoundedWork(t *testing.T) {
	const n, size = 50_000, 1000
	const stepMax = 2 * 512 << 10           // octets: foldPages, and as much again for what splits
	for _, maintains := range []int{0, 3} { // after each commit
		s := mustOpen(t, filepath.Join(t.TempDir(), "leases.db"), defaultLimits)
		s.db.NoSync = true
		r := rand.New(rand.NewPCG(1, 1))
		var journal int
		var b storage.Batch
		for i := range 6 * n / size {
			b.Reset()
			for j := range size {
				k := i*size + j
				if k >= n {
					k = r.IntN(n)
				}
				b.Put(numbered(k, lease.Time(i+1)))
			}
			before := s.written
			mustCommit(t, s, &b)
			if got, want := s.written-before, uint64(4*len(s.buf)+stepMax*(1+len(s.buf)/stepShare)); got > want {
				t.Fatalf("batch %d: commit wrote %d octets, want at most %d", i, got, want)
			}
			for range maintains {
				before := s.written
				if _, err := s.Maintain(); err != nil {
					t.Fatal(err)
				}
				if got := s.written - before; got > stepMax {
					t.Fatalf("batch %d: a step wrote %d octets", i, got)
				}
			}
			journal = max(journal, s.journalLen())
		}
		limit := defaultLimits.journalMax/2 + 4<<20
		if maintains == 0 {
			limit = defaultLimits.journalMax + 4<<20
		}
		t.Logf("Maintain %d times: the journal reached %d octets; %d of %d batches are folded", maintains, journal, s.state.first-1, s.state.last)
		if journal > limit || s.state.first == 1 {
			t.Errorf("Maintain %d times: the journal reached %d octets, want at most %d", maintains, journal, limit)
		}
		got, err := storagetest.Read(s)
		if err != nil || len(got.Bindings) != n {
			t.Errorf("%d of %d bindings are there (%v)", len(got.Bindings), n, err)
		}
	}
}

// What flash is worn by: pages written per lease. BenchmarkWear has the figures;
// these are limits that a mistake would break.
func TestWear(t *testing.T) {
	const bindings = 10_000
	for size, want := range map[int]float64{1: 2.4 * pageSize, 10: 0.4 * pageSize, 100: 0.12 * pageSize} {
		s := mustOpen(t, filepath.Join(t.TempDir(), "leases.db"), defaultLimits)
		s.db.NoSync = true
		r := rand.New(rand.NewPCG(1, 1))
		var b storage.Batch
		for i := range bindings {
			b.Put(numbered(i, 1))
		}
		mustCommit(t, s, &b)
		before := s.written
		const leases = 40_000 // with some folds
		for i := 0; i < leases; i += size {
			b.Reset()
			for range size {
				b.Put(numbered(r.IntN(bindings), lease.Time(i)))
			}
			mustCommit(t, s, &b)
			if _, err := s.Maintain(); err != nil {
				t.Fatal(err)
			}
		}
		got := float64(s.written-before) / leases
		t.Logf("batches of %d: %.0f octets a lease", size, got)
		if got > want {
			t.Errorf("batches of %d: %.0f octets a lease, want at most %.0f", size, got, want)
		}
		if info, err := os.Stat(s.path); err != nil || info.Size() > 16<<20 {
			t.Errorf("the file has grown to %d octets (%v)", info.Size(), err)
		}
	}
}

// A fold that was cut off is begun again after a start, and no record is lost
// or rewritten in vain, wherever the cut is.
func TestFoldResumes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases.db")
	r := rand.New(rand.NewPCG(3, 3))
	want := storagetest.NewContent()
	for range 60 {
		s := mustOpen(t, path, tinyLimits)
		mustHold(t, s, want)
		for range r.IntN(4) {
			b := storagetest.RandomBatch(r, 30, 300)
			mustCommit(t, s, b)
			want.Apply(b)
		}
		for range r.IntN(8) {
			if _, err := s.Maintain(); err != nil {
				t.Fatal(err)
			}
		}
		mustHold(t, s, want)
		checkBolt(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := mustOpen(t, path, tinyLimits)
	for len(s.segments) > 0 {
		if err := s.step(); err != nil {
			t.Fatal(err)
		}
	}
	mustHold(t, s, want)
	// Folding the same once more, as after a crash before the drop, costs nothing
	// but the state.
	s.fold = &fold{}
	for kind, items := range checkpointItems(t, s) {
		s.fold.items[kind] = merge{items}
	}
	before := s.written
	for s.fold.pending() {
		if err := s.update("fold", s.applyItems); err != nil {
			t.Fatal(err)
		}
	}
	if steps := uint64(len(want.Bindings)*300/tinyLimits.foldLen + 2); s.written-before > steps*3*pageSize {
		t.Errorf("%d octets were written to change nothing", s.written-before)
	}
	s.fold = nil
	mustHold(t, s, want)
}

// checkpointItems are the items in the checkpoint.
func checkpointItems(t *testing.T, s *Store) (items [kinds][]item) {
	t.Helper()
	err := s.view(func(tx *bbolt.Tx) error {
		for kind, name := range checkpointBuckets {
			err := tx.Bucket(name).ForEach(func(k, v []byte) error {
				record, _, err := unseal(k, v)
				items[kind] = append(items[kind], item{key: bytes.Clone(k), record: bytes.Clone(record)})
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return items
}
