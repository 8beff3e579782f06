package appliance

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/appliance/engine"
	"github.com/tandem6/tandem6/appliance/lab"
	"github.com/tandem6/tandem6/appliance/udp6"
	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/storage/storagetest"
	"github.com/tandem6/tandem6/web"
)

// TestOperator drives the built tandem6d, on a host of its own with a client on
// a cable, by the built tandem6:
//   - D-094: after config apply the same Request is answered with the new value;
//   - D-130, D-135: a declined address is given to nobody, also after SIGKILL and
//     restart, until the operator clears it;
//   - D-243: the operator sees and changes the address key;
//   - D-267: the operator lists and clears delegations.
func TestOperator(t *testing.T) {
	lab.Need(t)
	programs := t.TempDir()
	if err := lab.Build(programs); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]func(*box){
		"declined address":  testDeclined,
		"delegation":        testDelegation,
		"config":            testConfig,
		"reload":            testReload,
		"address key":       testAddressKey,
		"status of network": testNetworkStatus,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(newBox(t, programs))
		})
	}
}

// box is a host that runs tandem6d, and a station on the other end of its eth0.
type box struct {
	*testing.T
	*lab.Network
	programs, config, state, socket string
	daemon                          *lab.Process

	station *net.UDPConn
	servers netip.AddrPort // all of them on the link
	last    uint32         // transaction-id
	id      dhcpv6.DUID    // of the server that answered last
}

func newBox(t *testing.T, programs string) *box {
	dir := t.TempDir()
	b := &box{
		T: t, Network: lab.NewNetwork(t), programs: programs,
		config: filepath.Join(dir, "config.json"), state: filepath.Join(dir, "state"), socket: filepath.Join(dir, "s"),
	}
	address := b.Client.LinkLocal(t, "eth0")
	err := b.Client.Do(func() error {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		zone := strconv.Itoa(link.Index) // names are cached across namespaces
		b.servers = netip.AddrPortFrom(netip.MustParseAddr("ff02::1:2").WithZone(zone), 547)
		b.station, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address.WithZone(zone), 546)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.station.Close() })
	return b
}

// configuration is one LAN; pools and DNS server are what tests change.
func configuration(pool, dns string) string {
	return fmt.Sprintf(`{
  // one LAN
  "interfaces": { "eth0": { "addresses": ["2001:db8:0:1::1/64"] } },
  "options": { "dns-servers": [%q] },
  "links": {
    "lan": {
      "interface": "eth0",
      "subnets": [{ "prefix": "2001:db8:0:1::/64", "pools": [%q] }],
      "prefix-pools": [{ "prefix": "2001:db8:8000::/40", "delegated-length": 56 }],
    },
  },
}
`, dns, pool)
}

const (
	anyPool = "2001:db8:0:1::1000-2001:db8:0:1::ffff:ffff"
	dnsOne  = "2001:db8::53"
	dnsTwo  = "2001:db8::5353"
)

