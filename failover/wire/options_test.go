package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
)

// opt is an option by hand.
func opt(code OptionCode, data ...[]byte) []byte {
	all := slices.Concat(data...)
	b := binary.BigEndian.AppendUint16(nil, uint16(code))
	b = binary.BigEndian.AppendUint16(b, uint16(len(all)))
	return append(b, all...)
}

// msg is a message by hand, with id 0x010203 and, if it has one, the sent-time
// of the vectors.
func msg(t Type, options ...[]byte) []byte {
	b := []byte{byte(t), 1, 2, 3}
	if t.HasSentTime() {
		b = binary.BigEndian.AppendUint32(b, uint32(sent))
	}
	return append(b, slices.Concat(options...)...)
}

var (
	fixedIA      = make([]byte, 12)
	fixedAddress = make([]byte, 24)
	fixedPrefix  = make([]byte, 25)
)

// inside are the places where options can stand: each wraps options into a
// message of that place.
var inside = map[string]func(options ...[]byte) []byte{
	"REPLY":        func(o ...[]byte) []byte { return msg(TypeReply, o...) },
	"STARTTLS":     func(o ...[]byte) []byte { return msg(TypeStartTLS, o...) },
	"BNDUPD":       func(o ...[]byte) []byte { return msg(TypeBndUpd, o...) },
	"BNDREPLY":     func(o ...[]byte) []byte { return msg(TypeBndReply, o...) },
	"POOLREQ":      func(o ...[]byte) []byte { return msg(TypePoolReq, o...) },
	"POOLRESP":     func(o ...[]byte) []byte { return msg(TypePoolResp, o...) },
	"UPDREQ":       func(o ...[]byte) []byte { return msg(TypeUpdReq, o...) },
	"UPDREQALL":    func(o ...[]byte) []byte { return msg(TypeUpdReqAll, o...) },
	"UPDDONE":      func(o ...[]byte) []byte { return msg(TypeUpdDone, o...) },
	"CONNECT":      func(o ...[]byte) []byte { return msg(TypeConnect, o...) },
	"CONNECTREPLY": func(o ...[]byte) []byte { return msg(TypeConnectReply, o...) },
	"DISCONNECT":   func(o ...[]byte) []byte { return msg(TypeDisconnect, o...) },
	"STATE":        func(o ...[]byte) []byte { return msg(TypeState, o...) },
	"CONTACT":      func(o ...[]byte) []byte { return msg(TypeContact, o...) },
	"CLIENT_DATA":  func(o ...[]byte) []byte { return msg(TypeBndUpd, opt(OptionClientData, o...)) },
	"IA_NA": func(o ...[]byte) []byte {
		return msg(TypeBndUpd, opt(OptionClientData, opt(OptionIANA, append([][]byte{fixedIA}, o...)...)))
	},
	"IA_TA": func(o ...[]byte) []byte {
		return msg(TypeBndUpd, opt(OptionClientData, opt(OptionIATA, append([][]byte{fixedIA[:4]}, o...)...)))
	},
	"IA_PD": func(o ...[]byte) []byte {
		return msg(TypeBndReply, opt(OptionClientData, opt(OptionIAPD, append([][]byte{fixedIA}, o...)...)))
	},
	"IAADDR": func(o ...[]byte) []byte {
		return msg(TypeBndUpd, opt(OptionClientData, opt(OptionIANA, fixedIA, opt(OptionIAAddr, append([][]byte{fixedAddress}, o...)...))))
	},
	"IAPREFIX": func(o ...[]byte) []byte {
		return msg(TypeBndUpd, opt(OptionClientData, opt(OptionIAPD, fixedIA, opt(OptionIAPrefix, append([][]byte{fixedPrefix}, o...)...))))
	},
	"bare IAPREFIX": func(o ...[]byte) []byte {
		return msg(TypeBndReply, opt(OptionIAPrefix, append([][]byte{fixedPrefix}, o...)...))
	},
	"DNS": func(o ...[]byte) []byte {
		return msg(TypeBndUpd, opt(OptionIAPrefix, fixedPrefix, opt(OptionDNSRemovalInfo, o...)))
	},
}

