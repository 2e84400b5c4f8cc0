package published

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"systole/engine/detect"
)

// errUnknown means that no detector has the name.
var errUnknown = errors.New("detect: want one of " + strings.Join(Names(), ", "))

// Faults of parameters.
var (
	errNumber   = errors.New("detect: want a number above 0 as the parameter")
	errDuration = errors.New("detect: want a duration above 0 with its unit as the parameter, for instance 40ms")
)

// named makes detectors of a name. Either ofNumber or ofDuration is set; a parameter of 0 makes the
// default.
type named struct {
	name       string
	ofNumber   func(float64) detect.Detector
	ofDuration func(time.Duration) detect.Detector
}

// registry returns all detectors, the default last.
func registry() []named {
	return []named{
		{"fixed", func(n float64) detect.Detector { return Fixed(n, 0) }, nil},
		{"chen", nil, func(d time.Duration) detect.Detector { return Chen(d, 0, 0) }},
		{"2w", nil, func(d time.Duration) detect.Detector { return TwoWindow(d, 0, 0, 0) }},
		{"oz", func(n float64) detect.Detector { return Oz(OzOptions{Decrease: n}) }, nil},
		{"bertier", func(n float64) detect.Detector { return Bertier(BertierOptions{Phi: n}) }, nil},
		{"phi", func(n float64) detect.Detector { return PhiNormal(PhiNormalOptions{Threshold: n}) }, nil},
		{"phi-exp", func(n float64) detect.Detector { return PhiExponential(PhiExponentialOptions{Threshold: n}) }, nil},
		{"margin", nil, func(d time.Duration) detect.Detector { return detect.Margin(detect.MarginOptions{MistakeEvery: d}) }},
	}
}

// Names returns the names that Parse accepts, the default detector's last.
func Names() []string {
	var names []string
	for _, n := range registry() {
		names = append(names, n.name)
	}
	return names
}

// Parse returns the detector that text names, for flags and files. The text is NAME, for a detector
// with its defaults, or NAME:PARAM:
//
//	fixed:N      the multiplier of Fixed, in periods: 1 to 1000
//	chen:D       the margin of Chen: above 0, at most 1h
//	2w:D         the margin of TwoWindow: likewise
//	oz:N         OzOptions.Decrease: 0.5 to below 1
//	bertier:N    BertierOptions.Phi: above 0, at most 100
//	phi:N        PhiNormalOptions.Threshold: 0.1 to 299
//	phi-exp:N    PhiExponentialOptions.Threshold: 0.1 to 300
//	margin:D     detect.MarginOptions.MistakeEvery: 1s to 100 years
//
// N is a number, D a duration with its unit as for time.ParseDuration. The detector is valid. For any
// other text the error has the text and its fault: for an unknown name, all names. Any goroutine may
// call it.
func Parse(text string) (detect.Detector, error) {
	d, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("detector %q: %w", text, err)
	}
	return d, nil
}

// parse is Parse without the text in its error.
func parse(text string) (detect.Detector, error) {
	name, param, given := strings.Cut(text, ":")
	for _, n := range registry() {
		if n.name != name {
			continue
		}
		d, err := n.make(param, given)
		if err != nil {
			return nil, err
		}
		if v, ok := d.(interface{ Validate() error }); ok {
			err = v.Validate()
		}
		return d, err
	}
	return nil, errUnknown
}

// make returns the detector with a parameter, or with the default if none is given.
func (n *named) make(param string, given bool) (detect.Detector, error) {
	if n.ofDuration != nil {
		var value time.Duration
		var err error
		if given {
			value, err = time.ParseDuration(param)
		}
		if err != nil || given && value <= 0 {
			return nil, errDuration
		}
		return n.ofDuration(value), nil
	}
	var value float64
	var err error
	if given {
		value, err = strconv.ParseFloat(param, 64)
	}
	if err != nil || given && !(value > 0 && value <= math.MaxFloat64) {
		return nil, errNumber
	}
	return n.ofNumber(value), nil
}
