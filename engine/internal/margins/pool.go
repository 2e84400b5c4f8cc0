// Package margins has the arithmetic of margins: by how much heartbeats came after their expected
// arrival. It packs them for a peer's state, pools those of a class of peers, and reads quantiles
// and tails off their histograms. Only package detect and the engine use it.
package margins

import (
	"time"

	"systole/engine/clock"
)

// Pool has the samples of all peers of a class, whatever detector judges them. New peers begin with
// them, and promises are compared with them. Only one goroutine at a time uses a Pool. A Pool may
// be copied.
type Pool struct {
	late tally         // lateness: interval - η, losses included; bounded by witnesses
	net  tally         // lateness minus η for each lost heartbeat
	time time.Duration // sum of the intervals
	runs [Runs]uint64  // index k: heartbeats before which at least k were lost

	witnesses witnesses
	periods   time.Duration // sum of the periods, each at most its interval
}

// Gap is the gap between two successive arrivals from a peer.
type Gap struct {
	Peer     uint32        // differs from those of all other peers of the pool
	Arrival  clock.Instant // of the later heartbeat
	Interval time.Duration // between the arrivals
	Period   time.Duration // the sender's η
	Lost     uint64        // heartbeats lost in between
	// Failed means that the peer was failed during the gap. Such an outage does not change the
	// margins of other peers.
	Failed bool
}

// Runs is 1 more than the longest run of losses with a count of its own.
const Runs = 17

// MaxPeriod is the longest period for which margins are planned.
const MaxPeriod = time.Minute

// MinFloor is how late threads of an idle machine occasionally are.
const MinFloor = 10 * time.Millisecond

// poolMemory is the number of heartbeats at which all counts are halved.
const poolMemory = 1 << 26

// tally is a histogram of margins.
type tally struct {
	n      uint64
	most   time.Duration
	counts [Buckets]uint64
}

// add adds a margin.
func (t *tally) add(m time.Duration) {
	t.n++
	t.most = max(t.most, m)
	t.counts[Bucket(m)]++
}

// halve ages t.
func (t *tally) halve() {
	t.n, t.most = t.n/2, t.most/2
	for i := range t.counts {
		t.counts[i] /= 2
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

// curve returns t unpacked.
func (t *tally) curve() (c Curve) {
	c.N, c.Most = float64(t.n), float64(t.most)
	for i, n := range t.counts {
		c.Counts[i] = float64(n)
	}
	return c
}

// Note adds a gap. Lateness that only this peer has shown does not change the margins of others,
// but counts for promises.
func (p *Pool) Note(g *Gap) {
	late := g.Interval - g.Period
	net := late
	if g.Lost < Runs {
		net -= time.Duration(g.Lost) * g.Period
	}
	p.periods += min(g.Period, max(g.Interval, 0), MaxPeriod)
	if late > MinFloor {
		late = p.witnesses.counted(g, late, p.free(g.Period))
	}
	p.late.add(late)
	p.net.add(net)
	p.time += max(g.Interval, 0)
	for k := range min(g.Lost+1, Runs) {
		p.runs[k]++
	}
	if p.late.n >= poolMemory {
		p.halve()
	}
}

// free returns the margin that counts without witnesses: the usual lateness of threads, or one lost
// heartbeat. The period of a slow sender counts up to the mean of all.
func (p *Pool) free(period time.Duration) time.Duration {
	return max(min(period, p.periods/time.Duration(p.late.n+1)), MinFloor)
}

// halve ages p.
func (p *Pool) halve() {
	p.late.halve()
	p.net.halve()
	p.witnesses.halve()
	p.time /= 2
	p.periods /= 2
	for i := range p.runs {
		p.runs[i] /= 2
	}
}

// Heartbeats returns the number of gaps in p.
func (p *Pool) Heartbeats() uint64 { return p.late.n }

// Time returns the sum of the intervals.
func (p *Pool) Time() time.Duration { return p.time }

// Late returns the lateness of heartbeats, losses included, as far as it counts for other peers.
func (p *Pool) Late() Curve { return p.late.curve() }

// Net returns the lateness of heartbeats without the periods of lost ones.
func (p *Pool) Net() Curve { return p.net.curve() }

// Lost returns at index k the number of heartbeats before which at least k were lost.
func (p *Pool) Lost() [Runs]uint64 { return p.runs }

// Add adds the samples of other.
func (p *Pool) Add(other *Pool) {
	p.late.join(&other.late)
	p.net.join(&other.net)
	for i := range other.witnesses {
		p.witnesses.take(&other.witnesses[i])
	}
	p.time += other.time
	p.periods += other.periods
	for i, n := range other.runs {
		p.runs[i] += n
	}
}
