// Package replay runs failure detectors over recorded heartbeats, and measures how soon each would
// have suspected a crash and how often it was wrong. All detectors get the same heartbeats, so
// whole curves can be compared; the method and the measures are those of Chen, Toueg and Aguilera.
//
//	rec, err := replay.Read(file)
//	for _, stream := range rec.Streams {
//		result, err := replay.Run(stream.Trace, detect.Margin(detect.MarginOptions{}), replay.Options{})
//	}
//
// A detect.Judge does the same with heartbeats that arrive one by one.
package replay

import (
	"slices"
	"time"
)

// Beat is a received heartbeat. The clocks of sender and receiver need not agree.
type Beat struct {
	Sequence uint64
	Send     int64 // ns, on the sender's clock
	NIC      int64 // stamp of the kernel or of the network card, ns, on the receiver's clock
	App      int64 // when the program read it, ns, on the receiver's clock
	Late     int64 // from its due time to Send, ns
	Period   int64 // as announced by the sender, ns; 0: not known
}

// Trace is the received heartbeats of one incarnation of one peer, in any order.
type Trace []Beat

// Stamps chooses one of the two arrivals of a heartbeat.
type Stamps uint8

const (
	// NIC chooses Beat.NIC.
	NIC Stamps = iota
	// App chooses Beat.App.
	App
)

// Arrival returns the chosen arrival of b in ns.
func (s Stamps) Arrival(b *Beat) int64 {
	if s == App {
		return b.App
	}
	return b.NIC
}

// Period returns the median of the periods that the sender announced. A recording without announced
// periods gives the median, over neighbouring heartbeats, of the time between their sends per
// sequence; 0 if there is none above 0.
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

// periodSample bounds the number of heartbeats that Period examines.
const periodSample = 10_001

// sorted returns the heartbeats in the order of arrival.
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
