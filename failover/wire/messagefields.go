package wire

// newMessage returns an empty message of a type, or nil when there is no such
// type.
func newMessage(t Type) Message {
	switch t {
	case TypeBndUpd:
		return new(BndUpd)
	case TypeBndReply:
		return new(BndReply)
	case TypePoolReq:
		return new(PoolReq)
	case TypePoolResp:
		return new(PoolResp)
	case TypeUpdReq:
		return new(UpdReq)
	case TypeUpdReqAll:
		return new(UpdReqAll)
	case TypeUpdDone:
		return new(UpdDone)
	case TypeConnect:
		return new(Connect)
	case TypeConnectReply:
		return new(ConnectReply)
	case TypeDisconnect:
		return new(Disconnect)
	case TypeState:
		return new(State)
	case TypeContact:
		return new(Contact)
	case TypeStartTLS:
		return new(StartTLS)
	case TypeReply:
		return new(Reply)
	}
	return nil
}

var bndUpdTable = table[BndUpd]{
	clientData(func(m *BndUpd) **ClientData { return &m.ClientData }),
	barePrefix(func(m *BndUpd) **LeaseOption { return &m.Prefix }),
}

var bndReplyTable = table[BndReply]{
	single(OptionStatusCode, statusKind, func(m *BndReply) *Opt[Status] { return &m.Status }),
	clientData(func(m *BndReply) **ClientData { return &m.ClientData }),
	barePrefix(func(m *BndReply) **LeaseOption { return &m.Prefix }),
}

// clientData is the CLIENT_DATA of a message.
func clientData[C any](at func(m *C) **ClientData) field[C] {
	return field[C]{
		codes: []OptionCode{OptionClientData},
		count: func(m *C) int { return present(*at(m) != nil) },
		parse: func(m *C, _ OptionCode, data []byte) *Error {
			c := new(ClientData)
			*at(m) = c
			return clientDataTable.parse(c, &c.Extra, data)
		},
		append: func(e *encoder, m *C, _ int) {
			c := *at(m)
			start := e.begin(OptionClientData)
			clientDataTable.append(e, c, &c.Extra)
			e.end(start)
		},
	}
}

// barePrefix is the IAPREFIX that stands in a message itself.
func barePrefix[C any](at func(m *C) **LeaseOption) field[C] {
	return field[C]{
		codes: []OptionCode{OptionIAPrefix},
		count: func(m *C) int { return present(*at(m) != nil) },
		parse: func(m *C, code OptionCode, data []byte) *Error {
			l := new(LeaseOption)
			*at(m) = l
			return l.parse(code, data)
		},
		append: func(e *encoder, m *C, _ int) { (*at(m)).append(e, OptionIAPrefix) },
	}
}

var connectTable = table[Connect]{
	single(OptionProtocolVersion, versionKind, func(m *Connect) *Opt[ProtocolVersion] { return &m.Version }),
	single(OptionMCLT, secondsKind, func(m *Connect) *Opt[uint32] { return &m.MCLT }),
	single(OptionKeepaliveTime, secondsKind, func(m *Connect) *Opt[uint32] { return &m.KeepaliveTime }),
	single(OptionMaxUnackedBndUpd, number[uint32](), func(m *Connect) *Opt[uint32] { return &m.MaxUnackedBndUpd }),
	single(OptionRelationshipName, textKind, func(m *Connect) *Opt[string] { return &m.RelationshipName }),
	single(OptionConnectFlags, number[ConnectFlags](), func(m *Connect) *Opt[ConnectFlags] { return &m.Flags }),
}

var connectReplyTable = table[ConnectReply]{
	single(OptionStatusCode, statusKind, func(m *ConnectReply) *Opt[Status] { return &m.Status }),
	single(OptionProtocolVersion, versionKind, func(m *ConnectReply) *Opt[ProtocolVersion] { return &m.Version }),
	single(OptionMCLT, secondsKind, func(m *ConnectReply) *Opt[uint32] { return &m.MCLT }),
	single(OptionKeepaliveTime, secondsKind, func(m *ConnectReply) *Opt[uint32] { return &m.KeepaliveTime }),
	single(OptionMaxUnackedBndUpd, number[uint32](), func(m *ConnectReply) *Opt[uint32] { return &m.MaxUnackedBndUpd }),
	single(OptionConnectFlags, number[ConnectFlags](), func(m *ConnectReply) *Opt[ConnectFlags] { return &m.Flags }),
}

var disconnectTable = table[Disconnect]{
	single(OptionStatusCode, statusKind, func(m *Disconnect) *Opt[Status] { return &m.Status }),
}

var stateTable = table[State]{
	single(OptionServerState, number[ServerState](), func(m *State) *Opt[ServerState] { return &m.ServerState }),
	single(OptionServerFlags, number[ServerFlags](), func(m *State) *Opt[ServerFlags] { return &m.Flags }),
	single(OptionStartTimeOfState, timeKind, func(m *State) *Opt[Time] { return &m.StartTime }),
	single(OptionPartnerDownTime, timeKind, func(m *State) *Opt[Time] { return &m.PartnerDownTime }),
}

