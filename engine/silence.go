package engine

import "systole/engine/clock"

// silences counts the peers that fell silent within one margin. If many did, the cause is probably on
// our side. Strangers are counted apart, so that they cannot prevent the failure of other peers.
type silences struct {
	from    clock.Instant // start of the present interval
	now     int           // silences in the present interval
	before  int           // silences in the previous interval
	suspect clock.Instant // end of LocalSuspect; until then no peer is declared failed
}

// LocalSuspect takes at least minSilences silent peers, and at least silenceShare per cent of the peers
// that were alive.
const (
	minSilences  = 2
	silenceShare = 30
)

// silencesOf returns the counter for p, and the number of living peers of its kind.
func (s *shard) silencesOf(p *peer) (q *silences, alive int) {
	if p.pace.admitted {
		return &s.silentStrangers, s.aliveStrangers
	}
	return &s.silences, s.alive - s.aliveStrangers
}

// silenced counts that p fell silent. It publishes LocalSuspect if too many did.
func (s *shard) silenced(p *peer) {
	q, alive := s.silencesOf(p)
	margin := max(p.deadline.wait(p.deadline.suspectAt), s.grid)
	switch gap := s.now.Sub(q.from); {
	case gap > 2*margin:
		q.from, q.now, q.before = s.now, 0, 0
	case gap > margin:
		q.from, q.now, q.before = s.now, 0, q.now
	}
	q.now++
	count := q.now + q.before
	if count < minSilences || count*100 < silenceShare*(alive+count) {
		return
	}
	if q.suspect < s.now {
		s.publishNode(NodeEvent{Cause: LocalSuspect})
	}
	q.suspect = s.now.Add(margin)
}
