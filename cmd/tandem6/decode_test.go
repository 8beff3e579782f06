package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"pgregory.net/rapid"

	"github.com/tandem6/tandem6/failover/wire"
)

// The scripts have two commands more: capture FILE TAPE FORMAT writes a capture
// file, cut FILE N keeps only its first octets.
func TestDecodeScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/decode", RequireExplicitExec: true, UpdateScripts: *update,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": cmdExits,
			"capture": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), formats[args[2]](tapes[args[1]]()), 0o600))
			},
			"cut": func(ts *testscript.TestScript, _ bool, args []string) {
				n, err := strconv.ParseInt(args[1], 10, 64)
				ts.Check(err)
				ts.Check(os.Truncate(ts.MkAbs(args[0]), n))
			},
		},
	})
}

// Every format tells the same story.
func TestDecodeFormats(t *testing.T) {
	for name := range tapes {
		want, err := decodeAll(formats["pcap"](tapes[name]()))
		if err != nil {
			t.Fatal(err)
		}
		for format, write := range formats {
			if format == "pcap-strange" {
				continue
			}
			got, err := decodeAll(write(tapes[name]()))
			if format == "simple" {
				for i := range got {
					if !got[i].time.IsZero() {
						t.Errorf("%s, %s: a time %v", name, format, got[i].time)
					}
					got[i].time = want[i].time
				}
			}
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s, %s: %v, %v, want %v", name, format, got, err, want)
			}
		}
	}
}

