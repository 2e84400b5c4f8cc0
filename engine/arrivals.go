// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package engine

import (
	"net/netip"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/wire"
)

// Arrivals is a source of arrivals below the sockets, for instance a BPF program at a network device. A
// source stamps datagrams earlier than the kernel's network stack does. It can also take heartbeats,
// which then reach no socket and wake no loop. An implementation needs packages wire and clock, and
// not this one.
//
// A datagram belongs to a peer if its your discriminator is ours for the peer, and its my discriminator
// is theirs. The engine calls Watch once per session. It asks for taken heartbeats when a deadline is
// near, and before each heartbeat to the peer, so each is read within a period of ours.
//
// The loop of the peer's shard calls all methods; Close calls Watch when the loops have ended. The
// methods must not block, and should not allocate. Different shards call them at the same time for
// different peers.
type Arrivals interface {
	// Watch announces the session of a peer. A later call with the same ours replaces theirs. With theirs
	// 0 the session is over, and what was taken for it is not read any more.
	//
	// From then on the source may take datagrams with both discriminators. It should take only those
	// that can wait, which have no messages and no flags but wire.FlagFollowUp. What it has no room for
	// it should leave to the socket. With keys, it should verify the tag: a forged datagram must not
	// use up the room.
	Watch(ours, theirs uint64)
	// Next moves the oldest datagram that was taken for a peer into b, if it arrived at until or before. It
	// returns its length, its source address, whose zone is a number, and its arrival; length 0 means
	// that there is none. A datagram longer than b is cut off. The engine checks it like any other.
	Next(ours uint64, until clock.Instant, b []byte) (n int, from netip.AddrPort, arrival clock.Stamp)
	// Arrived returns the arrival of a datagram that the engine has read from a socket, and false if the
	// source has no stamp of it.
	Arrived(ours, sequence uint64) (arrival clock.Stamp, ok bool)
	// HandedOff returns when the network driver took a heartbeat of this node, which has ours as its my
	// discriminator, and false if the source does not know. Before the engine writes a heartbeat, it asks for
	// those of the last eight that were not told, in their order. The one that it writes tells the peer the
	// wait of one of them; see PeerStats.SendWait.
	HandedOff(ours, sequence uint64) (at clock.Instant, ok bool)
}

// watchBelow announces p's session to Config.Arrivals, unless that was done or the session is stateless.
func (s *shard) watchBelow(p *peer, slot uint32) {
	if a := s.engine.cfg.Arrivals; a != nil && !p.session.watched && !p.session.stateless() {
		p.session.watch(true)
		s.table.showBelow(slot, s.now)
		a.Watch(p.session.mine, p.session.theirs.Get())
	}
}

// unwatchBelow ends that, because the session ends or our discriminator changes.
func (s *shard) unwatchBelow(p *peer, slot uint32) {
	if p.session.watched {
		p.session.watch(false)
		s.table.showBelow(slot, 0)
		s.engine.cfg.Arrivals.Watch(p.session.mine, 0)
	}
}

// showBelow publishes up to when Config.Arrivals was read for the peer in slot, 0 if it does not watch it.
func (t *table) showBelow(slot uint32, to clock.Instant) {
	c, i := t.at(slot)
	c.below[i].Set(uint64(to))
}

// belowTo returns what showBelow published, clock.Never in place of 0. Any goroutine may call it.
func (t *table) belowTo(slot uint32) clock.Instant {
	if t.taken {
		c, i := t.at(slot)
		if to := clock.Instant(c.below[i].Load()); to != 0 {
			return to
		}
	}
	return clock.Never
}

// readBelow reads the heartbeats that Config.Arrivals has taken for p until an instant: the present one,
// or the arrival of a datagram that a socket had, so that p's heartbeats stay in order.
func (s *shard) readBelow(p *peer, slot uint32, until clock.Instant) {
	for range takenPerRead {
		if !p.session.watched {
			return // or not any more: the last heartbeat was a goodbye
		}
		n, from, arrival := s.engine.cfg.Arrivals.Next(p.session.mine, until, s.taken[:])
		if n <= 0 {
			if until == s.now {
				s.table.showBelow(slot, until)
			}
			return
		}
		s.cost.units++
		s.counters.received.Add(1)
		s.takenBelow(p, slot, s.taken[:min(n, len(s.taken))], from, arrival)
	}
}

