package kernel

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv6"

	"github.com/tandem6/tandem6/appliance/ra"
)

const (
	// queueMax is how many valid messages wait for the owner; beyond it the oldest
	// is dropped. The owner takes microseconds for each.
	queueMax = 64
	// packetMax is the largest message read. What is longer is cut and then
	// discarded as malformed; ND messages are not fragmented (RFC 6980), so only a
	// link with jumbo frames could carry one.
	packetMax = 9216
	// sendTimeout is how long the kernel may take to accept a message.
	sendTimeout = 200 * time.Millisecond
)

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// conn is an interface's socket with the goroutine that reads it.
type conn struct {
	socket   *ndp.Conn
	index    int
	address  netip.Addr // of the interface; the source of what is sent
	counters *counters
	messages chan message
	arrived  chan<- struct{} // poked after each message and after the end
	done     chan struct{}   // closed at the end
	err      error           // why reading ended; valid after done
}

// message is a valid message that came in: one of both.
type message struct {
	solicitation ra.Solicitation
	observation  *ra.Observation
}

// open opens the socket in the namespace of the calling thread and starts to read.
func open(l link, c *counters, arrived chan<- struct{}) (*conn, error) {
	// The number stands in for the name: package net remembers for a minute which
	// index a name had, and an interface may be made anew in less.
	ifi := &net.Interface{Index: l.index, MTU: l.mtu, Name: strconv.Itoa(l.index)}
	s, _, err := ndp.Listen(ifi, ndp.Addr(l.address.String()))
	if err != nil {
		return nil, fmt.Errorf("opening an ICMPv6 socket with address %s: %w", l.address, err)
	}
	if err := prepare(s); err != nil {
		s.Close()
		return nil, err
	}
	o := &conn{
		socket: s, index: l.index, address: l.address, counters: c,
		messages: make(chan message, queueMax), arrived: arrived, done: make(chan struct{}),
	}
	go o.read()
	return o, nil
}

// prepare asks for the messages that matter, with their hop limit, and joins the
// groups: all routers for solicitations (RFC 4861 section 6.2.2, D-337), all nodes
// for the advertisements of other routers.
func prepare(s *ndp.Conn) error {
	var f ipv6.ICMPFilter
	f.SetAll(true)
	f.Accept(ipv6.ICMPTypeRouterSolicitation)
	f.Accept(ipv6.ICMPTypeRouterAdvertisement)
	if err := s.SetICMPFilter(&f); err != nil {
		return fmt.Errorf("setting an ICMPv6 filter: %w", err)
	}
	if err := s.SetControlMessage(ipv6.FlagHopLimit, true); err != nil {
		return fmt.Errorf("asking for the hop limit: %w", err)
	}
	for _, group := range []netip.Addr{allRouters, allNodes} {
		if err := s.JoinGroup(group); err != nil {
			return fmt.Errorf("joining the group %s: %w", group, err)
		}
	}
	return nil
}

// close ends the reading goroutine and waits until it has ended.
func (c *conn) close() {
	c.socket.Close()
	<-c.done
}

// send sends one advertisement.
func (c *conn) send(ad ra.Advertisement) error {
	if err := c.socket.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	return c.socket.WriteTo(ad.Message, nil, ad.To)
}

func (c *conn) read() {
	defer poke(c.arrived)
	defer close(c.done)
	buffer := make([]byte, packetMax)
	for {
		n, control, source, err := c.socket.ReadRaw(buffer)
		if err != nil {
			c.err = fmt.Errorf("reading from the ICMPv6 socket: %w", err)
			return
		}
		hopLimit := 0
		if control != nil {
			hopLimit = control.HopLimit
		}
		source = source.WithZone("")
		if source == c.address {
			continue // our own, sent to a group that we are in
		}
		if m, ok := c.parse(buffer[:n], source, hopLimit); ok {
			c.deliver(m)
			poke(c.arrived)
		}
	}
}

// parse counts the message and reports whether it is valid.
func (c *conn) parse(b []byte, source netip.Addr, hopLimit int) (message, bool) {
	if len(b) > 0 && ipv6.ICMPType(b[0]) == ipv6.ICMPTypeRouterAdvertisement {
		o, err := ra.ParseAdvertisement(b, source, hopLimit)
		if err == nil {
			c.counters.advertisements.Add(1)
			return message{observation: &o}, true
		}
	} else {
		s, err := ra.ParseSolicitation(b, source, hopLimit)
		if err == nil {
			c.counters.solicitations.Add(1)
			return message{solicitation: s}, true
		}
	}
	c.counters.invalid.Add(1)
	return message{}, false
}

// deliver queues m; the oldest message gives way.
func (c *conn) deliver(m message) {
	for {
		select {
		case c.messages <- m:
			return
		default:
		}
		select {
		case <-c.messages:
			c.counters.dropped.Add(1)
		default:
		}
	}
}
