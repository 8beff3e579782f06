package bolt

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tandem6/tandem6/storage"
	"github.com/tandem6/tandem6/storage/storagetest"
)

// The tests here run this test binary again, as a process that commits and dies.

const childEnv = "TANDEM6_BOLT_CHILD" // names the role and its arguments, separated by blanks

func TestMain(m *testing.M) {
	role := strings.Fields(os.Getenv(childEnv))
	if len(role) == 0 {
		os.Exit(m.Run())
	}
	var err error
	switch role[0] {
	case "commit":
		err = commitAll(role[1], role[2])
	case "fill":
		err = fillDisk(role[1])
	default:
		err = fmt.Errorf("no role %q", role[0])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func child(role ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(role, " "))
	return cmd
}

// batchNumber is the n-th batch of the child: always the same, and saying its number.
func batchNumber(n int) *storage.Batch {
	b := storagetest.RandomBatch(rand.New(rand.NewPCG(uint64(n), 11)), 1<<(n%6), 300)
	b.Set("number", fmt.Append(nil, n))
	return b
}

// history is the content after each number of batches.
type history struct {
	content storagetest.Content
	n       int
}

func (h *history) upTo(n int) storagetest.Content {
	for ; h.n < n; h.n++ {
		h.content.Apply(batchNumber(h.n + 1))
	}
	return h.content
}

// numberIn is the number of the last batch in c.
func numberIn(c storagetest.Content) (int, error) {
	text, ok := c.Values["number"]
	if !ok {
		return 0, nil
	}
	return strconv.Atoi(text)
}

// commitAll is the child: it goes on where it left off, up to batch last, and
// prints the number of each batch after Commit has returned.
func commitAll(path, last string) error {
	end, err := strconv.Atoi(last)
	if err != nil {
		return err
	}
	s, err := open(path, 1, tinyLimits)
	if err != nil {
		return err
	}
	c, err := storagetest.Read(s)
	if err != nil {
		return err
	}
	n, err := numberIn(c)
	if err != nil {
		return err
	}
	for n++; n <= end; n++ {
		if err := s.Commit(batchNumber(n)); err != nil {
			return err
		}
		fmt.Println(n) // not buffered
		if n%2 == 0 {
			if _, err := s.Maintain(); err != nil {
				return err
			}
		}
	}
	return nil // without Close
}

// A process is killed at random moments. Each batch that was acknowledged is
// there afterwards, at most the one under way besides, and nothing by half.
func TestKill(t *testing.T) {
	kills := 100
	if text := os.Getenv("TANDEM6_KILLS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("TANDEM6_KILLS: %v", err)
		}
		kills = n
	}
	path := filepath.Join(t.TempDir(), "leases.db")
	r := rand.New(rand.NewPCG(12, 12))
	model := history{content: storagetest.NewContent()}
	acked, unacked := 0, 0
	for kill := range kills {
		acked = max(acked, commitUntilKilled(t, path, time.Duration(r.IntN(100))*time.Millisecond))
		s, err := open(path, 1, tinyLimits)
		if err != nil {
			t.Fatalf("kill %d: %v", kill, err)
		}
		got, err := storagetest.Read(s)
		if err != nil {
			t.Fatalf("kill %d: %v", kill, err)
		}
		n, err := numberIn(got)
		if err != nil || n < acked || n > acked+1 {
			t.Fatalf("kill %d: batch %d is the last there (%v), %d was acknowledged", kill, n, err, acked)
		}
		if d := model.upTo(n).Diff(got); d != "" {
			t.Fatalf("kill %d: after batch %d:\n%s", kill, n, d)
		}
		checkBolt(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		unacked += n - acked
		acked = n
	}
	t.Logf("%d kills, %d batches; %d were durable but not yet acknowledged", kills, acked, unacked)
	if acked < kills {
		t.Errorf("only %d batches were committed in %d lives", acked, kills)
	}
}

// commitUntilKilled runs the child for a time and returns the last number that
// it printed.
func commitUntilKilled(t *testing.T, path string, life time.Duration) (acked int) {
	t.Helper()
	cmd := child("commit", path, "1000000000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(life, func() { cmd.Process.Kill() })
	defer timer.Stop()
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF { // what is left is no whole line
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if acked, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
			t.Fatal(err)
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child ended by itself: %v %s", err, stderr.String())
	}
	return acked
}

// sysop is one system call of the child that concerns the file.
type sysop struct {
	kind string // pwrite64, ftruncate, sync, ack
	off  int64  // of a write; the size of a truncate; the number of an ack
	data []byte
}

// A power cut loses any part of what was written since the last fdatasync: any
// subset of the writes, each by sectors. The test records the system calls of a
// process with strace and builds what such a cut could leave, at each sync. From
// all of it the store must come back with what was acknowledged.
func TestPowerCut(t *testing.T) {
	needs(t, "strace", func() error { _, err := exec.LookPath("strace"); return err })
	const batches = 60
	path := filepath.Join(t.TempDir(), "leases.db")
	s := mustOpen(t, path, tinyLimits)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ops := record(t, path, batches)

	cuts := powerCuts{t: t, image: bytes.Clone(image), path: path, r: rand.New(rand.NewPCG(13, 13))}
	cuts.play(ops)
	t.Logf("%d system calls, %d power cuts", len(ops), cuts.n)
	if cuts.damaged > 0 || cuts.lost > 0 {
		t.Errorf("of %d power cuts %d damaged the file and %d lost acknowledged batches", cuts.n, cuts.damaged, cuts.lost)
	}

	// On a disk that does not heed fdatasync the same must be found out: as
	// damage or as a loss of whole batches, never as anything in between.
	lying := powerCuts{t: t, image: image, path: path, r: rand.New(rand.NewPCG(14, 14)), lie: 5}
	lying.play(ops)
	t.Logf("without fdatasync: of %d power cuts %d damaged the file, %d lost acknowledged batches", lying.n, lying.damaged, lying.lost)
	if lying.damaged == 0 || lying.lost == 0 {
		t.Error("the test would not notice that fdatasync is missing")
	}
}

// powerCuts builds files as power cuts leave them and looks at each.
type powerCuts struct {
	t     *testing.T
	image []byte // what is certainly on the disk
	path  string
	r     *rand.Rand
	lie   int // one of lie syncs is heeded; 0: all are

	pending          []sysop
	acked            int
	n, damaged, lost int
}

func (c *powerCuts) play(ops []sysop) {
	syncs := 0
	for _, op := range ops {
		switch op.kind {
		case "ack":
			c.acked = int(op.off)
		case "sync":
			if syncs++; c.lie > 0 && syncs%c.lie != 0 {
				c.cut(func(int) bool { return c.r.IntN(2) == 0 })
				continue
			}
			c.cutAll()
			for _, op := range c.pending {
				c.image = op.apply(c.image, func(int) bool { return true })
			}
			c.pending = nil
		default:
			c.pending = append(c.pending, op)
		}
	}
}

// cutAll tries the cuts before one sync: nothing was written, everything, all but
// one write, only one write, and random sectors.
func (c *powerCuts) cutAll() {
	c.cut(func(int) bool { return false })
	c.cut(func(int) bool { return true })
	one := c.r.IntN(len(c.pending) + 1)
	c.cut(func(op int) bool { return op != one })
	c.cut(func(op int) bool { return op == one })
	for range 4 {
		c.cut(func(int) bool { return c.r.IntN(2) == 0 })
	}
}

// cut makes the file with those sectors of the pending writes that kept chooses.
func (c *powerCuts) cut(kept func(op int) bool) {
	c.t.Helper()
	c.n++
	image := bytes.Clone(c.image)
	for i, op := range c.pending {
		image = op.apply(image, func(int) bool { return kept(i) })
	}
	if err := os.WriteFile(c.path, image, 0o600); err != nil {
		c.t.Fatal(err)
	}
	got, err := load(c.path)
	var d *storage.DamagedError
	if errors.As(err, &d) {
		c.damaged++
		return
	}
	if err != nil {
		c.t.Fatal(err)
	}
	n, err := numberIn(got)
	if err != nil || n > c.acked+1 {
		c.t.Fatalf("batch %d is there (%v), %d was acknowledged", n, err, c.acked)
	}
	if n < c.acked {
		c.lost++
	}
	whole := history{content: storagetest.NewContent()}
	if diff := whole.upTo(n).Diff(got); diff != "" {
		c.t.Fatalf("after batch %d, with %d acknowledged:\n%s", n, c.acked, diff)
	}
}

const sectorLen = 512 // octets; what a disk writes whole or not at all

// apply makes those sectors of a write that kept chooses.
func (op sysop) apply(image []byte, kept func(sector int) bool) []byte {
	grow := func(size int64) {
		if n := size - int64(len(image)); n > 0 {
			image = append(image, make([]byte, n)...)
		}
	}
	if op.kind == "ftruncate" {
		if kept(0) {
			grow(op.off) // the store never shortens its file
		}
		return image
	}
	for i := 0; i < len(op.data); i += sectorLen {
		if kept(i / sectorLen) {
			part := op.data[i:min(i+sectorLen, len(op.data))]
			grow(op.off + int64(i+len(part)))
			copy(image[op.off+int64(i):], part)
		}
	}
	return image
}

// record runs the child under strace and returns what it did to the file.
func record(t *testing.T, path string, batches int) (ops []sysop) {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := child("commit", path, strconv.Itoa(batches))
	cmd.Args = append([]string{"strace", "-f", "-xx", "-s", "10000000", "-o", trace,
		"-e", "trace=openat,write,pwrite64,ftruncate,fdatasync,fsync,fallocate,pwritev,pwritev2,writev,msync,sync_file_range"}, os.Args[0])
	var err error
	if cmd.Path, err = exec.LookPath("strace"); err != nil {
		t.Fatal(err)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("strace: %v\n%s", err, out)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	ops = parseTrace(t, string(text), path)
	if last := ops[len(ops)-1]; last.kind != "ack" || last.off != int64(batches) {
		t.Fatalf("the trace ends with %+v", last)
	}
	return ops
}

var (
	traceCall    = regexp.MustCompile(`^(\d+) +(\w+)\((.*?)(?:\) += (-?\d+).*| <unfinished \.\.\.>)$`)
	traceResumed = regexp.MustCompile(`^(\d+) +<\.\.\. \w+ resumed>.*\) += (-?\d+)`)
)

// parseTrace takes a write at the moment it begins, since from then on it may be
// on the disk, and a sync at the moment it ends. The child does one at a time.
func parseTrace(t *testing.T, text, path string) (ops []sysop) {
	t.Helper()
	fd := ""
	resume := map[string]func(result string){} // by thread: what waits for the end of its call
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := traceResumed.FindStringSubmatch(line); m != nil {
			if end := resume[m[1]]; end != nil {
				end(m[2])
			}
			delete(resume, m[1])
			continue
		}
		m := traceCall.FindStringSubmatch(line)
		if m == nil {
			continue // a signal, an exit
		}
		thread, call, args, result := m[1], m[2], strings.Split(m[3], ", "), m[4]
		var end func(result string)
		switch {
		case call == "openat" && string(unhex(t, args[1])) == path:
			end = func(result string) { fd = result }
		case call == "write" && args[0] == "1":
			ops = append(ops, sysop{kind: "ack", off: number(t, strings.TrimSpace(string(unhex(t, args[1]))))})
		case call == "openat" || fd == "" || args[0] != fd:
		case call == "pwrite64":
			ops = append(ops, sysop{kind: call, off: number(t, args[3]), data: unhex(t, args[1])})
		case call == "ftruncate":
			ops = append(ops, sysop{kind: call, off: number(t, args[1])})
		case call == "fdatasync" || call == "fsync":
			end = func(string) { ops = append(ops, sysop{kind: "sync"}) }
		default:
			t.Fatalf("the test does not know %s", call)
		}
		if end != nil && result == "" {
			resume[thread] = end
		} else if end != nil {
			end(result)
		}
	}
	if len(ops) == 0 {
		t.Fatalf("nothing in the trace:\n%.2000s", text)
	}
	return ops
}

func number(t *testing.T, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// unhex reads a string as strace -xx prints it.
func unhex(t *testing.T, text string) []byte {
	t.Helper()
	body, ok := strings.CutPrefix(text, `"`)
	body, ok2 := strings.CutSuffix(body, `"`)
	if !ok || !ok2 {
		t.Fatalf("%.80s is not a whole string", text)
	}
	b := make([]byte, 0, len(body)/4)
	for ; body != ""; body = body[4:] {
		n, err := strconv.ParseUint(strings.TrimPrefix(body[:4], `\x`), 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, byte(n))
	}
	return b
}

// needs skips the test where what it rests on is missing; with CI=true it fails.
func needs(t *testing.T, what string, check func() error) {
	t.Helper()
	err := check()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("needs %s: %v", what, err)
	default:
		t.Skipf("needs %s: %v", what, err)
	}
}

// A full disk is an error of Commit; nothing that was acknowledged is lost, and
// when there is room again the store goes on. The child does it on a small file
// system of its own.
func TestDiskFull(t *testing.T) {
	needs(t, "root, to mount a small file system", func() error {
		if os.Getuid() != 0 {
			return errors.New("not root")
		}
		return nil
	})
	cmd := child("fill", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%s", out)
}

// fillDisk is the child, in a mount namespace of its own. (Go has made all mounts
// in it private.)
func fillDisk(dir string) error {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 700<<10), 0o600); err != nil {
		return err
	}
	path := filepath.Join(dir, "leases.db")
	want, n := storagetest.NewContent(), 0
	full, err := commitUntilFull(path, want, &n, 1e6)
	if !full {
		return fmt.Errorf("the disk did not become full: %w", err)
	}
	acked := n
	// A restart, as after any failed commit: still full, and nothing is lost.
	if full, err = commitUntilFull(path, want, &n, 1e6); !full {
		return fmt.Errorf("the disk is no longer full: %w", err)
	}
	if err := os.Remove(ballast); err != nil {
		return err
	}
	if full, err := commitUntilFull(path, want, &n, 200); full || err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	fmt.Printf("full after %d batches, %d in the end", acked, n)
	return nil
}

// commitUntilFull opens the store, compares it with want and commits until the
// disk is full, at most limit batches. want and n follow what is durable: of a
// batch whose commit failed that is not known until the store is opened again.
func commitUntilFull(path string, want storagetest.Content, n *int, limit int) (full bool, err error) {
	s, err := open(path, 1, tinyLimits)
	if err != nil {
		return false, err
	}
	defer s.Close()
	got, err := storagetest.Read(s)
	if err != nil {
		return false, err
	}
	batch := func() *storage.Batch {
		b := new(storage.Batch)
		for i := range 10 {
			b.Put(numbered(*n*10+i, 1))
		}
		return b
	}
	if want.Diff(got) != "" {
		want.Apply(batch())
		*n++
	}
	if d := want.Diff(got); d != "" {
		return false, errors.New(d)
	}
	for range limit {
		b := batch()
		err := s.Commit(b)
		if errors.Is(err, syscall.ENOSPC) {
			if again := s.Commit(b); again == nil {
				return false, errors.New("a commit after a failed one succeeded")
			}
			return true, nil
		}
		if err != nil {
			return false, err
		}
		want.Apply(b)
		*n++
	}
	return false, nil
}
