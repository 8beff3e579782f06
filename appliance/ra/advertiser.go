package ra

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/ndp"
)

// Limits of unicast answers: see the package comment.
const (
	AnswersMax   = 16 // a room full of hosts after a power cut; an attacker gains nothing worth having
	AnswerWindow = time.Second
)

// Never is the time of what is not going to happen.
const Never = time.Duration(math.MaxInt64)

// minGap is MIN_DELAY_BETWEEN_RAS with a margin for the time from a decision to
// the wire, so that no capture shows less than three seconds (D-333).
const minGap = MinDelayBetweenRAs + 20*time.Millisecond

// allNodes is where advertisements go that are for everybody.
var allNodes = netip.MustParseAddr("ff02::1")

// Advertisement is one message to be sent.
type Advertisement struct {
	To      netip.Addr // ff02::1, or the link-local address of the host that asked
	Final   bool       // says goodbye (D-335)
	Message *ndp.RouterAdvertisement
}

// An Advertiser decides what one interface sends and when. It is not safe for
// concurrent use. Times given to it must not decrease.
type Advertiser struct {
	config     Config
	rnd        *rand.Rand
	forwarding bool

	sent   bool          // something was ever sent to all nodes, at lastAt
	lastAt time.Duration // of the last multicast advertisement
	next   time.Duration // when the next one is due

	initial   int  // multicast advertisements left of the initial phase
	solicited bool // next is that soon because of a solicitation
	stopping  bool // only final advertisements are left
	finals    int  // how many
	answers   []answer

	known      memory
	advertised bool // config was sent at least once
	neighbours []neighbour
}

// answer is a unicast advertisement. It keeps its place for AnswerWindow after it
// was sent, so that no more than AnswersMax are sent in any such time.
type answer struct {
	to     netip.Addr
	at     time.Duration // when it is due
	isSent bool
	until  time.Duration // when its place is free, once it is sent
}

// New returns an Advertiser that begins to advertise c at the time now. What was
// remembered from before a reboot and is not in c is withdrawn (D-331). The
// generator is used by this Advertiser in every later call. The error says what
// is wrong with c or with remembered.
func New(c Config, remembered []AdvertisedPrefix, rnd *rand.Rand, now time.Duration) (*Advertiser, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("router advertisements: %w", err)
	}
	a := &Advertiser{config: c.clone(), rnd: rnd, forwarding: true}
	for _, p := range remembered {
		if err := p.Validate(); err != nil {
			return nil, fmt.Errorf("router advertisements: %w", err)
		}
		a.known.prefixes.note(p.Prefix, flags{p.OnLink, p.Autonomous}, now+p.Remaining)
	}
	a.Start(now)
	return a, nil
}

// Start begins the initial phase, in which hosts get to know this router quickly
// (RFC 4861 section 6.2.4): the interface begins to advertise, or begins again
// after Stop or after its link was down.
func (a *Advertiser) Start(now time.Duration) {
	a.stopping, a.finals, a.solicited = false, 0, false
	a.dropUnsent()
	a.next = Never
	a.announce(now)
}

// Reconfigure replaces the configuration. What the old one advertised and c does
// not is withdrawn from now on (D-330). An error leaves everything as it was.
func (a *Advertiser) Reconfigure(now time.Duration, c Config) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("router advertisements: %w", err)
	}
	if a.config.equal(c) {
		return nil
	}
	if a.advertised { // withdrawn for the lifetime last advertised, counted from now
		a.known.sent(now, a.config)
	}
	a.config, a.advertised = c.clone(), false
	a.announce(now)
	return nil
}

// SetForwarding says whether the interface forwards packets. While it does not,
// this box is no router and advertises itself as none (RFC 4861 section 6.2.5).
func (a *Advertiser) SetForwarding(now time.Duration, on bool) {
	if a.forwarding != on {
		a.forwarding = on
		a.announce(now)
	}
}

// announce makes something new known quickly (RFC 4861 section 6.2.4). The delay
// keeps routers that saw the same event from all sending at once.
func (a *Advertiser) announce(now time.Duration) {
	if !a.stopping {
		a.initial = InitialMax
		a.next = min(a.next, a.free(now)+a.delay())
	}
}

// Stop leaves FinalMax advertisements to be sent that tell hosts not to use this
// box as a router any more (RFC 4861 section 6.2.5).
func (a *Advertiser) Stop(now time.Duration) {
	if a.stopping {
		return
	}
	a.stopping, a.finals, a.solicited = true, FinalMax, false
	a.dropUnsent()
	a.next = a.free(now)
}

