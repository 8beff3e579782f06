package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/tandem6/tandem6/web"
)

func addressKeyShow(a *app, _ []string) error {
	key, err := a.client().AddressKey(a.ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, key)
	return nil
}

// keyInputLenMax is how much of standard input may be a key, in octets: with
// white space around it.
const keyInputLenMax = 1 << 10

func addressKeySet(a *app, args []string) error {
	text := args[0]
	if text == "-" {
		input, err := io.ReadAll(io.LimitReader(a.stdin, keyInputLenMax))
		if err != nil {
			return fmt.Errorf("cannot read the address key: %w", err)
		}
		text = string(input)
	}
	return a.setAddressKey(text)
}

func addressKeyRenew(a *app, _ []string) error {
	key := make([]byte, web.AddressKeyLen)
	rand.Read(key) // never fails
	return a.setAddressKey(hex.EncodeToString(key))
}

func (a *app) setAddressKey(text string) error {
	if err := a.client().SetAddressKey(a.ctx, text); err != nil {
		return err
	}
	a.stdout.WriteString("the address key is changed: clients keep what they have, new ones get addresses by the new key\n")
	return nil
}
