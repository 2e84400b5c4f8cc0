package split

import (
	"time"

	"systole/engine"
	"systole/engine/histogram"
)

// Collector collects the delays of one peer's heartbeats. It takes 6 KiB. One goroutine at a time may use it.
type Collector struct {
	sum        Sum
	histograms [numParts]histogram.Histogram
	total      uint64          // heartbeats of the peer that were taken or missed
	waiting    []engine.Sample // a later heartbeat may yet tell their SendWait; oldest first
}

// reach is how many heartbeats later a heartbeat's SendWait may be told.
const reach = 8

// New returns an empty Collector. step is engine.Engine.Grid.
func New(step time.Duration) *Collector {
	return &Collector{sum: Sum{Step: step}, waiting: make([]engine.Sample, 0, reach)}
}

// Take takes what engine.Peer.Samples returned: samples and their total. It adds those that are new, once
// their SendWait is known or comes no more, which is eight heartbeats later. So samples should include the last
// heartbeats of the previous call. Take allocates nothing.
func (c *Collector) Take(samples []engine.Sample, total uint64) {
	if total < c.total {
		c.Flush()
		c.total = 0
	}
	fresh := int(min(total-c.total, uint64(len(samples))))
	c.total = total
	known := samples[:len(samples)-fresh]
	for i := range c.waiting {
		c.learn(&c.waiting[i], known[max(len(known)-reach, 0):])
	}
	for i := range samples[len(known):] {
		c.add(&samples[len(known)+i])
	}
}

// learn sets the delays of a waiting heartbeat to what is known of them by now.
func (c *Collector) learn(waiting *engine.Sample, known []engine.Sample) {
	for i := range known {
		if s := &known[i]; s.Sequence == waiting.Sequence && s.Arrival == waiting.Arrival {
			*waiting = *s
		}
	}
}

// add makes a new heartbeat wait. It counts the one that has waited longest, if that is long enough.
func (c *Collector) add(s *engine.Sample) {
	if len(c.waiting) == reach {
		c.count(&c.waiting[0])
		c.waiting = c.waiting[:copy(c.waiting, c.waiting[1:])]
	}
	c.waiting = append(c.waiting, *s)
}

// count adds the delays of a heartbeat.
func (c *Collector) count(s *engine.Sample) {
	c.sum.Add(s.Delays)
	for p := late; p < numParts; p++ {
		if p.measured(&s.Delays) {
			c.histograms[p].Record(p.of(&s.Delays))
		}
	}
}

// Flush adds the heartbeats that still wait for their SendWait: at the end, or before a verdict is explained.
func (c *Collector) Flush() {
	for i := range c.waiting {
		c.count(&c.waiting[i])
	}
	c.waiting = c.waiting[:0]
}

// Sum returns the sum of all heartbeats that were added.
func (c *Collector) Sum() Sum { return c.sum }

// Histograms returns the distribution of each part, of the heartbeats in which it was measured; round trips and
// losses are not in it. Unlike that of engine.Peer.Histograms, Network is without the wait in the sender's host
// where that was measured.
func (c *Collector) Histograms() engine.Histograms {
	h := &c.histograms
	return engine.Histograms{Late: h[late], SendWait: h[sendWait], Network: h[network], Host: h[host], Read: h[read]}
}
