//go:build !systole_portable

package engine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/clock"
)

// A program that owns its loop polls the descriptors and turns when one is readable or a turn is due.
func TestManualLoopPolls(t *testing.T) {
	a := open(t, Config{Manual: true})
	b := open(t, Config{Accept: Accept{Anyone: true}})
	if fds := b.Descriptors(); fds != nil {
		t.Errorf("an engine with loops of its own has descriptors %v to poll", fds)
	}
	if _, err := b.Turn(clock.Read()); err == nil || !strings.Contains(err.Error(), "Config.Manual") {
		t.Errorf("Turn of an engine with loops of its own: %v", err)
	}
	b.SetProgress(42)
	p, err := a.AddPeer(PeerConfig{Addr: b.Addrs()[0], Period: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var poll []unix.PollFd
	for _, fd := range a.Descriptors() {
		poll = append(poll, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	readable, turns := 0, 0
	for end := clock.Now().Add(5 * time.Second); clock.Now() < end && p.Stats().Received < 10; turns++ {
		next, err := a.Turn(clock.Read())
		if err != nil {
			t.Fatal(err)
		}
		n, err := unix.Poll(poll, max(int(next.Sub(clock.Now())/time.Millisecond)+1, 0))
		if err != nil && !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
		readable += n
	}
	if s := p.Stats(); s.State != Alive || s.Progress != 42 || readable < 5 || turns > 200 {
		t.Errorf("%d times readable, %d turns, %+v", readable, turns, s)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Turn(clock.Read()); !errors.Is(err, ErrClosed) {
		t.Errorf("Turn after Close: %v", err)
	}
}
