package bpf

import (
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"systole/engine/enginetest/netlab"
)

// leakVariable is how long TestNothingLeaks runs, as time.ParseDuration has it.
const leakVariable = "SYSTOLE_BPF_LEAK_TIME"

// Sources that open and close, processes that are killed, clients of a loader, and interfaces that go
// and come leave nothing behind: no program, map or link in the kernel, no descriptor, no goroutine.
func TestNothingLeaks(t *testing.T) {
	lab := netlab.Test(t)
	length := 2 * time.Second
	if text := os.Getenv(leakVariable); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	f := &flapper{t: t, lab: lab, path: socketPath(t)}
	f.round() // what a process makes once is there from now on
	descriptors, goroutines := openDescriptors(t), runtime.NumGoroutine()
	for end := time.Now().Add(length); time.Now().Before(end) && !t.Failed(); {
		f.round()
		if f.rounds%100 == 0 {
			t.Logf("%d rounds, %d programs, %d maps", f.rounds, len(f.all.Programs), len(f.all.Maps))
		}
	}
	f.all.isGone(t)
	eventually(t, "no descriptor is left", func() bool { return openDescriptors(t) <= descriptors })
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
	t.Logf("%d rounds, %d programs, %d maps; %d descriptors before and %d after", f.rounds, len(f.all.Programs), len(f.all.Maps),
		descriptors, openDescriptors(t))
}

// openDescriptors returns how many descriptors the process has.
func openDescriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Error(err)
	}
	return len(all)
}

// flapper opens and closes sources while interfaces go and come.
type flapper struct {
	t      *testing.T
	lab    *netlab.Lab
	path   string
	rounds int
	all    held
}

// round opens and closes each kind of source once.
func (f *flapper) round() {
	for _, hook := range []string{hookTCX, hookCgroup, hookXDP} {
		f.rounds++
		o := optionsFor(hook, f.rounds%2 == 0)
		f.opened(o)
		f.killed(o)
		f.served(o)
	}
}

// opened opens a source, takes its interface away and gives it back.
func (f *flapper) opened(o Options) {
	var s *Source
	err := f.lab.B.Do(func() (err error) {
		s, err = Open(o)
		return err
	})
	if err != nil {
		f.t.Error(err)
		return
	}
	f.keep(holds(s))
	err = f.flap()
	if o.Hook == hookTCX && f.rounds%5 == 0 {
		eventually(f.t, "a program is at the new interface", func() bool { return attachedBy(s.Status(), hookTCX) })
	}
	if err := errors.Join(err, s.Close()); err != nil {
		f.t.Error(err)
	}
}

func (f *flapper) flap() error {
	return errors.Join(f.lab.A.Run("ip", "link", "del", f.lab.A.Device), f.lab.Link())
}

// keep remembers what the kernel must not have in the end.
func (f *flapper) keep(h held) {
	f.all.Programs = append(f.all.Programs, h.Programs...)
	f.all.Maps = append(f.all.Maps, h.Maps...)
}

// killed kills a process that has a source, sometimes amid a change of interfaces.
func (f *flapper) killed(o Options) {
	var process *child
	_ = f.lab.B.Do(func() error {
		process = start(f.t, task{Role: "open", Options: o})
		return nil
	})
	if process == nil {
		return
	}
	f.keep(process.report(f.t).Held)
	if f.rounds%2 == 0 {
		if err := f.flap(); err != nil {
			f.t.Error(err)
		}
	}
	if err := process.kill(); err != nil {
		f.t.Error(err)
	}
}

// served has a client of a loader in this process, and ends one before the other.
func (f *flapper) served(o Options) {
	err := f.lab.B.Do(func() error {
		end := serveHere(f.t, f.path, o, nil)
		s, err := Dial(f.path, Options{Peers: 16, Absorb: o.Absorb})
		if err == nil && f.rounds%2 == 0 {
			err = s.Close()
		}
		end()
		if err == nil && f.rounds%2 == 1 {
			err = s.Close()
		}
		return err
	})
	if err != nil {
		f.t.Error(err)
	}
}
