package engine_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"systole/engine"
)

// Two nodes in one process: the second watches the first until it leaves.
func Example() {
	ctx := context.Background()
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
	for ev := range watcher.Events(ctx) {
		if ev.From != engine.Unknown && ev.Cause != engine.NoCause {
			fmt.Println(ev.From, "→", ev.To, "because of", ev.Cause)
		}
		if ev.Cause == engine.FirstContact {
			go server.Shutdown(ctx)
		}
		if ev.To == engine.Left {
			watcher.Close()
		}
	}
	// Output:
	// connecting → alive because of first-contact
	// alive → left because of goodbye
}
