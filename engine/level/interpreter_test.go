package level

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/detect/published"
)

// tenth is the rule by which the tests below count: at a period of 10 ms a peer is suspect
// after 100 ms of silence, and φ = 0.3 is 30 ms.
var tenth = engine.Config{Period: 10 * time.Millisecond, Detector: published.Fixed(10, 0)}

var threeLevels = List{
	{Name: "late", Raise: 0.3, Clear: 0.2},
	{Name: "suspect", Raise: 1, Clear: 0.5, Stay: 300 * time.Millisecond},
	{Name: "long", Raise: 3},
}

func TestInterpreterFollowsSilence(t *testing.T) {
	w := newWorld(t, tenth)
	f := follow(w, threeLevels)
	w.pass(time.Second, f)
	f.want("a peer that is well")
	w.cut(true)
	arrival := w.peer.Stats().LastArrival
	w.pass(400*time.Millisecond, f)
	f.want("silence", "0-1 alive", "1-2 suspect", "2-3 suspect")
	watched := w.watched.Engine()
	for i, due := range []time.Duration{30, 100, 300} {
		ev := f.log[i]
		late := ev.Since.Sub(arrival) - due*time.Millisecond
		if late < 0 || late > time.Millisecond {
			t.Errorf("level %d came %v after its threshold", ev.To, late)
		}
		if ev.Peer != w.peer || ev.ID != watched.ID() || ev.Incarnation != watched.Incarnation() || ev.Silence < due*time.Millisecond ||
			ev.ToName != threeLevels[i].Name || ev.Suspicion < threeLevels[i].Raise || ev.Merged != 0 {
			t.Errorf("event %+v", ev)
		}
	}
	f.log = nil
	w.cut(false)
	heard := w.now()
	w.pass(time.Second, f)
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
	w := newWorld(t, tenth)
	f := follow(w, threeLevels)
	w.watched.Kill()
	w.pass(time.Second, f)
	if n := len(f.log); n == 0 || f.log[n-1].To != 3 || f.log[n-1].State != engine.Failed || f.log[n-1].Cause != engine.PortUnreachable {
		t.Fatalf("a process that is gone is at the highest level: %+v", f.log)
	}
	f.log = nil
	id := w.peer.ID()
	w.restart(id)
	w.pass(time.Second, f)
	f.want("a new incarnation is at no level", "3-0 alive")
	if ev := f.log[0]; ev.Incarnation != w.watched.Engine().Incarnation() || ev.Cause != engine.Restarted {
		t.Errorf("event %+v", ev)
	}

	f.log = nil
	w.cut(true)
	w.pass(50*time.Millisecond, f)
	if err := w.watcher.Engine().RemovePeer(w.peer); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Second, f)
	f.want("a peer that is removed ends", "0-1 alive", "1-0 removed")
	w.cut(false)

	w.again(id)
	w.pass(time.Second, f)
	f.log = nil
	held := follow(w, List{{Name: "ever", Raise: 0.01, Clear: 0.001, Stay: time.Hour}})
	w.pass(100*time.Millisecond, f, held)
	if err := w.watched.Engine().Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.pass(100*time.Millisecond, f, held)
	if w.peer.State() != engine.Left {
		t.Fatalf("%v", w.peer)
	}
	held.want("a peer that leaves ends, in spite of its stay", "0-1 alive", "1-0 left")
	f.want("one that leaves at no level makes no event")
}

// again gives the watched host, which was removed, a new process, and has it watched.
func (w *world) again(id uint64) {
	w.restart(id)
	w.peer = w.watch(w.watcher, w.watched, id)
}

// Subscribers of one engine have levels of their own.
func TestSeveralSubscribers(t *testing.T) {
	w := newWorld(t, tenth)
	one := follow(w, List{{Name: "early", Raise: 0.25}})
	two := follow(w, List{{Name: "suspect", Raise: 1, Stay: 250 * time.Millisecond}, {Name: "later", Raise: 2}})
	stuck := follow(w, threeLevels)
	stuck.deaf = true
	w.pass(100*time.Millisecond, one, two, stuck)
	for range 3 {
		w.cut(true)
		w.pass(150*time.Millisecond, one, two, stuck)
		w.cut(false)
		w.pass(500*time.Millisecond, one, two, stuck)
	}
	one.want("one level", "0-1 alive", "1-0 alive", "0-1 alive", "1-0 alive", "0-1 alive", "1-0 alive")
	two.want("two levels", "0-1 suspect", "1-0 alive", "0-1 suspect", "1-0 alive", "0-1 suspect", "1-0 alive")
	w.cut(true)
	w.pass(150*time.Millisecond, one, two, stuck)
	stuck.deaf = false
	w.pass(300*time.Millisecond, one, two, stuck)
	// 0-1-2-0 three times, and 0-1-2: eleven changes in one event, the latest.
	stuck.want("one that did not read", "0-2 suspect", "2-3 suspect")
	if n := stuck.log[0].Merged; n < 10 || n > 13 {
		t.Errorf("%d changes merged", n)
	}
}

