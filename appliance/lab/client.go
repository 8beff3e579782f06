package lab

import (
	"strings"
	"syscall"
	"time"
)

// A Client is a DHCPv6 client program, as Debian packages it, and what it can do.
type Client struct {
	Name     string // unique
	Programs []string
	Address  bool // asks for an address (IA_NA)
	Prefix   bool // asks for a delegated prefix (IA_PD)

	// Downstream is the interface that the client gives an address out of its delegated prefix, empty when it leaves that to
	// the administrator.
	Downstream string

	// GivesUpPrefix is true for a client that sends one Rebind for its delegated prefix and turns to Solicit when nobody answers.
	GivesUpPrefix bool

	// Release makes the running client give its leases back; nil when the program never does.
	Release func(t T, h *Host, p *Process)

	start func(t T, h *Host, iface string) *Process
}

// Hosts are clients with their default settings, or nearly so: they start DHCPv6 when a router advertisement tells them to, and
// take the default router from it.
var Hosts = []Client{
	{
		Name: "dhcpcd", Programs: []string{"dhcpcd"}, Address: true,
		start: func(t T, h *Host, iface string) *Process {
			h.Run(t, "mkdir", "-p", "/var/lib/dhcpcd")
			return h.Start(t, "dhcpcd", "-B", "-d", iface) // Debian's /etc/dhcpcd.conf
		},
	},
	{
		Name: "systemd-networkd", Programs: []string{"/lib/systemd/systemd-networkd"}, Address: true, Prefix: true,
		start: func(t T, h *Host, iface string) *Process {
			h.WriteFile(t, "/run/systemd/network/10-up.network", "[Match]\nName="+iface+"\n[Network]\nDHCP=ipv6\n", 0o644)
			return runNetworkd(t, h)
		},
	},
}

// Start runs the client on an interface of a host, as a machine would at boot. It has what an earlier run left in /var/lib.
func (c Client) Start(t T, h *Host, iface string) *Process {
	t.Helper()
	Need(t, c.Programs...)
	if _, err := h.Try("ip", "link", "show", c.Downstream); c.Downstream != "" && err != nil {
		Cable(t, h, c.Downstream, h, c.Downstream+"-peer") // the other end makes it a link with a carrier
	}
	return c.start(t, h, iface)
}

// Clients are all DHCPv6 clients that Debian 12 packages and that keep leases. Its busybox is built without udhcpc6.
var Clients = []Client{
	dhclient("dhclient-address", "-N"),
	dhclient("dhclient-prefix", "-P"),
	dhclient("dhclient", "-N", "-P"),
	{
		Name: "dhcpcd", Programs: []string{"dhcpcd"}, Address: true, Prefix: true, Downstream: "down0",
		start: func(t T, h *Host, iface string) *Process {
			h.WriteFile(t, "/etc/dhcpcd.conf", "allowinterfaces "+iface+" down0\nipv6only\nnoipv6rs\nduid\noption dhcp6_name_servers\n"+
				"interface "+iface+"\nia_na 1\nia_pd 2 down0/0\n", 0o644)
			h.Run(t, "mkdir", "-p", "/var/lib/dhcpcd")
			return h.Start(t, "dhcpcd", "-6", "-B", "-d", iface)
		},
		// What "dhcpcd -k" does, but more than once: dhcpcd loses a signal that comes while it runs a hook.
		Release: func(t T, _ *Host, p *Process) {
			Eventually(t, settleTime, "the end of dhcpcd", func() bool {
				p.Signal(t, syscall.SIGALRM)
				return Poll(time.Second, func() bool { return !p.Running() })
			})
		},
	},
	{
		Name: "systemd-networkd", Programs: []string{"/lib/systemd/systemd-networkd"}, Address: true, Prefix: true, Downstream: "down0",
		start: startNetworkd,
	},
	{
		Name: "wide-dhcpv6", Programs: []string{"dhcp6c"}, Address: true, Prefix: true, Downstream: "down0",
		start: func(t T, h *Host, iface string) *Process {
			h.WriteFile(t, "/etc/wide-dhcpv6/dhcp6c.conf", "interface "+iface+" { send ia-na 1; send ia-pd 2; request domain-name-servers; };\n"+
				"id-assoc na 1 { };\nid-assoc pd 2 { prefix-interface down0 { sla-id 1; sla-len 8; }; };\n", 0o644)
			h.Run(t, "mkdir", "-p", "/var/lib/dhcpv6")
			return h.Start(t, "dhcp6c", "-f", "-D", "-c", "/etc/wide-dhcpv6/dhcp6c.conf", iface)
		},
		Release: terminate,
	},
	{
		Name: "dibbler", Programs: []string{"dibbler-client"}, Address: true, Prefix: true, GivesUpPrefix: true,
		start: func(t T, h *Host, iface string) *Process {
			h.WriteFile(t, "/etc/dibbler/client.conf", "log-level 8\ndownlink-prefix-ifaces \"none\"\niface "+iface+" {\n ia\n pd\n option dns-server\n}\n", 0o644)
			h.Run(t, "mkdir", "-p", "/var/lib/dibbler", "/var/log/dibbler")
			return h.Start(t, "dibbler-client", "run")
		},
		Release: terminate,
	},
}

func dhclient(name string, flags ...string) Client {
	arguments := append([]string{"-6"}, flags...)
	return Client{
		Name: name, Programs: []string{"dhclient"},
		Address: strings.Contains(strings.Join(flags, " "), "-N"),
		Prefix:  strings.Contains(strings.Join(flags, " "), "-P"),
		start: func(t T, h *Host, iface string) *Process {
			h.Run(t, "mkdir", "-p", "/var/lib/dhcp")
			return h.Start(t, append(append([]string{"dhclient", "-d"}, arguments...), iface)...)
		},
		// A second dhclient ends the first and sends the Release; it leaves without waiting for the Reply.
		Release: func(t T, h *Host, p *Process) {
			h.Run(t, append(append([]string{"dhclient", "-r"}, arguments...), "eth0")...)
		},
	}
}

// terminate is how the clients that release at their end are told to.
func terminate(t T, _ *Host, p *Process) { p.Signal(t, syscall.SIGTERM) }

// startNetworkd needs no D-Bus and no udev: without a writable /sys it takes interfaces as they are.
func startNetworkd(t T, h *Host, iface string) *Process {
	h.WriteFile(t, "/run/systemd/network/10-up.network", "[Match]\nName="+iface+"\n[Network]\nDHCP=ipv6\nIPv6AcceptRA=no\n"+
		"LinkLocalAddressing=ipv6\nKeepConfiguration=yes\n[DHCPv6]\nWithoutRA=solicit\nPrefixDelegationHint=::/56\n", 0o644)
	h.WriteFile(t, "/run/systemd/network/20-down.network", "[Match]\nName=down0\n[Network]\nDHCPPrefixDelegation=yes\nIPv6AcceptRA=no\n"+
		"[DHCPPrefixDelegation]\nUplinkInterface="+iface+"\nSubnetId=1\n", 0o644)
	return runNetworkd(t, h)
}

func runNetworkd(t T, h *Host) *Process {
	t.Helper()
	h.Run(t, "mkdir", "-p", "/run/systemd/netif/links", "/run/systemd/netif/leases", "/run/systemd/netif/lldp")
	h.Run(t, "chown", "-R", "systemd-network", "/run/systemd/netif")
	h.Run(t, "mount", "-t", "tmpfs", "tmpfs", "/etc/systemd/network")
	return h.Start(t, "env", "SYSTEMD_LOG_LEVEL=debug", "/lib/systemd/systemd-networkd")
}
