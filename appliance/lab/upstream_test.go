package lab_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tandem6/tandem6/appliance/lab"
)

// TestUpstreamStaysSilent watches the cable to the provider while the LAN is served and the daemon comes and goes: nothing is
// answered there (D-015), and no Release is ever sent while prefixes out of the provider's are in use (D-266).
// The LAN keeps its prefix meanwhile (D-265).
func TestUpstreamStaysSilent(t *testing.T) {
	t.Parallel()
	needTandem6d(t)
	lab.Need(t, "tcpdump")
	n := lab.NewNetwork(t)
	provider := lab.NewHost(t, "provider")
	lab.Cable(t, n.Server, "eth1", provider, "eth0")
	provider.LinkLocal(t, "eth0")
	config := n.Tandem6Config(lab.Settings{PreferredSeconds: 3600, ValidSeconds: 7200, Advertise: true})
	config = strings.Replace(config, `"interfaces": {`, `"interfaces": {"eth1": {"addresses": ["2001:db8:ffff::2/64"]},`, 1)
	if !strings.Contains(config, "eth1") {
		t.Fatalf("no place for eth1 in %s", config)
	}
	server := binaries.NewTandem6d(t, n.Server, config, false)
	upstream := provider.Capture(t, "eth0")
	server.Start(t)

	conn, servers := provider.ClientSocket(t, "eth0")
	defer conn.Close()
	client := lab.NewFleet(t, n.Client, "eth0").NewClient()
	if err := client.Lease(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := n.Server.Addresses("eth0")
	solicit := []byte{1, 1, 2, 3, 0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 9, 0, 14, 0, 0, 0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}
	restarts := []func(){func() { server.Stop(t) }, server.Kill}
	for _, end := range restarts {
		// The provider's side asks first: when the client's Renew is answered, that was long read.
		if _, err := conn.WriteToUDPAddrPort(solicit, servers); err != nil {
			t.Fatal(err)
		}
		if err := client.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		end()
		server.Start(t)
		if after := n.Server.Addresses("eth0"); !slices.Equal(after, before) {
			t.Errorf("addresses of the LAN after a restart: %v, before: %v", after, before)
		}
	}
	asked := 0
	for _, p := range upstream.Packets(t) {
		if p.Src.Addr() == n.Server.LinkLocal(t, "eth1") {
			t.Errorf("sent upstream: %v", p)
		} else {
			asked++
		}
	}
	if asked < len(restarts) {
		t.Errorf("the capture shows %d Solicits of the provider's side, want %d", asked, len(restarts))
	}
}
