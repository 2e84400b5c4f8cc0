package engine

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/internal/sim"
)

// follower steps an interpreter of a node in virtual time, when it is due or woken and
// its process runs.
type follower struct {
	*Interpreter
	node  *node
	next  clock.Instant
	steps int
	log   []LevelEvent
	deaf  bool // does not read its events
	clock func() clock.Instant
}

// awake reports whether n's process runs.
func (n *node) awake() bool { return n.host.Running() && !n.host.Standing() }

func follow(n *node, l Levels) *follower {
	n.world.t.Helper()
	in, err := n.Interpreter(l)
	if err != nil {
		n.world.t.Fatal(err)
	}
	return &follower{Interpreter: in, node: n, next: n.world.now(), clock: n.world.now}
}

// step steps f if that is due, and reports whether it was.
func (f *follower) step() bool {
	if !f.node.awake() {
		return false
	}
	if now := f.clock(); now < f.next && len(f.Wake()) == 0 {
		return false
	}
	select {
	case <-f.Wake():
	default:
	}
	f.next = f.Step(f.clock())
	f.steps++
	for !f.deaf {
		ev, ok := f.TryNext()
		if !ok {
			break
		}
		f.log = append(f.log, ev)
	}
	return true
}

// pass lets d of virtual time pass for the world and the followers.
func pass(w *world, d time.Duration, followers ...*follower) {
	w.t.Helper()
	for end := w.now().Add(d); w.now() < end; {
		next := end
		for _, f := range followers {
			if f.node.awake() {
				next = min(next, max(f.next, w.now()+1))
			}
		}
		// What wakes a follower is noticed within a tenth of a millisecond.
		next = min(next, w.now().Add(100*time.Microsecond))
		w.run(next.Sub(w.now()))
		for _, f := range followers {
			f.step()
		}
	}
}

// want fails the test unless the level events were these, each "from-to state".
func (f *follower) want(what string, events ...string) {
	f.node.world.t.Helper()
	var got []string
	for _, ev := range f.log {
		got = append(got, fmt.Sprintf("%d-%d %v", ev.From, ev.To, ev.State))
	}
	if !reflect.DeepEqual(got, append([]string(nil), events...)) {
		f.node.world.t.Fatalf("%s: level events %q, want %q", what, got, events)
	}
}

// cut drops what the second node sends while on.
func cut(w *world, on bool) {
	w.Mangle = nil
	if on {
		w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
			if d.From == w.nodes[1].addr() {
				return nil
			}
			return []*sim.Datagram{d}
		}
	}
}

// tenth is the rule by which the tests below count: at a period of 10 ms a peer is suspect
// after 100 ms of silence, and φ = 0.3 is 30 ms.
var tenth = Config{Period: 10 * time.Millisecond, Detector: &detect.Fixed{Multiplier: 10}}

var threeLevels = Levels{List: []Level{
	{Name: "late", Raise: 0.3, Clear: 0.2},
	{Name: "suspect", Raise: 1, Clear: 0.5, Stay: 300 * time.Millisecond},
	{Name: "long", Raise: 3},
}}

func TestInterpreterFollowsSilence(t *testing.T) {
	w, a, b, p := pair(t, tenth)
	f := follow(a, threeLevels)
	pass(w, time.Second, f)
	f.want("a peer that is well")
	cut(w, true)
	arrival := p.Stats().LastArrival
	pass(w, 400*time.Millisecond, f)
	f.want("silence", "0-1 alive", "1-2 suspect", "2-3 suspect")
	for i, due := range []time.Duration{30, 100, 300} {
		ev := f.log[i]
		late := ev.Since.Sub(arrival) - due*time.Millisecond
		if late < 0 || late > time.Millisecond {
			t.Errorf("level %d came %v after its threshold", ev.To, late)
		}
		if ev.Peer != p || ev.ID != b.ID() || ev.Incarnation != b.Incarnation() || ev.Silence < due*time.Millisecond ||
			ev.ToName != threeLevels.List[i].Name || ev.Suspicion < threeLevels.List[i].Raise || ev.Merged != 0 {
			t.Errorf("event %+v", ev)
		}
	}
	f.log = nil
	cut(w, false)
	heard := w.now()
	pass(w, time.Second, f)
	f.want("heard again", "3-2 alive", "2-0 alive")
	raised := arrival.Add(300 * time.Millisecond)
	if d := f.log[0].Since.Sub(heard); d > 25*time.Millisecond {
		t.Errorf("cleared after %v", d)
	}
	if d := f.log[1].Since.Sub(raised); d < 300*time.Millisecond || d > 305*time.Millisecond {
		t.Errorf("the minimum stay of 300 ms since the last rise was %v", d)
	}
}

