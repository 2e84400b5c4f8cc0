package names

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"systole/engine/clock"
)

// resolver chooses the result by the prefix of the host. Lookups of dead hosts end with their context,
// those of stuck hosts when free is closed.
type resolver struct {
	free  chan struct{}
	calls atomic.Int64
}

func (r *resolver) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	r.calls.Add(1)
	switch {
	case strings.HasPrefix(host, "dead"):
		<-ctx.Done()
		return nil, ctx.Err()
	case strings.HasPrefix(host, "stuck"):
		<-r.free
	case strings.HasPrefix(host, "none"):
		return nil, nil
	}
	return parse("10.0.0.1", "fd00::1"), nil
}

// fleet is an engine: the states of its peers, and what a Runner has called.
type fleet struct {
	mu    sync.Mutex
	state map[Key]State
	at    map[Key]netip.AddrPort
	when  map[Key]time.Time
	bad   map[Key]int
	last  error
}

func (f *fleet) options() Options {
	f.state, f.at, f.when, f.bad = make(map[Key]State), make(map[Key]netip.AddrPort), make(map[Key]time.Time), make(map[Key]int)
	locked := func(do func()) {
		f.mu.Lock()
		defer f.mu.Unlock()
		do()
	}
	return Options{
		Usable: func(netip.AddrPort) bool { return true },
		Status: func(k Key) (s State, at netip.AddrPort) {
			locked(func() { s, at = f.state[k], f.at[k] })
			return s, at
		},
		Move: func(k Key, addr netip.AddrPort, _ bool) bool {
			locked(func() {
				if f.at[k] = addr; f.when[k].IsZero() {
					f.when[k], f.state[k] = time.Now(), Alive
				}
			})
			return true
		},
		Unresolved: func(k Key, host string, err error) {
			locked(func() { f.bad[k]++; f.last = fmt.Errorf("%s: %w", host, err) })
		},
	}
}

func (f *fleet) place(k Key) (netip.AddrPort, time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at[k], f.when[k]
}

// Dead names do not delay others. Each is reported once.
func TestDeadNamesInARunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f fleet
		names := &resolver{}
		r := Start(names, f.options())
		defer r.Close()
		for i := range uint32(30) {
			r.Add(Key{i, 1}, fmt.Sprint("dead", i), 7)
		}
		begin := time.Now()
		good := Key{30, 1}
		r.Add(good, "good", 7)
		time.Sleep(time.Minute)
		if at, when := f.place(good); at.Port() != 7 || when != begin {
			t.Errorf("moved to %v after %v", at, when.Sub(begin))
		}
		for i := range uint32(30) {
			if n := f.bad[Key{i, 1}]; n != 1 {
				t.Errorf("dead name %d was reported %d times", i, n)
			}
		}
		synctest.Wait()
		failures := 0
		for _, h := range r.table.hosts {
			if failures += h.failures; errors.Is(h.err, errStuck) {
				t.Errorf("%s: %v", h.name, h.err)
			}
		}
		if n := r.table; len(n.peers) != 31 || len(n.hosts) != 31 || failures < 30 || int(names.calls.Load()) <= failures {
			t.Errorf("%d peers, %d hosts, %d failures of %d lookups", len(n.peers), len(n.hosts), failures, names.calls.Load())
		}
	})
}

// A resolver that ignores its context does not block Close, and the number of lookups is bounded.
func TestStuckResolver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f fleet
		names := &resolver{free: make(chan struct{})}
		r := Start(names, f.options())
		for i := range uint32(500) {
			r.Add(Key{i, 1}, fmt.Sprint("stuck", i), 7)
		}
		time.Sleep(3 * time.Second)
		begin := time.Now()
		good := Key{1000, 1}
		for i := range uint32(20) {
			r.Remove(Key{i, 1})
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := r.table; n.uncounted() != 256 || n.places() != 32 || names.calls.Load() != 288 {
			t.Errorf("%d stuck besides, %d places, %d lookups", n.uncounted(), n.places(), names.calls.Load())
		}
		r.Close()
		if took := time.Since(begin) - time.Hour; took != 0 {
			t.Errorf("Close took %v", took)
		}
		r.Add(good, "good", 7) // no effect
		close(names.free)
		synctest.Wait()
		if at, _ := f.place(good); at.IsValid() {
			t.Error("moved after Close")
		}
	})
}

// The next address is tried after a peer becomes Suspect or Failed.
func TestStateChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f fleet
		r := Start(&resolver{}, f.options())
		defer r.Close()
		k := Key{77, 1}
		r.Add(k, "good", 7)
		time.Sleep(10 * time.Second)
		first, _ := f.place(k)
		for state, after := range map[State]time.Duration{Failed: 0, Suspect: attemptDelay} {
			before, _ := f.place(k)
			f.mu.Lock()
			f.state[k] = state
			f.mu.Unlock()
			r.StateChanged(k)
			if after > 0 {
				time.Sleep(after - 1)
				synctest.Wait()
				if now, _ := f.place(k); now != before {
					t.Errorf("%v: moved too early", state)
				}
				time.Sleep(time.Nanosecond)
			}
			synctest.Wait()
			if now, _ := f.place(k); now == before {
				t.Errorf("%v: not moved after %v", state, after)
			}
			f.mu.Lock()
			f.state[k] = Alive
			f.mu.Unlock()
			time.Sleep(5 * time.Second)
		}
		if now, _ := f.place(k); now != first {
			t.Errorf("at %v after two moves from %v", now, first)
		}
	})
}

