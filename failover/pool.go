package failover

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/trace"
	"github.com/tandem6/tandem6/failover/wire"
)

const (
	// backupMax bounds the prefixes that a secondary keeps for itself out of one
	// pool: each takes a record on both disks.
	backupMax = 4096
	// balanceThreshold is by how many percent of the available prefixes the
	// balance may be off before any moves.
	balanceThreshold = 5
	// movesPerStep bounds the prefixes that move, and triesPerStep those that
	// are looked at for it, in one step.
	movesPerStep = 32
	triesPerStep = 1024
	// poolReqEvery is the least time between two POOLREQs.
	poolReqEvery = 60 * second
)

// pool is a prefix pool with what is counted of it.
type pool struct {
	PrefixPool
	link   *Link
	size   uint64 // parts; huge pools count as 2^62
	used   int    // not available
	backup int    // FREE-BACKUP
	cursor uint64 // where the search for prefixes to hand over goes on, from the end
	uneven bool   // the counts have changed since the balance was looked at
}

func newPools(links []Link) []*pool {
	var pools []*pool
	for i := range links {
		for _, p := range links[i].Pools {
			n := min(p.Length-p.Prefix.Bits(), 62)
			pools = append(pools, &pool{PrefixPool: p, link: &links[i], size: 1 << n, uneven: true})
		}
	}
	return pools
}

// poolOf finds the pool of a prefix, or nil.
func (e *Endpoint) poolOf(b *lease.Binding) *pool {
	if b == nil || b.Type != lease.IAPD {
		return nil
	}
	for _, p := range e.pools {
		if p.Length == b.Prefix.Bits() && p.Prefix.Contains(b.Prefix.Addr()) {
			return p
		}
	}
	return nil
}

// countPools sees every change of the lease table.
func (e *Endpoint) countPools(old, now *lease.Binding) {
	b := now
	if b == nil {
		b = old
	}
	p := e.poolOf(b)
	if p == nil {
		return
	}
	count := func(b *lease.Binding, n int) {
		switch {
		case b == nil:
		case b.Status == lease.FreeBackup:
			p.backup += n
		case b.Status != lease.Free:
			p.used += n
		}
	}
	used, backup := p.used, p.backup
	count(old, -1)
	count(now, 1)
	p.uneven = p.uneven || used != p.used || backup != p.backup
}

// at is one of the parts of a pool.
func (p *pool) at(i uint64) netip.Prefix {
	a := p.Prefix.Addr().As16()
	hi, lo := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])
	shift := uint(128 - p.Length)
	var addHi, addLo uint64
	if shift >= 64 {
		addHi = i << (shift - 64)
	} else {
		addHi, addLo = i>>(64-shift), i<<shift // a shift by 64 gives 0
	}
	lo, carry := bits.Add64(lo, addLo, 0)
	hi, _ = bits.Add64(hi, addHi, carry)
	binary.BigEndian.PutUint64(a[:8], hi)
	binary.BigEndian.PutUint64(a[8:], lo)
	return netip.PrefixFrom(netip.AddrFrom16(a), p.Length)
}

// share is how many prefixes the secondary should have, and by how many it may
// be off.
func (p *pool) share(percent int) (want, slack int) {
	available := max(int(min(p.size, 1<<40))-p.used, 0)
	if available < 2 { // the last one stays with the primary
		return 0, 0
	}
	return min(max(available*percent/100, 1), backupMax), min(max(available*balanceThreshold/100, 1), backupMax/4)
}

// balance hands prefixes to the secondary and takes them back (RFC 8156 section
// 4.2.2). A secondary that has too few asks.
func (e *Endpoint) balance() {
	if e.state != Normal || !e.inContact() {
		return
	}
	for _, p := range e.pools {
		if !p.uneven {
			continue
		}
		p.uneven = false
		want, slack := p.share(e.cfg.BackupShare)
		switch missing := want - p.backup; {
		case e.cfg.Role == lease.Secondary:
			if 2*p.backup < want && !e.poolReqDue {
				e.poolReqDue = true
				p.uneven = true
			}
		case missing > slack || missing > 0 && p.backup == 0:
			e.give(p, missing)
		case -missing > slack || missing < 0 && want == 0:
			e.takeBack(p, -missing)
		}
	}
}

// give hands prefixes over. From this moment they are the secondary's, whatever
// becomes of the message.
func (e *Endpoint) give(p *pool, n int) {
	given := 0
	for tries := 0; tries < triesPerStep && given < min(n, movesPerStep); tries++ {
		i := p.size - 1 - p.cursor
		p.cursor = (p.cursor + 1) % p.size
		c := p.at(i)
		if b := e.table.Get(c); b != nil && b.Status != lease.Free || p.link.Reserved[c] || e.table.Overlaps(c) != nil {
			if uint64(tries)+1 >= p.size {
				break
			}
			continue
		}
		e.put(&lease.Binding{
			Prefix: c, IA: lease.IA{Link: p.link.Name, Type: lease.IAPD},
			Status: lease.FreeBackup, StartOfState: e.now.Wall, Change: e.number(),
		})
		given++
	}
	p.uneven = given > 0
	e.more = e.more || p.uneven
	if given > 0 {
		e.tell(trace.Event{ID: trace.FailoverPrefixesGiven, N: int64(given), Text: p.Prefix.String()})
	}
}

// takeBack asks for prefixes. They stay the secondary's until it agrees.
func (e *Endpoint) takeBack(p *pool, n int) {
	s := e.session
	if s.taking > 0 {
		p.uneven = true // when those have been answered
		return
	}
	n = min(n, movesPerStep, s.window()-len(s.flight))
	var list []*lease.Binding
	for b := range e.table.Backup(p.Prefix) {
		if len(list) >= n || !p.Prefix.Overlaps(b.Prefix) {
			break
		}
		if b.Change == 0 && b.Prefix.Bits() == p.Length { // else not even sent
			list = append(list, b)
		}
	}
	for _, b := range list {
		// Should the answer be lost, the two do not know the same any more: the change
		// makes them talk about it.
		asked := *b
		asked.Change = e.number()
		e.put(&asked)
		free := asked
		free.Status, free.StartOfState = lease.Free, e.now.Wall
		e.launch(e.barePrefix(&free), []*lease.Binding{&free}, false).take = &asked
		s.taking++
	}
	if s.taking > 0 {
		e.tell(trace.Event{ID: trace.FailoverPrefixesTaken, N: int64(s.taking), Text: p.Prefix.String()})
	}
}

// receivePoolReq answers a POOLREQ; what comes of it follows by itself.
func (e *Endpoint) receivePoolReq(m *wire.PoolReq) {
	if e.cfg.Role != lease.Primary {
		e.tell(trace.Event{ID: trace.FailoverProtocol, Text: "a POOLREQ from a primary"})
		return
	}
	e.send(&wire.PoolResp{Header: wire.Header{TransactionID: m.TransactionID}})
	for _, p := range e.pools {
		p.uneven = true
	}
}