var replyTable = table[Reply]{
	single(OptionStatusCode, statusKind, func(m *Reply) *Opt[Status] { return &m.Status }),
}

// Type returns TypeBndUpd.
func (*BndUpd) Type() Type { return TypeBndUpd }

// Type returns TypeBndReply.
func (*BndReply) Type() Type { return TypeBndReply }

// Type returns TypePoolReq.
func (*PoolReq) Type() Type { return TypePoolReq }

// Type returns TypePoolResp.
func (*PoolResp) Type() Type { return TypePoolResp }

// Type returns TypeUpdReq.
func (*UpdReq) Type() Type { return TypeUpdReq }

// Type returns TypeUpdReqAll.
func (*UpdReqAll) Type() Type { return TypeUpdReqAll }

// Type returns TypeUpdDone.
func (*UpdDone) Type() Type { return TypeUpdDone }

// Type returns TypeConnect.
func (*Connect) Type() Type { return TypeConnect }

// Type returns TypeConnectReply.
func (*ConnectReply) Type() Type { return TypeConnectReply }

// Type returns TypeDisconnect.
func (*Disconnect) Type() Type { return TypeDisconnect }

// Type returns TypeState.
func (*State) Type() Type { return TypeState }

// Type returns TypeContact.
func (*Contact) Type() Type { return TypeContact }

// Type returns TypeStartTLS.
func (*StartTLS) Type() Type { return TypeStartTLS }

// Type returns TypeReply.
func (*Reply) Type() Type { return TypeReply }

func (m *BndUpd) parse(options []byte) *Error   { return bndUpdTable.parse(m, &m.Extra, options) }
func (m *BndUpd) append(e *encoder)             { bndUpdTable.append(e, m, &m.Extra) }
func (m *BndReply) parse(options []byte) *Error { return bndReplyTable.parse(m, &m.Extra, options) }
func (m *BndReply) append(e *encoder)           { bndReplyTable.append(e, m, &m.Extra) }
func (m *PoolReq) parse(options []byte) *Error {
	return table[PoolReq](nil).parse(m, &m.Extra, options)
}
func (m *PoolReq) append(e *encoder) { table[PoolReq](nil).append(e, m, &m.Extra) }
func (m *PoolResp) parse(options []byte) *Error {
	return table[PoolResp](nil).parse(m, &m.Extra, options)
}
func (m *PoolResp) append(e *encoder)         { table[PoolResp](nil).append(e, m, &m.Extra) }
func (m *UpdReq) parse(options []byte) *Error { return table[UpdReq](nil).parse(m, &m.Extra, options) }
func (m *UpdReq) append(e *encoder)           { table[UpdReq](nil).append(e, m, &m.Extra) }
func (m *UpdReqAll) parse(options []byte) *Error {
	return table[UpdReqAll](nil).parse(m, &m.Extra, options)
}
func (m *UpdReqAll) append(e *encoder) { table[UpdReqAll](nil).append(e, m, &m.Extra) }
func (m *UpdDone) parse(options []byte) *Error {
	return table[UpdDone](nil).parse(m, &m.Extra, options)
}
func (m *UpdDone) append(e *encoder)           { table[UpdDone](nil).append(e, m, &m.Extra) }
func (m *Connect) parse(options []byte) *Error { return connectTable.parse(m, &m.Extra, options) }
func (m *Connect) append(e *encoder)           { connectTable.append(e, m, &m.Extra) }
func (m *ConnectReply) parse(options []byte) *Error {
	return connectReplyTable.parse(m, &m.Extra, options)
}
func (m *ConnectReply) append(e *encoder)         { connectReplyTable.append(e, m, &m.Extra) }
func (m *Disconnect) parse(options []byte) *Error { return disconnectTable.parse(m, &m.Extra, options) }
func (m *Disconnect) append(e *encoder)           { disconnectTable.append(e, m, &m.Extra) }
func (m *State) parse(options []byte) *Error      { return stateTable.parse(m, &m.Extra, options) }
func (m *State) append(e *encoder)                { stateTable.append(e, m, &m.Extra) }
func (m *Contact) parse(options []byte) *Error {
	return table[Contact](nil).parse(m, &m.Extra, options)
}
func (m *Contact) append(e *encoder) { table[Contact](nil).append(e, m, &m.Extra) }
func (m *StartTLS) parse(options []byte) *Error {
	return table[StartTLS](nil).parse(m, &m.Extra, options)
}
func (m *StartTLS) append(e *encoder)        { table[StartTLS](nil).append(e, m, &m.Extra) }
func (m *Reply) parse(options []byte) *Error { return replyTable.parse(m, &m.Extra, options) }
func (m *Reply) append(e *encoder)           { replyTable.append(e, m, &m.Extra) }
