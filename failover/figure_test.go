package failover

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
)

// The parts of DESIGN.md that the code writes: between two lines
//
//	<!-- name: made by go test ./failover -run TestDesign -update -->
//	<!-- end -->
//
// stands what generated[name] says.
var generated = map[string]func() string{
	"states":   func() string { return figure(func(c cause) bool { return !ordered(c) }) },
	"orders":   func() string { return figure(ordered) },
	"services": services,
}

// TestDesign: the figures of DESIGN.md are made of the table that the code uses.
func TestDesign(t *testing.T) {
	const file = "DESIGN.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	for name, make := range generated {
		begin, end := fmt.Sprintf("<!-- %s: made by go test ./failover -run TestDesign -update -->\n", name), "<!-- end -->\n"
		before, rest, found := strings.Cut(got, begin)
		_, after, closed := strings.Cut(rest, end)
		if !found || !closed {
			t.Fatalf("%s has no place for the %s", file, name)
		}
		got = before + begin + make() + end + after
	}
	switch {
	case got == string(text):
	case *updateGolden:
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s does not show what the code does: %s\n(go test ./failover -run TestDesign -update writes it anew)", file, difference(string(text), got))
	}
}

// ordered are the causes that the operator makes.
func ordered(c cause) bool { return c == order || c == orderSure || c == resync }

// short are the names of the states in the figures.
var short = map[State]string{
	Normal: "NOR", CommunicationsInterrupted: "CI", PartnerDown: "PD", PotentialConflict: "PC", Recover: "REC",
	RecoverWait: "RW", RecoverDone: "RD", ResolutionInterrupted: "RI", ConflictDone: "CD",
}

// figure is the state machine as far as certain causes move it, for Mermaid.
func figure(wanted func(cause) bool) string {
	var b strings.Builder
	b.WriteString("```mermaid\nstateDiagram-v2\n")
	rows := slices.Concat(transitions, []transition{wasGone, wasThere, metNobody})
	used := map[State]bool{}
	var arrows strings.Builder
	for i := range rows {
		r := &rows[i]
		if !wanted(r.on[0]) {
			continue
		}
		used[r.from], used[r.to] = true, true
		fmt.Fprintf(&arrows, "    %s --> %s: %s\n", node(r.from), node(r.to), r)
	}
	for st := Startup; st <= ConflictDone; st++ {
		if used[st] && short[st] != "" {
			fmt.Fprintf(&b, "    state %q as %s\n", fmt.Sprintf("%v (%s)", st, short[st]), short[st])
		}
	}
	if used[Startup] {
		fmt.Fprintf(&b, "    state \"the state before\" as before\n    [*] --> STARTUP\n")
	}
	b.WriteString(arrows.String())
	b.WriteString("```\n")
	return b.String()
}

func node(st State) string {
	switch st {
	case previous:
		return "before"
	case Startup:
		return "STARTUP"
	}
	return short[st]
}

var causeNames = map[cause]string{
	contact: "partner's STATE", cut: "communications lost", updated: "UPDDONE", timeout: "timer",
	order: "partner-down", orderSure: "partner-down, forced", resync: "resync",
}

// onlyIf is what else must be the case for the rows that stand outside the table.
var onlyIf = map[string]string{
	wasGone.id: " since after this server's last promise", wasThere.id: " since before it", metNobody.id: ", if so configured",
}

// String is a transition as it stands on its arrow.
func (t *transition) String() string {
	text := causeNames[t.on[0]]
	if t.partner != 0 {
		var list []string
		for st := Startup; st <= ConflictDone; st++ {
			if t.partner.has(st) {
				list = append(list, short[st])
			}
		}
		text = "partner " + strings.Join(list, ", ")
	}
	text += onlyIf[t.id]
	if t.role != 0 {
		text += ", " + t.role.String()
	}
	if t.id[0] == 'T' {
		text += " (" + t.id + ")"
	}
	return text
}

// services tells what a server does in each state.
func services() string {
	words := map[Service]string{
		Unresponsive: "nobody", RenewOnly: "RENEW naming it, for leases on record", RenewResponsive: "whoever names it", Responsive: "everybody",
	}
	yes := map[bool]string{true: "yes", false: "no"}
	var b strings.Builder
	b.WriteString("| state | primary answers | secondary answers | new leases | updates flow by themselves | lifetime |\n|---|---|---|---|---|---|\n")
	for st := Startup; st <= ConflictDone; st++ {
		var answers [2]string
		var e *Endpoint
		for i, role := range roles {
			e = New(config(role), lease.NewTable())
			e.state = st
			answers[i] = words[e.Serves()]
		}
		if st == ConflictDone {
			answers[1] = "is never in it"
		}
		gives := e.Serves() != Unresponsive && e.Serves() != RenewOnly
		lifetime := "-"
		if serving(st) {
			lifetime = "MCLT beyond what the partner knows"
		}
		if st == PartnerDown {
			lifetime = "as configured; in contact as elsewhere"
		}
		fmt.Fprintf(&b, "| %v | %s | %s | %s | %s | %s |\n", st, answers[0], answers[1], yes[gives], yes[flowing(st)], lifetime)
	}
	return b.String()
}
