package main

import (
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"systole/engine/enginetest/netlab"
)

// Tests of faults of the network between two hosts.

// between starts a server on host B and a probe on host A, and waits until the probe has heard the
// server.
func between(t *testing.T, l *netlab.Lab, args ...string) (*server, *probe) {
	t.Helper()
	s := startServer(t, l.B.Command(binary, "serve", "--listen", l.B.Addr+":7853", "--id", "42"))
	p := startProbe(t, l.A.Command(binary, append([]string{"ping", "-o", "json", l.B.Addr}, args...)...))
	p.await("alive", "first-contact")
	time.Sleep(time.Second)
	return s, p
}

// watching is between, with the server watching the probe.
func watching(t *testing.T, l *netlab.Lab, args ...string) (*server, *probe) {
	t.Helper()
	const port = ":7374"
	s := startServer(t, l.B.Command(binary, "serve", "--listen", l.B.Addr+":7853", "--id", "42", "--peer", l.A.Addr+port))
	args = append([]string{"ping", "-o", "json", l.B.Addr, "--listen", l.A.Addr + port}, args...)
	p := startProbe(t, l.A.Command(binary, args...))
	p.await("alive", "first-contact")
	time.Sleep(time.Second)
	return s, p
}

// If our heartbeats are lost and the peer's arrive, the peer is one-way and not failed.
func TestDropTowardsPeer(t *testing.T) {
	l := netlab.Test(t)
	_, p := watching(t, l)
	if err := l.B.DropIn(100); err != nil {
		t.Fatal(err)
	}
	p.await("one-way", "deaf")
	time.Sleep(500 * time.Millisecond)
	if err := l.B.DropIn(0); err != nil {
		t.Fatal(err)
	}
	p.await("alive", "reachable-again")
	if _, code := p.end(); code != exitAlive || len(p.accusations()) > 0 {
		t.Errorf("exit status %d, accusations %+v", code, p.accusations())
	}
}

// A server sends a stranger no more heartbeats than it gets. So if our heartbeats are lost, none of
// the server's arrive, until the path works again.
func TestDropTowardsServer(t *testing.T) {
	l := netlab.Test(t)
	_, p := between(t, l)
	if err := l.B.DropIn(100); err != nil {
		t.Fatal(err)
	}
	p.await("failed", "silence")
	if err := l.B.DropIn(0); err != nil {
		t.Fatal(err)
	}
	p.await("alive", "reachable-again")
	if summary, code := p.end(); code != exitAlive || summary.Peers[0].Failures != 1 {
		t.Errorf("exit status %d, summary %+v", code, summary)
	}
}

// If the peer's heartbeats are lost, the peer fails.
func TestDropFromPeer(t *testing.T) {
	l := netlab.Test(t)
	_, p := between(t, l, "--final")
	if err := l.A.DropIn(100); err != nil {
		t.Fatal(err)
	}
	p.await("suspect", "silence")
	p.await("failed", "silence")
	if _, code := p.end(); code != exitPeer {
		t.Errorf("exit status %d", code)
	}
}

// With 20 % loss the peer does not fail, and both directions are counted.
func TestRandomLoss(t *testing.T) {
	l := netlab.Test(t)
	_, p := between(t, l)
	for _, h := range []*netlab.Host{l.A, l.B} {
		if err := h.DropIn(20); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(8 * time.Second)
	summary, _ := p.end()
	for _, a := range p.accusations() {
		if a.To == "failed" {
			t.Errorf("failed under 20 %% of loss: %+v", a)
		}
	}
	peer := summary.Peers[0]
	if in := peer.LostIn * 100 / (peer.Received + peer.LostIn); in < 8 || in > 35 {
		t.Errorf("%d %% counted as lost inwards: %+v", in, peer)
	}
	if out := peer.LostOut * 100 / peer.Sent; out < 8 || out > 35 {
		t.Errorf("%d %% counted as lost outwards: %+v", out, peer)
	}
}

// A missing local address is a local cause.
func TestAddressRemoved(t *testing.T) {
	l := netlab.Test(t)
	_, p := between(t, l)
	if err := l.A.Run("ip", "addr", "del", l.A.Addr+"/24", "dev", l.A.Device); err != nil {
		t.Fatal(err)
	}
	p.await("suspect", "local-no-route")
	time.Sleep(3 * time.Second)
	if err := l.A.Run("ip", "addr", "add", l.A.Addr+"/24", "dev", l.A.Device); err != nil {
		t.Fatal(err)
	}
	p.await("alive", "reachable-again")
	if last, code := p.end(); code != exitAlive {
		t.Errorf("exit status %d, %+v after %s", code, last.Peers, p.transitions())
	}
	for _, a := range p.accusations() {
		if !strings.HasPrefix(a.Cause, "local-") {
			t.Errorf("transition for another cause than our missing address: %+v", a)
		}
	}
}

// A local link that is down is a local cause.
func TestLinkDown(t *testing.T) {
	l := netlab.Test(t)
	_, p := between(t, l)
	if err := l.A.Run("ip", "link", "set", l.A.Device, "down"); err != nil {
		t.Fatal(err)
	}
	p.await("suspect", "local-no-route")
	if err := l.A.Run("ip", "link", "set", l.A.Device, "up"); err != nil {
		t.Fatal(err)
	}
	p.await("alive", "reachable-again")
	if _, code := p.end(); code != exitAlive {
		t.Errorf("exit status %d", code)
	}
}

// If the other end of the cable is down, the kernel accepts our heartbeats, but the device has no
// carrier.
func TestCarrierLost(t *testing.T) {
	l := netlab.Test(t)
	_, p := between(t, l, "--interval", "1s") // the kernel reports carriers at most once a second
	if err := l.B.Run("ip", "link", "set", l.B.Device, "down"); err != nil {
		t.Fatal(err)
	}
	p.await("suspect", "local-link")
	if err := l.B.Run("ip", "link", "set", l.B.Device, "up"); err != nil {
		t.Fatal(err)
	}
	p.await("alive", "reachable-again")
	p.end()
}

// A full device queue refuses heartbeats (ENOBUFS), which does not fail the peer.
func TestFullQueue(t *testing.T) {
	l := netlab.Test(t)
	_, p := watching(t, l, "--interval", "10ms")
	if err := l.A.Run("tc", "qdisc", "add", "dev", l.A.Device, "root", "tbf", "rate", "8kbit", "burst", "1600", "limit", "1"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	if err := l.A.Run("tc", "qdisc", "del", "dev", l.A.Device, "root"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	summary, code := p.end()
	if peer := summary.Peers[0]; code != exitAlive || peer.Missed == 0 || peer.Received > peer.Sent {
		t.Errorf("exit status %d, summary %+v", code, summary)
	}
	for _, a := range p.accusations() {
		if a.To == "failed" {
			t.Errorf("failed for our full queue: %+v", a)
		}
	}
}

// The peer's host dies.
func TestPeerHostGone(t *testing.T) {
	l := netlab.Test(t)
	s, p := between(t, l, "--interval", "10ms", "--detector", "chen")
	s.signal(syscall.SIGSTOP) // without a goodbye or an ICMP error
	cut := time.Now()
	suspect := p.await("suspect", "silence")
	if d := suspect.seen.Sub(cut); d > 100*time.Millisecond {
		t.Errorf("suspect %v after the cut, at 10 ms × 3", d)
	}
	p.await("failed", "silence")
	s.signal(syscall.SIGCONT)
	p.end()
}

// relay forwards datagrams between a probe and a server on loopback. mangle decides what is
// written.
type relay struct {
	front, back net.PacketConn
	server      net.Addr
	client      chan net.Addr
	mangle      func(b []byte, toServer bool, write func([]byte))
}

// newRelay returns a relay to a server.
func newRelay(t *testing.T, server string) *relay {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{server: to, client: make(chan net.Addr, 1)}
	for _, c := range []*net.PacketConn{&r.front, &r.back} {
		if *c, err = net.ListenPacket("udp", anyPort); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*c).Close() })
	}
	r.mangle = func(b []byte, _ bool, write func([]byte)) { write(b) }
	return r
}

