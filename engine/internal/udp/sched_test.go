//go:build linux

package udp

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/internal/network"
)

// onThread runs f on a thread of its own, which ends with it.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked
		f()
	}()
	<-done
}

// without takes a capability from the calling thread for good.
func without(t *testing.T, capability int) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Error(err)
	}
	data[capability/32].Effective &^= 1 << (capability % 32)
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Error(err)
	}
}

// After Apply the kernel reports what was asked for. Without the privilege, the error names
// it.
func TestSched(t *testing.T) {
	for _, test := range []struct {
		name  string
		sched Sched
		holds func(a *unix.SchedAttr) bool
	}{
		{"FIFO", Sched{FIFO: 7, CPU: -1}, func(a *unix.SchedAttr) bool { return a.Policy == unix.SCHED_FIFO && a.Priority == 7 }},
		{"nice", Sched{Nice: -3, CPU: -1}, func(a *unix.SchedAttr) bool { return a.Policy == unix.SCHED_NORMAL && a.Nice == -3 }},
	} {
		onThread(func() {
			err := test.sched.Apply()
			if errors.Is(err, unix.EPERM) {
				return // without the privilege only the refusal below can be seen
			}
			a, getErr := unix.SchedGetAttr(0, 0)
			if err != nil || getErr != nil || !test.holds(a) {
				t.Errorf("%s: %v; the thread has %+v, %v", test.name, err, a, getErr)
			}
		})
		onThread(func() {
			without(t, unix.CAP_SYS_NICE)
			var e *Error
			if err := test.sched.Apply(); !errors.As(err, &e) || !strings.Contains(e.Help, "CAP_SYS_NICE") {
				t.Errorf("%s without CAP_SYS_NICE: %v", test.name, err)
			}
		})
	}
	onThread(func() {
		if err := (&Sched{CPU: 0}).Apply(); err != nil {
			t.Error(err)
		}
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(0, &set); err != nil || set.Count() != 1 || !set.IsSet(0) {
			t.Errorf("pinned to CPU 0: %v, %v", set, err)
		}
	})
	for _, bad := range []Sched{{FIFO: 100, CPU: -1}, {FIFO: -1, CPU: -1}, {Nice: 20, CPU: -1}, {Nice: -21, CPU: -1}, {CPU: -2}, {CPU: 1 << 20}, {Slice: 1, CPU: -1}} {
		if err := bad.Apply(); !errors.Is(err, unix.EINVAL) {
			t.Errorf("%+v: %v, want EINVAL", bad, err)
		}
	}
}

// A socket whose buffers the system's limit cuts works, and reports what it was granted.
func TestBuffersBelowTheWanted(t *testing.T) {
	onThread(func() {
		without(t, unix.CAP_NET_ADMIN)
		s, err := Open(Options{Local: closedPort(t, families[0].addr), RecvBuffer: maxBuffer, SendBuffer: maxBuffer})
		if err != nil {
			t.Error(err)
			return
		}
		defer s.Close()
		if recv, send := s.RecvBuffer(), s.SendBuffer(); recv <= 0 || recv >= maxBuffer || send <= 0 || send >= maxBuffer {
			t.Errorf("granted %d and %d of %d", recv, send, maxBuffer)
		}
	})
}

// Wait ends for a Wake before or during it, for a datagram only if asked, for an error, and
// after its timeout.
func TestWaiter(t *testing.T) {
	a, b := openTest(t, families[0].addr), openTest(t, families[0].addr)
	w, err := NewWaiter(a, b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	wait := func(d time.Duration, datagrams bool, want Ready) {
		t.Helper()
		got, err := w.Wait(d, datagrams)
		if err != nil || got != want {
			t.Errorf("Wait(%v, %v) = %+v, %v; want %+v", d, datagrams, got, err, want)
		}
	}
	const long, short = 5 * time.Second, time.Millisecond
	w.Wake()
	w.Wake()
	wait(long, false, Ready{Woken: true})
	begin := time.Now()
	wait(short, true, Ready{})
	if took := time.Since(begin); took < short {
		t.Errorf("waited %v instead of %v", took, short)
	}
	time.AfterFunc(10*time.Millisecond, w.Wake)
	wait(long, true, Ready{Woken: true})
	send := NewSender()
	put(t, send, "x", b.Local())
	flush(t, send, a)
	wait(short, false, Ready{})
	wait(long, true, Ready{Readable: 1 << 1})
	recvSome(t, NewReceiver(), b)
	put(t, send, "x", closedPort(t, families[0].addr))
	flush(t, send, a)
	if got, err := w.Wait(long, true); err != nil || got.Errors != 1 || !a.HasErrors() {
		t.Errorf("Wait = %+v, %v with an error known %v", got, err, a.HasErrors())
	}
}

// Batches over a real socket allocate nothing, either way.
func TestBatchesAllocateNothing(t *testing.T) {
	for _, f := range families {
		a, b := openTest(t, f.addr), openTest(t, f.addr)
		send, recv := NewSender(), NewReceiver()
		to := network.AddrFrom(b.Local())
		n := testing.AllocsPerRun(100, func() {
			for range Batch {
				send.Commit(copy(send.Next(), "heartbeat"), &to)
			}
			send.Flush(a)
			send.Reset()
			if _, err := recv.Recv(b); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations per batch", f.name, n)
		}
	}
}
