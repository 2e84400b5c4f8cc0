//go:build !systole_portable

package engine

import (
	"net/netip"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/internal/network"
	"systole/engine/internal/udp"
	"systole/wire"
)

// twoShards is an engine with two owner loops that the test turns.
type twoShards struct {
	*Engine
	at clock.Reading
}

// newTwoShards returns a twoShards.
func newTwoShards(t *testing.T) *twoShards {
	t.Helper()
	w := &twoShards{Engine: open(t, Config{Shards: 2}), at: clock.Read()}
	w.stopping.Store(true)
	for _, s := range w.shards {
		s.net.Wake()
	}
	w.interfaces.close()
	w.stop()
	w.running.Wait()
	w.stopping.Store(false) // the loops have ended, the engine is open
	return w
}

// turn turns both shards after d.
func (w *twoShards) turn(d time.Duration) {
	w.at.Now, w.at.Wall = w.at.Now.Add(d), w.at.Wall+int64(d)
	for _, s := range w.shards {
		s.turn(w.at)
	}
}

// A port unreachable that another shard has read is the same evidence as one that the peer's
// shard has read. One that quotes an earlier incarnation is not passed on.
func TestPassedRefusalsAreProven(t *testing.T) {
	w := newTwoShards(t)
	silent, err := udp.Open(udp.Options{Local: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	p, err := w.AddPeer(PeerConfig{Addr: silent.Local()})
	if err != nil {
		t.Fatal(err)
	}
	owner := w.shards[w.shardOf(p.slot)]
	other := w.shards[1-owner.number]
	w.turn(0)
	w.turn(200 * time.Millisecond)
	sent, addr := owner.out, network.AddrFrom(silent.Local())
	for _, c := range []struct {
		name   string
		at     network.Addr
		change func(h *wire.Header)
		passed bool
		want   State
	}{
		{"of an earlier incarnation", addr, func(h *wire.Header) { h.Incarnation-- }, false, Connecting},
		{"of another node", addr, func(h *wire.Header) { h.Sender++ }, false, Connecting},
		{"of a slot that is not there", addr, func(h *wire.Header) { h.MyDiscriminator += 2 }, false, Connecting},
		{"with a guessed discriminator", addr, func(h *wire.Header) { h.MyDiscriminator ^= 1 << 40 }, true, Connecting},
		{"elsewhere", network.AddrFrom(netip.MustParseAddrPort("127.0.0.1:9")), func(*wire.Header) {}, true, Connecting},
		{"never sent", addr, func(h *wire.Header) { h.Sequence += 10 }, true, Connecting},
		{"sent at another instant", addr, func(h *wire.Header) { h.SendInstant -= int64(time.Microsecond) }, true, Connecting},
		{"as it was", addr, func(*wire.Header) {}, true, Suspect},
	} {
		h, before := sent, owner.counters.errorsForeign.Load()
		c.change(&h)
		quoted, fault := wire.Append(nil, &h, nil)
		if fault != wire.OK {
			t.Fatal(fault)
		}
		passed := other.quoted(&network.Returned{PortUnreachable: true, Peer: c.at, Quoted: quoted})
		w.turn(0)
		foreign := owner.counters.errorsForeign.Load() - before
		if passed != c.passed || p.State() != c.want || (foreign == 1) != (c.passed && c.want == Connecting) {
			t.Errorf("%s: passed %v, %d foreign, %v", c.name, passed, foreign, p.State())
		}
	}
}
