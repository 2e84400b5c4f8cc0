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
		Short: "run failure detectors over a recording and compare them",
		Long: `replay runs detectors over the heartbeats recorded in FILE (- is the standard input) and
prints for each how soon it would have suspected a crash, and how often it was wrong. FILE is what
systole record wrote, or CSV with the header ` + replay.Header + `, a line per heartbeat that
arrived: its sequence, when it was sent on the sender's clock, when the kernel or the card
stamped it and when the program read it on the receiver's clock, in nanoseconds. What was lost
is absent. An nic_ns that is empty, or 0, is no stamp. A heartbeat whose sequence is not above
one before it is stale and counts for nothing, as do those of a sender that began its sequence
anew. If many are, the standard error says so.

The clocks need not agree: their difference is taken for the least delay seen, which is therefore
not in the detection times. Nor need they run at one rate: where the least delays of twenty parts
of the recording lie on a line that rises or falls by more than a tenth of the period in all, and
by at most 1000 ppm, the difference is that line; skew_ppm in JSON is its slope, and 0 where there
is none. A route that becomes longer step by step is not taken for skew. The standard error
says what was taken out, and also if the least delays still lie more than half a period apart,
for then T_D may be off by as much.

Several peers, and several lives of one, are replayed one after the other, and each line
names its peer. A life of which the warm-up leaves nothing to judge has no line but one on the
standard error; if there is nothing at all, the exit status is 2.

Detectors and what their parameter means:
  fixed:N      periods of silence      chen:D, 2w:D   margin, with its unit
  phi:N        threshold, as Akka      phi-exp:N      threshold, as Cassandra
  bertier:N    gain of the variation   oz:N           factor of a heartbeat, below 1
  margin:D     promised time between two mistakes, with its unit

-o svg draws the mistake rate of all peers together against the detection time, each
detector a curve over its parameters (as --sweep all) in which the shipped one is large.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.StringSliceVarP(&o.detectors, "detector", "d", nil, "NAME or NAME:PARAM, may be repeated (default every detector as it is shipped)")
	f.StringVar(&o.sweep, "sweep", "", "run the detector of this name over a range of parameters; all runs every one")
	f.StringVar(&o.stamps, "stamps", "nic", "arrivals to judge by: nic (of the kernel or the card) or app (when the program read)")
	f.IntVar(&o.warmup, "warmup", 0, "heartbeats that only teach (default 1000, at most a tenth of the recording)")
	f.DurationVar(&o.period, "period", 0, "period of the sender, with its unit; 0 reads it off the recording")
	f.StringSliceVar(&o.peers, "peer", nil, "name or id of a peer to replay, may be repeated (default all)")
	f.StringVarP(&o.output, "output", "o", "text", "text, json for JSON Lines, or svg for the picture")
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
		options.Stamps = replay.App
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
	if rec.Streams, err = o.chosen(rec.Streams); err != nil {
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

// What --period may be: what a heartbeat can say.
const (
	minPeriod = time.Microsecond
	maxPeriod = time.Hour
)

// replayAll runs the detectors over all lives, says what was left out, and returns of how
// many lives something was judged.
func (o *replayOptions) replayAll(lives []replay.Stream, options replay.Options, complaints io.Writer) (rows []replayed, judged int, err error) {
	said := make(map[string]bool)
	say := func(text string) {
		if !said[text] {
			fmt.Fprintln(complaints, "systole:", text)
		}
		said[text] = true
	}
	for i := range lives {
		l := &lives[i]
		some, words, err := o.replay(l, options)
		switch {
		case errors.Is(err, replay.ErrUnjudged) && len(lives) > 1:
			say(fmt.Sprintf("%s%v", prefix(l), err))
			continue
		case errors.Is(err, replay.ErrUnjudged):
			return nil, 0, fmt.Errorf("%s%w; give a smaller --warmup or a longer recording", prefix(l), err)
		case err != nil:
			return nil, 0, fmt.Errorf("%s%w", prefix(l), err)
		}
		for _, text := range words {
			say(text)
		}
		rows = append(rows, some...)
		judged++
	}
	if judged == 0 {
		return nil, 0, fmt.Errorf("in none of %d lives is there anything to judge; give a smaller --warmup or a longer recording", len(lives))
	}
	return rows, judged, nil
}

// readRecording reads a recording.
func readRecording(stdin io.Reader, file string) (*replay.Recording, error) {
	if file == "-" {
		r, err := replay.Read(stdin)
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
	r, err := replay.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// label is what a life's peer is called: by its name, else its id; in CSV it has neither.
func label(l *replay.Stream) string {
	if l.Name == "" && l.Peer != 0 {
		return fmt.Sprintf("%016x", l.Peer)
	}
	return l.Name
}

// prefix is how a message about a life begins.
func prefix(l *replay.Stream) string {
	if name := label(l); name != "" {
		return "peer " + name + ": "
	}
	return ""
}

// chosen returns the lives of the peers that the flags choose.
func (o *replayOptions) chosen(lives []replay.Stream) ([]replay.Stream, error) {
	if len(o.peers) == 0 {
		return lives, nil
	}
	var out []replay.Stream
	var labels []string
	found := make(map[string]bool)
	for i := range lives {
		l := &lives[i]
		labels = append(labels, label(l))
		for _, name := range o.peers {
			if name == label(l) || name == fmt.Sprintf("%016x", l.Peer) && l.Peer != 0 {
				found[name] = true
				out = append(out, *l)
				break
			}
		}
	}
	for _, name := range o.peers {
		switch {
		case found[name]:
		case len(labels) == 1 && labels[0] == "":
			return nil, fmt.Errorf("--peer %q: in CSV no peer has a name", name)
		default:
			return nil, fmt.Errorf("--peer %q is not in the recording, which has %s", name, strings.Join(slices.Compact(labels), ", "))
		}
	}
	return out, nil
}

// warn says what a recording lacks.
func (o *replayOptions) warn(out io.Writer, r *replay.Recording) {
	if r.Truncated > 0 {
		fmt.Fprintf(out, "systole: the recording was interrupted; its last %d bytes are left out\n", r.Truncated)
	}
	if r.Overflowed > 0 {
		fmt.Fprintf(out, "systole: %d heartbeats arrived that the recording does not have; they count as lost\n", r.Overflowed)
	}
	for i := range r.Streams {
		if l := &r.Streams[i]; l.Unstamped > 0 && o.stamps == "nic" {
			fmt.Fprintf(out, "systole: %s%d of %d heartbeats have no stamp of the kernel or the card; when they were read counts\n",
				prefix(l), l.Unstamped, len(l.Trace))
		}
	}
}

// replayed is a line of output.
type replayed struct {
	V           int      `json:"v"`
	Type        string   `json:"type"`
	Peer        string   `json:"peer,omitempty"`
	Incarnation uint64   `json:"incarnation,omitempty"`
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

	shipped bool
}

// replay runs the detectors over a life, and says which of a list do not go with its period
// and what else is amiss.
func (o *replayOptions) replay(l *replay.Stream, options replay.Options) (rows []replayed, words []string, err error) {
	if options.Warmup = o.warmup; o.warmup < 0 {
		options.Warmup = min(1000, len(l.Trace)/10)
	}
	period := options.Period
	if period == 0 {
		if period = l.Trace.Period(); period == 0 {
			return nil, nil, fmt.Errorf("%w with --period", replay.ErrPeriod)
		}
	}
	specs, leftOut, err := o.specs(period)
	if err != nil {
		return nil, nil, err
	}
	for _, err := range leftOut {
		words = append(words, fmt.Sprintf("left out: %v", err))
	}
	for i, s := range specs {
		r, err := replay.Run(l.Trace, s.detector, options)
		if err != nil {
			return nil, nil, err
		}
		if i == 0 {
			words = append(words, doubts(l, r, period)...) // which are the same for all
		}
		row := replayed{
			V: 1, Type: "replay", Peer: label(l), Incarnation: l.Incarnation, Detector: s.name, Param: s.param,
			TDMean: milliseconds(r.DetectionMean), TDP99: milliseconds(r.DetectionP99),
			Mistakes: r.Mistakes, Hours: r.Observed.Hours(), PerHour: r.PerHour(),
			TMMean: milliseconds(r.MistakeMean), PA: r.Accuracy, Heartbeats: r.Heartbeats, Stale: r.Stale, SkewPPM: r.Skew * 1e6, shipped: s.shipped,
		}
		if s.promised > 0 {
			row.Promised = &s.promised
		}
		rows = append(rows, row)
	}
	return rows, words, nil
}

// ordinarilyStale is the share of stale heartbeats that a network may make.
const ordinarilyStale = 0.01

// doubts says what of a life is not in its figures, or should not be.
func doubts(l *replay.Stream, r *replay.Result, period time.Duration) (words []string) {
	say := func(format string, args ...any) { words = append(words, prefix(l)+fmt.Sprintf(format, args...)) }
	if n := len(l.Trace); float64(r.Stale) > ordinarilyStale*float64(n) {
		say("%d of %d heartbeats have a sequence not above one before them and count for nothing; "+
			"did the sender restart, the receiver's clock go back, or were they overtaken or repeated?", r.Stale, n)
	}
	if r.Skew != 0 {
		say("the clocks run apart, the receiver's by %+.1f ppm; T_D is without it", r.Skew*1e6)
	}
	if r.Wander > period/2 {
		say("the least delay changes by %v in the course of the recording, and T_D may be off by as much; did the route change, or was a clock set?",
			r.Wander.Round(10*time.Microsecond))
	}
	return words
}

// milliseconds returns d in milliseconds.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// printReplayedJSON prints a line of JSON per row.
func printReplayedJSON(out io.Writer, rows []replayed) error {
	enc := json.NewEncoder(out)
	for _, r := range rows {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// printReplayed prints a table.
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
