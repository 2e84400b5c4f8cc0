package published

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"systole/engine/clock"
	"systole/engine/detect"
)

const ms = time.Millisecond

// all returns the detectors with their defaults and with other parameters.
func all() []detect.Detector {
	return []detect.Detector{
		Fixed(0, 0), Fixed(1.5, 2), Chen(0, 0, 0), Chen(7*ms, 1, 3.7),
		Chen(0, 100, 0), Oz(OzOptions{}), Oz(OzOptions{Initial: 50 * ms, Increase: 1.3, Decrease: 0.9, Min: 10 * ms, Max: time.Second, X: 9}),
		TwoWindow(0, 0, 0, 0), TwoWindow(5*ms, 3, 20, 4), Bertier(BertierOptions{}), Bertier(BertierOptions{Beta: 2, Phi: 1, Gamma: 0.5, Window: 10}),
		PhiExponential(PhiExponentialOptions{}), PhiExponential(PhiExponentialOptions{Threshold: 2, Window: 10, Initial: 20 * ms, MaxInterval: time.Minute}),
		PhiNormal(PhiNormalOptions{}), PhiNormal(PhiNormalOptions{Threshold: 3, Window: 20, MinDeviation: ms, Pause: -1, FirstEstimate: 10 * ms}),
		detect.Margin(detect.MarginOptions{}), detect.Margin(detect.MarginOptions{MistakeEvery: time.Hour, Period: 10 * ms, Floor: 40 * ms, FailAfter: 10}),
	}
}

// beats feeds n heartbeats of a perfect sender to d, beginning with sequence first, and returns the
// last one.
func beats(d detect.Detector, state []uint64, first, n uint64, period, path time.Duration) detect.Heartbeat {
	var h detect.Heartbeat
	for s := first; s < first+n; s++ {
		send := clock.Instant(time.Hour).Add(time.Duration(s) * period)
		h = detect.Heartbeat{Sequence: s, Send: send, Arrival: send.Add(path), Period: period}
		detect.Take(d, state, &h)
	}
	return h
}

// Fixed by hand: the detection time is the period times the multiplier (RFC 5880, 6.8.4).
func TestFixedByHand(t *testing.T) {
	d := Fixed(0, 0)
	state := make([]uint64, d.Words())
	h := beats(d, state, 1, 5, 10*ms, ms)
	for _, tt := range []struct {
		after time.Duration
		want  float64
	}{{0, 0}, {15 * ms, 0.5}, {30 * ms, 1}, {90 * ms, 3}, {210 * ms, 7}} {
		if got := d.Suspicion(state, h.Arrival.Add(tt.after)); got != tt.want {
			t.Errorf("suspicion after %v: %v, want %v", tt.after, got, tt.want)
		}
	}
	if got := d.Deadline(state, 1); got != h.Arrival.Add(30*ms) {
		t.Errorf("deadline %v after the arrival", got.Sub(h.Arrival))
	}
}

// Chen by hand, on a perfect path: the expected arrival is one period after the last one, the
// deadline two periods later.
func TestChenByHand(t *testing.T) {
	d := Chen(0, 0, 0)
	state := make([]uint64, d.Words())
	h := beats(d, state, 1, 40, 10*ms, ms)
	for _, tt := range []struct {
		after time.Duration
		want  float64
	}{{10 * ms, 0}, {20 * ms, 0.5}, {30 * ms, 1}, {210 * ms, 10}} {
		if got := d.Suspicion(state, h.Arrival.Add(tt.after)); got != tt.want {
			t.Errorf("suspicion after %v: %v, want %v", tt.after, got, tt.want)
		}
	}
	// Late does not change the schedule.
	late := h
	late.Sequence++
	late.Send = late.Send.Add(14 * ms)
	late.Late = 4 * ms
	late.Arrival = late.Send.Add(ms)
	before := d.Deadline(state, 1)
	d.Heartbeat(state, &late)
	// One of 16 arrivals was 4 ms late, so the mean increased by a quarter of 1 ms.
	if got := d.Deadline(state, 1).Sub(before); got != 10*ms+250*time.Microsecond {
		t.Errorf("deadline moved by %v", got)
	}
}

