package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/spf13/cobra"

	"systole/cmd/systole/internal/doctor"
	"systole/engine"
)

// doctorOptions are the flags of doctor.
type doctorOptions struct {
	output     string
	listen     []string
	interfaces []string
	peers      int
}

// errProblem means that doctor ended regularly and found a problem.
var errProblem = fmt.Errorf("%w: the host has a problem", errPeer)

// newDoctor returns the command that examines this host.
func newDoctor() *cobra.Command {
	o := &doctorOptions{}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "examine this host",
		Long: `doctor examines what makes heartbeats late, lost or badly stamped on this host, as the user
who runs it. It takes half a second. It sends a datagram to itself and, if it may, attaches the
BPF programs to the loopback interface for a moment; it changes nothing else. Each
finding is ok, a note, or a problem, with a remedy where there is one. What cannot be known,
for lack of a file or a privilege, is a note.

Findings:
  clock-source       whether reading the clock is cheap
  time-namespace     whether the monotonic clock is the host's
  timer-slack        whether a loop's waits end in time
  slice              whether a loop runs soon after it wakes
  scheduling-class   the process' class; whether --fifo works
  wake-up            how late a loop's thread wakes, in 250 sleeps
  steal              time that other virtual machines took
  cpu-quota          a limit of CPU time; how often it was met
  buffers            whether sockets get what --peers want
  udp-drops          datagrams that sockets refused
  backlog-drops      packets dropped before any socket
  kernel             whether stamps by BPF work on it
  capabilities       which useful ones this process has
  unprivileged-bpf   what needs no capability
  btf                whether the kernel describes its types
  receive-stamps     whether the kernel stamps datagrams
  hardware-stamps    whether an interface stamps datagrams
  hooks              programs on an interface, and their holders
  stamp-tier         which stamps work: kernel, bpf, absorb, nic

The last line names the best stamps that work unasked; user means the probe's own clock. Drops
are those of all processes.

-o json prints JSON Lines: a line of type finding for each finding, then one of type summary.

Exit status: 0 no problem; 1 a problem; 2 wrong usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.OutOrStdout()) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "text", formatHelp)
	f.StringSliceVarP(&o.listen, "listen", "l", nil, "local address:port, or :port for all addresses, that an engine would have; may be repeated (default: any address and a free port)")
	f.StringSliceVar(&o.interfaces, "interface", nil, "network interface to examine; may be repeated (default: those that are up and have an address)")
	f.IntVar(&o.peers, "peers", 1024, "number of peers that buffers are sized for, from 1 to 1048576")
	return cmd
}

// run examines the host and prints.
func (o *doctorOptions) run(out io.Writer) error {
	options, err := o.options()
	if err != nil {
		return err
	}
	findings := doctor.Run(options)
	if o.output == "json" {
		err = printFindings(json.NewEncoder(out), findings)
	} else {
		writeFindings(out, findings)
	}
	if err != nil {
		return err
	}
	if count(findings, doctor.Problem) > 0 {
		return errProblem
	}
	return nil
}

// options returns the options of package doctor, or the first fault of the flags.
func (o *doctorOptions) options() (doctor.Options, error) {
	options := doctor.Options{Peers: o.peers, Interfaces: o.interfaces}
	if o.output != "text" && o.output != "json" {
		return options, fmt.Errorf("-o %q: want text or json", o.output)
	}
	if o.peers < 1 || o.peers > 1<<20 {
		return options, fmt.Errorf("--peers %d is not within 1 to 1048576", o.peers)
	}
	var err error
	if options.Listen, err = parseListen(o.listen, slog.New(slog.DiscardHandler)); err != nil {
		return options, err
	}
	config := engine.Config{Listen: options.Listen}
	if err := config.Validate(); err != nil {
		return options, fmt.Errorf("--listen: %w", err)
	}
	all, err := net.Interfaces()
	if err != nil {
		return options, nil // a sandbox: the findings say so
	}
	known := make(map[string]bool)
	for _, i := range all {
		known[i.Name] = true
	}
	for _, name := range o.interfaces {
		if !known[name] {
			return options, fmt.Errorf("--interface %q: there is no such interface", name)
		}
	}
	return options, nil
}

// count returns the number of findings with a verdict.
func count(findings []doctor.Finding, v doctor.Verdict) (n int) {
	for _, f := range findings {
		if f.Verdict == v {
			n++
		}
	}
	return n
}

// writeFindings prints findings as text.
func writeFindings(out io.Writer, findings []doctor.Finding) {
	for _, f := range findings {
		name := f.Check
		if f.Subject != "" {
			name += " " + f.Subject
		}
		fmt.Fprintf(out, "%-8s %-22s %s\n", f.Verdict, name, f.Found)
		if f.Remedy != "" {
			fmt.Fprintf(out, "%-8s %-22s remedy: %s\n", "", "", f.Remedy)
		}
	}
	fmt.Fprintf(out, "%d ok, %d notes, %d problems; stamps: %s\n", count(findings, doctor.OK), count(findings, doctor.Note),
		count(findings, doctor.Problem), doctor.BestTier(findings))
}

// jsonFinding is a finding as a line of JSON.
type jsonFinding struct {
	V    int    `json:"v"`
	Type string `json:"type"`
	T    string `json:"t"`
	doctor.Finding
}

// jsonDoctor is the last line.
type jsonDoctor struct {
	V        int    `json:"v"`
	Type     string `json:"type"`
	T        string `json:"t"`
	OK       int    `json:"ok"`
	Notes    int    `json:"notes"`
	Problems int    `json:"problems"`
	Stamps   string `json:"stamps"`
}

// printFindings prints findings as JSON Lines.
func printFindings(out *json.Encoder, findings []doctor.Finding) error {
	var errs []error
	for _, f := range findings {
		errs = append(errs, out.Encode(jsonFinding{V: 1, Type: "finding", T: stamp(), Finding: f}))
	}
	errs = append(errs, out.Encode(jsonDoctor{
		V: 1, Type: "summary", T: stamp(), OK: count(findings, doctor.OK), Notes: count(findings, doctor.Note),
		Problems: count(findings, doctor.Problem), Stamps: doctor.BestTier(findings),
	}))
	return errors.Join(errs...)
}