// takenPerRead bounds how many heartbeats of one peer are read at once.
const takenPerRead = 64

// takenBelow handles a datagram that Config.Arrivals took for p. Only heartbeats of p's session are
// expected there.
func (s *shard) takenBelow(p *peer, slot uint32, b []byte, from netip.AddrPort, arrival clock.Stamp) {
	h := &s.inBelow
	messages, fault := wire.Decode(b, h)
	if fault == wire.OK {
		fault = s.authentic(b, h, slot)
	}
	if fault != wire.OK {
		s.counters.fault(fault)
		return
	}
	if h.YourDiscriminator != p.session.mine || !p.session.is(h) {
		s.counters.stale.Add(1)
		return
	}
	if !s.plausible(p, arrival.At, s.now) {
		s.counters.stampsRefused.Add(1)
		arrival = clock.Stamp{At: s.now}
	}
	s.counters.taken.Add(1)
	s.stamped(arrival, arrival)
	s.delays.Read = 0 // it was not due
	s.fromBelow = network.AddrFrom(from)
	s.heartbeat(p, slot, h, messages, &s.fromBelow, arrival.At)
}

// stampBelow returns the arrival by Config.Arrivals of h, which a socket stamped with arrival: that one
// if there is no better.
func (s *shard) stampBelow(p *peer, h *wire.Header, arrival clock.Stamp) clock.Stamp {
	if !p.session.watched {
		return arrival
	}
	below, ok := s.engine.cfg.Arrivals.Arrived(p.session.mine, h.Sequence)
	switch {
	case !ok:
		return arrival
	case !s.plausible(p, below.At, arrival.At):
		s.counters.stampsRefused.Add(1)
		return arrival
	}
	return below
}

// handOffBelow asks Config.Arrivals for hand-offs of heartbeats to p that were not told. A heartbeat may wait
// in this host for several periods, and several may leave together. The first that has waited long is told,
// so that none is passed over in a queue; else the last one, so that the peer knows it soon. The last one
// is the first to be told of all.
func (s *shard) handOffBelow(p *peer, slot uint32) {
	if !p.session.watched {
		return
	}
	last, before := p.sends.sequence.Get(), s.table.handedOffLast(slot)
	untold := min(uint64(uint32(last)-before), sentRing, last)
	var known uint64
	var wait time.Duration
	for sequence := last - untold + 1; sequence <= last && (wait < longWait || before == 0); sequence++ {
		if w, ok := s.waitBelow(p, sequence); ok {
			known, wait = sequence, w
		}
	}
	if known != 0 {
		s.handedOff(slot, known, wait)
	}
}

// longWait is more than a driver that has no queue takes.
const longWait = 100 * time.Microsecond

// waitBelow asks Config.Arrivals how long a heartbeat to p waited in this host.
func (s *shard) waitBelow(p *peer, sequence uint64) (time.Duration, bool) {
	written := p.sends.instant(sequence, s.now)
	at, ok := s.engine.cfg.Arrivals.HandedOff(p.session.mine, sequence)
	switch {
	case !ok || written == 0:
		return 0, false
	case at < written || at > s.now:
		s.counters.sendStampsRefused.Add(1)
		return 0, false
	}
	s.counters.sendsStamped.Add(1)
	return at.Sub(written), true
}

// plausible reports whether a stamp of Config.Arrivals lies within p's session, and no later than latest.
func (s *shard) plausible(p *peer, at, latest clock.Instant) bool {
	return at >= p.session.since.Add(-stampSlack) && at <= latest
}

// stampSlack is how much earlier than the turn that began a session its first heartbeats may be stamped.
const stampSlack = time.Second
