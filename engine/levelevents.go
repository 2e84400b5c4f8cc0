package engine

import (
	"time"

	"systole/engine/clock"
)

// TryNext returns a change of a peer's level that was not told yet, if there is one. Changes
// that have cancelled each other out meanwhile are only counted.
func (in *Interpreter) TryNext() (LevelEvent, bool) {
	if len(in.over) > 0 {
		ev := in.over[0].event
		if in.over = in.over[1:]; len(in.over) == 0 {
			in.over = nil
		}
		return ev, true
	}
	for in.head < len(in.queue) {
		slot := in.queue[in.head]
		in.head++
		sub := in.subject(slot)
		sub.queued = false
		if int(sub.told) == sub.Level {
			continue
		}
		ev := in.event(sub, slot)
		sub.told, sub.changes = uint8(sub.Level), 0
		return ev, true
	}
	in.queue, in.head = in.queue[:0], 0
	return LevelEvent{}, false
}

// event tells of the peer in slot what the reader does not know.
func (in *Interpreter) event(sub *subject, slot uint32) LevelEvent {
	from, to := int(sub.told), sub.Level
	return LevelEvent{
		Peer: Peer{in.engine, slot, sub.generation}, ID: sub.id, Incarnation: sub.Incarnation,
		From: from, To: to, FromName: in.levels.name(from), ToName: in.levels.name(to),
		Suspicion: float64(sub.suspicion), Silence: sub.silence, Since: sub.Since,
		State: sub.state, Cause: sub.cause, Merged: int(sub.changes) - 1,
	}
}

// lateness is what an interpreter's own Steps were late: a hint that the whole node stood
// still, which its shards notice only if they had something to do.
type lateness struct {
	lost time.Duration // in the last lateness, and those that it followed closely
	to   clock.Instant // its end
}

// note notes a Step at now that was due at due.
func (l *lateness) note(due, now clock.Instant, threshold time.Duration) {
	late := now.Sub(due)
	if due == 0 || due == clock.Never || late <= threshold {
		return
	}
	if due > l.to.Add(l.lost) {
		l.lost = 0
	}
	l.lost, l.to = l.lost+late, now
}

// shift returns by how much the deadlines of a peer that was heard at arrival are later.
func (l *lateness) shift(arrival clock.Instant) time.Duration {
	x := excuse{from: arrival, lost: l.lost, to: l.to}
	return x.shift()
}
