package dhcp6

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
)

// tester is what the helpers need of *testing.T, *testing.F, *testing.B and *rapid.T.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

const (
	serverDUID = lease.DUID("\x00\x01\x00\x01\x2c\x3d\x4e\x5f\x02\x00\x00\x00\x00\x01")
	otherDUID  = lease.DUID("\x00\x01\x00\x01\x2c\x3d\x4e\x5f\x02\x00\x00\x00\x00\x99")

	lanIndex, wifiIndex, wanIndex = 2, 3, 4
)

var (
	allAgents  = netip.MustParseAddr("ff02::1:2") // All_DHCP_Relay_Agents_and_Servers
	allServers = netip.MustParseAddr("ff05::1:3") // All_DHCP_Servers
	routerAddr = netip.MustParseAddr("2001:db8:0:1::1")
	testStart  = lease.Clock{Mono: time.Hour, Wall: 700_000_000}
)

func prefix(s string) netip.Prefix {
	p, err := lease.ParsePrefix(s)
	if err != nil {
		panic(err)
	}
	return p
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// pool is the range of addresses from first to last.
func poolOf(first, last string) []Range { return []Range{{addr(first), addr(last)}} }

// branch is a configuration with two links on interfaces and one behind relays.
func branch(changes ...func(*Config)) *Config {
	cfg := &Config{
		RelaySupplied: RSOODefault,
		DeclinedFor:   DefaultDeclinedFor, RememberFor: DefaultRememberFor, Limits: DefaultLimits,
		Links: []Link{{
			Name: "lan", Interface: "eth0", RapidCommit: true, CreateOnRenew: true,
			Subnets:     []Subnet{{Prefix: prefix("2001:db8:0:1::/64"), Pools: poolOf("2001:db8:0:1::", "2001:db8:0:1:ffff:ffff:ffff:ffff")}},
			PrefixPools: []PrefixPool{{Prefix: prefix("2001:db8:8000::/40"), Length: 56}},
			RelayFrom:   []netip.Prefix{prefix("fe80::/10"), prefix("2001:db8:ff::/48")},
			Lifetimes:   Lifetimes{Preferred: DefaultPreferred, Valid: DefaultValid},
			Options: []Option{
				{Code: optDNSServers, Data: addr("2001:db8:0:1::1").AsSlice()},
				{Code: optDomainSearch, Data: []byte("\x04home\x04arpa\x00")},
			},
		}, {
			Name: "wifi", Interface: "eth1",
			Subnets:     []Subnet{{Prefix: prefix("2001:db8:0:2::/64"), Pools: poolOf("2001:db8:0:2::1000", "2001:db8:0:2::1fff")}},
			PrefixPools: []PrefixPool{{Prefix: prefix("2001:db8:9000::/40"), Length: 60}},
			Lifetimes:   Lifetimes{Preferred: 600, Valid: 1200},
		}, {
			Name: "far", CreateOnRenew: true,
			Subnets:            []Subnet{{Prefix: prefix("2001:db8:0:3::/64"), Pools: poolOf("2001:db8:0:3::1000", "2001:db8:0:3::ffff:ffff")}},
			RelayFrom:          []netip.Prefix{prefix("2001:db8:ff::/48")},
			RelayLinkAddresses: []netip.Addr{addr("2001:db8:fe::3")},
			Lifetimes:          Lifetimes{Preferred: DefaultPreferred, Valid: DefaultValid},
		}},
	}
	cfg.Limits.MessagesPerSecondPerClient = 1 << 30 // D-245 has tests of its own
	for _, change := range changes {
		change(cfg)
	}
	return cfg
}

// lanWith changes the first link of branch.
func lanWith(change func(*Link)) func(*Config) {
	return func(c *Config) { change(&c.Links[0]) }
}

// desk is a server with its table and a clock that is set by hand. Each packet
// that passes is checked for what always holds.
type desk struct {
	tester
	cfg     *Config
	s       *Server
	table   *lease.Table
	now     lease.Clock
	policy  Policy
	r       Result
	changes []change // of the table by the packet in hand
}

type change struct{ old, now *lease.Binding }

func newDesk(t tester, cfg *Config) *desk {
	d := &desk{tester: t, cfg: cfg, table: lease.NewTable(), now: testStart, policy: Alone{}}
	key := AddressKey{}
	for i := range key {
		key[i] = byte(i)
	}
	d.s = New(cfg, serverDUID, key, rand.New(rand.NewPCG(1, 2)))
	d.s.SetInterfaces([]Interface{
		{Index: lanIndex, Name: "eth0", Addrs: []netip.Addr{addr("fe80::1"), routerAddr}},
		{Index: wifiIndex, Name: "eth1", Addrs: []netip.Addr{addr("fe80::2"), addr("2001:db8:0:2::1")}},
		{Index: wanIndex, Name: "wan", Addrs: []netip.Addr{addr("fe80::3")}},
	})
	d.table.Watch(func(old, now *lease.Binding) {
		d.s.Changed(old, now)
		d.changes = append(d.changes, change{old, now})
	})
	return d
}

// pass lets time go by.
func (d *desk) pass(seconds uint32) {
	d.now.Mono += time.Duration(seconds) * time.Second
	d.now.Wall += lease.Time(seconds)
}

// reconfigure puts a changed configuration in force, as a reload does.
func (d *desk) reconfigure(cfg *Config) {
	d.cfg = cfg
	d.s.Reconfigure(cfg, d.table)
}

// handle gives a packet to the server and checks what comes of it.
func (d *desk) handle(p *Packet) *answer {
	d.Helper()
	d.changes = d.changes[:0]
	d.s.Handle(d.now, p, d.table, d.policy, &d.r)
	a := checkAnswer(d, p)
	checkTable(d, p, a)
	return a
}

// active lists the leases that are held, or those of one client.
func (d *desk) active(client lease.DUID) (ps []netip.Prefix) {
	for b := range d.table.From(netip.Prefix{}) {
		if b.Status == lease.Active && (client == "" || b.Client == client) {
			ps = append(ps, b.Prefix)
		}
	}
	return ps
}

// client is a DHCPv6 client at the desk, with the habits of a good one.
type client struct {
	*desk
	duid        lease.DUID
	xid         uint32
	source      netip.AddrPort
	destination netip.Addr
	ifIndex     int
	oro         []uint16 // nil: no Option Request option
	relays      []layer  // outermost first
}

// client makes client n on the first link.
func (d *desk) client(n int) *client {
	duid := []byte{0, 3, 0, 1, 2, 0, 0, 0, byte(n >> 8), byte(n)}
	return &client{desk: d, duid: lease.DUID(duid), source: netip.AddrPortFrom(linkLocal(n), 546), destination: allAgents, ifIndex: lanIndex}
}

func linkLocal(n int) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: 2, 14: byte(n >> 8), 15: byte(n)})
}

