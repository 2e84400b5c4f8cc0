package split

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/clock"
)

const (
	us   = time.Microsecond
	ms   = time.Millisecond
	step = 4 * ms
)

// causeOf returns the cause of the delay of one heartbeat.
func causeOf(d engine.Delays) Cause {
	s := Sum{Step: step}
	s.Add(d)
	return s.Cause()
}

// The cause of one heartbeat's delay, in words that depend on what was measured.
func TestCauseOfOneHeartbeat(t *testing.T) {
	stamped, user := clock.Kernel, clock.User
	for _, test := range []struct {
		delays engine.Delays
		want   string
	}{
		{engine.Delays{}, "there is no delay"},
		{engine.Delays{Source: stamped, Late: 20 * us, SendWait: 20 * us, Network: 30 * us, Host: us, Read: step}, "there is no delay"},
		{engine.Delays{Source: stamped, Late: 8 * ms, Network: 80 * us, Read: us}, "99 % of the delay arose at the sender, before it sent"},
		{engine.Delays{Source: stamped, SendWait: 6 * ms, Network: 3 * ms, Read: 3 * ms}, "67 % of the delay arose in the sender's stack and queue"},
		{engine.Delays{Source: stamped, SendWait: 1, Network: 5 * ms, Read: us}, "99 % of the delay arose in the network"},
		{engine.Delays{Source: stamped, Network: 5 * ms, Read: us}, "100 % of the delay arose in the network or the sender's host"},
		{engine.Delays{Source: user, SendWait: 1, Network: 5 * ms}, "99 % of the delay arose in the network or the receiver's host"},
		{engine.Delays{Source: user, Network: 5 * ms}, "100 % of the delay arose in the network, the sender's host or the receiver's host"},
		{engine.Delays{Source: clock.BPF, SendWait: 1, Network: us, Host: 2 * ms, Read: us}, "99 % of the delay arose in the receiver's network stack"},
		{engine.Delays{Source: stamped, Network: 100 * us, Read: 14 * ms}, "99 % of the delay arose in the receiver's socket queue, which was read late"},
		{engine.Delays{Source: stamped, Network: 2 * ms, Read: 4 * ms}, "100 % of the delay arose in the network or the sender's host"},
	} {
		if got := causeOf(test.delays).String(); got != test.want {
			t.Errorf("%+v: %q instead of %q", test.delays, got, test.want)
		}
	}
}

// A part that was not measured has no share.
func TestShares(t *testing.T) {
	s := Sum{Step: step}
	if _, ok := s.share(network); ok || s.Delay() != 0 {
		t.Error("an empty sum has a share")
	}
	s.Add(engine.Delays{Source: clock.Kernel, Late: 3 * ms, Network: ms, Read: us})
	s.Add(engine.Delays{Source: clock.Kernel, Network: 4 * ms, Read: us})
	for p, want := range map[part]float64{late: 0.375, network: 0.625, read: 0} {
		if got, ok := s.share(p); !ok || got != want {
			t.Errorf("%v: %v, %v", words[p], got, ok)
		}
	}
	for _, p := range []part{none, sendWait, host, numParts, 77} {
		if got, ok := s.share(p); ok || got != 0 {
			t.Errorf("%v: %v was not measured", words[p], got)
		}
	}
	if s.Heartbeats() != 2 || s.Delay() != 4*ms {
		t.Errorf("%d heartbeats with %v", s.Heartbeats(), s.Delay())
	}
}

// noise returns the delays of a heartbeat on a busy machine and a quiet network.
func noise(r *rand.Rand) engine.Delays {
	some := func(mean time.Duration) time.Duration { return 1 + time.Duration(r.ExpFloat64()*float64(mean)) }
	return engine.Delays{
		Source: clock.NIC, Late: some(150 * us), SendWait: some(25 * us), Network: some(60 * us), Host: some(us),
		Read: time.Duration(r.Int64N(int64(step))) + some(50*us),
	}
}

// delay adds d to a part.
func delay(to *engine.Delays, p part, d time.Duration) {
	*[...]*time.Duration{late: &to.Late, sendWait: &to.SendWait, network: &to.Network, host: &to.Host, read: &to.Read}[p] += d
}

// At least 99 of 100 causes of delays from 3 ms to 1 s are right, of one heartbeat. A delay in reading is longer
// than a step.
func TestCausesOfHeartbeats(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for p := late; p < numParts; p++ {
		const n = 20_000
		right := 0
		for range n {
			d := noise(r)
			injected := 3*ms + time.Duration(r.ExpFloat64()*float64(20*ms))
			if p == read {
				injected += step
			}
			delay(&d, p, injected)
			if causeOf(d).Part == words[p] {
				right++
			}
		}
		if right < n*99/100 {
			t.Errorf("%v: %d of %d are right", words[p], right, n)
		}
	}
}

// The same of sums, where one heartbeat in so many is delayed and one in so many has a known wait.
func TestCausesOfSums(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for p := late; p < numParts; p++ {
		const n = 300
		right, vague := 0, 0
		for range n {
			s := Sum{Step: step}
			every := 1 + r.IntN(16)
			told := 1 + r.IntN(16)
			for i := range 1500 {
				d := noise(r)
				if r.IntN(every) == 0 {
					delay(&d, p, 8*ms+time.Duration(r.Int64N(int64(30*ms))))
				}
				if i%told != 0 {
					d.Network, d.SendWait = d.Network+d.SendWait, 0
				}
				s.Add(d)
			}
			switch c := s.Cause(); {
			case c.Part == words[p]:
				right++
			case c.Part == words[network] && c.OrSender && p == sendWait:
				vague++ // too few of the waits were told
			}
		}
		if right+vague < n*99/100 || vague > n/20 {
			t.Errorf("%v: %d of %d are right, %d vague", words[p], right, n, vague)
		}
	}
}

