package enginetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"
)

// What a scenario or a test may ask for. Clocks are 64 bits of nanoseconds, which these leave room in.
const (
	maxDuration  = 1000 * time.Hour          // that a world runs
	maxDelay     = time.Hour                 // of a datagram, or of a process that is woken
	maxClock     = 10 * 365 * 24 * time.Hour // that a machine is up at first, or a wall clock steps
	maxReadTime  = time.Millisecond          // of one datagram
	maxDrift     = 500                       // ppm
	maxRoom      = 1_000_000                 // datagrams
	maxFlood     = 100_000                   // datagrams
	maxTakes     = 1000                      // datagrams
	maxShape     = 100                       // of a distribution
	maxLineSpeed = 1e12                      // bytes per second
	maxLoad      = 1000                      // of a line's rate
)

// faults takes a fault of a field.
type faults func(field, format string, args ...any)

// reported returns all faults that check finds, joined.
func reported(check func(bad faults)) error {
	var list []error
	check(func(field, format string, args ...any) {
		list = append(list, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	})
	return errors.Join(list...)
}

// refuse panics with the faults that check finds in what call was given: they are mistakes of
// the test's author, who would be testing something else.
func refuse(call string, check func(bad faults)) {
	if err := reported(check); err != nil {
		panic(fmt.Sprintf("enginetest: %s: %v", call, err))
	}
}

// useless reports the fields of v that are set and not among those that its kind takes.
func useless(bad faults, at string, v reflect.Value, kind string, takes []string) {
	for i := range v.NumField() {
		name := fieldName(v.Type().Field(i).Name)
		if !v.Field(i).IsZero() && !slices.Contains(takes, name) {
			bad(at+"."+name, "%s has no use for it", kind)
		}
	}
}

// within reports d unless it is within least to most.
func within(bad faults, name string, d, least, most time.Duration) {
	if d < least || d > most {
		bad(name, "%s is not within %s to %s", plain(d), plain(least), plain(most))
	}
}

// count reports n unless it is within 0 to most.
func count(bad faults, name string, n, most int) {
	if n < 0 || n > most {
		bad(name, "%d is not within 0 to %d", n, most)
	}
}

// figure reports x unless it is within 0 to most, as NaN is not.
func figure(bad faults, name string, x, most float64) {
	if !(x >= 0 && x <= most) {
		bad(name, "%v is not within 0 to %v", x, most)
	}
}

// probability reports p unless it is one.
func probability(bad faults, name string, p float64) { figure(bad, name, p, 1) }

// drift reports what clocks cannot gain: kernels allow no more.
func drift(bad faults, name string, ppm float64) {
	if !(ppm >= -maxDrift && ppm <= maxDrift) {
		bad(name, "%v ppm is not within ±%d", ppm, maxDrift)
	}
}

// plain returns d as people write it: 0, and 1000h and not 1000h0m0s.
func plain(d time.Duration) string {
	switch {
	case d == 0:
		return "0"
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return d.String()
}
