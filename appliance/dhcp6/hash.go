package dhcp6

import (
	"crypto/sha256"
	"encoding/binary"
	"math/big"
	"math/bits"
	"net/netip"

	"github.com/tandem6/tandem6/failover/lease"
)

// AddressKey is the secret behind the choice of addresses (RFC 7943 section 3:
// at least 128 bits, used for nothing else, the same on both partners; D-242).
type AddressKey [32]byte

// hashID is the RID of RFC 7943 section 3: a number that only the holder of the
// key can foresee, the same each time for the same client.
func hashID(prefix netip.Prefix, client lease.DUID, id lease.IAID, counter uint32, key []byte) [sha256.Size]byte {
	var buf [16 + lease.DUIDLenMax + 4 + 4 + len(AddressKey{})]byte
	a := prefix.Masked().Addr().As16()
	b := append(buf[:0], a[:]...)
	b = append(b, client...)
	b = binary.BigEndian.AppendUint32(b, uint32(id))
	b = binary.BigEndian.AppendUint32(b, counter)
	b = append(b, key...)
	return sha256.Sum256(b)
}

// u128 is an unsigned number of 128 bits, as wide as an address.
type u128 struct{ hi, lo uint64 }

func toU128(a netip.Addr) u128 {
	b := a.As16()
	return u128{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}

func (u u128) addr() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], u.hi)
	binary.BigEndian.PutUint64(b[8:], u.lo)
	return netip.AddrFrom16(b)
}

func (u u128) add(v u128) u128 {
	lo, carry := bits.Add64(u.lo, v.lo, 0)
	hi, _ := bits.Add64(u.hi, v.hi, carry)
	return u128{hi, lo}
}

func (u u128) sub(v u128) u128 {
	lo, borrow := bits.Sub64(u.lo, v.lo, 0)
	hi, _ := bits.Sub64(u.hi, v.hi, borrow)
	return u128{hi, lo}
}

// shl is u shifted left by n bits, 0 to 128.
func (u u128) shl(n int) u128 {
	if n >= 64 {
		return u128{u.lo << (n - 64), 0}
	}
	return u128{u.hi<<n | u.lo>>(64-n), u.lo << n}
}

// shr is u shifted right by n bits, 0 to 128.
func (u u128) shr(n int) u128 {
	if n >= 64 {
		return u128{0, u.hi >> (n - 64)}
	}
	return u128{u.hi >> n, u.lo>>n | u.hi<<(64-n)}
}

// mod is the hash, read as a big-endian number, modulo last+1: an index from 0
// to last.
func mod(hash [sha256.Size]byte, last u128) u128 {
	switch {
	case last.hi == 0 && last.lo != ^uint64(0):
		n, rem := last.lo+1, uint64(0)
		for i := 0; i < len(hash); i += 8 {
			rem = bits.Rem64(rem, binary.BigEndian.Uint64(hash[i:]), n)
		}
		return u128{0, rem}
	case last.hi&(last.hi+1) == 0 && last.lo == ^uint64(0): // a power of two
		return u128{binary.BigEndian.Uint64(hash[16:]) & last.hi, binary.BigEndian.Uint64(hash[24:])}
	}
	n := new(big.Int).SetUint64(last.hi)
	n.Lsh(n, 64).Add(n, new(big.Int).SetUint64(last.lo)).Add(n, big.NewInt(1))
	var b [16]byte
	new(big.Int).Mod(new(big.Int).SetBytes(hash[:]), n).FillBytes(b[:])
	return u128{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}

// Interface identifiers that RFC 5453 and its registry reserve (D-236).
const (
	iidAnycastRouter = 0x0000_0000_0000_0000
	iidIANAFirst     = 0x0200_5eff_fe00_0000
	iidIANALast      = 0x0200_5eff_feff_ffff
	iidAnycastFirst  = 0xfdff_ffff_ffff_ff80
	iidAnycastLast   = 0xfdff_ffff_ffff_ffff
	iidEUI64Mark     = 0x0000_00ff_fe00_0000
	iidEUI64MarkMask = 0x0000_00ff_ff00_0000
)

// reservedIn reports whether an address is not to be leased because of where it
// lies in its subnet: it is the subnet-router anycast address, its interface
// identifier is reserved, or that looks like one made from a MAC address and
// could collide with a host that makes its own.
func reservedIn(subnet netip.Prefix, a netip.Addr) bool {
	if a == subnet.Addr() && subnet.Bits() < 127 { // RFC 6164: no anycast there
		return true
	}
	if subnet.Bits() > 64 {
		return false // what is reserved has 64 bits
	}
	iid := toU128(a).lo
	return iid == iidAnycastRouter ||
		iidIANAFirst <= iid && iid <= iidIANALast ||
		iidAnycastFirst <= iid && iid <= iidAnycastLast ||
		iid&iidEUI64MarkMask == iidEUI64Mark
}
