package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"systole/engine/detect"
)

// spec is a detector with its parameter, as the command line has it.
type spec struct {
	name, param string
	shipped     bool // the parameter is the detector's default
	detector    detect.Detector
	promised    float64 // mistakes per hour; 0: nothing is promised
}

// swept is a detector that replay knows: its parameter as it is shipped, and those that
// --sweep runs. Where the parameter is a margin they are in periods.
type swept struct {
	name    string
	shipped string
	params  []string
	margin  bool
}

var sweeps = []swept{
	{"fixed", "3", []string{"1.1", "1.25", "1.5", "1.75", "2", "2.5", "3", "4", "5", "7", "10", "20", "50"}, false},
	{"chen", "2", []string{"0.05", "0.1", "0.2", "0.5", "1", "1.5", "2", "3", "4", "6", "10", "20", "50"}, true},
	{"2w", "2", []string{"0.05", "0.1", "0.2", "0.5", "1", "1.5", "2", "3", "4", "6", "10", "20", "50"}, true},
	{"oz", "0.99", []string{"0.5", "0.7", "0.8", "0.9", "0.95", "0.99", "0.995", "0.999"}, false},
	{"bertier", "4", []string{"1", "2", "4", "8", "20", "40", "80"}, false},
	{"phi", "8", []string{"1", "2", "4", "6", "8", "10", "12", "16"}, false},
	{"phi-exp", "8", []string{"0.5", "0.75", "1", "1.5", "2", "3", "4", "6", "8", "12"}, false},
	{"margin", "24h", []string{"1s", "10s", "1m", "10m", "1h", "6h", "24h", "168h", "720h"}, false},
}

// sweepAll is what --sweep takes for all detectors.
const sweepAll = "all"

// sweepNamed returns the detector of a name.
func sweepNamed(name string) (swept, bool) {
	for _, s := range sweeps {
		if s.name == name {
			return s, true
		}
	}
	return swept{}, false
}

// spec returns the detector with a parameter of its list.
func (s *swept) spec(param string, period time.Duration) (spec, error) {
	shipped := param == s.shipped
	if s.margin {
		periods, err := strconv.ParseFloat(param, 64)
		if err != nil {
			return spec{}, err
		}
		param = time.Duration(periods * float64(period)).String()
	}
	out, err := parseSpec(s.name+":"+param, period)
	out.shipped = shipped
	return out, err
}

// specs returns what to run over a recording of a period. What was asked for by name must
// go with the period; of a list, what does not is left out, and returned for a warning.
func (o *replayOptions) specs(period time.Duration) (specs []spec, leftOut []error, err error) {
	for _, text := range o.detectors {
		s, err := parseSpec(text, period)
		if err != nil {
			return nil, nil, fmt.Errorf("--%w", err) // which begins with "detector" and the text
		}
		specs = append(specs, s)
	}
	sweep := o.sweep
	if sweep == "" && len(specs) == 0 && o.output == "svg" {
		sweep = sweepAll
	}
	known := sweep == "" || sweep == sweepAll
	for _, s := range sweeps {
		var params []string
		switch {
		case s.name == sweep || sweep == sweepAll:
			params, known = s.params, true
		case sweep == "" && len(o.detectors) == 0:
			params = []string{s.shipped}
		}
		for _, p := range params {
			one, err := s.spec(p, period)
			if err != nil {
				leftOut = append(leftOut, err)
				continue
			}
			specs = append(specs, one)
		}
	}
	if !known {
		return nil, nil, fmt.Errorf("--sweep %q: want one of %s, or %s", sweep, strings.Join(detect.Names(), ", "), sweepAll)
	}
	if len(specs) == 0 {
		return nil, nil, errors.Join(leftOut...)
	}
	return specs, leftOut, nil
}

// parseSpec reads NAME or NAME:PARAM, as detect.Parse does. A margin that is not given is
// in periods, and the promise of the detector that keeps one is for this period.
func parseSpec(text string, period time.Duration) (s spec, err error) {
	name, param, given := strings.Cut(text, ":")
	if known, ok := sweepNamed(name); ok && !given {
		return known.spec(known.shipped, period)
	}
	s = spec{name: name, param: param}
	if s.detector, err = detect.Parse(text); err != nil {
		return s, err
	}
	if m, ok := s.detector.(*detect.Margin); ok {
		m.Period = period
		s.promised = 1 / m.MistakeEvery.Hours()
		if err := m.Validate(); err != nil {
			return s, &detect.ParseError{Text: text, Err: err}
		}
	}
	return s, nil
}
