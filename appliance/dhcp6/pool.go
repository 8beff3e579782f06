package dhcp6

import (
	"cmp"
	"iter"
	"math/big"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/tandem6/tandem6/failover/lease"
)

const (
	// hashTries is how often the keyed hash is asked before the pool is
	// searched; a pool that is half full refuses so many with odds of 2^-32.
	hashTries = 32
	// searchSizeMax is the largest pool, in leases, that is searched for a free
	// one, with a bit each. Larger ones have four times as many leases as the
	// table ever holds: hashing fails with odds of 2^-64.
	searchSizeMax = 1 << 22
	// searchesMax bounds how many leases that look free are examined for one
	// message: they may be offered or reserved. As many again may be the partner's.
	searchesMax = 4096
)

// pool is a range of addresses, or a prefix of which equal parts are delegated.
type pool struct {
	first  u128
	last   u128 // index of the last lease: the pool has last+1
	length int  // of each lease in bits: 128 for addresses
	name   string
	link   *link
	subnet *Subnet     // of a pool of addresses
	prefix *PrefixPool // of a pool of prefixes

	used  int      // leases that are not available
	marks []uint64 // a bit for each that is not available, or a FREE-BACKUP prefix; nil in large pools
}

func newAddressPool(l *link, s *Subnet, r Range) *pool {
	first := toU128(r.First)
	p := &pool{first: first, last: toU128(r.Last).sub(first), length: 128, link: l, subnet: s}
	p.name = r.First.String() + "-" + r.Last.String()
	p.makeMarks()
	return p
}

func newPrefixPool(l *link, pp *PrefixPool) *pool {
	n := pp.Length - pp.Prefix.Bits()
	p := &pool{first: toU128(pp.Prefix.Addr()), last: u128{0, 1}.shl(n).sub(u128{0, 1}), length: pp.Length, link: l, prefix: pp}
	p.name = pp.Prefix.String()
	p.makeMarks()
	return p
}

func (p *pool) makeMarks() {
	if p.last.hi == 0 && p.last.lo < searchSizeMax {
		p.marks = make([]uint64, p.last.lo/64+1)
	}
}

// source is the prefix that the pool is part of, and whether that has ended.
func (p *pool) source(now lease.Time) (prefix netip.Prefix, over bool) {
	if p.prefix != nil {
		return p.prefix.Prefix, p.prefix.over(now)
	}
	return p.subnet.Prefix, p.subnet.over(now)
}

// at is the lease with index i.
func (p *pool) at(i u128) netip.Prefix {
	return netip.PrefixFrom(p.first.add(i.shl(128-p.length)).addr(), p.length)
}

// index is the inverse of at.
func (p *pool) index(l netip.Prefix) (i u128, ok bool) {
	if l.Bits() != p.length {
		return u128{}, false
	}
	a := toU128(l.Addr())
	if a.less(p.first) {
		return u128{}, false
	}
	i = a.sub(p.first).shr(128 - p.length)
	return i, !p.last.less(i)
}

func (u u128) less(v u128) bool { return u.hi < v.hi || u.hi == v.hi && u.lo < v.lo }

// standing is how a lease counts in its pool.
type standing uint8

const (
	unmarked standing = iota // available
	backup                   // available, a FREE-BACKUP prefix: the lease table walks these
	used                     // not available
)

func standingOf(b *lease.Binding) standing {
	switch {
	case b == nil:
		return unmarked
	case !b.Status.Available():
		return used
	case b.Status == lease.FreeBackup && b.Type == lease.IAPD:
		return backup
	}
	return unmarked
}

// count notes how the standing of the lease with index i changed.
func (p *pool) count(i u128, was, is standing) {
	if was == used {
		p.used--
	}
	if is == used {
		p.used++
	}
	switch {
	case p.marks == nil:
	case is == unmarked:
		p.marks[i.lo/64] &^= 1 << (i.lo % 64)
	default:
		p.marks[i.lo/64] |= 1 << (i.lo % 64)
	}
}

