package kernel

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/vishvananda/netlink"

	"github.com/tandem6/tandem6/appliance/ra"
)

// margin is for two busy cores.
const margin = 400 * time.Millisecond

// An unchanged Linux host that solicits and listens as it always does gets its
// default route, an address and the link's parameters (D-313, D-316), and loses
// the route when the router says goodbye (D-335).
func TestLinuxHost(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.client.sysctl("net/ipv6/conf/cl0/accept_ra", "1")
	c := config("2001:db8:77::/64")
	c.HopLimit, c.MTU = 61, 1400
	d := l.router.advertise(Options{Interfaces: on("lan0", c)})

	router := l.router.linkLocal("lan0")
	eventually(t, "default route", func() bool { return l.client.gateways("cl0") == router.String() })
	var global []netip.Addr
	eventually(t, "address", func() bool {
		global = l.client.addresses("cl0", func(a netip.Addr) bool { return c.Prefixes[0].Prefix.Contains(a) })
		return len(global) == 1
	})
	if got := l.client.read("/proc/sys/net/ipv6/conf/cl0/mtu"); got != "1400" {
		t.Errorf("MTU %s", got)
	}
	if got := l.client.read("/proc/sys/net/ipv6/conf/cl0/hop_limit"); got != "61" {
		t.Errorf("hop limit %s", got)
	}

	d.stop()
	eventually(t, "default route gone", func() bool { return l.client.gateways("cl0") == "" })
	if got := l.client.addresses("cl0", func(a netip.Addr) bool { return a == global[0] }); len(got) != 1 {
		t.Error("the address is gone as well")
	}
	if err := d.Run(t.Context()); err == nil {
		t.Error("Run a second time: no error")
	}
}

// D-332: a solicitation is answered within half a second: by unicast when it says
// where to, otherwise by multicast. D-313: from the link-local address, with hop
// limit 255; here seen on the wire.
func TestSolicited(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.client.sysctl("net/ipv6/conf/cl0/accept_ra", "0")
	l.client.sysctl("net/ipv6/conf/cl0/router_solicitations", "0")
	p := l.client.tap("cl0")
	host := l.client.linkLocal("cl0")
	c := config("2001:db8:77::/64")
	l.router.advertise(Options{Interfaces: on("lan0", c)})
	router := l.router.linkLocal("lan0")

	first := p.must()
	check := func(got packet, to netip.Addr) {
		t.Helper()
		want, err := ndp.MarshalMessage(ra.Build(0, c, ra.Withdrawn{}, l.router.link("lan0").Attrs().HardwareAddr))
		if err != nil {
			t.Fatal(err)
		}
		copy(want[2:4], got.icmp[2:4])
		if got.source != router || got.to != to || got.hopLimit != 255 || string(got.icmp) != string(want) {
			t.Errorf("got  %s\nwant %s > %s, hop limit 255: %x", got, router, to, want)
		}
	}
	check(first, allNodes)

	asked := time.Now() // much less than 3 seconds after the multicast one
	p.send(host, allRouters, 255, solicitation(p.mac))
	answer := p.must()
	check(answer, host)
	if delay := answer.at.Sub(asked); delay > ra.MaxRADelay+margin {
		t.Errorf("unicast answer after %s", delay)
	}

	// Nobody in particular asks: everybody is told, when the last time is at least
	// three seconds ago (D-333).
	p.send(netip.IPv6Unspecified(), allRouters, 255, solicitation(nil))
	p.send(host, allRouters, 255, solicitation(nil))
	second := p.must()
	check(second, allNodes)
	gap := second.at.Sub(first.at)
	if gap < ra.MinDelayBetweenRAs || gap > ra.MinDelayBetweenRAs+ra.MaxRADelay+margin {
		t.Errorf("multicast advertisements %s apart", gap)
	}
	if extra, ok := p.next(ra.MaxRADelay + margin); ok {
		t.Errorf("two questions, and one more answer: %s", extra)
	}
}

