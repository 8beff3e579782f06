package wire

import "fmt"

// Port is the TCP port on which a secondary listens (RFC 8156 section 5.1).
const Port = 647

// Type is the number of a message (RFC 8156 section 11, RFC 7653 section 11).
type Type uint8

// The messages of a failover connection.
const (
	TypeReply        Type = 7
	TypeStartTLS     Type = 23
	TypeBndUpd       Type = 24
	TypeBndReply     Type = 25
	TypePoolReq      Type = 26
	TypePoolResp     Type = 27
	TypeUpdReq       Type = 28
	TypeUpdReqAll    Type = 29
	TypeUpdDone      Type = 30
	TypeConnect      Type = 31
	TypeConnectReply Type = 32
	TypeDisconnect   Type = 33
	TypeState        Type = 34
	TypeContact      Type = 35
)

var typeNames = [...]string{
	TypeReply: "REPLY", TypeStartTLS: "STARTTLS", TypeBndUpd: "BNDUPD", TypeBndReply: "BNDREPLY",
	TypePoolReq: "POOLREQ", TypePoolResp: "POOLRESP", TypeUpdReq: "UPDREQ", TypeUpdReqAll: "UPDREQALL",
	TypeUpdDone: "UPDDONE", TypeConnect: "CONNECT", TypeConnectReply: "CONNECTREPLY",
	TypeDisconnect: "DISCONNECT", TypeState: "STATE", TypeContact: "CONTACT",
}

// Valid reports whether t is a message of a failover connection.
func (t Type) Valid() bool { return int(t) < len(typeNames) && typeNames[t] != "" }

// HasSentTime reports whether the header of t holds the time of sending. Those
// of STARTTLS and REPLY do not: they are DHCPv6's own (RFC 7653 section 6.2.2).
func (t Type) HasSentTime() bool { return t >= TypeBndUpd && t <= TypeContact }

func (t Type) String() string {
	if !t.Valid() {
		return fmt.Sprintf("message type %d", uint8(t))
	}
	return typeNames[t]
}

// TransactionID ties an answer to its request. It has 24 bits (RFC 8156 section
// 5.4).
type TransactionID uint32

// TransactionIDMax is the largest transaction-id.
const TransactionIDMax TransactionID = 1<<24 - 1

func (id TransactionID) String() string { return fmt.Sprintf("0x%06x", uint32(id)) }
