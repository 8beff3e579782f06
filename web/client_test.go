package web

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

// list collects what a query finds.
func list(t *testing.T, op Operator, query LeaseQuery) []Lease {
	t.Helper()
	var all []Lease
	err := op.Leases(t.Context(), query, func(l Lease) error {
		all = append(all, l)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What an Operator has is what a Client gets.
func TestClientIsTheOperator(t *testing.T) {
	at := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	op := &memory{leases: manyLeases(3), text: "{ // text\n}", status: Status{
		Version: "v1", Since: at, Uptime_s: 99, ServerDUID: "00:04",
		Clock: Clock{Now: at, Trusted: true},
		Links: []Link{{Name: "lan", Interface: "eth0", State: LinkUp, Serving: true, Pools: []Pool{
			{Type: "IA_PD", Range: "2001:db8::/32", DelegatedLength: 64, Size: "18446744073709551616", Used: 2},
		}, RouterAdvertisements: &RouterAdvertisements{Source: "fe80::1", Message: "wait", Sent: 1, SendErrors: 2, Solicitations: 3}}},
		Leases:        map[string]int{"ACTIVE": 3},
		Counters:      Counters{Received: 1 << 63, Dropped: map[string]uint64{"truncated": 4}, Oversized: 5, Truncated: 6, SendErrors: 7},
		Storage:       Storage{File: "/perm/leases.db", Size_bytes: 1 << 40, LastCommit_us: 1500},
		Configuration: Configuration{File: "/perm/config.json", LoadedAt: at, LastProblem: "line 3"},

		NetworkProblems: []string{"interface eth1 does not exist yet"},
	}}
	c := start(t, op)
	s, err := c.Status(t.Context())
	if err != nil || !reflect.DeepEqual(s, op.status) {
		t.Errorf("status\ngot  %+v\nwant %+v, %v", s, op.status, err)
	}
	if got := list(t, c, LeaseQuery{}); !reflect.DeepEqual(got, op.leases) {
		t.Errorf("leases\ngot  %+v\nwant %+v", got, op.leases)
	}
	if text, err := c.Config(t.Context()); err != nil || string(text) != op.text {
		t.Errorf("config %q, %v", text, err)
	}
	if p, err := c.CheckConfig(t.Context(), []byte("wrong\nodd")); err != nil || len(p) != 2 || p[0].Line != 1 || !p[1].Warning {
		t.Errorf("check: %+v, %v", p, err)
	}
	if p, err := c.ApplyConfig(t.Context(), []byte("wrong\nodd"), true); err != nil || ErrorCount(p) != 1 || op.saved != "" {
		t.Errorf("apply of a bad text: %+v, %v, saved %q", p, err, op.saved)
	}
	if p, err := c.ApplyConfig(t.Context(), []byte("odd"), false); err != nil || len(p) != 1 || op.text != "odd" || op.saved != "" {
		t.Errorf("apply: %+v, %v, in force %q, saved %q", p, err, op.text, op.saved)
	}
	if p, err := c.ApplyConfig(t.Context(), []byte("fine"), true); err != nil || len(p) != 0 || op.saved != "fine" {
		t.Errorf("apply: %+v, %v, saved %q", p, err, op.saved)
	}
	if err := c.ReleaseLease(t.Context(), "2001:db8:0:1:0::1000"); err != nil || len(op.leases) != 2 {
		t.Errorf("release: %v, %d leases are left", err, len(op.leases))
	}
	var e *Error
	if err := c.ReleaseLease(t.Context(), "2001:db8:0:1::1000"); !errors.As(err, &e) || e.Status != 404 || e.Hint != "list them" {
		t.Errorf("release of nothing: %#v", err)
	}
	if err := c.ReleaseLease(t.Context(), "nonsense"); !errors.As(err, &e) || e.Status != 400 {
		t.Errorf("release of nonsense: %v", err)
	}
	if err := c.SetAddressKey(t.Context(), " "+strings.ToUpper(goodKey)+"\n"); err != nil || op.key != goodKey {
		t.Errorf("set the key: %v, it is %q", err, op.key)
	}
	if key, err := c.AddressKey(t.Context()); err != nil || key != goodKey {
		t.Errorf("the key is %q, %v", key, err)
	}
	if err := c.SetAddressKey(t.Context(), "short"); !errors.As(err, &e) || e.Status != 400 || op.key != goodKey {
		t.Errorf("set a bad key: %v, it is %q", err, op.key)
	}
	if _, err := c.ApplyConfig(t.Context(), make([]byte, ConfigLenMax+1), true); !errors.As(err, &e) || e.Status != 400 {
		t.Errorf("apply of too much: %v", err)
	}
}

func TestPaging(t *testing.T) {
	op := &memory{leases: manyLeases(2500)}
	c := start(t, op)
	odd, err := ParseFilter("1:") // 1: is in every address of the link, so all match
	if err != nil {
		t.Fatal(err)
	}
	some, err := ParseFilter("7f")
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []struct {
		query LeaseQuery
		pages int
	}{
		{LeaseQuery{}, 3},
		{LeaseQuery{Filter: odd}, 3},
		{LeaseQuery{Filter: some}, 1},
		{LeaseQuery{Limit: 1}, 1},
		{LeaseQuery{Limit: 1000}, 1},
		{LeaseQuery{Limit: 1001}, 2},
		{LeaseQuery{Limit: 2500}, 3},
		{LeaseQuery{Limit: 5000}, 3},
		{LeaseQuery{After: op.leases[499].Prefix}, 3},
		{LeaseQuery{After: op.leases[499].Prefix, Limit: 2000}, 2},
		{LeaseQuery{After: op.leases[2499].Prefix}, 1},
	} {
		op.queries = nil
		got := list(t, c, q.query)
		if pages := len(op.queries); pages != q.pages {
			t.Errorf("%+v: %d pages, want %d", q.query, pages, q.pages)
		}
		if want := list(t, op, q.query); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v: %d rows, want %d", q.query, len(got), len(want))
		}
	}
}

// Leases come and go while somebody reads the list.
func TestPagingWhileLeasesChange(t *testing.T) {
	op := &memory{leases: manyLeases(1500)}
	c := start(t, op)
	seen := make(map[string]bool)
	err := c.Leases(t.Context(), LeaseQuery{}, func(l Lease) error {
		if seen[l.Prefix] {
			t.Errorf("%s is shown twice", l.Prefix)
		}
		seen[l.Prefix] = true
		if len(seen) == LeasesPerPageMax { // the cursor itself goes, and everything before it
			op.mu.Lock()
			op.leases = op.leases[LeasesPerPageMax:]
			op.mu.Unlock()
		}
		return nil
	})
	if err != nil || len(seen) != 1500 {
		t.Errorf("%d leases, %v", len(seen), err)
	}
}

func TestYieldStops(t *testing.T) {
	c := start(t, &memory{leases: manyLeases(10)})
	enough := errors.New("enough")
	n := 0
	err := c.Leases(t.Context(), LeaseQuery{}, func(Lease) error {
		if n++; n == 3 {
			return enough
		}
		return nil
	})
	if err != enough || n != 3 {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestListBreaksOff(t *testing.T) {
	c := start(t, &memory{leases: manyLeases(3), err: &Error{Status: 503, Text: "stopping", Hint: "wait"}})
	err := c.Leases(t.Context(), LeaseQuery{}, func(Lease) error { return nil })
	var e *Error
	if !errors.As(err, &e) || e.Text != "stopping" || e.Hint != "wait" {
		t.Errorf("%v", err)
	}
}

func TestCanceled(t *testing.T) {
	c := start(t, &memory{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestOtherPrograms: whatever listens on the socket, the client says so.
func TestOtherPrograms(t *testing.T) {
	lease, err := json.Marshal(manyLeases(1)[0])
	if err != nil {
		t.Fatal(err)
	}
	page := strings.Repeat(string(lease)+"\n", LeasesPerPageMax)
	for _, c := range []struct {
		name, answer, want string
	}{
		{"not HTTP", "SSH-2.0-OpenSSH_9.2\r\n", "broke off"},
		{"silence", "", "broke off"},
		{"some web server", "HTTP/1.0 404 Not Found\r\n\r\n<html>", "does not speak"},
		{"a page", "HTTP/1.0 200 OK\r\n\r\n<html>", "does not speak"},
		{"redirect", "HTTP/1.0 302 Found\r\nLocation: /elsewhere\r\n\r\n", "does not speak"},
		{"empty error", "HTTP/1.0 500 Oops\r\n\r\n{}", "does not speak"},
		{"cut", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}", "broke off"},
		{"a row without end", "HTTP/1.0 200 OK\r\n\r\n" + strings.Repeat("x", leaseLineLenMax+1), "broke off"},
		{"rows without end", "HTTP/1.0 200 OK\r\n\r\n" + page + page, "more than 1000 leases in a page"},
		{"the same page", "HTTP/1.0 200 OK\r\n\r\n" + page, "does not get beyond"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := t.TempDir() + "/s"
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go answerAll(l, c.answer)
			err = NewClient(path).Leases(t.Context(), LeaseQuery{}, func(Lease) error { return nil })
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(e.Text, c.want) || e.Hint == "" {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

// answerAll gives the same answer to everybody until l is closed.
func answerAll(l net.Listener, answer string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		conn.Read(make([]byte, 4096)) // the request, or an answer nobody waits for would be a reset
		conn.Write([]byte(answer))
		conn.Close()
	}
}

func TestUnreachable(t *testing.T) {
	path := t.TempDir() + "/s"
	_, err := NewClient(path).Status(t.Context())
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "there is no such socket") {
		t.Errorf("%v", err)
	}
	stale(t, path)
	_, err = NewClient(path).Status(t.Context())
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "nothing listens there") {
		t.Errorf("%v", err)
	}
}

// A client behind a proxy variable still talks to the socket.
func TestNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:1")
	if _, err := start(t, &memory{}).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

// The largest filter fits into the limits of the server's headers.
func TestLongestFilter(t *testing.T) {
	f, err := ParseFilter(strings.Repeat("\xff", FilterLenMax))
	if err != nil {
		t.Fatal(err)
	}
	if got := list(t, start(t, &memory{leases: manyLeases(1)}), LeaseQuery{Filter: f}); len(got) != 0 {
		t.Errorf("%d rows", len(got))
	}
}

func TestHugeHeaders(t *testing.T) {
	c := start(t, &memory{})
	_, err := c.do(t.Context(), http.MethodGet, "/api/v1/leases?filter="+strings.Repeat("a", 2*headerLenMax), nil, "")
	if err == nil {
		t.Error("accepted")
	}
}
