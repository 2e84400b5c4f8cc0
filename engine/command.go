package engine

import (
	"time"

	"systole/engine/clock"
	"systole/engine/internal/book"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
	"systole/wire"
)

// commandKind says what another goroutine asks of a shard.
type commandKind uint8

const (
	commandAdd        commandKind = iota // watch a peer in a free slot
	commandConfigure                     // slot's stranger is a configured peer now
	commandRemove                        // say goodbye to slot's peer and free the slot
	commandForget                        // free slot, a stranger's that has given way
	commandAddress                       // slot's name now has addr
	commandUnresolved                    // publish that slot's name does not resolve
	commandRisk                          // publish that the promise is at risk
	commandCollision                     // publish that slot's peer and another one have one id
	commandRead                          // turn, and so read the sockets
	commandLeave                         // say goodbye to everybody, then report
)

// command is one request to a shard, by value and without pointers.
type command struct {
	kind       commandKind
	slot       uint32
	generation uint32
	watch
}

// watch is what a command says of a peer: PeerConfig as the shard needs it, or another slot.
type watch struct {
	addr    udp.Addr
	id      uint64
	period  time.Duration // 0: as the engine's
	class   uint8
	named   bool  // its name gives it an address
	admit   bool  // it is a stranger
	try     bool  // addr is to be tried, unless the peer is heard where it is
	socket  uint8 // see network.Network
	source  uint8
	other   uint32
	otherOf uint32 // its generation
}

const (
	commandRing     = 4096 // per shard
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

// commands executes what other goroutines asked for, at most commandsPerTurn of it.
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

// command executes one request. A request for a peer that is gone meanwhile is void.
func (s *shard) command(c *command) {
	switch c.kind {
	case commandLeave:
		s.startLeaving()
		return
	case commandRisk:
		s.publishNode(record{cause: PromiseAtRisk})
		return
	case commandRead:
		s.readAsked = true
		return
	case commandAdd:
		s.add(c.slot, c.generation, &c.watch)
		return
	}
	p := s.table.peer(c.slot)
	if p.verdict.generation() != c.generation || p.session.mine == 0 {
		return
	}
	switch c.kind {
	case commandConfigure:
		s.configure(p, c.slot, &c.watch)
	case commandRemove:
		s.remove(p, c.slot, ByCaller)
	case commandForget:
		s.remove(p, c.slot, Forgotten)
	case commandAddress:
		s.readdress(p, c.slot, &c.addr, c.try)
	case commandUnresolved:
		if addr := p.path.addr(); addr.IsZero() && p.verdict.state() == Connecting {
			s.transition(p, c.slot, Connecting, Unresolved, s.now)
		}
	case commandCollision:
		s.publishNode(record{
			cause: IDCollision, id: p.session.id.Get(), incarnation: p.session.incarnation.Get(),
			slot: c.slot, generation: c.generation, other: c.other, otherOf: c.otherOf,
		})
	}
}

// add begins to watch a peer in a free slot.
func (s *shard) add(slot, generation uint32, w *watch) {
	p := s.table.peer(slot)
	p.verdict.begin(generation)
	p.counts.begin()
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
		return // its name gives it an address
	}
	s.schedule(p, slot)
}

// wantedPeriod returns the period that the configuration wants for a peer.
func (s *shard) wantedPeriod(w *watch) time.Duration {
	switch {
	case w.period != 0:
		return onGrid(w.period, s.grid)
	case s.engine.cfg.follow && !w.admit:
		return s.engine.periodOf(w.class)
	}
	return s.engine.cfg.Period
}

// discriminator returns a new discriminator of ours for slot.
func (s *shard) discriminator(slot uint32) uint64 {

	return max(s.engine.random()>>wire.SlotBits, 1)<<wire.SlotBits | uint64(slot)
}

// configure makes a stranger that was admitted a configured peer. The book has it at the place that was
// asked for and, until now, where it was.
func (s *shard) configure(p *peer, slot uint32, w *watch) {
	was := s.place(p, slot)
	s.count(p, p.verdict.state(), -1)
	p.path.classify(w.class)
	p.session.pin(w.id != 0)
	p.pace.configure(s.wantedPeriod(w), w.period == 0 && s.engine.cfg.follow)
	s.count(p, p.verdict.state(), +1) // among the others
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

// schedule starts p's heartbeats, in the grid step of the period that its slot's hash
// says, so that peers added together do not send together.
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

// mix spreads numbers that differ in few bits over all of a word: Fibonacci hashing
// (Knuth, TAOCP 6.4), by an odd multiplier near 2^64/φ.
func mix(n uint64) uint64 { return n * 0x9E3779B97F4A7C15 }

// readdress moves p to an address that its name has. One to be tried is for a peer that is not heard
// where it is. Else the name no longer has where p is in touch: whoever is there is not p any
// more, and a new discriminator tells the new place's answers from its. A stranger that was admitted there
// gives way: its process is p now.
func (s *shard) readdress(p *peer, slot uint32, addr *udp.Addr, try bool) {
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
		p.session.part(s.discriminator(slot))
		p.path.renew()
	}
	s.reroute(p, slot)
	if old.IsZero() {
		s.schedule(p, slot)
	}
	s.send(p, slot, s.now)
}

// place returns where the book has p.
func (s *shard) place(p *peer, slot uint32) book.Place {
	place := book.Place{Addr: s.home(p, slot)}
	if p.session.pinned {
		place.ID = p.session.id.Get()
	}
	return place
}

// entry returns p as the book has it.
func (p *peer) entry(slot uint32) book.Entry {
	return book.Entry{Slot: slot, Generation: p.verdict.generation(), Admitted: p.pace.admitted}
}

// forgetStranger ends the watch of a stranger that failed or left, unless a caller has configured it.
func (s *shard) forgetStranger(p *peer, slot uint32) {
	if s.engine.book.Forget(p.entry(slot)) {
		s.remove(p, slot, Forgotten)
	}
}

// remove ends the watch of a peer: it is told goodbye, so that it does not take our
// silence for a failure.
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
	s.transition(p, slot, Removed, cause, s.now) // whoever sees it may add the peer again
	p.session.end()
	s.unfreed = append(s.unfreed, slot)
}

// freeSlots gives the released slots back when the turn ends: until then a batch may hold a heartbeat
// to one, the goodbye for instance, whose refusal names the slot. Those that the full ring does not
// take wait for the next turn.
func (s *shard) freeSlots() {
	n := len(s.unfreed)
	for n > 0 && s.engine.freed.TryPush(s.unfreed[n-1]) {
		n--
	}
	s.unfreed = s.unfreed[:n]
}
