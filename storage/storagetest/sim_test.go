package storagetest_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/tandem6/tandem6/storage"
	"github.com/tandem6/tandem6/storage/storagetest"
)

func open(t *testing.T, d *storagetest.Disk) storage.Store {
	t.Helper()
	s, err := d.Open()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSim(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) (storage.Store, func() storage.Store) {
		var d storagetest.Disk
		reopen := func() storage.Store { return open(t, &d) }
		return reopen(), reopen
	})
}

func set(n int) *storage.Batch {
	b := new(storage.Batch)
	b.Set(fmt.Sprint(n%7), fmt.Append(nil, n))
	b.Put(storagetest.RandomBinding(rand.New(rand.NewPCG(uint64(n), 7)), storagetest.RandomPrefix(rand.New(rand.NewPCG(uint64(n), 8)), 20)))
	return b
}

// contentAfter is the content after the batches set(0) to set(n-1).
func contentAfter(n int) storagetest.Content {
	c := storagetest.NewContent()
	for i := range n {
		c.Apply(set(i))
	}
	return c
}

func mustHold(t *testing.T, s storage.Store, n int) {
	t.Helper()
	got, err := storagetest.Read(s)
	if err != nil {
		t.Fatal(err)
	}
	if d := contentAfter(n).Diff(got); d != "" {
		t.Fatalf("want the content after %d batches:\n%s", n, d)
	}
}

func commit(t *testing.T, s storage.Store, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := s.Commit(set(i)); err != nil {
			t.Fatal(err)
		}
	}
}

// A crash leaves a prefix of what was committed, however old the disk is.
func TestSimCrash(t *testing.T) {
	for _, n := range []int{0, 1, 5, storagetest.LoseMax, 3*storagetest.LoseMax + 5} {
		for _, lose := range []int{0, 1, 4, storagetest.LoseMax} {
			var d storagetest.Disk
			s := open(t, &d)
			commit(t, s, 0, n)
			if _, err := d.Open(); err == nil {
				t.Fatal("opened twice")
			}
			lost := d.Crash(lose)
			if lost != min(lose, n) || d.Commits() != uint64(n-lost) {
				t.Fatalf("Crash(%d) after %d batches lost %d and left %d", lose, n, lost, d.Commits())
			}
			if err := s.Commit(set(0)); err == nil {
				t.Fatal("a crashed process commits")
			}
			if err := s.Close(); err == nil {
				t.Fatal("a crashed process closes")
			}
			s = open(t, &d)
			mustHold(t, s, n-lost)
			commit(t, s, n-lost, n+10) // goes on from there
			mustHold(t, s, n+10)
		}
	}
}

func TestSimFailCommit(t *testing.T) {
	for _, kept := range []bool{false, true} {
		var d storagetest.Disk
		s := open(t, &d)
		d.FailCommit(3, kept)
		commit(t, s, 0, 2)
		for range 2 { // and stays broken
			if err := s.Commit(set(2)); !errors.Is(err, storagetest.ErrInjected) {
				t.Fatalf("third commit: %v", err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, &d)
		n := 2
		if kept {
			n = 3
		}
		mustHold(t, s, n)
		commit(t, s, n, 10)
		mustHold(t, s, 10)
	}
}

func TestSimReplace(t *testing.T) {
	var d storagetest.Disk
	s := open(t, &d)
	commit(t, s, 0, 200)
	d.Replace()
	if err := s.Commit(set(0)); err == nil {
		t.Fatal("commit on a disk that is gone")
	}
	s = open(t, &d)
	mustHold(t, s, 0)
	commit(t, s, 0, 3)
	mustHold(t, s, 3)
}
