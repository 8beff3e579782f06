package failover

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
)

var updateGolden = flag.Bool("update", false, "write what the tests see into their golden files; read the difference before you commit it")

// The stories of testdata/*.txt. A file is paragraphs: comments (#), commands, one
// a line, then a line of dashes and what happens. The commands:
//
//	boot X...         crash X...        lose X...       a server, or both: start, end without a word, lose the flash
//	together                                            both start and come to NORMAL, which is told in first-contact.txt
//	cut [after N]     mend              the cable between them, after so many messages have got through
//	clock X +10s      sets a clock against the truth
//	pass 1h30m        time goes by
//	X gives LEASE to CLIENT [for 12h]   X renews LEASE of CLIENT [for 12h]
//	X releases LEASE  X declines LEASE  X resets LEASE
//	X orders COMMAND  partner-down, partner-down --force, resync, shutdown
//	config [X] KEY=VALUE...             of one server or both; of one that runs, at once
//	leases            states            what the servers know, and how they stand
//	agree             fails unless both know the same of every lease
//	contacts          shows CONTACT from now on
//
// A server is a, the primary, or b, the secondary. Times are h:mm:ss since the
// beginning. An arrow x > means that the message is lost with its connection,
// and ..> that it waits for the cable.
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(text))
			if *updateGolden {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(text); got != want {
				t.Errorf("%s: %s\n(go test -run TestStories/%s -update writes it anew)", file, difference(want, got), filepath.Base(t.Name()))
			}
		})
	}
}

// difference is the first line that differs, with those around it.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	n := 0
	for n < len(w) && n < len(g) && w[n] == g[n] {
		n++
	}
	part := func(lines []string) string { return strings.Join(lines[max(0, n-5):min(len(lines), n+5)], "\n") }
	return fmt.Sprintf("line %d differs\n--- want\n%s\n--- got\n%s", n+1, part(w), part(g))
}

// play acts a story and returns it with what really happens.
func play(t *testing.T, text string) string {
	x := &stage{pair: newPair(t, func(a, b *Config) {
		for _, c := range []*Config{a, b} { // few prefixes, to keep stories short
			c.Links[0].Pools = []PrefixPool{{prefix("2001:db8:8000::/52"), 56}}
		}
	}), held: map[netip.Prefix]holding{}}
	var out strings.Builder
	happens := false // the lines are what happened the last time
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case happens && line == "":
			happens = false
		case happens:
			continue
		case line == "----":
			fmt.Fprintln(&out, line)
			out.WriteString(x.take())
			happens = true
			continue
		case line != "" && !strings.HasPrefix(line, "#"):
			if err := x.act(strings.Fields(line)); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
		}
		fmt.Fprintln(&out, line)
	}
	for _, e := range x.ends() {
		if e.t != nil && !e.off {
			e.whole()
		}
	}
	return out.String()
}

// stage is a pair with its clients.
type stage struct {
	*pair
	held  map[netip.Prefix]holding
	extra strings.Builder // tables, behind what happened
}

// holding is a lease as its client sees it.
type holding struct {
	client string
	until  lease.Time // true time
}

func (x *stage) take() string {
	text := x.story.take() + x.extra.String()
	x.extra.Reset()
	return text
}

func (x *stage) end(name string) (*end, error) {
	switch name {
	case "a":
		return x.a, nil
	case "b":
		return x.b, nil
	}
	return nil, fmt.Errorf("no server %q", name)
}

// act carries out one command.
func (x *stage) act(words []string) error {
	x.Helper()
	defer x.settle()
	switch command, rest := words[0], words[1:]; command {
	case "boot", "crash", "lose":
		for _, name := range rest {
			e, err := x.end(name)
			if err != nil {
				return err
			}
			switch command {
			case "boot":
				e.boot()
			case "crash":
				e.crash()
			default:
				e.disk = disk{leases: map[netip.Prefix]*lease.Binding{}}
			}
		}
	case "together":
		x.b.boot()
		x.a.boot()
		x.pass(10 * second)
		x.want(Normal, Normal)
		x.story.lines = nil
	case "cut", "mend":
		if len(rest) == 2 {
			n, err := strconv.Atoi(rest[1])
			x.fuse = n
			return err
		}
		x.cut, x.fuse = command == "cut", 0
	case "clock":
		e, err := x.end(rest[0])
		if err != nil {
			return err
		}
		d, err := time.ParseDuration(rest[1])
		e.skew = lease.Time(d / second)
		return err
	case "pass":
		d, err := time.ParseDuration(rest[0])
		if err != nil {
			return err
		}
		x.pass(d)
	case "config":
		return x.configure(rest)
	case "leases":
		x.leases()
	case "states":
		fmt.Fprintf(&x.extra, "a %v, b %v\n", x.a.e.state, x.b.e.state)
	case "agree":
		x.agree()
	case "contacts":
		x.story.contacts = true
	default:
		e, err := x.end(command)
		if err != nil {
			return err
		}
		return x.serve(e, rest)
	}
	return nil
}

