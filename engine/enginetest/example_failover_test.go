package enginetest_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/enginetest"
	"systole/engine/enginetest/netmodel"
)

// server works with a primary, and with a standby once the primary is given up. It has no goroutine and reads no
// clock: a program calls tick from a ticker, a test from Host.Every.
type server struct {
	active, standby engine.Peer
	level           float64         // of suspicion at which the active one is given up
	trust           context.Context // ends when the active one is given up
	forget          context.CancelFunc
	doubted         clock.Instant // when it was; 0: it is not
	inTouch         clock.Instant // since when the standby is alive without a break; 0: it is not
	failovers       int
}

// newServer returns a server that works with the primary.
func newServer(primary, standby engine.Peer, level float64) *server {
	s := &server{active: primary, standby: standby, level: level}
	s.renew()
	return s
}

// renew begins to trust the active one, as it is now.
func (s *server) renew() {
	if s.forget != nil {
		s.forget()
	}
	s.trust, s.forget = s.active.Context(context.Background(), s.level)
	s.doubted = 0
}

// patience is for how long a standby must be in touch before it takes over: after this server was cut off itself,
// the active one may be heard a moment later.
const patience = time.Second

// tick fails over if the active one was given up, and the standby was heard since. That the standby was heard
// since shows that this server is not cut off: then both would be silent, one just sooner given up.
func (s *server) tick(now clock.Instant) {
	if s.standby.State() != engine.Alive {
		s.inTouch = 0
	} else if s.inTouch == 0 {
		s.inTouch = now
	}
	switch {
	case s.trust.Err() == nil:
	case s.doubted == 0:
		s.doubted = now
	case s.active.State() == engine.Alive:
		s.renew() // it is back, and nobody else has its work
	case s.inTouch != 0 && now.Sub(s.inTouch) >= patience && s.standby.Stats().LastArrival > s.doubted:
		s.active, s.standby, s.inTouch = s.standby, s.active, 0
		s.failovers++
		s.renew()
	}
}

// The primary of a server is cut off for ten seconds. The world is of one seed; a test runs many.
func Example_failover() {
	w, s := failoverWorld(1)
	primary := s.active
	w.At(10*time.Second, func() { w.Partition(w.Host("primary")) })
	w.At(20*time.Second, w.HealAll)
	for range 3 {
		w.Run(10 * time.Second)
		fmt.Println("after", w.Now(), "the primary is", primary.State(), "and fail-overs:", s.failovers)
	}
	// Output:
	// after 10s the primary is alive and fail-overs: 0
	// after 20s the primary is failed and fail-overs: 1
	// after 30s the primary is alive and fail-overs: 1
}

// failoverWorld returns a world with a server, its primary and its standby, on links that lose heartbeats.
func failoverWorld(seed uint64) (*enginetest.World, *server) {
	w := enginetest.NewWorld(seed)
	w.SetLinks(netmodel.Link{
		Delay: netmodel.Distribution{Kind: "lognormal", Base: time.Millisecond, Spread: 300 * time.Microsecond},
		Loss:  0.01,
	})
	host := w.AddHost("server")
	cfg := engine.Config{Period: 50 * time.Millisecond}
	e, err := host.Open(cfg)
	if err != nil {
		log.Fatal(err)
	}
	var peers []engine.PeerConfig
	for _, name := range []string{"primary", "standby"} {
		other, err := w.AddHost(name).Open(cfg)
		if err != nil {
			log.Fatal(err)
		}
		if _, err := other.AddPeer(engine.PeerConfig{Name: "server:7853"}); err != nil {
			log.Fatal(err)
		}
		peers = append(peers, engine.PeerConfig{Name: name + ":7853"})
	}
	watched, err := e.AddPeers(context.Background(), peers)
	if err != nil {
		log.Fatal(err)
	}
	suspect, _ := e.StateLevels()
	s := newServer(watched[0], watched[1], suspect)
	host.Every(10*time.Millisecond, func() { s.tick(host.Clock().Now) })
	return w, s
}
