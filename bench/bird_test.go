package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const bfdSample = `2026-01-02 03:04:05.678 <TRACE> bfd1: Session to 10.79.129.1 added
2026-01-02 03:04:05.679 <TRACE> bfd1: Session to 10.79.129.1 changed state from Down to Init
2026-01-02 03:04:05.680 <TRACE> bfd1: Session to 10.79.129.1 changed state from Init to Up
2026-01-02 03:04:05.680 <TRACE> bfd1: Session to 10.79.129.2 changed state from Down to Up
2026-01-02 03:04:05.681 <TRACE> bfd1: Session to 10.79.129.1 expired
2026-01-02 03:04:05.681 <TRACE> bfd1: Session to 10.79.129.1 changed state from Up to Down
2026-01-02 03:04:05.690 <TRACE> bfd1: Session to 10.79.129.3 changed state from Down to Up
2026-01-02 03:04:05.691 <TRACE> bfd1: Session to 10.79.129.3 changed state from Up to Do`

func TestParseBFD(t *testing.T) {
	// The last line does not say to which state the session changed, but that it left Up.
	got, err := parseBFD(bfdSample)
	if err != nil || got.up != 1 || len(got.downs) != 2 || got.expired != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
	for i, want := range []int{681, 691} {
		if at := time.Date(2026, 1, 2, 3, 4, 5, want*1e6, time.Local); !got.downs[i].Equal(at) {
			t.Errorf("down %d was at %v, want %v", i, got.downs[i], at)
		}
	}
	if n := len(since(got.downs, got.downs[1].Add(time.Microsecond))); n != 1 {
		t.Errorf("%d downs in the last millisecond, want 1", n)
	}
	for log, want := range map[string]string{
		"03:04:05.681 <TRACE> bfd1: Session to ::1 changed state from Up to Down":            `BIRD's log, a change of the session to ::1: parsing time "03:04:05.681 <TRACE>"`,
		"2026-13-02 03:04:05.681 <TRACE> x: Session to b changed state from Up to AdminDown": "month out of range",
	} {
		if _, err := parseBFD(log); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", log, err, want)
		}
	}
}

// Whatever happened to the sessions, the log tells which are up and when each left Up; a prefix of
// a log, as read while BIRD writes, tells no more than the log.
func TestParseBFDProperty(t *testing.T) {
	states := rapid.SampledFrom([]string{"AdminDown", "Down", "Init", "Up"})
	rapid.Check(t, func(t *rapid.T) {
		begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
		var log strings.Builder
		var want bfdLog
		state := map[int]string{}
		for i := range rapid.IntRange(0, 20).Draw(t, "events") {
			at := begin.Add(time.Duration(i) * time.Millisecond)
			session := rapid.IntRange(0, 4).Draw(t, "session")
			line := fmt.Sprintf("%s <TRACE> bfd1: Session to %s ", at.Format(logTime), birdAddr(1, session))
			if rapid.Bool().Draw(t, "expires") {
				log.WriteString(line + "expired\n")
				want.expired++
				continue
			}
			from, to := cmp.Or(state[session], "Down"), states.Draw(t, "to")
			if from == "Up" {
				want.downs = append(want.downs, at)
			}
			state[session] = to
			fmt.Fprintf(&log, "%schanged state from %s to %s\n", line, from, to)
		}
		for _, s := range state {
			if s == "Up" {
				want.up++
			}
		}
		got, err := parseBFD(log.String())
		if err != nil || got.up != want.up || got.expired != want.expired || !slices.EqualFunc(got.downs, want.downs, time.Time.Equal) {
			t.Fatalf("%+v, %v; want %+v of\n%s", got, err, want, log.String())
		}
		cut := rapid.IntRange(0, log.Len()).Draw(t, "cut")
		part, err := parseBFD(log.String()[:cut])
		if err != nil || part.expired > want.expired || len(part.downs) > len(want.downs) || !slices.EqualFunc(part.downs, want.downs[:len(part.downs)], time.Time.Equal) {
			t.Fatalf("%+v, %v of the first %d bytes of\n%s", part, err, cut, log.String())
		}
	})
}

func TestCountStalls(t *testing.T) {
	at := func(ms ...int) (times []time.Time) {
		for _, n := range ms {
			times = append(times, time.UnixMilli(int64(n)))
		}
		return times
	}
	for _, c := range []struct {
		downs []time.Time
		want  int
	}{{nil, 0}, {at(5), 1}, {at(40, 10, 10, 230), 1}, {at(10, 510), 1}, {at(10, 511), 2}, {at(1500, 10, 20, 1505), 2}} {
		if got := countStalls(c.downs); got != c.want {
			t.Errorf("%v: %d stalls, want %d", c.downs, got, c.want)
		}
	}
}

