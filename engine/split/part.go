package split

import (
	"fmt"
	"time"

	"systole/engine"
	"systole/engine/clock"
)

// Part is a part of the way of a heartbeat; see engine.Delays.
type Part uint8

// The parts, in the order of the way.
const (
	None     Part = iota // no part: there is no delay
	Late                 // the sender, before it sends
	SendWait             // the sender's network stack and queue
	Network              // between the hosts
	Host                 // the receiver's network stack
	Read                 // the receiver's socket queue, until the receiver reads it

	Parts // how many there are
)

// String returns the name of p, such as "send-wait".
func (p Part) String() string {
	return [...]string{"none", "late", "send-wait", "network", "host", "read", "unknown"}[min(p, Parts)]
}

// of returns the part of d that is p.
func (p Part) of(d *engine.Delays) time.Duration {
	return [...]time.Duration{0, d.Late, d.SendWait, d.Network, d.Host, d.Read}[p]
}

// measured reports whether p was measured in d. What Network includes besides is not its concern.
func (p Part) measured(d *engine.Delays) bool { return p == Late || p == Network || p.of(d) > 0 }

// Cause is the part in which most of a delay arose.
type Cause struct {
	Part  Part
	Share float64 // of the delay, up to 1; 0 for None
	// OrSender and OrReceiver are set for Network: the wait in the sender's host, or the receiver's own
	// delay, was not measured, and the delay may have arisen there as well.
	OrSender, OrReceiver bool
}

// String returns a sentence, such as "97 % of the delay arose in the network".
func (c Cause) String() string {
	if c.Part == None {
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
	case Late:
		return "at the sender, before it sent"
	case SendWait:
		return "in the sender's stack and queue"
	case Host:
		return "in the receiver's network stack"
	case Read:
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

// CauseOf returns the cause of the delay of one heartbeat. step is engine.Engine.Grid.
func CauseOf(d engine.Delays, step time.Duration) Cause {
	s := Sum{Step: step}
	s.Add(d)
	return s.Cause()
}

// unstamped reports whether the arrival has no stamp.
func unstamped(d *engine.Delays) bool { return d.Source == clock.User }
