package main

import (
	"flag"
	"fmt"
	"strings"
)

// A command is one thing that the program can do.
type command struct {
	name             string // one or two words
	args             string // as the usage shows them, without flags
	argsMin, argsMax int
	argsHint         string // what to do when their number is wrong
	brief            string // one line
	about            string // what it does, for help
	flags            string // a line each: the flag, two spaces, what it does
	examples         string // a line each
	define           func(*flag.FlagSet) action
}

// An action runs a command with its arguments.
type action func(*app, []string) error

// usage is the command as one types it, without its flags.
func (c *command) usage() string { return strings.TrimSpace("tandem6 " + c.name + " " + c.args) }

// commands are in the order of help. They are set in init because help, one of
// them, reads them all.
var commands []*command

func init() {
	commands = []*command{
		{
			name:  "status",
			brief: "what is served, how full it is, what is wrong",
			about: `Shows whether tandem6d serves DHCPv6 and whom: its links and pools, the number
of leases, what the network lacks of the configuration, who gets router
advertisements, the packets it answered and dropped with the reasons, the lease
file and the configuration in force.`,
			flags: "--json  one JSON object for scripts",
			examples: `tandem6 status
tandem6 status --json | jq .leases.ACTIVE`,
			define: defineStatus,
		},
		{
			name: "leases", args: "[FILTER]", argsMax: 1,
			argsHint: "there is one filter; to end a lease: tandem6 lease release ADDRESS|PREFIX",
			brief:    "list the leases, or those that match FILTER",
			about: `Lists leases in the order of their addresses. FILTER is any part of the address
or prefix, the DUID (with or without colons), the host name, the link, the
status, or the next hop, in upper or lower case. A whole address also finds the
delegated prefix that it lies in.`,
			flags: `--json  one JSON object a line for scripts
--long  everything about each lease`,
			examples: `tandem6 leases nas
tandem6 leases 02:00:00:12:34:56
tandem6 leases --long 2001:db8:8000:100::5
tandem6 leases --json abandoned | jq -r .prefix`,
			define: defineLeases,
		},
		{
			name: "lease release", args: "ADDRESS|PREFIX", argsMin: 1, argsMax: 1,
			argsHint: "tandem6 leases lists what there is",
			brief:    "end a lease, or clear an abandoned address",
			about: `Ends the lease of one address or delegated prefix, so that another client can
have it. The client is not told: it may use the address until its next renewal,
so do this when the client is gone. An address that a client declined because
somebody else used it is put back into its pool.`,
			examples: `tandem6 lease release 2001:db8:0:1::1234
tandem6 lease release 2001:db8:8000:100::/56`,
			define: func(*flag.FlagSet) action { return release },
		},
		{
			name: "config show", brief: "print the configuration in force",
			about: `Prints the text of the configuration that tandem6d runs with, comments included.
It differs from the file when the file was edited and not yet applied.`,
			examples: `tandem6 config show
tandem6 config show > config.json`,
			define: func(*flag.FlagSet) action { return configShow },
		},
		{
			name: "config check", args: "[FILE|-]", argsMax: 1,
			argsHint: "check one file at a time",
			brief:    "say what is wrong with a configuration",
			about: `Asks the running tandem6d what it thinks of FILE (- is standard input; without
FILE: the file that tandem6d reads) and prints each problem with its line. It
changes nothing, and fails when the file would be refused. Without a running
daemon, "tandem6d -check FILE" does the same.`,
			flags: "--json  one JSON object a problem for scripts",
			examples: `tandem6 config check
tandem6 config check new.json`,
			define: defineConfigCheck,
		},
		{
			name: "config apply", args: "FILE|-", argsMin: 1, argsMax: 1,
			argsHint: "- reads standard input",
			brief:    "put a configuration in force, and save it",
			about: `Checks FILE (- is standard input), puts it in force at once, saves it as the
file of tandem6d, and shows what changed. A configuration with an error is
refused as a whole. Clients keep their leases as far as the new one allows it.`,
			flags: "--until-restart  do not save it: the next start returns to the saved one",
			examples: `tandem6 config apply new.json
tandem6 config show | sed s/5400/7200/ | tandem6 config apply -`,
			define: defineConfigApply,
		},
		{
			name: "address-key show", brief: "print the secret behind the choice of addresses",
			about: `Prints the address key, 64 hexadecimal digits: the secret from which tandem6d
chooses addresses and prefixes, the same for a client each time, so that nobody
outside can foresee them (RFC 7943). Who knows it can: keep it to yourself. No
other command prints it, and no log holds it. Both boxes of a pair need the same.`,
			examples: `tandem6 address-key show
tandem6 address-key show | ssh other-box tandem6 address-key set -`,
			define: func(*flag.FlagSet) action { return addressKeyShow },
		},
		{
			name: "address-key set", args: "HEX|-", argsMin: 1, argsMax: 1,
			argsHint: "HEX is 64 hexadecimal digits, - reads them from standard input",
			brief:    "set the address key, that of the other box for instance",
			about: `Makes HEX (- reads it from standard input, where no list of processes shows it)
the address key and stores it. Clients keep what they have, and get it again as
long as tandem6d remembers them; new clients get addresses by the new key. Both
boxes of a pair need the same.`,
			examples: `tandem6 address-key set - < key
ssh other-box tandem6 address-key show | tandem6 address-key set -`,
			define: func(*flag.FlagSet) action { return addressKeySet },
		},
		{
			name: "address-key renew", brief: "make a new address key at random",
			about: `Makes 32 random octets the address key and stores them, when somebody may have
seen the old one. It does not print them. Clients keep what they have, and get
it again as long as tandem6d remembers them; new clients get addresses by the
new key. Both boxes of a pair need the same: set it on the other box, too.`,
			examples: `tandem6 address-key renew
tandem6 address-key show | ssh other-box tandem6 address-key set -`,
			define: func(*flag.FlagSet) action { return addressKeyRenew },
		},
		decodeCommand,
		{
			name: "version", brief: "print the version of this program",
			about:  "Prints the version of this program. \"tandem6 status\" shows that of the daemon.",
			define: func(*flag.FlagSet) action { return func(a *app, _ []string) error { return a.version() } },
		},
		{
			name: "help", args: "[COMMAND]", argsMax: 2,
			brief:  "explain a command",
			about:  "Explains a command, or lists them all.",
			define: func(*flag.FlagSet) action { return (*app).help },
		},
	}
}

