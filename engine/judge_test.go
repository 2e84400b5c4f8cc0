package engine

import (
	"syscall"
	"testing"
	"time"

	"systole/engine/clock"
	"systole/engine/detect/published"
	"systole/engine/enginetest/netmodel"
	"systole/engine/internal/network"
	"systole/engine/internal/sim"
)

// An overflow puts off the verdict on a silence three times at most, and each anew: on what
// was dropped since, and in every silence that follows a heartbeat.
func TestOverflowsCountPerSilence(t *testing.T) {
	w, a, b, p := pair(t, Config{Detector: published.Fixed(0, 0)})
	a.log = nil
	for i := range 4 {
		before := a.Stats().Loop.Extended
		a.host.Room = 0
		w.run(650 * time.Millisecond)
		a.host.Room = 100
		w.run(time.Second)
		if n := a.Stats().Loop.Extended - before; n < 1 || n > 2 {
			t.Errorf("overflow %d put off %d verdicts", i, n)
		}
	}
	a.want("overflows")
	before, heard := a.Stats().Loop.Extended, p.Stats().LastArrival
	a.host.Room = 0
	w.run(110 * time.Millisecond)
	b.host.Crash()
	a.host.Room = 100
	w.run(5 * time.Second)
	if n := a.Stats().Loop.Extended - before; n != 1 {
		t.Errorf("one overflow put off %d verdicts", n)
	}
	// Suspected when as much again has passed.
	if d := a.log[0].At.Sub(heard); a.log[0].To != Suspect || d < 600*time.Millisecond || d > 605*time.Millisecond {
		t.Errorf("%v after %v", a.log[0].To, d)
	}
}

// While we may be the isolated one nobody is failed, however soon failure follows suspicion.
func TestNobodyFailsWhileWeSuspectOurselves(t *testing.T) {
	w := newWorld(t, 3)
	a := w.start(Config{Detector: published.Fixed(0, 1.5)})
	for range 10 {
		b := w.start(Config{})
		a.watch(b)
		b.watch(a)
	}
	w.run(2 * time.Second)
	a.log, a.nodes = nil, nil
	cut := w.now()
	w.Mangle = func(*sim.Datagram) []*sim.Datagram { return nil }
	w.run(3 * time.Second)
	suspected := a.lastNode(LocalSuspect).At
	failed := 0
	for _, ev := range a.log {
		if ev.To == Failed {
			failed++
			if d := ev.At.Sub(suspected); d < 300*time.Millisecond {
				t.Errorf("failed %v after we suspected ourselves, %v after the cut", d, ev.At.Sub(cut))
			}
		}
	}
	if failed != 10 {
		t.Errorf("%d failed in the end", failed)
	}
}

// What makes silences correlated: so many, and so large a share, within a margin or two.
func TestSilencesThatMakeUsSuspectOurselves(t *testing.T) {
	const margin = 100 * time.Millisecond
	for name, c := range map[string]struct {
		alive int             // who is left
		at    []time.Duration // of the silences
		want  bool
	}{
		"one":                   {0, []time.Duration{0}, false},
		"two of two":            {0, []time.Duration{0, 0}, true},
		"two of six":            {4, []time.Duration{0, 0}, true},
		"two of seven":          {5, []time.Duration{0, 0}, false},
		"three of ten":          {7, []time.Duration{0, 0, 0}, true},
		"three of eleven":       {8, []time.Duration{0, 0, 0}, false},
		"across two intervals":  {5, []time.Duration{0, 90e6, 110e6}, true},
		"slowly":                {0, []time.Duration{0, 210e6, 420e6, 630e6}, false},
		"after another, before": {0, []time.Duration{0, 250e6}, false},
		"two intervals ago":     {5, []time.Duration{0, 110e6, 220e6}, false},
	} {
		w := newWorld(t, 1)
		s := w.start(Config{}).shards[0]
		start := s.now.Add(time.Second)
		s.alive = c.alive
		p := new(peer)
		p.deadline.suspectAt = clock.Instant(margin)
		for _, at := range c.at {
			s.now = start.Add(at)
			s.silenced(p)
		}
		want := clock.Instant(0)
		if c.want {
			want = s.now.Add(margin)
		}
		if s.silences.suspect != want {
			t.Errorf("%s: we suspect ourselves until %v, want %v", name, s.silences.suspect, want)
		}
	}
}

