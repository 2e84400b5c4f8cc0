package kernelclock

import (
	"testing"
	"time"

	"systole/engine/clock"
)

func TestConvert(t *testing.T) {
	const hour = int64(time.Hour)
	now := clock.Reading{Now: 1_000_000_000, Wall: 5_000_000_000_000_000_000}
	prev := clock.Reading{Now: 990_000_000, Wall: now.Wall - 10_000_000}
	// The wall clock stepped forward by an hour between prev and now.
	stepped := clock.Reading{Now: now.Now, Wall: now.Wall + hour}
	tests := []struct {
		name  string
		r     clock.Reading
		stamp int64
		want  clock.Stamp
		ok    bool
	}{
		{"3 ms ago", now, now.Wall - 3_000_000, clock.Stamp{At: 997_000_000, Source: clock.Kernel}, true},
		{"just after the clock read", now, now.Wall + 100_000, clock.Stamp{At: 1_000_000_000, Source: clock.Kernel}, true},
		{"before the last drain", now, now.Wall - 50_000_000, clock.Stamp{}, false},
		{"in the future", now, now.Wall + 50_000_000, clock.Stamp{}, false},
		{"taken before the step", stepped, prev.Wall + 7_000_000, clock.Stamp{At: 997_000_000, Source: clock.Kernel}, true},
		{"taken after the step", stepped, stepped.Wall - 3_000_000, clock.Stamp{At: 997_000_000, Source: clock.Kernel}, true},
		{"an hour off under both offsets", now, now.Wall - hour, clock.Stamp{}, false},
		{"in CLOCK_MONOTONIC", now, 997_000_000, clock.Stamp{At: 997_000_000, Source: clock.BPF}, true},
		{"in CLOCK_MONOTONIC, in the future", now, 1_010_000_000, clock.Stamp{}, false},
	}
	for _, tt := range tests {
		got, ok := Convert(tt.r, tt.stamp, 990_000_000, prev)
		if got != tt.want || ok != tt.ok {
			t.Errorf("%s: Convert = %v, %v; want %v, %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

func TestIsAfter(t *testing.T) {
	r := clock.Reading{Now: 1_000_000_000, Wall: 1_700_000_000_000_000_000}
	for _, test := range []struct {
		stamp int64
		want  bool
	}{{r.Wall, false}, {r.Wall - 1, false}, {r.Wall + 1, true}, {int64(r.Now), false}, {int64(r.Now) + 1, true}, {1, false}} {
		if got := IsAfter(r, test.stamp); got != test.want {
			t.Errorf("IsAfter(%d) = %v", test.stamp, got)
		}
	}
}

func TestSuspendedDoesNotShrink(t *testing.T) {
	a, err := Suspended()
	if err != nil {
		t.Fatal(err)
	}
	b, err := Suspended()
	if err != nil {
		t.Fatal(err)
	}
	// The two clocks are read one after the other, so allow the gap between the reads.
	if b < a-time.Millisecond {
		t.Errorf("suspended time shrank from %v to %v", a, b)
	}
}
