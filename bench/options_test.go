package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseOptions(t *testing.T) {
	for _, c := range []struct {
		args  string
		want  func(*options)
		names string
	}{
		{"", func(*options) {}, ""},
		{"-time 100ms -repeat 1 floor", func(o *options) { o.duration, o.repeat = 100*time.Millisecond, 1 }, "floor"},
		{"-time=24h -sessions 1000 -loads 3 load bird", func(o *options) {
			o.duration, o.sessions, o.loads = 24*time.Hour, 1000, loadList{3}
		}, "load bird"},
		{"-loads 0,256,0 load", func(o *options) { o.loads = loadList{0, 256, 0} }, "load"},
		{"-loads 1 -loads 2 load", func(o *options) { o.loads = loadList{2} }, "load"},
		{"-days 0.5 -warm 0 -results a/b", func(o *options) { o.days, o.warm, o.results = 0.5, 0, "a/b" }, ""},
		{"-days 36500 -warm 36500 qos -days", func(o *options) { o.days, o.warm = 36500, 36500 }, "qos -days"},
	} {
		want := defaults()
		c.want(&want)
		got, names, err := parseOptions(strings.Fields(c.args))
		if err != nil || !reflect.DeepEqual(got, want) || strings.Join(names, " ") != c.names {
			t.Errorf("%q: %+v, %q, %v; want %+v, %q", c.args, got, names, err, want, c.names)
		}
	}
}

// A mistake on the command line is refused by the name of the flag or of the benchmark, with the
// values that are possible, and nothing is measured or printed.
func TestCommandLineMistakes(t *testing.T) {
	for args, want := range map[string]string{
		"no-such-benchmark":      `there is no benchmark "no-such-benchmark"; go run ./bench -h lists them`,
		"seedloop bird2":         `there is no benchmark "bird2"`,
		"-loads 2,x":             `invalid value "2,x" for flag -loads: "x" is no number from 0 to 256`,
		"-loads -1":              `"-1" is no number from 0 to 256`,
		"-loads 257":             `"257" is no number from 0 to 256`,
		"-loads 1,":              `"" is no number from 0 to 256`,
		"-time 1ms":              "-time must be within 100ms to 24h0m0s, not 1ms",
		"-time 24h1s":            "-time must be within 100ms to 24h0m0s, not 24h0m1s",
		"-time 5":                `invalid value "5" for flag -time`,
		"-repeat 0":              "-repeat must be at least 1, not 0",
		"-sessions 0":            "-sessions must be within 1 to 1000, not 0",
		"-sessions 1001":         "-sessions must be within 1 to 1000, not 1001",
		"-days 0":                "-days must be above 0 and at most 36500, not 0",
		"-days NaN":              "-days must be above 0 and at most 36500, not NaN",
		"-days +Inf":             "-days must be above 0 and at most 36500, not +Inf",
		"-warm -1":               "-warm must be within 0 to 36500, not -1",
		"-warm NaN":              "-warm must be within 0 to 36500, not NaN",
		"-colour red":            "flag provided but not defined: -colour",
		"-results":               "flag needs an argument: -results",
		"-days 1 -warm 40000 qo": "-warm must be within 0 to 36500, not 40000",
	} {
		if args[0] == '-' && args != "-results" {
			args += " traces" // so that a mistake that is not refused takes no time
		}
		var out strings.Builder
		err := run(t.Context(), strings.Fields(args), &out)
		if err == nil || !strings.Contains(err.Error(), want) || out.Len() != 0 {
			t.Errorf("%s: error %v, printed %q; want the error %s", args, err, out.String(), want)
		}
	}
}

// The longest simulations that the flags allow fit into a time.Duration.
func TestOptionsFit(t *testing.T) {
	o := options{duration: maxTime, sessions: maxSessions}
	if got := solicitBareTimes * o.simulatedTime(); got.Hours() != 50_000*24 {
		t.Errorf("simulated time %v", got)
	}
	if got := virtual(2 * maxDays); got.Hours() != 2*maxDays*24 {
		t.Errorf("virtual time %v", got)
	}
}

