package netmodel

import (
	"math/rand/v2"
	"time"
)

// Link is one direction of the network between two hosts. The zero value has no delay and no loss.
// Datagrams keep their order, except those that Reorder picks.
type Link struct {
	Delay Distribution
	// Loss is the probability that a datagram is lost, independent of others. Burst loses runs of
	// datagrams besides.
	Loss  float64
	Burst Burst
	// Duplicate is the probability that a datagram arrives twice, each copy with a delay of its
	// own. Reorder is the probability that later datagrams overtake it, because it is held back by
	// up to ReorderBy. Truncate is the probability that its end is cut off.
	Duplicate float64
	Reorder   float64
	ReorderBy time.Duration // at most an hour
	Truncate  float64
	Queue     Queue
}

// Burst is the Gilbert-Elliott model. Before each datagram a good link turns bad with probability
// Enter, and a bad one good with probability Leave. A bad link loses a datagram with probability
// Loss; 0 means 1. Hasslinger and Hohlfeld (MMB 2008) found the model to fit backbone traces.
type Burst struct {
	Enter, Leave, Loss float64
}

// Queue is a router's buffer (bufferbloat) in front of a line of Rate bytes per second. It holds Depth
// of traffic. Other traffic offers Load times the line's rate: above 1 the queue fills, and a full
// queue drops the excess. A Rate of 0 means no queue.
type Queue struct {
	Rate  float64       // 0, or 1 to 1e12
	Depth time.Duration // at most an hour
	Load  float64       // at most 1000
}

// Losses draws which datagrams of a Link are lost, one after another, by Loss and Burst. The zero
// value begins with a good link.
type Losses struct{ bad bool }

// Next reports whether l loses the next datagram.
func (s *Losses) Next(l *Link, r *rand.Rand) bool {
	if b := &l.Burst; b.Enter > 0 {
		turn := b.Enter
		if s.bad {
			turn = b.Leave
		}
		if r.Float64() < turn {
			s.bad = !s.bad
		}
		if s.bad && r.Float64() < orDefault(b.Loss, 1) {
			return true
		}
	}
	return l.Loss > 0 && r.Float64() < l.Loss
}
