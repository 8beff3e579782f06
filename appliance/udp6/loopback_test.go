package udp6

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what has to happen soon.
const patience = 10 * time.Second

// listen opens a Conn on a port of the kernel's choice.
func listen(t testing.TB) *Conn {
	t.Helper()
	c, err := Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// run runs the reader until the test ends.
func run(t testing.TB, c *Conn) {
	t.Helper()
	done := make(chan error)
	go func() { done <- c.Run(context.Background()) }()
	t.Cleanup(func() {
		c.Close()
		if err := <-done; err != nil {
			t.Errorf("Run ended with: %v", err)
		}
	})
}

func loopback(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.IPv6Loopback(), port) }

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not after %v: %s", patience, what)
		}
	}
}

// take waits for n datagrams and returns copies of them.
func take(t testing.TB, c *Conn, n int) []Datagram {
	t.Helper()
	var all []Datagram
	timeout := time.After(patience)
	for len(all) < n {
		select {
		case <-c.Ready():
		case <-timeout:
			t.Fatalf("%d of %d datagrams after %v; %+v", len(all), n, patience, c.Counters())
		}
		for d := c.Next(); d != nil; d = c.Next() {
			kept := *d
			kept.Payload = bytes.Clone(d.Payload)
			all = append(all, kept)
		}
	}
	if len(all) > n {
		t.Fatalf("%d datagrams, want %d", len(all), n)
	}
	return all
}

func numbered(number uint32, octets int) []byte {
	payload := bytes.Repeat([]byte{byte(number)}, octets)
	binary.BigEndian.PutUint32(payload, number)
	return payload
}

// mustSend sends all datagrams or fails the test.
func mustSend(t testing.TB, c *Conn, out []Outgoing) {
	t.Helper()
	if n, err := c.Send(out); err != nil || n != len(out) {
		t.Fatalf("sent %d of %d: %v", n, len(out), err)
	}
}

// sendNumbered sends datagrams from..to-1, and goes on only when they have
// been read, so that the receiver's socket buffer, small without root, holds them.
func sendNumbered(t testing.TB, from, to *Conn, first, end uint32, octets int) {
	t.Helper()
	const step = 50
	for ; first < end; first += step {
		var out []Outgoing
		for number := first; number < min(first+step, end); number++ {
			out = append(out, Outgoing{Payload: numbered(number, octets), Destination: loopback(to.Port())})
		}
		want := to.Counters().Received + uint64(len(out))
		mustSend(t, from, out)
		eventually(t, "the batch is read", func() bool { return to.Counters().Received == want })
	}
}

func TestBatchesKeepOrderAndOrigin(t *testing.T) {
	client, server := listen(t), listen(t)
	run(t, server)
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	const n = 3*sendBatchMax + 1
	before := time.Now()
	sendNumbered(t, client, server, 0, n, 120)
	for i, d := range take(t, server, n) {
		if want := numbered(uint32(i), 120); !bytes.Equal(d.Payload, want) {
			t.Fatalf("datagram %d is % x, want % x", i, d.Payload, want)
		}
		if d.Source != loopback(client.Port()) || d.Destination != netip.IPv6Loopback() || d.IfIndex != lo.Index {
			t.Fatalf("datagram %d: from %v to %v on interface %d, want from %v to ::1 on %d",
				i, d.Source, d.Destination, d.IfIndex, loopback(client.Port()), lo.Index)
		}
		if d.Received.Before(before) || d.Received.After(time.Now()) {
			t.Fatalf("datagram %d received at %v, want a time since %v", i, d.Received, before)
		}
	}
	if got, want := server.Counters(), (Counters{Received: n}); got != want {
		t.Errorf("server counts %+v, want %+v", got, want)
	}
	if got, want := client.Counters(), (Counters{Sent: n}); got != want {
		t.Errorf("client counts %+v, want %+v", got, want)
	}
}

