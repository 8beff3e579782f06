package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/tandem6/tandem6/web"
)

func configShow(a *app, _ []string) error {
	text, err := a.client().Config(a.ctx)
	if err != nil {
		return err
	}
	_, err = a.stdout.Write(text)
	return err
}

func defineConfigCheck(flags *flag.FlagSet) action {
	asJSON := flags.Bool("json", false, "")
	return func(a *app, args []string) error {
		name, err := a.fileToCheck(args)
		if err != nil {
			return withoutDaemon(err, "FILE")
		}
		text, err := a.readConfig(name)
		if err != nil {
			return err
		}
		problems, err := a.client().CheckConfig(a.ctx, text)
		if err != nil {
			return withoutDaemon(err, name)
		}
		if *asJSON {
			err = a.problemsJSON(problems)
		} else {
			printProblems(a.stdout, name, problems)
		}
		if err != nil {
			return err
		}
		if n := web.ErrorCount(problems); n > 0 {
			return fmt.Errorf("%s would be refused: %s", shownName(name), plural(n, "error"))
		}
		if !*asJSON {
			fmt.Fprintf(a.stdout, "%s is good\n", printable(shownName(name)))
		}
		return nil
	}
}

// fileToCheck is the file that was named, or the one that the daemon reads.
func (a *app) fileToCheck(args []string) (string, error) {
	if len(args) == 1 {
		return args[0], nil
	}
	s, err := a.client().Status(a.ctx)
	if err != nil {
		return "", err
	}
	if s.Configuration.File == "" {
		return "", &usageError{"tandem6d reads no file", "name the file to check"}
	}
	return s.Configuration.File, nil
}

// withoutDaemon tells how to check a file when no daemon can be asked.
func withoutDaemon(err error, name string) error {
	var e *web.Error
	if !errors.Is(err, web.ErrUnreachable) || !errors.As(err, &e) {
		return err
	}
	if name == "-" {
		name = "FILE"
	}
	other := *e
	other.Hint = "without a running daemon: tandem6d -check " + name
	return &other
}

func defineConfigApply(flags *flag.FlagSet) action {
	untilRestart := flags.Bool("until-restart", false, "")
	return func(a *app, args []string) error {
		name := args[0]
		text, err := a.readConfig(name)
		if err != nil {
			return err
		}
		before, err := a.client().Config(a.ctx)
		if err != nil {
			return err
		}
		problems, err := a.client().ApplyConfig(a.ctx, text, !*untilRestart)
		if err != nil {
			return err
		}
		printProblems(a.stderr, name, problems)
		if n := web.ErrorCount(problems); n > 0 {
			return &web.Error{
				Text: fmt.Sprintf("%s was refused: %s", shownName(name), plural(n, "error")),
				Hint: "nothing has changed",
			}
		}
		a.showChange(before, text)
		if *untilRestart {
			a.stdout.WriteString("in force until tandem6d starts again\n")
		} else {
			a.stdout.WriteString("in force and saved\n")
		}
		return nil
	}
}

// showChange prints the lines that differ.
func (a *app) showChange(before, after []byte) {
	d := diff.Diff("before", before, "now", after)
	if d == nil {
		a.stdout.WriteString("nothing changed: this text was in force already\n")
		return
	}
	_, d, _ = bytes.Cut(d, []byte("\n")) // its first line repeats the names
	for line := range strings.Lines(string(d)) {
		a.stdout.WriteString(printable(strings.TrimSuffix(line, "\n")) + "\n")
	}
}

// readConfig reads a configuration; - is standard input.
func (a *app) readConfig(name string) ([]byte, error) {
	in := a.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("cannot read the configuration: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, web.ConfigLenMax+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	if len(text) > web.ConfigLenMax {
		return nil, fmt.Errorf("%s is too long for a configuration, at most %s are allowed", shownName(name), octets(web.ConfigLenMax))
	}
	return text, nil
}

// shownName is how messages call a file.
func shownName(name string) string {
	if name == "-" {
		return "standard input"
	}
	return name
}

func (a *app) problemsJSON(problems []web.Problem) error {
	e := json.NewEncoder(a.stdout)
	for _, p := range problems {
		if err := e.Encode(p); err != nil {
			return err
		}
	}
	return nil
}

// printProblems prints one line a problem, as compilers do: editors jump to it.
func printProblems(w io.Writer, name string, problems []web.Problem) {
	for _, p := range problems {
		var b strings.Builder
		b.WriteString(or(p.File, shownName(name)))
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
			if p.Column > 0 {
				fmt.Fprintf(&b, ":%d", p.Column)
			}
		}
		b.WriteString(": ")
		if p.Warning {
			b.WriteString("warning: ")
		}
		if p.Path != "" {
			b.WriteString(p.Path + ": ")
		}
		b.WriteString(p.Text)
		fmt.Fprintln(w, printable(b.String()))
	}
}
