package appliance

import (
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/tandem6/tandem6/appliance/udp6"
	"github.com/tandem6/tandem6/failover/trace"
)

// Answers leave complete and in their order, however many there are at a time:
// few, which the loop sends, and many, which gather behind the sender.
func TestSendOff(t *testing.T) {
	conn, err := udp6.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.SetReadDeadline(time.Now().Add(10 * time.Second))
	to := client.LocalAddr().(*net.UDPAddr).AddrPort()

	j := newJournal(slog.New(slog.NewTextHandler(io.Discard, nil)), trace.Error)
	l := &loop{conn: conn, journal: j, sender: startSender(conn, j)}
	defer l.sender.close()
	sent := uint32(0)
	add := func(n int, to netip.AddrPort) {
		for range n {
			l.sends = append(l.sends, udp6.Outgoing{Payload: binary.BigEndian.AppendUint32(nil, sent), Destination: to})
			sent++
		}
		l.sendOff()
	}
	finish := func() {
		for len(l.sends) > 0 { // as run does
			l.spare = <-l.sender.idle
			l.sendOff()
		}
	}
	buffer := make([]byte, 16)
	for _, sizes := range [][]int{{1}, {1, 2, 3}, {handOverMin, 1}, {5, 40, 1, 1, 30, 1}, {handOverMin - 1, 100, 1, 20, 60}} {
		first := sent
		for _, n := range sizes {
			add(n, to)
		}
		finish()
		for want := first; want < sent; want++ { // no more than fit into the client's buffer
			n, err := client.Read(buffer)
			if err != nil || n != 4 || binary.BigEndian.Uint32(buffer) != want {
				t.Fatalf("of the packets %v, number %d: %x, %v", sizes, want-first, buffer[:n], err)
			}
		}
	}

	// Too many to gather: the loop waits. Nobody reads these.
	nobody := netip.AddrPortFrom(to.Addr(), conn.Port())
	for range 5 {
		add(unsentMax, nobody)
		if len(l.sends) >= unsentMax {
			t.Fatalf("%d packets gathered", len(l.sends))
		}
	}
	finish()
	l.spare = <-l.sender.idle
	if got := conn.Counters(); got.Sent != uint64(sent) || got.SendErrors != 0 {
		t.Errorf("%d packets sent, %d failed, want %d", got.Sent, got.SendErrors, sent)
	}
}
