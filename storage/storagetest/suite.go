package storagetest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/storage"
)

// Opener makes an empty store for one test. reopen opens it again after Close.
type Opener func(t *testing.T) (s storage.Store, reopen func() storage.Store)

// Run is the conformance suite: what any storage.Store has to do.
func Run(t *testing.T, open Opener) {
	tests := []struct {
		name string
		test func(*testing.T, Opener)
	}{
		{"Empty", testEmpty},
		{"PutOverwriteDelete", testPutOverwriteDelete},
		{"EveryField", testEveryField},
		{"Order", testOrder},
		{"Values", testValues},
		{"LastWins", testLastWins},
		{"LargeBatch", testLargeBatch},
		{"LargeValue", testLargeValue},
		{"BatchIsCopied", testBatchIsCopied},
		{"CallbackErrors", testCallbackErrors},
		{"Closed", testClosed},
		{"RandomHistory", testRandomHistory},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, open) })
	}
}

// Content is all that a store holds.
type Content struct {
	Bindings map[netip.Prefix]lease.Binding
	Values   map[string]string
}

// NewContent is the content of an empty store.
func NewContent() Content {
	return Content{map[netip.Prefix]lease.Binding{}, map[string]string{}}
}

// Apply changes c as a store must change with Commit(b).
func (c Content) Apply(b *storage.Batch) {
	for _, ch := range b.Changes {
		if ch.Binding == nil {
			delete(c.Bindings, ch.Prefix)
		} else {
			c.Bindings[ch.Prefix] = *ch.Binding
		}
	}
	for _, v := range b.Values {
		if v.Data == nil {
			delete(c.Values, v.Name)
		} else {
			c.Values[v.Name] = string(v.Data)
		}
	}
}

// Clone returns a copy that changes independently.
func (c Content) Clone() Content { return Content{maps.Clone(c.Bindings), maps.Clone(c.Values)} }

// Diff says how got differs from want, or is empty.
func (want Content) Diff(got Content) string {
	var d []string
	for _, p := range slices.SortedFunc(maps.Keys(want.Bindings), comparePrefix) {
		if g, ok := got.Bindings[p]; !ok {
			d = append(d, fmt.Sprintf("%v is missing", p))
		} else if g != want.Bindings[p] {
			d = append(d, fmt.Sprintf("%v is\n\t%+v, want\n\t%+v", p, g, want.Bindings[p]))
		}
	}
	for p := range got.Bindings {
		if _, ok := want.Bindings[p]; !ok {
			d = append(d, fmt.Sprintf("%v is there and should not", p))
		}
	}
	if !maps.Equal(want.Values, got.Values) {
		d = append(d, fmt.Sprintf("values differ: got %d %.200q, want %d %.200q", len(got.Values), got.Values, len(want.Values), want.Values))
	}
	const shown = 10
	if len(d) > shown {
		d = append(d[:shown], fmt.Sprintf("and %d more", len(d)-shown))
	}
	return strings.Join(d, "\n")
}

// Read loads all of s. It is an error when the order is not that of the interface.
func Read(s storage.Store) (Content, error) {
	c := NewContent()
	var lastPrefix netip.Prefix
	var lastName string
	err := s.Load(
		func(b *lease.Binding) error {
			if len(c.Values) > 0 || len(c.Bindings) > 0 && comparePrefix(lastPrefix, b.Prefix) >= 0 {
				return fmt.Errorf("%v came after %v", b.Prefix, lastPrefix)
			}
			lastPrefix = b.Prefix
			c.Bindings[b.Prefix] = *b
			return nil
		},
		func(v storage.Value) error {
			if v.Data == nil || len(c.Values) > 0 && lastName >= v.Name {
				return fmt.Errorf("value %q %q came after %q", v.Name, v.Data, lastName)
			}
			lastName = v.Name
			c.Values[v.Name] = string(v.Data)
			return nil
		})
	return c, err
}

// comparePrefix is the order of lease.Table.
func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func mustHold(t *testing.T, s storage.Store, want Content) {
	t.Helper()
	got, err := Read(s)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	if d := want.Diff(got); d != "" {
		t.Fatalf("the store differs:\n%s", d)
	}
}

