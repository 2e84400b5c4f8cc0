package enginetest

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/internal/sim"
	"systole/wire"
)

// The rules. Each must hold in every world.
const (
	// ruleFinal: where the configuration makes failure final, a failed peer is alive again only in a
	// new incarnation; one that left, in a new incarnation, or as often as it began to watch anew.
	ruleFinal = "final"
	// ruleDetected: a peer whose process ended is failed, left or replaced when what its
	// watcher's detector granted it has passed, later only by what the watcher stood
	// still, had no link, lost for want of buffer, or suspected of itself.
	ruleDetected = "detected"
	// rulePromised: with Config.Promise.DetectWithin, a peer is suspected, counted from when its
	// last heartbeat was due, within that and the longest way that one of its heartbeats
	// took; ruleDetected adds what excuses the watcher. Two things lie beyond the promise and
	// are granted: the margin that the peer needed before, if that was longer, and what
	// measurements of MistakeEvery or longer vouch for. That Engine.Promised finds the promise
	// kept is no bound: it weighs a class, and one of its peers may need more than all others.
	// Failure takes ten times as long, or two seconds.
	//
	// Other detectors promise nothing. But what they granted at a crash they grant in the end:
	// exactly, if nothing came since and they do not learn apart from heartbeats; and if something
	// did, later only by a period and by what was on the way, if margins are not learned.
	rulePromised = "promised"
	// ruleOwnStall: no silence is held against a peer that it spent in front of a watcher that
	// stood still, or whose heartbeat lies unread in the watcher's socket. A watcher whose
	// kernel stamps nothing cannot tell when that came, and waits for 10 ms only.
	ruleOwnStall = "own-stall"
	// ruleCounted: every datagram is counted once under what became of it, and none is accepted
	// twice.
	ruleCounted = "counted"
	// ruleBounded: the peer table holds as many places as there were peers at once.
	ruleBounded = "bounded"
	// ruleHealed: in a world that has been calm for a while, a process and one that it watches
	// believe each other alive, whatever they remember, if that one watches back or admits
	// strangers and has room; unless one has failed for the other, for which failure is final.
	// Scenarios with Calm check it at their end.
	ruleHealed = "healed"
	// ruleTold: no transition is lost. Per peer the events are in order and continuous, the
	// last tells the peer's state, also to a reader that reads only at the end, and what
	// was merged adds up.
	ruleTold = "told"
	// ruleUnmoved: who knows no more than what is public, or has recordings, changes no state. In
	// scenarios in which nothing but forgers is in anybody's way, nobody fails, leaves, starts
	// anew, or is admitted who does not exist.
	ruleUnmoved = "unmoved"
	// ruleCarried: a message is what a process of the peer has said, a peer's messages come in the order in
	// which they were said, and in a calm they come. Nodes with Carries say and hear them.
	ruleCarried = "carried"
	// ruleReflected: no more bytes go to an address from which nobody speaks than forgers sent in
	// its name.
	ruleReflected = "reflected"
)

// Violation is a rule that did not hold, though it must in every world:
//
//	final      a failed peer is alive again only as the configuration allows
//	detected   the end of a process is found out within what the detector granted it
//	promised   likewise within what the configuration promises
//	own-stall  no silence is held against a peer that it spent in front of a watcher that stood still
//	counted    every datagram is counted once under what became of it, and none is accepted twice
//	bounded    the peer table holds as many places as there were peers at once
//	healed     at the end of a Scenario with Calm, nodes that watch each other are alive for each other
//	told       per peer the events are in order and continuous, and the last tells the peer's state
//	unmoved    in a Scenario with nothing but forgers in anybody's way, no state changes
//	carried    messages are what peers said, in their order, and arrive in a calm
//	reflected  no more bytes go to an address from which nobody speaks than came in its name
type Violation struct {
	At     time.Duration
	Host   string
	Rule   string
	Detail string
}

// String returns a line for people.
func (v Violation) String() string {
	return fmt.Sprintf("%12.6f %s: rule %q: %s", v.At.Seconds(), v.Host, v.Rule, v.Detail)
}