// What RFC 4861 section 6.1.1 calls invalid is counted and not answered.
func TestInvalidSolicitations(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.client.sysctl("net/ipv6/conf/cl0/accept_ra", "0")
	l.client.sysctl("net/ipv6/conf/cl0/router_solicitations", "0")
	p := l.client.tap("cl0")
	host := l.client.linkLocal("cl0")
	d := l.router.advertise(Options{Interfaces: on("lan0", config("2001:db8:77::/64"))})
	p.must()

	code := solicitation(p.mac)
	code[1] = 1
	zeroOption := append(solicitation(nil), 1, 0, 0, 0, 0, 0, 0, 0)
	p.send(host, allRouters, 254, solicitation(p.mac))
	p.send(host, allRouters, 255, code)
	p.send(host, allRouters, 255, solicitation(nil)[:7])
	p.send(host, allRouters, 255, zeroOption)
	p.send(netip.IPv6Unspecified(), allRouters, 255, solicitation(p.mac))
	p.send(netip.MustParseAddr("2001:db8:77::2"), allNodes, 255, []byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0})
	eventually(t, "six invalid messages counted", func() bool { return d.counters().Invalid == 6 })
	if n := d.counters().Solicitations; n != 0 {
		t.Errorf("%d valid solicitations", n)
	}
	p.send(host, allRouters, 255, solicitation(p.mac)) // the queue is in order: this is the first answered
	if got := p.must(); got.to != host {
		t.Errorf("answer to %s", got.to)
	}
	want := Counters{Multicast: 1, Unicast: 1, Solicitations: 1, Invalid: 6, SocketsOpened: 1}
	eventually(t, "answer counted", func() bool { return d.counters() == want })
}

// D-337: the socket is a member of the all-routers group. The kernel joins it by
// itself where it forwards, so forwarding is off here.
func TestJoinsAllRouters(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.router.sysctl("net/ipv6/conf/all/forwarding", "0")
	member := func() bool {
		for line := range strings.Lines(l.router.read("/proc/thread-self/net/igmp6")) {
			if f := strings.Fields(line); len(f) > 2 && f[1] == "lan0" && f[2] == "ff020000000000000000000000000002" {
				return true
			}
		}
		return false
	}
	if member() {
		t.Fatal("member before")
	}
	d := l.router.advertise(Options{Interfaces: on("lan0", config())})
	d.await("advertising", isAdvertising)
	if !member() {
		t.Error("not a member")
	}
	d.stop()
	eventually(t, "membership ended", func() bool { return !member() })
}

// D-312: an interface that is not configured stays silent, even when asked.
func TestSilentElsewhere(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.connect("wan0", "isp0")
	lan, wan := l.client.tap("cl0"), l.client.tap("isp0")
	d := l.router.advertise(Options{Interfaces: on("lan0", config("2001:db8:77::/64"))})
	lan.must()
	wan.send(l.client.linkLocal("isp0"), allRouters, 255, solicitation(wan.mac))
	lan.send(l.client.linkLocal("cl0"), allRouters, 255, solicitation(lan.mac))
	lan.must() // answered although asked later
	if got, ok := wan.next(ra.MaxRADelay + margin); ok {
		t.Errorf("on wan0: %s", got)
	}

	// Switched off, it says goodbye three times and leaves; the other starts.
	if err := d.Update(on("wan0", config("2001:db8:78::/64"))); err != nil {
		t.Fatal(err)
	}
	wan.must()
	for range ra.FinalMax {
		if got := lan.must(); got.icmp[6] != 0 || got.icmp[7] != 0 {
			t.Errorf("not final: %s", got)
		}
	}
	d.await("lan0 ended", func(e Event) bool { return e.Kind == Ended && e.Interface == "lan0" })
	eventually(t, "wan0 alone", func() bool { v := d.View(); return len(v) == 1 && v[0].Interface == "wan0" })
}

// Links come and go: down, without carrier, deleted and made anew. Each time the
// advertisements go on at once.
func TestLinkFlaps(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.client.sysctl("net/ipv6/conf/default/router_solicitations", "0") // nobody asks for it
	l.client.sysctl("net/ipv6/conf/cl0/router_solicitations", "0")
	d := l.router.advertise(Options{Interfaces: on("lan0", config("2001:db8:77::/64"))})
	breaks := []struct {
		name       string
		cut, mend  func()
		waitReason string
	}{
		{"down", func() { l.router.down("lan0") }, func() { l.router.up("lan0") }, "is down"},
		{"no carrier", func() { l.client.down("cl0") }, func() { l.client.up("cl0") }, "no carrier"},
		{
			"deleted",
			func() {
				if err := l.router.links.LinkDel(l.router.link("lan0")); err != nil {
					t.Fatal(err)
				}
			},
			func() { l.connect("lan0", "cl0") }, "no such interface",
		},
	}
	for i, b := range breaks {
		eventually(t, b.name+": sent before", func() bool { return d.count(Advertising) == i+1 && d.View()[0].Waiting == "" })
		p := l.client.tap("cl0")
		p.send(l.client.linkLocal("cl0"), allRouters, 255, solicitation(p.mac))
		p.must()
		b.cut()
		d.await(b.name+": waiting", waitsBecause(b.waitReason))
		eventually(t, b.name+": seen in View", func() bool { return strings.Contains(d.View()[0].Waiting, b.waitReason) })
		sent := d.count(Sent)
		mended := time.Now()
		b.mend()
		eventually(t, b.name+": sent again", func() bool { return d.count(Sent) > sent })
		if took := time.Since(mended); took > ra.MinDelayBetweenRAs+ra.MaxRADelay+time.Second {
			t.Errorf("%s: sent again after %s", b.name, took)
		}
	}
	if v := d.View()[0]; v.Counters.SocketsOpened != 4 || v.Address != l.router.linkLocal("lan0") {
		t.Errorf("%+v", v)
	}
	if n := d.count(Failed); n != 0 {
		t.Errorf("%d failures", n)
	}
}

