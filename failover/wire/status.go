package wire

import "fmt"

// StatusCode is the code of an OPTION_STATUS_CODE.
type StatusCode uint16

// The status codes, of which failover uses Success, UnspecFail, NotSupported
// and the following (RFC 8156 section 5.6).
const (
	Success                    StatusCode = 0  // RFC 3315 section 24.4, as the next three
	UnspecFail                 StatusCode = 1  //
	NoAddrsAvail               StatusCode = 2  //
	NoBinding                  StatusCode = 3  //
	NotOnLink                  StatusCode = 4  // RFC 3315 section 24.4
	UseMulticast               StatusCode = 5  // RFC 3315 section 24.4
	NoPrefixAvail              StatusCode = 6  // RFC 3633 section 16
	UnknownQueryType           StatusCode = 7  // RFC 5007 section 4.1.3, as the next three
	MalformedQuery             StatusCode = 8  //
	NotConfigured              StatusCode = 9  //
	NotAllowed                 StatusCode = 10 //
	QueryTerminated            StatusCode = 11 // RFC 5460 section 9
	DataMissing                StatusCode = 12 // RFC 7653 section 11, as the next three
	CatchUpComplete            StatusCode = 13 //
	NotSupported               StatusCode = 14 // a protocol version or a flag
	TLSConnectionRefused       StatusCode = 15 // in the REPLY to STARTTLS
	AddressInUse               StatusCode = 16 // by another client, says the partner
	ConfigurationConflict      StatusCode = 17 // the lease or VPN does not fit the receiver's configuration
	MissingBindingInformation  StatusCode = 18 // the update does not say enough
	OutdatedBindingInformation StatusCode = 19 // the receiver knows better
	ServerShuttingDown         StatusCode = 20 // in DISCONNECT
	DNSUpdateNotSupported      StatusCode = 21 // the receiver does not update DNS
	ExcessiveTimeSkew          StatusCode = 22 // the clocks differ too much
)

var statusNames = [...]string{
	"Success", "UnspecFail", "NoAddrsAvail", "NoBinding", "NotOnLink", "UseMulticast", "NoPrefixAvail",
	"UnknownQueryType", "MalformedQuery", "NotConfigured", "NotAllowed", "QueryTerminated",
	"DataMissing", "CatchUpComplete", "NotSupported", "TLSConnectionRefused",
	"AddressInUse", "ConfigurationConflict", "MissingBindingInformation", "OutdatedBindingInformation",
	"ServerShuttingDown", "DNSUpdateNotSupported", "ExcessiveTimeSkew",
}

func (c StatusCode) String() string {
	if int(c) < len(statusNames) {
		return statusNames[c]
	}
	return fmt.Sprintf("status code %d", uint16(c))
}

// Status is the content of an OPTION_STATUS_CODE (RFC 3315 section 22.13). An
// option that is absent means Success.
type Status struct {
	Code StatusCode
	Text string // for people: UTF-8, without a NUL at its end
}

func (s Status) String() string {
	if s.Text == "" {
		return s.Code.String()
	}
	return fmt.Sprintf("%v %q", s.Code, s.Text)
}
