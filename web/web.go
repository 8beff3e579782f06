// Package web is the operator's way into tandem6d: a JSON API over HTTP, its
// server side for the daemon and its client side for programs such as the
// command line tool tandem6. Web pages and TLS sit on the same handlers.
//
// The package has its own view of everything it shows (Status, Lease, Problem)
// and reaches the daemon only through the Operator interface, so that what an
// operator or a script sees does not change whenever something inside does.
//
// # The API
//
//	GET  /api/v1/status                          Status
//	GET  /api/v1/leases?filter=&after=&limit=    one Lease a line (NDJSON), ordered by address, then length
//	POST /api/v1/leases/release                  {"prefix": "2001:db8::1"}
//	GET  /api/v1/config                          the configuration in force, as text
//	PUT  /api/v1/config?persist=true             body: the new text; answers {"problems": [...]}
//	POST /api/v1/config/check                    body: a text; answers {"problems": [...]}
//	GET  /api/v1/address-key                     {"address-key": "64 hexadecimal digits"}: a secret
//	PUT  /api/v1/address-key                     body: the same; answers {}
//
// A refusal has a status code of 400 or above and the body {"error": "what is
// wrong", "hint": "what to do"}; a refused configuration also carries
// "problems". A page of leases that has fewer lines than its limit is the last
// one; for the next page, "after" is the prefix of the last lease seen. When a
// list breaks off, its last line is {"error": ..., "hint": ...}.
//
// Keys are spelled like those of the configuration file. Times are RFC 3339,
// durations integers whose unit ends the key (-s, -us). Keys are added, never
// renamed or removed, within v1.
package web

import (
	"context"
	"time"
)

// Limits of what passes through the API. Both sides hold them.
const (
	ConfigLenMax     = 4 << 20 // octets of a configuration: ten thousand reservations with a comment each
	FilterLenMax     = 512     // octets: more than the longest DUID, 130 octets as hexadecimal with colons
	LeasesPerPageMax = 1000    // rows: about 400 KiB, which client and server may hold whole
)

// OperationTimeMax is how long the server lets an Operator think about one
// request. Applying a large configuration on the smallest board takes seconds.
const OperationTimeMax = 30 * time.Second

// Operator is what a person or a script may ask of the daemon. The daemon
// implements it over its event loop, Client over a socket. Methods are called
// from many goroutines at once and give up with ctx. An *Error among the errors
// chooses the status code and the hint; any other is an internal failure.
type Operator interface {
	// Status returns how the server is doing at this moment.
	Status(ctx context.Context) (Status, error)

	// Leases calls yield for each lease that query asks for, in the order of
	// address, then length. It stops at the first error of yield and returns
	// it. It checks ctx between rows also when none matches, and never holds
	// all rows in memory.
	Leases(ctx context.Context, query LeaseQuery, yield func(Lease) error) error

	// ReleaseLease ends the lease of an address or a delegated prefix, both
	// in canonical form (RFC 5952; an address without a length), and returns
	// when that is durable. Unknown leases are an *Error with status 404.
	ReleaseLease(ctx context.Context, prefix string) error

	// Config returns the text of the configuration in force.
	Config(ctx context.Context) ([]byte, error)

	// CheckConfig returns what is wrong with text and changes nothing. Errors
	// are only those of the check itself.
	CheckConfig(ctx context.Context, text []byte) ([]Problem, error)

	// ApplyConfig puts text in force, and into the daemon's file when persist
	// is set; without it, the next start reads the old file again. When one of
	// the problems is not a Warning, nothing has changed.
	ApplyConfig(ctx context.Context, text []byte, persist bool) ([]Problem, error)

	// AddressKey returns the secret behind the choice of addresses (RFC 7943
	// section 3, D-243) as ParseAddressKey spells it. Nothing else shows it.
	AddressKey(ctx context.Context) (string, error)

	// SetAddressKey changes that secret to key, spelled as ParseAddressKey
	// does, and returns when that is durable. Clients keep what they have.
	SetAddressKey(ctx context.Context, key string) error
}

// LeaseQuery says which leases to list.
type LeaseQuery struct {
	Filter Filter // the zero Filter matches every lease
	After  string // start behind this prefix or address, canonical; empty: from the first
	Limit  int    // at most so many matching rows; 0: no limit
}

// Status is how the server is doing.
type Status struct {
	Version       string         `json:"version"`
	Since         time.Time      `json:"since"`    // start of the daemon by the wall clock, which may have been wrong then
	Uptime_s      int64          `json:"uptime-s"` // by the monotonic clock
	ServerDUID    string         `json:"server-duid"`
	Clock         Clock          `json:"clock"`
	Links         []Link         `json:"links"`  // in the order of the configuration
	Leases        map[string]int `json:"leases"` // by binding-status (RFC 8156 section 5.5.1), ACTIVE for instance
	Counters      Counters       `json:"counters"`
	Storage       Storage        `json:"storage"`
	Configuration Configuration  `json:"configuration"`

	// NetworkProblems are a sentence each: addresses and routes of the
	// configuration that the box does not have, and what stands in the way.
	NetworkProblems []string `json:"network-problems"`
}

// Clock is the wall clock and whether the server believes it.
type Clock struct {
	Now     time.Time `json:"now"`
	Trusted bool      `json:"trusted"`
	Reason  string    `json:"reason,omitempty"` // why it is not trusted, and what has to happen
}

// LinkState is the state of the interface of a link.
type LinkState string

