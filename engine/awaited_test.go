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
	a.admit(addr, 1, 0, 1)
	if stranger, ok := a.begin(addr, 2, 0, 1); !ok || stranger.slot != 1 {
		t.Fatal(stranger, ok)
	}
	a.remove(addr, 1, 1)
	a.end(addr, false)
	if len(a.slots) != 0 {
		t.Errorf("%v", a.slots)
	}
}

// What is told late of a peer that is gone changes nothing for the one that has its slot, and is
// expected at the same address, since.
func TestRegisterTellsGenerationsApart(t *testing.T) {
	var a awaited
	addr := udp.AddrFrom(netip.MustParseAddrPort("192.0.2.1:9"))
	a.add(addr, 1, 0, 7)
	a.remove(addr, 1, 6)
	a.moved(addr, 1, 6, 3)
	if p, answer := a.lookup(addr); answer != somebodyAwaited || p.shard != 0 {
		t.Errorf("%+v waits there", p)
	}
	a.moved(addr, 1, 7, 3)
	if p, _ := a.lookup(addr); p.shard != 3 {
		t.Errorf("%+v waits there", p)
	}
	a.remove(addr, 1, 7)
	if _, answer := a.lookup(addr); answer != nobodyAwaited {
		t.Error("somebody waits there")
	}
}
