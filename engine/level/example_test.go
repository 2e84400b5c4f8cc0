package level_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"sync"
	"time"

	"systole/engine"
	"systole/engine/level"
)

// Three levels with actions: at φ 1 a peer gets no new work, at 3 its work goes elsewhere, at
// 8 its successor takes over. Its process ends without a word, so all three follow, and none
// waits for another.
func ExampleRun() {
	local := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	server, err := engine.Open(engine.Config{Listen: local, Accept: engine.Accept{Anyone: true}})
	if err != nil {
		log.Fatal(err)
	}
	watcher, err := engine.Open(engine.Config{Listen: local})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := watcher.AddPeer(engine.PeerConfig{Addr: server.Addrs()[0]}); err != nil {
		log.Fatal(err)
	}
	var done sync.WaitGroup
	done.Add(3)
	say := func(what string) func(context.Context, level.Event) {
		return func(context.Context, level.Event) {
			fmt.Println(what)
			done.Done()
		}
	}
	levels := level.List{
		{Name: "late", Raise: 1, Clear: 0.5, Stay: time.Minute, Enter: say("no new work"), Leave: say("work again")},
		{Name: "doubtful", Raise: 3, Clear: 1, Enter: say("redirect"), Leave: say("come back")},
		{Name: "dead", Raise: 8, Enter: say("fail over")},
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	go func() {
		for ev := range watcher.Events(ctx) {
			if ev.To == engine.Alive {
				server.Close()
			}
		}
	}()
	go func() {
		done.Wait()
		cancel()
	}()
	fmt.Println(level.Run(ctx, watcher, levels, nil))
	watcher.Close()
	// Unordered output:
	// no new work
	// redirect
	// fail over
	// context canceled
}