func (b *box) write(text string) {
	b.Helper()
	if err := os.WriteFile(b.config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
}

// start starts the daemon and waits until it serves.
func (b *box) start() {
	b.Helper()
	b.daemon = b.Server.Start(b, filepath.Join(b.programs, "tandem6d"),
		"-config", b.config, "-state", b.state, "-socket", b.socket, "-log-level", "debug")
	b.daemon.WaitLog(b, 30*time.Second, `msg="serving DHCPv6"`)
}

// try runs tandem6.
func (b *box) try(args ...string) (string, error) {
	return b.Server.Try(append([]string{filepath.Join(b.programs, "tandem6"), "-socket", b.socket}, args...)...)
}

// run runs tandem6, which has to succeed.
func (b *box) run(args ...string) string {
	b.Helper()
	out, err := b.try(args...)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// refused runs tandem6, which has to fail and to say so in these words.
func (b *box) refused(words string, args ...string) {
	b.Helper()
	if out, err := b.try(args...); err == nil || !strings.Contains(err.Error(), words) {
		b.Errorf("tandem6 %s: %v, want %q; it printed %q", strings.Join(args, " "), err, words, out)
	}
}

// leases are what tandem6 lists.
func (b *box) leases(filter string) (list []web.Lease) {
	b.Helper()
	for d := json.NewDecoder(strings.NewReader(b.run("leases", "--json", filter))); ; {
		var l web.Lease
		if err := d.Decode(&l); err == io.EOF {
			return list
		} else if err != nil {
			b.Fatal(err)
		}
		list = append(list, l)
	}
}

func (b *box) status() (s web.Status) {
	b.Helper()
	if err := json.Unmarshal([]byte(b.run("status", "--json")), &s); err != nil {
		b.Fatal(err)
	}
	return s
}

// eventually waits for what the daemon does by itself.
func (b *box) eventually(what string, done func() bool) {
	b.Helper()
	lab.Eventually(b, 20*time.Second, what, done)
}

// message is one of client n, who asks for the DNS servers, with an IA for each lease.
func (b *box) message(kind dhcpv6.MessageType, n byte, leases ...netip.Prefix) *dhcpv6.Message {
	b.last++
	m := &dhcpv6.Message{MessageType: kind, TransactionID: dhcpv6.TransactionID{0, byte(b.last >> 8), byte(b.last)}}
	m.AddOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, n}}))
	if kind != dhcpv6.MessageTypeSolicit {
		m.AddOption(dhcpv6.OptServerID(b.id))
	}
	m.AddOption(dhcpv6.OptElapsedTime(0))
	m.AddOption(dhcpv6.OptRequestedOption(dhcpv6.OptionDNSRecursiveNameServer))
	for _, l := range leases {
		ip := net.IP(l.Addr().AsSlice())
		if !l.IsSingleIP() {
			pd := &dhcpv6.OptIAPD{IaId: [4]byte{3: 1}}
			pd.Options.Add(&dhcpv6.OptIAPrefix{Prefix: &net.IPNet{IP: ip, Mask: net.CIDRMask(l.Bits(), 128)}})
			m.AddOption(pd)
			continue
		}
		na := &dhcpv6.OptIANA{IaId: [4]byte{3: 1}}
		na.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: ip})
		m.AddOption(na)
	}
	return m
}

// No address and no prefix in particular.
var (
	anyAddress = netip.MustParsePrefix("::/128")
	anyPrefix  = netip.MustParsePrefix("::/56")
)

// ask sends a message, again when there is no answer, and returns the answer.
func (b *box) ask(m *dhcpv6.Message) *dhcpv6.Message {
	b.Helper()
	buffer := make([]byte, 1500)
	for range 10 {
		if _, err := b.station.WriteToUDPAddrPort(m.ToBytes(), b.servers); err != nil {
			b.Fatal(err)
		}
		b.station.SetReadDeadline(time.Now().Add(time.Second))
		for {
			n, err := b.station.Read(buffer)
			if err != nil {
				break // the deadline
			}
			answer, err := dhcpv6.MessageFromBytes(buffer[:n])
			if err != nil {
				b.Fatalf("answer to %v: %v", m, err)
			}
			if answer.TransactionID == m.TransactionID {
				b.id = answer.Options.ServerID()
				return answer
			}
		}
	}
	b.Fatalf("no answer to %v", m)
	return nil
}

// lease gets client n a lease by Solicit and Request; the zero Prefix: there is none.
func (b *box) lease(n byte, wish netip.Prefix) netip.Prefix {
	b.Helper()
	offer := lab.Leases(b.ask(b.message(dhcpv6.MessageTypeSolicit, n, wish)))
	if len(offer) != 1 {
		return netip.Prefix{}
	}
	got := lab.Leases(b.ask(b.message(dhcpv6.MessageTypeRequest, n, offer[0].Prefix)))
	if len(got) != 1 || got[0].Valid == 0 {
		b.Fatalf("client %d was offered %v and got %v", n, offer, got)
	}
	return got[0].Prefix
}

// dns is the DNS server that client n gets.
func (b *box) dns(n byte) string {
	b.Helper()
	servers := b.ask(b.message(dhcpv6.MessageTypeSolicit, n, anyAddress)).Options.DNS()
	if len(servers) != 1 {
		b.Fatalf("DNS servers %v", servers)
	}
	return servers[0].String()
}