// violated notes that rule did not hold on the host of l.
func (w *World) violated(l *process, rule string, format string, args ...any) {
	w.violatedAt(l.host.Name(), rule, format, args...)
}

// violatedAt notes that rule did not hold on a host.
func (w *World) violatedAt(host string, rule string, format string, args ...any) {
	if len(w.violations) < maxViolations {
		w.violations = append(w.violations, Violation{w.Now(), host, rule, fmt.Sprintf(format, args...)})
	}
}

// maxViolations bounds what is kept: the first ones tell the most.
const maxViolations = 100

// checks is what is known of one process in order to check it.
type checks struct {
	slow     *engine.Subscription // read at the end only
	records  []*record
	byPeer   map[engine.Peer]*record
	names    map[engine.Peer]string // of peers whose id is not known yet
	told     uint64                 // transitions delivered or merged
	stalls   []sim.Stall
	late     int           // turns that were, as last looked at
	looked   clock.Instant // when its events were last looked at
	trouble  clock.Instant // last instant without a working link
	silenced clock.Instant // until then we may have suspected ourselves
	most     int           // peers watched at once
	extended uint64
	broken   map[string]bool // rules of totals, reported once
}

// record is one peer as its events tell it.
type record struct {
	peer         engine.Peer
	home         netip.AddrPort // where it was added
	state        engine.State
	at           clock.Instant
	told         int
	id           uint64
	buried       uint64        // the incarnation that failed or left
	returns      int           // how often it took a goodbye back in that one
	extended     clock.Instant // when a verdict was last put off for a full socket
	incarnation  uint64        // the newest one, and how many there were
	incarnations int
	begun        clock.Instant // the newest incarnation was heard after this
	granted      time.Duration // see grants
	before       time.Duration // likewise
	shown        shown
}

// begin starts the checks of a process that has just opened its engine.
func (l *process) begin() {
	l.slow = l.engine.Subscribe()
	l.byPeer, l.names = make(map[engine.Peer]*record), make(map[engine.Peer]string)
	l.broken = make(map[string]bool)
	l.late, _ = l.host.sim.Stalls()
}

// afterTurn looks at a host whose process has just turned.
func (w *World) afterTurn(s *sim.Host) {
	h := w.of[s]
	l := h.process
	if l == nil || l.ended != 0 {
		return
	}
	l.noteExcuses(s)
	for {
		ev, ok := l.events.TryNext()
		if !ok {
			break
		}
		w.event(l, ev)
	}
	l.looked = s.Now().Now
	w.carry(l)
	w.checkTotals(l)
	w.checkPromised(l)
	w.checkCrashes()
	for _, h := range w.hosts {
		if h.process != nil && !h.sim.Running() {
			h.end() // it closed its engine
		}
	}
}

// noteExcuses notes what excuses the process.
func (l *process) noteExcuses(s *sim.Host) {
	if n, stall := s.Stalls(); n != l.late {
		l.late = n
		if stall.To.Sub(stall.From) >= leastLate {
			l.stalls = append(l.stalls, stall)
		}
	}
	if s.HasTrouble() {
		l.trouble = s.Now().Now
	}
}

// Engines take lateness for a pause above 2 to 8 ms, by their period. Of what may excuse
// them anything above leastLate counts, of what they must excuse only what exceeds leastStall.
const (
	leastLate  = time.Millisecond
	leastStall = 8 * time.Millisecond
)

// event checks and tells an event of a peer.
func (w *World) event(l *process, ev engine.Event) {
	w.note(Seen{Host: l.host.Name(), Event: ev, Peer: w.hostOf(ev.ID, l.names[ev.Peer])})
	w.checkUnmoved(l, ev)
	r := l.record(ev.Peer)
	w.checkTold(l, r, ev)
	w.checkFinal(l, r, ev)
	w.checkOwnStall(l, r, ev)
	r.grants(l, ev.At)
	another := ev.Incarnation != r.incarnation || r.id != 0 && ev.ID != 0 && ev.ID != r.id
	r.state, r.at, r.id = ev.To, ev.At, ev.ID
	if another {
		r.incarnation = ev.Incarnation
		r.incarnations++
		r.begun = l.looked
		r.shown = shown{total: r.shown.total}
	}
	if ev.To == engine.Suspect && ev.Cause == engine.Silence {
		l.silenced = max(l.silenced, ev.At.Add(max(ev.Silence-ev.Lag, leastStall)))
		if other := w.processes[ev.ID]; other != nil && other.ended == 0 && !other.host.sim.Standing() {
			w.mistakes++
		}
	}
	for _, do := range l.onEvent {
		do(ev)
	}
}

