package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/tandem6/tandem6/failover/lease"
)

// IATA is the type of an identity association of temporary addresses (RFC 3315
// section 22.5). A partner may serve them; RFC 9915 does not.
const IATA lease.IAType = 4

// ClientData is all that an update says about one client on one link (RFC 8156
// section 7.4), or the answer to it (section 7.6).
type ClientData struct {
	ClientID        lease.DUID // empty: absent
	BaseTime        Opt[Time]  // when these data were put together; LeaseOption.CLTTime counts back from it
	VSS             Opt[VSS]
	Status          Opt[Status] // in BNDREPLY: of the whole update
	ReconfigureData Opt[ReconfigureData]
	RelayData       Opt[RelayData]
	IAs             []IA
	Extra
}

// IA is one identity association: IA_NA, IA_TA or IA_PD.
type IA struct {
	Type   lease.IAType // lease.IANA, IATA, lease.IAPD
	IAID   lease.IAID
	T1, T2 uint32      // seconds, as told to the client; zero in BNDREPLY, and in IA_TA, which has none
	Status Opt[Status] // may come in a BNDREPLY (RFC 8156 section 7.7), is not sent

	// Partners that follow RFC 8156 section 5.5.17 to the letter may have these
	// here, for all leases that lack them. LeaseOption is where they belong.
	BindingStatus    Opt[lease.Status]
	StartTimeOfState Opt[Time]

	Leases []LeaseOption
	Extra
}

// LeaseOption is an address, as /128, or a prefix: IAADDR in IA_NA and IA_TA,
// IAPREFIX in IA_PD and in the message itself. Bits behind the length of a
// prefix mean nothing; they are kept.
type LeaseOption struct {
	Prefix           netip.Prefix
	Preferred, Valid uint32 // seconds, as told to the client; zero in BNDREPLY and without a client

	VSS      Opt[VSS]  // only in an IAPREFIX without client
	BaseTime Opt[Time] // likewise

	Status              Opt[Status]       // in BNDREPLY: of this lease
	BindingStatus       Opt[lease.Status] // as received: other values than the eight are possible
	StartTimeOfState    Opt[Time]         // since when BindingStatus holds
	StateExpiration     Opt[Time]         // when it times out
	CLTTime             Opt[uint32]       // seconds before ClientData.BaseTime: the sender's last transaction with the client
	PartnerLifetime     Opt[Time]         // from when on the receiver may regard the lease as expired
	PartnerLifetimeSent Opt[Time]         // in BNDREPLY: PartnerLifetime as it was received
	PartnerRawCLT       Opt[Time]         // the receiver's last transaction with the client, as far as the sender knows
	Expiration          Opt[Time]         // the latest PartnerLifetime that the sender acknowledged
	FQDN                Opt[FQDN]
	DNSRemoval          *DNSRemoval // nil: absent
	Extra
}

// DNSRemoval is what it takes to remove a client's names from DNS (RFC 8156
// section 5.5.3). Names are complete; a HostName that does not end in ZoneName
// is to be read with ZoneName behind it.
type DNSRemoval struct {
	HostName, ZoneName Opt[Name]
	Flags              Opt[DNSFlags]
	Extra
}

var bindingStatusKind = number(text[lease.Status])

var clientDataTable = table[ClientData]{
	{
		codes: []OptionCode{OptionClientID},
		count: func(c *ClientData) int { return present(c.ClientID != "") },
		parse: func(c *ClientData, _ OptionCode, data []byte) *Error {
			c.ClientID = lease.DUID(data)
			return checkDUID(c.ClientID)
		},
		append: func(e *encoder, c *ClientData, _ int) {
			if err := checkDUID(c.ClientID); err != nil {
				e.fail("%v %s", OptionClientID, err.Problem)
			}
			e.raw(RawOption{OptionClientID, string(c.ClientID)})
		},
		show: func(_ OptionCode, data []byte) (view, *Error) {
			d := lease.DUID(data)
			return view{text: d.String()}, checkDUID(d)
		},
	},
	single(OptionLQBaseTime, timeKind, func(c *ClientData) *Opt[Time] { return &c.BaseTime }),
	single(OptionVSS, vssKind, func(c *ClientData) *Opt[VSS] { return &c.VSS }),
	single(OptionStatusCode, statusKind, func(c *ClientData) *Opt[Status] { return &c.Status }),
	single(OptionReconfigureData, reconfigureKind, func(c *ClientData) *Opt[ReconfigureData] { return &c.ReconfigureData }),
	single(OptionLQRelayData, relayKind, func(c *ClientData) *Opt[RelayData] { return &c.RelayData }),
	{
		codes: []OptionCode{OptionIANA, OptionIATA, OptionIAPD},
		many:  true,
		count: func(c *ClientData) int { return len(c.IAs) },
		parse: func(c *ClientData, code OptionCode, data []byte) *Error {
			c.IAs = append(c.IAs, IA{Type: lease.IAType(code)})
			ia := &c.IAs[len(c.IAs)-1]
			options, err := ia.parse(data)
			if err != nil {
				return err
			}
			return ia.table().parse(ia, &ia.Extra, options)
		},
		append: func(e *encoder, c *ClientData, i int) { c.IAs[i].append(e) },
		show: func(code OptionCode, data []byte) (v view, err *Error) {
			ia := IA{Type: lease.IAType(code)}
			v.options, err = ia.parse(data)
			v.text, v.inside = ia.text(), ia.table()
			return v, err
		},
	},
}

