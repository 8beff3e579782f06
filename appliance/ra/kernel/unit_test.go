package kernel

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tandem6/tandem6/appliance/ra"
)

func testRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func TestChooseSource(t *testing.T) {
	address := func(s string, flags int) netlink.Addr {
		return netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(s), Mask: net.CIDRMask(64, 128)}, Flags: flags}
	}
	tests := []struct {
		name  string
		addrs []netlink.Addr
		inUse string
		want  string
	}{
		{"none", nil, "", "no link-local address"},
		{"global only", []netlink.Addr{address("2001:db8::1", 0)}, "", "no link-local address"},
		{"tentative", []netlink.Addr{address("fe80::1", unix.IFA_F_TENTATIVE)}, "", "still checks whether the link-local address fe80::1"},
		{"duplicate", []netlink.Addr{address("fe80::1", unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED)}, "", "another host uses the link-local address fe80::1"},
		{"one good", []netlink.Addr{address("fe80::1", unix.IFA_F_TENTATIVE), address("fe80::2", unix.IFA_F_PERMANENT)}, "", "fe80::2"},
		{"lowest", []netlink.Addr{address("fe80::3", 0), address("fe80::2", 0), address("2001:db8::1", 0)}, "", "fe80::2"},
		{"in use", []netlink.Addr{address("fe80::3", 0), address("fe80::2", 0)}, "fe80::3", "fe80::3"},
		{"in use no more", []netlink.Addr{address("fe80::3", 0), address("fe80::2", 0)}, "fe80::4", "fe80::2"},
	}
	for _, tt := range tests {
		var inUse netip.Addr
		if tt.inUse != "" {
			inUse = netip.MustParseAddr(tt.inUse)
		}
		got, err := chooseSource(tt.addrs, inUse)
		if err == nil && got.String() != tt.want || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %s, %v, want %s", tt.name, got, err, tt.want)
		}
	}
}

// A full queue gives up its oldest message and says so.
func TestDeliverDropsOldest(t *testing.T) {
	c := &conn{counters: &counters{}, messages: make(chan message, queueMax)}
	const extra = 10
	for i := range queueMax + extra {
		c.deliver(message{solicitation: ra.Solicitation{Source: netip.AddrFrom16([16]byte{15: byte(i)})}})
	}
	if n := c.counters.load().Dropped; n != extra {
		t.Errorf("%d dropped", n)
	}
	if first := <-c.messages; first.solicitation.Source != netip.AddrFrom16([16]byte{15: extra}) {
		t.Errorf("oldest left is %v", first)
	}
}

func TestBackoff(t *testing.T) {
	var b backoff
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		b.failed(time.Hour)
		if b.at != time.Hour+want*time.Second {
			t.Errorf("failure %d: again after %s", i, b.at-time.Hour)
		}
	}
	b.succeeded()
	if b.at != ra.Never {
		t.Errorf("after success again at %s", b.at)
	}
	if b.failed(0); b.at != retryMin {
		t.Errorf("after success and failure again after %s", b.at)
	}
}

// What cannot be right is refused, and what is there stays.
func TestRefuses(t *testing.T) {
	good := on("lan0", config("2001:db8:77::/64"))
	many := map[string]ra.Config{}
	for i := range interfacesMax + 1 {
		many[fmt.Sprintf("if%d", i)] = config()
	}
	bad := config("2001:db8:77::/64")
	bad.MTU = 1
	r, err := New(Options{Interfaces: good, Rand: testRand()})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		interfaces map[string]ra.Config
		want       string
	}{
		{many, "found 257 interfaces; allowed: at most 256"},
		{on("lan0", bad), "router advertisements on lan0: mtu: found 1"},
		{on("", config()), `found interface name ""`},
		{on("../../etc", config()), `found interface name "../../etc"`},
		{on("..", config()), `found interface name ".."`},
		{on("sixteen-letters-", config()), "allowed: 1 to 15 octets"},
	} {
		if _, err := New(Options{Interfaces: tt.interfaces, Rand: testRand()}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New: got %v, want %s", err, tt.want)
		}
		if err := r.Update(tt.interfaces); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Update: got %v, want %s", err, tt.want)
		}
	}
	if _, err := New(Options{Interfaces: good}); err == nil {
		t.Error("New without a random generator: no error")
	}
	remembered := map[string][]ra.AdvertisedPrefix{"lan0": {{}}}
	if _, err := New(Options{Interfaces: good, Rand: testRand(), Remembered: remembered}); err == nil {
		t.Error("New with a damaged memory: no error")
	}
	if got := <-r.updates; len(got) != 1 || got["lan0"].MTU != 0 {
		t.Errorf("to be advertised: %v", got)
	}
}

// Only the newest configuration waits, whoever is slow.
func TestUpdateReplacesWaiting(t *testing.T) {
	r, err := New(Options{Rand: testRand()})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		if err := r.Update(on(name, config())); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-r.updates; len(got) != 1 || got["c"].HopLimit == 0 || len(r.updates) != 0 {
		t.Errorf("waiting: %v and %d more", got, len(r.updates))
	}
}

// Every event has a name and a sentence; differences are warnings.
func TestEvents(t *testing.T) {
	router := netip.MustParseAddr("fe80::2")
	tests := []struct {
		event Event
		want  string
	}{
		{Event{Kind: Advertising, Address: router}, "Sending router advertisements on lan0 from fe80::2"},
		{Event{Kind: Waiting, Text: "the interface is down"}, "No router advertisements on lan0 for now: the interface is down"},
		{Event{Kind: Ended}, "Stopped sending router advertisements on lan0"},
		{Event{Kind: Sent, Address: allNodes}, "Sent a router advertisement on lan0 to ff02::1"},
		{Event{Kind: Sent, Address: allNodes, Final: true}, "Sent a final router advertisement on lan0 to ff02::1"},
		{Event{Kind: Failed, Text: "no"}, "Router advertisements on lan0: no"},
		{Event{Kind: NotForwarding}, `lan0 does not forward packets, so hosts are told not to use it as a router; set "forwarding" to true`},
		{Event{Kind: Forwarding}, "lan0 forwards packets again, so hosts may use it as a router"},
		{Event{Kind: Remember, Prefixes: make([]ra.AdvertisedPrefix, 2)}, "The prefixes advertised on lan0 have changed, 2 to be remembered"},
		{Event{Kind: OtherRouter, Report: ra.Report{Router: router, IsNew: true, RouterLifetime: time.Minute}}, "lan0: router fe80::2 is a default router too, for 60 s; it agrees with this box"},
		{Event{Kind: OtherRouter, Report: ra.Report{Router: router, IsNew: true}}, "lan0: router fe80::2 advertises too, but not as a default router; it agrees with this box"},
		{Event{Kind: OtherRouter, Report: ra.Report{Router: router}}, "lan0: router fe80::2 agrees with this box again"},
	}
	named := map[string]bool{}
	for _, tt := range tests {
		tt.event.Interface = "lan0"
		if got := tt.event.String(); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
		named[tt.event.Kind.Name()] = true
	}
	if len(named) != int(kindCount) || named[""] {
		t.Errorf("names: %v", named)
	}
	differs := Event{Kind: OtherRouter, Report: ra.Report{Differences: []ra.Difference{{Field: "mtu"}}}}
	if differs.Level() != slog.LevelWarn || (Event{Kind: OtherRouter}).Level() != slog.LevelInfo {
		t.Error("levels of OtherRouter")
	}
}
