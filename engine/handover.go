package engine

import (
	"slices"

	"systole/engine/clock"
	"systole/engine/internal/udp"
)

// A peer is handed over from the shard that owns it to the one on which its id's heartbeats
// arrive. No two shards touch it at once, because of the order of the stores:
//
//  1. The old shard takes the peer out of its wheel, its index and its counts, and writes
//     what is new about it: its id, and flagHandedOver.
//  2. It stores the owner word. From there on the peer is the new shard's. Commands of other
//     goroutines go there; those that the old shard still finds in its ring, it passes on.
//  3. It tells the register of addresses, by which the new shard may find the peer.
//  4. It posts commandAdopt. While the new shard's ring is full, it tries again each turn.
//
// The new shard takes the peer in at whatever comes first: that command, another one for the
// peer, a heartbeat from its address, or one of ours that was returned from there.
// flagHandedOver says that it has not done so yet.

// handOver gives the peer in slot to the shard on which id's heartbeats arrive, unless it is
// in touch again meanwhile, or elsewhere than id writes from.
func (s *shard) handOver(p *peer, slot uint32, id uint64, from *udp.Addr) {
	to := s.engine.shardOf(id)
	if to == s.number || !p.awaitedAt(from) {
		return
	}
	if p.flags&flagLinkGone != 0 {
		s.linkBack(p, slot) // something came from it; the new shard finds out for itself
	}
	s.wheel.Cancel(sendTimer(slot))
	s.wheel.Cancel(judgeTimer(slot))
	p.timerAt = 0
	s.count(p.state(), -1)
	s.counters.peers.Add(^uint64(0))
	s.succeed(p, id)
	p.flags |= flagHandedOver
	addr, generation := p.addr, p.generation

	p.owner.Set(uint64(to) + 1)
	s.engine.awaited.moved(addr, slot, generation, to)
	s.pass(to, command{kind: commandAdopt, slot: slot, generation: generation})
}

// adopt takes in the peer in slot if another shard has handed it over. Should its id be
// another peer's by now, that one keeps it, and this one goes on waiting at its address.
func (s *shard) adopt(p *peer, slot uint32) {
	if p.flags&flagHandedOver == 0 {
		return
	}
	p.flags &^= flagHandedOver
	s.counters.peers.Add(1)
	s.count(p.state(), +1)
	if id := p.known.Get(); s.index.lookup(id) == noSlot {
		s.index.insert(id, slot)
	} else {
		p.known.Set(0)
	}
	p.pausedBefore.Set(uint64(s.lostAt(s.now)))
	p.drops = s.drops
	s.schedule(p, slot)
	s.lookAt(p, slot, p.checkAt)
}

// passed is a command for another shard whose ring was full.
type passed struct {
	to      int
	command command
}

// pass hands a command to another shard, as soon as there is room.
func (s *shard) pass(to int, c command) {
	if !s.engine.shards[to].post(c) {
		s.unpassed = append(s.unpassed, passed{to, c})
	}
}

// passAgain tries what had no room. It takes no order: a peer is taken in with whichever
// command comes first, and those that come after its end are void.
func (s *shard) passAgain() {
	s.unpassed = slices.DeleteFunc(s.unpassed, func(c passed) bool { return s.engine.shards[c.to].post(c.command) })
}

// passAt is when the next turn is due for what had no room.
func (s *shard) passAt() clock.Instant {
	if len(s.unpassed) == 0 {
		return clock.Never
	}
	return s.now.Add(s.grid)
}
