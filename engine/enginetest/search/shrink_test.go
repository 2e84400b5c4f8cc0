package search

import (
	"testing"
	"time"
)

// A scenario that ends earlier is valid still: what would have come later is gone, so that
// shrinking it is not refused.
func TestTruncatedScenariosAreValid(t *testing.T) {
	for seed := range uint64(2000) {
		s := RandomScenario(seed)
		s.Calm = 0
		at := s.Duration / 3
		if !truncate(s, at) {
			t.Fatalf("seed %d: not shortened", seed)
		}
		if err := s.Validate(); err != nil || s.Duration <= at || s.Duration > at+2*time.Millisecond {
			t.Fatalf("seed %d: cut at %v, ends at %v: %v", seed, at, s.Duration, err)
		}
	}
}
