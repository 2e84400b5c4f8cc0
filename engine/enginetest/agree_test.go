package enginetest_test

import (
	"fmt"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/enginetest"
	"systole/engine/enginetest/netmodel"
	"systole/engine/internal/network"
)

// agreement is what two runs of one story are compared by.
type agreement struct {
	transitions []string // of the first host, then of the second
	at          []time.Duration
	peers       [2]engine.PeerStats
	taken       uint64
}

// tell runs a story of two hosts that watch each other, whose devices take up to n heartbeats.
func tell(t *testing.T, n int, story func(w *enginetest.World, a, b *enginetest.Host)) (out agreement) {
	t.Helper()
	w := enginetest.NewWorld(7)
	w.SetLinks(netmodel.Link{Delay: netmodel.Distribution{Base: time.Millisecond}})
	hosts := []*enginetest.Host{w.AddHost("a"), w.AddHost("b")}
	for i, h := range hosts {
		h.SetTakes(n)
		e, err := h.Open(engine.Config{ID: uint64(i) + 1, Period: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.AddPeer(engine.PeerConfig{Addr: hosts[1-i].Addr()}); err != nil {
			t.Fatal(err)
		}
	}
	story(w, hosts[0], hosts[1])
	for _, h := range hosts {
		for _, s := range w.Events() {
			if s.Host == h.Name() && s.Event.Cause != engine.NoCause {
				out.transitions = append(out.transitions, fmt.Sprintf("%s: %v → %v, %v", s.Host, s.Event.From, s.Event.To, s.Event.Cause))
				out.at = append(out.at, s.At)
			}
		}
	}
	for i, h := range hosts {
		if e := h.Engine(); e != nil {
			out.peers[i] = e.Snapshot(nil)[0]
			out.taken += e.Stats().Stamps.Taken
		}
	}
	held(t, w)
	return out
}

// The same stories, with heartbeats that a device takes and without, have the same transitions, losses,
// round trips and margins.
func TestTakenAgreesWithSocket(t *testing.T) {
	for name, story := range map[string]func(w *enginetest.World, a, b *enginetest.Host){
		"quiet": func(w *enginetest.World, _, _ *enginetest.Host) { w.Run(20 * time.Second) },
		"crash": func(w *enginetest.World, a, b *enginetest.Host) {
			w.Run(5 * time.Second)
			b.Crash()
			w.Run(5 * time.Second)
		},
		"stop of the peer": func(w *enginetest.World, a, b *enginetest.Host) {
			w.Run(5 * time.Second)
			b.Stop()
			w.Run(300 * time.Millisecond)
			b.Continue()
			w.Run(5 * time.Second)
		},
		"own stop": func(w *enginetest.World, a, b *enginetest.Host) {
			w.Run(5 * time.Second)
			a.Stop()
			w.Run(time.Second)
			a.Continue()
			w.Run(5 * time.Second)
		},
		"cut both ways, healed": func(w *enginetest.World, a, b *enginetest.Host) {
			w.Run(5 * time.Second)
			w.Partition(a)
			w.Run(3 * time.Second)
			w.HealAll()
			w.Run(5 * time.Second)
		},
		"no route": func(w *enginetest.World, a, b *enginetest.Host) {
			w.Run(5 * time.Second)
			a.RefuseSends(network.NoRoute)
			w.Run(2 * time.Second)
			a.RefuseSends(network.Sent)
			w.Run(5 * time.Second)
		},
		"one way": func(w *enginetest.World, a, b *enginetest.Host) {
			w.Run(5 * time.Second)
			w.Cut(a, b)
			w.Run(2 * time.Second)
			w.Heal(a, b)
			w.Run(5 * time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			socket, device := tell(t, 0, story), tell(t, 4, story)
			if socket.taken > 0 || device.taken < 50 {
				t.Fatalf("%d heartbeats were taken without a device, %d with one", socket.taken, device.taken)
			}
			agree(t, &socket, &device)
		})
	}
}

// agree compares two runs. A taken heartbeat is read when the peer is judged or sent to, at most a period
// late, so what it brings about is that much later.
func agree(t *testing.T, socket, device *agreement) {
	t.Helper()
	const period = 50 * time.Millisecond
	if fmt.Sprint(socket.transitions) != fmt.Sprint(device.transitions) {
		t.Fatalf("by the socket:\n%q\nby the device:\n%q", socket.transitions, device.transitions)
	}
	for i, at := range device.at {
		if late := at - socket.at[i]; late < -period || late > period+4*time.Millisecond {
			t.Errorf("%s: %v later by the device", device.transitions[i], late)
		}
	}
	for i := range socket.peers {
		s, d := &socket.peers[i], &device.peers[i]
		if s.LostIn != d.LostIn || s.LostOut != d.LostOut || s.Mistakes != d.Mistakes || s.Failures != d.Failures || s.Reordered != d.Reordered {
			t.Errorf("by the socket %+v\nby the device %+v", s, d)
		}
		if s.Received > d.Received+2 || d.Received > s.Received+2 {
			t.Errorf("%d heartbeats by the socket, %d by the device", s.Received, d.Received)
		}
		if s.LeastRoundTrip != d.LeastRoundTrip || s.Granted > d.Granted*11/10 || d.Granted > s.Granted*11/10 {
			t.Errorf("by the socket round trip %v, granted %v; by the device %v, %v",
				s.LeastRoundTrip, s.Granted, d.LeastRoundTrip, d.Granted)
		}
	}
}
