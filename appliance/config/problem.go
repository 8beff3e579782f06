package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// ProblemsMax is how many problems, and how many warnings, of one file are
// worded. More are only counted: nobody reads them before mending these.
const ProblemsMax = 100

// Problem is one thing that is wrong with a configuration file, or, as a
// warning, legal but probably not what was meant.
type Problem struct {
	File         string
	Line, Column int    // both from 1, the column in octets; 0: not about one place
	Path         string // of the value, such as links.lan.subnets[0].pools[1]
	Found        string // what was found there
	Allowed      string // what may stand there, or, of a warning, what would be better
	Warning      bool
}

// String is p in one line, beginning with the place in the form that editors
// jump to.
func (p Problem) String() string {
	var b strings.Builder
	place := p.File
	if p.Line > 0 {
		place = strings.TrimPrefix(fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column), ":")
	}
	for _, s := range []string{place, p.Path} {
		if s != "" {
			b.WriteString(s + ": ")
		}
	}
	word := "; allowed: "
	if p.Warning {
		b.WriteString("warning: ")
		word = "; better: "
	}
	b.WriteString(p.Found)
	if p.Allowed != "" {
		b.WriteString(word)
		b.WriteString(p.Allowed)
	}
	return b.String()
}

// Problems are all problems and warnings of a file in the order of its lines.
type Problems []Problem

// Err is nil when there are only warnings, otherwise an error with a line for
// each problem that is none.
func (ps Problems) Err() error {
	wrong := slices.DeleteFunc(slices.Clone(ps), func(p Problem) bool { return p.Warning })
	if len(wrong) == 0 {
		return nil
	}
	return problemsError(wrong)
}

// String has a line for each problem and warning.
func (ps Problems) String() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

type problemsError Problems

func (e problemsError) Error() string { return Problems(e).String() }

// add keeps a problem, or counts it when there are enough.
func (d *document) add(offset int, path, found, allowed string, warning bool) {
	kept, dropped := &d.problems, &d.problemsDropped
	if warning {
		kept, dropped = &d.warnings, &d.warningsDropped
	}
	if len(*kept) == ProblemsMax {
		*dropped++
		return
	}
	if !warning {
		d.flaws = append(d.flaws, offset)
	}
	line, column := d.position(offset)
	*kept = append(*kept, Problem{d.file, line, column, path, printable(found), allowed, warning})
}

// printable keeps what stands in a file from moving the cursor of a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// flawed reports whether a problem was added in n. What builds on n is then not
// checked: one mistake shall not make several problems. What is not in the file
// has no flaw.
func (n *node) flawed() bool {
	if n == nil {
		return false
	}
	return n.doc.problemsDropped > 0 || slices.ContainsFunc(n.doc.flaws, func(offset int) bool {
		return n.value.StartOffset <= offset && offset < n.value.EndOffset
	})
}

// position is the line and column, both from 1, of an octet of the file.
func (d *document) position(offset int) (line, column int) {
	n, exact := slices.BinarySearch(d.lines, offset)
	if !exact {
		n--
	}
	return n + 1, offset - d.lines[n] + 1
}

// report is everything that was added, in the order of the file.
func (d *document) report() Problems {
	all := append(slices.Clone(d.problems), d.warnings...)
	slices.SortStableFunc(all, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if d.problemsDropped > 0 {
		all = append(all, Problem{File: d.file, Found: fmt.Sprintf("%d more problems are not shown", d.problemsDropped)})
	}
	if d.warningsDropped > 0 {
		all = append(all, Problem{File: d.file, Found: fmt.Sprintf("%d more are not shown", d.warningsDropped), Warning: true})
	}
	return all
}