func TestFullRingDropsOldest(t *testing.T) {
	client, server := listen(t), listen(t)
	run(t, server)
	const excess = 75
	sendNumbered(t, client, server, 0, RingMax+excess, 8)
	for i, d := range take(t, server, RingMax) {
		if got := binary.BigEndian.Uint32(d.Payload); got != uint32(i+excess) {
			t.Fatalf("datagram %d has number %d, want %d: the oldest %d are to go", i, got, i+excess, excess)
		}
	}
	want := Counters{Received: RingMax + excess, DroppedRing: excess}
	if got := server.Counters(); got != want {
		t.Errorf("counters %+v, want %+v", got, want)
	}
	sendNumbered(t, client, server, 1, 2, 8) // and it goes on
	take(t, server, 1)
}

func TestDatagramsOfEveryLength(t *testing.T) {
	client, server := listen(t), listen(t)
	run(t, server)
	// 65,527 octets is all that a UDP datagram over IPv6 can hold.
	lengths := []int{0, 1, 1232, usualOctets - 1, usualOctets, usualOctets + 1, 9000, 65527, 4, 65526, 5}
	for i, length := range lengths {
		payload := bytes.Repeat([]byte{byte(i + 1)}, length)
		if length > 0 {
			payload[length-1] = 0xee
		}
		mustSend(t, client, []Outgoing{{Payload: payload, Destination: loopback(server.Port())}})
		if got := take(t, server, 1)[0].Payload; !bytes.Equal(got, payload) {
			t.Errorf("%d octets were sent, %d received, or others", length, len(got))
		}
	}
	if got, want := server.Counters(), (Counters{Received: uint64(len(lengths))}); got != want {
		t.Errorf("counters %+v, want %+v", got, want)
	}
}

// TestLargeDatagramsAreBounded: a flood of large datagrams occupies largeMax
// buffers and no more, the usual ones pass, and the buffers come back.
func TestLargeDatagramsAreBounded(t *testing.T) {
	client, server := listen(t), listen(t)
	run(t, server)
	for round := range uint64(3) {
		const large, excess = largeMax + 5, 5
		for number := range uint32(large) {
			sendNumbered(t, client, server, number, number+1, 9000)
		}
		sendNumbered(t, client, server, large, large+1, 120)
		all := take(t, server, largeMax+1)
		for i, d := range all[:largeMax] {
			if !bytes.Equal(d.Payload, numbered(uint32(i), 9000)) {
				t.Fatalf("round %d: large datagram %d is damaged", round, i)
			}
		}
		if !bytes.Equal(all[largeMax].Payload, numbered(large, 120)) {
			t.Fatalf("round %d: the usual datagram is damaged", round)
		}
		if got, want := server.Counters().Oversized, (round+1)*excess; got != want {
			t.Fatalf("round %d: %d counted as oversized, want %d", round, got, want)
		}
	}
}

// TestKernelDropsAreCounted fills the socket's buffer while nobody reads.
func TestKernelDropsAreCounted(t *testing.T) {
	client, server := listen(t), listen(t)
	const flood = 400 // 24 MB; the buffer has 8 MiB, or less without root
	out := []Outgoing{{Payload: make([]byte, 60000), Destination: loopback(server.Port())}}
	for range flood {
		mustSend(t, client, out)
	}
	run(t, server)
	// The count comes with the datagrams that find room after the drops.
	eventually(t, "a datagram brings the count", func() bool {
		mustSend(t, client, []Outgoing{{Destination: loopback(server.Port())}})
		return server.Counters().DroppedKernel > 0
	})
	for range 3 {
		mustSend(t, client, []Outgoing{{Destination: loopback(server.Port())}})
		eventually(t, "what was sent is received or dropped", func() bool {
			counters := server.Counters()
			return counters.Received+counters.DroppedKernel == client.Counters().Sent
		})
	}
}

// TestDatagramWithoutInterfaceIsDropped: nobody can answer it.
func TestDatagramWithoutInterfaceIsDropped(t *testing.T) {
	client, server := listen(t), listen(t)
	run(t, server)
	set := func(value int) {
		t.Helper()
		var err error
		controlErr := server.raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, value)
		})
		if err := errors.Join(controlErr, err); err != nil {
			t.Fatal(err)
		}
	}
	set(0)
	sendNumbered(t, client, server, 0, 3, 8)
	set(1)
	sendNumbered(t, client, server, 3, 4, 8)
	if got := take(t, server, 1)[0].Payload; !bytes.Equal(got, numbered(3, 8)) {
		t.Errorf("received % x, want % x", got, numbered(3, 8))
	}
	if got, want := server.Counters(), (Counters{Received: 4, Truncated: 3}); got != want {
		t.Errorf("counters %+v, want %+v", got, want)
	}
}

