package appliance

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/tandem6/tandem6/appliance/config"
	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/appliance/engine"
	rakernel "github.com/tandem6/tandem6/appliance/ra/kernel"
	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/web"
)

// rowsPerLook is how many rows of a lease list are made between two looks at
// whether the reader is still there.
const rowsPerLook = 4096

var _ web.Operator = (*Daemon)(nil)

// Status implements web.Operator.
func (d *Daemon) Status(ctx context.Context) (web.Status, error) {
	v, err := d.loop.look(ctx)
	if err != nil {
		return web.Status{}, err
	}
	in := d.inForce.Load()
	s := web.Status{
		Version: d.options.Version, Since: d.since, Uptime_s: int64(time.Since(d.since).Seconds()),
		ServerDUID: v.ServerID.String(),
		Clock:      web.Clock{Now: v.At.Wall.UTC(), Trusted: v.ClockTrusted},
		Leases:     map[string]int{},
		Links:      d.links(v, in),
		Counters:   d.counters(v),
		Storage:    web.Storage{File: d.leaseFile(), LastCommit_us: v.commitTook.Microseconds()},
		Configuration: web.Configuration{
			File: d.options.ConfigFile, LoadedAt: in.at, Unsaved: in.unsaved,
		},
		NetworkProblems: d.network.state.Load().problems,
	}
	if !v.ClockTrusted {
		s.Clock.Reason = "the clock of this box reads earlier than the newest lease; set the clock, until then leases are extended and none ends"
	}
	if p := d.lastProblem.Load(); p != nil {
		s.Configuration.LastProblem = *p
	}
	if info, err := os.Stat(d.leaseFile()); err == nil {
		s.Storage.Size_bytes = info.Size()
	}
	for st := lease.Active; st <= lease.Reset; st++ {
		if n := v.Leases.Count(st); n > 0 {
			s.Leases[st.String()] = n
		}
	}
	return s, nil
}

// links describes the configured links and the state of their interfaces.
func (d *Daemon) links(v view, in *inForce) []web.Link {
	network, advertising := d.network.state.Load(), d.router.View()
	var links []web.Link
	for i := range in.config.Server.Links {
		cfg := &in.config.Server.Links[i]
		l := web.Link{Name: cfg.Name, Interface: cfg.Interface, Pools: []web.Pool{}}
		seen, exists := network.links[cfg.Interface]
		switch {
		case cfg.Interface == "":
			l.State, l.Serving = web.LinkRelayed, true
		case !exists:
			l.State, l.Message = web.LinkMissing, "there is no interface "+cfg.Interface
		case !seen.Up || !seen.Carrier:
			l.State, l.Message = web.LinkDown, "no signal on "+cfg.Interface+", look at the cable"
		case !network.ready[cfg.Interface]:
			l.State, l.Message = web.LinkUp, "waits until the kernel has checked the link-local address of "+cfg.Interface
		default:
			l.State, l.Serving = web.LinkUp, true
		}
		for _, p := range v.Pools {
			if p.Link == cfg.Name {
				l.Pools = append(l.Pools, pool(p))
			}
		}
		if in.config.Find(cfg.Name) != nil {
			l.RouterAdvertisements = routerAdvertisements(advertising, cfg.Interface)
		}
		links = append(links, l)
	}
	return links
}

// routerAdvertisements describes what an interface that shall advertise does.
func routerAdvertisements(views []rakernel.View, iface string) *web.RouterAdvertisements {
	i := slices.IndexFunc(views, func(v rakernel.View) bool { return v.Interface == iface })
	if i < 0 { // configured a moment ago
		return &web.RouterAdvertisements{Message: "about to begin"}
	}
	v := &views[i]
	a := &web.RouterAdvertisements{
		Message: v.Waiting, Sent: v.Counters.Multicast + v.Counters.Unicast, SendErrors: v.Counters.SendErrors, Solicitations: v.Counters.Solicitations,
	}
	if v.Address.IsValid() {
		a.Source = v.Address.WithZone("").String()
	}
	return a
}

func pool(p dhcp6.PoolUse) web.Pool {
	w := web.Pool{Type: lease.IANA.String(), Range: p.Pool, Size: p.Size.String(), Used: p.Used}
	if p.Length != 128 {
		w.Type, w.DelegatedLength = lease.IAPD.String(), p.Length
	}
	return w
}

func (d *Daemon) counters(v view) web.Counters {
	socket := d.conn.Counters()
	c := web.Counters{
		Received: socket.Received, RingDrops: socket.DroppedRing + socket.DroppedKernel,
		Oversized: socket.Oversized, Truncated: socket.Truncated, SendErrors: socket.SendErrors,
		Commits: v.commits, CommittedBytes: v.written, Dropped: map[string]uint64{},
	}
	for _, n := range v.Stats.Answered {
		c.Answered += n
	}
	for r, n := range v.Stats.Dropped {
		if n > 0 {
			c.Dropped[trace.Reason(r).Name()] = n
		}
	}
	return c
}