// nodeEvent checks and tells an event about a process's own node.
func (w *World) nodeEvent(l *process, ev engine.NodeEvent) {
	w.note(Seen{Host: l.host.Name(), Node: &ev, Peer: w.hostOf(ev.ID, "")})
	if w.quiet && ev.Cause == engine.IDCollision {
		w.violated(l, ruleUnmoved, "%v, of id %#x and incarnation %d", ev.Cause, ev.ID, ev.Incarnation)
	}
	for _, do := range l.onNode {
		do(ev)
	}
}

// hostOf returns the name of the host of the process with an id, otherwise if none has it.
func (w *World) hostOf(id uint64, otherwise string) string {
	if p := w.processes[id]; p != nil && id != 0 {
		return p.host.Name()
	}
	return otherwise
}

// grants notes for how long the peer may be silent until it is suspected, as of this event and as of the last
// one of an earlier turn.
func (r *record) grants(l *process, at clock.Instant) {
	if at != r.at {
		r.before = r.granted
	}
	suspect, _ := l.engine.StateLevels()
	if deadline, s := r.peer.Deadline(suspect), r.peer.Stats(); deadline != clock.Never && s.LastArrival != 0 {
		r.granted = deadline.Sub(s.LastArrival)
	}
}

// record returns what is known of a peer.
func (l *process) record(p engine.Peer) *record {
	r := l.byPeer[p]
	if r == nil {
		r = &record{peer: p, home: p.Addr()}
		l.byPeer[p] = r
		l.records = append(l.records, r)
	}
	return r
}

// checkTold checks that nothing is missing before ev.
func (w *World) checkTold(l *process, r *record, ev engine.Event) {
	l.told += 1 + uint64(ev.Merged)
	r.told += 1 + ev.Merged
	if ev.Merged > 0 || ev.From != r.state || ev.At < r.at {
		w.violated(l, ruleTold, "%v → %v at %v, %d merged, follows %v at %v; a reader that reads every turn misses nothing",
			ev.From, ev.To, ev.At, ev.Merged, r.state, r.at)
	}
}

// checkFinal checks that the dead stay so.
func (w *World) checkFinal(l *process, r *record, ev engine.Event) {
	over := func(s engine.State) bool { return s == engine.Failed || s == engine.Left }
	if over(ev.To) {
		if ev.Incarnation != r.buried {
			r.buried, r.returns = ev.Incarnation, 0
		}
		return
	}
	if !over(ev.From) || ev.To == engine.Removed {
		return
	}
	allowed := !isFinal(&l.cfg)
	again := ev.Incarnation == r.buried && ev.ID == r.id
	if again && ev.From == engine.Left {
		r.returns++
		allowed = w.begun(ev.ID, ev.Incarnation, l) > r.returns || w.admits(ev.ID)
	}
	if again && !allowed {
		w.violated(l, ruleFinal, "%v → %v, %v, of incarnation %d, which was over", ev.From, ev.To, ev.Cause, ev.Incarnation)
	}
}

// admits reports whether the process admits strangers: then who it no longer watches is watched again
// as soon as it is heard.
func (w *World) admits(id uint64) bool {
	other := w.processes[id]
	return other != nil && other.cfg.Accept.Anyone
}

// begun returns how often the process has begun to watch l, whoever is where l is, or somebody of whom it never
// found out the id. Of one that another incarnation has followed nobody knows.
func (w *World) begun(id, incarnation uint64, l *process) int {
	n := 0
	if other := w.processes[id]; other != nil {
		if other.engine.Incarnation() != incarnation {
			return math.MaxInt
		}
		for _, r := range other.records {
			known := max(r.id, r.peer.ID())
			if known == 0 || known == l.engine.ID() || slices.Contains(l.host.paths, r.home) {
				n++
			}
		}
	}
	return n
}

