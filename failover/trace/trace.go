// Package trace names everything worth telling about: typed events with stable
// ids and, for each, a sentence in an operator's words. Logs, metrics, the web
// history and the simulator's output are all made from these events and from
// nothing else.
package trace

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/tandem6/tandem6/failover/lease"
)

// Level says who wants to know.
type Level uint8

// The levels, quietest first.
const (
	Debug   Level = iota // every packet: for a trace, never for a log on flash
	Info                 // normal life of leases and links
	Warning              // somebody should look, service goes on
	Error                // service is impaired
)

func (l Level) String() string { return [...]string{"debug", "info", "warning", "error"}[l] }

// ID is the stable number of a kind of event. Numbers are never reused.
type ID uint16

// The events. Ranges: 100 packets, 200 leases, 300 the server as a whole, 400
// failover.
const (
	PacketDropped   ID = 100 // Reason, Link, Client, Peer
	PolicyRefused   ID = 101 // Link, Client
	OptionIgnored   ID = 102 // Link, Client, Reason
	AnswerCut       ID = 103 // Link, Client, N: option code left out for size
	LeaseAssigned   ID = 200 // Lease, Link, Client
	LeaseRenewed    ID = 201 // Lease, Link, Client
	LeaseReleased   ID = 202 // Lease, Link, Client
	LeaseExpired    ID = 203 // Lease, Link, Client
	AddressDeclined ID = 204 // Lease, Link, Client
	LeaseWithdrawn  ID = 205 // Lease, Link, Client: told 0/0
	PoolExhausted   ID = 206 // Link, Client, Text: IA type
	LimitReached    ID = 207 // Link, Client, Reason, N: the limit
	LeaseCleared    ID = 208 // Lease: by the operator
	DeclineEnded    ID = 209 // Lease: quarantine over
	ServerStarted   ID = 300 // N: leases loaded
	Reconfigured    ID = 301 // Text
	ConfigRefused   ID = 302 // Text
	ClockUntrusted  ID = 303 // Text
	ClockTrusted    ID = 304 // Text
	LinkUp          ID = 305 // Link
	LinkDown        ID = 306 // Link
	LeasesOutOfPool ID = 307 // N: how many
	ClockSet        ID = 308 // N: by how many seconds
	ClockAdopted    ID = 309 // N: by how many seconds, Text: now

	FailoverState          ID = 400 // Text: new state, old state, row of the table
	FailoverConnected      ID = 401 // Text: the partner's state
	FailoverLost           ID = 402 // Text: why
	FailoverNoSession      ID = 403 // Text: why a connection came to nothing
	FailoverRejected       ID = 404 // Text: what the partner says
	FailoverRefusedConnect ID = 405 // Text: why, N: skew in seconds
	FailoverInterrupted    ID = 406 // from NORMAL
	FailoverUnresolved     ID = 407
	FailoverStorageLost    ID = 408
	FailoverRequested      ID = 409
	FailoverUpToDate       ID = 410
	FailoverAsked          ID = 411
	FailoverAnswered       ID = 412 // N: updates
	FailoverUpdateRefused  ID = 413 // Lease, Text: by this server
	FailoverUpdateRejected ID = 414 // Lease, Link, Client, Text: by the partner
	FailoverClientReplaced ID = 415 // Lease, Link, Client: who had it
	FailoverPrefixesGiven  ID = 416 // N, Text: pool
	FailoverPrefixesTaken  ID = 417 // N, Text: pool
	FailoverProtocol       ID = 418 // Text: what the partner did
)

// Event is one thing that happened. Fields that a kind does not use are zero.
type Event struct {
	ID           ID
	Relationship string // of 400 to 499: its name
	Reason       Reason
	Msg          uint8 // DHCPv6 message type
	Link         string
	Client       lease.DUID
	IAID         lease.IAID
	Lease        netip.Prefix
	Peer         netip.Addr
	N            int64
	Text         string
}

