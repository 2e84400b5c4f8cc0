package engine

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
)

// ended returns the cause of a context that a peer has ended; nil if the context goes on.
func ended(t *testing.T, ctx context.Context) *PeerFailedError {
	t.Helper()
	if ctx.Err() == nil {
		return nil
	}
	cause := context.Cause(ctx)
	var err *PeerFailedError
	if !errors.As(cause, &err) || !errors.Is(cause, ErrPeerFailed) || ctx.Err() != context.Canceled {
		t.Fatalf("ended by %v, cause %v", ctx.Err(), cause)
	}
	return err
}

// wantEnd fails the test unless the peer has ended the context, in a state and for a cause.
func wantEnd(t *testing.T, what string, ctx context.Context, state State, cause Cause) *PeerFailedError {
	t.Helper()
	err := ended(t, ctx)
	if err == nil {
		t.Fatalf("%s: the context goes on", what)
	}
	if err.State != state || err.Cause != cause {
		t.Errorf("%s: ended with %v, %v; want %v, %v", what, err.State, err.Cause, state, cause)
	}
	return err
}

// contextOf returns a context of p.
func contextOf(p Peer, level float64) context.Context {
	ctx, _ := p.Context(context.Background(), level)
	return ctx
}

// never is a level that suspicion does not reach.
var never = math.Inf(1)

// What ends a peer ends its contexts, whatever their level, with the state, the cause and the incarnation.
func TestContextEndsWithThePeer(t *testing.T) {
	for _, test := range []struct {
		what  string
		do    func(w *world, a, b *node, p Peer)
		state State
		cause Cause
	}{
		{"crash", func(_ *world, _, b *node, _ Peer) { b.host.Crash() }, Failed, Silence},
		{"goodbye", func(_ *world, _, b *node, _ Peer) { _ = b.Shutdown(context.Background()) }, Left, Goodbye},
		{"restart", func(w *world, a, b *node, _ Peer) { w.boot(b, Config{ID: b.ID()}); b.watch(a) }, Alive, Restarted},
		{"reincarnation", func(_ *world, _, b *node, _ Peer) { b.Reincarnate() }, Alive, Restarted},
		{"removal", func(_ *world, a, _ *node, p Peer) { _ = a.RemovePeer(p) }, Removed, ByCaller},
		{"removal, and another peer in its slot", func(w *world, a, b *node, p Peer) {
			a.remove(p)
			if q := a.watch(b); q.slot != p.slot {
				t.Error("the slot is not reused")
			}
		}, Removed, ByCaller},
		{"close", func(_ *world, a, _ *node, _ Peer) { _ = a.Close() }, Removed, Closed},
	} {
		w, a, b, p := pair(t, Config{})
		id, incarnation := p.ID(), b.Incarnation()
		goroutines := runtime.NumGoroutine()
		ctx := contextOf(p, never)
		w.run(time.Second)
		if err := ended(t, ctx); err != nil {
			t.Fatalf("%s: ended before: %v", test.what, err)
		}
		test.do(w, a, b, p)
		w.run(5 * time.Second)
		err := wantEnd(t, test.what, ctx, test.state, test.cause)
		if err.Peer != p || err.ID != id || err.Incarnation != incarnation {
			t.Errorf("%s: %+v; want %v, %#x, %d", test.what, err, p, id, incarnation)
		}
		says := " is " + test.state.String()
		if test.cause == Restarted {
			says = " has restarted" // not "is alive", in an error
		}
		if said := err.Error(); !strings.HasPrefix(said, "engine: "+b.host.Addr().String()+says) {
			t.Errorf("%s: says %q", test.what, said)
		}
		if p.State() == test.state && test.state != Alive { // still so: a new context ends at once
			wantEnd(t, test.what+", again", contextOf(p, never), test.state, test.cause)
		}
		w.run(2 * time.Second)
		if n := runtime.NumGoroutine(); n > goroutines {
			t.Errorf("%s: %d goroutines in a simulated world, %d without contexts", test.what, n, goroutines)
		}
		if n := len(a.contexts.peers); n != 0 {
			t.Errorf("%s: %d peers are still followed", test.what, n)
		}
	}
}

