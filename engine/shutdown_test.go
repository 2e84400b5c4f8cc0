package engine

import (
	"context"
	"errors"
	"testing"
	"time"

	"systole/engine/clock"
)

// within fails the test if there is no result within a few seconds.
func within(t *testing.T, d time.Duration, results <-chan error) error {
	t.Helper()
	select {
	case err := <-results:
		return err
	case <-time.After(d):
		t.Fatal("it does not return")
		return nil
	}
}

// Concurrent calls of Shutdown each return after all goodbyes.
func TestShutdownTwice(t *testing.T) {
	e := open(t, Config{Shards: atMost(3)})
	results := make(chan error, 4)
	for range cap(results) {
		go func() { results <- e.Shutdown(context.Background()) }()
	}
	said := 0
	for range cap(results) {
		switch err := within(t, 5*time.Second, results); {
		case err == nil:
			said++
		case !errors.Is(err, ErrClosed): // it began when the others had finished
			t.Error(err)
		}
	}
	if said == 0 {
		t.Error("nobody saw the goodbyes through")
	}
	if err := e.Shutdown(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("of a closed engine: %v", err)
	}
}

// Close ends a running Shutdown. Only one of the two closes the engine.
func TestShutdownAndClose(t *testing.T) {
	for range 20 {
		e := open(t, Config{})
		results := make(chan error, 2)
		go func() { results <- e.Close() }()
		go func() { results <- e.Shutdown(context.Background()) }()
		for range cap(results) {
			if err := within(t, 5*time.Second, results); err != nil && !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		}
	}
}

// Shutdown of a Manual engine that does not turn waits until Close ends it.
func TestCloseEndsShutdown(t *testing.T) {
	e := open(t, Config{Manual: true})
	result := make(chan error, 1)
	go func() { result <- e.Shutdown(context.Background()) }()
	for end := time.Now().Add(5 * time.Second); e.shards[0].ring.Len() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := within(t, 5*time.Second, result); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// Another goroutine may shut down a Manual engine while its program calls Turn: a running Turn keeps
// its sockets, and the next one returns ErrClosed. The race detector checks this.
func TestShutdownBesideTurns(t *testing.T) {
	for range 50 {
		e := open(t, Config{Manual: true})
		if _, err := e.AddPeer(PeerConfig{Addr: e.Addrs()[0], ID: 5}); err != nil {
			t.Fatal(err)
		}
		turned := make(chan error, 1)
		go func() {
			for {
				if _, err := e.Turn(clock.Read()); err != nil {
					turned <- err
					return
				}
			}
		}()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		if err := e.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		if err := within(t, 5*time.Second, turned); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
}

// An admitted stranger gets a goodbye too, once it has sent more than it got.
func TestGoodbyeToStrangers(t *testing.T) {
	const period = 100 * time.Millisecond
	said := func(after time.Duration) {
		w := newWorld(t, 1)
		server, watcher := w.start(Config{Period: period, Accept: Accept{Anyone: true}}), w.start(Config{Period: period})
		p := watcher.watch(server)
		for p.State() != Alive {
			w.run(10 * time.Microsecond)
		}
		w.run(after)
		if err := server.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		w.run(period)
		if s := p.Stats(); s.State != Left {
			t.Errorf("%v after the first contact: %v, %v", after, s.State, s.Cause)
		}
	}
	for step := range 50 {
		said(20*time.Millisecond + time.Duration(step)*period/50)
		said(2*time.Second + time.Duration(step)*period/50)
	}
}

// A peer that is alive by a stateless answer only gets a goodbye too.
func TestGoodbyeAfterAnAnswer(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{Accept: Accept{Anyone: true}}), w.start(Config{})
	p := b.watch(a)
	for range 1000 {
		if w.run(100 * time.Microsecond); p.State() == Alive {
			break
		}
	}
	if s := a.Stats(); s.Peers.Watched != 0 {
		t.Fatalf("%d peers already", s.Peers.Watched)
	}
	a.shards[0].startLeaving()
	w.run(100 * time.Millisecond)
	b.want("goodbye", "connecting alive first-contact", "alive left goodbye")
}