// A reader that never reads holds one event per peer that it knows at a level, not one per change or
// removed peer.
func TestStuckReaderIsBounded(t *testing.T) {
	w := newWorld(t, tenth)
	id := w.peer.ID()
	f := follow(w, threeLevels)
	w.cut(true)
	w.pass(50*time.Millisecond, f)
	f.want("known at a level", "0-1 alive")
	f.deaf, f.log = true, nil
	for range 20 {
		w.cut(true)
		w.pass(200*time.Millisecond, f)
		if err := w.watcher.Engine().RemovePeer(w.peer); err != nil {
			t.Fatal(err)
		}
		w.pass(10*time.Millisecond, f)
		w.cut(false)
		w.again(id)
		w.pass(500*time.Millisecond, f)
	}
	if w.peer.State() != engine.Alive {
		t.Fatalf("%v", w.peer)
	}
	if n, room := f.queue.Len(), len(f.subjects); n > 2 || len(f.places) != 1 || room > 8 {
		t.Errorf("%d events wait, of %d peers in room for %d", n, len(f.places), room)
	}
	f.deaf = false
	w.cut(true)
	w.pass(60*time.Millisecond, f)
	f.want("the old peer's end, then the new one's level", "1-0 removed", "0-1 alive")
	if f.log[0].Peer == f.log[1].Peer || f.log[1].Peer != w.peer {
		t.Errorf("events of %+v", f.log)
	}
}

// A stall of this node is nobody's fault: not a stopped process, not a frozen host, not a
// loop that is late while its interpreter runs. What dies after it is noticed as ever.
func TestOwnStallRaisesNobody(t *testing.T) {
	// The other end must not take us for failed: it would then send to us more slowly.
	for _, detector := range []detect.Detector{published.Fixed(10, 1000), detect.Margin(detect.MarginOptions{FailFloor: time.Minute})} {
		for _, stall := range []string{"stopped", "frozen", "late"} {
			for _, d := range []time.Duration{20, 45, 90, 400, 3000} {
				w := newWorld(t, engine.Config{Period: tenth.Period, Detector: detector})
				suspect, _ := w.watcher.Engine().StateLevels()
				f := follow(w, List{{Name: "half", Raise: suspect / 2}, {Name: "suspect", Raise: suspect}})
				w.pass(5*time.Second, f)
				f.log = nil
				for range 3 {
					w.stall(stall, d*time.Millisecond, f)
					w.pass(300*time.Millisecond, f)
				}
				what := fmt.Sprintf("%s, %s for %v", detector.Name(), stall, d*time.Millisecond)
				f.want(what)
				w.cut(true)
				w.watched.Crash()
				w.pass(500*time.Millisecond, f)
				f.want(what+", then a crash", "0-1 alive", "1-2 suspect")
			}
		}
	}
}

// stall lets the watcher stand still.
func (w *world) stall(how string, d time.Duration, f *follower) {
	switch how {
	case "stopped":
		w.stop()
		w.pass(d, f)
		w.goOn()
	case "frozen":
		w.freeze()
		w.pass(d, f)
		w.thaw()
	case "late": // the loop has no CPU, the interpreter has
		w.stop()
		for end := w.now().Add(d); w.now() < end; {
			w.Run(100 * time.Microsecond)
			w.goOn()
			f.step()
			w.stop()
		}
		w.goOn()
	}
}

