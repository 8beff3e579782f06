package trace

// Reason says why a packet was dropped or an option ignored. Each reason is a
// counter.
type Reason uint8

// Why a packet is dropped. The sections are those of RFC 9915.
const (
	NoReason         Reason = iota
	Truncated               // an option runs past the end (D-041)
	UnknownType             // section 16 (D-020)
	NotForServers           // Advertise, Reply, Reconfigure, Relay-reply (sections 16.3, 16.10, 16.11, 16.14)
	NoClientID              // sections 16.2 to 16.9
	NoServerID              // sections 16.4, 16.6, 16.8, 16.9
	ForeignServerID         // meant for another server
	UnwantedServerID        // sections 16.2, 16.5, 16.7
	RepeatedID              // two Client or two Server Identifiers
	BadDUID                 // not 3 to 130 octets (section 11.1)
	IAInInformation         // section 16.12
	UnicastClient           // section 16 (D-010)
	UnknownLink             // no configured link fits
	NoRelayMessage          // section 9.1 (D-231)
	RelaysTooDeep           // more than nine layers (D-230)
	RelayNotAllowed         // from a source that is no configured relay (D-233)
	TooManyIAs              // more than IAsPerMessageMax
	TooManyMessages         // rate limit of one client (D-245)
	NothingToConfirm        // section 18.3.3
	NothingToSay            // Rebind without an answer (section 18.3.5)
	Denied                  // refused by a reservation
	NotResponsive           // failover: the partner serves this client
	ClockWrong              // the time is not known
	LeaseLimit              // leases per client (D-244)
	PrefixLimit             // prefixes per client (D-254)
	DeclineLimit            // declines per client (D-134)
	TableFull               // leases in all
	ReasonCount             // number of reasons, not one itself
)

var reasons = [ReasonCount]struct{ name, words string }{
	NoReason:         {"none", "no reason given"},
	Truncated:        {"truncated", "it is truncated or malformed"},
	UnknownType:      {"unknown_type", "its message type is unknown"},
	NotForServers:    {"not_for_servers", "only servers send that; is there a second DHCPv6 server on the link?"},
	NoClientID:       {"no_client_id", "it has no Client Identifier"},
	NoServerID:       {"no_server_id", "it has no Server Identifier"},
	ForeignServerID:  {"foreign_server_id", "it is meant for another server"},
	UnwantedServerID: {"unwanted_server_id", "it names a server and must not"},
	RepeatedID:       {"repeated_id", "it has two identifiers of one kind"},
	BadDUID:          {"bad_duid", "its DUID is too short or too long"},
	IAInInformation:  {"ia_in_information_request", "an Information-request must not ask for leases"},
	UnicastClient:    {"unicast_client", "clients must not use unicast"},
	UnknownLink:      {"unknown_link", "it came from no configured link"},
	NoRelayMessage:   {"no_relay_message", "the relay's message holds no client message"},
	RelaysTooDeep:    {"relays_too_deep", "it passed too many relays; is there a loop?"},
	RelayNotAllowed:  {"relay_not_allowed", "its sender is not a configured relay"},
	TooManyIAs:       {"too_many_ias", "it asks for too many identity associations"},
	TooManyMessages:  {"too_many_messages", "the client sends too often"},
	NothingToConfirm: {"nothing_to_confirm", "it holds no address to confirm"},
	NothingToSay:     {"nothing_to_say", "another server knows better"},
	Denied:           {"denied", "the configuration denies this client"},
	NotResponsive:    {"not_responsive", "the failover partner serves it"},
	ClockWrong:       {"clock_wrong", "the time is not known yet"},
	LeaseLimit:       {"lease_limit", "leases per client"},
	PrefixLimit:      {"prefix_limit", "delegated prefixes per client"},
	DeclineLimit:     {"decline_limit", "declined addresses per client"},
	TableFull:        {"table_full", "leases in all"},
}

// Name is the reason's name in metrics.
func (r Reason) Name() string { return reasons[min(r, ReasonCount-1)].name }

func (r Reason) String() string { return reasons[min(r, ReasonCount-1)].words }
