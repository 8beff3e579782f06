package bolt

import (
	"bytes"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/tandem6/tandem6/storage"
	"github.com/tandem6/tandem6/storage/storagetest"
)

// busyFile makes a file with something in each kind of bucket, and returns its
// octets, its content, and its content without the last batch.
func busyFile(t testing.TB) (image []byte, content, before storagetest.Content) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "leases.db")
	s := mustOpen(t, path, tinyLimits)
	r := rand.New(rand.NewPCG(7, 7))
	content = storagetest.NewContent()
	commit := func(n int) {
		b := storagetest.RandomBatch(r, n, 200)
		b.Set("last", []byte("always something"))
		before = content.Clone()
		content.Apply(b)
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
	}
	for s.state.records < 60 { // until folds have filled the checkpoint
		commit(30)
	}
	for range 3 { // in the middle of a fold
		if _, err := s.Maintain(); err != nil {
			t.Fatal(err)
		}
		commit(10)
	}
	for s.tail < 1 || len(s.segments) < 2 {
		commit(2)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return image, content, before
}

// load opens the file and reads all of it.
func load(path string) (storagetest.Content, error) {
	s, err := open(path, 1, tinyLimits)
	if err != nil {
		return storagetest.Content{}, err
	}
	defer s.Close()
	return storagetest.Read(s)
}

// mustRefuse checks that the file is refused, with an error for people, and that
// it was not touched.
func mustRefuse(t *testing.T, path, want string) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = load(path)
	var d *storage.DamagedError
	if !errors.As(err, &d) {
		t.Fatalf("got %v, want a DamagedError", err)
	}
	text := d.Error()
	if d.File != path || !strings.Contains(text, path) || !strings.Contains(text, want) || d.Hint == "" {
		t.Errorf("the error is %q, want the file's name and %q in it", text, want)
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file was changed (%v)", err)
	}
}

var allFlips = flag.Bool("all-flips", false, "let TestFlippedBits flip a bit of each octet, which takes minutes")