func mustCommit(t *testing.T, s storage.Store, b *storage.Batch) {
	t.Helper()
	if err := s.Commit(b); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

// mustReopen closes s and returns it opened again.
func mustReopen(t *testing.T, s storage.Store, reopen func() storage.Store) storage.Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	return reopen()
}

// RandomPrefix draws one of n prefixes, half of them addresses.
func RandomPrefix(r *rand.Rand, n int) netip.Prefix {
	i := r.IntN(n)
	a := [16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 5: byte(i >> 8), 6: byte(i)}
	if i%2 == 1 {
		p, _ := netip.AddrFrom16(a).Prefix(56)
		return p
	}
	a[14], a[15] = byte(i>>8), byte(i)
	return lease.Address(netip.AddrFrom16(a))
}

// RandomBinding draws a binding of p that passes its Check, with all fields in use.
func RandomBinding(r *rand.Rand, p netip.Prefix) *lease.Binding {
	duid := make([]byte, lease.DUIDLenMin+r.IntN(20))
	for i := range duid {
		duid[i] = byte(r.Uint32())
	}
	b := &lease.Binding{
		Prefix:    p,
		IA:        lease.IA{Link: []string{"lan", "guest", ""}[r.IntN(3)], Client: lease.DUID(duid), Type: lease.IANA, ID: lease.IAID(r.Uint32())},
		Status:    lease.Active + lease.Status(r.IntN(int(lease.Reset))),
		Valid:     uint32(r.IntN(1 << 20)),
		T1:        r.Uint32(),
		T2:        r.Uint32(),
		Expires:   1 + lease.Time(r.Int64N(1<<31)),
		HeldUntil: lease.Forever,
	}
	b.Preferred = b.Valid / 2
	b.StartOfState = b.Expires - lease.Time(b.Valid)
	b.LastTransaction = b.StartOfState + 7
	if r.IntN(4) > 0 {
		b.HeldUntil = b.Expires + lease.Time(r.IntN(100000))
	}
	if p.Bits() != 128 {
		b.Type = lease.IAPD
		b.Via = netip.MustParseAddr("fe80::1").Next()
	}
	if r.IntN(2) == 0 {
		b.PartnerLifetime, b.AckedPartnerLifetime = b.Expires+7200, b.Expires-lease.Time(r.IntN(3))
		b.PartnerRawCLT, b.Change = b.StartOfState, r.Uint64()
	}
	if r.IntN(4) == 0 {
		b.Hostname = strings.Repeat("h", 1+r.IntN(lease.HostnameLenMax))
	}
	return b
}

// RandomBatch draws up to n changes and a few values.
func RandomBatch(r *rand.Rand, n, prefixes int) *storage.Batch {
	b := new(storage.Batch)
	for range r.IntN(n + 1) {
		p := RandomPrefix(r, prefixes)
		if r.IntN(4) == 0 {
			b.Delete(p)
		} else {
			b.Put(RandomBinding(r, p))
		}
	}
	for range r.IntN(3) {
		name := string(rune('a' + r.IntN(6)))
		if r.IntN(4) == 0 {
			b.Set(name, nil)
		} else {
			b.Set(name, []byte(strings.Repeat("v", r.IntN(60))))
		}
	}
	return b
}

func testEmpty(t *testing.T, open Opener) {
	s, reopen := open(t)
	mustHold(t, s, NewContent())
	mustCommit(t, s, new(storage.Batch)) // nothing to do
	s = mustReopen(t, s, reopen)
	mustHold(t, s, NewContent())
}

func testPutOverwriteDelete(t *testing.T, open Opener) {
	s, reopen := open(t)
	r := rand.New(rand.NewPCG(1, 1))
	a, b := netip.MustParsePrefix("2001:db8::1/128"), netip.MustParsePrefix("2001:db8:8000::/56")
	want := NewContent()
	for _, change := range []func(*storage.Batch){
		func(x *storage.Batch) { x.Put(RandomBinding(r, a)) },
		func(x *storage.Batch) { x.Put(RandomBinding(r, b)) },
		func(x *storage.Batch) { x.Put(RandomBinding(r, a)) },
		func(x *storage.Batch) { x.Delete(a) },
		func(x *storage.Batch) { x.Delete(a) }, // not there any more: no error
		func(x *storage.Batch) { x.Put(RandomBinding(r, a)); x.Delete(b) },
	} {
		batch := new(storage.Batch)
		change(batch)
		mustCommit(t, s, batch)
		want.Apply(batch)
		mustHold(t, s, want)
		s = mustReopen(t, s, reopen)
		mustHold(t, s, want)
	}
}

