// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package udp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Receiver is the scratch for receiving batches: headers, names, control and datagram
// buffers, wired once by NewReceiver and reused for ever. It serves any number of
// sockets, one after the other. What it returned is valid until the next Recv.
type Receiver struct {
	headers  [Batch]unix.Mmsghdr
	vectors  [Batch]unix.Iovec
	used     int // headers that the kernel wrote to at the last Recv
	stamps   [Batch]int64
	from     [Batch]Addr
	controls [Batch][controlSize]byte
	data     [Batch][slotSize]byte
}

// NewReceiver returns a wired Receiver, about 105 KiB.
func NewReceiver() *Receiver {
	r := new(Receiver)
	for i := range Batch {
		attach(&r.headers[i].Hdr, &r.vectors[i], &r.from[i], r.data[i][:], r.controls[i][:])
	}
	return r
}

// attach lets a header receive one datagram into data, its sender's name and its
// control messages.
func attach(h *unix.Msghdr, v *unix.Iovec, name *Addr, data, control []byte) {
	v.Base = &data[0]
	v.SetLen(len(data))
	h.Iov = v
	h.SetIovlen(1)
	h.Name = &name[0]
	h.Control = &control[0]
	rearm(h, len(control))
}

// rearm gives the kernel back the full lengths of what it used up.
func rearm(h *unix.Msghdr, control int) {
	h.Namelen = uint32(len(Addr{}))
	h.SetControllen(control)
}

// recvTries bounds the system calls of one Recv: each failed one takes an announced
// error out of the way.
const recvTries = 4

// Recv reads up to Batch datagrams and returns how many; it never blocks.
//
// 0 without an error means that the queue was empty: this alone proves that all that
// arrived before the call has been read. Fewer than Batch usually mean so too, but an
// error that the network returned meanwhile also ends a batch early, and is announced
// to the next call: ask s.Announced where it matters. Errors of that
// kind are left to the error queue and shown by s.HasErrors; Recv tries again up to
// three times, then returns the errno. Any other errno is a fault of the socket, and
// shown by s.Faulty.
func (r *Receiver) Recv(s *Socket) (int, error) {
	for i := range r.headers[:r.used] {
		rearm(&r.headers[i].Hdr, controlSize)
	}
	r.used = 0
	s.faulty = false
	var errno unix.Errno
	for range recvTries {
		s.calls.Add(1)
		var n uintptr
		n, _, errno = unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&r.headers)),
			Batch, unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == 0:
			r.used = int(n)
			r.parse(s)
			return r.used, nil
		case errno == unix.EAGAIN:
			return 0, nil
		case !announced(errno):
			s.faulty = true
			return 0, errno
		}
		s.hasErrors = true
	}
	return 0, errno
}

// announced reports whether errno can be the announcement of an entry in the error
// queue, which a socket with IP_RECVERR makes to whatever call comes next (ip(7)).
// These are the errors that the kernel makes of ICMP (icmp_err_convert and
// icmpv6_err_convert), and an interruption.
func announced(errno unix.Errno) bool {
	switch errno {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENONET,
		unix.EMSGSIZE, unix.EPROTO, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EACCES, unix.EINTR:
		return true
	}
	return false
}

// parse reads names and control messages of the batch.
func (r *Receiver) parse(s *Socket) {
	for i := range r.headers[:r.used] {
		h := &r.headers[i].Hdr
		r.from[i].canonical(h.Namelen)
		got := parseReceived(r.controls[i][:min(h.Controllen, controlSize)])
		r.stamps[i] = got.stamp
		if got.hasOverflow {
			s.overflow = got.overflow
		}
	}
}

// Datagram returns datagram i of the batch. One that was too long for its slot is cut,
// but still longer than MaxDatagram.
func (r *Receiver) Datagram(i int) []byte {
	return r.data[i][:min(r.headers[i].Len, slotSize)]
}

// Truncated reports whether datagram i was cut.
func (r *Receiver) Truncated(i int) bool { return r.headers[i].Hdr.Flags&unix.MSG_TRUNC != 0 }

// From returns who sent datagram i. It points into the Receiver: copy what must last.
func (r *Receiver) From(i int) *Addr { return &r.from[i] }

// Local returns the local address that datagram i was written to, with port 0, and the
// scope on which it arrived if it is link-local. It is the zero Addr if the socket lacks
// Options.Destinations.
func (r *Receiver) Local(i int) Addr {
	return parseDestination(r.controls[i][:min(r.headers[i].Hdr.Controllen, controlSize)])
}

// Stamp returns when the kernel took datagram i from the network, in nanoseconds of
// CLOCK_REALTIME, or 0 if it took no stamp. The first datagrams after a host's first
// stamping socket was opened may have none.
func (r *Receiver) Stamp(i int) int64 { return r.stamps[i] }
