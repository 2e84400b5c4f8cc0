//go:build linux

package load

import (
	"net/netip"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/wire"
)

// A heartbeat of the engine that arrives after the clock was read for a step, and before the step reads the
// socket, costs no heartbeat of the node.
func TestArrivalAfterTheClock(t *testing.T) {
	local := netip.MustParseAddrPort("127.0.0.1:0")
	p, err := Open(Config{Local: local, Target: netip.MustParseAddrPort("127.0.0.1:9"), FirstID: 1, Nodes: 1, Period: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer p.socket.Close()
	defer p.waiter.Close()
	now := clock.Now()
	p.hear(&p.nodes[0], &wire.Header{Sequence: 1, Incarnation: 1, MyDiscriminator: 1<<wire.SlotBits | 1}, now.Add(time.Microsecond))
	if err := p.beat(0, now, now); err != nil || p.out.Len() != 1 {
		t.Errorf("%d heartbeats written: %v", p.out.Len(), err)
	}
	if err := p.beat(0, now.Add(2*time.Second+time.Millisecond), now); err != nil || p.Counts().Late != 1 {
		t.Errorf("%d late after two periods and more: %v", p.Counts().Late, err)
	}
}