// What Wireshark's own tools make of a capture is read as well.
func TestDecodeWireshark(t *testing.T) {
	editcap, err := exec.LookPath("editcap")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("editcap is missing: ", err)
		}
		t.Skip("editcap is missing: ", err)
	}
	want, err := decodeAll(formats["pcap"](tapes["session"]()))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "in.pcapng")
	if err := os.WriteFile(file, formats["pcapng"](tapes["session"]()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"pcapng", "nsecpcap", "pcap"} {
		if format != "pcapng" { // which alone can hold two kinds of links
			if err := os.WriteFile(file, formats["pcap-any"](tapes["session"]()), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		out := filepath.Join(dir, "out."+format)
		if text, err := exec.Command(editcap, "-F", format, file, out).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		written, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeAll(written)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v, want %v", format, got, err, want)
		}
	}
}

// IPv6 in all wrappings, and what is not TCP in IPv6 at all.
func TestParseSegment(t *testing.T) {
	good := tapes["session"]()[3]
	want, ok := parseSegment(good)
	if !ok || want.from != tapePrimary || want.to != tapeSecondary || want.seq != 0xfffffff1 || want.syn || len(want.data) != 57 {
		t.Fatalf("%+v, %v", want, ok)
	}
	// with puts headers between IPv6's own and TCP.
	with := func(next byte, extensions ...string) []byte {
		b := bytes.Clone(good[:40])
		b[6] = next
		for _, e := range extensions {
			b = append(b, e...)
		}
		b = append(b, good[40:]...)
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
		return b
	}
	for name, c := range map[string]struct {
		ip []byte
		ok bool
	}{
		"padding":            {append(bytes.Clone(good), 0, 0, 0), true},
		"length of zero":     {slices.Concat(good[:4], []byte{0, 0}, good[6:]), true},
		"hop-by-hop":         {with(0, "\x06\x00\x05\x02\x00\x00\x01\x00"), true},
		"three":              {with(0, "\x2b\x00aaaaaa", "\x3c\x01bbbbbbbbbbbbbb", "\x06\x00cccccc"), true},
		"atomic fragment":    {with(44, "\x06\x00\x00\x00dddd"), true},
		"first fragment":     {with(44, "\x06\x00\x00\x01dddd"), false},
		"second fragment":    {with(44, "\x06\x00\x05\x00dddd"), false},
		"long extension":     {with(0, "\x06\xff\x05\x02\x00\x00\x01\x00"), false},
		"endless extensions": {with(0, slices.Repeat([]string{"\x00\x00aaaaaa"}, 100)...), false},
		"UDP":                {with(17), false},
		"IPv4":               {append([]byte{0x45}, good[1:]...), false},
	} {
		got, ok := parseSegment(c.ip)
		if ok != c.ok || ok && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
	for n := range good {
		if got, ok := parseSegment(good[:n]); ok != (n >= 72) {
			t.Errorf("%d octets: %+v, %v", n, got, ok)
		}
	}
	for _, offset := range []byte{0, 4, 15} {
		b := bytes.Clone(good)
		b[52] = offset << 4
		if got, ok := parseSegment(b); ok != (offset == 15) {
			t.Errorf("a header of %d words: %+v, %v", offset, got, ok)
		}
	}

	frame := linked(linkEthernet, good)
	tagged := slices.Concat(frame[:12], []byte("\x88\xa8\x00\x01\x81\x00\x00\x02"), frame[12:])
	for name, c := range map[string]struct {
		p     packet
		ip    []byte
		known bool
	}{
		"Ethernet":    {packet{link: linkEthernet, data: frame}, good, true},
		"two VLANs":   {packet{link: linkEthernet, data: tagged}, good, true},
		"short frame": {packet{link: linkEthernet, data: frame[:13]}, nil, true},
		"ARP":         {packet{link: linkEthernet, data: append([]byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x08\x06"), good...)}, nil, true},
		"raw":         {packet{link: linkRaw, data: good}, good, true},
		"IPv6":        {packet{link: linkIPv6, data: good}, good, true},
		"Bluetooth":   {packet{link: 187, data: good}, nil, false},
	} {
		if ip, known := c.p.ipv6(); !bytes.Equal(ip, c.ip) || known != c.known {
			t.Errorf("%s: %x, %v", name, ip, known)
		}
	}
}

// However TCP delivers a stream, in pieces that come late, early, twice or
// overlapping, the same messages are found, in their order.
func TestStreamsInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var octets []byte
		var want []wire.TransactionID
		for i := range wire.TransactionID(rapid.IntRange(1, 12).Draw(t, "messages")) {
			octets = append(octets, frames(bndUpd(i))...)
			want = append(want, i)
		}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		isn := r.Uint32()
		type piece struct{ at, end int }
		var pieces []piece
		for at := 0; at < len(octets); {
			end := min(at+1+r.IntN(200), len(octets))
			pieces = append(pieces, piece{at, end})
			if r.IntN(4) == 0 { // once more, with something around it
				pieces = append(pieces, piece{max(at-r.IntN(50), 0), min(end+r.IntN(50), len(octets))})
			}
			at = end
		}
		window := rapid.IntRange(1, 8).Draw(t, "window")
		for i := range pieces {
			j := min(i+r.IntN(window), len(pieces)-1)
			pieces[i], pieces[j] = pieces[j], pieces[i]
		}
		var tp tape
		tp.tcp(tapePrimary, tapeSecondary, isn, flagSYN, nil)
		for _, p := range pieces {
			tp.tcp(tapePrimary, tapeSecondary, isn+1+uint32(p.at), flagACK, octets[p.at:p.end])
		}
		list, err := decodeAll(tp.pcap(binary.LittleEndian, linkRaw, false))
		var got []wire.TransactionID
		for _, it := range list {
			if it.note != "" || it.tree.Bad() {
				t.Fatalf("%+v", it)
			}
			got = append(got, it.tree.TransactionID)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("messages %v, %v, want %v", got, err, want)
		}
	})
}

// notes are the notes among what was found, and the ids of the messages.
func notes(list []found) (text string) {
	for _, it := range list {
		if it.note != "" {
			text += "(" + it.note + ")"
		} else {
			text += fmt.Sprintf("[%d]", it.tree.TransactionID)
		}
	}
	return text
}

// What is missing is noted, what is too much is given up.
func TestStreamsLimits(t *testing.T) {
	contact := func(id wire.TransactionID) []byte { return frames(&wire.Contact{Header: header(id)}) } // 10 octets
	for name, c := range map[string]struct {
		record func(tp *tape)
		want   string
	}{
		"a piece that never comes": {func(tp *tape) {
			tp.tcp(tapePrimary, tapeSecondary, 1, flagACK, contact(1))
			for i := range uint32(earlySegmentsMax + 2) {
				tp.tcp(tapePrimary, tapeSecondary, 21+10*i, flagACK, contact(wire.TransactionID(3 + i))[:10])
			}
		}, "[1](10 octets are missing in the capture)[3][4]"},
		"early octets without end": {func(tp *tape) {
			tp.tcp(tapePrimary, tapeSecondary, 1, flagACK, contact(1)[:4])
			for i := range uint32(6) {
				tp.tcp(tapePrimary, tapeSecondary, 100+60000*i, flagACK, append(contact(wire.TransactionID(2+i)), make([]byte, 59990)...))
			}
		}, "(95 octets are missing in the capture, within a message of which 4 octets are there)[2]"},
		"a new connection with a SYN": {func(tp *tape) {
			tp.tcp(tapePrimary, tapeSecondary, 1, flagACK, append(contact(1), 0))
			tp.tcp(tapePrimary, tapeSecondary, 11, flagSYN, nil)
			tp.tcp(tapePrimary, tapeSecondary, 12, flagACK, contact(2))
		}, "[1](the stream ends, within a message of which 1 octet is there)[2]"},
		"a new connection without": {func(tp *tape) {
			tp.tcp(tapePrimary, tapeSecondary, 1, flagACK, contact(1))
			tp.tcp(tapePrimary, tapeSecondary, 1<<31, flagACK, contact(2))
			tp.tcp(tapePrimary, tapeSecondary, 5, flagACK, contact(3))
		}, "[1][2][3]"},
		"keepalives of TCP": {func(tp *tape) {
			tp.tcp(tapePrimary, tapeSecondary, 1, flagACK, contact(1))
			tp.tcp(tapePrimary, tapeSecondary, 10, flagACK, []byte{0})
			tp.tcp(tapePrimary, tapeSecondary, 10, flagACK, nil)
			tp.tcp(tapePrimary, tapeSecondary, 11, flagACK, contact(2))
		}, "[1][2]"},
		"nothing that begins a message": {func(tp *tape) {
			tp.tcp(tapePrimary, tapeSecondary, 1, flagACK, []byte("x"))
		}, "(1 octet is skipped, in which no message begins)"},
		"more connections than can be followed": {func(tp *tape) {
			for i := range uint16(flowsMax + 1) {
				tp.tcp(netip.AddrPortFrom(tapePrimary.Addr(), 30000+i), tapeSecondary, 1, flagACK, contact(wire.TransactionID(i))[:9])
			}
			tp.tcp(netip.AddrPortFrom(tapePrimary.Addr(), 30000), tapeSecondary, 10, flagACK, contact(0)[9:])
		}, "(the stream ends, within a message of which 9 octets are there)"},
	} {
		t.Run(name, func(t *testing.T) {
			var tp tape
			c.record(&tp)
			list, err := decodeAll(tp.pcap(binary.LittleEndian, linkRaw, false))
			if got := notes(list); err != nil || !strings.HasPrefix(got, c.want) {
				t.Errorf("found %.200s, %v, want %s", got, err, c.want)
			}
		})
	}
}

// A file that is no capture, or a damaged one: an error that says where, after
// what could be read.
func TestDecodeDamaged(t *testing.T) {
	order := binary.LittleEndian
	section := sectionBlock(order)
	iface := block(order, blockInterface, []byte{linkRaw, 0, 0, 0, 0, 0, 0, 0})
	packet := func(body ...byte) []byte { return block(order, blockPacket, body) }
	long := order.AppendUint32(order.AppendUint32(nil, blockPacket), blockLenMax+4)
	pcap := formats["pcap"](nil)
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty":                 {nil, "no capture file"},
		"text":                  {[]byte("hello, world"), "no capture file"},
		"short magic":           {pcap[:3], "no capture file"},
		"short header":          {pcap[:20], "the file ends too early"},
		"other version":         {append(bytes.Clone(pcap[:4]), make([]byte, 20)...), "version 0.0, only 2 can be read"},
		"no packets":            {pcap, ""},
		"short packet header":   {append(bytes.Clone(pcap), 1, 2, 3), "packet 1: the file ends too early"},
		"long packet":           {append(bytes.Clone(pcap), bytes.Repeat([]byte{0xff}, 16)...), "packet 1: it has 4294967295 octets according to the file"},
		"section only":          {section, ""},
		"short section":         {section[:10], "block 1: it is no capture file"},
		"strange section":       {append(bytes.Clone(section[:8]), "oops"...), "block 1: it is no capture file"},
		"short block":           {append(bytes.Clone(section), iface[:15]...), "block 2: the file ends too early"},
		"short unknown block":   {append(bytes.Clone(section), block(order, 99, make([]byte, 40))[:20]...), "block 2: the file ends too early"},
		"impossible length":     {append(bytes.Clone(section), 1, 0, 0, 0, 13, 0, 0, 0), "block 2: its length 13 is impossible"},
		"too short a length":    {append(bytes.Clone(section), 1, 0, 0, 0, 8, 0, 0, 0), "block 2: its length 8 is impossible"},
		"long block":            {append(bytes.Clone(section), long...), "is above"},
		"lengths differ":        {append(append(bytes.Clone(section), iface[:16]...), 24, 0, 0, 0), "block 2: its length is 20 at its beginning and 24 at its end"},
		"no interface":          {append(bytes.Clone(section), packet(make([]byte, 20)...)...), "block 2: there is no interface 0"},
		"short interface":       {append(bytes.Clone(section), block(order, blockInterface, make([]byte, 4))...), "shorter than what it should contain"},
		"short option":          {append(bytes.Clone(section), block(order, blockInterface, make([]byte, 8), []byte{9, 0, 9, 0})...), "shorter than"},
		"fine resolution":       {append(bytes.Clone(section), block(order, blockInterface, make([]byte, 8), []byte{9, 0, 1, 0, 12, 0, 0, 0})...), "resolution 0xc"},
		"finer resolution":      {append(bytes.Clone(section), block(order, blockInterface, make([]byte, 8), []byte{9, 0, 1, 0, 0xff, 0, 0, 0})...), "resolution 0xff"},
		"many interfaces":       {append(bytes.Clone(section), bytes.Repeat(iface, interfacesMax+1)...), "more than 4096 interfaces"},
		"short packet":          {slices.Concat(section, iface, packet(make([]byte, 16)...)), "block 3: it is shorter"},
		"packet beyond a block": {slices.Concat(section, iface, packet(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0)), "block 3: it is shorter"},
		"simple without iface":  {append(bytes.Clone(section), block(order, blockSimple, make([]byte, 8))...), "block 2: it is shorter"},
	} {
		list, err := decodeAll(c.file)
		if len(list) != 0 || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v, want %q", name, list, err, c.want)
		}
	}
	for _, format := range []string{"pcap", "pcapng"} {
		file := formats[format](tapes["session"]())
		whole, _ := decodeAll(file)
		got, err := decodeAll(file[:len(file)-1])
		if len(got) < 5 || !reflect.DeepEqual(got, whole[:len(got)]) || err == nil {
			t.Errorf("%s without its last octet: %d messages of %d, %v", format, len(got), len(whole), err)
		}
	}
}

