package level

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/enginetest"
)

// world is two hosts in virtual time whose engines watch each other.
type world struct {
	*enginetest.World
	t                testing.TB
	watcher, watched *enginetest.Host
	peer             engine.Peer // the watched host, of the watcher's engine
	stands           bool        // the watcher's process does not run
}

// newWorld returns a world in which both engines have cfg and are in touch.
func newWorld(t testing.TB, cfg engine.Config) *world {
	t.Helper()
	w := &world{World: enginetest.NewWorld(1), t: t}
	w.watcher, w.watched = w.AddHost("watcher"), w.AddHost("watched")
	w.open(w.watcher, cfg)
	w.open(w.watched, cfg)
	w.peer = w.watch(w.watcher, w.watched, 0)
	w.watch(w.watched, w.watcher, 0)
	w.Run(2 * time.Second)
	if w.peer.State() != engine.Alive {
		t.Fatalf("%v after 2 s", w.peer)
	}
	return w
}

// open gives a host a new process.
func (w *world) open(h *enginetest.Host, cfg engine.Config) {
	w.t.Helper()
	if _, err := h.Open(cfg); err != nil {
		w.t.Fatal(err)
	}
}

// watch makes one host watch another by its address, and by its id if that is not 0.
func (w *world) watch(from, to *enginetest.Host, id uint64) engine.Peer {
	w.t.Helper()
	p, err := from.Engine().AddPeer(engine.PeerConfig{Addr: to.Addr(), ID: id})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// restart gives the watched host a new process with an id, which watches the watcher.
func (w *world) restart(id uint64) {
	w.t.Helper()
	w.open(w.watched, engine.Config{ID: id, Period: tenth.Period})
	w.watch(w.watched, w.watcher, 0)
}

// now is what the watcher's clock shows.
func (w *world) now() clock.Instant { return w.watcher.Clock().Now }

// cut drops what the watched host sends to the watcher while on.
func (w *world) cut(on bool) {
	if on {
		w.Cut(w.watched, w.watcher)
	} else {
		w.Heal(w.watched, w.watcher)
	}
}

// stop stops the watcher's process.
func (w *world) stop() {
	w.watcher.Stop()
	w.stands = true
}

// goOn ends stop.
func (w *world) goOn() {
	w.watcher.Continue()
	w.stands = false
}

// freeze makes the watcher's whole machine stand still.
func (w *world) freeze() {
	w.watcher.Pause(false)
	w.stands = true
}

// thaw ends freeze.
func (w *world) thaw() {
	w.watcher.Resume()
	w.stands = false
}

// follower steps an interpreter of the watcher in virtual time, when it is due or woken and
// its process runs.
type follower struct {
	*Interpreter
	world *world
	next  clock.Instant
	steps int
	log   []Event
	deaf  bool // does not read its events
}

func follow(w *world, l List) *follower {
	w.t.Helper()
	in, err := NewInterpreter(w.watcher.Engine(), l)
	if err != nil {
		w.t.Fatal(err)
	}
	return &follower{Interpreter: in, world: w, next: w.now()}
}

// step steps f if that is due, and reports whether it was.
func (f *follower) step() bool {
	if f.world.stands {
		return false
	}
	now := f.world.now()
	if now < f.next && len(f.Wake()) == 0 {
		return false
	}
	select {
	case <-f.Wake():
	default:
	}
	f.next = f.Step(now)
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
func (w *world) pass(d time.Duration, followers ...*follower) {
	w.t.Helper()
	for end := w.now().Add(d); w.now() < end; {
		next := end
		for _, f := range followers {
			if !w.stands {
				next = min(next, max(f.next, w.now()+1))
			}
		}
		// What wakes a follower is noticed within a tenth of a millisecond.
		next = min(next, w.now().Add(100*time.Microsecond))
		w.Run(next.Sub(w.now()))
		for _, f := range followers {
			f.step()
		}
	}
}

// want fails the test unless the level events were these, each "from-to state".
func (f *follower) want(what string, events ...string) {
	f.world.t.Helper()
	var got []string
	for _, ev := range f.log {
		got = append(got, fmt.Sprintf("%d-%d %v", ev.From, ev.To, ev.State))
	}
	if !reflect.DeepEqual(got, append([]string(nil), events...)) {
		f.world.t.Fatalf("%s: level events %q, want %q", what, got, events)
	}
}