func TestFailedLeftRestartedRemoved(t *testing.T) {
	w, a, b, p := pair(t, tenth)
	f := follow(a, threeLevels)
	b.host.Kill()
	pass(w, time.Second, f)
	if n := len(f.log); n == 0 || f.log[n-1].To != 3 || f.log[n-1].State != Failed || f.log[n-1].Cause != PortUnreachable {
		t.Fatalf("a process that is gone is at the highest level: %+v", f.log)
	}
	f.log = nil
	id := p.ID()
	w.boot(b, Config{ID: id, Period: tenth.Period})
	b.watch(a)
	pass(w, time.Second, f)
	f.want("a new incarnation is at no level", "3-0 alive")
	if ev := f.log[0]; ev.Incarnation != b.Incarnation() || ev.Cause != Restarted {
		t.Errorf("event %+v", ev)
	}

	f.log = nil
	cut(w, true)
	pass(w, 50*time.Millisecond, f)
	if err := a.RemovePeer(p); err != nil {
		t.Fatal(err)
	}
	pass(w, time.Second, f)
	f.want("a peer that is removed ends", "0-1 alive", "1-0 removed")
	cut(w, false)

	p = again(a, b, id)
	pass(w, time.Second, f)
	f.log = nil
	held := follow(a, Levels{List: []Level{{Name: "ever", Raise: 0.01, Clear: 0.001, Stay: time.Hour}}})
	pass(w, 100*time.Millisecond, f, held)
	b.shards[0].post(command{kind: commandLeave})
	pass(w, 100*time.Millisecond, f, held)
	if p.State() != Left {
		t.Fatalf("%v", p)
	}
	held.want("a peer that leaves ends, in spite of its stay", "0-1 alive", "1-0 left")
	f.want("one that leaves at no level makes no event")
}

// again gives b, which a has removed, a new life, and has a watch it.
func again(a, b *node, id uint64) Peer {
	a.world.boot(b, Config{ID: id, Period: tenth.Period})
	b.watch(a)
	return a.watch(b, func(c *PeerConfig) { c.ID = id })
}

// Subscribers of one engine have levels of their own.
func TestSeveralSubscribers(t *testing.T) {
	w, a, _, _ := pair(t, tenth)
	one := follow(a, Levels{List: []Level{{Name: "early", Raise: 0.25}}})
	two := follow(a, Levels{List: []Level{{Name: "suspect", Raise: 1, Stay: 250 * time.Millisecond}, {Name: "later", Raise: 2}}})
	stuck := follow(a, threeLevels)
	stuck.deaf = true
	pass(w, 100*time.Millisecond, one, two, stuck)
	for range 3 {
		cut(w, true)
		pass(w, 150*time.Millisecond, one, two, stuck)
		cut(w, false)
		pass(w, 500*time.Millisecond, one, two, stuck)
	}
	one.want("one level", "0-1 alive", "1-0 alive", "0-1 alive", "1-0 alive", "0-1 alive", "1-0 alive")
	two.want("two levels", "0-1 suspect", "1-0 alive", "0-1 suspect", "1-0 alive", "0-1 suspect", "1-0 alive")
	cut(w, true)
	pass(w, 150*time.Millisecond, one, two, stuck)
	stuck.deaf = false
	pass(w, 300*time.Millisecond, one, two, stuck)
	// 0-1-2-0 three times, and 0-1-2: eleven changes in one event, the latest.
	stuck.want("one that did not read", "0-2 suspect", "2-3 suspect")
	if n := stuck.log[0].Merged; n < 10 || n > 13 {
		t.Errorf("%d changes merged", n)
	}
}

