package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// ask sends one request to a handler and returns the answer.
func ask(h http.Handler, method, target, contentType, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestRefusals(t *testing.T) {
	op := &memory{leases: manyLeases(3), text: "good\n", key: "old"}
	h := NewHandler(op)
	for _, c := range []struct {
		name, method, target, contentType, body string
		status                                  int
		text                                    string // part of the error
	}{
		{"unknown path", "GET", "/api/v1/lease", "", "", 404, `there is no \"/api/v1/lease\"`},
		{"root", "GET", "/", "", "", 404, "there is no"},
		{"longer path", "GET", "/api/v1/status/", "", "", 404, "there is no"},
		{"other version", "GET", "/api/v2/status", "", "", 404, "there is no"},
		{"wrong method", "POST", "/api/v1/status", "", "", 405, "does not know the method"},
		{"wrong method for a change", "GET", "/api/v1/leases/release", "", "", 405, "it knows POST"},
		{"delete configuration", "DELETE", "/api/v1/config", "", "", 405, "it knows GET and PUT"},
		{"unknown parameter", "GET", "/api/v1/leases?filer=x", "", "", 400, `no parameter \"filer\"`},
		{"parameter where none is", "GET", "/api/v1/status?verbose=1", "", "", 400, "this request has none"},
		{"repeated parameter", "GET", "/api/v1/leases?limit=1&limit=2", "", "", 400, "more than once"},
		{"malformed query", "GET", "/api/v1/leases?filter=%zz", "", "", 400, "malformed"},
		{"filter too long", "GET", "/api/v1/leases?filter=" + strings.Repeat("a", FilterLenMax+1), "", "", 400, "too long"},
		{"limit no number", "GET", "/api/v1/leases?limit=many", "", "", 400, "limit"},
		{"limit zero", "GET", "/api/v1/leases?limit=0", "", "", 400, "limit"},
		{"limit negative", "GET", "/api/v1/leases?limit=-1", "", "", 400, "limit"},
		{"limit too large", "GET", "/api/v1/leases?limit=1001", "", "", 400, "from 1 to 1000"},
		{"limit beyond 64 bits", "GET", "/api/v1/leases?limit=99999999999999999999", "", "", 400, "limit"},
		{"cursor no prefix", "GET", "/api/v1/leases?after=lan", "", "", 400, "neither an IPv6 address nor a prefix"},
		{"cursor of IPv4", "GET", "/api/v1/leases?after=192.0.2.1", "", "", 400, "neither"},
		{"cursor with host bits", "GET", "/api/v1/leases?after=2001:db8::1/56", "", "", 400, "did you mean 2001:db8::/56?"},
		{"not declared", "POST", "/api/v1/leases/release", "", `{"prefix":"2001:db8:0:1::1000"}`, 415, "not declared"},
		{"declared as a form", "POST", "/api/v1/leases/release", "text/plain", `{"prefix":"2001:db8:0:1::1000"}`, 415, "not declared"},
		{"empty body", "POST", "/api/v1/leases/release", jsonType, "", 400, "not the JSON"},
		{"malformed JSON", "POST", "/api/v1/leases/release", jsonType, `{"prefix":`, 400, "not the JSON"},
		{"wrong type", "POST", "/api/v1/leases/release", jsonType, `{"prefix":7}`, 400, "not the JSON"},
		{"unknown key", "POST", "/api/v1/leases/release", jsonType, `{"prefixes":"2001:db8:0:1::1000"}`, 400, "prefixes"},
		{"two values", "POST", "/api/v1/leases/release", jsonType, `{"prefix":"2001:db8:0:1::1000"}{}`, 400, "goes on"},
		{"no prefix", "POST", "/api/v1/leases/release", jsonType, `{}`, 400, "neither"},
		{"zone", "POST", "/api/v1/leases/release", jsonType, `{"prefix":"fe80::1%eth0"}`, 400, "neither"},
		{"mapped IPv4", "POST", "/api/v1/leases/release", jsonType, `{"prefix":"::ffff:192.0.2.1"}`, 400, "neither"},
		{"long nonsense", "POST", "/api/v1/leases/release", jsonType, `{"prefix":"` + strings.Repeat("x", 1000) + `"}`, 400, `xxx\"... is neither`},
		{"unknown lease", "POST", "/api/v1/leases/release", jsonType, `{"prefix":"2001:db8::7"}`, 404, "there is no lease 2001:db8::7"},
		{"oversize action", "POST", "/api/v1/leases/release", jsonType, strings.Repeat(" ", actionLenMax+1), 413, "longer than the 4096 octets"},
		{"oversize configuration", "PUT", "/api/v1/config", "", strings.Repeat(" ", ConfigLenMax+1), 413, "longer than"},
		{"oversize check", "POST", "/api/v1/config/check", "", strings.Repeat(" ", ConfigLenMax+1), 413, "longer than"},
		{"key not declared", "PUT", "/api/v1/address-key", "", `{"address-key":"` + goodKey + `"}`, 415, "not declared"},
		{"key too short", "PUT", "/api/v1/address-key", jsonType, `{"address-key":"` + goodKey[1:] + `"}`, 400, "has 63 hexadecimal digits, it needs 64"},
		{"key too long", "PUT", "/api/v1/address-key", jsonType, `{"address-key":"` + goodKey + `0"}`, 400, "has 65"},
		{"no key", "PUT", "/api/v1/address-key", jsonType, `{}`, 400, "has 0"},
		{"wrong method for the key", "POST", "/api/v1/address-key", jsonType, `{}`, 405, "it knows GET and PUT"},
		{"parameter of the key", "GET", "/api/v1/address-key?key=" + goodKey, "", "", 400, "no parameter"},
		{"bad persist", "PUT", "/api/v1/config?persist=maybe", "", "good", 400, "neither true nor false"},
		{"bad configuration", "PUT", "/api/v1/config", "", "wrong", 422, `"problems":[{"line":1,"column":1,"path":"links.lan","text":"wrong"}]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := ask(h, c.method, c.target, c.contentType, c.body)
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.text) {
				t.Errorf("%d %s, want %d and %s", w.Code, w.Body, c.status, c.text)
			}
			var body refusal
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Error == "" {
				t.Errorf("%s is no error of the API (%v)", w.Body, err)
			}
			if w.Code == 405 && w.Header().Get("Allow") == "" {
				t.Error("405 without Allow (RFC 9110 section 15.5.6)")
			}
		})
	}
	if len(op.leases) != 3 || op.text != "good\n" || op.key != "old" {
		t.Error("a refused request has changed something")
	}
}

func TestStatusHasNoNull(t *testing.T) {
	op := &memory{status: Status{Links: []Link{{Name: "lan"}}}}
	w := ask(NewHandler(op), "GET", "/api/v1/status", "", "")
	if w.Code != 200 || strings.Contains(w.Body.String(), "null") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if op.status.Links[0].Pools != nil {
		t.Error("the Operator's own value was changed")
	}
}

func TestHead(t *testing.T) {
	if w := ask(NewHandler(&memory{}), "HEAD", "/api/v1/status", "", ""); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestConfigRoundTrip(t *testing.T) {
	op := &memory{text: "first"}
	h := NewHandler(op)
	for _, c := range []struct{ method, target, body, want, text, saved string }{
		{"GET", "/api/v1/config", "", "first", "first", ""},
		{"POST", "/api/v1/config/check", "wrong", `{"problems":[{"line":1,"column":1,"path":"links.lan","text":"wrong"}]}` + "\n", "first", ""},
		{"POST", "/api/v1/config/check", "fine", `{"problems":[]}` + "\n", "first", ""},
		{"PUT", "/api/v1/config?persist=false", "second", `{"problems":[]}` + "\n", "second", ""},
		{"PUT", "/api/v1/config", "odd", `{"problems":[{"line":1,"text":"odd","warning":true}]}` + "\n", "odd", "odd"},
		{"GET", "/api/v1/config", "", "odd", "odd", "odd"},
	} {
		w := ask(h, c.method, c.target, "", c.body)
		if w.Code != 200 || w.Body.String() != c.want {
			t.Errorf("%s %s: %d %s, want %s", c.method, c.target, w.Code, w.Body, c.want)
		}
		if op.text != c.text || op.saved != c.saved {
			t.Errorf("%s %s: in force %q, saved %q", c.method, c.target, op.text, op.saved)
		}
	}
}

// The cursor and the prefix reach the Operator in one spelling.
func TestCanonical(t *testing.T) {
	op := &memory{leases: manyLeases(5)}
	h := NewHandler(op)
	w := ask(h, "GET", "/api/v1/leases?after=2001:0DB8:0:1:0:0:0:1001/128&limit=2&filter=%20LAN", "", "")
	if n := strings.Count(w.Body.String(), "\n"); w.Code != 200 || n != 2 || w.Header().Get("Content-Type") != ndjsonType {
		t.Errorf("%d, %d rows, %v", w.Code, n, w.Header())
	}
	if q := op.queries[0]; q.After != "2001:db8:0:1::1001" || q.Limit != 2 || q.Filter.String() != "LAN" {
		t.Errorf("query %+v", q)
	}
	if w := ask(h, "POST", "/api/v1/leases/release", "application/json; charset=utf-8", `{"prefix":"2001:DB8:0:1::1002/128"}`); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if len(op.leases) != 4 {
		t.Errorf("%d leases are left", len(op.leases))
	}
}

func TestErrorInTheMiddleOfAList(t *testing.T) {
	op := &memory{leases: manyLeases(2), err: &Error{Status: 503, Text: "stopping", Hint: "wait"}}
	w := ask(NewHandler(op), "GET", "/api/v1/leases", "", "")
	lines := strings.Split(w.Body.String(), "\n")
	if len(lines) != 4 || lines[2] != `{"error":"stopping","hint":"wait"}` {
		t.Errorf("%s", w.Body)
	}
	op.leases = nil
	if w := ask(NewHandler(op), "GET", "/api/v1/leases", "", ""); w.Code != 503 || w.Header().Get("Content-Type") != jsonType {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestInternalErrors(t *testing.T) {
	for _, err := range []error{errors.New("disk on fire"), fmt.Errorf("cannot: %w", &Error{Status: 0, Text: "disk on fire"})} {
		op := &memory{err: err}
		for _, target := range []string{"/api/v1/status", "/api/v1/leases", "/api/v1/config", "/api/v1/address-key"} {
			if w := ask(NewHandler(op), "GET", target, "", ""); w.Code != 500 || !strings.Contains(w.Body.String(), "disk on fire") {
				t.Errorf("%s: %d %s", target, w.Code, w.Body)
			}
		}
	}
}

// A body that stalls is cut by the server's own limits; one that lies about its
// length is a bad request.
func TestTruncatedBody(t *testing.T) {
	r := httptest.NewRequest("PUT", "/api/v1/config", io.MultiReader(strings.NewReader("half"), failing{}))
	w := httptest.NewRecorder()
	op := &memory{text: "whole"}
	NewHandler(op).ServeHTTP(w, r)
	if w.Code != 400 || op.text != "whole" {
		t.Errorf("%d %s, in force %q", w.Code, w.Body, op.text)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestErrorCount(t *testing.T) {
	if n := ErrorCount([]Problem{{}, {Warning: true}, {}}); n != 2 {
		t.Errorf("%d", n)
	}
}

// TestLeaseKeys holds the keys that scripts use. They are added to, never changed.
func TestLeaseKeys(t *testing.T) {
	at := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	l := Lease{
		Prefix: "2001:db8::/56", Type: "IA_PD", Link: "lan", Client: "00:01", IAID: 7, Hostname: "nas", Status: "ACTIVE", Since: at,
		Expires: at, Remaining_s: 1, Preferred_s: 2, Valid_s: 3, LastTransaction: at, Via: "fe80::1", Route: "installed",
	}
	got, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"prefix":"2001:db8::/56","type":"IA_PD","link":"lan","client":"00:01","iaid":7,"hostname":"nas","status":"ACTIVE",` +
		`"since":"2027-01-02T03:04:05Z","expires":"2027-01-02T03:04:05Z","remaining-s":1,"preferred-s":2,"valid-s":3,` +
		`"last-transaction":"2027-01-02T03:04:05Z","via":"fe80::1","route":"installed"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzHandler(f *testing.F) {
	f.Add("GET", "/api/v1/leases?filter=02-00&after=2001:db8::&limit=5", "", "")
	f.Add("POST", "/api/v1/leases/release", "application/json", `{"prefix":"2001:db8::1"}`)
	f.Add("PUT", "/api/v1/config?persist=0", "text/plain", "wrong\nodd\n")
	f.Add("POST", "/api/v1/config/check", "", "\x00\xff")
	f.Add("PUT", "/api/v1/address-key", "application/json", `{"address-key":"`+goodKey+`"}`)
	f.Add("BREW", "/%2e%2e/api", "x", "{")
	f.Fuzz(func(t *testing.T, method, target, contentType, body string) {
		r, err := http.NewRequest(method, "http://tandem6d"+target, strings.NewReader(body))
		if err != nil {
			return // net/http does not let it pass either
		}
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		NewHandler(&memory{leases: manyLeases(3)}).ServeHTTP(w, r)
		switch w.Code {
		case 200:
		case 400, 404, 405, 413, 415, 422:
			var body refusal
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Error == "" {
				t.Errorf("%d with the body %q", w.Code, w.Body)
			}
		default:
			t.Errorf("%s %q: %d %s", method, target, w.Code, w.Body)
		}
	})
}