// matrix is what each place defines (RFC 8156, the digest's option by message
// matrix), the required options of the nesting ones left out.
var matrix = map[string][]OptionCode{
	"REPLY":         {OptionStatusCode},
	"BNDUPD":        {OptionClientData, OptionIAPrefix},
	"BNDREPLY":      {OptionStatusCode, OptionClientData, OptionIAPrefix},
	"CONNECT":       {OptionProtocolVersion, OptionMCLT, OptionKeepaliveTime, OptionMaxUnackedBndUpd, OptionRelationshipName, OptionConnectFlags},
	"CONNECTREPLY":  {OptionStatusCode, OptionProtocolVersion, OptionMCLT, OptionKeepaliveTime, OptionMaxUnackedBndUpd, OptionConnectFlags},
	"DISCONNECT":    {OptionStatusCode},
	"STATE":         {OptionServerState, OptionServerFlags, OptionStartTimeOfState, OptionPartnerDownTime},
	"CLIENT_DATA":   {OptionClientID, OptionLQBaseTime, OptionVSS, OptionStatusCode, OptionReconfigureData, OptionLQRelayData, OptionIANA, OptionIATA, OptionIAPD},
	"IA_NA":         {OptionStatusCode, OptionBindingStatus, OptionStartTimeOfState, OptionIAAddr},
	"IA_TA":         {OptionStatusCode, OptionBindingStatus, OptionStartTimeOfState, OptionIAAddr},
	"IA_PD":         {OptionStatusCode, OptionBindingStatus, OptionStartTimeOfState, OptionIAPrefix},
	"IAADDR":        leaseOptions,
	"IAPREFIX":      leaseOptions,
	"bare IAPREFIX": leaseOptions,
	"DNS":           {OptionDNSHostName, OptionDNSZoneName, OptionDNSFlags},
}

var leaseOptions = []OptionCode{
	OptionVSS, OptionLQBaseTime, OptionStatusCode, OptionBindingStatus, OptionStartTimeOfState, OptionStateExpirationTime,
	OptionCLTTime, OptionPartnerLifetime, OptionPartnerLifetimeSent, OptionPartnerRawCLTTime, OptionExpirationTime,
	OptionClientFQDN, OptionDNSRemovalInfo,
}

// A shape is what an option may contain.
type shape struct {
	good []string // hexadecimal
	bad  []string // hexadecimal, a space, and a part of the problem
}

var fourOctets = shape{
	good: []string{"00000000", "2d24bd00", "ffffffff"},
	bad:  []string{" has 0 octets, it needs 4", "2d24bd has 3 octets", "2d24bd0000 has 5 octets"},
}

