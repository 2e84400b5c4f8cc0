package names

import (
	"fmt"
	"testing"
	"time"
)

// many is a world of 100,000 names with two addresses each, all resolved.
func many(tb testing.TB) *world {
	w := newWorld(tb)
	for i := range uint32(100_000) {
		host := fmt.Sprint("h", i)
		w.serve(host, "10.0.0.1", "fd00::1")
		w.add(i, 1, host)
	}
	w.round()
	for k := range w.peers {
		w.set(k, Alive)
	}
	w.run(time.Second)
	return w
}

// Lookups and changes of 100,000 names cost a few microseconds each.
func TestManyNames(t *testing.T) {
	w := many(t)
	w.asked = nil
	begin := time.Now()
	w.run(5 * time.Second)
	if each := time.Since(begin) / time.Duration(len(w.asked)); len(w.asked) < 80_000 || each > 100*time.Microsecond {
		t.Errorf("%d lookups, %v each", len(w.asked), each)
	}
	w.moves = nil
	for k := range w.peers {
		w.set(k, Failed)
	}
	w.round()
	if len(w.moves) != 100_000 {
		t.Errorf("%d moves", len(w.moves))
	}
}

// BenchmarkLookup measures the table's work for a lookup and the check of its peer, among 100,000.
func BenchmarkLookup(b *testing.B) {
	w := many(b)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; {
		l := w.table.startLookup(w.now)
		if l == nil {
			w.now = w.table.next()
			continue
		}
		n++
		w.table.endLookup(l, w.hosts[l.host.name].addrs, nil, w.now)
		for w.table.checkNext(w.now) {
		}
	}
}

// BenchmarkStateChanged measures what the engine's hot path calls.
func BenchmarkStateChanged(b *testing.B) {
	r := New(nil, Options{})
	r.Add(Key{7, 1}, "a", 7)
	b.ReportAllocs()
	for b.Loop() {
		r.StateChanged(Key{7, 1})
	}
}
