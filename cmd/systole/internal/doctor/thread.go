package doctor

import (
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"systole/engine/clock"
)

// thread is what was measured on a thread that asks for the scheduling that an engine's loop asks for.
type thread struct {
	slack    time.Duration // that this process starts threads with
	slackErr error
	setSlack error // from setting it to slackWanted

	attr     unix.SchedAttr // that this process starts threads with
	attrErr  error
	slice    time.Duration // in effect after asking for sliceWanted; 0 if not known
	setSlice error

	late    []time.Duration // of sleeps, sorted
	lateErr error
}

// What an engine's loop asks for.
const (
	slackWanted = time.Nanosecond
	sliceWanted = 100 * time.Microsecond
)

// measureThread measures a thread, which ends afterwards.
func measureThread(root fs.FS) thread {
	done := make(chan thread)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends
		var t thread
		t.schedule(root)
		t.sleep()
		done <- t
	}()
	return <-done
}

// schedule reads how the calling thread is scheduled, and schedules it as an engine's loop is.
func (t *thread) schedule(root fs.FS) {
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	t.slack, t.slackErr = time.Duration(slack), err
	t.setSlack = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slackWanted), 0, 0, 0)
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.attrErr = err
		return
	}
	t.attr = *attr
	wanted := *attr
	wanted.Runtime = uint64(sliceWanted)
	if t.setSlice = unix.SchedSetAttr(0, &wanted, 0); t.setSlice != nil {
		return
	}
	if got, err := unix.SchedGetAttr(0, 0); err == nil {
		t.slice = time.Duration(got.Runtime)
	}
	if t.slice == 0 { // sched_getattr reports slices from 6.12 on, the file from 6.6 on, both if configured
		text, _ := fs.ReadFile(root, "proc/thread-self/sched")
		t.slice, _ = parseSlice(string(text))
	}
}

// parseSlice returns the slice of a thread in the text of /proc/PID/sched.
func parseSlice(text string) (time.Duration, bool) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) == "se.slice" {
			ns, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return time.Duration(ns), err == nil
		}
	}
	return 0, false
}

const (
	sleeps    = 250
	sleepTime = time.Millisecond
	sleepMost = time.Second // all sleeps together
)

// sleep measures how late sleeps of the calling thread end.
func (t *thread) sleep() {
	start := clock.Now()
	for range sleeps {
		target := clock.Now().Add(sleepTime)
		until := unix.NsecToTimespec(int64(target))
		for {
			err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &until, nil)
			if err == nil {
				break
			}
			if err != unix.EINTR {
				t.lateErr = err
				return
			}
		}
		now := clock.Now()
		t.late = append(t.late, max(now.Sub(target), 0))
		if now.Sub(start) > sleepMost {
			break
		}
	}
	slices.Sort(t.late)
}

// timerSlack judges whether waits of a loop end in time.
func (h *host) timerSlack() Finding {
	t := &h.thread
	if t.slackErr != nil {
		return unknown(fmt.Errorf("prctl(PR_GET_TIMERSLACK): %w", t.slackErr))
	}
	figures := map[string]int64{"slack_ns": int64(t.slack)}
	if t.setSlack != nil {
		return Finding{
			Verdict: Problem, Figures: figures,
			Found:  fmt.Sprintf("%v; a loop that sets %v is refused: %v, and an engine does not open", t.slack, slackWanted, t.setSlack),
			Remedy: "allow prctl(2) with PR_SET_TIMERSLACK in this sandbox",
		}
	}
	return Finding{Found: fmt.Sprintf("%v for this process; loops set %v", t.slack, slackWanted), Figures: figures}
}

// slice judges whether a loop is scheduled soon after it wakes.
func (h *host) slice() Finding {
	t := &h.thread
	const remedy = "allow sched_getattr(2) and sched_setattr(2) in this sandbox"
	switch {
	case t.attrErr != nil:
		f := unknown(fmt.Errorf("sched_getattr: %w", t.attrErr))
		f.Remedy = remedy
		return f
	case t.setSlice != nil:
		return Finding{
			Verdict: Problem, Remedy: remedy,
			Found: fmt.Sprintf("a loop that asks for %v is refused: %v, and an engine does not open", sliceWanted, t.setSlice),
		}
	case t.slice == sliceWanted:
		return Finding{
			Found:   fmt.Sprintf("loops get the %v that they ask for", sliceWanted),
			Figures: map[string]int64{"slice_ns": int64(t.slice)},
		}
	}
	f := Finding{
		Verdict: Note, Found: fmt.Sprintf("this kernel grants no %v; a busy CPU delays a loop by another thread's slice", sliceWanted),
		Remedy: "Linux 6.12 or later; or --nice or --fifo, where other processes fill the CPUs",
	}
	if t.slice != 0 {
		f.Found += fmt.Sprintf(", as long as %v", t.slice)
		f.Figures = map[string]int64{"slice_ns": int64(t.slice)}
	}
	return f
}

