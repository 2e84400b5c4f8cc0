package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"systole/engine/clock"
)

// A readingTrace notes when a process reads datagrams from its sockets, by a tracepoint of the kernel.
type readingTrace struct {
	mount *os.File
	dir   string
}

// readEvent is the tracepoint, of system calls that read. readFilter lets through those that return a datagram
// of UDP which is not from the error queue.
const (
	readEvent  = "sock_recv_length"
	readFilter = "protocol == 17 && ret > 0 && !(flags & 0x2000)"
)

// errNoTrace says what is missing to trace a process.
var errNoTrace = errors.New("a process cannot be traced without tracefs and the tracepoint " + readEvent)

// openReadingTrace begins to trace the threads that a process has.
func openReadingTrace(pid int) (*readingTrace, error) {
	t := &readingTrace{}
	err := t.open(pid)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", errNoTrace, err), t.close())
	}
	return t, nil
}

// open makes a trace of its own in a tracefs that is mounted nowhere.
func (t *readingTrace) open(pid int) error {
	fs, err := unix.Fsopen("tracefs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fs) }()
	if err := unix.FsconfigCreate(fs); err != nil {
		return err
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return err
	}
	t.mount = os.NewFile(uintptr(mount), "tracefs")
	dir := fmt.Sprintf("/proc/self/fd/%d/instances/systole-%d-%d", mount, os.Getpid(), pid)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	t.dir = dir
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return err
	}
	var ids []string
	for _, thread := range threads {
		ids = append(ids, thread.Name())
	}
	for _, set := range [][2]string{
		{"trace_clock", "mono"}, {"set_event_pid", strings.Join(ids, " ")},
		{"events/sock/" + readEvent + "/filter", readFilter}, {"events/sock/" + readEvent + "/enable", "1"},
	} {
		if err := os.WriteFile(filepath.Join(dir, set[0]), []byte(set[1]), 0); err != nil {
			return err
		}
	}
	return nil
}

// reads returns when datagrams were read, until now.
func (t *readingTrace) reads() ([]clock.Instant, error) {
	text, err := os.ReadFile(filepath.Join(t.dir, "trace"))
	if err != nil {
		return nil, err
	}
	return parseReads(string(text))
}

// parseReads returns the instants in the text of a trace:
//
//	systole-4711    [001] .....   961.250342: sock_recv_length: sk address = 00000000be5653d6, family = AF_INET ...
func parseReads(text string) (at []clock.Instant, err error) {
	const nanos = 1000 // in a microsecond, the unit of a trace
	for line := range strings.Lines(text) {
		before, _, ok := strings.Cut(line, ": "+readEvent+": ")
		if !ok {
			continue
		}
		seconds, micros, _ := strings.Cut(before[strings.LastIndexByte(before, ' ')+1:], ".")
		x, err := strconv.ParseInt(seconds+micros, 10, 64)
		if err != nil || len(micros) != 6 {
			return nil, fmt.Errorf("no time in the trace line %q", line)
		}
		at = append(at, clock.Instant(x*nanos))
	}
	return at, nil
}

// close ends the trace.
func (t *readingTrace) close() error {
	var err error
	if t.dir != "" {
		err = unix.Rmdir(t.dir)
	}
	if t.mount != nil {
		err = errors.Join(err, t.mount.Close())
	}
	return err
}

// readInOrder returns the instant at which each arrival was read. A socket returns datagrams in the order of
// their arrival, so each reading is of the earliest one that was not read. What was not read has 0.
func readInOrder(arrivals map[uint64]passing, reads []clock.Instant) map[uint64]clock.Instant {
	type arrival struct {
		sequence uint64
		at       clock.Instant
	}
	var queue []arrival
	for sequence, p := range arrivals {
		queue = append(queue, arrival{sequence, p.at})
	}
	slices.SortFunc(queue, func(a, b arrival) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.sequence, b.sequence)) })
	readAt := make(map[uint64]clock.Instant)
	for _, at := range reads {
		if len(queue) > 0 && queue[0].at <= at {
			readAt[queue[0].sequence] = at
			queue = queue[1:]
		}
	}
	return readAt
}
