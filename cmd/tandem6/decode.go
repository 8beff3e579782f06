package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	"github.com/tandem6/tandem6/failover/wire"
	"github.com/tandem6/tandem6/web"
)

var decodeCommand = &command{
	name: "decode", args: "[FILE|-]", argsMax: 1,
	argsHint: "decode one file at a time",
	brief:    "show the failover messages in a capture",
	about: `Reads a capture of the formats pcap and pcapng (- or no FILE is standard input)
and prints the DHCPv6 failover messages in it (RFC 8156), each with its options,
in the order in which they were complete. It needs no daemon. Octets that the
capture lacks are noted; so is the beginning of TLS, behind which nothing can be
read.`,
	flags: `--json    one JSON object a message for scripts
--port N  TCP port of the failover server, default 647`,
	examples: `tandem6 decode partner.pcap
tcpdump -i eth0 -U -w - tcp port 647 | tandem6 decode
tandem6 decode --json partner.pcapng | jq 'select(.type == "STATE")'`,
	define: defineDecode,
}

func defineDecode(flags *flag.FlagSet) action {
	asJSON := flags.Bool("json", false, "")
	port := flags.Uint("port", wire.Port, "")
	return func(a *app, args []string) error {
		if *port == 0 || *port > 65535 {
			return &usageError{fmt.Sprintf("there is no TCP port %d", *port), "a port is 1 to 65535"}
		}
		file, name := a.stdin, "-"
		if len(args) == 1 && args[0] != "-" {
			f, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("cannot read the capture: %w", err)
			}
			defer f.Close()
			file, name = f, args[0]
		}
		show := a.showFound
		if *asJSON {
			show = a.showFoundJSON
		}
		return a.decode(file, name, uint16(*port), show)
	}
}

// decode shows the messages in a capture file. What can be read of a file that is
// damaged is shown before the error.
func (a *app) decode(file io.Reader, name string, port uint16, show func(*found) error) error {
	shown := 0
	s := &streams{port: port, flows: map[[2]netip.AddrPort]*flow{}, show: func(it *found) error {
		shown++
		return show(it)
	}}
	packets, unknown, link, err := s.readAll(file)
	s.close()
	switch {
	case s.err != nil:
		return s.err
	case errors.Is(err, errNoCapture):
		return &web.Error{Text: fmt.Sprintf("cannot decode %s: %v", shownName(name), err), Hint: "make one with: tcpdump -w FILE tcp port 647"}
	case err != nil:
		return fmt.Errorf("cannot decode %s: %w", shownName(name), err)
	case unknown > 0 && unknown == packets:
		return &web.Error{
			Text: fmt.Sprintf("cannot decode %s: its packets are of link type %d", shownName(name), link),
			Hint: "Ethernet, Linux cooked and raw IP can be read",
		}
	case shown == 0:
		fmt.Fprintf(a.stderr, "no failover message in %s: none of its %s has data of TCP port %d over IPv6\n", printable(shownName(name)), plural(packets, "packet"), port)
	}
	return nil
}

// readAll feeds s with the packets of a file. It counts them, and those of a link
// type that cannot be read.
func (s *streams) readAll(file io.Reader) (packets, unknown int, link uint16, err error) {
	capture, err := openCapture(file)
	if err != nil {
		return 0, 0, 0, err
	}
	for {
		p, err := capture.next()
		if err == io.EOF || s.err != nil {
			return packets, unknown, link, nil
		}
		if err != nil {
			return packets, unknown, link, err
		}
		packets++
		ip, known := p.ipv6()
		if !known {
			unknown, link = unknown+1, p.link
		}
		if segment, ok := parseSegment(ip); ok {
			s.add(p.time, segment)
		}
	}
}

// showFound prints a message with its options, or a note, for people.
func (a *app) showFound(it *found) error {
	at := ""
	if !it.time.IsZero() {
		at = it.time.Format("2006-01-02 15:04:05.000000") + "  "
	}
	fmt.Fprintf(a.stdout, "%s%v > %v  ", at, it.from, it.to)
	if it.note != "" {
		fmt.Fprintf(a.stdout, "(%s)\n", printable(it.note))
	} else {
		fmt.Fprint(a.stdout, it.tree)
	}
	return a.stdout.Flush()
}

// decodedMessage is a message, or a note about the stream, for scripts.
type decodedMessage struct {
	Time          *time.Time      `json:"time,omitempty"` // of the packet that completed it
	From          netip.AddrPort  `json:"from"`
	To            netip.AddrPort  `json:"to"`
	Note          string          `json:"note,omitempty"` // then there is no message
	Type          string          `json:"type,omitempty"`
	TransactionID *uint32         `json:"transaction-id,omitempty"`
	SentTime      *uint32         `json:"sent-time-s,omitempty"` // seconds since 2000, modulo 2^32
	Problem       string          `json:"problem,omitempty"`
	Options       []decodedOption `json:"options,omitempty"`
}

// decodedOption is one option of a message.
type decodedOption struct {
	Code    uint16          `json:"code"`
	Name    string          `json:"name"`
	Number  *uint32         `json:"number,omitempty"` // its content, when that is one
	Text    string          `json:"text,omitempty"`   // its content in words
	Unknown bool            `json:"unknown,omitempty"`
	Problem string          `json:"problem,omitempty"`
	Options []decodedOption `json:"options,omitempty"`
}

func (a *app) showFoundJSON(it *found) error {
	m := decodedMessage{From: it.from, To: it.to, Note: it.note}
	if !it.time.IsZero() {
		m.Time = &it.time
	}
	if it.note == "" {
		id := uint32(it.tree.TransactionID)
		m.Type, m.TransactionID, m.Problem = it.tree.Type.String(), &id, it.tree.Problem
		if sent, ok := it.tree.SentTime.Get(); ok {
			seconds := uint32(sent)
			m.SentTime = &seconds
		}
		m.Options = decodedOptions(it.tree.Options)
	}
	if err := json.NewEncoder(a.stdout).Encode(m); err != nil {
		return err
	}
	return a.stdout.Flush()
}

func decodedOptions(items []wire.Item) []decodedOption {
	var list []decodedOption
	for i := range items {
		item := &items[i]
		o := decodedOption{
			Code: uint16(item.Code), Name: item.Name(), Text: item.Text, Unknown: item.Unknown, Problem: item.Problem,
			Options: decodedOptions(item.Options),
		}
		if n, ok := item.Number.Get(); ok {
			o.Number = &n
		}
		list = append(list, o)
	}
	return list
}
