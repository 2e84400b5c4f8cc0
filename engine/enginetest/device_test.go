package enginetest_test

import (
	"fmt"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/clock"
	"systole/engine/detect/published"
	"systole/engine/enginetest"
)

// watchedPair returns two hosts that watch each other. The device of the first takes up to n heartbeats.
func watchedPair(t *testing.T, n int, change func(a, b *enginetest.Host)) (w *enginetest.World, a, b *enginetest.Host, p engine.Peer) {
	t.Helper()
	w = enginetest.NewWorld(1)
	a, b = w.AddHost("a"), w.AddHost("b")
	a.SetTakes(n)
	if change != nil {
		change(a, b)
	}
	var peers [2]engine.Peer
	for i, h := range []*enginetest.Host{a, b} {
		e, err := h.Open(engine.Config{ID: uint64(i) + 1, Window: 64})
		if err != nil {
			t.Fatal(err)
		}
		if peers[i], err = e.AddPeer(engine.PeerConfig{Addr: []*enginetest.Host{b, a}[i].Addr()}); err != nil {
			t.Fatal(err)
		}
	}
	return w, a, b, peers[0]
}

// Heartbeats that the device takes are heard, at their arrivals, and judged as if a socket had had them.
func TestTakenHeartbeats(t *testing.T) {
	for _, room := range []int{1, 4} {
		w, a, b, p := watchedPair(t, room, nil)
		w.Run(10 * time.Second)
		s := a.Engine().Stats()
		if s.Stamps.Taken < 90 || s.Stamps.Taken+5 < s.Heartbeats.Accepted || p.State() != engine.Alive || p.Suspicion() > 1 {
			t.Errorf("room for %d: %v, %+v", room, p, s)
		}
		var samples [64]engine.Sample
		n, _ := p.Samples(samples[:])
		for i, x := range samples[:n] {
			if x.Source != clock.BPF || x.Read+x.Host != 0 || i > 0 && x.Sequence != samples[i-1].Sequence+1 {
				t.Fatalf("room for %d: sample %d is %+v", room, i, x)
			}
		}
		silent := p.Stats().LastArrival
		granted := p.Stats().Granted
		b.Crash()
		w.Run(10 * time.Second)
		late := p.Stats().Since - silent.Add(granted)
		if p.State() != engine.Failed || late < 0 || p.Stats().LostIn > 0 {
			t.Errorf("room for %d: %v after a crash, %+v", room, p, p.Stats())
		}
		held(t, w)
	}
}

// The device goes on while the process stands still, so its stop is no evidence against the peer. What
// finds no room goes to the socket.
func TestTakenDuringStop(t *testing.T) {
	w, a, _, p := watchedPair(t, 3, nil)
	w.Run(3 * time.Second)
	a.Stop()
	w.Run(2 * time.Second)
	a.Continue()
	w.Run(time.Second)
	s := p.Stats()
	if s.State != engine.Alive || s.Mistakes > 0 || s.LostIn > 0 || s.Reordered > 0 {
		t.Errorf("%+v", s)
	}
	held(t, w)
}

// A device stamps what it leaves to the socket, also where the kernel stamps nothing.
func TestDeviceStamps(t *testing.T) {
	w, a, b, p := watchedPair(t, 1, func(a, b *enginetest.Host) { a.SetStamps(false) })
	b.Engine().SetDegraded(true) // a flag, so that the device leaves the heartbeats to the socket
	w.Run(2 * time.Second)
	var last [1]engine.Sample
	if n, _ := p.Samples(last[:]); n != 1 || last[0].Source != clock.BPF || a.Engine().Stats().Stamps.Taken > 0 {
		t.Errorf("%+v, %+v", last, a.Engine().Stats())
	}
	held(t, w)
}

