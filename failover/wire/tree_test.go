package wire

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite what testdata expects; read the difference before you commit it")

// golden compares text with a file of testdata.
func golden(t *testing.T, file, got string) {
	t.Helper()
	file = "testdata/" + file
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
		for i := range min(len(gotLines), len(wantLines)) {
			if gotLines[i] != wantLines[i] {
				t.Errorf("%s:%d: got\n%s\nwant\n%s", file, i+1, gotLines[i], wantLines[i])
				return
			}
		}
		t.Errorf("%s: %d lines, want %d", file, len(gotLines), len(wantLines))
	}
}

// What people see of the vectors, and of messages that are refused.
func TestTree(t *testing.T) {
	var b strings.Builder
	for _, v := range vectors {
		fmt.Fprintf(&b, "# %s\n%v\n", v.name, TreeOf(unhex(t, v.frame)[sizeLen:]))
	}
	golden(t, "tree.txt", b.String())

	b.Reset()
	for _, octets := range []string{
		"", "17", "22 000001 2d24", "63 000001 2d24bd00",
		"1f 000001 2d24bd00 007a0003 000e10 007a0004 00000e10 007a0004 00000e10 0082",
		"18 000001 2d24bd00 002d0022 00010002 0003 0003 0018 00000001 00000708 00000b40 0005 00ff 20010db8 00000000",
		"18 000001 2d24bd00 001a0035 ffffffff 00000e10 40 20010db8000001000000000000000000 00750001 00 00740013 0075000a 04686f7374 03612e6200 0076 0001 ff",
		"1a 000001 2d24bd00 0000 0000 fde8 0041 " + strings.Repeat("ab", 65),
	} {
		fmt.Fprintf(&b, "# %s\n%v\n", octets, TreeOf(unhex(t, octets)))
	}
	golden(t, "tree-bad.txt", b.String())
}
