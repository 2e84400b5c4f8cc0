package split

import (
	"fmt"
	"time"

	"systole/engine"
	"systole/engine/clock"
)

// part is a part of the way of a heartbeat; see engine.Delays.
type part uint8

// The parts, in the order of the way.
const (
	none     part = iota // no part: there is no delay
	late                 // the sender, before it sends
	sendWait             // the sender's network stack and queue
	network              // between the hosts
	host                 // the receiver's network stack
	read                 // the receiver's socket queue, until the receiver reads it

	numParts // how many there are
)

// words are the names of the parts, as Cause has them.
var words = [numParts]string{"", "late", "send-wait", "network", "host", "read"}

// of returns the part of d that is p.
func (p part) of(d *engine.Delays) time.Duration {
	return [...]time.Duration{0, d.Late, d.SendWait, d.Network, d.Host, d.Read}[p]
}

// measured reports whether p was measured in d. What Network includes besides is not its concern.
func (p part) measured(d *engine.Delays) bool { return p == late || p == network || p.of(d) > 0 }

// Cause is the part in which most of a delay arose.
type Cause struct {
	// Part is where the delay arose:
	//
	//	late       the sender, before it sent
	//	send-wait  the sender's network stack and queue
	//	network    between the hosts
	//	host       the receiver's network stack
	//	read       the receiver's socket queue, until the receiver read it
	//
	// It is empty if there is no delay.
	Part  string
	Share float64 // of the delay, up to 1; 0 if there is none
	// OrSender and OrReceiver are set for network: the wait in the sender's host, or the receiver's own
	// delay, was not measured, and the delay may have arisen there as well.
	OrSender, OrReceiver bool
}

// String returns a sentence, such as "97 % of the delay arose in the network".
func (c Cause) String() string {
	if c.Part == "" {
		return "there is no delay"
	}
	percent := int(c.Share*100 + 0.5)
	if c.Share < 1 {
		percent = min(percent, 99)
	}
	return fmt.Sprintf("%d %% of the delay arose %s", percent, c.where())
}

// where returns where the delay arose.
func (c Cause) where() string {
	switch c.Part {
	case words[late]:
		return "at the sender, before it sent"
	case words[sendWait]:
		return "in the sender's stack and queue"
	case words[host]:
		return "in the receiver's network stack"
	case words[read]:
		return "in the receiver's socket queue, which was read late"
	}
	switch {
	case c.OrSender && c.OrReceiver:
		return "in the network, the sender's host or the receiver's host"
	case c.OrSender:
		return "in the network or the sender's host"
	case c.OrReceiver:
		return "in the network or the receiver's host"
	}
	return "in the network"
}

// unstamped reports whether the arrival has no stamp.
func unstamped(d *engine.Delays) bool { return d.Source == clock.User }