// run forwards datagrams until the sockets are closed.
func (r *relay) run() {
	var client net.Addr
	known := make(chan net.Addr, 1)
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := r.front.ReadFrom(buf)
			if err != nil {
				return
			}
			select {
			case known <- from:
			default:
			}
			r.mangle(slices.Clone(buf[:n]), true, func(b []byte) { r.back.WriteTo(b, r.server) })
		}
	}()
	go func() {
		buf := make([]byte, 2048)
		client = <-known
		for {
			n, _, err := r.back.ReadFrom(buf)
			if err != nil {
				return
			}
			r.mangle(slices.Clone(buf[:n]), false, func(b []byte) { r.front.WriteTo(b, client) })
		}
	}()
}

// Duplicated and reordered datagrams are counted and do not change states.
func TestDuplicatedAndReordered(t *testing.T) {
	s := serve(t, anyPort)
	r := newRelay(t, s.addr)
	r.mangle = func(b []byte, _ bool, write func([]byte)) {
		for range 1 + rand.IntN(2) {
			time.AfterFunc(time.Duration(rand.IntN(45))*time.Millisecond, func() { write(b) })
		}
	}
	r.run()
	p := ping(t, r.front.LocalAddr().String(), "--interval", "20ms", "--detect-within", "300ms")
	p.await("alive", "first-contact")
	time.Sleep(4 * time.Second)
	summary, code := p.end()
	peer := summary.Peers[0]
	if code != exitAlive || peer.Duplicated < 30 || peer.Reordered < 10 || len(p.accusations()) > 0 {
		t.Errorf("exit status %d, summary %+v, accusations %+v", code, peer, p.accusations())
	}
}

// Replayed datagrams of a dead peer do not keep it alive, and do not make it alive for a new
// incarnation of this node.
func TestDatagramsReplayed(t *testing.T) {
	s := serve(t, anyPort, "--id", "42")
	r := newRelay(t, s.addr)
	tape := make(chan func(), 1000)
	r.mangle = func(b []byte, toServer bool, write func([]byte)) {
		play := func() { write(b) }
		if !toServer {
			tape <- play
		}
		play()
	}
	r.run()
	p := ping(t, r.front.LocalAddr().String(), "--final")
	p.await("alive", "first-contact")
	time.Sleep(2 * time.Second)
	s.kill()
	stop := time.After(6 * time.Second)
	replay := time.NewTicker(20 * time.Millisecond)
	defer replay.Stop()
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-replay.C:
				play := <-tape
				tape <- play
				play()
			}
		}
	}()
	p.await("suspect", "silence")
	p.await("failed", "silence")
	summary, code := p.end()
	if code != exitPeer || summary.Peers[0].Duplicated == 0 {
		t.Errorf("exit status %d, summary %+v", code, summary)
	}
	again := ping(t, r.front.LocalAddr().String(), "--wait", "2s")
	summary, code = again.finish()
	if code != exitPeer || summary.Peers[0].Received != 0 {
		t.Errorf("alive by replayed datagrams: exit status %d, summary %+v", code, summary)
	}
}