// Stopped reports whether Stop was called and nothing is left to be sent.
func (a *Advertiser) Stopped() bool { return a.stopping && a.finals == 0 }

// Solicited says that a valid Router Solicitation came in. The answer follows
// within MaxRADelay (D-332), or, when it has to be a multicast one, within that
// after the end of MinDelayBetweenRAs (D-333).
func (a *Advertiser) Solicited(now time.Duration, s Solicitation) {
	delay := a.delay()
	if a.stopping || a.next <= now+delay {
		return // what is sent next is the answer, if we give one at all
	}
	if s.LinkLayer && s.Source.IsLinkLocalUnicast() && a.answer(now, s.Source.WithZone(""), delay) {
		return
	}
	if !a.solicited { // otherwise many solicitations would get rid of the delay
		a.solicited = true
		a.next = min(a.next, a.free(now)+delay)
	}
}

// answer reports whether the host gets a unicast advertisement.
func (a *Advertiser) answer(now time.Duration, to netip.Addr, delay time.Duration) bool {
	a.answers = slices.DeleteFunc(a.answers, func(x answer) bool { return x.isSent && x.until <= now })
	for _, x := range a.answers {
		if x.to == to {
			return !x.isSent // asked twice: answered once
		}
	}
	if len(a.answers) == AnswersMax {
		return false
	}
	a.answers = append(a.answers, answer{to: to, at: now + delay})
	return true
}

// dropUnsent leaves the places of what was sent, because they limit the rate.
func (a *Advertiser) dropUnsent() {
	a.answers = slices.DeleteFunc(a.answers, func(x answer) bool { return !x.isSent })
}

// Due returns the advertisement to be sent at the time now, if there is one.
// Call it until there is none, then again at the time Next. Source is the
// interface's link-layer address: see Build.
func (a *Advertiser) Due(now time.Duration, source []byte) (Advertisement, bool) {
	if now >= a.next {
		return a.multicast(now, source), true
	}
	for i := range a.answers {
		if x := &a.answers[i]; !x.isSent && x.at <= now {
			x.isSent, x.until = true, now+AnswerWindow
			return Advertisement{To: x.to, Message: a.build(now, source)}, true
		}
	}
	return Advertisement{}, false
}

// Next is when Due has something to send, or Never.
func (a *Advertiser) Next() time.Duration {
	next := a.next
	for _, x := range a.answers {
		if !x.isSent {
			next = min(next, x.at)
		}
	}
	return next
}

func (a *Advertiser) multicast(now time.Duration, source []byte) Advertisement {
	ad := Advertisement{To: allNodes, Final: a.stopping, Message: a.build(now, source)}
	a.sent, a.lastAt = true, now
	a.solicited = false
	a.dropUnsent() // this one answers them all
	a.next = now + max(a.interval(), minGap)
	if a.stopping {
		a.finals--
		a.next = now + minGap
		if a.finals == 0 {
			a.next = Never
		}
	}
	return ad
}

// interval to the next unsolicited advertisement (RFC 4861 section 6.2.4, D-334).
func (a *Advertiser) interval() time.Duration {
	d := a.config.MinInterval + time.Duration(a.rnd.Int64N(int64(a.config.MaxInterval-a.config.MinInterval)+1))
	a.initial = max(0, a.initial-1)
	if a.initial > 0 {
		d = min(d, InitialIntervalMax)
	}
	return d
}

func (a *Advertiser) build(now time.Duration, source []byte) *ndp.RouterAdvertisement {
	a.known.sent(now, a.config)
	a.advertised = true
	a.known.rotate()
	return Build(now, a.effective(), a.known.withdrawn(a.config), source)
}

// effective is the configuration as far as it holds now: who does not forward,
// or is about to stop, is no router.
func (a *Advertiser) effective() Config {
	c := a.config
	if a.forwarding && !a.stopping {
		return c
	}
	c.RouterLifetime = 0
	c.Routes = slices.Clone(c.Routes)
	for i := range c.Routes {
		c.Routes[i].Lifetime = 0
	}
	return c
}

// Remembered is what to store for New after a reboot, sorted by prefix: all that
// is configured, and what is being withdrawn.
func (a *Advertiser) Remembered(now time.Duration) []AdvertisedPrefix {
	return a.known.remembered(now, a.config)
}

// free is the earliest time at which a multicast advertisement may follow (D-333).
func (a *Advertiser) free(now time.Duration) time.Duration {
	if !a.sent {
		return now
	}
	return max(now, a.lastAt+minGap)
}

// delay spreads what several routers or hosts would do at once (D-332).
func (a *Advertiser) delay() time.Duration { return time.Duration(a.rnd.Int64N(int64(MaxRADelay) + 1)) }
