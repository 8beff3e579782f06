package web

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// Limits of a Client.
const (
	answerLenMax    = 16 << 20         // octets of an answer: a status of ten thousand pools, a list of problems
	leaseLineLenMax = 16 << 10         // octets of one lease
	answerTimeMax   = 90 * time.Second // for one request, beyond the server's own limits
)

// Client asks a daemon over its Unix socket. It is an Operator: what the daemon
// refuses comes back as the *Error that its Operator returned.
type Client struct {
	socket string
	http   *http.Client
}

var _ Operator = (*Client)(nil)

// NewClient returns a client of the daemon that listens on socket. It connects
// when it is asked something.
func NewClient(socket string) *Client {
	dialer := &net.Dialer{Timeout: dialTimeMax}
	return &Client{socket, &http.Client{
		Timeout:       answerTimeMax,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", socket)
			},
		},
	}}
}

// Status asks how the server is doing.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.json(ctx, http.MethodGet, "/api/v1/status", nil, "", &s)
	return s, err
}

// Leases calls yield for each lease that query asks for. It fetches a page and
// hands it out before it asks for the next, so that a reader may be as slow as
// a person at a pager. Leases that change meanwhile may be missing or be shown
// as they were; none is shown twice.
func (c *Client) Leases(ctx context.Context, query LeaseQuery, yield func(Lease) error) error {
	var page []Lease
	for left := query.Limit; ; {
		size := LeasesPerPageMax
		if query.Limit > 0 {
			size = min(size, left)
		}
		var err error
		page, err = c.leasePage(ctx, query, size, page[:0])
		for _, l := range page { // of a page that broke off, too
			if err := yield(l); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		left -= len(page)
		if len(page) < size || query.Limit > 0 && left == 0 {
			return nil
		}
		last := page[len(page)-1].Prefix
		if last == query.After {
			return c.misunderstood(fmt.Errorf("the list of leases does not get beyond %s", quoted(last)))
		}
		query.After = last
	}
}

// leasePage appends one page of at most size leases to page, and what came of it
// when it fails.
func (c *Client) leasePage(ctx context.Context, query LeaseQuery, size int, page []Lease) ([]Lease, error) {
	values := url.Values{"limit": {strconv.Itoa(size)}}
	if text := query.Filter.String(); text != "" {
		values.Set("filter", text)
	}
	if query.After != "" {
		values.Set("after", query.After)
	}
	body, err := c.do(ctx, http.MethodGet, "/api/v1/leases?"+values.Encode(), nil, "")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, leaseLineLenMax)
	for lines.Scan() {
		var line struct {
			Lease
			refusal
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return page, c.misunderstood(err)
		}
		if line.Error != "" {
			return page, &Error{Status: http.StatusInternalServerError, Text: line.Error, Hint: line.Hint}
		}
		if len(page) == size {
			return page, c.misunderstood(fmt.Errorf("more than %d leases in a page", size))
		}
		page = append(page, line.Lease)
	}
	if err := lines.Err(); err != nil {
		return page, c.brokenOff(err)
	}
	return page, nil
}

// ReleaseLease ends the lease of an address or prefix, in any spelling.
func (c *Client) ReleaseLease(ctx context.Context, prefix string) error {
	canonical, err := CanonicalPrefix(prefix)
	if err != nil {
		return err
	}
	body, err := json.Marshal(action{canonical})
	if err != nil {
		return err
	}
	var done action
	return c.json(ctx, http.MethodPost, "/api/v1/leases/release", body, jsonType, &done)
}

// Config asks for the text of the configuration in force.
func (c *Client) Config(ctx context.Context) ([]byte, error) {
	body, err := c.do(ctx, http.MethodGet, "/api/v1/config", nil, "")
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return c.read(body, ConfigLenMax)
}

// CheckConfig asks what is wrong with a configuration.
func (c *Client) CheckConfig(ctx context.Context, text []byte) ([]Problem, error) {
	if err := checkLen(text); err != nil {
		return nil, err
	}
	var v verdict
	err := c.json(ctx, http.MethodPost, "/api/v1/config/check", text, textType, &v)
	return v.Problems, err
}

// ApplyConfig puts a configuration in force.
func (c *Client) ApplyConfig(ctx context.Context, text []byte, persist bool) ([]Problem, error) {
	if err := checkLen(text); err != nil {
		return nil, err
	}
	var v verdict
	err := c.json(ctx, http.MethodPut, "/api/v1/config?persist="+strconv.FormatBool(persist), text, textType, &v)
	var e *Error
	if errors.As(err, &e) && ErrorCount(e.problems) > 0 {
		return e.problems, nil
	}
	return v.Problems, err
}

