package replay

import (
	"slices"
	"testing"
)

// What was added comes back whole and in order, wherever parts end.
func TestParts(t *testing.T) {
	for _, n := range []int{0, 1, firstPart, firstPart + 1, 3*firstPart + 1, 2 * greatestPart, 3*greatestPart + 7} {
		var p parts
		var want Trace
		for i := range n {
			b := Beat{Sequence: uint64(i), Send: int64(2 * i)}
			p.add(b)
			want = append(want, b)
		}
		if got := p.trace(); p.n != n || !slices.Equal(got, want) {
			t.Errorf("%d heartbeats: %d came back, counted as %d", n, len(got), p.n)
		}
	}
}
