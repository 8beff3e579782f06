package web

import (
	"fmt"
	"strings"
)

// AddressKeyLen is the length of the secret behind the choice of addresses, in
// octets: twice what RFC 7943 section 3 asks for at least.
const AddressKeyLen = 32

// ParseAddressKey reads an address key: hexadecimal digits in upper or lower
// case, two an octet, with white space around them. It returns them in lower
// case. Its errors are fit for the person who wrote it and do not repeat it:
// they may end up where a secret must not.
func ParseAddressKey(text string) (string, error) {
	const hint = "tandem6 address-key show prints one, tandem6 address-key renew makes one"
	key := lowerASCII(strings.TrimSpace(text))
	if i := strings.IndexFunc(key, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) }); i >= 0 {
		return "", badRequest(fmt.Sprintf("the address key has something else than a hexadecimal digit at place %d", i+1), hint)
	}
	if len(key) != 2*AddressKeyLen {
		return "", badRequest(fmt.Sprintf("the address key has %d hexadecimal digits, it needs %d", len(key), 2*AddressKeyLen), hint)
	}
	// The daemon takes it for no key at all and would make another at its next start.
	if strings.Trim(key, "0") == "" {
		return "", badRequest("the address key is all zeros", hint)
	}
	return key, nil
}