// chenReference returns the deadline of NFD-E, in rational numbers.
func chenReference(hs []detect.Heartbeat, window int, alpha time.Duration) *big.Rat {
	used := hs[max(0, len(hs)-window):]
	sum := new(big.Rat)
	for _, h := range used {
		due := int64(h.Send) - int64(h.Late)
		sum.Add(sum, new(big.Rat).SetInt64(int64(h.Arrival)-due))
	}
	sum.Quo(sum, new(big.Rat).SetInt64(int64(len(used))))
	last := hs[len(hs)-1]
	sum.Add(sum, new(big.Rat).SetInt64(int64(last.Send)-int64(last.Late)+int64(last.Period)+int64(alpha)))
	return sum
}

// Chen's integer arithmetic is within 2 ns of exact arithmetic.
func TestChenAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := rapid.IntRange(1, 40).Draw(t, "window")
		const alpha = 20 * ms
		d := Chen(alpha, window, 0)
		state := make([]uint64, d.Words())
		var hs []detect.Heartbeat
		skew := rapid.Int64Range(-1e15, 1e15).Draw(t, "skew")
		now := clock.Instant(time.Hour)
		for s := uint64(1); s < 100; s += rapid.Uint64Range(1, 3).Draw(t, "step") {
			now = now.Add(time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "gap")))
			h := detect.Heartbeat{
				Sequence: s, Send: now + clock.Instant(skew), Late: time.Duration(rapid.Int64Range(0, 1e8).Draw(t, "late")),
				Arrival: now.Add(time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "path"))),
				Period:  time.Duration(rapid.Int64Range(1e6, 1e9).Draw(t, "period")),
			}
			hs = append(hs, h)
			detect.Take(d, state, &h)
			want, _ := chenReference(hs, window, alpha).Float64()
			if got := float64(d.Deadline(state, 1)); math.Abs(got-want) > 2+math.Abs(want)*1e-15 {
				t.Fatalf("deadline %v, exact %v", got, want)
			}
		}
	})
}

// Oz by hand: the delay d is followed by d·inc, d·inc² and so on, so raise n happens after
// d·(inc^n - 1)/(inc - 1).
func TestOzByHand(t *testing.T) {
	d := Oz(OzOptions{Initial: 100 * ms})
	state := make([]uint64, d.Words())
	h := beats(d, state, 1, 1, 10*ms, ms)
	for n := 1; n <= 5; n++ {
		want := time.Duration(float64(100*ms) * (math.Pow(2, float64(n)) - 1))
		if got := d.Deadline(state, float64(n)).Sub(h.Arrival); got != want {
			t.Errorf("raise %d after %v, want %v", n, got, want)
		}
		if got := d.Suspicion(state, h.Arrival.Add(want)); got != float64(n) {
			t.Errorf("suspicion %v at raise %d", got, n)
		}
	}
}

// The share of waits without a heartbeat is ln(1/dec)/(ln inc + ln(1/dec)), whatever the network.
func TestOzShareOfFalseAlarms(t *testing.T) {
	for _, gains := range [][2]float64{{2, 0.9}, {2, 0.99}, {1.5, 0.95}} {
		d := Oz(OzOptions{Initial: time.Second, Increase: gains[0], Decrease: gains[1], Min: 1, Max: time.Hour})
		state := make([]uint64, d.Words())
		random := rand.New(rand.NewPCG(1, 2))
		now, raises, heard := clock.Instant(time.Hour), 0.0, 0.0
		for s := uint64(1); s < 200_000; s++ {
			now = now.Add(time.Duration(random.ExpFloat64() * float64(100*ms)))
			if s > 10_000 {
				raises += d.Suspicion(state, now)
				heard++
			}
			d.Heartbeat(state, &detect.Heartbeat{Sequence: s, Send: now, Arrival: now, Period: 100 * ms})
		}
		want := math.Log(1/gains[1]) / (math.Log(gains[0]) + math.Log(1/gains[1]))
		if got := raises / (raises + heard); math.Abs(got-want) > 0.1*want {
			t.Errorf("gains %v: share %.4f, formula %.4f", gains, got, want)
		}
	}
}

// A large step of the sender's clock restarts the window and does not change the deadline.
func TestChenClockStep(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour, 1 << 62, -1 << 62} {
		d := Chen(0, 0, 0)
		state := make([]uint64, d.Words())
		h := beats(d, state, 1, 40, 10*ms, ms)
		for range 40 {
			h.Sequence++
			h.Arrival = h.Arrival.Add(10 * ms)
			h.Send = clock.Instant(int64(h.Arrival-clock.Instant(ms)) + int64(step))
			detect.Take(d, state, &h)
			if got := d.Deadline(state, 1); got != h.Arrival.Add(30*ms) {
				t.Fatalf("clock stepped by %v: deadline %v after arrival %d", step, got.Sub(h.Arrival), h.Sequence)
			}
		}
	}
}