type kind struct {
	name     string // for metrics and filters: [a-z_]+
	level    Level
	sentence string // {field} is replaced
}

var kinds = map[ID]kind{
	PacketDropped:   {"packet_dropped", Debug, "Dropped a {msg} from {peer} on {link}: {reason}"},
	PolicyRefused:   {"policy_refused", Info, "Client {client} on {link} is not to be served, its {msg} was ignored"},
	OptionIgnored:   {"option_ignored", Debug, "Ignored an option of client {client} on {link}: {reason}"},
	AnswerCut:       {"answer_cut", Warning, "Left option {n} out of an answer to {client} on {link}, the answer was full; send fewer or shorter options"},
	LeaseAssigned:   {"lease_assigned", Info, "Leased {lease} to {client} (IAID {iaid}) on {link}"},
	LeaseRenewed:    {"lease_renewed", Debug, "Extended {lease} for {client} on {link}"},
	LeaseReleased:   {"lease_released", Info, "Client {client} on {link} gave {lease} back"},
	LeaseExpired:    {"lease_expired", Info, "Lease {lease} of {client} on {link} ran out"},
	AddressDeclined: {"address_declined", Warning, "Client {client} on {link} found {lease} in use by another host; the address is set aside, look for a host with a fixed address"},
	LeaseWithdrawn:  {"lease_withdrawn", Info, "Told {client} on {link} to stop using {lease}"},
	PoolExhausted:   {"pool_exhausted", Warning, "Nothing left for {text} of {client} on {link}; enlarge the pool or shorten the lifetimes"},
	LimitReached:    {"limit_reached", Warning, "Client {client} on {link} is at a limit of {n}: {reason}"},
	LeaseCleared:    {"lease_cleared", Info, "The operator cleared {lease}"},
	DeclineEnded:    {"decline_ended", Info, "The quarantine of {lease} is over"},
	ServerStarted:   {"server_started", Info, "Loaded {n} leases"},
	Reconfigured:    {"reconfigured", Info, "New configuration in force: {text}"},
	ConfigRefused:   {"config_refused", Error, "The new configuration was refused, the old one stays: {text}"},
	ClockUntrusted:  {"clock_untrusted", Error, "The clock is wrong ({text}); leases are extended, none ends, until the time is known"},
	ClockTrusted:    {"clock_trusted", Info, "The clock is right again ({text})"},
	LinkUp:          {"link_up", Info, "Serving {link}"},
	LinkDown:        {"link_down", Warning, "Link {link} is down, its clients cannot be served"},
	ClockSet:        {"clock_set", Warning, "The clock was set by {n} s; every lease keeps the time that is left to it"},
	ClockAdopted:    {"clock_adopted", Warning, "Took over the partner's time ({text}), {n} s ahead of a clock that was known to be behind"},
	LeasesOutOfPool: {"leases_out_of_pool", Warning, "{n} leases are in no configured pool; they are kept until they end, then not given again"},

	FailoverState:          {"failover_state", Info, "Failover {relationship}: {text}"},
	FailoverConnected:      {"failover_connected", Info, "Failover {relationship}: connected, the partner is in {text}"},
	FailoverLost:           {"failover_lost", Warning, "Failover {relationship}: the connection is lost, {text}"},
	FailoverNoSession:      {"failover_no_session", Info, "Failover {relationship}: no connection came about, {text}"},
	FailoverRejected:       {"failover_rejected", Warning, "Failover {relationship}: the partner will not connect, it says {text}"},
	FailoverRefusedConnect: {"failover_refused_connect", Warning, "Failover {relationship}: refused the partner's connection, {text}"},
	FailoverInterrupted:    {"failover_interrupted", Warning, "Failover {relationship}: the partner cannot be reached; this server serves everybody, with leases of at most MCLT beyond what the partner knows. Find out whether the partner or the network is down; say partner-down only if the partner is off"},
	FailoverUnresolved:     {"failover_unresolved", Warning, "Failover {relationship}: the partner was lost while conflicts were being resolved; this server serves everybody until it is back"},
	FailoverStorageLost:    {"failover_storage_lost", Warning, "Failover {relationship}: the partner remembers this server, but nothing of it is stored here; asking for all bindings, and waiting for one MCLT until every promise of the past has run out"},
	FailoverRequested:      {"failover_requested", Info, "Failover {relationship}: asked the partner for its updates"},
	FailoverUpToDate:       {"failover_up_to_date", Info, "Failover {relationship}: the partner has sent all its updates"},
	FailoverAsked:          {"failover_asked", Info, "Failover {relationship}: the partner asks for updates"},
	FailoverAnswered:       {"failover_answered", Info, "Failover {relationship}: sent the partner {n} updates that it had asked for"},
	FailoverUpdateRefused:  {"failover_update_refused", Info, "Failover {relationship}: refused the partner's update about {lease}: {text}"},
	FailoverUpdateRejected: {"failover_update_rejected", Warning, "Failover {relationship}: the partner will not take the update about {lease} of {client} on {link}: {text}"},
	FailoverClientReplaced: {"failover_client_replaced", Warning, "Failover {relationship}: {lease} goes to a client of the partner, {client} on {link} loses it at its next message"},
	FailoverPrefixesGiven:  {"failover_prefixes_given", Info, "Failover {relationship}: handed {n} prefixes of {text} to the secondary"},
	FailoverPrefixesTaken:  {"failover_prefixes_taken", Info, "Failover {relationship}: asked the secondary for {n} prefixes of {text}"},
	FailoverProtocol:       {"failover_protocol", Warning, "Failover {relationship}: the partner sent {text}; it was ignored"},
}

