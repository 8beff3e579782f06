// Command tandem6d is the Tandem6 daemon: DHCPv6 server, router advertisements,
// addresses and routes of one box.
package main

import (
	"context"
	crand "crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/tandem6/tandem6/appliance"
	"github.com/tandem6/tandem6/appliance/config"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/web"
)

// version is set when the image is built.
var version = "devel"

// Exit codes. 0 only after a signal to stop: the supervisor of the image takes
// 0 and 125 for "never start again".
const (
	exitStopped = 0
	exitFailed  = 1
	exitUsage   = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("tandem6d", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var (
		o        appliance.Options
		check    = flags.String("check", "", "validate the configuration in `FILE`, print every problem, and end")
		initial  = flags.Bool("init", false, "print a commented, minimal, working configuration, and end")
		level    = flags.String("log-level", "info", "`LEVEL` of the log: debug, info, warning or error")
		console  = flags.String("console", "", "also write what matters to `PATH`, such as /dev/console")
		showVers = flags.Bool("version", false, "print the version, and end")
	)
	flags.StringVar(&o.ConfigFile, "config", "/perm/tandem6/config.json", "the configuration `FILE`; made when it does not exist")
	flags.StringVar(&o.StateDir, "state", "/perm/tandem6", "the `DIR` of the lease file")
	flags.StringVar(&o.Socket, "socket", web.DefaultSocket, "the Unix socket at `PATH` for the command tandem6")
	flags.Usage = func() {
		fmt.Fprint(stderr, "Tandem6d serves DHCPv6 addresses and prefixes (RFC 9915) and sends router advertisements.\n\nUsage: tandem6d [options]\n\n")
		flags.PrintDefaults()
		fmt.Fprint(stderr, "\nSIGHUP reads the configuration again; SIGTERM and SIGINT stop the daemon, leases stay.\n")
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return exitStopped
	} else if err != nil {
		return exitUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "error: unknown argument %q\nhint: tandem6d -help lists what there is\n", flags.Arg(0))
		return exitUsage
	}
	var seed [32]byte
	crand.Read(seed[:])
	o.Rand = rand.New(rand.NewChaCha8(seed))
	switch {
	case *showVers:
		fmt.Fprintln(stdout, version)
		return exitStopped
	case *initial:
		stdout.Write(appliance.InitialConfig(o.Rand))
		return exitStopped
	case *check != "":
		return checkFile(*check, stdout, stderr)
	}
	var err error
	if o.LogLevel, err = parseLevel(*level); err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return exitUsage
	}
	o.Version = version
	o.Log, err = newLog(stderr, *console, o.LogLevel)
	if err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return exitFailed
	}
	return serve(o)
}

// checkFile prints what is wrong with a configuration file.
func checkFile(file string, stdout, stderr io.Writer) int {
	text, err := config.ReadFile(file)
	if err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return exitFailed
	}
	_, problems := config.Parse(file, text)
	for _, p := range problems {
		fmt.Fprintln(stderr, p)
	}
	if problems.Err() != nil {
		return exitFailed
	}
	fmt.Fprintln(stdout, file+": ok")
	return exitStopped
}

func parseLevel(s string) (trace.Level, error) {
	var names []string
	for l := trace.Debug; l <= trace.Error; l++ {
		if l.String() == s {
			return l, nil
		}
		names = append(names, l.String())
	}
	return 0, fmt.Errorf("log level %q is not one of %s", s, strings.Join(names, ", "))
}

// serve runs the daemon until a signal or a failure ends it.
func serve(o appliance.Options) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	d, err := appliance.Open(o)
	if err != nil {
		o.Log.Error("cannot start", "error", err)
		return exitFailed
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	go func() { // ends with the process
		for range hangup {
			if err := d.Reload(ctx); err != nil {
				o.Log.Error("the configuration was not read again, the old one stays in force", "error", err)
			}
		}
	}()
	o.Log.Info("starting", "version", o.Version, "pid", os.Getpid())
	if err := d.Run(ctx); err != nil {
		o.Log.Error("stopped", "error", err)
		return exitFailed
	}
	if ctx.Err() == nil {
		o.Log.Error("stopped without being told to")
		return exitFailed
	}
	o.Log.Info("stopped by a signal; the leases are kept")
	return exitStopped
}

// newLog writes to stderr, and to the console what is at least information.
func newLog(stderr io.Writer, console string, level trace.Level) (*slog.Logger, error) {
	min := map[trace.Level]slog.Level{trace.Debug: slog.LevelDebug, trace.Info: slog.LevelInfo, trace.Warning: slog.LevelWarn, trace.Error: slog.LevelError}[level]
	handler := slog.Handler(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: min}))
	if console == "" {
		return slog.New(handler), nil
	}
	// O_NOCTTY: the console must not become the daemon's terminal.
	f, err := os.OpenFile(console, os.O_WRONLY|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open the console: %w", err)
	}
	return slog.New(slog.NewMultiHandler(handler, slog.NewTextHandler(newLines(f), &slog.HandlerOptions{Level: max(min, slog.LevelInfo)}))), nil
}

// lines writes to a slow device without holding anybody up: what it cannot take
// is lost.
type lines struct{ queue chan []byte }

// consoleLinesMax is a screenful.
const consoleLinesMax = 64

func newLines(w io.Writer) lines {
	l := lines{make(chan []byte, consoleLinesMax)}
	go func() { // ends with the process
		for b := range l.queue {
			w.Write(b)
		}
	}()
	return l
}

func (l lines) Write(b []byte) (int, error) {
	select {
	case l.queue <- append([]byte(nil), b...):
	default:
	}
	return len(b), nil
}
