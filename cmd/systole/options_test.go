package main

import (
	"reflect"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/detect"
	"systole/engine/detect/published"
)

// The parameter of a detector comes from its name or from the multiplier.
func TestDetectorFlag(t *testing.T) {
	for _, test := range []struct {
		detector   string
		multiplier float64
		want       detect.Detector
	}{
		{"fixed", 3, published.Fixed(3, 0)}, {"fixed", 1, published.Fixed(1, 0)}, {"fixed:2.5", 3, published.Fixed(2.5, 0)},
		{"chen", 4, published.Chen(30*time.Millisecond, 0, 0)}, {"chen:7ms", 3, published.Chen(7*time.Millisecond, 0, 0)},
		{"2w", 3, published.TwoWindow(20*time.Millisecond, 0, 0, 0)}, {"2w:1s", 3, published.TwoWindow(time.Second, 0, 0, 0)},
		{"phi", 3, published.PhiNormal(published.PhiNormalOptions{})}, {"phi-exp:12", 3, published.PhiExponential(published.PhiExponentialOptions{Threshold: 12})}, {"oz:0.9", 3, published.Oz(published.OzOptions{Decrease: 0.9})},
	} {
		o := nodeOptions{detector: test.detector, multiplier: test.multiplier, mistakeEvery: defaultMistakeEvery, interval: 10 * time.Millisecond}
		var c engine.Config
		if err := o.setDetector(&c); err != nil || !reflect.DeepEqual(c.Detector, test.want) {
			t.Errorf("%s with %v: %+v, %v; want %+v", test.detector, test.multiplier, c.Detector, err, test.want)
		}
	}
}
