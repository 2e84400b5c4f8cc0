package engine_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"

	"systole/engine"
)

// All nodes of a cluster are given the same list, by a file or by a service that tells of changes. Each finds
// itself in it.
func ExampleEngine_SetPeers() {
	var cluster []engine.PeerConfig
	var nodes []*engine.Engine
	for id := range uint64(3) {
		e, err := engine.Open(engine.Config{ID: id + 1, Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}})
		if err != nil {
			log.Fatal(err)
		}
		defer e.Close()
		nodes = append(nodes, e)
		cluster = append(cluster, engine.PeerConfig{Addr: e.Addrs()[0]})
	}
	for _, e := range nodes {
		r, err := e.SetPeers(context.Background(), cluster)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("node", e.ID(), "watches", len(r.Added), "and is", len(r.Skipped), "of the list itself")
	}
	r, err := nodes[0].SetPeers(context.Background(), cluster[:2]) // the third one was taken out of service
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("then", len(r.Added), "added and", len(r.Removed), "removed")
	// Output:
	// node 1 watches 2 and is 1 of the list itself
	// node 2 watches 2 and is 1 of the list itself
	// node 3 watches 2 and is 1 of the list itself
	// then 0 added and 1 removed
}
