package sim

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/appliance/engine"
	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/storage"
	"github.com/tandem6/tandem6/storage/storagetest"
)

// A node is one box: power, clocks, a disk, and the process that runs the
// production engine. It is the shell around the engine, as the daemon's loop is:
// one writer, outputs that wait for the disk, a timer.
type node struct {
	*World
	id    int
	name  string
	ports []*port // to the lans that it serves

	clocks
	battery bool // the wall clock goes on while the box is off
	disk    storagetest.Disk
	kept    archive // what is on the disk, as it has to be

	powered  bool
	boots    int
	noted    time.Duration // what its wall clock read, since the epoch, when it was switched off
	life     int           // starts of the process
	running  bool
	engine   *engine.Engine
	pipeline engine.Pipeline
	store    *storagetest.Sim
	batch    *storage.Batch                  // on its way to the disk
	known    map[netip.Prefix]*lease.Binding // in the engine, on disk or not
	out      engine.Outputs
	wake     timer
	lore     map[netip.Prefix]learned
	stall    time.Duration // until when the disk does not answer
	failNext bool          // the next commit fails

	partnerSide
}

const (
	bootMin    = 3 * time.Second // of a box, until its daemon runs
	bootSpread = 20 * time.Second
	// restartMin is how soon the supervisor of the image starts a process again.
	restartMin    = time.Second
	restartSpread = 2 * time.Second
)

// address is the node's address for relays and partners.
func (n *node) address() netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 4: 0xff, 5: 0xff, 15: byte(n.id + 1)})
}

// config is what the operator has configured.
func (n *node) config() engine.Config {
	return engine.Config{DHCP: n.dhcp(), Relationships: n.relationships(), Flaws: n.Flaws}
}

// dhcp is the part about the links that the node serves.
func (n *node) dhcp() *dhcp6.Config {
	cfg := &dhcp6.Config{DeclinedFor: n.Declined_s, RememberFor: n.Remember_s, Limits: dhcp6.DefaultLimits}
	// Clients here forget who they are more often than the limits foresee.
	cfg.Limits.LeasesPerClient, cfg.Limits.PrefixesPerClient = math.MaxInt32, math.MaxInt32
	for _, p := range n.ports {
		cfg.Links = append(cfg.Links, n.lans[p.ifIndex-lanIndexes].link())
	}
	return cfg
}

func (n *node) interfaces() (list []dhcp6.Interface) {
	list = append(list, dhcp6.Interface{Index: uplinkIndex, Name: "uplink", Addrs: []netip.Addr{n.address()}})
	for _, p := range n.ports {
		l := n.lans[p.ifIndex-lanIndexes]
		list = append(list, dhcp6.Interface{Index: p.ifIndex, Name: l.name, Addrs: []netip.Addr{l.host(n.id + 1)}})
	}
	return list
}

// says writes a line about the node.
func (n *node) says(format string, args ...any) { n.line(n.now, n.name, format, args...) }

// powerOn switches the box on. Its process runs when it has booted.
func (n *node) powerOn() {
	if n.powered {
		return
	}
	n.powered = true
	n.bootClocks()
	n.note(n.now, n.name, "on", nil)
	n.says("power on, clock %v", n.wall(n.now))
	n.after(bootMin+time.Duration(n.Float64()*float64(bootSpread)), n.start)
}

// start starts the process, if it can run and does not.
func (n *node) start() {
	if !n.powered || n.running {
		return
	}
	store, err := n.disk.Open()
	if err != nil {
		panic("sim: " + err.Error())
	}
	n.life++
	n.running, n.store = true, store
	n.engine = engine.New(n.config(), rand.New(rand.NewPCG(n.Seed, uint64(n.id)<<32|uint64(n.life))))
	n.pipeline, n.known = engine.Pipeline{}, map[netip.Prefix]*lease.Binding{}
	n.tickets = map[uint64]func(error){}
	found := n.load()
	n.relearn()
	for _, r := range n.relations {
		r.before = r.promised
	}
	n.says("starts with %d leases", len(n.known))
	n.note(n.now, n.name, "start", nil)
	n.engine.Start(n.read(n.now), n.pipeline.Open())
	n.checkRestart(found)
	n.observe(nil, marks{})
	n.advance()
	n.step(engine.Interfaces{List: n.interfaces()})
}

