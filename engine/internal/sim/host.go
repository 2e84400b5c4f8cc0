package sim

import (
	"net/netip"
	"time"

	"systole/engine/clock"
	"systole/engine/enginetest/netmodel"
	"systole/engine/internal/network"
)

// Host is a machine. It runs one process at most.
type Host struct {
	Name string
	// Room and SendRoom are the sizes of the receive and the send buffer in datagrams. A full send
	// buffer refuses sends with ENOBUFS.
	Room, SendRoom int
	// Refuse, if set, is why every send fails.
	Refuse network.Refusal
	// Unplugged takes the carrier away: sends succeed and are lost, nothing arrives.
	Unplugged bool
	// NoStamps turns off the kernel's timestamps of arrivals and of sends.
	NoStamps bool
	// Divert, if set, gets each datagram before the receive buffer does, and reports whether it keeps it.
	Divert func(*Datagram) bool
	// Leaving, if set, gets each datagram that leaves the device.
	Leaving func(*Datagram)
	// Latency is the delay from waking the process to its turn.
	Latency netmodel.Distribution
	// ReadTime is the time that a turn takes for each datagram that it reads.
	ReadTime time.Duration
	// Bound makes processes open one socket per address, bound to it. Otherwise they open one
	// unbound socket per address family.
	Bound bool

	world    *World
	addrs    []address
	given    []network.Addr                   // addresses that should be the host's, whoever holds them now
	held     []network.Addr                   // every address ever held; processes open their sockets for these
	routes   map[network.Addr]network.Addr    // source by destination
	epoch    uint32                           // number of changes of addrs and routes
	refusals map[network.Addr]network.Refusal // by destination
	clock    hostClock
	paths    map[pathKey]*path

	socket  *Socket // of the running process, nil without one
	off     bool    // machine is switched off
	stopped bool    // process is stopped by SIGSTOP; the kernel still receives
	paused  bool    // whole machine is paused
	keeps   bool    // while paused, arrivals are kept for Resume
	kept    []*Datagram
	leaves  clock.Instant // sends leave the device at this world time or later
	waiting int           // datagrams held back by leaves
	planned clock.Instant // world time of the next turn
	resumed clock.Instant // world time of the last Continue or Resume
	calls   []func()      // After calls that came due while the process was halted
	stall   Stall         // the last one
	stalls  int
}

// defaultRoom is the default size of both buffers, in datagrams.
const defaultRoom = 4096

// Stall is a time span, on the host's clock, by which a turn was late.
type Stall struct{ From, To clock.Instant }

// Start starts a process, after killing the running one. It switches the machine on. open gets the
// sockets of the process and returns its Turner.
func (h *Host) Start(open func(network.World) (Turner, error)) error {
	h.Kill()
	if h.off {
		h.kept, h.waiting = nil, 0
	}
	h.off, h.stopped = false, false
	s := h.open()
	h.socket = s
	t, err := open(s)
	if err != nil {
		h.socket = nil
		return err
	}
	s.turner = t
	h.plan()
	return nil
}

// Kill ends the process at once. Its ports then refuse datagrams.
func (h *Host) Kill() {
	h.socket = nil
	h.planned = clock.Never
	h.calls = nil
}

// Crash switches the machine off. It answers nothing, and unsent datagrams are lost.
func (h *Host) Crash() {
	h.Kill()
	h.off = true
}

// Stop stops the process as SIGSTOP does, until Continue. The kernel goes on receiving.
func (h *Host) Stop() {
	h.stopped = true
	h.plan()
}

// Continue ends Stop.
func (h *Host) Continue() {
	h.stopped = false
	h.goOn()
}

// Pause pauses the whole machine, as a hypervisor does, until Resume. Datagrams that arrive meanwhile
// are lost or, with keep, delivered on Resume.
func (h *Host) Pause(keep bool) {
	h.paused, h.keeps = true, keep
	h.plan()
}

// Resume ends Pause.
func (h *Host) Resume() {
	h.paused = false
	kept := h.kept
	h.kept = nil
	for _, d := range kept {
		h.arrive(d)
	}
	h.goOn()
}

// halted reports whether the process may not run.
func (h *Host) halted() bool { return h.stopped || h.paused }

// goOn lets the process run again, unless it is still halted: it plans the next turn and makes the
// calls that came due.
func (h *Host) goOn() {
	h.plan()
	if h.halted() {
		return
	}
	h.resumed = h.world.now
	missed := h.calls
	h.calls = nil
	for _, do := range missed {
		do()
	}
}

// After makes the running process call do once d has passed on the host's clock: later if the process
// is halted then, never if it has ended.
func (h *Host) After(d time.Duration, do func()) {
	s := h.socket
	at := h.clock.when(h.Now().Now.Add(d))
	call := func() {
		switch {
		case h.socket != s || s == nil:
		case h.halted():
			h.calls = append(h.calls, do)
		default:
			do()
		}
	}
	h.world.push(event{at: max(at, h.world.now), class: classCall, do: call})
}

// HoldSends delays everything that the host sends until d has passed, as a stuck device queue does.
// The process notices only that its send buffer fills.
func (h *Host) HoldSends(d time.Duration) { h.leaves = max(h.leaves, h.world.now.Add(d)) }

