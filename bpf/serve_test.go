package bpf

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"systole/engine/enginetest/netlab"
)

// socketPath returns a path that all users reach.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "systole")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "loader")
}

// A client without a capability has stamps, hand-offs and taken heartbeats from a loader, until that ends.
func TestServeAnotherUser(t *testing.T) {
	needBPF(t)
	path := socketPath(t)
	netlab.InNamespace(t, func() {
		loader := start(t, task{Role: "serve", Path: path, Options: Options{Peers: 64, Absorb: true}})
		if loader == nil {
			return
		}
		loader.report(t)
		clients := make([]*child, 3)
		for i := range clients {
			clients[i] = start(t, task{
				Role: "dial", Path: path, Options: Options{Peers: 16, Absorb: i > 0}, Beats: true,
			}, nobody())
			if clients[i] == nil {
				return
			}
			got := clients[i].report(t)
			tier := Absorb
			if i == 0 {
				tier = Stamps
			}
			if got.Error != nil || got.Beats != "" || got.Status.Tier != tier || !got.Status.HandOffs || got.Status.Loader != nil {
				t.Errorf("client %d: %v, %s, %+v", i, got.Error, got.Beats, got.Status)
			}
		}
		if n := tcxAt(t, 1); n != 3 {
			t.Errorf("%d programs for three clients", n)
		}
		_ = clients[2].kill()
		eventually(t, "the programs of a killed client are gone", func() bool { return tcxAt(t, 1) == 2 })

		for _, c := range []struct {
			signal syscall.Signal
			silent bool
		}{{syscall.SIGSTOP, true}, {syscall.SIGCONT, false}} {
			_ = loader.Process.Signal(c.signal)
			eventually(t, "the client sees "+c.signal.String(), func() bool {
				got := clients[0].again(t).Status
				return (got.Loader != nil) == c.silent && got.Tier == Stamps
			})
		}
		_ = loader.kill()
		eventually(t, "the programs of a killed loader are gone", func() bool { return tcxAt(t, 1) == 0 })
		for _, c := range clients[:2] {
			got := c.again(t)
			if s := got.Status; s.Loader == nil || s.Tier != Kernel || s.HandOffs || len(s.Interfaces) > 0 {
				t.Errorf("when the loader has ended: %+v", s)
			}
			if got.Beats != "" {
				t.Errorf("sockets have not all heartbeats when the loader has ended: %s", got.Beats)
			}
		}
	})
}

// serveHere serves in the calling thread's namespace, until the function that it returns is called.
func serveHere(t *testing.T, path string, o Options, change func(s *server)) (end func()) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Error(err)
		return func() {}
	}
	namespace, err := netns.Get()
	if err != nil {
		t.Error(err)
		return func() {}
	}
	s := newServer(o.withDefaults(), namespace)
	if change != nil {
		change(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.run(ctx, l) }()
	return func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		_ = l.Close()
		_ = namespace.Close()
	}
}

func TestServeBoundsClients(t *testing.T) {
	needBPF(t)
	path := socketPath(t)
	netlab.InNamespace(t, func() {
		end := serveHere(t, path, Options{Peers: 8}, func(s *server) { s.room = make(chan struct{}, 2) })
		s, err := Dial(path, Options{Peers: 100, Absorb: true})
		if err != nil {
			t.Error(err)
			return
		}
		if got := s.Status(); got.Tier != Stamps || got.Limit == nil || got.Limit.Op != "absorb" || len(s.table.slots) != 8 || len(s.table.rings) > 1 {
			t.Errorf("%d slots and %d rings; %+v", len(s.table.slots), len(s.table.rings), got)
		}
		more, err := Dial(path, Options{Peers: 3})
		if err != nil || len(more.table.slots) != 3 {
			t.Error(err)
			return
		}
		if n := tcxAt(t, 1); n != 2 {
			t.Errorf("%d programs for two clients", n)
		}
		if third, err := Dial(path, Options{}); err == nil {
			_ = third.Close()
			t.Error("more connections than the limit")
		}
		if err := more.Close(); err != nil {
			t.Error(err)
		}
		eventually(t, "room for another client", func() bool {
			third, err := Dial(path, Options{})
			if err == nil {
				_ = third.Close()
			}
			return err == nil
		})
		end()
		eventually(t, "the client sees the end", func() bool { return s.Status().Loader != nil })
		if n := tcxAt(t, 1); n != 0 {
			t.Errorf("%d programs after the end", n)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestServeRefusesMalformedRequests(t *testing.T) {
	needBPF(t)
	path := socketPath(t)
	whole := func(text string) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
	}
	netlab.InNamespace(t, func() {
		end := serveHere(t, path, Options{Peers: 8}, func(s *server) { s.handshake = 300 * time.Millisecond })
		defer end()
		for name, b := range map[string][]byte{
			"long":            binary.BigEndian.AppendUint32(nil, maxRequest+1),
			"huge":            {0xff, 0xff, 0xff, 0xff, '{'},
			"cut off":         whole(`{"version":1,"op":"open","peers":3}`)[:20],
			"nothing":         nil,
			"empty":           whole(""),
			"not JSON":        whole("\x00\x01\x02"),
			"list":            whole(`[]`),
			"unknown field":   whole(`{"version":1,"op":"open","peers":3,"hook":"xdp"}`),
			"two values":      whole(`{"version":1,"op":"open","peers":3}{}`),
			"no such op":      whole(`{"version":1,"op":"close","peers":3}`),
			"status first":    whole(`{"version":1,"op":"status"}`),
			"another version": whole(`{"version":2,"op":"open","peers":3}`),
			"no peers":        whole(`{"version":1,"op":"open"}`),
			"negative peers":  whole(`{"version":1,"op":"open","peers":-3}`),
			"too many peers":  whole(`{"version":1,"op":"open","peers":1048577}`),
			"text of peers":   whole(`{"version":1,"op":"open","peers":"3"}`),
		} {
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Error(name, err)
				return
			}
			_, _ = c.Write(b)
			_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
			answer, err := io.ReadAll(c)
			if err != nil && !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("%s: the connection stays: %v", name, err)
			}
			if strings.Contains(string(answer), `"status"`) {
				t.Errorf("%s: answered with %s", name, answer)
			}
			_ = c.Close()
		}
		if n := tcxAt(t, 1); n != 0 {
			t.Errorf("%d programs", n)
		}
		s, err := Dial(path, Options{})
		if err != nil {
			t.Error(err)
			return
		}
		_ = s.Close()
	})
}

func TestDialRefusesMalformedAnswers(t *testing.T) {
	path := socketPath(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	answers := []string{
		"\x00", "\xff\xff\xff\xff", "\x00\x00\x00\x02{}", "\x00\x00\x00\x0d{\"status\":{}}", "\x00\x00\x00\x04null", "\x00\x00\x00\x02[]",
	}
	go func() {
		for _, a := range answers {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			_ = readFrame(c, new(request), maxRequest)
			_, _ = c.Write([]byte(a))
			_ = c.Close()
		}
	}()
	for _, a := range answers {
		if s, err := Dial(path, Options{}); err == nil {
			_ = s.Close()
			t.Errorf("%q opens", a)
		}
	}
}

func TestDialErrors(t *testing.T) {
	var failure *Error
	if _, err := Dial(filepath.Join(t.TempDir(), "none"), Options{}); !errors.As(err, &failure) || !errors.Is(err, unix.ENOENT) {
		t.Error(err)
	}
	if _, err := Dial("", Options{Hook: hookTCX}); err == nil || !strings.Contains(err.Error(), "of the loader") {
		t.Error(err)
	}
}
