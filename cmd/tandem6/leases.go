package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"time"

	"github.com/tandem6/tandem6/web"
)

func defineLeases(flags *flag.FlagSet) action {
	asJSON := flags.Bool("json", false, "")
	long := flags.Bool("long", false, "")
	return func(a *app, args []string) error {
		if *asJSON && *long {
			return &usageError{"--json and --long exclude each other", "--json shows everything"}
		}
		var query web.LeaseQuery
		if len(args) == 1 {
			var err error
			if query.Filter, err = web.ParseFilter(args[0]); err != nil {
				return err
			}
		}
		switch {
		case *asJSON:
			return a.listJSON(query)
		case *long:
			return a.listLong(query)
		}
		return a.listTable(query)
	}
}

// list prints the leases that query asks for with print, and says so when there
// are none: a person should not wonder whether the program worked.
func (a *app) list(query web.LeaseQuery, print func(*web.Lease) error) error {
	n := 0
	err := a.client().Leases(a.ctx, query, func(l web.Lease) error {
		n++
		return print(&l)
	})
	if err != nil || n > 0 {
		return err
	}
	if text := query.Filter.String(); text != "" {
		fmt.Fprintf(a.stderr, "no lease matches %q\n", text)
	} else {
		fmt.Fprintln(a.stderr, "there are no leases")
	}
	return nil
}

func (a *app) listTable(query web.LeaseQuery) error {
	t := newTable(a.stdout, "LEASE", "CLIENT", "LINK", "STATUS", "EXPIRES")
	err := a.list(query, func(l *web.Lease) error {
		return t.row(l.Prefix, client(l), l.Link, l.Status, remaining(l.Remaining_s))
	})
	if flushed := t.flush(); err == nil {
		err = flushed
	}
	return err
}

func (a *app) listJSON(query web.LeaseQuery) error {
	e := json.NewEncoder(a.stdout)
	return a.list(query, func(l *web.Lease) error { return e.Encode(l) })
}

func (a *app) listLong(query web.LeaseQuery) error {
	// By the daemon's clock: leases were stamped with it.
	s, err := a.client().Status(a.ctx)
	if err != nil {
		return err
	}
	return a.list(query, func(l *web.Lease) error {
		a.showLease(l, s.Clock.Now)
		return a.stdout.Flush()
	})
}

// showLease prints all that is known about a lease.
func (a *app) showLease(l *web.Lease, now time.Time) {
	fmt.Fprintf(a.stdout, "%s\n", printable(l.Prefix))
	line := func(label, format string, args ...any) {
		fmt.Fprintf(a.stdout, "  %-7s  %s\n", label, printable(fmt.Sprintf(format, args...)))
	}
	line("held by", "%s, %s %d on link %s", l.Client, l.Type, l.IAID, l.Link)
	if l.Hostname != "" {
		line("name", "%s", l.Hostname)
	}
	if l.Since.IsZero() {
		line("status", "%s", l.Status)
	} else {
		line("status", "%s since %s", l.Status, ago(l.Since, now))
	}
	if l.Expires.IsZero() {
		line("expires", "%s", remaining(l.Remaining_s))
	} else {
		line("expires", "%s, %s", instant(l.Expires), remaining(l.Remaining_s))
	}
	if l.Valid_s != 0 {
		line("told", "preferred %s, valid %s", lifetime(l.Preferred_s), lifetime(l.Valid_s))
	}
	if !l.LastTransaction.IsZero() {
		line("spoke", "%s", ago(l.LastTransaction, now))
	}
	if l.Via != "" {
		line("route", "via %s, %s", l.Via, or(l.Route, "state not known"))
	} else if l.Route != "" {
		line("route", "%s", l.Route)
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// release ends one lease.
func release(a *app, args []string) error {
	prefix, err := web.CanonicalPrefix(args[0])
	if err != nil {
		return err
	}
	if err := a.client().ReleaseLease(a.ctx, prefix); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "released %s\n", prefix)
	return nil
}
