package detect

import (
	"math/rand/v2"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/margins"
)

// class is a pool of peers that send every period. Peer numbers are the indices of last.
type class struct {
	pool   margins.Pool
	period time.Duration
	r      *rand.Rand
	now    clock.Instant
	last   []clock.Instant // arrivals
}

// newClass returns a class with an empty pool.
func newClass(peers int, period time.Duration) *class {
	return &class{period: period, r: rand.New(rand.NewPCG(1, 1)), now: clock.Instant(time.Hour), last: make([]clock.Instant, peers)}
}

// run lets each peer send n heartbeats, with a jitter of half a millisecond. pause returns how long
// a peer stalls before heartbeat i of this run.
func (c *class) run(n int, pause func(i, peer int) (silence time.Duration, failed bool)) {
	for i := range n {
		c.now = c.now.Add(c.period)
		for peer := range c.last {
			silence, failed := pause(i, peer)
			at := c.now.Add(silence + time.Duration(c.r.ExpFloat64()*float64(500*time.Microsecond)))
			if last := c.last[peer]; last > at {
				continue // the peer is still stalled
			} else if last != 0 {
				c.pool.Note(&margins.Gap{Peer: uint32(peer), Arrival: at, Interval: at.Sub(last), Period: c.period, Failed: failed})
			}
			c.last[peer] = at
		}
	}
}

// calm is a pause of 0.
func calm(int, int) (time.Duration, bool) { return 0, false }

// newcomer returns how long after its last heartbeat a new peer is suspect that has sent n of them.
func (c *class) newcomer(n uint64) time.Duration {
	d := newMargin(MarginOptions{Period: c.period})
	state := make([]uint64, d.Words())
	h := beats(d, state, 1, n, c.period, ms)
	d.Learn(state, &c.pool)
	suspect, _ := d.Levels()
	return d.Deadline(state, suspect).Sub(h.Arrival)
}

// A peer that stalls, once or repeatedly, does not much delay the detection of new peers: neither
// at their first heartbeat nor after 15 s.
func TestPoolOneOutage(t *testing.T) {
	for _, period := range []time.Duration{20 * ms, 100 * ms} {
		for _, peers := range []int{1, 3, 10} {
			for _, silence := range []time.Duration{1900 * ms, 4 * time.Second} {
				for name, pause := range map[string]func(i, peer int) (time.Duration, bool){
					"once": func(i, peer int) (time.Duration, bool) { return is(peer == 0 && i == 50, silence), false },
					"failed": func(i, peer int) (time.Duration, bool) {
						return is(peer == 0 && i == 50, silence), peer == 0 && i == 50
					},
					"for ever": func(i, peer int) (time.Duration, bool) { return is(peer == 0 && i%300 == 50, silence), false },
				} {
					disturbed, calmly := newClass(peers, period), newClass(peers, period)
					disturbed.run(3000, pause)
					calmly.run(3000, calm)
					for _, own := range []uint64{1, uint64(15 * time.Second / period)} {
						if got, want := disturbed.newcomer(own), calmly.newcomer(own); got > 2*want {
							t.Errorf("%v, %d peers, %v %s: a newcomer with %d heartbeats is suspected after %v, without it %v",
								period, peers, silence, name, own, got, want)
						}
					}
				}
			}
		}
	}
}

// is returns d if the condition holds, else 0.
func is(condition bool, d time.Duration) time.Duration {
	if condition {
		return d
	}
	return 0
}

// Neither does a stall in a pool with three seconds of one peer.
func TestPoolFirstOutage(t *testing.T) {
	disturbed, calmly := newClass(1, 100*ms), newClass(1, 100*ms)
	for _, c := range []*class{disturbed, calmly} {
		c.run(30, calm)
		c.run(1, func(int, int) (time.Duration, bool) { return is(c == disturbed, 4*time.Second), false })
		c.now = c.last[0]
		c.run(10, calm)
	}
	for _, own := range []uint64{1, 20, 150} {
		if got, want := disturbed.newcomer(own), calmly.newcomer(own); got > 2*want {
			t.Errorf("a newcomer with %d heartbeats is suspected after %v, without the outage %v", own, got, want)
		}
	}
}

// A stall of the network that affects all peers is one incident.
func TestPoolPartition(t *testing.T) {
	disturbed, calmly := newClass(10, 100*ms), newClass(10, 100*ms)
	disturbed.run(3000, func(i, _ int) (time.Duration, bool) { return is(i == 500 || i == 1500, 4*time.Second), false })
	calmly.run(3000, calm)
	if got, want := disturbed.newcomer(1), calmly.newcomer(1); got > 2*want {
		t.Errorf("a newcomer is suspected after %v, without the partition %v", got, want)
	}
}

// Stalls that three peers show once in a thousand heartbeats raise the margin of new peers; stalls
// of two peers do not.
func TestPoolLearns(t *testing.T) {
	const silence = 400 * ms
	for _, peers := range []int{3, 10} {
		c := newClass(peers, 100*ms)
		c.run(2000, func(i, peer int) (time.Duration, bool) { return is(peer < 3 && i%1000 == 100+200*peer, silence), false })
		if got := c.newcomer(1); got < silence {
			t.Errorf("%d peers: a newcomer is suspected after %v", peers, got)
		}
		two := newClass(peers, 100*ms)
		two.run(2000, func(i, peer int) (time.Duration, bool) { return is(peer < 2 && i%1000 == 100+200*peer, silence), false })
		calmly := newClass(peers, 100*ms)
		calmly.run(2000, calm)
		if got, want := two.newcomer(1), calmly.newcomer(1); got > 2*want {
			t.Errorf("%d peers: after two peers' outages a newcomer is suspected after %v, without them %v", peers, got, want)
		}
	}
}

// The period of a slow sender does not raise the margins of the others.
func TestPoolSlowSender(t *testing.T) {
	calmly, c := newClass(5, 20*ms), newClass(5, 20*ms)
	calmly.run(30_000, calm)
	c.run(10, calm)
	for i := range 3 {
		c.run(10_000, calm)
		c.pool.Note(&margins.Gap{Peer: 99, Arrival: c.now, Interval: time.Duration(60+50*(i%2)) * time.Second, Period: time.Minute})
	}
	if got, want := c.newcomer(1), calmly.newcomer(1); got > 2*want {
		t.Errorf("a newcomer is suspected after %v, without the slow one %v", got, want)
	}
}
