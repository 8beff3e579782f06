package appliance

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tandem6/tandem6/appliance/config"
	"github.com/tandem6/tandem6/netcfg"
)

// TestNetworkSettings: neighbours are limited on each interface that is served,
// configured otherwise or not, and on no other; sources are validated where the
// file does not say no (D-260). The configuration stays as it is.
func TestNetworkSettings(t *testing.T) {
	text := `{
		"interfaces": {"eth0": {}, "eth9": {}},
		"links": {
			"a": {"interface": "eth0"},
			"b": {"interface": "eth1", "source-validation": false},
		}}`
	cfg, problems := config.Parse("", []byte(text))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	want := netcfg.Desired{
		Interfaces: []netcfg.Interface{
			{Name: "eth0", Up: true, Serves: true}, {Name: "eth9", Up: true}, {Name: "eth1", Serves: true},
		},
		SourceValidation: []string{"eth0"},
		Forwarding:       true,
	}
	same := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if diff := cmp.Diff(want, networkSettings(cfg).desired, same); diff != "" {
		t.Error(diff)
	}
	if cfg.Network.Interfaces[0].Serves || len(cfg.Network.Interfaces) != 2 {
		t.Errorf("the configuration has changed: %+v", cfg.Network.Interfaces)
	}
}
