//go:build !systole_portable

package engine

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/clock"
	"systole/engine/detect/published"
	"systole/engine/enginetest/netlab"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
)

// knowsWait waits until p has told how long a heartbeat waited in its host.
func knowsWait(p Peer) bool {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if p.Stats().SendWait > 0 {
			return true
		}
	}
	return false
}

// The kernel's stamps reach the peers over both families, from wildcard and other addresses, with keys, and
// with one loop or several.
func TestFollowUpsOverLoopback(t *testing.T) {
	for _, test := range []struct {
		listen []string
		shards int
		keyed  bool
	}{
		{[]string{"127.0.0.1:0"}, 1, false},
		{[]string{"[::1]:0"}, 1, true},
		{[]string{"0.0.0.0:0", "[::]:0"}, 1, false},
		{[]string{"0.0.0.0:0", "[::]:0"}, 4, true},
	} {
		cfg := Config{Period: 10 * time.Millisecond, StampSends: 2, Shards: test.shards}
		for _, l := range test.listen {
			cfg.Listen = append(cfg.Listen, netip.MustParseAddrPort(l))
		}
		if test.keyed {
			cfg.Keys = ring(t, "1 send")
		}
		a, b := open(t, cfg), open(t, cfg)
		var peers []Peer
		for i, at := range b.Addrs() {
			loopback := []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}[boolInt(at.Addr().Is4())]
			p, err := a.AddPeer(PeerConfig{Addr: netip.AddrPortFrom(loopback, at.Port())})
			if err != nil {
				t.Fatal(err)
			}
			q, err := b.AddPeer(PeerConfig{Addr: netip.AddrPortFrom(loopback, a.Addrs()[i].Port())})
			if err != nil {
				t.Fatal(err)
			}
			peers = append(peers, p, q)
		}
		for _, p := range peers {
			if s := p.Stats(); !knowsWait(p) {
				t.Errorf("%v, %d loops: %v tells nothing: %+v", test.listen, test.shards, s.Addr, s)
			}
		}
		if s := a.Stats(); s.Stamps.SendsStamped == 0 || s.Stamps.SendsRefused > 0 || s.Sockets.Returned > 10 {
			t.Errorf("%v, %d loops: %+v", test.listen, test.shards, s)
		}
		a.Close()
		b.Close()
	}
}

// boolInt is 1 for true.
func boolInt(is bool) int { return int(count(is)) }

// A queue in the sender's host is told as the host's, from a bound address, a wildcard address and through an
// interface.
func TestQueueInTheSendersHost(t *testing.T) {
	lab := netlab.Test(t)
	if err := lab.A.Run("tc", "qdisc", "add", "dev", lab.A.Device, "root", "tbf", "rate", "1mbit", "burst", "1600", "limit", "50000"); err != nil {
		t.Fatal(err)
	}
	for _, listen := range []string{lab.A.Addr, "0.0.0.0", lab.A.Addr6, "::"} {
		host, far := lab.A.Addr, lab.B.Addr
		if strings.Contains(listen, ":") {
			host, far = lab.A.Addr6, lab.B.Addr6
		}
		var a, b *Engine
		cfg := Config{Period: 20 * time.Millisecond, Detector: published.Fixed(1000, 0), StampSends: 1}
		cfg.Listen = []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(listen), 0)}
		if err := lab.A.Do(func() (err error) { a, err = Open(cfg); return err }); err != nil {
			t.Fatal(err)
		}
		cfg.Listen, cfg.StampSends = []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(far), 0)}, 0
		if err := lab.B.Do(func() (err error) { b, err = Open(cfg); return err }); err != nil {
			t.Fatal(err)
		}
		to := PeerConfig{Addr: b.Addrs()[0]}
		if listen == "0.0.0.0" || listen == "::" {
			to.Device = lab.A.Device
		}
		p, err := b.AddPeer(PeerConfig{Addr: netip.AddrPortFrom(netip.MustParseAddr(host), a.Addrs()[0].Port())})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.AddPeer(to); err != nil {
			t.Fatal(err)
		}
		if !knowsWait(p) {
			t.Fatalf("from %v: no follow-up: %+v of %+v", listen, p.Stats(), a.Stats())
		}
		before := p.Stats()
		wait, wire, err := queueIn(lab.A, far, p)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("from %v: %v at the host and %v on the way; before, %v and %v", listen, wait, wire, before.SendWait, before.WireDelay)
		if wait < 40*time.Millisecond || wait > time.Second || wire > wait/2 || before.SendWait > wait/4 {
			t.Errorf("from %v: a queue of 80 ms and more is %v at the host and %v on the way; before, %v", listen, wait, wire, before.SendWait)
		}
		if s := b.Stats(); s.Stamps.FollowUps < 20 || s.Stamps.FollowUpsRefused > s.Stamps.FollowUps/4 {
			t.Errorf("from %v: %d follow-ups, %d refused", listen, s.Stamps.FollowUps, s.Stamps.FollowUpsRefused)
		}
		a.Close()
		b.Close()
	}
}

