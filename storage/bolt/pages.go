package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
)

// This file reads the format of bbolt (version 2) with nothing but ReadAt.
//
// bbolt trusts its pages: on a damaged one it panics, reads outside its memory
// map, or fills the memory, and while it opens a file it does so on a goroutine
// of its own, where no caller can recover. So no file reaches bbolt before each
// page in use has been found to be exactly as bbolt writes them.

// The format's numbers. Integers are in the order of the machine.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2
	noFreelist  = ^uint64(0)

	flagBranch = 0x01
	flagLeaf   = 0x02
	flagMeta   = 0x04

	flagBucket = 0x01 // of an element: its value is a bucket

	elementLen      = 16
	bucketHeaderLen = 16
	metaLen         = 64
	checksumAt      = 56 // in the meta
)

// depthMax bounds the recursion. bbolt merges pages that are less than a quarter
// full, so that with our keys eight levels hold 30^7 pages.
const depthMax = 8

var order = binary.NativeEndian

// meta is one of the two pages that a transaction is committed by.
type meta struct {
	root     uint64 // page of the bucket of all buckets
	freelist uint64
	pages    uint64 // all page numbers in use are below
	tx       uint64
}

// readMeta returns the meta that bbolt will use: the valid one of the later transaction.
func readMeta(r io.ReaderAt, size int64) (meta, error) {
	if size == 0 {
		return meta{}, damaged("it has 0 octets")
	}
	var best meta
	var found, ours bool
	for i := range int64(2) {
		var b [pageHeaderLen + metaLen]byte
		if _, err := r.ReadAt(b[:], i*pageSize); err == io.EOF {
			continue
		} else if err != nil {
			return meta{}, err
		}
		body := b[pageHeaderLen:]
		if order.Uint32(body) != boltMagic || order.Uint32(body[4:]) != boltVersion {
			continue
		}
		ours = true
		sum := fnv.New64a()
		sum.Write(body[:checksumAt])
		if order.Uint64(body[checksumAt:]) != sum.Sum64() {
			continue
		}
		if got := order.Uint32(body[8:]); got != pageSize {
			return meta{}, foreign("its pages have %d octets, ours %d", got, pageSize)
		}
		m := meta{root: order.Uint64(body[16:]), freelist: order.Uint64(body[32:]), pages: order.Uint64(body[40:]), tx: order.Uint64(body[48:])}
		if !found || m.tx > best.tx {
			best, found = m, true
		}
	}
	switch {
	case !ours:
		return meta{}, foreign("it has no bbolt meta page")
	case !found:
		return meta{}, damaged("both meta pages fail their checksum")
	case best.freelist != noFreelist:
		return meta{}, foreign("it has a list of free pages, so another program has written it")
	case best.pages > uint64(size)/pageSize:
		return meta{}, damaged("it was cut off: %d octets, its pages need %d", size, best.pages*pageSize)
	}
	return best, nil
}

// visitor takes what readPages finds. The slices are valid during the call.
type visitor interface {
	bucket(name string) error // begins a bucket
	pair(key, value []byte) error
}

// pages walks the pages of a file from the root on.
type pages struct {
	r    io.ReaderAt
	n    uint64   // page numbers are below
	seen []uint64 // bit set of page numbers
	v    visitor
	// The pages being walked, from the root down; reused. Those of a bucket's
	// tree come below those of the tree of buckets.
	buf [2 * depthMax][]byte
}

// readPages hands v each top-level bucket and its keys and values, in the order
// of the buckets' names and of the keys. Any page that is not as bbolt writes
// them is an error.
func readPages(r io.ReaderAt, m meta, v visitor) error {
	p := &pages{r: r, n: m.pages, seen: make([]uint64, m.pages/64+1), v: v}
	return p.tree(m.root, p.buf[:depthMax], nil, nil, p.bucket)
}

// element is one item of a leaf or branch page.
type element struct {
	flags      uint32
	key, value []byte
	page       uint64 // of a branch element
}

