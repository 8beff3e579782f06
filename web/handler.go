package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// actionLenMax is the largest body of an action, in octets: one prefix.
const actionLenMax = 4 << 10

// The content types of the API.
const (
	jsonType   = "application/json"
	ndjsonType = "application/x-ndjson"
	textType   = "text/plain; charset=utf-8"
)

// NewHandler returns the JSON API of the daemon behind op. It answers every
// path, those that it does not know with an error of the API, so mount it at /
// of its own socket or at /api/ beside other handlers.
func NewHandler(op Operator) http.Handler { return &handler{op} }

type handler struct{ op Operator }

// An endpoint answers one request, or returns an error before it has written
// anything.
type endpoint func(*handler, http.ResponseWriter, *http.Request) error

// routes are the endpoints by path and method.
var routes = map[string]map[string]endpoint{
	"/api/v1/status":         {http.MethodGet: (*handler).status},
	"/api/v1/leases":         {http.MethodGet: (*handler).leases},
	"/api/v1/leases/release": {http.MethodPost: (*handler).release},
	"/api/v1/config":         {http.MethodGet: (*handler).config, http.MethodPut: (*handler).apply},
	"/api/v1/config/check":   {http.MethodPost: (*handler).check},
	"/api/v1/address-key":    {http.MethodGet: (*handler).addressKey, http.MethodPut: (*handler).setAddressKey},
}

// ServeHTTP answers one request of the API.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store") // leases are personal data, and all of it changes
	w.Header().Set("X-Content-Type-Options", "nosniff")
	endpoint, err := route(w, r)
	if err == nil {
		ctx, cancel := context.WithTimeout(r.Context(), OperationTimeMax)
		defer cancel()
		err = endpoint(h, w, r.WithContext(ctx))
	}
	if err != nil {
		e := asError(err)
		writeJSON(w, e.Status, refusal{e.Text, e.Hint, e.problems})
	}
}

// route finds the endpoint of a request.
func route(w http.ResponseWriter, r *http.Request) (endpoint, error) {
	methods := routes[r.URL.Path]
	if methods == nil {
		return nil, &Error{
			Status: http.StatusNotFound,
			Text:   "there is no " + quoted(r.URL.Path),
			Hint:   "the API of this version is below /api/v1/: status, leases, leases/release, config, config/check, address-key",
		}
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // net/http leaves the body out
	}
	if e := methods[method]; e != nil {
		return e, nil
	}
	var allowed []string
	for m := range methods {
		allowed = append(allowed, m)
	}
	slices.Sort(allowed)
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return nil, &Error{
		Status: http.StatusMethodNotAllowed,
		Text:   r.URL.Path + " does not know the method " + quoted(r.Method),
		Hint:   "it knows " + strings.Join(allowed, " and "),
	}
}

// refusal is the body of every answer that is not a success.
type refusal struct {
	Error    string    `json:"error,omitempty"`
	Hint     string    `json:"hint,omitempty"`
	Problems []Problem `json:"problems,omitempty"`
}

// verdict is the answer to a configuration that was checked or applied.
type verdict struct {
	Problems []Problem `json:"problems"`
}

// action is the body of a request to do something to one lease.
type action struct {
	Prefix string `json:"prefix"`
}

func (h *handler) status(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r); err != nil {
		return err
	}
	s, err := h.op.Status(r.Context())
	if err != nil {
		return err
	}
	s.fill()
	writeJSON(w, http.StatusOK, &s)
	return nil
}

// fill makes empty lists of missing ones: scripts want [] and {}, not null.
func (s *Status) fill() {
	s.Links = slices.Clone(s.Links) // the Operator's own
	if s.Links == nil {
		s.Links = []Link{}
	}
	for i := range s.Links {
		if s.Links[i].Pools == nil {
			s.Links[i].Pools = []Pool{}
		}
	}
	if s.NetworkProblems == nil {
		s.NetworkProblems = []string{}
	}
	if s.Leases == nil {
		s.Leases = map[string]int{}
	}
	if s.Counters.Dropped == nil {
		s.Counters.Dropped = map[string]uint64{}
	}
}

func (h *handler) leases(w http.ResponseWriter, r *http.Request) error {
	query, err := leaseQuery(r)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", ndjsonType)
	out := json.NewEncoder(w)
	written := false
	err = h.op.Leases(r.Context(), query, func(l Lease) error {
		written = true
		return out.Encode(&l)
	})
	if err != nil && written {
		// The status code has left already, so the last line tells.
		e := asError(err)
		out.Encode(refusal{Error: e.Text, Hint: e.Hint})
		return nil
	}
	return err
}

