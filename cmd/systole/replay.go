package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"systole/engine/detect"
	"systole/engine/replay"
)

// replayOptions are the flags of replay.
type replayOptions struct {
	detectors []string
	sweep     string
	stamps    string
	warmup    int
	period    time.Duration
	output    string
}

// newReplay returns the command that runs detectors over a recording.
func newReplay() *cobra.Command {
	o := &replayOptions{}
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "run failure detectors over a recording and compare them",
		Long: `replay runs detectors over the heartbeats recorded in FILE (- is the standard input) and
prints for each how soon it would have suspected a crash, and how often it was wrong. FILE is CSV with
the header ` + replay.Header + `, a line per heartbeat that arrived: its sequence, when it was sent
on the sender's clock, when the kernel or the card stamped it and when the program read it on the
receiver's clock, in nanoseconds. What was lost is absent; the clocks need not agree.

Detectors and what their parameter means:
  fixed:N      periods of silence      chen:D, 2w:D   margin, with its unit
  phi:N        threshold, as Akka      phi-exp:N      threshold, as Cassandra
  bertier:N    gain of the variation   oz:N           factor of a heartbeat, below 1
  margin:D     promised time between two mistakes, with its unit`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.StringSliceVarP(&o.detectors, "detector", "d", nil, "NAME or NAME:PARAM, may be repeated (default every detector as it is shipped)")
	f.StringVar(&o.sweep, "sweep", "", "run the detector of this name over a range of parameters")
	f.StringVar(&o.stamps, "stamps", "nic", "arrivals to judge by: nic or app")
	f.IntVar(&o.warmup, "warmup", 0, "heartbeats that only teach (default 1000, at most a tenth of the recording)")
	f.DurationVar(&o.period, "period", 0, "period of the sender, with its unit; 0 reads it off the recording")
	f.StringVarP(&o.output, "output", "o", "text", "text, or json for JSON Lines")
	return cmd
}