// After 16 heartbeats the mean has adapted to a path that became slower by 8 ms.
//
//	heartbeat   mean above the old path   deadline after the arrival
//	1           8 ms * 1/16 = 0.5 ms      30 ms - 7.5 ms
//	8           8 ms * 8/16 = 4 ms        30 ms - 4 ms
//	16          8 ms                      30 ms
func TestChenFollowsThePath(t *testing.T) {
	d := Chen(0, 0, 0)
	state := make([]uint64, d.Words())
	beats(d, state, 1, 40, 10*ms, ms)
	for _, tt := range []struct {
		heartbeat uint64
		want      time.Duration
	}{{1, 22500 * time.Microsecond}, {8, 26 * ms}, {16, 30 * ms}, {17, 30 * ms}} {
		copied := append([]uint64(nil), state...)
		h := beats(d, copied, 41, tt.heartbeat, 10*ms, 9*ms)
		if got := d.Deadline(copied, 1).Sub(h.Arrival); got != tt.want {
			t.Errorf("%d heartbeats later: deadline %v after the arrival, want %v", tt.heartbeat, got, tt.want)
		}
	}
}

// Losses, a new period and skipped parts of the schedule do not change the mean offset.
func TestChenScheduleChanges(t *testing.T) {
	for _, tt := range []struct {
		name     string
		sequence uint64        // of the next heartbeat, after 40
		after    time.Duration // its due time, after that of heartbeat 40
		period   time.Duration
	}{
		{"three lost", 44, 40 * ms, 10 * ms},
		{"slower from now on", 41, 10 * ms, 50 * ms},
		{"faster from now on", 41, 10 * ms, 2 * ms},
		{"sender stopped for an hour", 41, time.Hour, 10 * ms},
	} {
		d := Chen(0, 0, 0)
		state := make([]uint64, d.Words())
		h := beats(d, state, 1, 40, 10*ms, ms)
		h.Sequence, h.Send, h.Period = tt.sequence, h.Send.Add(tt.after), tt.period
		h.Arrival = h.Send.Add(ms)
		detect.Take(d, state, &h)
		if got := d.Deadline(state, 1).Sub(h.Arrival); got != 3*tt.period {
			t.Errorf("%s: deadline %v after the arrival, want %v", tt.name, got, 3*tt.period)
		}
	}
}

// ozReference returns the number of raises from the last arrival until the instant at: the rule as
// a loop of waits, in rational numbers.
func ozReference(o *oz, arrivals []clock.Instant, at clock.Instant) int {
	inc, dec := new(big.Rat).SetFloat64(o.Increase), new(big.Rat).SetFloat64(o.Decrease)
	least, most := new(big.Rat).SetInt64(int64(o.Min)), new(big.Rat).SetInt64(int64(o.Max))
	delay, raises := new(big.Rat).SetInt64(int64(o.Initial)), 0
	for i, from := range arrivals {
		until := at
		if i+1 < len(arrivals) {
			until = arrivals[i+1]
		}
		end := new(big.Rat).SetInt64(int64(from))
		for raises = 0; raises < ozMaxRaises; raises++ {
			if end.Add(end, delay); end.Cmp(new(big.Rat).SetInt64(int64(until))) > 0 {
				break
			}
			if delay = new(big.Rat).Mul(delay, inc); delay.Cmp(most) > 0 {
				delay = most
			}
		}
		if i+1 < len(arrivals) {
			if delay = new(big.Rat).Mul(delay, dec); delay.Cmp(least) < 0 {
				delay = least
			}
		}
	}
	return raises
}

// Oz agrees with exact arithmetic within 1 µs: the gains magnify the rounding of delays to 1 ns.
func TestOzAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := Oz(OzOptions{Initial: 100 * ms, Increase: 2, Decrease: 0.75, Min: 10 * ms, Max: 2 * time.Second})
		state := make([]uint64, o.Words())
		now := clock.Instant(time.Hour)
		var arrivals []clock.Instant
		for s := range uint64(12) {
			// Delays are no multiples of 1 ms, so no wait ends exactly at an arrival.
			now = now.Add(time.Duration(rapid.Int64Range(1, 700).Draw(t, "gap")) * ms)
			arrivals = append(arrivals, now)
			o.Heartbeat(state, &detect.Heartbeat{Sequence: s, Send: now, Arrival: now, Period: 10 * ms})
		}
		at := now.Add(time.Duration(rapid.Int64Range(0, 20_000).Draw(t, "silence")) * ms)
		early := ozReference(o.(*oz), arrivals, at.Add(-time.Microsecond))
		late := ozReference(o.(*oz), arrivals, at.Add(time.Microsecond))
		if got := int(o.Suspicion(state, at)); got < early || got > late {
			t.Fatalf("%d raises, exact arithmetic says %d to %d", got, early, late)
		}
	})
}

