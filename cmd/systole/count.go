package main

import (
	"time"

	"systole/engine"
)

const (
	// firstContact is the number of heartbeats that it takes until both sides know each other. Fewer tell
	// nothing about a peer.
	firstContact = 3
	// countPatience bounds a watch that --count ends: how much longer than n periods it takes.
	countPatience = 3 * time.Second
)

// pollEvery returns the time between two collections. To stop after the n-th heartbeat, --count needs
// several in a period.
func (o *pingOptions) pollEvery() time.Duration {
	if o.count == 0 {
		return collectEvery
	}
	return min(max(o.period()/8, time.Millisecond), collectEvery)
}

// period returns the period of heartbeats as far as the flags give it.
func (o *pingOptions) period() time.Duration {
	if o.interval > 0 {
		return o.interval
	}
	return defaultInterval
}

// stop ends the watch of the peers that n heartbeats were sent to, and reports whether no peer is left.
func (w *watch) stop(n uint64, period time.Duration) bool {
	var ended []*watched
	left := 0
	for _, p := range w.peers {
		switch {
		case p.final != nil:
		case p.counted(max(n, firstContact), period, w.started):
			s := p.peer.Stats()
			p.final = &s
			ended = append(ended, p)
		default:
			left++
		}
	}
	if left == 0 {
		return true // Shutdown says goodbye
	}
	for _, p := range ended {
		// After an error the peer is sent more, and p.final has the figures all the same.
		_ = w.engine.RemovePeer(p.peer)
	}
	return false
}

// counted reports whether n heartbeats were sent to the peer, or refused by the kernel, and it has had most
// of a period to answer. A peer that less is sent to, because it failed or its name does not resolve, is
// given up when the time for n heartbeats and countPatience have passed.
func (w *watched) counted(n uint64, period time.Duration, started time.Time) bool {
	s := w.peer.Stats()
	if s.Period > 0 {
		period = s.Period
	}
	switch {
	case time.Since(started) > time.Duration(n)*period+countPatience:
		return true
	case s.Sent+s.Missed < n:
		return false
	case w.full.IsZero():
		w.full, w.fullReceived = time.Now(), s.Received
	}
	return s.Received > w.fullReceived || time.Since(w.full) > period*5/8
}

// stats returns the figures of the peer: those of now or, if its watch was ended, those of then.
func (w *watched) stats() engine.PeerStats {
	if w.final != nil {
		return *w.final
	}
	return w.peer.Stats()
}
