// Package network is the interface between an owner loop and its environment: sockets that
// carry batches of datagrams and, in a simulation, also a clock and randomness. The engine
// implements it on Linux, package portable on package net, and package sim in virtual time,
// so that the same turn runs in all of them. Nothing here depends on the operating system.
package network

import (
	"context"
	"net/netip"
	"time"

	"systole/engine/clock"
)

// Network is the sockets of one owner loop. Only the loop's owner calls it, except for
// methods that say otherwise. Sockets are numbered from 0.
type Network interface {
	// Sockets returns the number of local sockets, at most MaxSockets.
	Sockets() int
	// SocketFor returns the socket that sends to addr from a source, or NoSocket if none can.
	// With AnySource the routes decide, which are looked up only if there are several sockets
	// of addr's family. Any goroutine may call it.
	SocketFor(addr *Addr, source uint8) uint8
	// SourceOf returns the source with a local address, a device (an interface's name), or
	// both; zero values leave them to the routes. The source is valid for every shard. If the
	// device is created again, the source uses the new one. The error says what this host
	// lacks. Any goroutine may call it.
	SourceOf(local netip.Addr, device string) (uint8, error)
	// Source returns the source that answers datagram j of the batch, AnySource if the routes
	// choose the right one. It takes a few system calls, so it is not for every datagram.
	Source(j int) uint8

	// Receive reads one batch of at most BatchSize datagrams from a socket without waiting.
	// Datagram, From and Stamp return parts of that batch until the next call. empty says that
	// all that had arrived before the call has been read. It is certain if n is 0. Otherwise
	// an unknown error may have ended the batch early: Interrupted asks the kernel.
	Receive(socket int) (n int, empty bool, err error)
	Interrupted(socket int) bool
	Datagram(j int) []byte // longer than any valid one if it was truncated
	From(j int) *Addr
	Stamp(j int) int64 // arrival in nanoseconds of CLOCK_REALTIME; 0: unknown
	// NextError takes one entry off the socket's error queue, and reports whether there was one. It may
	// be a transmit stamp, which comes after the turn that sent the datagram.
	NextError(socket int) (Returned, bool)

	// Next returns the buffer for the next datagram to send.
	Next(socket int) []byte
	// Commit adds the first n bytes of that buffer to the batch, for the peer in a slot, and
	// returns how many datagrams the batch has, at most BatchSize. The socket is that of
	// SocketFor for the source.
	Commit(socket, n int, to *Addr, source uint8, slot uint32) int
	// StampSend asks for the transmit stamp of the datagram that was committed last.
	StampSend(socket int)
	// Flush sends the batch and returns how many datagrams it had, and how many of them the
	// kernel refused.
	Flush(socket int) (sent, refused int)
	// Refusal returns the slot of datagram k of the flushed batch, and why it was refused: Sent if
	// it was not.
	Refusal(socket, k int) (slot uint32, why Refusal)

	// Epoch returns a count of the changes of links, addresses and routes: after a change,
	// SocketFor and the name of a zone may give another result. Any goroutine may call it.
	Epoch() uint32
	// LinkDown reports whether there is no route to addr, its interface is down or has no
	// carrier, or its socket cannot be read. It is for verdicts, and may take system calls.
	LinkDown(addr *Addr) bool
	// DeviceDown reports whether the device of a source is down, has no carrier or does not
	// exist; LinkDown looks at the routes' choice only. It makes no system call.
	DeviceDown(source uint8) bool

	// Drops returns how many datagrams the kernel has dropped because a buffer was full.
	Drops() uint32
	// Wait waits for d, for Wake, or, if datagrams is set, for a readable socket. It
	// reports whether it ended before d.
	Wait(d time.Duration, datagrams bool) bool
	Wake()         // ends Wait; any goroutine may call it
	Drain()        // discards calls of Wake, and finds late transmit stamps, for a loop that does not Wait
	Calls() uint64 // system calls so far; any goroutine may call it
	// Buffers returns the smallest buffers. Any goroutine may call it.
	Buffers() (recv, send Buffer)
	// Local returns the sockets' addresses. Any goroutine may call it.
	Local() []netip.AddrPort
	Close() error
}

// World is a network in virtual time, with the other things that an engine takes from its
// host: the engine then reads no clock, draws no random number and starts no goroutine.
type World interface {
	Network
	// Now reads the host's clocks.
	Now() clock.Reading
	// Random draws 64 bits.
	Random() uint64
	// LookupNetIP resolves the name of a host.
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	// Rest replaces Wait at the end of each turn: the next turn is at until, or earlier for
	// Wake and, from quiet on, for a datagram.
	Rest(until, quiet clock.Instant)
}

// OpenEngine opens an engine on a simulated host. It is a
// func(engine.Config, World) (*engine.Engine, error), which package engine sets and package enginetest
// calls, so that package engine's own documentation has nothing of simulations.
var OpenEngine any

// Returned is a datagram of ours that the network or this host returned, or the transmit
// stamp of one.
type Returned struct {
	// Stamp is when the network driver took the datagram from the kernel, in nanoseconds of
	// CLOCK_REALTIME. It is 0 unless the entry is the stamp that StampSend asked for. Such an
	// entry has no other field but Quoted, which is the datagram.
	Stamp int64
	// PortUnreachable says that the destination's host has no socket at the port (RFC 1122,
	// 3.2.2.1; RFC 4443, 3.1).
	PortUnreachable bool
	Peer            Addr // where the datagram was sent to
	// Quoted is our datagram, without IP and UDP headers, as far as the ICMP message quotes
	// it. Hosts usually quote 548 bytes or all of it; the least is nothing (RFC 792 asks for
	// 8 bytes, which are the UDP header). Anybody who guesses our ports can forge it. It is
	// valid until the next call of NextError.
	Quoted []byte
}

// Buffer is a socket buffer's size in bytes: as wanted, and as granted.
type Buffer struct{ Wanted, Granted int }

const (
	// BatchSize is how many datagrams one batch carries at most.
	BatchSize = 64
	// MaxDatagram is the largest datagram sent, in bytes: what fits the IPv6 minimum MTU of
	// 1280 (RFC 8200, 5) below an IPv6 and a UDP header.
	MaxDatagram = 1232
	// SlotSize is the room for one datagram in a batch: a multiple of a cache line and longer
	// than MaxDatagram, so that an oversized datagram shows by its length.
	SlotSize = 1280
	// QueuedSize is what Linux charges a receive buffer for one queued datagram of up to 160
	// bytes, in bytes as Buffer counts them: half of the 832 bytes of an skb with a small head
	// (Linux 6.18, loopback and veth), because the kernel doubles what is asked for (socket(7)).
	// Up to 600 bytes it is 640, above it 1152. Some network drivers take a larger head for any
	// datagram. Other systems charge about as much or less.
	QueuedSize = 416
	// MaxSockets bounds the local addresses.
	MaxSockets = 16
	// NoSocket is no socket.
	NoSocket = 255
	// AnySource leaves the local address and the device to the routes.
	AnySource = 0
)

// ShardOf returns the shard, 0 to n-1, on which datagrams for the slot arrive. The slot has
// at most 20 bits. Any goroutine may call it.
func ShardOf(slot uint32, n int) int { return int(slot % uint32(n)) }
