package failover

// Flaw is a known mistake that an endpoint makes on purpose. The simulator
// switches one on to show that its checkers find it; nothing else may.
type Flaw uint32

// The flaws, each a plausible bug of an implementation of RFC 8156.
const (
	FlawAckBeforeCommit       Flaw = 1 << iota // BNDREPLY leaves before the update is on disk
	FlawStateBeforeStored                      // STATE leaves before the state is on disk
	FlawNoMCLT                                 // a lease is as long as configured, whatever the partner knows
	FlawNoRecoverWait                          // RECOVER-WAIT ends at once
	FlawNoPartnerDownWait                      // PARTNER-DOWN uses the partner's leases at once
	FlawReuseWithoutAck                        // an ended lease goes to another client before the partner agrees
	FlawParityIgnored                          // PARTNER-DOWN gives out the partner's addresses
	FlawStartTimeOverwritten                   // a restart makes the state begin anew
	FlawWallClockTimer                         // waits are measured by the wall clock
	FlawAckRaised                              // an acknowledged lifetime is believed to be longer than what was sent
	FlawPrefixTwice                            // a prefix handed to the secondary is still given out
	FlawQueueLost                              // updates that were not answered are forgotten when the connection ends
	FlawStaleEpoch                             // messages of an earlier connection count
	FlawCommunicatedNotFrozen                  // COMMUNICATED is set by the connection on which it is asked for
	FlawUpdDoneEarly                           // UPDDONE does not wait for the last answers
	FlawRegrantAfterSent                       // a lease goes back to its client although the partner was told of its end
)

// Flaws lists all flaws with their names, for the simulator's table.
var Flaws = []struct {
	Flaw Flaw
	Name string
}{
	{FlawAckBeforeCommit, "acknowledge before commit"},
	{FlawStateBeforeStored, "announce a state before it is stored"},
	{FlawNoMCLT, "no MCLT bound"},
	{FlawNoRecoverWait, "no wait in RECOVER-WAIT"},
	{FlawNoPartnerDownWait, "no wait in PARTNER-DOWN"},
	{FlawReuseWithoutAck, "reuse without the partner's ack"},
	{FlawParityIgnored, "parity ignored in PARTNER-DOWN"},
	{FlawStartTimeOverwritten, "start time overwritten in STARTUP"},
	{FlawWallClockTimer, "timer on the wall clock"},
	{FlawAckRaised, "ack raised beyond what was sent"},
	{FlawPrefixTwice, "prefix given twice during rebalancing"},
	{FlawQueueLost, "unacked queue lost on reconnect"},
	// FlawStaleEpoch is not among them yet: what is wrong about an update that comes
	// late, the rules of 7.6 mend.
	{FlawCommunicatedNotFrozen, "COMMUNICATED flag not frozen"},
	{FlawUpdDoneEarly, "UPDDONE before the last answer"},
	{FlawRegrantAfterSent, "ended lease given back after the partner was told"},
}

// Break makes the endpoint err. It is for the simulator alone.
func (e *Endpoint) Break(f Flaw) { e.flaws = f }

func (e *Endpoint) flawed(f Flaw) bool { return e.flaws&f != 0 }
