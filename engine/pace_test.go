package engine

import (
	"testing"
	"time"

	"systole/engine/internal/sim"
	"systole/wire"
)

// W18: the longer period wins, by agreement.
func TestPeriodsAreNegotiated(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(Config{Period: 10 * time.Millisecond})
	b := w.start(Config{Period: 10 * time.Millisecond, MinReceivePeriod: 200 * time.Millisecond})
	p := a.watch(b)
	b.watch(a)
	w.run(2 * time.Second)
	a.log, b.log = nil, nil
	before := p.Stats().Sent
	w.run(10 * time.Second)
	if n := p.Stats().Sent - before; n < 45 || n > 55 {
		t.Errorf("%d heartbeats in 10 s to a peer that takes one per 200 ms", n)
	}
	b.want("slow by agreement")
}

// W7, W18: whatever a peer asks, it is sent to at least once in a minute, and told that period.
func TestAskedPeriodIsBounded(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	b.minReceive = uint32(maxPeriod / time.Microsecond)
	w.run(5 * time.Minute)
	before := p.Stats().Sent
	w.run(10 * time.Minute)
	if n := p.Stats().Sent - before; n < 9 || n > 20 {
		t.Errorf("%d heartbeats in 10 min", n)
	}
	if period := p.Stats().Period; period < maxPeriod || period > maxPeriod+a.shards[0].grid {
		t.Errorf("period %v", period)
	}
	a.accusedNobody()
	b.accusedNobody()
}

// A longer period is not used before the peer has acknowledged it, whichever heartbeat comes
// first after it was asked for.
func TestSlowerPeriodWaitsForItsAcknowledgement(t *testing.T) {
	for offset := time.Duration(0); offset < 20*time.Millisecond; offset += 2 * time.Millisecond {
		w, a, _, p := pair(t, Config{Period: 20 * time.Millisecond})
		w.run(offset)
		w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
			if d.From == a.addr() {
				return nil
			}
			return []*sim.Datagram{d}
		}
		p.record().pace.want(int64(200*time.Millisecond), a.shards[0].grid)
		w.run(400 * time.Millisecond)
		if period := p.Stats().Period; period != 20*time.Millisecond {
			t.Errorf("%v: period %v, while nothing arrives to tell of it", offset, period)
		}
		w.Mangle = nil
		w.run(time.Second)
		before := p.Stats().Sent
		w.run(2 * time.Second)
		if n := p.Stats().Sent - before; n > 11 {
			t.Errorf("%v: %d heartbeats in 2 s of 200 ms", offset, n)
		}
	}
}

// A thousand peers added at once are sent to at different times.
func TestSendsAreSpread(t *testing.T) {
	w := newWorld(t, 1)
	a := w.start(Config{})
	b := w.start(Config{})
	b.host.Crash()
	for i := range 1000 {
		a.watch(b, func(c *PeerConfig) { c.ID = uint64(i) + 1000 })
	}
	w.run(200 * time.Millisecond)
	most, last := uint64(0), a.host.Socket().Sends
	for range 100 {
		w.run(time.Millisecond)
		most = max(most, a.host.Socket().Sends-last)
		last = a.host.Socket().Sends
	}
	if most > 90 {
		t.Errorf("%d of 1000 heartbeats of a 100 ms period within one millisecond", most)
	}
}

// W17: whatever a peer asks, answers outside the schedule keep their distance.
func TestSolicitationsAreBounded(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	b.host.Stop()
	before := a.host.Socket().Sends
	for range 1000 {
		h := heartbeatOf(p)
		h.Flags = wire.FlagSolicit
		b.post(h, a)
		w.run(time.Millisecond)
	}
	// Ten by schedule, and one per eighth of the period.
	if n := a.host.Socket().Sends - before; n > 10+100 || n < 20 {
		t.Errorf("%d heartbeats in a second that brought 1000 solicitations", n)
	}
}

// W20: a peer whose scheduled heartbeats are lost is asked, and its answer saves it.
func TestSolicit(t *testing.T) {
	w, a, b, _ := pair(t, Config{})
	a.log = nil
	answered := a.Stats().Heartbeats.Solicited
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.From == b.addr() {
			if asked := a.Stats().Heartbeats.Solicited; asked != answered {
				answered = asked
			} else {
				return nil // all is lost but one answer to each question
			}
		}
		return []*sim.Datagram{d}
	}
	w.run(10 * time.Second)
	a.accusedNobody()
	if a.Stats().Heartbeats.Solicited < 10 {
		t.Errorf("asked %d times", a.Stats().Heartbeats.Solicited)
	}
}
