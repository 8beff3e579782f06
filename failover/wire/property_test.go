package wire

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tandem6/tandem6/failover/lease"
)

// maybe draws an option that is there or not.
func maybe[T any](t *rapid.T, g *rapid.Generator[T]) Opt[T] {
	if !rapid.Bool().Draw(t, "present") {
		return Opt[T]{}
	}
	return Some(g.Draw(t, "value"))
}

var (
	drawTime   = rapid.Custom(func(t *rapid.T) Time { return Time(rapid.Uint32().Draw(t, "time")) })
	drawOctets = rapid.Custom(func(t *rapid.T) string { return string(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "octets")) })
	drawText   = rapid.Custom(func(t *rapid.T) string {
		return strings.TrimRight(rapid.StringN(0, 20, 60).Draw(t, "text"), "\x00")
	})
	drawStatus = rapid.Custom(func(t *rapid.T) Status {
		return Status{StatusCode(rapid.Uint16Max(30).Draw(t, "code")), drawText.Draw(t, "text")}
	})
	drawName = rapid.Custom(func(t *rapid.T) Name {
		var b []byte
		for range rapid.IntRange(1, 4).Draw(t, "labels") {
			label := rapid.SliceOfN(rapid.Byte(), 1, 62).Draw(t, "label")
			b = append(append(b, byte(len(label))), label...)
		}
		if rapid.Bool().Draw(t, "complete") {
			b = append(b, 0)
		}
		return Name(b)
	})
	drawBindingStatus = rapid.Custom(func(t *rapid.T) lease.Status { return lease.Status(rapid.Byte().Draw(t, "status")) })
	drawVSS           = rapid.Custom(func(t *rapid.T) VSS {
		v := VSS{rapid.Byte().Draw(t, "type"), drawOctets.Draw(t, "data")}
		switch v.Type {
		case VSSID:
			v.Data = "sevenoc"
		case VSSGlobal:
			v.Data = ""
		}
		return v
	})
	drawAddr = rapid.Custom(func(t *rapid.T) netip.Addr {
		var a [16]byte
		copy(a[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "address"))
		return netip.AddrFrom16(a)
	})
	drawVersion = rapid.Custom(func(t *rapid.T) ProtocolVersion {
		return ProtocolVersion{rapid.Uint16().Draw(t, "major"), rapid.Uint16().Draw(t, "minor")}
	})
	drawDNS = rapid.Custom(func(t *rapid.T) *DNSRemoval {
		return &DNSRemoval{maybe(t, drawName), maybe(t, drawName), maybe(t, as[DNSFlags](rapid.Uint16())), drawExtra(t)}
	})
)

func as[T ~uint8 | ~uint16 | ~uint32, U uint8 | uint16 | uint32](g *rapid.Generator[U]) *rapid.Generator[T] {
	return rapid.Custom(func(t *rapid.T) T { return T(g.Draw(t, "number")) })
}

// drawExtra draws unknown options with growing codes.
func drawExtra(t *rapid.T) Extra {
	var x Extra
	for i := range rapid.IntRange(0, 2).Draw(t, "unknown") {
		x.Unknown = append(x.Unknown, RawOption{OptionCode(60000 + i), drawOctets.Draw(t, "data")})
	}
	return x
}

func drawLease(t *rapid.T, bits int) LeaseOption {
	l := LeaseOption{
		Prefix:    netip.PrefixFrom(drawAddr.Draw(t, "address"), bits),
		Preferred: rapid.Uint32().Draw(t, "preferred"), Valid: rapid.Uint32().Draw(t, "valid"),
		VSS: maybe(t, drawVSS), BaseTime: maybe(t, drawTime), Status: maybe(t, drawStatus),
		BindingStatus: maybe(t, drawBindingStatus), StartTimeOfState: maybe(t, drawTime), StateExpiration: maybe(t, drawTime),
		CLTTime: maybe(t, rapid.Uint32()), PartnerLifetime: maybe(t, drawTime), PartnerLifetimeSent: maybe(t, drawTime),
		PartnerRawCLT: maybe(t, drawTime), Expiration: maybe(t, drawTime),
		FQDN:  maybe(t, rapid.Custom(func(t *rapid.T) FQDN { return FQDN{rapid.Byte().Draw(t, "flags"), drawName.Draw(t, "name")} })),
		Extra: drawExtra(t),
	}
	if rapid.Bool().Draw(t, "DNS") {
		l.DNSRemoval = drawDNS.Draw(t, "DNS")
	}
	return l
}

