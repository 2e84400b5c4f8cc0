package prefetch

import (
	"sync/atomic"
	"testing"
	"time"
)

// Prefetching changes nothing, allocates nothing, and accepts what has no memory.
func TestHarmless(t *testing.T) {
	var none struct{}
	var value [100]byte
	slice := make([]uint64, 33)
	slice[32] = 7
	words := make([]atomic.Uint64, 3) // of an alignment that stacks of 32-bit machines lack
	if n := testing.AllocsPerRun(100, func() {
		Value(&none)
		Value(&value)
		Value[int](nil)
		Slice[byte](nil)
		Slice(slice)
		Slice(slice[33:])
		Slice(words)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if value != [100]byte{} || slice[32] != 7 {
		t.Error("memory changed")
	}
}

// BenchmarkColdVisits visits objects of seven lines in an order that no processor foresees, in
// batches: with and without asking for the batch first. Each visit needs the result of the one
// before, as handlers do that are too long for the processor to look past.
func BenchmarkColdVisits(b *testing.B) {
	const objects, batch = 1 << 17, 64
	memory := make([][56]uint64, objects)
	for i := range memory {
		memory[i][55] = 1 // a page that was never written is the one page of zeros
	}
	visit := func(at uint32, before uint64) uint64 {
		o := &memory[at]
		sum := before
		for line := range 7 {
			sum += o[8*line+int(sum)]
		}
		return sum
	}
	for _, ask := range []bool{false, true} {
		b.Run(map[bool]string{false: "as-it-comes", true: "prefetched"}[ask], func(b *testing.B) {
			var at [batch]uint32
			random, sum, visits := uint32(1), uint64(0), 0
			for b.Loop() {
				for i := range at {
					random = random*1664525 + 1013904223 // Knuth, TAOCP 3.3.4
					at[i] = random >> 15
					if ask {
						Value(&memory[at[i]])
					}
				}
				for _, i := range at {
					sum = visit(i, sum)
				}
				visits += batch
			}
			b.ReportMetric(float64(b.Elapsed()/time.Nanosecond)/float64(visits), "ns/visit")
			_ = sum
		})
	}
}
