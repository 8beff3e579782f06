package udp6

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkEcho sends datagrams of 120 octets over a veth to an event loop that
// echoes them, with a fixed number on the way. Both sides are a Conn, so an
// operation is four passages through this package, and the cores are shared. The
// CPU time of both sides and of the kernel's work for them does not depend much on
// what else the machine does.
func BenchmarkEcho(b *testing.B) {
	w := newWorld(b)
	l := w.lan(0, 0)
	server := w.listenServer()
	echo(b, server)
	var client *Conn
	w.inClient(func() { client = listen(b) })
	run(b, client)
	to := netip.AddrPortFrom(l.serverAddr, ServerPort)
	for _, inFlight := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprint(inFlight), func(b *testing.B) {
			out := make([]Outgoing, inFlight)
			for i := range out {
				out[i] = Outgoing{Payload: make([]byte, 120), Destination: to, IfIndex: l.clientIndex()}
			}
			lost := time.NewTimer(time.Hour)
			b.ReportAllocs()
			b.ResetTimer()
			cpuBefore := cpuTime(b)
			sent := min(inFlight, b.N)
			mustSend(b, client, out[:sent])
			for received := 0; received < b.N; {
				lost.Reset(patience)
				select {
				case <-client.Ready():
				case <-lost.C:
					b.Fatalf("lost: %d sent, %d received; client %+v, server %+v", sent, received, client.Counters(), server.Counters())
				}
				n := 0
				for client.Next() != nil {
					n++
				}
				received += n
				again := min(n, b.N-sent)
				mustSend(b, client, out[:again])
				sent += again
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "echoes/s")
			b.ReportMetric(float64((cpuTime(b)-cpuBefore).Nanoseconds())/float64(b.N), "cpu-ns/echo")
		})
	}
}

// cpuTime is what the process used so far.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
