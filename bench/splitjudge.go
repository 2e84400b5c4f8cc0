package main

import (
	"slices"
	"time"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/split"
)

// way is what is known of one heartbeat: when it passed the devices, and what its receiver tells.
type way struct {
	send    clock.Instant // as the heartbeat says
	left    clock.Instant // the sender's device
	entered clock.Instant // the router
	went    clock.Instant // from the router's other device
	arrived clock.Instant // at the receiver's device
	read    clock.Instant // by the receiver; 0: not known
	told    engine.Sample
}

// splitIdle is what the heartbeats show that no injection delayed.
type splitIdle struct {
	phase  time.Duration // of the sends in their period
	router time.Duration // least time in the router
	parts  splitDelays   // median of each part
}

// The truths of the causes. Each returns by how much an injection in the span s delayed a heartbeat.

// routed is the truth of a delay in the router.
func (w *way) routed(idle *splitIdle, _ span) time.Duration {
	return w.went.Sub(w.entered) - idle.router
}

// unread is the truth of a receiver that could not read in the span. It reads up to a step of its grid later.
func (w *way) unread(_ *splitIdle, s span) time.Duration {
	if !s.holds(w.arrived) || w.read == 0 {
		return 0
	}
	return w.read.Sub(w.arrived)
}

// late is the truth of a sender that is late by less than a period.
func (w *way) late(idle *splitIdle, _ span) time.Duration {
	late := wrapped(phaseOf(w.left) - idle.phase)
	if late < -splitLeast/4 {
		late += splitPeriod
	}
	return late
}

// queued is the truth of a delay in the sender's queue.
func (w *way) queued(_ *splitIdle, _ span) time.Duration { return w.left.Sub(w.send) }

// phaseOf returns the place of an instant in its period.
func phaseOf(at clock.Instant) time.Duration { return time.Duration(at) % splitPeriod }

// wrapped returns a difference of two places in a period, within half a period of 0.
func wrapped(d time.Duration) time.Duration {
	return (d%splitPeriod+splitPeriod*3/2)%splitPeriod - splitPeriod/2
}

// phaseOfAll returns the median place of instants in their period.
func phaseOfAll(at []clock.Instant) time.Duration {
	if len(at) == 0 {
		return 0
	}
	var off []time.Duration
	for _, x := range at {
		off = append(off, wrapped(phaseOf(x)-phaseOf(at[0])))
	}
	middle, _ := quantile(off, 0.5)
	return phaseOf(at[0]) + middle
}

// idleOf returns the figures of heartbeats that no injection delayed.
func idleOf(quiet []way) (idle splitIdle) {
	var left []clock.Instant
	var parts [delayParts][]time.Duration
	for i := range quiet {
		w := &quiet[i]
		left = append(left, w.left)
		if in := w.went.Sub(w.entered); i == 0 || in < idle.router {
			idle.router = in
		}
		for k, part := range partsOf(&w.told) {
			parts[k] = append(parts[k], part)
		}
	}
	idle.phase = phaseOfAll(left)
	for k := range parts {
		idle.parts[k], _ = quantile(parts[k], 0.5)
	}
	return idle
}

// splitResult collects the heartbeats of one case that injections delayed.
type splitResult struct {
	part       delayPart // the right one
	injections int       // that delayed a heartbeat
	named      int       // injections whose cause was named right
	delays     []splitDelay
	idle       splitIdle
	step       time.Duration // of the receiver's grid
}

// splitDelay is one delayed heartbeat: the truth, and the parts as its receiver tells them.
type splitDelay struct {
	truth time.Duration
	parts splitDelays
}

// judge compares what the receiver tells with the truth.
func (r *splitResult) judge(c *splitCase, ways []way, injected []span, step time.Duration) {
	r.part, r.step = c.part, step
	r.idle = idleOf(undisturbed(ways, injected))
	for _, s := range injected {
		var delayed []engine.Sample
		for i := range ways {
			w := &ways[i]
			if !s.around().holds(w.send) {
				continue
			}
			if truth := c.truth(w, &r.idle, s); truth >= splitLeast {
				r.delays = append(r.delays, splitDelay{truth, partsOf(&w.told)})
				delayed = append(delayed, w.told)
				if c.first {
					break
				}
			}
		}
		if len(delayed) > 0 {
			r.injections++
			if named(delayed, step) == partWords[c.part] {
				r.named++
			}
		}
	}
}

// around returns the span with a period before and after it.
func (s span) around() span { return span{s.Begin.Add(-splitPeriod), s.End.Add(splitPeriod)} }

// undisturbed returns the heartbeats that were sent around no injection.
func undisturbed(ways []way, injected []span) (quiet []way) {
	for _, w := range ways {
		if !slices.ContainsFunc(injected, func(s span) bool { return s.around().holds(w.send) }) {
			quiet = append(quiet, w)
		}
	}
	return quiet
}

// named returns the part that package split names for the delay of some heartbeats.
func named(delayed []engine.Sample, step time.Duration) string {
	sum := split.Sum{Step: step}
	for i := range delayed {
		sum.Add(delayed[i].Delays)
	}
	return sum.Cause().Part
}

// delayPart is a part of the way of a heartbeat; see engine.Delays.
type delayPart uint8

const (
	partLate delayPart = iota
	partSendWait
	partNetwork
	partHost
	partRead

	delayParts
)

// partWords are the parts as package split names them.
var partWords = [delayParts]string{"late", "send-wait", "network", "host", "read"}

// splitDelays are the parts of a delay by delayPart.
type splitDelays [delayParts]time.Duration

// partsOf returns the parts of the delay of a heartbeat.
func partsOf(s *engine.Sample) splitDelays {
	return splitDelays{partLate: s.Late, partSendWait: s.SendWait, partNetwork: s.Network, partHost: s.Host, partRead: s.Read}
}

// A heartbeat's error is small if it is below one of these.
const (
	smallError = 50 * time.Microsecond
	smallShare = 0.05
)

// figures returns a row of split.
func (r *splitResult) figures() []float64 {
	var truths, errs []time.Duration
	var shares []float64
	var truth, right, elsewhere time.Duration
	within := 0
	usual := r.idle.parts
	usual[partRead] = max(usual[partRead], r.step)
	for _, d := range r.delays {
		told := d.parts[r.part]
		off := (told - d.truth).Abs()
		share := float64(off) / float64(d.truth)
		truths, errs, shares = append(truths, d.truth), append(errs, off), append(shares, 100*share)
		if off < smallError || share < smallShare {
			within++
		}
		truth += d.truth
		right += min(told, d.truth)
		for p := partLate; p < delayParts; p++ {
			if p != r.part {
				elsewhere += max(d.parts[p]-usual[p], 0)
			}
		}
	}
	n := float64(len(r.delays))
	return []float64{
		float64(r.injections), n, quantileMicros(truths, 0.5) / 1000, float64(right) / float64(truth), float64(elsewhere) / float64(truth),
		quantileMicros(errs, 0.5), quantileMicros(errs, 0.95), quantileOf(shares, 0.5), quantileOf(shares, 0.95), float64(within) / n, float64(r.named) / float64(r.injections),
	}
}

// quantileOf returns the q-quantile of x, or none if x is empty.
func quantileOf(x []float64, q float64) float64 {
	if len(x) == 0 {
		return none
	}
	x = slices.Sorted(slices.Values(x))
	return x[min(int(q*float64(len(x))), len(x)-1)]
}
