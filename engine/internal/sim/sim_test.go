package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/enginetest/netmodel"
	"systole/engine/internal/network"
)

// echoer is a process that sends a datagram per millisecond and records what it receives.
type echoer struct {
	socket  network.World
	to      *Host
	next    clock.Instant
	got     []string
	when    []clock.Reading
	stamps  []int64
	refused int
	full    int
	burst   int
	sampled bool            // each datagram is stamped when it leaves
	handed  []time.Duration // how long each of these waited in the host
}

func (p *echoer) Turn(r clock.Reading) (clock.Instant, error) {
	for {
		n, empty, _ := p.socket.Receive(0)
		for j := range n {
			p.got = append(p.got, string(p.socket.Datagram(j)))
			p.when = append(p.when, r)
			p.stamps = append(p.stamps, p.socket.Stamp(j))
		}
		if empty {
			break
		}
	}
	for {
		e, ok := p.socket.NextError(0)
		if !ok {
			break
		}
		if e.Stamp == 0 {
			p.refused++
			continue
		}
		written, err := strconv.ParseInt(string(e.Quoted), 10, 64)
		if err != nil || e.PortUnreachable {
			panic("another datagram")
		}
		p.handed = append(p.handed, time.Duration(e.Stamp-r.Wall+int64(r.Now)-written))
	}
	if p.to == nil {
		p.socket.Rest(clock.Never, 0)
		return clock.Never, nil
	}
	for ; p.next <= r.Now; p.next = p.next.Add(time.Millisecond) {
		for range max(p.burst, 1) {
			to := network.AddrFrom(p.to.Addr())
			p.socket.Commit(0, copy(p.socket.Next(0), fmt.Sprint(int64(p.next))), &to, 0, 7)
			if p.sampled {
				p.socket.StampSend(0)
			}
		}
	}
	sent, _ := p.socket.Flush(0)
	for k := range sent {
		if slot, why := p.socket.Refusal(0, k); slot != 7 {
			panic("another slot")
		} else if why == network.NoBuffer {
			p.full++
		}
	}
	p.socket.Rest(p.next, 0)
	return p.next, nil
}