// queueIn fills the queue of a host's device now and then, and returns the longest wait there that p has
// told, and what that heartbeat took on the way.
func queueIn(h *netlab.Host, far string, p Peer) (wait, wire time.Duration, err error) {
	var flood *udp.Socket
	local := netip.IPv4Unspecified()
	to := network.AddrFrom(netip.AddrPortFrom(netip.MustParseAddr(far), 9))
	if to.Is6() {
		local = netip.IPv6Unspecified()
	}
	err = h.Do(func() (err error) {
		flood, err = udp.Open(udp.Options{Local: netip.AddrPortFrom(local, 0)})
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	defer flood.Close()
	out := udp.NewSender()
	for range 5 {
		for range 10 { // of 8 ms each
			out.Next()
			out.Commit(1000, &to)
		}
		out.Flush(flood)
		out.Reset()
		for end := time.Now().Add(250 * time.Millisecond); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if s := p.Stats(); s.SendWait > wait {
				wait, wire = s.SendWait, s.WireDelay
			}
		}
	}
	return wait, wire, nil
}

// A program with a loop of its own turns once or so for a stamp that comes late: poll(2) reports it until the
// turn has read it.
func TestLateStampsOfManualEngine(t *testing.T) {
	netlab.InNamespace(t, func() {
		netlab.VethPair(t)
		netlab.IP(t, "neigh", "add", "192.0.2.9", "lladdr", "02:00:00:00:00:09", "dev", "a0")
		if err := tc("qdisc", "add", "dev", "a0", "root", "tbf", "rate", "100kbit", "burst", "1600", "limit", "50000"); err != nil {
			t.Error(err)
			return
		}
		e, err := Open(Config{Manual: true, Period: 10 * time.Millisecond, StampSends: 1, ConnectTimeout: time.Hour})
		if err != nil {
			t.Error(err)
			return
		}
		defer e.Close()
		if _, err := e.AddPeer(PeerConfig{Addr: netip.MustParseAddrPort("192.0.2.9:7853")}); err != nil {
			t.Error(err)
			return
		}
		turns, began := 0, time.Now()
		for time.Since(began) < time.Second {
			next, err := e.Turn(clock.Read())
			if err != nil {
				t.Error(err)
				return
			}
			turns++
			pollUntil(e.Descriptors(), next)
		}
		s := e.Stats()
		if s.Stamps.SendsStamped < 10 || s.Stamps.SendsStamped > s.Stamps.SendsSampled-5 || turns > 3*int(s.Heartbeats.Sent)+20 {
			t.Errorf("%d turns for %d heartbeats with %d stamps: %+v", turns, s.Heartbeats.Sent, s.Stamps.SendsStamped, s)
		}
		t.Logf("%d turns for %d heartbeats with %d stamps", turns, s.Heartbeats.Sent, s.Stamps.SendsStamped)
	})
}

// pollUntil waits until a descriptor is readable, or an instant.
func pollUntil(descriptors []int, until clock.Instant) {
	var fds []unix.PollFd
	for _, fd := range descriptors {
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	wait := unix.NsecToTimespec(int64(max(until.Sub(clock.Now()), 0)))
	_, _ = unix.Ppoll(fds, &wait, nil)
}

// tc runs tc(8) in the calling thread's namespace.
func tc(args ...string) error {
	if out, err := exec.Command("tc", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("tc %v: %w: %s", args, err, out)
	}
	return nil
}

// A loop that is busy does not wait for datagrams, so the stamps are read in the turn after the sends, once.
func TestStampsAreReadWithoutWaiting(t *testing.T) {
	n := open(t, Config{Manual: true, StampSends: 1}).shards[0].net.(*sockets)
	to := *n.list[0].LocalAddr()
	n.Commit(0, copy(n.Next(0), "heartbeat"), &to, network.AnySource, 5)
	n.StampSend(0)
	if _, ok := n.NextError(0); ok {
		t.Error("a stamp of what was not sent")
	}
	n.Flush(0)
	before := n.Calls()
	e, ok := n.NextError(0)
	if !ok || e.Stamp == 0 || string(e.Quoted) != "heartbeat" {
		t.Errorf("%v, %+v", ok, e)
	}
	for range 3 {
		if e, ok := n.NextError(0); ok {
			t.Errorf("a second stamp: %+v", e)
		}
	}
	if calls := n.Calls() - before; calls != 1 {
		t.Errorf("%d system calls for one stamp", calls)
	}
}
