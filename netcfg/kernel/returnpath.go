package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/tandem6/tandem6/netcfg"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// returnPathPriority puts our rules before the main table. Behind them come packets without our marks, which are all but
// errors about refused packets.
const returnPathPriority = 86

// returnPaths collects what there is of return paths, by the number of the interface.
type returnPaths map[int]netcfg.ReturnPath

func (r returnPaths) sorted() []netcfg.ReturnPath {
	var paths []netcfg.ReturnPath
	for _, p := range r {
		paths = append(paths, p)
	}
	slices.SortFunc(paths, func(a, b netcfg.ReturnPath) int { return cmp.Compare(a.Index, b.Index) })
	return paths
}

// interfaceOf returns the number of the interface whose return path has the packet mark or routing table number.
func interfaceOf(number uint32) (index int, ours bool) {
	index = int(number) - netcfg.ReturnPathBase
	return index, index > 0 && index <= netcfg.MaxReturnPathIndex
}

// addRoute notes the route of a return path if the message is one.
func (r returnPaths) addRoute(m []byte) error {
	if len(m) < unix.SizeofRtMsg {
		return errTruncated
	}
	header := nl.DeserializeRtMsg(m)
	if header.Protocol != netcfg.Protocol || header.Dst_len != 0 || header.Type != unix.RTN_UNICAST {
		return nil
	}
	attrs, err := attributes(m, unix.SizeofRtMsg)
	if err != nil {
		return err
	}
	var table uint32
	var out int
	for _, a := range attrs {
		switch a.kind {
		case unix.RTA_TABLE:
			table = a.uint32()
		case unix.RTA_OIF:
			out = int(a.uint32())
		}
	}
	if index, ours := interfaceOf(table); ours && index == out {
		path := r[index]
		path.Index, path.Route = index, true
		r[index] = path
	}
	return nil
}

// addRule notes the rule of a return path if the message is one.
func (r returnPaths) addRule(m []byte) error {
	attrs, err := attributes(m, unix.SizeofRtMsg) // struct fib_rule_hdr has the same size
	if err != nil {
		return err
	}
	var protocol uint8
	var mark, table uint32
	for _, a := range attrs {
		switch a.kind {
		case unix.FRA_PROTOCOL:
			protocol = a.uint8()
		case unix.FRA_FWMARK:
			mark = a.uint32()
		case unix.FRA_TABLE:
			table = a.uint32()
		}
	}
	if index, ours := interfaceOf(mark); ours && protocol == netcfg.Protocol && table == mark {
		path := r[index]
		path.Index, path.Rule = index, true
		r[index] = path
	}
	return nil
}

// returnRules calls each for all rules of policy routing.
func (h *Handle) returnRules(each func(message []byte) error) error {
	header := &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6}}
	err := h.dump(unix.RTM_GETRULE, unix.RTM_NEWRULE, header, func() {}, each)
	if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) {
		return fmt.Errorf("list the rules of policy routing: %w", err)
	}
	return nil
}

func (a *applier) addReturnPath(name string) error {
	index, err := a.index(name)
	if err != nil {
		return err
	}
	for _, part := range []struct {
		kind uint16
		data []nl.NetlinkRequestData
	}{
		{unix.RTM_NEWROUTE, returnRoute(nl.NewRtMsg(), index)},
		{unix.RTM_NEWRULE, returnRule(index)},
	} {
		err := a.change(part.kind, unix.NLM_F_CREATE|unix.NLM_F_EXCL, part.data...)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	return nil
}

func (a *applier) delReturnPath(index int) error {
	gone := func(err error) bool {
		return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV)
	}
	if err := a.change(unix.RTM_DELRULE, 0, returnRule(index)...); err != nil && !gone(err) {
		return err
	}
	if err := a.change(unix.RTM_DELROUTE, 0, returnRoute(nl.NewRtDelMsg(), index)...); err != nil && !gone(err) {
		return err
	}
	return nil
}

// returnRoute is the message of a route by which everything is on the link of the interface.
func returnRoute(header *nl.RtMsg, index int) []nl.NetlinkRequestData {
	header.Family = unix.AF_INET6
	header.Protocol = netcfg.Protocol
	header.Type = unix.RTN_UNICAST
	header.Table = unix.RT_TABLE_UNSPEC // the attribute counts
	return []nl.NetlinkRequestData{
		header,
		nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(netcfg.ReturnPathBase+uint32(index))),
		nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))),
	}
}

// returnRule is the message of a rule by which packets with the mark of the interface look into its table.
func returnRule(index int) []nl.NetlinkRequestData {
	number := nl.Uint32Attr(netcfg.ReturnPathBase + uint32(index))
	header := &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6, Type: unix.FR_ACT_TO_TBL}} // as struct fib_rule_hdr
	return []nl.NetlinkRequestData{
		header,
		nl.NewRtAttr(unix.FRA_PRIORITY, nl.Uint32Attr(returnPathPriority)),
		nl.NewRtAttr(unix.FRA_FWMARK, number),
		nl.NewRtAttr(unix.FRA_TABLE, number),
		nl.NewRtAttr(unix.FRA_PROTOCOL, nl.Uint8Attr(netcfg.Protocol)),
	}
}
