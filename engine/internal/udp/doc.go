//go:build linux

// Package udp has the UDP sockets of the engine: raw sockets, batches of datagrams,
// control messages, kernel stamps and waiting. All system calls of the heartbeat
// path are made here, and each object counts its own.
//
// It is for Linux on 64-bit machines. It sits on raw, non-blocking descriptors
// instead of package net: one recvmmsg(2) or sendmmsg(2) moves [Batch] datagrams, as a
// raw system call that bypasses the Go scheduler, because it cannot block. A full batch
// keeps its P for some 30 µs (receiving) to 150 µs (sending), which is the longest that a
// stop of the world waits for it. Only [Waiter.Wait] sleeps, and releases its P.
//
// A [Socket], [Receiver], [Sender], [ErrorReader] and the waiting side of a [Waiter]
// belong to one goroutine. Methods that other goroutines may call say so.
//
//	loop:  Receiver.Recv(socket) → Datagram, From, Stamp; Local, for an answer
//	       ErrorReader.Read(socket), when socket.HasErrors() or AwaitsStamps()
//	       Sender.Next, Commit or CommitFrom, Stamp, …; Sender.Flush(socket) → Err; Reset
//	       Waiter.Wait
package udp

import "systole/engine/internal/network"

const (
	// Batch is how many datagrams one system call moves at most.
	Batch = network.BatchSize
	// MaxDatagram is the largest datagram sent, in bytes.
	MaxDatagram = network.MaxDatagram
	// QueuedSize is what the kernel charges for one queued datagram.
	QueuedSize = network.QueuedSize

	slotSize = network.SlotSize
)