// A stall begins at each time that has no other time within the gap before it.
func TestCountStallsProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var downs []time.Time
		begins := map[time.Time]bool{}
		for _, ms := range rapid.SliceOf(rapid.Int64Range(0, 5000)).Draw(t, "ms") {
			downs = append(downs, time.UnixMilli(ms))
		}
		for _, at := range downs {
			begins[at] = !slices.ContainsFunc(downs, func(other time.Time) bool { return other.Before(at) && at.Sub(other) <= stallGap })
		}
		want := 0
		for _, begin := range begins {
			if begin {
				want++
			}
		}
		given := slices.Clone(downs)
		if got := countStalls(downs); got != want || !slices.Equal(downs, given) {
			t.Fatalf("%d stalls, want %d", got, want)
		}
	})
}

func TestBirdFigures(t *testing.T) {
	begin := time.UnixMilli(1000)
	before := birdCounts{bfdLog{up: 4, downs: []time.Time{time.UnixMilli(900)}, expired: 1}, 50 * time.Millisecond, 1000}
	after := birdCounts{bfdLog{up: 2, downs: []time.Time{time.UnixMilli(900), time.UnixMilli(1000), time.UnixMilli(1030), time.UnixMilli(4000)}, expired: 3},
		290 * time.Millisecond, 121_000}
	got := after.figures(before, begin.Add(time.Microsecond), 30*time.Second)
	// Two stalls with three downs in half a minute; 240 ms of CPU and 120,000 packets.
	if want := []float64{4, 6, 4, 2, 4000}; !slices.Equal(got, want) {
		t.Errorf("figures %v, want %v", got, want)
	}
}

func TestBirdConfig(t *testing.T) {
	const want = `log "/tmp/x.log" all;
timeformat log iso long ms;
router id 10.79.129.1;
protocol device {}
protocol bfd {
	debug { events };
	interface "lab0" { interval 10 ms; multiplier 3; };
	neighbor 10.79.1.1 dev "lab0" local 10.79.129.1;
	neighbor 10.79.1.2 dev "lab0" local 10.79.129.2;
}
`
	if got := birdConfig("/tmp/x.log", "lab0", 1, 2); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Every end of every session has an address of its own in one network of 16 bits.
func TestBirdAddr(t *testing.T) {
	network := netip.MustParsePrefix("10.79.0.0/16")
	seen := map[netip.Addr]bool{}
	for i := range maxSessions {
		for end := range 2 {
			a, err := netip.ParseAddr(birdAddr(end, i))
			if err != nil || !network.Contains(a) || seen[a] || a.As4()[3] == 0 || a.As4()[3] == 255 {
				t.Errorf("end %d of session %d: %v, %v", end, i, a, err)
			}
			seen[a] = true
		}
	}
}

// read adds up both daemons: here two logs, and this process in the place of each.
func TestBirdRead(t *testing.T) {
	dir := t.TempDir()
	b := &birdPair{dir: dir}
	for i := range b.daemons {
		b.daemons[i] = &birdDaemon{device: "lo", log: filepath.Join(dir, fmt.Sprint(i)), pid: os.Getpid()}
		if err := os.WriteFile(b.daemons[i].log, []byte(bfdSample), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.read()
	if err != nil || got.up != 2 || len(got.downs) != 4 || got.expired != 2 || got.cpu < 0 {
		t.Errorf("read %+v, %v", got, err)
	}
	b.daemons[1].device = "none"
	if _, err := b.read(); err == nil || !strings.Contains(err.Error(), "net/dev: there is no device none") {
		t.Errorf("a device that does not exist: %v", err)
	}
	b.daemons[0].pid = 1 << 30 // above any process id
	if _, err := b.read(); err == nil || !strings.Contains(err.Error(), "bird has ended") {
		t.Errorf("a process that does not exist: %v", err)
	}
	b.daemons[0].log += "x"
	if _, err := b.read(); err == nil || !strings.Contains(err.Error(), b.daemons[0].log) {
		t.Errorf("a log that does not exist: %v", err)
	}
}

// A policy forbids services until it is removed. A policy of the machine stays as it is.
func TestForbidServices(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy-rc.d")
	allow, err := forbidServices(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || string(text) != "#!/bin/sh\nexit 101\n" {
		t.Errorf("policy %q, %v", text, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode()&0o100 == 0 {
		t.Errorf("the policy is no program: %v, %v", info, err)
	}
	again, err := forbidServices(path)
	if err != nil || again() != nil {
		t.Errorf("with a policy: %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("a policy of the machine was removed: %v", err)
	}
	if err := allow(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the policy is still there: %v", err)
	}
	if _, err := forbidServices(filepath.Join(path, "x")); err == nil {
		t.Error("a policy was written where there is no directory")
	}
}
