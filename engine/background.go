package engine

import (
	"context"
	"net"
	"net/netip"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/names"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
)

// background does what may take its time and waits for nothing: it stocks shard 0 with free slots
// for strangers, revises periods, looks for two processes with one id and for interfaces that were made anew.
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

// backgroundEvery is how often what is due is done.
const backgroundEvery = time.Second

// backgroundTurn does what is due at now.
func (e *Engine) backgroundTurn(now clock.Instant) {
	e.findTwins(now)
	e.followZones()
	if now >= e.reviseAt {
		e.reviseAt = now.Add(replanEvery)
		e.revise()
	}
}

// simulatedTurn does at now what goroutines do where the world is not simulated, and returns when
// something is due again.
func (e *Engine) simulatedTurn(now clock.Instant) clock.Instant {
	e.restock()
	e.backgroundTurn(now)
	e.logNotes(now)
	return e.names.Turn(now)
}

// stashSize is how many free slots shard 0 has at hand for strangers.
const stashSize = 64

// ask wakes the background goroutine. It never waits.
func (e *Engine) ask() {
	select {
	case e.asked <- struct{}{}:
	default:
	}
}

// restock fills the stash of free slots, if strangers may be admitted.
func (e *Engine) restock() {
	if !e.cfg.Accept.Anyone {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for stash := e.shards[0].stash; stash.Len() < stashSize && !e.closed; {
		slot, err := e.takeSlot()
		if err != nil {
			return // full: strangers are refused and counted
		}
		if !stash.TryPush(slot) {
			e.free = append(e.free, slot)
			return
		}
	}
}

// openNames starts the look-ups of names; in a simulated world they happen in backgroundTurn.
func (e *Engine) openNames() {
	o := names.Options{Usable: e.usable, Status: e.look, Move: e.readdress, Unresolved: e.unresolved}
	var resolver Resolver = net.DefaultResolver
	switch {
	case e.cfg.Resolver != nil:
		resolver = e.cfg.Resolver
	case e.cfg.Network != nil:
		resolver = e.cfg.Network
	}
	if e.cfg.Network != nil {
		e.names = names.New(resolver, o)
		return
	}
	e.names = names.Start(resolver, o)
}

// usable reports whether a peer may be watched at an address that a name has: by the checks of AddPeer.
func (e *Engine) usable(a netip.AddrPort) bool {
	addr := udp.AddrFrom(a)
	return onePeer(a) && e.shards[0].net.SocketFor(&addr, network.AnySource) != network.NoSocket
}

// look tells the look-ups how a peer fares, and where it is watched.
func (e *Engine) look(k names.Key) (names.State, netip.AddrPort) {
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

// readdress passes on where a name has a peer now.
func (e *Engine) readdress(k names.Key, addr netip.AddrPort, try bool) bool {
	return e.tell(command{
		kind: commandAddress, slot: k.Slot, generation: k.Generation,
		watch: watch{addr: udp.AddrFrom(addr), try: try},
	})
}

// unresolved says once of a peer that its name never resolved: as an event, and to the log.
func (e *Engine) unresolved(k names.Key, host string, err error) {
	e.tell(command{kind: commandUnresolved, slot: k.Slot, generation: k.Generation})
	if e.cfg.Logger != nil {
		e.notes.TryPush(note{why: unresolved, name: host, err: err})
	}
}

// poke has the address of a named peer looked at, because the peer is silent or gone where it is.
func (e *Engine) poke(slot, generation uint32) {
	e.names.StateChanged(names.Key{Slot: slot, Generation: generation})
}