func testDeclined(b *box) {
	const only = "2001:db8:0:1::1000"
	b.write(configuration(only+"-"+only, dnsOne))
	b.start()
	held := b.lease(1, anyAddress)
	if held.Addr().String() != only {
		b.Fatalf("the client got %v", held)
	}
	b.ask(b.message(dhcpv6.MessageTypeDecline, 1, held))
	abandoned := func() {
		b.Helper()
		if l := b.leases("ABANDONED"); len(l) != 1 || l[0].Prefix != only || l[0].Remaining_s == 0 || l[0].Remaining_s > 86400 {
			b.Errorf("ABANDONED leases: %+v", l)
		}
		for n := range byte(3) {
			if got := b.lease(1+n, anyAddress); got.IsValid() {
				b.Errorf("client %d got %v", 1+n, got)
			}
		}
	}
	abandoned()
	b.daemon.Kill()
	b.start()
	abandoned()

	if out := b.run("lease", "release", only); out != "released "+only+"\n" {
		b.Errorf("release: %q", out)
	}
	if l := b.leases(""); len(l) != 0 {
		b.Errorf("after the release: %+v", l)
	}
	b.refused("nobody holds "+only, "lease", "release", only)
	b.daemon.Kill() // the release is as durable as the Decline was
	b.start()
	if got := b.lease(2, anyAddress); got != held {
		b.Errorf("another client got %v", got)
	}
}

func testDelegation(b *box) {
	b.write(configuration(anyPool, dnsOne))
	b.start()
	via := b.Client.LinkLocal(b, "eth0").String()
	one, two := b.lease(1, anyPrefix), b.lease(2, anyPrefix)
	address := b.lease(3, anyAddress)
	routed := func(p netip.Prefix) bool {
		return strings.Contains(b.Server.Run(b, "ip", "-6", "route", "show", p.String()), "via "+via+" dev eth0")
	}
	for _, p := range []netip.Prefix{one, two} {
		b.eventually("the route to "+p.String()+" and its report", func() bool {
			l := b.leases(p.String())
			if len(l) != 1 || l[0].Prefix != p.String() || l[0].Type != "IA_PD" || l[0].Status != "ACTIVE" || l[0].Via != via {
				b.Fatalf("listed for %v: %+v", p, l)
			}
			return l[0].Route == "installed" && routed(p)
		})
	}
	// By the next hop, as somebody who wonders what a router has, and by an address inside.
	if l := b.leases(via); len(l) != 2 {
		b.Errorf("leases by next hop: %+v", l)
	}
	if l := b.leases(two.Addr().Next().String()); len(l) != 1 || l[0].Prefix != two.String() {
		b.Errorf("leases by an address inside %v: %+v", two, l)
	}

	b.run("lease", "release", one.String())
	for _, l := range b.leases("ACTIVE") {
		if l.Prefix == one.String() {
			b.Errorf("still listed: %+v", l)
		}
	}
	b.eventually("the route to "+one.String()+" is gone", func() bool { return !routed(one) })
	if !routed(two) {
		b.Errorf("the route to %v is gone, too", two)
	}
	if l := b.leases("ACTIVE"); len(l) != 2 {
		b.Errorf("%+v are left, want %v and %v", l, two, address)
	}
	// Another router can have it.
	if got := b.lease(4, one); got != one {
		b.Errorf("client 4 wished for %v and got %v", one, got)
	}
	b.eventually("the route to "+one.String()+" is back", func() bool { return routed(one) })
}