// Each bit of a file that matters is under some checksum: whichever is flipped,
// the file is refused, untouched, or it holds exactly what it held. A flip in a
// meta page may take the last commit back; to bbolt it looks like a power cut in
// the midst of it.
func TestFlippedBits(t *testing.T) {
	image, content, before := busyFile(t)
	path := filepath.Join(t.TempDir(), "leases.db")
	r := rand.New(rand.NewPCG(8, 8))
	refused := 0
	flip := func(octet int, mask byte) {
		spoiled := bytes.Clone(image)
		spoiled[octet] ^= mask
		if err := os.WriteFile(path, spoiled, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := load(path)
		var d *storage.DamagedError
		switch {
		case errors.As(err, &d):
			refused++
		case err != nil:
			t.Errorf("octet %d ^ %#x: %v, want a DamagedError", octet, mask, err)
		case content.Diff(got) == "":
		case octet < 2*pageSize && before.Diff(got) == "":
		default:
			t.Errorf("octet %d ^ %#x went unnoticed:\n%s", octet, mask, content.Diff(got))
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(after, spoiled) {
			t.Errorf("octet %d ^ %#x: the file was changed", octet, mask)
		}
	}
	for octet, was := range image {
		sample := 20 // one of
		if was == 0 {
			sample = 1000 // most zeros are unused space
		}
		if octet%pageSize < 2*pageHeaderLen { // where bbolt itself has no checksum
			sample = 4
		}
		if *allFlips || r.IntN(sample) == 0 {
			flip(octet, 1<<r.IntN(8))
		}
	}
	t.Logf("%d octets, %d flips refused", len(image), refused)
	if refused < 1000 {
		t.Error("too few flips hit anything")
	}
}

// A file that was cut off is refused wherever the cut is, unless it took unused
// pages only.
func TestTruncated(t *testing.T) {
	image, content, _ := busyFile(t)
	path := filepath.Join(t.TempDir(), "leases.db")
	for size := 0; size < len(image); size += 512 {
		if err := os.WriteFile(path, image[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := load(path); err == nil && content.Diff(got) == "" {
			continue // and so is every longer file
		}
		mustRefuse(t, path, "is not usable")
	}
}

// A record of another time, or from nowhere, may have a right CRC of its own. It
// is found out all the same, by the sum over all records.
func TestRecordOfAnotherTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases.db")
	s := mustOpen(t, path, defaultLimits)
	key := []byte("v")
	b := new(storage.Batch)
	b.Set(string(key), []byte(strings.Repeat("v", 3000))) // more than the tails hold
	mustCommit(t, s, b)
	for len(s.segments) > 0 {
		if err := s.step(); err != nil {
			t.Fatal(err)
		}
	}
	page := pageOf(t, s, bucketValues)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	id := order.Uint64(page)
	elements, err := parsePage(page, id)
	if err != nil || len(elements) != 1 {
		t.Fatal(elements, err)
	}
	sealed := elements[0].value // a part of page
	copy(sealed, seal(nil, key, []byte(strings.Repeat("w", 3000))))
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(page, int64(id)*pageSize); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	mustRefuse(t, path, "checkpoint")
}

// pageOf returns the root page of a bucket, from the file.
func pageOf(t *testing.T, s *Store, name []byte) (page []byte) {
	t.Helper()
	err := s.db.View(func(tx *bbolt.Tx) error {
		f, err := os.Open(s.path)
		if err != nil {
			return err
		}
		defer f.Close()
		page = make([]byte, pageSize)
		_, err = f.ReadAt(page, int64(tx.Bucket(name).Root())*pageSize)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func TestForeignFiles(t *testing.T) {
	boltFile := func(t *testing.T, o *bbolt.Options, fill func(*bbolt.Tx) error) string {
		path := filepath.Join(t.TempDir(), "x.db")
		db, err := bbolt.Open(path, 0o600, o)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.Update(fill); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ours := func(t *testing.T, change func(*bbolt.Tx) error) string {
		path := filepath.Join(t.TempDir(), "leases.db")
		s := mustOpen(t, path, defaultLimits)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := bbolt.Open(path, 0, &bbolt.Options{NoFreelistSync: true})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.Update(change); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := func(content string) func(*testing.T) string {
		return func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "x.db")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	tests := []struct {
		name string
		make func(t *testing.T) string
		want string
	}{
		{"empty", file(""), "0 octets"},
		{"text", file("# leases\n"), "not a lease file"},
		{"long text", file(strings.Repeat("all work and no play\n", 5000)), "not a lease file"},
		{"zeros", file(strings.Repeat("\x00", 65536)), "not a lease file"},
		{"bbolt of another", func(t *testing.T) string {
			return boltFile(t, &bbolt.Options{NoFreelistSync: true}, func(tx *bbolt.Tx) error {
				_, err := tx.CreateBucket([]byte("meta"))
				return err
			})
		}, "not a lease file"},
		{"bbolt without buckets", func(t *testing.T) string {
			return boltFile(t, &bbolt.Options{NoFreelistSync: true}, func(tx *bbolt.Tx) error { return nil })
		}, "not a lease file"},
		{"bbolt with a free list", func(t *testing.T) string {
			return boltFile(t, nil, func(tx *bbolt.Tx) error { return nil })
		}, "not a lease file"},
		{"bbolt with other pages", func(t *testing.T) string {
			return boltFile(t, &bbolt.Options{NoFreelistSync: true, PageSize: 16384}, func(tx *bbolt.Tx) error { return nil })
		}, "16384"},
		{"other magic", func(t *testing.T) string {
			return ours(t, func(tx *bbolt.Tx) error {
				return tx.Bucket(bucketAbout).Put(keyFile, seal(nil, keyFile, []byte("tandem7 leases\x00\x01........")))
			})
		}, "not a lease file"},
		{"newer format", func(t *testing.T) string {
			return ours(t, func(tx *bbolt.Tx) error {
				return tx.Bucket(bucketAbout).Put(keyFile, seal(nil, keyFile, []byte(fileMagic+"\x02 and more")))
			})
		}, "too new"},
		{"newer record", func(t *testing.T) string {
			return ours(t, func(tx *bbolt.Tx) error {
				key, record := make([]byte, storage.KeyLen), []byte{200}
				_, sum, _ := unseal(key, seal(nil, key, record))
				st := state{first: 1, records: 1, sum: uint64(sum)}
				return errors.Join(tx.Bucket(bucketBindings).Put(key, seal(nil, key, record)),
					tx.Bucket(bucketAbout).Put(keyState, st.append(nil)))
			})
		}, "version 200"},
		{"bad record", func(t *testing.T) string { // its CRC is right: a mistake of the writer
			return ours(t, func(tx *bbolt.Tx) error {
				key, record := make([]byte, storage.KeyLen), []byte{1, 2, 3}
				_, sum, _ := unseal(key, seal(nil, key, record))
				st := state{first: 1, records: 1, sum: uint64(sum)}
				return errors.Join(tx.Bucket(bucketBindings).Put(key, seal(nil, key, record)),
					tx.Bucket(bucketAbout).Put(keyState, st.append(nil)))
			})
		}, "damaged"},
		{"bucket missing", func(t *testing.T) string {
			return ours(t, func(tx *bbolt.Tx) error { return tx.DeleteBucket(bucketTails[1]) })
		}, "tail-1"},
		{"bucket too many", func(t *testing.T) string {
			return ours(t, func(tx *bbolt.Tx) error {
				_, err := tx.CreateBucket([]byte("zzz"))
				return err
			})
		}, "zzz"},
		{"no state", func(t *testing.T) string {
			return ours(t, func(tx *bbolt.Tx) error { return tx.Bucket(bucketAbout).Delete(keyState) })
		}, "damaged"},
		{"batch lost", func(t *testing.T) string {
			return ours(t, func(tx *bbolt.Tx) error {
				return tx.Bucket(bucketAbout).Put(keyState, state{first: 1, last: 1}.append(nil))
			})
		}, "batch 1"},
		{"named pipe", func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "pipe")
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}, "regular"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := tt.make(t)
			if tt.name == "named pipe" { // which cannot be compared
				_, err := load(path)
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v", err)
				}
				return
			}
			mustRefuse(t, path, tt.want)
		})
	}
}

// Damage that comes after Open is an error of the call that meets it.
func TestDamageWhileOpen(t *testing.T) {
	image, _, _ := busyFile(t)
	for _, spoil := range []struct {
		name string
		do   func(path string) error
	}{
		{"zeros", func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt(make([]byte, len(image)-2*pageSize), 2*pageSize)
			return errors.Join(err, f.Close())
		}},
		{"cut off", func(path string) error { return os.Truncate(path, 2*pageSize) }},
	} {
		t.Run(spoil.name, func(t *testing.T) {
			for call, do := range map[string]func(*Store) error{
				"Load":   func(s *Store) error { _, err := storagetest.Read(s); return err },
				"Commit": func(s *Store) error { return s.Commit(storagetest.RandomBatch(rand.New(rand.NewPCG(1, 1)), 500, 100)) },
				"step":   func(s *Store) error { return s.step() },
			} {
				path := filepath.Join(t.TempDir(), call)
				if err := os.WriteFile(path, image, 0o600); err != nil {
					t.Fatal(err)
				}
				s, err := open(path, 1, tinyLimits)
				if err != nil {
					t.Fatal(err)
				}
				if err := spoil.do(path); err != nil {
					t.Fatal(err)
				}
				var d *storage.DamagedError
				if err := do(s); !errors.As(err, &d) {
					t.Errorf("%s: got %v, want a DamagedError", call, err)
				}
				if err := s.Commit(storagetest.RandomBatch(rand.New(rand.NewPCG(1, 1)), 5, 100)); err == nil {
					t.Errorf("%s: a broken store goes on", call)
				}
				s.Close() // must come back, with whatever
			}
		})
	}
}
