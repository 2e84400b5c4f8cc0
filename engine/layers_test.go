package engine

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"systole/engine/detect/published"
)

// Two engines watch each other over the sockets of Linux and over the portable ones, and over the latter
// at both ends. Where there are no others, both pairs are portable.
func TestLayers(t *testing.T) {
	for _, layers := range [][2]bool{{true, false}, {false, true}, {true, true}} {
		for _, local := range []string{"127.0.0.1:0", "[::1]:0"} {
			t.Run(fmt.Sprint(local, " portable ", layers), func(t *testing.T) { watchedLife(t, layers, local) })
		}
	}
}

// watchedLife has a watch b through first contact, death, restart and goodbye.
func watchedLife(t *testing.T, portable [2]bool, local string) {
	cfg := func(i int, listen netip.AddrPort) Config {
		return Config{
			ID: uint64(i + 1), Listen: []netip.AddrPort{listen}, Period: 10 * time.Millisecond, portable: portable[i],
			Detector: published.Fixed(10, 0), ConnectTimeout: 10 * time.Second, Accept: Accept{Anyone: i == 1},
		}
	}
	a, b := open(t, cfg(0, netip.MustParseAddrPort(local))), open(t, cfg(1, netip.MustParseAddrPort(local)))
	events, at := a.Subscribe(), b.Addrs()[0]
	p, err := a.AddPeer(PeerConfig{Addr: at})
	if err != nil {
		t.Fatal(err)
	}
	await(t, events, FirstContact)
	b.SetProgress(7)
	eventually(t, "heartbeats both ways", func() bool {
		s := p.Stats()
		return s.State == Alive && s.Received > 10 && s.RoundTrip > 0 && s.Progress == 7
	})
	for i, e := range []*Engine{a, b} {
		want := "linux"
		if portable[i] || onlyPortable {
			want = "portable"
		}
		if s := e.Stats(); s.Sockets.Layer != want || s.Refused.Faults != [len(s.Refused.Faults)]uint64{} || s.Sockets.RecvBuffer.Granted <= 0 {
			t.Errorf("engine %d: %+v", i, s)
		}
	}
	b.Close()
	if ev := await(t, events, awaitDeath(portable[0])); ev.To != Suspect {
		t.Errorf("after the death: %+v", ev)
	}
	eventually(t, "failed", func() bool { return p.State() == Failed })
	b = open(t, cfg(1, at))
	if _, err := b.AddPeer(PeerConfig{Addr: a.Addrs()[0]}); err != nil {
		t.Fatal(err)
	}
	await(t, events, Restarted)
	eventually(t, "alive again", func() bool { return p.State() == Alive })
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := b.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	await(t, events, Goodbye)
}

// awaitDeath returns the cause that shows the death of a process: portable sockets report no refused port.
func awaitDeath(portable bool) Cause {
	if portable || onlyPortable {
		return Silence
	}
	return PortUnreachable
}

// Portable sockets refuse what needs Linux, and a peer that needs an interface or another address.
func TestPortableRefuses(t *testing.T) {
	c := Config{Shards: 2, portable: true}
	if err := c.Validate(); err == nil {
		t.Error("two shards on one port")
	}
	e := open(t, Config{portable: true})
	for _, bad := range []PeerConfig{{Device: "lo"}, {Local: netip.MustParseAddr("127.0.0.9")}} {
		bad.Addr = netip.MustParseAddrPort("127.0.0.1:9")
		if _, err := e.AddPeer(bad); err == nil {
			t.Errorf("%+v was added", bad)
		}
	}
	if fds := e.Descriptors(); fds != nil {
		t.Errorf("descriptors %v", fds)
	}
}

// The loop of portable sockets wakes in time, and sleeps while there is nothing to do.
func TestPortableLoopSleeps(t *testing.T) {
	e := open(t, Config{portable: true, Period: 10 * time.Millisecond, Accept: Accept{Anyone: true}})
	b := open(t, Config{portable: true, Period: 10 * time.Millisecond})
	p, err := b.AddPeer(PeerConfig{Addr: e.Addrs()[0]})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a hundred heartbeats", func() bool { return p.Stats().Received > 100 })
	s := b.Stats()
	if perHeartbeat := s.Loop.Turns / s.Heartbeats.Sent; perHeartbeat > 8 {
		t.Errorf("%d turns for %d heartbeats", s.Loop.Turns, s.Heartbeats.Sent)
	}
	t.Logf("late: %v; %d turns for %d heartbeats each way, %d calls", s.Loop.Lateness, s.Loop.Turns, s.Heartbeats.Sent, s.Loop.Calls)
}

// A short buffer's remedy is that of the system and of its sockets.
func TestRemediesOfShortBuffers(t *testing.T) {
	for _, c := range []struct{ system, layer, want string }{
		{"linux", "linux", "; raise net.core.rmem_max or give CAP_NET_ADMIN"},
		{"linux", "portable", "; raise net.core.rmem_max"},
		{"darwin", "portable", "; raise kern.ipc.maxsockbuf"},
		{"freebsd", "portable", "; raise kern.ipc.maxsockbuf"},
		{"windows", "portable", ""},
	} {
		if got := moreBuffer(c.system, c.layer, "net.core.rmem_max"); got != c.want {
			t.Errorf("%s, %s sockets: %q", c.system, c.layer, got)
		}
	}
}
