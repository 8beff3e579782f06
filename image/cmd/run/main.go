// Run boots a disk image of the appliance in QEMU, joins a client to it by a virtual LAN, and shows on the terminal the serial
// console and what the client gets: an address, a delegated prefix and a default router.
//
//	cd image && go run ./cmd/run [-once] [-disk FILE]
//
// Without -disk it builds the image first, for which it has to run inside the image module.
//
// Ctrl-a x or Ctrl-C ends it. When standard input is not a terminal, or with -once, it ends by itself when the client has its
// lease. Nothing is left behind: the machine, the client and the LAN live in namespaces of their own, and the disk is a copy. It
// needs root for the namespaces, and Debian's packages qemu-system-x86, e2fsprogs, iproute2, tcpdump and isc-dhcp-client.
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/tandem6/tandem6/appliance/lab"
	"github.com/tandem6/tandem6/image/pack"
	"github.com/tandem6/tandem6/image/qemu"
)

// config is what the appliance finds on its /perm.
//
//go:embed demo.json
var config string

func main() {
	image := flag.String("disk", "", "disk image; it is copied, not changed (default is to build one)")
	once := flag.Bool("once", false, "end when the client has its lease")
	flag.Parse()
	if flag.NArg() > 0 {
		fail(2, "unexpected argument %q", flag.Arg(0))
	}
	if os.Geteuid() != 0 {
		fail(1, "root is needed to make network namespaces with a virtual LAN in them\nhint: sudo env \"PATH=$PATH\" make run")
	}
	if err := findImage(image); err != nil {
		fail(1, "%v", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	screen, err := openScreen(*once)
	if err != nil {
		fail(1, "%v", err)
	}
	s := &session{screen: screen}
	ok := s.run(ctx, func() { show(s, *image, stop) })
	if !ok && !s.Failed() {
		screen.note("ended before the client had its lease")
	}
	screen.close()
	if !ok {
		os.Exit(1)
	}
}

func fail(code int, format string, args ...any) {
	fmt.Fprintf(os.Stderr, "error: "+format+"\n", args...)
	os.Exit(code)
}

// findImage checks that there is a disk image, or builds one when none is named.
func findImage(path *string) error {
	if *path != "" {
		_, err := os.Stat(*path)
		return err
	}
	built, err := pack.Image(pack.Options{})
	*path = built
	return err
}

// show boots the appliance and a client and tells the client's lease. Unless the screen is interactive, that is all; else it goes on
// until the session ends. When the machine goes off, it calls stop to end the session.
func show(s *session, image string, stop func()) {
	lab.Need(s, append(qemu.Programs, "dhclient", "tcpdump")...)
	rack := qemu.NewRack(s)
	lan := rack.Segment(s, "lan")
	client := lab.NewHost(s, "client")
	lan.Plug(s, client, "eth0")
	machine := rack.NewMachine(s, "tandem6", image, map[string]string{"tandem6/config.json": config}, lan)
	machine.Screen = s.screen
	machine.Start(s)
	go func() {
		<-machine.Off()
		stop()
	}()
	if s.screen.interactive {
		go s.screen.keysTo(machine.Keyboard())
	}
	machine.WaitConsole(s, bootTime, 0, `msg="serving DHCPv6"`)
	lease := getLease(s, client)
	s.screen.note("the client has its lease:\n%s", lease)
	s.succeed()
	if s.screen.interactive {
		s.screen.note("this terminal is the serial console; Ctrl-a x or Ctrl-C ends")
		<-machine.Off()
	}
}
