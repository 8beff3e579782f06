package lab

import "net/netip"

// StartRelay runs ISC dhcrelay on a host: clients are on the interface lan, the server is reached at an address through the
// interface wan. Its relay messages carry an Interface-ID.
func (h *Host) StartRelay(t T, lan, wan string, server netip.Addr) *Process {
	t.Helper()
	p := h.Start(t, "dhcrelay", "-6", "-d", "-I", "-l", lan, "-u", server.String()+"%"+wan)
	p.WaitLog(t, settleTime, "Sending on")
	return p
}
