package names

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"systole/engine/clock"
)

// Under random operations, moves satisfy world.judge, lookups stay within their bounds, and no host has
// two lookups in flight. After that, each peer with a live address is Alive at a listed one, and each
// host is looked up every 5 s.
func TestTableUnderRandomOperations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(nil)
		w.table.maxLookups, w.table.maxStuck = 3, 4
		w.t = fataler{t: t}
		pool := parse("10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2", "10.0.0.3")
		live := map[netip.Addr]bool{pool[0]: true}
		hosts := []string{"a", "b", "c", "d", "e"}
		for _, h := range hosts {
			w.serve(h, "10.0.0.1")
		}
		addrs := rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 0, 4, rapid.ID[netip.Addr])
		slot, hostName := rapid.Uint32Range(0, 5), rapid.SampledFrom(hosts)
		generation := uint32(0)
		settle := func() { // a peer is Alive at live addresses only
			for _, k := range w.keys() {
				p := w.peers[k]
				if well := live[p.at.Addr()] && p.at.Port() == 7; well != (p.state == Alive) {
					state := Alive
					if !well {
						state = rapid.SampledFrom([]State{Suspect, Failed}).Draw(t, "state")
					}
					w.set(k, state)
				}
			}
		}
		for range 4 {
			generation++
			w.add(generation, generation, hostName.Draw(t, "host"))
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				generation++
				w.add(slot.Draw(t, "slot"), generation, hostName.Draw(t, "host"))
			},
			"remove": func(t *rapid.T) {
				if k := w.keys(); len(k) > 0 {
					w.remove(rapid.SampledFrom(k).Draw(t, "key"))
				}
			},
			"relist": func(t *rapid.T) {
				s := w.hosts[hostName.Draw(t, "host")]
				s.addrs, s.err = addrs.Draw(t, "addrs"), nil
				s.takes = clock.Instant(rapid.SampledFrom([]time.Duration{0, 30 * time.Millisecond, 3 * time.Second, time.Hour}).Draw(t, "takes"))
				if rapid.Bool().Draw(t, "fails") {
					s.err = errNoHost
				}
			},
			"live": func(t *rapid.T) { a := rapid.SampledFrom(pool).Draw(t, "addr"); live[a] = !live[a]; settle() },
			"full": func(t *rapid.T) { w.full = !w.full },
			"allow": func(t *rapid.T) {
				a := netip.AddrPortFrom(rapid.SampledFrom(pool).Draw(t, "addr"), 7)
				w.unusable[a] = !w.unusable[a]
			},
			"wander": func(t *rapid.T) {
				if k := w.keys(); len(k) > 0 {
					w.peers[rapid.SampledFrom(k).Draw(t, "key")].at = netip.AddrPortFrom(rapid.SampledFrom(pool).Draw(t, "addr"), uint16(rapid.IntRange(7, 8).Draw(t, "port")))
				}
			},
			"change": func(t *rapid.T) {
				w.table.stateChanged(Key{slot.Draw(t, "slot"), rapid.Uint32Range(0, generation).Draw(t, "generation")}, w.now)
			},
			"changes": func(t *rapid.T) {
				for _, k := range w.keys() {
					w.table.stateChanged(k, w.now)
				}
			},
			"overflow": func(t *rapid.T) { w.table.checkAll(w.now) },
			"run": func(t *rapid.T) {
				settle()
				w.run(time.Duration(rapid.SampledFrom([]int{0, 10, 100, 260, 700, 1100, 2500, 7000}).Draw(t, "ms")) * time.Millisecond)
			},
			"": func(t *rapid.T) {
				running := make(map[*host]int)
				for _, q := range w.open {
					if q.lookup.host.lookup == q.lookup {
						running[q.lookup.host]++
					}
				}
				for _, q := range w.open {
					if n := q.lookup.host.stuck; n > maxStuckPerHost {
						t.Fatalf("%s has %d stuck lookups", q.lookup.host.name, n)
					}
				}
				for h, n := range running {
					if n > 1 {
						t.Fatalf("%s has %d lookups in flight", h.name, n)
					}
				}
				if w.table.places() > 3 || w.table.uncounted() > 4 || len(w.open) > 7 {
					t.Fatalf("%d places, %d stuck besides, %d running", w.table.places(), w.table.uncounted(), len(w.open))
				}
			},
		})
		calm(t, w, live, settle)
	})
}

// calm ends all failures and checks that the table recovers.
func calm(t *rapid.T, w *world, live map[netip.Addr]bool, settle func()) {
	w.full = false
	for _, s := range w.hosts {
		s.takes, s.err = 0, nil
	}
	for _, q := range w.open {
		q.back = w.now
	}
	for range 400 {
		settle()
		w.run(100 * time.Millisecond)
	}
	settle()
	w.asked = nil
	w.run(11 * time.Second)
	count := make(map[string]int)
	for _, h := range w.asked {
		count[h]++
	}
	for k, p := range w.peers {
		usable, listed := false, false
		for _, a := range w.hosts[p.host].addrs {
			ap := netip.AddrPortFrom(a, 7)
			usable = usable || live[a] && !w.unusable[ap]
			listed = listed || ap == p.at
		}
		if usable && (p.state != Alive || !listed) {
			t.Fatalf("%v of %s is %v at %v, of %v; live: %v", k, p.host, p.state, p.at, w.hosts[p.host].addrs, live)
		}
		if n := count[p.host]; n < 1 || n > 13 {
			t.Fatalf("%s was looked up %d times in 11 s", p.host, n)
		}
	}
}

// fataler makes a testing.TB of a rapid.T.
type fataler struct {
	testing.TB
	t *rapid.T
}

func (f fataler) Fatal(args ...any)                 { f.t.Fatal(args...) }
func (f fataler) Fatalf(format string, args ...any) { f.t.Fatal(fmt.Sprintf(format, args...)) }
