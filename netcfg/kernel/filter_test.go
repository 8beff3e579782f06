package kernel_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	mdnetlink "github.com/mdlayher/netlink"
	"github.com/tandem6/tandem6/netcfg"
	"github.com/tandem6/tandem6/netcfg/kernel"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// nft is another program's hand on the packet filter.
func (n *namespace) nft() *nftables.Conn {
	n.t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(int(n.ns)))
	must(n.t, err)
	return c
}

// ruleset lists the whole packet filter, sorted, as sets have no order.
func (n *namespace) ruleset() (lines []string) {
	n.t.Helper()
	c := n.nft()
	tables, err := c.ListTables()
	must(n.t, err)
	for _, table := range tables {
		lines = append(lines, fmt.Sprintf("table %d %s flags %x", table.Family, table.Name, table.Flags))
		sets, err := c.GetSets(table)
		must(n.t, err)
		for _, set := range sets {
			elements, err := c.GetSetElements(set)
			must(n.t, err)
			for _, e := range elements {
				lines = append(lines, fmt.Sprintf("%s set %s: %q", table.Name, set.Name, e.Key))
			}
		}
	}
	chains, err := c.ListChains()
	must(n.t, err)
	for _, chain := range chains {
		rules, err := c.GetRules(chain.Table, chain)
		must(n.t, err)
		lines = append(lines, fmt.Sprintf("%d %s chain %s", chain.Table.Family, chain.Table.Name, chain.Name))
		for _, r := range rules {
			line := fmt.Sprintf("%d %s chain %s rule %d:", chain.Table.Family, chain.Table.Name, chain.Name, r.Handle)
			for _, e := range r.Exprs {
				line += fmt.Sprintf(" %T%+v", e, e)
			}
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

// sleep puts a table to sleep (flags dormant), for which the library has no word.
func (n *namespace) sleep(table *nftables.Table) {
	n.t.Helper()
	c, err := mdnetlink.Dial(unix.NETLINK_NETFILTER, &mdnetlink.Config{NetNS: int(n.ns)})
	must(n.t, err)
	defer c.Close()
	attributes, err := mdnetlink.MarshalAttributes([]mdnetlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: append([]byte(table.Name), 0)},
		{Type: unix.NFTA_TABLE_FLAGS, Data: []byte{0, 0, 0, unix.NFT_TABLE_F_DORMANT}},
	})
	must(n.t, err)
	message := func(kind int, flags mdnetlink.HeaderFlags, data ...byte) mdnetlink.Message {
		return mdnetlink.Message{Header: mdnetlink.Header{Type: mdnetlink.HeaderType(kind), Flags: mdnetlink.Request | flags}, Data: data}
	}
	_, err = c.SendMessages([]mdnetlink.Message{
		message(unix.NFNL_MSG_BATCH_BEGIN, 0, 0, 0, 0, unix.NFNL_SUBSYS_NFTABLES),
		message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWTABLE, mdnetlink.Acknowledge, append([]byte{byte(table.Family), 0, 0, 0}, attributes...)...),
		message(unix.NFNL_MSG_BATCH_END, 0, 0, 0, 0, unix.NFNL_SUBSYS_NFTABLES),
	})
	must(n.t, err)
	_, err = c.Receive()
	must(n.t, err)
}

// policies lists the rules of policy routing and all routes of tables that are the rules' alone.
func (n *namespace) policies() (lines []string) {
	n.t.Helper()
	rules, err := n.links.RuleList(unix.AF_INET6)
	must(n.t, err)
	for _, r := range rules {
		lines = append(lines, r.String())
		routes, err := n.links.RouteListFiltered(unix.AF_INET6, &netlink.Route{Table: r.Table}, netlink.RT_FILTER_TABLE)
		must(n.t, err)
		for _, x := range routes {
			if r.Table != unix.RT_TABLE_MAIN && r.Table != unix.RT_TABLE_LOCAL {
				lines = append(lines, x.String())
			}
		}
	}
	return lines
}

// validating is a router that validates on eth0 and, when it comes, on eth9.
var validating = netcfg.Desired{SourceValidation: []string{"eth9", "eth0"}}

