package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tandem6/tandem6/web"
)

func defineStatus(flags *flag.FlagSet) action {
	asJSON := flags.Bool("json", false, "")
	return func(a *app, _ []string) error {
		s, err := a.client().Status(a.ctx)
		if err != nil {
			return err
		}
		if *asJSON {
			e := json.NewEncoder(a.stdout)
			e.SetIndent("", "  ")
			return e.Encode(&s)
		}
		return a.showStatus(&s)
	}
}

// showStatus prints the sentence that matters first, then what it rests on.
func (a *app) showStatus(s *web.Status) error {
	fmt.Fprintf(a.stdout, "%s\n\n", printable(s.Summary()))
	a.line("daemon", "tandem6d %s, running for %s", s.Version, duration(s.Uptime_s))
	a.line("DUID", "%s", s.ServerDUID)
	clock := "trusted"
	if !s.Clock.Trusted {
		clock = "NOT TRUSTED"
	}
	a.line("clock", "%s, %s", instant(s.Clock.Now), clock)
	a.line("leases", "%s", byStatus(s.Leases))
	label := "network"
	for _, problem := range s.NetworkProblems {
		a.line(label, "PROBLEM: %s", problem)
		label = ""
	}
	a.showConfiguration(s)
	a.showStorage(s)
	a.stdout.WriteByte('\n')
	if err := a.showLinks(s.Links); err != nil {
		return err
	}
	return a.showCounters(&s.Counters)
}

// line prints one labelled fact.
func (a *app) line(label, format string, args ...any) {
	fmt.Fprintf(a.stdout, "%-8s  %s\n", label, printable(fmt.Sprintf(format, args...)))
}

func (a *app) showConfiguration(s *web.Status) {
	c := s.Configuration
	text := c.File
	if !c.LoadedAt.IsZero() {
		text += ", in force since " + ago(c.LoadedAt, s.Clock.Now)
	}
	a.line("config", "%s", text)
	if c.Unsaved {
		a.line("", "NOT SAVED: the next start returns to the file")
	}
	if c.LastProblem != "" {
		for i, problem := range strings.Split(c.LastProblem, "\n") {
			if i == 0 {
				problem = "A LATER ONE WAS REFUSED: " + problem
			}
			a.line("", "%s", problem)
		}
	}
}

func (a *app) showStorage(s *web.Status) {
	commits := "no commit since the start"
	if c := s.Counters; c.Commits > 0 {
		commits = plural(int(c.Commits), "commit")
		if c.CommittedBytes > 0 {
			commits += " of " + octets(c.CommittedBytes) + " in all"
		}
		commits += ", the last took " + microseconds(s.Storage.LastCommit_us)
	}
	a.line("storage", "%s, %s; %s", s.Storage.File, octets(uint64(max(0, s.Storage.Size_bytes))), commits)
}

// byStatus is the number of leases of each status, the largest first.
func byStatus(leases map[string]int) string {
	names := slices.SortedFunc(maps.Keys(leases), func(a, b string) int {
		if n := leases[b] - leases[a]; n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
	var parts []string
	for _, name := range names {
		if n := leases[name]; n != 0 {
			parts = append(parts, count(n)+" "+name)
		}
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func (a *app) showLinks(links []web.Link) error {
	if len(links) == 0 {
		return nil
	}
	list := newTable(a.stdout, "LINK", "INTERFACE", "STATE", "SERVED", "ROUTER ADVERTISEMENTS")
	pools := newTable(a.stdout, "LINK", "TYPE", "POOL", ">USED", ">OF", ">SHARE")
	for _, l := range links {
		served := "yes"
		switch {
		case l.Message != "" && l.Serving:
			served += ": " + l.Message
		case l.Message != "":
			served = "no: " + l.Message
		case !l.Serving:
			served = "no"
		}
		if err := list.row(l.Name, l.Interface, string(l.State), served, advertised(l.RouterAdvertisements)); err != nil {
			return err
		}
		for _, p := range l.Pools {
			text := p.Range
			if p.DelegatedLength != 0 {
				text += fmt.Sprintf(" by /%d", p.DelegatedLength)
			}
			if err := pools.row(l.Name, p.Type, text, count(p.Used), size(p.Size), share(p.Used, p.Size)); err != nil {
				return err
			}
		}
	}
	for _, t := range []*table{list, pools} {
		if err := t.flush(); err != nil {
			return err
		}
		if t.printed {
			a.stdout.WriteByte('\n')
		}
	}
	return nil
}

// advertised says whether router advertisements are sent; nothing when none are
// configured.
func advertised(r *web.RouterAdvertisements) string {
	switch {
	case r == nil:
		return ""
	case r.Source == "":
		return "no: " + or(r.Message, "not yet")
	case r.SendErrors > 0:
		return fmt.Sprintf("from %s, %s sent, %s failed", r.Source, count(r.Sent), count(r.SendErrors))
	}
	return fmt.Sprintf("from %s, %s sent", r.Source, count(r.Sent))
}

// showCounters prints where the packets went, reasons to drop by their number.
func (a *app) showCounters(c *web.Counters) error {
	t := newTable(a.stdout, "PACKETS", ">SINCE START")
	var dropped uint64
	for _, n := range c.Dropped {
		dropped += n
	}
	rows := []struct {
		name   string
		n      uint64
		always bool
	}{
		{"received", c.Received, true}, {"answered", c.Answered, true}, {"answers not sent", c.SendErrors, false},
		{"lost, no room", c.RingDrops, true}, {"lost, no room for a large one", c.Oversized, false}, {"lost, too long", c.Truncated, false},
		{"dropped", dropped, true},
	}
	for _, r := range rows {
		if r.n == 0 && !r.always {
			continue
		}
		if err := t.row(r.name, count(r.n)); err != nil {
			return err
		}
	}
	reasons := slices.SortedFunc(maps.Keys(c.Dropped), func(x, y string) int {
		if c.Dropped[x] != c.Dropped[y] {
			if c.Dropped[x] > c.Dropped[y] {
				return -1
			}
			return 1
		}
		return strings.Compare(x, y)
	})
	for _, reason := range reasons {
		if c.Dropped[reason] == 0 {
			continue
		}
		if err := t.row("  "+strings.ReplaceAll(reason, "_", " "), count(c.Dropped[reason])); err != nil {
			return err
		}
	}
	return t.flush()
}
