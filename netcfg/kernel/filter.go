package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"github.com/tandem6/tandem6/netcfg"
	"golang.org/x/sys/unix"
)

// Our packet filter, in the language of nft:
//
//	table ip6 tandem6 {
//		set served {
//			type ifname
//			elements = { "eth0" }
//		}
//		chain forward {
//			type filter hook forward priority filter; policy accept;
//			iifname @served fib saddr . iif oif missing goto refuse
//		}
//		chain refuse {
//			limit rate 20/second burst 20 packets meta mark set iif & 0x00ffffff ^ 0x54000000 reject with icmpv6 policy-fail
//			drop
//		}
//	}
//
// Whoever accepts a packet in another table only has it go on to ours.
const (
	tableName    = "tandem6"
	setName      = "served"
	forwardChain = "forward"
	refuseChain  = "refuse"
	// policyFail is "source address failed ingress/egress policy" (RFC 4443, section 3.1).
	policyFail = 5
)

// filter is the parts of our packet filter.
type filter struct {
	table  *nftables.Table
	set    *nftables.Set
	chains []*nftables.Chain
	rules  []*nftables.Rule // in the order of the chains
}

func newFilter() filter {
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv6}
	policy := nftables.ChainPolicyAccept
	forward := &nftables.Chain{
		Table: table, Name: forwardChain, Type: nftables.ChainTypeFilter, Policy: &policy,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	}
	refuse := &nftables.Chain{Table: table, Name: refuseChain}
	rule := func(chain *nftables.Chain, exprs ...expr.Any) *nftables.Rule {
		return &nftables.Rule{Table: table, Chain: chain, Exprs: exprs}
	}
	u32 := func(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }
	return filter{
		table:  table,
		set:    &nftables.Set{Table: table, Name: setName, KeyType: nftables.TypeIFName},
		chains: []*nftables.Chain{forward, refuse},
		rules: []*nftables.Rule{
			rule(forward,
				&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
				&expr.Lookup{SourceRegister: 1, SetName: setName},
				&expr.Fib{Register: 1, ResultOIF: true, FlagSADDR: true, FlagIIF: true},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: u32(0)},
				&expr.Verdict{Kind: expr.VerdictGoto, Chain: refuseChain},
			),
			rule(refuse,
				&expr.Limit{Type: expr.LimitTypePkts, Rate: netcfg.RefusalsPerSecond, Unit: expr.LimitTimeSecond, Burst: netcfg.RefusalsPerSecond},
				&expr.Meta{Key: expr.MetaKeyIIF, Register: 1},
				&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: u32(netcfg.MaxReturnPathIndex), Xor: u32(netcfg.ReturnPathBase)},
				&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1},
				&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: policyFail},
			),
			rule(refuse, &expr.Verdict{Kind: expr.VerdictDrop}),
		},
	}
}

// nft returns a connection to nf_tables. It opens a socket for each request.
func (h *Handle) nft() (*nftables.Conn, error) {
	options := []nftables.ConnOption{nftables.WithSockOptions(func(c *netlink.Conn) error {
		return c.SetDeadline(time.Now().Add(replyTimeout))
	})}
	if h.ns.IsOpen() {
		options = append(options, nftables.WithNetNSFd(int(h.ns)))
	}
	return nftables.New(options...)
}

// setFilter replaces our table in one transaction, or removes it when there are no names.
func (h *Handle) setFilter(names []string) error {
	c, err := h.nft()
	if err != nil {
		return err
	}
	f := newFilter()
	c.AddTable(f.table) // so that there is one to delete
	c.DelTable(f.table)
	if len(names) > 0 {
		if err := f.add(c, names); err != nil {
			return err
		}
	}
	err = c.Flush()
	if lacks(err) {
		reason := fmt.Sprintf("%s: %v", lacking, err)
		h.noFilter.Store(&reason)
	}
	return err
}