func checkDUID(d lease.DUID) *Error {
	if len(d) < lease.DUIDLenMin || len(d) > lease.DUIDLenMax {
		return bad("holds a DUID of %s, allowed are %d to %d", octets(len(d)), lease.DUIDLenMin, lease.DUIDLenMax)
	}
	return nil
}

// leaseCode is the option that holds a lease in an identity association.
func leaseCode(t lease.IAType) OptionCode {
	if t == lease.IAPD {
		return OptionIAPrefix
	}
	return OptionIAAddr
}

func iaTable(t lease.IAType) table[IA] {
	code := leaseCode(t)
	return table[IA]{
		single(OptionStatusCode, statusKind, func(ia *IA) *Opt[Status] { return &ia.Status }),
		single(OptionBindingStatus, bindingStatusKind, func(ia *IA) *Opt[lease.Status] { return &ia.BindingStatus }),
		single(OptionStartTimeOfState, timeKind, func(ia *IA) *Opt[Time] { return &ia.StartTimeOfState }),
		{
			codes: []OptionCode{code},
			many:  true,
			count: func(ia *IA) int { return len(ia.Leases) },
			parse: func(ia *IA, _ OptionCode, data []byte) *Error {
				ia.Leases = append(ia.Leases, LeaseOption{})
				return parseLease(&ia.Leases[len(ia.Leases)-1], code, data)
			},
			append: func(e *encoder, ia *IA, i int) { ia.Leases[i].append(e, code) },
			show:   showLease,
		},
	}
}

var naTable, pdTable = iaTable(lease.IANA), iaTable(lease.IAPD)

func (ia *IA) table() table[IA] {
	if ia.Type == lease.IAPD {
		return pdTable
	}
	return naTable
}

// parse reads the fixed fields of an identity association; its options remain.
func (ia *IA) parse(data []byte) (options []byte, err *Error) {
	size := 12
	if ia.Type == IATA {
		size = 4 // no T1 and T2
	}
	if len(data) < size {
		return nil, tooShort(data, size)
	}
	ia.IAID = lease.IAID(binary.BigEndian.Uint32(data))
	if ia.Type != IATA {
		ia.T1, ia.T2 = binary.BigEndian.Uint32(data[4:]), binary.BigEndian.Uint32(data[8:])
	}
	return data[size:], nil
}

// text is the fixed fields for people.
func (ia *IA) text() string {
	if ia.Type == IATA {
		return fmt.Sprintf("IAID %d", ia.IAID)
	}
	return fmt.Sprintf("IAID %d, T1 %s, T2 %s", ia.IAID, seconds(ia.T1), seconds(ia.T2))
}

func (ia *IA) append(e *encoder) {
	switch {
	case ia.Type != lease.IANA && ia.Type != IATA && ia.Type != lease.IAPD:
		e.fail("%v does not exist", ia.Type)
	case ia.Type == IATA && (ia.T1 != 0 || ia.T2 != 0):
		e.fail("%v cannot have T1 %d s and T2 %d s", OptionIATA, ia.T1, ia.T2)
	}
	start := e.begin(OptionCode(ia.Type))
	e.u32(uint32(ia.IAID))
	if ia.Type != IATA {
		e.u32(ia.T1)
		e.u32(ia.T2)
	}
	ia.table().append(e, ia, &ia.Extra)
	e.end(start)
}

