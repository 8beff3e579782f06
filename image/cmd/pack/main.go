// Pack builds a disk image of the appliance. It has to run inside the image module:
//
//	cd image && go run ./cmd/pack [-arch amd64] [-version VERSION] [-seed DIR] [-o FILE]
//
// It prints the path of the image.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/tandem6/tandem6/image/pack"
)

func main() {
	var o pack.Options
	flag.StringVar(&o.Arch, "arch", "amd64", "architecture to build for")
	flag.StringVar(&o.Version, "version", "", `version that the programs tell (default what "git describe" says)`)
	flag.StringVar(&o.Seed, "seed", "", "folder whose files are put on /perm, the writable partition (default none)")
	flag.StringVar(&o.Output, "o", "", "path of the disk image (default build/image/ARCH/disk.img in the product's folder)")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "error: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	path, err := pack.Image(o)
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
	fmt.Println(path)
}
