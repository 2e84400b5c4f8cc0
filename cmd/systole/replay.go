package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"systole/engine/recording"
	"systole/engine/replay"
)

// replayOptions are the flags of replay.
type replayOptions struct {
	detectors []string
	sweep     string
	stamps    string
	warmup    int // below 0: the default
	period    time.Duration
	output    string
	peers     []string
}

// newReplay returns the command that runs detectors over a recording.
func newReplay() *cobra.Command {
	o := &replayOptions{}
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "run failure detectors over a recording",
		Long: `replay runs failure detectors over the heartbeats in FILE, and prints how soon each would have
suspected a crash and how often it was wrong. If FILE is -, it reads the standard input.

FILE is a recording of systole record, or CSV with the header seq,send_ns,nic_ns,app_ns
and a line per received heartbeat: its sequence, when it was sent on the sender's clock, when
the kernel or the network card stamped it and when the program read it on the receiver's
clock, all in nanoseconds. A nic_ns that is empty or 0 means no stamp. Lost heartbeats have no
line. A heartbeat whose sequence is not above all before it is stale and is ignored, for
instance after the sender restarted its sequence.

Clocks: the two clocks need not agree. Their difference is taken to be the least delay, so
detection times do not include that delay. The clocks may drift: if the least delays of twenty
parts of the recording lie on a line that rises or falls by more than a tenth of the period in
all, and by at most 1000 ppm, the difference is that line. skew_ppm in JSON is its slope, else
0. A route that becomes longer step by step is not taken for drift.

Each incarnation of each peer is replayed by itself, and each line names its peer. One
without a heartbeat after the warm-up is left out; if all are, the exit status is 2.

Warnings on the standard error: streams and detectors that were left out, many stale
heartbeats, heartbeats without a stamp, drifting clocks, and least delays that differ by more
than half a period after all corrections (T_D may be wrong by as much).

Detectors and their parameters:
  fixed:N      silence in periods            chen:D, 2w:D   margin
  phi:N        threshold, as in Akka         phi-exp:N      threshold, as in Cassandra
  bertier:N    gain of the variation         oz:N           factor per heartbeat, below 1
  margin:D     promised time between two mistakes
N is a number, D a duration with its unit.

-o svg draws the mistake rate against the detection time, of all peers together: a curve per
detector over the parameters of --sweep all, with the default as the large point.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.StringSliceVarP(&o.detectors, "detector", "d", nil, "`NAME` or NAME:PARAM, may be repeated (default: every detector with its default parameter)")
	f.StringVar(&o.sweep, "sweep", "", "`NAME` of a detector to run with a range of parameters, or all")
	f.StringVar(&o.stamps, "stamps", "nic", "arrivals that count: nic (stamps of the kernel or the network card) or app (when the program read)")
	f.IntVar(&o.warmup, "warmup", 0, "heartbeats from which detectors only learn (default: 1000, at most a tenth of the recording)")
	f.DurationVar(&o.period, "period", 0, "period of the sender, from 1µs to 1h; 0 means that of the recording")
	f.StringSliceVar(&o.peers, "peer", nil, "`NAME` or id of a peer to replay, may be repeated (default: all)")
	f.StringVarP(&o.output, "output", "o", "text", "output format: text, json for JSON Lines, or svg for a picture")
	return cmd
}

// run replays and prints.
func (o *replayOptions) run(cmd *cobra.Command, file string) error {
	if !slices.Contains([]string{"text", "json", "svg"}, o.output) {
		return fmt.Errorf("-o %q: want text, json or svg", o.output)
	}
	for _, flag := range []string{"detector", "sweep", "peer"} {
		if f := cmd.Flags().Lookup(flag); f.Changed && strings.Trim(f.Value.String(), "[]") == "" {
			return fmt.Errorf("--%s is empty", flag)
		}
	}
	options := replay.Options{Period: o.period, Warmup: o.warmup}
	switch o.stamps {
	case "nic":
	case "app":
		options.ReadTimes = true
	default:
		return fmt.Errorf("--stamps %q: want nic or app", o.stamps)
	}
	if o.warmup < 0 {
		return fmt.Errorf("--warmup %d: must not be negative", o.warmup)
	}
	if o.period != 0 && (o.period < minPeriod || o.period > maxPeriod) {
		return fmt.Errorf("--period %v is not within %v to %v", o.period, minPeriod, maxPeriod)
	}
	if !cmd.Flags().Changed("warmup") {
		o.warmup = -1
	}
	rec, err := readRecording(cmd.InOrStdin(), file)
	if err != nil {
		return err
	}
	if rec.Streams, err = o.selected(rec.Streams); err != nil {
		return err
	}
	o.warn(cmd.ErrOrStderr(), rec)
	rows, judged, err := o.replayAll(rec.Streams, options, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	switch o.output {
	case "svg":
		return drawReplayed(cmd.OutOrStdout(), rows, o.stamps, judged)
	case "json":
		return printReplayedJSON(cmd.OutOrStdout(), rows)
	}
	return printReplayed(cmd.OutOrStdout(), rows)
}

// The range of --period, which is that of replay.Options.
const (
	minPeriod = time.Microsecond
	maxPeriod = time.Hour
)

// replayAll runs the detectors over all streams, and returns the rows and the number of judged
// streams. It writes each warning once.
func (o *replayOptions) replayAll(streams []recording.Stream, options replay.Options, stderr io.Writer) (rows []replayed, judged int, err error) {
	warned := make(map[string]bool)
	warn := func(text string) {
		if !warned[text] {
			fmt.Fprintln(stderr, "systole:", text)
		}
		warned[text] = true
	}
	for i := range streams {
		s := &streams[i]
		added, warnings, err := o.replay(s, options)
		switch {
		case errors.Is(err, replay.ErrUnjudged) && len(streams) > 1:
			warn(fmt.Sprintf("%s%v", prefix(s), err))
			continue
		case errors.Is(err, replay.ErrUnjudged):
			return nil, 0, fmt.Errorf("%s%w; give a smaller --warmup or a longer recording", prefix(s), err)
		case err != nil:
			return nil, 0, fmt.Errorf("%s%w", prefix(s), err)
		}
		for _, text := range warnings {
			warn(text)
		}
		rows = append(rows, added...)
		judged++
	}
	if judged == 0 {
		return nil, 0, fmt.Errorf("nothing to judge in any of %d incarnations; give a smaller --warmup or a longer recording", len(streams))
	}
	return rows, judged, nil
}

// readRecording reads a recording from a file, or from stdin if file is -.
func readRecording(stdin io.Reader, file string) (*recording.Recording, error) {
	if file == "-" {
		r, err := recording.Read(stdin)
		if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		return r, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	r, err := recording.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// label returns the name of a stream's peer, else its id. In CSV it has neither.
func label(s *recording.Stream) string {
	if s.Name == "" {
		return idText(s.Peer)
	}
	return s.Name
}

// prefix returns the beginning of a message about a stream.
func prefix(s *recording.Stream) string {
	if name := label(s); name != "" {
		return "peer " + name + ": "
	}
	return ""
}

// selected returns the streams of the peers in --peer.
func (o *replayOptions) selected(streams []recording.Stream) ([]recording.Stream, error) {
	if len(o.peers) == 0 {
		return streams, nil
	}
	var out []recording.Stream
	var labels []string
	found := make(map[string]bool)
	for i := range streams {
		s := &streams[i]
		labels = append(labels, label(s))
		for _, name := range o.peers {
			if name == label(s) || name == idText(s.Peer) {
				found[name] = true
				out = append(out, *s)
				break
			}
		}
	}
	for _, name := range o.peers {
		switch {
		case found[name]:
		case len(labels) == 1 && labels[0] == "":
			return nil, fmt.Errorf("--peer %q: peers in CSV have no names", name)
		default:
			return nil, fmt.Errorf("--peer %q is not in the recording; its peers are %s", name, strings.Join(slices.Compact(labels), ", "))
		}
	}
	return out, nil
}

// warn warns of missing data.
func (o *replayOptions) warn(out io.Writer, r *recording.Recording) {
	if r.Truncated > 0 {
		fmt.Fprintf(out, "systole: the recording was interrupted; its last %d bytes are ignored\n", r.Truncated)
	}
	if r.Overflowed > 0 {
		fmt.Fprintf(out, "systole: %d heartbeats arrived but were not recorded; they count as lost\n", r.Overflowed)
	}
	for i := range r.Streams {
		if s := &r.Streams[i]; s.Unstamped > 0 && o.stamps == "nic" {
			fmt.Fprintf(out, "systole: %s%d of %d heartbeats have no stamp of the kernel or the network card; their times of reading count\n",
				prefix(s), s.Unstamped, len(s.Beats))
		}
	}
}

// replayed is the result of a detector over a stream.
type replayed struct {
	V           int      `json:"v"`
	Type        string   `json:"type"`
	Peer        string   `json:"peer,omitempty"`
	Incarnation uint64   `json:"incarnation,omitempty,string"`
	Detector    string   `json:"detector"`
	Param       string   `json:"param"`
	TDMean      float64  `json:"td_mean_ms"`
	TDP99       float64  `json:"td_p99_ms"`
	Mistakes    int      `json:"mistakes"`
	Hours       float64  `json:"hours"`
	PerHour     float64  `json:"per_hour"`
	TMMean      float64  `json:"tm_mean_ms"`
	PA          float64  `json:"pa"`
	Heartbeats  int      `json:"heartbeats"`
	Stale       int      `json:"stale"`
	SkewPPM     float64  `json:"skew_ppm"`
	Promised    *float64 `json:"promised_per_hour,omitempty"`

	standard bool // Param is the default
}

// errPeriod means that the period does not follow from the recording.
var errPeriod = errors.New("the recording does not show its period; give the period with --period")

// replay runs the detectors over a stream.
func (o *replayOptions) replay(stream *recording.Stream, options replay.Options) (rows []replayed, warnings []string, err error) {
	if options.Warmup = o.warmup; o.warmup < 0 {
		options.Warmup = min(1000, len(stream.Beats)/10)
	}
	period := options.Period
	if period == 0 {
		if period = stream.Period(); period == 0 {
			return nil, nil, errPeriod
		}
	}
	specs, skipped, err := o.specs(period)
	if err != nil {
		return nil, nil, err
	}
	for _, err := range skipped {
		warnings = append(warnings, fmt.Sprintf("left out: %v", err))
	}
	for i, s := range specs {
		r, err := replay.Run(stream.Beats, s.detector, options)
		if err != nil {
			return nil, nil, err
		}
		if i == 0 { // the same for all detectors
			warnings = append(warnings, caveats(stream, r, period)...)
		}
		row := replayed{
			V: 1, Type: "replay", Peer: label(stream), Incarnation: stream.Incarnation,
			Detector: s.name, Param: s.param, standard: s.standard,
			TDMean: milliseconds(r.DetectionMean), TDP99: milliseconds(r.DetectionP99),
			Mistakes: r.Mistakes, Hours: r.Observed.Hours(), PerHour: r.PerHour,
			TMMean: milliseconds(r.MistakeMean), PA: r.Accuracy, Heartbeats: r.Heartbeats,
			Stale: r.Stale, SkewPPM: r.Skew * 1e6,
		}
		if s.promised > 0 {
			row.Promised = &s.promised
		}
		rows = append(rows, row)
	}
	return rows, warnings, nil
}

// usualStale is the greatest share of stale heartbeats without a warning: networks reorder and
// duplicate some.
const usualStale = 0.01

// caveats returns warnings about the figures of a stream.
func caveats(s *recording.Stream, r *replay.Result, period time.Duration) (warnings []string) {
	warn := func(format string, args ...any) {
		warnings = append(warnings, prefix(s)+fmt.Sprintf(format, args...))
	}
	if n := len(s.Beats); float64(r.Stale) > usualStale*float64(n) {
		warn("%d of %d heartbeats have a sequence not above all before them and are ignored; did the sender restart, "+
			"was the receiver's clock set back, or did the network reorder or duplicate them?", r.Stale, n)
	}
	if r.Skew != 0 {
		warn("the clocks drift, the receiver's by %+.1f ppm; T_D is corrected", r.Skew*1e6)
	}
	if r.Wander > period/2 {
		warn("the least delay changes by %v during the recording, and T_D may be wrong by as much; did the route change, or was a clock set?",
			r.Wander.Round(10*time.Microsecond))
	}
	return warnings
}

// milliseconds returns d in milliseconds.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// printReplayedJSON prints rows as JSON Lines.
func printReplayedJSON(out io.Writer, rows []replayed) error {
	enc := json.NewEncoder(out)
	for _, r := range rows {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// printReplayed prints rows as a table.
func printReplayed(out io.Writer, rows []replayed) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	named := slices.ContainsFunc(rows, func(r replayed) bool { return r.Peer != "" })
	if named {
		fmt.Fprint(w, "peer\t")
	}
	stale := slices.ContainsFunc(rows, func(r replayed) bool { return r.Stale > 0 })
	fmt.Fprint(w, "detector\tparam\tT_D mean ms\tT_D p99 ms\tmistakes\thours\tper hour\tpromised\tT_M mean ms\tP_A")
	if stale {
		fmt.Fprint(w, "\tstale")
	}
	fmt.Fprintln(w)
	for _, r := range rows {
		promised := "-"
		if r.Promised != nil {
			promised = strconv.FormatFloat(*r.Promised, 'g', 3, 64)
		}
		if named {
			fmt.Fprint(w, r.Peer, "\t")
		}
		fmt.Fprintf(w, "%s\t%s\t%.3f\t%.3f\t%d\t%.4g\t%.4g\t%s\t%.3f\t%.9f",
			r.Detector, r.Param, r.TDMean, r.TDP99, r.Mistakes, r.Hours, r.PerHour, promised, r.TMMean, r.PA)
		if stale {
			fmt.Fprint(w, "\t", r.Stale)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}
