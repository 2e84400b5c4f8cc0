package sim

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
)

// Host is a machine with one process at most.
type Host struct {
	Name string
	// Room is how many datagrams the receive buffer holds, SendRoom how many the send
	// buffer: beyond it, a send is refused with ENOBUFS.
	Room, SendRoom int
	// Refuse, if set, is the error of every send.
	Refuse unix.Errno
	// Unplugged: no carrier. What is sent is taken and lost, nothing comes.
	Unplugged bool
	// NoStamps: the kernel stamps no arrivals.
	NoStamps bool
	// Latency is how late the process runs after it is woken.
	Latency Distribution
	// ReadTime is what reading a datagram takes. Without it a turn takes no longer for
	// what it reads, and whatever waits in the receive buffer is read at once.
	ReadTime time.Duration
	// Bound: a process listens on each of the addresses with a socket of its own, which is
	// bound to it, not with one socket for all of a family.
	Bound bool

	world    *World
	number   int
	addrs    []address
	mine     []udp.Addr // that it was given, whoever has them now
	listens  []udp.Addr // addresses that it has, or had, by which processes open their sockets
	routes   map[udp.Addr]udp.Addr
	epoch    uint32 // of addresses and routes
	refusals map[udp.Addr]unix.Errno
	clock    hostClock
	paths    [][]*path // by the plane and the number of the other host

	socket  *Socket // of the present process; nil: there is none
	off     bool    // the machine is off
	stopped bool    // SIGSTOP: the kernel goes on receiving
	paused  bool    // the whole machine stands still
	keeps   bool    // and what arrives meanwhile is kept for it
	kept    []*Datagram
	leaves  clock.Instant // until then, nothing that is sent leaves
	waiting int           // datagrams that have not left
	planned clock.Instant // of the next turn
	resumed clock.Instant // when it last went on after standing still
	calls   []func()      // that were due while the process did not run
	stall   Stall
	stalls  int
}

// defaultRoom is the size of the buffers, in datagrams.
const defaultRoom = 4096

// Stall is a time in which a process should have run and did not, on its host's clock.
type Stall struct{ From, To clock.Instant }

// Start starts a process, in place of the one that runs, if any. A machine that is off is
// switched on. open gets the process's socket and returns what is to be turned.
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

// Kill ends the process at once. Its port then refuses what comes.
func (h *Host) Kill() {
	h.socket = nil
	h.planned = clock.Never
	h.calls = nil
}

// Crash switches the machine off: nothing comes back from it, and what has not left it
// never will.
func (h *Host) Crash() {
	h.Kill()
	h.off = true
}

// Stop stops the process as SIGSTOP does: its kernel goes on receiving. Continue lets it
// go on.
func (h *Host) Stop() {
	h.stopped = true
	h.plan()
}

// Continue ends Stop.
func (h *Host) Continue() {
	h.stopped = false
	h.goOn()
}

// Pause makes the whole machine stand still, as a virtual one does. What arrives
// meanwhile is lost or, with keep, handed to it when it goes on.
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

// goOn plans the process's next turn and calls what it missed.
func (h *Host) goOn() {
	h.plan()
	if h.stopped || h.paused {
		return
	}
	h.resumed = h.world.now
	missed := h.calls
	h.calls = nil
	for _, do := range missed {
		do()
	}
}

// After has the present process call do when d has passed on the host's clock, later if it
// does not run then, never if it has ended.
func (h *Host) After(d time.Duration, do func()) {
	s := h.socket
	at := h.clock.when(h.Now().Now.Add(d))
	call := func() {
		switch {
		case h.socket != s || s == nil:
		case h.stopped || h.paused:
			h.calls = append(h.calls, do)
		default:
			do()
		}
	}
	h.world.push(event{at: max(at, h.world.now), class: classCall, do: call})
}

// HoldSends keeps what the host sends from leaving for d: a full device queue, or a
// hypervisor that does not run it. The process sees nothing of it but a full send buffer.
func (h *Host) HoldSends(d time.Duration) { h.leaves = max(h.leaves, h.world.now.Add(d)) }

