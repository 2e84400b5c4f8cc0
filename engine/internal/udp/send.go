// Hot path: no allocation, lock, map write, channel, log, fmt, defer, clock read or unbounded loop.

//go:build linux

package udp

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"systole/engine/internal/network"
)

// Sender is a batch of datagrams to be sent, each to its own address. Its life is
// a cycle: Next and Commit per datagram, then Flush, then Err per datagram, then Reset.
type Sender struct {
	batch
	n      int    // committed
	stamps uint64 // bit i: the kernel is asked to stamp datagram i
	errs   [Batch]unix.Errno
}

const _ = uint(64 - Batch) // a batch fits Sender.stamps

// NewSender returns an empty batch, about 100 KiB.
func NewSender() *Sender { return &Sender{batch: newBatch(Batch, controlSize)} }

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
	b.addrs[i] = *to
	b.headers[i].Hdr.Namelen = sockaddrSize(to)
	b.headers[i].Hdr.SetControllen(0) // the routes choose its source
	b.n++
	return b.n
}

// CommitFrom is Commit for a datagram that is to leave from a local address, through the
// interface with the index device unless that is 0. The address is of to's family, or the
// zero Addr, which leaves it to the routes. On a socket that is bound to an address, local
// must be that address: the zero Addr would have the routes choose another one.
func (b *Sender) CommitFrom(n int, to, local *Addr, device uint32) int {
	i := b.n
	k := b.Commit(n, to)
	b.headers[i].Hdr.SetControllen(putSource(b.controls[i], to, local, device))
	return k
}

// Stamp asks the kernel to stamp the datagram that was committed last when the network driver takes
// it: see Returned.Stamp. A kernel that does not know the request sends the datagram without it. The
// datagram leaves in its order, so the stamp says what its neighbours met as well.
func (b *Sender) Stamp() {
	i := b.n - 1
	h := &b.headers[i].Hdr
	used := int(h.Controllen)
	h.SetControllen(used + putStampRequest(b.controls[i][used:]))
	b.stamps |= 1 << i
}

// unstamp takes back the request of datagram i, and reports whether there was one.
func (b *Sender) unstamp(i int) bool {
	if b.stamps&(1<<i) == 0 {
		return false
	}
	h := &b.headers[i].Hdr
	h.SetControllen(int(h.Controllen) - unix.CmsgSpace(4))
	b.stamps &^= 1 << i
	return true
}

// Flush hands the batch to the kernel and returns how many datagrams the kernel took; Err
// returns why it refused the others. Flush never blocks. It makes one system call if nothing
// fails, three per datagram that fails, and a few more under a stream of errors.
//
// sendmmsg(2) stops at the first datagram that fails, returns the count of those before it
// and drops the errno, so the next call starts with that datagram. If the error is the
// datagram's own, it occurs again; Flush stores it and goes on with the next datagram.
// Otherwise it was a pending error, of an earlier datagram that the network returned; the
// call has cleared it, and s.HasErrors is set. The first datagram of a call cannot tell the
// two apart, so Flush tries it again. A full send buffer (EAGAIN) fails the rest: Flush does
// not wait for it.
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
				s.hasErrors = true // a pending error may have stopped it
			}
		case canBePending(errno) && RefusalOf(errno) == network.Foreign && foreign < foreignTries:
			s.hasErrors = true
			foreign++
		case canBePending(errno) && tries < sendTries:
			s.hasErrors = true
			tries++
		case errno == unix.EINVAL && b.unstamp(i): // Linux before 4.7, or a sandbox
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
	s.awaitsStamps = s.awaitsStamps || b.stamps != 0
	return sent
}

const (
	// sendTries is how often a datagram is tried again after an error that may be an
	// earlier datagram's. A pending error is one errno and is cleared by being read, so more
	// than one in a row are the datagram's own, or there is a stream of errors.
	sendTries = 2
	// foreignTries is how often a datagram is tried again after an error that it cannot have
	// caused. There are more tries, so that a stream of such errors hides neither the
	// datagram nor its own error.
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
func (b *Sender) Reset() { b.n, b.stamps = 0, 0 }
