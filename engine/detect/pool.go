package detect

import (
	"time"

	"systole/engine/clock"
)

// Pool is what the peers of one class have shown together, whatever detector judges them:
// the prior of those that are new, and what a promise is weighed against. Only one
// goroutine at a time uses a Pool; it may be copied.
type Pool struct {
	late tally            // arrival - (the arrival before + η), with the losses between: as far as it counts, see attest
	net  tally            // the same less η for each heartbeat lost between
	time time.Duration    // between those heartbeats, added up
	runs [poolRuns]uint64 // heartbeats before which at least so many were lost

	attest  attest
	periods time.Duration // of the senders of those heartbeats, as far as they kept to them, added up
}

// Gap is what a pool is told of a heartbeat and the one before it that came.
type Gap struct {
	Peer     uint32        // whose: a number that no other peer of the pool has at the time
	Arrival  clock.Instant // of the later
	Interval time.Duration // between the two arrivals
	Period   time.Duration // the sender's η
	Lost     uint64        // heartbeats between, which never came
	// Failed is whether the silence was taken for a failure: then it was an outage, and
	// no other peer's margin follows from it.
	Failed bool
}

// poolRuns is one more than the longest run of losses told apart.
const poolRuns = 17

// poolMemory is how many heartbeats are remembered at most: then all counts are halved.
const poolMemory = 1 << 26

// tally is a histogram of margins.
type tally struct {
	n      uint64
	most   time.Duration
	counts [marginBuckets]uint64
}

// add counts one.
func (t *tally) add(m time.Duration) {
	t.n++
	t.most = max(t.most, m)
	t.counts[marginBucket(m)]++
}

// halve ages t.
func (t *tally) halve() {
	t.n, t.most = t.n/2, t.most/2
	for i := range t.counts {
		t.counts[i] /= 2
	}
}

// curve unpacks t.
func (t *tally) curve(c *curve) {
	c.n, c.most = float64(t.n), float64(t.most)
	for i, n := range t.counts {
		c.counts[i] = float64(n)
	}
}

// Note takes a heartbeat. What its peer alone has shown sets no other's margin, and is
// weighed all the same where a promise is.
func (p *Pool) Note(g *Gap) {
	late := g.Interval - g.Period
	net := late
	if g.Lost < poolRuns {
		net -= time.Duration(g.Lost) * g.Period
	}
	p.periods += min(g.Period, max(g.Interval, 0), maxEta)
	if late > minMarginFloor {
		late = p.attest.counted(g, late, p.free(g.Period))
	}
	p.late.add(late)
	p.net.add(net)
	p.time += max(g.Interval, 0)
	for k := range min(g.Lost+1, poolRuns) {
		p.runs[k]++
	}
	if p.late.n >= poolMemory {
		p.halve()
	}
}

// free is the margin that any one peer's word is good for: an idle machine's thread, or a
// lost heartbeat, that of a slow sender no more than of the others.
func (p *Pool) free(period time.Duration) time.Duration {
	return max(min(period, p.periods/time.Duration(p.late.n+1)), minMarginFloor)
}

// halve ages p.
func (p *Pool) halve() {
	p.late.halve()
	p.net.halve()
	p.attest.halve()
	p.time /= 2
	p.periods /= 2
	for i := range p.runs {
		p.runs[i] /= 2
	}
}

// Heartbeats returns how many p remembers.
func (p *Pool) Heartbeats() uint64 { return p.late.n }

// Add adds what other remembers.
func (p *Pool) Add(other *Pool) {
	p.late.join(&other.late)
	p.net.join(&other.net)
	for i := range other.attest {
		p.attest.take(&other.attest[i])
	}
	p.time += other.time
	p.periods += other.periods
	for i, n := range other.runs {
		p.runs[i] += n
	}
}

// join adds the counts of other.
func (t *tally) join(other *tally) {
	t.n += other.n
	t.most = max(t.most, other.most)
	for i, n := range other.counts {
		t.counts[i] += n
	}
}
