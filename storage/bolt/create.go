package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/tandem6/tandem6/failover/lease"
)

// lockTimeout is how long Open waits for the process before, which may still be
// finishing its last commit; lockRetry is how often it looks.
const (
	lockTimeout = 2 * time.Second
	lockRetry   = 20 * time.Millisecond
)

// ErrLocked says that another process has the file open.
var ErrLocked = errors.New("another process has it open: is a second tandem6d running on this file?")

// openLocked opens an existing file for writing and locks it, without changing it.
func openLocked(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|flag, 0o600)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(lockTimeout)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			f.Close()
			return nil, fmt.Errorf("lock: %w", err)
		}
		if time.Now().After(deadline) {
			f.Close()
			return nil, ErrLocked
		}
		time.Sleep(lockRetry)
	}
}

// create makes a new file under a temporary name and moves it to path when it
// is whole and on disk, because bbolt's own start of a file is not safe against
// a power cut. What an earlier attempt left under the temporary name is used up.
func create(path string, now lease.Time) error {
	tmp := path + ".new"
	f, err := openLocked(tmp, os.O_CREATE|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	// Another process may have been here before the lock was ours. Then the
	// file we hold has become path itself, and must be left alone.
	if same, err := isFile(f, tmp); !same {
		return errors.Join(err, f.Close())
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, os.Remove(tmp), f.Close())
	}
	if err := f.Truncate(0); err != nil {
		return errors.Join(err, f.Close())
	}
	db, err := bbolt.Open(tmp, 0, options(f)) // which closes f
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	// The lock is held until the file has its name.
	if err = initialize(db, f, now); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp), db.Close())
	}
	return errors.Join(syncDir(filepath.Dir(path)), db.Close())
}

// isFile reports whether path names the open file f.
func isFile(f *os.File, path string) (bool, error) {
	named, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	open, err := f.Stat()
	return err == nil && os.SameFile(named, open), err
}

// initialize makes an empty bbolt file an empty store.
func initialize(db *bbolt.DB, f *os.File, now lease.Time) error {
	err := db.Update(func(tx *bbolt.Tx) error { return initBuckets(tx, now) })
	if err != nil {
		return err
	}
	// Once more, so that both meta pages know of the buckets: bbolt falls back
	// to the older one when the newer is damaged.
	if err := db.Update(func(tx *bbolt.Tx) error { return nil }); err != nil {
		return err
	}
	return f.Sync()
}

func initBuckets(tx *bbolt.Tx, now lease.Time) error {
	names := [][]byte{bucketAbout, bucketBindings, bucketValues}
	for _, name := range append(names, bucketTails[:]...) {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	b := tx.Bucket(bucketAbout)
	if err := b.Put(keyFile, appendFileRecord(nil, now)); err != nil {
		return err
	}
	return b.Put(keyState, state{first: 1}.append(nil))
}

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
