package main

import (
	"math/rand/v2"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/enginetest/netmodel"
)

// bareSim is bare monitoring in virtual time: one monitor and one peer, which crashes. The sources of
// package qos cannot stand in for it: they have neither requests, which are lost as well, nor crashes.
type bareSim struct {
	period    time.Duration
	two       bool
	link      netmodel.Link // each way; of it only Delay and Loss are used
	losses    netmodel.Losses
	detectors []detect.Detector
	random    *rand.Rand
}

// hop returns when a datagram sent at the instant at arrives, and whether it does.
func (b *bareSim) hop(at clock.Instant) (clock.Instant, bool) {
	lost := b.losses.Next(&b.link, b.random)
	return at.Add(b.link.Delay.Draw(b.random)), !lost
}

// warmUp is how many heartbeats of an episode are not counted: the windows fill.
const warmUp = 50

// run adds episodes of n periods until so much peer time was watched, and at least crashes
// of them: each ends with one, at a random instant of a period.
func (b *bareSim) run(n, crashes int, least time.Duration) (t tally, f findings) {
	t.Mistakes, f = make([]uint64, len(b.detectors)), newFindings(len(b.detectors))
	for range crashes {
		b.episode(max(n, warmUp), &t, &f)
	}
	for t.Watched < least {
		b.episode(max(n, warmUp), &t, &f)
	}
	t.OfLoss = t.Mistakes // nothing stalls here
	return t, f
}

// episode is one life of a peer.
func (b *bareSim) episode(n int, t *tally, f *findings) {
	begin := clock.Instant(time.Hour).Add(time.Duration(b.random.Int64N(int64(b.period))))
	crash := begin.Add(time.Duration((float64(warmUp+n) + b.random.Float64()) * float64(b.period)))
	w := newWatched(b.detectors, 0)
	for i := 0; ; i++ {
		due := begin.Add(time.Duration(i) * b.period)
		if due >= crash.Add(b.period) {
			break
		}
		b.beat(w, uint64(i)+1, due, crash, func(judge int, _ mistake) {
			if i >= warmUp {
				t.Mistakes[judge]++
			}
		}, t)
	}
	t.Watched += time.Duration(n) * b.period
	w.found(crash, f)
}

// beat is one heartbeat, or a request and its answer, and what becomes of them. The peer
// lives until the instant crash.
func (b *bareSim) beat(w *watched, sequence uint64, due, crash clock.Instant, mistaken func(int, mistake), t *tally) {
	counted := uint64(1)
	if sequence <= warmUp || due >= crash {
		counted = 0
	}
	sent := due
	if b.two {
		t.Sent += counted
		var came bool
		if sent, came = b.hop(due); !came {
			return
		}
	}
	if sent >= crash {
		return
	}
	t.Sent += counted
	at, came := b.hop(sent)
	if !came {
		return
	}
	h := detect.Heartbeat{Sequence: sequence, Send: due, Arrival: at, Period: b.period}
	w.take(&h, sent, mistaken)
}
