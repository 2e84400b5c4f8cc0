package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"systole/engine/enginetest/netlab"
)

// TestMain lets the test's binary be the ends of a pairing, as the program is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if end, ok := subcommands[os.Args[1]]; ok {
			if err := end(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	os.Exit(m.Run())
}

func TestParseBFD(t *testing.T) {
	const log = `2026-01-02 03:04:05.678 <TRACE> bfd1: Session to 10.79.129.1 added
2026-01-02 03:04:05.679 <TRACE> bfd1: Session to 10.79.129.1 changed state from Down to Init
2026-01-02 03:04:05.680 <TRACE> bfd1: Session to 10.79.129.1 changed state from Init to Up
2026-01-02 03:04:05.680 <TRACE> bfd1: Session to 10.79.129.2 changed state from Down to Up
2026-01-02 03:04:05.681 <TRACE> bfd1: Session to 10.79.129.1 expired
2026-01-02 03:04:05.681 <TRACE> bfd1: Session to 10.79.129.1 changed state from Up to Down
2026-01-02 03:04:05.690 <TRACE> bfd1: Session to 10.79.129.3 changed state from Down to Up
2026-01-02 03:04:05.691 <TRACE> bfd1: Session to 10.79.129.3 changed state from Up to Do`
	// Of the last line one cannot tell where it went, but it left Up.
	got, err := parseBFD(log)
	if err != nil || got.up != 1 || len(got.fell) != 2 || got.expired != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := parseBFD("03:04:05.681 <TRACE> bfd1: Session to ::1 changed state from Up to Down"); err == nil {
		t.Error("a change without a date was taken")
	}
	if n := len(since(got.fell, got.fell[1].Add(time.Microsecond))); n != 1 {
		t.Errorf("%d fell in the last millisecond, want 1", n)
	}
}

func TestStalls(t *testing.T) {
	at := func(ms ...int) (times []time.Time) {
		for _, n := range ms {
			times = append(times, time.UnixMilli(int64(n)))
		}
		return times
	}
	for _, c := range []struct {
		fell []time.Time
		want int
	}{{nil, 0}, {at(5), 1}, {at(40, 10, 10, 230), 1}, {at(10, 510), 1}, {at(10, 511), 2}, {at(1500, 10, 20, 1505), 2}} {
		if got := stalls(c.fell); got != c.want {
			t.Errorf("%v: %d stalls, want %d", c.fell, got, c.want)
		}
	}
}

func TestParseProc(t *testing.T) {
	// proc_pid_stat(5): utime is field 14, stime 15; the name may hold anything.
	stat := "42 (a) (b c) S " + strings.Repeat("1 ", 10) + "150 50 7 7 20 0 2"
	if got, err := parseStat(stat); err != nil || got != 2*time.Second {
		t.Errorf("CPU time %v, %v", got, err)
	}
	if _, err := parseStat("42 (cat) R 1 2"); err == nil {
		t.Error("a short stat was taken")
	}
	const dev = "Inter-| Receive | Transmit\n face |bytes packets\n    lo: 1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n  lab0: 900 17 0 0 0 0 0 0 800 15 0 0 0 0 0 0\n"
	if got, err := parseDev(dev, "lab0"); err != nil || got != 32 {
		t.Errorf("%d packets, %v", got, err)
	}
	if _, err := parseDev(dev, "lab"); err == nil {
		t.Error("a device that is not there was read")
	}
}

// Busy loops are busy: children's CPU time grows while they run.
func TestBusy(t *testing.T) {
	spent := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := spent()
	stop, err := startBusy(2)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if took := spent() - before; took < 100*time.Millisecond {
		t.Errorf("two busy loops took %v of CPU in 300 ms", took)
	}
}

// The floor program sends at its rate, what it sends arrives, and it says what that cost.
func TestFloor(t *testing.T) {
	f, err := newFloor()
	netlab.Require(t, err)
	defer func() {
		if err := f.close(); err != nil {
			t.Error(err)
		}
	}()
	for _, c := range []floorCase{{"one way", 136, 10000, 1000, 0}, {"both ways", 152, 10000, 1000, 10000}} {
		a, b, err := f.measure(t.Context(), c, 300*time.Millisecond)
		for range 9 {
			if !errors.Is(err, errDisturbed) {
				break
			}
			a, b, err = f.measure(t.Context(), c, 300*time.Millisecond)
		}
		if err != nil {
			t.Fatal(err)
		}
		// The processes start and end apart by some ticks, so not all is counted at both; and on a
		// busy machine they miss ticks.
		if a.Sent <= 0 || a.Sent > 3500 || b.Received <= 0 || b.Received > 3500 {
			t.Errorf("%s: sent %v, received %v, dropped %v", c.name, a.Sent, b.Received, b.Dropped)
		}
		if cost := a.perDatagram(); cost < 50 || cost > 1e6 {
			t.Errorf("%s: a datagram cost %v ns", c.name, cost)
		}
		if calls := (a.Calls + b.Calls) / (a.Sent + b.Received); calls > 1 {
			t.Errorf("%s: %v system calls per datagram", c.name, calls)
		}
	}
}

// A node and its population meet, exchange what their periods say, and report it.
func TestPairing(t *testing.T) {
	p := pairing{peers: 50, period: 20 * time.Millisecond, procs: 1, detector: "fixed"}
	n, q, err := p.run(t.Context(), time.Second, 0)
	netlab.Require(t, err)
	const each = 2500 // in a second
	for what, count := range map[string]uint64{"sent": n.Sent, "received": n.Received, "sent by the population": q.Sent, "received by it": q.Received} {
		if count < each/2 || count > each*3/2 {
			t.Errorf("%s: %d, want about %d", what, count, each)
		}
	}
	if n.CPU <= 0 || n.Loop <= 0 || n.Loop > n.CPU+100*time.Millisecond || n.BytesPerPeer < 500 || n.AddTime <= 0 || n.PausePeers <= 0 {
		t.Errorf("counted %+v", n)
	}
}
