// Package storagetest has what tests of a storage.Store and tests with one need:
// the conformance suite Run, and Disk, which holds a store in memory and has the
// faults of real disks, at the moments that a simulation chooses.
package storagetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/storage"
)

// LoseMax is how many batches a Crash can take back at most.
const LoseMax = 64

// Errors of Sim.
var (
	ErrClosed   = errors.New("the simulated store is closed")
	ErrInjected = errors.New("the simulated disk failed")
	errInUse    = errors.New("the simulated store is open already")
)

// Disk is a simulated disk with one store on it. Like the real store it keeps
// encoded batches and records, so that what does not survive the encoding does
// not survive here. It has no goroutine, clock or randomness: equal calls give
// equal results. The zero Disk is empty and honest.
type Disk struct {
	bindings map[string][]byte // records by key, without the batches in log
	values   map[string][]byte
	log      [][]byte // the newest batches; the first has number logStart+1
	logStart uint64

	open *Sim
	fail int  // the commit that fails, counted from now; 0: none does
	kept bool // whether it is on the disk nevertheless
}

// Sim is a store on a Disk.
type Sim struct {
	disk *Disk
	err  error // what every call returns from now on
}

var _ storage.Store = (*Sim)(nil)

// Open opens the store, as a process that starts does. Only one can have it open.
func (d *Disk) Open() (*Sim, error) {
	if d.open != nil {
		return nil, errInUse
	}
	d.open = &Sim{disk: d}
	return d.open, nil
}

// Crash ends the process that has the store open, if one has. The disk loses the
// last batches that it said were durable, at most LoseMax: an honest disk 0.
// What is left is always a prefix of what was committed. It returns how many
// were lost, which is less than asked for when there were not as many.
func (d *Disk) Crash(lose int) int {
	if lose < 0 || lose > LoseMax {
		panic(fmt.Sprintf("storagetest: Crash(%d), allowed are 0 to %d", lose, LoseMax))
	}
	d.release(errors.New("the process of this simulated store has crashed"))
	lose = min(lose, len(d.log))
	d.log = d.log[:len(d.log)-lose]
	return lose
}

// Replace ends the process as Crash does, and puts an empty disk in the place of this one.
func (d *Disk) Replace() {
	d.release(errors.New("the disk of this simulated store was replaced"))
	*d = Disk{}
}

func (d *Disk) release(err error) {
	if d.open != nil {
		d.open.err = err
		d.open = nil
	}
}

// FailCommit lets the n-th Commit from now fail, 1 being the next; 0 takes that
// back. With kept its batch is durable all the same, as when only the answer
// of the disk was lost. The store is of no use after it, until it is opened again.
func (d *Disk) FailCommit(n int, kept bool) { d.fail, d.kept = n, kept }

// Commits is the number of batches on the disk, all time.
func (d *Disk) Commits() uint64 { return d.logStart + uint64(len(d.log)) }

// Commit implements storage.Store.
func (s *Sim) Commit(b *storage.Batch) error {
	if s.err != nil {
		return s.err
	}
	if b.Empty() {
		return nil
	}
	d := s.disk
	entry := storage.AppendBatch(nil, d.Commits()+1, b)
	if len(entry) > storage.BatchLenMax {
		return fmt.Errorf("a batch of %d octets is too large, allowed are %d", len(entry), storage.BatchLenMax)
	}
	failed := d.fail == 1
	d.fail = max(0, d.fail-1)
	if !failed || d.kept {
		d.log = append(d.log, entry)
		d.trim()
	}
	if failed {
		s.err = ErrInjected
	}
	return s.err
}

// trim folds old batches into the records, so that a long simulation needs no
// more memory than its bindings do.
func (d *Disk) trim() {
	if len(d.log) < 2*LoseMax {
		return
	}
	old := len(d.log) - LoseMax
	if d.bindings == nil {
		d.bindings, d.values = map[string][]byte{}, map[string][]byte{}
	}
	if err := d.replay(old, d.bindings, d.values); err != nil {
		panic("storagetest: " + err.Error()) // AppendBatch wrote it, in this process
	}
	d.log = slices.Clone(d.log[old:])
	d.logStart += uint64(old)
}

// replay applies the first n batches of the log to the maps.
func (d *Disk) replay(n int, bindings, values map[string][]byte) error {
	into := func(m map[string][]byte) func(key, record []byte) error {
		return func(key, record []byte) error {
			if record == nil {
				delete(m, string(key))
			} else {
				m[string(key)] = append([]byte{}, record...)
			}
			return nil
		}
	}
	for i, entry := range d.log[:n] {
		if err := storage.ScanBatch(d.logStart+uint64(i)+1, entry, into(bindings), into(values)); err != nil {
			return err
		}
	}
	return nil
}

// Load implements storage.Store.
func (s *Sim) Load(binding func(*lease.Binding) error, value func(storage.Value) error) error {
	if s.err != nil {
		return s.err
	}
	d := s.disk
	bindings, values := map[string][]byte{}, map[string][]byte{}
	maps.Copy(bindings, d.bindings)
	maps.Copy(values, d.values)
	if err := d.replay(len(d.log), bindings, values); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(bindings)) {
		p, err := storage.ParseKey([]byte(key))
		if err != nil {
			return err
		}
		b, err := storage.ParseBinding(p, bindings[key])
		if err != nil {
			return err
		}
		if err := binding(&b); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if err := value(storage.Value{Name: name, Data: append([]byte{}, values[name]...)}); err != nil {
			return err
		}
	}
	return nil
}

// Close implements storage.Store.
func (s *Sim) Close() error {
	if s.disk.open != s {
		return s.err // closed or crashed
	}
	s.disk.release(ErrClosed)
	return nil
}
