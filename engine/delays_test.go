package engine

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/enginetest/netmodel"
	"systole/engine/internal/network"
	"systole/engine/internal/sim"
	"systole/wire"
)

// Each record of a window decodes to the heartbeat that was encoded, and a follow-up to the earlier heartbeat
// that it tells of.
func TestSampleRecords(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	some := func() time.Duration { return time.Duration(random.Uint32()) }
	for range 1000 {
		const n = 12
		var samples, decoded [n]Sample
		var words [n * sampleWords]uint64
		sequence := random.Uint32()
		for i := range samples {
			sequence += 1 + random.Uint32N(2)
			samples[i] = Sample{
				Sequence: sequence, Arrival: clock.Instant(random.Int64()), Send: clock.Instant(i+1) * 1e10, RoundTrip: some(),
				Delays: Delays{clock.Source(random.IntN(int(clock.BPF) + 1)), some(), 0, some(), some(), some()},
			}
			var told followUp
			var of *Sample
			if back := random.IntN(recentReach + 1); back > 0 && i >= back {
				of = &samples[i-back]
				told = followUp{ago: sequence - of.Sequence, wait: 1 + random.Uint32N(1<<32-1)}
			}
			encodeSample((*[sampleWords]uint64)(words[i*sampleWords:]), &samples[i], told)
			if of != nil && of.SendWait == 0 { // what is told first is believed
				of.SendWait, of.Network = time.Duration(told.wait), max(of.Network-time.Duration(told.wait), 0)
			}
		}
		if decodeSamples(decoded[:], words[:]); decoded != samples {
			t.Fatalf("%+v instead of %+v", decoded, samples)
		}
	}
}

// A heartbeat that was sent while an earlier one waited left after that one. No wait is longer than the
// delay allows, and none is inferred across a restart.
func TestHeartbeatsLeaveInOrder(t *testing.T) {
	at := func(sequence uint32, send clock.Instant, wait, network time.Duration) Sample {
		return Sample{Sequence: sequence, Send: send, Delays: Delays{SendWait: wait, Network: network}}
	}
	got := []Sample{
		at(1<<32-2, 100, 0, 50), at(1<<32-1, 110, 35, 5), at(0, 120, 0, 27), at(1, 130, 0, 10), at(2, 144, 0, 0), at(3, 145, 0, 9), at(4, 150, 30, 0), at(1, 160, 0, 40),
	}
	want := []Sample{
		at(1<<32-2, 100, 0, 50), at(1<<32-1, 110, 35, 5), at(0, 120, 25, 2), at(1, 130, 10, 0), at(2, 144, 0, 0), at(3, 145, 0, 9), at(4, 150, 30, 0), at(1, 160, 0, 40),
	}
	if leaveInOrder(got); !slices.Equal(got, want) {
		t.Errorf("%+v instead of %+v", got, want)
	}
}

// delaysOf returns the heartbeats of p while hold is called before each of 20 spells of 50 ms.
func delaysOf(t *testing.T, w *world, p Peer, hold func()) []Sample {
	t.Helper()
	_, before := p.Samples(nil)
	for range 20 {
		hold()
		w.run(50 * time.Millisecond)
	}
	samples := make([]Sample, 256)
	n, total := p.Samples(samples)
	if fresh := total - before; fresh < 90 || uint64(n) < fresh {
		t.Fatalf("%d of %d heartbeats are kept", n, fresh)
	}
	return samples[uint64(n)-(total-before) : n]
}

// A delay is in the part where it arose, and in no other.
func TestDelaysBySource(t *testing.T) {
	const delay = 25 * time.Millisecond
	w, from, to, p := watching(t, stamping(1), Config{Window: 256})
	longest := func(hold func()) (d Delays) {
		for _, s := range delaysOf(t, w, p, hold) {
			if s.SendWait == 0 {
				continue // no later heartbeat has told it yet
			}
			d.Late, d.SendWait = max(d.Late, s.Late), max(d.SendWait, s.SendWait)
			d.Network, d.Read = max(d.Network, s.Network), max(d.Read, s.Read)
		}
		return d
	}
	const small, most = 4500 * time.Microsecond, delay + time.Millisecond // small: a step of the grid and more
	if d := longest(func() {}); max(d.Late, d.SendWait, d.Network) > time.Millisecond || d.Read > small {
		t.Errorf("without a delay: %+v", d)
	}
	d := longest(func() { from.host.HoldSends(delay) })
	if d.SendWait < delay*3/4 || d.SendWait > most || max(d.Late, d.Network) > time.Millisecond || d.Read > small {
		t.Errorf("with a queue at the sender: %+v", d)
	}
	d = longest(func() {
		to.host.Stop()
		w.run(delay)
		to.host.Continue()
	})
	if d.Read < delay*3/4 || d.Read > most || max(d.Late, d.SendWait, d.Network) > time.Millisecond {
		t.Errorf("with a receiver that stops: %+v", d)
	}
	w.SetLink(from.host, to.host, netmodel.Link{Delay: netmodel.Distribution{Kind: "uniform", Base: delay}})
	d = longest(func() {})
	if d.Network < delay*3/4 || d.Network > most || max(d.Late, d.SendWait) > time.Millisecond || d.Read > small {
		t.Errorf("on a slow network: %+v", d)
	}
}

