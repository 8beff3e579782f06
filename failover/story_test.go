package failover

import (
	"fmt"
	"strings"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/failover/wire"
)

// story is what happened to a pair, as people read it: a on the left, b on the
// right, messages between them; times since the beginning.
type story struct {
	lines    []line
	contacts bool // CONTACT too
}

// line is one line of a story. Messages that differ in their lease only and
// follow each other at once become one.
type line struct {
	at   lease.Time
	who  string // "a", "b", "a --> b"
	text string
	kind string // what messages that are one line have in common; empty: none
	more int    // such messages besides the first
}

func (l line) String() string {
	text := l.text
	if l.more > 0 {
		text += fmt.Sprintf(", and %d more", l.more)
	}
	return fmt.Sprintf("%9s  %s  %s", since(l.at), l.who, text)
}

func (s *story) add(l line) {
	if n := len(s.lines) - 1; n >= 0 && l.kind != "" && s.lines[n].kind == l.kind && s.lines[n].who == l.who && s.lines[n].at == l.at {
		s.lines[n].more++
		return
	}
	s.lines = append(s.lines, l)
}

// take returns the lines since the last call.
func (s *story) take() string {
	var text strings.Builder
	for _, l := range s.lines {
		fmt.Fprintln(&text, l)
	}
	s.lines = nil
	return text.String()
}

// tail is the end of the story, for a test that fails.
func (s *story) tail() string {
	s.lines = s.lines[max(0, len(s.lines)-40):]
	return s.take()
}

// place is where a line that concerns one server begins.
func (x *end) place() string {
	if x == x.pair.b {
		return fmt.Sprintf("%7s", "b")
	}
	return fmt.Sprintf("%-7s", "a")
}

// event tells what happened inside a server: changes of its state, and what an
// operator is warned of.
func (s *story) event(x *end, e trace.Event) {
	who := x.place()
	switch m := turnText.FindStringSubmatch(e.Text); {
	case e.ID == trace.FailoverState && m != nil && m[3] == "":
		s.add(line{at: x.truth.Wall, who: who, text: "STARTUP, was " + m[2]})
	case e.ID == trace.FailoverState && m != nil:
		s.add(line{at: x.truth.Wall, who: who, text: fmt.Sprintf("%s, was %s (%s)", m[1], m[2], m[3])})
	case e.ID.Level() >= trace.Warning:
		text := strings.TrimPrefix(e.String(), "Failover "+e.Relationship+": ")
		text, _, _ = strings.Cut(text, ";")
		if e.Client != "" {
			text = strings.ReplaceAll(text, e.Client.String(), name(e.Client))
		}
		s.add(line{at: x.truth.Wall, who: who, text: "! " + text})
	}
}

// message tells of a message, which arrives unless its connection is gone.
func (s *story) message(x *end, m wire.Message, arrives bool) {
	if m.Type() == wire.TypeContact && !s.contacts {
		return
	}
	shaft := "--"
	switch {
	case !arrives:
		shaft = "x "
	case x.pair.cut:
		shaft = ".."
	}
	who := "a " + shaft + "> b"
	if x == x.pair.b {
		who = "a <" + shaft + " b"
	}
	text, kind := words(m)
	s.add(line{x.truth.Wall, who, text, kind, 0})
}