// file writes a file beside the daemon's own.
func (b *box) file(text string) (path string) {
	b.Helper()
	path = filepath.Join(b.TempDir(), "new.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// unchanged checks what is in force and what is in the file.
func (b *box) unchanged(inForce, saved string) {
	b.Helper()
	if got := b.run("config", "show"); got != inForce {
		b.Errorf("in force is\n%s\nwant\n%s", got, inForce)
	}
	if got, err := os.ReadFile(b.config); err != nil || string(got) != saved {
		b.Errorf("the file is\n%s\nwant\n%s, %v", got, saved, err)
	}
}

func testConfig(b *box) {
	old, good := configuration(anyPool, dnsOne), configuration(anyPool, dnsTwo)
	b.write(old)
	b.start()
	held := b.lease(1, anyAddress)
	request := b.message(dhcpv6.MessageTypeRequest, 1, held)
	if got := b.ask(request).Options.DNS(); len(got) != 1 || got[0].String() != dnsOne {
		b.Fatalf("DNS servers %v", got)
	}
	b.unchanged(old, old)

	for text, words := range map[string]string{
		configuration("2001:db8:0:2::1-2001:db8:0:2::2", dnsTwo):  "links.lan.subnets[0].pools[0]", // outside its subnet
		strings.Replace(good, `"dns-servers"`, `"dns-server"`, 1): ":4:16",                         // where the unknown key is
		strings.Replace(good, dnsTwo, "192.0.2.1", 1):             "192.0.2.1",
		good[:len(good)/2]: "error",
		strings.Replace(good, `"interface": "eth0"`, `"interface": "x/y"`, 1): "x/y",
		"": "error",
	} {
		path := b.file(text)
		b.refused(words, "config", "apply", path)
		b.refused("nothing has changed", "config", "apply", path)
		b.refused("would be refused", "config", "check", path)
		b.unchanged(old, old)
		if got := b.dns(2); got != dnsOne {
			b.Errorf("DNS server %s after a refused configuration", got)
		}
	}
	if s := b.status(); s.Configuration.Unsaved || s.Configuration.LastProblem != "" {
		b.Errorf("status: %+v", s.Configuration)
	}

	path := b.file(good)
	b.run("config", "check", path)
	b.unchanged(old, old)
	if out := b.run("config", "apply", "--until-restart", path); !strings.Contains(out, `+  "options": { "dns-servers": ["`+dnsTwo+`"] },`) {
		b.Errorf("apply printed %s", out)
	}
	b.unchanged(good, old)
	if s := b.status(); !s.Configuration.Unsaved {
		b.Errorf("status: %+v", s.Configuration)
	}
	// The same Request, octet by octet, and the next client.
	if got := b.ask(request).Options.DNS(); len(got) != 1 || got[0].String() != dnsTwo {
		b.Errorf("DNS servers %v", got)
	}
	if got := b.dns(2); got != dnsTwo {
		b.Errorf("DNS server %s for the next client", got)
	}
	b.daemon.Stop(b)
	b.start()
	b.unchanged(old, old)
	b.run("config", "apply", path)
	b.unchanged(good, good)
	b.daemon.Stop(b)
	b.start()
	b.unchanged(good, good)
	if got := b.dns(2); got != dnsTwo {
		b.Errorf("DNS server %s after a restart", got)
	}
	if l := b.leases("ACTIVE"); len(l) != 1 || l[0].Prefix != held.Addr().String() {
		b.Errorf("leases after all that: %+v, want %v", l, held)
	}
}

func testReload(b *box) {
	old := configuration(anyPool, dnsOne)
	b.write(old)
	b.start()
	if got := b.dns(1); got != dnsOne {
		b.Fatalf("DNS server %s", got)
	}
	bad := strings.Replace(configuration(anyPool, dnsTwo), `"subnets"`, `"subnetz"`, 1)
	b.write(bad)
	b.daemon.Signal(b, syscall.SIGHUP)
	b.eventually("the status tells of the bad file", func() bool { return b.status().Configuration.LastProblem != "" })
	b.unchanged(old, bad)
	if got := b.dns(2); got != dnsOne {
		b.Errorf("DNS server %s after a bad file", got)
	}
	where := b.config + ":8:7: links.lan.subnetz: "
	if p := b.status().Configuration.LastProblem; !strings.Contains(p, where) {
		b.Errorf("reported is %q, want %q", p, where)
	}
	if out := b.run("status"); !strings.Contains(out, "A LATER ONE WAS REFUSED: "+where) {
		b.Errorf("status:\n%s", out)
	}
	if log := b.daemon.Log(); !strings.Contains(log, where) {
		b.Error("the log does not tell of it")
	}
	b.refused("would be refused", "config", "check") // of the daemon's own file

	good := configuration(anyPool, dnsTwo)
	b.write(good)
	b.daemon.Signal(b, syscall.SIGHUP)
	b.eventually("the good file is in force", func() bool { return b.run("config", "show") == good })
	if s := b.status(); s.Configuration.LastProblem != "" || s.Configuration.Unsaved {
		b.Errorf("status: %+v", s.Configuration)
	}
	if got := b.dns(3); got != dnsTwo {
		b.Errorf("DNS server %s", got)
	}
}

func testAddressKey(b *box) {
	b.write(configuration(anyPool, dnsOne))
	b.start()
	show := func() string {
		b.Helper()
		key := strings.TrimSuffix(b.run("address-key", "show"), "\n")
		if _, err := web.ParseAddressKey(key); err != nil {
			b.Fatal(err)
		}
		return key
	}
	keys := []string{show()}
	kept, once := b.lease(1, anyAddress), b.lease(2, anyAddress)

	b.run("address-key", "renew")
	keys = append(keys, show())
	if keys[1] == keys[0] {
		b.Error("the key is as it was")
	}
	if got := b.lease(1, anyAddress); got != kept {
		b.Errorf("client 1 had %v, under the new key it gets %v", kept, got)
	}
	b.refused("has 3 hexadecimal digits", "address-key", "set", "abc")
	b.daemon.Kill()
	b.start()
	if got := show(); got != keys[1] {
		b.Error("a restart has changed the key")
	}

	// A box that knows nobody: by its own key clients get other addresses, by the
	// key of the first box the same.
	b.daemon.Stop(b)
	b.state += "-other"
	b.start()
	keys = append(keys, show())
	if got := []netip.Prefix{b.lease(1, anyAddress), b.lease(2, anyAddress)}; got[0] == kept && got[1] == once {
		b.Errorf("two boxes with keys of their own give the same addresses: %v", got)
	}
	b.daemon.Stop(b)
	b.state += "-again"
	b.start()
	keys = append(keys, show())
	b.run("address-key", "set", strings.ToUpper(keys[0]))
	if got := show(); got != keys[0] {
		b.Error("another key was set")
	}
	if got := []netip.Prefix{b.lease(2, anyAddress), b.lease(1, anyAddress)}; got[0] != once || got[1] != kept {
		b.Errorf("by the key of the first box clients get %v, there they had %v and %v", got, once, kept)
	}

	// Nothing else shows it.
	shown := b.run("status") + b.run("status", "--json") + b.run("leases", "--long") + b.run("config", "show") + b.daemon.Log()
	for _, key := range keys {
		if strings.Contains(strings.ToLower(shown), key[:16]) {
			b.Error("a key is in the status, the leases, the configuration or the log")
		}
	}
}

func testNetworkStatus(b *box) {
	text := configuration(anyPool, dnsOne)
	text = strings.Replace(text, `"interfaces": { `, `"interfaces": { "eth9": { "addresses": ["2001:db8:0:9::1/64"] }, `, 1)
	text = strings.Replace(text, `"links": {`, `"routes": [{ "to": "2001:db8:7000::/36", "via": "2001:db8:0:1::7" }],
  "links": {
    "guests": { "interface": "eth9", "subnets": [{ "prefix": "2001:db8:0:9::/64" }], "router-advertisements": {} },`, 1)
	text = strings.Replace(text, `"prefix-pools"`, `"router-advertisements": {}, "prefix-pools"`, 1)
	b.write(text)
	// Somebody else's route stands where one of the configuration belongs.
	b.Server.Run(b, "ip", "-6", "route", "add", "2001:db8:7000::/36", "via", "fe80::7", "dev", "eth0")
	b.start()

	link := func(s web.Status, name string) *web.Link {
		b.Helper()
		for i := range s.Links {
			if l := &s.Links[i]; l.Name == name && l.RouterAdvertisements != nil {
				return l
			}
		}
		b.Fatalf("no link %s with router advertisements: %+v", name, s.Links)
		return nil
	}
	own := b.Server.LinkLocal(b, "eth0").String()
	var s web.Status
	b.eventually("the status of links and network", func() bool {
		s = b.status()
		return link(s, "lan").RouterAdvertisements.Sent > 0 && len(s.NetworkProblems) == 2
	})
	if a := link(s, "lan").RouterAdvertisements; a.Source != own || a.Message != "" || a.SendErrors != 0 {
		b.Errorf("router advertisements of lan: %+v, want them from %s", a, own)
	}
	if l := link(s, "guests"); l.State != web.LinkMissing || l.Serving || l.RouterAdvertisements.Source != "" || l.RouterAdvertisements.Message == "" {
		b.Errorf("guests: %+v, %+v", l, l.RouterAdvertisements)
	}
	problems := strings.Join(s.NetworkProblems, "\n")
	for _, word := range []string{"eth9", "2001:db8:7000::/36"} {
		if !strings.Contains(problems, word) {
			b.Errorf("%s is no problem of %q", word, s.NetworkProblems)
		}
	}
	out := b.run("status")
	for _, problem := range s.NetworkProblems {
		if !strings.Contains(out, "PROBLEM: "+problem+"\n") {
			b.Errorf("the status does not tell: %s\n%s", problem, out)
		}
	}
	if !strings.Contains(out, "from "+own) || !strings.Contains(out, "no: "+link(s, "guests").RouterAdvertisements.Message) {
		b.Errorf("the status does not tell who advertises:\n%s", out)
	}

	// The interface comes, the route goes: no problem is left.
	b.Server.Run(b, "ip", "-6", "route", "del", "2001:db8:7000::/36", "via", "fe80::7", "dev", "eth0")
	lab.Cable(b, b.Server, "eth9", b.Client, "eth9")
	b.eventually("nothing is wrong any more", func() bool {
		s := b.status()
		return len(s.NetworkProblems) == 0 && link(s, "guests").Serving && link(s, "guests").RouterAdvertisements.Sent > 0
	})
}

// newLister is a daemon that has bindings and nothing but its event loop. One in
// ten is a delegated prefix; the one in the middle has a host name.
func newLister(t testing.TB, bindings uint32) *Daemon {
	t.Helper()
	e := engine.New(engine.Config{DHCP: &dhcp6.Config{Limits: dhcp6.DefaultLimits}}, rand.New(rand.NewPCG(1, 2)))
	now := lease.FromUnix(time.Now().Unix())
	for i := range bindings {
		b := listed(i, now)
		if i == bindings/2 {
			b.Hostname = "nas"
		}
		if err := e.LoadBinding(b); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := udp6.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	store, err := new(storagetest.Disk).Open()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	routes := newRouteQueue()
	l := newLoop(e, conn, newWriter(store), newJournal(log, trace.Error), routes, clockFrom(time.Now()))
	d := &Daemon{options: Options{Log: log}, conn: conn, loop: l, network: newNetwork(nil, conn, l, routes, log)}
	ctx, stop := context.WithCancel(context.Background())
	ended, started := make(chan error, 2), make(chan struct{})
	go func() { ended <- l.writer.run(ctx) }()
	go func() { ended <- l.run(ctx, started) }()
	t.Cleanup(func() {
		stop()
		for range cap(ended) {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		conn.Close()
	})
	<-started
	return d
}

// listed is a binding of newLister. Neighbours in the table came at different
// times, as on a real server: memory is read in no order.
func listed(i uint32, now lease.Time) *lease.Binding {
	b := &lease.Binding{
		IA:     lease.IA{Link: "lan", Client: lease.DUID(binary.BigEndian.AppendUint32([]byte("\x00\x01\x00\x01\x2c\x3d\x4e\x5f\x02\x00"), i)), Type: lease.IANA, ID: 1},
		Status: lease.Active, Preferred: 2700, Valid: 5400, Expires: now + 5400, HeldUntil: now + 7200, StartOfState: now, LastTransaction: now,
	}
	const golden = 2654435761 // odd, so that no two products are equal
	if i%10 == 0 {
		a := netip.MustParseAddr("2001:db8:8000::").As16()
		binary.BigEndian.PutUint32(a[4:], 0x8000_0000+i*golden<<4>>4)
		b.Type, b.Prefix, b.Via = lease.IAPD, netip.PrefixFrom(netip.AddrFrom16(a), 64), netip.MustParseAddr("fe80::ab:cdff:fe12:3456")
	} else {
		a := netip.MustParseAddr("2001:db8:0:1::").As16()
		binary.BigEndian.PutUint32(a[12:], i*golden)
		b.Prefix = netip.PrefixFrom(netip.AddrFrom16(a), 128)
	}
	return b
}

// Rows come in the order of addresses, in pages that fit together, and a search
// that nobody waits for ends.
func TestLeasePages(t *testing.T) {
	const bindings = 3 * rowsPerLook
	d := newLister(t, bindings)
	var all, paged []string
	collect := func(to *[]string) func(web.Lease) error {
		return func(l web.Lease) error { *to = append(*to, l.Prefix); return nil }
	}
	if err := d.Leases(t.Context(), web.LeaseQuery{}, collect(&all)); err != nil || len(all) != bindings {
		t.Fatalf("%d leases, %v", len(all), err)
	}
	query := web.LeaseQuery{Limit: 1000}
	for more := true; more; {
		before := len(paged)
		if err := d.Leases(t.Context(), query, collect(&paged)); err != nil {
			t.Fatal(err)
		}
		query.After = paged[len(paged)-1]
		more = len(paged)-before == query.Limit
	}
	if strings.Join(all, " ") != strings.Join(paged, " ") {
		t.Errorf("%d leases in pages, %d at once", len(paged), len(all))
	}
	for i := 1; i < len(all); i++ {
		a, err := lease.ParsePrefix(all[i-1])
		if err != nil {
			t.Fatal(err)
		}
		if b, err := lease.ParsePrefix(all[i]); err != nil || a.Addr().Compare(b.Addr()) >= 0 {
			t.Fatalf("%s is before %s (%v)", all[i-1], all[i], err)
		}
	}
	ctx, leave := context.WithCancel(t.Context())
	rows := 0
	err := d.Leases(ctx, web.LeaseQuery{}, func(web.Lease) error { leave(); rows++; return nil })
	if !errors.Is(err, context.Canceled) || rows > rowsPerLook {
		t.Errorf("%d rows after the reader had left, %v", rows, err)
	}
}

// What the kernel does not take is counted where the operator sees it.
func TestCountersOfSocket(t *testing.T) {
	d := newLister(t, 0)
	out := []udp6.Outgoing{{Payload: bytes.Repeat([]byte{1}, 100), Destination: netip.MustParseAddrPort("[fe80::1]:546"), IfIndex: 1 << 30}}
	if _, err := d.conn.Send(out); err == nil {
		t.Fatal("sent to an interface that does not exist")
	}
	v, err := d.loop.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c := d.counters(v); c.SendErrors != 1 || c.Oversized != 0 || c.Truncated != 0 {
		t.Errorf("%+v", c)
	}
}

// BenchmarkSearch: a person waits for what a search among a million leases finds.
func BenchmarkSearch(b *testing.B) {
	const bindings = 1_000_000
	d := newLister(b, bindings)
	middle := listed(bindings/2, 0)
	duid := middle.Client.String()
	for _, s := range []struct {
		name, filter string
		rows         int
	}{
		{"hostname", "nas", 1},
		{"duid", duid, 1},
		{"digits", strings.ReplaceAll(duid, ":", ""), 1},
		{"address", listed(bindings/2+1, 0).Prefix.Addr().String() + "/128", 1},
		{"inside", middle.Prefix.Addr().Next().String(), 1},
		{"nothing", "2001:db8:f", 0},
		{"everything", "", bindings},
	} {
		b.Run(s.name, func(b *testing.B) {
			filter, err := web.ParseFilter(s.filter)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				rows := 0
				err := d.Leases(b.Context(), web.LeaseQuery{Filter: filter}, func(web.Lease) error { rows++; return nil })
				if err != nil || rows != s.rows {
					b.Fatalf("%d rows, %v", rows, err)
				}
			}
		})
	}
}
