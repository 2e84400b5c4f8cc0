// Package network says what an owner loop needs of the world: sockets that carry batches of
// datagrams, and, where the world is simulated, a clock and chance as well. The engine
// implements it on the kernel; package sim implements it in virtual time, so the very same
// turn runs in both.
package network

import (
	"context"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/clock"
	"systole/engine/internal/udp"
)

// Network is the sockets of one owner loop. Only the loop's owner calls it, except for
// what says that any goroutine may.
type Network interface {
	// Sockets returns the number of local sockets, at most MaxSockets.
	Sockets() int
	// SocketFor returns the socket that sends to addr from a source, or NoSocket if there is
	// none of that family. AnySource leaves the choice to the routes, which are asked
	// only where there are several sockets of the family. Any goroutine may call it.
	SocketFor(addr *udp.Addr, source uint8) uint8
	// SourceOf returns the source for a local address, a device, or both; the zero values leave
	// them to the routes. It is good for every shard's network, and follows the device's
	// name when the interface is made anew. The error, a *udp.Error, says which of them
	// this host does not have. Any goroutine may call it.
	SourceOf(local netip.Addr, device string) (uint8, error)
	// Source returns the source that answers datagram j of the batch: AnySource where the
	// routes choose the address that the datagram was written to. It may ask them, which
	// takes a few system calls: it is not for every datagram.
	Source(j int) uint8

	// Receive reads one batch of at most BatchSize from a socket without waiting and
	// returns how many datagrams came; Datagram, From and Stamp are of that batch until
	// the next call. empty says that all that had arrived before the call has been read:
	// for certain if none came, else unless an error cut the batch short of which
	// nothing was known yet. That is what Interrupted asks, where something depends on it.
	// NextError takes one entry of the socket's error queue.
	Receive(socket int) (n int, empty bool, err error)
	Interrupted(socket int) bool
	Datagram(j int) []byte // one byte too long if it was truncated
	From(j int) *udp.Addr
	Stamp(j int) int64 // CLOCK_REALTIME of arrival, ns; 0: none
	NextError(socket int) (Returned, bool)

	// Next returns the buffer of the next datagram to send; Commit says how much of it
	// is written, where to, from which source and for whom, and returns how many wait, of
	// which there may be BatchSize; the socket is SocketFor's for that source. Flush hands them to the kernel and returns how many it refused; Refusal
	// tells the k-th datagram's, 0 if it was taken.
	Next(socket int) []byte
	Commit(socket, n int, to *udp.Addr, source uint8, slot uint32) int
	Flush(socket int) (sent, refused int)
	Refusal(socket, k int) (slot uint32, errno unix.Errno)

	// Epoch returns a count that grows when links, addresses or routes of this host changed:
	// what SocketFor and a zone's name gave before may be another now. Any goroutine may
	// call it.
	Epoch() uint32
	// LinkDown reports whether a datagram to addr would leave through an interface that
	// is down or has no carrier, or has no way at all, or whether the socket that its family
	// needs cannot be read. It is asked before verdicts only.
	LinkDown(addr *udp.Addr) bool
	// DeviceDown reports whether the interface that a source names is down, has no carrier
	// or is not there: LinkDown knows the routes' choice only. It makes no system call.
	DeviceDown(source uint8) bool

	// Drops returns how many datagrams the kernel dropped for want of buffer, ever.
	Drops() uint32
	// Wait waits for d, for Wake, or, if datagrams is set, for a readable socket. It
	// reports whether something other than the time ended it.
	Wait(d time.Duration, datagrams bool) bool
	Wake()         // any goroutine may call it
	Drain()        // takes back wake-ups, when nobody waits
	Calls() uint64 // system calls so far; any goroutine may call it
	// Buffers returns the smallest buffers. Any goroutine may call it.
	Buffers() (recv, send Buffer)
	// Local returns the sockets' addresses. Any goroutine may call it.
	Local() []netip.AddrPort
	Close() error
}

// World is a network in virtual time, with what else an engine takes from its host. An
// engine on it reads no clock, draws no random number and starts no goroutine of its own.
type World interface {
	Network
	// Now is what the host's clocks show.
	Now() clock.Reading
	// Random draws 64 bits.
	Random() uint64
	// LookupNetIP resolves the name of a host.
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	// Rest is called at the end of each turn in place of Wait: the loop is to turn at
	// until, or earlier when it is woken, and from quiet on also for a datagram.
	Rest(until, quiet clock.Instant)
}

// Returned is a datagram of ours that the network returned.
type Returned = udp.Returned

// Buffer is a socket buffer's size in bytes: as wanted, and as granted.
type Buffer struct{ Wanted, Granted int }

const (
	// BatchSize is how many datagrams one system call carries.
	BatchSize = udp.Batch
	// MaxSockets bounds the local addresses.
	MaxSockets = 16
	// NoSocket: no local address of that family.
	NoSocket = 255
	// AnySource is the source that the routes choose. Others are numbers of a Network's own.
	AnySource = 0
)
