package sim

import (
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/failover/lease"
)

// A lan is a link with clients, some of them behind a relay agent, and one or
// two servers. Datagrams get lost, late, or there twice, each on its own.
type lan struct {
	*World
	index   int
	name    string
	ports   []*port
	clients []*client
	split   bool // in two: each server reaches every other client only
}

// apart reports whether the split of the lan is between a client and a server.
func (l *lan) apart(c *client, p *port) bool {
	return l.split && l.ports[c.id%len(l.ports)] != p
}

// A port is where a server is attached to a lan. Either direction can be cut.
type port struct {
	node    *node
	ifIndex int
	cutIn   bool // what clients send does not arrive
	cutOut  bool // what the server sends does not arrive
}

const (
	uplinkIndex = 1  // the interface of a server that is on no lan
	lanIndexes  = 10 // the interface on lan i is lanIndexes+i
)

var allAgentsAndServers = netip.MustParseAddr("ff02::1:2")

func (l *lan) subnet() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 7: byte(l.index)}), 64)
}

// host is an address in the subnet.
func (l *lan) host(n int) netip.Addr {
	a := l.subnet().Addr().As16()
	a[14], a[15] = byte(n>>8), byte(n)
	return netip.AddrFrom16(a)
}

// prefixes is the pool of delegable prefixes, each of delegatedLength.
func (l *lan) prefixes() netip.Prefix {
	bits := delegatedLength
	for n := l.Prefixes; n > 1; n /= 2 {
		bits--
	}
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 4: 0x80, 5: byte(l.index)}), bits)
}

const delegatedLength = 56

// relayAddress is that of the relay agent of the lan.
func (l *lan) relayAddress() netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 4: 0xff, 5: 0xfe, 15: byte(l.index + 1)})
}

// link is the lan as the servers know it.
func (l *lan) link() dhcp6.Link {
	first := l.poolFirst()
	link := dhcp6.Link{
		Name: l.name, Interface: l.name,
		Subnets: []dhcp6.Subnet{{
			Prefix: l.subnet(),
			Pools:  []dhcp6.Range{{First: l.host(first), Last: l.host(first + l.Addresses - 1)}},
		}},
		PrefixPools: []dhcp6.PrefixPool{{Prefix: l.prefixes(), Length: delegatedLength}},
		RelayFrom:   []netip.Prefix{lease.Address(l.relayAddress())},
		RapidCommit: l.RapidCommit, CreateOnRenew: l.OnRenew,
		Lifetimes: dhcp6.Lifetimes{Preferred: l.Preferred_s, Valid: l.Valid_s},
	}
	for i := range min(l.Reserved, len(l.clients)) {
		link.Reservations = append(link.Reservations, dhcp6.Reservation{
			Client: l.clients[i].duid, Addresses: []netip.Addr{l.host(reservedFirst + i)},
		})
	}
	return link
}

const (
	poolStart     = 0x1000
	reservedFirst = 0x100
)

// poolFirst is the first address of the pool.
func (l *lan) poolFirst() int {
	if l.OddFirst {
		return poolStart + 1
	}
	return poolStart
}

// eachPrefix walks the prefixes of the pool.
func (l *lan) eachPrefix() iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		a := l.prefixes().Addr().As16()
		first := a[6]
		for i := range l.Prefixes {
			a[6] = first + byte(i)
			if !yield(netip.PrefixFrom(netip.AddrFrom16(a), delegatedLength)) {
				return
			}
		}
	}
}

// fromClient carries a client's message to every server of the lan.
func (l *lan) fromClient(c *client, data []byte) {
	p := dhcp6.Packet{Data: data, Source: netip.AddrPortFrom(c.address, dhcp6.ClientPort), Destination: allAgentsAndServers}
	if c.relayed {
		r := relayed{kind: relayForward, link: l.host(0xfffe), peer: c.address, interfaceID: []byte{byte(c.id)}, inner: data}
		p.Data = r.append(nil)
		p.Source = netip.AddrPortFrom(l.relayAddress(), dhcp6.ServerPort)
	}
	for _, port := range l.ports {
		to := p
		to.IfIndex = port.ifIndex
		if c.relayed {
			to.Destination, to.IfIndex = port.node.address(), uplinkIndex
		}
		l.carry(port.cutIn || l.apart(c, port), func() { port.node.receive(c, to) })
	}
}

// toClient carries an answer. It knows the client by the address that the answer
// goes to, as the link does.
func (l *lan) toClient(from *port, out dhcp6.Output) {
	data, to := out.Data, out.Destination.Addr()
	if to == l.relayAddress() {
		r, err := parseRelayed(data)
		if err != nil || r.kind != relayReply {
			panic(fmt.Sprintf("sim: %s sent to a relay what is no Relay-reply: %x", from.node.name, data))
		}
		data, to = r.inner, r.peer
	}
	for _, c := range l.clients {
		if c.address == to {
			l.carry(from.cutOut || l.apart(c, from), func() { c.receive(data) })
		}
	}
}

// lateMax is how late a datagram can be. It is well below the time for which a
// server keeps a lease beyond its end (engine.ExpiryGrace).
const lateMax = 3 * time.Second

// carry moves one datagram.
func (w *World) carry(cut bool, deliver func()) {
	if cut || w.chance(w.loss) {
		w.tally.count("network: datagram lost")
		return
	}
	copies := 1
	if w.chance(w.duplicates) {
		copies = 2
		w.tally.count("network: datagram doubled")
	}
	for range copies {
		d := w.latency()
		if w.chance(w.delays) {
			d += time.Duration(w.Float64() * float64(lateMax))
			w.tally.count("network: datagram late")
		}
		w.after(d, deliver)
	}
}

// latency is how long a datagram or segment takes.
func (w *World) latency() time.Duration {
	return w.Latency + time.Duration(w.Float64()*float64(w.LatencySpread)) + w.congestion
}