// IDs lists every kind in no particular order, for tests and documentation.
func IDs() []ID {
	ids := make([]ID, 0, len(kinds))
	for id := range kinds {
		ids = append(ids, id)
	}
	return ids
}

// Name is the kind's name in metrics and filters.
func (id ID) Name() string {
	if k, ok := kinds[id]; ok {
		return k.name
	}
	return "event_" + strconv.Itoa(int(id))
}

// Level is who wants to know.
func (id ID) Level() Level { return kinds[id].level }

// String is the event as a sentence for an operator. What came from a client
// is printed as hexadecimal or as a number, never as it came (D-346).
func (e Event) String() string {
	k, ok := kinds[e.ID]
	if !ok {
		return fmt.Sprintf("Event %d", e.ID)
	}
	return strings.NewReplacer(
		"{client}", client(e.Client),
		"{iaid}", strconv.FormatUint(uint64(e.IAID), 10),
		"{lease}", leaseName(e.Lease),
		"{link}", e.Link,
		"{peer}", e.Peer.String(),
		"{msg}", messageName(e.Msg),
		"{reason}", e.Reason.String(),
		"{n}", strconv.FormatInt(e.N, 10),
		"{relationship}", e.Relationship,
		"{text}", e.Text,
	).Replace(k.sentence)
}

func client(d lease.DUID) string {
	if d == "" {
		return "an unnamed client"
	}
	return d.String()
}

// leaseName is an address without its /128.
func leaseName(p netip.Prefix) string {
	if p.IsValid() && p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

var messageNames = [...]string{
	1: "Solicit", 2: "Advertise", 3: "Request", 4: "Confirm", 5: "Renew", 6: "Rebind", 7: "Reply",
	8: "Release", 9: "Decline", 10: "Reconfigure", 11: "Information-request", 12: "Relay-forward", 13: "Relay-reply",
}

func messageName(t uint8) string {
	if int(t) < len(messageNames) && messageNames[t] != "" {
		return messageNames[t]
	}
	return "message of type " + strconv.Itoa(int(t))
}
