package failover

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// record is what an endpoint must remember across a restart besides the leases
// (RFC 8156 section 8.2, F-280).
type record struct {
	State    State // never Startup
	Previous State // zero: none
	Since    lease.Time

	Partner         State // zero: no STATE has come yet
	PartnerFlags    wire.ServerFlags
	PartnerSince    lease.Time
	PartnerDownTime lease.Time // only while the partner is in PARTNER-DOWN
	LastMessage     lease.Time // from the partner

	// Communicated: a STATE of this partner was ever processed. Connections
	// show what it was when they began.
	Communicated bool

	Role    lease.Role // that it was written in
	Dispute bool       // the partner was in PARTNER-DOWN: it may have given out prefixes of this server

	Loss   loss // of stable storage
	Virgin bool // neither server had ever met the other when they met (T-23)

	// Links are those whose leases both servers have told each other, in order.
	// What was on another before it joined, the partner does not know.
	Links []string

	MCLT_s       uint32     // in use
	FormerMCLT_s uint32     // a larger one that was in use
	FormerUntil  lease.Time // until when waits are measured by it
	Stamp        lease.Time // when this server last served, as far as the leases do not show it
}

// loss says what a server that lost its storage has to make up for (T-18, Q-84).
type loss uint8

const (
	lossNone     loss = iota
	lossData          // bindings are missing: the partner is asked for all it has
	lossPromises      // they are back, but clients may hold what the partner never heard of
)

const recordVersion = 1

var errRecord = errors.New("damaged record of a failover relationship")

// appendRecord appends r: a version, then all integers as varints in order, then
// the names of the links, each preceded by its length.
func appendRecord(dst []byte, r *record) []byte {
	dst = append(dst, recordVersion)
	for _, v := range r.fields() {
		dst = binary.AppendVarint(dst, v.get())
	}
	for _, name := range r.Links {
		dst = append(append(dst, byte(len(name))), name...)
	}
	return dst
}

// parseRecord is the inverse, and as strict.
func parseRecord(data []byte) (record, error) {
	var r record
	if len(data) == 0 || data[0] != recordVersion {
		return r, fmt.Errorf("%w: version %v, known is %d", errRecord, data[:min(len(data), 1)], recordVersion)
	}
	data = data[1:]
	for _, f := range r.fields() {
		v, n := binary.Varint(data)
		if n <= 0 || n > len(binary.AppendVarint(nil, v)) || !f.set(v) {
			return record{}, fmt.Errorf("%w: field %s", errRecord, f.name)
		}
		data = data[n:]
	}
	for len(data) > 0 {
		n := 1 + int(data[0])
		if n == 1 || n > len(data) || n-1 > lease.LinkNameLenMax {
			return record{}, fmt.Errorf("%w: a link's name of %d octets, %d are left", errRecord, n-1, len(data)-1)
		}
		r.Links, data = append(r.Links, string(data[1:n])), data[n:]
	}
	if r.State == 0 || !storable(r.State) || !storable(r.Previous) || !storable(r.Partner) {
		return record{}, fmt.Errorf("%w: states %v, %v before, %v of the partner", errRecord, r.State, r.Previous, r.Partner)
	}
	if r.Loss > lossPromises {
		return record{}, fmt.Errorf("%w: loss %d", errRecord, r.Loss)
	}
	return r, nil
}

// storable reports whether a record can hold a state: none, or any but Startup.
func storable(s State) bool { return s == 0 || s.Valid() && s != Startup }

// field is one integer of a record.
type field struct {
	name string
	get  func() int64
	set  func(int64) bool
}

func (r *record) fields() []field {
	return []field{
		integer("state", &r.State), integer("previous", &r.Previous), integer("since", &r.Since),
		integer("partner", &r.Partner), integer("partner-flags", &r.PartnerFlags), integer("partner-since", &r.PartnerSince),
		integer("partner-down-time", &r.PartnerDownTime), integer("last-message", &r.LastMessage),
		boolean("communicated", &r.Communicated), integer("role", &r.Role), boolean("dispute", &r.Dispute), integer("loss", &r.Loss), boolean("virgin", &r.Virgin),
		integer("mclt", &r.MCLT_s), integer("former-mclt", &r.FormerMCLT_s), integer("former-until", &r.FormerUntil),
		integer("stamp", &r.Stamp),
	}
}

func integer[T ~uint8 | ~uint32 | ~int64](name string, v *T) field {
	return field{name, func() int64 { return int64(*v) }, func(x int64) bool { *v = T(x); return int64(*v) == x }}
}

func boolean(name string, v *bool) field {
	return field{name, func() int64 {
		if *v {
			return 1
		}
		return 0
	}, func(x int64) bool { *v = x == 1; return x == 0 || x == 1 }}
}

// store has the record written. A server that serves notes the time with it.
func (e *Endpoint) store() {
	if serving(e.state) {
		e.record.Stamp = e.now.Wall
	}
	e.out.Record = appendRecord(nil, &e.record)
}

// lastOperation is the last instant at which this server can have made a promise
// to a client. Every promise is on disk with its time before it leaves, so no
// heartbeat is needed to bound it. Zero: not known.
func (e *Endpoint) lastOperation() lease.Time { return max(e.operated, e.record.Stamp) }

// Forsake is the record of a relationship that is configured no more. If it
// comes back, what has happened to the leases meanwhile has to be told anew.
func Forsake(data []byte) ([]byte, error) {
	r, err := parseRecord(data)
	if err != nil {
		return nil, err
	}
	r.Links = nil
	return appendRecord(nil, &r), nil
}

// Since is the latest time in a record: the clock has read it.
func Since(data []byte) lease.Time {
	r, err := parseRecord(data)
	if err != nil {
		return 0
	}
	return max(r.Since, r.Stamp)
}

// Later is a record whose times since a time are later by so many seconds.
func Later(data []byte, by, since lease.Time) []byte {
	r, err := parseRecord(data)
	if err != nil {
		return data // is found when it is loaded
	}
	for _, t := range []*lease.Time{&r.Since, &r.Stamp} {
		if *t >= since {
			*t += by
		}
	}
	return appendRecord(nil, &r)
}

// CheckRecord reports what is wrong with a stored record.
func CheckRecord(data []byte) error {
	_, err := parseRecord(data)
	return err
}