// on is the same client on another interface.
func (c *client) on(ifIndex int) *client {
	moved := *c
	moved.ifIndex = ifIndex
	return &moved
}

// via is the same client behind relays, outermost first.
func (c *client) via(source string, relays ...layer) *client {
	moved := *c
	moved.source, moved.destination, moved.relays = netip.MustParseAddrPort(source), allServers, relays
	return &moved
}

// asking is the same client with an Option Request option.
func (c *client) asking(codes ...uint16) *client {
	asking := *c
	asking.oro = append([]uint16{}, codes...)
	return &asking
}

// send sends a message with the identifiers that its type demands.
func (c *client) send(typ MessageType, options ...[]byte) *answer {
	c.Helper()
	return c.handle(c.packet(c.message(typ, options...)))
}

// message is what send sends.
func (c *client) message(typ MessageType, options ...[]byte) []byte {
	ids := [][]byte{opt(1, []byte(c.duid))}
	switch typ {
	case Request, Renew, Release, Decline:
		ids = append(ids, opt(2, []byte(serverDUID)))
	}
	if c.oro != nil {
		ids = append(ids, oro(c.oro...))
	}
	return c.bare(typ, append(ids, options...)...)
}

// bare is a message of exactly these options.
func (c *client) bare(typ MessageType, options ...[]byte) []byte {
	c.xid++
	b := binary.BigEndian.AppendUint32(nil, uint32(typ)<<24|c.xid&0xffffff)
	return append(b, slices.Concat(options...)...)
}

