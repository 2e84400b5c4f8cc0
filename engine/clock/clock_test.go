package clock

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An Instant must be the kernel's CLOCK_MONOTONIC: BPF stamps are compared with
// it unconverted.
func TestNowIsMonotonicClock(t *testing.T) {
	best := time.Duration(1<<63 - 1)
	for range 100 {
		var ts unix.Timespec
		before := Now()
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			t.Fatal(err)
		}
		after := Now()
		kernel := Instant(ts.Nano())
		off := max(before.Sub(kernel), kernel.Sub(after), 0)
		best = min(best, off)
	}
	if best > 20*time.Microsecond {
		t.Errorf("Now lies %v outside the bracket around CLOCK_MONOTONIC", best)
	}
}

func TestReadingConvert(t *testing.T) {
	const hour = int64(time.Hour)
	now := Reading{Now: 1_000_000_000, Wall: 5_000_000_000_000_000_000}
	prev := Reading{Now: 990_000_000, Wall: now.Wall - 10_000_000}
	// The wall clock stepped forward by an hour between prev and now.
	stepped := Reading{Now: now.Now, Wall: now.Wall + hour}
	tests := []struct {
		name  string
		r     Reading
		stamp int64
		want  Stamp
		ok    bool
	}{
		{"3 ms ago", now, now.Wall - 3_000_000, Stamp{997_000_000, Kernel}, true},
		{"just after the clock read", now, now.Wall + 100_000, Stamp{1_000_000_000, Kernel}, true},
		{"before the last drain", now, now.Wall - 50_000_000, Stamp{}, false},
		{"in the future", now, now.Wall + 50_000_000, Stamp{}, false},
		{"taken before the step", stepped, prev.Wall + 7_000_000, Stamp{997_000_000, Kernel}, true},
		{"taken after the step", stepped, stepped.Wall - 3_000_000, Stamp{997_000_000, Kernel}, true},
		{"an hour off under both offsets", now, now.Wall - hour, Stamp{}, false},
		{"in CLOCK_MONOTONIC", now, 997_000_000, Stamp{997_000_000, BPF}, true},
		{"in CLOCK_MONOTONIC, in the future", now, 1_010_000_000, Stamp{}, false},
	}
	for _, tt := range tests {
		got, ok := tt.r.Convert(tt.stamp, 990_000_000, prev)
		if got != tt.want || ok != tt.ok {
			t.Errorf("%s: Convert = %v, %v; want %v, %v", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

func TestReadingIsAfter(t *testing.T) {
	r := Reading{Now: 1_000_000_000, Wall: 1_700_000_000_000_000_000}
	for _, test := range []struct {
		stamp int64
		want  bool
	}{{r.Wall, false}, {r.Wall - 1, false}, {r.Wall + 1, true}, {int64(r.Now), false}, {int64(r.Now) + 1, true}, {1, false}} {
		if got := r.IsAfter(test.stamp); got != test.want {
			t.Errorf("IsAfter(%d) = %v", test.stamp, got)
		}
	}
}

func TestInstantAddSaturates(t *testing.T) {
	if got := Never.Add(-time.Hour); got != Never {
		t.Errorf("Never.Add(-1h) = %v, want never", got)
	}
	if got := (Never - 1).Add(time.Second); got != Never {
		t.Errorf("(Never-1).Add(1s) = %v, want never", got)
	}
	if got := Instant(5).Add(7); got != 12 {
		t.Errorf("5+7 = %d", got)
	}
}

func TestInstantString(t *testing.T) {
	for i, want := range map[Instant]string{0: "unset", Never: "never", 1_500_000_000: "1.500000000s"} {
		if got := i.String(); got != want {
			t.Errorf("Instant(%d).String() = %q, want %q", int64(i), got, want)
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

func TestNoAllocs(t *testing.T) {
	var sink Reading
	if n := testing.AllocsPerRun(100, func() { sink = Read() }); n != 0 {
		t.Errorf("Read allocates %v times", n)
	}
	_ = sink
}

func BenchmarkNow(b *testing.B) {
	for b.Loop() {
		Now()
	}
}

func BenchmarkRead(b *testing.B) {
	for b.Loop() {
		Read()
	}
}

// An instant's time is by the present wall clock, and leads back to the instant.
func TestTimeOfInstant(t *testing.T) {
	now := time.Now()
	for _, ago := range []time.Duration{0, time.Nanosecond, time.Hour, -time.Hour} {
		i := At(now).Add(-ago)
		got := i.Time()
		if At(got) != i {
			t.Errorf("%v ago: %v leads back to %v", ago, i, At(got))
		}
		if off := got.Round(0).Sub(now.Round(0).Add(-ago)).Abs(); off > 10*time.Millisecond {
			t.Errorf("%v ago: %v off", ago, off)
		}
	}
	if !Instant(0).Time().IsZero() {
		t.Error("the zero Instant has a time")
	}
	if years := Never.Time().Year() - now.Year(); years < 250 || years > 350 {
		t.Errorf("Never is %d years ahead", years)
	}
}