// -h prints every benchmark and every flag, and is no error.
func TestUsage(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"-h"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, b := range benchmarks {
		if want := fmt.Sprintf("\n  %-11s %s\n", b.name, b.about); !strings.Contains(out.String(), want) {
			t.Errorf("no line %q in\n%s", want, out.String())
		}
	}
	for _, want := range []string{
		"  -time length\n    \tlength of each measurement, 100ms to 24h0m0s (default 5s)\n", "  -repeat number\n", "(default 0,2,4,8)\n",
		"  -results directory\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestChoose(t *testing.T) {
	for _, c := range []struct{ names, want []string }{
		{[]string{"bird", "floor", "bird"}, []string{"bird", "floor", "bird"}},
		{nil, []string{
			"floor", "engine", "growth", "shards", "scale", "load", "bird", "lateness", "solicit", "phases", "stamps", "split", "absorb", "stopped", "qos", "qos-failed", "qos-stamps", "seedloop", "cost", "traces",
		}},
	} {
		chosen, err := choose(c.names)
		var got []string
		for _, b := range chosen {
			got = append(got, b.name)
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, %v", c.names, got, err)
		}
	}
}

func TestCommand(t *testing.T) {
	o := defaults()
	o.results = "not repeated"
	for name, want := range map[string]string{
		"floor": "go run ./bench -time 5s -repeat 5 floor",
		"scale": "go run ./bench -time 5s scale",
		"load":  "go run ./bench -time 5s -sessions 100 -loads 0,2,4,8 load",
		"qos":   "go run ./bench -days 20 -warm 7 qos",
		"cost":  "go run ./bench cost",
	} {
		chosen, err := choose([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		if got := o.command(&chosen[0]); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// The command of a benchmark chooses that benchmark with the same values of its flags.
func TestCommandRepeats(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := defaults()
		o.duration = time.Duration(rapid.Int64Range(int64(minTime), int64(maxTime)).Draw(t, "time"))
		o.repeat = rapid.IntRange(1, 1000).Draw(t, "repeat")
		o.sessions = rapid.IntRange(1, maxSessions).Draw(t, "sessions")
		o.loads = rapid.SliceOfN(rapid.IntRange(0, maxBusy), 1, 5).Draw(t, "loads")
		o.days = rapid.Float64Range(1e-9, maxDays).Draw(t, "days")
		o.warm = rapid.Float64Range(0, maxDays).Draw(t, "warm")
		b := &benchmarks[rapid.IntRange(0, len(benchmarks)-1).Draw(t, "benchmark")]
		line := o.command(b)
		args, ok := strings.CutPrefix(line, "go run ./bench ")
		if !ok {
			t.Fatalf("command %q", line)
		}
		again, names, err := parseOptions(strings.Fields(args))
		if err != nil || !slices.Equal(names, []string{b.name}) {
			t.Fatalf("%s: names %q, %v", line, names, err)
		}
		given, read := o.flags(), again.flags()
		for _, name := range b.flags {
			if got, want := read.Lookup(name).Value.String(), given.Lookup(name).Value.String(); got != want {
				t.Errorf("%s: -%s %s, want %s", line, name, got, want)
			}
		}
	})
}

// run stops at the first benchmark that fails, and says which.
func TestRunFails(t *testing.T) {
	saved := benchmarks
	defer func() { benchmarks = saved }()
	broken := errors.New("no such luck")
	ran := ""
	add := func(name string, err error) benchmark {
		return benchmark{name: name, run: func(context.Context, options) (*table, error) {
			ran += name
			return sample(name), err
		}}
	}
	benchmarks = []benchmark{add("a", nil), add("b", broken), add("c", nil)}
	var out strings.Builder
	if err := run(t.Context(), nil, &out); !errors.Is(err, broken) || err.Error() != "b: no such luck" {
		t.Errorf("error %v", err)
	}
	if ran != "ab" || !strings.HasPrefix(out.String(), "a: About.") || strings.Contains(out.String(), "b: ") {
		t.Errorf("ran %q and printed %q", ran, out.String())
	}
}
