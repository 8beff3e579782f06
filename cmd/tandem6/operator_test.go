package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tandem6/tandem6/web"
)

// scripted is an Operator made of the files of a test: what the program does
// with the answers of a daemon is the matter here; real daemons are asked in
// the end-to-end tests. It serves through web's own handlers and socket.
type scripted struct {
	dir  string     // holds status.json, leases.ndjson, config.json; all may be missing
	many int        // leases made up after those of the file
	mu   sync.Mutex // applying replaces files
}

func (o *scripted) Status(context.Context) (web.Status, error) {
	var s web.Status
	text, err := os.ReadFile(filepath.Join(o.dir, "status.json"))
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(text, &s)
}

func (o *scripted) Leases(ctx context.Context, query web.LeaseQuery, yield func(web.Lease) error) error {
	n := 0
	err := o.eachLease(ctx, query.After, func(l web.Lease) error {
		if query.After != "" && !behind(l.Prefix, query.After) || !query.Filter.Match(&l) {
			return nil
		}
		if n++; query.Limit != 0 && n > query.Limit {
			return errEnough
		}
		return yield(l)
	})
	if err == errEnough {
		return nil
	}
	return err
}

var errEnough = errors.New("enough rows")

// behind reports whether a lease follows the cursor in the order of the API.
func behind(prefix, cursor string) bool {
	a, b := parsePrefix(prefix), parsePrefix(cursor)
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c > 0
	}
	return a.Bits() > b.Bits()
}

func parsePrefix(text string) netip.Prefix {
	if !strings.Contains(text, "/") {
		text += "/128"
	}
	return netip.MustParsePrefix(text)
}

// eachLease shows the leases of the file, then the made-up ones, those before
// the cursor left out where that is easy.
func (o *scripted) eachLease(ctx context.Context, cursor string, show func(web.Lease) error) error {
	text, err := os.ReadFile(filepath.Join(o.dir, "leases.ndjson"))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for line := range bytes.Lines(text) {
		if problem, ok := bytes.CutPrefix(line, []byte("fail ")); ok {
			return &web.Error{Status: http.StatusServiceUnavailable, Text: strings.TrimSpace(string(problem)), Hint: "try again"}
		}
		var l web.Lease
		if err := json.Unmarshal(line, &l); err != nil {
			return err
		}
		if err := show(l); err != nil {
			return err
		}
	}
	for i := madeUpAfter(cursor); i < uint32(o.many); i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := show(madeUp(i)); err != nil {
			return err
		}
	}
	return nil
}

// The made-up leases have the addresses 2001:db8:ffff::1000:0 and following.
var madeUpPrefix = netip.MustParsePrefix("2001:db8:ffff::/64")

const madeUpFirst = 0x1000_0000

func madeUp(i uint32) web.Lease {
	a := madeUpPrefix.Addr().As16()
	binary.BigEndian.PutUint32(a[12:], madeUpFirst+i)
	return web.Lease{
		Prefix: netip.AddrFrom16(a).String(), Type: "IA_NA", Link: "lan", IAID: 1, Status: "ACTIVE",
		Client:      fmt.Sprintf("00:03:00:01:02:00:00:%02x:%02x:%02x", i>>16&255, i>>8&255, i&255),
		Remaining_s: 5400, Preferred_s: 2700, Valid_s: 5400,
	}
}

// madeUpAfter is the number of the first made-up lease behind the cursor.
func madeUpAfter(cursor string) uint32 {
	if cursor == "" || !madeUpPrefix.Contains(parsePrefix(cursor).Addr()) {
		return 0
	}
	a := parsePrefix(cursor).Addr().As16()
	return binary.BigEndian.Uint32(a[12:]) - madeUpFirst + 1
}

func (o *scripted) ReleaseLease(_ context.Context, prefix string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	file := filepath.Join(o.dir, "leases.ndjson")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	lines := slices.Collect(bytes.Lines(text))
	kept := slices.DeleteFunc(slices.Clone(lines), func(line []byte) bool {
		return bytes.Contains(line, []byte(`"prefix":"`+prefix+`"`))
	})
	if len(kept) == len(lines) {
		return &web.Error{Status: http.StatusNotFound, Text: "there is no lease " + prefix, Hint: "tandem6 leases lists what there is"}
	}
	return os.WriteFile(file, bytes.Join(kept, nil), 0o600)
}

func (o *scripted) Config(context.Context) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return os.ReadFile(filepath.Join(o.dir, "config.json"))
}

// CheckConfig knows two mistakes: lines that hold "bad" and, less grave, "odd".
func (o *scripted) CheckConfig(_ context.Context, text []byte) ([]web.Problem, error) {
	var problems []web.Problem
	for i, line := range strings.Split(string(text), "\n") {
		for _, word := range []string{"bad", "odd"} {
			if column := strings.Index(line, word); column >= 0 {
				problems = append(problems, web.Problem{
					Line: i + 1, Column: column + 1, Path: "links.lan", Text: "found " + strings.TrimSpace(line), Warning: word == "odd",
				})
			}
		}
	}
	return problems, nil
}

func (o *scripted) ApplyConfig(ctx context.Context, text []byte, persist bool) ([]web.Problem, error) {
	problems, err := o.CheckConfig(ctx, text)
	if err != nil || web.ErrorCount(problems) > 0 {
		return problems, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if persist {
		if err := os.WriteFile(filepath.Join(o.dir, "saved.json"), text, 0o600); err != nil {
			return nil, err
		}
	}
	return problems, os.WriteFile(filepath.Join(o.dir, "config.json"), text, 0o600)
}

// The key file is as the daemon spells keys, and a new line.
func (o *scripted) AddressKey(context.Context) (string, error) {
	text, err := os.ReadFile(filepath.Join(o.dir, "key"))
	return strings.TrimSpace(string(text)), err
}

func (o *scripted) SetAddressKey(_ context.Context, key string) error {
	return os.WriteFile(filepath.Join(o.dir, "key"), []byte(key+"\n"), 0o600)
}

// A gate is an Operator whose second page waits until the first was read.
type gate struct {
	scripted
	open chan struct{}
}

func (g *gate) Leases(ctx context.Context, query web.LeaseQuery, yield func(web.Lease) error) error {
	if query.After != "" {
		select {
		case <-g.open:
		case <-time.After(time.Minute):
			return fmt.Errorf("nobody read the first page")
		}
	}
	return g.scripted.Leases(ctx, query, yield)
}
