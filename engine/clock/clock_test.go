package clock

import (
	"testing"
	"time"
)

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
		i := at(now).Add(-ago)
		got := i.Time()
		if at(got) != i {
			t.Errorf("%v ago: %v leads back to %v", ago, i, at(got))
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