// checkOwnStall checks a verdict of silence against when the watcher ran.
func (w *World) checkOwnStall(l *process, r *record, ev engine.Event) {
	if ev.Cause != engine.Silence || ev.Silence == 0 || ev.To != engine.Suspect && ev.To != engine.Failed {
		return
	}
	suspect, fail := l.engine.StateLevels()
	level := suspect
	if ev.To == engine.Failed {
		level = fail
	}
	grant, arrival := ev.Peer.Deadline(level), ev.At.Add(-ev.Silence)
	if grant == clock.Never {
		return // judged by ConnectTimeout
	}
	if ev.At == r.at && ev.To == engine.Suspect && learns(&l.cfg) {
		// The peer became alive in this turn as well, at the end of which the detector learned another
		// margin: the verdict is by the margin of before.
		grant = min(grant, arrival.Add(r.before))
	}
	if due := l.extend(grant, arrival, leastStall); ev.At < due {
		w.violated(l, ruleOwnStall, "%v → %v %v before the peer had %v of our waking time since its last heartbeat",
			ev.From, ev.To, due.Sub(ev.At), grant.Sub(arrival))
	}
	if l.host.sim.NoStamps && ev.Lag >= undrained {
		return // it cannot know, and has waited for as long as it does then
	}
	judged := ev.At.Add(-ev.Lag)
	l.host.sim.Unread(func(data []byte, at clock.Instant) {
		var h wire.Header
		if _, fault := wire.Decode(data, &h); fault != wire.OK || h.Sender != ev.ID || at >= judged {
			return
		}
		if h.Incarnation == ev.Incarnation && h.Sequence > uint64(newest(ev.Peer)) {
			w.violated(l, ruleOwnStall, "%v → %v while a heartbeat of the peer that came %v before the deadline lies unread",
				ev.From, ev.To, judged.Sub(at))
		}
	})
}

// newest returns the sequence of the peer's newest heartbeat.
func newest(p engine.Peer) uint32 {
	var last [1]engine.Sample
	p.Samples(last[:])
	return last[0].Sequence
}

// extend returns deadline, later by what the process stood still since arrival, each time
// for longer than least, but not later than the whole wait after the last time that it did.
func (l *process) extend(deadline, arrival clock.Instant, least time.Duration) clock.Instant {
	var lost time.Duration
	var end clock.Instant
	for _, s := range l.stalls {
		if s.To > arrival && s.To.Sub(s.From) > least {
			lost += s.To.Sub(max(s.From, arrival))
			end = s.To
		}
	}
	if lost == 0 {
		return deadline
	}
	return max(deadline, min(deadline.Add(lost), end.Add(deadline.Sub(arrival))))
}

// checkTotals checks the counters of a process between two turns.
func (w *World) checkTotals(l *process) {
	s := l.engine.Stats()
	sum := s.Heartbeats.Accepted + s.Heartbeats.Duplicated + s.Refused.Stale + s.Strangers.Introduced + s.Strangers.Datagrams + s.Strangers.Refused +
		s.Refused.Looped + s.Refused.Collisions
	for _, n := range s.Refused.Faults {
		sum += n
	}
	socket := l.socket
	read := socket.Arrived - uint64(socket.Unread())
	if l.device != nil {
		read += l.device.given
	}
	refused := s.Sockets.SendFull + s.Sockets.SendOurSide + s.Sockets.SendOther
	l.most = max(l.most, s.Peers.Watched)
	switch {
	case s.Sockets.Received != sum || s.Sockets.Received != read:
		w.total(l, ruleCounted, "%d datagrams read, %d received, %d accounted for: %+v", read, s.Sockets.Received, sum, s)
	case s.Heartbeats.Sent != socket.Sends+refused:
		w.total(l, ruleCounted, "%d heartbeats written, %d taken and %d refused by the kernel", s.Heartbeats.Sent, socket.Sends, refused)
	case s.Verdicts.Transitions != l.told:
		w.total(l, ruleTold, "%d transitions, %d told or merged", s.Verdicts.Transitions, l.told)
	case s.Peers.Slots > l.most+l.spare():
		w.total(l, ruleBounded, "%d places in the table for %d peers at most", s.Peers.Slots, l.most)
	}
	if s.Loop.Extended != l.extended {
		l.extended = s.Loop.Extended
		for _, r := range l.records {
			r.extended = l.host.sim.Now().Now
		}
	}
}