// Beside a naive interpreter that judges every peer each millisecond, one that sleeps
// until the next crossing is at the same level, up to the grid on which it looks again at
// peers that are raised.
func TestInterpreterAgainstReference(t *testing.T) {
	const tolerance = 6 // milliseconds
	changes := 0
	for seed := range uint64(8) {
		detector := []detect.Detector{tenth.Detector, published.Chen(0, 0, 0), detect.Margin(detect.MarginOptions{}), published.TwoWindow(0, 0, 0, 0)}[seed%4]
		w := newWorld(t, engine.Config{Period: tenth.Period, Detector: detector})
		e := w.watcher.Engine()
		suspect, fail := e.StateLevels()
		l := List{
			{Name: "a", Raise: suspect * 0.5, Clear: suspect * 0.1, Stay: 30 * time.Millisecond},
			{Name: "b", Raise: suspect * 0.8, Clear: suspect * 0.4},
			{Name: "c", Raise: suspect, Clear: suspect * 0.4, Stay: 80 * time.Millisecond},
			{Name: "d", Raise: (suspect + fail) / 2},
		}
		f := follow(w, l)
		ref := reference{list: l, engine: e, peer: w.peer}
		random := rand.New(rand.NewPCG(seed, 2))
		var recent []int
		silent, booted := w.now(), w.now()
		for ms := range 6000 {
			if w.now() >= silent {
				w.cut(random.IntN(2) == 0)
				silent = w.now().Add(time.Duration(random.IntN(80)+5) * time.Millisecond)
				if random.IntN(10) == 0 {
					silent = w.now().Add(time.Duration(random.IntN(400)) * time.Millisecond)
				}
			}
			if w.peer.State() == engine.Failed && w.now() >= booted.Add(200*time.Millisecond) {
				booted = w.now() // failure is final: its process starts anew
				w.cut(false)
				silent = w.now().Add(200 * time.Millisecond)
				w.restart(w.peer.ID())
			}
			for end := w.now().Add(time.Millisecond); w.now() < end; {
				w.Run(max(min(end, f.next), w.now()+1).Sub(w.now()))
				if _, err := e.Turn(w.watcher.Clock()); err != nil { // so that what arrived counts for both
					t.Fatal(err)
				}
				f.step()
				ref.judge(w.now())
				recent = append(recent, ref.level) // at most twice a millisecond
			}
			recent = recent[max(len(recent)-2*tolerance, 0):]
			if got := f.subjects[f.places[w.peer]].Level; !slices.Contains(recent, got) {
				t.Fatalf("seed %d, %s, ms %d: level %d, a naive interpreter's %v lately; φ %.3f of %v", seed, detector.Name(), ms, got, recent, w.peer.Suspicion(), w.peer)
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

// reference is the naive interpreter: the rules as Threshold has them, and nothing clever.
type reference struct {
	list   List
	engine *engine.Engine
	peer   engine.Peer
	level  int
	raised clock.Instant
	life   uint64
}

func (r *reference) judge(now clock.Instant) {
	if life := r.peer.Stats().Incarnation; life != r.life {
		r.life, r.level = life, 0
	}
	state, φ := r.peer.State(), r.peer.Suspicion()
	suspect, fail := r.engine.StateLevels()
	if state == engine.Failed {
		r.up(len(r.list), now)
		return
	}
	reached := 0
	for i, level := range r.list {
		mayRaise := level.Raise < suspect || state == engine.Suspect && level.Raise < fail
		if φ >= level.Raise && mayRaise {
			reached = i + 1
		}
	}
	if r.up(reached, now) {
		return
	}
	for r.level > 0 {
		level := r.list[r.level-1]
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

// A long Step that had many peers to check is no pause.
func TestChecksAreNoPause(t *testing.T) {
	w := newWorld(t, engine.Config{Period: 5 * time.Millisecond})
	in := follow(w, List{{Name: "dead", Raise: 8}}).Interpreter
	defer in.Close()
	now := in.now.Add(time.Hour)
	for _, c := range []struct {
		checks int
		pause  bool
	}{{4096, false}, {0, true}} {
		in.Step(now)
		in.due, in.checks = now, c.checks // there was more to do
		s := engine.Summary{Arrival: now}
		now = now.Add(5 * time.Millisecond)
		in.Step(now)
		if s.Excuse(&in.pauses); (s.Paused > 0) != c.pause {
			t.Errorf("5 ms after a step of %d checks: a pause: %v", c.checks, s.Paused)
		}
	}
}

// What an interpreter keeps of a peer stays small, the timer and the pointer included. Its map takes
// some 40 bytes besides.
func TestSubjectIsSmall(t *testing.T) {
	const timer, pointer = 24, 8
	if size := unsafe.Sizeof(subject{}) + timer + pointer; size > 120 {
		t.Errorf("a peer takes %d bytes", size)
	}
}

// BenchmarkCheck is one check of a peer that lives, under the default detector.
func BenchmarkCheck(b *testing.B) {
	w := newWorld(b, engine.Config{})
	w.Run(100 * time.Second) // a thousand heartbeats
	f := follow(w, threeLevels)
	w.pass(100*time.Millisecond, f)
	f.now = w.now()
	place := f.places[w.peer]
	for b.Loop() {
		f.check(place)
	}
	if f.checks == 0 || f.subjects[place].Level != 0 || f.wheel.Len() != 1 {
		b.Errorf("nothing was judged: %+v", f.subjects[place])
	}
}
