package main

import (
	"time"

	"systole/engine"
	"systole/engine/clock"
)

// history is what a peer went through, by its events.
type history struct {
	known    bool          // was alive at some time
	from     clock.Instant // since when it has not been heard in time, 0: it is
	certain  bool          // that this is a downtime; a suspicion alone may be a mistake
	cause    engine.Cause  // of the latest downtime
	downs    int
	down     time.Duration // of downtimes that are over
	restarts int
}

// take takes an event of the peer.
func (h *history) take(ev *engine.Event) {
	if ev.Cause == engine.Restarted {
		h.restarts++
		h.sure(engine.Restarted) // a suspicion before it was right
	}
	switch ev.To {
	case engine.Alive:
		if h.certain {
			h.down += ev.At.Sub(h.from)
		}
		h.known, h.certain, h.from = true, false, 0
	case engine.Suspect, engine.OneWay, engine.Failed, engine.Left:
		if !h.known {
			return
		}
		if h.from == 0 {
			h.from = ev.At
			if ev.To != engine.OneWay { // which is heard all the time
				h.from -= clock.Instant(ev.Silence)
			}
		}
		if ev.To != engine.Suspect || ev.Cause != engine.Silence {
			h.sure(engine.NoCause)
			h.cause = ev.Cause
		}
	}
}

// sure makes the time since h.from a downtime, with a cause if none is known.
func (h *history) sure(cause engine.Cause) {
	if h.from == 0 || h.certain {
		return
	}
	h.certain, h.cause = true, cause
	h.downs++
}

// downtime returns how long the peer was down in all up to an instant.
func (h *history) downtime(now clock.Instant) time.Duration {
	if h.certain {
		return h.down + now.Sub(h.from)
	}
	return h.down
}

// trouble returns how long the peer has been silent or down before an event that ends it, 0 if it was not.
func (h *history) trouble(ev *engine.Event) time.Duration {
	if h.from == 0 || ev.To != engine.Alive {
		return 0
	}
	return ev.At.Sub(h.from)
}

// pauses are those of this node.
type pauses struct {
	count int
	sum   time.Duration
}

// take takes an event about this node. Those that were merged into it have no length.
func (p *pauses) take(ev *engine.NodeEvent) {
	if ev.Cause == engine.LocalPause {
		p.count += 1 + ev.Merged
		p.sum += ev.Pause
	}
}
