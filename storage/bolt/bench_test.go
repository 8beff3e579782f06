package bolt

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/storage"
)

// benchBindings is the number of bindings in the store that is measured.
const benchBindings = 100_000

type committer interface {
	Commit(*storage.Batch) error
	Written() uint64
}

// plain is the obvious store: each binding is put under its key.
type plain struct {
	db      *bbolt.DB
	written uint64
}

func (p *plain) Written() uint64 { return p.written }

func (p *plain) Commit(b *storage.Batch) error {
	return p.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bucketBindings)
		for _, c := range b.Changes {
			k := storage.KeyOf(c.Prefix)
			if err := bucket.Put(k[:], seal(nil, k[:], storage.AppendBinding(nil, c.Binding))); err != nil {
				return err
			}
		}
		tx.OnCommit(func() { p.written += uint64(tx.Stats().PageAlloc) + pageSize })
		return nil
	})
}

func openPlain(b *testing.B) *plain {
	o := options(nil)
	o.OpenFile = nil
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "plain.db"), 0o600, o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(bucketBindings)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return &plain{db: db}
}

const benchStart lease.Time = 840_000_000

// fill commits all bindings, and folds them.
func fill(b *testing.B, c committer) {
	var batch storage.Batch
	for i := range benchBindings {
		batch.Put(numbered(i, benchStart))
		if len(batch.Changes) == 1000 || i+1 == benchBindings {
			if err := c.Commit(&batch); err != nil {
				b.Fatal(err)
			}
			batch.Reset()
		}
	}
	if s, ok := c.(*Store); ok {
		for s.journalLen() > 0 {
			if err := s.step(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkWear counts the octets of pages that a changed lease costs, with all
// folding included: random bindings of 100,000 are renewed, in batches. Nothing
// is synced, since the count does not depend on it. With syncs the counter of a
// block device under ext4 shows the same (testdata/wear.sh). One iteration is the whole
// measurement: use -benchtime 1x.
func BenchmarkWear(b *testing.B) {
	for _, size := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("plain/batch=%d", size), func(b *testing.B) {
			p := openPlain(b)
			p.db.NoSync = true
			wear(b, p, size, 20_000)
		})
		b.Run(fmt.Sprintf("journal/batch=%d", size), func(b *testing.B) {
			s := mustOpen(b, filepath.Join(b.TempDir(), "leases.db"), defaultLimits)
			s.db.NoSync = true
			wear(b, s, size, 400_000) // some folds
		})
	}
}

func wear(b *testing.B, c committer, size, leases int) {
	fill(b, c)
	r := rand.New(rand.NewPCG(1, 1))
	var batch storage.Batch
	for b.Loop() {
		before := c.Written()
		for n := 0; n < leases; n += size {
			batch.Reset()
			for range size {
				batch.Put(numbered(r.IntN(benchBindings), benchStart+lease.Time(n)))
			}
			if err := c.Commit(&batch); err != nil {
				b.Fatal(err)
			}
			if s, ok := c.(*Store); ok && n%(8*size) == 0 { // now and then the writer is idle
				if _, err := s.Maintain(); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(c.Written()-before)/float64(leases), "pageB/lease")
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(leases), "µs/lease")
	}
}

// BenchmarkCommit measures durable commits.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("plain/batch=%d", size), func(b *testing.B) { commits(b, openPlain(b), size) })
		b.Run(fmt.Sprintf("journal/batch=%d", size), func(b *testing.B) {
			commits(b, mustOpen(b, filepath.Join(b.TempDir(), "leases.db"), defaultLimits), size)
		})
	}
}

func commits(b *testing.B, c committer, size int) {
	fill(b, c)
	r := rand.New(rand.NewPCG(1, 1))
	var batch storage.Batch
	for b.Loop() {
		batch.Reset()
		for range size {
			batch.Put(numbered(r.IntN(benchBindings), benchStart))
		}
		if err := c.Commit(&batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "leases/s")
}

// BenchmarkOpenAndLoad is the start with 100,000 bindings and a long journal.
func BenchmarkOpenAndLoad(b *testing.B) {
	path := filepath.Join(b.TempDir(), "leases.db")
	s := mustOpen(b, path, defaultLimits)
	s.db.NoSync = true
	fill(b, s)
	r := rand.New(rand.NewPCG(1, 1))
	var batch storage.Batch
	for s.journalLen() < defaultLimits.journalMax/2 {
		batch.Reset()
		for range 10 {
			batch.Put(numbered(r.IntN(benchBindings), benchStart))
		}
		if err := s.Commit(&batch); err != nil {
			b.Fatal(err)
		}
	}
	s.Close()
	b.ReportAllocs()
	for b.Loop() {
		s, err := Open(path, benchStart)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		err = s.Load(func(*lease.Binding) error { n++; return nil }, func(storage.Value) error { return nil })
		if err != nil || n != benchBindings {
			b.Fatal(n, err)
		}
		s.Close()
	}
}
