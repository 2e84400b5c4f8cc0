package evidence

import (
	"testing"
	"time"

	"systole/engine/clock"
)

// In a time of grace only the verdict of the loop counts.
func TestCounts(t *testing.T) {
	const grace = clock.Instant(100)
	if got := Counts(7, 3, grace-1, grace); got != 3 {
		t.Errorf("%v in the time of grace", got)
	}
	if got := Counts(7, 3, grace, grace); got != 7 {
		t.Errorf("%v after it", got)
	}
}

func TestNext(t *testing.T) {
	const ms = clock.Instant(time.Millisecond)
	now := 1000 * ms
	for _, test := range []struct {
		what string
		c    Check
		at   clock.Instant
		poll bool
	}{
		{"near: exactly then", Check{Due: now + 5*ms}, now + 5*ms, false},
		{"far: on the grid, a step earlier", Check{Due: now + 101*ms}, now + 96*ms, false},
		{"never: at the latest then", Check{Due: clock.Never}, now + 996*ms, false},
		{"due, and not read that far", Check{Due: now}, now.Add(MinPoll), true},
		{"late: a share of that", Check{Due: now - 40*ms}, now + 5*ms, true},
		{"very late: bounded", Check{Due: 0}, now.Add(maxPoll), true},
		{"due in a time of grace", Check{Due: now, Grace: now + 50*ms}, now + 50*ms, true},
		{"soon", Check{Due: clock.Never, Soon: true}, now + 4*ms, false},
	} {
		test.c.Now, test.c.Grid = now, 4*time.Millisecond
		if at, poll := test.c.Next(); at != test.at || poll != test.poll {
			t.Errorf("%s: %v after now, poll %v; want %v, %v", test.what, at.Sub(now), poll, test.at.Sub(now), test.poll)
		}
	}
}
