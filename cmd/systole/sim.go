package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"systole/engine/enginetest"
)

// simOptions are the flags of sim.
type simOptions struct {
	seed   uint64
	seeds  uint64
	output string
}

// errRule means that a run ended regularly and a rule was violated.
var errRule = fmt.Errorf("%w: a rule of the simulated world was violated", errPeer)

// newSim returns the command that runs engines in a simulated world.
func newSim() *cobra.Command {
	o := &simOptions{}
	cmd := &cobra.Command{
		Use:   "sim [FILE]",
		Short: "run engines in a simulated world",
		Long: `sim runs the scenario in FILE in virtual time, with the same code as on sockets. If FILE is -,
it reads the standard input. It prints the faults, the events at each node, the figures, and
the violations of rules that hold in every scenario. A scenario is a JSON object with duration,
nodes, link, links and faults; Scenario in engine/enginetest describes all fields.

With --seeds N in place of FILE, sim runs the random scenarios of N seeds, from --seed on, and
prints those that violated a rule: of the first three the smallest scenario found that still
does, and its events; of the others the seed only. The last line says in how many of these worlds all
rules held.

Exit status: 0 no rule was violated; 1 a rule was violated; 2 wrong usage or a faulty scenario.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	f := cmd.Flags()
	f.Uint64Var(&o.seed, "seed", 0, "random seed, in place of that in FILE; with --seeds, the first seed")
	f.Uint64Var(&o.seeds, "seeds", 0, "number of random scenarios to run")
	f.StringVarP(&o.output, "output", "o", "text", formatHelp)
	return cmd
}

// run runs a scenario or seeds, and prints.
func (o *simOptions) run(cmd *cobra.Command, args []string) error {
	switch {
	case o.output != "text" && o.output != "json":
		return fmt.Errorf("-o %q: want text or json", o.output)
	case len(args) == 0 && o.seeds == 0:
		return errors.New("nothing to run: want a scenario or --seeds")
	case len(args) > 0 && o.seeds > 0:
		return errors.New("a scenario and --seeds exclude each other")
	case o.seed+o.seeds < o.seed:
		return fmt.Errorf("--seed %d: there are no %d seeds from there on", o.seed, o.seeds)
	case o.seeds > 0:
		return o.search(cmd.OutOrStdout())
	}
	s, err := readScenario(cmd.InOrStdin(), args[0])
	if err != nil {
		return err
	}
	if cmd.Flags().Changed("seed") {
		s.Seed = o.seed
	}
	r := s.Run()
	if err := o.print(cmd.OutOrStdout(), r); err != nil {
		return err
	}
	if len(r.Violations) > 0 {
		return errRule
	}
	return nil
}

// readScenario reads a scenario.
func readScenario(stdin io.Reader, file string) (*enginetest.Scenario, error) {
	var data []byte
	var err error
	if file == "-" {
		data, err = io.ReadAll(stdin)
	} else {
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, err
	}
	s, err := enginetest.ParseScenario(data)
	if err != nil {
		if file == "-" {
			file = "standard input"
		}
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// print prints a result.
func (o *simOptions) print(out io.Writer, r *enginetest.Result) error {
	if o.output == "json" {
		return printWorld(json.NewEncoder(out), r)
	}
	for _, s := range r.Events {
		fmt.Fprintln(out, s)
		if d := s.Event.Delays; s.Event.Silence > 0 {
			fmt.Fprintf(out, "%12s   its last heartbeat: sent %v late, network delay %v above the least, read %v late\n",
				"", round(d.Late), round(d.Network), round(d.Read))
		}
	}
	printFigures(out, &r.Figures)
	for _, v := range r.Violations {
		fmt.Fprintln(out, v)
	}
	fmt.Fprintln(out, verdict(1, uint64(min(len(r.Violations), 1))))
	return nil
}

// printFigures prints the line of figures.
func printFigures(out io.Writer, f *enginetest.Figures) {
	fmt.Fprintf(out, "--- %d steps, %d heartbeats sent, %d accepted, %d messages delivered; %d ends of processes detected, the slowest after %v; %d mistakes\n",
		f.Steps, f.Sent, f.Accepted, f.Delivered, f.Detected, round(f.Worst), f.Mistakes)
}

// verdict says in how many worlds all rules held.
func verdict(worlds, violated uint64) string {
	switch {
	case violated == 0 && worlds == 1:
		return "all rules held"
	case violated == 0:
		return fmt.Sprintf("all rules held in all of %d worlds", worlds)
	case worlds == 1:
		return "a rule was violated"
	}
	return fmt.Sprintf("a rule was violated in %d of %d worlds; all rules held in the others", violated, worlds)
}

// jsonSeen is a fault or an event in a simulated world. "at_ns" counts from its beginning.
type jsonSeen struct {
	V           int     `json:"v"`
	Type        string  `json:"type"`
	AtNS        int64   `json:"at_ns"`
	Host        string  `json:"host,omitempty"`
	Fault       string  `json:"fault,omitempty"`
	Peer        string  `json:"peer,omitempty"`
	Incarnation uint64  `json:"incarnation,omitempty,string"`
	From        string  `json:"from,omitempty"`
	To          string  `json:"to,omitempty"`
	Cause       string  `json:"cause,omitempty"`
	Suspicion   float64 `json:"suspicion,omitempty"`
	SilenceNS   int64   `json:"silence_ns,omitempty"`
	LagNS       int64   `json:"lag_ns,omitempty"`
	SenderNS    int64   `json:"sender_late_ns,omitempty"`
	NetworkNS   int64   `json:"network_ns,omitempty"`
	ReadNS      int64   `json:"read_ns,omitempty"`
	PauseNS     int64   `json:"pause_ns,omitempty"`
	Merged      int     `json:"merged,omitempty"`
}

// jsonFigures is the summary of a run.
type jsonFigures struct {
	V         int    `json:"v"`
	Type      string `json:"type"`
	Steps     int    `json:"steps"`
	Sent      uint64 `json:"sent"`
	Accepted  uint64 `json:"accepted"`
	Delivered uint64 `json:"delivered"`
	Detected  int    `json:"detected"`
	WorstNS   int64  `json:"worst_detection_ns"`
	Mistakes  int    `json:"mistakes"`
	Worlds    uint64 `json:"worlds"`   // how many were run
	Violated  uint64 `json:"violated"` // in how many a rule was violated
}

// jsonViolation is a violated rule.
type jsonViolation struct {
	V      int    `json:"v"`
	Type   string `json:"type"`
	AtNS   int64  `json:"at_ns"`
	Host   string `json:"host"`
	Rule   string `json:"rule"`
	Detail string `json:"detail"`
}

// printWorld prints a result as JSON Lines.
func printWorld(enc *json.Encoder, r *enginetest.Result) error {
	for _, s := range r.Events {
		if err := enc.Encode(lineOf(&s)); err != nil {
			return err
		}
	}
	if err := enc.Encode(figuresOf(&r.Figures, 1, uint64(min(len(r.Violations), 1)))); err != nil {
		return err
	}
	for _, v := range r.Violations {
		if err := enc.Encode(violationOf(&v)); err != nil {
			return err
		}
	}
	return nil
}

// lineOf returns the line of a fault or an event.
func lineOf(s *enginetest.Seen) jsonSeen {
	line := jsonSeen{V: 1, Type: "event", AtNS: int64(s.At), Host: s.Host, Fault: s.Fault, Peer: s.Peer}
	switch {
	case s.Fault != "":
		line.Type = "fault"
	case s.Node != nil:
		ev := s.Node
		line.Incarnation, line.Cause, line.PauseNS, line.Merged = ev.Incarnation, ev.Cause.String(), int64(ev.Pause), ev.Merged
	default:
		ev := &s.Event
		line.Incarnation, line.Cause, line.Merged = ev.Incarnation, ev.Cause.String(), ev.Merged
		line.From, line.To, line.Suspicion = ev.From.String(), ev.To.String(), ev.Suspicion
		line.SilenceNS, line.LagNS = int64(ev.Silence), int64(ev.Lag)
		line.SenderNS, line.NetworkNS, line.ReadNS = int64(ev.Delays.Late), int64(ev.Delays.Network), int64(ev.Delays.Read)
	}
	return line
}

// figuresOf returns the line of figures.
func figuresOf(f *enginetest.Figures, worlds, violated uint64) jsonFigures {
	return jsonFigures{1, "summary", f.Steps, f.Sent, f.Accepted, f.Delivered, f.Detected, int64(f.Worst), f.Mistakes, worlds, violated}
}

// violationOf returns the line of a violation.
func violationOf(v *enginetest.Violation) jsonViolation {
	return jsonViolation{1, "violation", int64(v.At), v.Host, v.Rule, v.Detail}
}

// jsonFound is a seed whose scenario violated a rule. If the scenario was shrunk, the violation is
// that of the shrunk one; else there is neither a scenario nor a trace.
type jsonFound struct {
	jsonViolation
	Seed     uint64          `json:"seed"`
	Scenario json.RawMessage `json:"scenario,omitempty"`
	Trace    []jsonSeen      `json:"trace,omitempty"`
}

// foundOf returns the line of a seed.
func foundOf(f *enginetest.Found) jsonFound {
	if f.Scenario == nil {
		return jsonFound{jsonViolation: violationOf(&f.Violation), Seed: f.Seed}
	}
	line := jsonFound{violationOf(&f.First), f.Seed, f.Scenario.JSON(), nil}
	for i := range f.Trace {
		line.Trace = append(line.Trace, lineOf(&f.Trace[i]))
	}
	return line
}

// search runs the scenarios of seeds.
func (o *simOptions) search(out io.Writer) error {
	found, sum := enginetest.Search(o.seed, o.seeds)
	enc := json.NewEncoder(out)
	for _, f := range found {
		if o.output == "text" {
			fmt.Fprintln(out, f)
			continue
		}
		if err := enc.Encode(foundOf(f)); err != nil {
			return err
		}
	}
	if o.output == "text" {
		printFigures(out, &sum)
		fmt.Fprintln(out, verdict(o.seeds, uint64(len(found))))
	} else if err := enc.Encode(figuresOf(&sum, o.seeds, uint64(len(found)))); err != nil {
		return err
	}
	if len(found) > 0 {
		return errRule
	}
	return nil
}