var shapes = map[OptionCode]shape{
	OptionClientID: {
		good: []string{"000300", "00030001020000000002", strings.Repeat("ab", 130)},
		bad:  []string{" 0 octets", "0003 2 octets, allowed are 3 to 130", strings.Repeat("ab", 131) + " 131 octets"},
	},
	OptionIANA: {
		good: []string{"000000010000070800000b40"},
		bad:  []string{" needs at least 12", "000000010000070800000b has 11 octets", "000000010000070800000b40 00 ends with 1 octet"},
	},
	OptionIATA: {good: []string{"00000001"}, bad: []string{"000001 has 3 octets, it needs at least 4"}},
	OptionIAPD: {good: []string{"000000010000070800000b40"}, bad: []string{"0000000100000708 has 8 octets"}},
	OptionIAAddr: {
		good: []string{"20010db8000000000000000000001001 00000e10 ffffffff", "00000000000000000000ffff01020304 00000000 00000000"},
		bad:  []string{"20010db8000000000000000000001001 00000e10 ffffff has 23 octets, it needs at least 24"},
	},
	OptionIAPrefix: {
		good: []string{
			"00000000 00000000 38 20010db8000001000000000000000000", "00000000 00000000 00 00000000000000000000000000000000",
			"00000000 00000000 80 20010db8000001000000000000000001", "00000000 00000000 38 20010db80000010000ffffffffffffff",
			"00000000 00000000 7c 00000000000000000000ffff01020304",
		},
		bad: []string{
			"00000000 00000000 38 20010db80000010000000000000000 has 24 octets, it needs at least 25",
			"00000000 00000000 81 20010db8000001000000000000000000 prefix of length 129",
		},
	},
	OptionStatusCode: {
		good: []string{"0000", "0016", "ffff", "0012 c3bc6265722031", "0000 610062"},
		bad:  []string{" needs at least 2", "00 has 1 octet", "0012 c3 not UTF-8", "0012 6100 NUL at its end"},
	},
	OptionClientFQDN: {
		good: []string{"00", "07 0474696e79", "01 0474696e79076578616d706c6500", "01 00", "ff 04c3bcc3bc00"},
		bad: []string{
			" needs at least 1", "00 0574696e79 within a label", "00 c00c label of length 0xc0", "00 4061 label of length 0x40",
			"00 0474696e790000 1 octet behind the end", "00 0474696e79c00c label of length 0xc0", "00 " + strings.Repeat("0161", 128) + " 256 octets",
		},
	},
	OptionClientData: {good: []string{""}, bad: []string{"0001 ends with 2 octets", "00010001 has 1 octet according to its length, but only 0 are left"}},
	OptionLQRelayData: {
		good: []string{"fe800000000000000000000000000001", "fe800000000000000000000000000001 0c00"},
		bad:  []string{"fe8000000000000000000000000000 has 15 octets, it needs at least 16"},
	},
	OptionVSS: {
		good: []string{"00", "00 626c7565", "01 00010203040506", "ff", "02 6161"},
		bad:  []string{" needs at least 1", "01 000102030405 identifier of 6 octets, it needs 7", "ff 00 goes on for 1 octet"},
	},
	OptionCLTTime:    fourOctets,
	OptionLQBaseTime: fourOctets,
	OptionBindingStatus: {
		good: []string{"00", "01", "08", "09", "ff"}, bad: []string{" has 0 octets, it needs 1", "0001 has 2 octets"},
	},
	OptionConnectFlags: {good: []string{"0000", "0001", "ffff"}, bad: []string{"00 has 1 octet", "000000 has 3 octets"}},
	OptionDNSRemovalInfo: {
		good: []string{""},
		bad:  []string{"000000 ends with 3 octets", "00770003000000 has 3 octets", "0077000200000077 0002 0000 second time"},
	},
	OptionDNSHostName: {
		good: []string{"00", "04686f737400", "04686f7374"}, bad: []string{" needs at least 1", "04686f73 within a label", "c00c label of length 0xc0"},
	},
	OptionDNSZoneName:         {good: []string{"00", "04686f6d6500"}, bad: []string{" needs at least 1", "0000 behind the end", "04686f6d65c00c label of length 0xc0"}},
	OptionDNSFlags:            {good: []string{"000f", "ffff"}, bad: []string{"0f has 1 octet", "00000f has 3 octets"}},
	OptionExpirationTime:      fourOctets,
	OptionMaxUnackedBndUpd:    fourOctets,
	OptionMCLT:                fourOctets,
	OptionPartnerLifetime:     fourOctets,
	OptionPartnerLifetimeSent: fourOctets,
	OptionPartnerDownTime:     fourOctets,
	OptionPartnerRawCLTTime:   fourOctets,
	OptionProtocolVersion:     fourOctets,
	OptionKeepaliveTime:       fourOctets,
	OptionReconfigureData: {
		good: []string{"2d24bd00", "2d24bd00 00", "2d24bd00 000102030405060708090a0b0c0d0e0f"},
		bad:  []string{"2d24bd has 3 octets, it needs at least 4"},
	},
	OptionRelationshipName: {
		good: []string{"", "7061697231", "c3bcc3bc", "610062"},
		bad:  []string{"706169723100 NUL at its end", "ff not UTF-8", "00 NUL"},
	},
	OptionServerFlags:         {good: []string{"00", "07", "ff"}, bad: []string{" has 0 octets", "0000 has 2 octets"}},
	OptionServerState:         {good: []string{"00", "02", "0a", "ff"}, bad: []string{" has 0 octets", "0002 has 2 octets"}},
	OptionStartTimeOfState:    fourOctets,
	OptionStateExpirationTime: fourOctets,
}

