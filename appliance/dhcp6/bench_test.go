package dhcp6

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
)

// bench is a server with the default limits, and messages that are made before
// the clock runs: only the server is measured.
type bench struct {
	*desk
	p    Packet
	duid int // where the last four octets of the DUID stand
}

func newBench(b *testing.B, change func(*Config)) *bench {
	d := newDesk(b, branch(change))
	d.table.Watch(d.s.Changed)
	return &bench{desk: d}
}

// message makes one message; client varies its DUID.
func (b *bench) message(typ MessageType, options ...[]byte) []byte {
	c := b.client(0)
	c.duid = "\x00\x03\x00\x01\x02\x00\x00\x00\x00\x00\x00\x00"
	m := c.asking(23, 24, 82).message(typ, options...)
	b.duid = 4 + 4 + len(c.duid) - 4
	b.p = *c.packet(nil)
	return m
}

func (b *bench) handle(message []byte, client int) {
	binary.BigEndian.PutUint32(message[b.duid:], uint32(client))
	b.p.Data = message
	b.s.Handle(b.now, &b.p, b.table, b.policy, &b.r)
	if b.r.Answer.Data == nil {
		b.Fatalf("no answer: %v", b.r.Trace)
	}
}

var benchIAs = []struct {
	name string
	ias  [][]byte
}{{"NA", [][]byte{na(1)}}, {"PD", [][]byte{pd(1)}}, {"both", [][]byte{na(1), pd(1)}}}

// BenchmarkSolicitRequest is the exchange of four messages with new clients.
func BenchmarkSolicitRequest(b *testing.B) {
	for _, tt := range benchIAs {
		b.Run(tt.name, func(b *testing.B) {
			d := newBench(b, func(c *Config) {
				c.Links[0].PrefixPools[0].Prefix = prefix("2001:db8:8000::/33")
				c.Links = c.Links[:1]
			})
			solicit, request := d.message(Solicit, tt.ias...), d.message(Request, tt.ias...)
			b.ReportAllocs()
			client := 0
			for b.Loop() {
				if d.table.Len() > 500_000 { // as many as a table has that is not about to be full
					b.StopTimer()
					d.table = lease.NewTable()
					d.s.Reconfigure(d.cfg, d.table)
					d.table.Watch(d.s.Changed)
					b.StartTimer()
				}
				d.handle(solicit, client)
				d.handle(request, client)
				client++
			}
		})
	}
}

// BenchmarkRenew renews the leases of 10,000 clients in turn, each when its T1
// has come.
func BenchmarkRenew(b *testing.B) {
	const clients = 10_000
	for _, tt := range benchIAs {
		b.Run(tt.name, func(b *testing.B) {
			d := newBench(b, func(*Config) {})
			request, renew := d.message(Request, tt.ias...), d.message(Renew, tt.ias...)
			for n := range clients {
				d.handle(request, n)
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if n%clients == 0 {
					d.pass(DefaultPreferred / 2)
				}
				d.handle(renew, n%clients)
				n++
			}
		})
	}
}

// BenchmarkFloodOfSolicits is what invented clients cost: each asks once.
func BenchmarkFloodOfSolicits(b *testing.B) {
	d := newBench(b, func(*Config) {})
	solicit := d.message(Solicit, na(1), pd(1))
	b.ReportAllocs()
	client := 0
	for b.Loop() {
		d.handle(solicit, client)
		client++
	}
}

// BenchmarkWorstSolicit is the dearest packet that we know: 32 identity
// associations on a link whose pool is reserved to the last address.
func BenchmarkWorstSolicit(b *testing.B) {
	d := newBench(b, lanWith(func(l *Link) {
		l.Subnets[0].Pools = poolOf("2001:db8:0:1::1:0", "2001:db8:0:1::1:ffff")
		for n := range 65536 {
			a := toU128(addr("2001:db8:0:1::1:0")).add(u128{0, uint64(n)}).addr()
			l.Reservations = append(l.Reservations, Reservation{Client: lease.DUID(u32(4, uint32(n))), Addresses: []netip.Addr{a}})
		}
	}))
	var ias [][]byte
	for i := range 32 {
		ias = append(ias, na(uint32(i)))
	}
	solicit := d.message(Solicit, ias...)
	b.ReportAllocs()
	client := 0
	for b.Loop() {
		d.handle(solicit, client)
		client++
	}
}