func (f filter) add(c *nftables.Conn, names []string) error {
	elements := make([]nftables.SetElement, len(names))
	for n, name := range names {
		elements[n].Key = make([]byte, unix.IFNAMSIZ)
		copy(elements[n].Key, name)
	}
	c.AddTable(f.table)
	if err := c.AddSet(f.set, elements); err != nil {
		return err
	}
	for _, chain := range f.chains {
		c.AddChain(chain)
	}
	for _, rule := range f.rules {
		c.AddRule(rule)
	}
	return nil
}

const lacking = "the kernel was built without a part of what is needed, NF_TABLES_IPV6, NFT_FIB_IPV6, NFT_REJECT_IPV6 and NFT_LIMIT"

// lacks reports whether err is how the kernel refuses what it was not built with.
func lacks(err error) bool {
	return slices.ContainsFunc([]unix.Errno{unix.ENOENT, unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.EINVAL},
		func(errno unix.Errno) bool { return errors.Is(err, errno) })
}

// filter observes our table. Where that is impossible validation is, and nothing else.
func (h *Handle) filter() netcfg.SourceFilter {
	if reason := h.noFilter.Load(); reason != nil {
		return netcfg.SourceFilter{State: netcfg.FilterUnusable, Reason: *reason}
	}
	c, err := h.nft()
	var table *nftables.Table
	if err == nil {
		table, err = c.ListTableOfFamily(tableName, nftables.TableFamilyIPv6)
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		return netcfg.SourceFilter{State: netcfg.FilterAbsent}
	case err != nil:
		return netcfg.SourceFilter{State: netcfg.FilterUnusable, Reason: fmt.Sprintf("nf_tables is not there or does not answer: %v", err)}
	}
	names, err := newFilter().match(c, table)
	if err != nil {
		return netcfg.SourceFilter{State: netcfg.FilterAltered}
	}
	return netcfg.SourceFilter{State: netcfg.FilterIntact, Interfaces: names}
}

// errAltered says that the kernel's filter is not the one that we would make.
var errAltered = errors.New("the packet filter was changed")

// match returns the interfaces of the kernel's filter, or an error if anything else in it differs from f.
func (f filter) match(c *nftables.Conn, table *nftables.Table) (names []string, err error) {
	if table.Flags != 0 { // dormant
		return nil, errAltered
	}
	if err := f.matchChains(c); err != nil {
		return nil, err
	}
	sets, err := c.GetSets(f.table)
	if err != nil {
		return nil, err
	}
	if len(sets) != 1 || !sameSet(sets[0], f.set) {
		return nil, errAltered
	}
	elements, err := c.GetSetElements(f.set)
	if err != nil {
		return nil, err
	}
	for _, e := range elements {
		names = append(names, string(bytes.TrimRight(e.Key, "\x00")))
	}
	slices.Sort(names)
	return names, nil
}

func (f filter) matchChains(c *nftables.Conn) error {
	chains, err := c.ListChainsOfTableFamily(f.table.Family)
	if err != nil {
		return err
	}
	ours := slices.DeleteFunc(chains, func(c *nftables.Chain) bool { return c.Table == nil || c.Table.Name != tableName })
	if !slices.EqualFunc(ours, f.chains, sameChain) {
		return errAltered
	}
	var rules []*nftables.Rule
	for _, chain := range ours {
		part, err := c.GetRules(f.table, chain)
		if err != nil {
			return err
		}
		rules = append(rules, part...)
	}
	if !slices.EqualFunc(rules, f.rules, sameRule) {
		return errAltered
	}
	return nil
}

func sameChain(a, b *nftables.Chain) bool {
	return a.Name == b.Name && a.Type == b.Type && equal(a.Policy, b.Policy) && equal(a.Hooknum, b.Hooknum) && equal(a.Priority, b.Priority)
}

func equal[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

func sameRule(a, b *nftables.Rule) bool {
	return a.Chain != nil && a.Chain.Name == b.Chain.Name && reflect.DeepEqual(a.Exprs, b.Exprs)
}

func sameSet(a, b *nftables.Set) bool {
	return a.Name == b.Name && a.KeyType.Name == b.KeyType.Name && !a.IsMap && !a.Interval && !a.HasTimeout
}