// A reader that never reads holds one event per slot, not one per change or removed peer.
func TestStuckReaderIsBounded(t *testing.T) {
	w, a, b, p := pair(t, tenth)
	id := p.ID()
	f := follow(a, threeLevels)
	cut(w, true)
	pass(w, 50*time.Millisecond, f)
	f.want("known at a level", "0-1 alive")
	f.deaf, f.log = true, nil
	for range 20 {
		cut(w, true)
		pass(w, 200*time.Millisecond, f)
		if err := a.RemovePeer(p); err != nil {
			t.Fatal(err)
		}
		pass(w, 10*time.Millisecond, f)
		cut(w, false)
		p = again(a, b, id)
		pass(w, 500*time.Millisecond, f)
	}
	if p.State() != Alive {
		t.Fatalf("%v", p)
	}
	if n := len(f.queue) - f.head + len(f.over); n > 2 || cap(f.queue) > 8 {
		t.Errorf("%d events wait, in room for %d", n, cap(f.queue))
	}
	f.deaf = false
	cut(w, true)
	pass(w, 60*time.Millisecond, f)
	f.want("the old peer's end, then the new one's level", "1-0 removed", "0-1 alive")
	if f.log[0].Peer == f.log[1].Peer || f.log[1].Peer != p {
		t.Errorf("events of %+v", f.log)
	}
}

// A stall of this node is nobody's fault: not a stopped process, not a frozen host, not a
// loop that is late while its interpreter runs. What dies after it is noticed as ever.
func TestOwnStallRaisesNobody(t *testing.T) {
	// The other end must not take us for failed: it would then send to us more slowly.
	for _, detector := range []detect.Detector{&detect.Fixed{Multiplier: 10, Fail: 1000}, &detect.Margin{FailFloor: time.Minute}} {
		for _, stall := range []string{"stopped", "frozen", "late"} {
			for _, d := range []time.Duration{20, 45, 90, 400, 3000} {
				w, a, b, _ := pair(t, Config{Period: tenth.Period, Detector: detector})
				first := a.suspectLevel / 2
				f := follow(a, Levels{List: []Level{{Name: "half", Raise: first}, {Name: "suspect", Raise: a.suspectLevel}}})
				pass(w, 5*time.Second, f)
				f.log = nil
				for range 3 {
					w.stall(stall, d*time.Millisecond, a, f)
					pass(w, 300*time.Millisecond, f)
				}
				what := fmt.Sprintf("%s, %s for %v", detector.Name(), stall, d*time.Millisecond)
				f.want(what)
				cut(w, true)
				b.host.Crash()
				pass(w, 500*time.Millisecond, f)
				f.want(what+", then a crash", "0-1 alive", "1-2 suspect")
			}
		}
	}
}

// stall lets a stand still.
func (w *world) stall(how string, d time.Duration, a *node, f *follower) {
	switch how {
	case "stopped":
		a.host.Stop()
		pass(w, d, f)
		a.host.Continue()
	case "frozen":
		a.host.Pause(false)
		pass(w, d, f)
		a.host.Resume()
	case "late": // the loop has no CPU, the interpreter has
		a.host.Stop()
		for end := w.now().Add(d); w.now() < end; {
			w.run(100 * time.Microsecond)
			a.host.Continue()
			f.step()
			a.host.Stop()
		}
		a.host.Continue()
	}
}

