package enginetest

import (
	"bytes"
	"encoding/binary"
	"slices"

	"systole/engine"
)

// carried is what a process with Node.Carries says to its peers by messages, and hears from them. After each
// turn the process says something new, so what a heartbeat carries tells how old it is.
type carried struct {
	carrier *engine.Carrier // nil: the process says nothing
	number  uint64          // of the process in its world
	said    uint64          // messages so far
	size    int             // of each, in bytes
	heard   map[heardOf]uint64
}

// heardOf is a process from which a peer has delivered messages.
type heardOf struct {
	peer   engine.Peer
	number uint64
}

const (
	leastBody = 16   // size of a body without its fill, in bytes
	maxBody   = 1000 // of a body
)

// body returns message k of process number, with a fill that follows from both.
func body(number, k uint64, size int) []byte {
	b := binary.BigEndian.AppendUint64(nil, number)
	b = binary.BigEndian.AppendUint64(b, k)
	for i := leastBody; i < size; i++ {
		b = append(b, byte(number+k+uint64(i)))
	}
	return b
}

// carry has the process carry messages of size bytes.
func (h *Host) carry(size int) error {
	l := h.process
	c, err := l.engine.Carry(engine.FirstProgramType, engine.CarryOptions{Room: size})
	l.carried = carried{c, uint64(len(h.world.carriers)) + 1, 0, size, make(map[heardOf]uint64)}
	h.world.carriers = append(h.world.carriers, l)
	return err
}

// carry delivers what came, checks it, and says something new.
func (w *World) carry(l *process) {
	if l.carrier == nil {
		return
	}
	for {
		d, ok := l.carrier.TryNext(nil)
		if !ok {
			break
		}
		w.delivered++
		w.checkCarried(l, &d)
	}
	l.said++
	if err := l.carrier.Set(engine.Peer{}, body(l.number, l.said, l.size)); err != nil && l.ended == 0 && l.host.sim.Running() {
		w.violated(l, ruleCarried, "message %d: %v", l.said, err)
	}
}

// trusts reports whether nobody can forge the messages that the process hears.
func (l *process) trusts() bool { return l.host.world.forger == nil || l.cfg.Keys != nil }

// checkCarried checks a delivery.
func (w *World) checkCarried(l *process, d *engine.Delivery) {
	if !l.trusts() {
		return
	}
	if len(d.Body) < leastBody {
		w.violated(l, ruleCarried, "%x is no message that anybody said", d.Body)
		return
	}
	number, k := binary.BigEndian.Uint64(d.Body), binary.BigEndian.Uint64(d.Body[8:])
	if number == 0 || number > uint64(len(w.carriers)) {
		w.violated(l, ruleCarried, "%x is of no process", d.Body)
		return
	}
	from, of := w.carriers[number-1], heardOf{d.Peer, number}
	switch before := l.heard[of]; {
	case k > from.said || !bytes.Equal(d.Body, body(number, k, from.size)):
		w.violated(l, ruleCarried, "%s never said %x", from.host.Name(), d.Body)
	case k < before:
		w.violated(l, ruleCarried, "message %d of %s came after %d", k, from.host.Name(), before)
	}
	l.heard[of] = k
}

// checkCarriedInCalm checks that something that the other process of p has said since the calm began has
// reached its watcher, as p or, if the watcher knows p by answers only, as another peer of that process. A
// stranger gets no more than it says, so each must have added the other.
func (r *run) checkCarriedInCalm(p *pair) {
	from, to := &p.other.carried, &p.watcher.carried
	adds := func(entry string) bool { return r.nodes.target(entry).node == p.watcher.host.Name() }
	if from.carrier == nil || to.carrier == nil || from.size > to.size || !p.watcher.trusts() || p.peer.State() != engine.Alive ||
		!slices.ContainsFunc(r.nodes[p.other.host.Name()].Watch, adds) {
		return
	}
	for _, known := range p.other.watches(p.watcher.engine.ID()) {
		if known.peer.State() != engine.Alive {
			return
		}
	}
	before := r.world.saidAtCalm[from.number]
	k := uint64(0)
	for of, heard := range to.heard {
		if of.number == from.number {
			k = max(k, heard)
		}
	}
	if k <= before {
		r.world.violated(p.watcher, ruleCarried, "heard %d of the %d messages of %s, which had said %d when the calm began",
			k, from.said, p.other.host.Name(), before)
	}
}

// noteSaid notes what every process has said when the calm begins.
func (w *World) noteSaid() {
	w.saidAtCalm = make(map[uint64]uint64)
	for _, l := range w.carriers {
		w.saidAtCalm[l.number] = l.said
	}
}
