// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

//go:build linux

package udp

import "golang.org/x/sys/unix"

// Receiver receives batches. It serves any number of sockets, one after the other. What it
// returned is valid until the next Recv.
type Receiver struct{ batch }

// NewReceiver returns a Receiver, about 100 KiB.
func NewReceiver() *Receiver { return &Receiver{newBatch(Batch, controlSize)} }

// recvTries bounds the system calls of one Recv: each failed one clears a pending error.
const recvTries = 4

// Recv reads up to Batch datagrams and returns how many; it never blocks.
//
// 0 without an error means that the queue was empty: this alone proves that all that
// arrived before the call has been read. Fewer than Batch usually mean so too, but an
// error that the network returned meanwhile also ends a batch early, and is pending for
// the next call: ask s.PendingError where it matters. Errors of that kind stay in the
// error queue and set s.HasErrors; Recv tries again up to three times, then returns the
// errno. Any other errno is a fault of the socket, and sets s.Faulty.
func (r *Receiver) Recv(s *Socket) (int, error) {
	s.faulty = false
	var errno unix.Errno
	for range recvTries {
		var n int
		n, errno = r.receive(s, 0)
		switch {
		case errno == 0:
			return n, nil
		case errno == unix.EAGAIN:
			return 0, nil
		case !canBePending(errno):
			s.faulty = true
			return 0, errno
		}
		s.hasErrors = true
	}
	return 0, errno
}

// canBePending reports whether errno can be the pending error of an entry in the error
// queue, which a socket with IP_RECVERR reports to the next call, whatever that is (ip(7)).
// These are the errors that the kernel makes of ICMP (icmp_err_convert and
// icmpv6_err_convert), and an interruption.
func canBePending(errno unix.Errno) bool {
	switch errno {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENONET,
		unix.EMSGSIZE, unix.EPROTO, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EACCES, unix.EINTR:
		return true
	}
	return false
}

// Datagram returns datagram i of the batch. One that was too long for its slot is cut,
// but still longer than MaxDatagram.
func (r *Receiver) Datagram(i int) []byte { return r.datagram(i) }

// Truncated reports whether datagram i was cut.
func (r *Receiver) Truncated(i int) bool { return r.headers[i].Hdr.Flags&unix.MSG_TRUNC != 0 }

// From returns the sender of datagram i. It points into the Receiver: copy what must last.
func (r *Receiver) From(i int) *Addr { return &r.addrs[i] }

// Local returns the local address that datagram i was written to, with port 0, and the
// scope on which it arrived if it is link-local. It is the zero Addr unless the socket is
// bound to a wildcard address.
func (r *Receiver) Local(i int) Addr {
	c := r.control(i)
	return c.destination()
}

// Stamp returns when the kernel took datagram i from the network, in nanoseconds of
// CLOCK_REALTIME, or 0 if it took no stamp. The first datagrams after a host's first
// stamping socket was opened may have none.
func (r *Receiver) Stamp(i int) int64 {
	c := r.control(i)
	return c.stamp
}
