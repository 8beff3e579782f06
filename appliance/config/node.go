package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tailscale/hujson"
)

// node is one value of the file and the way to it.
type node struct {
	doc    *document
	value  *hujson.Value
	parent *node
	key    string // in an object
	index  int    // in an array; -1: in an object
	named  bool   // key is a name that the operator chose, such as that of a link
}

// offset is where in the file the value begins.
func (n *node) offset() int { return n.value.StartOffset }

// path is the way from the root, such as links.lan.subnets[0].
func (n *node) path() string { return n.way((*node).step) }

// pattern is path without what the operator chose, such as links.*.subnets[].
func (n *node) pattern() string {
	return n.way(func(n *node) string {
		switch {
		case n.named:
			return ".*"
		case n.index >= 0:
			return "[]"
		}
		return n.step()
	})
}

func (n *node) way(step func(*node) string) string {
	var steps []string
	for ; n.parent != nil; n = n.parent {
		steps = append(steps, step(n))
	}
	var b strings.Builder
	for i := range steps {
		b.WriteString(steps[len(steps)-1-i])
	}
	return strings.TrimPrefix(b.String(), ".")
}

func (n *node) step() string {
	switch {
	case n.index >= 0:
		return "[" + strconv.Itoa(n.index) + "]"
	case n.key == "" || len(n.key) > textShownMax || strings.ContainsFunc(n.key, notInKey):
		return "[" + quote(n.key) + "]"
	}
	return "." + n.key
}

func notInKey(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// problem adds what was found at n, and what is allowed there.
func (n *node) problem(allowed, found string, args ...any) {
	n.doc.add(n.offset(), n.path(), fmt.Sprintf(found, args...), allowed, false)
}

// warn is problem for what is legal.
func (n *node) warn(better, found string, args ...any) {
	n.doc.add(n.offset(), n.path(), fmt.Sprintf(found, args...), better, true)
}

// problemIn is problem for a value below n, which the file may leave out.
func (n *node) problemIn(field, found, allowed string) {
	n.doc.add(n.find(field).offset(), n.path()+"."+field, found, allowed, false)
}

// find goes down to a field such as prefixes[2].valid, as far as the file goes.
func (n *node) find(field string) *node {
	for _, step := range strings.FieldsFunc(field, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		child := n.child(step)
		if child == nil {
			return n
		}
		n = child
	}
	return n
}

func (n *node) child(step string) *node {
	switch v := n.value.Value.(type) {
	case *hujson.Object:
		for i := range v.Members {
			if m := &v.Members[i]; nameOf(m) == step {
				return &node{doc: n.doc, value: &m.Value, parent: n, key: step, index: -1}
			}
		}
	case *hujson.Array:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(v.Elements) {
			return &node{doc: n.doc, value: &v.Elements[i], parent: n, index: i}
		}
	}
	return nil
}

func nameOf(m *hujson.ObjectMember) string { return m.Name.Value.(hujson.Literal).String() }

// wrongType adds that n is not of the kind that is wanted.
func (n *node) wrongType(allowed string) {
	found := "an object"
	switch n.value.Value.Kind() {
	case '[':
		found = "a list"
	case '"':
		found = "the text " + quote(n.value.Value.(hujson.Literal).String())
	case '0', 't', 'f', 'n':
		found = cut(string(n.value.Value.(hujson.Literal)))
	}
	n.problem(allowed, "%s", found)
}

// fields are the keys that an object may have, and what reads each.
type fields map[string]func(*node)

// object reads an object with the given keys. Others are problems, and so is a
// key that comes twice.
func (n *node) object(fields fields) {
	object, ok := n.value.Value.(*hujson.Object)
	if !ok {
		n.wrongType("an object in braces with the keys " + strings.Join(keysOf(fields), ", "))
		return
	}
	pattern := n.pattern()
	for key := range fields {
		n.doc.asked[pattern+"."+key] = n.doc.asked[pattern+"."+key]
	}
	first := map[string]int{}
	for i := range object.Members {
		m := &object.Members[i]
		child := &node{doc: n.doc, value: &m.Value, parent: n, key: nameOf(m), index: -1}
		if child.repeated(m, first) {
			continue
		}
		read, known := fields[child.key]
		if !known {
			child.unknown(m, fields)
			continue
		}
		n.doc.asked[pattern+"."+child.key] = true
		read(child)
	}
}

// members reads an object whose keys are names that the operator chose.
func (n *node) members(most int, what string, read func(*node)) {
	object, ok := n.value.Value.(*hujson.Object)
	if !ok {
		n.wrongType("an object in braces with a key for each " + what)
		return
	}
	if len(object.Members) > most {
		n.problem(fmt.Sprintf("at most %d", most), "%d entries", len(object.Members))
		return
	}
	first := map[string]int{}
	for i := range object.Members {
		m := &object.Members[i]
		child := &node{doc: n.doc, value: &m.Value, parent: n, key: nameOf(m), index: -1, named: true}
		if !child.repeated(m, first) {
			read(child)
		}
	}
}

// repeated adds a problem when the key of n was there before.
func (n *node) repeated(m *hujson.ObjectMember, first map[string]int) bool {
	line, _ := n.doc.position(m.Name.StartOffset)
	if before, again := first[n.key]; again {
		n.doc.add(m.Name.StartOffset, n.path(), fmt.Sprintf("a second time, first in line %d", before), "each key once", false)
		return true
	}
	first[n.key] = line
	return false
}

func (n *node) unknown(m *hujson.ObjectMember, fields fields) {
	found, names := "unknown key", keysOf(fields)
	if s := nearest(n.key, names); s != "" {
		found += fmt.Sprintf(" (did you mean %s?)", s)
	}
	n.doc.add(m.Name.StartOffset, n.path(), found, strings.Join(names, ", "), false)
}

// elements reads a list.
func (n *node) elements(most int, read func(*node)) {
	array, ok := n.value.Value.(*hujson.Array)
	if !ok {
		n.wrongType("a list in brackets")
		return
	}
	if len(array.Elements) > most {
		n.problem(fmt.Sprintf("at most %d", most), "%d entries", len(array.Elements))
		return
	}
	for i := range array.Elements {
		read(&node{doc: n.doc, value: &array.Elements[i], parent: n, index: i})
	}
}

// isNull reports whether n is null.
func (n *node) isNull() bool { return n.value.Value.Kind() == 'n' }

// nearest is the name that key was probably meant to be, or nothing.
func nearest(key string, names []string) string {
	best, bestDistance := "", max(1, len(key)/3)+1
	for _, name := range names {
		if d := distance(key, name, bestDistance); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// distance is how many octets must be inserted, removed or replaced to make a
// into b; from most on it is not exact.
func distance(a, b string, most int) int {
	if d := len(a) - len(b); d >= most || -d >= most {
		return most
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
