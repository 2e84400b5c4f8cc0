package engine

import (
	"net/netip"
	"testing"
	"time"
)

// A new peer in the slot of another one has nothing of it.
func TestNewPeerInUsedSlot(t *testing.T) {
	w, a, _, old := pair(t, Config{})
	if err := a.RemovePeer(old); err != nil {
		t.Fatal(err)
	}
	w.run(10 * time.Millisecond)
	p, err := a.AddPeer(PeerConfig{Addr: netip.MustParseAddrPort("192.0.2.1:1")})
	if err != nil {
		t.Fatal(err)
	}
	w.run(10 * time.Millisecond)
	if p.slot != old.slot {
		t.Fatalf("slot %d, not %d", p.slot, old.slot)
	}
	var samples [4]Sample
	n, total := p.Samples(samples[:])
	s := p.Stats()
	if n+int(total) > 0 || s.LastArrival != 0 || s.Last != (Sample{}) || s.Received+s.LostIn+s.Mistakes > 0 || s.ID != 0 {
		t.Errorf("%d samples of %d, %+v", n, total, s)
	}
	if n, total := old.Samples(samples[:]); n+int(total) > 0 || old.State() != Removed {
		t.Errorf("the former one is %v, with %d samples", old.State(), total)
	}
}
