package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"systole/engine/detect/published"
	"systole/engine/internal/sim"
	"systole/wire"
)

func TestSilence(t *testing.T) {
	w, a, b, p := pair(t, Config{Period: 10 * time.Millisecond, Detector: published.Chen(0, 0, 0)})
	a.log = nil
	b.host.Crash()
	gone := w.now()
	w.run(time.Second)
	a.want("a machine that is gone", "alive suspect silence", "suspect failed silence")
	ev := a.last(Silence)
	if ev.To != Failed {
		t.Errorf("last event %+v", ev)
	}
	suspected := a.log[0]
	if d := suspected.At.Sub(gone); d > 40*time.Millisecond {
		t.Errorf("suspected %v after the crash at 10 ms × 3", d)
	}
	if suspected.Suspicion < 1 || suspected.Silence == 0 {
		t.Errorf("event without evidence: %+v", suspected)
	}
	if p.Suspicion() < 1 {
		t.Errorf("suspicion %v of a failed peer", p.Suspicion())
	}
}

// A process that is gone is suspected with the first refusal, and failed with that of a heartbeat a
// period later.
func TestProcessKilled(t *testing.T) {
	const period = 100 * time.Millisecond
	for offset := time.Duration(0); offset < period; offset += 7 * time.Millisecond {
		w, a, b, _ := pair(t, Config{})
		w.run(offset)
		a.log = nil
		b.host.Kill()
		died := w.now()
		w.run(time.Second)
		a.want("a process that is gone", "alive suspect port-unreachable", "suspect failed port-unreachable")
		reads := time.Millisecond + a.shards[0].grid
		if d := a.log[0].At.Sub(died); d > period+reads {
			t.Errorf("%v: suspected %v after its death, with a period of 100 ms", offset, d)
		}
		if d := a.log[1].At.Sub(died); d > 2*period+reads || a.log[1].At.Sub(a.log[0].At) < period-reads {
			t.Errorf("%v: failed %v after its death, with a period of 100 ms", offset, d)
		}
	}
}

// refuseFrom has every datagram to n refused on its way, as by a firewall that rejects, while on.
func (w *world) refuseFrom(n *node, on *bool) {
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if *on && d.To == n.addr() {
			return []*sim.Datagram{{At: d.At, From: d.To, To: d.From, Data: d.Data, Refused: true}}
		}
		return []*sim.Datagram{d}
	}
}

// Refusals by a middlebox never outrank the peer's own heartbeats: with a period of 10 ms, a firewall that
// rejects what goes to the peer for 300 ms does not fail it, although each refusal is proved to be ours.
func TestMiddleboxRefuses(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(t, seed)
		a := w.start(Config{Period: 10 * time.Millisecond, Detector: published.Fixed(0, 0)})
		b := w.start(Config{Period: 10 * time.Millisecond, Detector: published.Fixed(100, 0)})
		p := a.watch(b)
		b.watch(a)
		w.run(2*time.Second + time.Duration(seed)*time.Millisecond)
		rejects := true
		w.refuseFrom(b, &rejects)
		a.log, b.log = nil, nil
		w.run(300 * time.Millisecond)
		rejects = false
		w.run(time.Second)
		for _, ev := range a.log {
			if ev.To == Failed {
				t.Errorf("seed %d: %v → %v, %v", seed, ev.From, ev.To, ev.Cause)
			}
		}
		if p.State() != Alive || p.Stats().Failures != 0 {
			t.Errorf("seed %d: %v a second later", seed, p)
		}
	}
}

// W23: an ICMP error counts only if what it quotes is provably a heartbeat of ours that was written lately
// to where the peer is.
func TestForgedRefusals(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	w.run(time.Second)
	elsewhere := w.start(Config{})
	var sent wire.Header
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.From == a.addr() && d.To == b.addr() {
			if _, fault := wire.Decode(d.Data, &sent); fault != wire.OK {
				t.Error(fault)
			}
		}
		return []*sim.Datagram{d}
	}
	w.run(150 * time.Millisecond)
	b.host.Stop() // so that nothing is heard after what is quoted
	for sent.Sequence != p.Stats().Sent || sent.SendInstant <= int64(p.Stats().LastArrival) {
		w.run(10 * time.Millisecond)
	}
	a.log = nil
	refuse := func(from *node, change func(h *wire.Header)) {
		h := sent
		change(&h)
		data, fault := wire.Append(nil, &h, nil)
		if fault != wire.OK {
			t.Fatal(fault)
		}
		w.Post(&sim.Datagram{At: w.now(), From: from.addr(), To: a.addr(), Data: data, Refused: true})
		w.run(5 * time.Millisecond)
	}
	for name, change := range map[string]func(h *wire.Header){
		"another slot":                 func(h *wire.Header) { h.MyDiscriminator++ },
		"a guess":                      func(h *wire.Header) { h.MyDiscriminator ^= 1 << 60 },
		"another send instant":         func(h *wire.Header) { h.SendInstant += int64(time.Microsecond) },
		"another sequence":             func(h *wire.Header) { h.Sequence-- },
		"not yet sent":                 func(h *wire.Header) { h.Sequence++ },
		"another sender":               func(h *wire.Header) { h.Sender++ },
		"another incarnation of ours":  func(h *wire.Header) { h.Incarnation++ },
		"an earlier incarnation again": func(h *wire.Header) { h.Incarnation-- },
	} {
		before := a.Stats().Sockets.Foreign
		refuse(b, change)
		if n := a.Stats().Sockets.Foreign - before; n != 1 {
			t.Errorf("%s: %d counted as foreign", name, n)
		}
		a.want(name)
	}
	refuse(elsewhere, func(*wire.Header) {})
	a.want("at another address")
	for range 3 {
		refuse(b, func(*wire.Header) {})
	}
	a.want("what we sent, three times", "alive suspect port-unreachable")
}

