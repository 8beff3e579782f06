package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// link is an interface that can advertise now.
type link struct {
	index      int
	mtu        int
	mac        []byte // empty: not Ethernet
	address    netip.Addr
	forwarding bool
}

// notReady is why an interface cannot advertise; the kernel tells when that
// changes.
type notReady string

func (n notReady) Error() string { return string(n) }

// readAttemptsMax is how often a dump is read that changed meanwhile.
const readAttemptsMax = 3

// readLink finds out whether the interface can advertise. The error is notReady,
// or says what could not be read. The address in use is kept while it can be.
func readLink(h *netlink.Handle, name string, inUse netip.Addr) (link, error) {
	l, err := h.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return link{}, notReady("there is no such interface")
	}
	if err != nil {
		return link{}, fmt.Errorf("reading interface %s: %w", name, err)
	}
	attrs := l.Attrs()
	switch {
	case attrs.RawFlags&unix.IFF_UP == 0:
		return link{}, notReady("the interface is down")
	case attrs.RawFlags&unix.IFF_RUNNING == 0:
		return link{}, notReady("the link has no carrier; is the cable plugged in?")
	}

	var addrs []netlink.Addr
	for range readAttemptsMax {
		addrs, err = h.AddrList(l, netlink.FAMILY_V6)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return link{}, fmt.Errorf("reading the addresses of %s: %w", name, err)
	}
	address, err := chooseSource(addrs, inUse)
	if err != nil {
		return link{}, err
	}
	forwarding, err := readForwarding(name)
	if err != nil {
		return link{}, err
	}
	return link{index: attrs.Index, mtu: attrs.MTU, mac: attrs.HardwareAddr, address: address, forwarding: forwarding}, nil
}

// chooseSource picks the link-local address to advertise from (D-313): the one in
// use if it is still good, otherwise the lowest, so that a restart finds the same.
// An address is not good before duplicate address detection is over.
func chooseSource(addrs []netlink.Addr, inUse netip.Addr) (netip.Addr, error) {
	var good []netip.Addr
	why := notReady("the interface has no link-local address")
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok || !ip.Is6() || !ip.IsLinkLocalUnicast() {
			continue
		}
		switch {
		case a.Flags&unix.IFA_F_DADFAILED != 0:
			why = notReady(fmt.Sprintf("another host uses the link-local address %s", ip))
		case a.Flags&unix.IFA_F_TENTATIVE != 0:
			why = notReady(fmt.Sprintf("the kernel still checks whether the link-local address %s is free", ip))
		default:
			good = append(good, ip)
		}
	}
	if len(good) == 0 {
		return netip.Addr{}, why
	}
	if slices.Contains(good, inUse) {
		return inUse, nil
	}
	return slices.MinFunc(good, netip.Addr.Compare), nil
}

// readForwarding reports whether the kernel forwards packets that come in on the
// interface.
func readForwarding(name string) (bool, error) {
	b, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + name + "/forwarding")
	if err != nil {
		return false, fmt.Errorf("reading whether %s forwards: %w", name, err)
	}
	return strings.TrimSpace(string(b)) != "0", nil
}

// watcher pokes when something about links, addresses or forwarding changed. What
// changed does not matter: the owner reads all that it needs, so that no
// notification can be misread or missed.
type watcher struct {
	socket  *nl.NetlinkSocket
	changed chan<- struct{}
	done    chan struct{} // closed at the end
	err     error         // why it ended; valid after done
}

// watch opens the watcher's socket in the namespace of the calling thread.
func watch(changed chan<- struct{}) (*watcher, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_NETCONF)
	if err != nil {
		return nil, fmt.Errorf("watching links: opening a netlink socket: %w", err)
	}
	w := &watcher{socket: s, changed: changed, done: make(chan struct{})}
	go w.run()
	return w, nil
}

func (w *watcher) run() {
	defer close(w.done)
	for {
		_, _, err := w.socket.Receive()
		switch {
		case err == nil, errors.Is(err, unix.ENOBUFS): // notifications were lost: look as well
			poke(w.changed)
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		default:
			w.err = fmt.Errorf("watching links: %w", err)
			return
		}
	}
}

// close ends the watcher and waits until it has ended.
func (w *watcher) close() {
	w.socket.Close()
	<-w.done
}

// poke leaves a note unless there is one already.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