// classes are the names of scheduling classes, by their numbers in sched(7).
var classes = map[uint32]string{
	unix.SCHED_NORMAL: "normal", unix.SCHED_FIFO: "FIFO", unix.SCHED_RR: "round-robin",
	unix.SCHED_BATCH: "batch", unix.SCHED_IDLE: "idle", unix.SCHED_DEADLINE: "deadline",
}

// schedulingClass judges the class of this process, and which better ones it may enter.
func (h *host) schedulingClass() Finding {
	if h.thread.attrErr != nil {
		return unknown(fmt.Errorf("sched_getattr: %w", h.thread.attrErr))
	}
	var fifo, nice unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_RTPRIO, &fifo); err != nil {
		return unknown(fmt.Errorf("getrlimit(RLIMIT_RTPRIO): %w", err))
	}
	if err := unix.Getrlimit(unix.RLIMIT_NICE, &nice); err != nil {
		return unknown(fmt.Errorf("getrlimit(RLIMIT_NICE): %w", err))
	}
	caps, err := h.effective()
	if err == nil && has(caps, unix.CAP_SYS_NICE) {
		fifo.Cur, nice.Cur = 99, 40
	}
	return judgeClass(&h.thread.attr, min(fifo.Cur, 99), min(nice.Cur, 40))
}

// judgeClass judges a class and the limits of better ones: the greatest priority of FIFO, and how far nice
// may go down from 20.
func judgeClass(attr *unix.SchedAttr, fifo, nice uint64) Finding {
	class, ok := classes[attr.Policy]
	if !ok {
		class = fmt.Sprintf("class %d", attr.Policy)
	}
	f := Finding{
		Found:   fmt.Sprintf("%s, nice %d", class, attr.Nice),
		Figures: map[string]int64{"nice": int64(attr.Nice), "fifo_limit": int64(fifo), "nice_limit": 20 - int64(nice)},
	}
	switch {
	case attr.Policy == unix.SCHED_IDLE || attr.Policy == unix.SCHED_BATCH:
		f.Verdict = Problem
		f.Found += ": a loop in this class wakes after all others"
		f.Remedy = "start the process in the normal class: chrt --other 0"
	case attr.Policy == unix.SCHED_NORMAL && attr.Nice > 0:
		f.Verdict = Note
		f.Found += ": others run before it"
		f.Remedy = "start the process at nice 0"
	case fifo == 0:
		f.Verdict = Note
		f.Found += "; --fifo is refused"
		f.Remedy = "give CAP_SYS_NICE or RLIMIT_RTPRIO (LimitRTPRIO=), if --fifo is wanted"
	default:
		f.Found += fmt.Sprintf("; --fifo works up to %d", fifo)
	}
	return f
}

// Wake-ups later than these limits are worth a note, and a problem.
const (
	lateNote    = time.Millisecond
	lateProblem = 10 * time.Millisecond
)

// wakeUp judges how late sleeps of a loop's thread end.
func (h *host) wakeUp() Finding {
	if h.thread.lateErr != nil {
		return unknown(fmt.Errorf("clock_nanosleep: %w", h.thread.lateErr))
	}
	return judgeLateness(h.thread.late)
}

// judgeLateness judges the lateness of wake-ups. late is sorted and not empty.
func judgeLateness(late []time.Duration) Finding {
	n := len(late)
	p50, p99, most := late[n/2], late[n*99/100], late[n-1]
	f := Finding{
		Found: fmt.Sprintf("a loop's thread wakes %v late in the median, %v at p99, %v at most, in %d sleeps",
			round(p50), round(p99), round(most), n),
		Figures: map[string]int64{"p50_ns": int64(p50), "p99_ns": int64(p99), "max_ns": int64(most), "sleeps": int64(n)},
	}
	switch {
	case p99 > lateProblem:
		f.Verdict = Problem
	case p99 > lateNote:
		f.Verdict = Note
	default:
		return f
	}
	f.Remedy = "give it CPU time: --fifo or --nice, CPUs of its own (--cpu), a larger CPU quota; or ask for later detection"
	return f
}

// round returns d to three digits or so.
func round(d time.Duration) time.Duration {
	switch {
	case d > 10*time.Millisecond:
		return d.Round(100 * time.Microsecond)
	case d > 100*time.Microsecond:
		return d.Round(time.Microsecond)
	}
	return d.Round(100 * time.Nanosecond)
}
