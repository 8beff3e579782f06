package netcfg

import (
	"fmt"
	"slices"
	"strings"
)

// SourceFilter is our packet filter as the kernel has it.
type SourceFilter struct {
	State FilterState
	// Interfaces are those on which an intact filter validates, sorted by name.
	Interfaces []string
	// Reason says why the filter is unusable.
	Reason string
}

// FilterState says in which state our packet filter is.
type FilterState uint8

const (
	FilterAbsent   FilterState = iota // there is none
	FilterIntact                      // it does exactly what we would make it do
	FilterAltered                     // there is one, but somebody changed it
	FilterUnusable                    // the kernel cannot filter, or does not let us
)

// ReturnPath is what the kernel has of the way by which errors about refused packets go back to the interface that the
// packets came from.
type ReturnPath struct {
	Index int  // of the interface
	Rule  bool // of policy routing: errors about packets from the interface look into a table of their own
	Route bool // in that table: everything is on the link of the interface
}

const (
	// ReturnPathBase ("T") plus the number of an interface is the packet mark and the routing table of its return path.
	ReturnPathBase = 0x54 << 24
	// MaxReturnPathIndex is the largest number of an interface that can have a return path, for lack of room in the mark.
	// The kernel counts interfaces up from 1.
	MaxReturnPathIndex = 1<<24 - 1
)

// FilterSet makes our packet filter validate sources on Interfaces, in one step and whatever it was before. Without
// interfaces it removes the filter.
type FilterSet struct {
	Interfaces string // names with spaces between them; a text, so that operations can be compared
}

// ReturnPathAdd makes the return path of an interface. What of it is there already is fine.
type ReturnPathAdd struct {
	Interface string
}

// ReturnPathDel removes the return path of an interface, which may be gone, by its number. That it is gone already is fine.
type ReturnPathDel struct {
	Index int
}

func (FilterSet) op()     {}
func (ReturnPathAdd) op() {}
func (ReturnPathDel) op() {}

// Names returns the interfaces one by one.
func (o FilterSet) Names() []string { return strings.Fields(o.Interfaces) }

func (o FilterSet) String() string {
	if o.Interfaces == "" {
		return "stop validating source addresses"
	}
	return "validate source addresses of packets from " + strings.Join(o.Names(), ", ")
}
func (o ReturnPathAdd) String() string {
	return fmt.Sprintf("send errors about refused packets from %s back there", o.Interface)
}
func (o ReturnPathDel) String() string {
	return fmt.Sprintf("stop sending errors back to the interface that had the number %d", o.Index)
}

// planSourceValidation plans the packet filter and, before it, the return paths of its errors. Names are enough for the
// filter: an interface that appears later is validated from its first packet on.
func (p *planner) planSourceValidation() {
	names := p.validated()
	filter := FilterSet{Interfaces: strings.Join(names, " ")}
	if p.observed.Filter.State == FilterUnusable {
		if len(names) > 0 {
			p.changes.conflict(filter, "%s; packets with forged sources are forwarded", p.observed.Filter.Reason)
		}
		names = nil // without the filter return paths are of no use
	}
	p.planReturnPaths(names)
	switch p.observed.Filter.State {
	case FilterAbsent:
		if len(names) > 0 {
			p.changes.add(filter)
		}
	case FilterIntact, FilterAltered:
		if p.observed.Filter.State == FilterAltered || len(names) == 0 || !slices.Equal(p.observed.Filter.Interfaces, names) {
			p.changes.add(filter)
		}
	}
}

// validated returns the names of interfaces on which sources are to be validated and can be, sorted, each once.
func (p *planner) validated() []string {
	sorted := slices.Compact(slices.Sorted(slices.Values(p.desired.SourceValidation)))
	n := 0
	return slices.DeleteFunc(sorted, func(name string) bool {
		err := validateName(name)
		if n++; n > MaxValidated {
			err = fmt.Errorf("more than %d interfaces", MaxValidated)
		}
		if err != nil {
			p.changes.conflict(interfaceName(name), "its sources are not validated: %v", err)
		}
		return err != nil
	})
}

func (p *planner) planReturnPaths(names []string) {
	have := make(map[int]ReturnPath, len(p.observed.ReturnPaths))
	for _, path := range p.observed.ReturnPaths {
		have[path.Index] = path
	}
	var adds []Op
	for _, name := range names {
		link, exists := p.links[name]
		if !exists || link.Index > MaxReturnPathIndex {
			continue
		}
		path := have[link.Index]
		delete(have, link.Index)
		// While the interface is down it has no route, and sends us nothing.
		if link.willBeUp && !(path.Rule && path.Route) {
			adds = append(adds, ReturnPathAdd{Interface: name})
		}
	}
	var dels []Op
	for index := range have {
		dels = append(dels, ReturnPathDel{Index: index})
	}
	slices.SortFunc(dels, func(a, b Op) int { return a.(ReturnPathDel).Index - b.(ReturnPathDel).Index })
	p.changes.add(dels...)
	if len(names) > 0 && p.observed.MarksUnreflected {
		p.changes.add(SysctlSet{Name: "net/ipv6/fwmark_reflect", Value: "1"})
	}
	p.changes.add(adds...)
}
