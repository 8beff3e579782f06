package lab_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tandem6/tandem6/appliance/lab"
)

// A recorder stands in for a test that is expected to fail: it keeps the complaints.
type recorder struct {
	*testing.T
	complaints []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.complaints = append(r.complaints, fmt.Sprintf(format, args...))
}

// TestCaptureCheck shows that a malformed packet does not escape the judgement of tshark.
func TestCaptureCheck(t *testing.T) {
	lab.Need(t, "tcpdump", "tshark")
	const (
		good = "0b010203" + "000800020000"        // Information-request with Elapsed Time
		bad  = "0b010204" + "00160003" + "2001db" // option 22 (SIP servers) has three octets, not a multiple of 16
	)
	for _, test := range []struct {
		name, packet string
		want         string
	}{
		{"good", good, ""},
		{"malformed", bad, "tshark finds malformed packets"},
		{"empty", "", "holds no DHCPv6 packet"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := lab.NewNetwork(t)
			capture := n.Client.Capture(t, "eth0")
			if test.packet != "" {
				sendHex(t, n.Client, test.packet)
				capture.Wait(t, time.Minute, 0, "datagram", func(lab.Packet) bool { return true })
			}
			r := &recorder{T: t}
			capture.Check(r)
			got := strings.Join(r.complaints, "\n")
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("complaints %q, want %q", got, test.want)
			}
		})
	}
}

// sendHex multicasts a datagram to the DHCPv6 server port on eth0.
func sendHex(t *testing.T, h *lab.Host, text string) {
	t.Helper()
	var packet []byte
	if _, err := fmt.Sscanf(text, "%x", &packet); err != nil {
		t.Fatal(err)
	}
	err := h.Do(func() error {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, err := net.ListenUDP("udp6", nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		to := netip.MustParseAddr("ff02::1:2").WithZone(fmt.Sprint(link.Index))
		_, err = conn.WriteToUDPAddrPort(packet, netip.AddrPortFrom(to, 547))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestFleetCheck shows that the ledger notices a lease that the server has lost, and one that it has given away twice.
func TestFleetCheck(t *testing.T) {
	lab.Need(t)
	n := lab.NewNetwork(t)
	server := newServer(t, n, lab.Settings{PreferredSeconds: 3600, ValidSeconds: 7200})
	server.Start(t)
	fleet := lab.NewFleet(t, n.Client, "eth0")
	for range 2 {
		if err := fleet.NewClient().Lease(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	list := server.Leases(t)
	if wrong := fleet.Check(list); len(wrong) > 0 || len(list) != 4 {
		t.Errorf("two clients with two leases each: the server lists %v, complaints %v", list, wrong)
	}
	if wrong := fleet.Check(list[1:]); len(wrong) != 1 {
		t.Errorf("one lease lost: complaints %q, want one", wrong)
	}
	stolen := list[0]
	stolen.DUID = "0002000000000000"
	if wrong := fleet.Check(append(list, stolen)); len(wrong) != 2 {
		t.Errorf("one lease given twice: complaints %q, want one that it is listed twice and one that its owner lost it", wrong)
	}
}
