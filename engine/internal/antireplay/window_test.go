package antireplay

import (
	"testing"

	"pgregory.net/rapid"
)

// W12: the ledger of a replay window.
func TestWindow(t *testing.T) {
	var w Window
	for i, step := range []struct {
		sequence uint64
		want     bool
	}{
		{0, false}, {1, true}, {1, false}, {3, true}, {2, true}, {2, false}, {3, false},
		{67, true}, {3, false}, {4, true}, {4, false}, {66, true}, {131, true}, {67, false}, {68, true},
		{1000, true}, {131, false}, {999, true}, {1 << 63, true}, {1<<63 - 63, true}, {1<<63 - 64, false},
		{1<<64 - 1, true}, {1<<64 - 1, false}, {0, false},
	} {
		if got := w.Accept(step.sequence); got != step.want {
			t.Errorf("step %d: Accept(%d) = %v", i, step.sequence, got)
		}
	}
	if w.Highest() != 1<<64-1 {
		t.Errorf("Highest = %d", w.Highest())
	}
}

// The window is a set that forgets what is 64 behind (W12).
func TestWindowIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w Window
		seen, highest := make(map[uint64]bool), uint64(0)
		for range 200 {
			n := rapid.Uint64Range(1, 300).Draw(t, "sequence")
			want := !seen[n] && (n > highest || highest-n < 64)
			if w.Accept(n) != want {
				t.Fatalf("Accept(%d) = %v with highest %d", n, !want, highest)
			}
			if want {
				seen[n], highest = true, max(highest, n)
			}
		}
	})
}
