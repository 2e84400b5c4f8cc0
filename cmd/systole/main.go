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
	exitAlive = 0 // every peer is alive at the end
	exitPeer  = 1 // a peer is not, a rule was violated, or the host has a problem
	exitUsage = 2 // wrong usage, or an error of the system
)

// errPeer means that a run ended regularly and a peer is not alive.
var errPeer = errors.New("a peer failed or was never heard")

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr, signals))
}

// run executes the command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer, signals <-chan os.Signal) int {
	root := newRoot(signals)
	out := &output{Writer: stdout}
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(stderr)
	err := root.Execute()
	if out.err != nil && (err == nil || errors.Is(err, errPeer)) {
		err = fmt.Errorf("print: %w", out.err)
	}
	switch {
	case err == nil:
		return exitAlive
	case errors.Is(err, errPeer):
		return exitPeer
	default:
		fmt.Fprintln(stderr, "systole:", err)
		return exitUsage
	}
}

// output is a command's standard output. It keeps the first error, so that commands need not check
// each write.
type output struct {
	io.Writer
	err error
}

// Write writes b and keeps an error.
func (o *output) Write(b []byte) (int, error) {
	n, err := o.Writer.Write(b)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// newRoot returns the command tree.
func newRoot(signals <-chan os.Signal) *cobra.Command {
	root := &cobra.Command{
		Use:   "systole",
		Short: "watch processes by UDP heartbeats",
		Long: `systole watches peers by UDP heartbeats. It reports, with the cause, when a peer dies,
restarts, leaves or becomes unreachable.

Durations have a unit: 10ms, 1.5s, 24h.

Exit status: 0 every peer is alive at the end; 1 a peer is not; 2 wrong usage or an error
of the system.`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fmt.Errorf("no command; try %s --help", cmd.Name())
		},
	}
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.AddCommand(newServe(signals), newPing(signals), newRecord(signals), newLoader(signals))
	for _, c := range []*cobra.Command{newReplay(), newSim(), newDoctor(), newMan(), newKeys()} {
		// These have nothing to finish, so a signal ends the process.
		c.PersistentPreRun = func(*cobra.Command, []string) { signal.Reset() }
		root.AddCommand(c)
	}
	return root
}
