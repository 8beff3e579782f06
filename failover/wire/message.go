package wire

// Message is one of the messages of a failover connection: a pointer to one of
// the structs in this file, and nothing else.
type Message interface {
	Type() Type
	ID() TransactionID

	setID(TransactionID)
	header() *Header // nil: the plain one
	extra() *Extra
}

// Header is the header of the messages of RFC 8156 (section 5.2).
type Header struct {
	TransactionID TransactionID
	SentTime      Time // set as late as possible: Stamp does it to a frame that is ready
}

// ID returns the transaction-id.
func (h *Header) ID() TransactionID { return h.TransactionID }

func (h *Header) setID(id TransactionID) { h.TransactionID = id }
func (h *Header) header() *Header        { return h }

// PlainHeader is the header of DHCPv6 itself (RFC 3315 section 6).
type PlainHeader struct {
	TransactionID TransactionID
}

// ID returns the transaction-id.
func (h *PlainHeader) ID() TransactionID { return h.TransactionID }

func (h *PlainHeader) setID(id TransactionID) { h.TransactionID = id }
func (h *PlainHeader) header() *Header        { return nil }

// BndUpd tells the partner about leases (RFC 8156 section 5.3.1). It holds one
// of the two; Check says what a message with none or both is answered with.
type BndUpd struct {
	Header
	ClientData *ClientData  // leases of a client
	Prefix     *LeaseOption // a prefix without client
	Extra
}

// BndReply answers a BndUpd lease by lease (RFC 8156 section 5.3.2). It mirrors
// the BndUpd; BndUpd.Reply makes one.
type BndReply struct {
	Header
	Status     Opt[Status] // only in answer to a BNDUPD that cannot be mirrored
	ClientData *ClientData
	Prefix     *LeaseOption
	Extra
}

// PoolReq asks the primary to check the balance of the prefixes (RFC 8156
// section 5.3.3).
type PoolReq struct {
	Header
	Extra
}

// PoolResp says that a PoolReq was received (RFC 8156 section 5.3.4).
type PoolResp struct {
	Header
	Extra
}

// UpdReq asks for all updates that were not acknowledged yet (RFC 8156 section
// 5.3.5).
type UpdReq struct {
	Header
	Extra
}

// UpdReqAll asks for all bindings (RFC 8156 section 5.3.6).
type UpdReqAll struct {
	Header
	Extra
}

// UpdDone says that all updates of an UpdReq or UpdReqAll were sent and answered
// (RFC 8156 section 5.3.7).
type UpdDone struct {
	Header
	Extra
}

// Connect opens a failover session (RFC 8156 section 6.1.1).
type Connect struct {
	Header
	Version          Opt[ProtocolVersion] // with which the sender sends
	MCLT             Opt[uint32]          // seconds
	KeepaliveTime    Opt[uint32]          // seconds without a message after which the sender gives the connection up
	MaxUnackedBndUpd Opt[uint32]          // unanswered BNDUPDs that the sender can take
	RelationshipName Opt[string]          // UTF-8; absent: the only one of this pair
	Flags            Opt[ConnectFlags]
	Extra
}

// ConnectReply accepts or rejects a Connect (RFC 8156 section 6.1.2).
type ConnectReply struct {
	Header
	Status           Opt[Status] // an error rejects
	Version          Opt[ProtocolVersion]
	MCLT             Opt[uint32] // seconds
	KeepaliveTime    Opt[uint32] // seconds, as in Connect
	MaxUnackedBndUpd Opt[uint32]
	Flags            Opt[ConnectFlags]
	Extra
}

// Disconnect says why the connection is about to be closed (RFC 8156 section
// 5.3.10).
type Disconnect struct {
	Header
	Status Opt[Status]
	Extra
}

// State tells the partner the state of the sender's endpoint (RFC 8156 section
// 6.3).
type State struct {
	Header
	ServerState     Opt[ServerState] // as received: other values than the ten are possible
	Flags           Opt[ServerFlags]
	StartTime       Opt[Time] // since when ServerState holds
	PartnerDownTime Opt[Time] // only in PARTNER-DOWN: when the sender entered it
	Extra
}

// Contact shows that the sender is alive (RFC 8156 section 5.3.12).
type Contact struct {
	Header
	Extra
}

// StartTLS asks for TLS on the connection (RFC 7653 section 6.2.2).
type StartTLS struct {
	PlainHeader
	Extra
}

// Reply answers StartTLS (RFC 7653 section 9.1).
type Reply struct {
	PlainHeader
	Status Opt[Status] // absent: go ahead
	Extra
}
