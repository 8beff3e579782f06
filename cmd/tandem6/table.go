package main

import (
	"bufio"
	"strings"
	"unicode/utf8"
)

// A table prints rows in aligned columns. It holds back at most batchMax rows to
// find the widths; when a later batch needs wider columns, they grow.
type table struct {
	out     *bufio.Writer
	columns []string // titles; one that begins with > is aligned to the right
	widths  []int
	rows    [][]string
	printed bool // the titles are out
}

// batchMax rows are held before they are printed. A page of the daemon has 1000.
const batchMax = 250

func newTable(out *bufio.Writer, columns ...string) *table {
	t := &table{out: out, columns: columns, widths: make([]int, len(columns))}
	for i, c := range columns {
		t.widths[i] = len(strings.TrimPrefix(c, ">"))
	}
	return t
}

// row adds a row, one cell for each column.
func (t *table) row(cells ...string) error {
	if len(cells) != len(t.columns) {
		panic("table: a row does not fit its columns")
	}
	for i, c := range cells {
		cells[i] = printable(c)
		if c == "" {
			cells[i] = "-"
		}
	}
	t.rows = append(t.rows, cells)
	if len(t.rows) < batchMax {
		return nil
	}
	return t.flush()
}

// flush prints what is held back; of a table without rows, nothing.
func (t *table) flush() error {
	for _, r := range t.rows {
		for i, c := range r {
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(c))
		}
	}
	if !t.printed && len(t.rows) > 0 {
		titles := make([]string, len(t.columns))
		for i, c := range t.columns {
			titles[i] = strings.TrimPrefix(c, ">")
		}
		t.line(titles)
		t.printed = true
	}
	for _, r := range t.rows {
		t.line(r)
	}
	t.rows = t.rows[:0]
	return t.out.Flush()
}

// line prints one row, two spaces between columns and none at its end.
func (t *table) line(cells []string) {
	var b strings.Builder
	for i, c := range cells {
		pad := strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(c))
		if i > 0 {
			b.WriteString("  ")
		}
		if strings.HasPrefix(t.columns[i], ">") {
			b.WriteString(pad + c)
		} else {
			b.WriteString(c + pad)
		}
	}
	t.out.WriteString(strings.TrimRight(b.String(), " ") + "\n")
}
