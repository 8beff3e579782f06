package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/tandem6/tandem6/appliance/dhcp6"
)

// Diff says in words what is different in a new configuration, such as "link lan:
// subnets, options; link guests added". Nothing different is "nothing".
func Diff(old, new *Config) string {
	var parts []string
	part := func(name string, differs bool) {
		if differs {
			parts = append(parts, name)
		}
	}
	part("interfaces", !reflect.DeepEqual(old.Network.Interfaces, new.Network.Interfaces))
	part("forwarding", old.Network.Forwarding != new.Network.Forwarding)
	part("routes", !reflect.DeepEqual(old.Network.Routes, new.Network.Routes))
	part("limits", old.Server.Limits != new.Server.Limits)
	part("declined-for", old.Server.DeclinedFor != new.Server.DeclinedFor)
	part("remember-for", old.Server.RememberFor != new.Server.RememberFor)
	part("accept-unicast", old.Server.AcceptUnicast != new.Server.AcceptUnicast)
	part("relay-supplied-options", !reflect.DeepEqual(old.Server.RelaySupplied, new.Server.RelaySupplied))
	for i := range old.Server.Links {
		name := old.Server.Links[i].Name
		part("link "+name+" removed", new.Server.Find(name) == nil)
	}
	for i := range new.Server.Links {
		l := &new.Server.Links[i]
		before := old.Server.Find(l.Name)
		if before == nil {
			part("link "+l.Name+" added", true)
			continue
		}
		keys := linkDiff(before, l)
		if !reflect.DeepEqual(old.Find(l.Name), new.Find(l.Name)) {
			keys = append(keys, "router-advertisements")
		}
		if old.validates(before) != new.validates(l) {
			keys = append(keys, "source-validation")
		}
		part(fmt.Sprintf("link %s: %s", l.Name, strings.Join(keys, ", ")), len(keys) > 0)
	}
	if parts == nil {
		return "nothing"
	}
	return strings.Join(parts, "; ")
}

// validates reports whether packets from a link are forwarded only with sources
// that are reached there.
func (c *Config) validates(l *dhcp6.Link) bool {
	return slices.Contains(c.Network.SourceValidation, l.Interface)
}

// linkDiff names the keys of a link whose values differ.
func linkDiff(old, new *dhcp6.Link) (keys []string) {
	for _, k := range []struct {
		name     string
		old, new any
	}{
		{"interface", old.Interface, new.Interface},
		{"subnets", old.Subnets, new.Subnets},
		{"prefix-pools", old.PrefixPools, new.PrefixPools},
		{"relays", [...]any{old.RelayFrom, old.RelayLinkAddresses}, [...]any{new.RelayFrom, new.RelayLinkAddresses}},
		{"rapid-commit", old.RapidCommit, new.RapidCommit},
		{"create-on-renew", old.CreateOnRenew, new.CreateOnRenew},
		{"preference", old.Preference, new.Preference},
		{"address-policy", old.RandomAddresses, new.RandomAddresses},
		{"lifetimes", old.Lifetimes, new.Lifetimes},
		{"options", old.Options, new.Options},
		{"reservations", old.Reservations, new.Reservations},
	} {
		if !reflect.DeepEqual(k.old, k.new) {
			keys = append(keys, k.name)
		}
	}
	return keys
}
