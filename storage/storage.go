// Package storage keeps what must survive a crash: the bindings and a few
// named values. A server commits a Batch and shows its outputs only after
// Commit has returned (durable before visible).
//
// The package holds the interface and the encoding of records, both pure;
// storage/bolt is the store on flash, storage/storagetest the conformance
// suite and a store for simulations.
package storage

import (
	"fmt"
	"net/netip"

	"github.com/tandem6/tandem6/failover/lease"
)

// Change is one binding as it shall be from now on, or its removal.
type Change struct {
	Prefix  netip.Prefix
	Binding *lease.Binding // nil: removed; else its Prefix equals Prefix
}

// Value is one named value outside the bindings, such as the server's DUID.
type Value struct {
	Name string
	Data []byte // nil: removed
}

// Limits of a Value.
const (
	NameLenMax = 255     // octets; names are part of this program, not input
	DataLenMax = 1 << 20 // octets; the largest planned value is the list of advertised prefixes
)

// Batch is what one transaction makes durable, all or nothing. Later entries
// win over earlier ones of the same prefix or name. Its encoding has at most
// BatchLenMax octets.
type Batch struct {
	Changes []Change
	Values  []Value
}

// Empty reports whether there is nothing to commit.
func (b *Batch) Empty() bool { return len(b.Changes) == 0 && len(b.Values) == 0 }

// Put adds a binding.
func (b *Batch) Put(v *lease.Binding) {
	b.Changes = append(b.Changes, Change{v.Prefix, v})
}

// Delete adds the removal of a binding.
func (b *Batch) Delete(p netip.Prefix) {
	b.Changes = append(b.Changes, Change{Prefix: p})
}

// Set adds a named value.
func (b *Batch) Set(name string, data []byte) {
	b.Values = append(b.Values, Value{name, data})
}

// Reset empties b and keeps its memory.
func (b *Batch) Reset() {
	clear(b.Changes)
	clear(b.Values)
	b.Changes, b.Values = b.Changes[:0], b.Values[:0]
}

// Store is stable storage. One goroutine at a time may call it.
type Store interface {
	// Load reads everything that was committed, bindings in the order of
	// their prefixes, values in the order of their names. It stops at the
	// first error of a callback and returns it.
	Load(binding func(*lease.Binding) error, value func(Value) error) error

	// Commit makes b durable: when it returns nil, b survives the loss of
	// power. When it fails, the state of the store is unknown; the caller
	// sends nothing that rests on b and ends the process.
	Commit(b *Batch) error

	// Close gives the store back. Everything committed stays.
	Close() error
}

// Maintainer is a Store that has housekeeping to do now and then. The goroutine
// that commits calls Maintain when it has nothing to commit, as long as there is
// more; each call is bounded, so that a commit never waits for long. A store that
// is never maintained still works, with slower commits. An error is one of Commit.
type Maintainer interface {
	Maintain() (more bool, err error)
}

// The names of the values.
const (
	// ServerDUID is the server's own DUID: made once, never changed (D-058, D-340).
	ServerDUID = "server-duid"
	// AddressKey is the secret of the address choice, 32 octets (RFC 7943 section 3, D-242).
	AddressKey = "address-key"
	// TimeFloor is the highest wall time ever committed, 8 octets big-endian:
	// a clock that reads earlier is wrong (a board without a clock chip boots in 1970).
	TimeFloor = "time-floor"
	// ClockSetBack is that the wall clock was set back: since when, by how much and
	// the highest time before, each 8 octets big-endian.
	ClockSetBack = "clock-set-back"
	// AdvertisedPrefixes are the prefixes that router advertisements carried,
	// to be withdrawn after a restart (RFC 9096 section 3.5, D-331).
	AdvertisedPrefixes = "advertised-prefixes"
)

// DamagedError says that a store's file is not what this program wrote. The
// file is left as it was found.
type DamagedError struct {
	File string // path
	What string // what was found where
	Hint string // what the operator can do
	Err  error  // cause, or nil
}

func (e *DamagedError) Error() string {
	s := fmt.Sprintf("lease file %s is not usable: %s", e.File, e.What)
	if e.Err != nil {
		s += fmt.Sprintf(": %v", e.Err)
	}
	return s + "; the file was left untouched. " + e.Hint
}

func (e *DamagedError) Unwrap() error { return e.Err }
