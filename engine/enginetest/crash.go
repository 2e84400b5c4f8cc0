package enginetest

import (
	"time"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/internal/network"
)

// crash is a process that ended, and one that watched it and has to find out.
type crash struct {
	watcher     *process
	peer        engine.Peer
	id          uint64
	incarnation uint64
	at          clock.Instant // on the world's clock
	seenAt      clock.Instant // the same on the watcher's
	arrivedAt   clock.Instant // on the watcher's, when the last that it sent arrives
	sent        time.Duration // before the crash, the last heartbeat that the watcher had read
	arrival     clock.Instant // of that heartbeat
	grant       clock.Instant // of failure, at the crash
	period      time.Duration // of the peer, as known at the crash
	steady      bool
	learns      bool // apart from heartbeats
}

// crashed notes that a process has ended without a goodbye, or after one.
func (w *World) crashed(dead *process) {
	id, incarnation := dead.engine.ID(), dead.engine.Incarnation()
	for _, h := range w.hosts {
		l := h.process
		if l == nil || l.ended != 0 || l == dead {
			continue
		}
		for _, r := range l.records {
			s := r.peer.Stats()
			if s.ID != id || s.Incarnation != incarnation || !watched(s.State) {
				continue
			}
			_, fail := l.engine.StateLevels()
			c := &crash{
				watcher: l, peer: r.peer, id: id, incarnation: incarnation, at: w.sim.Now(), seenAt: h.sim.Now().Now,
				arrivedAt: h.sim.Shows(w.sim.LastArrival(dead.host.sim, h.sim)),
				grant:     r.peer.Deadline(fail), arrival: s.LastArrival, period: s.PeerPeriod, steady: steady(l.cfg.Detector),
			}
			c.learns = learns(&l.cfg)
			if s.LastArrival != 0 {
				c.sent = w.sim.Now().Sub(dead.host.sim.When(s.Last.Send))
			}
			w.crashes = append(w.crashes, c)
		}
	}
}

// learns reports whether the detector changes what it grants apart from heartbeats. The default one does.
func learns(cfg *engine.Config) bool {
	_, is := cfg.Detector.(interface{ Due(state []uint64) bool })
	return is || cfg.Detector == nil
}

// watched reports whether a peer in the state is believed to run.
func watched(s engine.State) bool {
	return s == engine.Alive || s == engine.OneWay || s == engine.Suspect
}

// checkCrashes looks whether the crashes that are not yet known to their watchers are late.
func (w *World) checkCrashes() {
	if len(w.crashes) == 0 {
		return
	}
	open := w.crashes[:0]
	for _, c := range w.crashes {
		if !w.settled(c) {
			open = append(open, c)
		}
	}
	clear(w.crashes[len(open):])
	w.crashes = open
}

// settled reports whether there is nothing more to wait for.
func (w *World) settled(c *crash) bool {
	l := c.watcher
	if l.ended != 0 {
		return true
	}
	s := c.peer.Stats()
	if !watched(s.State) || s.ID != c.id || s.Incarnation != c.incarnation {
		w.detected++
		w.worst = max(w.worst, w.sim.Now().Sub(c.at))
		return true
	}
	if l.host.sim.Standing() {
		return false
	}
	suspect, fail := l.engine.StateLevels()
	level, due := fail, engine.Failed
	if s.State != engine.Suspect {
		level, due = suspect, engine.Suspect
	}
	if s.State == engine.OneWay && s.Cause == engine.HeldBack {
		level = fail // what was held back has the whole of the wait for failure
	}
	if bound, grant := c.bound(&s, level); l.host.sim.Now().Now > bound {
		w.violated(l, ruleDetected, "a peer that ended %v ago is %v, not %v: the detector granted it until %v after its last "+
			"heartbeat, every excuse until %v", w.sim.Now().Sub(c.at), s.State, due, grant.Sub(s.LastArrival), bound.Sub(s.LastArrival))
		return true
	}
	if more := c.more(&s); more > 0 {
		w.violated(l, rulePromised, "a peer that ended %v ago is granted %v more than it was at its end", w.sim.Now().Sub(c.at), more)
		return true
	}
	return false
}

// timerTick is how exact the engine's timers are, twice.
const timerTick = 2 * 66 * time.Microsecond

