package wire

import (
	"fmt"
	"strings"
)

// Limits of a domain name in octets (RFC 1035 section 2.3.4).
const (
	labelLenMax = 63
	nameLenMax  = 255
)

// Name is a domain name in the form of RFC 1035 section 3.1, never compressed
// (RFC 3315 section 8). Without the root label at its end it is a part of a name
// (RFC 4704 section 4.2); the empty Name is no name at all.
type Name string

// NewName reads a name as people write it, with labels between dots. With a dot
// at its end it is complete, without one a part of a name. No label may hold a
// dot.
func NewName(text string) (Name, error) {
	var b strings.Builder
	labels, complete := strings.CutSuffix(text, ".")
	for label := range strings.SplitSeq(labels, ".") {
		if labels == "" {
			break
		}
		if label == "" || len(label) > labelLenMax {
			return "", fmt.Errorf("%q is not a domain name: a label has 1 to %d octets, %q has %d", text, labelLenMax, label, len(label))
		}
		b.WriteByte(byte(len(label)))
		b.WriteString(label)
	}
	if complete {
		b.WriteByte(0)
	}
	if b.Len() > nameLenMax {
		return "", fmt.Errorf("%q is not a domain name: it has %d octets, at most %d are allowed", text, b.Len(), nameLenMax)
	}
	return Name(b.String()), nil
}

// Complete reports whether n ends with the root label.
func (n Name) Complete() bool { return strings.HasSuffix(string(n), "\x00") }

// check reports why n is no name.
func (n Name) check() *Error {
	if len(n) > nameLenMax {
		return bad("holds a name of %d octets, at most %d are allowed", len(n), nameLenMax)
	}
	for rest := n; rest != ""; {
		label := int(rest[0])
		switch {
		case label > labelLenMax:
			return bad("holds a name with a label of length %#x: labels have at most %d octets, and compression is not allowed", label, labelLenMax)
		case label == 0 && len(rest) > 1:
			return bad("goes on for %s behind the end of its name", octets(len(rest)-1))
		case 1+label > len(rest):
			return bad("ends within a label of its name")
		}
		rest = rest[1+label:]
	}
	return nil
}

// String is n as people write it, with a dot at its end when it is complete.
// What is not a printable character of ASCII, and dots and backslashes within
// labels, are written as RFC 4343 section 2.1 has it: \. \\ \009.
func (n Name) String() string {
	if n == "\x00" {
		return "."
	}
	var b strings.Builder
	for rest := string(n); rest != ""; {
		label := min(1+int(rest[0]), len(rest))
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		for _, c := range []byte(rest[1:label]) {
			switch {
			case c == '.' || c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c > ' ' && c <= '~':
				b.WriteByte(c)
			default:
				fmt.Fprintf(&b, "\\%03d", c)
			}
		}
		rest = rest[label:]
	}
	return b.String()
}
