package engine_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"sync"
	"time"

	"systole/engine"
)

// Two nodes in one process: the second watches the first until it leaves. It subscribes
// before it names its peer, so that no transition comes before its reader.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	local := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	server, err := engine.Open(engine.Config{Listen: local, Accept: engine.Accept{Anyone: true}})
	if err != nil {
		log.Fatal(err)
	}
	watcher, err := engine.Open(engine.Config{Listen: local})
	if err != nil {
		log.Fatal(err)
	}
	events := watcher.Subscribe()
	if _, err := watcher.AddPeer(engine.PeerConfig{Addr: server.Addrs()[0]}); err != nil {
		log.Fatal(err)
	}
	for {
		ev, err := events.Next(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		switch {
		case ev.Cause == engine.FirstContact:
			fmt.Println(ev.From, "→", ev.To, "because of", ev.Cause)
			go server.Shutdown(ctx)
		case ev.To == engine.Left:
			fmt.Println(ev.From, "→", ev.To, "because of", ev.Cause)
			watcher.Close()
		}
	}
	// Output:
	// connecting → alive because of first-contact
	// alive → left because of goodbye
	// engine: closed
}

// Three levels with actions: at φ 1 a peer gets no new work, at 3 its work goes elsewhere, at
// 8 its successor takes over. Its process ends without a word, so all three follow, and none
// waits for another.
func ExampleEngine_Interpret() {
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
	say := func(what string) func(context.Context, engine.LevelEvent) {
		return func(context.Context, engine.LevelEvent) {
			fmt.Println(what)
			done.Done()
		}
	}
	levels := engine.Levels{List: []engine.Level{
		{Name: "late", Raise: 1, Clear: 0.5, Stay: time.Minute, Enter: say("no new work"), Leave: say("work again")},
		{Name: "doubtful", Raise: 3, Clear: 1, Enter: say("redirect"), Leave: say("come back")},
		{Name: "dead", Raise: 8, Enter: say("fail over")},
	}}
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
	fmt.Println(watcher.Interpret(ctx, levels, nil))
	watcher.Close()
	// Unordered output:
	// no new work
	// redirect
	// fail over
	// context canceled
}
