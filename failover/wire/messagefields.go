package wire

// A layout is how one type of message is read and written.
type layout struct {
	fields fields
	make   func() Message
	parse  func(m Message, options []byte) *Error
	append func(e *encoder, m Message)
}

// layouts holds those of all types, at their numbers.
var layouts = [...]layout{
	TypeBndUpd:       layoutOf(bndUpdTable),
	TypeBndReply:     layoutOf(bndReplyTable),
	TypePoolReq:      layoutOf(table[PoolReq]{}),
	TypePoolResp:     layoutOf(table[PoolResp]{}),
	TypeUpdReq:       layoutOf(table[UpdReq]{}),
	TypeUpdReqAll:    layoutOf(table[UpdReqAll]{}),
	TypeUpdDone:      layoutOf(table[UpdDone]{}),
	TypeConnect:      layoutOf(connectTable),
	TypeConnectReply: layoutOf(connectReplyTable),
	TypeDisconnect:   layoutOf(disconnectTable),
	TypeState:        layoutOf(stateTable),
	TypeContact:      layoutOf(table[Contact]{}),
	TypeStartTLS:     layoutOf(table[StartTLS]{}),
	TypeReply:        layoutOf(replyTable),
}

// layoutOf makes the layout of C, whose pointers are messages, from its table.
func layoutOf[C any, M interface {
	*C
	Message
}](t table[C]) layout {
	return layout{
		fields: t,
		make:   func() Message { return M(new(C)) },
		parse:  func(m Message, options []byte) *Error { return t.parse(m.(M), m.extra(), options) },
		append: func(e *encoder, m Message) { t.append(e, m.(M), m.extra()) },
	}
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
		show: func(_ OptionCode, data []byte) (view, *Error) {
			return view{inside: clientDataTable, options: data}, nil
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
			return parseLease(l, code, data)
		},
		append: func(e *encoder, m *C, _ int) { (*at(m)).append(e, OptionIAPrefix) },
		show:   showLease,
	}
}

var connectTable = table[Connect]{
	single(OptionProtocolVersion, versionKind, func(m *Connect) *Opt[ProtocolVersion] { return &m.Version }),
	single(OptionMCLT, secondsKind, func(m *Connect) *Opt[uint32] { return &m.MCLT }),
	single(OptionKeepaliveTime, secondsKind, func(m *Connect) *Opt[uint32] { return &m.KeepaliveTime }),
	single(OptionMaxUnackedBndUpd, countKind, func(m *Connect) *Opt[uint32] { return &m.MaxUnackedBndUpd }),
	single(OptionRelationshipName, textKind, func(m *Connect) *Opt[string] { return &m.RelationshipName }),
	single(OptionConnectFlags, number(text[ConnectFlags]), func(m *Connect) *Opt[ConnectFlags] { return &m.Flags }),
}

var connectReplyTable = table[ConnectReply]{
	single(OptionStatusCode, statusKind, func(m *ConnectReply) *Opt[Status] { return &m.Status }),
	single(OptionProtocolVersion, versionKind, func(m *ConnectReply) *Opt[ProtocolVersion] { return &m.Version }),
	single(OptionMCLT, secondsKind, func(m *ConnectReply) *Opt[uint32] { return &m.MCLT }),
	single(OptionKeepaliveTime, secondsKind, func(m *ConnectReply) *Opt[uint32] { return &m.KeepaliveTime }),
	single(OptionMaxUnackedBndUpd, countKind, func(m *ConnectReply) *Opt[uint32] { return &m.MaxUnackedBndUpd }),
	single(OptionConnectFlags, number(text[ConnectFlags]), func(m *ConnectReply) *Opt[ConnectFlags] { return &m.Flags }),
}

var disconnectTable = table[Disconnect]{
	single(OptionStatusCode, statusKind, func(m *Disconnect) *Opt[Status] { return &m.Status }),
}

var stateTable = table[State]{
	single(OptionServerState, number(text[ServerState]), func(m *State) *Opt[ServerState] { return &m.ServerState }),
	single(OptionServerFlags, number(text[ServerFlags]), func(m *State) *Opt[ServerFlags] { return &m.Flags }),
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
