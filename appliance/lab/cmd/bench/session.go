package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"runtime"
	"slices"
)

// A session stands in for a test where the lab expects one: it keeps what has to be cleaned up, and ends at the first failure.
type session struct {
	dir      string // for temporary files
	cleanups []func()
	problems []error
}

// run calls f with a session and cleans up.
func run(dir string, f func(*session)) error {
	s := &session{dir: dir}
	done := make(chan struct{})
	go func() { // Fatalf ends the goroutine
		defer close(done)
		defer func() {
			for _, cleanup := range slices.Backward(s.cleanups) {
				cleanup()
			}
		}()
		f(s)
	}()
	<-done
	return errors.Join(s.problems...)
}

func (s *session) Helper()          {}
func (s *session) Name() string     { return "bench" }
func (s *session) Failed() bool     { return len(s.problems) > 0 }
func (s *session) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

// TempDir makes a folder that is removed with all others when the program ends.
func (s *session) TempDir() string {
	dir, err := os.MkdirTemp(s.dir, "")
	if err != nil {
		s.Fatalf("%v", err)
	}
	return dir
}

func (s *session) Logf(format string, args ...any) { log.Printf(format, args...) }

func (s *session) Errorf(format string, args ...any) {
	s.problems = append(s.problems, fmt.Errorf(format, args...))
}

func (s *session) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	runtime.Goexit()
}

// Skipf fails: what would be measured is not measured.
func (s *session) Skipf(format string, args ...any) { s.Fatalf(format, args...) }
