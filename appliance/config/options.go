package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/tandem6/tandem6/appliance/dhcp6"
	"github.com/tandem6/tandem6/failover/lease"
)

// options are the keys of an "options" object.
type options struct {
	// byKey has what each key that was given stands for; nothing when it takes
	// an inherited option away.
	byKey map[string][]dhcp6.Option
	// force are keys whose options are sent to clients that do not ask. It is
	// inherited like a key of its own.
	force      map[string]bool
	forceGiven bool

	// The same for router advertisements.
	dnsServers    []netip.Addr
	searchDomains []string
	captivePortal string
}

// The keys whose values router advertisements carry too.
const (
	keyDNSServers    = "dns-servers"
	keyDomainSearch  = "domain-search"
	keyCaptivePortal = "captive-portal"
)

// optionReaders are the keys that stand for options.
var optionReaders = map[string]func(*node, *options) []dhcp6.Option{
	keyDNSServers: func(n *node, o *options) []dhcp6.Option {
		l := n.addresses()
		o.dnsServers = values(l)
		return built(n, l, dhcp6.DNSServers)
	},
	keyDomainSearch: func(n *node, o *options) []dhcp6.Option {
		l := n.texts()
		o.searchDomains = values(l)
		return built(n, l, dhcp6.DomainSearch)
	},
	keyCaptivePortal: func(n *node, o *options) []dhcp6.Option {
		o.captivePortal, _ = n.text()
		return single(n, o.captivePortal, dhcp6.CaptivePortal)
	},
	"ntp-servers":      func(n *node, _ *options) []dhcp6.Option { return built(n, n.texts(), dhcp6.NTPServers) },
	"sntp-servers":     func(n *node, _ *options) []dhcp6.Option { return built(n, n.addresses(), dhcp6.SNTPServers) },
	"sip-servers":      func(n *node, _ *options) []dhcp6.Option { return built(n, n.addresses(), dhcp6.SIPServers) },
	"sip-domains":      func(n *node, _ *options) []dhcp6.Option { return built(n, n.texts(), dhcp6.SIPDomains) },
	"boot-file-params": func(n *node, _ *options) []dhcp6.Option { return built(n, n.texts(), dhcp6.BootFileParams) },
	"vendor":           func(n *node, _ *options) []dhcp6.Option { return built(n, n.vendors(), dhcp6.VendorInformation) },
	"encrypted-dns":    func(n *node, _ *options) []dhcp6.Option { return built(n, n.resolvers(), dhcp6.EncryptedDNS) },

	"boot-file-url":        textOption(dhcp6.BootFileURL),
	"posix-timezone":       textOption(dhcp6.POSIXTimezone),
	"tzdb-timezone":        textOption(dhcp6.TZDBTimezone),
	"aftr-name":            textOption(dhcp6.AFTRName),
	"registered-domain":    textOption(dhcp6.RegisteredDomain),
	"forward-dist-manager": textOption(dhcp6.ForwardDistManager),
	"reverse-dist-manager": textOption(dhcp6.ReverseDistManager),

	"information-refresh-time": secondsOption(dhcp6.InformationRefreshTimeMin, lease.Infinity, dhcp6.InformationRefreshTime),
	"sol-max-rt":               secondsOption(dhcp6.MaxRTMin, dhcp6.MaxRTMax, dhcp6.SolMaxRT),
	"inf-max-rt":               secondsOption(dhcp6.MaxRTMin, dhcp6.MaxRTMax, dhcp6.InfMaxRT),

	"custom": func(n *node, _ *options) (all []dhcp6.Option) {
		n.elements(dhcp6.OptionListMax, func(n *node) { all = append(all, n.custom()...) })
		return all
	},
}

// options reads an "options" object.
func (n *node) options() options {
	o := options{byKey: map[string][]dhcp6.Option{}, force: map[string]bool{}}
	keys := fields{"force": o.readForce}
	for key, read := range optionReaders {
		keys[key] = func(n *node) {
			o.byKey[key] = nil
			if !n.isNull() {
				o.byKey[key] = read(n, &o)
			}
		}
	}
	n.object(keys)
	return o
}

func (o *options) readForce(n *node) {
	o.forceGiven = true
	n.elements(len(optionReaders), func(n *node) {
		key, ok := n.text()
		if _, known := optionReaders[key]; ok && (!known || key == "custom") {
			found := quote(key)
			if s := nearest(key, slices.Collect(maps.Keys(optionReaders))); s != "" && key != "custom" {
				found += fmt.Sprintf(" (did you mean %s?)", s)
			}
			n.problem(`keys of "options" other than custom, which has a "force" of its own`, "%s", found)
		}
		o.force[key] = true
	})
}

// over is o with what it leaves out taken from base.
func (o options) over(base options) options {
	result := o
	result.byKey = maps.Clone(base.byKey)
	if result.byKey == nil {
		result.byKey = map[string][]dhcp6.Option{}
	}
	maps.Copy(result.byKey, o.byKey)
	if !o.forceGiven {
		result.force, result.forceGiven = base.force, base.forceGiven
	}
	if _, given := o.byKey[keyDNSServers]; !given {
		result.dnsServers = base.dnsServers
	}
	if _, given := o.byKey[keyDomainSearch]; !given {
		result.searchDomains = base.searchDomains
	}
	if _, given := o.byKey[keyCaptivePortal]; !given {
		result.captivePortal = base.captivePortal
	}
	return result
}

