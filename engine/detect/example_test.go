package detect_test

import (
	"errors"
	"fmt"
	"time"

	"systole/engine/detect"
)

// What a promise costs, before anything is measured: the network is assumed to lose one heartbeat in
// a hundred, and delays to deviate by 1 ms.
func ExamplePromise_Plan() {
	p := detect.Promise{DetectWithin: 200 * time.Millisecond, MistakeEvery: 30 * 24 * time.Hour, MaxRate: 100}
	plan, err := p.Plan(detect.Known{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("a heartbeat every %v, suspicion %v after the next is due\n",
		plan.Period.Round(time.Millisecond), plan.Margin.Round(time.Millisecond))

	p.DetectWithin = 30 * time.Millisecond
	_, err = p.Plan(detect.Known{})
	var infeasible *detect.InfeasibleError
	fmt.Println(errors.As(err, &infeasible), err)
	// Output:
	// a heartbeat every 46ms, suspicion 154ms after the next is due
	// true detect: promise: to detect within 30ms with one mistake in 720h by 100 heartbeats a second cannot be kept: within 30ms it would be one in 40.5s; one mistake in 720h takes 52.3ms (assumed, not yet measured)
}
