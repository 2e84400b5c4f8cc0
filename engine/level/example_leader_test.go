package level_test

import (
	"fmt"
	"log"
	"slices"
	"time"

	"systole/engine"
	"systole/engine/enginetest"
	"systole/engine/level"
)

// A follower of a leader acts on a level, not on Failed. The leader sends a heartbeat per 50 ms over a
// quiet network and loses its power, in 33 worlds. The times are medians, from there to a level or a
// state. At level 1 one silence in ten ends by itself: reason enough to prepare. At the level of one
// mistake in an hour the follower asks the others for their votes; if the leader lives, an election is
// all that it costs. Failed would come long after.
func Example_leader() {
	const period = 50 * time.Millisecond
	names := []string{"prepare", "ask for votes", "suspect", "failed"}
	times := make(map[string][]time.Duration)
	for seed := range uint64(33) {
		for name, d := range leaderDies(seed, period) {
			times[name] = append(times[name], d)
		}
	}
	for _, name := range names {
		slices.Sort(times[name])
		if n := len(times[name]); n > 0 {
			fmt.Printf("%-13s after %4d ms\n", name, times[name][n/2].Milliseconds())
		}
	}
	// Output:
	// prepare       after   63 ms
	// ask for votes after  108 ms
	// suspect       after  139 ms
	// failed        after  522 ms
}

// leaderDies runs a world in which the leader dies, and returns when the follower entered which level
// or state, from the death on.
func leaderDies(seed uint64, period time.Duration) map[string]time.Duration {
	w := enginetest.NewWorld(seed)
	follower, leader := w.AddHost("follower"), w.AddHost("leader")
	cfg := engine.Config{Period: period}
	e, err := follower.Open(cfg)
	if err != nil {
		log.Fatal(err)
	}
	le, err := leader.Open(cfg)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := e.AddPeer(engine.PeerConfig{Name: "leader:7853"}); err != nil {
		log.Fatal(err)
	}
	if _, err := le.AddPeer(engine.PeerConfig{Name: "follower:7853"}); err != nil {
		log.Fatal(err)
	}
	in, err := level.NewInterpreter(e, level.List{
		{Name: "prepare", Raise: 1},
		{Name: "ask for votes", Raise: level.MistakeEvery(time.Hour, period)},
	})
	if err != nil {
		log.Fatal(err)
	}
	const dies = time.Minute
	times := make(map[string]time.Duration)
	entered := func(name string) {
		if _, before := times[name]; !before && w.Now() >= dies {
			times[name] = w.Now() - dies
		}
	}
	follower.Every(time.Millisecond, func() {
		in.Step(follower.Clock().Now)
		for ev, ok := in.TryNext(); ok; ev, ok = in.TryNext() {
			for i, name := range []string{"prepare", "ask for votes"} {
				if ev.To > i {
					entered(name)
				}
			}
		}
	})
	follower.OnEvent(func(ev engine.Event) { entered(ev.To.String()) })
	w.At(dies+time.Duration(seed)*period/33, leader.Crash)
	w.Run(dies + 10*time.Second)
	return times
}