// undrained is how long a verdict waits for a socket that it cannot read empty.
const undrained = 10 * time.Millisecond

// mostRead is how many datagrams a turn reads at most.
const mostRead = 8 * network.BatchSize

// mostExtensions is how often a full socket puts off one verdict.
const mostExtensions = 3

// bound returns when the watcher must have found out, to the level, on its clock, and what
// its detector grants.
func (c *crash) bound(s *engine.PeerStats, level float64) (bound, grant clock.Instant) {
	l := c.watcher
	timeout := orDefault(l.cfg.ConnectTimeout, 3*time.Second)
	grant, arrival := c.peer.Deadline(level), s.LastArrival
	if grant == clock.Never || arrival == 0 {
		arrival = max(c.seenAt, c.arrivedAt, s.Since)
		grant = arrival.Add(2 * max(timeout, 3*s.Period)) // it answers, and speaks as often as it is spoken to
	}
	suspect, fail := l.engine.StateLevels()
	wait := grant.Sub(arrival)
	bound = l.extend(grant, arrival, leastLate)
	if n := len(l.stalls); n > 0 && l.stalls[n-1].To > arrival {
		bound = max(bound, l.stalls[n-1].To) // it may judge when it runs again, not before
	}
	if over := l.troubleOver(2 * max(s.Period, s.PeerPeriod)); over >= arrival {
		whole := max(c.peer.Deadline(fail).Sub(arrival), wait, 0) // a late heartbeat may come after the end of its own
		bound = max(bound, over.Add(whole))
	}
	if s.State == engine.Suspect {
		bound = max(bound, l.silenced)
	}
	// One look follows another: nobody is judged before he was read, or failed in the turn
	// in which he was suspected.
	bound = max(bound, arrival, s.Since, l.host.sim.Shows(l.host.sim.Resumed()))
	if r := l.record(c.peer); r.extended >= arrival {
		each := max(c.peer.Deadline(suspect).Sub(arrival), s.Period)
		full := time.Duration(l.host.sim.Room) * l.host.sim.ReadTime // what was full is read first
		bound = bound.Add(mostExtensions * (min(each, timeout) + full + undrained))
	}
	if newest, is := l.socket.Backlog(); is {
		// It judges by what it has read, and goes on reading for a little longer.
		bound = bound.Add(undrained)
		if newest < bound {
			return clock.Never, grant
		}
	}
	// A turn takes a while; and those with which a flood begins may be taken for pauses.
	bound = bound.Add(3 * mostRead * l.host.sim.ReadTime)
	return bound.Add(timerTick + 2*l.host.sim.Latency.Worst()), grant
}

// troubleOver returns when the process must have found out that it has a way out again: within a time, which
// begins anew when it runs again; 0 if it always had one.
func (l *process) troubleOver(within time.Duration) clock.Instant {
	over := l.trouble
	if over == 0 {
		return 0
	}
	for _, s := range l.stalls {
		if s.From <= over.Add(within) {
			over = max(over, s.To)
		}
	}
	return over.Add(within)
}

// more returns by how much the grant has grown since the crash beyond what a period and the
// heartbeats on the way explain.
func (c *crash) more(s *engine.PeerStats) time.Duration {
	silent := s.LastArrival == c.arrival // its sequence may come again, at another address
	if c.grant == clock.Never || c.sent == 0 || silent && c.learns || !silent && (!c.steady || c.period != s.PeerPeriod) {
		return 0
	}
	_, fail := c.watcher.engine.StateLevels()
	grant := c.peer.Deadline(fail)
	if grant == clock.Never {
		return 0 // an answer without state was on the way: see bound
	}
	most := c.grant
	if !silent {
		// It was on the way, for so long, and moves a mean by as much at most.
		onTheWay := max(s.LastArrival.Sub(c.seenAt), 0)
		most = most.Add(s.PeerPeriod + 2*(c.sent+onTheWay) + heldBack)
	}
	return grant.Sub(most)
}

// heldBack is for how long somebody may hold a heartbeat back for it to prove that its sender lives: what a change of routes
// takes.
const heldBack = 500 * time.Millisecond

// orDefault returns v, or d if v is 0.
func orDefault(v, d time.Duration) time.Duration {
	if v == 0 {
		return d
	}
	return v
}