// A sender with a period above the greatest delay is not suspect between its heartbeats.
func TestOzSlowSender(t *testing.T) {
	d := Oz(OzOptions{})
	state := make([]uint64, d.Words())
	h := beats(d, state, 1, 10, time.Minute, ms)
	for level, want := range map[float64]time.Duration{1: 90 * time.Second, 2: 180 * time.Second} {
		if got := d.Deadline(state, level).Sub(h.Arrival); got != want {
			t.Errorf("level %v: %v after a heartbeat of a sender with a period of a minute, want %v", level, got, want)
		}
	}
}

// A heartbeat at the instant 0 counts.
func TestHeartbeatAtZero(t *testing.T) {
	for _, d := range all() {
		state := make([]uint64, d.Words())
		d.Heartbeat(state, &detect.Heartbeat{Period: 10 * ms})
		if d.Deadline(state, 1) == clock.Never {
			t.Errorf("%s: no deadline", d.Name())
		}
	}
}

// A newer heartbeat with an earlier stamp, of another source, does not move the deadline back.
func TestArrivalDoesNotGoBack(t *testing.T) {
	for _, d := range []detect.Detector{Fixed(0, 0), Oz(OzOptions{Initial: 20 * ms, Decrease: 0.999})} {
		state := make([]uint64, d.Words())
		h := beats(d, state, 1, 100, 10*ms, ms)
		before := d.Deadline(state, 1)
		h.Sequence++
		h.Arrival = h.Arrival.Add(-5 * ms)
		detect.Take(d, state, &h)
		if got := d.Deadline(state, 1); before.Sub(got) > ms {
			t.Errorf("%s: deadline moved by %v", d.Name(), got.Sub(before))
		}
	}
}

// The contract holds at the limits of every number.
func TestContractAtExtremes(t *testing.T) {
	instants := rapid.OneOf(
		rapid.SampledFrom([]int64{0, 1, 1 << 53, math.MaxInt64 - 1, math.MaxInt64}),
		rapid.Int64Range(0, math.MaxInt64))
	anything := rapid.OneOf(
		rapid.SampledFrom([]int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64}),
		rapid.Int64())
	for _, d := range all() {
		rapid.Check(t, func(t *rapid.T) {
			state := make([]uint64, d.Words())
			for range rapid.IntRange(1, 40).Draw(t, "heartbeats") {
				d.Heartbeat(state, &detect.Heartbeat{
					Sequence: rapid.Uint64().Draw(t, "sequence"), Send: clock.Instant(anything.Draw(t, "send")),
					Late: time.Duration(anything.Draw(t, "late")), Arrival: clock.Instant(instants.Draw(t, "arrival")),
					Period: time.Duration(anything.Draw(t, "period")),
				})
			}
			checkMonotone(t, d, state, clock.Instant(instants.Draw(t, "now")))
			checkInverse(t, d, state)
		})
	}
}

// The contract holds over random histories.
func TestContract(t *testing.T) {
	for _, d := range all() {
		rapid.Check(t, func(t *rapid.T) {
			state := make([]uint64, d.Words())
			if d.Suspicion(state, 1e18) != 0 || d.Deadline(state, 1) != clock.Never {
				t.Fatalf("%s: suspicion without a heartbeat", d.Name())
			}
			now := clock.Instant(rapid.Int64Range(1, 1e17).Draw(t, "start"))
			for s := uint64(1); s < 30; s++ {
				now = now.Add(time.Duration(rapid.Int64Range(1, 3e8).Draw(t, "gap")))
				d.Heartbeat(state, &detect.Heartbeat{
					Sequence: s, Send: now - 12345, Arrival: now,
					Period: time.Duration(rapid.Int64Range(0, 1e13).Draw(t, "period")),
				})
			}
			checkMonotone(t, d, state, now)
			checkInverse(t, d, state)
			checkReached(t, d, state, now)
			checkStale(t, d, state, now)
			checkSummary(t, d, state, now)
		})
	}
}