// run replays and prints.
func (o *replayOptions) run(cmd *cobra.Command, file string) error {
	if o.output != "text" && o.output != "json" {
		return fmt.Errorf("-o %q: want text or json", o.output)
	}
	options := replay.Options{Period: o.period, Warmup: o.warmup}
	switch o.stamps {
	case "nic":
	case "app":
		options.Stamps = replay.App
	default:
		return fmt.Errorf("--stamps %q: want nic or app", o.stamps)
	}
	if o.warmup < 0 || o.period < 0 {
		return errors.New("--warmup and --period must not be negative")
	}
	trace, err := readTrace(cmd.InOrStdin(), file)
	if err != nil {
		return err
	}
	if !cmd.Flags().Changed("warmup") {
		options.Warmup = min(1000, len(trace)/10)
	}
	if options.Period == 0 {
		options.Period = trace.Period()
	}
	specs, err := o.specs(options.Period)
	if err != nil {
		return err
	}
	rows := make([]replayed, 0, len(specs))
	for _, s := range specs {
		row, err := s.replay(trace, options)
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	return printReplayed(cmd.OutOrStdout(), o.output, rows)
}

// readTrace reads a recording.
func readTrace(stdin io.Reader, file string) (replay.Trace, error) {
	if file == "-" {
		return replay.ReadCSV(stdin)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	t, err := replay.ReadCSV(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return t, nil
}

// spec is a detector with its parameter, as the command line has it.
type spec struct {
	name, param string
	detector    detect.Detector
	promised    float64 // mistakes per hour; 0: nothing is promised
}

// sweeps are the parameters that --sweep runs, where a number of periods stands for a
// duration.
var sweeps = map[string][]string{
	"fixed": {"1.5", "2", "3", "4", "5", "7", "10", "20", "50"}, "chen": {"0.5", "1", "2", "3", "5", "10", "20", "50"},
	"2w": {"0.5", "1", "2", "3", "5", "10", "20", "50"}, "phi": {"1", "2", "4", "6", "8", "10", "12", "16"},
	"phi-exp": {"0.5", "1", "2", "4", "8"}, "bertier": {"1", "2", "4", "8", "20", "80"},
	"oz": {"0.5", "0.7", "0.9", "0.99", "0.999"}, "margin": {"1m", "10m", "1h", "24h", "720h"},
}

// shipped are the detectors that replay runs unless told otherwise.
var shipped = []string{"fixed", "chen", "2w", "oz", "bertier", "phi", "phi-exp", "margin"}

// specs returns what to run.
func (o *replayOptions) specs(period time.Duration) ([]spec, error) {
	names := o.detectors
	if o.sweep != "" {
		params, ok := sweeps[o.sweep]
		if !ok {
			return nil, fmt.Errorf("--sweep %q: want one of %s", o.sweep, strings.Join(shipped, ", "))
		}
		for _, p := range params {
			if o.sweep == "chen" || o.sweep == "2w" {
				periods, err := strconv.ParseFloat(p, 64)
				if err != nil {
					return nil, err
				}
				p = time.Duration(periods * float64(period)).String()
			}
			names = append(names, o.sweep+":"+p)
		}
	}
	if len(names) == 0 {
		names = shipped
	}
	var specs []spec
	for _, n := range names {
		s, err := parseSpec(n, period)
		if err != nil {
			return nil, fmt.Errorf("--detector %q: %w", n, err)
		}
		specs = append(specs, s)
	}
	return specs, nil
}

// parseSpec reads NAME or NAME:PARAM.
func parseSpec(text string, period time.Duration) (s spec, err error) {
	name, param, _ := strings.Cut(text, ":")
	s = spec{name: name, param: param}
	var number float64
	var duration time.Duration
	switch {
	case param == "":
	case name == "chen" || name == "2w" || name == "margin":
		if duration, err = time.ParseDuration(param); err != nil || duration <= 0 {
			return s, errors.New("the parameter is a duration above 0 with its unit, for instance 40ms")
		}
	default:
		if number, err = strconv.ParseFloat(param, 64); err != nil || !(number > 0) || math.IsInf(number, 0) {
			return s, errors.New("the parameter is a number above 0")
		}
	}
	switch name {
	case "fixed":
		s.detector = &detect.Fixed{Multiplier: number}
	case "chen":
		s.detector = &detect.Chen{Alpha: duration}
	case "2w":
		s.detector = &detect.TwoWindow{Alpha: duration}
	case "oz":
		s.detector = &detect.Oz{Decrease: number}
	case "bertier":
		s.detector = &detect.Bertier{Phi: number}
	case "phi":
		s.detector = &detect.PhiNormal{Threshold: number}
	case "phi-exp":
		s.detector = &detect.PhiExponential{Threshold: number}
	case "margin":
		if duration == 0 {
			duration = 24 * time.Hour
		}
		s.detector = &detect.Margin{MistakeEvery: duration, Period: period}
		s.promised = 1 / duration.Hours()
	default:
		return s, fmt.Errorf("want one of %s", strings.Join(shipped, ", "))
	}
	if v, ok := s.detector.(interface{ Validate() error }); ok {
		err = v.Validate()
	}
	return s, err
}

// replayed is a line of output.
type replayed struct {
	V          int      `json:"v"`
	Type       string   `json:"type"`
	Detector   string   `json:"detector"`
	Param      string   `json:"param"`
	TDMean     float64  `json:"td_mean_ms"`
	TDP99      float64  `json:"td_p99_ms"`
	Mistakes   int      `json:"mistakes"`
	Hours      float64  `json:"hours"`
	PerHour    float64  `json:"per_hour"`
	TMMean     float64  `json:"tm_mean_ms"`
	PA         float64  `json:"pa"`
	Heartbeats int      `json:"heartbeats"`
	Promised   *float64 `json:"promised_per_hour,omitempty"`
}

// replay runs s over a recording.
func (s *spec) replay(t replay.Trace, o replay.Options) (replayed, error) {
	r, err := replay.Run(t, s.detector, o)
	if err != nil {
		return replayed{}, err
	}
	row := replayed{
		V: 1, Type: "replay", Detector: s.name, Param: s.param,
		TDMean: milliseconds(r.DetectionMean), TDP99: milliseconds(r.DetectionP99),
		Mistakes: r.Mistakes, Hours: r.Observed.Hours(), PerHour: r.PerHour(),
		TMMean: milliseconds(r.MistakeMean), PA: r.Accuracy, Heartbeats: r.Heartbeats,
	}
	if s.promised > 0 {
		row.Promised = &s.promised
	}
	return row, nil
}

// milliseconds returns d in milliseconds.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// printReplayed prints the lines.
func printReplayed(out io.Writer, format string, rows []replayed) error {
	if format == "json" {
		enc := json.NewEncoder(out)
		for _, r := range rows {
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "detector\tparam\tT_D mean ms\tT_D p99 ms\tmistakes\tper hour\tpromised\tT_M mean ms\tP_A")
	for _, r := range rows {
		promised := "-"
		if r.Promised != nil {
			promised = strconv.FormatFloat(*r.Promised, 'g', 3, 64)
		}
		fmt.Fprintf(w, "%s\t%s\t%.3f\t%.3f\t%d\t%.4g\t%s\t%.3f\t%.9f\n",
			r.Detector, r.Param, r.TDMean, r.TDP99, r.Mistakes, r.PerHour, promised, r.TMMean, r.PA)
	}
	return w.Flush()
}