// leaseQuery reads what a page of leases shall hold.
func leaseQuery(r *http.Request) (LeaseQuery, error) {
	values, err := parameters(r, "filter", "after", "limit")
	if err != nil {
		return LeaseQuery{}, err
	}
	query := LeaseQuery{Limit: LeasesPerPageMax}
	if query.Filter, err = ParseFilter(values.Get("filter")); err != nil {
		return LeaseQuery{}, err
	}
	if after := values.Get("after"); after != "" {
		if query.After, err = CanonicalPrefix(after); err != nil {
			return LeaseQuery{}, err
		}
	}
	if limit := values.Get("limit"); limit != "" {
		query.Limit, err = strconv.Atoi(limit)
		if err != nil || query.Limit < 1 || query.Limit > LeasesPerPageMax {
			return LeaseQuery{}, badRequest(
				fmt.Sprintf("limit %s is not a number from 1 to %d", quoted(limit), LeasesPerPageMax),
				"for more, ask again with after=, the prefix of the last lease")
		}
	}
	return query, nil
}

func (h *handler) release(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r); err != nil {
		return err
	}
	var a action
	if err := readJSON(w, r, &a); err != nil {
		return err
	}
	prefix, err := CanonicalPrefix(a.Prefix)
	if err != nil {
		return err
	}
	if err := h.op.ReleaseLease(r.Context(), prefix); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, action{prefix})
	return nil
}

func (h *handler) config(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r); err != nil {
		return err
	}
	text, err := h.op.Config(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", textType)
	w.Write(text) // an error here means that nobody listens any more
	return nil
}

func (h *handler) check(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r); err != nil {
		return err
	}
	text, err := readBody(w, r, ConfigLenMax)
	if err != nil {
		return err
	}
	problems, err := h.op.CheckConfig(r.Context(), text)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, verdict{append([]Problem{}, problems...)})
	return nil
}

func (h *handler) apply(w http.ResponseWriter, r *http.Request) error {
	values, err := parameters(r, "persist")
	if err != nil {
		return err
	}
	persist := true
	if v := values.Get("persist"); v != "" {
		if persist, err = strconv.ParseBool(v); err != nil {
			return badRequest("persist "+quoted(v)+" is neither true nor false", "")
		}
	}
	text, err := readBody(w, r, ConfigLenMax)
	if err != nil {
		return err
	}
	problems, err := h.op.ApplyConfig(r.Context(), text, persist)
	if err != nil {
		return err
	}
	if n := ErrorCount(problems); n > 0 {
		return &Error{
			Status:   http.StatusUnprocessableEntity,
			Text:     fmt.Sprintf("the configuration was refused: errors: %d", n),
			Hint:     "nothing has changed",
			problems: problems,
		}
	}
	writeJSON(w, http.StatusOK, verdict{append([]Problem{}, problems...)})
	return nil
}

// secret is the address key, asked for or sent.
type secret struct {
	AddressKey string `json:"address-key"`
}

func (h *handler) addressKey(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r); err != nil {
		return err
	}
	key, err := h.op.AddressKey(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, secret{key})
	return nil
}

func (h *handler) setAddressKey(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r); err != nil {
		return err
	}
	var s secret
	if err := readJSON(w, r, &s); err != nil {
		return err
	}
	key, err := ParseAddressKey(s.AddressKey)
	if err != nil {
		return err
	}
	if err := h.op.SetAddressKey(r.Context(), key); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct{}{})
	return nil
}

// parameters reads the query string. A parameter that is misspelled or given
// twice is refused: ignoring it would list, or change, something else.
func parameters(r *http.Request, allowed ...string) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the query "+quoted(r.URL.RawQuery)+" is malformed", "encode special characters as %XX")
	}
	for name, v := range values {
		if !slices.Contains(allowed, name) {
			hint := "this request has none"
			if len(allowed) > 0 {
				hint = "there are: " + strings.Join(allowed, ", ")
			}
			return nil, badRequest("there is no parameter "+quoted(name), hint)
		}
		if len(v) > 1 {
			return nil, badRequest("the parameter "+name+" is given more than once", "")
		}
	}
	return values, nil
}

// readBody reads the whole body, at most max octets.
func readBody(w http.ResponseWriter, r *http.Request, max int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, max))
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return nil, &Error{
			Status: http.StatusRequestEntityTooLarge,
			Text:   fmt.Sprintf("the body is longer than the %d octets that are allowed", max),
			Err:    err,
		}
	}
	if err != nil {
		return nil, &Error{Status: http.StatusBadRequest, Text: "the body could not be read: " + err.Error(), Err: err}
	}
	return body, nil
}

// readJSON reads a body that is exactly one JSON value with known keys.
func readJSON(w http.ResponseWriter, r *http.Request, into any) error {
	// A page of another site can send a form, but not this type, without asking first.
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != jsonType {
		return &Error{Status: http.StatusUnsupportedMediaType, Text: "the body is not declared to be JSON", Hint: "set Content-Type: " + jsonType}
	}
	body, err := readBody(w, r, actionLenMax)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return &Error{Status: http.StatusBadRequest, Text: "the body is not the JSON that belongs here: " + err.Error(), Err: err}
	}
	if _, err := d.Token(); err != io.EOF {
		return badRequest("the body goes on after its JSON value", "")
	}
	return nil
}

// writeJSON answers with one JSON value. A client that has gone is no error.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
