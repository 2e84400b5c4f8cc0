// Package portable is the network of an engine on systems other than Linux: package net's UDP
// sockets, one per local address. It builds on Linux as well, where tests compare it with the
// other one, and everything but the files named after a capability is the same on every system.
//
// A goroutine per socket reads datagrams, one per system call, into a bounded ring, and signals
// the loop, which takes batches out of the ring. When the ring is full, the goroutine waits, and
// datagrams stay in the kernel's buffer. Sends are one system call per datagram. Nothing is
// allocated per datagram, unless its address has an IPv6 zone.
//
// What Linux has and this layer has not:
//
//   - Stamps. An arrival is the instant of the turn that takes the datagram.
//   - Errors that the network returns. A port that nobody listens on is found out by silence.
//   - Several sockets that share a port: one loop serves all peers.
//   - The choice of an interface. A local address is chosen by listening on it.
//   - A count of the datagrams that the kernel dropped.
//   - Notices of links and addresses. A goroutine looks at the interfaces once a second.
//   - Certainty that a socket is empty. The kernel is asked, but a datagram that the reading
//     goroutine has just taken from it, one per socket at most, shows only when that goroutine runs on.
//     No counter can tell: package net does not say when a read that waits has taken one.
//
// Who calls what is said by [network.Network]. Between goroutines go: the rings and their
// signals, [Sockets.Wake], the state of interfaces, and whether a socket can be read.
package portable