// An interface that does not exist yet, and whose address is not checked yet, is
// waited for; one whose address another host has is not used.
func TestWaitsForAddress(t *testing.T) {
	t.Parallel()
	router, client := newSpace(t), newSpace(t)
	l := &lab{router, client}
	router.sysctl("net/ipv6/conf/all/forwarding", "1")
	router.sysctl("net/ipv6/conf/default/accept_dad", "1")
	d := router.advertise(Options{Interfaces: on("lan0", config("2001:db8:77::/64"))})
	d.await("no interface", waitsBecause("no such interface"))
	l.connect("lan0", "cl0")
	d.await("tentative address", waitsBecause("still checks"))
	d.await("advertising", isAdvertising)
	d.await("sent", isSent)

	address, err := netlink.ParseAddr("fe80::1/64")
	if err != nil {
		t.Fatal(err)
	}
	if err := client.links.AddrAdd(client.link("cl0"), address); err != nil { // no check here
		t.Fatal(err)
	}
	list, err := router.links.AddrList(router.link("lan0"), netlink.FAMILY_V6)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if err := router.links.AddrDel(router.link("lan0"), &list[0]); err != nil {
		t.Fatal(err)
	}
	d.await("no address", waitsBecause("no link-local address"))
	if err := router.links.AddrAdd(router.link("lan0"), address); err != nil {
		t.Fatal(err)
	}
	d.await("duplicate address", waitsBecause("another host uses the link-local address fe80::1"))
	if err := client.links.AddrDel(client.link("cl0"), address); err != nil {
		t.Fatal(err)
	}
	if err := router.links.AddrDel(router.link("lan0"), address); err != nil {
		t.Fatal(err)
	}
	if err := router.links.AddrAdd(router.link("lan0"), address); err != nil {
		t.Fatal(err)
	}
	d.await("advertising from fe80::1", func(e Event) bool { return e.Kind == Advertising && e.Address.String() == "fe80::1" })
}

// D-330: a Linux host gives up the addresses of a prefix that went away, and gets
// new ones. D-331: also when the change came with a restart. Remember events come
// before the advertisements they are about.
func TestPrefixChange(t *testing.T) {
	t.Parallel()
	const a, b, c = "2001:db8:a::/64", "2001:db8:b::/64", "2001:db8:c::/64"
	l := newLab(t)
	l.client.sysctl("net/ipv6/conf/cl0/accept_ra", "1")
	// usable are the prefixes of which the host has an address that it prefers.
	usable := func() string {
		list, err := l.client.links.AddrList(l.client.link("cl0"), netlink.FAMILY_V6)
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, prefix := range []string{a, b, c} {
			for _, x := range list {
				if ip, _ := netip.AddrFromSlice(x.IP); x.PreferedLft > 0 && netip.MustParsePrefix(prefix).Contains(ip) {
					found = append(found, prefix)
				}
			}
		}
		return strings.Join(found, " ")
	}
	d := l.router.advertise(Options{Interfaces: on("lan0", config(a))})
	eventually(t, "address in a", func() bool { return usable() == a })
	if err := d.Update(on("lan0", config(b))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "address in b only", func() bool { return usable() == b })
	d.stop()

	var stored []ra.AdvertisedPrefix
	for _, e := range d.told() {
		if e.Kind == Remember {
			stored = e.Prefixes
		}
	}
	if len(stored) != 2 || stored[0].Prefix.String() != a || stored[1].Prefix.String() != b {
		t.Fatalf("stored %v", stored)
	}
	if first := d.told()[0]; first.Kind != Remember || len(first.Prefixes) != 1 {
		t.Errorf("first event: %s", first)
	}
	l.router.advertise(Options{
		Interfaces: on("lan0", config(c)),
		Remembered: map[string][]ra.AdvertisedPrefix{"lan0": stored},
	})
	eventually(t, "address in c only", func() bool { return usable() == c })
}

