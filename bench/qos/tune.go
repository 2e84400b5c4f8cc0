package qos

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// ErrReach says that no value of the parameter gives the detection time asked for.
var ErrReach = errors.New("qos: no value of the parameter gives this detection time")

// Tune searches the parameter between low and high, both above 0, at which detection
// grows to wanted, to a thousandth of it or until the parameter is exact to one in 10^4. It
// halves the ratio of the bounds, for parameters that span orders of magnitude.
func Tune(low, high float64, wanted time.Duration, detection func(param float64) time.Duration) (float64, error) {
	if at := detection(low); at > wanted {
		return 0, fmt.Errorf("%w: %v; at %v it is %v", ErrReach, wanted, low, at)
	}
	if at := detection(high); at < wanted {
		return 0, fmt.Errorf("%w: %v; at %v it is %v", ErrReach, wanted, high, at)
	}
	for high/low > 1+1e-4 {
		middle := math.Sqrt(low * high)
		at := detection(middle)
		switch {
		case at > wanted+wanted/1000:
			high = middle
		case at < wanted-wanted/1000:
			low = middle
		default:
			return middle, nil
		}
	}
	return math.Sqrt(low * high), nil
}