// The device's hand-offs tell the peer how long a heartbeat waited in the host's queue.
func TestDeviceHandsOff(t *testing.T) {
	w, a, b, p := watchedPair(t, 4, nil)
	w.Run(2 * time.Second)
	back := b.Engine().Snapshot(nil)
	if len(back) != 1 || back[0].SendWait == 0 || back[0].SendWait > time.Millisecond {
		t.Fatalf("without a queue: %+v", back)
	}
	a.HoldSends(30 * time.Millisecond)
	w.Run(300 * time.Millisecond)
	longest := time.Duration(0)
	for range 10 {
		a.HoldSends(60 * time.Millisecond)
		w.Run(100 * time.Millisecond)
		longest = max(longest, b.Engine().Snapshot(nil)[0].SendWait)
	}
	if longest < 10*time.Millisecond || longest > 60*time.Millisecond || p.State() != engine.Alive {
		t.Errorf("heartbeats that waited up to 60 ms: %v told, %v", longest, p)
	}
	if s := a.Engine().Stats(); s.Stamps.SendsStamped == 0 || s.Stamps.SendsRefused > 0 || b.Engine().Stats().Stamps.FollowUps == 0 {
		t.Errorf("%+v", s)
	}
	held(t, w)
}

// A stranger gets no more datagrams than it sends. What a device has taken of it counts: the stranger gets
// its goodbye, however soon after it was admitted.
func TestTakenHeartbeatsPayForGoodbyes(t *testing.T) {
	for _, room := range []int{0, 4} {
		for after := time.Duration(0); after < 250*time.Millisecond; after += 10 * time.Millisecond {
			w := enginetest.NewWorld(1)
			server, client := w.AddHost("server"), w.AddHost("client")
			server.SetTakes(room)
			serving, err := server.Open(engine.Config{Accept: engine.Accept{Anyone: true}})
			if err != nil {
				t.Fatal(err)
			}
			watching, err := client.Open(engine.Config{})
			if err != nil {
				t.Fatal(err)
			}
			p, err := watching.AddPeer(engine.PeerConfig{Addr: server.Addr()})
			if err != nil {
				t.Fatal(err)
			}
			for p.State() != engine.Alive && w.Now() < time.Second {
				w.Run(time.Millisecond)
			}
			w.Run(after)
			if err := serving.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			if w.Run(time.Second); p.State() != engine.Left {
				t.Errorf("room for %d, shutdown after %v: %v", room, after, p)
			}
			held(t, w)
		}
	}
}

// Taken heartbeats wake no loop, however many peers there are: what is read of one is read while the loop is
// awake for others.
func TestTakenHeartbeatsWakeNobody(t *testing.T) {
	turns := func(room int) uint64 {
		const peers, period = 40, 100 * time.Millisecond
		w := enginetest.NewWorld(1)
		watcher := w.AddHost("watcher")
		watcher.SetTakes(room)
		e, err := watcher.Open(engine.Config{Period: time.Second, Detector: published.Fixed(3, 0)})
		if err != nil {
			t.Fatal(err)
		}
		for i := range peers {
			host := w.AddHost(fmt.Sprint("host", i))
			watched, err := host.Open(engine.Config{Period: period})
			if err == nil {
				_, err = watched.AddPeer(engine.PeerConfig{Addr: watcher.Addr()})
			}
			if err == nil {
				_, err = e.AddPeer(engine.PeerConfig{Addr: host.Addr()})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		w.Run(10 * time.Second)
		before := e.Stats()
		w.Run(5 * time.Second)
		after := e.Stats()
		if taken := after.Stamps.Taken - before.Stamps.Taken; (taken > 1000) != (room > 0) {
			t.Errorf("room for %d: %d taken", room, taken)
		}
		held(t, w)
		return after.Loop.Turns - before.Loop.Turns
	}
	if socket, device := turns(0), turns(4); device > socket {
		t.Errorf("%d turns by the socket, %d by the device", socket, device)
	}
}

// A port that refuses is evidence against a process only after what it sent before was read: not before a
// long backlog.
func TestRefusalAfterTheBacklog(t *testing.T) {
	w, a, b, p := watchedPair(t, 0, nil)
	w.Run(2 * time.Second)
	a.SetReadTime(100 * time.Microsecond)
	a.Stop()
	a.Flood(3900, time.Millisecond)
	w.Run(300 * time.Millisecond)
	b.Kill()
	w.Run(100 * time.Millisecond)
	a.Continue()
	w.Run(2 * time.Second)
	for _, s := range w.Events() {
		if s.Host == "a" && s.Event.Cause == engine.ReachableAgain {
			t.Errorf("%v", s)
		}
	}
	if p.State() != engine.Failed {
		t.Errorf("%v", p)
	}
	held(t, w)
}
