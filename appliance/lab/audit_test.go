package lab_test

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/tandem6/tandem6/appliance/lab"
)

// audit checks what has to hold for every answer of a server, whatever the client.
func audit(t *testing.T, packets []lab.Packet) {
	t.Helper()
	requests := make(map[dhcpv6.TransactionID]lab.Packet)
	offered := make(map[string][]lab.Lease)
	var server dhcpv6.DUID
	for _, p := range packets {
		m := p.Message
		answer := m.MessageType == dhcpv6.MessageTypeAdvertise || m.MessageType == dhcpv6.MessageTypeReply
		if !answer || p.Dst.Addr().IsMulticast() {
			requests[m.TransactionID] = p
			continue
		}
		request, ok := requests[m.TransactionID]
		if !ok {
			t.Errorf("answer to nothing that was asked: %v", p)
			continue
		}
		if server == nil {
			server = m.Options.ServerID()
		}
		if server == nil || !server.Equal(m.Options.ServerID()) {
			t.Errorf("Server Identifier %v, before it was %v", m.Options.ServerID(), server)
		}
		auditTransport(t, request, p)
		auditOptions(t, request.Message, m)
		auditIAs(t, request.Message, m)
		switch duid := lab.ClientDUID(m); {
		case m.MessageType == dhcpv6.MessageTypeAdvertise:
			offered[duid] = lab.Leases(m)
		case request.Message.MessageType == dhcpv6.MessageTypeRequest:
			for _, l := range lab.Leases(m) {
				if !slices.ContainsFunc(offered[duid], l.Same) {
					t.Errorf("Reply gives %v, the Advertise offered %v", l, offered[duid])
				}
			}
		}
	}
}

// auditTransport checks ports, addresses and relay layers.
func auditTransport(t *testing.T, request, answer lab.Packet) {
	t.Helper()
	port := uint16(546)
	if len(answer.Relays) > 0 {
		port = 547
	}
	if want := netip.AddrPortFrom(request.Src.Addr(), port); answer.Src.Port() != 547 || answer.Dst != want {
		t.Errorf("answer goes from %v to %v; want it from port 547 to %v", answer.Src, answer.Dst, want)
	}
	if len(answer.Relays) != len(request.Relays) {
		t.Errorf("answer has %d relay layers, the request %d", len(answer.Relays), len(request.Relays))
		return
	}
	for i, there := range request.Relays {
		back := answer.Relays[i]
		if back.HopCount != there.HopCount || !back.LinkAddr.Equal(there.LinkAddr) || !back.PeerAddr.Equal(there.PeerAddr) ||
			!bytes.Equal(back.Options.InterfaceID(), there.Options.InterfaceID()) || back.Options.InterfaceID() == nil {
			t.Errorf("relay layer %d went as %v and came back as %v", i, there, back)
		}
	}
}

// auditOptions checks the options outside the IAs.
func auditOptions(t *testing.T, request, answer *dhcpv6.Message) {
	t.Helper()
	if lab.ClientDUID(answer) != lab.ClientDUID(request) {
		t.Errorf("Client Identifier %s in the answer to %s", lab.ClientDUID(answer), lab.ClientDUID(request))
	}
	never := []dhcpv6.OptionCode{dhcpv6.OptionUnicast, dhcpv6.OptionInterfaceID, dhcpv6.OptionRelayPort, dhcpv6.OptionORO, dhcpv6.OptionElapsedTime}
	if request.MessageType != dhcpv6.MessageTypeSolicit || answer.MessageType != dhcpv6.MessageTypeReply {
		never = append(never, dhcpv6.OptionRapidCommit)
	}
	for _, code := range never {
		if answer.GetOneOption(code) != nil {
			t.Errorf("%v in the answer to %v: %v", code, request.MessageType, answer)
		}
	}
	status := answer.Options.Status()
	if status != nil && (!utf8.ValidString(status.StatusMessage) || strings.ContainsRune(status.StatusMessage, 0)) {
		t.Errorf("status text %q in the answer to %v", status.StatusMessage, request.MessageType)
	}
	switch request.MessageType {
	case dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeRelease:
		// Client Identifier, Server Identifier, Status Code
		if status == nil || status.StatusCode != iana.StatusSuccess || len(answer.Options.Options) != 3 {
			t.Errorf("answer to %v is %v, want Success and nothing else", request.MessageType, answer)
		}
	case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		if !request.IsOptionRequested(dhcpv6.OptionDNSRecursiveNameServer) {
			break
		}
		if got := answer.Options.DNS(); len(got) != 1 || !got[0].Equal(net.ParseIP("2001:db8::53")) {
			t.Errorf("DNS servers %v in the answer to %v, want 2001:db8::53", got, request.MessageType)
		}
	}
}

// auditIAs checks the IAs of an answer against those that were asked for.
func auditIAs(t *testing.T, request, answer *dhcpv6.Message) {
	t.Helper()
	type times struct{ t1, t2 any }
	common := make(map[times]bool)
	asked, answered := make(map[string]bool), make(map[string]bool)
	for _, ia := range request.Options.IANA() {
		asked["IA_NA "+string(ia.IaId[:])] = true
	}
	for _, ia := range request.Options.IAPD() {
		asked["IA_PD "+string(ia.IaId[:])] = true
	}
	for _, ia := range answer.Options.IANA() {
		answered["IA_NA "+string(ia.IaId[:])] = true
		common[times{ia.T1, ia.T2}] = true
		if ia.T1 > ia.T2 {
			t.Errorf("T1 after T2: %v", ia)
		}
	}
	for _, ia := range answer.Options.IAPD() {
		answered["IA_PD "+string(ia.IaId[:])] = true
		common[times{ia.T1, ia.T2}] = true
		if ia.T1 > ia.T2 {
			t.Errorf("T1 after T2: %v", ia)
		}
	}
	if len(common) > 1 {
		t.Errorf("T1 and T2 differ between the IAs of one answer: %v", answer)
	}
	for _, l := range lab.Leases(answer) {
		if l.Preferred > l.Valid {
			t.Errorf("%v is preferred longer than valid", l)
		}
	}
	switch request.MessageType {
	case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		if len(asked) != len(answered) {
			t.Errorf("%d IAs in the answer to %v with %d", len(answered), request.MessageType, len(asked))
		}
		for ia := range asked {
			if !answered[ia] {
				t.Errorf("%q is missing in the answer to %v", ia, request.MessageType)
			}
		}
	case dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeRelease:
		if len(answered) > 0 {
			t.Errorf("IAs in the answer to %v, which concerned no unknown one: %v", request.MessageType, answer)
		}
	}
}
