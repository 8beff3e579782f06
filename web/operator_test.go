package web

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// memory is an Operator on values in memory: the tests are about what happens
// between it and the one who asks. It keeps the promises of the interface.
type memory struct {
	status Status
	err    error // what every method fails with, when set

	mu      sync.Mutex
	leases  []Lease // by address, then length
	text    string  // configuration in force
	key     string  // address key
	saved   string  // configuration in the file
	queries []LeaseQuery
}

func (m *memory) Status(context.Context) (Status, error) { return m.status, m.err }

func (m *memory) Leases(ctx context.Context, query LeaseQuery, yield func(Lease) error) error {
	m.mu.Lock()
	rows := slices.Clone(m.leases)
	m.queries = append(m.queries, query)
	m.mu.Unlock()
	n := 0
	for _, l := range rows {
		if query.After != "" && compare(l.Prefix, query.After) <= 0 || !query.Filter.Match(&l) {
			continue
		}
		if err := yield(l); err != nil {
			return err
		}
		if n++; n == query.Limit {
			return nil
		}
	}
	return m.err
}

func compare(a, b string) int {
	p, err := parsePrefix(a)
	if err != nil {
		panic(err)
	}
	q, err := parsePrefix(b)
	if err != nil {
		panic(err)
	}
	if c := p.Addr().Compare(q.Addr()); c != 0 {
		return c
	}
	return p.Bits() - q.Bits()
}

func (m *memory) ReleaseLease(_ context.Context, prefix string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.leases, func(l Lease) bool { return l.Prefix == prefix })
	if i < 0 {
		return &Error{Status: http.StatusNotFound, Text: "there is no lease " + prefix, Hint: "list them"}
	}
	m.leases = slices.Delete(m.leases, i, i+1)
	return m.err
}

func (m *memory) Config(context.Context) ([]byte, error) { return []byte(m.text), m.err }

func (m *memory) CheckConfig(_ context.Context, text []byte) ([]Problem, error) {
	var problems []Problem
	for i, line := range strings.Split(string(text), "\n") {
		if strings.Contains(line, "wrong") {
			problems = append(problems, Problem{Line: i + 1, Column: 1, Path: "links.lan", Text: line})
		}
		if strings.Contains(line, "odd") {
			problems = append(problems, Problem{Line: i + 1, Text: line, Warning: true})
		}
	}
	return problems, m.err
}

func (m *memory) ApplyConfig(ctx context.Context, text []byte, persist bool) ([]Problem, error) {
	problems, err := m.CheckConfig(ctx, text)
	if err == nil && ErrorCount(problems) == 0 {
		m.text = string(text)
		if persist {
			m.saved = m.text
		}
	}
	return problems, err
}

func (m *memory) AddressKey(context.Context) (string, error) { return m.key, m.err }

func (m *memory) SetAddressKey(_ context.Context, key string) error {
	if m.err == nil {
		m.key = key
	}
	return m.err
}

// manyLeases are n leases of neighbouring addresses.
func manyLeases(n int) []Lease {
	leases := make([]Lease, n)
	a := netip.MustParseAddr("2001:db8:0:1::1000")
	for i := range leases {
		leases[i] = Lease{
			Prefix: a.String(), Type: "IA_NA", Link: "lan", IAID: uint32(i), Status: "ACTIVE",
			Client:  fmt.Sprintf("00:03:00:01:02:00:%02x:%02x:%02x:%02x", i>>24&255, i>>16&255, i>>8&255, i&255),
			Expires: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), Remaining_s: 5400, Preferred_s: 2700, Valid_s: 5400,
		}
		a = a.Next()
	}
	return leases
}

// start serves op on a real socket of its own until the test ends.
func start(t *testing.T, op Operator) *Client {
	t.Helper()
	path := t.TempDir() + "/s"
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- Serve(ctx, l, NewHandler(op)) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return NewClient(path)
}
