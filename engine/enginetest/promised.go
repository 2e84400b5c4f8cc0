package enginetest

import (
	"time"

	"systole/engine"
	"systole/engine/clock"
)

// Config.Promise is kept by the margin detector, which learns; what may be asked of it at every
// heartbeat follows from what its peer has shown it.

// shown is what a peer has shown a watcher in its present incarnation.
type shown struct {
	total   uint64        // of its heartbeats that were looked at, and those before
	arrival clock.Instant // of the newest; 0: none in this incarnation
	period  time.Duration // that it announced with that
	margin  time.Duration // the greatest that it needed: beyond a period after the arrival before
	path    time.Duration // the longest way, clocks' difference and lateness included
	blind   bool          // more came in one turn than can be looked back at
}

// lookBack is how many heartbeats of a turn are looked at.
const lookBack = 32

// checkPromised looks at what came from peers that something was promised about, and checks
// what they are granted for it.
func (w *World) checkPromised(l *process) {
	within := l.cfg.Promise.DetectWithin
	if within == 0 {
		return
	}
	for _, r := range l.records {
		var buf [lookBack]engine.Sample
		n, total := r.peer.Samples(buf[:])
		if total > r.shown.total {
			r.shown.take(buf[:n], total, r.peer.Stats().PeerPeriod)
			w.checkGrant(l, r, within-l.cfg.Known.Path, buf[n-1])
		}
	}
}

// take looks at the newest heartbeats, the last that was looked at possibly among them. The
// newest of all announced period.
func (s *shown) take(newest []engine.Sample, total uint64, period time.Duration) {
	fresh, least := total-s.total, min(s.period, period)
	s.total, s.period = total, period
	if fresh > uint64(len(newest)) {
		s.blind = true
		return
	}
	for _, h := range newest[uint64(len(newest))-fresh:] {
		path := wayOf(h)
		if s.arrival != 0 {
			s.margin = max(s.margin, h.Arrival.Sub(s.arrival)-least)
			path = max(path, s.path)
		}
		s.arrival, s.path = h.Arrival, path
	}
}

// wayOf returns how long after it was due a heartbeat came, by two clocks.
func wayOf(h engine.Sample) time.Duration { return h.Arrival.Sub(h.Send.Add(-h.Late)) }

// mostToFail returns what a peer may be granted to failure that is granted most to suspicion, with a
// promise to detect within: see detect.Margin.
func (l *process) mostToFail(most, within time.Duration) time.Duration {
	if isFinal(&l.cfg) {
		return max(10*most, 2*time.Second)
	}
	return max(most+most/4, 4*within, 400*time.Millisecond)
}

// checkGrant checks what a peer is granted that has just been heard.
func (w *World) checkGrant(l *process, r *record, within time.Duration, last engine.Sample) {
	s := r.peer.Stats()
	every := orDefault(l.cfg.Promise.MistakeEvery, 24*time.Hour)
	if r.shown.blind || s.PeerPeriod >= within || time.Duration(s.Received)*s.PeerPeriod >= every {
		return
	}
	// It is granted that from when it was due, or would have been on the longest way.
	later := r.shown.path - wayOf(last)
	suspect, fail := l.engine.StateLevels()
	most := max(within, s.PeerPeriod+r.shown.margin+r.shown.margin/50)
	for _, level := range []struct {
		level float64
		most  time.Duration
	}{{suspect, most}, {fail, l.mostToFail(most, within)}} {
		at := r.peer.Deadline(level.level)
		if at == clock.Never {
			continue
		}
		// Margins are packed: eight steps of a thousandth, or of a microsecond.
		if bound := level.most + level.most/100 + 10*time.Microsecond + later; at.Sub(last.Arrival) > bound {
			w.violated(l, rulePromised, "a peer is granted %v to level %.1f, not %v: %v were promised, it needed a margin of %v, "+
				"and the way took %v less than the longest", at.Sub(last.Arrival), level.level, bound, within, r.shown.margin, later)
		}
	}
}