// Without goroutines, everything happens in Turn. The resolver may call Add and Remove.
func TestTurn(t *testing.T) {
	var f fleet
	names := &resolver{}
	r := New(names, f.options())
	defer r.Close()
	for i := range uint32(100) {
		r.Add(Key{i, 1}, fmt.Sprint("good", i), 7)
	}
	r.Add(Key{200, 1}, "none", 7)
	now := clock.Instant(5 * time.Second)
	next := r.Turn(now)
	for i := range uint32(100) {
		if at, _ := f.place(Key{i, 1}); !at.IsValid() {
			t.Fatalf("%d has no address", i)
		}
	}
	if f.bad[Key{200, 1}] != 1 || !strings.Contains(f.last.Error(), "no address") || next <= now || next > now.Add(attemptDelay*11/10) {
		t.Errorf("reported %v, next in %v", f.last, time.Duration(next-now))
	}
	for range 1000 {
		if next = r.Turn(next); next == clock.Never {
			t.Fatal("nothing is due any more")
		}
	}
	var again replacing
	again.r = New(&again, f.options())
	again.r.Add(Key{300, 1}, "a", 7)
	again.r.Turn(now)
	if at, _ := f.place(Key{300, 1}); at.IsValid() {
		t.Error("a peer that was removed during its lookup was moved")
	}
	if at, _ := f.place(Key{300, 2}); !at.IsValid() {
		t.Error("a peer that was added during a lookup was not moved")
	}
}

// replacing is a resolver that replaces the peer during the first lookup.
type replacing struct {
	r    *Runner
	done bool
}

func (h *replacing) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	if !h.done {
		h.done = true
		h.r.Remove(Key{300, 1})
		h.r.Add(Key{300, 2}, "b", 7)
	}
	return parse("10.0.0.1"), nil
}

// Of several changes of a slot between two turns, the last counts.
func TestChangesOfASlot(t *testing.T) {
	for _, c := range []struct {
		ops  string // a: add the next generation; r: remove it; R: remove the one before; |: a turn
		want uint32
	}{
		{"a|", 1}, {"ar|", 0}, {"a|r|", 0}, {"a|ra|", 2}, {"a|rar|", 0}, {"a|aR|", 2}, {"a|a|R|", 2}, {"aaR|", 2}, {"a|ar|", 0}, {"a|arR|", 0}, {"a|araR|", 3},
	} {
		var f fleet
		r := New(&resolver{}, f.options())
		generation := uint32(0)
		for _, op := range c.ops {
			switch op {
			case 'a':
				generation++
				r.Add(Key{5, generation}, "good", 7)
			case 'r':
				r.Remove(Key{5, generation})
			case 'R':
				r.Remove(Key{5, generation - 1})
			case '|':
				r.Turn(0)
			}
		}
		got := uint32(0)
		if p := r.table.peers[5]; p != nil {
			got = p.key.Generation
		}
		if got != c.want {
			t.Errorf("%s: generation %d, want %d", c.ops, got, c.want)
		}
	}
}

// Several goroutines use a Runner, under the race detector. No call is lost.
func TestRunnerConcurrently(t *testing.T) {
	var f fleet
	r := Start(&resolver{}, f.options())
	var done sync.WaitGroup
	for g := range uint32(4) {
		done.Go(func() {
			for i := range uint32(500) {
				k := Key{i*4 + g, 1}
				r.Add(k, fmt.Sprint("good", i%40), 7)
				r.StateChanged(k)
				if i%2 == 0 {
					r.Remove(k)
				}
			}
		})
	}
	done.Wait()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		moved := 0
		f.mu.Lock()
		for k := range f.at {
			if k.Slot/4%2 == 1 {
				moved++
			}
		}
		f.mu.Unlock()
		if moved == 1000 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%d moved", moved)
		}
	}
	r.Close()
	if n := len(r.table.peers); n != 1000 {
		t.Errorf("%d peers", n)
	}
}

// Each peer is checked after the last change of its state, even if the ring of changes overflows.
func TestNoChangeIsLost(t *testing.T) {
	const peers, changers, rounds = 4 * maxChanged, 4, 20
	var changed, seen [peers]atomic.Int64
	var f fleet
	o := f.options()
	o.Status = func(k Key) (State, netip.AddrPort) {
		seen[k.Slot].Store(changed[k.Slot].Load())
		return Alive, at("10.0.0.1")
	}
	r := New(&resolver{}, o)
	defer r.Close()
	for slot := range uint32(peers) {
		r.Add(Key{slot, 1}, "good", 7)
	}
	r.Turn(0)
	change := func(slot uint32) {
		changed[slot].Add(1)
		r.StateChanged(Key{slot, 1})
	}
	change(7)
	r.Turn(1)
	if seen[7].Load() != 1 || r.overflow.Load() {
		t.Error("a single change was lost")
	}
	var done sync.WaitGroup
	for g := range uint32(changers) {
		done.Go(func() {
			for i := range uint32(peers * rounds / changers) {
				change((i*changers + g) % peers)
			}
		})
	}
	var quit atomic.Bool
	var turns sync.WaitGroup
	turns.Go(func() {
		for !quit.Load() {
			r.Turn(2)
		}
	})
	done.Wait()
	quit.Store(true)
	turns.Wait()
	for slot := range uint32(peers) { // more than the ring holds
		change(slot)
	}
	if !r.overflow.Load() {
		t.Error("the ring had room for all changes")
	}
	r.Turn(3)
	for slot := range seen {
		if s, p := seen[slot].Load(), changed[slot].Load(); s != p || p < rounds {
			t.Errorf("slot %d was checked after %d of %d changes", slot, s, p)
		}
	}
}
