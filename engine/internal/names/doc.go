// Package names looks up the names of peers and chooses the address at which each peer is watched.
//
// A [Runner] does so on goroutines of its own ([Start]) or, in a simulated world, inside
// [Runner.Turn] ([New]). The rules are those of its table, which reads no clock and starts no
// goroutine.
//
// # Lookups
//
// A host is looked up when a peer is added, and every 5 s; while it does not resolve, after 250 ms,
// doubling to 5 s. Both intervals vary by ±10 % with the hash of the name. When a peer fails, its
// host is looked up at once, or 1 s after its last lookup began. Peers with the same host share its
// lookups. An answer that is empty or an error leaves the known addresses in force.
//
// At most 32 lookups run at once. They start in the order in which they are due. Hosts that failed
// to resolve get at most half of these places, so dead names delay others by no more than their own
// first lookups.
//
// The context of a lookup ends after 2 s. A resolver that ignores that is stuck: its host counts as
// failed, and the result is dropped. Up to 256 stuck lookups do not count among the 32; each beyond
// them does, as one of a failing host, until it returns. A host with 4 stuck lookups is not looked up
// until one of them returns. Nothing waits for a lookup, not even [Runner.Close].
//
// # Addresses
//
// The addresses of an answer are ordered as in RFC 8305, section 4: families in turn, that of the
// first address first. Those that [Options.Usable] refuses are skipped.
//
//   - A peer that is Alive at a listed address stays there.
//   - A peer at an address that is not listed moves to the first one: at once or, if it is Alive,
//     with the next answer. So a name takes precedence over the source of heartbeats.
//   - A Connecting peer moves to the next address every 250 ms (the Connection Attempt Delay).
//   - A Suspect peer moves to the next address after 250 ms, a Failed one at once. After that, both
//     move on after 250 ms, doubling to 2 s, until they are Alive or have new addresses.
//
// A peer is checked by its present state ([Options.Status]): after an answer, when the next address
// may be tried, and after [Runner.StateChanged]. Changes between two checks may be lost.
package names
