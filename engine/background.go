package engine

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
)

// background does what may wait: it looks names up, stocks the shards with free slots
// for strangers, and revises periods.
func (e *Engine) background(ctx context.Context) {
	defer e.running.Done()
	again := time.NewTicker(resolveEvery)
	defer again.Stop()
	revise := time.NewTicker(replanEvery)
	defer revise.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.asked:
			e.answer(ctx)
		case <-revise.C:
			e.revise()
		case <-again.C:
			e.resolve(ctx, func(namedPeer, Peer) bool { return true })
		}
	}
}

// answer does what the background goroutine is asked for.
func (e *Engine) answer(ctx context.Context) {
	e.resolve(ctx, func(n namedPeer, p Peer) bool { return !n.resolved.IsValid() || p.State() == Failed })
	e.restock()
}

// backgroundTurn is background in a simulated world: it does what is due at now.
func (e *Engine) backgroundTurn(now clock.Instant) {
	select {
	case <-e.asked:
		e.answer(context.Background())
	default:
	}
	if now >= e.resolveAt {
		e.resolveAt = now.Add(resolveEvery)
		e.resolve(context.Background(), func(namedPeer, Peer) bool { return true })
	}
	if now >= e.reviseAt {
		e.reviseAt = now.Add(replanEvery)
		e.revise()
	}
}

const (
	// resolveEvery is how often names are looked up again; a moved peer is found at
	// its new address no later than that.
	resolveEvery = 5 * time.Second
	// resolveTimeout bounds one lookup, so that one dead name server delays no other
	// name for long.
	resolveTimeout = 2 * time.Second
	// stashSize is how many free slots a shard has at hand for strangers.
	stashSize = 64
)

// ask wakes the background goroutine. It never waits.
func (e *Engine) ask() {
	select {
	case e.asked <- struct{}{}:
	default:
	}
}

// restock fills the shards' stashes of free slots, if strangers may be admitted.
func (e *Engine) restock() {
	if !e.cfg.Accept.Anyone {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.shards {
		for s.stash.Len() < stashSize && !e.closed {
			slot, err := e.takeSlot()
			if err != nil {
				return // full: strangers are refused and counted
			}
			if !s.stash.TryPush(slot) {
				e.free = append(e.free, slot)
				break
			}
		}
	}
}

// resolve looks up the names of the peers that are wanted.
func (e *Engine) resolve(ctx context.Context, wanted func(namedPeer, Peer) bool) {
	e.mu.Lock()
	var peers []Peer
	for slot, n := range e.names {
		switch p := (Peer{e, slot, n.generation}); {
		case !p.present():
			delete(e.names, slot) // another peer took its place
		case wanted(n, p):
			peers = append(peers, p)
		}
	}
	e.mu.Unlock()
	slices.SortFunc(peers, func(a, b Peer) int { return cmp.Compare(a.slot, b.slot) })
	for _, p := range peers {
		e.resolveOne(ctx, p)
	}
}

// resolveOne looks up p's name and tells its shard the address. A failed lookup changes
// nothing: the peer keeps its last address. A lookup takes its time, and meanwhile p may
// be removed and another peer have its slot.
func (e *Engine) resolveOne(ctx context.Context, p Peer) {
	var n namedPeer
	if !e.named(p, func(present *namedPeer) { n = *present }) {
		return
	}
	host, port, _ := splitName(n.name) // valid since AddPeer
	if e.cfg.Network == nil {          // simulated names resolve at once
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, resolveTimeout)
		defer cancel()
	}
	addrs, err := e.resolver().LookupNetIP(ctx, "ip", host)
	if err != nil || len(addrs) == 0 {
		e.unresolved(p, err)
		return
	}
	chosen := choose(e.reachable(addrs, port), n.resolved, p.State() == Failed)
	if chosen.IsValid() && chosen != n.resolved {
		e.resolved(p, chosen)
	}
}

// named calls f with what is kept of p under its name, which f may change; e.mu is held
// meanwhile. It reports false, and calls nothing, once p was removed.
func (e *Engine) named(p Peer, f func(*namedPeer)) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	n, ok := e.names[p.slot]
	if !ok || n.generation != p.generation {
		return false
	}
	f(&n)
	e.names[p.slot] = n
	return true
}

// resolved tells p's shard the address. Should the shard's ring be full, the next lookup
// finds that it was not told.
func (e *Engine) resolved(p Peer, chosen netip.AddrPort) {
	tell := command{kind: commandAddress, slot: p.slot, generation: p.generation, addr: udp.AddrFrom(chosen)}
	e.named(p, func(n *namedPeer) {
		if e.ownerOf(p.record()).post(tell) {
			n.resolved = chosen
		}
	})
}

// unresolved says once of a peer that it is not watched, because its name never resolved.
func (e *Engine) unresolved(p Peer, err error) {
	if e.cfg.Logger == nil {
		return
	}
	var name string
	e.named(p, func(n *namedPeer) {
		if !n.told && !n.resolved.IsValid() {
			name, n.told = n.name, true
		}
	})
	if name != "" {
		e.cfg.Logger.Error("name does not resolve, and is looked up again and again", "peer", name, "error", err)
	}
}

// reachable returns those of addrs whose family a socket of ours has, with the port.
func (e *Engine) reachable(addrs []netip.Addr, port uint16) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range addrs {
		ap := netip.AddrPortFrom(a.Unmap(), port)
		if addr := udp.AddrFrom(ap); e.shards[0].net.SocketFor(&addr) != network.NoSocket {
			out = append(out, ap)
		}
	}
	return out
}

// choose returns the present address while the name has it and the peer has not failed
// there, else the one after it, else the first; the zero AddrPort if there is none.
func choose(addrs []netip.AddrPort, present netip.AddrPort, failed bool) netip.AddrPort {
	at := slices.Index(addrs, present)
	switch {
	case len(addrs) == 0:
		return netip.AddrPort{}
	case at < 0:
		return addrs[0]
	case failed:
		return addrs[(at+1)%len(addrs)]
	}
	return present
}

// resolver returns the configured resolver, else the world's.
func (e *Engine) resolver() Resolver {
	switch {
	case e.cfg.Resolver != nil:
		return e.cfg.Resolver
	case e.cfg.Network != nil:
		return e.cfg.Network
	}
	return net.DefaultResolver
}

// namedPeer is a peer given by name.
type namedPeer struct {
	name       string
	generation uint32
	resolved   netip.AddrPort // as last told to the shard
	told       bool           // that it does not resolve
}