// accepts checks that a message is read and written back octet by octet.
func accepts(t *testing.T, b []byte) Message {
	t.Helper()
	m, err := Parse(b)
	if err != nil {
		t.Errorf("%x: %v", b, err)
		return nil
	}
	back, err := Append(nil, m)
	if err != nil || !bytes.Equal(back, b) {
		t.Errorf("%x became %x, %v", b, back, err)
	}
	if tree := TreeOf(b); tree.Bad() {
		t.Errorf("%x is good, its tree is not: %v", b, tree)
	}
	return m
}

// refuses checks that a message is refused, with the kind and a part of the text
// of its error, and that its tree shows the same problem.
func refuses(t *testing.T, b []byte, kind ErrorKind, problem string) *Error {
	t.Helper()
	m, err := Parse(b)
	var e *Error
	if m != nil || !errors.As(err, &e) {
		t.Errorf("%x: read as %+v, %v", b, m, err)
		return &Error{}
	}
	if e.Kind != kind || !strings.Contains(e.Error(), problem) {
		t.Errorf("%x: kind %d, %q, want kind %d, %q", b, e.Kind, e, kind, problem)
	}
	if tree := TreeOf(b); !tree.Bad() || !strings.Contains(tree.String(), e.Problem) {
		t.Errorf("%x: the tree does not show %q: %v", b, e.Problem, tree)
	}
	return e
}

// Each option in each place that defines it: what it may contain, what not, and
// what is refused when it comes twice. F-014: no padding, the next option follows
// at once. F-043, F-044: a relationship's name is UTF-8, without a NUL at its
// end. F-054: names are not compressed. F-055: no NUL at the end of a status text.
func TestOptionContents(t *testing.T) {
	covered := map[OptionCode]bool{}
	for place, codes := range matrix {
		for _, code := range codes {
			covered[code] = true
			t.Run(place+" "+code.String(), func(t *testing.T) {
				behind := opt(65000, []byte("x"))
				for _, content := range shapes[code].good {
					data := unhex(t, content)
					accepts(t, inside[place](opt(code, data)))
					accepts(t, inside[place](opt(code, data), behind))
					accepts(t, inside[place](behind, opt(code, data)))
					twice := inside[place](opt(code, data), behind, opt(code, data))
					if code == OptionIANA || code == OptionIATA || code == OptionIAPD || place[:2] == "IA" && code == OptionIAAddr || place == "IA_PD" && code == OptionIAPrefix {
						accepts(t, twice)
					} else {
						refuses(t, twice, BadOption, code.String())
						refuses(t, twice, BadOption, "comes a second time, one is allowed")
					}
				}
				for _, c := range shapes[code].bad {
					content, problem := split(c)
					kind := BadOption
					if strings.Contains(problem, "ends with") || strings.Contains(problem, "are left") {
						kind = Malformed
					}
					e := refuses(t, inside[place](opt(code, unhex(t, content))), kind, problem)
					if kind == BadOption && !slices.Contains(e.Path, code) {
						t.Errorf("the path of %q does not name %v", e, code)
					}
					if e.TransactionID != 0x010203 {
						t.Errorf("the error has transaction-id %v", e.TransactionID)
					}
				}
			})
		}
	}
	for code := range shapes {
		if !covered[code] {
			t.Errorf("no place defines %v", code)
		}
	}
}

// split separates hexadecimal digits, with spaces among them, from the words
// that follow.
func split(s string) (digits, words string) {
	fields := strings.SplitAfter(s, " ")
	for i, f := range fields {
		f = strings.TrimSpace(f)
		if strings.Trim(f, "0123456789abcdef") != "" || f != "" && len(f)%2 == 1 {
			return strings.Join(fields[:i], ""), strings.Join(fields[i:], "")
		}
	}
	return s, ""
}

