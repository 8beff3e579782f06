package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tandem6/tandem6/web"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tandem6": main, "tandem6-peak": mainPeak})
}

// mainPeak is main, and then prints the peak of its resident memory in KiB. The
// rusage of a child would not do: it begins with the peak of its parent.
func mainPeak() {
	code := run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	os.Stderr.WriteString(strings.Fields(rest)[0])
	os.Exit(code)
}

var update = flag.Bool("update", false, "rewrite what testdata expects; read the difference before you commit it")

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("SOCK", filepath.Join(env.WorkDir, "s"))
			env.Setenv("ESCAPE", "\x1b[2J")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"daemon":   cmdDaemon,
			"listener": cmdListener,
			"stale":    cmdStale,
			"exits":    cmdExits,
			"locked":   cmdLocked,
			"memory":   cmdMemory,
			"fill":     cmdFill,
		},
	})
}

// cmdDaemon serves the files of the script's folder on $SOCK until the script
// ends: daemon [NUMBER of made-up leases].
func cmdDaemon(ts *testscript.TestScript, neg bool, args []string) {
	o := &scripted{dir: ts.Getenv("WORK")}
	if len(args) == 1 {
		var err error
		o.many, err = strconv.Atoi(args[0])
		ts.Check(err)
	}
	stop, err := serve(ts.Getenv("SOCK"), o)
	ts.Check(err)
	ts.Defer(func() { ts.Check(stop()) })
}

// serve serves o on a socket until stop is called.
func serve(socket string, o web.Operator) (stop func() error, err error) {
	l, err := web.Listen(socket)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- web.Serve(ctx, l, web.NewHandler(o)) }()
	return func() error { cancel(); return <-done }, nil
}

// cmdListener answers everybody on $SOCK with the text of a file: listener FILE.
func cmdListener(ts *testscript.TestScript, neg bool, args []string) {
	answer := ts.ReadFile(args[0])
	l, err := net.Listen("unix", ts.Getenv("SOCK"))
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 4096)) // the request
			io.WriteString(conn, answer)
			conn.Close()
		}
	}()
}

// cmdStale leaves the socket of a daemon that was killed on $SOCK.
func cmdStale(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: ts.Getenv("SOCK")})
	ts.Check(err)
	l.SetUnlinkOnClose(false)
	l.Close()
}

// cmdExits runs a program that has to end with a code: exits CODE PROGRAM ARG...
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// cmdLocked runs a program that has to fail without the right to pass by the
// permissions of files: locked PROGRAM ARG... Root gives that right up with
// setpriv(1) of util-linux.
func cmdLocked(ts *testscript.TestScript, neg bool, args []string) {
	if os.Geteuid() == 0 {
		const rights = "-dac_override,-dac_read_search"
		args = append([]string{"setpriv", "--inh-caps", rights, "--bounding-set", rights}, args...)
	}
	if err := ts.Exec(args[0], args[1:]...); err == nil {
		ts.Fatalf("it succeeded")
	}
}

// cmdMemory runs tandem6 and holds the number of lines that it prints and the
// peak of its resident memory against limits: memory LINES MIB ARG... The race
// detector multiplies what a program needs (raceFactor).
func cmdMemory(ts *testscript.TestScript, neg bool, args []string) {
	lines, err := strconv.Atoi(args[0])
	ts.Check(err)
	limit_MiB, err := strconv.Atoi(args[1])
	ts.Check(err)
	limit_MiB *= raceFactor
	cmd := exec.Command(lookup(ts, "tandem6-peak"), args[2:]...)
	cmd.Env = append(os.Environ(), "GOGC="+ts.Getenv("GOGC"))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	n := 0
	for s := bufio.NewScanner(out); s.Scan(); n++ {
	}
	ts.Check(cmd.Wait())
	peak_KiB, err := strconv.Atoi(stderr.String())
	ts.Check(err)
	peak_MiB := peak_KiB >> 10
	ts.Logf("%d lines, peak of resident memory %d MiB", n, peak_MiB)
	if n != lines || peak_MiB > limit_MiB {
		ts.Fatalf("%d lines and %d MiB, want %d and at most %d MiB", n, peak_MiB, lines, limit_MiB)
	}
}

// lookup finds a program on the script's own PATH.
func lookup(ts *testscript.TestScript, program string) string {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if path := filepath.Join(dir, program); isFile(path) {
			return path
		}
	}
	ts.Fatalf("there is no program %s", program)
	return ""
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// cmdFill makes a file of N times the letter x: fill FILE N.
func cmdFill(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Repeat("x", n)), 0o600))
}

// Rows are printed while later ones are still on their way.
func TestListStreams(t *testing.T) {
	for _, form := range []string{"", "--json", "--long"} {
		t.Run(form, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(dir+"/status.json", []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
			g := &gate{scripted{dir: dir, many: web.LeasesPerPageMax + 1}, make(chan struct{})}
			stop, err := serve(dir+"/s", g)
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			args := []string{"-socket", dir + "/s", "leases"}
			if form != "" {
				args = append(args, form)
			}
			reader, writer := io.Pipe()
			code := make(chan int, 1)
			go func() {
				code <- run(args, strings.NewReader(""), writer, os.Stderr)
				writer.Close()
			}()
			lines := bufio.NewReader(reader)
			if line, err := lines.ReadString('\n'); err != nil || line == "" {
				t.Fatalf("%q, %v", line, err)
			}
			close(g.open) // only now the daemon goes on
			if _, err := io.Copy(io.Discard, lines); err != nil {
				t.Error(err)
			}
			if c := <-code; c != exitDone {
				t.Errorf("exit code %d", c)
			}
		})
	}
}
