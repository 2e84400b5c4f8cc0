package engine

import (
	"systole/engine/clock"
	"systole/engine/internal/udp"
)

// commandKind says what another goroutine asks of a shard.
type commandKind uint8

const (
	commandAdd      commandKind = iota // slot was filled in: watch it; arg is the stranger that gives way, if any
	commandRemove                      // say goodbye to slot and free it
	commandReplace                     // free slot, an admitted stranger's: another peer is expected there
	commandAddress                     // slot's address is now addr
	commandHandOver                    // give slot to the shard of the id arg
	commandAdopt                       // take in slot, which another shard has handed over
	commandPeriod                      // slot's wanted period is arg nanoseconds
	commandRisk                        // publish that the promise is at risk
	commandRead                        // turn, and so read the sockets
	commandLeave                       // say goodbye to everybody, then report
)

// command is one request to a shard, by value and without pointers.
type command struct {
	kind       commandKind
	slot       uint32
	generation uint32
	arg        uint64
	addr       udp.Addr
}

const (
	commandRing     = 4096 // per shard
	commandsPerTurn = 1024
)

// commands executes what other goroutines asked for, at most commandsPerTurn of it.
func (s *shard) commands() {
	for range commandsPerTurn / len(s.commandBatch) {
		n := s.ring.PopBatch(s.commandBatch[:])
		s.work.units += n
		for i := range n {
			s.command(&s.commandBatch[i])
		}
		if n < len(s.commandBatch) {
			return
		}
	}
	s.unfinished = true
}

// command executes one request. A request for a peer that is gone meanwhile is void.
func (s *shard) command(c *command) {
	switch c.kind {
	case commandLeave:
		s.startLeaving()
		return
	case commandRisk:
		s.publishNode(PromiseAtRisk, 0)
		return
	case commandRead:
		s.readAsked = true
		return
	}
	p := s.table.peer(c.slot)
	if owner := p.owner.Load(); owner != uint64(s.number)+1 {
		if owner != 0 {
			s.pass(int(owner)-1, *c)
		}
		return
	}
	if c.kind != commandAdd && p.state() == Unknown {
		return // not yet this shard's: its commandAdd is still to come
	}
	if p.generation != c.generation {
		return
	}
	s.adopt(p, c.slot) // if it was handed over: see handover.go
	switch c.kind {
	case commandAdd:
		s.giveWay(c.arg)
		s.add(p, c.slot)
	case commandRemove:
		s.remove(p, c.slot, ByCaller)
	case commandReplace:
		if p.flags&flagAdmitted != 0 {
			s.remove(p, c.slot, Replaced)
		}
	case commandAddress:
		s.readdress(p, c.slot, &c.addr)
	case commandHandOver:
		s.handOver(p, c.slot, c.arg, &c.addr)
	case commandPeriod:
		s.setPeriod(p, int64(c.arg))
	}
}

// add begins to watch the peer in slot.
func (s *shard) add(p *peer, slot uint32) {
	s.counters.peers.Add(1)
	if id := p.known.Get(); id != 0 {
		s.claim(id, slot)
	}
	p.checkAt = clock.Never
	p.number(s.engine.sequences.Load())
	s.forget(slot)
	s.transition(p, slot, Connecting, Added, s.now)
	if p.flags&flagNamed != 0 && p.addr.IsZero() {
		return // the resolver sends an address
	}
	s.schedule(p, slot)
}

// number begins p's sequences after last.
func (p *peer) number(last uint64) {
	p.sentFrom.Set(last) // first, so that no reader finds more sent than was
	p.sent.Set(last)
}

// claim maps id to slot. A peer that was added under the id that an admitted stranger or
// a learned peer has takes its place.
func (s *shard) claim(id uint64, slot uint32) {
	if old := s.index.lookup(id); old != noSlot && old != slot {
		s.remove(s.table.peer(old), old, Replaced)
	}
	s.index.insert(id, slot)
}

// schedule starts p's heartbeats, in the grid step of the period that its slot's hash
// says, so that peers added together do not send together.
func (s *shard) schedule(p *peer, slot uint32) {
	steps := uint64(p.period) / uint64(s.grid)
	step := (mix(uint64(slot)+1) >> 32) * steps >> 32
	start := int64(s.now) / p.period * p.period
	next := clock.Instant(start + int64(step)*int64(s.grid))
	for next <= s.now {
		next += clock.Instant(p.period)
	}
	p.nextSend = next
	s.wheel.Set(sendTimer(slot), next)
}

// readdress moves p to a new address, as its name now resolves. Its identity stays.
func (s *shard) readdress(p *peer, slot uint32, addr *udp.Addr) {
	if p.addr == *addr {
		return
	}
	first := p.addr.IsZero()
	s.leaveAddress(p, slot)
	p.addr = *addr
	switch {
	case first:
		s.awaitFirst(p, slot)
	case p.flags&flagPinned != 0:
	case p.state() == Alive:
		s.unawait(p, slot)
	default:
		s.enter(p, slot, placeAwaited, placeWatched)
	}
	p.socket = s.socketFor(addr)
	if p.flags&flagLinkGone != 0 {
		s.linkBack(p, slot) // there may be a way to the new address
	}
	if first {
		s.schedule(p, slot)
	}
}

// setPeriod changes the period that the configuration asks for.
func (s *shard) setPeriod(p *peer, wanted int64) {
	p.wanted = uint32(wanted / 1000)
	s.negotiate(p, 0)
}

// remove ends the watch of a peer: it is told goodbye, so that it does not take our
// silence for a failure.
func (s *shard) remove(p *peer, slot uint32, cause Cause) {
	if !p.addr.IsZero() && cause == ByCaller {
		p.flags |= flagLeaving
		s.send(p, slot, s.now)
	}
	s.wheel.Cancel(sendTimer(slot))
	s.wheel.Cancel(judgeTimer(slot))
	if id := p.known.Get(); id != 0 && s.index.lookup(id) == slot {
		s.index.remove(id)
	}
	s.leaveAddress(p, slot)
	if p.flags&flagAdmitted != 0 {
		s.admitted--
	}
	s.engine.wrote(p.sent.Get())
	s.counters.peers.Add(^uint64(0))
	s.setLinkGone(p, false)
	s.transition(p, slot, Removed, cause, s.now) // whoever sees it may add the peer again
	p.owner.Set(0)
	p.generation++
	s.release(slot)
}

// wrote notes the last sequence to a peer that is removed. Whoever is added later gets
// greater ones: it may be the same process, which takes what it had before for old.
func (e *Engine) wrote(sequence uint64) {
	for {
		last := e.sequences.Load()
		if sequence <= last || e.sequences.CompareAndSwap(last, sequence) {
			return
		}
	}
}

// release gives slot back to the free list when the turn ends: until then a batch may hold
// a heartbeat to it, the goodbye for instance, whose refusal names the slot.
func (s *shard) release(slot uint32) { s.unfreed = append(s.unfreed, slot) }

// freeSlots gives back the released slots. Those that the full ring does not take wait for
// the next turn; nothing else is kept for them.
func (s *shard) freeSlots() {
	n := len(s.unfreed)
	for n > 0 && s.engine.freed.TryPush(s.unfreed[n-1]) {
		n--
	}
	s.unfreed = s.unfreed[:n]
}
