package level

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/detect"
)

// All faults are reported at once, each by its field.
func TestValidate(t *testing.T) {
	good := List{{Name: "a", Raise: 1, Clear: 0.5, Stay: time.Second}, {Name: "b", Raise: 8}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	bad := List{
		{Raise: 1, Clear: 2},
		{Name: "b", Raise: 1, Clear: math.NaN(), Stay: -1},
		{Name: "b", Raise: math.Inf(1)},
		{Name: "d", Raise: math.NaN(), Stay: maxStay + 1},
		{Name: "e", Raise: 9, Clear: 8},
		{Name: "f", Raise: 10, Clear: 7},
	}
	want := strings.Fields("List[0].Name List[0].Clear List[1].Raise List[1].Clear List[1].Stay " +
		"List[2].Name List[2].Raise List[3].Raise List[3].Stay List[5].Clear")
	var got []string
	for _, err := range bad.Validate().(interface{ Unwrap() []error }).Unwrap() {
		var f *engine.FieldError
		if !errors.As(err, &f) {
			t.Fatalf("%v is no *engine.FieldError", err)
		}
		got = append(got, f.Field)
	}
	// What follows a Raise that is no number is judged against it.
	got = deleteAll(got, "List[4].Raise", "List[3].Clear", "List[4].Clear")
	if !reflect.DeepEqual(got, want) {
		t.Errorf("faults in %q, want %q\n%v", got, want, bad.Validate())
	}
	if err := (List{}).Validate(); err == nil {
		t.Error("no levels are valid")
	}
	if err := make(List, maxLevels+1).Validate(); err == nil {
		t.Error("too many levels are valid")
	}
	var none *Options
	if err := errors.Join(none.validate(), (&Options{Parallel: 4}).validate()); err != nil {
		t.Error(err)
	}
	var f *engine.FieldError
	if err := (&Options{Parallel: -1}).validate(); !errors.As(err, &f) || f.Field != "Parallel" {
		t.Errorf("Parallel -1: %v", err)
	}
}

// deleteAll returns list without some values.
func deleteAll(list []string, values ...string) (kept []string) {
	for _, s := range list {
		if !strings.Contains(" "+strings.Join(values, " ")+" ", " "+s+" ") {
			kept = append(kept, s)
		}
	}
	return kept
}

func TestMistakeEvery(t *testing.T) {
	// Of facts about detectors: 30 days at 100 ms.
	if got := MistakeEvery(30*24*time.Hour, 100*time.Millisecond); math.Abs(got-7.4137) > 1e-3 {
		t.Errorf("φ of one mistake in 30 days at 100 ms is %v", got)
	}
	for _, d := range []time.Duration{0, -time.Second, time.Second} {
		if got := MistakeEvery(time.Second, d); got != 0 {
			t.Errorf("period %v: %v", d, got)
		}
	}
	// It is what the detector that promises makes of its promise.
	d := detect.Margin(detect.MarginOptions{MistakeEvery: time.Hour, Period: 10 * time.Millisecond})
	suspect, _ := d.Levels()
	if got := MistakeEvery(time.Hour, 10*time.Millisecond); math.Abs(got-suspect) > 1e-9 {
		t.Errorf("φ %v, the detector's level %v", got, suspect)
	}
}
