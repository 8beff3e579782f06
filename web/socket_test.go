package web

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// stale leaves the socket of a daemon that was killed.
func stale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

// The mode of the socket does not depend on the umask, and nobody ever sees
// another one.
func TestSocketMode(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := t.TempDir() + "/s"
	stop, done := make(chan struct{}), make(chan fs.FileMode)
	go func() {
		var worst fs.FileMode
		for {
			select {
			case <-stop:
				done <- worst
				return
			default:
				if info, err := os.Lstat(path); err == nil {
					worst |= info.Mode().Perm()
				}
			}
		}
	}()
	for range 200 {
		l, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := info.Mode(), fs.ModeSocket|0o600; got != want {
			t.Fatalf("mode %v, want %v", got, want)
		}
		l.Close()
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("a closed listener leaves its socket: %v", err)
		}
	}
	close(stop)
	if worst := <-done; worst&^0o600 != 0 {
		t.Errorf("there was a moment with mode %v", worst)
	}
}

func TestListenReplacesStaleSocket(t *testing.T) {
	path := t.TempDir() + "/s"
	stale(t, path)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestListenRefusesLivingDaemon(t *testing.T) {
	c := start(t, &memory{status: Status{Version: "first"}})
	l, err := Listen(c.socket)
	if err == nil {
		l.Close()
		t.Fatal("a second daemon took the socket")
	}
	if !strings.Contains(err.Error(), "another daemon answers there") {
		t.Errorf("%v", err)
	}
	if s, err := c.Status(t.Context()); err != nil || s.Version != "first" {
		t.Errorf("the first daemon: %+v, %v", s, err)
	}
}

// Several daemons that start at once on a dead socket: one gets it.
func TestListenRace(t *testing.T) {
	path := t.TempDir() + "/s"
	for range 20 {
		stale(t, path)
		var (
			wait    sync.WaitGroup
			mu      sync.Mutex
			winners []net.Listener
		)
		for range 8 {
			wait.Go(func() {
				if l, err := Listen(path); err == nil {
					mu.Lock()
					winners = append(winners, l)
					mu.Unlock()
				}
			})
		}
		wait.Wait()
		if len(winners) != 1 {
			t.Fatalf("%d daemons have the socket", len(winners))
		}
		if conn, err := net.Dial("unix", path); err != nil {
			t.Fatalf("the winner's socket is gone: %v", err)
		} else {
			conn.Close()
		}
		winners[0].Close()
	}
}

func TestListenRefusesOtherFiles(t *testing.T) {
	dir := t.TempDir()
	file := dir + "/file"
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := dir + "/link"
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, want string }{
		{file, "no socket"},
		{link, "no socket"},
		{dir + "/missing/s", "no such file or directory"},
		{dir + "/" + strings.Repeat("x", 100), "octets"},
		{"@abstract", "abstract"},
		{"", "abstract"},
	} {
		l, err := Listen(c.path)
		if err == nil {
			l.Close()
			t.Errorf("%s: accepted", c.path)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.path, err, c.want)
		}
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, []byte("precious")) {
		t.Errorf("the file is now %q, %v", got, err)
	}
}

// A daemon ends although a request hangs.
func TestServeEnds(t *testing.T) {
	path := t.TempDir() + "/s"
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	entered, left := make(chan struct{}), make(chan struct{})
	hang := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(left)
	})
	served := make(chan error)
	go func() { served <- Serve(ctx, l, hang) }()
	asked := make(chan error)
	go func() {
		_, err := NewClient(path).Status(t.Context())
		asked <- err
	}()
	<-entered
	begin := time.Now()
	stop()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if d := time.Since(begin); d > 10*shutdownTimeMax {
		t.Errorf("it took %v", d)
	}
	<-left
	if err := <-asked; err == nil || !strings.Contains(err.Error(), "broke off") {
		t.Errorf("the client sees %v", err)
	}
}

// A handler that panics is logged where the daemon logs, and the server goes on.
func TestServeLogsPanics(t *testing.T) {
	path := t.TempDir() + "/s"
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	if err := reader.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(writer, nil))
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error)
	fail := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("out of cheese") })
	go func() { served <- Serve(ctx, l, fail, LogTo(log)) }()
	for range 2 {
		go NewClient(path).Status(t.Context())
		record := make([]byte, 1<<16)
		n, err := reader.Read(record)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(record[:n]); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "out of cheese") {
			t.Errorf("logged %s", got)
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestServeReportsFailure(t *testing.T) {
	l, err := Listen(t.TempDir() + "/s")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := Serve(t.Context(), l, NewHandler(&memory{})); err == nil {
		t.Error("a dead listener is no error")
	}
}