// find returns the command that args begin with, and the arguments behind it.
func find(args []string) (*command, []string, error) {
	for words := min(2, len(args)); words > 0; words-- {
		name := strings.Join(args[:words], " ")
		for _, c := range commands {
			if c.name == name {
				return c, args[words:], nil
			}
		}
	}
	return nil, nil, unknown(args)
}

// unknown is the error for a command that does not exist, with those that may
// have been meant: the one with a typo in its second word, those that begin so,
// the one with a typo in its only word.
func unknown(args []string) error {
	one, two := args[0], strings.Join(args[:min(2, len(args))], " ")
	const typosMax = 2
	for _, near := range []func(name string) bool{
		func(name string) bool { return len(args) > 1 && distance(two, name) <= typosMax },
		func(name string) bool { return one != "" && strings.HasPrefix(name, one) },
		func(name string) bool { return distance(one, name) <= typosMax },
	} {
		var found []string
		for _, c := range commands {
			if near(c.name) {
				found = append(found, c.usage())
			}
		}
		if found != nil {
			return &usageError{fmt.Sprintf("there is no command %q", two), "there is: " + strings.Join(found, "; ")}
		}
	}
	return &usageError{fmt.Sprintf("there is no command %q", one), "tandem6 help lists the commands"}
}

// distance is the number of letters to insert, remove, or replace in a to get b
// (Levenshtein). Texts that are no word of ours are far from everything.
func distance(a, b string) int {
	const wordLenMax = 32
	if len(a) > wordLenMax {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

const helpHead = `tandem6 shows and operates the DHCPv6 server of this box, tandem6d.

Usage: tandem6 [-socket PATH] COMMAND [ARGUMENTS]

`

const helpTail = `
Examples:
  tandem6 status
  tandem6 leases 02:00:00:12:34:56
  tandem6 config check new.json && tandem6 config apply new.json

"tandem6 help COMMAND" explains a command. -socket PATH is the socket of
tandem6d, default /run/tandem6.sock; only its owner, root, may use it.
Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
`

// help explains one command or lists all.
func (a *app) help(args []string) error {
	if len(args) > 0 {
		c, _, err := find(args)
		if err != nil {
			return err
		}
		a.explain(c)
		return nil
	}
	a.stdout.WriteString(helpHead)
	for _, c := range commands {
		fmt.Fprintf(a.stdout, "  %-29s  %s\n", strings.TrimPrefix(c.usage(), "tandem6 "), c.brief)
	}
	a.stdout.WriteString(helpTail)
	return nil
}

// explain prints all that is to be known about a command.
func (a *app) explain(c *command) {
	usage := c.usage()
	if c.flags != "" {
		usage = strings.Replace(usage, c.name, c.name+" [FLAGS]", 1)
	}
	fmt.Fprintf(a.stdout, "Usage: %s\n\n%s\n", usage, c.about)
	for _, part := range []struct{ title, lines string }{{"Flags", c.flags}, {"Examples", c.examples}} {
		if part.lines != "" {
			fmt.Fprintf(a.stdout, "\n%s:\n  %s\n", part.title, strings.ReplaceAll(part.lines, "\n", "\n  "))
		}
	}
}