// Running reports whether the host has a process, halted or not.
func (h *Host) Running() bool { return h.socket != nil }

// Standing reports whether the host has a process that is halted by Stop or Pause.
func (h *Host) Standing() bool { return h.socket != nil && h.halted() }

// Resumed returns the world time of the last Continue or Resume that let the process run.
func (h *Host) Resumed() clock.Instant { return h.resumed }

// Stalls returns the number of late turns, and the span of the last one.
func (h *Host) Stalls() (int, Stall) { return h.stalls, h.stall }

// Unread calls f for each unread datagram, with its arrival time on the host's clock.
func (h *Host) Unread(f func(data []byte, at clock.Instant)) {
	if h.socket == nil {
		return
	}
	for i := range h.socket.list {
		l := &h.socket.list[i]
		for _, d := range l.inbox[l.read:] {
			f(d.Data, h.clock.at(d.At))
		}
	}
}

// Flood makes n datagrams that are no heartbeats arrive at the host, evenly spread over d.
func (h *Host) Flood(n int, d time.Duration) {
	w, to := h.world, network.AddrFrom(h.Addr())
	for i := range n {
		at := w.now.Add(time.Duration(float64(d) * float64(i) / float64(n)))
		w.Post(&Datagram{At: at, From: nobody, To: to, Data: rubbish})
	}
}

// Source and content of a flood. No host has that address (RFC 5737).
var (
	nobody  = network.AddrFrom(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 9))
	rubbish = []byte("rubbish")
)

// leave moves a datagram from the host's device to the link.
func (h *Host) leave(d *Datagram) {
	if h.off {
		return
	}
	if h.waiting > 0 {
		h.waiting--
	}
	if h.Unplugged {
		return
	}
	if d.sender != nil && !h.NoStamps {
		d.sender.errors = append(d.sender.errors, network.Returned{Stamp: h.Now().Wall, Quoted: d.Data})
	}
	if h.Leaving != nil {
		h.Leaving(d)
	}
	h.world.carry(h, d)
}

// arrive handles a datagram that reaches the host.
func (h *Host) arrive(d *Datagram) {
	switch {
	case d.rejected:
		h.world.refuse(h, d) // by a middlebox in front of the host
	case h.off || h.Unplugged:
	case h.paused:
		if h.keeps {
			h.kept = append(h.kept, d)
		}
	default:
		h.queue(d)
	}
}

// queue puts a datagram into the receive buffer or the error queue of its socket.
func (h *Host) queue(d *Datagram) {
	var l *local
	if i := h.seenAs(d.To); i >= 0 && h.socket != nil {
		l = h.socket.boundTo(&h.addrs[i].own)
	}
	switch {
	case l == nil:
		h.world.refuse(h, d)
	case d.Refused:
		l.errors = append(l.errors, network.Returned{PortUnreachable: true, Peer: d.From, Quoted: d.Data})
		h.plan()
	case h.Divert != nil && h.Divert(d):
	case len(l.inbox)-l.read >= h.Room:
		h.socket.drops++
	default:
		d.At = h.world.now
		if d.stamp = h.Now().Wall; h.NoStamps {
			d.stamp = 0
		}
		l.inbox = append(l.inbox, d)
		h.socket.Arrived++
		h.plan()
	}
}

// turns reports whether there is a process and it may run.
func (h *Host) turns() bool { return h.socket != nil && h.socket.turner != nil && !h.halted() }

// plan schedules the next turn of the process by what it waits for.
func (h *Host) plan() {
	s := h.socket
	if !h.turns() {
		h.planned = clock.Never
		return
	}
	at := h.clock.when(s.until)
	if s.readable() {
		at = min(at, h.clock.when(s.quiet))
	}
	if s.woken {
		at = h.world.now
	}
	if at == clock.Never {
		h.planned = at
		return
	}
	at = max(at, s.earliest, h.world.now)
	if h.Latency != (netmodel.Distribution{}) && h.planned > at {
		at = at.Add(h.Latency.Draw(h.world.random))
	}
	// Plans only move forward; a turn resets them.
	if at < h.planned {
		h.planned = at
		h.world.push(event{at: at, class: classTurn, host: h})
	}
}

// turn turns the process.
func (h *Host) turn() {
	if !h.turns() {
		return
	}
	s, r := h.socket, h.Now()
	if from := max(s.until, h.clock.at(s.earliest)); r.Now > from && s.until != 0 {
		h.stall = Stall{from, r.Now}
		h.stalls++
	}
	h.planned = clock.Never
	s.woken = false
	s.taken = 0
	if _, err := s.turner.Turn(r); err != nil {
		if h.socket == s {
			h.Kill() // its engine was closed
		}
		return
	}
	s.earliest = h.world.now + turnTime + clock.Instant(s.taken)*clock.Instant(h.ReadTime)
	if h.socket == s {
		h.plan()
	}
	if h.world.AfterTurn != nil {
		h.world.AfterTurn(h)
	}
}

// turnTime is the duration of a turn that reads nothing.
const turnTime = clock.Instant(time.Microsecond)