// The suspicion of a silent peer ends its contexts one level after the other, each soon after its deadline.
func TestContextEndsAtItsLevel(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	w.run(20 * time.Second)
	levels := []float64{2, 0.5, a.suspectLevel, 1, 1, a.failLevel, (a.suspectLevel + a.failLevel) / 2}
	ctxs := make([]context.Context, len(levels))
	for i, l := range levels {
		ctxs[i] = contextOf(p, l)
	}
	w.Cut(b.host, a.host)
	for range 10_000 {
		w.run(time.Millisecond)
		for i, ctx := range ctxs {
			err := ended(t, ctx)
			late := a.reading().Now.Sub(p.Deadline(levels[i]))
			switch {
			case err == nil && levels[i] < a.suspectLevel && late > 2*a.Grid():
				t.Fatalf("level %v: goes on %v after its deadline", levels[i], late)
			case err != nil && late < 0 && p.State() != Failed:
				t.Fatalf("level %v: ended %v before its deadline: %v", levels[i], -late, err)
			case err != nil && levels[i] < a.suspectLevel && err.Cause != Silence:
				t.Fatalf("level %v: ended by %v", levels[i], err)
			case err != nil && err.Suspicion < levels[i] && err.State != Failed:
				t.Fatalf("level %v: ended at suspicion %v", levels[i], err.Suspicion)
			case (err == nil) != (p.State() != Failed && p.State() != Suspect) && levels[i] == a.suspectLevel:
				t.Fatalf("the level of Suspect: ended %v while the peer is %v", err, p.State())
			}
		}
		if p.State() == Suspect { // it holds already
			wantEnd(t, "a context of a suspect", contextOf(p, a.suspectLevel), Suspect, Silence)
		}
	}
	for i, ctx := range ctxs {
		if ended(t, ctx) == nil {
			t.Errorf("level %v: goes on though the peer is %v", levels[i], p.State())
		}
	}
}

// A level that the present suspicion reaches ends the context at once; one that is no number does, too.
func TestContextHasEndedAlready(t *testing.T) {
	w, _, _, p := pair(t, Config{})
	w.run(time.Second)
	for _, level := range []float64{0, -1, math.Inf(-1), math.NaN()} {
		wantEnd(t, "an alive peer", contextOf(p, level), Alive, Silence)
	}
	if err := wantEnd(t, "no peer", contextOf(Peer{}, 1), Unknown, NoCause); err.Error() != "engine: no peer" {
		t.Error(err)
	}
	parent, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("no more")
	cancel(cause)
	if ctx, _ := p.Context(parent, 1); !errors.Is(context.Cause(ctx), cause) {
		t.Errorf("cause %v, not the parent's", context.Cause(ctx))
	}
}

// A peer that was never heard has no suspicion, and its first contact is no restart. That it is failed
// without a contact ends the context.
func TestContextOfAPeerThatConnects(t *testing.T) {
	w := newWorld(t, 1)
	a, b, c := w.start(Config{}), w.start(Config{}), w.start(Config{})
	p, q := a.watch(b), a.watch(c)
	for _, x := range []Peer{p, q} { // before the loop has seen them
		if err := ended(t, contextOf(x, 0.1)); err != nil {
			t.Fatal(err)
		}
	}
	ctxP, ctxQ := contextOf(p, never), contextOf(q, 0.1)
	c.host.Crash()
	w.run(500 * time.Millisecond)
	late := contextOf(q, 0.1)
	b.watch(a)
	w.run(10 * time.Second)
	if err := ended(t, ctxP); err != nil || p.State() != Alive {
		t.Errorf("a first contact ended it: %v", err)
	}
	wantEnd(t, "never heard", ctxQ, Failed, NeverHeard)
	wantEnd(t, "never heard", late, Failed, NeverHeard)
}

// The cancel function forgets a context, and so does the end of its parent; a deadline of the parent is the
// context's. What is forgotten is not followed for long.
func TestContextIsForgotten(t *testing.T) {
	w, a, _, p := pair(t, Config{})
	parent, end := context.WithCancel(context.Background())
	ctx, cancel := p.Context(context.Background(), never)
	child, _ := p.Context(parent, never)
	cancel()
	cancel()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled with cause %v", err)
	}
	if n := len(a.contexts.peers[p.slot].waiting); n != 1 {
		t.Errorf("%d contexts after one of two was cancelled", n)
	}
	end()
	if err := context.Cause(child); !errors.Is(err, context.Canceled) {
		t.Errorf("the parent's end gave cause %v", err)
	}
	w.run(4 * time.Second)
	if n := len(a.contexts.peers); n != 0 || a.contexts.on.Load() {
		t.Errorf("%d peers are followed without a context", n)
	}
	again := contextOf(p, never)
	w.run(4 * time.Second)
	if err := ended(t, again); err != nil {
		t.Error(err)
	}
}

