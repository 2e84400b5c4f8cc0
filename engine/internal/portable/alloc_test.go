//go:build !race

// The race detector allocates.

package portable

import (
	"testing"
	"time"

	"systole/engine/internal/network"
)

// A batch each way allocates nothing.
func TestBatchAllocatesNothing(t *testing.T) {
	for _, local := range loopback {
		a, b := openOn(t, local), openOn(t, local)
		texts := make([]string, network.BatchSize)
		round := func() {
			send(t, a, 0, addrOf(b, 0), texts...)
			for got := 0; got < len(texts); {
				k, _, _ := b.Receive(0)
				if got += k; k == 0 {
					b.Wait(time.Second, true)
				}
			}
		}
		if n := testing.AllocsPerRun(50, round); n >= 1 {
			t.Errorf("%s: %v allocations per batch of %d", local, n, len(texts))
		}
	}
}
