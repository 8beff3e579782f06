// Package failover is one side of a DHCPv6 failover relationship, RFC 8156: an
// Endpoint. It is pure. Each method takes the time and what happened, changes
// the endpoint and the lease table, and appends to an Output what is to be
// stored, sent, and told.
//
// The parts: machine.go holds the state machine as a table, state.go what a
// server does in each state; session.go makes and watches connections;
// updates.go sends binding updates, receive.go takes the partner's; resync.go
// answers for whole databases; pool.go shares delegable prefixes; policy.go
// says what the DHCPv6 server may promise. DESIGN.md tells where and why this
// departs from the RFC.
package failover
