package detect_test

import (
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/detect/published"
)

const ms = time.Millisecond

// A Judge counts mistakes by level. The detector only learns from the first heartbeat and from
// those with judged unset. Stale ones change nothing.
func TestJudge(t *testing.T) {
	j := detect.NewJudge(published.Fixed(2, 2), 1, 2) // deadlines of 20 and 40 ms
	for i, h := range []struct {
		sequence     uint64
		at           time.Duration
		judged, take bool
	}{
		{1, 0, true, true},         // the first
		{3, 100 * ms, false, true}, // not judged
		{3, 190 * ms, true, false}, {2, 190 * ms, true, false},
		{4, 130 * ms, true, true}, // suspected for 10 ms
		{5, 180 * ms, true, true}, // for 30 ms, failed for 10
		{6, 200 * ms, true, true}, // at the deadline itself
	} {
		at := clock.Instant(time.Hour + h.at)
		beat := detect.Heartbeat{Sequence: h.sequence, Send: at, Arrival: at, Period: 10 * ms}
		if j.Take(&beat, h.judged) != h.take {
			t.Errorf("heartbeat %d: taken %v, want %v", i, !h.take, h.take)
		}
	}
	suspect, fail := j.Verdicts[0], j.Verdicts[1]
	if j.Heartbeats != 3 || j.Observed != 100*ms {
		t.Errorf("judged %d for %v", j.Heartbeats, j.Observed)
	}
	if suspect.Mistakes != 2 || suspect.Mistaken != 40*ms || fail.Mistakes != 1 || fail.Mistaken != 10*ms {
		t.Errorf("suspected %d times, %v; failed %d times, %v", suspect.Mistakes, suspect.Mistaken, fail.Mistakes, fail.Mistaken)
	}
	if end := clock.Instant(time.Hour + 200*ms); suspect.Deadline != end.Add(20*ms) || fail.Deadline != end.Add(40*ms) {
		t.Errorf("deadlines %v and %v after the last heartbeat", suspect.Deadline.Sub(end), fail.Deadline.Sub(end))
	}
}