// RFC 4861 section 6.2.5: while the kernel does not forward, hosts are told so,
// and as soon as it does again as well.
func TestForwardingSwitched(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.client.sysctl("net/ipv6/conf/cl0/accept_ra", "1")
	router := l.router.linkLocal("lan0").String()
	d := l.router.advertise(Options{Interfaces: on("lan0", config("2001:db8:77::/64"))})
	eventually(t, "default route", func() bool { return l.client.gateways("cl0") == router })
	l.router.sysctl("net/ipv6/conf/all/forwarding", "0")
	eventually(t, "default route gone", func() bool { return l.client.gateways("cl0") == "" })
	l.router.sysctl("net/ipv6/conf/all/forwarding", "1")
	eventually(t, "default route back", func() bool { return l.client.gateways("cl0") == router })
	if d.count(NotForwarding) != 1 || d.count(Forwarding) != 1 {
		t.Errorf("events %v", d.told())
	}
}

// Another router on the link is reported once, with what it says differently
// (RFC 4861 section 6.2.7).
func TestOtherRouter(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	p := l.client.tap("cl0")
	d := l.router.advertise(Options{Interfaces: on("lan0", config("2001:db8:77::/64"))})
	p.must()
	other := config("2001:db8:77::/64")
	other.Managed = true
	other.Prefixes[0].Valid = 7200 * time.Second
	m, err := ndp.MarshalMessage(ra.Build(0, other, ra.Withdrawn{}, p.mac))
	if err != nil {
		t.Fatal(err)
	}
	host := l.client.linkLocal("cl0")
	p.send(host, allNodes, 255, m)
	e := d.await("report", func(e Event) bool { return e.Kind == OtherRouter })
	want := "lan0: router " + host.String() + " advertises something else than this box: " +
		"managed: here false, there true; valid lifetime of 2001:db8:77::/64: here 5400 s, there 7200 s"
	if e.String() != want {
		t.Errorf("got %s\nwant %s", e, want)
	}
	p.send(host, allNodes, 255, m)
	eventually(t, "second advertisement counted", func() bool { return d.counters().Advertisements == 2 })
	p.send(host, allRouters, 255, solicitation(p.mac)) // taken after it
	p.must()
	if n := d.count(OtherRouter); n != 1 {
		t.Errorf("%d reports", n)
	}
}

// Stopping takes no longer than the three seconds between advertisements, and the
// goodbye is the last word (D-335).
func TestStopSaysGoodbye(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	p := l.client.tap("cl0")
	d := l.router.advertise(Options{Interfaces: on("lan0", config("2001:db8:77::/64"))})
	first := p.must()
	d.stop()
	if took := time.Since(first.at); took > stopMax+margin {
		t.Errorf("stopped after %s", took)
	}
	last := p.must()
	if last.icmp[6] != 0 || last.icmp[7] != 0 || last.to != allNodes || last.at.Sub(first.at) < ra.MinDelayBetweenRAs {
		t.Errorf("last: %s", last)
	}
	if extra, ok := p.next(0); ok {
		t.Errorf("after the last: %s", extra)
	}
	if len(d.View()) != 0 {
		t.Errorf("still there: %v", d.View())
	}
}

// A flood of solicitations from many hosts is answered within the limits, and
// another interface is served meanwhile (D-333).
func TestFlood(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.connect("lan1", "cl1")
	flood, calm := l.client.tap("cl0"), l.client.tap("cl1")
	d := l.router.advertise(Options{Interfaces: map[string]ra.Config{
		"lan0": config("2001:db8:77::/64"), "lan1": config("2001:db8:78::/64"),
	}})
	began := flood.must().at
	calm.must()
	// The kernel makes a neighbour of each host; its table, which all namespaces
	// share, must not overflow.
	const hosts, solicitations = 300, 5000
	for i := range solicitations {
		source := netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 14: byte(i % hosts >> 8), 15: byte(i % hosts)})
		flood.send(source, allRouters, 255, solicitation(flood.mac))
	}
	asked := time.Now()
	calm.send(l.client.linkLocal("cl1"), allRouters, 255, solicitation(calm.mac))
	if delay := calm.must().at.Sub(asked); delay > ra.MaxRADelay+margin {
		t.Errorf("the other interface's host waited %s", delay)
	}
	eventually(t, "the flood seen", func() bool { // though the kernel drops what its buffer cannot hold
		return d.View()[0].Counters.Solicitations > hosts
	})
	c, seconds := d.View()[0].Counters, time.Since(began).Seconds()
	if float64(c.Unicast) > ra.AnswersMax*(seconds+1) || float64(c.Multicast) > seconds/3+1 || c.Unicast == 0 {
		t.Errorf("in %.1f s: %+v", seconds, c)
	}
}

