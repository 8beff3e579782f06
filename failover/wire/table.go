package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

const (
	optionHeaderLen = 4 // code and length, two octets each
	errSecond       = "comes a second time, one is allowed"
)

// A field is one kind of option that a container C (a message, or an option with
// options in it) may hold.
type field[C any] struct {
	codes  []OptionCode // one, but for the identity associations
	many   bool         // whether it may come more than once
	count  func(c *C) int
	parse  func(c *C, code OptionCode, data []byte) *Error
	append func(e *encoder, c *C, i int) // the i-th of them, header included
	show   func(code OptionCode, data []byte) (view, *Error)
}

// A table lists the fields of a container in the order in which Append writes
// them, when Parse has not seen another.
type table[C any] []field[C]

// parse reads options into the fields of c, and into x what has none.
func (t table[C]) parse(c *C, x *Extra, options []byte) *Error {
	last := 0
	for len(options) > 0 {
		code, data, rest, err := cut(options)
		if err != nil {
			return err
		}
		i := t.find(code)
		if i < last && x.order == nil {
			x.order = t.canonical(c, x)
		}
		if last = i; x.order != nil {
			x.order = append(x.order, uint8(i))
		}
		switch {
		case i == len(t):
			x.Unknown = append(x.Unknown, RawOption{code, string(data)})
		case !t[i].many && t[i].count(c) > 0:
			return bad(errSecond).in(code)
		default:
			if err := t[i].parse(c, code, data); err != nil {
				return err.in(code)
			}
		}
		options = rest
	}
	return nil
}

// cut takes the first option off.
func cut(options []byte) (code OptionCode, data, rest []byte, err *Error) {
	if len(options) < optionHeaderLen {
		return 0, nil, nil, &Error{Kind: Malformed, Problem: fmt.Sprintf("ends with %s, too few for an option", octets(len(options)))}
	}
	code = OptionCode(binary.BigEndian.Uint16(options))
	n := int(binary.BigEndian.Uint16(options[2:]))
	options = options[optionHeaderLen:]
	if len(options) < n {
		err := &Error{Kind: Malformed, Problem: fmt.Sprintf("has %s according to its length, but only %d are left", octets(n), len(options))}
		return 0, nil, nil, err.in(code)
	}
	return code, options[:n], options[n:], nil
}

func octets(n int) string {
	if n == 1 {
		return "1 octet"
	}
	return fmt.Sprintf("%d octets", n)
}

// find returns the position of the field for code, or that behind the last.
func (t table[C]) find(code OptionCode) int {
	for i := range t {
		if slices.Contains(t[i].codes, code) {
			return i
		}
	}
	return len(t)
}

// canonical is the order of the options of c when none was recorded.
func (t table[C]) canonical(c *C, x *Extra) []uint8 {
	order := []uint8{}
	for i := range len(t) + 1 {
		for range t.count(c, x, i) {
			order = append(order, uint8(i))
		}
	}
	return order
}

// count is how many options c has at position i.
func (t table[C]) count(c *C, x *Extra, i int) int {
	if i == len(t) {
		return len(x.Unknown)
	}
	return t[i].count(c)
}

// tableLenMax is above the number of fields of any container.
const tableLenMax = 16

// append writes the options of c: in the order in which they were read, what was
// added since behind it, what was taken away left out.
func (t table[C]) append(e *encoder, c *C, x *Extra) {
	var done [tableLenMax]int
	write := func(i int) {
		if n := done[i]; i < len(t) {
			t[i].append(e, c, n)
		} else {
			e.raw(x.Unknown[n])
		}
		done[i]++
	}
	for _, i := range x.order {
		if done[i] < t.count(c, x, int(i)) {
			write(int(i))
		}
	}
	for i := range len(t) + 1 {
		for done[i] < t.count(c, x, i) {
			write(i)
		}
	}
}

// An encoder appends to b until something cannot be encoded.
type encoder struct {
	b   []byte
	err error
}

// fail keeps the first error.
func (e *encoder) fail(problem string, args ...any) {
	if e.err == nil {
		e.err = fmt.Errorf(problem, args...)
	}
}

// begin writes the header of an option. end, given what begin returned, puts the
// length of all that was written since into it.
func (e *encoder) begin(code OptionCode) (start int) {
	e.u16(uint16(code))
	e.u16(0)
	return len(e.b)
}

func (e *encoder) end(start int) {
	header, n := e.b[start-optionHeaderLen:], len(e.b)-start
	if n > math.MaxUint16 {
		e.fail("%w: %v would have %d octets", ErrTooLong, OptionCode(binary.BigEndian.Uint16(header)), n)
		return
	}
	binary.BigEndian.PutUint16(header[2:], uint16(n))
}

func (e *encoder) raw(o RawOption) {
	start := e.begin(o.Code)
	e.b = append(e.b, o.Data...)
	e.end(start)
}

func (e *encoder) u8(v uint8)   { e.b = append(e.b, v) }
func (e *encoder) u16(v uint16) { e.b = binary.BigEndian.AppendUint16(e.b, v) }
func (e *encoder) u32(v uint32) { e.b = binary.BigEndian.AppendUint32(e.b, v) }

// single is a field that has its option once or not at all.
func single[C, T any](code OptionCode, k kind[T], at func(c *C) *Opt[T]) field[C] {
	return field[C]{
		codes: []OptionCode{code},
		count: func(c *C) int { return present(at(c).present) },
		parse: func(c *C, _ OptionCode, data []byte) *Error {
			v, err := k.parse(data)
			*at(c) = Some(v)
			return err
		},
		append: func(e *encoder, c *C, _ int) {
			start := e.begin(code)
			k.append(e, at(c).value)
			e.end(start)
		},
		show: func(_ OptionCode, data []byte) (show view, err *Error) {
			v, err := k.parse(data)
			if k.number != nil {
				show.number = Some(k.number(v))
			}
			show.text = k.text(v)
			return show, err
		},
	}
}

func present(is bool) int {
	if is {
		return 1
	}
	return 0
}
