package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A screen is the terminal, or whatever standard output is. The serial console and notes about the client share it.
type screen struct {
	interactive bool // the keyboard belongs to the machine
	saved       *unix.Termios

	mu     sync.Mutex
	column int // 0 at the start of a line
}

// openScreen sets the terminal so that each key goes to the machine at once, except the one for SIGINT.
func openScreen(once bool) (*screen, error) {
	saved, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS)
	if err != nil || once {
		return &screen{}, nil // not a terminal, or not wanted
	}
	keys := *saved
	keys.Iflag &^= unix.ICRNL | unix.INLCR | unix.IGNCR | unix.IXON
	keys.Lflag &^= unix.ICANON | unix.ECHO
	keys.Cc[unix.VMIN], keys.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(int(os.Stdin.Fd()), unix.TCSETS, &keys); err != nil {
		return nil, fmt.Errorf("cannot set up the terminal: %w", err)
	}
	return &screen{interactive: true, saved: saved}, nil
}

// close gives the terminal back as it was.
func (s *screen) close() {
	if s.saved != nil {
		unix.IoctlSetTermios(int(os.Stdin.Fd()), unix.TCSETS, s.saved)
	}
}

// keysTo passes keys on until the machine or the terminal is gone.
func (s *screen) keysTo(machine io.Writer) { io.Copy(machine, os.Stdin) }

// Write shows what the machine writes to its serial console.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write(p)
}

func (s *screen) write(p []byte) (int, error) {
	if len(p) > 0 {
		s.column = 1
		if p[len(p)-1] == '\n' {
			s.column = 0
		}
	}
	return os.Stdout.Write(p)
}

// note shows lines that do not come from the machine, each marked as such and on lines of their own.
func (s *screen) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.column != 0 {
		s.write([]byte("\n"))
	}
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		s.write([]byte("\r=== " + strings.TrimRight(line, "\r\n") + "\n"))
	}
}