func TestOneWay(t *testing.T) {
	w, a, b, _ := pair(t, Config{})
	a.log, b.log = nil, nil
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.From == a.addr() {
			return nil
		}
		return []*sim.Datagram{d}
	}
	w.run(5 * time.Second)
	a.want("heard but not hearing", "alive one-way deaf", "one-way one-way buried")
	b.want("silent", "alive suspect silence", "suspect failed silence")
}

func TestOneWayComesBack(t *testing.T) {
	w, a, b, _ := pair(t, Config{})
	a.log, b.log = nil, nil
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.From == a.addr() {
			return nil
		}
		return []*sim.Datagram{d}
	}
	w.run(time.Second)
	w.Mangle = nil
	w.run(time.Second)
	a.want("both ways again", "alive one-way deaf", "one-way alive reachable-again")
	b.want("heard again", "alive suspect silence", "suspect alive reachable-again")
}

// A subscription that nobody reads costs nothing and loses no latest state.
func TestEventsConflate(t *testing.T) {
	w := newWorld(t, 1)
	a, b := w.start(Config{}), w.start(Config{})
	p := a.watch(b)
	b.watch(a)
	w.run(time.Second)
	late := a.Subscribe()
	first, ok := late.TryNext()
	if !ok || first.To != Alive || first.From != Alive || first.Cause != NoCause {
		t.Fatalf("the current state comes first, not %+v", first)
	}
	for range subscriptionRing { // two transitions each: more than the ring holds
		a.shards[0].transition(a.table.peer(p.slot), p.slot, Suspect, Silence, w.now())
		a.shards[0].transition(a.table.peer(p.slot), p.slot, Alive, ReachableAgain, w.now())
	}
	a.shards[0].transition(a.table.peer(p.slot), p.slot, Suspect, Silence, w.now())
	delivered, merged := 0, 0
	var last Event
	for {
		ev, ok := late.TryNext()
		if !ok {
			break
		}
		delivered++
		merged += ev.Merged
		last = ev
	}
	if last.To != Suspect || last.Merged == 0 {
		t.Errorf("the last event is %+v", last)
	}
	if delivered+merged != 2*subscriptionRing+1 {
		t.Errorf("%d delivered and %d merged of %d", delivered, merged, 2*subscriptionRing+1)
	}
}

func TestSnapshot(t *testing.T) {
	_, a, _, p := pair(t, Config{})
	all := a.Snapshot(nil)
	if len(all) != 1 || all[0].Peer != p || all[0].ID != p.ID() || all[0].State != Alive {
		t.Errorf("snapshot %+v", all)
	}
}

// Every value of an enumeration has a name of its own, from which it can be read.
func TestNames(t *testing.T) {
	haveNames(t, numStates, (*State).UnmarshalText)
	haveNames(t, numCauses, (*Cause).UnmarshalText)
	haveNames(t, numNodeCauses, (*NodeCause).UnmarshalText)
}

// haveNames fails the test unless the values below end have names that read parses.
func haveNames[T interface {
	~uint8
	fmt.Stringer
}](t *testing.T, end T, read func(*T, []byte) error) {
	for v := range end {
		var got T
		if err := read(&got, []byte(v.String())); err != nil || got != v || v.String() == "" {
			t.Errorf("%T %d is called %q, which is read as %d, %v", v, uint8(v), v, uint8(got), err)
		}
	}
	if unnamed := fmt.Sprintf("(%d)", uint8(end)); !strings.HasSuffix(end.String(), unnamed) || read(&end, []byte("none of them")) == nil {
		t.Errorf("%q has a name, or any name is read", end)
	}
}