// packet wraps a message into the client's relays and addresses.
func (c *client) packet(data []byte) *Packet {
	for _, l := range slices.Backward(c.relays) {
		data = l.wrap(data)
	}
	return &Packet{Data: data, Source: c.source, Destination: c.destination, IfIndex: c.ifIndex}
}

// silent sends a message that has to be dropped for the reason given.
func (c *client) silent(want trace.Reason, message []byte) {
	c.Helper()
	if a := c.handle(c.packet(message)); a.typ != 0 || a.reason != want {
		c.Errorf("answer of type %d, reason %q; want none, %q", a.typ, a.reason.Name(), want.Name())
	}
}

// obtain gets leases by Solicit and Request, as clients do.
func (c *client) obtain(ias ...[]byte) *answer {
	c.Helper()
	offer := c.send(Solicit, ias...)
	if offer.typ != Advertise {
		c.Fatalf("answer of type %d to a Solicit", offer.typ)
	}
	reply := c.send(Request, offer.request()...)
	if reply.typ != Reply {
		c.Fatalf("answer of type %d to a Request", reply.typ)
	}
	return reply
}

// layer is one Relay-forward around a message.
type layer struct {
	hopCount   uint8
	link, peer string
	options    [][]byte
}

func relayed(hopCount uint8, link, peer string, options ...[]byte) layer {
	return layer{hopCount, link, peer, options}
}

func (l layer) wrap(data []byte) []byte {
	b := []byte{byte(RelayForward), l.hopCount}
	b = append(b, addr(l.link).AsSlice()...)
	b = append(b, addr(l.peer).AsSlice()...)
	return append(append(b, slices.Concat(l.options...)...), opt(9, data)...)
}

// opt is an option.
func opt(code uint16, data ...[]byte) []byte {
	d := slices.Concat(data...)
	b := binary.BigEndian.AppendUint16(nil, code)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(d))), d...)
}

func u16(vs ...uint16) (b []byte) {
	for _, v := range vs {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return b
}

func u32(vs ...uint32) (b []byte) {
	for _, v := range vs {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func oro(codes ...uint16) []byte { return opt(6, u16(codes...)) }

// na is an IA_NA with addresses.
func na(id uint32, addresses ...netip.Prefix) []byte {
	b := u32(id, 0, 0)
	for _, a := range addresses {
		b = append(b, opt(5, a.Addr().AsSlice(), u32(0, 0))...)
	}
	return opt(3, b)
}

// pd is an IA_PD with prefixes, or wishes for a length such as ::/60.
func pd(id uint32, prefixes ...netip.Prefix) []byte {
	b := u32(id, 0, 0)
	for _, p := range prefixes {
		b = append(b, iaPrefix(p)...)
	}
	return opt(25, b)
}

// iaPrefix is an IA Prefix option with options in it.
func iaPrefix(p netip.Prefix, options ...[]byte) []byte {
	return opt(26, u32(0, 0), []byte{byte(p.Bits())}, p.Addr().AsSlice(), slices.Concat(options...))
}

// ia is na or pd.
func ia(typ lease.IAType, id lease.IAID, leases ...netip.Prefix) []byte {
	if typ == lease.IANA {
		return na(uint32(id), leases...)
	}
	return pd(uint32(id), leases...)
}

// eq compares and complains.
func eq[T comparable](t tester, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func name(format string, args ...any) string { return fmt.Sprintf(format, args...) }

var _ tester = testing.TB(nil)

func prefixes(list ...string) (ps []netip.Prefix) {
	for _, s := range list {
		ps = append(ps, prefix(s))
	}
	return ps
}
