package replay

import (
	"errors"
	"fmt"
	"time"
)

// Options are how a recording is replayed.
type Options struct {
	Stamps Stamps
	// Period of the sender, within 1 µs to 1 h. 0 is what each heartbeat announced or,
	// where the recording does not have it, Trace.Period.
	Period time.Duration
	// Warmup is how many heartbeats only teach, besides the first, before the others are
	// judged. At least 0.
	Warmup int
}

// Validate reports every fault of o at once, joined; nil when Run would accept it.
func (o *Options) Validate() error {
	var faults []error
	bad := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("replay: Options."+format, args...))
	}
	if o.Stamps > App {
		bad("Stamps %d is neither NIC nor App", o.Stamps)
	}
	if o.Period != 0 && (o.Period < time.Microsecond || o.Period > time.Hour) {
		bad("Period %v is not within 1µs to 1h", o.Period)
	}
	if o.Warmup < 0 {
		bad("Warmup %d is negative", o.Warmup)
	}
	return errors.Join(faults...)
}