// list are the options in the order in which they are sent.
func (o options) list() []dhcp6.Option {
	var all []dhcp6.Option
	for _, key := range slices.Sorted(maps.Keys(o.byKey)) {
		for _, option := range o.byKey[key] {
			option.Force = option.Force || o.force[key]
			all = append(all, option)
		}
	}
	dhcp6.SortOptions(all)
	return all
}

// built encodes a list. Encoders stop at the first element that is at fault;
// what is wrong behind it is found without it.
func built[T any](n *node, l []placed[T], encode func([]T) ([]dhcp6.Option, error)) []dhcp6.Option {
	l = slices.DeleteFunc(l, func(p placed[T]) bool { return p.at.flawed() })
	for {
		all, err := encode(values(l))
		var e *dhcp6.OptionError
		if !errors.As(err, &e) || e.Index < 0 {
			n.refused(err)
			return all
		}
		l[e.Index].at.refused(err)
		l = slices.Delete(l, e.Index, e.Index+1)
	}
}

// single encodes one value.
func single[T any](n *node, v T, encode func(T) (dhcp6.Option, error)) []dhcp6.Option {
	if n.flawed() {
		return nil
	}
	o, err := encode(v)
	n.refused(err)
	return []dhcp6.Option{o}
}

// refused adds the error of an encoder as a problem.
func (n *node) refused(err error) {
	var e *dhcp6.OptionError
	switch {
	case errors.As(err, &e):
		n.problem(e.Allowed, "%s", e.Found)
	case err != nil:
		n.problem("", "%v", err)
	}
}

func textOption(encode func(string) (dhcp6.Option, error)) func(*node, *options) []dhcp6.Option {
	return func(n *node, _ *options) []dhcp6.Option {
		s, _ := n.text()
		return single(n, s, encode)
	}
}

func secondsOption(least, most uint32, encode func(uint32) (dhcp6.Option, error)) func(*node, *options) []dhcp6.Option {
	return func(n *node, _ *options) []dhcp6.Option { return single(n, n.seconds(least, most), encode) }
}

// texts reads a list of texts; what is none is left out after its problem.
func (n *node) texts() (l []placed[string]) {
	n.elements(dhcp6.OptionListMax, func(e *node) {
		if s, ok := e.text(); ok {
			l = append(l, placed[string]{e, s})
		}
	})
	return l
}

// addresses reads a list of addresses; what is none is left out after its problem.
func (n *node) addresses() (l []placed[netip.Addr]) {
	n.elements(dhcp6.OptionListMax, func(e *node) {
		if a := e.address(); a.IsValid() {
			l = append(l, placed[netip.Addr]{e, a})
		}
	})
	return l
}

func (n *node) vendors() []placed[dhcp6.Vendor] {
	return list(n, dhcp6.OptionListMax, func(n *node) (v dhcp6.Vendor) {
		n.object(fields{
			"enterprise": func(n *node) { v.Enterprise = uint32(n.integer(1, 1<<32-1, "")) },
			"options": func(n *node) {
				v.Options = values(list(n, dhcp6.OptionListMax, func(n *node) (o dhcp6.VendorOption) {
					n.object(fields{
						"code": func(n *node) { o.Code = uint16(n.integer(0, 1<<16-1, "")) },
						"hex":  func(n *node) { o.Data = n.hex(dhcp6.OptionDataLenMax) },
					})
					n.needs("code")
					return o
				}))
			},
		})
		n.needs("enterprise")
		return v
	})
}

// resolvers reads encrypted DNS servers. The priority of one is by default its
// place in the list.
func (n *node) resolvers() []placed[dhcp6.Resolver] {
	return list(n, dhcp6.OptionListMax, func(n *node) dhcp6.Resolver {
		r := dhcp6.Resolver{Priority: uint16(n.index + 1)}
		n.object(fields{
			"priority":  func(n *node) { r.Priority = uint16(n.integer(1, 1<<16-1, "")) },
			"name":      func(n *node) { r.Name, _ = n.text() },
			"addresses": func(n *node) { r.Addresses = values(n.addresses()) },
			"alpn":      func(n *node) { r.ALPN = values(n.texts()) },
			"port":      func(n *node) { r.Port = uint16(n.integer(1, 1<<16-1, "")) },
			"doh-path":  func(n *node) { r.DoHPath, _ = n.text() },
		})
		n.needs("name")
		return r
	})
}

func (n *node) custom() []dhcp6.Option {
	var code uint16
	var data []byte
	force := false
	n.object(fields{
		"code":  func(n *node) { code = uint16(n.integer(1, 1<<16-1, "")) },
		"hex":   func(n *node) { data = n.hex(dhcp6.OptionDataLenMax) },
		"force": func(n *node) { force = n.boolean() },
	})
	n.needs("code")
	all := single(n, code, func(uint16) (dhcp6.Option, error) { return dhcp6.Custom(code, data) })
	for i := range all {
		all[i].Force = force
	}
	return all
}

// needs adds a problem when an object has none of some keys.
func (n *node) needs(keys ...string) {
	has := func(key string) bool { return n.child(key) != nil }
	if n.value.Value.Kind() == '{' && !slices.ContainsFunc(keys, has) {
		names := strings.Join(keys, " or ")
		n.problem("an object with "+names, "no key %s", names)
	}
}
