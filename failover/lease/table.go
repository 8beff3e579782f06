package lease

import (
	"cmp"
	"encoding/binary"
	"iter"
	"net/netip"

	"github.com/tidwall/btree"
)

// Table holds the bindings of a server in order: by prefix, by identity
// association, and by the time at which a status ends. Each walk has a fixed
// order, so that equal histories give equal outputs. It is not safe for use by
// several goroutines; a Snapshot is.
type Table struct {
	exact    map[prefixKey]*Binding
	byPrefix *btree.BTreeG[*Binding]
	byIA     *btree.BTreeG[*Binding]
	byEnd    *btree.BTreeG[*Binding] // only those with Expires set
	backup   *btree.BTreeG[*Binding] // only prefixes that are FREE-BACKUP
	status   [Reset + 1]int
	lengths  [129]int // bindings of each prefix length that are not available
	watch    func(old, now *Binding)
	pivot    *Binding // scratch for look-ups, which would allocate one each otherwise; nil: in use
}

// prefixKey is a prefix as a key of a map, which finds the binding of one prefix,
// or that there is none, several times faster than a tree does.
type prefixKey struct {
	high, low uint64
	bits      uint8
}

func keyOf(p netip.Prefix) prefixKey {
	a := p.Addr().As16()
	return prefixKey{binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint64(a[8:]), uint8(p.Bits())}
}

// NewTable returns an empty table.
func NewTable() *Table {
	return &Table{
		exact:    map[prefixKey]*Binding{},
		byPrefix: newTree(lessPrefix),
		byIA:     newTree(lessIA),
		byEnd:    newTree(lessEnd),
		backup:   newTree(lessPrefix),
	}
}

func newTree(less func(a, b *Binding) bool) *btree.BTreeG[*Binding] {
	return btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})
}

func lessPrefix(a, b *Binding) bool { return comparePrefix(a.Prefix, b.Prefix) < 0 }

func lessIA(a, b *Binding) bool {
	if c := compareIA(&a.IA, &b.IA); c != 0 {
		return c < 0
	}
	return lessPrefix(a, b)
}

func lessEnd(a, b *Binding) bool {
	if x, y := a.End(), b.End(); x != y {
		return x < y
	}
	return lessPrefix(a, b)
}

// comparePrefix orders by address, shorter prefixes first.
func comparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return cmp.Compare(a.Bits(), b.Bits())
}

func compareIA(a, b *IA) int {
	if c := cmp.Compare(a.Client, b.Client); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Link, b.Link); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Type, b.Type); c != 0 {
		return c
	}
	return cmp.Compare(a.ID, b.ID)
}

// Get returns the binding of exactly p, or nil.
func (t *Table) Get(p netip.Prefix) *Binding { return t.exact[keyOf(p)] }

// Put stores b in place of what the table held for its prefix. The caller must
// not change b afterwards.
func (t *Table) Put(b *Binding) {
	if err := b.Check(); err != nil {
		panic("lease: " + err.Error())
	}
	t.exact[keyOf(b.Prefix)] = b
	old, ok := t.byPrefix.Set(b)
	if ok {
		t.forget(old)
	}
	t.byIA.Set(b)
	if b.Expires != 0 {
		t.byEnd.Set(b)
	}
	t.count(b, 1)
	t.changed(old, b)
}

// Watch has f called after each change of one binding, with what it was and
// what it is, nil for nothing. There is one watcher.
func (t *Table) Watch(f func(old, now *Binding)) { t.watch = f }

func (t *Table) changed(old, now *Binding) {
	if t.watch != nil {
		t.watch(old, now)
	}
}

// Delete removes the binding of p, if there is one.
func (t *Table) Delete(p netip.Prefix) {
	old := t.Get(p)
	if old == nil {
		return
	}
	delete(t.exact, keyOf(p))
	t.byPrefix.Delete(old)
	t.forget(old)
	t.changed(old, nil)
}

func (t *Table) forget(old *Binding) {
	t.byIA.Delete(old)
	if old.Expires != 0 {
		t.byEnd.Delete(old)
	}
	t.count(old, -1)
}

