// Package param checks the parameters of detectors.
package param

import (
	"fmt"
	"strings"
	"time"
)

// MaxLevel bounds levels of failure: higher ones would be years away.
const MaxLevel = 1e6

// OrDefault returns v, or d if v is 0.
func OrDefault(v, d float64) float64 {
	if v == 0 {
		return d
	}
	return v
}

// Within returns an error unless value is within least to most.
func Within[T int | float64 | time.Duration](field string, value, least, most T) error {
	if value >= least && value <= most {
		return nil
	}
	return fmt.Errorf("detect: %s %v is not within %v to %v", field, printed(value), printed(least), printed(most))
}

// printed returns durations in their plain format, and other values as they are.
func printed(value any) any {
	if d, ok := value.(time.Duration); ok {
		return Plain(d)
	}
	return value
}

// ZeroOr is Within for a field whose 0 means a default.
func ZeroOr[T int | float64 | time.Duration](field string, value, least, most T) error {
	if value == 0 {
		return nil
	}
	return Within(field, value, least, most)
}

// Above returns an error unless value is 0, which means a default, or above bound and at most most.
func Above(field string, value, bound, most float64) error {
	if value == 0 || value > bound && value <= most {
		return nil
	}
	return fmt.Errorf("detect: %s %v is not above %v and at most %v", field, value, bound, most)
}

// Plain formats a duration without minutes and seconds that are 0.
func Plain(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	text := d.String()
	if whole, ok := strings.CutSuffix(text, "m0s"); ok {
		text = whole + "m"
	}
	if whole, ok := strings.CutSuffix(text, "h0m"); ok {
		text = whole + "h"
	}
	return text
}