// drawClientData draws identity associations with growing IAIDs, and leases with
// growing valid lifetimes.
func drawClientData(t *rapid.T) *ClientData {
	c := &ClientData{
		ClientID: lease.DUID(rapid.SliceOfN(rapid.Byte(), lease.DUIDLenMin, lease.DUIDLenMax).Draw(t, "DUID")),
		BaseTime: maybe(t, drawTime), VSS: maybe(t, drawVSS), Status: maybe(t, drawStatus),
		ReconfigureData: maybe(t, rapid.Custom(func(t *rapid.T) ReconfigureData {
			return ReconfigureData{drawTime.Draw(t, "made"), drawOctets.Draw(t, "key")}
		})),
		RelayData: maybe(t, rapid.Custom(func(t *rapid.T) RelayData { return RelayData{drawAddr.Draw(t, "peer"), drawOctets.Draw(t, "message")} })),
		Extra:     drawExtra(t),
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "IAs") {
		ia := IA{Type: rapid.SampledFrom([]lease.IAType{lease.IANA, IATA, lease.IAPD}).Draw(t, "type"), IAID: lease.IAID(i),
			Status: maybe(t, drawStatus), BindingStatus: maybe(t, drawBindingStatus), StartTimeOfState: maybe(t, drawTime), Extra: drawExtra(t)}
		if ia.Type != IATA {
			ia.T1, ia.T2 = rapid.Uint32().Draw(t, "T1"), rapid.Uint32().Draw(t, "T2")
		}
		for j := range rapid.IntRange(0, 3).Draw(t, "leases") {
			bits := 128
			if ia.Type == lease.IAPD {
				bits = rapid.IntRange(0, 128).Draw(t, "bits")
			}
			l := drawLease(t, bits)
			l.Valid = uint32(j)
			ia.Leases = append(ia.Leases, l)
		}
		c.IAs = append(c.IAs, ia)
	}
	return c
}

// drawMessage draws any message.
func drawMessage(t *rapid.T) Message {
	h := Header{TransactionID(rapid.Uint32Max(uint32(TransactionIDMax)).Draw(t, "id")), drawTime.Draw(t, "sent")}
	x := drawExtra(t)
	types := []Type{TypeReply, TypeStartTLS, TypeBndUpd, TypeBndReply, TypePoolReq, TypePoolResp, TypeUpdReq, TypeUpdReqAll,
		TypeUpdDone, TypeConnect, TypeConnectReply, TypeDisconnect, TypeState, TypeContact}
	switch typ := rapid.SampledFrom(types).Draw(t, "type"); typ {
	case TypeReply:
		return &Reply{PlainHeader{h.TransactionID}, maybe(t, drawStatus), x}
	case TypeBndUpd:
		m := &BndUpd{Header: h, Extra: x}
		if rapid.Bool().Draw(t, "client") {
			m.ClientData = drawClientData(t)
		}
		if rapid.Bool().Draw(t, "prefix") {
			l := drawLease(t, rapid.IntRange(0, 128).Draw(t, "bits"))
			m.Prefix = &l
		}
		return m
	case TypeBndReply:
		m := &BndReply{Header: h, Extra: x, Status: maybe(t, drawStatus)}
		if rapid.Bool().Draw(t, "client") {
			m.ClientData = drawClientData(t)
		}
		if rapid.Bool().Draw(t, "prefix") {
			l := drawLease(t, rapid.IntRange(0, 128).Draw(t, "bits"))
			m.Prefix = &l
		}
		return m
	case TypeConnect:
		return &Connect{h, maybe(t, drawVersion), maybe(t, rapid.Uint32()), maybe(t, rapid.Uint32()), maybe(t, rapid.Uint32()),
			maybe(t, drawText), maybe(t, as[ConnectFlags](rapid.Uint16())), x}
	case TypeConnectReply:
		return &ConnectReply{h, maybe(t, drawStatus), maybe(t, drawVersion), maybe(t, rapid.Uint32()), maybe(t, rapid.Uint32()),
			maybe(t, rapid.Uint32()), maybe(t, as[ConnectFlags](rapid.Uint16())), x}
	case TypeDisconnect:
		return &Disconnect{h, maybe(t, drawStatus), x}
	case TypeState:
		return &State{h, maybe(t, as[ServerState](rapid.Byte())), maybe(t, as[ServerFlags](rapid.Byte())), maybe(t, drawTime), maybe(t, drawTime), x}
	default:
		m := layouts[typ].make()
		m.setID(h.TransactionID)
		if m.header() != nil {
			*m.header() = h
		}
		*m.extra() = x
		return m
	}
}