// Each field survives, at the ends of its range too.
func testEveryField(t *testing.T, open Opener) {
	s, reopen := open(t)
	plain := lease.Binding{
		Prefix: netip.MustParsePrefix("2001:db8::/56"), IA: lease.IA{Type: lease.IAPD, Client: "\x00\x03\x01"}, Status: lease.Released,
	}
	full := lease.Binding{
		Prefix: netip.MustParsePrefix("2001:db8:ffff::1/128"),
		IA: lease.IA{Link: strings.Repeat("l", lease.LinkNameLenMax), Client: lease.DUID(strings.Repeat("\xff", lease.DUIDLenMax)),
			Type: lease.IANA, ID: 1<<32 - 1},
		Status: lease.Active, Preferred: lease.Infinity, Valid: lease.Infinity, T1: lease.Infinity, T2: lease.Infinity,
		Expires: lease.Forever, HeldUntil: lease.Forever, StartOfState: -1 << 63, LastTransaction: -1,
		Via: netip.MustParseAddr("fe80::ffff"), Hostname: strings.Repeat("h", lease.HostnameLenMax),
		PartnerLifetime: lease.Forever, AckedPartnerLifetime: 1, ExpirationTime: -1 << 63, PartnerRawCLT: -1, Change: 1<<64 - 1,
	}
	// A zero field would hide that it is lost.
	for f := range reflect.ValueOf(full).Fields() {
		if reflect.ValueOf(full).FieldByIndex(f.Index).IsZero() {
			t.Errorf("the test does not set Binding.%s", f.Name)
		}
	}
	want := NewContent()
	b := new(storage.Batch)
	b.Put(&plain)
	b.Put(&full)
	mustCommit(t, s, b)
	want.Apply(b)
	mustHold(t, s, want)
	mustHold(t, mustReopen(t, s, reopen), want)
}

// Read checks the order; the prefixes are chosen to upset it.
func testOrder(t *testing.T, open Opener) {
	s, reopen := open(t)
	r := rand.New(rand.NewPCG(2, 2))
	want := NewContent()
	for _, p := range []string{"2001:db8:0:ff00::/56", "2001:db8::/64", "2001:db8::/56", "2001:db8::/128", "2001:db8::1/128", "::/48",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "fd00::/8", "2001:db8::ff/128", "::1/128", "2001:db8::/48", "2001:db8:0:100::/56"} {
		b := new(storage.Batch)
		b.Put(RandomBinding(r, netip.MustParsePrefix(p)))
		b.Set("name of "+p, []byte(p))
		mustCommit(t, s, b)
		want.Apply(b)
	}
	mustHold(t, s, want)
	mustHold(t, mustReopen(t, s, reopen), want)
}

func testValues(t *testing.T, open Opener) {
	s, reopen := open(t)
	want := NewContent()
	long := strings.Repeat("n", storage.NameLenMax)
	for _, v := range []storage.Value{
		{Name: storage.ServerDUID, Data: []byte{0, 4, 1}},
		{Name: storage.TimeFloor, Data: make([]byte, 8)},
		{Name: long, Data: []byte("x")},
		{Name: "empty", Data: []byte{}}, // is there, unlike a removed one
		{Name: storage.TimeFloor, Data: []byte("otherwise")},
		{Name: long},
		{Name: "never set"},
	} {
		b := new(storage.Batch)
		b.Set(v.Name, v.Data)
		mustCommit(t, s, b)
		want.Apply(b)
		mustHold(t, s, want)
		s = mustReopen(t, s, reopen)
		mustHold(t, s, want)
	}
}

func testLastWins(t *testing.T, open Opener) {
	s, reopen := open(t)
	r := rand.New(rand.NewPCG(3, 3))
	p, q := RandomPrefix(r, 100), netip.MustParsePrefix("fd00::/64")
	b := new(storage.Batch)
	b.Put(RandomBinding(r, p))
	b.Delete(p)
	b.Put(RandomBinding(r, p))
	b.Put(RandomBinding(r, q))
	b.Delete(q)
	b.Set("v", []byte("1"))
	b.Set("v", nil)
	b.Set("v", []byte("2"))
	mustCommit(t, s, b)
	want := NewContent()
	want.Apply(b)
	mustHold(t, s, want)
	mustHold(t, mustReopen(t, s, reopen), want)
}