// Leases implements web.Operator.
func (d *Daemon) Leases(ctx context.Context, query web.LeaseQuery, yield func(web.Lease) error) error {
	var after netip.Prefix
	if query.After != "" {
		p, err := lease.ParsePrefix(query.After)
		if err != nil {
			return &web.Error{Status: http.StatusBadRequest, Text: err.Error(), Err: err}
		}
		after = p
	}
	v, err := d.loop.look(ctx)
	if err != nil {
		return err
	}
	rows, walked := 0, 0
	for b := range v.Leases.From(after) {
		if walked++; walked%rowsPerLook == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if b.Prefix == after {
			continue
		}
		if facts := leaseFacts(b); !query.Filter.MatchFacts(&facts) {
			continue
		}
		if err := yield(leaseRow(b, v.At.Wall, &d.network.installed)); err != nil {
			return err
		}
		if rows++; rows == query.Limit {
			return nil
		}
	}
	return nil
}

// leaseFacts is what a filter may find of the row that leaseRow makes.
func leaseFacts(b *lease.Binding) web.Facts {
	f := web.Facts{Prefix: b.Prefix, Client: string(b.Client), Hostname: b.Hostname, Link: b.Link, Status: b.Status.String()}
	if b.Type == lease.IAPD {
		f.Via = b.Via
	}
	return f
}

func leaseRow(b *lease.Binding, now lease.Time, routes *routeSet) web.Lease {
	row := web.Lease{
		Prefix: leaseName(b.Prefix), Type: b.Type.String(), Link: b.Link, Client: b.Client.String(), IAID: uint32(b.ID),
		Hostname: b.Hostname, Status: b.Status.String(), Since: b.StartOfState.UTC(),
		Remaining_s: web.Infinity, Preferred_s: b.Preferred, Valid_s: b.Valid,
	}
	if b.Expires != 0 && b.Expires != lease.Forever {
		row.Expires, row.Remaining_s = b.Expires.UTC(), b.Expires.Until(now)
	}
	if b.LastTransaction != 0 {
		row.LastTransaction = b.LastTransaction.UTC()
	}
	if b.Via.IsValid() && b.Type == lease.IAPD {
		row.Via, row.Route = b.Via.String(), "not installed"
		if routes.has(b.Prefix) {
			row.Route = "installed"
		}
	}
	return row
}

// leaseName is an address without its length, or a prefix.
func leaseName(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// ReleaseLease implements web.Operator.
func (d *Daemon) ReleaseLease(ctx context.Context, prefix string) error {
	p, err := lease.ParsePrefix(prefix)
	if err != nil {
		return &web.Error{Status: http.StatusBadRequest, Text: err.Error(), Err: err}
	}
	err = d.loop.durably(ctx, func(ticket uint64) engine.Event { return engine.Clear{Ticket: ticket, Prefix: p} })
	if errors.Is(err, engine.ErrNoLease) {
		return &web.Error{Status: http.StatusNotFound, Text: "nobody holds " + leaseName(p), Hint: "tandem6 leases lists what is held", Err: err}
	}
	return err
}

// Config implements web.Operator.
func (d *Daemon) Config(context.Context) ([]byte, error) { return d.inForce.Load().text, nil }

// CheckConfig implements web.Operator.
func (d *Daemon) CheckConfig(_ context.Context, text []byte) ([]web.Problem, error) {
	_, problems := config.Parse("", text)
	return webProblems(problems), nil
}

// ApplyConfig implements web.Operator.
func (d *Daemon) ApplyConfig(ctx context.Context, text []byte, persist bool) ([]web.Problem, error) {
	cfg, problems := config.Parse("", text)
	if problems.Err() != nil {
		return webProblems(problems), nil
	}
	in := &inForce{config: cfg, text: text, at: time.Now(), unsaved: !persist}
	return webProblems(problems), d.apply(ctx, in, persist)
}

// AddressKey implements web.Operator.
func (d *Daemon) AddressKey(ctx context.Context) (string, error) {
	v, err := d.loop.look(ctx)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(v.AddressKey[:]), nil
}

// SetAddressKey implements web.Operator.
func (d *Daemon) SetAddressKey(ctx context.Context, key string) error {
	canonical, err := web.ParseAddressKey(key)
	if err != nil {
		return err
	}
	var k dhcp6.AddressKey
	if _, err := hex.Decode(k[:], []byte(canonical)); err != nil {
		panic("appliance: " + err.Error()) // ParseAddressKey let it pass
	}
	err = d.loop.durably(ctx, func(ticket uint64) engine.Event { return engine.SetAddressKey{Ticket: ticket, Key: k} })
	if err == nil {
		d.options.Log.Info("the operator has changed the address key; new clients get addresses by the new one")
	}
	return err
}

func webProblems(problems config.Problems) []web.Problem {
	out := make([]web.Problem, 0, len(problems))
	for _, p := range problems {
		w := web.Problem{File: p.File, Line: p.Line, Column: p.Column, Path: p.Path, Text: p.Found, Warning: p.Warning}
		switch {
		case p.Allowed == "":
		case p.Warning:
			w.Text += "; better: " + p.Allowed
		default:
			w.Text += "; allowed: " + p.Allowed
		}
		out = append(out, w)
	}
	return out
}
