package netcfg

import (
	"errors"
	"fmt"
	"net/netip"
)

// Validate reports everything that is wrong in d, joined, or nil. [Plan] does not need it: it refuses
// what is invalid one by one as conflicts.
func (d Desired) Validate() error {
	var errs []error
	limit := func(what string, have, most int) {
		if have > most {
			errs = append(errs, fmt.Errorf("%d %s: at most %d are possible", have, what, most))
		}
	}
	limit("interfaces", len(d.Interfaces), MaxInterfaces)
	limit("static routes", len(d.Routes), MaxRoutes)
	limit("pools of prefixes", len(d.Aggregates), MaxAggregates)
	limit("delegated prefixes", len(d.Delegations), MaxDelegations)
	limit("interfaces with source validation", len(d.SourceValidation), MaxValidated)

	names := make(map[string]bool)
	for _, i := range d.Interfaces {
		if names[i.Name] {
			errs = append(errs, fmt.Errorf("interface %s is named twice", i.Name))
		}
		names[i.Name] = true
		errs = append(errs, i.Validate())
	}
	for _, r := range d.Routes {
		errs = append(errs, r.Validate())
	}
	for _, a := range d.Aggregates {
		errs = append(errs, aggregateRoute(a).Validate())
	}
	for _, g := range d.Delegations {
		errs = append(errs, g.Validate())
	}
	for _, name := range d.SourceValidation {
		if err := validateName(name); err != nil {
			errs = append(errs, fmt.Errorf("source validation: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Validate reports everything that is wrong in i, joined, or nil.
func (i Interface) Validate() error {
	var errs []error
	if err := validateName(i.Name); err != nil {
		return err
	}
	if i.MTU != 0 && (i.MTU < MinMTUBytes || i.MTU > MaxMTUBytes) {
		errs = append(errs, fmt.Errorf("interface %s: MTU %d: must be 0 (leave it alone) or %d to %d bytes",
			i.Name, i.MTU, MinMTUBytes, MaxMTUBytes))
	}
	if i.AcceptRA > AcceptRAAlways {
		errs = append(errs, fmt.Errorf("interface %s: AcceptRA %d is none of the known values", i.Name, i.AcceptRA))
	}
	if len(i.Addresses) > MaxAddresses {
		errs = append(errs, fmt.Errorf("interface %s: %d addresses: at most %d are possible", i.Name, len(i.Addresses), MaxAddresses))
	}
	seen := make(map[netip.Addr]bool)
	for _, a := range i.Addresses {
		if err := validateAddress(a); err != nil {
			errs = append(errs, fmt.Errorf("interface %s: %w", i.Name, err))
		} else if seen[a.Addr()] {
			errs = append(errs, fmt.Errorf("interface %s: address %s is given twice", i.Name, a.Addr()))
		}
		seen[a.Addr()] = true
	}
	return errors.Join(errs...)
}

// Validate reports the first thing that is wrong in r, or nil.
func (r Route) Validate() error {
	if err := validateDestination(r.To); err != nil {
		return fmt.Errorf("route %s: %w", r.To, err)
	}
	if r.Interface != "" {
		if err := validateName(r.Interface); err != nil {
			return fmt.Errorf("route %s: %w", r.To, err)
		}
	}
	switch {
	case r.Type >= OtherType:
		return fmt.Errorf("route %s: only unicast and unreachable routes can be made", r.To)
	case r.Type == Unreachable && (r.Via.IsValid() || r.Interface != ""):
		return fmt.Errorf("route %s: an unreachable route has no next hop and no interface", r.To)
	case r.Type == Unreachable:
		return nil
	case r.Via.IsValid():
		return validateNextHop(r.To, r.Via, r.Interface)
	case r.Interface == "":
		return fmt.Errorf("route %s: needs a next hop, an interface or both", r.To)
	}
	return nil
}

// Validate reports the first thing that is wrong in d, or nil. The next hop may have been chosen by a hostile client.
func (d Delegation) Validate() error {
	if err := validateDestination(d.Prefix); err != nil {
		return fmt.Errorf("delegated prefix %s: %w", d.Prefix, err)
	}
	if d.Prefix.Bits() == 0 {
		return errors.New("delegated prefix ::/0: would be the default route")
	}
	if err := validateName(d.Interface); err != nil {
		return fmt.Errorf("delegated prefix %s: %w", d.Prefix, err)
	}
	if !d.Via.IsValid() {
		return fmt.Errorf("delegated prefix %s: has no next hop", d.Prefix)
	}
	if d.Prefix.Contains(d.Via) {
		return fmt.Errorf("delegated prefix %s: next hop %s lies inside it", d.Prefix, d.Via)
	}
	return validateNextHop(d.Prefix, d.Via, d.Interface)
}

// validateName holds the kernel's rules for names of interfaces (dev_valid_name). They also keep a name from leaving its
// directory under /proc/sys.
func validateName(name string) error {
	const longest = 15 // IFNAMSIZ less the terminating zero
	if name == "" {
		return errors.New("the interface has no name")
	}
	if len(name) > longest || name == "." || name == ".." {
		return fmt.Errorf("%q is not a name of an interface: 1 to %d bytes, not . or ..", name, longest)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c == 0x7f || c == '/' || c == ':' {
			return fmt.Errorf("%q is not a name of an interface: it has %q in it", name, c)
		}
	}
	return nil
}

func validateAddress(p netip.Prefix) error {
	if !p.IsValid() {
		return errors.New("an address without value or prefix length")
	}
	if !isUnicast(p.Addr()) {
		return fmt.Errorf("%s is not an IPv6 unicast address", p)
	}
	if p.Bits() == 0 {
		return fmt.Errorf("%s: the prefix length must be 1 to 128", p)
	}
	if p.Bits() < 127 && p.Masked().Addr() == p.Addr() {
		return fmt.Errorf("%s is the subnet-router anycast address of its prefix (RFC 4291, section 2.6.1)", p)
	}
	return nil
}

func validateDestination(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return errors.New("the prefix has no value or no length")
	case !p.Addr().Is6() || p.Addr().Is4In6():
		return errors.New("not an IPv6 prefix")
	case p.Masked() != p:
		return fmt.Errorf("has bits set behind its length; did you mean %s?", p.Masked())
	case p.Bits() > 0 && (p.Addr().IsMulticast() || p.Addr().IsLinkLocalUnicast() || p.Addr().IsLoopback()):
		return errors.New("multicast, link-local and loopback destinations are the kernel's own")
	}
	return nil
}

func validateNextHop(to netip.Prefix, via netip.Addr, name string) error {
	switch {
	case !isUnicast(via):
		return fmt.Errorf("route %s: next hop %s is not an IPv6 unicast address without zone", to, via)
	case via.IsLinkLocalUnicast() && name == "":
		return fmt.Errorf("route %s: next hop %s is link-local, so the interface must be named", to, via)
	}
	return nil
}

// isUnicast reports whether a is an address that a node on a link can have.
func isUnicast(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && a.Zone() == "" && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast()
}