// Pauses of this node end no context: of its process, and of its whole machine.
func TestContextOutlivesOwnPauses(t *testing.T) {
	for what, pause := range map[string]func(w *world, a *node){
		"process": func(w *world, a *node) { a.host.Stop(); w.run(3 * time.Second); a.host.Continue() },
		"machine": func(w *world, a *node) { a.host.Pause(false); w.run(3 * time.Second); a.host.Resume() },
		"machine that keeps datagrams": func(w *world, a *node) {
			a.host.Pause(true)
			w.run(3 * time.Second)
			a.host.Resume()
		},
	} {
		w, a, _, p := pair(t, Config{})
		w.run(5 * time.Second)
		level := 0.8 * a.suspectLevel
		before := contextOf(p, level)
		pause(w, a)
		after := contextOf(p, level) // before the engine has turned
		w.run(5 * time.Second)
		for _, ctx := range []context.Context{before, after} {
			if err := ended(t, ctx); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

// The goroutine that ends contexts may stand still while the loops run. What it misses is no evidence for as long
// again, neither against the contexts that it finds nor against those that are made before it goes on.
func TestContextOutlivesPausesOfItsGoroutine(t *testing.T) {
	w, a, b, p := pair(t, Config{Period: time.Second})
	w.run(60 * time.Second)
	level := 0.6 * a.suspectLevel
	before := contextOf(p, level)
	w.run(100 * time.Millisecond)
	w.Cut(b.host, a.host)
	a.contexts.on.Store(false) // as if it did not come to run
	at, suspect := p.Deadline(level), p.Deadline(a.suspectLevel)
	w.run(at.Sub(w.now()) + suspect.Sub(at)/2)
	if p.State() != Alive || p.Suspicion() < level || w.now().Sub(at) < 10*time.Millisecond {
		t.Fatalf("%v, suspicion %v, %v after the deadline", p, p.Suspicion(), w.now().Sub(at))
	}
	after := contextOf(p, level)
	a.contexts.on.Store(true)
	for _, ctx := range []context.Context{before, after} {
		if err := ended(t, ctx); err != nil {
			t.Errorf("before the goroutine goes on: %v", err)
		}
	}
	a.contexts.hurry()
	w.run(20 * time.Millisecond)
	for _, ctx := range []context.Context{before, after} {
		if err := ended(t, ctx); err != nil {
			t.Errorf("as soon as it goes on: %v", err)
		}
	}
	w.run(time.Minute)
	for _, ctx := range []context.Context{before, after} {
		if ended(t, ctx) == nil {
			t.Error("the context goes on")
		}
	}
}

// A local fault is a suspicion of just the level of Suspect, as Peer.Suspicion says.
func TestContextFollowsLocalFaults(t *testing.T) {
	w, a, _, p := pair(t, Config{})
	at, above := contextOf(p, a.suspectLevel), contextOf(p, a.suspectLevel+0.1)
	a.host.Unplugged = true
	w.run(2 * time.Second)
	if p.State() != Suspect || !p.Stats().Cause.local() || p.Suspicion() != a.suspectLevel {
		t.Fatalf("%v, cause %v, suspicion %v", p, p.Stats().Cause, p.Suspicion())
	}
	wantEnd(t, "at the level of Suspect", at, Suspect, p.Stats().Cause)
	if err := ended(t, above); err != nil {
		t.Errorf("above it: %v", err)
	}
}

// A failure that is over before anybody looks has ended the contexts all the same, as has a goodbye.
func TestContextEndsByWhatIsOver(t *testing.T) {
	for _, test := range []struct {
		what  string
		do    func(w *world, a, b *node)
		state State
	}{
		{"failure", func(w *world, a, b *node) {
			w.Cut(b.host, a.host)
			w.run(5 * time.Second)
			w.Heal(b.host, a.host)
		}, Failed},
		{"goodbye", func(w *world, a, b *node) {
			b.remove(b.watched(a))
			w.run(time.Second)
			b.watch(a)
		}, Left},
	} {
		w, a, b, p := pair(t, Config{})
		ctx := contextOf(p, never)
		a.contexts.on.Store(false) // as if the goroutine did not come to run
		test.do(w, a, b)
		w.run(3 * time.Second)
		if p.State() != Alive || ended(t, ctx) != nil {
			t.Fatalf("%s: %v, context %v", test.what, p, ended(t, ctx))
		}
		after := contextOf(p, never)
		wantEnd(t, test.what, ctx, test.state, ReachableAgain)
		w.run(2 * time.Second)
		if err := ended(t, after); err != nil {
			t.Errorf("%s: a context from after it: %v", test.what, err)
		}
	}
}

// Whatever happens, a context that ends had to, and one that had to has ended.
func TestContextsByChance(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(t, seed)
		r := rand.New(rand.NewPCG(seed, 1))
		a := w.start(Config{})
		var peers []Peer
		var others []*node
		for range 5 {
			b := w.start(Config{})
			peers, others = append(peers, a.watch(b)), append(others, b)
			b.watch(a)
		}
		w.run(3 * time.Second)
		type kept struct {
			ctx         context.Context
			p           Peer
			level       float64
			incarnation uint64
			cancel      context.CancelFunc
		}
		var all []kept
		for range 200 {
			i := r.IntN(len(peers))
			switch r.IntN(12) {
			case 0:
				w.Cut(others[i].host, a.host)
			case 1, 2:
				w.Heal(others[i].host, a.host)
			case 3:
				others[i].Reincarnate()
			case 4:
				if len(all) > 0 {
					all[r.IntN(len(all))].cancel()
				}
			default:
				level := r.Float64() * 1.2 * a.failLevel
				ctx, cancel := peers[i].Context(context.Background(), level)
				all = append(all, kept{ctx, peers[i], level, peers[i].Summary().Incarnation, cancel})
			}
			w.run(time.Duration(r.IntN(300)) * time.Millisecond)
			for _, k := range all {
				s := k.p.Summary()
				if over := s.State == Failed || s.State == Left || s.Incarnation != k.incarnation || s.Suspicion(a.Detector()) >= k.level && s.ReadTo >= s.Grace; k.ctx.Err() == nil && over {
					w.run(2 * a.Grid())
					if k.p.Suspicion() >= k.level && k.ctx.Err() == nil {
						t.Fatalf("seed %d: level %v goes on: %+v", seed, k.level, s)
					}
				}
				if err := context.Cause(k.ctx); k.ctx.Err() != nil && !errors.Is(err, context.Canceled) {
					if err := ended(t, k.ctx); err.State != Failed && err.Cause != Restarted && !(err.Suspicion >= k.level) {
						t.Fatalf("seed %d: level %v ended by %v", seed, k.level, err)
					}
				}
			}
		}
	}
}

// On sockets, one goroutine ends the contexts of all peers, and ends itself when there are none; the end of
// the engine ends them. Callers come from everywhere at once.
func TestContextsOnSockets(t *testing.T) {
	a, b := open(t, Config{Period: 10 * time.Millisecond}), open(t, Config{Period: 10 * time.Millisecond})
	events := a.Subscribe()
	p, err := a.AddPeer(PeerConfig{Addr: b.Addrs()[0]})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.AddPeer(PeerConfig{Addr: a.Addrs()[0]}); err != nil {
		t.Fatal(err)
	}
	await(t, events, FirstContact)
	goroutines := runtime.NumGoroutine()
	ctxs := make([]context.Context, 1000)
	cancels := make([]context.CancelFunc, len(ctxs))
	for i := range ctxs {
		ctxs[i], cancels[i] = p.Context(context.Background(), never)
	}
	if n := runtime.NumGoroutine(); n > goroutines+1 {
		t.Errorf("%d goroutines more for 1000 contexts", n-goroutines)
	}
	for _, cancel := range cancels[:500] {
		cancel()
	}
	churn(p)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, events, awaitDeath(false))
	select {
	case <-ctxs[999].Done():
	case <-time.After(10 * time.Second):
		t.Fatalf("goes on though the peer is %v", p)
	}
	if err := ended(t, ctxs[500]); err == nil || err.ID != b.ID() {
		t.Errorf("ended by %v", err)
	}
	for end := time.Now().Add(10 * time.Second); a.contexts.on.Load() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if a.contexts.on.Load() {
		t.Error("the goroutine runs without contexts")
	}
	q, err := a.AddPeer(PeerConfig{Addr: b.Addrs()[0], ID: 7})
	if err != nil {
		t.Fatal(err)
	}
	last := contextOf(q, never)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, "close", last, Removed, Closed)
	wantEnd(t, "a closed engine", contextOf(q, never), Removed, Closed)
}

