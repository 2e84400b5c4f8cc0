package engine

import (
	"context"
	"errors"
	"net/netip"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/clock"
	"systole/engine/detect/published"
	"systole/engine/enginetest/netlab"
	"systole/engine/internal/netlink"
)

// open opens an engine on loopback and closes it with the test.
func open(t *testing.T, cfg Config) *Engine {
	t.Helper()
	if cfg.Listen == nil {
		cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	}
	e, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// await waits for an event with the cause.
func await(t *testing.T, s *Subscription, cause Cause) Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		ev, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("waiting for %v: %v", cause, err)
		}
		if ev.Cause == cause {
			return ev
		}
	}
}

func TestOverLoopback(t *testing.T) {
	for _, local := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(local, func(t *testing.T) {
			listen := []netip.AddrPort{netip.MustParseAddrPort(local)}
			a := open(t, Config{Listen: listen, Period: 10 * time.Millisecond})
			b := open(t, Config{Listen: listen, Period: 10 * time.Millisecond})
			events := a.Subscribe()
			p, err := a.AddPeer(PeerConfig{Addr: b.Addrs()[0]})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.AddPeer(PeerConfig{Addr: a.Addrs()[0]}); err != nil {
				t.Fatal(err)
			}
			await(t, events, FirstContact)
			time.Sleep(500 * time.Millisecond)
			if s := p.Stats(); s.State != Alive || s.Received < 20 || s.RoundTrip == 0 {
				t.Errorf("stats %+v", s)
			}
			if s := a.Stats(); s.Stamps.Arrivals[clock.Kernel] < s.Heartbeats.Accepted*9/10 {
				t.Errorf("%v of %d heartbeats stamped", s.Stamps.Arrivals, s.Heartbeats.Accepted)
			}
			t.Logf("%+v", a.Stats())
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if err := b.Shutdown(ctx); err != nil {
				t.Error(err)
			}
			await(t, events, Goodbye)
		})
	}
}

// A suspension of the machine is told, by a loop of the engine's own and by a program's: the
// monotonic clock stood still meanwhile, so nothing else shows it.
func TestSuspensionIsTold(t *testing.T) {
	e := open(t, Config{Manual: true})
	events := e.Subscribe()
	defer events.Close()
	r := clock.Read()
	for range 2 {
		if _, err := e.Turn(r); err != nil {
			t.Fatal(err)
		}
		e.shards[0].suspended -= time.Hour // as if the machine had been suspended for an hour since
		r.Now, r.Wall = r.Now.Add(2*time.Second), r.Wall+int64(2*time.Second)
	}
	var pause time.Duration
	events.OnNode = func(ev NodeEvent) {
		if ev.Cause == LocalPause && pause == 0 {
			pause = ev.Pause
		}
	}
	events.TryNext()
	if (pause - time.Hour).Abs() > time.Second {
		t.Errorf("told of a pause of %v", pause)
	}
}

// The loop wakes at a deadline however long the turn took that asked for it.
func TestWaitEndsAtTheDeadline(t *testing.T) {
	const turn = 5 * time.Millisecond
	s := open(t, Config{Manual: true}).shards[0]
	least := time.Hour
	for range 20 { // a busy machine wakes late now and then
		s.turn(clock.Read())
		time.Sleep(turn)
		next := clock.Now().Add(time.Millisecond)
		s.wait(next)
		late := clock.Now().Sub(next)
		if late < 0 {
			continue // woken before, which is no fault: it turns and waits again
		}
		least = min(least, late)
	}
	if least > turn/2 {
		t.Errorf("woke %v after the deadline at best, after turns of %v", least, turn)
	}
}

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