// tree walks the tree at page id, with one buffer for each level that is left.
// Its keys are at least lo, and below hi if that is given.
func (p *pages) tree(id uint64, bufs [][]byte, lo, hi []byte, leaf func(element) error) error {
	if len(bufs) == 0 {
		return damaged("page %d: the tree is deeper than %d", id, depthMax)
	}
	b, err := p.read(id, &bufs[0])
	if err != nil {
		return err
	}
	elements, err := parsePage(b, id)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	branch := order.Uint16(b[8:]) == flagBranch
	if branch && len(elements) == 0 {
		return damaged("page %d: a branch without children", id)
	}
	last := lo
	for i, e := range elements {
		c := bytes.Compare(e.key, last)
		if len(e.key) == 0 || c < 0 || c == 0 && i > 0 || hi != nil && bytes.Compare(e.key, hi) >= 0 {
			return damaged("page %d: key %x is out of order", id, e.key)
		}
		last = e.key
		if !branch {
			err = leaf(e)
		} else {
			next := hi
			if i+1 < len(elements) {
				next = elements[i+1].key
			}
			err = p.tree(e.page, bufs[1:], e.key, next, leaf)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// read returns page id with its overflow pages.
func (p *pages) read(id uint64, buf *[]byte) ([]byte, error) {
	b, err := p.readRun(id, 1, buf)
	if err != nil {
		return nil, err
	}
	if got := order.Uint64(b); got != id {
		return nil, damaged("page %d says that it is page %d", id, got)
	}
	run := 1 + uint64(order.Uint32(b[12:]))
	if run > 1 {
		b, err = p.readRun(id, run, buf)
	}
	if err != nil {
		return nil, err
	}
	for i := id; i < id+run; i++ {
		if p.seen[i/64]&(1<<(i%64)) != 0 {
			return nil, damaged("page %d is in use twice", i)
		}
		p.seen[i/64] |= 1 << (i % 64)
	}
	return b, nil
}

// readRun reads n pages from id on. Pages 0 and 1 are the metas.
func (p *pages) readRun(id, n uint64, buf *[]byte) ([]byte, error) {
	if id < 2 || id >= p.n || n > p.n-id {
		return nil, damaged("pages %d to %d of %d are referred to", id, id+n-1, p.n)
	}
	if want := int(n) * pageSize; cap(*buf) < want {
		*buf = make([]byte, want)
	}
	b := (*buf)[:n*pageSize]
	if _, err := p.r.ReadAt(b, int64(id)*pageSize); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, err)
	}
	return b, nil
}

// parsePage reads a leaf or branch page. bbolt packs it without gaps: header,
// elements, then keys and values in the same order. So a change of any
// number in it is noticed.
func parsePage(b []byte, id uint64) ([]element, error) {
	flags, count, overflow := order.Uint16(b[8:]), int(order.Uint16(b[10:])), int(order.Uint32(b[12:]))
	if flags != flagLeaf && flags != flagBranch || flags == flagBranch && id == 0 {
		return nil, damaged("flags %#x", flags)
	}
	used := pageHeaderLen + count*elementLen
	if used > len(b) {
		return nil, damaged("%d elements", count)
	}
	elements := make([]element, count)
	for i := range elements {
		at := pageHeaderLen + i*elementLen
		h := b[at : at+elementLen]
		e := &elements[i]
		var pos, klen, vlen uint32
		if flags == flagLeaf {
			e.flags, pos, klen, vlen = order.Uint32(h), order.Uint32(h[4:]), order.Uint32(h[8:]), order.Uint32(h[12:])
		} else {
			pos, klen, e.page = order.Uint32(h), order.Uint32(h[4:]), order.Uint64(h[8:])
		}
		room := int64(len(b) - used)
		if int64(pos) != int64(used-at) || int64(klen)+int64(vlen) > room {
			return nil, damaged("element %d is out of place", i)
		}
		e.key = b[used : used+int(klen) : used+int(klen)]
		used += int(klen)
		e.value = b[used : used+int(vlen) : used+int(vlen)]
		used += int(vlen)
	}
	if want := (used+pageSize-1)/pageSize - 1; id != 0 && overflow != want || id == 0 && (overflow != 0 || used != len(b)) {
		return nil, damaged("%d octets are in use, with %d overflow pages", used, overflow)
	}
	return elements, nil
}

// bucket walks one top-level bucket: a tree of pages, or a page inside e.value.
func (p *pages) bucket(e element) error {
	name := string(e.key)
	if e.flags != flagBucket || len(e.value) < bucketHeaderLen {
		return damaged("%q among the buckets", name)
	}
	if err := p.v.bucket(name); err != nil {
		return err
	}
	leaf := func(e element) error {
		if e.flags != 0 {
			return damaged("bucket %s has a bucket %q in it", name, e.key)
		}
		if err := p.v.pair(e.key, e.value); err != nil {
			return fmt.Errorf("bucket %s: %w", name, err)
		}
		return nil
	}
	root, inline := order.Uint64(e.value), e.value[bucketHeaderLen:]
	if root != 0 {
		if len(inline) != 0 {
			return damaged("bucket %s has a page and is one", name)
		}
		return p.tree(root, p.buf[depthMax:], nil, nil, leaf)
	}
	return p.inline(name, inline, leaf)
}

func (p *pages) inline(name string, b []byte, leaf func(element) error) error {
	if len(b) < pageHeaderLen || order.Uint64(b) != 0 {
		return damaged("bucket %s has a bad page in it", name)
	}
	elements, err := parsePage(b, 0)
	if err != nil {
		return fmt.Errorf("bucket %s: %w", name, err)
	}
	var last []byte
	for _, e := range elements {
		if bytes.Compare(e.key, last) <= 0 {
			return damaged("bucket %s: key %x is out of order", name, e.key)
		}
		last = e.key
		if err := leaf(e); err != nil {
			return err
		}
	}
	return nil
}
