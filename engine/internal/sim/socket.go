package sim

import (
	"context"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
)

// Socket is what a process has of its host: network.World.
type Socket struct {
	Sends   uint64 // datagrams that the host took
	Arrived uint64 // datagrams that the host had room for

	host     *Host
	turner   Turner
	until    clock.Instant // the process waits until then, on the host's clock
	quiet    clock.Instant // and from then on for datagrams
	earliest clock.Instant // no turn before, on the world's clock
	worked   clock.Instant // the same on the host's
	woken    bool

	inbox  []*Datagram
	read   int  // of the inbox
	taken  int  // in the last turn
	full   bool // the batch that it took last was a whole one
	batch  []*Datagram
	errors []*Datagram
	drops  uint32

	buf     [maxDatagram]byte
	out     []*Datagram
	slots   []uint32
	errnos  []unix.Errno
	flushed []uint32
}

// maxDatagram is the size of a send buffer's place.
const maxDatagram = 2048

// Socket returns the process's socket, nil if there is no process.
func (h *Host) Socket() *Socket { return h.socket }

// Unread returns how many datagrams the process has yet to read.
func (s *Socket) Unread() int { return len(s.inbox) - s.read }

// Backlog reports whether the last turn read as much as a turn may, so that the process does
// not know what waits behind it, and when the newest that it read arrived, on the host's clock.
func (s *Socket) Backlog() (newest clock.Instant, is bool) {
	if !s.full {
		return 0, false
	}
	return s.host.clock.at(s.inbox[s.read-1].At), true
}

// Sockets returns 1.
func (s *Socket) Sockets() int { return 1 }

// SocketFor returns the one socket, if addr is of its family.
func (s *Socket) SocketFor(addr *udp.Addr) uint8 {
	if addr.Is6() != s.host.addr.Is6() {
		return network.NoSocket
	}
	return 0
}

// Receive takes a batch out of the receive buffer. Nothing comes while it does.
func (s *Socket) Receive(int) (n int, empty bool, err error) {
	if s.read == len(s.inbox) {
		s.inbox, s.read = s.inbox[:0], 0
	}
	k := min(len(s.inbox)-s.read, network.BatchSize)
	s.batch = s.inbox[s.read : s.read+k]
	s.read += k
	s.taken += k
	s.full = k == network.BatchSize
	return k, !s.full, nil
}

// Interrupted returns false: see Receive.
func (s *Socket) Interrupted(int) bool { return false }

// Datagram returns the j-th of the batch.
func (s *Socket) Datagram(j int) []byte { return s.batch[j].Data }

// From returns its sender.
func (s *Socket) From(j int) *udp.Addr { return &s.batch[j].From }

// Stamp returns when it arrived, on the host's wall clock.
func (s *Socket) Stamp(j int) int64 { return s.batch[j].stamp }

// NextError takes the next refusal that came back.
func (s *Socket) NextError(int) (network.Returned, bool) {
	if len(s.errors) == 0 {
		return network.Returned{}, false
	}
	d := s.errors[0]
	s.errors = s.errors[1:]
	return network.Returned{PortUnreachable: true, Peer: d.From, Quoted: d.Data}, true
}

// Next returns the buffer to write to.
func (s *Socket) Next(int) []byte { return s.buf[:] }

// Commit takes what was written.
func (s *Socket) Commit(_, n int, to *udp.Addr, slot uint32) int {
	s.out = append(s.out, &Datagram{From: s.host.addr, To: *to, Data: append([]byte(nil), s.buf[:n]...)})
	s.slots = append(s.slots, slot)
	return len(s.out)
}

// Flush sends what was committed.
func (s *Socket) Flush(int) (sent, refused int) {
	h := s.host
	s.flushed, s.slots = append(s.flushed[:0], s.slots...), s.slots[:0]
	s.errnos = s.errnos[:0]
	for _, d := range s.out {
		errno := h.send(d)
		s.errnos = append(s.errnos, errno)
		if errno != 0 {
			refused++
			continue
		}
		s.Sends++
	}
	sent = len(s.out)
	clear(s.out)
	s.out = s.out[:0]
	return sent, refused
}

// send hands a datagram to the host's device.
func (h *Host) send(d *Datagram) unix.Errno {
	switch {
	case h.Refuse != 0:
		return h.Refuse
	case h.leaves > h.world.now && h.waiting >= h.SendRoom:
		return unix.ENOBUFS
	case h.leaves > h.world.now:
		h.waiting++
		h.world.push(event{at: h.leaves, class: classLeave, host: h, datagram: d})
	default:
		h.leave(d)
	}
	return 0
}

// Refusal returns the error of the k-th datagram of the last flush.
func (s *Socket) Refusal(_, k int) (uint32, unix.Errno) { return s.flushed[k], s.errnos[k] }

// LinkDown reports whether the host has no carrier.
func (s *Socket) LinkDown(*udp.Addr) bool { return s.host.Unplugged }

// Drops returns how many datagrams found the receive buffer full.
func (s *Socket) Drops() uint32 { return s.drops }

// Wait is the kernel's; a world does the waiting itself.
func (s *Socket) Wait(time.Duration, bool) bool { panic("sim: the world waits, not the process") }

// Wake has the process turn at once.
func (s *Socket) Wake() {
	s.woken = true
	if s.host.socket == s {
		s.host.plan()
	}
}

// Drain does nothing: waking is over when the process turns.
func (s *Socket) Drain() {}

// Calls returns 0: there is no kernel.
func (s *Socket) Calls() uint64 { return 0 }

// Buffers returns what the host's buffers hold, in bytes as the kernel counts them.
func (s *Socket) Buffers() (recv, send network.Buffer) {
	in, out := s.host.Room*udp.QueuedSize, s.host.SendRoom*udp.QueuedSize
	return network.Buffer{Wanted: in, Granted: in}, network.Buffer{Wanted: out, Granted: out}
}

// Local returns the host's address.
func (s *Socket) Local() []netip.AddrPort { return []netip.AddrPort{s.host.port} }

// Close ends the process as far as the world is concerned.
func (s *Socket) Close() error {
	if s.host.socket == s {
		s.host.Kill()
	}
	return nil
}

// Now is what the host's clocks show.
func (s *Socket) Now() clock.Reading { return s.host.Now() }

// Random draws from the world's chance.
func (s *Socket) Random() uint64 { return s.host.world.random.Uint64() }

// LookupNetIP resolves the name of a host.
func (s *Socket) LookupNetIP(_ context.Context, _, name string) ([]netip.Addr, error) {
	h := s.host.world.byName[name]
	if h == nil {
		return nil, &net.DNSError{Err: "no such host in this world", Name: name, IsNotFound: true}
	}
	return []netip.Addr{h.port.Addr()}, nil
}

// Rest notes what the process waits for.
func (s *Socket) Rest(until, quiet clock.Instant) { s.until, s.quiet = until, quiet }