// An option in a place that does not define it is kept and means nothing,
// whatever it contains; so is one that nobody knows. STARTTLS and CONTACT
// define none.
func TestOptionsOutOfPlace(t *testing.T) {
	for place, wrap := range inside {
		for code := range OptionCode(140) {
			if slices.Contains(matrix[place], code) {
				continue
			}
			for _, data := range []string{"", "x", "\xff\xff\xff\xff"} {
				b := wrap(opt(code, []byte(data)))
				m := accepts(t, b)
				want := []RawOption{{code, data}}
				if got := unknownIn(place, m); !slices.Equal(got, want) {
					t.Errorf("%v in %s: kept %v", code, place, got)
				}
				if tree := TreeOf(b).String(); !strings.Contains(tree, code.String()) || !strings.Contains(tree, "(unknown here)") {
					t.Errorf("%v in %s: the tree says %s", code, place, tree)
				}
			}
		}
	}
}

// unknownIn digs for the unknown options in the place that inside made.
func unknownIn(place string, m Message) []RawOption {
	var c *ClientData
	var bare *LeaseOption
	switch m := m.(type) {
	case *BndUpd:
		c, bare = m.ClientData, m.Prefix
	case *BndReply:
		c, bare = m.ClientData, m.Prefix
	}
	switch place {
	case "CLIENT_DATA":
		return c.Unknown
	case "IA_NA", "IA_TA", "IA_PD":
		return c.IAs[0].Unknown
	case "IAADDR", "IAPREFIX":
		return c.IAs[0].Leases[0].Unknown
	case "bare IAPREFIX":
		return bare.Unknown
	case "DNS":
		return bare.DNSRemoval.Unknown
	}
	return m.extra().Unknown
}

// F-015: several identity associations stay apart, of one type and one IAID too.
// Their order is kept.
func TestSeveralIAs(t *testing.T) {
	one := func(code OptionCode, id byte) []byte {
		fixed := fixedIA
		if code == OptionIATA {
			fixed = fixed[:4]
		}
		return opt(code, append([]byte{0, 0, 0, id}, fixed[4:]...))
	}
	b := msg(TypeBndUpd, opt(OptionClientData, one(OptionIAPD, 1), one(OptionIANA, 1), one(OptionIANA, 2), opt(OptionLQBaseTime, make([]byte, 4)), one(OptionIANA, 1), one(OptionIATA, 7)))
	m := accepts(t, b).(*BndUpd)
	var got []string
	for _, ia := range m.ClientData.IAs {
		got = append(got, fmt.Sprint(uint8(ia.Type), " ", ia.IAID))
	}
	if want := []string{"25 1", "3 1", "3 2", "3 1", "4 7"}; !slices.Equal(got, want) {
		t.Errorf("read %v, want %v", got, want)
	}

	// What is taken away and added later goes with the order that was read.
	m.ClientData.IAs = slices.Delete(m.ClientData.IAs, 0, 1)
	m.ClientData.BaseTime = Opt[Time]{}
	m.ClientData.ClientID = vectorDUID
	b = msg(TypeBndUpd, opt(OptionClientData, one(OptionIANA, 1), one(OptionIANA, 2), one(OptionIANA, 1), one(OptionIATA, 7), opt(OptionClientID, []byte(vectorDUID))))
	if got, err := Append(nil, m); err != nil || !bytes.Equal(got, b) {
		t.Errorf("wrote %x, %v, want %x", got, err, b)
	}
}

