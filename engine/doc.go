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
//	node               a process with an id
//	incarnation        one life of a node; grows with every start
//	peer               this node's watch of another node over one path
//	path               a local socket and the peer's address
//	discriminator      the number that one side has for a peer, and the other returns
//	session            one incarnation of the other node, and its discriminator for us
//	introduction       a datagram without a discriminator of ours that is in force
//	stranger           a node that introduces itself and was not added; it may be admitted
//	sequence           number of a heartbeat to one peer within an incarnation
//	period (η)         time between two heartbeats to a peer
//	interarrival       time between two arrivals from a peer
//	expected arrival   when the detector expects the next heartbeat
//	margin             time granted beyond the expected arrival
//	deadline           expected arrival plus margin: silence until then is judged
//	suspicion (φ)      the detector's level; grows with silence
//	summary            the evidence about a peer that its loop publishes
//	level              a suspicion at which a program does something (package level)
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
// # Who is who
//
// A peer is a slot of the table, and the shard slot mod shards has the slot for life. A datagram
// names its peer by our discriminator: the low bits are the slot, the other 44 are random and new
// with each peer. By it the kernel steers the datagram to the shard, and the shard finds the
// peer without a search (peerOf). Only who reads what we send to a peer knows it, so it proves
// that we were heard. Ids, incarnations and addresses are told to everybody, and prove nothing.
//
// A datagram without it is an introduction (introduce.go) and touches no peer. Where somebody is
// watched, or strangers are admitted, it is answered by one datagram as long as it. The
// discriminator of the answer is made without state: a keyed hash, with slot 0. Who returns it
// from the same address is the peer that is watched there, or is admitted. The address book
// (internal/book) knows who is watched where. It is asked about introductions only.
//
// Another session follows a peer's present one (takeover.go) if it is fresh, and the present one
// yields. Fresh is what names a later heartbeat of ours than was ever named. A session yields if it
// never began, if its process has started anew, or if nothing is heard of it.
//
// A peer that writes from another address is written to there, and moves when it answers from
// there; an address that its name has wins over that. One node on two paths is two peers, each
// judged by itself. Of two nodes with one id, whoever sees both is told.
//
// # Who owns what
//
// A shard has one goroutine on its own thread: the owner. It alone touches the shard's
// sockets, wheel and peers, and reads the clock once per turn. A peer is made of parts. Each
// is written by one file alone: peer_session.go, peer_deadline.go and so on.
//
// Other goroutines do what may wait. One revises periods, stocks free slots and logs
// (background.go). One schedules look-ups of names, each of which has its own (internal/names).
// Two hear of links and routes (linkwatch.go). In a Manual engine the program's goroutine is
// the owner; in a simulated world it is all of these.
//
// A slow or stuck reader of events fills its own ring; after that, one bit per peer says
// what to look at again, and of each kind of event about this node the last is kept. It costs
// neither the loop nor other readers anything.
//
// # Crossings
//
// What goes from one goroutine to another, and nothing else does. A test holds this list against
// the code.
//
//	go s.run            one per shard: the owner
//	go e.background     one per engine
//	go e.logging        one per engine with a logger
//	go i.listen         one per engine: of links and addresses
//	go i.listenRoutes   one per engine: of routes
//	go r.loop           one per engine: schedules look-ups of names
//	go r.lookUp         one per look-up, bounded: waits for the resolver
//
// To a shard:
//
//	shard.ring          commands, from anybody; bounded
//	shard.letters       what another shard has read of a peer of this one; bounded
//	shard.stash         free slots for strangers, from the background goroutine to shard 0
//	shard.net           Wake, from anybody; all else of it is the owner's
//	Engine.incarnation, keys, degraded, progress   as the program has set them
//	Engine.periods      as the background goroutine has revised them
//	Engine.book         who is watched where, with AddPeer
//	Engine.subscriptions   who is told of events
//	Engine.stopping     Close, to the loops
//	startShards.ready   whether a loop has its thread as asked, back to Open
//	interfaces.down, epoch   links and routes, from those who listen
//	sources.mu, table   local sources, with AddPeer and who listens
//	sockets.queryMu     held during a query of the kernel, against Close
//
// From a shard, which stores words that anybody loads:
//
//	verdict.*           what is believed of a peer
//	session.id, incarnation, theirs   which process it is
//	deadline.paused, grace   what excuses it, for its summary
//	sends.sequence, last   what was written to it
//	pace.remote         both periods
//	path.shown, base, trips   its address, and what its way costs
//	counts.*            what happened with it
//	chunk.samples, summaries   windows of its heartbeats and of its detector's summary
//	counters.*          what happened in the shard
//	shownEvidence.*     up to when the shard has heard everything
//	shownPools.mu       a copy of the pools of its classes; a shard only tries the lock
//	table.chunks, slots   the peer table; it grows under Engine.mu
//	Engine.freed        slots of removed peers, to AddPeer
//	Engine.notes        refusals, to the goroutine that logs them
//	Engine.asked        that shard 0 wants slots, to the background goroutine
//	Engine.sessions     how many have begun, to the same, which looks for two nodes with one id
//	Engine.names        which names to look at again; from AddPeer, which names there are
//	Engine.departures, departed   that all goodbyes are said, to Shutdown
//
// From shards to a reader of events:
//
//	Subscription.ring, wake   events, and that there are some
//	Subscription.dirty, marked   for which peers the ring had no room
//	dirtyChunk          the bits of that
//	keptEvents.*        events about this node for which it had none
//	Subscription.closed, once   Close, to who waits
//
// Among other goroutines:
//
//	Engine.mu           AddPeer, RemovePeer and their like, and the background goroutine
//	Engine.turning      Turn, against Close
//	Engine.ended, done, running   that nothing runs any more
//	interfaces.closing, closed   Close, to who listens to routes
//	procs               what the engines of a process have added to GOMAXPROCS
//
// Besides, each accepted heartbeat goes into the ring of Config.Recorder.
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
// Faster than silence are a returned port unreachable, a goodbye and a new incarnation. An ICMP
// error counts if it quotes a heartbeat of ours: discriminator, address, send instant and, with
// keys, our tag. The first one is evidence for tempFail. A later one is for permFail, if it quotes a
// heartbeat sent a round trip and a period after that, with nothing heard in between: so a
// firewall's answer never outranks the peer's own heartbeats. Every verdict carries its Cause.
//
// A peer that we hear but that does not hear us is OneWay, not failed. So is one whose heartbeats
// were held back on their way for longer than its deadline: a recording is no life. What the
// kernel refuses to send is our own fault. It has a cause of its own and accuses nobody.
//
// # What heals
//
// A failed peer that is heard again is alive, ReachableAgain. That holds at both ends, whichever
// failed the other first. PeerStats.Failures counts, for programs that fence. With Config.Final a
// failure is final for the incarnation; the failed node is told (OneWay, Buried), and
// Engine.Reincarnate begins a new incarnation there in place. Left is taken back by a peer that
// had removed this node and adds it again. Peers that failed or left are probed slowly. Strangers
// are not; they are forgotten after Accept.Forget.
//
// # Levels
//
// The loop judges two levels, suspect and failed. Any others are a subscriber's own: package level
// follows them off the loop, by the public API. Peer.Summary is what the loop publishes of a peer, up
// to the instant at which it had read its sockets; Peer.Poll has it read on. LoopPauses finds the
// pauses of the goroutine that judges. One formula (suspicion.go) gives the suspicion of the loop's
// verdicts and of summaries.
//
// # What is promised
//
// Config.Promise says what is asked for. By default the margin detector (package detect)
// judges: it learns from each peer's own heartbeats, and at first from those of its class,
// which margin is exceeded no more often than was promised. promise.go weighs the promise
// by what was measured (learn.go), derives the period from it, and says what is possible
// where it cannot be kept. Stats and PeerStats count the mistakes that were made, and over
// how much time. Failure is another promise than suspicion. It takes four deadlines and 400 ms
// at least; with Config.Final, where a wrong one is not taken back, ten and two seconds.
//
// # Limits
//
// Linux only. A heartbeat proves that the peer's engine runs, not that its application
// does; SetProgress carries the application's own proof. Without Config.Keys anyone who sees
// the traffic can forge it; anyone else has to guess 44 bits. Who holds a shared key can speak as
// any node, who holds pairwise keys as itself alone. What goes to a stranger is bounded by what
// comes from it. At most 1,048,575 peers per engine, of 1 KiB each.
package engine