// load gives the engine what is on the disk.
func (n *node) load() *archive {
	found := new(archive)
	err := n.store.Load(
		func(b *lease.Binding) error {
			found.put(b)
			n.known[b.Prefix] = b
			return n.engine.LoadBinding(b)
		},
		func(v storage.Value) error {
			found.set(v)
			return n.engine.LoadValue(v)
		})
	if err != nil {
		n.violate("restart", "%s cannot load what it stored: %v", n.name, err)
	}
	return found
}

// stop ends the process, in whatever it does. What was on its way to the disk is
// there or not.
func (n *node) stop() {
	if !n.running {
		return
	}
	if n.batch != nil && n.chance(0.5) && n.store.Commit(n.batch) == nil {
		n.kept.apply(n.batch)
	}
	n.disk.Crash(0)
	n.off()
	n.running, n.batch, n.engine, n.store = false, nil, nil, nil
	n.wake.stop()
	n.failNext = false
	n.stall = 0
	clear(n.tickets)
	for _, r := range n.relations {
		r.state, r.partner = 0, 0
		r.stopped = 0
		if _, ok := parseMilestone(n.kept.values[recordPrefix+r.pair.name]); ok {
			r.stopped = n.now
		}
	}
}

// shutdown ends the process in order, after what it has begun is on the disk, and
// starts it again later.
func (n *node) shutdown(pause time.Duration) {
	life := n.life
	n.after(10*time.Millisecond, func() {
		switch {
		case !n.running || n.life != life:
		case n.batch != nil:
			n.shutdown(pause)
		default:
			n.note(n.now, n.name, "shutdown", nil)
			n.says("stops in order")
			n.stop()
			n.hangUp()
			n.after(pause, n.start)
		}
	})
}

// crash kills the process; the supervisor starts it again.
func (n *node) crash(why string) {
	if !n.running {
		return
	}
	n.note(n.now, n.name, "crash", nil)
	n.says("CRASH: %s", why)
	n.tally.count("nodes: crash")
	n.stop()
	n.hangUp()
	n.after(restartMin+time.Duration(n.Float64()*float64(restartSpread)), n.start)
}

// powerOff takes the power away. The partner hears nothing.
func (n *node) powerOff() {
	if !n.powered {
		return
	}
	n.note(n.now, n.name, "off", nil)
	n.says("POWER OFF")
	n.tally.count("nodes: power loss")
	n.stop()
	n.powered, n.noted = false, n.now+n.offset
	n.vanish()
}

// marks are what a Ready already held before a Step.
type marks struct{ changes, values, now, after, trace int }

func (n *node) marks() marks {
	r := n.pipeline.Open()
	return marks{len(r.Commit.Changes), len(r.Commit.Values), len(r.Now.Packets), len(r.AfterCommit.Packets), len(r.Trace)}
}

// step gives the engine one event.
func (n *node) step(event engine.Event) {
	if !n.running {
		return
	}
	before := n.marks()
	n.engine.Step(n.read(n.now), event, n.pipeline.Open())
	n.observe(event, before)
	n.advance()
}

// reconfigure puts a changed configuration in force.
func (n *node) reconfigure() {
	n.step(engine.Reconfigure{Config: n.config(), Text: "by the operator"})
}

// duid is the server's DUID, as it is on the disk.
func (n *node) duid() lease.DUID { return lease.DUID(n.kept.values[storage.ServerDUID]) }

