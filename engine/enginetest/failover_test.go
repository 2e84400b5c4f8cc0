package enginetest_test

import (
	"testing"
	"time"

	"systole/engine/enginetest"
)

// The server fails over exactly once when its primary is cut off, dies or stands still, and never when it is cut
// off itself, or stands still.
func TestServerFailsOverOnce(t *testing.T) {
	for _, test := range []struct {
		what      string
		begin     func(w *enginetest.World)
		end       func(w *enginetest.World)
		failovers int
		seeds     uint64 // so many worlds
	}{
		{"the primary is cut off", func(w *enginetest.World) { w.Partition(w.Host("primary")) }, (*enginetest.World).HealAll, 1, 200},
		{"the primary crashes", func(w *enginetest.World) { w.Host("primary").Crash() }, func(*enginetest.World) {}, 1, 50},
		{"the primary is stopped", func(w *enginetest.World) { w.Host("primary").Stop() }, func(w *enginetest.World) { w.Host("primary").Continue() }, 1, 50},
		{"the server is cut off", func(w *enginetest.World) { w.Partition(w.Host("server")) }, (*enginetest.World).HealAll, 0, 200},
		{"the server is stopped", func(w *enginetest.World) { w.Host("server").Stop() }, func(w *enginetest.World) { w.Host("server").Continue() }, 0, 50},
		{"the server's machine is paused", func(w *enginetest.World) { w.Host("server").Pause(false) }, func(w *enginetest.World) { w.Host("server").Resume() }, 0, 50},
	} {
		t.Run(test.what, func(t *testing.T) {
			t.Parallel()
			for seed := range test.seeds {
				w, s := failoverWorld(seed)
				primary := s.active
				w.Run(5 * time.Second)
				test.begin(w)
				w.Run(5 * time.Second)
				test.end(w)
				w.Run(5 * time.Second)
				w.Finish()
				for _, v := range w.Violations() {
					t.Errorf("seed %d: %v", seed, v)
				}
				if s.failovers != test.failovers || (s.active == primary) != (test.failovers == 0) {
					t.Errorf("seed %d: %d fail-overs, the active one is %v", seed, s.failovers, s.active)
				}
			}
		})
	}
}
