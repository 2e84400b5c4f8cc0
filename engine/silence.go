package engine

import "systole/engine/clock"

// silences counts the peers that fell silent within one margin of each other. If many
// did, the common cause is more likely at our side than at each of theirs. Strangers are counted by
// themselves: who is let in must not keep the others from failing.
type silences struct {
	from    clock.Instant // start of the present interval
	now     int           // silences in it
	before  int           // and in the one before
	suspect clock.Instant // LocalSuspect holds until then; no peer is declared failed
}

// Correlated silence: at least minSilences peers, and a share of silenceShare per cent
// of those that were alive.
const (
	minSilences  = 2
	silenceShare = 30
)

// silencesOf returns those among which p's is counted, and how many peers of that kind are heard.
func (s *shard) silencesOf(p *peer) (q *silences, alive int) {
	if p.pace.admitted {
		return &s.silentStrangers, s.aliveStrangers
	}
	return &s.silences, s.alive - s.aliveStrangers
}

// silenced counts that p fell silent, and makes us suspect ourselves if that made it too many.
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
		s.publishNode(record{cause: LocalSuspect})
	}
	q.suspect = s.now.Add(margin)
}
