package dhcp6

import "testing"

// D-253: an address out of a pool of addresses is no prefix to delegate, even
// if a client asks for it as one.
func TestAddressIsNoPrefix(t *testing.T) {
	c := newDesk(t, branch()).client(1)
	wish := prefix("2001:db8:0:1::7777/128")
	for _, typ := range []MessageType{Solicit, Request, Renew, Rebind} {
		if got := c.send(typ, pd(1, wish)).pd(1).only(); got.Bits() != 56 {
			t.Errorf("type %d: delegated %v", typ, got)
		}
	}
}
