package netcfg

import "strconv"

// NeighborQueueBytes is what an interface that is served may hold of packets for one neighbour that has not answered yet. The
// newest packet is always kept. The kernel's default of some 200 kB lets forty forged sources fill the send buffer of the
// DHCPv6 socket; then nobody is answered.
const NeighborQueueBytes = 4096

// Numbers of neighbours on all interfaces (gc_thresh1, 2 and 3). The kernel's 128, 512 and 1024 break down with a few hundred
// clients of several addresses each; these, eight and sixteen times as many, hold 4,000 clients of four addresses. The last bounds
// what a scan of a link from outside can take: 16,384 neighbours, each with half a kilobyte and a queue of NeighborQueueBytes,
// are 75 MB for the three seconds until they count as failed.
const (
	NeighborsKept = 2048  // up to which all are remembered
	NeighborsSoft = 8192  // above which the silent are forgotten at once
	NeighborsMost = 16384 // above which no more are taken
)

// planNeighborQueue makes l, which serves, hold less for silent neighbours. Who set it lower meant it.
func (p *planner) planNeighborQueue(l Link) {
	if l.NeighborQueueBytes > NeighborQueueBytes {
		p.changes.add(SysctlSet{
			Name: "net/ipv6/neigh/" + l.Name + "/unres_qlen_bytes", Value: strconv.Itoa(NeighborQueueBytes),
		})
	}
}

// planNeighborThresholds raises the thresholds. They are those of the whole machine and never lowered: the kernel cannot tell
// whether it was we who raised them.
func (p *planner) planNeighborThresholds() {
	for n, least := range [...]int{NeighborsKept, NeighborsSoft, NeighborsMost} {
		if have := p.observed.NeighborThresholds[n]; have > 0 && have < least {
			p.changes.add(SysctlSet{
				Name: "net/ipv6/neigh/default/gc_thresh" + strconv.Itoa(n+1), Value: strconv.Itoa(least),
			})
		}
	}
}
