//go:build !systole_portable

package engine

import (
	"errors"
	"net/netip"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/detect/published"
	"systole/engine/enginetest/netlab"
	"systole/engine/internal/netlink"
)

// breakSocket puts a pipe in the place of e's socket: it is readable, and every call fails.
func breakSocket(t *testing.T, e *Engine) {
	t.Helper()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	t.Cleanup(func() { unix.Close(pipe[1]) })
	if _, err := unix.Write(pipe[1], []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Dup3(pipe[0], e.shards[0].net.(*sockets).list[0].Fd(), unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	e.shards[0].net.Wake() // a poll that is under way still waits for the socket
}

// A socket that is readable and cannot be read costs a turn per grid step.
func TestFailingSocketTakesNoCPU(t *testing.T) {
	e := open(t, Config{})
	breakSocket(t, e)
	time.Sleep(50 * time.Millisecond)
	before, began := e.Stats(), time.Now()
	time.Sleep(500 * time.Millisecond)
	turns, steps := e.Stats().Loop.Turns-before.Loop.Turns, uint64(time.Since(began)/e.shards[0].grid)
	if turns < steps/10 || turns > 2*steps+10 {
		t.Errorf("%d turns in %d grid steps", turns, steps)
	}
}

// Nobody is failed for being silent while our own socket cannot be read.
func TestFailingSocketAccusesNobody(t *testing.T) {
	cfg := Config{Period: 10 * time.Millisecond, Detector: published.Fixed(0, 0)}
	a, b := open(t, cfg), open(t, cfg)
	events := a.Subscribe()
	defer events.Close()
	p, err := a.AddPeer(PeerConfig{Addr: b.Addrs()[0]})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.AddPeer(PeerConfig{Addr: a.Addrs()[0]}); err != nil {
		t.Fatal(err)
	}
	await(t, events, FirstContact)
	for end := time.Now().Add(5 * time.Second); p.Stats().LastArrival == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond) // the first contact was an answer, which is no heartbeat
	}
	breakSocket(t, a)
	await(t, events, LocalLink)
	time.Sleep(2 * p.Deadline(a.failLevel).Sub(p.Stats().LastArrival))
	if s := p.Stats(); s.State != Suspect || s.Cause != LocalLink {
		t.Errorf("%v, %v of a peer that cannot be heard", s.State, s.Cause)
	}
}

// Every shard has what the network returns of its heartbeats, whichever socket the kernel chose.
func TestRefusalsReachTheirShard(t *testing.T) {
	e := open(t, Config{Shards: 4, Period: 10 * time.Millisecond, ConnectTimeout: 10 * time.Second})
	var peers []Peer
	for i := range 24 {
		c := PeerConfig{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 1, byte(1 + i)}), 9)}
		if i%2 == 0 {
			c.ID = uint64(1000 + i) // else whoever answers there first
		}
		p, err := e.AddPeer(c)
		if err != nil {
			t.Fatal(err)
		}
		peers = append(peers, p)
	}
	deadline := time.Now().Add(5 * time.Second)
	for _, p := range peers {
		for p.State() != Failed && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if s := p.Stats(); s.State != Failed || s.Cause != PortUnreachable {
			t.Errorf("%v, %v, with id %d, behind a closed port", s.State, s.Cause, s.ID)
		}
	}
}

// An interface that is deleted is not down, and what was down is unknown once nobody listens.
func TestDownInterfaces(t *testing.T) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the namespace ends with the thread
		if unix.Unshare(unix.CLONE_NEWNET) != nil {
			done <- netlab.ErrPrivilege
			return
		}
		done <- watchDown()
	}()
	netlab.Require(t, <-done)
}

// watchDown adds and deletes interfaces in the calling thread's namespace, where the loopback
// interface is down.
func watchDown() error {
	links, err := netlink.OpenLinks()
	if err != nil {
		return err
	}
	watch, ended := &interfaces{links: links}, make(chan bool)
	err = links.Ask()
	go watch.listen(func() { close(ended) })
	isDown := func(n int) bool {
		for range 2000 {
			if down := watch.down.Load(); down != nil && len(*down) == n {
				return true
			}
			time.Sleep(time.Millisecond)
		}
		return false
	}
	for range 3 {
		err = errors.Join(err, exec.Command("ip", "link", "add", "a0", "type", "veth", "peer", "name", "b0").Run())
		if !isDown(3) {
			err = errors.Join(err, errors.New("a new pair without carrier is not down"))
		}
		err = errors.Join(err, exec.Command("ip", "link", "del", "a0").Run())
		if !isDown(1) {
			err = errors.Join(err, errors.New("a deleted pair is down"))
		}
	}
	watch.close()
	<-ended
	if len(watch.downIndexes()) > 0 {
		err = errors.Join(err, errors.New("loopback is down for ever"))
	}
	return err
}
