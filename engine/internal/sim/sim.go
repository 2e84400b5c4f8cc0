// Package sim is a world in virtual time: hosts with clocks of their own, links between them
// that delay, lose, reorder and duplicate, and the faults of both. It turns whatever has a
// Turn, an engine, through the interface that the engine has of its sockets, so that the very
// code that runs on a kernel runs here. One seed replays everything.
//
// A World and all that belongs to it is for one goroutine.
package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
)

// World is the hosts and what lies between them.
type World struct {
	// AfterTurn, if set, is called after each turn of a host's process.
	AfterTurn func(h *Host)
	// Mangle, if set, replaces a datagram that a link would deliver at d.At by others, or
	// by none.
	Mangle func(d *Datagram) []*Datagram
	// Tap, if set, sees each datagram as it leaves its host, whatever becomes of it. It keeps
	// nothing of d but copies.
	Tap func(d *Datagram)

	now    clock.Instant
	random *rand.Rand
	hosts  []*Host
	at     map[udp.Addr]holder
	planes int
	byName map[string]*Host
	names  map[string]*record
	link   Link // between hosts that have none of their own
	queue  queue
	serial uint64
	steps  int
}

// Turner is what a process does whenever it is its turn.
type Turner interface {
	Turn(clock.Reading) (clock.Instant, error)
}

// start is the world's first instant. It is not 0, which means never.
const start = clock.Instant(time.Hour)

// New returns an empty world whose links take 100 to 200 µs.
func New(seed uint64) *World {
	return &World{
		now: start, random: rand.New(rand.NewPCG(seed, 1)),
		at: make(map[udp.Addr]holder), byName: make(map[string]*Host),
		link: Link{Delay: Distribution{Kind: Uniform, Base: 100 * time.Microsecond, Spread: 100 * time.Microsecond}},
	}
}

// Now returns the world's time, which no host's clock need show.
func (w *World) Now() clock.Instant { return w.now }

// Elapsed returns how long the world has run.
func (w *World) Elapsed() time.Duration { return w.now.Sub(start) }

// Steps returns how many things have happened so far.
func (w *World) Steps() int { return w.steps }

// Random is the world's chance.
func (w *World) Random() *rand.Rand { return w.random }

// Hosts returns the hosts in the order in which they were added.
func (w *World) Hosts() []*Host { return w.hosts }

// At has do called once the world has run for elapsed; at once, if it has.
func (w *World) At(elapsed time.Duration, do func()) {
	w.push(event{at: max(start.Add(elapsed), w.now), class: classCall, do: do})
}

// AddHost adds a host without a process. Its clocks are the world's, 50 years on.
func (w *World) AddHost(name string, addr netip.AddrPort) (*Host, error) {
	h := &Host{
		Name: name, Room: defaultRoom, SendRoom: defaultRoom,
		world: w, number: len(w.hosts), planned: clock.Never,
		clock: hostClock{since: w.now, shown: w.now, wall: int64(50 * 365 * 24 * time.Hour)},
	}
	if w.at[udp.AddrFrom(addr)].host != nil || w.byName[name] != nil {
		return nil, fmt.Errorf("sim: host %q at %v: the name or the address is taken", name, addr)
	}
	w.hosts = append(w.hosts, h)
	w.byName[name] = h
	h.hold(addr, 0)
	h.mine = append(h.mine, h.addrs[0].own)
	return h, nil
}

// Run lets d pass. What is due exactly at its end happens in the next run.
func (w *World) Run(d time.Duration) {
	end := w.now.Add(d)
	for len(w.queue) > 0 && w.queue[0].at < end {
		w.step()
	}
	w.now = end
}

// step lets the next thing happen.
func (w *World) step() {
	e := w.queue.pop()
	w.now = max(w.now, e.at)
	w.steps++
	switch e.class {
	case classCall:
		e.do()
	case classLeave:
		e.host.leave(e.datagram)
	case classArrive:
		if to := w.at[e.datagram.To].host; to != nil {
			to.arrive(e.datagram)
		}
	case classTurn:
		if e.host.planned == e.at {
			e.host.turn()
		}
	}
}

// Post puts a datagram on its way, to arrive at d.At, past all links.
func (w *World) Post(d *Datagram) { w.push(event{at: d.At, class: classArrive, datagram: d}) }

// push schedules e.
func (w *World) push(e event) {
	w.serial++
	e.serial = w.serial
	w.queue.push(e)
}

// Datagram is one on its way.
type Datagram struct {
	At       clock.Instant // when it arrives, on the world's clock
	From, To udp.Addr
	Data     []byte
	// Refused: To's own datagram, sent back by From, where nothing listens.
	Refused bool

	rejected bool  // by a middlebox, which sends it back
	stamp    int64 // on the receiver's wall clock; 0: none
}

var _ network.World = (*Socket)(nil)
