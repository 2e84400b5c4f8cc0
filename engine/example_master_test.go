package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"time"

	"systole/engine"
)

// worker is a worker as its master sees it: the watch of its node, and a way to call it.
type worker struct {
	name string
	peer engine.Peer
	call func(ctx context.Context, job string) (string, error) // an RPC client's
}

// master gives jobs to workers.
type master struct {
	workers []worker
	level   float64 // of suspicion at which a worker is not waited for any more
}

// do has a worker do a job, and another one if the first fails meanwhile. A job that a worker had may have been
// done: jobs must be such that they may be done twice.
func (m *master) do(ctx context.Context, job string) (string, error) {
	for _, w := range m.workers {
		request, cancel := w.peer.Context(ctx, m.level)
		result, err := w.call(request, job)
		cause := context.Cause(request)
		cancel()
		switch {
		case err == nil:
			return result, nil
		case errors.Is(cause, engine.ErrPeerFailed):
			fmt.Println(w.name, "is given up")
		default:
			return "", err // the caller's context has ended, or the job cannot be done
		}
	}
	return "", errors.New("no worker is left")
}

// A master waits for a worker no longer than the worker is thought to live: neither a deadline per request nor a
// retry after one is needed. Red hangs with the job and then dies; blue does it.
func ExamplePeer_Context() {
	local := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	own, err := engine.Open(engine.Config{Listen: local, Period: 20 * time.Millisecond})
	if err != nil {
		log.Fatal(err)
	}
	defer own.Close()
	var nodes []*engine.Engine
	suspect, _ := own.StateLevels()
	m := master{level: suspect}
	for _, name := range []string{"red", "blue"} {
		node, err := engine.Open(engine.Config{Listen: local, Accept: engine.Accept{Anyone: true}})
		if err != nil {
			log.Fatal(err)
		}
		defer node.Close()
		p, err := own.AddPeer(engine.PeerConfig{Addr: node.Addrs()[0]})
		if err != nil {
			log.Fatal(err)
		}
		nodes = append(nodes, node)
		m.workers = append(m.workers, worker{name, p, func(_ context.Context, job string) (string, error) {
			return job + " done by " + name, nil
		}})
	}
	m.workers[0].call = func(ctx context.Context, job string) (string, error) {
		fmt.Println("red hangs with", job)
		time.AfterFunc(100*time.Millisecond, func() { nodes[0].Close() }) // the process dies
		<-ctx.Done()
		return "", ctx.Err()
	}

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fmt.Println(m.do(ctx, "job 1"))
	// Output:
	// red hangs with job 1
	// red is given up
	// job 1 done by blue <nil>
}
