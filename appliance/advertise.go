package appliance

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tandem6/tandem6/appliance/config"
	"github.com/tandem6/tandem6/appliance/engine"
	"github.com/tandem6/tandem6/appliance/ra"
	rakernel "github.com/tandem6/tandem6/appliance/ra/kernel"
	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/storage"
)

// keepMax is how long router advertisements wait for the disk. A disk that is
// slower than that must not take the default route from every host.
const keepMax = 2 * time.Second

// advertised is what hosts may still believe because of this box's router
// advertisements; it survives a restart (RFC 9096 section 3.5, D-331).
type advertised struct {
	prefixes map[string][]ra.AdvertisedPrefix // by interface
}

func (a *advertised) load(data []byte) error {
	if err := json.Unmarshal(data, &a.prefixes); err != nil {
		return fmt.Errorf("the stored list of advertised prefixes: %w", err)
	}
	return nil
}

// advertisements are what each interface is to advertise, for clocks that read now.
func advertisements(cfg *config.Config, now lease.Clock) map[string]ra.Config {
	m := map[string]ra.Config{}
	for i := range cfg.Advertisements {
		a := &cfg.Advertisements[i]
		m[a.Interface] = a.At(now)
	}
	return m
}

// advertising is told by the router advertisements what happens. It runs on
// their goroutine only.
func (d *Daemon) advertising(e rakernel.Event) {
	d.options.Log.Log(context.Background(), e.Level(), e.String(), "event", e.Kind.Name())
	if e.Kind != rakernel.Remember {
		return
	}
	if d.advertised.prefixes == nil {
		d.advertised.prefixes = map[string][]ra.AdvertisedPrefix{}
	}
	if len(e.Prefixes) == 0 {
		delete(d.advertised.prefixes, e.Interface)
	} else {
		d.advertised.prefixes[e.Interface] = e.Prefixes
	}
	data, err := json.Marshal(d.advertised.prefixes)
	if err != nil {
		panic("appliance: " + err.Error()) // prefixes and durations always marshal
	}
	ctx, cancel := context.WithTimeout(context.Background(), keepMax)
	defer cancel()
	err = d.loop.durably(ctx, func(ticket uint64) engine.Event {
		return engine.Keep{Ticket: ticket, Value: storage.Value{Name: storage.AdvertisedPrefixes, Data: data}}
	})
	if err != nil {
		d.options.Log.Warn("could not store the advertised prefixes; after a power cut now, hosts may keep old ones", "error", err)
	}
}
