package engine

import (
	"sync"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/wire"
)

// Detectors that learn fit their margins after the turn, when its heartbeats are out,
// and not with the heartbeats that they learn from. What the peers of a class show is
// pooled on the way: new ones begin with it, and promises are weighed against it.

// Classes is how many classes of peers there are: see PeerConfig.Class.
const Classes = 8

// strangerClass is the class of the strangers that were admitted, which share nothing with others.
const strangerClass = Classes

// learners are the peers of a shard whose detector has something to fit. The shard's owner
// alone touches them, except shown.
type learners struct {
	learner detect.Learner // nil: the detector does not learn
	slots   [learnerRing]uint32
	from    uint32 // of slots
	to      uint32
	pools   [Classes + 1]detect.Pool
	trips   [Classes + 1]int64 // mean round trips, ns << tripGain
	showAt  clock.Instant
	shown   shownPools
}

// shownPools is the copy of the pools that other goroutines read.
type shownPools struct {
	mu    sync.Mutex
	pools [Classes + 1]detect.Pool
	trips [Classes + 1]int64
}

const (
	// tripGain is the gain of the mean round trip of a class, as a shift.
	tripGain    = 8
	learnerRing = 256
	// learnersPerTurn bounds the fits of a turn, each of which takes some microseconds.
	learnersPerTurn = 16
	// showEvery is how often the pools are copied for readers.
	showEvery = time.Second
)

// pooled notes one heartbeat, and how many were lost before it, for its class. One that
// this node's own pause may have delayed says nothing of the peer.
func (s *shard) pooled(p *peer, slot uint32, h *wire.Header, arrival clock.Instant, lost uint64) {
	if s.lostAt(arrival) == int64(p.deadline.paused.Get()) {
		period := time.Duration(h.Period) * time.Microsecond
		s.learners.pools[p.path.class].Note(&detect.Gap{
			Peer: slot, Arrival: arrival, Interval: arrival.Sub(p.deadline.from), Period: period, Lost: lost,
			Failed: p.verdict.state() == Failed,
		})
	}
}

// trip notes a round trip for its class.
func (q *learners) trip(class uint8, ns uint32) {
	mean := q.trips[class]
	if mean == 0 {
		mean = int64(ns) << tripGain
	}
	q.trips[class] = mean + int64(ns) - mean>>tripGain
}

// toLearn puts slot on the list. When it is full the peer's next heartbeat does.
func (q *learners) toLearn(slot uint32) {
	if q.to-q.from < learnerRing {
		q.slots[q.to%learnerRing] = slot
		q.to++
	}
}

// learn fits the margins of a few peers, and shows the pools from time to time.
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

// fit lets the detector of the peer in slot learn, and moves its deadlines.
func (s *shard) fit(slot uint32) {
	p := s.table.peer(slot)
	state := s.state(slot)
	if p.session.mine == 0 || p.session.stateless() || !s.learners.learner.Due(state) {
		return // removed since, begun anew, or fitted already
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

// pool returns what the peers of a class have shown, over all shards, as of a second ago,
// and the longest of their shards' mean round trips.
func (e *Engine) pool(class uint8) (sum *detect.Pool, trip time.Duration) {
	sum = &detect.Pool{}
	for _, s := range e.shards {
		shown := &s.learners.shown
		shown.mu.Lock()
		sum.Add(&shown.pools[class])
		trip = max(trip, time.Duration(shown.trips[class]>>tripGain))
		shown.mu.Unlock()
	}
	return sum, trip
}
