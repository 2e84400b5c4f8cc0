// Package engine tells a program that a machine, a process or one named thing in it has stopped, is slow,
// or is out of reach, and why. It exchanges UDP heartbeats with peers, judges each peer by its own evidence
// alone, and publishes states, causes and figures that any goroutine reads without a lock.
//
// Open starts an engine, and AddPeer begins to watch a peer:
//
//	e, err := engine.Open(engine.Config{ID: 1, Listen: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:7853")}})
//	...
//	p, err := e.AddPeer(engine.PeerConfig{Name: "db1.example:7853"})
//	...
//	for ev := range e.Events(ctx) {
//		log.Print(ev)
//	}
//
// Both ends run an engine. Each either names the other by AddPeer, or admits strangers by Config.Accept. To
// make a list of peers the watched set, whenever the list changes:
//
//	set, err := e.SetPeers(ctx, list)
//
// On a request path, ask for the state, which is one atomic load, or have the request end when its peer
// does:
//
//	suspect, _ := e.StateLevels()
//	if p.State() == engine.Alive {
//		ctx, cancel := p.Context(ctx, suspect)
//		defer cancel()
//		err := call(ctx)
//		...
//	}
//
// The context ends when the suspicion of the peer's present incarnation reaches that of Suspect, and its cause
// is a *PeerFailedError. A lower level ends it sooner, and more often by mistake: a peer that is well reaches
// level 3 once in a thousand heartbeats.
//
// A program that does something at several levels of suspicion uses package level. A test of a program runs
// engines in virtual time by package enginetest. Package split says where delays arise.
//
// # States
//
// A peer begins Connecting and becomes Alive when it proves that it hears this node. Suspect means silence
// beyond the deadline, and is reversible. Failed means a longer silence. Left means a goodbye. OneWay means
// that the peer is heard and does not hear this node. Every transition has a Cause, and Event tells both.
//
// # What is promised
//
// Config.Promise states a detection time, a mistake rate and a packet rate:
//
//	engine.Config{Promise: detect.Promise{
//		DetectWithin: 50 * time.Millisecond, // suspect a crash within this time
//		MistakeEvery: 30 * 24 * time.Hour,   // at most one mistake about a peer in this time, on average
//		MaxRate:      100,                   // heartbeats per second to a peer
//	}}
//
// Period and margin follow: at first by Chen's bound on what Config.Known says, then by the runs of losses
// and the margins that were measured. Open refuses what cannot be kept, and says what can:
//
//	engine: Promise: detect: promise: to detect within 30ms with one mistake in 720h by 100 heartbeats a second cannot
//	be kept: within 30ms it would be one in 40.5s; one mistake in 720h takes 52.4ms (assumed, not yet measured)
//
// Engine.Promised says what is kept by now, Engine.TradeOff gives the curve of detection time against
// mistakes, and Stats counts the mistakes. Where measurements say that both bounds cannot hold, mistakes
// stay rare, detection takes longer, and the node event PromiseAtRisk says so. A new peer begins with what
// others of its PeerConfig.Class have shown.
//
// # When a peer is failed, and what brings it back
//
// Silence fails a peer after four deadlines and at least 400 ms. Three things fail it sooner: its port is
// unreachable twice, a round trip and a period apart; it says goodbye (Left); its successor is there
// (Restarted). What this node's own side did never fails a peer: a pause of this process, a full receive
// buffer, a link that is down, a firewall of this host, many peers silent at once. A cause from LocalLink
// to OwnNode says what is wrong with this side.
//
// A failed peer that is heard again is Alive, by cause ReachableAgain, at both ends and whichever failed
// the other first. So a program that moves work on failure has to fence the old owner: by
// PeerStats.Failures, which grows with each failure, or by the incarnation where it only has to tell
// processes apart.
//
// Config.Final makes a failure final for the incarnation, and a wrong one dearer: silence then takes ten
// deadlines and at least 2 s. Both ends learn of it, by BuriedHeard and Buried.
//
// # What to do when you are the one
//
//   - Paused. After LocalPause this node stood still for NodeEvent.Pause; peers may have failed it
//     meanwhile. Stats.Loop has since when (MaySeemDeadSince). A program that holds a lease asks whether it
//     still does, and accuses nobody: deadlines of peers were moved.
//   - Isolated. LocalSuspect says that 30 % of the peers, and at least two, fell silent at once; nobody is
//     failed for a while. With one peer, its death and the own isolation look alike. Ask a third party
//     before acting alone.
//   - Unheard. OneWay by Deaf: the peer is heard, and does not hear this node. Look at this node's firewall
//     and routes.
//   - Buried. OneWay by Buried: the peer has failed this incarnation for good. Give up what the failed
//     incarnation held, then call Engine.Reincarnate. Handles, subscriptions and counters stay.
//   - Overtaken. IDCollision: two processes have one id. Stop the wrong one.
//   - Leaving. Shutdown says goodbye, so that peers see Left within a round trip. Close does not: peers see
//     silence. A killed process is found by its unreachable port where the peer's kernel says so, in two
//     periods.
//
// # Leader heartbeats: act on a level, not on Failed
//
// Failed is a second promise and comes late. A follower that would ask for votes acts on a level of
// suspicion: it prepares at level 1, where one silence in ten ends by itself, and asks at the level that
// matches what a needless election costs. Of a leader that loses its power, with heartbeats each 50 ms over
// a quiet network (Example_leader of package level, medians):
//
//	level 1                       63 ms
//	one mistake in an hour       108 ms
//	Suspect, one in a day        139 ms
//	Failed                       522 ms
//
// # Who is who
//
// A node is a process with an id (Config.ID) and an incarnation, which grows with every start. A peer is
// this node's watch of another node over one path:
//
//   - One process that is watched at two addresses is two peers. Each has the state of its own path.
//   - Two processes with one id are two peers. Who watches both gets IDCollision, with both in
//     NodeEvent.Others.
//   - PeerConfig.ID 0 means whichever process answers there. If that one falls silent and another one
//     answers, the peer has Restarted. With an id given, no other process is taken for the peer.
//   - A peer given by name is where the name points. If the name has several addresses, the next is tried
//     while the peer is silent, refused, or has left. Otherwise a peer that writes from another address is
//     followed there once that address has answered.
//   - A stranger is admitted, where Config.Accept says so, when it has proven to read what is sent to its
//     address. It gets no more heartbeats than it sends, and shares no statistics with others.
//
// Engine.Peers iterates over all peers, and Lookup finds one by its node's id. A Peer says who it is, by name,
// tag, address and id, from AddPeer until long after its removal.
//
// # Logs and figures
//
// Peers and events print as lines for people, name or address first, and are groups for log/slog. Events are
// JSON objects as well, whose keys Event.MarshalJSON lists. PeerConfig.Tag puts a program's own word for the
// peer, such as a rack, in all of them.
//
//	db1.example:7853 [rack 4] alive → suspect: silence for 312 ms (level 7.4)
//
// Engine.Snapshot has the figures of all peers, and Stats those of the engine, by subject. Histograms has round
// trips, the parts of delays and the losses each way, since Open or over the last minute, in the buckets of
// Prometheus and OpenTelemetry. They marshal to JSON, too, and nothing resets.
//
// # Keys
//
// With Config.Keys every datagram has a tag of 16 bytes, good for one sender, one receiver and one
// incarnation, and nothing else is accepted. Keys authenticate; they do not encrypt: whoever sees the
// traffic reads ids, states and the messages that heartbeats carry. With a shared key any holder can speak
// as any node; with pairwise keys a holder can speak as itself alone. Neither keeps a holder from flooding.
// Without keys, whoever sees the traffic can forge heartbeats; anybody else has to guess 44 bits.
//
// # Messages
//
// Heartbeats carry messages of a program: up to 1080 bytes in all, the latest wins. See Engine.Carry.
//
// # Ports
//
// There is no assigned port. Examples, the simulated world and the probe use UDP 7853; an engine without
// Config.Listen uses ports that the kernel chooses, which suits a client. 7946 and 7373 are Serf's, 3784 to
// 3785 and 4784 BFD's.
//
// # Defaults, and why
//
//   - Period 100 ms: ten heartbeats a second to a peer take 1.8 kB/s on Ethernet, and a thousand such peers
//     some 3 % of a core.
//   - One mistake a day about each peer: rare enough to act on Suspect in many programs. A fleet with an
//     alarm for each Suspect asks for one in 30 days, at some cost in time.
//   - ConnectTimeout 3 s: a name look-up and a lost first datagram fit.
//   - Failures heal: a wrong one then costs little, so it may come soon. Final is for programs that cannot
//     fence.
//   - No strangers, no keys: what is open has to be asked for. Without keys the log says so, once.
//   - One shard: it serves 100,000 peers at 1 Hz on part of a core.
//   - Normal scheduling and Procs 0: neither privileges nor the rest of the process are touched.
//   - Window 4 samples: 192 bytes per peer; figures of longer times are in histograms.
//
// # Servers that keep every CPU busy
//
// A thread that the kernel runs at once still needs a P of the Go scheduler. In a process whose goroutines
// keep every P busy, any loop waits for one 10 ms and more, whatever its priority. Config.Sched has
// remedies: Procs adds a P per loop, and takes a quarter less CPU time per heartbeat besides; Nice, FIFO
// and CPUs are for machines that other processes keep busy. Pauses that happen nonetheless are measured
// (Stats.Loop), published (LocalPause) and never held against a peer.
//
// # A loop of one's own
//
// A program that owns its loop opens the engine with Config.Manual and calls Turn.
//
// # Where it runs
//
// Linux is the system that the engine is made for. On all others it runs on the sockets of package net,
// with the same datagrams and the same rules; Stats says which (Stats.Sockets.Layer). They lack the
// following:
//
//   - Stamps of the kernel. A heartbeat has arrived when the loop reads it, up to a grid step later, and
//     the detector learns the difference.
//   - ICMP errors. A process that dies is found out by silence, not by its port.
//   - Several shards, Sched.Nice, Sched.FIFO, Sched.CPUs, PeerConfig.Device and Descriptors. Open and AddPeer refuse
//     the first four.
//   - Drops of a full receive buffer, and suspensions of the machine. A link that fails is seen within a
//     second, where the system tells it.
//
// # Limits
//
// A heartbeat proves that the peer's engine runs, not that its application does; SetProgress carries the
// application's own proof. At most 1,048,575 peers per engine, of 1,150 bytes each; each carrier adds its
// Room and 64 bytes per peer. With keys, an ICMP error counts only if it quotes the whole heartbeat, and
// IPv4 hosts quote 520 bytes or so: where heartbeats carry longer messages, a port that is closed is found
// out by silence.
//
// The datagram and its rules are in wire/PROTOCOL.md. Readers of the code begin with doc.go.
package engine

