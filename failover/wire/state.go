package wire

import (
	"fmt"
	"strings"
)

// ServerState is the state of a failover endpoint (RFC 8156 section 5.5.16).
type ServerState uint8

// The ten states. StateStartup is never sent: a server in it sends the state
// that it comes from, and FlagStartup (RFC 8156 section 8.3.2).
const (
	StateStartup                   ServerState = 1
	StateNormal                    ServerState = 2
	StateCommunicationsInterrupted ServerState = 3
	StatePartnerDown               ServerState = 4
	StatePotentialConflict         ServerState = 5
	StateRecover                   ServerState = 6
	StateRecoverWait               ServerState = 7
	StateRecoverDone               ServerState = 8
	StateResolutionInterrupted     ServerState = 9
	StateConflictDone              ServerState = 10
)

var stateNames = [...]string{
	StateStartup: "STARTUP", StateNormal: "NORMAL", StateCommunicationsInterrupted: "COMMUNICATIONS-INTERRUPTED",
	StatePartnerDown: "PARTNER-DOWN", StatePotentialConflict: "POTENTIAL-CONFLICT", StateRecover: "RECOVER",
	StateRecoverWait: "RECOVER-WAIT", StateRecoverDone: "RECOVER-DONE",
	StateResolutionInterrupted: "RESOLUTION-INTERRUPTED", StateConflictDone: "CONFLICT-DONE",
}

// Valid reports whether s is one of the ten.
func (s ServerState) Valid() bool { return s >= StateStartup && s <= StateConflictDone }

func (s ServerState) String() string {
	if !s.Valid() {
		return fmt.Sprintf("state %d", uint8(s))
	}
	return stateNames[s]
}

// ServerFlags are the flags of a STATE message (RFC 8156 section 5.5.15).
type ServerFlags uint8

// The server flags. All other bits are zero.
const (
	FlagCommunicated ServerFlags = 1 << 0 // the sender remembers that it has communicated with this partner
	FlagStartup      ServerFlags = 1 << 1 // the sender is in STARTUP
	FlagAckStartup   ServerFlags = 1 << 2 // the sender has seen FlagStartup from its partner
)

func (f ServerFlags) String() string {
	return flagNames(uint(f), "COMMUNICATED", "STARTUP", "ACK_STARTUP")
}

// ConnectFlags are the flags of CONNECT and CONNECTREPLY (RFC 8156 section 5.5.2).
type ConnectFlags uint16

// FixedPDLength says that all prefixes delegated out of one delegable prefix
// have the same length. All other bits are zero.
const FixedPDLength ConnectFlags = 1 << 0

func (f ConnectFlags) String() string { return flagNames(uint(f), "FIXED_PD_LENGTH") }

// DNSFlags say what the partner's DNS holds (RFC 8156 section 5.5.3.3).
type DNSFlags uint16

// The DNS flags. All other bits are zero.
const (
	ForwardUpToDate    DNSFlags = 1 << 0
	ReverseUpToDate    DNSFlags = 1 << 1
	SynthesizedName    DNSFlags = 1 << 2 // the server made the name up
	UsingRequestedFQDN DNSFlags = 1 << 3 // the name is the one that the client asked for
)

func (f DNSFlags) String() string {
	return flagNames(uint(f), "FWD_UPTODATE", "REV_UPTODATE", "SYNTHESIZED_NAME", "USING_REQUESTED_FQDN")
}

// flagNames lists the flags that are set, from the least significant on; those
// without a name together in hexadecimal.
func flagNames(set uint, names ...string) string {
	var list []string
	for i, name := range names {
		if bit := uint(1) << i; set&bit != 0 {
			list = append(list, name)
			set &^= bit
		}
	}
	if set != 0 {
		list = append(list, fmt.Sprintf("%#x", set))
	}
	if list == nil {
		return "none"
	}
	return strings.Join(list, "|")
}