// serve has a server deal with a client, or with its operator.
func (x *stage) serve(e *end, words []string) error {
	if len(words) < 2 {
		return fmt.Errorf("too short")
	}
	switch words[0] {
	case "gives", "renews":
		p, err := lease.ParsePrefix(words[1])
		if err != nil {
			return err
		}
		desired := 24 * time.Hour
		if len(words) == 6 && words[4] == "for" {
			if desired, err = time.ParseDuration(words[5]); err != nil {
				return err
			}
		}
		x.grant(e, p, words[3], uint32(desired/second), words[0])
	case "releases", "declines", "resets":
		status := map[string]lease.Status{"releases": lease.Released, "declines": lease.Abandoned, "resets": lease.Reset}[words[0]]
		e.server.end(words[1], status)
		delete(x.held, prefix(words[1]))
		x.note(e, "%s is %v", words[1], status)
	case "orders":
		command, ok := map[string]Command{
			"partner-down": SetPartnerDown, "partner-down --force": SetPartnerDownForce, "resync": Resync, "shutdown": Shutdown,
		}[strings.Join(words[1:], " ")]
		if !ok {
			return fmt.Errorf("no such order")
		}
		var err error
		e.do(func(now lease.Clock, out *Output) { err = e.e.Operate(now, command, out) })
		if err != nil {
			x.note(e, "%v", err)
		}
	default:
		return fmt.Errorf("no such command")
	}
	return nil
}

// grant gives a lease to a client, and takes note if another one still has it.
func (x *stage) grant(e *end, p netip.Prefix, client string, desired uint32, verb string) {
	b, err := e.grant(p, client, desired)
	if err != nil {
		x.note(e, "%s gets nothing: %v", client, err)
		return
	}
	h := x.held[p]
	if h.client != "" && h.client != client && h.until > x.truth.Wall {
		x.note(e, "!! %s still has %s until %s", h.client, show(p), since(h.until))
	}
	x.held[p] = holding{client, x.truth.Wall.Add(b.Valid)}
	did := map[string]string{"gives": "gets", "renews": "extends"}[verb]
	x.note(e, "%s %s %s for %s", client, did, show(p), clockText(lease.Time(b.Valid)))
}

func show(p netip.Prefix) string { return strings.TrimSuffix(p.String(), "/128") }

// note puts a line into the story of a server.
func (x *stage) note(e *end, format string, args ...any) {
	x.story.add(line{at: x.truth.Wall, who: e.place(), text: fmt.Sprintf(format, args...)})
}

// configure changes the configuration of one server or of both.
func (x *stage) configure(words []string) error {
	ends := x.ends()
	if e, err := x.end(words[0]); err == nil {
		ends, words = []*end{e}, words[1:]
	}
	for _, e := range ends {
		for _, word := range words {
			key, value, _ := strings.Cut(word, "=")
			if err := setting(&e.cfg, key, value); err != nil {
				return err
			}
		}
		if !e.off {
			e.do(func(now lease.Clock, out *Output) { e.e.Reconfigure(now, e.cfg, out) })
		}
	}
	return nil
}

// setting puts one value into a configuration.
func setting(c *Config, key, value string) error {
	numbers := map[string]*uint32{
		"mclt": &c.MCLT_s, "keepalive": &c.Keepalive_s, "unacked": &c.MaxUnacked, "startup": &c.Startup_s, "auto-partner-down": &c.AutoPartnerDown_s,
	}
	switch n, ok := numbers[key]; {
	case key == "range":
		p := prefix(value)
		c.Links = slices.Clone(c.Links)
		c.Links[0].Covers, c.Links[0].Text = func(l netip.Prefix) bool { return p.Contains(l.Addr()) }, value
		return nil
	case key == "pool":
		p, length, _ := strings.Cut(value, "-")
		bits, err := strconv.Atoi(length)
		if err != nil {
			return err
		}
		c.Links = slices.Clone(c.Links)
		c.Links[0].Pools = []PrefixPool{{prefix(p), bits}}
	case key == "share":
		var err error
		c.BackupShare, err = strconv.Atoi(value)
		return err
	case key == "unacked":
		v, err := strconv.Atoi(value)
		*n = uint32(v)
		return err
	case ok:
		d, err := time.ParseDuration(value)
		*n = uint32(d / second)
		return err
	default:
		return fmt.Errorf("no setting %q", key)
	}
	return nil
}

// leases lists what both servers know.
func (x *stage) leases() {
	w := tabwriter.NewWriter(&x.extra, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tlease\tstatus\tclient\tuntil\tannounced\tacked\tconfirmed\tto be told")
	for _, e := range x.ends() {
		if e.off {
			continue
		}
		for b := range e.t.From(netip.Prefix{}) {
			told := "no"
			if b.Change != 0 {
				told = "yes"
			}
			fmt.Fprintf(w, "%s\t%s\t%v\t%s\t%s\t%s\t%s\t%s\t%s\n", e.name, show(b.Prefix), b.Status, name(b.Client),
				since(b.Expires), since(b.PartnerLifetime), since(b.AckedPartnerLifetime), since(b.ExpirationTime), told)
		}
	}
	w.Flush()
}