// checkMonotone checks that suspicion is finite, not negative and does not decrease in silence.
func checkMonotone(t *rapid.T, d detect.Detector, state []uint64, now clock.Instant) {
	last := 0.0
	for _, after := range []time.Duration{0, 1, ms, 50 * ms, time.Second, time.Hour, 1 << 55} {
		level := d.Suspicion(state, now.Add(after))
		if level < last || math.IsInf(level, 0) || math.IsNaN(level) {
			t.Fatalf("%s: suspicion %v after %v of silence, %v before", d.Name(), level, after, last)
		}
		last = level
	}
}

// checkInverse checks that Deadline is the first instant at which Suspicion reaches the level.
func checkInverse(t *rapid.T, d detect.Detector, state []uint64) {
	suspect, fail := d.Levels()
	if !(suspect > 0 && fail > suspect) {
		t.Fatalf("%s: levels %v, %v", d.Name(), suspect, fail)
	}
	for _, level := range []float64{suspect, fail, rapid.Float64Range(0.01, 20).Draw(t, "level")} {
		at := d.Deadline(state, level)
		if at == clock.Never {
			continue
		}
		if got := d.Suspicion(state, at); got < level {
			t.Fatalf("%s: suspicion %v at the deadline of %v", d.Name(), got, level)
		}
		if got := d.Suspicion(state, at-1); got >= level {
			t.Fatalf("%s: suspicion %v a nanosecond before the deadline of %v", d.Name(), got, level)
		}
	}
}

// checkReached checks that the suspicion at an instant is reached then or before, and the next
// higher level later.
func checkReached(t *rapid.T, d detect.Detector, state []uint64, now clock.Instant) {
	at := now.Add(time.Duration(rapid.Int64Range(0, 1e12).Draw(t, "reached after")))
	level := d.Suspicion(state, at)
	if level == 0 {
		return
	}
	if got := d.Deadline(state, level); got > at {
		t.Fatalf("%s: suspicion %v at %v, but its deadline is %v later", d.Name(), level, at, got.Sub(at))
	}
	if got := d.Deadline(state, math.Nextafter(level, math.Inf(1))); got <= at {
		t.Fatalf("%s: suspicion %v at %v, but the deadline of more is %v earlier", d.Name(), level, at, at.Sub(got))
	}
}

// checkStale checks that a heartbeat that is not newer changes nothing.
func checkStale(t *rapid.T, d detect.Detector, state []uint64, now clock.Instant) {
	before := append([]uint64(nil), state...)
	d.Heartbeat(state, &detect.Heartbeat{
		Sequence: rapid.Uint64Range(0, 29).Draw(t, "stale"), Send: now, Arrival: now.Add(time.Hour), Period: time.Hour,
	})
	for i := range before {
		if state[i] != before[i] {
			t.Fatalf("%s: a stale heartbeat changed word %d", d.Name(), i)
		}
	}
}

// checkSummary checks that Suspicion reads the summary only.
func checkSummary(t *rapid.T, d detect.Detector, state []uint64, now clock.Instant) {
	at := now.Add(time.Duration(rapid.Int64Range(0, 1e10).Draw(t, "silence")))
	summary := append([]uint64(nil), state[:d.Summary()]...)
	if d.Suspicion(summary, at) != d.Suspicion(state, at) {
		t.Fatalf("%s: suspicion differs by the summary", d.Name())
	}
}

func TestReset(t *testing.T) {
	for _, d := range all() {
		state := make([]uint64, d.Words())
		beats(d, state, 100, 3, 10*ms, ms)
		d.Reset(state)
		if d.Deadline(state, 1) != clock.Never {
			t.Errorf("%s: a deadline after Reset", d.Name())
		}
		beats(d, state, 1, 1, 10*ms, ms)
		if d.Deadline(state, 1) == clock.Never {
			t.Errorf("%s: no deadline for a new incarnation, with sequence 1", d.Name())
		}
	}
}

