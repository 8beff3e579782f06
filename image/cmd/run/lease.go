package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/tandem6/tandem6/appliance/lab"
)

const (
	// bootTime bounds the boot: 5 s on a quiet machine, four times that on a busy one.
	bootTime = 2 * time.Minute
	// leaseTime bounds the client's first exchange. A message that is lost comes again after a second, then after two, and so on.
	leaseTime = time.Minute
	// routerTime bounds the wait for a router advertisement once the client has its lease: the client's kernel asks for one three
	// times within 12 s of the link coming up (RFC 4861 section 6.3.7), and the router sends one by itself soon after it starts.
	routerTime = time.Minute
)

// getLease runs ISC dhclient on the client's eth0, waits for all that it is to get, and tells it in lines for people.
func getLease(t lab.T, client *lab.Host) string {
	client.LinkLocal(t, "eth0") // without it, dhclient ends at once
	capture := client.Capture(t, "eth0")
	client.Run(t, "mkdir", "-p", "/var/lib/dhcp")
	client.Start(t, "dhclient", "-d", "-6", "-N", "-P", "eth0")
	reply := capture.Wait(t, leaseTime, 0, "Reply with an address and a prefix", complete)
	var b strings.Builder
	for _, l := range lab.Leases(reply.Message) {
		what, value := "address", l.Prefix.Addr().String()
		if l.Delegated {
			what, value = "prefix", l.Prefix.String()
		}
		fmt.Fprintf(&b, "  %-15s %-40s preferred %v, valid %v\n", what, value, l.Preferred, l.Valid)
	}
	var router string
	lab.Eventually(t, routerTime, "a default router on the client", func() bool {
		router = defaultRouter(client)
		return router != ""
	})
	fmt.Fprintf(&b, "  %-15s %-40s by router advertisement", "default router", router)
	return b.String()
}

// complete reports whether a packet gives an address and a prefix.
func complete(p lab.Packet) bool {
	var address, prefix bool
	for _, l := range lab.Leases(p.Message) {
		address = address || !l.Delegated
		prefix = prefix || l.Delegated
	}
	return p.Message.MessageType == dhcpv6.MessageTypeReply && address && prefix
}

// defaultRouter returns the default router that a host's kernel has learnt from router advertisements; it is empty when there is
// none.
func defaultRouter(h *lab.Host) string {
	out, err := h.Try("ip", "-6", "route", "show", "default", "proto", "ra")
	if err != nil {
		return ""
	}
	// default via fe80::1 dev eth0 metric 1024 expires 1798sec pref medium
	fields := strings.Fields(out)
	if len(fields) < 3 || fields[1] != "via" {
		return ""
	}
	return fields[2]
}
