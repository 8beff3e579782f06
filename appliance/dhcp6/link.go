package dhcp6

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/tandem6/tandem6/failover/lease"
)

// link is a configured link, prepared for look-ups.
type link struct {
	*Link
	pools        []*pool   // all of the following
	addressPools [][]*pool // for each subnet
	prefixPools  []*pool
	byClient     map[lease.DUID][]*Reservation
	others       []*Reservation // by link-layer address, Interface-ID or Remote-ID

	// reserved are the addresses and prefixes of reservations. Nobody else gets
	// them, nor a prefix that overlaps them.
	reserved       map[netip.Prefix]*Reservation
	reservedPrefix []netip.Prefix // the delegated ones, sorted
}

func newLink(cfg *Link) *link {
	l := &link{Link: cfg, byClient: map[lease.DUID][]*Reservation{}, reserved: map[netip.Prefix]*Reservation{}}
	for i := range cfg.Subnets {
		var pools []*pool
		for _, r := range cfg.Subnets[i].Pools {
			pools = append(pools, newAddressPool(l, &cfg.Subnets[i], r))
		}
		l.addressPools = append(l.addressPools, pools)
		l.pools = append(l.pools, pools...)
	}
	for i := range cfg.PrefixPools {
		l.prefixPools = append(l.prefixPools, newPrefixPool(l, &cfg.PrefixPools[i]))
	}
	l.pools = append(l.pools, l.prefixPools...)
	for i := range cfg.Reservations {
		r := &cfg.Reservations[i]
		if r.Client != "" {
			l.byClient[r.Client] = append(l.byClient[r.Client], r)
		} else {
			l.others = append(l.others, r)
		}
		for _, a := range r.Addresses {
			l.reserved[lease.Address(a)] = r
		}
		for _, p := range r.Prefixes {
			l.reserved[p] = r
			l.reservedPrefix = append(l.reservedPrefix, p)
		}
	}
	slices.SortFunc(l.reservedPrefix, comparePrefix)
	return l
}

// subnetOf returns the subnet that holds a, or nil.
func (l *link) subnetOf(a netip.Addr) *Subnet {
	for i := range l.Subnets {
		if l.Subnets[i].Prefix.Contains(a) {
			return &l.Subnets[i]
		}
	}
	return nil
}

// onLink reports whether a lies in a prefix of the link that is still in use.
func (l *link) onLink(a netip.Addr, now lease.Time) bool {
	s := l.subnetOf(a)
	return s != nil && !s.over(now)
}

// prefixPoolOf returns the pool that holds p, or nil.
func (l *link) prefixPoolOf(p netip.Prefix) *PrefixPool {
	for i := range l.PrefixPools {
		if pp := &l.PrefixPools[i]; pp.Prefix.Bits() <= p.Bits() && pp.Prefix.Contains(p.Addr()) {
			return pp
		}
	}
	return nil
}

// appropriate reports whether a lease fits the link by its configuration (RFC
// 9915 section 18.3.4): an address on a prefix of the link, a prefix out of a
// pool or a reservation.
func (l *link) appropriate(p netip.Prefix, now lease.Time) bool {
	if p.Bits() == 128 {
		return l.onLink(p.Addr(), now)
	}
	if pp := l.prefixPoolOf(p); pp != nil {
		return !pp.over(now)
	}
	return l.reserved[p] != nil
}

// judges reports whether the configuration says which leases of a type fit the
// link. Otherwise they are another server's business (D-100, D-121).
func (l *link) judges(typ lease.IAType) bool {
	if typ == lease.IAPD {
		return len(l.PrefixPools) > 0
	}
	return len(l.Subnets) > 0
}

// ends are the times at which the prefix that a lease is made from ends itself.
func (l *link) ends(p netip.Prefix) (preferred, valid lease.Time) {
	if p.Bits() == 128 {
		if s := l.subnetOf(p.Addr()); s != nil {
			return s.PreferredUntil, s.ValidUntil
		}
	} else if pp := l.prefixPoolOf(p); pp != nil {
		return pp.PreferredUntil, pp.ValidUntil
	}
	return 0, 0
}

