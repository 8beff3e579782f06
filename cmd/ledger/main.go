// Command ledger prints, for each line of the conformance checklists, the tests
// that cite it, or the word MISSING.
//
// A checklist is a file testdata/checklist.tsv with id, level, section,
// requirement and, if the line is not due yet, the issue it waits for. A test
// cites a line by its id in its name, its comment or its body; "D-101 to D-104"
// cites four.
package main

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// item is one line of a checklist.
type item struct {
	id, level, section, requirement, later string
	tests                                  []string
}

// due reports whether the line has to have a test now.
func (i *item) due() bool { return i.later == "" && (i.level == "M" || i.level == "P") }

func main() {
	verbose := flag.Bool("v", false, "also print the requirement")
	flag.Parse()
	items, err := collect(".")
	if err == nil {
		err = report(os.Stdout, items, *verbose)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// report prints the table and fails when a line that is due has no test.
func report(w io.Writer, items []*item, verbose bool) error {
	missing := 0
	for _, i := range items {
		tests := strings.Join(i.tests, ", ")
		if tests == "" {
			tests = "MISSING"
			if i.later != "" {
				tests += " (later: " + i.later + ")"
			}
			if i.due() {
				missing++
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s", i.id, i.level, i.section, tests)
		if verbose {
			fmt.Fprintf(w, "\t%s", i.requirement)
		}
		fmt.Fprintln(w)
	}
	if missing > 0 {
		return fmt.Errorf("%d lines of level M or P have no test", missing)
	}
	return nil
}

// collect reads all checklists below root and finds the tests that cite their lines.
func collect(root string) ([]*item, error) {
	items := map[string]*item{}
	var tests []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "build" || d.Name() == "bin" || d.Name() == ".git"):
			return filepath.SkipDir
		case d.Name() == "checklist.tsv":
			return readChecklist(path, items)
		case strings.HasSuffix(path, "_test.go"):
			tests = append(tests, path)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, path := range tests {
		if err := readTests(root, path, items); err != nil {
			return nil, err
		}
	}
	return slices.SortedFunc(maps.Values(items), func(a, b *item) int { return cmp.Compare(a.id, b.id) }), nil
}

func readChecklist(path string, items map[string]*item) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		columns := append(strings.Split(lines.Text(), "\t"), "")
		if len(columns) < 5 || !idPattern.MatchString(columns[0]) {
			return fmt.Errorf("%s:%d: want id, level, section, requirement", path, n)
		}
		i := &item{id: columns[0], level: columns[1], section: columns[2], requirement: columns[3], later: columns[4]}
		if items[i.id] != nil {
			return fmt.Errorf("%s:%d: %s stands there twice", path, n, i.id)
		}
		items[i.id] = i
	}
	return lines.Err()
}

var (
	idPattern    = regexp.MustCompile(`\b([DF])-(\d{3})\b`)
	rangePattern = regexp.MustCompile(`\b([DF])-(\d{3})(?: to |–|\.\.\.?|…)([DF])-(\d{3})\b`)
)

// cited are the ids in a text.
func cited(text string) []string {
	var ids []string
	for _, m := range rangePattern.FindAllStringSubmatch(text, -1) {
		first, _ := strconv.Atoi(m[2])
		last, _ := strconv.Atoi(m[4])
		for n := first; n <= last && m[1] == m[3]; n++ {
			ids = append(ids, fmt.Sprintf("%s-%03d", m[1], n))
		}
	}
	for _, m := range idPattern.FindAllString(text, -1) {
		ids = append(ids, m)
	}
	return ids
}

// readTests adds the tests of a file to the lines they cite. Only functions that
// go test runs count, with their comments; helpers do not.
func readTests(root, path string, items map[string]*item) error {
	source, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir, _ := filepath.Rel(root, filepath.Dir(path))
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Recv != nil || !isTest(f.Name.Name) {
			continue
		}
		start := f.Pos()
		if f.Doc != nil {
			start = f.Doc.Pos()
		}
		text := string(source[set.Position(start).Offset:set.Position(f.End()).Offset])
		name := filepath.ToSlash(dir) + "." + f.Name.Name
		for _, id := range cited(text) {
			if i := items[id]; i != nil && !slices.Contains(i.tests, name) {
				i.tests = append(i.tests, name)
			}
		}
	}
	return nil
}

func isTest(name string) bool {
	for _, prefix := range []string{"Test", "Fuzz", "Benchmark", "Example"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
