package engine

import (
	"testing"
	"time"

	"systole/engine/detect"
	"systole/engine/detect/published"
)

// Under every detector a quiet link brings no accusation, and a crash is suspected and then
// failed. Bertier is not among them: on a quiet link its margin is what the last ten heartbeats
// jittered by, and the next is often a mistake.
func TestEveryDetector(t *testing.T) {
	for _, d := range []detect.Detector{
		published.Fixed(0, 0), published.Chen(0, 0, 0), published.Oz(published.OzOptions{}), published.TwoWindow(0, 0, 0, 0), published.PhiNormal(published.PhiNormalOptions{}), published.PhiExponential(published.PhiExponentialOptions{}),
		detect.Margin(detect.MarginOptions{MistakeEvery: time.Hour}), detect.Margin(detect.MarginOptions{MistakeEvery: 30 * 24 * time.Hour}),
	} {
		w, a, b, p := pair(t, Config{Detector: d})
		a.log = nil
		w.run(2 * time.Minute)
		a.accusedNobody()
		b.host.Crash()
		gone := w.now()
		w.run(5 * time.Minute)
		a.want(d.Name(), "alive suspect silence", "suspect failed silence")
		t.Logf("%-8s suspect after %v, failed after %v", d.Name(), a.log[0].At.Sub(gone).Round(time.Millisecond), a.log[1].At.Sub(gone).Round(time.Millisecond))
		if p.State() != Failed {
			t.Errorf("%s: %v", d.Name(), p.State())
		}
	}
}
