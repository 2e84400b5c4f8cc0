package bpf

import (
	"runtime"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"systole/engine/enginetest/netlab"
)

// linksOf returns the kernel's links of programs.
func linksOf(programs []ebpf.ProgramID) (ids []link.ID) {
	it := new(link.Iterator)
	defer it.Close()
	for it.Next() {
		if info, err := it.Link.Info(); err == nil && slices.Contains(programs, info.Program) {
			ids = append(ids, it.ID)
		}
	}
	return ids
}

// left returns how many programs, maps and links of h the kernel has.
func (h *held) left() (programs, maps, links int) {
	for id, err := ebpf.ProgramGetNextID(0); err == nil; id, err = ebpf.ProgramGetNextID(id) {
		if slices.Contains(h.Programs, id) {
			programs++
		}
	}
	for id, err := ebpf.MapGetNextID(0); err == nil; id, err = ebpf.MapGetNextID(id) {
		if slices.Contains(h.Maps, id) {
			maps++
		}
	}
	return programs, maps, len(linksOf(h.Programs))
}

// isGone waits until the kernel has nothing of h any more. Package ebpf maps the constants of a program
// into memory until the collector runs.
func (h *held) isGone(t *testing.T) {
	t.Helper()
	runtime.GC()
	if !eventually(t, "nothing is left in the kernel", func() bool { p, m, l := h.left(); return p+m+l == 0 }) {
		p, m, l := h.left()
		t.Errorf("%d programs, %d maps and %d links are left", p, m, l)
	}
}

func TestKillLeavesNothing(t *testing.T) {
	lab := netlab.Test(t)
	for _, hook := range []string{hookTCX, hookCgroup, hookXDP} {
		var process *child
		o := optionsFor(hook, true)
		err := lab.B.Do(func() error {
			process = start(t, task{Role: "open", Options: o, Beats: true})
			return nil
		})
		if process == nil {
			t.Fatal(err)
		}
		got := process.report(t)
		if got.Error != nil || got.Beats != "" || !attachedBy(*got.Status, hook) {
			t.Fatalf("%v, %s, %+v", got.Error, got.Beats, got.Status)
		}
		links := 2 // of lab0 or the cgroup, and the tracepoint
		if hook != hookCgroup {
			links++ // of lo
		}
		if p, m, l := got.Held.left(); p != 4 || m != len(got.Held.Maps) || m < 4 || l != links {
			t.Errorf("%v: %d programs, %d maps and %d links before", hook, p, m, l)
		}
		if err := process.kill(); err != nil {
			t.Error(err)
		}
		got.Held.isGone(t)
		s := openAt(t, lab.B, o)
		if !attachedBy(s.Status(), hook) {
			t.Errorf("%v: after the kill: %+v", hook, s.Status())
		}
		absorb := hook != hookCgroup
		p := pathOver(t, lab, false, s)
		if absorb {
			err = p.isTaken(1)
		} else {
			err = p.isStamped(1, hook)
		}
		if err != nil {
			t.Error(err)
		}
		h := holds(s)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		h.isGone(t)
	}
}
