package detect

import "time"

// Pool is what the peers of one class have shown together, whatever detector judges them:
// the prior of those that are new, and what a promise is weighed against. Only one
// goroutine at a time uses a Pool; it may be copied.
type Pool struct {
	late tally            // arrival - (the arrival before + η): with the losses between
	net  tally            // the same less η for each heartbeat lost between
	time time.Duration    // between those heartbeats, added up
	runs [poolRuns]uint64 // heartbeats before which at least so many were lost
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

// Note takes a heartbeat that arrived this much after the one before, when the sender
// has the period η, and lost heartbeats before it never came.
func (p *Pool) Note(interval, period time.Duration, lost uint64) {
	p.late.add(interval - period)
	net := interval - period
	if lost < poolRuns {
		net -= time.Duration(lost) * period
	}
	p.net.add(net)
	p.time += max(interval, 0)
	for k := range min(lost+1, poolRuns) {
		p.runs[k]++
	}
	if p.late.n >= poolMemory {
		p.halve()
	}
}

// halve ages p.
func (p *Pool) halve() {
	p.late.halve()
	p.net.halve()
	p.time /= 2
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
	p.time += other.time
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