// excluded is the part of delegated prefix p that this box keeps.
func (l *link) excluded(p netip.Prefix) Exclude {
	if pp := l.prefixPoolOf(p); pp != nil && pp.Exclude.Length > p.Bits() {
		return pp.Exclude
	}
	return Exclude{}
}

// reservedForOther reports whether p is, or overlaps, what a reservation other
// than mine keeps for somebody.
func (l *link) reservedForOther(p netip.Prefix, mine *Reservation) bool {
	if r := l.reserved[p]; r != nil {
		return r != mine
	}
	if p.Bits() == 128 {
		return false
	}
	// Reserved prefixes do not overlap each other: only neighbours can overlap p.
	n, _ := slices.BinarySearchFunc(l.reservedPrefix, p, comparePrefix)
	return n > 0 && l.reservedPrefix[n-1].Overlaps(p) || n < len(l.reservedPrefix) && l.reservedPrefix[n].Overlaps(p)
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// reservation finds what is fixed for the sender of m: by its DUID, then by
// what the innermost relay says of it (D-222 to D-224). One for the IAID of ia
// goes before one for the whole client; without ia only the latter counts. Of
// several the first.
func (l *link) reservation(m *message, ia *requestedIA) *Reservation {
	if r := fitting(l.byClient[lease.DUID(m.clientID)], m, ia); r != nil {
		return r
	}
	return fitting(l.others, m, ia)
}

func fitting(rs []*Reservation, m *message, ia *requestedIA) (whole *Reservation) {
	for _, r := range rs {
		switch {
		case !r.fitsRelay(m):
		case !r.HasIAID && whole == nil:
			whole = r
		case r.HasIAID && ia != nil && r.IAID == ia.id:
			return r
		}
	}
	return whole
}

// fitsRelay compares what a reservation demands of the relay next to the
// client, byte by byte.
func (r *Reservation) fitsRelay(m *message) bool {
	if r.LinkLayer == nil && r.InterfaceID == nil && r.RemoteID == nil {
		return true
	}
	if len(m.relays) == 0 {
		return false
	}
	inner := &m.relays[len(m.relays)-1]
	return fits(r.LinkLayer, inner.linkLayer) && fits(r.InterfaceID, inner.interfaceID) && fits(r.RemoteID, inner.remoteID)
}

func fits(want, got []byte) bool { return want == nil || string(want) == string(got) }

// subnetLink says which link a prefix belongs to.
type subnetLink struct {
	prefix netip.Prefix
	link   *link
}

func newSubnetIndex(links []*link) []subnetLink {
	var ix []subnetLink
	for _, l := range links {
		for i := range l.Subnets {
			ix = append(ix, subnetLink{l.Subnets[i].Prefix, l})
		}
		for _, a := range l.RelayLinkAddresses {
			ix = append(ix, subnetLink{lease.Address(a), l})
		}
	}
	slices.SortFunc(ix, func(a, b subnetLink) int { return comparePrefix(a.prefix, b.prefix) })
	return ix
}

// linkByAddress finds the link with a subnet or relay address that fits a. The
// prefixes do not overlap, but for relay addresses inside a subnet.
func (s *Server) linkByAddress(a netip.Addr) *link {
	n, exact := slices.BinarySearchFunc(s.bySubnet, lease.Address(a), func(e subnetLink, p netip.Prefix) int {
		return comparePrefix(e.prefix, p)
	})
	if exact {
		return s.bySubnet[n].link
	}
	for n--; n >= 0; n-- {
		e := s.bySubnet[n]
		if e.prefix.Contains(a) {
			return e.link
		}
		if !e.prefix.IsSingleIP() {
			break
		}
	}
	return nil
}
