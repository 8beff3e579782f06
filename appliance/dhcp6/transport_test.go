package dhcp6

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
)

// D-004, D-007, D-008, D-016: the answer to a client heard directly goes to its
// address, to port 546 from whatever port it sent, and out of the interface that
// it was heard on.
func TestAnswerToClient(t *testing.T) {
	d := newDesk(t, branch())
	for _, tt := range []struct{ ifIndex, port int }{{lanIndex, 546}, {lanIndex, 1024}, {wifiIndex, 40000}} {
		c := d.client(tt.port).on(tt.ifIndex)
		c.source = netip.AddrPortFrom(c.source.Addr(), uint16(tt.port))
		for _, a := range []*answer{c.send(Solicit, na(1)), c.send(Request, na(1)), c.send(InformationRequest)} {
			eq(t, "destination", a.Destination, netip.AddrPortFrom(c.source.Addr(), 546))
			eq(t, "interface", a.IfIndex, tt.ifIndex)
		}
	}
}

// D-005, D-009, D-217, D-234: the answer to a relay goes to its address, to port
// 547, or to the port it sent from if the outermost layer has option 135. To a
// relay on the link it leaves through the link.
func TestAnswerToRelay(t *testing.T) {
	sourcePort := opt(135, u16(0))
	const link = "2001:db8:0:1::2"
	for _, tt := range []struct {
		name, source string
		layers       []layer
		want         string
		ifIndex      int
	}{
		{"far", "[2001:db8:ff::1]:1024", []layer{relayed(0, link, "fe80::7")}, "[2001:db8:ff::1]:547", 0},
		{"with source port", "[2001:db8:ff::1]:50000", []layer{relayed(0, link, "fe80::7", sourcePort)}, "[2001:db8:ff::1]:50000", 0},
		{"source port of the inner layer", "[2001:db8:ff::1]:50000", []layer{relayed(1, link, "fe80::8"), relayed(0, "::", "fe80::7", sourcePort)}, "[2001:db8:ff::1]:547", 0},
		{"on the link", "[fe80::99]:1024", []layer{relayed(0, "::", "fe80::7")}, "[fe80::99]:547", lanIndex},
	} {
		a := newDesk(t, branch()).client(1).via(tt.source, tt.layers...).send(Solicit, na(1))
		eq(t, tt.name+": destination", a.Destination.String(), tt.want)
		eq(t, tt.name+": interface", a.IfIndex, tt.ifIndex)
	}
}

// D-010, D-012: a client's message to any other address than ff02::1:2 is
// dropped, without UseMulticast; the group of all servers is for relays. An
// operator with very old clients can allow unicast.
func TestUnicastIsDropped(t *testing.T) {
	d := newDesk(t, branch())
	c := d.client(1)
	held := c.obtain(na(1), pd(1)).request()
	for _, to := range []netip.Addr{routerAddr, addr("fe80::1"), allServers} {
		c.destination = to
		for _, typ := range []MessageType{Solicit, Request, Confirm, Renew, Rebind, Release, Decline} {
			c.silent(trace.UnicastClient, c.message(typ, held...))
		}
		c.silent(trace.UnicastClient, c.message(InformationRequest))
	}
	d.reconfigure(branch(func(c *Config) { c.AcceptUnicast = true }))
	c.destination = routerAddr
	if a := c.send(Renew, held...); len(a.na(1).prefixes()) != 1 || len(a.pd(1).prefixes()) != 1 {
		t.Errorf("accept-unicast: %+v", a.ias)
	}
}

// D-015: a message from an interface without a link gets no answer.
func TestForeignInterface(t *testing.T) {
	c := newDesk(t, branch()).client(1).on(wanIndex)
	c.silent(trace.UnknownLink, c.message(Solicit, na(1)))
	c.silent(trace.UnknownLink, c.message(InformationRequest))
}

// D-011: Server Unicast is not sent, whatever the client lists. (The oracle
// rejects it in every answer.)
func TestServerUnicastIsNotSent(t *testing.T) {
	c := newDesk(t, branch()).client(1).asking(12, 23)
	for _, a := range []*answer{c.send(Solicit, na(1)), c.send(Request, na(1)), c.send(Renew, na(1)), c.send(InformationRequest)} {
		if a.has(12) || !a.has(23) {
			t.Errorf("options %v", a.options)
		}
	}
}

// manyOptions is what a link may well be configured with.
func manyOptions(t *testing.T) (options []Option) {
	t.Helper()
	add := func(more []Option, err error) {
		if err != nil {
			t.Fatal(err)
		}
		options = append(options, more...)
	}
	one := func(o Option, err error) { add([]Option{o}, err) }
	servers := []netip.Addr{addr("2001:db8:0:1::1"), addr("2001:db8:0:1::2"), addr("2001:db8:0:1::3")}
	add(DNSServers(servers))
	add(DomainSearch([]string{"home.arpa", "branch.example.org", "example.org"}))
	add(SIPServers(servers))
	add(SIPDomains([]string{"sip.example.org"}))
	add(SNTPServers(servers))
	add(NTPServers([]string{"2001:db8:0:1::1", "ff05::101", "ntp.example.org"}))
	one(BootFileURL("tftp://[2001:db8:0:1::5]/boot.efi"))
	add(BootFileParams([]string{"root=/dev/nfs"}))
	one(CaptivePortal("https://portal.example.org/api"))
	add(EncryptedDNS([]Resolver{{Priority: 1, Name: "dns.example.org", Addresses: servers, ALPN: []string{"dot", "h2"}, DoHPath: "/dns-query{?dns}"}}))
	add(VendorInformation([]Vendor{{Enterprise: 9, Options: []VendorOption{{1, []byte("hello")}}}}))
	one(POSIXTimezone("CET-1CEST,M3.5.0,M10.5.0/3"))
	one(TZDBTimezone("Europe/Zurich"))
	one(AFTRName("aftr.example.org"))
	one(SolMaxRT(7200))
	one(InfMaxRT(7200))
	one(InformationRefreshTime(1800))
	SortOptions(options)
	return options
}

