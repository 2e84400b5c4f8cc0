package sim

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
)

// Socket is what a process has of its host: network.World. It is one local socket for each
// family or, on a host that is Bound, one for each address.
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

	list    []local
	sources []udp.Addr // by their numbers less 1
	taken   int        // in the last turn
	batch   []*Datagram
	drops   uint32
	buf     [maxDatagram]byte
}

// local is one local socket.
type local struct {
	bound   udp.Addr // zero: to all of its family
	is6     bool
	inbox   []*Datagram
	read    int  // of the inbox
	full    bool // the batch that was taken last was a whole one
	errors  []*Datagram
	out     []*Datagram
	slots   []uint32
	errnos  []unix.Errno
	flushed []uint32
}

// maxDatagram is the size of a send buffer's place.
const maxDatagram = 2048

// Socket returns the process's sockets, nil if there is no process.
func (h *Host) Socket() *Socket { return h.socket }

// open returns the sockets of a new process, also for addresses that another host has taken.
func (h *Host) open() *Socket {
	s := &Socket{host: h, until: h.Now().Now}
	for i := range h.listens {
		own := &h.listens[i]
		if h.Bound {
			s.list = append(s.list, local{bound: *own, is6: own.Is6()})
		} else if s.family(own.Is6()) == network.NoSocket {
			s.list = append(s.list, local{is6: own.Is6()})
		}
	}
	return s
}

// family returns the first socket of a family.
func (s *Socket) family(is6 bool) uint8 {
	for i := range s.list {
		if s.list[i].is6 == is6 {
			return uint8(i)
		}
	}
	return network.NoSocket
}

// at returns the socket that gets what is sent to an address of the host's, nil if there is none.
func (s *Socket) at(own *udp.Addr) *local {
	for i := range s.list {
		if l := &s.list[i]; l.bound == *own || l.bound == (udp.Addr{}) && l.is6 == own.Is6() {
			return l
		}
	}
	return nil
}

// Unread returns how many datagrams the process has yet to read.
func (s *Socket) Unread() int {
	n := 0
	for i := range s.list {
		n += len(s.list[i].inbox) - s.list[i].read
	}
	return n
}

// waits reports whether there is something to read.
func (s *Socket) waits() bool {
	for i := range s.list {
		if len(s.list[i].errors) > 0 {
			return true
		}
	}
	return s.Unread() > 0
}

// Backlog reports whether the last turn read as much from a socket as a turn may, so that the
// process does not know what waits behind it, and when the newest that it read there arrived, on
// the host's clock.
func (s *Socket) Backlog() (newest clock.Instant, is bool) {
	newest = clock.Never
	for i := range s.list {
		if l := &s.list[i]; l.full {
			newest, is = min(newest, s.host.clock.at(l.inbox[l.read-1].At)), true
		}
	}
	return newest, is
}

// Sockets returns how many local sockets there are.
func (s *Socket) Sockets() int { return len(s.list) }

// SocketFor returns the socket that sends to addr from a source.
func (s *Socket) SocketFor(addr *udp.Addr, source uint8) uint8 {
	own := udp.Addr{}
	if source != network.AnySource {
		own = s.sources[source-1]
	} else if i := s.host.sourceFor(addr); i >= 0 {
		own = s.host.addrs[i].own
	}
	for i := range s.list {
		if own != (udp.Addr{}) && s.list[i].bound == own {
			return uint8(i)
		}
	}
	return s.family(addr.Is6())
}

// SourceOf returns the source for an address of the host's. Hosts have no devices.
func (s *Socket) SourceOf(addr netip.Addr, device string) (uint8, error) {
	if device != "" {
		return 0, unix.ENODEV
	}
	if !addr.IsValid() {
		return network.AnySource, nil
	}
	for i := range s.host.addrs {
		if s.host.addrs[i].port.Addr() == addr {
			return s.source(s.host.addrs[i].own), nil
		}
	}
	return 0, unix.EADDRNOTAVAIL
}

// source returns the number of a source.
func (s *Socket) source(own udp.Addr) uint8 {
	for i := range s.sources {
		if s.sources[i] == own {
			return uint8(i + 1)
		}
	}
	if len(s.sources) == maxSources {
		return network.AnySource
	}
	s.sources = append(s.sources, own)
	return uint8(len(s.sources))
}

// maxSources is how many addresses a process tells apart in its life.
const maxSources = 254

