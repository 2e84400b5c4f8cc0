package sim

import (
	"bytes"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/network"
)

// Socket implements network.World for one process: the sockets, clocks and random numbers of its host.
type Socket struct {
	Sends   uint64 // datagrams that were sent without an error
	Arrived uint64 // datagrams that were put into a receive buffer

	host     *Host
	turner   Turner
	until    clock.Instant // host time until which the process waits
	quiet    clock.Instant // host time from which datagrams end the wait
	earliest clock.Instant // world time at which the last turn ended
	woken    bool          // Wake was called since the last turn

	list    []local
	sources []network.Addr // source number n is sources[n-1]
	taken   int            // datagrams read in the last turn
	batch   []*Datagram
	drops   uint32
	buf     [maxDatagram]byte
}

// local is one local socket: one per address family or, on a host with Bound, one per address.
type local struct {
	bound  network.Addr // zero: unbound
	is6    bool
	inbox  []*Datagram        // receive buffer
	read   int                // datagrams of inbox that were read
	full   bool               // the last batch had BatchSize datagrams
	errors []network.Returned // error queue
	out    []outgoing         // committed since the last Flush
	done   []outgoing         // of the last Flush
}

// outgoing is a datagram to send, and the result.
type outgoing struct {
	datagram *Datagram
	slot     uint32
	why      network.Refusal
}

// maxDatagram is the size of the send buffer, in bytes.
const maxDatagram = 2048

// Socket returns the sockets of the process, nil without one.
func (h *Host) Socket() *Socket { return h.socket }

// open returns the sockets of a new process. Addresses that the host has lost count as well.
func (h *Host) open() *Socket {
	s := &Socket{host: h, until: h.Now().Now}
	for i := range h.held {
		own := &h.held[i]
		if h.Bound {
			s.list = append(s.list, local{bound: *own, is6: own.Is6()})
		} else if s.family(own.Is6()) == network.NoSocket {
			s.list = append(s.list, local{is6: own.Is6()})
		}
	}
	return s
}

// family returns the first socket of an address family.
func (s *Socket) family(is6 bool) uint8 {
	for i := range s.list {
		if s.list[i].is6 == is6 {
			return uint8(i)
		}
	}
	return network.NoSocket
}

// boundTo returns the socket that receives for an address of the host, or nil.
func (s *Socket) boundTo(own *network.Addr) *local {
	for i := range s.list {
		if l := &s.list[i]; l.bound == *own || l.bound == (network.Addr{}) && l.is6 == own.Is6() {
			return l
		}
	}
	return nil
}

// Unread returns the number of unread datagrams.
func (s *Socket) Unread() int {
	n := 0
	for i := range s.list {
		n += len(s.list[i].inbox) - s.list[i].read
	}
	return n
}

// readable reports whether poll(2) would find a readable socket or an error.
func (s *Socket) readable() bool {
	for i := range s.list {
		if len(s.list[i].errors) > 0 {
			return true
		}
	}
	return s.Unread() > 0
}

// Backlog reports whether the last batch of a socket was a full one, so that more may wait behind it,
// and when the last datagram of that batch arrived, on the host's clock.
func (s *Socket) Backlog() (newest clock.Instant, is bool) {
	newest = clock.Never
	for i := range s.list {
		if l := &s.list[i]; l.full {
			newest, is = min(newest, s.host.clock.at(l.inbox[l.read-1].At)), true
		}
	}
	return newest, is
}

// The methods of network.World follow; package network documents them.

// Sockets returns the number of local sockets.
func (s *Socket) Sockets() int { return len(s.list) }

// SocketFor returns the socket that sends to addr from a source.
func (s *Socket) SocketFor(addr *network.Addr, source uint8) uint8 {
	own := network.Addr{}
	if source != network.AnySource {
		own = s.sources[source-1]
	} else if i := s.host.sourceFor(addr); i >= 0 {
		own = s.host.addrs[i].own
	}
	for i := range s.list {
		if own != (network.Addr{}) && s.list[i].bound == own {
			return uint8(i)
		}
	}
	return s.family(addr.Is6())
}

// SourceOf returns the source for an address of the host. Hosts have no named devices.
func (s *Socket) SourceOf(addr netip.Addr, device string) (uint8, error) {
	if device != "" {
		return 0, syscall.ENODEV
	}
	if !addr.IsValid() {
		return network.AnySource, nil
	}
	for i := range s.host.addrs {
		if own := &s.host.addrs[i].own; own.AddrPort().Addr() == addr {
			return s.source(*own), nil
		}
	}
	return 0, syscall.EADDRNOTAVAIL
}

// source returns the number of a source, AnySource if there is no number left.
func (s *Socket) source(own network.Addr) uint8 {
	if i := slices.Index(s.sources, own); i >= 0 {
		return uint8(i + 1)
	}
	if len(s.sources) == maxSources {
		return network.AnySource
	}
	s.sources = append(s.sources, own)
	return uint8(len(s.sources))
}

// maxSources bounds the sources of a process.
const maxSources = 254

// Source returns the source for an answer to datagram j: the address that the datagram was sent to,
// if the routes would choose another one.
func (s *Socket) Source(j int) uint8 {
	d, h := s.batch[j], s.host
	to := h.seenAs(d.To)
	if to < 0 || to == h.sourceFor(&d.From) {
		return network.AnySource
	}
	return s.source(h.addrs[to].own)
}

// Receive takes a batch out of a receive buffer. Nothing arrives meanwhile.
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

