package engine

import (
	"net/netip"

	"systole/engine/internal/udp"
)

// An address with the name of an interface, fe80::1%eth0, stands for the index that the interface has now.
// One that is made anew has another.

// zoned is a peer that was added by such an address.
type zoned struct {
	generation uint32
	addr       netip.AddrPort
}

// zone notes the address of a peer that has just been added. e.mu is held.
func (e *Engine) zone(p Peer, addr netip.AddrPort) {
	if udp.HasNamedZone(addr) {
		e.zoned[p.slot] = zoned{p.generation, addr}
	}
}

// followZones has peers that are not heard written to by the index that their interface has now.
func (e *Engine) followZones() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for slot, z := range e.zoned {
		p := Peer{e, slot, z.generation}
		if state := p.State(); state == Alive || state == OneWay {
			continue
		}
		if at := udp.AddrFrom(z.addr); at.AddrPort().Addr().Zone() != "" && at.AddrPort() != p.Addr() {
			e.tell(command{kind: commandAddress, slot: slot, generation: z.generation, watch: watch{addr: at, try: true}})
		}
	}
}
