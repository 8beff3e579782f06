package wire

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
)

// numbered checks that each line "number name" of the RFC is what the constants
// say, given in the same order, and that no other number has a name.
func numbered[T ~uint8 | ~uint16](t *testing.T, rfc string, constants []T, max int) {
	t.Helper()
	named := map[int]string{}
	for i, line := range strings.Split(strings.TrimSpace(rfc), "\n") {
		number, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Fatal(err)
		}
		named[n] = name
		if i >= len(constants) || int(constants[i]) != n {
			t.Errorf("%s is not %d", name, n)
		}
	}
	if len(constants) != len(named) {
		t.Errorf("%d constants for %d names", len(constants), len(named))
	}
	for n := range max + 1 {
		got, want := fmt.Sprint(T(n)), named[n]
		if want == "" && !strings.Contains(got, strconv.Itoa(n)) || want != "" && got != want {
			t.Errorf("%d is called %q, want %q", n, got, want)
		}
	}
}

// F-011, and 7, 23 of RFC 7653.
func TestMessageNumbers(t *testing.T) {
	numbered(t, `7 REPLY
		23 STARTTLS
		24 BNDUPD
		25 BNDREPLY
		26 POOLREQ
		27 POOLRESP
		28 UPDREQ
		29 UPDREQALL
		30 UPDDONE
		31 CONNECT
		32 CONNECTREPLY
		33 DISCONNECT
		34 STATE
		35 CONTACT`, []Type{
		TypeReply, TypeStartTLS, TypeBndUpd, TypeBndReply, TypePoolReq, TypePoolResp, TypeUpdReq, TypeUpdReqAll,
		TypeUpdDone, TypeConnect, TypeConnectReply, TypeDisconnect, TypeState, TypeContact,
	}, 255)
	for n := range 256 {
		typ := Type(n)
		if want := n == 7 || n >= 23 && n <= 35; typ.Valid() != want {
			t.Errorf("type %d: Valid is %v", n, typ.Valid())
		}
		if want := n >= 24 && n <= 35; typ.HasSentTime() != want {
			t.Errorf("type %d: HasSentTime is %v", n, typ.HasSentTime())
		}
		if typ.Valid() && layouts[typ].make().Type() != typ {
			t.Errorf("the layout of %v makes %v", typ, layouts[typ].make().Type())
		}
	}
}

// F-012, and the options that are borrowed.
func TestOptionNumbers(t *testing.T) {
	numbered(t, `1 OPTION_CLIENTID
		3 OPTION_IA_NA
		4 OPTION_IA_TA
		5 OPTION_IAADDR
		13 OPTION_STATUS_CODE
		25 OPTION_IA_PD
		26 OPTION_IAPREFIX
		39 OPTION_CLIENT_FQDN
		45 OPTION_CLIENT_DATA
		46 OPTION_CLT_TIME
		47 OPTION_LQ_RELAY_DATA
		68 OPTION_VSS
		100 OPTION_LQ_BASE_TIME
		114 OPTION_F_BINDING_STATUS
		115 OPTION_F_CONNECT_FLAGS
		116 OPTION_F_DNS_REMOVAL_INFO
		117 OPTION_F_DNS_HOST_NAME
		118 OPTION_F_DNS_ZONE_NAME
		119 OPTION_F_DNS_FLAGS
		120 OPTION_F_EXPIRATION_TIME
		121 OPTION_F_MAX_UNACKED_BNDUPD
		122 OPTION_F_MCLT
		123 OPTION_F_PARTNER_LIFETIME
		124 OPTION_F_PARTNER_LIFETIME_SENT
		125 OPTION_F_PARTNER_DOWN_TIME
		126 OPTION_F_PARTNER_RAW_CLT_TIME
		127 OPTION_F_PROTOCOL_VERSION
		128 OPTION_F_KEEPALIVE_TIME
		129 OPTION_F_RECONFIGURE_DATA
		130 OPTION_F_RELATIONSHIP_NAME
		131 OPTION_F_SERVER_FLAGS
		132 OPTION_F_SERVER_STATE
		133 OPTION_F_START_TIME_OF_STATE
		134 OPTION_F_STATE_EXPIRATION_TIME`, []OptionCode{
		OptionClientID, OptionIANA, OptionIATA, OptionIAAddr, OptionStatusCode, OptionIAPD, OptionIAPrefix,
		OptionClientFQDN, OptionClientData, OptionCLTTime, OptionLQRelayData, OptionVSS, OptionLQBaseTime,
		OptionBindingStatus, OptionConnectFlags, OptionDNSRemovalInfo, OptionDNSHostName, OptionDNSZoneName,
		OptionDNSFlags, OptionExpirationTime, OptionMaxUnackedBndUpd, OptionMCLT, OptionPartnerLifetime,
		OptionPartnerLifetimeSent, OptionPartnerDownTime, OptionPartnerRawCLTTime, OptionProtocolVersion,
		OptionKeepaliveTime, OptionReconfigureData, OptionRelationshipName, OptionServerFlags, OptionServerState,
		OptionStartTimeOfState, OptionStateExpirationTime,
	}, 1000)
}

