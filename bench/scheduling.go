package main

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"systole/engine"
)

// scheduling is how the kernel schedules the loop of a child.
type scheduling struct {
	class    engine.SchedClass
	priority int // of the class
	cpu      int // pins the loop; negative: any CPU
}

// schedClasses are the names of classes on the command line of a child.
var schedClasses = []string{engine.Normal: "normal", engine.Nice: "nice", engine.FIFO: "fifo"}

// flags adds the flags of s to f.
func (s *scheduling) flags(f *flag.FlagSet) {
	f.Func("class", "`class`: "+strings.Join(schedClasses, ", "), func(name string) error {
		i := slices.Index(schedClasses, name)
		if i < 0 {
			return errors.New("there is no such class")
		}
		s.class = engine.SchedClass(i)
		return nil
	})
	f.IntVar(&s.priority, "priority", 0, "`priority` of the class")
	f.IntVar(&s.cpu, "cpu", -1, "`number` of the CPU to pin to; -1 pins to none")
}

// args returns the arguments that flags parses into s.
func (s *scheduling) args() []string {
	return []string{"-class", schedClasses[s.class], "-priority", strconv.Itoa(s.priority), "-cpu", strconv.Itoa(s.cpu)}
}

// apply schedules the calling thread as an engine schedules its loop.
func (s *scheduling) apply() error {
	const self, slice = 0, 100_000
	if s.cpu >= 0 {
		var set unix.CPUSet
		set.Set(s.cpu)
		if err := unix.SchedSetaffinity(self, &set); err != nil {
			return fmt.Errorf("pin a thread to CPU %d: %w", s.cpu, err)
		}
	}
	a := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Runtime: slice}
	switch s.class {
	case engine.Nice:
		a.Nice = int32(s.priority)
	case engine.FIFO:
		a.Policy, a.Priority, a.Runtime = unix.SCHED_FIFO, uint32(s.priority), 0
	}
	if err := unix.SchedSetAttr(self, a, 0); err != nil {
		return fmt.Errorf("schedule a thread as %s %d: %w", schedClasses[s.class], s.priority, err)
	}
	return nil
}
