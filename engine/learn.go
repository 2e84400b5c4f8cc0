package engine

import (
	"sync"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/internal/margins"
	"systole/wire"
)

// A detector that learns fits its margins at the end of a turn, so that no heartbeat waits for it. The
// measurements of the peers of a class are pooled: new peers start with them, and promises are compared
// with them.

// Classes is the number of classes of peers; see PeerConfig.Class.
const Classes = 8

// strangerClass is the class of admitted strangers, which share no measurements with other peers.
const strangerClass = Classes

// learner is a detector that fits its margins off the hot path; see package detect.
type learner interface {
	detect.Detector
	// Due reports whether Learn has something to do. It costs a load.
	Due(state []uint64) bool
	// Learn fits the margins of a peer, by its own samples and those of its class.
	Learn(state []uint64, prior *margins.Pool)
}

// learners is the queue of a shard's peers whose detector has something to fit, and the pools of the
// classes. Only the shard's owner uses it, except shown.
type learners struct {
	learner learner             // nil: the detector does not learn
	slots   [learnerRing]uint32 // ring buffer
	from    uint32              // next slot to fit
	to      uint32              // end of the queue
	pools   [Classes + 1]margins.Pool
	trips   [Classes + 1]int64 // mean round trips, ns << tripGain; 0: not measured
	showAt  clock.Instant      // next copy to shown
	shown   shownPools
}

// shownPools is a copy of the pools for other goroutines.
type shownPools struct {
	mu    sync.Mutex
	pools [Classes + 1]margins.Pool
	trips [Classes + 1]int64
}

const (
	// tripGain is the gain of the mean round trip of a class, as a shift.
	tripGain    = 8
	learnerRing = 256
	// learnersPerTurn bounds the fits of a turn. A fit takes some microseconds.
	learnersPerTurn = 16
	// showEvery is the time between copies of the pools.
	showEvery = time.Second
)

// pooled adds a heartbeat, and the number lost before it, to the pool of its class. A heartbeat that a
// pause of this node may have delayed is not added.
func (s *shard) pooled(p *peer, slot uint32, h *wire.Header, arrival clock.Instant, lost uint64) {
	if s.lostAt(arrival) == int64(p.deadline.paused.Get()) {
		period := time.Duration(h.Period) * time.Microsecond
		s.learners.pools[p.path.class].Note(&margins.Gap{
			Peer: slot, Arrival: arrival, Interval: arrival.Sub(p.deadline.from), Period: period, Lost: lost,
			Failed: p.verdict.state() == Failed,
		})
	}
}

// trip adds a round trip to the mean of its class.
func (q *learners) trip(class uint8, ns uint32) {
	mean := q.trips[class]
	if mean == 0 {
		mean = int64(ns) << tripGain
	}
	q.trips[class] = mean + int64(ns) - mean>>tripGain
}

// toLearn queues slot. If the queue is full, the peer's next heartbeat tries again.
func (q *learners) toLearn(slot uint32) {
	if q.to-q.from < learnerRing {
		q.slots[q.to%learnerRing] = slot
		q.to++
	}
}

// learn fits the margins of a few peers, and copies the pools when that is due.
func (s *shard) learn() {
	q := &s.learners
	for range learnersPerTurn {
		if q.from == q.to {
			break
		}
		slot := q.slots[q.from%learnerRing]
		q.from++
		s.fit(slot)
	}
	if s.now >= q.showAt && q.shown.mu.TryLock() {
		q.shown.pools, q.shown.trips = q.pools, q.trips
		q.shown.mu.Unlock()
		q.showAt = s.now.Add(showEvery)
	}
}

// fit makes the detector of the peer in slot learn, and sets the peer's deadlines accordingly.
func (s *shard) fit(slot uint32) {
	p := s.table.peer(slot)
	state := s.state(slot)
	if p.session.mine == 0 || p.session.stateless() || !s.learners.learner.Due(state) {
		return // removed or restarted since, or fitted already
	}
	s.learners.learner.Learn(state, &s.learners.pools[p.path.class])
	s.showSummary(slot, state)
	d := s.table.detector
	p.deadline.later(d.Deadline(state, s.engine.suspectLevel), d.Deadline(state, s.engine.failLevel))
	if p.deadline.held {
		p.deadline.hold()
	}
	s.checkSilence(p, slot, state)
}

// pool returns the measurements of a class over all shards, and the longest mean round trip of a shard.
// Both are up to showEvery old.
func (e *Engine) pool(class uint8) (sum *margins.Pool, trip time.Duration) {
	sum = &margins.Pool{}
	for _, s := range e.shards {
		shown := &s.learners.shown
		shown.mu.Lock()
		sum.Add(&shown.pools[class])
		trip = max(trip, time.Duration(shown.trips[class]>>tripGain))
		shown.mu.Unlock()
	}
	return sum, trip
}
