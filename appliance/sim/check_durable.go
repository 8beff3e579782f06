package sim

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/appliance/engine"
	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/storage"
)

// An archive is what has to be on a disk: every batch of which the disk said that
// it is durable, and no other.
type archive struct {
	bindings map[netip.Prefix]*lease.Binding
	values   map[string][]byte
	lost     map[netip.Prefix]*lease.Binding // what was on the disk that was replaced
}

func (a *archive) put(b *lease.Binding) {
	if a.bindings == nil {
		a.bindings = map[netip.Prefix]*lease.Binding{}
	}
	a.bindings[b.Prefix] = b
}

func (a *archive) set(v storage.Value) {
	if a.values == nil {
		a.values = map[string][]byte{}
	}
	if v.Data == nil {
		delete(a.values, v.Name)
		return
	}
	a.values[v.Name] = v.Data
}

// apply notes a batch that is durable.
func (a *archive) apply(b *storage.Batch) {
	for _, c := range b.Changes {
		if c.Binding == nil {
			delete(a.bindings, c.Prefix)
			continue
		}
		a.put(c.Binding)
	}
	for _, v := range b.Values {
		a.set(storage.Value{Name: v.Name, Data: slices.Clone(v.Data)})
	}
}

// replace empties the archive, as the disk was.
func (a *archive) replace() {
	if a.lost == nil {
		a.lost = map[netip.Prefix]*lease.Binding{}
	}
	maps.Copy(a.lost, a.bindings)
	a.bindings, a.values = nil, nil
}

// promised watches that a promise to a client is on the disk of the server that
// makes it, at the moment when it leaves: the lease is the client's, and for at
// least as long as the client will believe.
func (a *archive) promised(m *message, typ lease.IAType, id lease.IAID, l leased, now lease.Time) (broken string) {
	b := a.bindings[l.prefix]
	switch {
	case b == nil:
		return "its disk has no record of it"
	case (b.Status == lease.Released || b.Status == lease.Abandoned) && b.Client == m.client && now-b.StartOfState < stallMax_s:
		return "" // the client has given it up since, in a later message that is on the disk, too
	case b.Status != lease.Active:
		return "on its disk it is " + b.Status.String()
	case b.Client != m.client || b.Type != typ || b.ID != id:
		return "on its disk it is another client's: " + b.Client.String()
	case b.HeldUntil+engine.ExpiryGrace < now.Add(l.valid):
		return "its disk keeps it until " + b.HeldUntil.String() + " only, the client will believe until " + now.Add(l.valid).String()
	}
	return ""
}

// stallMax_s is how long an answer may wait for the disk, in seconds.
const stallMax_s = lease.Time(stallMax / time.Second)

// checkLeaving judges an answer to a client as it leaves.
func (n *node) checkLeaving(o dhcp6.Output) {
	m, err := parseAny(o.Data)
	if err != nil {
		n.violate("wire", "%s answers what is not well-formed (%v): %x", n.name, err, o.Data)
		return
	}
	if m.kind != reply {
		return
	}
	now := n.engineWall() - n.stepping()
	for i := range m.ias {
		in := &m.ias[i]
		for _, l := range in.leases {
			if l.valid == 0 {
				continue
			}
			if broken := n.kept.promised(m, in.typ, in.id, l, now); broken != "" {
				n.violate("durable", "%s promises %s to %v for %d s, but %s", n.name, show(l.prefix), m.client, l.valid, broken)
			}
			n.checkBounded(m, in, l)
			n.tally.count("served: lease promised")
		}
	}
}

// stepping is by how much the engine's clock was set in the last minute: records
// are being shifted by as much, and the disk may not have them yet.
func (n *node) stepping() lease.Time {
	if n.now-n.steppedAt < time.Minute {
		return max(n.stepped, 0)
	}
	return 0
}

// watchClock follows the engine's time.
func (n *node) watchClock(lead lease.Time) {
	if by := lead - n.lead; n.life == n.leadLife && by > lease.Time(engine.ExpiryGrace)/2 {
		n.stepped, n.steppedAt = by, n.now
	}
	n.lead, n.leadLife = lead, n.life
}