var leaseTable = table[LeaseOption]{
	single(OptionVSS, vssKind, func(l *LeaseOption) *Opt[VSS] { return &l.VSS }),
	single(OptionLQBaseTime, timeKind, func(l *LeaseOption) *Opt[Time] { return &l.BaseTime }),
	single(OptionStatusCode, statusKind, func(l *LeaseOption) *Opt[Status] { return &l.Status }),
	single(OptionBindingStatus, bindingStatusKind, func(l *LeaseOption) *Opt[lease.Status] { return &l.BindingStatus }),
	single(OptionStartTimeOfState, timeKind, func(l *LeaseOption) *Opt[Time] { return &l.StartTimeOfState }),
	single(OptionStateExpirationTime, timeKind, func(l *LeaseOption) *Opt[Time] { return &l.StateExpiration }),
	single(OptionCLTTime, secondsKind, func(l *LeaseOption) *Opt[uint32] { return &l.CLTTime }),
	single(OptionPartnerLifetime, timeKind, func(l *LeaseOption) *Opt[Time] { return &l.PartnerLifetime }),
	single(OptionPartnerLifetimeSent, timeKind, func(l *LeaseOption) *Opt[Time] { return &l.PartnerLifetimeSent }),
	single(OptionPartnerRawCLTTime, timeKind, func(l *LeaseOption) *Opt[Time] { return &l.PartnerRawCLT }),
	single(OptionExpirationTime, timeKind, func(l *LeaseOption) *Opt[Time] { return &l.Expiration }),
	single(OptionClientFQDN, fqdnKind, func(l *LeaseOption) *Opt[FQDN] { return &l.FQDN }),
	{
		codes: []OptionCode{OptionDNSRemovalInfo},
		count: func(l *LeaseOption) int { return present(l.DNSRemoval != nil) },
		parse: func(l *LeaseOption, _ OptionCode, data []byte) *Error {
			l.DNSRemoval = new(DNSRemoval)
			return dnsTable.parse(l.DNSRemoval, &l.DNSRemoval.Extra, data)
		},
		append: func(e *encoder, l *LeaseOption, _ int) {
			start := e.begin(OptionDNSRemovalInfo)
			dnsTable.append(e, l.DNSRemoval, &l.DNSRemoval.Extra)
			e.end(start)
		},
		show: func(_ OptionCode, data []byte) (view, *Error) { return view{inside: dnsTable, options: data}, nil },
	},
}

var dnsTable = table[DNSRemoval]{
	single(OptionDNSHostName, nameKind, func(d *DNSRemoval) *Opt[Name] { return &d.HostName }),
	single(OptionDNSZoneName, nameKind, func(d *DNSRemoval) *Opt[Name] { return &d.ZoneName }),
	single(OptionDNSFlags, number(text[DNSFlags]), func(d *DNSRemoval) *Opt[DNSFlags] { return &d.Flags }),
}

// The fixed fields of IAADDR and IAPREFIX in octets. The address comes first in
// one, last in the other.
const (
	iaAddrLen   = 24 // address, preferred, valid
	iaPrefixLen = 25 // preferred, valid, length, prefix
)

// parseLease reads the data of an IAADDR or IAPREFIX.
func parseLease(l *LeaseOption, code OptionCode, data []byte) *Error {
	options, err := l.parse(code, data)
	if err != nil {
		return err
	}
	return leaseTable.parse(l, &l.Extra, options)
}

func showLease(code OptionCode, data []byte) (v view, err *Error) {
	var l LeaseOption
	v.options, err = l.parse(code, data)
	v.text, v.inside = l.text(code), leaseTable
	return v, err
}

// parse reads the fixed fields of an IAADDR or IAPREFIX; its options remain.
func (l *LeaseOption) parse(code OptionCode, data []byte) (options []byte, err *Error) {
	size := iaAddrLen
	if code == OptionIAPrefix {
		size = iaPrefixLen
	}
	if len(data) < size {
		return nil, tooShort(data, size)
	}
	address, bits, lifetimes := data, 128, data[16:]
	if code == OptionIAPrefix {
		address, bits, lifetimes = data[9:], int(data[8]), data
	}
	if bits > 128 {
		return nil, bad("holds a prefix of length %d, at most 128 is possible", bits)
	}
	l.Prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte(address)), bits)
	l.Preferred, l.Valid = binary.BigEndian.Uint32(lifetimes), binary.BigEndian.Uint32(lifetimes[4:])
	return data[size:], nil
}

// text is the fixed fields for people.
func (l *LeaseOption) text(code OptionCode) string {
	name := l.Prefix.String()
	if code == OptionIAAddr {
		name = l.Prefix.Addr().String()
	}
	return fmt.Sprintf("%s, preferred %s, valid %s", name, seconds(l.Preferred), seconds(l.Valid))
}

func (l *LeaseOption) append(e *encoder, code OptionCode) {
	if !l.Prefix.IsValid() || code == OptionIAAddr && l.Prefix.Bits() != 128 {
		e.fail("%v cannot hold %v", code, l.Prefix)
		return
	}
	start := e.begin(code)
	if code == OptionIAAddr {
		e.addr(l.Prefix.Addr())
	}
	e.u32(l.Preferred)
	e.u32(l.Valid)
	if code == OptionIAPrefix {
		e.u8(uint8(l.Prefix.Bits()))
		e.addr(l.Prefix.Addr())
	}
	leaseTable.append(e, l, &l.Extra)
	e.end(start)
}
