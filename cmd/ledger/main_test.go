package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// No line of level M or P is without a test, but for those of later issues.
func TestLedger(t *testing.T) {
	items, err := collect("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(items) == 0 {
		t.Fatal("found no checklist")
	}
	for _, i := range items {
		if i.due() && len(i.tests) == 0 {
			t.Errorf("%s (%s, section %s) has no test: %s", i.id, i.level, i.section, i.requirement)
		}
		if i.later != "" && len(i.tests) > 0 {
			t.Logf("%s waits for %s but has a test already", i.id, i.later)
		}
	}
}

func TestCollect(t *testing.T) {
	dir := t.TempDir()
	os.MkdirAll(filepath.Join(dir, "testdata"), 0o755)
	os.MkdirAll(filepath.Join(dir, "failover/testdata"), 0o755)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("testdata/checklist.tsv", "# comment\nD-001\tM\t1.1\tone\nD-002\tM\t1.2\ttwo\nD-003\tS\t1.3\tthree\nD-004\tP\t1.4\tfour\tDNS updates\nD-005\tM\t1.5\tfive\n")
	write("failover/testdata/checklist.tsv", "F-001\tM\t1.1\tone\nF-002\tM\t1.2\ttwo\tissue 3\n")
	write("x_test.go", "package x\n\n// D-005: only said of a helper.\nfunc help() {}\n\n// D-001 to D-003, and D-009, which is not on the list. F-001.\nfunc TestA() {\n\t// D-001\n}\n")
	items, err := collect(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	err = report(&out, items, false)
	want := []string{"D-001\tM\t1.1\t..TestA", "D-002\tM\t1.2\t..TestA", "D-003\tS\t1.3\t..TestA", "D-004\tP\t1.4\tMISSING (later: DNS updates)", "D-005\tM\t1.5\tMISSING",
		"F-001\tM\t1.1\t..TestA", "F-002\tM\t1.2\tMISSING (later: issue 3)", ""}
	if got := strings.Split(out.String(), "\n"); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if err == nil || !strings.Contains(err.Error(), "1 lines") {
		t.Errorf("error %v", err)
	}
}
