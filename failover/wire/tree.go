package wire

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Tree is a message taken apart for people. It says as much as can be said of
// any octets.
type Tree struct {
	Type          Type
	TransactionID TransactionID
	SentTime      Opt[Time]
	Options       []Item
	Problem       string // why Parse refuses it, apart from its options
}

// Item is one option of a Tree, or octets at the end of a container that are
// none.
type Item struct {
	Code    OptionCode
	Number  Opt[uint32] // its content, when that is one number
	Text    string      // its content in words
	Unknown bool        // it means nothing in this place
	Problem string      // why Parse refuses it, apart from the options inside
	Options []Item
}

// Name is the name of the option.
func (i *Item) Name() string {
	if i.Code == 0 && !i.Unknown {
		return "octets"
	}
	return i.Code.String()
}

// TreeOf takes a message apart, without message-size. There is a Problem
// somewhere in the tree exactly when Parse refuses it.
func TreeOf(b []byte) Tree {
	var t Tree
	if len(b) > 0 {
		t.Type = Type(b[0])
	}
	if len(b) < plainHeaderLen {
		t.Problem = parseError(b)
		return t
	}
	t.TransactionID = TransactionID(binary.BigEndian.Uint32(b) & uint32(TransactionIDMax))
	options := b[plainHeaderLen:]
	switch {
	case !t.Type.Valid(), t.Type.HasSentTime() && len(b) < headerLen:
		t.Problem = parseError(b)
		return t
	case t.Type.HasSentTime():
		t.SentTime, options = Some(Time(binary.BigEndian.Uint32(options))), b[headerLen:]
	}
	t.Options = items(layouts[t.Type].fields, options)
	return t
}

// parseError is why Parse refuses the header of a message.
func parseError(b []byte) string {
	_, err := parse(b)
	return err.Problem
}

// Bad reports whether there is a Problem somewhere in t.
func (t *Tree) Bad() bool { return t.Problem != "" || anyBad(t.Options) }

func anyBad(items []Item) bool {
	for i := range items {
		if items[i].Problem != "" || anyBad(items[i].Options) {
			return true
		}
	}
	return false
}

// A view is what the content of an option looks like.
type view struct {
	number  Opt[uint32]
	text    string
	inside  fields // of the options inside; nil: there are none
	options []byte
}

// fields are the table of some container.
type fields interface {
	// look returns what an option is in this place; ok is false when it is unknown.
	look(code OptionCode, data []byte) (v view, many, ok bool, err *Error)
}

func (t table[C]) look(code OptionCode, data []byte) (v view, many, ok bool, err *Error) {
	i := t.find(code)
	if i == len(t) {
		return view{text: hexadecimal(string(data))}, true, false, nil
	}
	v, err = t[i].show(code, data)
	return v, t[i].many, true, err
}

// items takes the options of a container apart.
func items(f fields, options []byte) []Item {
	var list []Item
	seen := map[OptionCode]bool{}
	for len(options) > 0 {
		code, data, rest, err := cut(options)
		if err != nil {
			item := Item{Text: hexadecimal(string(options)), Problem: err.Problem}
			if len(err.Path) > 0 {
				item.Code = err.Path[0]
			}
			return append(list, item)
		}
		v, many, known, err := f.look(code, data)
		item := Item{Code: code, Number: v.number, Text: v.text, Unknown: !known}
		switch {
		case !many && seen[code]:
			item.Problem = errSecond
		case err != nil:
			item = Item{Code: code, Text: hexadecimal(string(data)), Problem: err.Problem}
		case v.inside != nil:
			item.Options = items(v.inside, v.options)
		}
		seen[code] = true
		list = append(list, item)
		options = rest
	}
	return list
}

// shownMax is how many octets of something opaque are shown: enough to recognise
// it, not so many that they fill the screen.
const shownMax = 64

// hexadecimal shows octets.
func hexadecimal(octets string) string {
	if len(octets) <= shownMax {
		return fmt.Sprintf("%x", octets)
	}
	return fmt.Sprintf("%x... (%d octets)", octets[:shownMax], len(octets))
}

// String is t in lines: the message, its options, those within them indented.
func (t Tree) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %v", t.Type, t.TransactionID)
	if sent, ok := t.SentTime.Get(); ok {
		fmt.Fprintf(&b, ", sent %v", sent)
	}
	if t.Problem != "" {
		fmt.Fprintf(&b, ", malformed: %s", t.Problem)
	}
	b.WriteByte('\n')
	writeItems(&b, t.Options, 1)
	return b.String()
}

func writeItems(b *strings.Builder, items []Item, depth int) {
	for i := range items {
		item := &items[i]
		b.WriteString(strings.Repeat("  ", depth))
		b.WriteString(item.Name())
		if item.Text != "" {
			b.WriteString(": " + item.Text)
		}
		if item.Unknown {
			b.WriteString(" (unknown here)")
		}
		if item.Problem != "" {
			fmt.Fprintf(b, " (malformed: %s)", item.Problem)
		}
		b.WriteByte('\n')
		writeItems(b, item.Options, depth+1)
	}
}