// The rest of this file is for readers of the code; go doc does not show it. Who reads it and then
// run.go and turn.go knows who owns every byte, and why a peer was declared failed.
//
// # Words
//
// Each idea has one name, here and in the code:
//
//	heartbeat          one datagram: "I am here", and "this is what I hear of you"
//	node               a process with an id
//	incarnation        one start of a node: a number that grows with every start
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
//	hand-off           when the network driver takes a datagram from the kernel
//	follow-up          how long an earlier heartbeat waited for its hand-off; tells the peer
//	slow               a peer whose heartbeats are late at its own side; a flag, no state
//	summary            the evidence about a peer that its loop publishes
//	message            bytes of a type that a heartbeat carries for a program
//	carrier            sends and delivers the messages of one type
//	event              a transition of a peer; a node event is about this node
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
//	label              a peer's name and tag, and its address while its slot does not have it
//	histogram          counts of durations, in the buckets of package histogram
//	span               30 s; figures over the last minute begin with a span (figures.go)
//
// # Who is who
//
// A peer is a slot of the table. The slot belongs to the shard slot mod shards for life. A datagram
// names its peer by our discriminator: the low 20 bits are the slot, the other 44 are random and
// differ for each peer that gets the slot. The kernel steers a datagram to its shard by the
// discriminator, and the shard finds the peer by the slot, without a search (peerOf). The
// discriminator is also the proof that the peer hears us: it is sent to the peer and nowhere else.
// Ids, incarnations and addresses are known to everybody and prove nothing.
//
// A datagram without a valid discriminator is an introduction (introduce.go). It changes no peer. If
// a peer is watched at its source address, or strangers are admitted, it gets one answer of the
// same length. The answer carries a cookie in place of a discriminator: a keyed hash, with slot 0,
// so it costs no state. An introduction that returns its cookie from the same address is of the
// peer that is watched there, or is admitted as a stranger (admit.go). The address book
// (internal/book) knows which peer is watched at which address; only introductions need it.
//
// A new session replaces the present session of a peer (takeover.go) if it is fresh and the present
// one yields. A session is fresh if it echoes a later heartbeat of ours than any before. The present
// session yields if it never began, if it is silent, if the process has restarted, or if it has moved away
// from the configured address and another process is there.
//
// A heartbeat from another address makes this node try that address. The peer moves when the address
// answers (move.go). An address that a name resolves to takes precedence. One node on two paths is
// two peers, each judged by itself. Two nodes with one id are reported by whoever sees both.
//
// # Who owns what
//
// A shard has one goroutine on a thread of its own: the owner. It alone uses the shard's sockets,
// timing wheel and peers, and it reads the clock once per turn. A peer is made of parts, and each
// part is written by one file alone: peer_session.go, peer_deadline.go and so on.
//
// What may wait happens on other goroutines. One revises periods, supplies free slots, and finds
// peers with one id (background.go). One writes the log (refusals.go). One schedules look-ups of
// names, and each look-up has its own (internal/names). Two receive the kernel's notices of links
// and of routes (linkwatch_linux.go). On systems other than Linux, one per socket reads it, and one
// looks at the interfaces (internal/portable, which lists its crossings). One ends the contexts of
// Peer.Context, while there are any (contexts.go). In a Manual engine the program's goroutine is the
// owner; in a simulated world it does all of this.
//
// A slow reader of events fills its own ring. After that, one bit per peer records that the reader
// has to look at the peer again, and the last node event of each cause is kept. Neither the loop nor
// other readers wait for it.
//
// # Crossings
//
// What goes from one goroutine to another, and nothing else does. A test holds this list against
// the code.
//
//	go s.run            one per shard: the owner
//	go e.background     one per engine
//	go e.logging        one per engine with a logger
//	go c.run            one per engine with contexts of peers
//	go i.listen         one per engine: links and addresses
//	go i.listenRoutes   one per engine: routes
//	go r.loop           one per engine: schedules look-ups of names
//	go r.lookUp         one per look-up, bounded: calls the resolver
//
// To a shard:
//
//	shard.ring          commands, from any goroutine; bounded
//	shard.letters       datagrams that another shard has read, of peers of this one; bounded
//	shard.stash         free slots for strangers, from the background goroutine to shard 0
//	shard.net           Wake, from any goroutine; the rest is the owner's
//	Engine.incarnation, keys, degraded, progress   set by the program
//	Engine.periods      set by the background goroutine
//	Engine.book         addresses of peers, set by AddPeer and by the shards
//	Engine.subscriptions   the readers of events
//	Engine.carriers     the carriers of messages
//	bodyWindow.words    a body that heartbeats carry, set by Carrier.Set
//	outbox.own          the bodies for single peers
//	ownBodies           those of one chunk of the table
//	Engine.stopping     set by Close; AddPeer and the background goroutine read it as well
//	startShards.ready   whether the loop's thread is scheduled as asked, back to Open
//	interfaces.down, epoch   state of links and routes, from the goroutines that listen
//	sources.mu, table   local sources, set by AddPeer and the goroutines that listen
//	sockets.queryMu     held during a query of the kernel; Close waits for it
//
// From a shard, in words that any goroutine loads:
//
//	verdict.*           the state of a peer
//	session.id, incarnation, theirs   the peer's process
//	deadline.paused, grace   excuses for the peer's silence, for its summary
//	sends.sequence, last   heartbeats to the peer
//	pace.remote         both periods
//	path.shown, trips   the peer's address, and the round trips to it
//	counts.*            counters of the peer
//	chunk.samples, summaries   windows of the peer's heartbeats and of its detector's summary
//	chunk.below         the instant up to which Config.Arrivals was read for the peer
//	chunk.waits         what the peer's follow-ups told
//	counters.*          counters of the shard
//	distribution.*      histograms of delays and of lateness
//	distributionMark.*  what they had when a span of time began
//	losses.*            heartbeats, and those that were lost
//	lossMark.*          the same when a span began
//	spans.marked        which spans those are
//	shownEvidence.*     the instant up to which the shard has read its sockets, and its pauses
//	shownPools.mu       a copy of the pools of all classes; a shard only tries the lock
//	table.chunks, slots   the peer table; it grows under Engine.mu
//	Engine.freed        slots of removed peers, to AddPeer
//	Engine.notes        refusals, to the logging goroutine
//	Engine.asked        shard 0 needs slots, to the background goroutine
//	Engine.sessions     the number of sessions so far, to the background goroutine
//	Engine.names        peers whose states changed; from AddPeer, new names
//	Engine.departures, departed   all goodbyes have been sent, to Shutdown
//
// From shards to a reader of events or of messages:
//
//	slotSet.chunks, marked   peers that the reader has to look at; whether there are any
//	slotBits            their bits
//	Subscription.ring, wake   events; a signal that there are some
//	keptEvents.*        the last node event of each cause
//	Subscription.closed, once   set by Close, for a waiting reader
//	contexts.on, wake   some peer has contexts; a signal that one had a transition
//	inbox.chunks        the messages of a carrier, allocated with the peer table
//	inboxChunk.windows  the newest message of each peer
//	inbox.news          a message came
//	Carrier.wake, closed   a signal that there are messages; set by Close
//
// Among other goroutines:
//
//	chunk.labels        names, tags and addresses of peers, from AddPeer to any goroutine
//	labelChunk.of       those of one peer each
//	labels.former       those of peers whose slots other peers have
//	Engine.mu           held by AddPeer, RemovePeer and their like, and by the background goroutine
//	contexts.mu         held by Peer.Context, its CancelFunc and the goroutine that ends contexts
//	contexts.running    that goroutine; Close waits for it
//	Carrier.setting, reading   held by Set and by TryNext
//	Engine.setting      held by SetPeers
//	Engine.turning      held by Turn; Close waits for it
//	Engine.ended, done, running   all loops and goroutines have ended
//	interfaces.closing, closed   set by Close, for the goroutine that listens to routes
//	procs               what all engines of the process have added to GOMAXPROCS
//
// Besides, each accepted heartbeat goes into the ring of Config.Recorder.
//
// # A turn
//
// lateness → commands → receive → expire → transmit → learn (turn.go). Each part is bounded
// and none blocks. A program with a loop of its own opens the engine with Config.Manual and
// calls Engine.Turn. So does a simulated world, in virtual time (package enginetest): the engine
// then runs on one of its hosts, and what goroutines do besides happens inside Turn.
//
// Sends lie on a grid whose step is a fraction of the period, 0.5 to 4 ms. A hash of a peer's slot
// chooses its step of the period, so a thousand peers are not sent to at once. Between sends the
// loop sleeps, and it reads datagrams once per step at most: a batch costs one wake-up. Arrivals
// stay exact because the kernel stamps them (SO_TIMESTAMPING), deadlines because the loop wakes
// for them. After a receive buffer overflowed, the loop reads without pause for a while.
//
// After each sleep the processor's caches are cold. So the memory of a whole batch is prefetched
// before its first datagram is handled, and that of a timer's peer eight timers ahead
// (internal/prefetch).
//
// # Arrivals below the sockets
//
// Config.Arrivals is a source of arrivals below the sockets (arrivals.go), such as a BPF program at the
// network device. It gives better stamps for what a socket had and for what left this host, and it
// takes heartbeats of sessions that the engine has announced to it by their discriminators. Such heartbeats wake no loop. The
// engine reads them when the peer's deadline is near, before each heartbeat to the peer, when a
// socket has a later one, when Peer.Poll asks, and before anything else is believed of the peer's
// silence. It checks them like any other datagram.
//
// # From a datagram to a verdict
//
// A reader of the code can follow a heartbeat through 15 functions in 5 files:
//
//	run                        run.go      waits, and turns
//	turn                       turn.go     the parts of a turn, in order
//	receive, drain, datagram   receive.go  reads batches; decodes, authenticates, finds the peer
//	heartbeat, take, detect    receive.go  replay check; delays and echo; the detector's deadlines
//	checkAt                    judge.go    when to check the peer next
//	expire                     turn.go     the timers that are due
//	check, checkHeard          judge.go    solicits the peer, then suspects it
//	checkSuspect               judge.go    fails it
//	transition, publish        judge.go, subscription.go  the new state, and its event
//
// Three functions fail a peer: checkSuspect after silence, checkConnecting if it was never heard, and
// returned (links.go) if its port refuses. Every verdict carries its Cause.
//
// # Why a peer was declared failed
//
// With every heartbeat the detector sets two deadlines, for suspicion and for failure. Shortly before
// the first, when the next heartbeat is late by the time that an answer takes, the peer is
// solicited: asked up to three times to answer at once. So a lost heartbeat costs a round trip and
// not a mistake. A verdict of silence needs all of this:
//
//   - The deadline has passed. Pauses of this node extend it (pause.go); the time that a turn worked
//     is no pause (turncost.go).
//   - The sockets were read empty after it, and no error cut that short. Where the kernel stamps
//     nothing and a flood lasts, or errors keep coming, a verdict waits 10 ms for that at most.
//   - The kernel dropped nothing for want of buffer since the peer was last heard, or has put off
//     this verdict three times.
//   - For failure: the way to the peer is free of local faults (links.go, linkwatch_linux.go), and the peer
//     did not fall silent together with many others (silence.go).
//
// Faster than silence are an ICMP port unreachable, a goodbye and a new incarnation. An ICMP error
// counts if it quotes a heartbeat of ours: discriminator, address, send instant and, with keys, our
// tag. The first one suspects the peer. A second one fails it if that quotes a heartbeat sent a round
// trip and a period later, with nothing heard in between: a firewall's answer never outranks the
// peer's own heartbeats. Error queues are read once the sockets have been read empty.
//
// A peer that we hear but that does not hear us is OneWay, not failed. So is a peer whose heartbeats
// are held back on their path for longer than its deadline: a recording does not prove that the peer
// lives. What the kernel refuses to send is a fault of this node; it has a cause of its own and
// accuses no peer.
//
// # Where a delay comes from
//
// Delays splits the delay of a heartbeat into five parts, without synchronized clocks: lateness of its
// sender, wait in the sender's host, delay of the network above the least one, the receiver's network
// stack, and the wait at its socket. Each Sample has them, and each Event those of the last heartbeat.
// Package split collects them, and names the part where a delay arose. The clocks of two hosts drift
// apart, so the least delay is a line in time: exchanges with the least round trips give it or, where
// none is known, the least delays (internal/oneway).
//
// The wait in the sender's host is part of Network, unless the sender tells it. With Config.StampSends the
// kernel stamps the hand-off of one heartbeat in so many, and the next heartbeat follows it up
// (followup.go); with Config.Arrivals, which may know the hand-offs, that is each heartbeat. The peer
// believes a wait that the delay of that heartbeat allows, and publishes it: PeerStats.SendWait is the
// host's part, WireDelay the rest. Peer.Samples adds it to the heartbeat that waited, and infers from it
// the waits of those that were sent meanwhile: they left later.
//
// The receiver's network stack is part of Network, unless Config.Arrivals has a stamp of a heartbeat that it
// leaves to the socket. The socket's own stamp is the kernel's; what the loop reads later than that
// is its own delay, up to a step of the grid by design.
//
// A peer is slow if its lateness and the wait in its host, smoothed with a gain of 1/8, exceed a quarter
// of its period, until they fall below an eighth (peer_slow.go). A told wait counts until the next one is
// told, for 256 heartbeats at most. The flag is on events, summaries and PeerStats, and no verdict depends
// on it: a slow peer is late by its own account, and silence is judged as ever.
//
// The stamped heartbeat leaves in its batch, by the socket of all others: only there does it wait as they
// do. Its stamp comes through the error queue of that socket. A stamp that comes before the next turn
// costs a system call in that turn; a later one may end a wait of the loop, after a grid step at the
// earliest.
//
// # Figures
//
// Counters, histograms and losses count since Open or AddPeer, and nothing resets: readers subtract. The last
// minute needs no reader and no timer (figures.go). Time is divided into spans of 30 s. With the first count of a
// span the owner marks what was counted until then, and it keeps three marks. The last minute is what was
// counted since the span before the last one began, so it is 60 to 90 s. A span in which nothing was counted has
// no mark, because a later mark says the same: so a silent peer has an empty minute, and a loop that was
// stopped is on time again after it.
//
// A shard counts a heartbeat in plain memory, and publishes its distributions at the end of the turn. Strangers are
// not in them, because they tell their own lateness. Config.PeerHistograms keeps the same figures for each peer.
//
// Losses towards a peer are counted from its echoes: how many more heartbeats it tells about, and how many more
// of them it lacks. What no echo tells about is not counted, neither as lost nor as arrived. The first echo of a
// session is only a beginning: the peer did not count before.
//
// # What heals
//
// A failed peer that is heard again is Alive, by cause ReachableAgain, at both ends and whichever
// failed the other first. PeerStats.Failures counts its failures, for programs that fence. With
// Config.Final a failure is final for the incarnation: the failed node learns of it (OneWay, Buried),
// and Engine.Reincarnate begins a new incarnation there. A peer that left is Alive again if it adds
// this node again. Peers that failed or left are probed slowly; strangers that did are forgotten
// after Accept.Forget.
//
// # Levels
//
// The loop judges two levels, suspect and failed. Any others are a subscriber's own: package level
// follows them off the loop, by the public API. Peer.Summary is what the loop publishes of a peer, up
// to the instant at which it had read its sockets; Peer.Poll has it read on. LoopPauses finds the
// pauses of the goroutine that judges. One formula (suspicion.go) gives the suspicion of the loop's
// verdicts and of summaries.
//
// Peer.Context ends a context at a level by the same evidence; the rules are in internal/evidence. The
// goroutine that does it (contexts.go) looks at peers that have contexts: when a shard has marked a
// transition of one, and when the suspicion of one may have reached the lowest level of its contexts.
//
// # What is promised
//
// Config.Promise states a detection time, a mistake rate and a packet rate. By default the margin
// detector (package detect) judges: it learns from each peer's own heartbeats, and at first from
// those of its class, which margin is exceeded no more often than the promise allows. promise.go
// weighs the promise by what was measured (learn.go), derives the period, and reports what is
// possible where the promise cannot be kept. Stats and PeerStats count mistakes, and the time in
// which they happened. Failure takes longer than suspicion: four deadlines and 400 ms at least;
// with Config.Final, where a wrong failure does not heal, ten deadlines and two seconds.
//
// # Messages
//
// Heartbeats carry messages for packages and programs (messages.go). A Carrier claims a type and a share
// of the room of a heartbeat, so whatever other carriers send, its own body fits. Set leaves a body in
// memory that the shards read with each heartbeat (outbox.go): for all peers, or for one. What comes
// lies in a place per peer, where the newest message replaces the one before it until a reader
// takes it (inbox.go). So neither the loop nor other readers wait for a slow one, and no memory is
// allocated on the way.
//
// A message is delivered only if its heartbeat was accepted in the peer's present session, is later than
// any before, echoes our present incarnation and was not held back. Introductions, their answers,
// trials and the heartbeat that begins a session deliver none; this node puts none into the first
// three. A stranger gets no more bytes of messages than it sends.
