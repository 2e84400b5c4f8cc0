package enginetest_test

import (
	"testing"
	"time"

	"systole/engine"
	"systole/engine/enginetest"
	"systole/engine/enginetest/netmodel"
)

// More waits in a socket than a turn reads, for longer than peers are granted: whoever lies
// behind it is not accused. Without stamps that cannot be told, so there the wait is short.
func TestCrowdAccusesNobody(t *testing.T) {
	const period = 10 * time.Millisecond
	for name, c := range map[string]struct {
		phases   int // tenths of the period by which it may begin later
		noStamps bool
		faults   []enginetest.Fault
	}{
		"flood": {10, false, []enginetest.Fault{
			{Kind: "flood", Host: "a", For: 2 * time.Millisecond, Count: 20_000},
		}},
		"flood in a stop": {10, false, []enginetest.Fault{
			{Kind: "stop", Host: "a", For: 50 * time.Millisecond},
			{Kind: "flood", Host: "a", For: 40 * time.Millisecond, Count: 20_000},
		}},
		"without stamps": {10, true, []enginetest.Fault{
			{Kind: "flood", Host: "a", For: 2 * time.Millisecond, Count: 8000},
		}},
		// What comes soon after the deadline, and is not yet read, saves its sender as well.
		"late": {2, false, []enginetest.Fault{
			{Kind: "hold-sends", Host: "b", At: 5 * time.Millisecond, For: 16 * time.Millisecond},
			{Kind: "flood", Host: "a", At: 18 * time.Millisecond, For: 4 * time.Millisecond, Count: 4000},
		}},
	} {
		for phase := range c.phases {
			s := &enginetest.Scenario{
				Seed: 1, Duration: 2 * time.Second,
				Nodes: []enginetest.Node{
					{
						Name: "a", Watch: []string{"b"}, Detector: "fixed:2", Period: period,
						Machine: enginetest.Machine{ReadTime: 3 * time.Microsecond, Receive: 30_000, NoStamps: c.noStamps},
					},
					{Name: "b", Watch: []string{"a"}, Detector: "fixed", Period: period},
				},
				Link: netmodel.Link{Delay: netmodel.Distribution{Base: 200 * time.Microsecond}},
			}
			for _, f := range c.faults {
				f.At += time.Second + time.Duration(phase)*period/10
				s.Faults = append(s.Faults, f)
			}
			if err := s.Validate(); err != nil {
				t.Fatal(err)
			}
			r := s.Run()
			for _, e := range r.Events {
				if e.Host == "a" && e.Event.To == engine.Suspect {
					t.Errorf("%s, phase %d: %v", name, phase, e)
				}
			}
			for _, v := range r.Violations {
				t.Errorf("%s, phase %d: %v", name, phase, v)
			}
		}
	}
}

// The dead are found out behind a flood that is more than can be read: what is judged by is
// what was read, and that moves on.
func TestFloodDoesNotKeepTheDeadAlive(t *testing.T) {
	const period = 10 * time.Millisecond
	for _, noStamps := range []bool{false, true} {
		s := &enginetest.Scenario{
			Seed: 1, Duration: 1500 * time.Millisecond,
			Nodes: []enginetest.Node{
				{Name: "a", Watch: []string{"b"}, Detector: "fixed:2", Period: period, Machine: enginetest.Machine{ReadTime: 3 * time.Microsecond, Receive: 8000, NoStamps: noStamps}},
				{Name: "b", Watch: []string{"a"}, Detector: "fixed:2", Period: period},
			},
			Faults: []enginetest.Fault{
				{Kind: "crash", At: time.Second, Host: "b"},
				{Kind: "flood", At: time.Second, For: 100 * time.Millisecond, Host: "a", Count: 60_000},
				{Kind: "flood", At: 1100 * time.Millisecond, For: 100 * time.Millisecond, Host: "a", Count: 60_000},
			},
		}
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		r := s.Run()
		suspected := suspectedAt(r, "a") - time.Second
		// Two periods of silence, and what the buffer holds; and as much for each of the three
		// times that it overflowed.
		if suspected <= 0 || suspected > 4*(2*period+24*time.Millisecond) || len(r.Violations) > 0 {
			t.Errorf("no stamps %v: suspected after %v; %v", noStamps, suspected, r.Violations)
		}
	}
}

// A receive buffer that does not hold what arrives in a grid step is read without pause, so a flood
// that can be read costs hardly a heartbeat.
func TestSmallBufferIsReadAtOnce(t *testing.T) {
	s := &enginetest.Scenario{
		Seed: 1, Duration: 12 * time.Second, Link: netmodel.Link{Delay: netmodel.Distribution{Kind: "constant", Base: 2 * time.Millisecond}},
		Nodes: []enginetest.Node{
			{Name: "a", Watch: []string{"b"}, Detector: "fixed:4", Period: 100 * time.Millisecond, Machine: enginetest.Machine{ReadTime: 3 * time.Microsecond, Receive: 10}},
			{Name: "b", Watch: []string{"a"}, Detector: "fixed:4", Period: 100 * time.Millisecond},
		},
		Faults: []enginetest.Fault{
			{Kind: "flood", At: time.Second, For: 10 * time.Second, Host: "a", Count: 100_000}, // 40 a grid step
		},
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	r := s.Run()
	const beforeLoss = 10 // until the first loss shows that the buffer overflows; about 100 without that
	if lost := r.Sent - r.Accepted; lost > beforeLoss || len(r.Violations) > 0 {
		t.Errorf("%d of %d heartbeats were lost; %v", lost, r.Sent, r.Violations)
	}
}

// A turn that takes long because much was to be read is no pause: the kernel went on receiving
// meanwhile. Else whoever dies in a flood would be excused for as long as it lasts.
func TestWorkIsNoPause(t *testing.T) {
	const period, readTime = 5 * time.Millisecond, 8 * time.Microsecond
	for _, share := range []int{60, 90, 110} { // per cent of what can be read
		s := &enginetest.Scenario{
			Seed: 1, Duration: 2 * time.Second,
			Nodes: []enginetest.Node{
				{Name: "a", Watch: []string{"b"}, Detector: "fixed:2", Period: period, Machine: enginetest.Machine{ReadTime: readTime, Receive: 30_000}},
				{Name: "b", Watch: []string{"a"}, Detector: "fixed:2", Period: period},
			},
			Faults: []enginetest.Fault{
				{Kind: "flood", At: 900 * time.Millisecond, For: 600 * time.Millisecond, Host: "a", Count: 75_000 * share / 100},
				{Kind: "crash", At: time.Second, Host: "b"},
			},
		}
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		r := s.Run()
		// Two periods of silence, a turn, and what has piled up by then.
		most := 2*period + 512*readTime + time.Duration(max(share-100, 0))*130*time.Millisecond/100 + time.Millisecond
		if d := suspectedAt(r, "a") - time.Second; d <= 0 || d > most || len(r.Violations) > 0 {
			t.Errorf("at %d %%: suspected after %v, want %v; %v", share, d, most, r.Violations)
		}
	}
}

// suspectedAt returns when a host first suspected somebody, 0 if it never did.
func suspectedAt(r *enginetest.Result, host string) time.Duration {
	for _, e := range r.Events {
		if e.Host == host && e.Event.To == engine.Suspect {
			return e.At
		}
	}
	return 0
}
