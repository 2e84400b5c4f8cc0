// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package bpf

import (
	"encoding/binary"
	"net/netip"
	"runtime"

	"systole/engine/clock"
	"systole/wire"
)

// Source is an engine.Arrivals. Its methods Watch, Next, Arrived and HandedOff make no system call; one
// goroutine at a time may call them for peers of one slot. Any goroutine may call the others.
type Source struct {
	table *table
	owner owner
}

// Watch announces the session of a peer; see engine.Arrivals. It ignores peers whose slot the table does
// not have.
func (s *Source) Watch(ours, theirs uint64) {
	p := s.slot(ours)
	switch {
	case p == nil:
	case theirs == 0:
		if p.ours.Load() == ours {
			p.ours.Store(0)
		}
	case p.ours.Load() == ours:
		p.theirs.Store(theirs)
	default: // what is known of another session must not be found under a sequence of this one
		p.ours.Store(0)
		for i := range p.handed {
			p.handed[i].sequence.Store(0)
		}
		p.arrived.Store(0)
		p.theirs.Store(theirs)
		p.ours.Store(ours)
	}
	runtime.KeepAlive(s.table)
}

// slot returns the slot of a discriminator of ours, or nil if the table has none.
func (s *Source) slot(ours uint64) *slot {
	if i := int(wire.Slot(ours)); ours != 0 && i < len(s.table.slots) {
		return &s.table.slots[i]
	}
	return nil
}

// session returns the slot of a session that is watched, or nil.
func (s *Source) session(ours uint64) *slot {
	if p := s.slot(ours); p != nil && p.ours.Load() == ours {
		return p
	}
	return nil
}

// Next moves the oldest heartbeat that was taken for a peer into b; see engine.Arrivals.
func (s *Source) Next(ours uint64, until clock.Instant, b []byte) (n int, from netip.AddrPort, arrival clock.Stamp) {
	p, i := s.session(ours), int(wire.Slot(ours))
	if p != nil && i < len(s.table.rings) {
		n, from, arrival = s.table.rings[i].next(ours, p.theirs.Load(), until, b)
	}
	runtime.KeepAlive(s.table)
	return n, from, arrival
}

// next moves the oldest heartbeat of a session into b, and drops those of other sessions before it.
func (r *ring) next(ours, theirs uint64, until clock.Instant, b []byte) (n int, from netip.AddrPort, arrival clock.Stamp) {
	for range room {
		tail := r.tail.Load()
		if r.head.Load() == tail {
			break
		}
		h := &r.heartbeats[tail%room]
		if h.isOf(ours, theirs) {
			at := clock.Instant(h.arrival)
			if at > until {
				break
			}
			n, from, arrival = copy(b, h.header[:]), h.source(), clock.Stamp{At: at, Source: clock.BPF}
		}
		r.tail.Store(tail + 1)
		if n > 0 {
			break
		}
	}
	return n, from, arrival
}

// isOf reports whether h belongs to a session.
func (h *taken) isOf(ours, theirs uint64) bool {
	const your, my = wire.DiscriminatorOffset, wire.DiscriminatorOffset + 8
	return binary.BigEndian.Uint64(h.header[your:]) == ours && binary.BigEndian.Uint64(h.header[my:]) == theirs
}

// source returns the address that h came from. Heartbeats whose address has a zone are not taken.
func (h *taken) source() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(h.from).Unmap(), binary.BigEndian.Uint16(h.port[:]))
}

// Arrived returns when an XDP program saw a heartbeat; see engine.Arrivals. Other programs write their
// stamps where sockets find them. Only the last heartbeat of a peer is known.
func (s *Source) Arrived(ours, sequence uint64) (arrival clock.Stamp, ok bool) {
	if s.table.control.xdp.Load() != 0 {
		if p := s.session(ours); p != nil && sequence != 0 && p.arrived.Load() == sequence {
			arrival = clock.Stamp{At: clock.Instant(p.arrivedAt.Load()), Source: clock.BPF}
			ok = p.arrived.Load() == sequence
		}
	}
	runtime.KeepAlive(s.table)
	return arrival, ok
}

// HandedOff returns when a driver took a heartbeat of this node; see engine.Arrivals. Those of the last
// eight sequences of a peer are known.
func (s *Source) HandedOff(ours, sequence uint64) (at clock.Instant, ok bool) {
	if p := s.session(ours); p != nil && sequence != 0 {
		if h := &p.handed[sequence%handOffs]; h.sequence.Load() == sequence {
			at = clock.Instant(h.at.Load())
			ok = h.sequence.Load() == sequence
		}
	}
	runtime.KeepAlive(s.table)
	return at, ok
}