// Our own pause is no silence of the peer's, from the last arrival on, wherever that lies; and
// a grace is the least that is granted, with a pause or without.
func TestPauseMovesDeadlines(t *testing.T) {
	w := newWorld(t, 1)
	s := w.start(Config{}).shards[0]
	ms := func(n int) clock.Instant {
		return clock.Instant(time.Hour) + clock.Instant(n)*clock.Instant(time.Millisecond)
	}
	s.now = ms(200)
	s.paused(100 * time.Millisecond)
	for _, c := range []struct{ arrival, grace, want int }{
		{50, 0, 50 + 300 + 100},
		{150, 0, 150 + 300 + 50}, // the kernel received it during the pause
		{200, 0, 200 + 300},
		{250, 0, 250 + 300},
		{50, 480, 480},
		{250, 600, 600},
		{50, 400, 50 + 300 + 100},
	} {
		p := &peer{}
		p.deadline.set(ms(c.arrival), ms(c.arrival+300), ms(c.arrival+600), true, s.lostAt(ms(c.arrival)), 0)
		if c.grace != 0 {
			p.deadline.forgive(ms(c.grace))
		}
		if at := s.effective(p, ms(c.arrival+300)); at != ms(c.want) {
			t.Errorf("arrival %d, grace %d: deadline %v later than 300 ms after it, want %d ms", c.arrival, c.grace, at.Sub(ms(c.arrival+300)), c.want-c.arrival-300)
		}
		if at := s.effective(p, clock.Never); at != clock.Never {
			t.Errorf("no deadline became %v", at)
		}
	}
}

// A round trip is two ways, and what is promised is weighed by one.
func TestKnownPath(t *testing.T) {
	w, a, _, _ := pair(t, Config{})
	w.SetLinks(netmodel.Link{Delay: netmodel.Distribution{Base: 10 * time.Millisecond}})
	w.run(5 * time.Minute)
	if k, err := a.known(0); err != nil || k.Path < 9*time.Millisecond || k.Path > 11*time.Millisecond {
		t.Errorf("path %v, %v, on one of 10 ms", k.Path, err)
	}
}

// A period is shortened at once, and lengthened only when it is worth it.
func TestPeriodsDoNotGoToAndFro(t *testing.T) {
	e := newWorld(t, 1).start(Config{Period: 100 * time.Millisecond}).Engine
	for _, c := range []struct{ to, want time.Duration }{
		{120, 100}, {128, 128}, {112, 112}, {128, 112}, {108, 108}, {103, 100},
	} {
		e.setPeriod(0, c.to*time.Millisecond)
		if got := e.periodOf(0); got != c.want*time.Millisecond {
			t.Errorf("asked for %d ms it is %v, want %d ms", c.to, got, c.want)
		}
	}
}

// What is published as read is what a verdict may go by: less, where more waits in the sockets,
// and never less than before.
func TestReadToIsWhatMayBeJudged(t *testing.T) {
	s := newWorld(t, 1).start(Config{}).shards[0]
	s.now = clock.Instant(2 * time.Hour)
	s.drained, s.sure = s.now, s.now
	s.showRead()
	whole := clock.Instant(s.shown.readTo.Get())
	if whole != s.drained {
		t.Errorf("read to %v of %v", whole, s.drained)
	}
	s.now, s.drained = s.now.Add(time.Second), s.drained.Add(900*time.Millisecond)
	s.showRead()
	if to := clock.Instant(s.shown.readTo.Get()); to != s.drained.Add(-maxUndrained) {
		t.Errorf("with more in the sockets, read to %v after %v", to, s.drained)
	}
	s.drained = s.drained.Add(-500 * time.Millisecond)
	s.showRead()
	if to := clock.Instant(s.shown.readTo.Get()); to < whole.Add(890*time.Millisecond) {
		t.Errorf("it went back, to %v", to)
	}
}

// tornSocket is a process's socket that is read badly: while torn is set an error cuts every
// batch short, and so many calls as failing says fail with one.
type tornSocket struct {
	network.World
	torn    bool // until somebody asks
	pouring bool // torn for ever
	cut     bool // the last batch
	failing int
}

