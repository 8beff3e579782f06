package web

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
)

// DefaultSocket is where the daemon listens and where clients look for it.
const DefaultSocket = "/run/tandem6.sock"

// socketMode lets nobody but the owner of the daemon, root, connect: the API
// has no other password on this socket.
const socketMode fs.FileMode = 0o600

// socketLenMax is the longest path of a Unix socket, in octets: sun_path of
// unix(7) without its final zero.
const socketLenMax = 107

// Limits of a server.
const (
	connectionsMax    = 32               // more wait in the kernel; one operator and some scripts need few
	headerLenMax      = 16 << 10         // octets: a filter of FilterLenMax, escaped, and what browsers send
	headerTimeMax     = 5 * time.Second  // to receive the headers of a request
	requestTimeMax    = 30 * time.Second // to receive a whole request: 4 MiB at 1 Mbit/s
	idleTimeMax       = time.Minute      // of a connection between two requests
	shutdownTimeMax   = 2 * time.Second  // for running requests when the daemon ends
	dialTimeMax       = 2 * time.Second  // to learn whether a daemon lives on a socket
	answerTimeReserve = 30 * time.Second // to send an answer to a slow reader, after OperationTimeMax
)

// Listen makes the daemon's Unix socket, mode 0600 from its first moment. It
// takes the place of a socket that a dead daemon left behind, and refuses a
// path on which a living one answers or on which there is any other file.
// Closing the listener removes the socket.
func Listen(path string) (net.Listener, error) {
	if len(path) > socketLenMax {
		return nil, fmt.Errorf("cannot listen on %s: the path has %d octets, a Unix socket allows %d", path, len(path), socketLenMax)
	}
	if path == "" || path[0] == '@' {
		return nil, fmt.Errorf("cannot listen on %q: only a file has permissions, and abstract sockets are none", path)
	}
	// Two daemons that both see a dead socket would remove each other's new one.
	unlock, err := lockSocket(path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	defer unlock()
	l, err := bind(path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if err := removeStale(path); err != nil {
			return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
		}
		l, err = bind(path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	return l, nil
}

// lockSocket lets one process at a time look at path and replace it. The lock
// ends with the process; the empty file stays, since removing it would race.
func lockSocket(path string) (unlock func(), err error) {
	name := path + ".lock"
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, socketMode)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another process is just taking it (lock %s: %w)", name, err)
	}
	return func() { f.Close() }, nil
}

// bind makes the socket. On Linux the file gets the mode that the socket has
// before bind; chmod afterwards would leave a moment for strangers, and the
// umask belongs to the whole process.
func bind(path string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), uint32(socketMode)) }); e != nil {
			return e
		}
		return err
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	info, err := os.Lstat(path)
	if err == nil && info.Mode().Perm()&^socketMode != 0 {
		err = fmt.Errorf("the file system gave it mode %v", info.Mode())
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// removeStale removes the socket of a daemon that is dead for certain.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // its daemon has just ended and removed it
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file that is no socket; it was left untouched, remove it or choose another path")
	}
	conn, err := net.DialTimeout("unix", path, dialTimeMax)
	if err == nil {
		conn.Close()
		return errors.New("another daemon answers there; stop it first or choose another path")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("cannot tell whether another daemon lives there: %w", err)
	}
	return os.Remove(path)
}

// An Option changes how Serve works.
type Option func(*http.Server)

// LogTo has faults of the server itself, panics of a handler above all, written
// to log as errors. Without it, they go to package log's standard logger.
func LogTo(log *slog.Logger) Option {
	return func(s *http.Server) { s.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelError) }
}

// Serve answers requests on l with h until ctx ends; then it closes l, gives
// running requests shutdownTimeMax to end, and returns nil. It returns an
// error when l fails. It runs one goroutine a connection, at most
// connectionsMax, and one that waits for ctx.
func Serve(ctx context.Context, l net.Listener, h http.Handler, options ...Option) error {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeMax,
		ReadTimeout:       requestTimeMax,
		WriteTimeout:      requestTimeMax + OperationTimeMax + answerTimeReserve,
		IdleTimeout:       idleTimeMax,
		MaxHeaderBytes:    headerLenMax,
	}
	for _, o := range options {
		o(server)
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(netutil.LimitListener(l, connectionsMax)) }()
	select {
	case err := <-failed:
		return fmt.Errorf("the operator's socket %v failed: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	// The requests of dying clients must not keep the daemon from ending.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeMax)
	defer cancel()
	if server.Shutdown(grace) != nil {
		server.Close()
	}
	<-failed
	return nil
}
