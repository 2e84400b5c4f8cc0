package engine

import (
	"time"

	"systole/engine/clock"
)

// silences counts the peers that fell silent within one margin of each other. If many
// did, the common cause is more likely at our side than at each of theirs.
type silences struct {
	from    clock.Instant // start of the present interval
	now     int           // silences in it
	before  int           // and in the one before
	suspect clock.Instant // LocalSuspect holds until then; no peer is declared failed
}

// Correlated silence: at least minSilences peers, and a share of silenceShare per cent
// of those that were alive.
const (
	minSilences  = 3
	silenceShare = 30
)

// silenced counts one peer that fell silent, and makes us suspect ourselves if that made
// it too many.
func (s *shard) silenced(margin time.Duration) {
	q := &s.silences
	margin = max(margin, s.grid)
	switch gap := s.now.Sub(q.from); {
	case gap > 2*margin:
		q.from, q.now, q.before = s.now, 0, 0
	case gap > margin:
		q.from, q.now, q.before = s.now, 0, q.now
	}
	q.now++
	count := q.now + q.before
	if count < minSilences || count*100 < silenceShare*(s.alive+count) {
		return
	}
	if q.suspect < s.now {
		s.publishNode(LocalSuspect, 0)
	}
	q.suspect = s.now.Add(margin)
}
