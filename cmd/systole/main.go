// Command systole is the probe: it exchanges heartbeats with peers and prints their states.
//
// Each subcommand has its flags and its work in a file of its name. options.go has the flags of
// nodes, print.go the output of ping and record, watched.go the figures of one peer. Replays choose
// their detectors in spec.go and draw pictures in plot.go.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes, as in the manual page.
const (
	exitAlive  = 0   // every peer is alive at the end
	exitPeer   = 1   // a peer is not, a rule was violated, or the host has a problem
	exitUsage  = 2   // wrong usage, or an error of the system
	exitClosed = 141 // the reader of the output has closed its pipe; a shell reports SIGPIPE by this number
)

// errPeer means that a run ended regularly and a peer is not alive.
var errPeer = errors.New("a peer failed or was never heard")

func main() {
	p := newProcess()
	p.notify()
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr, p))
}

// run executes the command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer, p *process) int {
	root := newRoot(p)
	out, complaints := &output{Writer: stdout, process: p}, &output{Writer: stderr, process: p}
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(complaints)
	err := root.Execute()
	if failed := out.failed(); failed != nil && (err == nil || errors.Is(err, errPeer)) {
		err = fmt.Errorf("print: %w", failed)
	}
	switch {
	case p.isClosed() && (err == nil || errors.Is(err, errPeer) || errors.Is(err, syscall.EPIPE)):
		return exitClosed
	case err == nil:
		return exitAlive
	case errors.Is(err, errPeer):
		return exitPeer
	default:
		p.ending.Store(true) // whoever does not read the output may not read this
		fmt.Fprintln(complaints, "systole:", err)
		return exitUsage
	}
}

// newRoot returns the command tree.
func newRoot(p *process) *cobra.Command {
	root := &cobra.Command{
		Use:   "systole",
		Short: "watch processes by UDP heartbeats",
		Long: `systole watches peers by UDP heartbeats. It reports, with the cause, when a peer dies,
restarts, leaves or becomes unreachable.

Durations have a unit: 10ms, 1.5s, 24h.

Exit status: 0 every peer is alive at the end; 1 a peer is not; 2 wrong usage or an error
of the system; 141 the reader of the output has closed its pipe.

Signals that are ignored at the start, such as SIGHUP under nohup, stay ignored. If nobody reads
the output, a signal still ends the process within a second; what was not read is lost.`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fmt.Errorf("no command; try %s --help", cmd.Name())
		},
	}
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.AddCommand(newServe(p), newPing(p), newRecord(p), newLoader(p))
	for _, c := range []*cobra.Command{newReplay(), newSim(), newDoctor(), newMan(), newKeys()} {
		// These have nothing to finish, so a signal ends the process.
		c.PersistentPreRun = func(*cobra.Command, []string) { signal.Reset() }
		root.AddCommand(c)
	}
	return root
}
