package wire

import (
	"fmt"
	"slices"
	"strings"
)

// ErrorKind says how much of a message can be trusted, and so what the receiver
// can do about it.
type ErrorKind uint8

const (
	// Malformed is a frame or message too short for its header, or an option
	// that is longer than what contains it. The stream is of no use any more:
	// DISCONNECT with UnspecFail, and close.
	Malformed ErrorKind = iota + 1

	// BadOption is an option whose boundaries are sound but whose content is
	// not, or a second one where one is allowed. A CONNECT is rejected with
	// UnspecFail, a BNDUPD with MissingBindingInformation in the message itself;
	// for any other message as Malformed.
	BadOption

	// UnknownType is a message that is none of a failover connection. It is
	// logged and ignored.
	UnknownType
)

// Error is the error of Parse.
type Error struct {
	Kind          ErrorKind
	Type          Type          // zero with Malformed when the message was too short for one
	TransactionID TransactionID // likewise
	Path          []OptionCode  // the option at fault, and before it those that contain it
	Problem       string
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Type != 0 || e.Kind == UnknownType {
		fmt.Fprintf(&b, "%v %v: ", e.Type, e.TransactionID)
	}
	for i, code := range slices.Backward(e.Path) {
		b.WriteString(code.String())
		if i > 0 {
			b.WriteString(" in ")
		}
	}
	if len(e.Path) > 0 {
		b.WriteByte(' ')
	}
	b.WriteString(e.Problem)
	return b.String()
}

// in puts code before the path of an error.
func (e *Error) in(code OptionCode) *Error {
	e.Path = append([]OptionCode{code}, e.Path...)
	return e
}

// bad is the error of an option's content.
func bad(problem string, args ...any) *Error {
	return &Error{Kind: BadOption, Problem: fmt.Sprintf(problem, args...)}
}
