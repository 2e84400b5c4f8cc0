package bpf

import (
	"fmt"
	"math"

	"github.com/cilium/ebpf"

	"systole/engine/clock"
)

// clockOffset returns what must be added to the clock of BPF to get an Instant. It is 0 unless the
// process is in a time namespace.
func clockOffset() (int64, error) {
	var o ktimeObjects
	if err := loadKtimeObjects(&o, nil); err != nil {
		return 0, fmt.Errorf("bpf: read the clock of BPF: %w", err)
	}
	defer func() { _ = o.Close() }()
	const tries = 16
	var offset int64
	least := clock.Instant(math.MaxInt64)
	for range tries {
		var kernel uint64
		before := clock.Now()
		if _, err := o.SystoleKtime.Run(&ebpf.RunOptions{Context: kernel, ContextOut: &kernel}); err != nil {
			return 0, fmt.Errorf("bpf: read the clock of BPF: %w", err)
		}
		after, at := clock.Now(), clock.Instant(kernel)
		if before <= at && at <= after {
			return 0, nil
		}
		if width := after - before; width < least {
			least, offset = width, int64(before+width/2-at)
		}
	}
	return offset, nil
}