// Beside a naive interpreter that judges every peer each millisecond, one that sleeps
// until the next crossing is at the same level, up to the raster on which it looks again at
// peers that are raised.
func TestInterpreterAgainstReference(t *testing.T) {
	const tolerance = 6 // milliseconds
	changes := 0
	for seed := range uint64(8) {
		detector := []detect.Detector{tenth.Detector, &detect.Chen{}, &detect.Margin{}, &detect.TwoWindow{}}[seed%4]
		w, a, b, p := pair(t, Config{Period: tenth.Period, Detector: detector})
		suspect, fail := a.StateLevels()
		l := Levels{List: []Level{
			{Name: "a", Raise: suspect * 0.5, Clear: suspect * 0.1, Stay: 30 * time.Millisecond},
			{Name: "b", Raise: suspect * 0.8, Clear: suspect * 0.4},
			{Name: "c", Raise: suspect, Clear: suspect * 0.4, Stay: 80 * time.Millisecond},
			{Name: "d", Raise: (suspect + fail) / 2},
		}}
		f := follow(a, l)
		ref := reference{levels: l, peer: p}
		random := rand.New(rand.NewPCG(seed, 2))
		var recent []int
		silent, booted := w.now(), w.now()
		for ms := range 6000 {
			if w.now() >= silent {
				cut(w, random.IntN(2) == 0)
				silent = w.now().Add(time.Duration(random.IntN(80)+5) * time.Millisecond)
				if random.IntN(10) == 0 {
					silent = w.now().Add(time.Duration(random.IntN(400)) * time.Millisecond)
				}
			}
			if p.State() == Failed && w.now() >= booted.Add(200*time.Millisecond) {
				booted = w.now() // failure is final: its process starts anew
				cut(w, false)
				silent = w.now().Add(200 * time.Millisecond)
				w.boot(b, Config{ID: p.ID(), Period: tenth.Period})
				b.watch(a)
			}
			for end := w.now().Add(time.Millisecond); w.now() < end; {
				w.run(max(min(end, f.next), w.now()+1).Sub(w.now()))
				if _, err := a.Turn(a.host.Now()); err != nil { // so that what arrived counts for both
					t.Fatal(err)
				}
				f.step()
				ref.judge(w.now())
				recent = append(recent, ref.level) // at most twice a millisecond
			}
			recent = recent[max(len(recent)-2*tolerance, 0):]
			if got := f.subject(p.slot).Level; !contains(recent, got) {
				t.Fatalf("seed %d, %s, ms %d: level %d, a naive interpreter's %v lately; φ %.3f of %v", seed, detector.Name(), ms, got, recent, p.SuspicionAt(w.now()), p)
			}
		}
		changes += len(f.log)
		if f.steps > 6000*2 {
			t.Errorf("seed %d: %d steps in 6 s", seed, f.steps)
		}
	}
	if changes < 500 {
		t.Errorf("only %d changes of level compared", changes)
	}
	t.Logf("%d changes of level compared", changes)
}

func contains(list []int, v int) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}

// reference is the naive interpreter: the rules as Level has them, and nothing clever.
type reference struct {
	levels Levels
	peer   Peer
	level  int
	raised clock.Instant
	life   uint64
}

func (r *reference) judge(now clock.Instant) {
	if life := r.peer.Stats().Incarnation; life != r.life {
		r.life, r.level = life, 0
	}
	state, φ := r.peer.State(), r.peer.SuspicionAt(now)
	suspect, fail := r.peer.engine.StateLevels()
	if state == Failed {
		r.up(len(r.levels.List), now)
		return
	}
	reached := 0
	for i, level := range r.levels.List {
		mayRaise := level.Raise < suspect || state == Suspect && level.Raise < fail
		if φ >= level.Raise && mayRaise {
			reached = i + 1
		}
	}
	if r.up(reached, now) {
		return
	}
	for r.level > 0 {
		level := r.levels.List[r.level-1]
		clear := level.Clear
		if clear == 0 {
			clear = level.Raise
		}
		if φ > clear || φ == level.Raise || now.Sub(r.raised) < level.Stay {
			return
		}
		r.level--
	}
}

func (r *reference) up(to int, now clock.Instant) bool {
	if to <= r.level {
		return false
	}
	r.level, r.raised = to, now
	return true
}