// AddressKey asks for the secret behind the choice of addresses.
func (c *Client) AddressKey(ctx context.Context) (string, error) {
	var s secret
	if err := c.json(ctx, http.MethodGet, "/api/v1/address-key", nil, "", &s); err != nil {
		return "", err
	}
	key, err := ParseAddressKey(s.AddressKey)
	if err != nil {
		return "", c.misunderstood(err)
	}
	return key, nil
}

// SetAddressKey changes the secret to key, spelled in any way that
// ParseAddressKey reads.
func (c *Client) SetAddressKey(ctx context.Context, key string) error {
	canonical, err := ParseAddressKey(key)
	if err != nil {
		return err
	}
	body, err := json.Marshal(secret{canonical})
	if err != nil {
		return err
	}
	return c.json(ctx, http.MethodPut, "/api/v1/address-key", body, jsonType, &struct{}{})
}

// checkLen refuses a text before 4 MiB and more of it travel.
func checkLen(text []byte) error {
	if len(text) <= ConfigLenMax {
		return nil
	}
	return badRequest(fmt.Sprintf("a configuration of %d octets is too long, at most %d are allowed", len(text), ConfigLenMax), "")
}

// json asks for an answer that is one JSON value.
func (c *Client) json(ctx context.Context, method, target string, body []byte, bodyType string, into any) error {
	answer, err := c.do(ctx, method, target, body, bodyType)
	if err != nil {
		return err
	}
	defer answer.Close()
	text, err := c.read(answer, answerLenMax)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return c.misunderstood(err)
	}
	return nil
}

// read reads the whole body of an answer.
func (c *Client) read(body io.Reader, max int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(body, max+1))
	if err != nil {
		return nil, c.brokenOff(err)
	}
	if int64(len(text)) > max {
		return nil, c.misunderstood(fmt.Errorf("the answer is longer than %d octets", max))
	}
	return text, nil
}

// do sends a request and returns the body of the answer when it is a success.
func (c *Client) do(ctx context.Context, method, target string, body []byte, bodyType string) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://tandem6d"+target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if bodyType != "" {
		r.Header.Set("Content-Type", bodyType)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, c.noAnswer(ctx, err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	text, err := c.read(answer.Body, answerLenMax)
	if err != nil {
		return nil, err
	}
	var no refusal
	if json.Unmarshal(text, &no) != nil || no.Error == "" {
		return nil, c.misunderstood(fmt.Errorf("HTTP status %s", quoted(answer.Status)))
	}
	return nil, &Error{Status: answer.StatusCode, Text: no.Error, Hint: no.Hint, problems: no.Problems}
}

// noAnswer says why a request got none.
func (c *Client) noAnswer(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err() // whoever asked has changed his mind
	}
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "dial" {
		return c.brokenOff(err)
	}
	e := &Error{Text: "cannot reach tandem6d on " + c.socket, Err: fmt.Errorf("%w: %w", ErrUnreachable, err)}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Text += ": there is no such socket"
		e.Hint = "is tandem6d running? if it listens elsewhere, say where: -socket PATH"
	case errors.Is(err, fs.ErrPermission):
		e.Text += ": permission denied"
		e.Hint = "only the user that tandem6d runs as, usually root, may use it"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Text += ": nothing listens there any more"
		e.Hint = "tandem6d has ended without cleaning up; its log says why, and its supervisor should start it again"
	default:
		e.Text += ": " + op.Err.Error()
	}
	return e
}

// brokenOff is an answer that ended too soon.
func (c *Client) brokenOff(err error) error {
	var u *url.Error // it repeats method and URL
	if errors.As(err, &u) {
		err = u.Err
	}
	return &Error{
		Text: fmt.Sprintf("tandem6d on %s broke off: %v", c.socket, err),
		Hint: "it may have been stopped; see whether it is running and try again",
		Err:  err,
	}
}

// misunderstood is an answer that no daemon of this version gives.
func (c *Client) misunderstood(err error) error {
	return &Error{
		Text: fmt.Sprintf("what answers on %s does not speak this version of tandem6's API: %v", c.socket, err),
		Hint: "is it tandem6d, and of the same version as this program?",
		Err:  err,
	}
}