// The states of a link.
const (
	LinkUp      LinkState = "up"
	LinkDown    LinkState = "down"    // no carrier, or set down
	LinkMissing LinkState = "missing" // there is no such interface
	LinkRelayed LinkState = "relayed" // no interface of its own: reached through relays
)

// Link is one configured link.
type Link struct {
	Name      string    `json:"name"`
	Interface string    `json:"interface,omitempty"` // empty: reached only through relays
	State     LinkState `json:"state"`
	Serving   bool      `json:"serving"`
	Message   string    `json:"message,omitempty"` // what keeps it from being served, or what an operator should know
	Pools     []Pool    `json:"pools"`

	// RouterAdvertisements is missing when none are configured for the link.
	RouterAdvertisements *RouterAdvertisements `json:"router-advertisements,omitempty"`
}

// RouterAdvertisements are those that the box sends on the interface of a link
// (RFC 4861); they count since they were configured.
type RouterAdvertisements struct {
	Source        string `json:"source,omitempty"`  // link-local address that they are sent from; empty: none are sent now
	Message       string `json:"message,omitempty"` // why none are sent now
	Sent          uint64 `json:"sent"`
	SendErrors    uint64 `json:"send-errors"`   // the kernel did not take them
	Solicitations uint64 `json:"solicitations"` // valid ones, of hosts that asked
}

// Pool is one range of addresses, or one prefix out of which prefixes are
// delegated.
type Pool struct {
	Type            string `json:"type"`                       // IA_NA or IA_PD
	Range           string `json:"range"`                      // 2001:db8::1000-2001:db8::ffff, or a prefix
	DelegatedLength int    `json:"delegated-length,omitempty"` // of IA_PD
	Size            string `json:"size"`                       // addresses or prefixes in all; decimal, often beyond 64 bits
	Used            int    `json:"used"`                       // how many of them cannot be given to a new client now
}

// Counters count since the start of the daemon.
type Counters struct {
	Received       uint64            `json:"received"`        // packets
	Answered       uint64            `json:"answered"`        // packets
	Dropped        map[string]uint64 `json:"dropped"`         // packets the server refused to answer, by reason
	RingDrops      uint64            `json:"ring-drops"`      // packets that found no room: the box was too slow
	Oversized      uint64            `json:"oversized"`       // large packets that found no room
	Truncated      uint64            `json:"truncated"`       // packets that no client sends: far too long, or without a destination
	SendErrors     uint64            `json:"send-errors"`     // answers that the kernel did not take
	Commits        uint64            `json:"commits"`         // transactions on the disk
	CommittedBytes uint64            `json:"committed-bytes"` // octets written by them; 0: not known
}

// Storage is the lease file.
type Storage struct {
	File          string `json:"file"`
	Size_bytes    int64  `json:"size-bytes"`
	LastCommit_us int64  `json:"last-commit-us"` // how long the last commit took; 0: there was none yet
}

// Configuration is where the configuration in force came from.
type Configuration struct {
	File        string    `json:"file"`
	LoadedAt    time.Time `json:"loaded-at,omitzero"`
	Unsaved     bool      `json:"unsaved,omitempty"`      // applied without being written to File
	LastProblem string    `json:"last-problem,omitempty"` // why a later configuration was refused
}

// Infinity is the lifetime that never runs out, in seconds (RFC 9915 section 7.7).
const Infinity uint32 = 1<<32 - 1

// Lease is one address or delegated prefix and who holds it.
type Lease struct {
	Prefix          string    `json:"prefix"` // an address without a length, or a delegated prefix; RFC 5952
	Type            string    `json:"type"`   // IA_NA or IA_PD
	Link            string    `json:"link"`
	Client          string    `json:"client"` // DUID: lower-case hexadecimal, octets separated by colons
	IAID            uint32    `json:"iaid"`
	Hostname        string    `json:"hostname,omitempty"`
	Status          string    `json:"status"`           // binding-status of RFC 8156 section 5.5.1: ACTIVE, EXPIRED, ...
	Since           time.Time `json:"since,omitzero"`   // since when Status holds
	Expires         time.Time `json:"expires,omitzero"` // when Status ends by itself; zero: it does not
	Remaining_s     uint32    `json:"remaining-s"`      // until Expires, 0 when it has passed; Infinity when there is none
	Preferred_s     uint32    `json:"preferred-s"`      // lifetime last told to the client
	Valid_s         uint32    `json:"valid-s"`          // lifetime last told to the client
	LastTransaction time.Time `json:"last-transaction,omitzero"`
	Via             string    `json:"via,omitempty"`   // next hop of the route to a delegated prefix: the client's link-local address
	Route           string    `json:"route,omitempty"` // whether the kernel has that route, and if not, why
}

// Problem is one thing wrong with a configuration.
type Problem struct {
	File    string `json:"file,omitempty"`   // empty: the text that was sent
	Line    int    `json:"line,omitempty"`   // from 1; 0: not known
	Column  int    `json:"column,omitempty"` // from 1, in octets; 0: not known
	Path    string `json:"path,omitempty"`   // of keys, such as links.lan.subnets[0].prefix
	Text    string `json:"text"`             // what was found and what is allowed
	Warning bool   `json:"warning,omitempty"`
}

// ErrorCount is the number of problems that forbid the configuration.
func ErrorCount(problems []Problem) int {
	n := 0
	for _, p := range problems {
		if !p.Warning {
			n++
		}
	}
	return n
}
