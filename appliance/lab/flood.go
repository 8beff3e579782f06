package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"syscall"

	"github.com/insomniacslk/dhcp/dhcpv6"
)

// Flood sends Solicits from an interface of a host as fast as it can until the context ends, each from another client that is
// never heard of again. It returns how many.
func (h *Host) Flood(ctx context.Context, t T, iface string) int {
	t.Helper()
	conn, _, to := h.clientSocket(t, iface)
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	nobody := &FleetClient{DUID: &dhcpv6.DUIDUUID{}}
	packet := nobody.message(dhcpv6.MessageTypeSolicit, nil).ToBytes()
	const uuid = 4 + 4 + 2 // behind message header, option header and DUID type: the Client Identifier comes first
	random := rand.NewChaCha8([32]byte{})
	for sent := 0; ; sent++ {
		binary.BigEndian.PutUint32(packet, uint32(dhcpv6.MessageTypeSolicit)<<24|uint32(random.Uint64()>>40))
		random.Read(packet[uuid : uuid+16])
		_, err := conn.WriteToUDPAddrPort(packet, to)
		if errors.Is(err, net.ErrClosed) {
			return sent
		}
		if err != nil && !errors.Is(err, syscall.ENOBUFS) && !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("flood: %v", err)
		}
	}
}
