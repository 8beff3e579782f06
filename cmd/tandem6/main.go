// Command tandem6 shows and operates the DHCPv6 server of this box, the daemon
// tandem6d, over its Unix socket. "tandem6 help" says what it can do.
//
// It prints tables for people and, with --json, JSON for scripts: keys are added
// with new versions, never renamed. It exits with 0 when it has done what was
// asked, 1 when that was refused or failed, 2 when it did not understand.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/tandem6/tandem6/web"
)

func main() {
	// A reader that has seen enough ("tandem6 leases | head") is no failure,
	// and no reason to die of a signal.
	signal.Ignore(syscall.SIGPIPE)
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// The exit codes.
const (
	exitDone  = 0
	exitFail  = 1 // refused, or failed
	exitUsage = 2
)

// An app is one run of the program.
type app struct {
	ctx    context.Context
	stdin  io.Reader
	stdout *bufio.Writer
	stderr io.Writer
	socket string // of the daemon
}

// client is the way to the daemon.
func (a *app) client() *web.Client { return web.NewClient(a.socket) }

// A usageError is a command line that makes no sense.
type usageError struct{ text, hint string }

func (e *usageError) Error() string { return e.text }

// run does what args ask for and returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	out := &output{w: stdout}
	a := &app{ctx: context.Background(), stdin: stdin, stdout: bufio.NewWriter(out), stderr: stderr}
	err := a.do(args)
	if flushed := a.stdout.Flush(); err == nil && flushed != nil {
		err = fmt.Errorf("cannot write the output: %w", flushed)
	}
	if err == nil || out.gone {
		return exitDone
	}
	return a.fail(err)
}

// output is standard output. It remembers whether its reader has gone away.
type output struct {
	w    io.Writer
	gone bool
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	o.gone = o.gone || errors.Is(err, syscall.EPIPE)
	return n, err
}

// fail prints an error and what to do about it, and returns the exit code.
func (a *app) fail(err error) int {
	code, hint := exitFail, ""
	var usage *usageError
	var refusal *web.Error
	switch {
	case errors.As(err, &usage):
		code, hint = exitUsage, usage.hint
	case errors.As(err, &refusal):
		hint = refusal.Hint
		if refusal.Status == http.StatusBadRequest {
			code = exitUsage
		}
	}
	fmt.Fprintf(a.stderr, "error: %s\n", printable(err.Error()))
	if hint != "" {
		fmt.Fprintf(a.stderr, "hint: %s\n", printable(hint))
	}
	return code
}

// do finds the command and runs it.
func (a *app) do(args []string) error {
	global := flag.NewFlagSet("tandem6", flag.ContinueOnError)
	global.SetOutput(io.Discard)
	a.flags(global)
	version := global.Bool("version", false, "")
	switch err := global.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return a.help(nil)
	case err != nil:
		return &usageError{err.Error(), "tandem6 help"}
	case *version:
		return a.version()
	}
	args = global.Args()
	if len(args) == 0 {
		return &usageError{"what shall be done?", "tandem6 help lists the commands; tandem6 status is a good first one"}
	}
	c, args, err := find(args)
	if err != nil {
		return err
	}
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	a.flags(flags)
	action := c.define(flags)
	args, err = parse(flags, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return a.help(strings.Fields(c.name))
	case err != nil:
		return &usageError{err.Error(), "tandem6 help " + c.name}
	case len(args) < c.argsMin:
		return &usageError{"tandem6 " + c.name + " needs " + c.args, c.argsHint}
	case len(args) > c.argsMax:
		return &usageError{fmt.Sprintf("tandem6 %s has no use for %q", c.name, args[c.argsMax]), c.argsHint}
	}
	return action(a, args)
}

// flags are understood before and after the command.
func (a *app) flags(set *flag.FlagSet) {
	if a.socket == "" {
		a.socket = web.DefaultSocket
	}
	set.StringVar(&a.socket, "socket", a.socket, "")
}

// parse reads flags and arguments in any order, as people type them; after --
// there are only arguments.
func parse(set *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := set.Parse(args); err != nil {
			return nil, err
		}
		left := set.Args()
		if len(left) == 0 {
			return rest, nil
		}
		if n := len(args) - len(left); n > 0 && args[n-1] == "--" {
			return append(rest, left...), nil
		}
		rest, args = append(rest, left[0]), left[1:]
	}
}

// version prints what this program was built from.
func (a *app) version() error {
	version := "(unknown)"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	fmt.Fprintf(a.stdout, "tandem6 %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