// Times beyond what can be printed are no times.
func TestCapturedTimes(t *testing.T) {
	order := binary.LittleEndian
	for _, resolution := range []byte{0, 6, 9, 0x80, 0x9e} {
		iface := block(order, blockInterface, []byte{linkRaw, 0, 0, 0, 0, 0, 0, 0, optionResolution, 0, 1, 0, resolution, 0, 0, 0, 0, 0, 0, 0})
		c, err := openCapture(bytes.NewReader(slices.Concat(sectionBlock(order), iface, block(order, blockPacket, make([]byte, 4), bytes.Repeat([]byte{0xff}, 8), make([]byte, 8)))))
		if err != nil {
			t.Fatal(err)
		}
		p, err := c.next()
		if _, bad := p.time.MarshalJSON(); err != nil || bad != nil {
			t.Errorf("resolution %#x: %v, %v", resolution, err, bad)
		}
		if known := resolution == 9 || resolution == 0x9e; known == p.time.IsZero() {
			t.Errorf("resolution %#x: %v", resolution, p.time)
		}
	}
}

// FuzzDecode gives any file to the decoder, by both ways of printing: no panic,
// memory in proportion, no control characters to the terminal.
func FuzzDecode(f *testing.F) {
	for _, story := range tapes {
		for _, format := range formats {
			f.Add(format(story()))
		}
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if len(file) > 1<<16 {
			return
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, args := range [][]string{{"decode"}, {"decode", "--json", "-"}} {
			var stdout, stderr bytes.Buffer
			code := run(args, bytes.NewReader(file), &stdout, &stderr)
			if failed := strings.Contains(stderr.String(), "error: "); code != exitDone && code != exitFail || failed != (code == exitFail) {
				t.Errorf("exit code %d: %s", code, stderr.String())
			}
			for _, out := range []string{stdout.String(), stderr.String()} {
				if strings.ContainsFunc(out, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
					t.Errorf("control characters: %q", out)
				}
			}
		}
		runtime.ReadMemStats(&after)
		// A packet of the largest kind, and a trail of options of 4 octets each.
		if used := after.TotalAlloc - before.TotalAlloc; used > uint64(4<<20+1000*len(file)) {
			t.Errorf("%d octets allocate %d bytes", len(file), used)
		}
	})
}
