// Package pack builds disk images of the appliance.
//
// gokrazy's packer, gok, does the packing. It is itself built from the pinned sources, gets a throw-away copy of the instance's
// configuration to work in, and is kept from the network: what is not pinned cannot get into an image.
package pack

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tandem6/tandem6/image/disk"
)

const (
	module      = "github.com/tandem6/tandem6"
	gokPackage  = "github.com/gokrazy/tools/cmd/gok"
	versionMark = "@VERSION@" // in config.json

	// DiskLen is the size of an image in octets: gokrazy's boot and two root partitions take 1.2 GB, /perm has the rest. It fits
	// on every medium sold today; the unused part is holes.
	DiskLen = 2 << 30
)

// noCommitTime stands in for the time of the last commit where git knows of none.
var noCommitTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Options say what to build. Zero values have good defaults.
type Options struct {
	Arch    string // "amd64"
	Version string // what the programs say of themselves; that of [Version] when it is empty
	Output  string // path of the disk image; build/image/ARCH/disk.img below the product's root folder when it is empty
	Seed    string // folder whose files are put on /perm; none when it is empty
}

// versions are such that they need no escaping in config.json, on gok's command line and in a linker flag.
var versions = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$`)

// Image builds a disk image out of the sources around the working folder, which must be inside the image module, and returns the
// image's path. The image replaces an older one in one step. Builds that run at once wait for each other.
//
// It needs Go, e2fsprogs and the modules of image/go.mod in the module cache. It needs neither root nor the network.
func Image(o Options) (string, error) {
	tree, err := findTree()
	if err != nil {
		return "", err
	}
	if o.Arch == "" {
		o.Arch = "amd64"
	}
	if o.Version == "" {
		o.Version = Version(tree.root)
	}
	if !versions.MatchString(o.Version) {
		return "", fmt.Errorf("version %q: want up to 64 letters, digits and .+_-, of which the first is a letter or digit", o.Version)
	}
	if o.Output == "" {
		o.Output = filepath.Join(tree.work, o.Arch, "disk.img")
	}
	if o.Output, err = filepath.Abs(o.Output); err != nil {
		return "", err
	}
	for _, dir := range []string{tree.work, filepath.Dir(o.Output)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
	}
	unlock, err := lock(filepath.Join(tree.work, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := tree.build(o); err != nil {
		return "", fmt.Errorf("cannot build the %s image: %w", o.Arch, err)
	}
	return o.Output, nil
}

// Version describes the sources in a folder: the tag or commit, and whether they differ from it. Without git it is "devel".
func Version(root string) string {
	out, err := exec.Command("git", "--no-optional-locks", "-C", root, "describe", "--tags", "--always", "--dirty").Output()
	if version := strings.TrimSpace(string(out)); err == nil && versions.MatchString(version) {
		return version
	}
	return "devel"
}

// A tree is the product's source tree.
type tree struct {
	root  string // the product's module
	image string // the image's module
	work  string // where images are built, ignored by git
}

func findTree() (tree, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Path}} {{.Dir}}").CombinedOutput()
	path, dir, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if err != nil || path != module+"/image" {
		return tree{}, fmt.Errorf("the working folder is not inside the module %s/image: %s", module, bytes.TrimSpace(out))
	}
	root := filepath.Dir(dir)
	return tree{root: root, image: dir, work: filepath.Join(root, "build", "image")}, nil
}

// build makes the image next to its final place and then moves it there.
func (t tree) build(o Options) error {
	at := t.commitTime()
	env := environment(at)
	gok := filepath.Join(t.work, "gok")
	if err := goTool(env, t.image, "build", "-o", gok, gokPackage); err != nil {
		return fmt.Errorf("%w\nhint: if modules are missing, fetch them once with \"go mod download\" in %s", err, t.image)
	}
	instances := filepath.Join(t.work, "instances")
	pins, err := t.stage(env, instances, o)
	if err != nil {
		return err
	}
	unfinished := o.Output + ".new"
	defer os.Remove(unfinished) // fails when all went well, as the file has moved
	if err := os.Remove(unfinished); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	cmd := exec.Command(gok, "--parent_dir", instances, "--instance", o.Arch, "overwrite",
		"--full", unfinished, "--target_storage_bytes", strconv.Itoa(DiskLen), "--sudo", "never")
	if err := output(env, t.work, cmd); err != nil {
		return err
	}
	if err := pins.check(); err != nil {
		return err
	}
	if err := disk.FormatPerm(unfinished, o.Seed, at); err != nil {
		return err
	}
	return os.Rename(unfinished, o.Output)
}

// stage lays out a throw-away gokrazy instance: gok may write to it, and the sources stay as they are. In builddir is a go.mod with
// all that the image is made of, so that gok has nothing to resolve.
func (t tree) stage(env []string, instances string, o Options) (pins, error) {
	config, err := os.ReadFile(filepath.Join(t.image, o.Arch, "config.json"))
	if err != nil {
		return pins{}, err
	}
	instance := filepath.Join(instances, o.Arch)
	builddir := filepath.Join(instance, "builddir")
	if err := os.RemoveAll(instance); err != nil {
		return pins{}, err
	}
	if err := os.MkdirAll(builddir, 0o755); err != nil {
		return pins{}, err
	}
	config = bytes.ReplaceAll(config, []byte(versionMark), []byte(o.Version))
	if err := os.WriteFile(filepath.Join(instance, "config.json"), config, 0o644); err != nil {
		return pins{}, err
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		if err := copyFile(filepath.Join(builddir, name), filepath.Join(t.image, name)); err != nil {
			return pins{}, err
		}
	}
	// A relative path: an absolute one would be in the build information of every program.
	root, err := filepath.Rel(builddir, t.root)
	if err != nil {
		return pins{}, err
	}
	if err := goTool(env, builddir, "mod", "edit", "-replace="+module+"="+root); err != nil {
		return pins{}, err
	}
	return readPins(builddir)
}

// commitTime is the time of the last commit: that of everything in the image which has to have one.
func (t tree) commitTime() time.Time {
	out, err := exec.Command("git", "-C", t.root, "log", "-1", "--format=%ct").Output()
	if err != nil {
		return noCommitTime
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		return noCommitTime
	}
	return time.Unix(seconds, 0)
}

// environment is that of the machine without what would change an image.
func environment(at time.Time) []string {
	foreign := func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains([]string{"GOOS", "GOARCH", "GOWORK", "GOEXPERIMENT"}, name) || strings.HasPrefix(name, "GOKRAZY_")
	}
	return append(slices.DeleteFunc(os.Environ(), foreign),
		"GOPROXY=off", "GOTOOLCHAIN=local", "GOWORK=off", "GOFLAGS=-trimpath -buildvcs=false",
		"CGO_ENABLED=0", "GOAMD64=v1", "GOARM64=v8.0",
		fmt.Sprintf("SOURCE_DATE_EPOCH=%d", at.Unix()), "TZ=UTC", "LC_ALL=C")
}

// pins are the contents of a go.mod and a go.sum.
type pins struct {
	dir      string
	mod, sum []byte
}

func readPins(dir string) (p pins, err error) {
	p.dir = dir
	if p.mod, err = os.ReadFile(filepath.Join(dir, "go.mod")); err != nil {
		return p, err
	}
	p.sum, err = os.ReadFile(filepath.Join(dir, "go.sum"))
	return p, err
}

// check reports an error when the files have changed: gok builds with -mod=mod, which adds what it finds missing.
func (p pins) check() error {
	now, err := readPins(p.dir)
	if err == nil && (!bytes.Equal(now.mod, p.mod) || !bytes.Equal(now.sum, p.sum)) {
		err = errors.New("image/go.mod does not pin all that goes into the image\nhint: run \"go mod tidy\" in image/")
	}
	return err
}

func goTool(env []string, dir string, args ...string) error {
	return output(env, dir, exec.Command("go", args...))
}

// output runs a command. What it writes is part of the error, and of no interest otherwise.
func output(env []string, dir string, cmd *exec.Cmd) error {
	cmd.Env, cmd.Dir = env, dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

func copyFile(to, from string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644)
}

// lock waits until no other process holds the lock file.
func lock(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	return f.Close, nil
}
