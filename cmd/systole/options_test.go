package main

import (
	"reflect"
	"testing"
	"time"

	"systole/engine"
	"systole/engine/detect"
)

// The parameter of a detector comes from its name or from the multiplier.
func TestDetectorFlag(t *testing.T) {
	for _, test := range []struct {
		detector   string
		multiplier float64
		want       detect.Detector
	}{
		{"fixed", 3, &detect.Fixed{Multiplier: 3}}, {"fixed", 1, &detect.Fixed{Multiplier: 1}}, {"fixed:2.5", 3, &detect.Fixed{Multiplier: 2.5}},
		{"chen", 4, &detect.Chen{Alpha: 30 * time.Millisecond}}, {"chen:7ms", 3, &detect.Chen{Alpha: 7 * time.Millisecond}},
		{"2w", 3, &detect.TwoWindow{Alpha: 20 * time.Millisecond}}, {"2w:1s", 3, &detect.TwoWindow{Alpha: time.Second}},
		{"phi", 3, &detect.PhiNormal{}}, {"phi-exp:12", 3, &detect.PhiExponential{Threshold: 12}}, {"oz:0.9", 3, &detect.Oz{Decrease: 0.9}},
	} {
		o := nodeOptions{detector: test.detector, multiplier: test.multiplier, mistakeEvery: defaultMistakeEvery, interval: 10 * time.Millisecond}
		var c engine.Config
		if err := o.setDetector(&c); err != nil || !reflect.DeepEqual(c.Detector, test.want) {
			t.Errorf("%s with %v: %+v, %v; want %+v", test.detector, test.multiplier, c.Detector, err, test.want)
		}
	}
}
