package qos

import (
	"testing"
	"time"

	"systole/engine/detect"
)

// A sender that stands still for five periods once a minute, judged by a detector that fails
// after three and a half: each pause is one wrong failure, which lasts until the heartbeat after.
func TestFailures(t *testing.T) {
	const hours, pause = 50, 500 * time.Millisecond
	m := Model{Period: 100 * time.Millisecond, Base: time.Millisecond, Stalls: []Events{{time.Minute, Uniform(pause, pause)}}}
	j := NewFailures(&detect.Fixed{Multiplier: 2, Fail: 1.75}, m.Period, time.Hour)
	if err := Watch(t.Context(), NewSource(&m, 1), (hours+1)*time.Hour, j); err != nil {
		t.Fatal(err)
	}
	f := j.Figures()
	near(t, "observed", f.Observed.Hours(), hours, 0.01)
	near(t, "wrong in a day", f.PerDay(), 24*60, 0.05)
	near(t, "suspected in a day", f.MistakesPerDay(), 24*60, 0.05)
	// The silence is the pause and what was left of a period before it, 50 ms on average.
	near(t, "mistaken", float64(f.Mistaken)/float64(f.Wrong), float64(pause+50*time.Millisecond-350*time.Millisecond), 0.1)
	for _, share := range []float64{0.5, 0.9} {
		near(t, "time", f.Time(share).Seconds(), 0.351, 0.01)
	}
	if f := (FailureFigures{}); f.Time(0.5) != 0 {
		t.Errorf("nothing was seen, and failed after %v", f.Time(0.5))
	}
}