func (t *Table) count(b *Binding, n int) {
	t.status[b.Status] += n
	t.countBackup(b, n)
	if !b.Status.Available() {
		t.lengths[b.Prefix.Bits()] += n
	}
}

// Len is the number of bindings.
func (t *Table) Len() int { return t.byPrefix.Len() }

// Count is the number of bindings in status s.
func (t *Table) Count(s Status) int { return t.status[s] }

// OfIA walks the bindings of one identity association, whatever their status.
func (t *Table) OfIA(ia IA) iter.Seq[*Binding] {
	return func(yield func(*Binding) bool) {
		t.ascend(t.byIA, Binding{IA: ia}, func(b *Binding) bool {
			return b.IA == ia && yield(b)
		})
	}
}

// OfClient walks the bindings of one client on every link, by link, IA and prefix.
func (t *Table) OfClient(client DUID) iter.Seq[*Binding] {
	return func(yield func(*Binding) bool) {
		t.ascend(t.byIA, Binding{IA: IA{Client: client}}, func(b *Binding) bool {
			return b.Client == client && yield(b)
		})
	}
}

// ascend walks a tree from a place on. A walk inside a walk is allowed.
func (t *Table) ascend(tree *btree.BTreeG[*Binding], from Binding, yield func(*Binding) bool) {
	pivot := t.pivot
	if t.pivot = nil; pivot == nil {
		pivot = new(Binding)
	}
	*pivot = from
	tree.Ascend(pivot, yield)
	t.pivot = pivot
}

// From walks all bindings in the order of their prefixes, from p on; the zero
// Prefix starts at the first.
func (t *Table) From(p netip.Prefix) iter.Seq[*Binding] { return from(t.byPrefix, p) }

// Overlaps returns a binding that is not available and whose prefix covers p
// or lies inside it, other than p itself, or nil. Nested delegations would send
// one client's packets to another.
func (t *Table) Overlaps(p netip.Prefix) *Binding {
	for bits := range p.Bits() {
		if t.lengths[bits] == 0 {
			continue
		}
		parent, _ := p.Addr().Prefix(bits)
		if b := t.Get(parent); b != nil && !b.Status.Available() {
			return b
		}
	}
	if p.IsSingleIP() {
		return nil // nothing lies inside
	}
	var found *Binding
	t.ascend(t.byPrefix, Binding{Prefix: p}, func(b *Binding) bool {
		if b.Prefix != p && !b.Status.Available() && b.Prefix.Overlaps(p) {
			found = b
		}
		return found == nil && b.Prefix.Overlaps(p)
	})
	return found
}

// FirstEnd returns the binding whose status ends first, or nil when none does.
func (t *Table) FirstEnd() *Binding {
	b, _ := t.byEnd.Min()
	return b
}

// Snapshot is the table at one moment. It is immutable: any number of
// goroutines may read it while the table goes on.
type Snapshot struct {
	byPrefix *btree.BTreeG[*Binding]
	byIA     *btree.BTreeG[*Binding]
	status   [Reset + 1]int
}

// Snapshot costs no copy now; parts that change later are copied then.
func (t *Table) Snapshot() *Snapshot {
	return &Snapshot{byPrefix: t.byPrefix.Copy(), byIA: t.byIA.Copy(), status: t.status}
}

// Len is the number of bindings.
func (s *Snapshot) Len() int { return s.byPrefix.Len() }

// Count is the number of bindings in a status.
func (s *Snapshot) Count(st Status) int { return s.status[st] }

// Get returns the binding of exactly p, or nil.
func (s *Snapshot) Get(p netip.Prefix) *Binding {
	b, _ := s.byPrefix.Get(&Binding{Prefix: p})
	return b
}

// From walks all bindings in the order of their prefixes, from p on; the zero
// Prefix starts at the first.
func (s *Snapshot) From(p netip.Prefix) iter.Seq[*Binding] { return from(s.byPrefix, p) }

func from(tree *btree.BTreeG[*Binding], p netip.Prefix) iter.Seq[*Binding] {
	return func(yield func(*Binding) bool) {
		if !p.IsValid() {
			tree.Scan(yield)
			return
		}
		tree.Ascend(&Binding{Prefix: p}, yield)
	}
}
