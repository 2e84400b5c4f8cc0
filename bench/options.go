package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// options are the values of the flags.
type options struct {
	duration time.Duration // of each measurement
	repeat   int           // measurements of each case of floor, engine, growth, shards, stamps and absorb
	sessions int           // of bird; peers of load, lateness, solicit, phases and absorb
	loads    loadList      // of bird and load
	results  string        // directory of the pages, or empty
	days     float64       // of virtual time that qos and qos-stamps judge
	warm     float64       // days of virtual time before, for learning
}

// Bounds of the flags. Simulations run for up to 50,000 times -time, which must fit into a
// time.Duration; so must twice maxDays, a century each.
const (
	minTime     = 100 * time.Millisecond
	maxTime     = 24 * time.Hour
	maxSessions = 1000
	maxDays     = 36500
)

// flags returns the flags of o. Their defaults are the values in o.
func (o *options) flags() *flag.FlagSet {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(io.Discard) // run reports errors
	f.DurationVar(&o.duration, "time", o.duration, fmt.Sprintf("`length` of each measurement, %v to %v", minTime, maxTime))
	f.IntVar(&o.repeat, "repeat", o.repeat, "`number` of measurements of each case of floor, engine, growth, shards, stamps and absorb, of which the best counts")
	f.IntVar(&o.sessions, "sessions", o.sessions,
		fmt.Sprintf("`number` of BFD sessions of bird and of peers of load, lateness, solicit, phases and absorb, 1 to %d", maxSessions))
	f.Var(&o.loads, "loads", "`numbers` of busy loops beside bird and load, one measurement each")
	f.Float64Var(&o.days, "days", o.days, "virtual `days` that qos and qos-stamps judge on each model, after the warm-up; qos-failed judges an 80th of them")
	f.Float64Var(&o.warm, "warm", o.warm, "virtual `days` before, in which detectors only learn")
	f.StringVar(&o.results, "results", o.results, "`directory` of the pages that keep the results")
	return f
}

// defaults are the options of an empty command line.
func defaults() options {
	return options{duration: 5 * time.Second, repeat: 5, sessions: 100, loads: loadList{0, 2, 4, 8}, days: 20, warm: 7}
}

// parseOptions parses the command line and returns the names of benchmarks after the flags. Its
// error is flag.ErrHelp for -h.
func parseOptions(args []string) (o options, names []string, err error) {
	o = defaults()
	f := o.flags()
	if err := f.Parse(args); err != nil {
		return o, nil, err
	}
	return o, f.Args(), o.validate()
}

// validate returns an error that names the first flag out of range.
func (o *options) validate() error {
	switch {
	case o.duration < minTime || o.duration > maxTime:
		return fmt.Errorf("-time must be within %v to %v, not %v", minTime, maxTime, o.duration)
	case o.repeat < 1:
		return fmt.Errorf("-repeat must be at least 1, not %d", o.repeat)
	case o.sessions < 1 || o.sessions > maxSessions:
		return fmt.Errorf("-sessions must be within 1 to %d, not %d", maxSessions, o.sessions)
	case !(o.days > 0 && o.days <= maxDays): // also NaN
		return fmt.Errorf("-days must be above 0 and at most %d, not %v", maxDays, o.days)
	case !(o.warm >= 0 && o.warm <= maxDays):
		return fmt.Errorf("-warm must be within 0 to %d, not %v", maxDays, o.warm)
	}
	return nil
}

// command returns the command line that repeats b with these options.
func (o options) command(b *benchmark) string {
	words := []string{"go run ./bench"}
	f := o.flags()
	for _, name := range b.flags {
		words = append(words, "-"+name, f.Lookup(name).Value.String())
	}
	return strings.Join(append(words, b.name), " ")
}

// usage returns the text of -h.
func usage() string {
	var b bytes.Buffer
	b.WriteString("usage: go run ./bench [flags] [benchmark ...]\n\nbenchmarks, all by default:\n")
	for i := range benchmarks {
		fmt.Fprintf(&b, "  %-11s %s\n", benchmarks[i].name, benchmarks[i].about)
	}
	b.WriteString("\nflags:\n")
	o := defaults()
	f := o.flags()
	f.SetOutput(&b)
	f.PrintDefaults()
	return b.String()
}

// loadList is the value of -loads: numbers of busy loops.
type loadList []int

// String returns the numbers with commas between, as Set takes them.
func (l *loadList) String() string {
	var words []string
	for _, n := range *l {
		words = append(words, strconv.Itoa(n))
	}
	return strings.Join(words, ",")
}

// Set replaces the numbers with those in list.
func (l *loadList) Set(list string) error {
	var loads loadList
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 || n > maxBusy {
			return fmt.Errorf("%q is no number from 0 to %d; separate several by commas", word, maxBusy)
		}
		loads = append(loads, n)
	}
	*l = loads
	return nil
}

// loadName names a number of busy loops.
func loadName(n int) string {
	switch n {
	case 0:
		return "quiet"
	case 1:
		return "1 busy loop"
	}
	return fmt.Sprintf("%d busy loops", n)
}
