package engine_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
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
