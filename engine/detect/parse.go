package detect

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseError is the error of Parse.
type ParseError struct {
	Text string // the argument of Parse
	Err  error  // ErrUnknown, or the fault of the parameter
}

// Error returns the text and its fault.
func (e *ParseError) Error() string { return fmt.Sprintf("detector %q: %v", e.Text, e.Err) }

// Unwrap returns e.Err.
func (e *ParseError) Unwrap() error { return e.Err }

// ErrUnknown means that no detector has the name. Its text lists the names.
var ErrUnknown = errors.New("detect: want one of " + strings.Join(Names(), ", "))

// Faults of parameters.
var (
	errNumber   = errors.New("detect: want a number above 0 as the parameter")
	errDuration = errors.New("detect: want a duration above 0 with its unit as the parameter, for instance 40ms")
)

// named makes detectors of a name. Either ofNumber or ofDuration is set; a parameter of 0 makes the
// default.
type named struct {
	name       string
	ofNumber   func(float64) Detector
	ofDuration func(time.Duration) Detector
}

// registry returns all detectors, the default last.
func registry() []named {
	return []named{
		{"fixed", func(n float64) Detector { return &Fixed{Multiplier: n} }, nil},
		{"chen", nil, func(d time.Duration) Detector { return &Chen{Alpha: d} }},
		{"2w", nil, func(d time.Duration) Detector { return &TwoWindow{Alpha: d} }},
		{"oz", func(n float64) Detector { return &Oz{Decrease: n} }, nil},
		{"bertier", func(n float64) Detector { return &Bertier{Phi: n} }, nil},
		{"phi", func(n float64) Detector { return &PhiNormal{Threshold: n} }, nil},
		{"phi-exp", func(n float64) Detector { return &PhiExponential{Threshold: n} }, nil},
		{"margin", nil, func(d time.Duration) Detector { return &Margin{MistakeEvery: d} }},
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
//	fixed:N      Fixed.Multiplier, in periods: 1 to 1000
//	chen:D       Chen.Alpha: above 0, at most 1h
//	2w:D         TwoWindow.Alpha: likewise
//	oz:N         Oz.Decrease: 0.5 to below 1
//	bertier:N    Bertier.Phi: above 0, at most 100
//	phi:N        PhiNormal.Threshold: 0.1 to 300
//	phi-exp:N    PhiExponential.Threshold: likewise
//	margin:D     Margin.MistakeEvery: 1s to 100 years
//
// N is a number, D a duration with its unit as for time.ParseDuration. The detector is valid, and
// the caller may set further fields. For any other text the error is a *ParseError; it wraps
// ErrUnknown if the name is unknown. Any goroutine may call it.
func Parse(text string) (Detector, error) {
	d, err := parse(text)
	if err != nil {
		return nil, &ParseError{text, err}
	}
	return d, nil
}

// parse is Parse without the *ParseError.
func parse(text string) (Detector, error) {
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
	return nil, ErrUnknown
}

// make returns the detector with a parameter, or with the default if none is given.
func (n *named) make(param string, given bool) (Detector, error) {
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
