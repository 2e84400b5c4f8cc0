package engine

import (
	"net/netip"

	"systole/engine/internal/network"
)

// zoned is a peer that was added by an address whose zone is the name of an interface, as
// in fe80::1%eth0. An interface that is created again has another index.
type zoned struct {
	generation uint32
	told       bool // that this host has no such interface
	addr       netip.AddrPort
	id         uint64 // that of its PeerConfig
}

// zone records the address of a peer that has just been added. e.mu is held.
func (e *Engine) zone(p Peer, c *PeerConfig) {
	if network.HasNamedZone(c.Addr) {
		e.zoned[p.slot] = zoned{generation: p.generation, addr: c.Addr, id: c.ID}
	}
}

// isZoned reports whether a peer was added by c's address, which names an interface, and id. e.mu is held.
func (e *Engine) isZoned(c *PeerConfig) bool {
	for _, z := range e.zoned {
		if z.addr == c.Addr && z.id == c.ID {
			return true
		}
	}
	return false
}

// followZones tries silent peers at the present index of their interface. A peer that never had one is told
// so, once, and is tried as soon as the interface is there.
func (e *Engine) followZones() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for slot, z := range e.zoned {
		p := Peer{e, slot, z.generation}
		if state := p.State(); state == Alive || state == OneWay {
			continue
		}
		at := network.AddrFrom(z.addr)
		switch {
		case at.Scope() == 0 && !z.told && !p.Addr().IsValid():
			z.told = e.tell(command{kind: commandUnresolved, slot: slot, generation: z.generation})
			e.zoned[slot] = z
		case at.Scope() != 0 && at.AddrPort() != p.Addr():
			e.tell(command{kind: commandAddress, slot: slot, generation: z.generation, watch: watch{addr: at, try: true}})
		}
	}
}
