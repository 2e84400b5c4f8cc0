package engine

import (
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/internal/udp"
)

// network is what a shard needs of the world: sockets that carry batches. Package udp
// implements it on the kernel (sockets.go); tests implement it in virtual time, so the
// very same turn runs in both. Only the shard's owner calls it, except wake, calls and
// buffers, which any goroutine may.
type network interface {
	// sockets returns the number of local sockets, at most maxListen.
	sockets() int
	// socketFor returns the socket that reaches addr's family, or noSocket.
	socketFor(addr *udp.Addr) uint8

	// receive reads one batch from a socket without waiting and returns how many
	// datagrams came; datagram, from and stamp are of that batch until the next call.
	receive(socket int) (int, error)
	datagram(j int) []byte // one byte too long if it was truncated
	from(j int) *udp.Addr  //
	stamp(j int) int64     // CLOCK_REALTIME of arrival, ns; 0: none
	nextError(socket int) (returned, bool)

	// next returns the buffer of the next datagram to send; commit says how much of it
	// is written, where to and for whom, and returns how many wait; flush hands them to
	// the kernel and returns how many it refused; refusal tells the k-th datagram's.
	next(socket int) []byte
	commit(socket, n int, to *udp.Addr, slot uint32) int
	flush(socket int) (sent, refused int)
	refusal(socket, k int) (slot uint32, errno unix.Errno)

	// linkDown reports whether a datagram to addr would leave through an interface that
	// is down or has no carrier, or has no way at all. It is asked before verdicts only.
	linkDown(addr *udp.Addr) bool

	// drops returns how many datagrams the kernel dropped for want of buffer, ever.
	drops() uint32
	// wait waits for d, for wake, or, if datagrams is set, for a readable socket. It
	// reports whether something other than the time ended it.
	wait(d time.Duration, datagrams bool) bool
	wake()
	drain()        // takes back wake-ups, when nobody waits
	calls() uint64 // system calls so far
	buffers() (recv, send Buffer)
	close() error
}

// returned is a heartbeat of ours that the network sent back.
type returned struct {
	portUnreachable bool
	peer            udp.Addr // whom it was for
	quoted          []byte   // the beginning of our datagram, valid until the next call
}

const (
	// maxListen bounds the local addresses.
	maxListen = 16
	// noSocket: no local address of that family.
	noSocket = 255
)
