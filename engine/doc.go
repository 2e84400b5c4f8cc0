// Package engine tells a program that a machine, a process or one named thing in it has
// stopped, is slow, or is out of reach, and why. It exchanges UDP heartbeats with
// peers, judges each peer by its own evidence alone, and publishes states, causes and
// figures that any goroutine reads without a lock.
//
//	e, err := engine.Open(engine.Config{})
//	p, err := e.AddPeer(engine.PeerConfig{Addr: netip.MustParseAddrPort("192.0.2.7:7946")})
//	for ev := range e.Events(ctx) {
//		log.Println(ev.Peer, ev.From, ev.To, ev.Cause)
//	}
//
// The datagram and its rules are in wire/PROTOCOL.md.
//
// # Words
//
// Each idea has one name, here and in the code:
//
//	heartbeat          one datagram: "I am here", and "this is what I hear of you"
//	peer, node         who is watched; who watches
//	incarnation        one life of a process; grows with every start
//	sequence           number of a heartbeat to one peer within an incarnation
//	period (η)         time between two heartbeats to a peer
//	interarrival       time between two arrivals from a peer
//	expected arrival   when the detector expects the next heartbeat
//	margin             time granted beyond the expected arrival
//	deadline           expected arrival plus margin: silence until then is judged
//	suspicion (φ)      the detector's level; grows with silence
//	level              a suspicion at which something is done
//	interpreter        what follows the levels of the peers for one subscriber
//	standing, summary  the level a peer is at; what it is judged by
//	alive, suspect (tempFail), failed (permFail), left      states of a peer
//	detection time T_D from the last heartbeat before a crash to the verdict
//	mistake            a verdict against a peer that was alive
//	mistake rate, mistake duration T_M, query accuracy P_A  after Chen, Toueg, Aguilera
//	promise            detect within, a mistake no more often than, heartbeats at most
//	class              peers whose ways are alike; what they show is pooled
//	turn               one pass of an owner loop
//	batch              datagrams moved by one system call
//	datagram, stamp    what the kernel moves, and the time it notes
//	shard              one owner loop with its sockets and its part of the peers
//	slot               a place in the peer table
//
// # Who owns what
//
// A shard has one goroutine on its own thread: the owner. It alone touches the shard's
// sockets, wheel, index and the peerOwned part of its peers. It reads the clock once
// per turn. There are two crossings, and no others:
//
//   - In: a bounded ring of commands per shard. AddPeer fills a free slot and hands it
//     over through the ring; from then on the slot is the shard's.
//   - Out: words that the owner stores and anybody loads (ringbuf.Word and the windows),
//     the rings of the subscriptions, and the ring of Config.Recorder.
//
// Two more goroutines do what may wait: one looks names up, stocks free slots for
// strangers and revises periods (background.go), one hears of interfaces (linkwatch.go).
//
// A slow or stuck reader of events fills its own ring; after that, one bit per peer says
// what to look at again, and of each kind of event about this node the last is kept. It costs
// neither the loop nor other readers anything.
//
// # A turn
//
// lateness → commands → receive → expire → transmit → learn (turn.go). Each part is bounded
// and none blocks. A program with a loop of its own opens the engine with Config.Manual and
// calls Engine.Turn. So does a simulated world, in virtual time: Config.Network is then one
// of its hosts, and what goroutines do besides happens inside Turn (package enginetest).
//
// Sends lie on a raster, the grid: a fraction of the period between 0.5 and 4 ms. Which
// step of the period a peer is sent to in is a hash of its slot, so a thousand peers
// never burst. Between sends the loop sleeps, and reads datagrams once per grid step at
// most: a batch costs one wake-up. Arrivals do not suffer, because the kernel stamps
// them (SO_TIMESTAMPING); deadlines do not suffer, because the loop wakes for them exactly.
//
// # Why a peer was declared failed
//
// Follow judge.go. A peer's detector sets two deadlines with every heartbeat. Before the
// first, when a heartbeat is late by what an answer takes, the peer is solicited: asked up to
// three times to answer at once, so that a lost heartbeat costs a round trip. A verdict needs all of this:
//
//   - the deadline has passed, later by what this node itself stood still (pause.go), which
//     the time that it worked is not (work.go);
//   - the sockets were read empty after it, and no error cut that short, so the peer is not
//     waiting in them; where the kernel stamps nothing and a flood lasts, or errors pour in,
//     that is waited for 10 ms at most;
//   - the kernel dropped nothing for want of buffer since the peer was last read, or that
//     has put off the verdict three times;
//   - for permFail: our own way out is there (links.go, linkwatch.go), and the peer did not
//     fall silent together with many others (silence.go).
//
// Faster than silence are a returned port unreachable that quotes our own heartbeat, a
// goodbye, and a new incarnation. Every verdict carries its Cause.
//
// A peer is heard only by heartbeats that name our present incarnation, so recordings of
// an earlier life keep nobody alive. A peer that we hear but that does not hear us is
// OneWay, not failed. Failed is final for an incarnation unless Config.Resurrect. Left is
// taken back by a peer that had removed this node and adds it again.
//
// # Levels
//
// The loop judges two levels, suspect and failed. Any others are a subscriber's own: an
// interpreter (interpreter.go, interpret.go) follows them off the loop, by the summaries that
// the loop publishes, and by how far it had read its sockets then. A level at or above the
// engine's own is entered only with that state, so what excuses a peer there does here. A
// failed peer is at the top level; one that left or was removed, or a new incarnation, is
// at none.
//
// # What is promised
//
// Config.Promise says what is asked for. By default the margin detector (package detect)
// judges: it learns from each peer's own heartbeats, and at first from those of its class,
// which margin is exceeded no more often than was promised. promise.go weighs the promise
// by what was measured (learn.go), derives the period from it, and says what is possible
// where it cannot be kept. Stats and PeerStats count the mistakes that were made, and over
// how much time. Failure is another promise than suspicion: it is final, so it takes ten
// deadlines and two seconds at least.
//
// # Limits
//
// Linux only. A heartbeat proves that the peer's engine runs, not that its application
// does; SetProgress carries the application's own proof. Without Config.Keys anyone who
// sees the traffic can forge it; with keys, any holder of a key can. At most 1,048,576
// peers per engine.
package engine
