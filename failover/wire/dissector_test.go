package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A capture is a classic pcap file of one connection over IPv6 and Ethernet, from
// the primary's port to 647 of the secondary.
type capture struct {
	file []byte
	next [2]uint32 // sequence numbers, primary's first
}

const (
	primary = iota
	secondary
)

const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
)

func newCapture() *capture {
	c := &capture{next: [2]uint32{0xfffffff0, 1000}} // the primary's wraps soon
	for _, v := range []uint32{0xa1b2c3d4, 2 | 4<<16, 0, 0, 1 << 16, 1} {
		c.file = binary.LittleEndian.AppendUint32(c.file, v)
	}
	c.segment(primary, syn, nil)
	c.segment(secondary, syn|ack, nil)
	c.segment(primary, ack, nil)
	return c
}

// send adds one segment with data.
func (c *capture) send(from int, data []byte) { c.segment(from, psh|ack, data) }

func (c *capture) segment(from int, flags byte, data []byte) {
	hosts := [2]netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8::2]:647")}
	src, dst := hosts[from], hosts[1-from]
	tcp := binary.BigEndian.AppendUint16(nil, src.Port())
	tcp = binary.BigEndian.AppendUint16(tcp, dst.Port())
	tcp = binary.BigEndian.AppendUint32(tcp, c.next[from])
	tcp = binary.BigEndian.AppendUint32(tcp, c.next[1-from])
	tcp = append(tcp, 5<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
	tcp = append(tcp, data...)
	c.next[from] += uint32(len(data))
	if flags&(syn|fin) != 0 {
		c.next[from]++
	}

	a, b := src.Addr().As16(), dst.Addr().As16()
	addresses := slices.Concat(a[:], b[:])
	pseudo := binary.BigEndian.AppendUint32(slices.Clone(addresses), uint32(len(tcp)))
	binary.BigEndian.PutUint16(tcp[16:], checksum(append(append(pseudo, 0, 0, 0, 6), tcp...)))

	frame := []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0}
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(tcp)))
	frame = append(append(append(frame, 6, 64), addresses...), tcp...)
	for _, v := range []uint32{1704067200, 0, uint32(len(frame)), uint32(len(frame))} {
		c.file = binary.LittleEndian.AppendUint32(c.file, v)
	}
	c.file = append(c.file, frame...)
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i, octet := range b {
		sum += uint32(octet) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// A node is an element of tshark's PDML.
type node struct {
	Name     string `xml:"name,attr"`
	Showname string `xml:"showname,attr"`
	Show     string `xml:"show,attr"`
	Protos   []node `xml:"proto"`
	Fields   []node `xml:"field"`
}

// dissect has tshark read a capture with the dissector of this folder and
// returns what it makes of each message, in order, and of anything else that is
// malformed.
func dissect(t *testing.T, file []byte, args ...string) (messages []node) {
	t.Helper()
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("tshark is missing: ", err)
		}
		t.Skip("tshark is missing: ", err)
	}
	path := filepath.Join(t.TempDir(), "capture.pcap")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tshark, append([]string{"-X", "lua_script:dhcpv6-failover.lua", "-r", path, "-T", "pdml", "-o", "tcp.check_checksum:TRUE", "-t", "u"}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "TZ=UTC")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	for line := range strings.Lines(stderr.String()) {
		if !strings.HasPrefix(line, "Running as user") {
			t.Errorf("tshark: %s", line)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	var pdml struct {
		Packets []node `xml:"packet"`
	}
	// XML has no room for two characters that UTF-8 has.
	out = []byte(strings.NewReplacer("\ufffe", "?", "\uffff", "?").Replace(string(out)))
	if err := xml.Unmarshal(out, &pdml); err != nil {
		t.Fatal(err)
	}
	for _, packet := range pdml.Packets {
		for _, p := range packet.Protos {
			switch {
			case p.Name == "dhcpv6fo":
				messages = append(messages, p)
			case p.Name == "_ws.malformed", p.Name == "_ws.lua", strings.Contains(p.Name, "error"):
				t.Errorf("%s: %s %+v", p.Name, p.Showname, p.Fields)
			}
		}
	}
	return messages
}

// flagged reports whether an expert of the dissector complains within n.
func (n *node) flagged(expert string) bool {
	return slices.ContainsFunc(n.Fields, func(f node) bool { return f.Name == expert || f.flagged(expert) })
}

// lines is n as the tree of a message is printed, but for the problems.
func (n *node) lines(b *strings.Builder, depth int) {
	for _, f := range n.Fields {
		if f.Name == "dhcpv6fo.option" {
			fmt.Fprintf(b, "%s%s\n", strings.Repeat("  ", depth), f.Showname)
			f.lines(b, depth+1)
		}
	}
}

// treeLines is the tree of a message without problems, in the same form.
func treeLines(b *strings.Builder, items []Item, depth int, words bool) {
	for i := range items {
		text := items[i].Name()
		if words {
			if items[i].Text != "" {
				text += ": " + items[i].Text
			}
			if items[i].Unknown {
				text += " (unknown here)"
			}
		}
		fmt.Fprintf(b, "%s%s\n", strings.Repeat("  ", depth), text)
		treeLines(b, items[i].Options, depth+1, words)
	}
}

// compare holds what tshark shows of a message against what this package does:
// the header, and each option in its place, with its content in words if those
// are wanted, which differ in characters that are escaped.
func compare(t *testing.T, name string, got node, b []byte, words bool) {
	t.Helper()
	tree := TreeOf(b)
	title := fmt.Sprintf("DHCPv6 Failover, %v %v", tree.Type, tree.TransactionID)
	if sent, ok := tree.SentTime.Get(); ok {
		title += fmt.Sprintf(", sent %v", sent)
	}
	if got.Showname != title {
		t.Errorf("%s: tshark says %q, want %q", name, got.Showname, title)
	}
	var have, want strings.Builder
	got.lines(&have, 0)
	treeLines(&want, tree.Options, 0, words)
	lines := have.String()
	if !words {
		var b strings.Builder
		for line := range strings.Lines(lines) {
			line, _, _ = strings.Cut(strings.TrimSuffix(line, "\n"), ":")
			line = strings.TrimSuffix(line, " (unknown here)")
			fmt.Fprintln(&b, strings.Replace(line, " [truncated]", "", 1)) // tshark's mark of a long line
		}
		lines = b.String()
	}
	if lines == want.String() {
		return
	}
	gotLines, wantLines := strings.Split(lines, "\n"), strings.Split(want.String(), "\n")
	i := 0
	for i < min(len(gotLines), len(wantLines))-1 && gotLines[i] == wantLines[i] {
		i++
	}
	t.Errorf("%s: line %d: tshark says\n%s\nwant\n%s", name, i+1, gotLines[i], wantLines[i])
}

// tshark names every message and every option, and shows the same of them as this
// package does: one message a segment, all in one, and cut into pieces.
func TestDissector(t *testing.T) {
	octets, want := stream(t)
	for name, segments := range map[string][][]byte{
		"a message in each segment": nil,
		"one segment":               {octets},
		"an octet in each segment":  chunks(octets, 1),
		"pieces of 50":              chunks(octets, 50),
	} {
		t.Run(name, func(t *testing.T) {
			if segments == nil {
				for _, v := range vectors {
					segments = append(segments, unhex(t, v.frame))
				}
			}
			c := newCapture()
			for _, s := range segments {
				c.send(primary, s)
				c.segment(secondary, ack, nil)
			}
			got := dissect(t, c.file)
			if len(got) != len(want) {
				t.Fatalf("tshark finds %d messages, want %d", len(got), len(want))
			}
			for i, v := range vectors {
				compare(t, v.name, got[i], want[i], true)
				if got[i].flagged("_ws.expert") {
					t.Errorf("%s: tshark complains", v.name)
				}
			}
		})
	}
}

// Filters for every option: a field of its own.
func TestDissectorFields(t *testing.T) {
	octets, _ := stream(t)
	c := newCapture()
	c.send(secondary, octets) // an answer is dissected like a request
	found := map[string]string{}
	var walk func(n node)
	walk = func(n node) {
		if n.Show != "" && found[n.Name] == "" {
			found[n.Name] = n.Show
		}
		for _, f := range n.Fields {
			walk(f)
		}
	}
	for _, m := range dissect(t, c.file) {
		walk(m)
	}
	for name, want := range map[string]string{
		"size": "4", "msgtype": "23", "transaction_id": "0x000001", "sent_time": "2024-01-01",
		"option.code": "13", "option.length": "2", "option.status_code": "15", "option.status_message": "bye",
		"option.protocol_version.major": "1", "option.protocol_version.minor": "0", "option.mclt": "3600",
		"option.keepalive_time": "60", "option.max_unacked_bndupd": "100", "option.relationship_name": "pair1",
		"option.connect_flags": "0x0001", "option.connect_flags.fixed_pd_length": "1", "option.server_state": "4",
		"option.server_flags": "0x01", "option.server_flags.communicated": "1", "option.server_flags.startup": "0",
		"option.server_flags.ack_startup": "0", "option.start_time_of_state": "2023-12-31", "option.partner_down_time": "2023-12-31",
		"option.prefix": "2001:db8:0:100::", "option.prefix_length": "56", "option.address": "2001:db8::1001",
		"option.preferred_lifetime": "0", "option.valid_lifetime": "0", "option.base_time": "2024-01-01",
		"option.binding_status": "6", "option.state_expiration_time": "2024-01-01", "option.clt_time": "0",
		"option.partner_lifetime": "2024-01-04", "option.partner_lifetime_sent": "2024-01-04", "option.expiration_time": "2000-01-01",
		"option.partner_raw_clt_time": "2023-12-31", "option.client_id": "00:03:00:01:02:00:00:00:00:aa",
		"option.iaid": "1", "option.t1": "1800", "option.t2": "2880", "option.vss.type": "0", "option.vss": "62:6c:75:65",
		"option.reconfigure_data.time": "2023-12-31", "option.reconfigure_data.key": "00:01:02:03", "option.relay_peer": "fe80::1",
		"option.relay_message": "0c:00:aa:bb", "option.dns_host_name": "host.example.", "option.dns_zone_name": "home.example.",
		"option.dns_flags": "0x000b", "option.dns_flags.using_requested_fqdn": "1", "option.dns_flags.synthesized_name": "0",
		"option.dns_flags.rev_uptodate": "1", "option.dns_flags.fwd_uptodate": "1", "option.client_fqdn": "tiny", "option.client_fqdn.flags": "0x01",
	} {
		got, ok := found["dhcpv6fo."+name]
		if short := strings.ReplaceAll(got, "Dec 31, 2023", "2023-12-31"); !ok || !strings.Contains(normalDate(short), want) {
			t.Errorf("dhcpv6fo.%s is %q, want %q", name, got, want)
		}
		delete(found, "dhcpv6fo."+name)
	}
	for name := range found {
		if strings.HasPrefix(name, "dhcpv6fo.") && name != "dhcpv6fo.option" {
			t.Errorf("%s is not expected", name)
		}
	}
}

// normalDate puts the dates of the vectors, as tshark writes them, into the form
// of RFC 3339.
func normalDate(s string) string {
	for _, d := range [][2]string{
		{"Dec 31, 2023", "2023-12-31"}, {"Jan  1, 2024", "2024-01-01"}, {"Jan  4, 2024", "2024-01-04"}, {"Jan  1, 2000", "2000-01-01"},
	} {
		s = strings.ReplaceAll(s, d[0], d[1])
	}
	return s
}

// The dissector complains about a message exactly when Parse refuses it: about
// the vectors cut short in every way, the tables of bad contents, and messages at
// random; and it names every option that is there.
func TestDissectorIsStrict(t *testing.T) {
	var list [][]byte
	add := func(b []byte) { list = append(list, b) }
	for _, v := range vectors {
		b := unhex(t, v.frame)[sizeLen:]
		for n := 4; n < len(b); n++ {
			add(b[:n])
		}
	}
	for place, codes := range matrix {
		for _, code := range codes {
			for _, content := range append(slices.Clone(shapes[code].good), shapes[code].bad...) {
				digits, _ := split(content)
				o := opt(code, unhex(t, digits))
				add(inside[place](o, opt(65000, []byte("x"))))
				add(inside[place](o, o))
			}
		}
		add(inside[place](opt(9, []byte("x")), opt(65535)))
	}
	for typ := range 256 {
		add(msg(Type(typ), opt(OptionMCLT, make([]byte, 4))))
	}
	for _, text := range []string{"\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf4\x8f\xbf\xbf", "\xef\xbf\xbf", "\xe0\x9f\xbf", "a\x80", "\xf8\x88\x80\x80\x80"} {
		add(msg(TypeConnect, opt(OptionRelationshipName, []byte(text))))
	}
	draw := rapid.Custom(drawMessage)
	for i := range 150 {
		b, err := Append(nil, draw.Example(i))
		if err != nil {
			t.Fatal(err)
		}
		add(b)
	}

	c := newCapture()
	for _, b := range list {
		if b[0]>>2 == 5 && len(b) >= 0x1600 {
			t.Fatal("looks like TLS")
		}
		c.send(primary, append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	}
	got := dissect(t, c.file)
	if len(got) != len(list) {
		t.Fatalf("tshark finds %d messages, want %d", len(got), len(list))
	}
	bad := 0
	for i, b := range list {
		_, err := parse(b)
		switch {
		case err == nil:
			compare(t, fmt.Sprintf("%x", b), got[i], b, false)
		case err.Kind == UnknownType:
			if !got[i].flagged("dhcpv6fo.unknown_type") {
				t.Errorf("%x: tshark does not say that its type is unknown", b)
			}
			continue
		default:
			bad++
		}
		if got[i].flagged("dhcpv6fo.malformed") != (err != nil) {
			t.Errorf("%x: Parse says %v, tshark complains: %v", b, err, err == nil)
		}
	}
	t.Logf("%d messages, %d of them malformed", len(list), bad)
}

// A message-size below the header's is flagged; what follows a STARTTLS is left
// to the dissector of TLS.
func TestDissectorBesideMessages(t *testing.T) {
	c := newCapture()
	c.send(primary, unhex(t, "0003 170000"))
	got := dissect(t, c.file)
	if len(got) != 1 || !got[0].flagged("dhcpv6fo.malformed") {
		t.Errorf("a message of 3 octets: %+v", got)
	}

	c = newCapture()
	c.send(primary, unhex(t, "0004 17 000001"))
	c.send(secondary, unhex(t, "0004 07 000001"))
	c.send(primary, unhex(t, "14 0303 0001 01"))         // a change of the cipher
	c.send(secondary, unhex(t, "15 0303 0002 0228"))     // an alert
	c.send(primary, unhex(t, "17 0303 0005 0011223344")) // application data
	c.send(primary, unhex(t, "0008 23 000010 2D24BD00")) // no TLS
	if got := dissect(t, c.file); len(got) != 3 {
		t.Errorf("tshark finds %d messages, want 3", len(got))
	}
}
