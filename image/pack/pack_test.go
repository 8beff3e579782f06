package pack_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tandem6/tandem6/image/disk"
	"github.com/tandem6/tandem6/image/pack"
)

// TestSeed builds an image with a file on its /perm.
func TestSeed(t *testing.T) {
	if _, err := exec.LookPath("mke2fs"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	seed, out := t.TempDir(), filepath.Join(t.TempDir(), "new", "disk.img")
	if err := os.WriteFile(filepath.Join(seed, "note"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	path, err := pack.Image(pack.Options{Seed: seed, Output: out, Version: "v0.0.1-test"})
	if err != nil {
		t.Fatal(err)
	}
	if path != out {
		t.Errorf("the image is %s, want %s", path, out)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != pack.DiskLen {
		t.Errorf("image: %v, %v; want %d octets", info, err, pack.DiskLen)
	}
	fileSystem := filepath.Join(t.TempDir(), "perm")
	if err := disk.ExtractPerm(fileSystem, path); err != nil {
		t.Fatal(err)
	}
	if text, err := disk.ReadFile(fileSystem, "note"); err != nil || string(text) != "hello" {
		t.Errorf("on /perm is %q, %v; want %q", text, err, "hello")
	}
	if left, err := filepath.Glob(out + "*"); err != nil || len(left) != 1 {
		t.Errorf("the build left %v, %v; want only the image", left, err)
	}
}

func TestBadOptions(t *testing.T) {
	for _, test := range []struct {
		options pack.Options
		want    string
	}{
		{pack.Options{Version: `1", "x`}, "version"},
		{pack.Options{Version: strings.Repeat("1", 65)}, "version"},
		{pack.Options{Arch: "z80"}, "z80"},
	} {
		test.options.Output = filepath.Join(t.TempDir(), "disk.img")
		if _, err := pack.Image(test.options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: error %v, want one with %q", test.options, err, test.want)
		}
	}
}

// TestVersionWithoutGit describes sources that are in no repository.
func TestVersionWithoutGit(t *testing.T) {
	t.Setenv("GIT_CEILING_DIRECTORIES", "/")
	if version := pack.Version(t.TempDir()); version != "devel" {
		t.Errorf("version %q, want %q", version, "devel")
	}
}
