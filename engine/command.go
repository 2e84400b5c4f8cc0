package engine

import (
	"time"

	"systole/engine/clock"
	"systole/engine/internal/book"
	"systole/engine/internal/network"
	"systole/wire"
)

// commandKind is the kind of a command.
type commandKind uint8

const (
	commandAdd        commandKind = iota // watch a peer in a free slot
	commandConfigure                     // make a stranger a configured peer
	commandAdjust                        // give a configured peer another period and class
	commandRemove                        // send a goodbye and free the slot
	commandForget                        // free the slot of a stranger
	commandAddress                       // the name or interface of the peer has a new address
	commandUnresolved                    // publish that the peer has no address, by its name or for want of its interface
	commandPush                          // send the peer a heartbeat at once
	commandRisk                          // publish PromiseAtRisk
	commandCollision                     // publish that two peers have one id
	commandRead                          // turn, and thereby read the sockets; read Config.Arrivals for the peer
	commandLeave                         // say goodbye to all peers
)

// command is a request of another goroutine to a shard. It holds no pointer.
type command struct {
	kind       commandKind
	slot       uint32
	generation uint32
	watch
}

// watch is the arguments of a command: a PeerConfig as the shard needs it, or another peer.
type watch struct {
	addr    network.Addr
	id      uint64
	period  time.Duration // 0: Config.Period
	class   uint8
	named   bool  // addr comes from a name
	admit   bool  // the peer is a stranger
	try     bool  // ignore addr if the peer is heard at its present address
	socket  uint8 // see network.Network
	source  uint8 // see network.Network
	other   uint32
	otherOf uint32 // generation of other
}

const (
	commandRing     = 4096 // size per shard
	commandsPerTurn = 1024
)

// post queues a command for the shard and wakes the shard. It reports false if the ring is full. Any
// goroutine may call it.
func (s *shard) post(c command) bool {
	if !s.ring.TryPush(c) {
		return false
	}
	s.net.Wake()
	return true
}

// tell posts a command to the shard of its slot. It reports false if the ring is full.
func (e *Engine) tell(c command) bool { return e.shards[e.shardOf(c.slot)].post(c) }

// post posts a command to the shard of its slot. A burst of commands may fill the ring, which the next
// turn empties: so post waits for room a little, except on a Manual engine.
func (e *Engine) post(c command) error {
	for end := e.reading().Now.Add(maxPostWait); !e.tell(c); time.Sleep(postWait) {
		if e.cfg.Manual || e.reading().Now >= end {
			return ErrBusy
		}
	}
	return nil
}

const (
	postWait    = 50 * time.Microsecond
	maxPostWait = time.Second
)

// commands executes up to commandsPerTurn commands.
func (s *shard) commands() {
	for range commandsPerTurn / len(s.commandBatch) {
		n := s.ring.PopBatch(s.commandBatch[:])
		s.cost.units += n
		for i := range n {
			s.command(&s.commandBatch[i])
		}
		if n < len(s.commandBatch) {
			return
		}
	}
	s.unfinished = true
}

// command executes one command. A command for a peer that was removed meanwhile does nothing.
func (s *shard) command(c *command) {
	switch c.kind {
	case commandLeave:
		s.startLeaving()
		return
	case commandRisk:
		s.publishNode(NodeEvent{Cause: PromiseAtRisk})
		return
	case commandAdd:
		s.add(c.slot, c.generation, &c.watch)
		return
	}
	s.readAsked = s.readAsked || c.kind == commandRead
	p := s.table.peer(c.slot)
	if p.verdict.generation() != c.generation || p.session.mine == 0 {
		return
	}
	s.readBelow(p, c.slot, s.now) // what arrived before the command is known to it
	switch c.kind {
	case commandConfigure:
		s.configure(p, c.slot, &c.watch)
	case commandAdjust:
		s.adjust(p, &c.watch)
	case commandRemove:
		s.remove(p, c.slot, ByCaller)
	case commandPush:
		s.push(p, c.slot)
	case commandForget:
		s.remove(p, c.slot, Forgotten)
	case commandAddress:
		s.readdress(p, c.slot, &c.addr, c.try)
	case commandUnresolved:
		s.unresolved(p, c)
	case commandCollision:
		s.publishNode(NodeEvent{
			Cause: IDCollision, ID: p.session.id.Get(), Incarnation: p.session.incarnation.Get(),
			Others: [2]Peer{{s.engine, c.slot, c.generation}, {s.engine, c.other, c.otherOf}},
		})
	}
}

// add begins to watch a peer in a free slot.
func (s *shard) add(slot, generation uint32, w *watch) {
	p := s.table.peer(slot)
	p.verdict.begin(generation)
	p.counts.begin()
	if f := s.table.figures(slot); f != nil {
		f.clear()
	}
	p.deadline.begin()
	p.sends.begin()
	p.path.begin(w.class)
	p.pace.begin(s.wantedPeriod(w), w.period == 0 && s.engine.cfg.follow, w.admit)
	p.session.begin(s.discriminator(slot), w.id)
	s.counters.peers.Add(1)
	s.forget(slot)
	c, i := s.table.at(slot)
	s.table.samples.Reset(s.table.sampleWindow(c, i))
	p.path.via(w.socket, w.source)
	p.path.place(&w.addr)
	if w.named {
		p.path.isNamed()
	}
	s.transition(p, slot, Connecting, Added, s.now)
	if w.addr.IsZero() {
		return // its name has not resolved yet
	}
	s.schedule(p, slot)
}

// wantedPeriod returns the configured period of a peer.
func (s *shard) wantedPeriod(w *watch) time.Duration {
	if w.period != 0 {
		return onGrid(w.period, s.grid)
	}
	return s.engine.periodOf(w.class)
}

