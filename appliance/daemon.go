// Package appliance is the daemon around the engine: sockets, disk, clock,
// interfaces, signals. THREADS.md lists its goroutines and what each owns.
package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tandem6/tandem6/appliance/config"
	"github.com/tandem6/tandem6/appliance/engine"
	rakernel "github.com/tandem6/tandem6/appliance/ra/kernel"
	"github.com/tandem6/tandem6/appliance/udp6"
	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/netcfg/kernel"
	"github.com/tandem6/tandem6/storage"
	"github.com/tandem6/tandem6/storage/bolt"
	"github.com/tandem6/tandem6/web"
)

// Options are what the command line says.
type Options struct {
	ConfigFile string
	StateDir   string // holds the lease file
	Socket     string // for the CLI
	Version    string
	Log        *slog.Logger
	LogLevel   trace.Level
	Console    io.Writer // lines for the serial port
	Rand       *rand.Rand
}

// leaseFileName is the lease file's name in Options.StateDir.
const leaseFileName = "leases.db"

// Daemon is a running appliance.
type Daemon struct {
	options Options
	since   time.Time

	store   *bolt.Store
	conn    *udp6.Conn
	kernel  *kernel.Handle
	loop    *loop
	network *network
	router  *rakernel.Router
	journal *journal
	socket  net.Listener

	inForce     atomic.Pointer[inForce]
	lastProblem atomic.Pointer[string]
	applying    sync.Mutex // one configuration at a time is put in force
	advertised  advertised
}

// inForce is the configuration in force.
type inForce struct {
	config  *config.Config
	text    []byte
	at      time.Time
	unsaved bool
}

// Open reads configuration and leases and opens the sockets. Nothing is served
// before Run.
func Open(o Options) (_ *Daemon, err error) {
	d := &Daemon{options: o, since: time.Now(), journal: newJournal(o.Log, o.LogLevel)}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	in, err := d.readConfig()
	if err != nil {
		return nil, err
	}
	d.inForce.Store(in)
	start := time.Now()
	clock := clockFrom(start)
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w; give another with -state", err)
	}
	if d.store, err = bolt.Open(d.leaseFile(), lease.FromUnix(d.since.Unix())); err != nil {
		return nil, err
	}
	e := engine.New(engine.Config{DHCP: &in.config.Server}, o.Rand)
	if err := d.store.Load(e.LoadBinding, func(v storage.Value) error {
		if v.Name == storage.AdvertisedPrefixes {
			return d.advertised.load(v.Data)
		}
		return e.LoadValue(v)
	}); err != nil {
		return nil, fmt.Errorf("load the leases of %s: %w", d.leaseFile(), err)
	}
	if d.conn, err = udp6.Listen(udp6.ServerPort); err != nil {
		return nil, fmt.Errorf("%w; is another DHCPv6 server or relay running?", err)
	}
	if d.kernel, err = kernel.Open(); err != nil {
		return nil, err
	}
	if d.socket, err = web.Listen(o.Socket); err != nil {
		return nil, err
	}
	routes := newRouteQueue()
	d.loop = newLoop(e, d.conn, newWriter(d.store), d.journal, routes, clock)
	d.network = newNetwork(d.kernel, d.conn, d.loop, routes, o.Log)
	d.router, err = rakernel.New(rakernel.Options{
		Interfaces: advertisements(in.config, clock()), Remembered: maps.Clone(d.advertised.prefixes),
		Start: start, Rand: rand.New(rand.NewPCG(o.Rand.Uint64(), o.Rand.Uint64())), Hook: d.advertising,
	})
	return d, err
}

func (d *Daemon) close() {
	for _, c := range []io.Closer{d.conn, d.socket, d.store} {
		if c != nil && c != (*udp6.Conn)(nil) && c != (*bolt.Store)(nil) {
			c.Close()
		}
	}
	if d.kernel != nil {
		d.kernel.Close()
	}
}

func (d *Daemon) leaseFile() string { return filepath.Join(d.options.StateDir, leaseFileName) }

// clockFrom reads both clocks of the system, the monotonic one as the time since start.
func clockFrom(start time.Time) func() lease.Clock {
	return func() lease.Clock {
		now := time.Now()
		return lease.Clock{Mono: now.Sub(start), Wall: lease.FromUnix(now.Unix())}
	}
}

// readConfig reads the configuration file, and makes one that works when there
// is none.
func (d *Daemon) readConfig() (*inForce, error) {
	file := d.options.ConfigFile
	text, err := config.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = d.firstConfig()
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	cfg, problems := config.Parse(file, text)
	if err := problems.Err(); err != nil {
		return nil, fmt.Errorf("the configuration is not usable:\n%w", err)
	}
	for _, p := range problems {
		d.options.Log.Warn(p.String())
	}
	return &inForce{config: cfg, text: text, at: time.Now()}, nil
}

// Run serves until ctx ends, and then returns nil, or until something fails
// that nothing can be served without.
func (d *Daemon) Run(ctx context.Context) error {
	defer d.close()
	in := d.inForce.Load()
	d.network.settings <- networkSettings(in.config)

	// The loop outlives the others, who send it orders.
	loopCtx, stopLoop := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLoop()
	var core errgroup.Group
	started := make(chan struct{})
	core.Go(func() error { return d.loop.writer.run(loopCtx) })

	tasks, taskCtx := errgroup.WithContext(ctx)
	core.Go(func() error {
		err := d.loop.run(loopCtx, started)
		if err != nil {
			stopLoop()
		}
		return err
	})
	tasks.Go(func() error {
		select {
		case <-loopCtx.Done():
			return errStopped
		case <-taskCtx.Done():
			return nil
		}
	})
	tasks.Go(func() error { return d.conn.Run(taskCtx) })
	tasks.Go(func() error { return d.journal.run(taskCtx) })
	tasks.Go(func() error { return d.network.watch(taskCtx) })
	tasks.Go(func() error { return d.network.run(taskCtx) })
	tasks.Go(func() error {
		select {
		case <-d.network.first: // before it, the kernel may not even forward
			return d.router.Run(taskCtx)
		case <-taskCtx.Done():
			return nil
		}
	})
	tasks.Go(func() error { return web.Serve(taskCtx, d.socket, web.NewHandler(d), web.LogTo(d.options.Log)) })
	err := tasks.Wait()
	stopLoop()
	if e := core.Wait(); e != nil {
		return e
	}
	return err
}
