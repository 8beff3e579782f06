package config

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// Limits of a file, for memory: at most these make a tree of about 40 MB.
const (
	// FileSizeMax is the size of the largest file in octets: ten thousand
	// reservations are about two million.
	FileSizeMax = 4 << 20
	// valuesMax is the most values in a file, names of keys included. Ten
	// thousand reservations have about ninety thousand.
	valuesMax = 200_000
	// depthMax is the deepest nesting; the deepest key of the configuration lies
	// eight deep. It keeps the recursive parser from using up the stack.
	depthMax = 16
)

// document is a configuration file while it is read.
type document struct {
	file  string
	text  []byte
	lines []int // offset of the first octet of each line

	problems, warnings               Problems
	problemsDropped, warningsDropped int
	flaws                            []int // offsets of the problems

	// asked has each key that some object may have, and whether the file has it.
	// Tests compare it with the reference.
	asked map[string]bool
}

// parse reads the file as JSON with comments and trailing commas. It returns nil
// after adding a problem when it is none.
func parse(file string, text []byte) (*document, *node) {
	d := &document{file: file, text: text, lines: []int{0}, asked: map[string]bool{}}
	if len(text) > FileSizeMax {
		d.add(0, "", fmt.Sprintf("a file of %d octets", len(text)), fmt.Sprintf("at most %d", FileSizeMax), false)
		return d, nil
	}
	d.lines = slices.Grow(d.lines, bytes.Count(text, []byte("\n")))
	for i, c := range text {
		if c == '\n' {
			d.lines = append(d.lines, i+1)
		}
	}
	if i := invalidUTF8(text); i >= 0 {
		d.add(i, "", fmt.Sprintf("octet 0x%02x is not UTF-8", text[i]), "a file in UTF-8", false)
		return d, nil
	}
	if offset, found, allowed := scan(text); found != "" {
		d.add(offset, "", found, allowed, false)
		return d, nil
	}
	// The parser wants a line end behind a comment in the last line.
	value, err := hujson.Parse(append(bytes.Clone(text), '\n'))
	if err != nil {
		d.syntaxError(err)
		return d, nil
	}
	return d, &node{doc: d, value: &value, index: -1}
}

// scan looks for what would make the parser use too much memory or stack.
func scan(text []byte) (offset int, found, allowed string) {
	depth, values := 0, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '/':
			i += commentLen(text[i:])
		case '{', '[', ',', ':':
			if values++; values > valuesMax {
				return i, "too many values", fmt.Sprintf("at most %d, names of keys included", valuesMax)
			}
			if c == '{' || c == '[' {
				if depth++; depth > depthMax {
					return i, fmt.Sprintf("nested %d deep", depth), fmt.Sprintf("at most %d", depthMax)
				}
			}
		case '}', ']':
			depth--
		}
	}
	return 0, "", ""
}

// commentLen is the length of the comment at the beginning of b, less one.
func commentLen(b []byte) int {
	end := -1
	switch {
	case bytes.HasPrefix(b, []byte("//")):
		end = bytes.IndexByte(b, '\n')
	case bytes.HasPrefix(b, []byte("/*")):
		if end = bytes.Index(b[2:], []byte("*/")); end >= 0 {
			end += 3
		}
	default:
		return 0
	}
	if end < 0 {
		return len(b)
	}
	return end
}

func invalidUTF8(text []byte) int {
	if utf8.Valid(text) {
		return -1
	}
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

var parserError = regexp.MustCompile(`^hujson: line (\d+), column (\d+): (.*)$`)

// syntaxError adds what the parser says. It is the only problem that is shown:
// nobody can tell what the rest of the file means.
func (d *document) syntaxError(err error) {
	const allowed = "JSON with comments and trailing commas"
	m := parserError.FindStringSubmatch(err.Error())
	if m == nil {
		d.add(0, "", cut(err.Error()), allowed, false)
		return
	}
	line, _ := strconv.Atoi(m[1])
	column, _ := strconv.Atoi(m[2])
	offset := len(d.text) // behind the line end that the parser was given
	if line <= len(d.lines) {
		offset = min(offset, d.lines[line-1]+column-1)
	}
	d.add(offset, "", cut(m[3]), allowed, false)
}

// textShownMax is how many octets of the file a message repeats.
const textShownMax = 80

// cut shortens text for a message.
func cut(s string) string {
	if len(s) <= textShownMax {
		return s
	}
	return string(bytes.ToValidUTF8([]byte(s[:textShownMax]), nil)) + "..."
}

// quote is a text of the file for a message, cut short.
func quote(s string) string {
	if len(s) <= textShownMax {
		return strconv.Quote(s)
	}
	return strconv.Quote(cut(s))
}

// keysOf lists the keys of an object in alphabetical order.
func keysOf(fields fields) []string {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
