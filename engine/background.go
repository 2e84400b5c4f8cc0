package engine

import (
	"context"
	"net"
	"net/netip"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/names"
	"systole/engine/internal/network"
)

// background does the slow work that must not delay a shard and never blocks: it stocks shard 0 with
// free slots for strangers, revises periods, finds processes with one id, and updates addresses whose
// interface was recreated.
func (e *Engine) background(ctx context.Context) {
	defer e.running.Done()
	tick := time.NewTicker(backgroundEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.asked:
			e.restock()
		case <-tick.C:
			e.backgroundTurn(clock.Now())
		}
	}
}

// backgroundEvery is the time between turns of the background goroutine.
const backgroundEvery = time.Second

// backgroundTurn does the periodic work that is due at now.
func (e *Engine) backgroundTurn(now clock.Instant) {
	e.findTwins(now)
	e.followZones()
	e.settleLabels()
	if now >= e.reviseAt {
		e.reviseAt = now.Add(replanEvery)
		e.revise()
	}
}

// settleLabels forgets the labels that peers needed until their shards had seen them.
func (e *Engine) settleLabels() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.labels.settle(len(e.labels.fresh))
}

// simulatedTurn does at now the work that goroutines do outside a simulated world. It returns when the
// next look-up of a name, or judgment of a peer with contexts, is due.
func (e *Engine) simulatedTurn(now clock.Instant) clock.Instant {
	e.restock()
	e.backgroundTurn(now)
	e.logNotes(now)
	return min(e.names.Turn(now), e.contexts.turn(now))
}

// stashSize is the number of free slots that shard 0 keeps for strangers.
const stashSize = 64

// ask makes the background goroutine restock. It never waits.
func (e *Engine) ask() {
	select {
	case e.asked <- struct{}{}:
	default:
	}
}

// restock fills the stash of shard 0 with free slots, if strangers may be admitted.
func (e *Engine) restock() {
	if !e.cfg.Accept.Anyone {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for stash := e.shards[0].stash; stash.Len() < stashSize && !e.stopping.Load(); {
		slot, err := e.takeSlot()
		if err != nil {
			return // table full: strangers are refused and counted
		}
		if !stash.TryPush(slot) {
			e.free = append(e.free, slot)
			return
		}
	}
}

// openNames starts the look-ups of names. In a simulated world simulatedTurn makes them.
func (e *Engine) openNames() {
	o := names.Options{Usable: e.usable, Status: e.nameStatus, Move: e.readdress, Unresolved: e.unresolved}
	var resolver Resolver = net.DefaultResolver
	start := names.Start
	if e.cfg.world != nil {
		resolver, start = e.cfg.world, names.New
	}
	if e.cfg.Resolver != nil {
		resolver = e.cfg.Resolver
	}
	e.names = start(resolver, o)
}

// usable reports whether AddPeer would accept an address that a name resolved to.
func (e *Engine) usable(a netip.AddrPort) bool {
	addr := network.AddrFrom(a)
	return onePeer(a) && e.shards[0].net.SocketFor(&addr, network.AnySource) != network.NoSocket
}

// nameStatus returns the state of a named peer and the address at which it is watched.
func (e *Engine) nameStatus(k names.Key) (names.State, netip.AddrPort) {
	p := Peer{e, k.Slot, k.Generation}
	state := names.Connecting
	switch p.State() {
	case Alive, OneWay:
		state = names.Alive
	case Suspect:
		state = names.Suspect
	case Failed, Left:
		state = names.Failed
	}
	return state, p.Addr()
}

// readdress passes the new address of a named peer to its shard. It reports false if the ring is full.
func (e *Engine) readdress(k names.Key, addr netip.AddrPort, try bool) bool {
	return e.tell(command{
		kind: commandAddress, slot: k.Slot, generation: k.Generation,
		watch: watch{addr: network.AddrFrom(addr), try: try},
	})
}

// unresolved reports that the name of a peer never resolved, as an event and in the log.
func (e *Engine) unresolved(k names.Key, _ string, err error) {
	e.tell(command{kind: commandUnresolved, slot: k.Slot, generation: k.Generation, watch: watch{named: true}})
	e.note(note{why: unresolved, peer: Peer{e, k.Slot, k.Generation}, err: err})
}

// poke requests a look-up of a named peer that is silent or gone at its present address.
func (e *Engine) poke(slot, generation uint32) {
	e.names.StateChanged(names.Key{Slot: slot, Generation: generation})
}
