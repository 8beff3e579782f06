package sim

import (
	"time"

	"github.com/tandem6/tandem6/failover/lease"
)

// An act is something that a client does of its own accord.
type act uint8

const (
	actRelease act = iota // gives everything back, asks anew later
	actReboot             // starts again with what it had
	actNewIAID            // starts again as somebody else: same DUID, other IAIDs
	actForget             // starts again with nothing
	actConfirm            // its link went down and up
	actAway               // is switched off for long
	actCount
)

var actNames = [actCount]string{"release", "reboot", "reboot with new IAIDs", "reboot without memory", "link flap", "away"}

func (h *Habits) weights() [actCount]int {
	return [actCount]int{h.Release, h.Reboot, h.NewIAID, h.Forget, h.Confirm, h.Away}
}

// live lets a client act now and then while there are faults.
func (c *client) live() {
	if c.Habits.Acts == 0 {
		return
	}
	c.after(time.Duration(c.ExpFloat64()*float64(c.Habits.Acts)), func() {
		if c.calm {
			return
		}
		if c.on {
			c.act()
		}
		c.live()
	})
}

func (c *client) act() {
	weights := c.Habits.weights()
	sum := 0
	for _, w := range weights {
		sum += w
	}
	if sum == 0 {
		return
	}
	n := c.IntN(sum)
	a := act(0)
	for n >= weights[a] {
		n -= weights[a]
		a++
	}
	c.tally.count("clients: " + actNames[a])
	c.note(c.now, c.who, actNames[a], nil)
	c.line(c.now, c.who, "%s", actNames[a])
	switch a {
	case actRelease:
		c.release()
	case actReboot:
		c.reboot(seconds(1 + c.IntN(20)))
	case actNewIAID:
		c.forget()
		for _, a := range c.ias {
			a.id += 0x100
			a.former = nil
		}
		c.reboot(seconds(1 + c.IntN(20)))
	case actForget:
		c.forget()
		c.reboot(seconds(1 + c.IntN(20)))
	case actConfirm:
		c.reboot(0)
	case actAway:
		c.reboot(time.Duration(c.Float64() * 2 * float64(seconds(c.Valid_s))))
	}
}

func (c *client) reboot(off time.Duration) {
	c.powerOff()
	c.pause.start(&c.scheduler, c.now+off, c.powerOn)
}

// release gives everything back to the server that answered last. A client stops
// using a lease before it says so (RFC 9915 section 18.2.7).
func (c *client) release() {
	if !c.holdsAny() {
		return
	}
	c.lease.stop()
	m := &message{kind: release, server: c.server, ias: inMessage(c.ias)}
	c.forget()
	c.begin(m, 0)
}

// declines decides whether the client finds an address that it has just got in
// use, and says so.
func (c *client) declines(a *association) bool {
	if c.Habits.Decline == 0 || a.typ != lease.IANA || c.calm || !c.chance(declineShare) {
		return false
	}
	c.line(c.now, c.who, "finds %s in use", show(a.held[0].prefix))
	m := &message{kind: decline, server: c.server, ias: inMessage([]*association{a})}
	for _, h := range a.held {
		c.truth.gaveUp(c, h.prefix)
	}
	a.held, a.former = nil, nil
	c.begin(m, 0)
	return true
}

const declineShare = 0.1

// afterFarewell is what follows a Release or Decline.
func (c *client) afterFarewell() {
	if c.holdsAny() {
		c.arm()
		return
	}
	c.askAgain()
}
