package wire

import "fmt"

// OptionCode is the code of a DHCPv6 option.
type OptionCode uint16

// The options that RFC 8156 section 5.5 defines.
const (
	OptionBindingStatus       OptionCode = 114
	OptionConnectFlags        OptionCode = 115
	OptionDNSRemovalInfo      OptionCode = 116
	OptionDNSHostName         OptionCode = 117
	OptionDNSZoneName         OptionCode = 118
	OptionDNSFlags            OptionCode = 119
	OptionExpirationTime      OptionCode = 120
	OptionMaxUnackedBndUpd    OptionCode = 121
	OptionMCLT                OptionCode = 122
	OptionPartnerLifetime     OptionCode = 123
	OptionPartnerLifetimeSent OptionCode = 124
	OptionPartnerDownTime     OptionCode = 125
	OptionPartnerRawCLTTime   OptionCode = 126
	OptionProtocolVersion     OptionCode = 127
	OptionKeepaliveTime       OptionCode = 128
	OptionReconfigureData     OptionCode = 129
	OptionRelationshipName    OptionCode = 130
	OptionServerFlags         OptionCode = 131
	OptionServerState         OptionCode = 132
	OptionStartTimeOfState    OptionCode = 133
	OptionStateExpirationTime OptionCode = 134
)

// The options that it borrows.
const (
	OptionClientID    OptionCode = 1   // RFC 3315 section 22.2
	OptionIANA        OptionCode = 3   // RFC 3315 section 22.4
	OptionIATA        OptionCode = 4   // RFC 3315 section 22.5
	OptionIAAddr      OptionCode = 5   // RFC 3315 section 22.6
	OptionStatusCode  OptionCode = 13  // RFC 3315 section 22.13
	OptionIAPD        OptionCode = 25  // RFC 3633 section 9
	OptionIAPrefix    OptionCode = 26  // RFC 3633 section 10
	OptionClientFQDN  OptionCode = 39  // RFC 4704 section 4
	OptionClientData  OptionCode = 45  // RFC 5007 section 4.1.2.2
	OptionCLTTime     OptionCode = 46  // RFC 5007 section 4.1.2.3
	OptionLQRelayData OptionCode = 47  // RFC 5007 section 4.1.2.4
	OptionVSS         OptionCode = 68  // RFC 6607 section 3.4
	OptionLQBaseTime  OptionCode = 100 // RFC 7653 section 6.3.1
)

var optionNames = [...]string{
	OptionClientID: "OPTION_CLIENTID", OptionIANA: "OPTION_IA_NA", OptionIATA: "OPTION_IA_TA",
	OptionIAAddr: "OPTION_IAADDR", OptionStatusCode: "OPTION_STATUS_CODE", OptionIAPD: "OPTION_IA_PD",
	OptionIAPrefix: "OPTION_IAPREFIX", OptionClientFQDN: "OPTION_CLIENT_FQDN", OptionClientData: "OPTION_CLIENT_DATA",
	OptionCLTTime: "OPTION_CLT_TIME", OptionLQRelayData: "OPTION_LQ_RELAY_DATA", OptionVSS: "OPTION_VSS",
	OptionLQBaseTime: "OPTION_LQ_BASE_TIME",

	OptionBindingStatus: "OPTION_F_BINDING_STATUS", OptionConnectFlags: "OPTION_F_CONNECT_FLAGS",
	OptionDNSRemovalInfo: "OPTION_F_DNS_REMOVAL_INFO", OptionDNSHostName: "OPTION_F_DNS_HOST_NAME",
	OptionDNSZoneName: "OPTION_F_DNS_ZONE_NAME", OptionDNSFlags: "OPTION_F_DNS_FLAGS",
	OptionExpirationTime: "OPTION_F_EXPIRATION_TIME", OptionMaxUnackedBndUpd: "OPTION_F_MAX_UNACKED_BNDUPD",
	OptionMCLT: "OPTION_F_MCLT", OptionPartnerLifetime: "OPTION_F_PARTNER_LIFETIME",
	OptionPartnerLifetimeSent: "OPTION_F_PARTNER_LIFETIME_SENT", OptionPartnerDownTime: "OPTION_F_PARTNER_DOWN_TIME",
	OptionPartnerRawCLTTime: "OPTION_F_PARTNER_RAW_CLT_TIME", OptionProtocolVersion: "OPTION_F_PROTOCOL_VERSION",
	OptionKeepaliveTime: "OPTION_F_KEEPALIVE_TIME", OptionReconfigureData: "OPTION_F_RECONFIGURE_DATA",
	OptionRelationshipName: "OPTION_F_RELATIONSHIP_NAME", OptionServerFlags: "OPTION_F_SERVER_FLAGS",
	OptionServerState: "OPTION_F_SERVER_STATE", OptionStartTimeOfState: "OPTION_F_START_TIME_OF_STATE",
	OptionStateExpirationTime: "OPTION_F_STATE_EXPIRATION_TIME",
}

func (c OptionCode) String() string {
	if int(c) < len(optionNames) && optionNames[c] != "" {
		return optionNames[c]
	}
	return fmt.Sprintf("option %d", uint16(c))
}

// Opt is the content of an option that may be absent. The zero Opt is absent.
type Opt[T any] struct {
	value   T
	present bool
}

// Some is an option that is present.
func Some[T any](value T) Opt[T] { return Opt[T]{value, true} }

// Get returns the content and whether the option is present.
func (o Opt[T]) Get() (value T, present bool) { return o.value, o.present }

// Present reports whether the option is present.
func (o Opt[T]) Present() bool { return o.present }

// Or returns the content, or what stands in for an option that is absent.
func (o Opt[T]) Or(absent T) T {
	if o.present {
		return o.value
	}
	return absent
}

func (o Opt[T]) String() string {
	if !o.present {
		return "absent"
	}
	return fmt.Sprint(o.value)
}

// RawOption is an option whose content means nothing here.
type RawOption struct {
	Code OptionCode
	Data string // octets
}

// Extra is what a message or an option holds beside the fields of its struct.
// The zero Extra is that of values not made by Parse: nothing, and the options
// in the order of this package.
type Extra struct {
	Unknown []RawOption // in the order in which they came; to be ignored

	// The order of all options, as positions in the table of the container; nil
	// when it is that of the table.
	order []uint8
}

func (x *Extra) extra() *Extra { return x }