func testLargeBatch(t *testing.T, open Opener) {
	s, reopen := open(t)
	r := rand.New(rand.NewPCG(4, 4))
	b := new(storage.Batch)
	for range 20000 {
		b.Put(RandomBinding(r, RandomPrefix(r, 1<<16)))
	}
	mustCommit(t, s, b)
	want := NewContent()
	want.Apply(b)
	mustHold(t, s, want)
	mustHold(t, mustReopen(t, s, reopen), want)
}

func testLargeValue(t *testing.T, open Opener) {
	s, reopen := open(t)
	want := NewContent()
	for i := range 3 {
		b := new(storage.Batch)
		b.Set("large", []byte(strings.Repeat(fmt.Sprint(i), storage.DataLenMax)))
		b.Set("small", fmt.Append(nil, i))
		mustCommit(t, s, b)
		want.Apply(b)
	}
	mustHold(t, s, want)
	mustHold(t, mustReopen(t, s, reopen), want)
}

// The caller may use the memory of a batch again after Commit.
func testBatchIsCopied(t *testing.T, open Opener) {
	s, reopen := open(t)
	want := NewContent()
	var b storage.Batch
	data := []byte("first")
	for _, text := range []string{"first", "again"} {
		copy(data, text)
		b.Set(text, data)
		mustCommit(t, s, &b)
		want.Apply(&b)
		b.Reset()
	}
	copy(data, "spoil")
	mustHold(t, s, want)
	mustHold(t, mustReopen(t, s, reopen), want)
}

// Load returns the error of a callback as it is, and can be called again.
func testCallbackErrors(t *testing.T, open Opener) {
	s, _ := open(t)
	r := rand.New(rand.NewPCG(5, 5))
	b := new(storage.Batch)
	b.Put(RandomBinding(r, RandomPrefix(r, 10)))
	b.Set("v", []byte("1"))
	mustCommit(t, s, b)
	stop := errors.New("stop")
	bindingOK := func(*lease.Binding) error { return nil }
	if err := s.Load(func(*lease.Binding) error { return stop }, nil); err != stop {
		t.Errorf("Load with a failing callback for bindings: %v", err)
	}
	if err := s.Load(bindingOK, func(storage.Value) error { return stop }); err != stop {
		t.Errorf("Load with a failing callback for values: %v", err)
	}
	want := NewContent()
	want.Apply(b)
	mustHold(t, s, want)
}

func testClosed(t *testing.T, open Opener) {
	s, _ := open(t)
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	b := new(storage.Batch)
	b.Set("v", []byte("1"))
	if err := s.Commit(b); err == nil {
		t.Error("Commit after Close succeeded")
	}
	if _, err := Read(s); err == nil {
		t.Error("Load after Close succeeded")
	}
	if err := s.Close(); err == nil {
		t.Error("Close after Close succeeded")
	}
}

// Random batches against the obvious model, with the store opened anew and
// maintained in between.
func testRandomHistory(t *testing.T, open Opener) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			s, reopen := open(t)
			r := rand.New(rand.NewPCG(seed, 6))
			want := NewContent()
			for range 200 {
				switch r.IntN(10) {
				case 0:
					s = mustReopen(t, s, reopen)
				case 1:
					maintain(t, s, r.IntN(10))
				case 2:
					mustHold(t, s, want)
				default:
					b := RandomBatch(r, 1<<r.IntN(7), 300)
					mustCommit(t, s, b)
					want.Apply(b)
				}
			}
			mustHold(t, s, want)
			maintain(t, s, 1000)
			mustHold(t, s, want)
			mustHold(t, mustReopen(t, s, reopen), want)
		})
	}
}

// maintain calls Maintain up to n times, if s has it.
func maintain(t *testing.T, s storage.Store, n int) {
	t.Helper()
	m, ok := s.(storage.Maintainer)
	for more := ok; more && n > 0; n-- {
		var err error
		if more, err = m.Maintain(); err != nil {
			t.Fatalf("maintain: %v", err)
		}
	}
}
