package main

import (
	"math/rand/v2"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/enginetest/netmodel"
)

// bareSim simulates one bare monitor and one peer, which crashes. Package qos cannot: its sources make
// neither crashes nor requests, which can be lost as well.
type bareSim struct {
	period    time.Duration
	twoPhases bool
	link      netmodel.Link // each way; only Delay and Loss count
	losses    netmodel.Losses
	detectors []detect.Detector
	random    *rand.Rand
}

// hop returns the arrival of a datagram that is sent at the instant at, and whether it arrives.
func (b *bareSim) hop(at clock.Instant) (arrival clock.Instant, arrives bool) {
	lost := b.losses.Next(&b.link, b.random)
	return at.Add(b.link.Delay.Draw(b.random)), !lost
}

// warmUp is the number of heartbeats at the beginning of an episode that are not counted. They fill
// the windows of the detectors.
const warmUp = 50

// run simulates episodes of n periods until the peer was watched for least, and for at least so many
// crashes: each episode ends with a crash, at a random instant of a period.
func (b *bareSim) run(n, crashes int, least time.Duration) (t tally, d detections) {
	t.Mistakes, d = make([]uint64, len(b.detectors)), newDetections(len(b.detectors))
	for i := 0; i < crashes || t.Watched < least; i++ {
		b.episode(max(n, warmUp), &t, &d)
	}
	t.OfLoss = t.Mistakes // nothing stalls in a simulation
	return t, d
}

// episode simulates the life of a peer for n periods after the warm-up.
func (b *bareSim) episode(n int, t *tally, d *detections) {
	begin := clock.Instant(time.Hour).Add(time.Duration(b.random.Int64N(int64(b.period))))
	crash := begin.Add(time.Duration((float64(warmUp+n) + b.random.Float64()) * float64(b.period)))
	m := newMonitor(b.detectors, 0)
	for sequence := uint64(1); ; sequence++ {
		due := begin.Add(time.Duration(sequence-1) * b.period)
		if due >= crash.Add(b.period) {
			break
		}
		b.heartbeat(m, sequence, due, crash, t)
	}
	t.Watched += time.Duration(n) * b.period
	m.detect(crash, d)
}

// heartbeat simulates one heartbeat, or one request with its answer. The peer lives until crash.
func (b *bareSim) heartbeat(m *monitor, sequence uint64, due, crash clock.Instant, t *tally) {
	warm := sequence > warmUp
	sent, datagrams := due, uint64(0) // sent by the peer
	if b.twoPhases {
		datagrams++
		var arrives bool
		if sent, arrives = b.hop(due); !arrives {
			sent = crash // the peer has nothing to answer
		}
	}
	arrival, arrives := sent, false
	if sent < crash {
		datagrams++
		arrival, arrives = b.hop(sent)
	}
	if warm && due < crash {
		t.Sent += datagrams
	}
	if !arrives {
		return
	}
	h := detect.Heartbeat{Sequence: sequence, Send: due, Arrival: arrival, Period: b.period}
	m.take(&h, sent, func(detector int, _ mistake) {
		if warm {
			t.Mistakes[detector]++
		}
	})
}
