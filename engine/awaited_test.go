package engine

import (
	"net/netip"
	"testing"

	"systole/engine/internal/udp"
)

// A stranger that is removed while AddPeer takes its place, in vain, does not get it back: its
// address is nobody's.
func TestStrangerRemovedMeanwhile(t *testing.T) {
	var a awaited
	addr := udp.AddrFrom(netip.MustParseAddrPort("192.0.2.1:9"))
	a.enter(addr, awaitedPeer{1, 1, 0, placeAdmitted}, 0)
	if gone, ok := a.begin(addr, awaitedPeer{2, 1, 0, placeAwaited}, nil); !ok || gone.stranger() != 1<<32|1 {
		t.Fatal(gone, ok)
	}
	a.remove(addr, 1, 1)
	a.end(false)
	if len(a.peers) != 0 || a.count.Load() != 0 {
		t.Errorf("%v", a.peers)
	}
}

// What is told late of a peer that is gone changes nothing for the one that has its slot, and is
// expected at the same address, since.
func TestRegisterTellsGenerationsApart(t *testing.T) {
	var a awaited
	addr := udp.AddrFrom(netip.MustParseAddrPort("192.0.2.1:9"))
	a.enter(addr, awaitedPeer{1, 7, 0, placeAwaited}, 0)
	a.remove(addr, 1, 6)
	a.moved(addr, 1, 6, 3)
	if w, answer := a.lookup(addr); answer != somebodyAwaited || w.shard != 0 {
		t.Errorf("%+v waits there", w)
	}
	a.moved(addr, 1, 7, 3)
	if w, _ := a.lookup(addr); w.shard != 3 {
		t.Errorf("%+v waits there", w)
	}
	a.remove(addr, 1, 7)
	if _, answer := a.lookup(addr); answer != nobodyAwaited {
		t.Error("somebody waits there")
	}
}

// Of two peers at one address it is told by their places which one gives way. Only those at whose
// addresses somebody is expected count.
func TestPlacesInTheRegister(t *testing.T) {
	addr := udp.AddrFrom(netip.MustParseAddrPort("192.0.2.1:9"))
	for _, there := range []place{placeAwaited, placeWatched, placeAdmitted} {
		for giving := range placeAwaited | placeWatched | placeAdmitted {
			var a awaited
			a.enter(addr, awaitedPeer{1, 1, 0, there}, 0)
			_, ok := a.enter(addr, awaitedPeer{2, 1, 0, placeWatched}, giving)
			want := int64(0)
			if there == placeAwaited && !ok {
				want = 1
			}
			if ok != (there&giving != 0) || a.count.Load() != want {
				t.Errorf("in place of %b, where %b give way: %v, %d count", there, giving, ok, a.count.Load())
			}
		}
	}
}