// Validation is made from nothing, made again without any change, changed, and gone without a trace. Tables, rules and
// routes of others stay as they are all the time.
func TestSourceValidationTwiceChangesNothing(t *testing.T) {
	r, _ := router(t)
	others := r.nft()
	theirs := others.AddTable(&nftables.Table{Name: "theirs", Family: nftables.TableFamilyIPv6})
	chain := others.AddChain(&nftables.Chain{Name: "forward", Table: theirs})
	others.AddRule(&nftables.Rule{Table: theirs, Chain: chain, Exprs: []expr.Any{&expr.Counter{}}})
	others.AddTable(&nftables.Table{Name: "tandem6", Family: nftables.TableFamilyINet})
	must(t, others.Flush())
	rule := netlink.NewRule()
	rule.Family, rule.Mark, rule.Table, rule.Priority = unix.AF_INET6, netcfg.ReturnPathBase+1, 4711, 85
	must(t, r.links.RuleAdd(rule))
	untouched, unrouted := r.ruleset(), r.policies()

	changes := r.converge(validating)
	r.settled(validating)
	want := []string{
		"set sysctl net/ipv6/fwmark_reflect to 1",
		"send errors about refused packets from eth0 back there",
		"validate source addresses of packets from eth0, eth9",
	}
	if diff := cmp.Diff(want, ops(changes)); diff != "" {
		t.Errorf("operations (-want +got):\n%s", diff)
	}
	rules, policies := r.ruleset(), r.policies()
	if len(policies) != len(unrouted)+2 {
		t.Errorf("a rule and a route are wanted besides those of others: %q", policies)
	}
	r.apply(changes.Ops...) // the old plan again
	if diff := cmp.Diff(policies, r.policies()) + cmp.Diff(rules, r.ruleset()); diff != "" {
		t.Errorf("applying twice changed something (-once +twice):\n%s", diff)
	}
	r.settled(validating)

	one := netcfg.Desired{SourceValidation: []string{"eth0"}}
	if changes := r.converge(one); len(changes.Ops) != 1 {
		t.Errorf("for one interface less: %q", ops(changes))
	}
	r.settled(one)

	for range 2 {
		changes = netcfg.Plan(netcfg.Desired{}, r.observe())
		r.apply(changes.Ops...)
	}
	r.apply(netcfg.FilterSet{}, netcfg.ReturnPathDel{Index: r.link("eth0").Attrs().Index}) // gone already is fine
	if diff := cmp.Diff(untouched, r.ruleset()); diff != "" {
		t.Errorf("the packet filter afterwards (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(unrouted, r.policies()); diff != "" {
		t.Errorf("policy routing afterwards (-before +after):\n%s", diff)
	}
}

// What somebody else changed in our table, or took from a return path, is repaired by the next plan.
func TestSourceValidationIsRepaired(t *testing.T) {
	table := &nftables.Table{Name: "tandem6", Family: nftables.TableFamilyIPv6}
	forward := &nftables.Chain{Name: "forward", Table: table}
	returnRoute := func(r *namespace) *netlink.Route {
		x := r.route("::/0", "", "eth0")
		x.Gw, x.Table = nil, netcfg.ReturnPathBase+x.LinkIndex
		return x
	}
	for _, test := range []struct {
		name   string
		damage func(r *namespace, c *nftables.Conn)
	}{
		{"table removed", func(r *namespace, c *nftables.Conn) { c.DelTable(table) }},
		{"table asleep", func(r *namespace, c *nftables.Conn) { r.sleep(table) }},
		{"rules flushed", func(r *namespace, c *nftables.Conn) { c.FlushTable(table) }},
		{"rule in front", func(r *namespace, c *nftables.Conn) {
			c.InsertRule(&nftables.Rule{Table: table, Chain: forward, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}})
		}},
		{"rule replaced", func(r *namespace, c *nftables.Conn) {
			rules, err := c.GetRules(table, forward)
			must(r.t, err)
			c.ReplaceRule(&nftables.Rule{Table: table, Chain: forward, Handle: rules[0].Handle, Exprs: rules[0].Exprs[:4]})
		}},
		{"chain added", func(r *namespace, c *nftables.Conn) { c.AddChain(&nftables.Chain{Name: "more", Table: table}) }},
		{"policy changed", func(r *namespace, c *nftables.Conn) {
			drop := nftables.ChainPolicyDrop
			c.AddChain(&nftables.Chain{
				Name: "forward", Table: table, Type: nftables.ChainTypeFilter, Policy: &drop,
				Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
			})
		}},
		{"interface taken out", func(r *namespace, c *nftables.Conn) {
			c.FlushSet(&nftables.Set{Table: table, Name: "served"})
		}},
		{"set added", func(r *namespace, c *nftables.Conn) {
			must(r.t, c.AddSet(&nftables.Set{Table: table, Name: "more", KeyType: nftables.TypeMark}, nil))
		}},
		{"rule of the return path removed", func(r *namespace, c *nftables.Conn) {
			rules, err := r.links.RuleList(unix.AF_INET6)
			must(r.t, err)
			n := slices.IndexFunc(rules, func(x netlink.Rule) bool { return x.Mark == netcfg.ReturnPathBase+uint32(r.link("eth0").Attrs().Index) })
			rules[n].Family = unix.AF_INET6
			must(r.t, r.links.RuleDel(&rules[n]))
		}},
		{"route of the return path removed", func(r *namespace, c *nftables.Conn) {
			must(r.t, r.links.RouteDel(returnRoute(r)))
		}},
		{"marks not reflected", func(r *namespace, c *nftables.Conn) { r.setSysctl("net/ipv6/fwmark_reflect", "0") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, _ := router(t)
			r.converge(validating)
			r.settled(validating)
			c := r.nft()
			test.damage(r, c)
			must(t, c.Flush())
			if changes := r.converge(validating); len(changes.Ops) != 1 {
				t.Errorf("operations %q, want one that repairs", ops(changes))
			}
			r.settled(validating)
		})
	}
}