// Receive returns rubbish in place of a batch that was cut short.
func (n *tornSocket) Receive(i int) (int, bool, error) {
	n.cut = n.torn
	switch {
	case n.torn:
		return 1, true, nil
	case n.failing > 0:
		n.failing--
		return 0, false, syscall.ECONNREFUSED
	}
	return n.World.Receive(i)
}

// Datagram returns rubbish for a batch that was cut short.
func (n *tornSocket) Datagram(j int) []byte {
	if n.cut {
		return []byte("rubbish")
	}
	return n.World.Datagram(j)
}

// Stamp returns none for a batch that was cut short.
func (n *tornSocket) Stamp(j int) int64 {
	if n.cut {
		return 0
	}
	return n.World.Stamp(j)
}

// Interrupted says that a batch was cut short; after that they are whole, unless errors pour in.
func (n *tornSocket) Interrupted(int) bool {
	n.torn = n.torn && n.pouring
	return n.cut
}

// tear puts a tornSocket between a node and its host.
func (n *node) tear() *tornSocket {
	s := n.shards[0]
	torn := &tornSocket{World: s.net.(network.World)}
	s.net = torn
	return torn
}

// A heartbeat that lies behind an error, in a socket that seems empty, keeps its sender alive.
func TestBatchCutShortProvesNothing(t *testing.T) {
	w, a, _, p := pair(t, Config{Detector: published.Fixed(3, 0)})
	a.log = nil
	torn := a.tear()
	for range 20 {
		torn.torn = true
		w.run(time.Second)
	}
	a.accusedNobody()
	if p.State() != Alive {
		t.Errorf("state %v", p.State())
	}
}

// A socket whose errors cannot be read past was not read empty: nothing more was heard of
// than before, and it is read on at once.
func TestErrorProvesNothing(t *testing.T) {
	w, a, _, _ := pair(t, Config{})
	s := a.shards[0]
	torn := a.tear()
	for _, failing := range []int{1, batchesPerTurn - 1, batchesPerTurn, 3 * batchesPerTurn} {
		w.run(time.Second)
		torn.failing = failing
		before := s.lastRead
		next := s.turn(a.host.Now())
		whole := failing < batchesPerTurn
		if (s.drained == s.now) != whole || (s.lastRead > before) != whole || next == s.now {
			t.Errorf("%d errors: read to %v at %v, next turn at %v", failing, s.drained, s.now, next)
		}
	}
	a.accusedNobody()
}

// Errors that pour in do not keep the dead alive.
func TestErrorsKeepNobodyAlive(t *testing.T) {
	w, a, b, p := pair(t, Config{})
	torn := a.tear()
	b.host.Crash()
	w.run(50 * time.Millisecond)
	torn.torn, torn.pouring = true, true
	died := w.now()
	w.run(10 * time.Second)
	if p.State() != Failed {
		t.Fatalf("%v", p.State())
	}
	if d := a.last(Silence).At.Sub(died); d > 9*time.Second {
		t.Errorf("failed %v after its death", d)
	}
}

// unstamped is a socket with more heartbeats than a turn reads, all of them the same, whose stamps no
// clock can have shown.
type unstamped struct {
	network.World
	again []byte
	from  network.Addr
}

func (n *unstamped) Receive(int) (int, bool, error) { return batchSize, false, nil }
func (n *unstamped) Datagram(int) []byte            { return n.again }
func (n *unstamped) From(int) *network.Addr         { return &n.from }
func (n *unstamped) Stamp(int) int64                { return 1 }

// A refused stamp is counted once, however often it is looked at.
func TestRefusedStampsAreCountedOnce(t *testing.T) {
	w, a, b, _ := pair(t, Config{})
	s := a.shards[0]
	more := &unstamped{World: s.net.(network.World), from: b.addr()}
	w.Mangle = func(d *sim.Datagram) []*sim.Datagram {
		if d.From == b.addr() {
			more.again = d.Data
		}
		return []*sim.Datagram{d}
	}
	w.run(time.Second)
	s.net = more
	s.turn(a.host.Now())
	if n := a.Stats().Stamps.Refused; n != batchSize*batchesPerTurn {
		t.Errorf("%d stamps refused of %d", n, batchSize*batchesPerTurn)
	}
}
