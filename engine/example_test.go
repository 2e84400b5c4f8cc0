package engine_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"time"

	"systole/engine"
)

// The program of the README.
func Example_link() {
	e, err := engine.Open(engine.Config{ID: 1, Listen: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:7853")}})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Shutdown(context.Background())
	if _, err := e.AddPeer(engine.PeerConfig{Name: "db1.example:7853"}); err != nil {
		log.Fatal(err)
	}
	for ev := range e.Events(context.Background()) {
		log.Print(ev)
	}
}

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
	events.OnNode = func(ev engine.NodeEvent) { log.Println("this node:", ev.Cause, ev.Pause) }
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

// One node tells another its load. The message comes with its heartbeats.
func ExampleEngine_Carry() {
	local := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	var nodes [2]*engine.Engine
	var carriers [2]*engine.Carrier
	for i := range nodes {
		e, err := engine.Open(engine.Config{Listen: local})
		if err != nil {
			log.Fatal(err)
		}
		defer e.Close()
		c, err := e.Carry(engine.FirstProgramType, engine.CarryOptions{Room: 64})
		if err != nil {
			log.Fatal(err)
		}
		nodes[i], carriers[i] = e, c
	}
	for i, e := range nodes {
		if _, err := e.AddPeer(engine.PeerConfig{Addr: nodes[1-i].Addrs()[0]}); err != nil {
			log.Fatal(err)
		}
	}
	if err := carriers[0].Set(engine.Peer{}, []byte("load 0.7")); err != nil { // to all peers
		log.Fatal(err)
	}
	buf := make([]byte, 64)
	select {
	case <-carriers[1].Wake():
		d, _ := carriers[1].TryNext(buf)
		fmt.Println(d.Peer.State(), d.Incarnation == nodes[0].Incarnation(), string(d.Body))
	case <-time.After(time.Minute):
		fmt.Println("nothing came")
	}
	// Output:
	// alive true load 0.7
}