// spare is how many places the table may have beyond the peers: those of peers that are added
// while others are removed and, where strangers are admitted, the ones kept ready for them.
func (l *process) spare() int {
	const added, ready = 4, 64
	if l.cfg.Accept.Anyone {
		return added + ready
	}
	return added
}

// total notes a violation of totals, once per process and rule.
func (w *World) total(l *process, rule string, format string, args ...any) {
	if !l.broken[rule] {
		l.broken[rule] = true
		w.violated(l, rule, format, args...)
	}
}

// Finish checks what can be told at the end only: that a reader who never read finds each
// peer's last state, and how many transitions led to it, and that nobody accepted more than
// was sent. Call it once, after the last Run.
func (w *World) Finish() {
	for _, h := range w.hosts {
		if h.process != nil && h.process.ended == 0 {
			w.checkSlow(h.process)
			w.checkPairs(h.process)
		}
	}
}

// checkPairs compares what a process accepted from each peer with what that one wrote to it.
func (w *World) checkPairs(l *process) {
	for _, r := range l.records {
		other, s := w.processes[r.id], r.peer.Stats()
		if other == nil || other.ended != 0 || r.incarnations != 1 || len(l.watches(r.id)) != 1 || s.Incarnation != other.engine.Incarnation() {
			continue
		}
		sent, ok := other.wrote(l.engine.ID(), w.readdressed)
		if w.readdressed {
			sent += other.engine.Stats().Heartbeats.Moved + 1 // trials of addresses, with which sessions begin, are none of those
		}
		if ok && s.Received > sent {
			w.violated(l, ruleCounted, "%d heartbeats accepted of %d that the peer wrote", s.Received, sent)
		}
	}
}

// wrote returns how many heartbeats l wrote to the process with the id; with anybody, to all its
// peers: addresses went from one host to another, and with them what was meant for other peers. ok
// is false if it is not known.
func (l *process) wrote(id uint64, anybody bool) (n uint64, ok bool) {
	for _, r := range l.records {
		if r.id != id && !anybody {
			continue
		}
		if r.state == engine.Removed {
			return 0, false // its figures are gone
		}
		n += r.peer.Stats().Sent
		ok = ok || r.id == id
	}
	return n, ok
}

// checkSlow reads what the slow reader finds.
func (w *World) checkSlow(l *process) {
	type found struct {
		last engine.Event
		told int
	}
	read := make(map[engine.Peer]*found)
	for {
		ev, ok := l.slow.TryNext()
		if !ok {
			break
		}
		f := read[ev.Peer]
		if f == nil {
			f = &found{}
			read[ev.Peer] = f
		}
		f.last, f.told = ev, f.told+1+ev.Merged
	}
	for _, r := range l.records {
		f := read[r.peer]
		switch {
		case r.state == engine.Removed && f == nil:
		case f == nil:
			w.violated(l, ruleTold, "a slow reader heard nothing of a peer that is %v", r.peer.State())
		case f.last.To != r.state || r.state != r.peer.State():
			w.violated(l, ruleTold, "the last that a slow reader heard is %v, a fast one %v; it is %v", f.last.To, r.state, r.peer.State())
		case f.told != r.told:
			w.violated(l, ruleTold, "a slow reader heard of %d transitions, a fast one of %d", f.told, r.told)
		}
	}
}

// steady reports whether the detector grants margins that do not grow with what it sees.
func steady(d detect.Detector) bool {
	if d == nil {
		return false
	}
	switch d.Name() {
	case "fixed", "chen", "2w":
		return true
	}
	return false
}