// Running reports whether the host has a process, whatever it does.
func (h *Host) Running() bool { return h.socket != nil }

// On reports whether the machine is switched on.
func (h *Host) On() bool { return !h.off }

// Standing reports whether the host's process exists and does not run.
func (h *Host) Standing() bool { return h.socket != nil && (h.stopped || h.paused) }

// Resumed returns when the process last went on after it stood still, on the world's clock.
func (h *Host) Resumed() clock.Instant { return h.resumed }

// Stalls returns how often the process ran late, and when it last did, by more than least.
func (h *Host) Stalls() (int, Stall) { return h.stalls, h.stall }

// Unread calls f for each datagram that the process has yet to read, with its arrival on
// the host's clock.
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

// Flood has n datagrams of nobody's arrive at the host within d, evenly.
func (h *Host) Flood(n int, d time.Duration) {
	w, to := h.world, udp.AddrFrom(h.Addr())
	for i := range n {
		at := w.now.Add(time.Duration(float64(d) * float64(i) / float64(n)))
		w.Post(&Datagram{At: at, From: nobody, To: to, Data: rubbish})
	}
}

// nobody is an address that no host has (RFC 5737), and rubbish no heartbeat.
var (
	nobody  = udp.AddrFrom(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 9))
	rubbish = []byte("rubbish")
)

// leave is what happens when a datagram leaves the host.
func (h *Host) leave(d *Datagram) {
	if h.off {
		return
	}
	if h.waiting > 0 {
		h.waiting--
	}
	if !h.Unplugged {
		h.world.carry(h, d)
	}
}

// arrive is what the host's kernel does with a datagram.
func (h *Host) arrive(d *Datagram) {
	switch {
	case d.rejected:
		h.world.refuse(h, d) // in front of the host, whatever that does
	case h.off || h.Unplugged:
	case h.paused:
		if h.keeps {
			h.kept = append(h.kept, d)
		}
	default:
		h.queue(d)
	}
}

// queue puts a datagram into the buffer of the socket that it is for.
func (h *Host) queue(d *Datagram) {
	var l *local
	if i := h.seenAs(d.To); i >= 0 && h.socket != nil {
		l = h.socket.at(&h.addrs[i].own)
	}
	switch {
	case l == nil:
		h.world.refuse(h, d)
	case d.Refused:
		l.errors = append(l.errors, d)
		h.plan()
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

// plan sets when the process next turns, by what it waits for.
func (h *Host) plan() {
	s := h.socket
	if s == nil || s.turner == nil || h.stopped || h.paused {
		h.planned = clock.Never
		return
	}
	at := h.clock.when(s.until)
	if s.waits() {
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
	if h.Latency != (Distribution{}) && h.planned > at {
		at = at.Add(h.Latency.draw(h.world.random))
	}
	// A turn that is planned already is put off only by another turn.
	if at < h.planned {
		h.planned = at
		h.world.push(event{at: at, class: classTurn, host: h})
	}
}

// turn turns the process.
func (h *Host) turn() {
	s := h.socket
	if s == nil || s.turner == nil || h.stopped || h.paused {
		return
	}
	r := h.Now()
	if from := max(s.until, s.worked); r.Now > from && s.until != 0 {
		h.stall = Stall{from, r.Now}
		h.stalls++
	}
	h.planned = clock.Never
	s.woken = false
	s.taken = 0
	if _, err := s.turner.Turn(r); err != nil {
		if h.socket == s {
			h.Kill() // it was closed
		}
		return
	}
	s.earliest = h.world.now + turnTime + clock.Instant(s.taken)*clock.Instant(h.ReadTime)
	s.worked = h.clock.at(s.earliest)
	if h.socket == s {
		h.plan()
	}
	if h.world.AfterTurn != nil {
		h.world.AfterTurn(h)
	}
}

// turnTime is how long a turn takes that reads nothing.
const turnTime = clock.Instant(time.Microsecond)
