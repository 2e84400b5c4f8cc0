// Package replay runs detectors over a recording of heartbeats, without clocks or
// sockets: what would each have suspected, how soon, and how often wrongly? The method is
// that of Chen, Toueg and Aguilera and of those after them: every detector sees the
// same heartbeats, so whole curves can be compared.
//
//	rec, err := replay.Read(file)
//	for _, life := range rec.Lives {
//		result, err := replay.Run(life.Trace, &detect.Margin{}, replay.Options{})
//	}
//
// A [Judge] does the same for heartbeats that come one by one.
package replay

import (
	"slices"
	"time"
)

// Beat is one heartbeat that arrived. Send is on the sender's clock, the arrivals are on
// the receiver's, which need not agree with it.
type Beat struct {
	Sequence uint64
	Send     int64 // ns
	NIC      int64 // stamped by the kernel or the card, ns
	App      int64 // read by the program, ns
	Late     int64 // how late after its schedule it was sent, ns
	Period   int64 // that the sender announced, ns; 0: it is not known
}

// Trace is what arrived of one life of one peer. What was lost is absent.
type Trace []Beat

// Stamps says which of a heartbeat's two arrivals counts.
type Stamps uint8

// The stamps.
const (
	NIC Stamps = iota
	App
)

// Arrival returns the arrival of b that counts, ns.
func (s Stamps) Arrival(b *Beat) int64 {
	if s == App {
		return b.App
	}
	return b.NIC
}

// Period is the sender's: the median of what it announced or, in a recording that does not
// have it, the median over neighbours of the time per sequence between their sends. 0 if no
// two neighbours tell.
func (t Trace) Period() time.Duration {
	var each []int64
	for i := range t[:min(len(t), periodSample)] {
		if t[i].Period > 0 {
			each = append(each, t[i].Period)
		}
	}
	if len(each) > 0 {
		slices.Sort(each)
		return time.Duration(each[len(each)/2])
	}
	for i := 1; i < len(t) && len(each) < periodSample; i++ {
		if steps := int64(t[i].Sequence - t[i-1].Sequence); steps > 0 {
			if d := (t[i].Send - t[i-1].Send) / steps; d > 0 {
				each = append(each, d)
			}
		}
	}
	if len(each) == 0 {
		return 0
	}
	slices.Sort(each)
	return time.Duration(each[len(each)/2]).Round(time.Microsecond)
}

// periodSample is how many heartbeats tell the period.
const periodSample = 10_001

// sorted returns the trace in the order of arrival.
func (t Trace) sorted(s Stamps) Trace {
	byArrival := func(a, b Beat) int {
		switch x, y := s.Arrival(&a), s.Arrival(&b); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	}
	if slices.IsSortedFunc(t, byArrival) {
		return t
	}
	t = slices.Clone(t)
	slices.SortStableFunc(t, byArrival)
	return t
}