func TestRunEndsWithContextAndStillSends(t *testing.T) {
	client, server := listen(t), listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- server.Run(ctx) }()
	sendNumbered(t, client, server, 0, 1, 4) // it runs
	cancel()
	if err := receiveWithin(t, done); err != nil {
		t.Fatalf("Run ended with: %v", err)
	}
	run(t, client)
	mustSend(t, server, []Outgoing{{Payload: []byte("bye"), Destination: loopback(client.Port())}})
	if got := take(t, client, 1)[0].Payload; string(got) != "bye" {
		t.Errorf("received %q, want bye", got)
	}
}

func TestCloseEndsRunAndSend(t *testing.T) {
	client, server := listen(t), listen(t)
	done := make(chan error)
	go func() { done <- server.Run(context.Background()) }()
	sendNumbered(t, client, server, 0, 1, 4) // it runs, and waits in the kernel
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if err := receiveWithin(t, done); err != nil {
		t.Fatalf("Run ended with: %v", err)
	}
	n, err := server.Send([]Outgoing{{Destination: loopback(client.Port())}, {Destination: loopback(client.Port())}})
	if n != 0 || !errors.Is(err, net.ErrClosed) || server.Counters().SendErrors != 2 {
		t.Errorf("Send on a closed Conn: %d, %v, %+v", n, err, server.Counters())
	}
	if err := server.Sync(map[int]Groups{1: AllDHCPServers}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Sync on a closed Conn: %v", err)
	}
}

func receiveWithin(t *testing.T, errs <-chan error) error {
	t.Helper()
	select {
	case err := <-errs:
		return err
	case <-time.After(patience):
		t.Fatalf("nothing after %v", patience)
		return nil
	}
}

// TestRunReportsDeadSocket puts another file in the socket's place: what the
// kernel answers then is an error on each call.
func TestRunReportsDeadSocket(t *testing.T) {
	server := listen(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	controlErr := server.raw.Control(func(fd uintptr) { err = unix.Dup3(int(null.Fd()), int(fd), unix.O_CLOEXEC) })
	if err := errors.Join(controlErr, err); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- server.Run(context.Background()) }()
	if err := receiveWithin(t, done); !errors.Is(err, unix.ENOTSOCK) {
		t.Errorf("Run ended with %v, want ENOTSOCK", err)
	}
}

// TestSendGoesOnAfterFailures: what cannot be sent is counted, the rest arrives in order.
func TestSendGoesOnAfterFailures(t *testing.T) {
	client, server := listen(t), listen(t)
	run(t, server)
	good := func(number uint32) Outgoing {
		return Outgoing{Payload: numbered(number, 8), Destination: loopback(server.Port())}
	}
	bad := []struct {
		name string
		out  Outgoing
		want error
	}{
		{"no destination", Outgoing{}, unix.EDESTADDRREQ},
		{"unspecified address", Outgoing{Destination: netip.MustParseAddrPort("[::]:546")}, unix.EDESTADDRREQ},
		{"IPv4", Outgoing{Destination: netip.MustParseAddrPort("127.0.0.1:546")}, unix.EDESTADDRREQ},
		{"IPv4-mapped", Outgoing{Destination: netip.MustParseAddrPort("[::ffff:127.0.0.1]:546")}, unix.ENETUNREACH},
		{"port 0", Outgoing{Destination: loopback(0)}, unix.EINVAL},
		{"link-local without interface", Outgoing{Destination: netip.MustParseAddrPort("[fe80::1]:546")}, unix.EDESTADDRREQ},
		{"link-local group without interface", Outgoing{Destination: netip.MustParseAddrPort("[ff02::1:2]:546")}, unix.EDESTADDRREQ},
		{"interface gone", Outgoing{Destination: netip.MustParseAddrPort("[fe80::1]:546"), IfIndex: 1 << 30}, unix.ENODEV},
		{"negative interface", Outgoing{Destination: netip.MustParseAddrPort("[fe80::1]:546"), IfIndex: -1}, unix.ENODEV},
		{"too long", Outgoing{Payload: make([]byte, 65528), Destination: loopback(server.Port())}, unix.EMSGSIZE},
	}
	for i, test := range bad {
		before := client.Counters()
		first := uint32(3 * i)
		n, err := client.Send([]Outgoing{good(first), test.out, good(first + 1), test.out, good(first + 2)})
		if n != 3 || !errors.Is(err, test.want) {
			t.Errorf("%s: sent %d with error %v, want 3 and %v", test.name, n, err, test.want)
		}
		if err != nil && !strings.HasSuffix(err.Error(), "; 2 of 5 datagrams were not sent") {
			t.Errorf("%s: the error does not tell how many failed: %v", test.name, err)
		}
		after := client.Counters()
		if after.Sent-before.Sent != 3 || after.SendErrors-before.SendErrors != 2 {
			t.Errorf("%s: counters went from %+v to %+v", test.name, before, after)
		}
		for j, d := range take(t, server, 3) {
			if want := numbered(first+uint32(j), 8); !bytes.Equal(d.Payload, want) {
				t.Errorf("%s: received % x, want % x", test.name, d.Payload, want)
			}
		}
	}
	if n, err := client.Send(nil); n != 0 || err != nil {
		t.Errorf("nothing to send: %d, %v", n, err)
	}
}

