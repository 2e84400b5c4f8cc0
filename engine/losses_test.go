package engine

import (
	"testing"
	"time"

	"systole/engine/internal/antireplay"
	"systole/engine/internal/sim"
)

func TestLossDuplicationReordering(t *testing.T) {
	w := newWorld(t, 7)
	a, b := w.start(Config{}), w.start(Config{})
	p := a.watch(b)
	b.watch(a)
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		var out []*sim.Datagram
		for range 1 + w.Random().IntN(2) {
			if w.Random().IntN(5) == 0 {
				continue
			}
			e := *d
			e.At = d.At.Add(time.Duration(w.Random().IntN(150)) * time.Millisecond)
			out = append(out, &e)
		}
		return out
	}
	w.run(60 * time.Second)
	s := p.Stats()
	if s.State != Alive || s.Duplicated == 0 || s.Reordered == 0 || s.LostIn == 0 {
		t.Errorf("stats %+v", s)
	}
	if total := s.Received + s.LostIn; total < 590 {
		t.Errorf("%d received and %d lost of 600", s.Received, s.LostIn)
	}
	for _, ev := range a.log {
		if ev.To == Failed {
			t.Errorf("failed under loss: %+v", ev)
		}
	}
}

// Heartbeats from before the first that came were never waited for: they are no losses,
// and a late one takes none back. A new incarnation starts its count anew.
func TestLossesCountFromTheFirstHeard(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	q, record := b.watched(a), p.record()
	record.session.replay, record.session.firstSeq = antireplay.Window{}, 0 // as if nothing had come yet
	var held *sim.Datagram
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.To == a.addr() && held == nil {
			held = d
			return nil
		}
		return []*sim.Datagram{d}
	}
	w.run(250 * time.Millisecond)
	w.Mangle = nil
	held.At = w.now()
	w.Post(held)
	w.run(300 * time.Millisecond)
	if s := p.Stats(); s.LostIn != 0 || s.Reordered != 1 {
		t.Errorf("lost %d, reordered %d after the first heartbeat came late", s.LostIn, s.Reordered)
	}
	if s := q.Stats(); s.LostOut != 0 {
		t.Errorf("the peer was told of %d losses", s.LostOut)
	}
	record.counts.lostIn.Set(5)
	w.boot(b, Config{ID: b.ID()})
	back := b.watch(a)
	w.run(time.Second)
	if s := back.Stats(); s.State != Alive || s.LostOut != 0 {
		t.Errorf("%v, a new incarnation was told of %d losses of the old one", s.State, s.LostOut)
	}
}

// Of a gap in the sequences, no more is lost than can have been sent.
func TestBelievableLosses(t *testing.T) {
	const period = 100_000 // µs
	for _, c := range []struct {
		missing uint64
		silence time.Duration
		want    bool
	}{{1000, 100 * time.Second, true}, {1000, time.Second, false}, {200, time.Second, true}, {1 << 60, time.Hour, false}} {
		if got := believable(c.missing, c.silence, period); got != c.want {
			t.Errorf("%d missing after %v: %v, want %v", c.missing, c.silence, got, c.want)
		}
	}
}

// What of such a gap comes after all was not counted as lost, so it is not counted back.
func TestNothingIsFoundThatWasNotLost(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	b.host.Crash()
	before, next := p.Stats(), p.record().session.replay.Highest()+1_000_000
	for _, sequence := range []uint64{next, next - 1, next - 5, next + 3, next + 2} {
		h := heartbeatOf(p)
		h.Sequence = sequence
		b.post(h, a)
		w.run(2 * time.Millisecond)
	}
	s := p.Stats()
	if s.Received-before.Received != 5 || s.LostIn-before.LostIn != 1 { // next + 1
		t.Errorf("%d received, %d lost", s.Received-before.Received, s.LostIn-before.LostIn)
	}
}