// observe shows the checkers what came of a Step, and follows what the engine
// knows.
func (n *node) observe(event engine.Event, before marks) {
	r := n.pipeline.Open()
	n.watchClock(r.Offset)
	for _, c := range r.Commit.Changes[before.changes:] {
		old := n.known[c.Prefix]
		n.checkChange(event, old, c)
		if c.Binding == nil {
			delete(n.known, c.Prefix)
		} else {
			n.known[c.Prefix] = c.Binding
		}
	}
	for i := before.trace; i < len(r.Trace); i++ {
		e := &r.Trace[i]
		n.tally.count("trace: " + e.ID.Name())
		n.heard(e)
		if n.journal.read() {
			n.says("   %v", *e)
		}
	}
	clear(r.Trace)
	r.Trace = r.Trace[:0]
	n.records(r.Commit.Values[before.values:])
}

// receive takes a datagram of a client.
func (n *node) receive(c *client, p dhcp6.Packet) {
	if !n.running {
		return
	}
	n.note(n.now, n.name, "receives", p.Data)
	m, err := parseAny(p.Data)
	if err != nil {
		panic("sim: a client's message is malformed")
	}
	before, was := n.marks(), n.stateOn(c.lan)
	n.engine.Step(n.read(n.now), &engine.Received{Packet: p}, n.pipeline.Open())
	answers := n.answers(before)
	n.observe(&engine.Received{Packet: p}, before)
	n.checkAnswer(c, m, was, answers)
	n.advance()
}

// advance hands on what may leave, and the next batch to an idle disk.
func (n *node) advance() {
	if n.batch == nil {
		if b := n.pipeline.Advance(n.read(n.now).Mono, &n.out); b != nil {
			n.write(b)
		}
	} else {
		n.pipeline.TakeNow(&n.out)
	}
	n.send()
	n.arm()
}

// arm sets the timer for the engine's next wish to wake.
func (n *node) arm() {
	if !n.running {
		return
	}
	at := n.pipeline.Open().WakeAt
	if at == engine.Never {
		n.wake.stop()
		return
	}
	if when := max(n.when(at), n.now); !n.wake.on || n.wake.at != when {
		n.wake.start(&n.scheduler, when, func() { n.step(engine.Wake{}) })
	}
}

// write begins to make a batch durable.
func (n *node) write(b *storage.Batch) {
	n.batch = b
	life := n.life
	took := n.Disk + time.Duration(n.Float64()*float64(n.DiskSpread)) + max(n.stall-n.now, 0)
	n.after(took, func() {
		if n.running && n.life == life {
			n.written()
		}
	})
}

// written is when the disk answers.
func (n *node) written() {
	if n.failNext {
		n.failNext = false
		kept := n.chance(0.5)
		n.disk.FailCommit(1, kept)
		err := n.store.Commit(n.batch)
		if kept {
			n.kept.apply(n.batch)
		}
		n.batch = nil
		n.tally.count("disk: commit failed")
		n.crash(fmt.Sprintf("commit failed: %v", err))
		return
	}
	if err := n.store.Commit(n.batch); err != nil {
		panic("sim: the disk fails unasked: " + err.Error())
	}
	n.tally.count("disk: commit")
	n.note(n.now, n.name, "commit", nil)
	n.kept.apply(n.batch)
	n.batch = nil
	n.pipeline.Committed(n.read(n.now).Mono, &n.out)
	n.send()
	n.advance()
}

// send carries out the outputs.
func (n *node) send() {
	for i := range n.out.Packets {
		p := n.out.Packets[i]
		n.note(n.now, n.name, "answers", p.Data)
		n.checkLeaving(p)
		if port := n.port(p); port != nil {
			n.lans[port.ifIndex-lanIndexes].toClient(port, p)
		}
	}
	n.sendPartner()
	n.out.Reset()
}

// port is where an answer leaves: the one to whose lan its destination belongs.
func (n *node) port(o dhcp6.Output) *port {
	for _, p := range n.ports {
		if o.IfIndex == p.ifIndex || o.Destination.Addr() == n.lans[p.ifIndex-lanIndexes].relayAddress() {
			return p
		}
	}
	return nil
}