// As many interfaces as are possible fit.
func TestManyValidatedInterfaces(t *testing.T) {
	r, _ := router(t)
	var d netcfg.Desired
	for n := range netcfg.MaxValidated {
		d.SourceValidation = append(d.SourceValidation, fmt.Sprintf("interface-%05d", n)) // the longest names
	}
	r.converge(d)
	r.settled(d)
}

// Where the packet filter cannot be used this is told, and everything else goes on.
func TestWithoutPacketFilter(t *testing.T) {
	n := newNamespace(t, "weak")
	n.within(func() error { // on a thread that ends afterwards
		header, data := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
		if err := unix.Capset(&header, &data[0]); err != nil {
			return err
		}
		k, err := kernel.Open()
		if err != nil {
			return err
		}
		defer k.Close()
		observed, err := k.Observe()
		if err != nil {
			return err
		}
		if len(observed.Links) == 0 || observed.Filter.State != netcfg.FilterUnusable {
			t.Errorf("observed %+v, want links and an unusable filter", observed)
		}
		changes := netcfg.Plan(validating, observed)
		if len(changes.Ops) != 0 || len(changes.Conflicts) != 1 || !strings.Contains(changes.Conflicts[0].Reason, "operation not permitted") {
			t.Errorf("plan %v, want one conflict", changes)
		}
		errs := k.Apply([]netcfg.Op{netcfg.FilterSet{Interfaces: "eth0"}})
		if len(errs) != 1 || !errors.Is(errs[0], unix.EPERM) {
			t.Errorf("errors %v, want EPERM", errs)
		}
		return nil
	})
}

// The return path follows its interface: it waits while the interface is down and has a new number when it was replaced. The
// filter goes by the name and needs nothing.
func TestReturnPathFollowsInterface(t *testing.T) {
	r, peer := router(t)
	r.converge(validating)
	r.setDown("eth0") // and the kernel drops the route
	r.settled(validating)
	r.setUp("eth0")
	if changes := r.converge(validating); len(changes.Ops) != 1 {
		t.Errorf("up again: %q, want the return path only", ops(changes))
	}
	r.settled(validating)

	must(t, r.links.LinkDel(r.link("eth0")))
	connect(r, "eth0", peer, "eth0")
	r.setUp("eth0")
	if changes := r.converge(validating); len(changes.Ops) != 2 {
		t.Errorf("a new interface: %q, want the old return path gone and a new one", ops(changes))
	}
	r.settled(validating)
}

// Each served interface holds less for silent neighbours; who set less keeps it. Thresholds of the whole machine, which
// the kernel does not show here, are no trouble.
func TestNeighborLimits(t *testing.T) {
	r, _ := router(t)
	const name = "net/ipv6/neigh/eth0/unres_qlen_bytes"
	d := netcfg.Desired{Interfaces: []netcfg.Interface{{Name: "eth0", Serves: true}}}
	if got := r.observe().NeighborThresholds; got != [3]int{} {
		t.Fatalf("thresholds %v of the whole machine are visible in a network namespace: this test must not change them", got)
	}
	changes := r.converge(d)
	r.settled(d)
	if got := r.sysctl(name); got != fmt.Sprint(netcfg.NeighborQueueBytes) || len(changes.Ops) != 1 {
		t.Errorf("%s is %s after %q", name, got, ops(changes))
	}
	r.setSysctl(name, "1000")
	r.settled(d)
	r.converge(netcfg.Desired{})
	if got := r.sysctl(name); got != "1000" {
		t.Errorf("%s is %s", name, got)
	}
}