// words is a message with the options that matter, and what it has in common
// with others of its kind, if it is of a kind that comes in numbers.
func words(m wire.Message) (text, kind string) {
	name := m.Type().String()
	switch m := m.(type) {
	case *wire.Connect:
		relationship, _ := m.RelationshipName.Get()
		name += fmt.Sprintf(" %q%s", relationship, offer(m.MCLT, m.KeepaliveTime, m.MaxUnackedBndUpd))
	case *wire.ConnectReply:
		if m.Rejects() {
			status, _ := m.Status.Get()
			return fmt.Sprintf("%s rejects: %v", name, status), ""
		}
		name += offer(m.MCLT, m.KeepaliveTime, m.MaxUnackedBndUpd)
	case *wire.Disconnect:
		status, _ := m.Status.Get()
		name += " " + status.String()
	case *wire.State:
		state, _ := m.ServerState.Get()
		flags, _ := m.Flags.Get()
		begun, _ := m.StartTime.Get()
		name += fmt.Sprintf(" %v since %s", state, moment(begun))
		if flags != 0 {
			name += fmt.Sprintf(" (%v)", flags)
		}
	case *wire.BndUpd:
		if m.Prefix != nil {
			status, _ := m.Prefix.BindingStatus.Get()
			return name + " " + told(m.Prefix, ""), name + status.String()
		}
		name += each(m.ClientData, told)
	case *wire.BndReply:
		if m.Prefix != nil {
			status, _ := m.Prefix.BindingStatus.Get()
			code, _ := m.Prefix.Status.Get()
			return name + " " + answered(m.Prefix, ""), name + status.String() + code.Code.String()
		}
		if status, ok := m.Status.Get(); ok {
			name += " refused: " + status.String()
		}
		if m.ClientData != nil {
			if status, ok := m.ClientData.Status.Get(); ok {
				name += " refused: " + status.String()
			}
		}
		name += each(m.ClientData, answered)
	}
	return name, ""
}

func offer(mclt, keepalive, unacked wire.Opt[uint32]) string {
	a, _ := mclt.Get()
	b, _ := keepalive.Get()
	c, _ := unacked.Get()
	return fmt.Sprintf(" MCLT %s, keepalive %s, %d unacked", clockText(lease.Time(a)), clockText(lease.Time(b)), c)
}

// each joins what is to be said of the leases of a client.
func each(c *wire.ClientData, say func(*wire.LeaseOption, lease.DUID) string) string {
	if c == nil {
		return ""
	}
	var list []string
	for i := range c.IAs {
		for j := range c.IAs[i].Leases {
			list = append(list, say(&c.IAs[i].Leases[j], c.ClientID))
		}
	}
	return " " + strings.Join(list, "; ")
}

// told is a lease in a BNDUPD.
func told(l *wire.LeaseOption, client lease.DUID) string {
	status, _ := l.BindingStatus.Get()
	text := fmt.Sprintf("%s %v", lessee(l), status)
	if client != "" {
		text += " " + name(client)
	}
	if t, ok := l.StateExpiration.Get(); ok {
		text += " until " + moment(t)
	}
	if t, ok := l.PartnerLifetime.Get(); ok {
		text += ", announces " + moment(t)
	}
	if t, _ := l.Expiration.Get(); t != 0 {
		text += ", confirmed " + moment(t)
	}
	return text
}

// answered is a lease in a BNDREPLY.
func answered(l *wire.LeaseOption, _ lease.DUID) string {
	if status, ok := l.Status.Get(); ok && status.Code != wire.Success {
		return fmt.Sprintf("%s refused: %v", lessee(l), status)
	}
	status, _ := l.BindingStatus.Get()
	text := fmt.Sprintf("%s %v", lessee(l), status)
	if t, ok := l.PartnerLifetimeSent.Get(); ok {
		text += ", confirms " + moment(t)
	}
	return text
}

func lessee(l *wire.LeaseOption) string {
	if l.Prefix.Bits() == 128 {
		return l.Prefix.Addr().String()
	}
	return l.Prefix.String()
}

// name is a client of these tests.
func name(d lease.DUID) string {
	if d == "" {
		return "-"
	}
	return strings.TrimPrefix(string(d), "\x00\x02")
}

// since is how long after the beginning an instant is, moment one of the wire.
func since(t lease.Time) string {
	if t == 0 {
		return "-"
	}
	return clockText(t - start)
}

func moment(t wire.Time) string { return since(t.Resolve(start)) }

func clockText(t lease.Time) string {
	sign := ""
	if t < 0 {
		sign, t = "-", -t
	}
	return fmt.Sprintf("%s%d:%02d:%02d", sign, t/3600, t/60%60, t%60)
}
