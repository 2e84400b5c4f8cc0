// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

package udp

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sender is a batch of datagrams to be sent, each to its own address. Its life is
// a cycle: Next and Commit per datagram, then Flush, then Err per datagram, then Reset.
type Sender struct {
	headers [Batch]unix.Mmsghdr
	vectors [Batch]unix.Iovec
	n       int
	errs    [Batch]unix.Errno
	to      [Batch]Addr
	sources [Batch][sourceControl]byte
	data    [Batch][slotSize]byte
}

// NewSender returns an empty batch, about 90 KiB.
func NewSender() *Sender {
	b := new(Sender)
	for i := range Batch {
		b.vectors[i].Base = &b.data[i][0]
		h := &b.headers[i].Hdr
		h.Name = &b.to[i][0]
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
		h.Control = &b.sources[i][0]
	}
	return b
}

// Len returns how many datagrams are committed.
func (b *Sender) Len() int { return b.n }

// Next returns the buffer for the next datagram, of length MaxDatagram, or nil if the
// batch is full.
func (b *Sender) Next() []byte {
	if b.n == Batch {
		return nil
	}
	return b.data[b.n][:MaxDatagram:MaxDatagram]
}

// Commit adds the first n bytes of the buffer that Next returned, to be sent to the
// address, which is copied. It returns how many datagrams are committed now. n must lie
// within 0 to MaxDatagram, and Next must have returned a buffer.
func (b *Sender) Commit(n int, to *Addr) int {
	i := b.n
	b.vectors[i].SetLen(n)
	b.to[i] = *to
	b.headers[i].Hdr.Namelen = to.size()
	b.headers[i].Hdr.SetControllen(0) // the routes choose its source
	b.n++
	return b.n
}

// CommitFrom is Commit for a datagram that is to leave from a local address, through the
// interface with the index device unless that is 0. The address is of to's family, or the
// zero Addr, which leaves it to the routes. On a socket that is bound to an address, local
// must be that: the zero Addr there lifts the bond.
func (b *Sender) CommitFrom(n int, to, local *Addr, device uint32) int {
	i := b.n
	if local.IsZero() {
		local = anyAddress(to)
	}
	k := b.Commit(n, to)
	b.headers[i].Hdr.SetControllen(putSource(&b.sources[i], local, device))
	return k
}

// any4 and any6 are the addresses that leave the choice to the routes.
var (
	any4 = AddrFrom(netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
	any6 = AddrFrom(netip.AddrPortFrom(netip.IPv6Unspecified(), 0))
)

// anyAddress returns the unspecified address of to's family.
func anyAddress(to *Addr) *Addr {
	if to.Is4() {
		return &any4
	}
	return &any6
}

// Flush hands the batch to the kernel and returns how many datagrams it took; Err tells
// which it did not. It never blocks and makes one system call per batch as long as nothing
// fails, three per datagram that fails, and a few more where errors pour in.
//
// sendmmsg(2) stops at the first datagram that fails, returns the count of those before
// it and forgets the errno, so the next call starts with that datagram: if it fails
// for itself, it does so again, is noted, and the rest goes on without it. Otherwise it
// was stopped by the announcement of an error that the network returned of an
// earlier datagram, which is then gone: socket.HasErrors tells. Both look alike to the
// first datagram of a call, which is therefore tried again. A full send buffer (EAGAIN)
// fails the rest: it is not waited for.
func (b *Sender) Flush(s *Socket) int {
	sent, tries, foreign := 0, 0, 0
	for i := 0; i < b.n; {
		k, errno := b.call(s, i)
		switch {
		case errno == 0:
			clear(b.errs[i : i+k])
			sent += k
			i += k
			tries, foreign = 0, 0
			if i < b.n {
				s.hasErrors = true // what stopped it may have been an announcement
			}
		case announced(errno) && !LocalFault(errno) && foreign < foreignTries:
			s.hasErrors = true
			foreign++
		case announced(errno) && tries < sendTries:
			s.hasErrors = true
			tries++
		case errno == unix.EAGAIN || errno == unix.EBADF || errno == unix.ENOTSOCK:
			for ; i < b.n; i++ {
				b.errs[i] = errno
			}
		default:
			b.errs[i] = errno
			i++
			tries, foreign = 0, 0
		}
	}
	return sent
}

const (
	// sendTries is how often a datagram is tried again for an error that may be an
	// earlier one's. An announcement is one errno, cleared by being read, so more than one
	// in a row means that the error is the datagram's own, or that they pour in.
	sendTries = 2
	// foreignTries is how often for one that no datagram has of its own. There are more,
	// so that what pours in hides neither the datagram nor its own error.
	foreignTries = 8
)

// call makes the system call for the datagrams from i on.
func (b *Sender) call(s *Socket, i int) (int, unix.Errno) {
	s.calls.Add(1)
	k, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&b.headers[i])),
		uintptr(b.n-i), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(k), errno
}

// Err returns why the kernel did not take datagram i of the flushed batch, 0 if it did.
// ENOBUFS means that the queue of the local interface was full.
func (b *Sender) Err(i int) unix.Errno { return b.errs[i] }

// Reset empties the batch.
func (b *Sender) Reset() { b.n = 0 }
