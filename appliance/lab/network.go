package lab

import (
	"encoding/json"
	"fmt"
	"net/netip"
)

// The addresses of the standard networks, all of them for documentation (RFC 3849).
var (
	// LinkPrefix is on the clients' link; the server is ::1 there, a relay ::fffe.
	LinkPrefix = netip.MustParsePrefix("2001:db8:0:1::/64")
	// Pool holds 2^20 addresses.
	Pool = [2]netip.Addr{netip.MustParseAddr("2001:db8:0:1::10:0"), netip.MustParseAddr("2001:db8:0:1::1f:ffff")}
	// PrefixPool holds 2^20 prefixes of DelegatedBits.
	PrefixPool = netip.MustParsePrefix("2001:db8:8000::/40")

	serverOnLink = netip.MustParseAddr("2001:db8:0:1::1")
	relayOnLink  = netip.MustParseAddr("2001:db8:0:1::fffe")
	serverUplink = netip.MustParseAddr("2001:db8:ffff::2")
	relayUplink  = netip.MustParseAddr("2001:db8:ffff::1")
	dnsServer    = netip.MustParseAddr("2001:db8::53")
)

// DelegatedBits is the length of the prefixes delegated out of PrefixPool.
const DelegatedBits = 60

// A Network has one server, one client and a cable between their interfaces eth0; or, when it is relayed, a relay between them,
// which the server reaches by its eth1.
type Network struct {
	Server, Client *Host
	Relay          *Host // nil when the client is on the server's own link
}

// NewNetwork makes a network whose server runs directly on the client's link.
func NewNetwork(t T) *Network {
	t.Helper()
	n := &Network{Server: NewHost(t, "server"), Client: NewHost(t, "client")}
	Cable(t, n.Server, "eth0", n.Client, "eth0")
	n.Server.LinkLocal(t, "eth0")
	n.Client.LinkLocal(t, "eth0")
	return n
}

// NewRelayedNetwork makes a network with an ISC dhcrelay between the client's link and the server.
func NewRelayedNetwork(t T) *Network {
	t.Helper()
	n := &Network{Server: NewHost(t, "server"), Client: NewHost(t, "client"), Relay: NewHost(t, "relay")}
	Cable(t, n.Relay, "eth0", n.Client, "eth0")
	Cable(t, n.Server, "eth1", n.Relay, "eth1")
	n.Relay.Run(t, "sysctl", "-q", "net.ipv6.conf.all.forwarding=1")
	n.Relay.Run(t, "ip", "address", "add", relayOnLink.String()+"/64", "dev", "eth0")
	n.Relay.Run(t, "ip", "address", "add", relayUplink.String()+"/64", "dev", "eth1")
	n.Relay.LinkLocal(t, "eth1")
	n.Client.LinkLocal(t, "eth0")
	n.Relay.StartRelay(t, "eth0", "eth1", serverUplink)
	return n
}

// serverInterface is where the server is attached to the network.
func (n *Network) serverInterface() (name string, addr netip.Addr) {
	if n.Relay != nil {
		return "eth1", serverUplink
	}
	return "eth0", serverOnLink
}

// Settings are what tests and benchmarks vary of a server's configuration.
type Settings struct {
	PreferredSeconds, ValidSeconds int
	RenewSeconds, RebindSeconds    int // T1 and T2; 0 lets the server derive them
	// SoleServer turns on Rapid Commit and bindings for unknown leases in Renew and Rebind: what a server may do that is alone.
	SoleServer bool
	// Advertise has tandem6d send router advertisements on its own link.
	Advertise bool
	// Quiet has the server log only what goes wrong.
	Quiet bool
}

// Tandem6d prepares tandem6d for the network.
func (n *Network) Tandem6d(t T, b Binaries, s Settings) *Server {
	t.Helper()
	return b.NewTandem6d(t, n.Server, n.Tandem6Config(s), s.Quiet)
}

// Tandem6Config is the configuration of tandem6d for the network.
func (n *Network) Tandem6Config(s Settings) string {
	name, addr := n.serverInterface()
	lifetimes := object{"preferred": s.PreferredSeconds, "valid": s.ValidSeconds}
	if s.RenewSeconds > 0 {
		lifetimes["t1"], lifetimes["t2"] = s.RenewSeconds, s.RebindSeconds
	}
	link := object{
		"subnets":         []object{{"prefix": LinkPrefix, "pools": []string{fmt.Sprintf("%v-%v", Pool[0], Pool[1])}}},
		"prefix-pools":    []object{{"prefix": PrefixPool, "delegated-length": DelegatedBits}},
		"rapid-commit":    s.SoleServer,
		"create-on-renew": s.SoleServer,
	}
	config := object{
		"interfaces": object{name: object{"addresses": []string{addr.String() + "/64"}}},
		"lifetimes":  lifetimes,
		"options":    object{"dns-servers": []netip.Addr{dnsServer}},
		"links":      object{"lan": link},
	}
	if s.Advertise {
		link["router-advertisements"] = object{}
	}
	if n.Relay == nil {
		link["interface"] = name
	} else {
		link["relays"] = object{"from": []string{relayUplink.String() + "/128"}}
	}
	return config.String()
}

// Kea prepares kea-dhcp6 for the network, with Debian's defaults for everything that is not named here.
func (n *Network) Kea(t T, s Settings) *Server {
	t.Helper()
	name, addr := n.serverInterface()
	n.Server.Run(t, "ip", "address", "replace", addr.String()+"/64", "dev", name)
	listen, severity := name, "INFO"
	if n.Relay != nil {
		listen += "/" + addr.String()
	}
	if s.Quiet {
		severity = "WARN"
	}
	subnet := object{
		"subnet":   LinkPrefix,
		"pools":    []object{{"pool": fmt.Sprintf("%v-%v", Pool[0], Pool[1])}},
		"pd-pools": []object{{"prefix": PrefixPool.Addr(), "prefix-len": PrefixPool.Bits(), "delegated-len": DelegatedBits}},
	}
	if s.SoleServer {
		subnet["rapid-commit"] = true
	}
	if n.Relay == nil {
		subnet["interface"] = name
	}
	kea := object{
		"interfaces-config":  object{"interfaces": []string{listen}},
		"lease-database":     object{"type": "memfile", "persist": true, "name": "/var/lib/kea/kea-leases6.csv"},
		"preferred-lifetime": s.PreferredSeconds, "valid-lifetime": s.ValidSeconds,
		"option-data": []object{{"name": "dns-servers", "data": dnsServer.String()}},
		"subnet6":     []object{subnet},
		"loggers":     []object{{"name": "kea-dhcp6", "severity": severity, "output_options": []object{{"output": "stderr"}}}},
	}
	if s.RenewSeconds > 0 {
		kea["renew-timer"], kea["rebind-timer"] = s.RenewSeconds, s.RebindSeconds
	}
	return NewKea(t, n.Server, object{"Dhcp6": kea}.String())
}

// object is a JSON object.
type object map[string]any

func (o object) String() string {
	text, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("lab: a configuration that is no JSON: %v", err)) // only names, numbers and addresses are in it
	}
	return string(text)
}