// Without follow-ups a queue at the sender is not told from one in the network, and the cause says so.
func TestSumWithoutFollowUps(t *testing.T) {
	s := Sum{Step: step}
	for range 100 {
		s.Add(engine.Delays{Source: clock.Kernel, Network: 9 * ms, Read: us})
	}
	if c := s.Cause(); c.Part != words[network] || !c.OrSender || c.OrReceiver || c.Share != 1 {
		t.Errorf("%+v", c)
	}
	if _, ok := s.share(sendWait); ok {
		t.Error("a wait is known")
	}
}

// The share of each part adds up to the whole delay, whatever was measured.
func TestSharesAddUp(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 2000 {
		s := Sum{Step: time.Duration(r.Int64N(int64(step)))}
		var whole time.Duration
		for range 1 + r.IntN(50) {
			d := noise(r)
			if r.IntN(2) == 0 {
				d.SendWait = 0
			}
			if r.IntN(3) == 0 {
				d.Host, d.Read, d.Source = 0, 0, clock.User
			}
			s.Add(d)
			whole += s.excess(&d)
		}
		shares := 0.0
		for p := none; p < numParts; p++ {
			share, ok := s.share(p)
			if share < 0 || share > 1 || !ok && share != 0 {
				t.Fatalf("%v has %v", words[p], share)
			}
			shares += share
		}
		if shares < 0.999999 || shares > 1.000001 || s.Delay() != whole/time.Duration(s.Heartbeats()) {
			t.Fatalf("%v in all, %v of %v", shares, s.Delay(), whole)
		}
	}
}

// history is the heartbeats of a peer with a window of 16, whose waits are told late heartbeats later.
type history struct {
	samples []engine.Sample
	late    int
}

// window returns what Peer.Samples would return.
func (h *history) window() ([]engine.Sample, uint64) {
	w := slices.Clone(h.samples[max(len(h.samples)-16, 0):])
	for i := range w {
		if i+h.late >= len(w) {
			w[i].Network, w[i].SendWait = w[i].Network+w[i].SendWait, 0
		}
	}
	return w, uint64(len(h.samples))
}

// A collector adds each heartbeat once, with the wait that a later one tells.
func TestCollector(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for after := range 8 {
		h, c := history{late: after}, New(step)
		want, all := Sum{Step: step}, [numParts]time.Duration{}
		for i := range 500 {
			s := engine.Sample{Sequence: uint32(i + 1), Arrival: clock.Instant(i+1) * 1e7, Delays: noise(r)}
			h.samples = append(h.samples, s)
			want.Add(s.Delays)
			for p := late; p < numParts; p++ {
				all[p] += p.of(&s.Delays)
			}
			if r.IntN(3) == 0 || i%8 == 7 {
				c.Take(h.window())
			}
		}
		for range after {
			h.samples = append(h.samples, engine.Sample{Sequence: uint32(len(h.samples) + 1), Arrival: clock.Instant(len(h.samples)+1) * 1e7})
			want.Add(engine.Delays{})
		}
		c.Take(h.window())
		c.Flush()
		if got := c.Sum(); got != want {
			t.Errorf("told %d later: %+v instead of %+v", after, got, want)
		}
		for p := late; p < numParts; p++ {
			if h := c.histograms[p]; h.Sum() != all[p] {
				t.Errorf("told %d later: %v adds up to %v in the histogram, to %v in all", after, words[p], h.Sum(), all[p])
			}
		}
		if n := c.histograms[sendWait].Count(); n != 500 {
			t.Errorf("told %d later: %d waits", after, n)
		}
	}
}

// A collector of another peer begins anew, and misses what no window had.
func TestCollectorMisses(t *testing.T) {
	c := New(step)
	some := []engine.Sample{{Sequence: 1, Arrival: 1}, {Sequence: 2, Arrival: 2}}
	c.Take(some, 2)
	c.Take(some, 2)
	c.Take([]engine.Sample{{Sequence: 9, Arrival: 9}}, 9)
	c.Take([]engine.Sample{{Sequence: 1, Arrival: 10}}, 1)
	c.Take(nil, 0)
	c.Flush()
	c.Flush()
	if s := c.Sum(); s.Heartbeats() != 4 {
		t.Errorf("%d heartbeats", s.Heartbeats())
	}
}

// Collecting allocates nothing.
func TestCollectorAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	c := New(step)
	window := make([]engine.Sample, 16)
	total := uint64(0)
	if n := testing.AllocsPerRun(100, func() {
		for i := range window {
			total++
			window[i] = engine.Sample{Sequence: uint32(total), Delays: noise(r)}
		}
		c.Take(window, total)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Each part has a name and a place of its own.
func TestParts(t *testing.T) {
	names, places := map[string]bool{}, map[string]bool{}
	for p := late; p < numParts; p++ {
		names[words[p]] = true
		places[Cause{Part: words[p], Share: 0.5}.String()] = true
	}
	if len(names) != int(numParts)-1 || names[""] || len(places) != int(numParts)-1 {
		t.Errorf("%v, %v", names, places)
	}
	for place := range places {
		if !strings.HasPrefix(place, "50 % of the delay arose ") {
			t.Error(place)
		}
	}
}