func TestValidate(t *testing.T) {
	type validator interface{ Validate() error }
	for _, good := range all() {
		if err := good.(validator).Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for _, bad := range []detect.Detector{
		Fixed(0.5, 0), Fixed(0, 1), Fixed(math.NaN(), 0), Chen(-1, 0, 0), Chen(0, 1001, 0),
		Chen(0, 0, math.Inf(1)), Oz(OzOptions{Increase: 1}), Oz(OzOptions{Decrease: 1}), Oz(OzOptions{X: 1}), Oz(OzOptions{X: 65}), Oz(OzOptions{Min: time.Hour, Max: 1}), Oz(OzOptions{Initial: -1}),
		TwoWindow(-1, 0, 0, 0), TwoWindow(0, 17, 0, 0), TwoWindow(0, 9, 8, 0), TwoWindow(0, 0, 1001, 0), Bertier(BertierOptions{Gamma: 1.1}), Bertier(BertierOptions{Beta: -1}),
		Bertier(BertierOptions{Fail: 0.5}), PhiExponential(PhiExponentialOptions{Threshold: 301}), PhiExponential(PhiExponentialOptions{Threshold: 9, Fail: 8}), PhiNormal(PhiNormalOptions{Window: 1}),
		PhiNormal(PhiNormalOptions{Threshold: math.NaN()}), PhiNormal(PhiNormalOptions{MinDeviation: 2 * time.Hour}),
		PhiNormal(PhiNormalOptions{Fail: 301}), PhiNormal(PhiNormalOptions{Threshold: 300}), // φ ends at 300
		detect.Margin(detect.MarginOptions{MistakeEvery: 1}), detect.Margin(detect.MarginOptions{Period: time.Hour}), detect.Margin(detect.MarginOptions{Floor: -1}), detect.Margin(detect.MarginOptions{FailAfter: 1}),
	} {
		if bad.(validator).Validate() == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

func TestNoAllocs(t *testing.T) {
	for _, d := range all() {
		state := make([]uint64, d.Words())
		h := detect.Heartbeat{Period: 10 * ms}
		n := testing.AllocsPerRun(1000, func() {
			h.Sequence++
			h.Send = h.Send.Add(10 * ms)
			h.Arrival = h.Send
			detect.Take(d, state, &h)
			d.Deadline(state, 1)
			d.Suspicion(state, h.Arrival)
		})
		if n != 0 {
			t.Errorf("%s: %v allocations per heartbeat", d.Name(), n)
		}
	}
}

// Suspicion and Deadline read the summary only. The default detector's state has 192 bytes.
func TestSummarySuffices(t *testing.T) {
	for _, d := range all() {
		state := make([]uint64, d.Words())
		h := beats(d, state, 1, 500, 20*ms, ms)
		summary := append([]uint64(nil), state[:d.Summary()]...)
		suspect, fail := d.Levels()
		for _, level := range []float64{suspect / 2, suspect, (suspect + fail) / 2, fail} {
			if got, want := d.Deadline(summary, level), d.Deadline(state, level); got != want {
				t.Errorf("%s: deadline %v by the summary, %v by the state", d.Name(), got, want)
			}
		}
		if at := h.Arrival.Add(time.Second); d.Suspicion(summary, at) != d.Suspicion(state, at) {
			t.Errorf("%s: suspicion differs by the summary", d.Name())
		}
	}
	if bytes := 8 * detect.Margin(detect.MarginOptions{}).Words(); bytes != 192 {
		t.Errorf("the default detector's state takes %d bytes", bytes)
	}
}

// Silence reaches every threshold that Validate accepts, and its level of failure.
func TestPhiNormalReachesFailure(t *testing.T) {
	for _, threshold := range []float64{0.1, 8, 150, 151, 299} {
		d := PhiNormal(PhiNormalOptions{Threshold: threshold})
		state := make([]uint64, d.Words())
		at := clock.Instant(time.Hour)
		for i := range uint64(20) {
			d.Heartbeat(state, &detect.Heartbeat{Sequence: i + 1, Arrival: at, Send: at, Period: 100 * ms})
			at = at.Add(100 * ms)
		}
		_, fail := d.Levels()
		if err := d.(*phiNormal).Validate(); err != nil || d.Deadline(state, fail) == clock.Never {
			t.Errorf("threshold %v: %v; failure at %v comes at %v", threshold, err, fail, d.Deadline(state, fail))
		}
	}
}

// An offset more than two minutes from the base is a step.
func TestOffsetStep(t *testing.T) {
	for _, tt := range []struct {
		off  time.Duration
		step bool
	}{{2 * time.Minute, false}, {2*time.Minute + 1, true}, {-2 * time.Minute, false}, {-2*time.Minute - 1, true}} {
		d := Chen(0, 0, 0)
		state := make([]uint64, d.Words())
		h := beats(d, state, 1, 40, 10*ms, ms)
		h.Sequence++
		h.Send = h.Send.Add(h.Period)
		h.Arrival = h.Send.Add(ms + tt.off)
		detect.Take(d, state, &h)
		if got := state[chenOffsets+offsetsCount] == 1; got != tt.step {
			t.Errorf("an offset of %v: restarted the window: %v", tt.off, got)
		}
	}
}
