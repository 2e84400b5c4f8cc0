// Package names looks the names of peers up and chooses which of a name's addresses a peer
// is watched at.
//
// A [Book] holds the rules. It is pure: it is told what time it is, what a lookup returned and
// how a peer fares, and says what to look up, whom to look at and where to move a peer. A
// [Runner] is a Book with a resolver: with goroutines in a process ([Start]), without any in a
// simulated world ([New] and [Runner.Turn]).
//
// # When a host is looked up
//
// At once when its first peer is added, then every 5 s, for each host ±10 % by its hash; at
// once, though at most once a second, when a peer of it is Gone; after 250 ms, doubling to 5 s,
// while it does not resolve. Peers with the same host share its lookups. An answer that is
// empty or an error changes nothing.
//
// At most 32 lookups run at once, at most half of them of hosts that failed to resolve, so names
// that are dead delay names that are not by no more than their own first lookup. Who waits is
// served in the order of the due times. A lookup has a context of 2 s. A resolver that ignores
// it is stuck: the host has failed, the result is dropped, and the lookup lingers, which no
// longer counts among the 32. At most 4 lookups of a host linger; then it waits for one of them
// to return. At most 256 linger in all; from then on a stuck lookup keeps its place among the
// 32 until it returns, and other hosts are looked up in the places that are left. Nothing waits
// for a lookup, [Runner.Close] neither.
//
// # Where a peer is watched
//
// Addresses have the order of RFC 8305, section 4: families in turn, that of the resolver's
// first address first. Those that [Options.Usable] refuses are passed over. Then:
//
//   - A peer that is at no listed address is moved to the first one: at once while it is not
//     Well, else with the next answer. So where a name points wins over where a heartbeat
//     came from, and a peer moves when its name does.
//   - A peer that is Well at a listed address stays there, whichever was tried last.
//   - Connecting, it is tried at the next address every 250 ms (the Connection Attempt Delay).
//   - Silent, it is tried at the next after 250 ms, Gone, at once, then after 250 ms, doubling
//     to 2 s. Well again, the delay is 250 ms again.
//
// # How a peer fares
//
// Nobody tells the Book of states. [Options.Look] reads what the engine publishes: when the
// name was answered, when the next address is to be tried, and when [Runner.Poke] says that the
// peer's state changed. A poke that is lost on the way to a newer one costs nothing, for only
// the present state counts.
package names
