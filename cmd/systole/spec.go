package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"systole/engine/detect"
	"systole/engine/detect/published"
)

// spec is a detector with its parameter.
type spec struct {
	name, param string
	standard    bool // param is the default
	detector    detect.Detector
	promised    float64 // mistakes per hour; 0: no promise
}

// sweep is the parameters of a detector that --sweep runs.
type sweep struct {
	name     string
	standard string // the default parameter
	params   []string
	margin   bool // the parameter is a margin; standard and params are in periods
}

// sweeps has all detectors.
var sweeps = []sweep{
	{"fixed", "3", []string{"1.1", "1.25", "1.5", "1.75", "2", "2.5", "3", "4", "5", "7", "10", "20", "50"}, false},
	{"chen", "2", []string{"0.05", "0.1", "0.2", "0.5", "1", "1.5", "2", "3", "4", "6", "10", "20", "50"}, true},
	{"2w", "2", []string{"0.05", "0.1", "0.2", "0.5", "1", "1.5", "2", "3", "4", "6", "10", "20", "50"}, true},
	{"oz", "0.99", []string{"0.5", "0.7", "0.8", "0.9", "0.95", "0.99", "0.995", "0.999"}, false},
	{"bertier", "4", []string{"1", "2", "4", "8", "20", "40", "80"}, false},
	{"phi", "8", []string{"1", "2", "4", "6", "8", "10", "12", "16"}, false},
	{"phi-exp", "8", []string{"0.5", "0.75", "1", "1.5", "2", "3", "4", "6", "8", "12"}, false},
	{"margin", "24h", []string{"1s", "10s", "1m", "10m", "1h", "6h", "24h", "168h", "720h"}, false},
}

// sweepAll is the argument of --sweep for all detectors.
const sweepAll = "all"

// findSweep returns the sweep of the detector with a name.
func findSweep(name string) (sweep, bool) {
	for _, s := range sweeps {
		if s.name == name {
			return s, true
		}
	}
	return sweep{}, false
}

// spec returns the detector with one of its parameters. period converts margins.
func (s *sweep) spec(param string, period time.Duration) (spec, error) {
	standard := param == s.standard
	if s.margin {
		periods, err := strconv.ParseFloat(param, 64)
		if err != nil {
			return spec{}, err
		}
		param = time.Duration(periods * float64(period)).String()
	}
	out, err := parseSpec(s.name+":"+param, period)
	out.standard = standard
	return out, err
}

// specs returns the detectors to run over a recording with a period. A detector of --detector that
// does not support the period is an error; one of a sweep or of the defaults is skipped, with a
// warning.
func (o *replayOptions) specs(period time.Duration) (specs []spec, skipped []error, err error) {
	for _, text := range o.detectors {
		s, err := parseSpec(text, period)
		if err != nil {
			return nil, nil, fmt.Errorf("--%w", err) // err begins with "detector" and the text
		}
		specs = append(specs, s)
	}
	name := o.sweep
	if name == "" && len(specs) == 0 && o.output == "svg" {
		name = sweepAll
	}
	known := name == "" || name == sweepAll
	for _, s := range sweeps {
		var params []string
		switch {
		case s.name == name || name == sweepAll:
			params, known = s.params, true
		case name == "" && len(o.detectors) == 0:
			params = []string{s.standard}
		}
		for _, p := range params {
			one, err := s.spec(p, period)
			if err != nil {
				skipped = append(skipped, err)
				continue
			}
			specs = append(specs, one)
		}
	}
	if !known {
		return nil, nil, fmt.Errorf("--sweep %q: want one of %s, or %s", name, strings.Join(published.Names(), ", "), sweepAll)
	}
	if len(specs) == 0 {
		return nil, nil, errors.Join(skipped...)
	}
	return specs, skipped, nil
}

// parseSpec parses NAME or NAME:PARAM as published.Parse does. The default margin of NAME is in
// periods. The promise of the detector margin is for this period.
func parseSpec(text string, period time.Duration) (s spec, err error) {
	name, param, given := strings.Cut(text, ":")
	if known, ok := findSweep(name); ok && !given {
		return known.spec(known.standard, period)
	}
	s = spec{name: name, param: param}
	if s.detector, err = published.Parse(text); err != nil {
		return s, err
	}
	if name == "margin" {
		every, err := time.ParseDuration(param)
		if err != nil {
			return s, fmt.Errorf("detector %q: %w", text, err)
		}
		s.detector = detect.Margin(detect.MarginOptions{MistakeEvery: every, Period: period})
		s.promised = 1 / every.Hours()
		if err := s.detector.(interface{ Validate() error }).Validate(); err != nil {
			return s, fmt.Errorf("detector %q: %w", text, err)
		}
	}
	return s, nil
}