// full reports whether nothing is available.
func (p *pool) full() bool { return p.last.hi == 0 && uint64(p.used) > p.last.lo }

// backupFrom walks the FREE-BACKUP prefixes that lie in the pool, from the one
// with index start on and around. Not all need have the pool's length.
func (p *pool) backupFrom(t *lease.Table, start u128) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		if p.prefix == nil {
			return
		}
		from := p.at(start)
		for b := range t.Backup(from) {
			if !p.prefix.Prefix.Contains(b.Prefix.Addr()) {
				break
			}
			if !yield(b.Prefix) {
				return
			}
		}
		for b := range t.Backup(p.at(u128{})) {
			if comparePrefix(b.Prefix, from) >= 0 || !yield(b.Prefix) {
				return
			}
		}
	}
}

// freeFrom walks the indexes that are not marked, from start on and around.
func (p *pool) freeFrom(start uint64) iter.Seq[u128] {
	return func(yield func(u128) bool) {
		if p.marks != nil {
			p.walk(start, yield)
		}
	}
}

func (p *pool) walk(start uint64, yield func(u128) bool) {
	size := p.last.lo + 1
	words := uint64(len(p.marks))
	for n := uint64(0); n <= words; n++ {
		w := (start/64 + n) % words
		word := ^p.marks[w]
		switch n {
		case 0:
			word &= ^uint64(0) << (start % 64)
		case words: // the beginning of the word that the walk began in
			word &= ^(^uint64(0) << (start % 64))
		}
		for ; word != 0; word &= word - 1 {
			i := w*64 + uint64(bits.TrailingZeros64(word))
			if i >= size {
				break
			}
			if !yield(u128{0, i}) {
				return
			}
		}
	}
}

// size is the number of leases in the pool.
func (p *pool) size() *big.Int {
	n := new(big.Int).SetUint64(p.last.hi)
	return n.Lsh(n, 64).Add(n, new(big.Int).SetUint64(p.last.lo)).Add(n, big.NewInt(1))
}

// poolIndex finds the pool of a lease and counts what is in use.
type poolIndex []*pool // in the order of their first lease, none overlapping another

func newPoolIndex(links []*link) poolIndex {
	var ix poolIndex
	for _, l := range links {
		ix = append(ix, l.pools...)
	}
	slices.SortFunc(ix, func(a, b *pool) int {
		return cmp.Or(cmp.Compare(a.first.hi, b.first.hi), cmp.Compare(a.first.lo, b.first.lo))
	})
	return ix
}

// find returns the pool that l was or could be given from, and its index there.
func (ix poolIndex) find(l netip.Prefix) (*pool, u128) {
	a := toU128(l.Addr())
	n, _ := slices.BinarySearchFunc(ix, a, func(p *pool, a u128) int {
		if a.less(p.first) {
			return 1
		}
		return -1
	})
	if n == 0 {
		return nil, u128{}
	}
	if i, ok := ix[n-1].index(l); ok {
		return ix[n-1], i
	}
	return nil, u128{}
}

// changed is told of every change of the lease table.
func (ix poolIndex) changed(old, now *lease.Binding) {
	was, is := standingOf(old), standingOf(now)
	if was == is {
		return
	}
	b := now
	if b == nil {
		b = old
	}
	if p, i := ix.find(b.Prefix); p != nil {
		p.count(i, was, is)
	}
}

// PoolUse is the state of one pool, for the operator.
type PoolUse struct {
	Link   string
	Pool   string // range of addresses, or prefix
	Length int    // of delegated prefixes; 128: addresses
	Size   *big.Int
	Used   int // leases that are not available
}

// Pools lists all pools by link, in the order of the configuration.
func (s *Server) Pools() []PoolUse {
	var use []PoolUse
	for _, l := range s.links {
		for _, p := range l.pools {
			use = append(use, PoolUse{l.Name, p.name, p.length, p.size(), p.used})
		}
	}
	return use
}
