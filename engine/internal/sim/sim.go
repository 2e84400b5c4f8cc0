// Package sim simulates a network in virtual time: hosts with clocks of their own, links that delay,
// lose, reorder and duplicate datagrams, and faults of both. Engines run on it unchanged, because it
// implements the interface of their sockets (package network). A seed determines a whole run.
//
// A World and everything in it belong to one goroutine.
package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"systole/engine/clock"
	"systole/engine/enginetest/netmodel"
	"systole/engine/internal/network"
)

// World is a set of hosts and the network between them.
type World struct {
	// AfterTurn, if set, is called after each turn of a host's process.
	AfterTurn func(h *Host)
	// Mangle, if set, replaces a datagram that a link would deliver at d.At by those that it
	// returns.
	Mangle func(d *Datagram) []*Datagram
	// Tap, if set, is called with each datagram that leaves a host. It must not keep d.
	Tap func(d *Datagram)

	now    clock.Instant
	random *rand.Rand
	hosts  []*Host
	at     map[network.Addr]holder // by address as others see it
	planes int                     // number of planes
	byName map[string]*Host
	names  map[string]*record
	link   netmodel.Link // between hosts for which SetLink was not called
	queue  queue
	serial uint64 // of the last event
	steps  int
}

// Turner is a process: an engine, or a stand-in for one in tests.
type Turner interface {
	// Turn does the work that is due. An error ends the process.
	Turn(clock.Reading) (clock.Instant, error)
}

// start is the world time of New. It is not 0, which means never.
const start = clock.Instant(time.Hour)

// New returns an empty world. Its links delay by 100 to 200 µs.
func New(seed uint64) *World {
	return &World{
		now: start, random: rand.New(rand.NewPCG(seed, 1)),
		at: make(map[network.Addr]holder), byName: make(map[string]*Host),
		link: netmodel.Link{Delay: netmodel.Distribution{
			Kind: "uniform", Base: 100 * time.Microsecond, Spread: 100 * time.Microsecond,
		}},
	}
}

// Now returns the world time. The clocks of hosts may differ from it.
func (w *World) Now() clock.Instant { return w.now }

// Elapsed returns how long the world has run.
func (w *World) Elapsed() time.Duration { return w.now.Sub(start) }

// Steps returns the number of events so far.
func (w *World) Steps() int { return w.steps }

// Random returns the world's source of random numbers.
func (w *World) Random() *rand.Rand { return w.random }

// At calls do once the world has run for elapsed, or as the next event if it has.
func (w *World) At(elapsed time.Duration, do func()) {
	w.push(event{at: max(start.Add(elapsed), w.now), class: classCall, do: do})
}

// AddHost adds a host without a process. Its monotonic clock shows world time, its wall clock 50 years
// more.
func (w *World) AddHost(name string, addr netip.AddrPort) (*Host, error) {
	h := &Host{
		Name: name, Room: defaultRoom, SendRoom: defaultRoom,
		world: w, planned: clock.Never, paths: make(map[pathKey]*path),
		clock: hostClock{since: w.now, shown: w.now, wall: int64(50 * 365 * 24 * time.Hour)},
	}
	if w.at[network.AddrFrom(addr)].host != nil || w.byName[name] != nil {
		return nil, fmt.Errorf("sim: host %q at %v: the name or the address is taken", name, addr)
	}
	w.hosts = append(w.hosts, h)
	w.byName[name] = h
	h.hold(addr, 0)
	h.given = append(h.given, h.addrs[0].own)
	return h, nil
}

// Run runs the world for d. Events due exactly at the end belong to the next run.
func (w *World) Run(d time.Duration) {
	end := w.now.Add(d)
	for len(w.queue) > 0 && w.queue[0].at < end {
		w.step()
	}
	w.now = end
}

// step handles the next event.
func (w *World) step() {
	e := w.queue.pop()
	w.now = max(w.now, e.at)
	w.steps++
	switch e.class {
	case classCall:
		e.do()
	case classLeave:
		e.host.leave(e.datagram)
		if e.datagram.sender != nil {
			e.host.plan() // a transmit stamp may wake the process
		}
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

// Post delivers a datagram at d.At, past all links.
func (w *World) Post(d *Datagram) { w.push(event{at: d.At, class: classArrive, datagram: d}) }

// push schedules e.
func (w *World) push(e event) {
	w.serial++
	e.serial = w.serial
	w.queue.push(e)
}

// Datagram is a UDP datagram in flight.
type Datagram struct {
	At       clock.Instant // world time of arrival
	From, To network.Addr
	Data     []byte
	// Refused marks an ICMP error: From returns a datagram of To because nothing listens there.
	Refused bool

	rejected bool   // a middlebox refuses it on arrival
	stamp    int64  // arrival on the receiver's wall clock; 0: none
	sender   *local // the socket whose process asked for a transmit stamp; nil: none did
}

var _ network.World = (*Socket)(nil)
