package main

import (
	"context"
	"os"
	"runtime"
	"slices"
	"sync"
)

// A session is the [lab.T] of a program that is not a test: what fails is shown and ends the session, and what was made is taken
// away at its end.
type session struct {
	screen *screen

	mu        sync.Mutex
	cleanups  []func()
	failed    bool
	succeeded bool // what the session is for has happened
	closing   bool
}

// run runs body until it returns or fails, or the context ends, then cleans up. It reports whether the session succeeded.
func (s *session) run(ctx context.Context, body func()) bool {
	over := make(chan struct{})
	go func() {
		defer close(over)
		body()
	}()
	select {
	case <-over:
	case <-ctx.Done():
		// The body may still be at work; what it meets while its world is taken away is of no interest.
		s.mu.Lock()
		s.closing = true
		s.mu.Unlock()
	}
	for f := s.pop(); f != nil; f = s.pop() {
		f()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.succeeded && !s.failed
}

// pop takes the cleanup that was added last.
func (s *session) pop() func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.cleanups) == 0 {
		return nil
	}
	last := len(s.cleanups) - 1
	f := s.cleanups[last]
	s.cleanups = slices.Delete(s.cleanups, last, last+1)
	return f
}

func (s *session) succeed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.succeeded = true
}

func (s *session) Helper()      {}
func (s *session) Name() string { return "run" }

// Cleanup is like that of a test. When the session is closing already, the thing to be cleaned up came too late and goes at once.
func (s *session) Cleanup(f func()) {
	s.mu.Lock()
	closing := s.closing
	if !closing {
		s.cleanups = append(s.cleanups, f)
	}
	s.mu.Unlock()
	if closing {
		f()
		runtime.Goexit()
	}
}

func (s *session) TempDir() string {
	dir, err := os.MkdirTemp("", "tandem6-run-")
	if err != nil {
		s.Fatalf("%v", err)
	}
	s.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (s *session) Failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func (s *session) Logf(format string, args ...any) { s.screen.note(format, args...) }

func (s *session) Errorf(format string, args ...any) {
	s.mu.Lock()
	closing := s.closing
	s.failed = s.failed || !closing
	s.mu.Unlock()
	if !closing {
		s.screen.note("error: "+format, args...)
	}
}

func (s *session) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	runtime.Goexit()
}

// Skipf is a failure here: there is nothing else to do.
func (s *session) Skipf(format string, args ...any) { s.Fatalf(format, args...) }