// D-017 to D-019, D-171: an answer with everything that a link is configured for
// fits 1280 octets of packet, without padding, names uncompressed. (The oracle
// reads strictly, and its second parser writes names uncompressed.)
func TestFullAnswer(t *testing.T) {
	const packetMax, headers = 1280, 48 // IPv6 and UDP
	options := manyOptions(t)
	var codes []uint16
	for _, o := range options {
		codes = append(codes, o.Code)
	}
	c := newDesk(t, branch(lanWith(func(l *Link) { l.Options = options }))).client(1).asking(codes...)
	a := c.obtain(na(1), pd(1))
	if n := len(a.Data) + headers; n > packetMax {
		t.Errorf("%d octets", n)
	}
	for _, o := range options {
		if o.Code != 32 && !slices.ContainsFunc(a.all(o.Code), func(data []byte) bool { return bytes.Equal(data, o.Data) }) {
			t.Errorf("option %d, %x is missing", o.Code, o.Data)
		}
	}
}

// D-017: what does not fit is left out as a whole, and said: options that nobody
// asked for beyond 1232 octets, requested ones beyond 1452.
func TestAnswerIsCut(t *testing.T) {
	const base = 125 // octets without options
	big := func(code uint16, n int, force bool) Option {
		return Option{Code: code, Data: make([]byte, n), Force: force}
	}
	for _, tt := range []struct {
		name    string
		options []Option
		asked   []uint16
		want    []uint16
		cut     int
	}{
		{"all fit", []Option{big(200, 500, false), big(201, 500, true)}, []uint16{200}, []uint16{200, 201}, 0},
		{"unasked does not fit", []Option{big(200, 900, false), big(201, 300, true), big(202, 20, true)}, []uint16{200}, []uint16{200, 202}, 1},
		{"asked beyond 1232", []Option{big(200, 900, false), big(201, 300, false)}, []uint16{200, 201}, []uint16{200, 201}, 0},
		{"asked up to 1452", []Option{big(200, 900, false), big(201, 1452-base-904-4, false)}, []uint16{200, 201}, []uint16{200, 201}, 0},
		{"asked up to 1453", []Option{big(200, 900, false), big(201, 1453-base-904-4, false)}, []uint16{200, 201}, []uint16{200}, 1},
		{"asked beyond 1452", []Option{big(200, 900, false), big(201, 500, false), big(202, 20, false)}, []uint16{200, 201, 202}, []uint16{200, 202}, 1},
	} {
		c := newDesk(t, branch(lanWith(func(l *Link) { l.Options = tt.options }))).client(1).asking(tt.asked...)
		a := c.send(Solicit, na(1), pd(1))
		for _, o := range tt.options {
			eq(t, name("%s: option %d", tt.name, o.Code), a.has(o.Code), slices.Contains(tt.want, o.Code))
		}
		eq(t, tt.name+": events", a.count(trace.AnswerCut), tt.cut)

		// The way back through relays counts.
		far := c.via("[2001:db8:ff::1]:547", relayed(0, "2001:db8:0:1::2", "fe80::7", opt(18, make([]byte, 400))))
		if n := len(far.send(Solicit, na(1), pd(1)).Data); n > 1452 {
			t.Errorf("%s, relayed: %d octets", tt.name, n)
		}
	}
}

// D-237: whatever way a client takes, its addresses are of its link.
func TestAddressesAreOnLink(t *testing.T) {
	d := newDesk(t, branch())
	for _, tt := range []struct {
		name, want string
		c          *client
	}{
		{"lan", "2001:db8:0:1::/64", d.client(1)},
		{"wifi", "2001:db8:0:2::/64", d.client(1).on(wifiIndex)},
		{"far", "2001:db8:0:3::/64", d.client(1).via("[2001:db8:ff::1]:547", relayed(0, "2001:db8:0:3::1", "fe80::7"))},
		{"far by the relay's own address", "2001:db8:0:3::/64", d.client(2).via("[2001:db8:ff::1]:547", relayed(0, "2001:db8:fe::3", "fe80::7"))},
		{"lan through a relay", "2001:db8:0:1::/64", d.client(3).via("[2001:db8:ff::1]:547", relayed(0, "2001:db8:0:1::2", "fe80::7"))},
	} {
		if got := tt.c.obtain(na(1)).na(1).only(); !got.IsValid() || !prefix(tt.want).Contains(got.Addr()) {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	eq(t, "bindings, by link", d.table.Count(lease.Active), 5)
	d.recount()
}
