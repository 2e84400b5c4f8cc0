package engine

import (
	"context"
	"net"
	"net/netip"
	"time"

	"systole/engine/internal/udp"
)

// background is the engine's one goroutine beside the shards. It does what may wait:
// looks names up and stocks the shards with free slots for strangers.
func (e *Engine) background(ctx context.Context) {
	defer e.running.Done()
	again := time.NewTicker(resolveEvery)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.asked:
			e.resolveNew(ctx)
			e.restock()
		case <-again.C:
			e.resolveAll(ctx)
		}
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

// resolveNew looks up the names that were never looked up.
func (e *Engine) resolveNew(ctx context.Context) {
	e.mu.Lock()
	fresh := e.fresh
	e.fresh = nil
	e.mu.Unlock()
	for _, p := range fresh {
		e.resolveOne(ctx, p)
	}
}

// resolveAll looks all names up again.
func (e *Engine) resolveAll(ctx context.Context) {
	e.mu.Lock()
	all := make([]Peer, 0, len(e.names))
	for slot, n := range e.names {
		all = append(all, Peer{e, slot, n.generation})
	}
	e.mu.Unlock()
	for _, p := range all {
		e.resolveOne(ctx, p)
	}
}

// resolveOne looks up p's name and tells its shard the address. A failed lookup changes
// nothing: the peer keeps its last address. Between several addresses, the present
// one is kept as long as it is among them.
func (e *Engine) resolveOne(ctx context.Context, p Peer) {
	e.mu.Lock()
	n, ok := e.names[p.slot]
	e.mu.Unlock()
	if !ok || n.generation != p.generation {
		return
	}
	host, port, _ := splitName(n.name) // valid since AddPeer
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	addrs, err := e.resolver().LookupNetIP(ctx, "ip", host)
	if err != nil || len(addrs) == 0 {
		if e.cfg.Logger != nil && !n.resolved.IsValid() {
			e.cfg.Logger.Warn("name does not resolve", "peer", n.name, "error", err)
		}
		return
	}
	chosen, ok := e.choose(addrs, port, n.resolved)
	if !ok || chosen == n.resolved {
		return
	}
	n.resolved = chosen
	e.mu.Lock()
	e.names[p.slot] = n
	e.mu.Unlock()
	addr := udp.AddrFrom(chosen)
	e.ownerOf(p.record()).post(command{
		kind: commandAddress, slot: p.slot, generation: p.generation, addr: addr,
	})
}

// choose returns the present address if the name still has it, else the first of a
// family that a socket of ours has.
func (e *Engine) choose(addrs []netip.Addr, port uint16, present netip.AddrPort) (netip.AddrPort, bool) {
	var first netip.AddrPort
	for _, a := range addrs {
		ap := netip.AddrPortFrom(a.Unmap(), port)
		addr := udp.AddrFrom(ap)
		if e.shards[0].net.socketFor(&addr) == noSocket {
			continue
		}
		if ap == present {
			return ap, true
		}
		if !first.IsValid() {
			first = ap
		}
	}
	return first, first.IsValid()
}

// resolver returns the configured resolver.
func (e *Engine) resolver() Resolver {
	if e.cfg.Resolver != nil {
		return e.cfg.Resolver
	}
	return net.DefaultResolver
}

// namedPeer is a peer given by name.
type namedPeer struct {
	name       string
	generation uint32
	resolved   netip.AddrPort // as last told to the shard
}