// A stamp below the socket splits the receiver's own delay in two. Without any stamp none of it is known.
func TestDelaysOfTheReceiver(t *testing.T) {
	w, a, _, p, source := pairBelow(t)
	const below = 20 * time.Microsecond
	newest := func() Sample {
		w.run(200 * time.Millisecond)
		return p.Stats().Last
	}
	if s := newest(); s.Source != clock.Kernel || s.Host != 0 || s.Read == 0 {
		t.Errorf("with the kernel's stamp: %+v", s)
	}
	source.stamp = func(uint64) (clock.Stamp, bool) {
		s := a.shards[0]
		stamp, ok := s.stamp(0)
		return clock.Stamp{At: stamp.At.Add(-below), Source: clock.NIC}, ok
	}
	before := newest()
	if before.Source != clock.NIC || before.Host != below || before.Read == 0 {
		t.Errorf("with a stamp below: %+v", before)
	}
	stats := a.Stats()
	if n := stats.Stamps.Arrivals; n[clock.NIC] == 0 || n[clock.Kernel] == 0 || n[clock.BPF] != 0 {
		t.Errorf("stamped: %v", n)
	}
	source.stamp, a.host.NoStamps = nil, true
	if s := newest(); s.Source != clock.User || s.Host+s.Read != 0 || a.Stats().Stamps.Arrivals[clock.User] == stats.Stamps.Arrivals[clock.User] {
		t.Errorf("without a stamp: %+v", s)
	}
}

// An event has the parts of the last heartbeat, and the wait that was told last.
func TestDelaysOfEvents(t *testing.T) {
	w, from, to, p := watching(t, stamping(1), Config{})
	from.host.HoldSends(8 * time.Millisecond)
	w.run(20 * time.Millisecond)
	want := p.Stats()
	from.host.Crash()
	w.run(time.Second)
	last := to.log[len(to.log)-1]
	if last.To != Failed || last.Delays != want.Last.Delays || last.SendWait != want.SendWait || want.SendWait == 0 || last.Delays.Read == 0 {
		t.Errorf("%+v, want delays %+v", last, want)
	}
}

// preempted is a socket whose turn is preempted for a while after it has read the clock, if by is not 0.
type preempted struct {
	network.World
	shard *shard
	by    time.Duration
}

func (n *preempted) Stamp(j int) int64 {
	if n.by != 0 {
		return n.shard.reading.Wall + int64(n.by)
	}
	return n.World.Stamp(j)
}

// A heartbeat that arrives after its turn has read the clock counts as if it had arrived then. That is too
// early, and must not make the least delay, or the least round trip, too small.
func TestArrivalAfterTheClockIsNoMeasure(t *testing.T) {
	for _, by := range []time.Duration{time.Millisecond, 18 * time.Millisecond} {
		w, from, to, p := watching(t, Config{}, Config{Window: 256})
		s := to.shards[0]
		socket := &preempted{World: s.net.(network.World), shard: s}
		s.net = socket
		w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
			var h wire.Header
			if _, fault := wire.Decode(d.Data, &h); fault == wire.OK && d.From == from.addr() {
				h.SendInstant += int64(socket.by) // it was sent after the clock was read
				h.EchoResidence += uint64(socket.by)
				d.Data, _ = wire.Append(nil, &h, nil)
			}
			return []*sim.Datagram{d}
		}
		w.run(time.Second)
		before := p.Stats().LeastRoundTrip
		for range 30 {
			socket.by = by
			w.run(10 * time.Millisecond)
			socket.by = 0
			w.run(100 * time.Millisecond)
		}
		var samples [64]Sample
		n, _ := p.Samples(samples[:])
		for _, s := range samples[:n] {
			if s.Network > 300*time.Microsecond {
				t.Errorf("%v ahead: %+v", by, s)
			}
		}
		if trip := p.Stats().LeastRoundTrip; trip < before*9/10 {
			t.Errorf("%v ahead: least round trip %v, was %v", by, trip, before)
		}
	}
}