// two returns a sender and a receiver.
func two(t *testing.T, seed uint64) (w *World, from, to *Host, a, b *echoer) {
	t.Helper()
	w = New(seed)
	add := func(name, addr string, p *echoer) *Host {
		h, err := w.AddHost(name, netip.MustParseAddrPort(addr))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	a, b = &echoer{}, &echoer{}
	from, to = add("from", "10.0.0.1:1", a), add("to", "10.0.0.2:1", b)
	a.to, a.next = to, w.Now()
	startProcess(t, from, a)
	startProcess(t, to, b)
	return w, from, to, a, b
}

func startProcess(t *testing.T, h *Host, p *echoer) {
	t.Helper()
	if err := h.Start(func(n network.World) (Turner, error) {
		p.socket = n
		return p, nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestOneSeedReplaysEverything(t *testing.T) {
	run := func(seed uint64) string {
		w, from, to, _, b := two(t, seed)
		w.SetLink(from, to, netmodel.Link{
			Delay: netmodel.Distribution{Kind: "lognormal", Base: time.Millisecond, Spread: time.Millisecond}, Loss: 0.1,
			Burst: netmodel.Burst{Enter: 0.01, Leave: 0.3}, Duplicate: 0.1, Reorder: 0.1, ReorderBy: 5 * time.Millisecond,
		})
		w.Run(time.Second)
		return fmt.Sprint(b.got, b.when)
	}
	if first, again := run(1), run(1); first != again {
		t.Error("one seed gave two worlds")
	}
	if run(1) == run(2) {
		t.Error("two seeds gave one world")
	}
}

// A transmit stamp says when a datagram left the device, on the sender's own clock.
func TestTransmitStamps(t *testing.T) {
	w, from, _, a, b := two(t, 1)
	from.SetUptime(time.Minute)
	from.SetDrift(1000)
	a.next, a.sampled = from.Now().Now, true
	w.Run(20 * time.Millisecond)
	from.HoldSends(10 * time.Millisecond)
	w.Run(20 * time.Millisecond)
	if n := len(a.handed); n < 39 || n > len(b.got)+1 || a.refused > 0 {
		t.Fatalf("%d stamps of %d datagrams, %d refused", n, len(b.got), a.refused)
	}
	if first, most := slices.Max(a.handed[:19]), slices.Max(a.handed); first != 0 || (most-10*time.Millisecond).Abs() > time.Millisecond {
		t.Errorf("waits of at most %v without a queue, %v in one of 10 ms", first, most)
	}
	stamps := len(a.handed)
	from.Unplugged = true
	w.Run(20 * time.Millisecond)
	from.Unplugged, from.NoStamps = false, true
	w.Run(20 * time.Millisecond)
	if n := len(a.handed) - stamps; n > 1 {
		t.Errorf("%d stamps without a carrier, or without stamps", n)
	}
}

func TestLinkFaults(t *testing.T) {
	for name, test := range map[string]struct {
		link     netmodel.Link
		low, hi  int  // of 1000 sent
		in, only bool // in order; no duplicates
	}{
		"perfect":   {netmodel.Link{}, 999, 1000, true, true},
		"loss":      {netmodel.Link{Loss: 0.3}, 640, 760, true, true},
		"bursts":    {netmodel.Link{Burst: netmodel.Burst{Enter: 0.05, Leave: 0.2}}, 680, 900, true, true},
		"jitter":    {netmodel.Link{Delay: netmodel.Distribution{Kind: "exponential", Spread: 3 * time.Millisecond}}, 980, 1000, true, true},
		"duplicate": {netmodel.Link{Duplicate: 0.5}, 1430, 1570, true, false},
		"reorder":   {netmodel.Link{Reorder: 0.5, ReorderBy: 5 * time.Millisecond}, 990, 1000, false, true},
		"full line": {netmodel.Link{Queue: netmodel.Queue{Rate: 1e6, Depth: 20 * time.Millisecond, Load: 2}}, 450, 560, true, true},
	} {
		w, from, to, _, b := two(t, 3)
		w.SetLink(from, to, test.link)
		w.Run(time.Second)
		seen := slices.Compact(slices.Sorted(slices.Values(b.got)))
		if n := len(b.got); n < test.low || n > test.hi || slices.IsSorted(b.got) != test.in || (len(seen) == n) != test.only {
			t.Errorf("%s: %d arrived, in order %v, %d different", name, n, slices.IsSorted(b.got), len(seen))
		}
	}
}

// A refusal of a datagram that was truncated to nothing can itself not be truncated.
func TestRefusalOfATruncatedDatagram(t *testing.T) {
	w, from, to, a, _ := two(t, 1)
	w.SetLink(from, to, netmodel.Link{Truncate: 1})
	w.SetLink(to, from, netmodel.Link{Truncate: 1})
	to.Kill()
	w.Run(time.Second)
	if a.refused < 999 {
		t.Errorf("%d of 1000 refused", a.refused)
	}
}

// An overloaded queue delays by its depth, and by nothing after the overload.
func TestBufferbloat(t *testing.T) {
	w, from, to, _, b := two(t, 1)
	l := netmodel.Link{Queue: netmodel.Queue{Rate: 1e6, Depth: 100 * time.Millisecond, Load: 1.5}}
	w.SetLink(from, to, l)
	w.Run(time.Second)
	last := len(b.got) - 1
	var sent int64
	fmt.Sscan(b.got[last], &sent)
	if d := b.when[last].Now.Sub(clock.Instant(sent)); d < 95*time.Millisecond || d > 101*time.Millisecond {
		t.Errorf("delayed by %v in a full queue of 100 ms", d)
	}
	l.Queue.Load = 0
	w.SetLink(from, to, l)
	w.Run(time.Second)
	last = len(b.got) - 1
	fmt.Sscan(b.got[last], &sent)
	if d := b.when[last].Now.Sub(clock.Instant(sent)); d > time.Millisecond {
		t.Errorf("delayed by %v in an empty queue", d)
	}
}

func TestHostFaults(t *testing.T) {
	w, from, to, a, b := two(t, 1)
	count := func() int { w.Run(100 * time.Millisecond); n := len(b.got); b.got = nil; return n }
	count()
	to.Stop()
	if n := count(); n != 0 {
		t.Errorf("%d read by a stopped process", n)
	}
	to.Continue()
	if n := count(); n < 199 || n > 201 {
		t.Errorf("%d read after 100 ms of stop, want 200", n)
	}
	to.Pause(false)
	count()
	to.Resume()
	if n := count(); n > 101 {
		t.Errorf("%d read after a pause in which nothing was received", n)
	}
	to.Pause(true)
	count()
	resumed := to.Now().Wall
	to.Resume()
	b.stamps = nil
	if n := count(); n < 199 || b.stamps[0] != resumed {
		t.Errorf("%d read after a pause, the first stamped %d before its end", n, resumed-b.stamps[0])
	}
	to.Room = 10
	to.Stop()
	count()
	to.Continue()
	if n := count(); n < 105 || n > 115 || to.Socket().Drops() < 85 {
		t.Errorf("%d read with room for 10, %d dropped", n, to.Socket().Drops())
	}
	to.Room, from.SendRoom = defaultRoom, 20
	from.HoldSends(100 * time.Millisecond)
	if n := count(); n > 1 || a.full < 75 {
		t.Errorf("%d left a host that holds its sends, %d refused", n, a.full)
	}
	if n := count(); n < 115 || n > 125 {
		t.Errorf("%d arrived after 20 held ones left", n)
	}
	w.Cut(from, to)
	if n := count(); n > 1 {
		t.Errorf("%d arrived through a cut", n)
	}
	w.Heal(from, to)
	to.Kill()
	w.Run(100 * time.Millisecond)
	if a.refused < 95 {
		t.Errorf("%d refusals after the process died", a.refused)
	}
	to.Crash()
	w.Run(time.Millisecond)
	a.refused = 0
	w.Run(100 * time.Millisecond)
	if a.refused != 0 {
		t.Errorf("%d refusals by a machine that is off", a.refused)
	}
}

// The monotonic clock drifts and never steps, and When is the inverse of Shows.
func TestClocks(t *testing.T) {
	w, from, _, _, _ := two(t, 1)
	random := rand.New(rand.NewPCG(1, 1))
	from.SetUptime(time.Minute)
	from.SetDrift(200)
	w.Run(time.Second)
	if d := from.Now().Now.Sub(clock.Instant(time.Minute + time.Second)); d < 199*time.Microsecond || d > 201*time.Microsecond {
		t.Errorf("200 ppm gained %v in a second", d)
	}
	for range 1000 {
		from.SetDrift(float64(random.IntN(1000) - 500))
		before := from.Now()
		from.StepWall(time.Hour)
		if after := from.Now(); after.Now != before.Now || after.Wall != before.Wall+int64(time.Hour) {
			t.Fatalf("%v stepped to %v", before, after)
		}
		i := before.Now.Add(time.Duration(random.Int64N(1e10)))
		if at := from.When(i); from.Shows(at) < i || from.Shows(at-1) >= i {
			t.Fatalf("shows %v at %v and %v before, wanted %v", from.Shows(at), at, from.Shows(at-1), i)
		}
	}
}
