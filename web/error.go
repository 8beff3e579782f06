package web

import (
	"context"
	"errors"
	"net/http"
)

// Error is a refusal in words for the person who asked: an Operator returns
// it, the API carries it, a Client returns it again.
type Error struct {
	Status int    // of HTTP: what kind of refusal; 0: no answer came at all
	Text   string // what was tried and why it did not work
	Hint   string // what to do about it; may be empty
	Err    error  // cause, or nil

	problems []Problem // of a refused configuration, on the client's side
}

func (e *Error) Error() string { return e.Text }

func (e *Error) Unwrap() error { return e.Err }

// ErrUnreachable is in the chain of a Client's error when no daemon answered.
var ErrUnreachable = errors.New("the daemon cannot be reached")

// badRequest is a request that no daemon would serve.
func badRequest(text, hint string) *Error {
	return &Error{Status: http.StatusBadRequest, Text: text, Hint: hint}
}

// asError finds the words for any error of an Operator.
func asError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e) && e.Status >= 400 && e.Status < 600:
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{
			Status: http.StatusServiceUnavailable,
			Text:   "tandem6d was too busy to answer within " + OperationTimeMax.String(),
			Hint:   "try again; when it persists, look at its log",
			Err:    err,
		}
	}
	return &Error{Status: http.StatusInternalServerError, Text: err.Error(), Err: err}
}
