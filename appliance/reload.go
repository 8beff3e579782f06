package appliance

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"github.com/tandem6/tandem6/appliance/config"
	"github.com/tandem6/tandem6/appliance/engine"
	"github.com/tandem6/tandem6/appliance/udp6"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/netcfg"
)

// Reload reads the configuration file again. A bad one changes nothing and is
// reported (in the log, and in the status until a good one comes).
func (d *Daemon) Reload(ctx context.Context) error {
	in, err := d.reread()
	if err == nil {
		err = d.apply(ctx, in, false)
	}
	if err != nil {
		text := err.Error()
		d.lastProblem.Store(&text)
		d.journal.record([]trace.Event{{ID: trace.ConfigRefused, Text: text}})
	}
	return err
}

func (d *Daemon) reread() (*inForce, error) {
	file := d.options.ConfigFile
	text, err := config.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	cfg, problems := config.Parse(file, text)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return &inForce{config: cfg, text: text, at: time.Now()}, nil
}

// apply puts a configuration in force everywhere, and first into the file if
// persist is set.
func (d *Daemon) apply(ctx context.Context, in *inForce, persist bool) error {
	d.applying.Lock()
	defer d.applying.Unlock()
	if persist {
		if err := renameio.WriteFile(d.options.ConfigFile, in.text, 0o600); err != nil {
			return fmt.Errorf("write the configuration to %s: %w; the old one stays in force", d.options.ConfigFile, err)
		}
	}
	if err := d.router.Update(advertisements(in.config, d.loop.clock())); err != nil {
		return err
	}
	old := d.inForce.Load()
	err := d.loop.do(ctx, engine.Reconfigure{Config: engine.Config{DHCP: &in.config.Server}, Text: config.Diff(old.config, in.config)})
	if err != nil {
		return err
	}
	d.inForce.Store(in)
	d.lastProblem.Store(nil)
	select {
	case <-d.network.settings: // one that nobody has seen yet
	default:
	}
	d.network.settings <- networkSettings(in.config)
	return nil
}

// networkSettings is what of a configuration concerns the kernel and the socket.
func networkSettings(cfg *config.Config) settings {
	s := settings{desired: cfg.Network, served: map[string]udp6.Groups{}}
	relayed := false
	for i := range cfg.Server.Links {
		l := &cfg.Server.Links[i]
		relayed = relayed || len(l.RelayFrom) > 0
		if l.Interface != "" {
			s.served[l.Interface] |= udp6.AllDHCPRelayAgentsAndServers
		}
	}
	// Relays reach the server through any interface that is ours; from where
	// they are believed is a matter of each link (D-003, D-233).
	if relayed {
		for name := range s.served {
			s.served[name] |= udp6.AllDHCPServers
		}
		for _, i := range cfg.Network.Interfaces {
			s.served[i.Name] |= udp6.AllDHCPServers
		}
	}
	s.desired.Interfaces = serving(s.desired.Interfaces, s.served)
	return s
}

// serving marks the interfaces that are served, and adds those that are not
// configured otherwise.
func serving(configured []netcfg.Interface, served map[string]udp6.Groups) []netcfg.Interface {
	interfaces := slices.Clone(configured)
	for _, name := range slices.Sorted(maps.Keys(served)) {
		i := slices.IndexFunc(interfaces, func(i netcfg.Interface) bool { return i.Name == name })
		if i < 0 {
			i = len(interfaces)
			interfaces = append(interfaces, netcfg.Interface{Name: name})
		}
		interfaces[i].Serves = true
	}
	return interfaces
}