// F-013, and those that failover does not use.
func TestStatusNumbers(t *testing.T) {
	numbered(t, `0 Success
		1 UnspecFail
		2 NoAddrsAvail
		3 NoBinding
		4 NotOnLink
		5 UseMulticast
		6 NoPrefixAvail
		7 UnknownQueryType
		8 MalformedQuery
		9 NotConfigured
		10 NotAllowed
		11 QueryTerminated
		12 DataMissing
		13 CatchUpComplete
		14 NotSupported
		15 TLSConnectionRefused
		16 AddressInUse
		17 ConfigurationConflict
		18 MissingBindingInformation
		19 OutdatedBindingInformation
		20 ServerShuttingDown
		21 DNSUpdateNotSupported
		22 ExcessiveTimeSkew`, []StatusCode{
		Success, UnspecFail, NoAddrsAvail, NoBinding, NotOnLink, UseMulticast, NoPrefixAvail, UnknownQueryType,
		MalformedQuery, NotConfigured, NotAllowed, QueryTerminated, DataMissing, CatchUpComplete, NotSupported,
		TLSConnectionRefused, AddressInUse, ConfigurationConflict, MissingBindingInformation,
		OutdatedBindingInformation, ServerShuttingDown, DNSUpdateNotSupported, ExcessiveTimeSkew,
	}, 100)
}

// The values of OPTION_F_SERVER_STATE (RFC 8156 section 5.5.16).
func TestServerStateNumbers(t *testing.T) {
	numbered(t, `1 STARTUP
		2 NORMAL
		3 COMMUNICATIONS-INTERRUPTED
		4 PARTNER-DOWN
		5 POTENTIAL-CONFLICT
		6 RECOVER
		7 RECOVER-WAIT
		8 RECOVER-DONE
		9 RESOLUTION-INTERRUPTED
		10 CONFLICT-DONE`, []ServerState{
		StateStartup, StateNormal, StateCommunicationsInterrupted, StatePartnerDown, StatePotentialConflict,
		StateRecover, StateRecoverWait, StateRecoverDone, StateResolutionInterrupted, StateConflictDone,
	}, 255)
}

// The values of OPTION_F_BINDING_STATUS (RFC 8156 section 5.5.1) are those of lease.
func TestBindingStatusNumbers(t *testing.T) {
	numbered(t, `1 ACTIVE
		2 EXPIRED
		3 RELEASED
		4 PENDING-FREE
		5 FREE
		6 FREE-BACKUP
		7 ABANDONED
		8 RESET`, []lease.Status{
		lease.Active, lease.Expired, lease.Released, lease.PendingFree, lease.Free, lease.FreeBackup, lease.Abandoned, lease.Reset,
	}, 255)
}

// F-048, F-049, F-050: the flags that exist fill no bit that must be zero, and
// stand where the RFC, which counts from the most significant bit, has them.
func TestFlags(t *testing.T) {
	for _, f := range []struct {
		got, want uint
		text      fmt.Stringer
		name      string
	}{
		{uint(FlagCommunicated), 0x01, FlagCommunicated, "COMMUNICATED"},
		{uint(FlagStartup), 0x02, FlagStartup, "STARTUP"},
		{uint(FlagAckStartup), 0x04, FlagAckStartup, "ACK_STARTUP"},
		{uint(FixedPDLength), 0x0001, FixedPDLength, "FIXED_PD_LENGTH"},
		{uint(ForwardUpToDate), 0x0001, ForwardUpToDate, "FWD_UPTODATE"},
		{uint(ReverseUpToDate), 0x0002, ReverseUpToDate, "REV_UPTODATE"},
		{uint(SynthesizedName), 0x0004, SynthesizedName, "SYNTHESIZED_NAME"},
		{uint(UsingRequestedFQDN), 0x0008, UsingRequestedFQDN, "USING_REQUESTED_FQDN"},
		{0, 0, ServerFlags(0), "none"},
		{0xf9, 0xf9, ServerFlags(0xf9), "COMMUNICATED|0xf8"},
		{0xfffe, 0xfffe, ConnectFlags(0xfffe), "0xfffe"},
		{0xfffc, 0xfffc, DNSFlags(0xfffc), "SYNTHESIZED_NAME|USING_REQUESTED_FQDN|0xfff0"},
	} {
		if f.got != f.want || f.text.String() != f.name {
			t.Errorf("%#x is called %v, want %#x called %s", f.got, f.text, f.want, f.name)
		}
	}
}
