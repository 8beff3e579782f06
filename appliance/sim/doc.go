// Package sim is the judge of the failover protocol: it runs the production
// engines, with real wire bytes and the real encoding of records, in a world of
// simulated boxes, disks, clocks, networks, clients and operators, and watches
// the promises that must never break.
//
// # One seed
//
// Draw makes the Options of a seed: how many servers and clients, how large the
// pools, how long everything lasts, and which faults strike how often (swarm
// testing). Run plays them. There are no goroutines and there is no real time: a
// scheduler jumps from one event to the next, and all chance comes from the seed.
// The same seed gives the same history to the octet, on every machine, with and
// without somebody who reads along.
//
// A history has two parts. First there are faults, and no promise may break
// (safety). Then the faults are over, and in bounded time the partners have to be
// NORMAL, to agree about every lease, and to serve every client that can be
// served (liveness).
//
// # The world
//
//	world.go     what there is, and how it begins
//	schedule.go  virtual time
//	options.go   what is different from seed to seed
//	node.go      a box: power, process, disk; the shell around the engine
//	clock.go     its two clocks: drift, skew, 1970, steps of an hour
//	lan.go       datagrams between servers, relay and clients: lost, late, doubled
//	stream.go    connections between partners as TCP makes them: order, segments,
//	             resets, half-open ones, ones that the network has forgotten
//	pair.go      the network between two partners, and its partitions
//	partner.go   a node's side of it
//	client.go, dialogue.go, habits.go, dhcp.go
//	             DHCPv6 clients (RFC 9915), what they do unasked, their messages
//	operator.go  the people: outages, upgrades, resync, partner-down, and the duties
//	             that go with it
//	weather.go   everything that goes wrong
//	calm.go      the end of it
//	journal.go, tally.go, run.go
//	             the history as a number and as a text; what was met; a run
//
// # The assumptions
//
// A simulator that is harsher than the promises shows nothing. These are the
// limits of this one:
//
//   - A disk keeps what it said to be durable. It may fail, stall for half a
//     minute, or be replaced by an empty one; but not the disks of both partners
//     at a time, and not that of a server in PARTNER-DOWN, whose promises nobody
//     else knows of.
//   - A clock that NTP has set is within skewMax of true time. One that starts
//     without is behind, never ahead. A clock that is put an hour ahead while it
//     runs is one of a pair outside of PARTNER-DOWN: a server that decides alone
//     cannot know that it is not yet that late.
//   - A datagram is at most lateMax late.
//   - Operators know their duties (RFC 8156 section 8.4): see operator. With
//     auto-partner-down nothing may separate two servers that both run (8.9).
//   - A client counts its lifetimes from the Reply that it got, in true time, and
//     believes any Reply to its transaction.
package sim