// When watching links fails, that is told and begun again, and what happened
// meanwhile is not missed.
func TestWatcherRecovers(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var events []Event
	r, err := New(Options{Interfaces: on("lan0", config()), Rand: testRand(), Hook: func(e Event) { events = append(events, e) }})
	if err != nil {
		t.Fatal(err)
	}
	l.router.must(func() error {
		o, err := newOwner(r)
		if err != nil {
			return err
		}
		defer o.close()
		l.router.down("lan0")
		o.update(<-r.updates)
		o.watcher.socket.Close()
		<-o.watchEnded()
		o.watchFailed()
		if o.watchEnded() != nil || o.retry.at > o.now()+retryMin {
			t.Errorf("tried again in %s", o.retry.at-o.now())
		}
		l.router.up("lan0")
		l.router.linkLocal("lan0")
		o.retry.at = 0 // now
		o.step()
		if o.watcher == nil || o.ports[0].conn == nil {
			t.Errorf("watcher %v, waiting: %s", o.watcher, o.ports[0].waiting)
		}
		return nil
	})
	if len(events) < 2 || events[1].Kind != Failed || !strings.Contains(events[1].String(), "watching links") {
		t.Errorf("events %v", events)
	}
}

// A socket that breaks is told and opened again after a pause.
func TestSocketRecovers(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	var events []Event
	r, err := New(Options{Interfaces: on("lan0", config()), Rand: testRand(), Hook: func(e Event) { events = append(events, e) }})
	if err != nil {
		t.Fatal(err)
	}
	l.router.linkLocal("lan0")
	l.router.must(func() error {
		o, err := newOwner(r)
		if err != nil {
			return err
		}
		defer o.close()
		o.update(<-r.updates)
		p := o.ports[0]
		p.conn.socket.Close()
		<-p.conn.done
		if wait := o.step(); p.conn != nil || wait > retryMin {
			t.Errorf("socket %v, tried again in %s", p.conn, wait)
		}
		if v := r.View(); len(v) != 1 || !strings.Contains(v[0].Waiting, "reading from the ICMPv6 socket") || v[0].Address.IsValid() {
			t.Errorf("view %+v", v)
		}
		p.retry.at = 0
		o.step()
		if p.conn == nil {
			t.Errorf("waiting: %s", p.waiting)
		}

		p.conn.socket.Close() // and while sending
		p.advertiser.Start(0)
		p.send(o.now() + time.Hour)
		if p.conn != nil || p.counters.sendErrors.Load() != 1 || p.retry.pause != retryMin {
			t.Errorf("socket %v, %+v, pause %s", p.conn, p.counters.load(), p.retry.pause)
		}
		return nil
	})
	failed := 0
	for _, e := range events {
		if e.Kind == Failed {
			failed++
		}
	}
	if failed != 2 {
		t.Errorf("events %v", events)
	}
}

// An answer that cannot be sent to its host is sent to all, and the socket stays.
func TestHostOutOfReach(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	r, err := New(Options{Interfaces: on("lan0", config()), Rand: testRand()})
	if err != nil {
		t.Fatal(err)
	}
	l.router.linkLocal("lan0")
	l.router.must(func() error {
		o, err := newOwner(r)
		if err != nil {
			return err
		}
		defer o.close()
		o.update(<-r.updates)
		p, now := o.ports[0], o.now()+time.Second
		p.send(now) // the first multicast one
		p.advertiser.Solicited(now, ra.Solicitation{Source: netip.MustParseAddr("fe80::2"), LinkLayer: true})
		p.conn.socket.Close()
		answered := now + ra.MaxRADelay
		p.send(answered)
		want := Counters{Multicast: 1, SendErrors: 1, SocketsOpened: 1}
		if got := p.counters.load(); got != want || p.conn == nil {
			t.Errorf("counters %+v, socket %v", got, p.conn)
		}
		if wait := p.next() - answered; wait > ra.MinDelayBetweenRAs+ra.MaxRADelay {
			t.Errorf("everybody is told after %s", wait)
		}
		return nil
	})
}