// churn makes and ends contexts of p on several goroutines.
func churn(p Peer) {
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 200 {
				parent, end := context.WithCancel(context.Background())
				_, cancel := p.Context(parent, float64(g*i)/100)
				if i%2 == 0 {
					end()
				}
				cancel()
				end()
			}
		})
	}
	all.Wait()
}

// A context of a peer beside 10,000 others of 1000 peers: made and cancelled, as for one request.
func BenchmarkPeerContext(b *testing.B) {
	e, err := Open(Config{Manual: true, Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	peers := make([]Peer, 1000)
	for i := range peers {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), 9)
		if peers[i], err = e.AddPeer(PeerConfig{Addr: addr}); err != nil {
			b.Fatal(err)
		}
	}
	r := clock.Read()
	if _, err := e.Turn(r); err != nil {
		b.Fatal(err)
	}
	level, _ := e.StateLevels()
	for i := range 10_000 {
		p := peers[i%len(peers)]
		p.Hear(&detect.Heartbeat{Period: 100 * time.Millisecond, Sequence: uint64(i/len(peers) + 1), Arrival: r.Now})
		if ctx := contextOf(p, level); ctx.Err() != nil {
			b.Fatal(context.Cause(ctx))
		}
	}
	e.ShowRead(clock.Now())
	parent, end := context.WithCancel(context.Background())
	defer end()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		_, cancel := peers[i%len(peers)].Context(parent, level)
		cancel()
		i++
	}
}
