//go:build imagedeps

package image

// The build tag is never set. These imports only tell "go mod tidy" to keep the pins of what goes into an image: kernels and
// firmware are packages that nothing imports.
import (
	_ "github.com/gokrazy/firmware"
	_ "github.com/gokrazy/gokrazy"
	_ "github.com/gokrazy/kernel.amd64"
	_ "github.com/gokrazy/kernel.arm64"
	_ "github.com/gokrazy/kernel.rpi"
	_ "github.com/gokrazy/rpi-eeprom"

	_ "github.com/tandem6/tandem6/cmd/tandem6"
	_ "github.com/tandem6/tandem6/cmd/tandem6d"
)