// Source returns the address that datagram j was written to, where its answer would leave from
// another one.
func (s *Socket) Source(j int) uint8 {
	d, h := s.batch[j], s.host
	to := h.seenAs(d.To)
	if to < 0 || to == h.sourceFor(&d.From) {
		return network.AnySource
	}
	return s.source(h.addrs[to].own)
}

// Receive takes a batch out of a receive buffer. Nothing comes while it does.
func (s *Socket) Receive(socket int) (n int, empty bool, err error) {
	l := &s.list[socket]
	if l.read == len(l.inbox) {
		l.inbox, l.read = l.inbox[:0], 0
	}
	k := min(len(l.inbox)-l.read, network.BatchSize)
	s.batch = l.inbox[l.read : l.read+k]
	l.read += k
	s.taken += k
	l.full = k == network.BatchSize
	return k, !l.full, nil
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
func (s *Socket) NextError(socket int) (network.Returned, bool) {
	l := &s.list[socket]
	if len(l.errors) == 0 {
		return network.Returned{}, false
	}
	d := l.errors[0]
	l.errors = l.errors[1:]
	return network.Returned{PortUnreachable: true, Peer: d.From, Quoted: d.Data}, true
}

// Next returns the buffer to write to.
func (s *Socket) Next(int) []byte { return s.buf[:] }

// Commit takes what was written.
func (s *Socket) Commit(socket, n int, to *udp.Addr, source uint8, slot uint32) int {
	l := &s.list[socket]
	from := l.bound // of a socket for all addresses it is zero: the routes choose
	if source != network.AnySource {
		from = s.sources[source-1]
	}
	l.out = append(l.out, &Datagram{From: from, To: *to, Data: append([]byte(nil), s.buf[:n]...)})
	l.slots = append(l.slots, slot)
	return len(l.out)
}

// Flush sends what was committed.
func (s *Socket) Flush(socket int) (sent, refused int) {
	h, l := s.host, &s.list[socket]
	l.flushed, l.slots = append(l.flushed[:0], l.slots...), l.slots[:0]
	l.errnos = l.errnos[:0]
	for _, d := range l.out {
		errno := h.send(d)
		l.errnos = append(l.errnos, errno)
		if errno != 0 {
			refused++
			continue
		}
		s.Sends++
	}
	sent = len(l.out)
	clear(l.out)
	l.out = l.out[:0]
	return sent, refused
}

// send hands a datagram to the host's device.
func (h *Host) send(d *Datagram) unix.Errno {
	if errno := h.refuses(d); errno != 0 {
		return errno
	}
	switch {
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

// refuses returns why the host does not send d, if so, and sets the address that d leaves from.
// Linux answers EINVAL for a source that the host no longer has.
func (h *Host) refuses(d *Datagram) unix.Errno {
	if h.Refuse != 0 {
		return h.Refuse
	}
	if errno := h.refusals[d.To]; errno != 0 {
		return errno
	}
	i := h.owns(d.From)
	switch {
	case d.From == (udp.Addr{}):
		if i = h.sourceFor(&d.To); i < 0 {
			return unix.ENETUNREACH
		}
	case i < 0:
		return unix.EINVAL
	}
	d.From = h.addrs[i].seen
	return 0
}

// Refusal returns the error of the k-th datagram of the last flush.
func (s *Socket) Refusal(socket, k int) (uint32, unix.Errno) {
	return s.list[socket].flushed[k], s.list[socket].errnos[k]
}

// Epoch returns how often the addresses and routes of the host have changed.
func (s *Socket) Epoch() uint32 { return s.host.epoch }

// DeviceDown returns false: a source names no interface.
func (s *Socket) DeviceDown(uint8) bool { return false }

// LinkDown reports whether the host has no carrier, or no address of the family.
func (s *Socket) LinkDown(addr *udp.Addr) bool {
	return s.host.Unplugged || s.host.sourceFor(addr) < 0
}

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

// Local returns the host's addresses, as the host knows them.
func (s *Socket) Local() []netip.AddrPort {
	var out []netip.AddrPort
	for i := range s.host.addrs {
		out = append(out, s.host.addrs[i].port)
	}
	return out
}

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

// Rest notes what the process waits for.
func (s *Socket) Rest(until, quiet clock.Instant) { s.until, s.quiet = until, quiet }