func TestListenOnTakenPort(t *testing.T) {
	first := listen(t)
	second, err := Listen(first.Port())
	if err == nil {
		second.Close()
		t.Fatal("two servers on one port")
	}
	if !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "stop the other DHCPv6 server") {
		t.Errorf("the error does not help: %v", err)
	}
}

// option reads a socket option of type int.
func option(t *testing.T, c *Conn, level, name int) (value int) {
	t.Helper()
	var err error
	controlErr := c.raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), level, name) })
	if err := errors.Join(controlErr, err); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestSocketIsIPv6OnlyAndNotShared(t *testing.T) {
	c := listen(t)
	if option(t, c, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY) != 1 {
		t.Error("IPV6_V6ONLY is not set")
	}
	if option(t, c, unix.SOL_SOCKET, unix.SO_REUSEADDR) != 0 || option(t, c, unix.SOL_SOCKET, unix.SO_REUSEPORT) != 0 {
		t.Error("a second server could take half of the datagrams")
	}
}

func TestSyncRefusesNonsense(t *testing.T) {
	c := listen(t)
	tooMany := make(map[int]Groups)
	for i := range InterfacesMax + 1 {
		tooMany[i+1] = AllDHCPServers
	}
	tests := []struct {
		name string
		want map[int]Groups
		text string
	}{
		{"index 0", map[int]Groups{0: AllDHCPServers}, "0 is no interface index"},
		{"negative index", map[int]Groups{-3: AllDHCPServers}, "-3 is no interface index"},
		{"unknown group", map[int]Groups{1: 4}, "unknown group in set 0x4"},
		{"too many", tooMany, "129 interfaces are asked for, at most 128"},
		{"no such interface", map[int]Groups{1 << 30: AllDHCPServers}, "joining DHCPv6 multicast group ff05::1:3 on interface 1073741824: setsockopt: no such device"},
	}
	for _, test := range tests {
		if err := c.Sync(test.want); err == nil || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: error is %v, want one with %q", test.name, err, test.text)
		}
	}
	if len(c.joined) != 0 {
		t.Errorf("memberships after nonsense: %v", c.joined)
	}
}

// TestNoGarbagePerDatagram: receiving and sending allocate nothing.
func TestNoGarbagePerDatagram(t *testing.T) {
	client, server := listen(t), listen(t)
	run(t, server)
	var out [sendBatchMax]Outgoing
	for i := range out {
		out[i] = Outgoing{Payload: numbered(uint32(i), 120), Destination: loopback(server.Port())}
	}
	allocations := testing.AllocsPerRun(200, func() {
		mustSend(t, client, out[:])
		for n := 0; n < len(out); {
			<-server.Ready()
			for d := server.Next(); d != nil; d = server.Next() {
				n++
			}
		}
	})
	if perDatagram := allocations / sendBatchMax; perDatagram > 0.01 {
		t.Errorf("%.2f allocations per datagram, want 0", perDatagram)
	}
}