// Whatever fits into a message is read as it was written.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		b, err := Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Fatalf("read %+v\nwrote %+v", got, m)
		}
	})
}

// A message does not refer to the octets that it was read from.
func TestParseCopies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		b, _ := Append(nil, m)
		got, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		clear(b)
		if !reflect.DeepEqual(got, m) {
			t.Fatalf("became %+v, was %+v", got, m)
		}
	})
}

// The order of options changes nothing of what is read, and is kept.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		b, err := Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		seed := rapid.Uint64().Draw(t, "seed")
		shuffled := shuffleMessage(b, rand.New(rand.NewPCG(seed, 0)))
		got, err := Parse(shuffled)
		if err != nil {
			t.Fatalf("%x: %v", shuffled, err)
		}
		back, err := Append(nil, got)
		if err != nil || !bytes.Equal(back, shuffled) {
			t.Fatalf("%x became %x, %v", shuffled, back, err)
		}
		if sortMessage(got); !reflect.DeepEqual(got, m) {
			t.Fatalf("read %+v\nwrote %+v", got, m)
		}
	})
}

// shuffleMessage reorders the options of a message at all levels.
func shuffleMessage(b []byte, r *rand.Rand) []byte {
	header := 4
	if Type(b[0]).HasSentTime() {
		header = 8
	}
	return append(slices.Clone(b[:header]), shuffle(b[header:], r)...)
}

func shuffle(b []byte, r *rand.Rand) []byte {
	nested := map[OptionCode]int{ // octets before the options inside
		OptionClientData: 0, OptionIANA: 12, OptionIATA: 4, OptionIAPD: 12, OptionIAAddr: 24, OptionIAPrefix: 25, OptionDNSRemovalInfo: 0,
	}
	var list [][]byte
	for len(b) > 0 {
		n := 4 + int(binary.BigEndian.Uint16(b[2:]))
		o := slices.Clone(b[:n])
		if fixed, ok := nested[OptionCode(binary.BigEndian.Uint16(b))]; ok {
			o = append(o[:4+fixed], shuffle(o[4+fixed:], r)...)
		}
		list, b = append(list, o), b[n:]
	}
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return slices.Concat(list...)
}

// sortMessage puts everything in m into the order in which it is drawn.
func sortMessage(m Message) {
	sortExtra(m.extra())
	switch m := m.(type) {
	case *BndUpd:
		sortBinding(m.ClientData, m.Prefix)
	case *BndReply:
		sortBinding(m.ClientData, m.Prefix)
	}
}

func sortExtra(x *Extra) {
	x.order = nil
	slices.SortFunc(x.Unknown, func(a, b RawOption) int { return cmp.Compare(a.Code, b.Code) })
}

func sortBinding(c *ClientData, l *LeaseOption) {
	if l != nil {
		sortLease(l)
	}
	if c == nil {
		return
	}
	sortExtra(&c.Extra)
	slices.SortFunc(c.IAs, func(a, b IA) int { return cmp.Compare(a.IAID, b.IAID) })
	for i := range c.IAs {
		ia := &c.IAs[i]
		sortExtra(&ia.Extra)
		slices.SortFunc(ia.Leases, func(a, b LeaseOption) int { return cmp.Compare(a.Valid, b.Valid) })
		for j := range ia.Leases {
			sortLease(&ia.Leases[j])
		}
	}
}

func sortLease(l *LeaseOption) {
	sortExtra(&l.Extra)
	if l.DNSRemoval != nil {
		sortExtra(&l.DNSRemoval.Extra)
	}
}