// Datagram returns datagram j of the batch.
func (s *Socket) Datagram(j int) []byte { return s.batch[j].Data }

// From returns the sender of datagram j.
func (s *Socket) From(j int) *network.Addr { return &s.batch[j].From }

// Stamp returns the arrival time of datagram j on the host's wall clock.
func (s *Socket) Stamp(j int) int64 { return s.batch[j].stamp }

// NextError takes the next ICMP error or transmit stamp out of the error queue.
func (s *Socket) NextError(socket int) (network.Returned, bool) {
	l := &s.list[socket]
	if len(l.errors) == 0 {
		return network.Returned{}, false
	}
	e := l.errors[0]
	l.errors = l.errors[1:]
	return e, true
}

// Next returns the buffer for the next datagram.
func (s *Socket) Next(int) []byte { return s.buf[:] }

// Commit queues the first n bytes of the buffer for sending.
func (s *Socket) Commit(socket, n int, to *network.Addr, source uint8, slot uint32) int {
	l := &s.list[socket]
	from := l.bound // zero for an unbound socket: the routes choose
	if source != network.AnySource {
		from = s.sources[source-1]
	}
	d := &Datagram{From: from, To: *to, Data: bytes.Clone(s.buf[:n])}
	l.out = append(l.out, outgoing{datagram: d, slot: slot})
	return len(l.out)
}

// StampSend asks for the transmit stamp of the last datagram of the batch.
func (s *Socket) StampSend(socket int) {
	l := &s.list[socket]
	l.out[len(l.out)-1].datagram.sender = l
}

// Flush sends the queued datagrams.
func (s *Socket) Flush(socket int) (sent, refused int) {
	l := &s.list[socket]
	l.done, l.out = l.out, l.done[:0]
	for i := range l.done {
		o := &l.done[i]
		o.why = s.host.send(o.datagram)
		o.datagram = nil
		if o.why != 0 {
			refused++
		}
	}
	s.Sends += uint64(len(l.done) - refused)
	return len(l.done), refused
}

// send passes a datagram to the host's device.
func (h *Host) send(d *Datagram) network.Refusal {
	if why := h.refuses(d); why != 0 {
		return why
	}
	switch {
	case h.leaves > h.world.now && h.waiting >= h.SendRoom:
		return network.NoBuffer
	case h.leaves > h.world.now:
		h.waiting++
		h.world.push(event{at: h.leaves, class: classLeave, host: h, datagram: d})
	default:
		h.leave(d)
	}
	return 0
}

// refuses returns the error of sending d, 0 if there is none, and sets the source address of d. For a
// source that the host has lost, Linux reports EINVAL.
func (h *Host) refuses(d *Datagram) network.Refusal {
	if h.Refuse != 0 {
		return h.Refuse
	}
	if why := h.refusals[d.To]; why != 0 {
		return why
	}
	i := h.owns(d.From)
	switch {
	case d.From == (network.Addr{}):
		if i = h.sourceFor(&d.To); i < 0 {
			return network.NoRoute
		}
	case i < 0:
		return network.Refused
	}
	d.From = h.addrs[i].seen
	return 0
}

// Refusal returns the slot and the error of datagram k of the last Flush.
func (s *Socket) Refusal(socket, k int) (slot uint32, why network.Refusal) {
	o := &s.list[socket].done[k]
	return o.slot, o.why
}

// Epoch returns the number of changes of the host's addresses and routes.
func (s *Socket) Epoch() uint32 { return s.host.epoch }

// DeviceDown returns false: hosts have no named devices.
func (s *Socket) DeviceDown(uint8) bool { return false }

// LinkDown reports whether the host has no carrier, or no address of the family.
func (s *Socket) LinkDown(addr *network.Addr) bool {
	return s.host.Unplugged || s.host.sourceFor(addr) < 0
}

// Drops returns the number of datagrams that a full receive buffer dropped.
func (s *Socket) Drops() uint32 { return s.drops }

// Wait panics: engines on a World call Rest instead.
func (s *Socket) Wait(time.Duration, bool) bool { panic("sim: Wait on a simulated socket") }

// Wake makes the process turn at once.
func (s *Socket) Wake() {
	s.woken = true
	if s.host.socket == s {
		s.host.plan()
	}
}

// Drain does nothing: a turn ends the wake-up.
func (s *Socket) Drain() {}

// Calls returns 0: there are no system calls.
func (s *Socket) Calls() uint64 { return 0 }

// Buffers returns the sizes of the host's buffers, in bytes as the kernel counts them.
func (s *Socket) Buffers() (recv, send network.Buffer) {
	in, out := s.host.Room*network.QueuedSize, s.host.SendRoom*network.QueuedSize
	return network.Buffer{Wanted: in, Granted: in}, network.Buffer{Wanted: out, Granted: out}
}

// Local returns the host's addresses as the host sees them.
func (s *Socket) Local() []netip.AddrPort {
	var out []netip.AddrPort
	for i := range s.host.addrs {
		out = append(out, s.host.addrs[i].own.AddrPort())
	}
	return out
}

// Close ends the process.
func (s *Socket) Close() error {
	if s.host.socket == s {
		s.host.Kill()
	}
	return nil
}

// Now returns the readings of the host's clocks.
func (s *Socket) Now() clock.Reading { return s.host.Now() }

// Random returns a random number of the world.
func (s *Socket) Random() uint64 { return s.host.world.random.Uint64() }

// Rest sets what the process waits for.
func (s *Socket) Rest(until, quiet clock.Instant) { s.until, s.quiet = until, quiet }
