package appliance

import "github.com/tandem6/tandem6/appliance/udp6"

const (
	// unsentMax is how many answers gather while others are being sent, before the
	// event loop waits for that: one commit releases half as many at most.
	unsentMax = 2 * pendingMax
	// handOverMin is from how many answers on it pays to wake another goroutine.
	handOverMin = 16
)

// sender sends answers off the event loop. Passing a datagram through the kernel
// takes longer than deciding on it, so that both at a time serve more clients,
// and what gathers meanwhile leaves in fewer system calls. The loop may send by
// itself while it holds the empty slice.
type sender struct {
	conn    *udp6.Conn
	journal *journal
	batches chan []udp6.Outgoing // to be sent
	idle    chan []udp6.Outgoing // the empty slice: everything handed over is sent
	ended   chan struct{}
}

// startSender starts a sender, which close ends.
func startSender(conn *udp6.Conn, j *journal) *sender {
	s := &sender{conn, j, make(chan []udp6.Outgoing, 1), make(chan []udp6.Outgoing, 1), make(chan struct{})}
	s.idle <- []udp6.Outgoing{}
	go s.run()
	return s
}

func (s *sender) run() {
	defer close(s.ended)
	for batch := range s.batches {
		s.send(batch)
		s.idle <- batch[:0]
	}
}

func (s *sender) send(batch []udp6.Outgoing) {
	if _, err := s.conn.Send(batch); err != nil {
		s.journal.sendFailed(err)
	}
	clear(batch)
}

// close waits until everything handed over is sent.
func (s *sender) close() {
	close(s.batches)
	<-s.ended
}
