package lab_test

import (
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/tandem6/tandem6/appliance/lab"
)

// audit checks what has to hold for each message that a server sends, whatever the client.
func audit(t *testing.T, packets []lab.Packet) {
	t.Helper()
	requests := make(map[dhcpv6.TransactionID]lab.Packet)
	for _, p := range packets {
		m := p.Message
		switch m.MessageType {
		case dhcpv6.MessageTypeAdvertise, dhcpv6.MessageTypeReply:
			request, ok := requests[m.TransactionID]
			if !ok {
				t.Errorf("answer to nothing that was asked: %v", p)
				continue
			}
			auditAnswer(t, request, p)
		default:
			requests[m.TransactionID] = p
		}
	}
}

func auditAnswer(t *testing.T, request, answer lab.Packet) {
	t.Helper()
	m := answer.Message
	wantPort := uint16(546)
	if len(answer.Relays) > 0 {
		wantPort = 547
	}
	if answer.Src.Port() != 547 || answer.Dst.Port() != wantPort || answer.Dst.Addr() != request.Src.Addr() {
		t.Errorf("answer goes from %v to %v; want it from port 547 to %v port %d", answer.Src, answer.Dst, request.Src.Addr(), wantPort)
	}
	if m.Options.ServerID() == nil {
		t.Errorf("answer without Server Identifier: %v", answer)
	}
	if lab.ClientDUID(m) != lab.ClientDUID(request.Message) {
		t.Errorf("Client Identifier %s in the answer to %s", lab.ClientDUID(m), lab.ClientDUID(request.Message))
	}
	for _, code := range []dhcpv6.OptionCode{dhcpv6.OptionUnicast, dhcpv6.OptionInterfaceID, dhcpv6.OptionRelayPort} {
		if m.GetOneOption(code) != nil {
			t.Errorf("answer holds option %v: %v", code, answer)
		}
	}
}
