// Package bpf sees heartbeats below the sockets, by BPF programs in the kernel. A Source is an
// engine.Arrivals. The engine works without this package and does not link it.
//
// # Tiers
//
//	kernel  the network stack stamps what arrives; no program is loaded
//	bpf     programs stamp what arrives at tcx or cgroup_skb, in CLOCK_MONOTONIC, and record hand-offs
//	absorb  programs take heartbeats at tcx or native XDP; the engine reads them from memory
//
// A stamp of tcx or cgroup_skb is written to the packet, so the socket returns it with the datagram. XDP
// has no such place: its stamps lie in memory, and Source.Arrived returns the last one of each peer. XDP
// sees Ethernet frames; only the other programs see devices without Ethernet. Where a packet passes
// several devices, as it does with a VLAN or a bond, the first stamp stays. The program at the
// tracepoint net_dev_start_xmit records when a driver took a heartbeat of this node, for
// Source.HandedOff: the lowest of those devices, after its queue. The peer learns it by the follow-up in
// the next heartbeat.
//
// No packet is ever changed.
//
// # What is a heartbeat
//
// An unfragmented packet of IPv4, or of IPv6 without extension headers, behind two VLAN tags at most, to
// or from a port of SetPorts, with magic, version, kind and lengths of package wire, and with both
// discriminators of a session that Watch has announced. A datagram with messages cut off may be stamped
// as well; IP drops it later. Whatever is in doubt passes untouched.
//
// # Absorption
//
// It is opt-in. A heartbeat is taken if it has no messages, no tag and no flag but wire.FlagFollowUp, if
// its sequence is above that of the last one taken for the session, if its checksum is right, and if
// there is room: the ring of a peer holds four. Tcx and XDP are ahead of UDP's check of the checksum, so
// the programs compute it. They accept a sum that a sender on this host has left to a device, and for
// IPv4 none. Link-local sources stay with the sockets: the zone of a bridge or bond is not known at its
// ports. Everything that is not taken goes to the socket as without absorption, stamped.
//
// Absorbed heartbeats are missing in tcpdump, in netfilter, whose rules do not apply to them, and in the
// counters of IP, UDP and sockets. Counters has them: Seen, Stamped, Taken, Full, Stale, Doubtful.
//
// There is no absorption at cgroup_skb. What a program drops there, the kernel counts as a loss of the
// socket, and the engine doubts its own reading after such losses.
//
// Peers with keys are not absorbed: programs cannot compute HMAC-SHA-256, and a forger must not use up
// the room of a ring.
//
// # What is not built
//
// The figures are of BenchmarkNotBuilt, on an AMD EPYC where an empty program takes 21 ns.
//
// No second tag that programs could check. SipHash-2-4 over the header with a key per peer costs 110 ns
// per heartbeat, more than all that the program at XDP does besides. Datagrams would need room for it,
// and nodes an agreement on its key. Keyed peers have the stamps, and that is what verdicts need.
//
// No deadline in the kernel. A timer per peer costs 33 ns per heartbeat if its callback re-arms it, and
// 210 ns if each packet does. It expires 17 µs late at the median, and 35 µs at the 99th percentile; 180
// µs beside four busy loops on two processors. But when the process runs again after a stop, the last
// arrival of each peer is in memory or in a socket, with its stamp, so the engine knows without a timer
// when each deadline passed. Nobody acts on an expiry before the process runs.
//
// No replies from the kernel, which would prove that a host is up and not that its program is. Patents
// claim responses to heartbeats that the kernel processes: US 10397085 B1 and US 10951506 B1 (Juniper),
// WO 2023225886 A1 (Intel). Who enables absorption in a product should read them first.
//
// # Memory
//
// Programs and process share four arrays, which the process maps (c/table.h, table.go). Reading them
// takes no system call. Who writes what:
//
//	control.ports             SetPorts
//	control.xdp               the loader
//	peer.ours, theirs         Watch; theirs before ours, and to forget a session ours first
//	peer.handed               the program of hand-offs; Watch clears them for a new session
//	peer.arrived_at, arrived  the program at XDP; Watch clears them for a new session
//	ring.tail                 Next
//	ring.*, taken.*           the programs that take heartbeats, one at a time by ring.claim
//	counters.*                the programs on the processors of that line
//
// A program sets the sequence to 0, stores the instant, and stores the sequence; each step is visible
// before the next. A reader finds its sequence both before and after it reads the instant. An entry of a
// ring is visible before ring.head, and read before ring.tail is stored.
//
// After Close the addresses are mapped to empty memory, so a late reader finds nothing.
//
// # Goroutines
//
//	attachments.run     one per Source of Open and per connection of Serve: attaches and detaches
//	subscription.merge  one beside it: the kernel's reports of interfaces and of their addresses
//	server.accept       one per connection of Serve: answers its requests
//	remote.read         one per Source of Dial: reads the loader's answers
//
// Crossings among them, and to the goroutines of the program:
//
//	attachments.current       the status of each interface, to any goroutine
//	attachments.stop, done    the end of run, from Close
//	subscription.ch, end      that something changed; the end of merge
//	server.room               bounds the connections
//	remote.replies, ended     answers, and that the loader has ended
//	remote.mu                 one goroutine asks at a time
//
// # Limits
//
// Linux 5.15, and 6.6 for tcx; machines of 64 bits. CAP_BPF and CAP_NET_ADMIN are for stamps at tcx and
// cgroup_skb. Absorption, XDP and hand-offs need CAP_PERFMON besides.
//
// Peers in slots beyond Options.Peers are not watched. There are eight local ports at most. Of stamps by
// XDP, the last one of each peer is known, of hand-offs the last eight. Batches of UDP_SEGMENT are not recognised.
// Stamps begin when the kernel polls the adapter: what a datagram waits before that looks like delay of
// the network. In a time namespace, instants are as exact as a system call is short.
package bpf