// What Parse could not read is not written: the error says what it is, and
// nothing is left in the buffer.
func TestAppendRefuses(t *testing.T) {
	update := func(ia IA) Message {
		return &BndUpd{Header: head(1), ClientData: &ClientData{ClientID: vectorDUID, IAs: []IA{ia}}}
	}
	address := LeaseOption{Prefix: prefix("2001:db8::1/128")}
	long := strings.Repeat("x", 1<<16)
	many := slices.Repeat([]LeaseOption{address}, 3000)
	for _, c := range []struct {
		problem string
		m       Message
	}{
		{"more than 24 bits", &Contact{Header: head(TransactionIDMax + 1)}},
		{"more than 24 bits", &StartTLS{PlainHeader: PlainHeader{1 << 31}}},
		{"OPTION_IA_TA cannot have T1 1 s", update(IA{Type: IATA, T1: 1})},
		{"IA type 5 does not exist", update(IA{Type: 5})},
		{"OPTION_IAADDR cannot hold 2001:db8::/64", update(IA{Type: lease.IANA, Leases: []LeaseOption{{Prefix: prefix("2001:db8::/64")}}})},
		{"OPTION_IAADDR cannot hold invalid Prefix", update(IA{Type: IATA, Leases: []LeaseOption{{}}})},
		{"OPTION_IAPREFIX cannot hold invalid Prefix", &BndUpd{Header: head(1), Prefix: &LeaseOption{}}},
		{"192.0.2.0 is not an IPv6 address", &BndUpd{Header: head(1), Prefix: &LeaseOption{Prefix: prefix("192.0.2.0/24")}}},
		{"DUID of 2 octets", &BndUpd{Header: head(1), ClientData: &ClientData{ClientID: "ab"}}},
		{"not UTF-8", &Disconnect{Header: head(1), Status: Some(Status{UnspecFail, "\xff"})}},
		{"NUL at its end", &Connect{Header: head(1), RelationshipName: Some("a\x00")}},
		{"identifier of 1 octet", &BndUpd{Header: head(1), ClientData: &ClientData{VSS: Some(VSS{VSSID, "a"})}}},
		{"is not an IPv6 address", &BndUpd{Header: head(1), ClientData: &ClientData{RelayData: Some(RelayData{})}}},
		{"within a label", &BndUpd{Header: head(1), Prefix: &LeaseOption{Prefix: prefix("2001:db8::/64"), FQDN: Some(FQDN{0, "\x04a"})}}},
		{"without the name", &BndUpd{Header: head(1), Prefix: &LeaseOption{Prefix: prefix("2001:db8::/64"), DNSRemoval: &DNSRemoval{HostName: Some(Name(""))}}}},
		{"longer than 65535 octets: OPTION_STATUS_CODE", &Disconnect{Header: head(1), Status: Some(Status{UnspecFail, long})}},
		{"longer than 65535 octets: OPTION_IA_NA", update(IA{Type: lease.IANA, Leases: many})},
		{"longer than 65535 octets: option 65000", &Contact{Header: head(1), Extra: Extra{Unknown: []RawOption{{65000, long}}}}},
		{"longer than 65535 octets: it would have 80016 octets", &Contact{Header: head(1), Extra: Extra{Unknown: []RawOption{{65000, long[:40000]}, {65001, long[:40000]}}}}},
	} {
		for _, write := range []func([]byte, Message) ([]byte, error){Append, AppendFrame} {
			got, err := write([]byte("before"), c.m)
			if err == nil || !strings.Contains(err.Error(), c.problem) || !strings.HasPrefix(err.Error(), "cannot send "+c.m.Type().String()) {
				t.Errorf("want %q, the error is %v", c.problem, err)
			}
			if strings.HasPrefix(c.problem, "longer") != errors.Is(err, ErrTooLong) {
				t.Errorf("%v is ErrTooLong: %v", err, errors.Is(err, ErrTooLong))
			}
			if string(got) != "before" {
				t.Errorf("%s: left %q", c.problem, got)
			}
		}
	}
	// The longest message there is.
	m := &Contact{Header: head(1), Extra: Extra{Unknown: []RawOption{{65000, long[:MessageLenMax-12]}}}}
	frame, err := AppendFrame(nil, m)
	if err != nil || len(frame) != sizeLen+MessageLenMax {
		t.Fatalf("%d octets, %v", len(frame), err)
	}
	accepts(t, frame[sizeLen:])
}
