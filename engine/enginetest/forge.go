package enginetest

import (
	"systole/engine/internal/network"
	"systole/engine/internal/sim"
	"systole/wire"
)

// What a forger knows of the datagram's layout is in this file alone.

// see notes what a host sends: it is the tap of the world.
func (f *forger) see(d *sim.Datagram) {
	if d.Refused {
		return
	}
	f.spoke[d.From] = true
	f.checkReflected(d.To, d.From, len(d.Data))
	if len(f.tape) == maxTape {
		f.tape = append(f.tape[:0], f.tape[maxTape/2:]...)
	}
	f.tape = append(f.tape, recorded{d.From, d.To, append([]byte(nil), d.Data...)})
}

// datagram returns what is to come now.
func (f *forger) datagram(d *recorded) *sim.Datagram {
	return &sim.Datagram{At: f.world.sim.Now(), From: d.from, To: d.to, Data: d.data}
}

// publicly returns a heartbeat to a host by one who knows what is public; ok is false if nobody
// runs there.
func (f *forger) publicly(h *Host) (d recorded, ok bool) {
	l := h.process
	if l == nil {
		return d, false
	}
	header := f.header(l, f.someLife())
	b, fault := wire.Append(nil, &header, nil)
	if fault != wire.OK {
		return d, false
	}
	return recorded{f.someSource(), network.AddrFrom(h.paths[f.random.IntN(len(h.paths))]), b}, true
}

// someLife returns a process of any host, nil if it has had none.
func (f *forger) someLife() *process {
	return f.world.hosts[f.random.IntN(len(f.world.hosts))].process
}

// header returns a header for a process in the name of another one, nil for a stranger. It is
// plausible in most fields and bold in some.
func (f *forger) header(to, from *process) wire.Header {
	h := wire.Header{
		Sender: 1 + f.random.Uint64N(1<<40), Incarnation: 1 + f.random.Uint64N(1<<62),
		Sequence: 1 + f.random.Uint64N(1<<f.random.IntN(40)), Period: 10_000,
		MyDiscriminator: f.discriminator() | 1<<wire.SlotBits, YourDiscriminator: f.discriminator(),
		SendInstant: int64(f.world.sim.Now()), Flags: f.flags(), EchoVerdict: wire.Verdict(f.random.IntN(6)),
	}
	if from != nil {
		h.Sender = from.engine.ID()
		h.Incarnation = f.near(from.engine.Incarnation())
		h.SendInstant = int64(from.host.sim.Now().Now) + f.random.Int64N(2e9) - 1e9
	}
	if f.random.IntN(4) > 0 {
		h.EchoIncarnation = f.near(to.engine.Incarnation())
		h.EchoSequence = f.random.Uint64N(1 << f.random.IntN(20))
		h.EchoResidence = f.random.Uint64N(1 << f.random.IntN(40))
	}
	h.EchoDeadline = uint32(f.random.Uint64N(1 << f.random.IntN(32)))
	if f.random.IntN(3) == 0 {
		h.Period = min(1+uint32(f.random.Uint64N(1<<f.random.IntN(32))), wire.MaxPeriod)
		h.MinReceivePeriod = min(uint32(f.random.Uint64N(1<<f.random.IntN(27))), wire.MaxPeriod)
		h.Lateness = uint32(f.random.Uint64N(1 << f.random.IntN(32)))
		h.EchoLost = f.random.Uint32()
	}
	return h
}

// discriminator returns one with a slot that may be in use and the rest guessed, or none.
func (f *forger) discriminator() uint64 {
	if f.random.IntN(3) == 0 {
		return 0
	}
	return f.random.Uint64()<<wire.SlotBits | f.random.Uint64N(8)
}

// flags returns none, or one of them.
func (f *forger) flags() wire.Flags {
	if f.random.IntN(2) == 0 {
		return 0
	}
	return []wire.Flags{wire.FlagLeaving, wire.FlagDegraded, wire.FlagSolicit}[f.random.IntN(3)]
}

// near returns an incarnation, one beside it, or one far ahead.
func (f *forger) near(incarnation uint64) uint64 {
	switch f.random.IntN(6) {
	case 0:
		return incarnation + 1
	case 1:
		return max(incarnation-1, 1)
	case 2:
		return incarnation + 3_600_000_000_000
	}
	return incarnation
}