// Ten thousand peers that live, at 10 Hz, cost about one look per heartbeat, on few wake-ups,
// and no events; and those that die are noticed each in time.
func TestCostOfManyPeers(t *testing.T) {
	const peers, period = 10_000, 100 * time.Millisecond
	w := newWorld(t, 1)
	a := w.start(Config{Detector: &detect.Fixed{}, Period: period}) // suspect after 300 ms
	list := make([]Peer, peers)
	nowhere := netip.MustParseAddrPort("192.0.2.1:1")
	for i := range list {
		p, err := a.AddPeer(PeerConfig{Addr: nowhere, ID: uint64(i) + 1000})
		if err != nil {
			t.Fatal(err)
		}
		list[i] = p
		if i%1000 == 999 {
			w.run(time.Millisecond)
		}
	}
	f := follow(a, Levels{List: []Level{{Name: "two", Raise: 0.7}}}) // 210 ms
	s, now := a.shards[0], w.now()
	f.clock = func() clock.Instant { return now }
	beat, sample := detect.Heartbeat{Period: period}, make([]uint64, sampleWords)
	hear := func(p Peer, sequence uint64) {
		rec := s.table.peer(p.slot)
		if rec.verdict.state() != Alive {
			s.now = now
			s.transition(rec, p.slot, Alive, FirstContact, now)
		}
		state := s.state(p.slot)
		beat.Sequence, beat.Arrival, sample[0] = sequence, now, uint64(now)
		s.table.detector.Heartbeat(state, &beat)
		c, i := s.table.at(p.slot)
		s.table.summary.Push(s.table.summaryWindow(c, i), state[:s.table.summary.Words])
		s.table.samples.Push(s.table.sampleWindow(c, i), sample)
	}
	// live lets d pass; each peer below alive is heard once a period, at a time of its own.
	sequence := uint64(0)
	live := func(d time.Duration, alive int) {
		const slices = 100
		for range d / period {
			sequence++
			for k := range slices {
				now = now.Add(period / slices)
				for i := k; i < alive; i += slices {
					hear(list[i], sequence)
				}
				s.shown.readTo.Set(uint64(now))
				f.step()
			}
		}
	}
	live(time.Second, peers)
	looks, steps := f.looks, f.steps
	const seconds = 5
	live(seconds*time.Second, peers)
	perSecond, wakes := float64(f.looks-looks)/seconds, float64(f.steps-steps)/seconds
	t.Logf("%d peers at %v: %.0f looks and %.0f wake-ups a second", peers, period, perSecond, wakes)
	// A deadline 210 ms after a heartbeat is looked at about every 205 ms.
	if perSecond > peers*5.5 {
		t.Errorf("%.0f looks a second for %d heartbeats", perSecond, peers*10)
	}
	if most := float64(time.Second / s.grid); wakes > most+1 {
		t.Errorf("%.0f wake-ups a second, on a raster with %.0f", wakes, most)
	}
	if len(f.log) != 0 {
		t.Fatalf("%d level events of peers that live", len(f.log))
	}
	allocs := testing.AllocsPerRun(1, func() { live(period, peers) })
	if allocs > 100 {
		t.Errorf("%v allocations in a period of %d peers", allocs, peers)
	}
	const alive = peers - 100
	live(time.Second, alive)
	if len(f.log) != peers-alive {
		t.Fatalf("%d level events of %d peers that died", len(f.log), peers-alive)
	}
	for _, ev := range f.log {
		if ev.Silence < 210*time.Millisecond || ev.Silence > 213*time.Millisecond {
			t.Errorf("raised after %v of silence", ev.Silence)
		}
	}
}

// What an interpreter keeps of a peer is what its documentation says, its timer included.
func TestSubjectIsSmall(t *testing.T) {
	const timer = 24
	if size := unsafe.Sizeof(subject{}) + timer; size > 120 {
		t.Errorf("a peer takes %d bytes", size)
	}
}

// BenchmarkLook is one look at a peer that lives, under the default detector.
func BenchmarkLook(b *testing.B) {
	const now = clock.Instant(time.Hour)
	cfg := Config{Manual: true}
	e, err := newEngine(cfg.withDefaults())
	if err != nil {
		b.Fatal(err)
	}
	slot := e.heardOne(b, now)
	in, err := e.Interpreter(threeLevels)
	if err != nil {
		b.Fatal(err)
	}
	in.now = now
	for b.Loop() {
		in.check(slot)
	}
	if in.looks == 0 || in.subject(slot).Level != 0 || in.wheel.Len() != 1 {
		b.Errorf("nothing was judged: %+v", in.subject(slot))
	}
}

// heardOne puts one peer that was just heard into the table and returns its slot.
func (e *Engine) heardOne(b *testing.B, now clock.Instant) uint32 {
	b.Helper()
	slot, ok := e.table.extend()
	if !ok {
		b.Fatal("no slot")
	}
	p := e.table.peer(slot)
	p.verdict.begin(1)
	p.verdict.move(Alive, FirstContact, now, 0)
	s := e.shards[0]
	state := s.state(slot)
	for i := range uint64(1000) {
		s.table.detector.Heartbeat(state, &detect.Heartbeat{
			Sequence: i + 1, Send: now, Arrival: now - clock.Instant(1000-i)*clock.Instant(e.cfg.Period), Period: e.cfg.Period,
		})
	}
	c, i := s.table.at(slot)
	s.table.summary.Push(s.table.summaryWindow(c, i), state[:s.table.summary.Words])
	s.table.samples.Push(s.table.sampleWindow(c, i), []uint64{uint64(now), 0, 0, 0})
	s.shown.readTo.Set(uint64(now))
	return slot
}