// discriminator returns a new discriminator of ours for slot.
func (s *shard) discriminator(slot uint32) uint64 {
	return max(s.engine.random()>>wire.SlotBits, 1)<<wire.SlotBits | uint64(slot)
}

// configure makes a stranger a configured peer. The book has it at the configured place and, until now,
// also at the stranger's place.
func (s *shard) configure(p *peer, slot uint32, w *watch) {
	was := s.place(p, slot)
	s.count(p, p.verdict.state(), -1) // as a stranger
	p.path.classify(w.class)
	p.session.pin(w.id != 0)
	p.pace.configure(s.wantedPeriod(w), w.period == 0 && s.engine.cfg.follow)
	s.count(p, p.verdict.state(), +1)
	p.pace.negotiate(s.grid)
	if w.source != network.AnySource {
		p.path.via(w.socket, w.source)
	}
	e, is := p.entry(slot), s.place(p, slot)
	s.engine.book.Enter(is, e)
	for _, old := range [...]book.Place{was, {Addr: w.addr, ID: w.id}} {
		if old != is {
			s.engine.book.Leave(old, e)
		}
	}
}

// adjust gives a configured peer another wanted period and class.
func (s *shard) adjust(p *peer, w *watch) {
	p.path.classify(w.class)
	p.pace.configure(s.wantedPeriod(w), w.period == 0 && s.engine.cfg.follow)
	p.pace.negotiate(s.grid)
}

// schedule starts the heartbeats to p. A hash of the slot selects the grid step within the period, so
// that heartbeats to peers added together are spread.
func (s *shard) schedule(p *peer, slot uint32) {
	steps := uint64(p.pace.period) / uint64(s.grid)
	step := (mix(uint64(slot)+1) >> 32) * steps >> 32
	start := int64(s.now) / p.pace.period * p.pace.period
	next := clock.Instant(start + int64(step)*int64(s.grid))
	for next <= s.now {
		next += clock.Instant(p.pace.period)
	}
	p.pace.at(next)
	s.wheel.Set(sendTimer(slot), next)
}

// mix hashes n: Fibonacci hashing (Knuth, TAOCP 6.4), with an odd multiplier near 2^64/φ.
func mix(n uint64) uint64 { return n * 0x9E3779B97F4A7C15 }

// readdress moves p to a new address of its name. With try it does nothing while p is heard at its
// present address. Otherwise the name no longer has that address: what is heard there is not p any
// more, so p gets a new discriminator. A stranger admitted at the new address is removed: p replaces
// it.
func (s *shard) readdress(p *peer, slot uint32, addr *network.Addr, try bool) {
	old, touch := p.path.addr(), p.isHeard()
	if old == *addr || try && touch {
		return
	}
	s.engine.book.Leave(s.place(p, slot), p.entry(slot))
	s.resides(p, slot, addr)
	s.engine.book.Enter(s.place(p, slot), p.entry(slot))
	if stranger := s.engine.book.Oust(s.place(p, slot)); stranger.Slot != 0 {
		s.engine.tell(command{kind: commandForget, slot: stranger.Slot, generation: stranger.Generation})
	}
	if touch {
		s.unwatchBelow(p, slot)
		p.session.part(s.discriminator(slot))
		p.path.renew()
	}
	s.reroute(p, slot)
	if old.IsZero() {
		s.schedule(p, slot)
	}
	s.send(p, slot, s.now)
}

// unresolved publishes why a peer has no address: its name does not resolve, or this host lacks its interface.
func (s *shard) unresolved(p *peer, c *command) {
	addr := p.path.addr()
	if !addr.IsZero() || p.verdict.state() != Connecting {
		return
	}
	why := NoSocket
	if c.named {
		why = Unresolved
	}
	s.transition(p, c.slot, Connecting, why, s.now)
}

// place returns the place at which the book has p.
func (s *shard) place(p *peer, slot uint32) book.Place {
	place := book.Place{Addr: s.home(p, slot)}
	if p.session.pinned {
		place.ID = p.session.id.Get()
	}
	return place
}

// entry returns the entry of p in the book.
func (p *peer) entry(slot uint32) book.Entry {
	return book.Entry{Slot: slot, Generation: p.verdict.generation(), Admitted: p.pace.admitted}
}

// forgetStranger removes a stranger that failed or left, unless AddPeer has configured it meanwhile.
func (s *shard) forgetStranger(p *peer, slot uint32) {
	if s.engine.book.Forget(p.entry(slot)) {
		s.remove(p, slot, Forgotten)
	}
}

// remove ends the watch of a peer. A peer that a caller removes gets a goodbye, so that it does not take
// our silence for a failure.
func (s *shard) remove(p *peer, slot uint32, cause Cause) {
	if cause == ByCaller && p.pace.mayLeave() {
		p.pace.leave()
		s.send(p, slot, s.now)
	}
	s.wheel.Cancel(sendTimer(slot))
	s.wheel.Cancel(judgeTimer(slot))
	s.engine.book.Leave(s.place(p, slot), p.entry(slot))
	delete(s.homes, slot)
	s.counters.peers.Add(^uint64(0))
	s.setFault(p, NoCause)
	s.transition(p, slot, Removed, cause, s.now) // readers of the event may add the peer again
	s.unwatchBelow(p, slot)
	p.session.end()
	s.unfreed = append(s.unfreed, slot)
}

// freeSlots passes the slots of removed peers to AddPeer, at the end of the turn: before, the send batch
// may hold a heartbeat to such a peer, whose refusal names the slot. Slots that a full ring does not
// take wait for the next turn.
func (s *shard) freeSlots() {
	n := len(s.unfreed)
	for n > 0 && s.engine.freed.TryPush(s.unfreed[n-1]) {
		n--
	}
	s.unfreed = s.unfreed[:n]
}
