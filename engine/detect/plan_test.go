package detect_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/detect"
	"systole/engine/detect/published"
)

// A plan from measurements holds on the measured path: in ten times MistakeEvery there are at most
// twice the promised mistakes, plus chance.
func TestPlanHolds(t *testing.T) {
	for _, loss := range []float64{0, 0.01, 0.05} {
		p := detect.Promise{DetectWithin: 200 * ms, MistakeEvery: 10 * time.Minute, MaxRate: 100}
		plan, err := p.Plan(detect.Known{Pool: detect.Observe(5, 400_000, 20*ms, loss, 2e-3)})
		if err != nil {
			t.Fatal(err)
		}
		if !plan.Measured && plan.MistakeEvery < 2*time.Hour {
			t.Errorf("two hours of measurements do not count for %+v", plan)
		}
		r := rand.New(rand.NewPCG(8, 8))
		d := published.TwoWindow(plan.Margin, 0, 0, 0)
		state := make([]uint64, d.Words())
		mistakes, deadline := 0, clock.Never
		const promised = 20
		n := int(promised * p.MistakeEvery / plan.Period)
		for s := range n {
			send := clock.Instant(time.Hour).Add(time.Duration(s) * plan.Period)
			if r.Float64() < loss {
				continue
			}
			at := send.Add(time.Duration(2e-3 * r.ExpFloat64() * 1e9))
			if at > deadline {
				mistakes++
			}
			detect.Take(d, state, &detect.Heartbeat{Sequence: uint64(s) + 1, Send: send, Arrival: at, Period: plan.Period})
			deadline = d.Deadline(state, 1)
		}
		t.Logf("loss %v: %+v: %d mistakes, %d promised", loss, plan, mistakes, promised)
		if mistakes > 2*promised {
			t.Errorf("loss %v: %d mistakes, %d promised", loss, mistakes, promised)
		}
	}
}
